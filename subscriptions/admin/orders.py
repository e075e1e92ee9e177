"""Orders in BSS: the list, the page with every attempt, Retry and Give up."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import actions, clock, fulfilment, lifecycle
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin import search, shortcut, words
from subscriptions.admin.flow import ActionView, action_urls
from subscriptions.admin.forms import ReasonForm
from subscriptions.admin.lists import ReadOnlyAdmin, key
from subscriptions.admin.shortcut import Link, order_url
from subscriptions.models import OPEN_ORDER, Order, OrderStatus, Purpose, Subscription, VendorCall

# Seconds between two looks of an open page; it stops after the last one and leaves the link.
LOOKS = (2, 5, *[15] * 12)


class ActionFilter(admin.SimpleListFilter):
    """Orders by what they want; the choices come from the table of actions, never from the rows."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        placing = (action for action in actions.ACTIONS.values() if action.call or action is actions.TAKE_THEIRS)
        return [(action.stem, action.label) for action in placing]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("number", "subscription_link", "company", "wish", "state", "placed_by", "placed")
    list_display_links = ("number",)
    list_select_related = ("subscription__account", "actor")
    list_filter = ("status", ActionFilter, "needs_staff")
    search_fields = ("pk",)
    search_help_text = "Order number (ORD-12), subscription ID (SUB-000123) or company."

    def get_urls(self) -> list[URLPattern]:
        own: list[URLPattern] = []
        for action in (actions.RETRY, actions.GIVE_UP):
            name = f"subscriptions_order_{action.stem}"
            own += action_urls(f"<int:pk>/{action.stem}", name, SettleOrderView, action=action)
        return [*own, *super().get_urls()]

    # The list.

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        text = search_term.strip()
        return (search.matching_orders(queryset, text) if text else queryset), False

    @admin.display(description="Order")
    def number(self, row: Order) -> str:
        return row.number

    @admin.display(description="Subscription")
    def subscription_link(self, row: Order) -> SafeString:
        url = shortcut.subscription_url(row.subscription_id)
        return format_html('<a href="{}">{}</a>', url, row.subscription.number)

    @admin.display(description="Company")
    def company(self, row: Order) -> str:
        return row.subscription.account.name

    @admin.display(description="What")
    def wish(self, row: Order) -> SafeString:
        change = words.change_words(row.before, row.after)
        return format_html("{}<small>{}</small>", words.action_label(row.action), change)

    @admin.display(description="Status")
    def state(self, row: Order) -> SafeString:
        return words.status(row.status, row.get_status_display())

    @admin.display(description="By")
    def placed_by(self, row: Order) -> str:
        return words.who(row.actor, row.audience)

    @admin.display(description="Placed")
    def placed(self, row: Order) -> SafeString:
        at = row.placed_at
        return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at.day} {at:%b %Y, %H:%M}")

    # The page.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one order, which is also the result page of every action."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        order, about = find_order(request, key(object_id))
        calls = list(order.vendor_calls.order_by("pk"))
        context = shortcut.frame(
            request,
            about,
            title=f"{order}: {words.action_label(order.action).lower()}",
            crumb=str(order),
            order=order,
            order_change=words.change_words(order.before, order.after),
            order_who=words.who(order.actor, order.audience),
            steps=steps(order),
            trouble=trouble(order),
            calls=[
                {
                    "call": call,
                    "shape": words.OUTCOMES[call.outcome][0],
                    "outcome": words.OUTCOMES[call.outcome][1],
                    "evidence": words.EVIDENCE.get(call.evidence, ""),
                    "asked": call.asked,
                    "answered": call.answered,
                    "purpose": _purpose_words(call),
                }
                for call in calls
            ],
            acts=[
                (event, words.event_words(event.kind), words.who(event.actor, event.audience))
                for event in order.events.select_related("actor").order_by("pk")
            ],
            ways=[
                {
                    "label": action.label,
                    "url": order_url(order.pk, action.stem),
                    "reason": refusal.sentence if refusal else "",
                }
                for action in (actions.RETRY, actions.GIVE_UP)
                for refusal in [action.why_not(about)]
            ]
            if settleable(order, about.subscription)
            else [],
            **_looking(request, order),
        )
        return render(request, "admin/subscriptions/order/page.html", context)


def find_order(request: HttpRequest, pk: int) -> tuple[Order, Situation]:
    """The order with its subscription, and the situation in which Retry and Give up decide."""
    if not request.user.has_perm("subscriptions.view_order"):
        raise PermissionDenied("Your staff group may not see orders.")
    rows = Order.objects.select_related("actor", "subscription__account", "subscription__sku__product")
    order = get_object_or_404(rows, pk=pk)
    user: Any = request.user
    # A page about the open order needs no second query for it.
    open_order = order if order.is_open else order.subscription.orders.filter(status__in=OPEN_ORDER).first()
    return order, Situation(order.subscription, user, actions.BSS, open_order=open_order, order=order)


def settleable(order: Order, subscription: Subscription) -> bool:
    """Is there anything for Retry and Give up, so that the page shows them?"""
    if order.status == OrderStatus.NEEDS_ATTENTION:
        return True
    return order.action == "start" and order.status == OrderStatus.FAILED and subscription.status == "failed"


def trouble(order: Order) -> dict[str, str] | None:
    """What went wrong, in plain words with the vendor's code; None when nothing did."""
    said = order.outcome_message
    match order.status:
        case OrderStatus.NEEDS_ATTENTION:
            tone, title = "warn", "Needs attention"
            said = f"{said} Our record is unchanged. Retry sends the same order again; Give up ends it.".strip()
        case OrderStatus.FAILED:
            tone, title = "danger", "Failed"
            said = f"{said or 'Given up.'} Our record is unchanged."
        case OrderStatus.PLACED | OrderStatus.IN_PROGRESS if said:
            tone, title = "warn", "Not through yet"
        case _:
            return None
    return {"tone": tone, "title": title, "text": said, "code": order.outcome_code}


def steps(order: Order) -> list[dict[str, Any]]:
    """The order's way in words, for the step list."""
    way: list[dict[str, Any]] = [
        {"state": "done", "name": "Received", "at": order.placed_at, "text": words.who(order.actor, order.audience)}
    ]
    if order.first_sent_at:
        way.append({"state": "done", "name": "Sent to the licence service", "at": order.first_sent_at})
    match order.status:
        case OrderStatus.PLACED | OrderStatus.IN_PROGRESS:
            way.append(_under_way(order))
            way.append({"state": "todo", "name": "Done"})
        case OrderStatus.NEEDS_ATTENTION:
            way.append({"state": "warn", "name": "Needs attention", "text": order.outcome_message})
        case OrderStatus.COMPLETED:
            way.append({"state": "done", "name": "Done", "at": order.finished_at})
        case OrderStatus.FAILED:
            text = order.outcome_message or "Given up."
            way.append({"state": "failed", "name": "Failed", "at": order.finished_at, "text": text})
        case _:
            way.append({"state": "done", "name": order.get_status_display(), "at": order.finished_at})
    return way


def _under_way(order: Order) -> dict[str, Any]:
    name = "Waiting for the licence service" if order.first_sent_at else "Waiting to be sent"
    long_ago = (clock.now() - (order.retried_at or order.placed_at)).total_seconds() > settings.TAKING_LONG
    text = order.outcome_message
    if long_ago:
        text = f"Taking longer than usual. {text}".strip()
    return {"state": "now", "name": name, "text": text}


def _purpose_words(call: VendorCall) -> str:
    return "Read to find out what became of it" if call.purpose == Purpose.SETTLE else "Sent"


def _looking(request: HttpRequest, order: Order) -> dict[str, Any]:
    """Whether and when the page looks again by itself."""
    text = request.GET.get("look", "")
    look = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    waiting = fulfilment.waiting(order)
    again = waiting and look < len(LOOKS)
    return {"waiting": waiting, "look_in": LOOKS[look] if again else None, "look": look + 1}


class SettleOrderView(ActionView):
    """Retry or Give up one order."""

    action = actions.RETRY

    def find(self, **kwargs: Any) -> None:
        self.order, self.about = find_order(self.request, kwargs["pk"])

    def danger(self) -> bool:
        return self.action is actions.GIVE_UP

    def address(self) -> str:
        return order_url(self.order.pk, self.action.stem)

    def subject_address(self) -> str:
        return order_url(self.order.pk)

    def why_not(self) -> NotAllowed | None:
        return self.action.why_not(self.about)

    def way_out(self, refusal: NotAllowed) -> Link | None:
        return Link(order_url(self.order.pk), f"See {self.order}")

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> ReasonForm:
        return ReasonForm(data, **kwargs)

    def place(self, form: Form) -> Order:
        act = lifecycle.retry if self.action is actions.RETRY else lifecycle.give_up
        user: Any = self.request.user
        return act(self.order.pk, actor=user, audience=actions.BSS, reason=form.cleaned_data["reason"])

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        # These two place no new order and so have no key: the same person's same words are the second sending.
        refusal = self.why_not()
        if not self.checking and refusal and refusal.code == "order_status":
            kind, reason = f"{self.order.action}.{self.action.stem}", request.POST.get("reason", "").strip()
            user: Any = request.user
            if reason and self.order.events.filter(kind=kind, actor=user, reason=reason).exists():
                return redirect(order_url(self.order.pk))
        return super().post(request, **kwargs)

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, **more)

    def title(self) -> str:
        return f"{self.action.label} {self.order}"

    def consequence(self) -> str:
        wish = words.order_words(self.order)
        if self.action is actions.RETRY:
            return f"{wish}. The same order is carried to the licence service again."
        if self.order.action == "start":
            return f"{wish}. The order ends as failed. If the licence service may have it, it is cancelled there first."
        return f"{wish}. The order ends as failed, and our record stays as it is. Read Get details afterwards."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        target = OrderStatus.PLACED if self.action is actions.RETRY else OrderStatus.FAILED
        return [("Order", self.order.get_status_display(), str(target.label))]

    def next_steps(self, form: Form) -> list[str]:
        if self.action is actions.RETRY:
            return [
                "If the licence service may have it already, it is read first and nothing is sent twice.",
                "Every attempt so far stays on the page of the order.",
            ]
        return ["Every attempt so far stays on the page of the order.", "The subscription can be changed again."]

    def button(self, form: Form) -> str:
        return self.title()
