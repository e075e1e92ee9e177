"""What is planned already, and what becomes of it when something else is ordered."""

from datetime import date
from typing import Any

from subscriptions import actions
from subscriptions.actions import Action, NotAllowed, Situation
from subscriptions.lifecycle.orders import DISCARD, KEEP, Placed, Wish
from subscriptions.lifecycle.steps import FROZEN_STEMS
from subscriptions.models import Order, Subscription, SubscriptionStatus

S = SubscriptionStatus
WITHDRAWN, STANDS_STILL = "withdrawn", "stands_still"


def why_not_plan(action: Action, about: Situation, on: date) -> NotAllowed | None:
    """Why `action` cannot be planned for a day: the subscription is over then, or its end is planned already."""
    subscription = about.subscription
    if action is actions.CANCEL and subscription.ends_at:
        return NotAllowed("ending", f"It ends already, on {actions.day(subscription.ends_at, subscription)}.")
    if action is not actions.ACTIVATE:
        return None
    ends = actions.local_day(subscription.ends_at, subscription.account) if subscription.ends_at else None
    if ends is None and not subscription.auto_renew:
        ends = subscription.term_end
    ends = subscription.trial_ends or ends
    if ends is not None and on >= ends:
        return NotAllowed("over_by_then", f"It ends on {actions.date_words(ends)}. Choose an earlier day.")
    if about.scheduled is not None and about.scheduled.action == actions.CANCEL.stem:
        planned = planned_words(about.scheduled, subscription)
        return NotAllowed("end_planned", f"{planned} Nothing else can be planned beside it.", order=about.scheduled)
    return None


def take_place_of(
    scheduled: Order | None, action: Action, wish: Wish, about: Situation, *, planned: bool
) -> Order | None:
    """The scheduled order that this one withdraws, if any. Raises NotAllowed where the person must choose first."""
    if scheduled is None:
        return None
    if choices := planned_choices(about, action, planned=planned, after=wish.after):
        if wish.planned not in choices:
            words = planned_words(scheduled, about.subscription)
            if wish.planned:
                raise NotAllowed("cannot_keep", f"{words} It cannot be kept beside this.", order=scheduled)
            raise NotAllowed("order_scheduled", f"{words} Say what becomes of it.", order=scheduled)
        return scheduled if wish.planned == DISCARD else None
    return scheduled if _supersedes(action, wish, scheduled, about.subscription, planned=planned) else None


def planned_choices(about: Situation, action: Action, *, planned: bool, after: dict[str, Any]) -> tuple[str, ...]:
    """What the person can choose to become of the scheduled order when `action` is placed; empty: nothing to choose.

    A change that is planned itself, such as an activation with a suspension, can only take its place. KEEP is not
    offered where the planned one would no longer be what was agreed: its price was computed from other seats, or
    nothing would be left to change.
    """
    scheduled, goes_on = about.scheduled, _goes_on(action, after, about.subscription)
    if scheduled is None or not (
        goes_on or action in (actions.INCREASE, actions.DECREASE, actions.CHANGE_SKU, actions.SUSPEND)
    ):
        return ()
    if action is actions.SUSPEND and not planned:
        # What is planned stands still meanwhile.
        return ()
    if goes_on and scheduled.action in (actions.ACTIVATE.stem, actions.CANCEL.stem):
        return ()
    costs = bool(scheduled.quote and scheduled.quote["lines"])
    pointless = _nothing_left_of(scheduled, after.get("Seats"))
    if planned or action is actions.CHANGE_SKU or pointless or (costs and not goes_on):
        return (DISCARD,)
    return (KEEP, DISCARD)


def _goes_on(action: Action, after: dict[str, Any], subscription: Subscription) -> bool:
    """Does a suspended one go on with it, and what stood still for it as well?"""
    taken = action is actions.TAKE_THEIRS and after.get("Status") in (S.ACTIVE, S.ENDING)
    return action is actions.ACTIVATE or (taken and subscription.status == S.SUSPENDED)


def _nothing_left_of(scheduled: Order, seats: int | None) -> bool:
    """Would a planned change of seats find its number, or one beyond it, when it falls due?"""
    if seats is None or scheduled.action not in (actions.INCREASE.stem, actions.DECREASE.stem):
        return False
    more = scheduled.after["Seats"] - seats
    return more <= 0 if scheduled.action == actions.INCREASE.stem else more >= 0


def _supersedes(action: Action, wish: Wish, scheduled: Order, subscription: Subscription, *, planned: bool) -> bool:
    """A new plan does, an activation now that of one, and the end of renewals that of a change in place of one.

    A cancel now does not: should the licence service refuse it, what was planned goes on.
    """
    if action is actions.AUTO_RENEW:
        return not wish.after["Renews automatically"] and is_at_renewal(scheduled, subscription)
    return planned or (_goes_on(action, wish.after, subscription) and scheduled.action == actions.ACTIVATE.stem)


def is_at_renewal(scheduled: Order, subscription: Subscription) -> bool:
    """Is it a change of the SKU that would come in place of the renewal? Needs `account` loaded."""
    ends = subscription.term_end and actions.midnight(subscription.term_end, subscription.account)
    return scheduled.action == actions.CHANGE_SKU.stem and scheduled.due_at == ends


def planned_words(scheduled: Order, subscription: Subscription) -> str:
    """A sentence that names a scheduled order, such as "A decrease to 20 seats is planned for 1 March 2027."""
    when = actions.day(scheduled.due_at, subscription) if scheduled.due_at else "a later day"
    what = {
        "increase": "An increase to {seats}",
        "decrease": "A decrease to {seats}",
        "cancel": "The end of the subscription",
        "activate": "An activation",
        "change_sku": "A change of the SKU",
    }.get(scheduled.action, "A change")
    seats = actions.seats_words(scheduled.after["Seats"]) if "Seats" in scheduled.after else ""
    return f"{what.format(seats=seats)} is planned for {when}."


def becomes_of_planned(placed: Placed) -> str:
    """What an order does to the one that was planned before it: WITHDRAWN, with it or when it is done; STANDS_STILL,
    until the subscription is activated again; or empty, when that one happens on its day or there is none.
    """
    planned = placed.planned
    if planned is None:
        return ""
    if placed.withdrawn is not None or placed.order.after.get("Status") == S.CANCELLED:
        return WITHDRAWN
    stops = placed.order.after.get("Status") == S.SUSPENDED != placed.subscription.status
    return STANDS_STILL if stops and planned.action in FROZEN_STEMS else ""
