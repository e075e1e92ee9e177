"""Orders in BSS: the list, and the page with its price, every attempt, and what can be done with it."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import actions, clock, fulfilment, lifecycle
from subscriptions.actions import Action, Situation
from subscriptions.admin import approvals, planned, quoted, shortcut, words
from subscriptions.admin.flow import action_urls
from subscriptions.admin.lists import NarrowedAdmin, NarrowedChangeList, OldestFirst, key
from subscriptions.admin.order_acts import SettleOrderView, find_order
from subscriptions.admin.shortcut import order_url
from subscriptions.models import Event, Order, OrderStatus, Purpose, Subscription, VendorCall

# Seconds between two looks of an open page; it stops after the last one and leaves the link.
LOOKS = (2, 5, *[15] * 12)


@admin.register(Order)
class OrderAdmin(NarrowedAdmin):
    list_display = ("number", "subscription_link", "wish", "costs", "state", "placed")
    list_display_links = ("number",)
    list_select_related = ("subscription__account", "actor")
    search_fields = ("pk",)
    search_help_text = "Order number (ORD-12), subscription ID (SUB-000123) or company."

    def get_urls(self) -> list[URLPattern]:
        own: list[URLPattern] = []
        views = {
            actions.RETRY: SettleOrderView,
            actions.GIVE_UP: SettleOrderView,
            actions.APPROVE: approvals.ApprovalView,
            actions.REJECT: approvals.ApprovalView,
            actions.UNDO: planned.UndoView,
        }
        for action, view in views.items():
            name = f"subscriptions_order_{action.stem}"
            own += action_urls(f"<int:pk>/{action.stem}", name, view, action=action)
        return [*own, *super().get_urls()]

    # The list.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NarrowedChangeList]:
        # Whoever has waited longest for approval comes first.
        waiting = request.GET.get("status") == OrderStatus.AWAITING_APPROVAL
        return OldestFirst if waiting else NarrowedChangeList

    @admin.display(description="Order")
    def number(self, row: Order) -> str:
        return row.number

    @admin.display(description="Subscription")
    def subscription_link(self, row: Order) -> SafeString:
        url = shortcut.subscription_url(row.subscription_id)
        company = row.subscription.account
        return format_html('<a href="{}">{}</a><small>{}</small>', url, row.subscription.number, company)

    @admin.display(description="What")
    def wish(self, row: Order) -> SafeString:
        change = words.change_words(row.before, row.after)
        return format_html("{}<small>{}</small>", words.action_label(row.action), change)

    @admin.display(description="Costs")
    def costs(self, row: Order) -> SafeString:
        return format_html('<span class="figure">{}</span>', quoted.amount_of(row) or words.NOTHING)

    @admin.display(description="Status")
    def state(self, row: Order) -> SafeString:
        return words.status(row.status, row.get_status_display())

    @admin.display(description="Placed")
    def placed(self, row: Order) -> SafeString:
        return format_html("{}<small>{}</small>", words.moment(row.placed_at), words.who(row.actor, row.audience))

    # The page.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one order, which is also the result page of every action."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        order, about = find_order(request, key(object_id))
        calls = list(order.vendor_calls.order_by("pk"))
        acts = list(order.events.select_related("actor").order_by("pk"))
        context = shortcut.frame(
            request,
            about,
            title=f"{order}: {words.action_label(order.action).lower()}",
            crumb=str(order),
            order=order,
            order_change=words.change_words(order.before, order.after),
            order_who=words.who(order.actor, order.audience),
            steps=steps(order, acts),
            price=quoted.of_order(order),
            charges=list(order.charges.order_by("pk")) if order.status == OrderStatus.COMPLETED else [],
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
            acts=[(event, words.event_words(event.kind), words.who(event.actor, event.audience)) for event in acts],
            ways=[_way(action, about) for action in _ways(order, about.subscription)],
            **_looking(request, order),
        )
        return render(request, "admin/subscriptions/order/page.html", context)


def _ways(order: Order, subscription: Subscription) -> tuple[Action, ...]:
    """What can be done with an order as it stands."""
    match order.status:
        case OrderStatus.AWAITING_APPROVAL:
            return (*approvals.ACTS, actions.UNDO)
        case OrderStatus.SCHEDULED:
            return (actions.UNDO,)
    return (actions.RETRY, actions.GIVE_UP) if settleable(order, subscription) else ()


def _way(action: Action, about: Situation) -> dict[str, str]:
    refusal = lifecycle.why_not_undo(about) if action is actions.UNDO else action.why_not(about)
    url = order_url(about.order.pk, action.stem) if about.order else ""
    return {"label": action.label, "url": url, "reason": refusal.sentence if refusal else ""}


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
    gone = order.status == OrderStatus.FAILED and fulfilment.is_gone(order, order.outcome_code)
    url = shortcut.subscription_url(order.subscription_id, "details") if gone else ""
    return {"tone": tone, "title": title, "text": said, "code": order.outcome_code, "details": url}


def steps(order: Order, acts: list[Event]) -> list[dict[str, Any]]:
    """The order's way in words, for the step list."""
    way: list[dict[str, Any]] = [
        {"state": "done", "name": "Received", "at": order.placed_at, "text": words.who(order.actor, order.audience)}
    ]
    for event in acts:
        if event.kind.endswith(".approved"):
            by = words.who(event.actor, event.audience)
            way.append({"state": "done", "name": "Approved", "at": event.at, "text": f"{by} {event.reason}".strip()})
        if event.kind.endswith(".due"):
            way.append({"state": "done", "name": "Its day came", "at": event.at})
    if order.first_sent_at:
        way.append({"state": "done", "name": "Sent to the licence service", "at": order.first_sent_at})
    match order.status:
        case OrderStatus.AWAITING_APPROVAL:
            way.append({"state": "now", "name": "Waiting for approval", "text": "Nothing was sent or charged yet."})
            way.append({"state": "todo", "name": "Done"})
        case OrderStatus.SCHEDULED:
            text = "Until then it can be undone."
            way.append({"state": "now", "name": "Planned for", "at": order.due_at, "text": text})
            way.append({"state": "todo", "name": "Done"})
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
            name, text = order.get_status_display(), order.outcome_message
            way.append({"state": "failed", "name": name, "at": order.finished_at, "text": text})
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
