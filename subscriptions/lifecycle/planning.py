"""Orders that wait: undone by who may, decided about by staff."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from subscriptions import actions, clock
from subscriptions.actions import Action, NotAllowed, Situation
from subscriptions.lifecycle import charges, orders, rows
from subscriptions.lifecycle.orders import Told
from subscriptions.lifecycle.steps import FROZEN_STEMS, why_not_now
from subscriptions.models import Event, Order, OrderStatus, Subscription, SubscriptionStatus, User

Move = Callable[[Order, Subscription, datetime], Told]


def undo(order_id: int, *, actor: User | None, audience: str, reason: str = "") -> Order:
    """Withdraw a scheduled order before its date, or one that awaits approval; no line of the ledger comes of it.

    Undoing a planned cancel keeps the subscription: `ending` becomes `active` again. Raises NotAllowed.
    """

    def move(order: Order, subscription: Subscription, at: datetime) -> Told:
        why = reason or "Undone."
        events = orders.withdraw([(order, subscription)], at, why=why, actor=actor, audience=audience)
        _end_what_never_began(order, subscription, at)
        return events, []

    return _decide(actions.UNDO, order_id, move, actor=actor, audience=audience)


def approve(order_id: int, *, actor: User | None, audience: str, reason: str = "") -> Order:
    """Let an order go that awaits approval: it is placed, or scheduled for its date. `reason` is the comment.

    What was possible when it was ordered is decided again. Raises NotAllowed, also for one's own order.
    """

    def move(order: Order, subscription: Subscription, at: datetime) -> Told:
        about = actions.Situation(subscription, None, actions.SYSTEM)
        if refusal := why_not_now(order, actions.ACTIONS[order.action], about):
            raise refusal
        said = _said(order, subscription, "approved", at, actor, audience, reason)
        if order.due_at is not None:
            order.schedule()
            if order.action == actions.CANCEL.stem:
                orders.end_later(order, subscription)
            rows.update([order], rows.ORDER_FIELDS)
            return [said, rows.order_event(order, subscription, "scheduled", at)], []
        order.approve()
        # Its time for the vendor begins now.
        order.retried_at = at
        events, lines = orders.let_go([(order, subscription)], at)
        return [said, *events], lines

    return _decide(actions.APPROVE, order_id, move, actor=actor, audience=audience)


def reject(order_id: int, *, actor: User | None, audience: str, reason: str) -> Order:
    """End an order that awaits approval; nothing is charged. `reason` is the comment, which the customer reads."""

    def move(order: Order, subscription: Subscription, at: datetime) -> Told:
        order.reject()
        order.finished_at, order.outcome_message = at, reason
        rows.update([order], rows.ORDER_FIELDS)
        _end_what_never_began(order, subscription, at)
        return [_said(order, subscription, "rejected", at, actor, audience, reason)], []

    return _decide(actions.REJECT, order_id, move, actor=actor, audience=audience)


def _decide(action: Action, order_id: int, move: Move, *, actor: User | None, audience: str) -> Order:
    at = clock.now()
    with transaction.atomic(durable=True):
        ids = Order.objects.filter(pk=order_id).values_list("subscription_id", flat=True)
        subscription = rows.lock_subscriptions(ids)[ids[0]]
        order = rows.lock_orders([order_id])[order_id]
        about = actions.situation(subscription, actor=actor, audience=audience, order=order)
        refusal = why_not_undo(about) if action is actions.UNDO else action.why_not(about)
        if refusal:
            raise refusal
        events, lines = move(order, subscription, at)
        subscription.version += 1
        rows.write_subscriptions([subscription])
        rows.write_events(events)
        charges.write(lines)
    return order


def why_not_undo(about: Situation) -> NotAllowed | None:
    """Why `about.order` cannot be undone.

    To undo a planned end is to keep the subscription: that permission counts. Whoever asked for an order may withdraw
    it while it awaits approval, with any role that may ask for it.
    """
    order = about.order
    if order is None:
        raise ValueError("Only an order can be undone.")
    ending = about.subscription.status == SubscriptionStatus.ENDING and order.status == OrderStatus.SCHEDULED
    action = actions.KEEP if ending and order.action == actions.CANCEL.stem else actions.UNDO
    if order.status == OrderStatus.AWAITING_APPROVAL and about.actor and order.actor_id == about.actor.pk:
        action = replace(actions.UNDO, roles=actions.UNDO.roles | actions.ACTIONS[order.action].roles)
    stands_still = about.subscription.status == SubscriptionStatus.SUSPENDED and order.action in FROZEN_STEMS
    refusal = action.why_not(about)
    # Its date may have come and gone meanwhile.
    if refusal and not (stands_still and refusal.code == "too_late"):
        return refusal
    if about.audience == actions.STOREFRONT and actions.STOREFRONT not in actions.ACTIONS[order.action].audiences:
        return NotAllowed("audience", "Your distributor planned this. Ask them to undo it.")
    return None


def _said(
    order: Order, subscription: Subscription, what: str, at: datetime, actor: User | None, audience: str, reason: str
) -> Event:
    return rows.event(
        subscription, f"{order.action}.{what}", at, order=order, actor=actor, audience=audience, reason=reason,
        before=order.before, after=order.after,
    )  # fmt: skip


def _end_what_never_began(order: Order, subscription: Subscription, at: datetime) -> None:
    """A start that is not wanted any more leaves a subscription behind that nobody will ever use."""
    if order.action != actions.START.stem:
        return
    subscription.refuse()
    # Written on its own: PostgreSQL judges each move.
    rows.write_subscriptions([subscription])
    subscription.give_up(at=at)
    subscription.trial_of = None
