"""Subscriptions in BSS: the list, and the page with the Shortcut menu at its left. Everything is read-only."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Case, Prefetch, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import reconciliation
from subscriptions.admin import changes, codes, details, search, shortcut, start, words
from subscriptions.admin.flow import action_urls
from subscriptions.admin.lists import ReadOnlyAdmin, key
from subscriptions.models import OPEN_ORDER, Event, Order, Subscription

ORDERS_SHOWN, EVENTS_SHOWN, CALLS_SHOWN = 10, 20, 10


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of the timeline."""

    event: Event
    words: str
    change: str
    who: str


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("number", "company", "product", "state", "seat_count", "vendor", "started")
    list_display_links = ("number",)
    list_select_related = ("account", "sku__product")
    list_filter = ("status", "sku__product")
    search_fields = ("pk",)
    search_help_text = "Subscription ID (SUB-000123), order number (ORD-12) or company."

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("start/", wrap(start.choose_account), name="subscriptions_subscription_start")]
        for action in changes.CHANGES:
            name = f"subscriptions_subscription_{action.stem}"
            own += action_urls(f"<int:pk>/{action.stem}", name, changes.ChangeView, action=action)
        return [*own, *details.urls(), *codes.urls(), *super().get_urls()]

    # The list.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        open_orders = Prefetch("orders", Order.objects.filter(status__in=OPEN_ORDER), to_attr="open_orders")
        return super().get_queryset(request).prefetch_related(open_orders)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        text = search_term.strip()
        return (search.matching_subscriptions(queryset, text) if text else queryset), False

    @admin.display(description="ID")
    def number(self, row: Subscription) -> str:
        return row.number

    @admin.display(description="Company")
    def company(self, row: Subscription) -> str:
        return row.account.name

    @admin.display(description="Product")
    def product(self, row: Subscription) -> SafeString:
        return format_html("{}<small>{}</small>", row.sku.product.name, row.sku.code)

    @admin.display(description="Status")
    def state(self, row: Any) -> SafeString:
        shown = words.status(row.status, row.get_status_display())
        if not row.open_orders:
            return shown
        order = row.open_orders[0]
        return format_html("{}<small>{} {}</small>", shown, order.number, _progress_words(order))

    @admin.display(description="Seats")
    def seat_count(self, row: Subscription) -> SafeString:
        return format_html('<span class="figure">{}</span>', f"{row.seats:,}")

    @admin.display(description="Vendor")
    def vendor(self, row: Any) -> str | SafeString:
        said = shortcut.vendor_words(row, row.open_orders[0] if row.open_orders else None)
        return words.status(said.shape, said.words) if said.shape == "needs_attention" else said.words

    @admin.display(description="Started")
    def started(self, row: Subscription) -> str | SafeString:
        at = row.started_at
        return (
            format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at.day} {at:%b %Y}")
            if at
            else words.NOTHING
        )

    # The page.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one subscription; there is nothing to save, so POST is not offered."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        subscription = shortcut.find_subscription(request, key(object_id))
        orders = list(_orders(subscription))
        about = shortcut.situation_from(subscription, orders, request.user)
        events = subscription.events.select_related("actor", "order")[:EVENTS_SHOWN]
        calls = subscription.vendor_calls.order_by("-id").select_related("order")[:CALLS_SHOWN]
        context = shortcut.frame(
            request,
            about,
            title=f"{subscription.sku.product} for {subscription.account}",
            current_page=True,
            sku=subscription.sku,
            vendor=shortcut.vendor_words(subscription, about.open_order),
            reading=reconciliation.last_known(subscription, about.open_order),
            code_refusal=codes.why_hidden(about),
            orders=[_order_row(order) for order in orders],
            timeline=[
                Happening(
                    event,
                    words.event_words(event.kind),
                    words.change_words(event.before, event.after),
                    words.who(event.actor, event.audience),
                )
                for event in events
            ],
            calls=[(call, *words.OUTCOMES[call.outcome]) for call in calls],
            all_orders=_all_of("order", subscription),
            all_events=_all_of("event", subscription),
            all_calls=_all_of("vendorcall", subscription),
        )
        return render(request, "admin/subscriptions/subscription/page.html", context)


def _progress_words(order: Order) -> str:
    return "needs attention" if order.status == "needs_attention" else words.intent_words(order)


def _orders(subscription: Subscription) -> QuerySet[Order]:
    """The newest orders, the open one first, so that it is among them whatever came after."""
    open_first = Case(When(status__in=OPEN_ORDER, then=Value(0)), default=Value(1))
    rows = Order.objects.filter(subscription=subscription).select_related("actor")
    return rows.order_by(open_first, "-pk")[:ORDERS_SHOWN]


def _order_row(order: Order) -> dict[str, Any]:
    return {
        "order": order,
        "action": words.action_label(order.action),
        "change": words.change_words(order.before, order.after),
        "who": words.who(order.actor, order.audience),
    }


def _all_of(model: str, subscription: Subscription) -> str:
    address = reverse(f"admin:subscriptions_{model}_changelist")
    return f"{address}?subscription__id__exact={subscription.pk}"
