"""Conditions of actions: each says why not, or None."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from subscriptions.actions.situation import (
    BSS,
    STAFF,
    STOREFRONT,
    SYSTEM,
    NotAllowed,
    Situation,
    clock_time,
    date_words,
    day,
    seats_words,
)  # fmt: skip
from subscriptions.models import OrderStatus, Role, SubscriptionStatus
from subscriptions.vendors import port

if TYPE_CHECKING:
    from subscriptions.actions.table import Action

S = SubscriptionStatus

Condition = Callable[["Action", Situation], NotAllowed | None]


def permitted(action: "Action", about: Situation) -> NotAllowed | None:
    """A customer by role, staff by one permission for each action; the system and the console may."""
    if about.audience not in action.audiences and about.audience != SYSTEM:
        return NotAllowed("audience", f"{action.label} is not offered here.")
    if about.audience == STOREFRONT:
        if about.role in action.roles:
            return None
        mine = about.actor is not None and about.subscription.ordered_by_id == about.actor.pk
        if action.buyer_of_it and about.role is Role.BUYER and mine:
            return None
        ask = f" Ask {about.whom_to_ask}." if about.whom_to_ask else ""
        roles = "Owner, Manager or Buyer" if Role.BUYER in action.roles else "Owner or Manager"
        return NotAllowed("role", f"Only people with the {roles} role can {action.verb}.{ask}")
    if about.audience == BSS and not (about.actor and about.actor.has_perm(action.permission)):
        return NotAllowed("permission", f"Your staff group may not {action.verb}. Ask an administrator of BSS.")
    return None


def status(action: "Action", about: Situation) -> NotAllowed | None:
    subscription = about.subscription
    if subscription.status in action.sources or (about.audience == SYSTEM and subscription.status in action.by_itself):
        return None
    match subscription.status:
        case S.PENDING:
            return NotAllowed("not_provisioned", "Not started yet: the licence service has not confirmed it.")
        case S.FAILED:
            return NotAllowed("failed", "The licence service refused to start this subscription.")
        case S.SUSPENDED if about.audience == STOREFRONT:
            return NotAllowed("suspended", "This subscription is suspended. Your distributor can activate it again.")
        case S.SUSPENDED if action.stem == "suspend":
            return NotAllowed("suspended", "Suspended already.")
        case S.SUSPENDED:
            return NotAllowed("suspended", "Suspended. Activate it first.")
        case S.CANCELLED:
            return NotAllowed("cancelled", cancelled_words(about))
        case S.ACTIVE | S.ENDING if action.stem == "activate":
            return NotAllowed("not_suspended", "Not suspended.")
        case S.ENDING if subscription.ends_at:
            return NotAllowed("ending", f"Ends on {day(subscription.ends_at, subscription)}.")
        case S.EXPIRED:
            return NotAllowed("expired", "The term is over and was not renewed.")
        case S.ACTIVE if action.stem == "keep":
            return NotAllowed("not_ending", "It goes on already.")
        case S.ACTIVE if action.stem == "renew":
            return NotAllowed("not_expired", "Its term is not over.")
        case _:
            return NotAllowed("status", f"Not possible while {subscription.get_status_display().lower()}.")


def cancelled_words(about: Situation) -> str:
    at = about.subscription.cancelled_at
    return f"Cancelled on {day(at, about.subscription)}." if at else "Cancelled."


def no_open_order(action: "Action", about: Situation) -> NotAllowed | None:
    order = about.open_order
    if order is None:
        return None
    if order.status == OrderStatus.NEEDS_ATTENTION:
        if about.audience == STOREFRONT:
            # Whether it reached the licence service is just what nobody knows.
            sentence = "The last change is not done yet. We are finding out what became of it; nothing was charged."
        else:
            sentence = f"{order.number} needs attention. Settle it first: Retry or Give up."
        return NotAllowed("needs_attention", sentence, order=order)
    # Pages of BSS say all times in UTC, since one person there looks after accounts in many time zones.
    own = about.audience == STOREFRONT
    if order.status == OrderStatus.AWAITING_APPROVAL:
        whose = "your distributor's approval" if own else "approval"
        sentence = f"{order.number} waits for {whose}. You can make another change when it is decided about."
        return NotAllowed("awaiting_approval", sentence, order=order)
    since = clock_time(order.placed_at, about.subscription) if own else f"{order.placed_at:%H:%M} UTC"
    return NotAllowed(
        "order_open",
        f"{order.number} is being applied since {since}. You can make another change when it is done.",
        order=order,
    )


def seats_can_change(action: "Action", about: Situation) -> NotAllowed | None:
    return why_seats_stay(about.capabilities)


def why_seats_stay(capabilities: port.Capabilities) -> NotAllowed | None:
    if capabilities.seat_change == "in_place":
        return None
    return NotAllowed("vendor_cannot", "The licence service cannot change the number of seats of this product.")


def room_above(action: "Action", about: Situation) -> NotAllowed | None:
    most = about.subscription.sku.seats_max
    if about.subscription.seats < most:
        return None
    return NotAllowed("at_maximum", f"This product allows at most {seats_words(most)}.")


def room_below(action: "Action", about: Situation) -> NotAllowed | None:
    least, have = about.subscription.sku.seats_min, about.subscription.seats
    if have > least:
        return None
    whose = "It has" if about.audience in STAFF else "You have"
    return NotAllowed(
        "at_minimum", f"{whose} {seats_words(have)}, and {least:,} is the smallest number for this product."
    )


def can_suspend(action: "Action", about: Situation) -> NotAllowed | None:
    if about.capabilities.suspend:
        return None
    return NotAllowed("vendor_cannot", "The licence service cannot suspend this product.")


def has_code(action: "Action", about: Situation) -> NotAllowed | None:
    if about.subscription.activation_code:
        return None
    return NotAllowed("not_provisioned", "The activation code is not ready yet.")


def code_shown_to_customers(action: "Action", about: Situation) -> NotAllowed | None:
    """Customers lose sight of the code while it does not work; staff may look it up at any time."""
    if about.audience != STOREFRONT:
        return None
    if about.subscription.status == S.SUSPENDED:
        return NotAllowed("suspended", "This subscription is suspended. Your distributor can activate it again.")
    if about.subscription.status == S.CANCELLED:
        return NotAllowed("cancelled", cancelled_words(about))
    return None


def order_can_retry(action: "Action", about: Situation) -> NotAllowed | None:
    order = about.order
    if order is None or order.status == OrderStatus.NEEDS_ATTENTION:
        return None
    if order.action == "start" and order.status == OrderStatus.FAILED and about.subscription.status == S.FAILED:
        return None if about.open_order is None else no_open_order(action, about)
    return NotAllowed("order_status", f"{order.number} is {order.get_status_display().lower()}: nothing to settle.")


def not_on_trial(action: "Action", about: Situation) -> NotAllowed | None:
    ends = about.subscription.trial_ends
    if ends is None:
        return None
    return NotAllowed("trial", f"This is a trial until {date_words(ends)}. Convert it first; then seats can change.")


def on_trial(action: "Action", about: Situation) -> NotAllowed | None:
    return None if about.subscription.trial_ends else NotAllowed("no_trial", "This is not a trial.")


def expired_while_working(action: "Action", about: Situation) -> NotAllowed | None:
    """At the vendor a suspended licence stands still, and a renewal of ours would not start it again."""
    if about.subscription.suspended_at is None:
        return None
    return NotAllowed("expired_suspended", "It was suspended when its term ended, and cannot be renewed.")


def has_target(action: "Action", about: Situation) -> NotAllowed | None:
    """Costs a query."""
    sku = about.subscription.sku
    targets = sku.sold_targets()
    if not targets:
        return NotAllowed("no_target", "There is no other SKU to change to.")
    same_product = any(one.target.vendor_product_id == sku.vendor_product_id for one in targets)
    return None if same_product else why_product_stays(about.capabilities)


def why_product_stays(capabilities: port.Capabilities) -> NotAllowed | None:
    if capabilities.product_change == "in_place":
        return None
    return NotAllowed("vendor_cannot", "The licence service cannot change the product of a running subscription.")


def ends_by_an_order(action: "Action", about: Situation) -> NotAllowed | None:
    """An end that was taken over from the vendor is not ours to undo."""
    planned = about.scheduled
    if planned is not None and planned.action == "cancel":
        return order_can_be_undone(action, replace(about, order=planned))
    way_on = "No order here can be undone for it." if about.audience in STAFF else "Ask your distributor."
    return NotAllowed("ends_at_vendor", f"The licence service ends it. {way_on}")


def order_can_be_undone(action: "Action", about: Situation) -> NotAllowed | None:
    """Until its date has come, or until somebody has decided about it."""
    order = about.order
    if order is None:
        return None
    if order.status == OrderStatus.AWAITING_APPROVAL:
        return None
    if order.status != OrderStatus.SCHEDULED:
        words = order.get_status_display().lower()
        return NotAllowed("order_status", f"{order.number} is {words} and can no longer be undone.", order=order)
    if order.due_at is not None and order.due_at <= about.at:
        return NotAllowed("too_late", f"The date of {order.number} has come; it is being applied.", order=order)
    return None


def order_awaits_approval(action: "Action", about: Situation) -> NotAllowed | None:
    order = about.order
    if order is None:
        return None
    if order.status != OrderStatus.AWAITING_APPROVAL:
        words = order.get_status_display().lower()
        return NotAllowed("order_status", f"{order.number} is {words}: there is nothing to decide.", order=order)
    if about.actor is not None and order.actor_id == about.actor.pk:
        return NotAllowed("own_order", "You placed this order yourself: somebody else must decide about it.")
    return None
