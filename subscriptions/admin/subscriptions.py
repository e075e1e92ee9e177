"""Subscriptions in BSS: the list, and the page with the Shortcut menu at its left. Everything is read-only."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from django.contrib import admin
from django.db.models import Case, Prefetch, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import actions, lifecycle, pricing, quotes, reconciliation
from subscriptions.actions import NotAllowed, Situation, terms
from subscriptions.admin import bulk, changes, codes, details, planned, renewals, shortcut, start, words
from subscriptions.admin.flow import action_urls
from subscriptions.admin.lists import NarrowedAdmin, key
from subscriptions.models import OPEN_ORDER, Event, Order, OrderStatus, Subscription, SubscriptionStatus

ORDERS_SHOWN, EVENTS_SHOWN, CALLS_SHOWN, CHARGES_SHOWN = 10, 20, 10, 10
S = SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of the timeline."""

    event: Event
    words: str
    change: str
    who: str


@admin.register(Subscription)
class SubscriptionAdmin(NarrowedAdmin):
    list_display = ("number", "company", "state", "seat_count", "renews", "vendor")
    list_display_links = None
    list_select_related = ("account", "sku__product")
    search_fields = ("pk",)
    search_help_text = "Subscription ID (SUB-000123), order number (ORD-12) or company."

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("start/", wrap(start.choose_account), name="subscriptions_subscription_start")]
        for action, view in {**changes.VIEWS, **renewals.VIEWS, actions.KEEP: planned.KeepView}.items():
            name = f"subscriptions_subscription_{action.stem}"
            own += action_urls(f"<int:pk>/{action.stem}", name, view, action=action)
        return [*own, *details.urls(), *codes.urls(), *super().get_urls()]

    # The list.

    def get_list_display(self, request: HttpRequest) -> Any:
        return (bulk.tick, *self.list_display) if bulk.offered(request.user) else self.list_display

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "acts": bulk.offered(request.user)})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        ahead = Order.objects.filter(status__in=[*OPEN_ORDER, OrderStatus.SCHEDULED])
        return super().get_queryset(request).prefetch_related(Prefetch("orders", ahead, to_attr="ahead"))

    @admin.display(description="ID and SKU")
    def number(self, row: Subscription) -> SafeString:
        url = shortcut.subscription_url(row.pk)
        return format_html('<a href="{}">{}</a><small>{}</small>', url, row.number, row.sku.code)

    @admin.display(description="Company and product")
    def company(self, row: Subscription) -> SafeString:
        return format_html("{}<small>{}</small>", row.account.name, row.sku.product.name)

    @admin.display(description="Status")
    def state(self, row: Any) -> SafeString:
        shown = words.status(row.status, row.get_status_display())
        order = _open_of(row)
        if order is None:
            return shown
        return format_html("{}<small>{} {}</small>", shown, order.number, _progress_words(order))

    @admin.display(description="Seats")
    def seat_count(self, row: Any) -> SafeString:
        seats = format_html('<span class="figure">{}</span>', f"{row.seats:,}")
        scheduled = next((one for one in row.ahead if one.status == OrderStatus.SCHEDULED), None)
        if scheduled is None or scheduled.action not in ("increase", "decrease"):
            return seats
        from_then = _day(actions.local_day(scheduled.due_at, row.account))
        return format_html("{}<small>{} from {}</small>", seats, f"{scheduled.after['Seats']:,}", from_then)

    @admin.display(description="Vendor")
    def vendor(self, row: Any) -> str | SafeString:
        said = shortcut.vendor_words(row, _open_of(row))
        return words.status(said.shape, said.words) if said.shape == "needs_attention" else said.words

    @admin.display(description="Renews")
    def renews(self, row: Subscription) -> str | SafeString:
        label, on = renewal(row)
        return format_html("{} {}", label, _day(on)) if on else label or words.NOTHING

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
            scheduled=about.scheduled,
            scheduled_words=lifecycle.planned_words(about.scheduled, subscription) if about.scheduled else "",
            frozen=about.scheduled is not None
            and subscription.status == S.SUSPENDED
            and about.scheduled.action in lifecycle.FROZEN_STEMS,
            open_order_words=words.order_words(about.open_order) if about.open_order else "",
            undo_refusal=_why_not_undo(about),
            renewal=renewal(subscription),
            money=_money(about),
            charges=subscription.charges.order_by("-pk")[:CHARGES_SHOWN],
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
            all_charges=_all_of("charge", subscription),
        )
        return render(request, "admin/subscriptions/subscription/page.html", context)


def _open_of(row: Any) -> Order | None:
    return next((one for one in row.ahead if one.is_open), None)


def _day(on: date) -> SafeString:
    return format_html('<time datetime="{}">{}</time>', on.isoformat(), f"{on.day} {on:%b %Y}")


def renewal(subscription: Subscription) -> tuple[str, date | None]:
    """What becomes of the term, and when; an empty word for the plain renewal. Needs `account` loaded."""
    match subscription.status:
        case S.CANCELLED | S.FAILED | S.PENDING:
            return "", None
        case S.EXPIRED:
            return "Renewable until", subscription.renewable_until
    if subscription.ends_at:
        return "Ends", actions.local_day(subscription.ends_at, subscription.account)
    if subscription.trial_ends:
        return "Trial until", subscription.trial_ends
    return ("" if subscription.auto_renew else "Ends"), subscription.term_end


def _why_not_undo(about: Situation) -> NotAllowed | None:
    return lifecycle.why_not_undo(replace(about, order=about.scheduled)) if about.scheduled else None


def _money(about: Situation) -> dict[str, Any]:
    """What it costs as it is, and what is charged next; 1 query."""
    subscription = about.subscription
    prices = quotes.load([], [subscription.sku])
    return {
        "seat": quotes.per_seat(subscription, prices),
        "period": quotes.per_period(subscription, prices),
        "next": quotes.next_charge(about, prices),
        "days": pricing.days_words(terms.period(subscription)) if subscription.period_start else "",
    }


def _progress_words(order: Order) -> str:
    return "needs attention" if order.status == "needs_attention" else words.intent_words(order)


def _orders(subscription: Subscription) -> QuerySet[Order]:
    """The newest orders, the open and the planned one first, so that they are among them whatever came after."""
    open_first = Case(
        When(status__in=OPEN_ORDER, then=Value(0)), When(status=OrderStatus.SCHEDULED, then=Value(1)), default=Value(2)
    )
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
    return f"{address}?subscription={subscription.pk}"
