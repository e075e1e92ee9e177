"""A wish becomes an order: decided under the lock, written with its event and its job."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django_fsm import can_proceed

from subscriptions import actions, clock
from subscriptions.actions import Action, NotAllowed, Situation
from subscriptions.lifecycle import rows
from subscriptions.models import SKU, Account, Event, Order, Subscription, SubscriptionStatus, User

STALE = "Somebody changed this subscription while the page was open. Look at the new figures and confirm again."


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of one subscription.

    `after` holds the characteristics asked for, such as {"Seats": 30}; for status actions it is filled in here.
    `version` is the one that the person saw; `idempotency_key` makes a second sending lead to the same order.
    """

    subscription_id: int
    stem: str
    after: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    reason: str = ""
    version: int | None = None
    idempotency_key: uuid.UUID | None = None


_TARGET_STATUS = {
    "suspend": SubscriptionStatus.SUSPENDED,
    "activate": SubscriptionStatus.ACTIVE,
    "cancel": SubscriptionStatus.CANCELLED,
}


def place(wish: Wish, *, actor: User | None, audience: str) -> Order:
    """Place one order. Raises NotAllowed (code `stale` when `version` has grown) and then leaves nothing behind."""
    [result] = place_many([wish], actor=actor, audience=audience)
    if isinstance(result, NotAllowed):
        raise result
    return result


def place_many(wishes: Sequence[Wish], *, actor: User | None, audience: str) -> list[Order | NotAllowed]:
    """Place an order for each wish that is allowed, each row on its own merits; one entry for each wish, in order.

    At most one wish for a subscription; a second one is refused. An order without a vendor call completes at once.
    """
    at = clock.now()
    results: dict[int, Order | NotAllowed] = {}
    with transaction.atomic(durable=True):
        locked = rows.lock_subscriptions(wish.subscription_id for wish in wishes)
        known = _orders_by_key(actor, [wish.idempotency_key for wish in wishes])
        about = {
            one.subscription.pk: one for one in actions.situations(locked.values(), actor=actor, audience=audience)
        }
        placed: list[tuple[Order, Subscription, Action]] = []
        taken: set[int] = set()
        for position, wish in enumerate(wishes):
            if wish.idempotency_key in known:
                results[position] = known[wish.idempotency_key]
                continue
            subscription = locked.get(wish.subscription_id)
            if subscription is None:
                results[position] = NotAllowed("unknown", f"There is no subscription SUB-{wish.subscription_id:06d}.")
                continue
            action = actions.ACTIONS[wish.stem]
            if subscription.pk in taken:
                results[position] = NotAllowed("repeated", "Named twice: only the first line was used.")
                continue
            if refusal := _why_not(action, wish, about[subscription.pk]):
                results[position] = refusal
                continue
            taken.add(subscription.pk)
            order = _new_order(action, wish, subscription, at, actor=actor, audience=audience)
            placed.append((order, subscription, action))
            results[position] = order
        _write_placed(placed, at)
    return [results[position] for position in range(len(wishes))]


def _orders_by_key(actor: User | None, keys: Iterable[uuid.UUID | None]) -> dict[uuid.UUID | None, Order]:
    wanted = {key for key in keys if key is not None}
    if not wanted:
        return {}
    return {one.idempotency_key: one for one in Order.objects.filter(actor=actor, idempotency_key__in=wanted)}


def _why_not(action: Action, wish: Wish, about: Situation) -> NotAllowed | None:
    subscription = about.subscription
    if refusal := action.why_not(about):
        return refusal
    if wish.version is not None and wish.version != subscription.version:
        return NotAllowed("stale", STALE)
    if action.takes_seats:
        return actions.why_not_seats(action, subscription, wish.after["Seats"])
    if action is actions.TAKE_THEIRS:
        return why_not_take(subscription, wish.after)
    return None


def why_not_take(subscription: Subscription, theirs: dict[str, Any]) -> NotAllowed | None:
    """Why the vendor's value cannot become ours: outside the SKU's range, or no such move in the life cycle."""
    if subscription.status in (SubscriptionStatus.PENDING, SubscriptionStatus.FAILED):
        return NotAllowed("not_started", "Our record is not started. Retry or Give up its order first.")
    if "Seats" in theirs:
        return actions.why_not_seats(actions.TAKE_THEIRS, subscription, theirs["Seats"])
    moves = {
        SubscriptionStatus.SUSPENDED: (subscription.suspend,),
        SubscriptionStatus.CANCELLED: (subscription.cancel,),
        SubscriptionStatus.ENDING: (subscription.schedule_end, subscription.activate),
        SubscriptionStatus.ACTIVE: (subscription.activate, subscription.keep),
    }.get(theirs["Status"], ())
    if any(can_proceed(move) for move in moves):
        return None
    ours = subscription.get_status_display().lower()
    return NotAllowed("no_such_move", f"Our record is {ours} and cannot become {theirs['Status']}.")


def _new_order(
    action: Action, wish: Wish, subscription: Subscription, at: datetime, *, actor: User | None, audience: str
) -> Order:
    after = wish.after or {"Status": str(_TARGET_STATUS[action.stem])}
    if action is actions.ACTIVATE and subscription.ends_at and subscription.ends_at > at:
        after = {"Status": str(SubscriptionStatus.ENDING)}
    before = wish.before or {
        name: subscription.seats if name == "Seats" else str(subscription.status) for name in after if name != "Ends"
    }
    return Order(
        subscription=subscription,
        action=action.stem,
        before=before,
        after=after,
        actor=actor,
        audience=audience,
        reason=wish.reason,
        idempotency_key=wish.idempotency_key,
        placed_at=at,
        next_attempt_at=at,
    )


def _write_placed(placed: list[tuple[Order, Subscription, Action]], at: datetime) -> None:
    owed: list[Order] = []
    settled: list[Subscription] = []
    events: list[tuple[Order, Subscription, str]] = []
    for order, subscription, action in placed:
        subscription.version += 1
        events.append((order, subscription, "placed"))
        if action.call is None:
            order.claim()
            order.complete()
            order.finished_at, order.next_attempt_at = at, None
            action.effect(subscription, order, at, None)
            settled.append(subscription)
            events.append((order, subscription, "completed"))
        else:
            owed.append(order)
    Order.objects.bulk_create(order for order, _, _ in placed)
    rows.update((subscription for _, subscription, _ in placed), rows.SUBSCRIPTION_FIELDS)
    rows.forget_readings(settled)
    Event.objects.bulk_create(rows.order_event(order, subscription, what, at) for order, subscription, what in events)
    rows.defer(owed)


def start(
    account: Account,
    sku: SKU,
    seats: int,
    *,
    actor: User | None,
    audience: str,
    reason: str = "",
    ordered_by: User | None = None,
    idempotency_key: uuid.UUID | None = None,
) -> Order:
    """Create a pending subscription and the order that provisions it.

    Needs `sku.product` loaded. Raises NotAllowed for seats outside the SKU's range or a SKU that is not sold.
    The same key of the same person leads to the same order.
    """
    at = clock.now()
    subscription = Subscription(account=account, sku=sku, seats=seats, ordered_by=ordered_by, created_at=at)
    if refusal := actions.START.why_not(Situation(subscription, actor, audience)):
        raise refusal
    if not (sku.is_sold and sku.product.is_sold):
        raise NotAllowed("not_sold", f"{sku.name} is not sold any more.")
    if refusal := actions.why_not_seats(actions.START, subscription, seats):
        raise refusal
    known = _orders_by_key(actor, [idempotency_key])
    if known:
        return known[idempotency_key]
    wish = Wish(0, "start", {"Seats": seats, "SKU": sku.code}, {"Seats": 0}, reason, None, idempotency_key)
    try:
        with transaction.atomic(durable=True):
            subscription.save(force_insert=True)
            order = _new_order(actions.START, wish, subscription, at, actor=actor, audience=audience)
            _write_placed([(order, subscription, actions.START)], at)
    except IntegrityError:
        # Two sendings of one page at the same instant: the other one was first.
        known = _orders_by_key(actor, [idempotency_key])
        if not known:
            raise
        return known[idempotency_key]
    return order
