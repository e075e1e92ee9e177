"""Orders as they are written: new ones in bulk, and those that need no vendor carried out at once."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from subscriptions import actions
from subscriptions.actions import Action
from subscriptions.lifecycle import charges, drift, rows
from subscriptions.models import Charge, Event, Order, OrderStatus, Subscription, SubscriptionStatus, User
from subscriptions.quotes import Pinned, When
from subscriptions.vendors.port import Secret

S = OrderStatus
PLACED = {S.SCHEDULED: "scheduled", S.AWAITING_APPROVAL: "awaiting_approval"}
KEEP, DISCARD = "keep", "discard"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of one subscription.

    `after` holds the characteristics asked for, such as {"Seats": 30}; for status actions it is filled in here.
    `when` is a chosen day or one of the words of `quotes`; `planned` says what becomes of an order that is scheduled
    already: KEEP or DISCARD. `quote` is the one that was shown, and is what will be charged. `version` is the one that
    the person saw; `idempotency_key` makes a second sending lead to the same order. `then_activate_on` plans the
    activation together with a suspension; `quote` is then that of the activation. `at_most` is the amount that was
    shown as due for all of it, now and later, less than 0 for a credit: what comes to more is refused.
    """

    subscription_id: int
    stem: str
    after: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    reason: str = ""
    version: int | None = None
    idempotency_key: uuid.UUID | None = None
    when: When = None
    planned: str = ""
    quote: Pinned | None = None
    then_activate_on: date | None = None
    at_most: Decimal | None = None


Told = tuple[list[Event], list[tuple[Event, list[Charge]]]]
"""Unsaved events, and the unsaved lines of the ledger that some of them lead to."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A new order, still in memory, with the one that was planned before it, and one that is planned after it."""

    order: Order
    subscription: Subscription
    action: Action
    planned: Order | None = None
    """The scheduled one that there was; see `plans.becomes_of_planned`."""
    withdrawn: Order | None = None
    """The same, where this one takes its place."""
    then: Order | None = None


_TARGET_STATUS = {
    "suspend": SubscriptionStatus.SUSPENDED,
    "activate": SubscriptionStatus.ACTIVE,
    "cancel": SubscriptionStatus.CANCELLED,
    "renew": SubscriptionStatus.ACTIVE,
}
# What a change touches besides: a date says when, and names nothing that was before.
_NO_BEFORE = ("Ends", "Effective", "Line", "Amount")


def new(
    action: Action,
    wish: Wish,
    subscription: Subscription,
    at: datetime,
    *,
    actor: User | None,
    audience: str,
    pinned: Pinned | None = None,
    status: str = S.PLACED,
    due_at: datetime | None = None,
) -> Order:
    after = wish.after or {}
    if action.stem in _TARGET_STATUS:
        after = {"Status": str(_TARGET_STATUS[action.stem])} | after
    if action is actions.CONVERT:
        after = {"Trial": False}
    if action is actions.ACTIVATE and subscription.ends_at and subscription.ends_at > at:
        after = {"Status": str(SubscriptionStatus.ENDING)}
    return Order(
        subscription=subscription,
        action=action.stem,
        status=status,
        before=wish.before or standing(subscription, after),
        after=after,
        actor=actor,
        audience=audience,
        reason=wish.reason,
        idempotency_key=wish.idempotency_key,
        quote=pinned and pinned.to_json(),
        placed_at=at,
        due_at=due_at,
        next_attempt_at=at if status == S.PLACED else None,
    )


def standing(subscription: Subscription, after: dict[str, Any]) -> dict[str, Any]:
    """The characteristics that an order touches, as they are now."""
    now = {
        "Seats": subscription.seats,
        "Status": str(subscription.status),
        "SKU": subscription.sku.code,
        "Product": subscription.sku.vendor_product_id,
        "Renews automatically": subscription.auto_renew,
        "Trial": subscription.trial_ends is not None,
    }
    return {name: now[name] for name in after if name not in _NO_BEFORE}


def write(placed: list[Placed], at: datetime) -> None:
    """Insert orders with all that follows from them at once: what they replace, their events, charges and jobs.

    The caller holds the locks of their subscriptions.
    """
    events: list[Event] = []
    lines: list[tuple[Event, list[Charge]]] = []
    owed: list[Order] = []
    settled: list[Subscription] = []
    # Before the new ones come: PostgreSQL allows one scheduled order at a time.
    events.extend(withdraw([(one.withdrawn, one.subscription) for one in placed if one.withdrawn], at))
    for one in placed:
        order, subscription = one.order, one.subscription
        subscription.version += 1
        if order.status == S.SCHEDULED and one.action is actions.CANCEL:
            end_later(order, subscription)
        events.append(rows.order_event(order, subscription, PLACED.get(order.status, "placed"), at))
        if one.then:
            events.append(rows.order_event(one.then, subscription, "scheduled", at))
        if order.status != S.PLACED:
            continue
        if one.action.asks(order):
            owed.append(order)
            continue
        order.claim()
        done, found = complete(order, subscription, at)
        events.append(done)
        lines.append((done, found))
        settled.append(subscription)
    events.extend(withdraw_what_is_left(settled, at))
    rows.insert([one.order for one in placed] + [one.then for one in placed if one.then])
    drift.end_settled((one.order for one in placed), at)
    rows.write_subscriptions(one.subscription for one in placed)
    rows.forget_readings(settled)
    rows.write_events(events)
    charges.write(lines)
    rows.defer(owed)


def complete(
    order: Order, subscription: Subscription, at: datetime, code: Secret | None = None
) -> tuple[Event, list[Charge]]:
    """Complete an order in memory, with its effect; returns the event and the lines that must be written with it."""
    order.complete()
    order.finished_at, order.next_attempt_at, order.outcome_code, order.outcome_message = at, None, "", ""
    before = subscription.period_start
    actions.ACTIONS[order.action].effect(subscription, order, at, code)
    return rows.order_event(order, subscription, "completed", at), charges.of_order(order, subscription, before, at)


def end_later(order: Order, subscription: Subscription) -> None:
    """A planned cancel shows at once: our own term on a licence that still runs (product.md, section 2)."""
    if order.due_at is None:
        raise ValueError(f"{order.number} has no date")
    if subscription.status == SubscriptionStatus.ACTIVE:
        subscription.schedule_end(ends_at=order.due_at)
    else:
        subscription.ends_at = order.due_at


def withdraw(
    planned: Iterable[tuple[Order, Subscription]],
    at: datetime,
    *,
    why: str = "Another change took its place.",
    actor: User | None = None,
    audience: str = actions.SYSTEM,
) -> list[Event]:
    """Withdraw orders that wait, and take back what their placing showed. Writes the orders, not the subscriptions.

    Returns the unsaved events. No line of the ledger comes of it.
    """
    withdrawn, events = [], []
    for order, subscription in planned:
        order.withdraw()
        order.finished_at, order.outcome_message = at, why
        if order.action == actions.CANCEL.stem and order.due_at == subscription.ends_at:
            _go_on(subscription)
        withdrawn.append(order)
        events.append(
            rows.event(
                subscription, f"{order.action}.withdrawn", at, order=order, actor=actor, audience=audience, reason=why,
                before=order.after, after=standing(subscription, order.after),
            )
        )  # fmt: skip
    rows.update(withdrawn, rows.ORDER_FIELDS)
    return events


def withdraw_what_is_left(changed: Iterable[Subscription], at: datetime) -> list[Event]:
    """Withdraw what is planned for those that are cancelled now; 1 query more, and none where nothing is over."""
    over = {one.pk: one for one in changed if one.status == SubscriptionStatus.CANCELLED}
    return withdraw(_planned_for(over), at, why="The subscription is over.")


def withdraw_activations(moved: Iterable[tuple[Order, Subscription]], at: datetime) -> list[Event]:
    """Withdraw the activations that were planned with suspensions that failed; no query where none has."""
    running = {one.pk: one for order, one in moved if (order.action, order.status) == (actions.SUSPEND.stem, S.FAILED)}
    left = [(order, one) for order, one in _planned_for(running) if order.action == actions.ACTIVATE.stem]
    return withdraw(left, at, why="The subscription was not suspended.")


def _planned_for(subscriptions: dict[int, Subscription]) -> list[tuple[Order, Subscription]]:
    if not subscriptions:
        return []
    planned = Order.objects.select_for_update(no_key=True).filter(subscription__among=subscriptions, status=S.SCHEDULED)
    return [(order, subscriptions[order.subscription_id]) for order in planned.order_by("pk")]


def _go_on(subscription: Subscription) -> None:
    match subscription.status:
        case SubscriptionStatus.ENDING:
            subscription.keep()
        case SubscriptionStatus.SUSPENDED:
            subscription.ends_at = None


def let_go(waited: Collection[tuple[Order, Subscription]], at: datetime) -> Told:
    """What waiting orders do once they are `placed`: owe a job, or complete at once when no vendor is asked.

    The orders are written here, move by move, since PostgreSQL judges each; the caller writes the rest.
    """
    for order, _ in waited:
        order.next_attempt_at = at
    rows.update([order for order, _ in waited], rows.ORDER_FIELDS)
    rows.defer(order for order, _ in waited if actions.ACTIONS[order.action].asks(order))
    ours = [(order, subscription) for order, subscription in waited if not actions.ACTIONS[order.action].asks(order)]
    for order, _ in ours:
        order.claim()
    rows.update([order for order, _ in ours], rows.ORDER_FIELDS)
    told = [complete(order, subscription, at) for order, subscription in ours]
    rows.update([order for order, _ in ours], rows.ORDER_FIELDS)
    return [event for event, _ in told], told
