"""One attempt to carry out an order: taken under the lock, applied exactly once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import transaction
from django.db.models import Max

from subscriptions import actions, clock
from subscriptions.lifecycle import charges, drift, rows
from subscriptions.lifecycle.orders import withdraw_activations, withdraw_what_is_left
from subscriptions.models import SKU, Charge, Event, Order, OrderStatus, Purpose, Subscription, VendorCall
from subscriptions.vendors.port import Answer, Secret


@dataclass(frozen=True, slots=True)
class Attempt:
    """Decision: write this call down, then make it."""

    call: VendorCall


@dataclass(frozen=True, slots=True)
class Wait:
    """Decision: nothing may be sent before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Decision: a person must look at it."""

    code: str
    message: str


Decision = Attempt | Wait | Hold

_UNDER_WAY = (OrderStatus.PLACED, OrderStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class Case:
    """An order under its lock, with all that a decision about it looks at; `calls` are its attempts, oldest first."""

    order: Order
    subscription: Subscription
    calls: list[VendorCall]


def claim_many(
    order_ids: Iterable[int], decide: Callable[[list[Case]], Sequence[Decision]]
) -> list[tuple[Case, VendorCall]]:
    """Take orders for one attempt each; returns those to be made, and leaves out orders with nothing to do now.

    `decide` runs once, under the locks, and only computes: one decision for each case. Attempts are committed before
    their socket opens; while one is unfinished, no other worker sends. A finished or held order is left alone.
    """
    at = clock.now()
    with transaction.atomic(durable=True):
        found = dict(
            Order.objects.filter(pk__among=set(order_ids), status__in=_UNDER_WAY).values_list("pk", "subscription_id")
        )
        subscriptions = rows.lock_subscriptions(found.values())
        orders = [one for one in rows.lock_orders(found).values() if one.status in _UNDER_WAY]
        calls: dict[int | None, list[VendorCall]] = defaultdict(list)
        for call in (
            VendorCall.objects.filter(order__among=[one.pk for one in orders]).defer("asked", "answered").order_by("pk")
        ):
            calls[call.order_id].append(call)
        cases = [Case(one, subscriptions[one.subscription_id], calls[one.pk]) for one in orders]
        claimed: list[tuple[Case, VendorCall]] = []
        waiting: list[Order] = []
        held: list[tuple[Case, Hold]] = []
        for case, decision in zip(cases, decide(cases), strict=True):
            match decision:
                case Wait(until):
                    case.order.next_attempt_at = until
                    waiting.append(case.order)
                case Hold():
                    held.append((case, decision))
                case Attempt(call):
                    _begin(case.order, call)
                    claimed.append((case, call))
        rows.insert(call for _, call in claimed)
        rows.update([*waiting, *(case.order for case, _ in claimed)], rows.ORDER_FIELDS)
        rows.defer_soon(waiting)
        _hold_in_turn(held, at)
    return claimed


def _begin(order: Order, call: VendorCall) -> None:
    if order.status == OrderStatus.PLACED:
        order.claim()
    order.first_sent_at = order.first_sent_at or call.started_at
    order.next_attempt_at = call.deadline


def _hold_in_turn(held: Sequence[tuple[Case, Hold]], at: datetime) -> None:
    placed = [case.order for case, _ in held if case.order.status == OrderStatus.PLACED]
    for order in placed:
        order.claim()
    # Written on its own: PostgreSQL judges each move, and knows none from placed to held.
    rows.update(placed, rows.ORDER_FIELDS)
    for case, decision in held:
        _hold(case.order, decision.code, decision.message)
    rows.update([case.order for case, _ in held], rows.ORDER_FIELDS)
    if held:
        rows.write_events([rows.order_event(case.order, case.subscription, "held", at) for case, _ in held])


def _hold(order: Order, code: str, message: str) -> None:
    order.hold()
    order.next_attempt_at = None
    order.outcome_code, order.outcome_message, order.needs_staff = code, message, True


class Verdict(StrEnum):
    """What became of an attempt."""

    COMPLETE = "complete"
    """The vendor has it: apply the effect."""
    FAIL = "fail"
    """Refused: our record stays."""
    HOLD = "hold"
    """Cannot be settled without a person."""
    RELEASE = "release"
    """Surely not applied: `placed` again, tried at `again_at`."""
    AGAIN = "again"
    """Not known yet: stays in progress, looked at again at `again_at`."""


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt's answer and verdict; `evidence` is what a settling read proved."""

    call_id: int
    order_id: int
    subscription_id: int
    answer: Answer
    verdict: Verdict
    evidence: str = ""
    again_at: datetime | None = None
    code: Secret | None = None
    message: str = ""


def apply(result: Result) -> bool:
    """`apply_many` for one: True when the verdict was applied, False when it came too late to count."""
    return apply_many([result])[0]


def apply_many(results: Sequence[Result]) -> list[bool]:
    """Complete each attempt's row and move its order by the verdict, exactly once.

    A verdict that came too late changes nothing but the attempt's own row, and the entry is False: a late or second
    worker says so and goes on. Too late is one for an order that is no longer in progress, or that was sent again or
    decided about by a person since the attempt began. The subscription changes only with COMPLETE (and, for a start,
    with FAIL).
    """
    at = clock.now()
    applied: list[bool] = []
    with transaction.atomic(durable=True):
        subscriptions = rows.lock_subscriptions(one.subscription_id for one in results)
        orders = rows.lock_orders(one.order_id for one in results)
        calls = rows.lock_calls(one.call_id for one in results)
        newest: dict[int, int] = dict(
            VendorCall.objects.filter(order__among=orders, purpose=Purpose.WRITE)
            .order_by()
            .values_list("order")
            .annotate(Max("pk"))
        )
        events: list[Event] = []
        lines: list[tuple[Event, list[Charge]]] = []
        moved: list[Order] = []
        changed: dict[int, Subscription] = {}
        for result in results:
            order, subscription = orders[result.order_id], subscriptions[result.subscription_id]
            call = calls.get(result.call_id)
            if call is not None:
                rows.finish(call, result.answer, at, result.evidence)
            if call is None or order.status != OrderStatus.IN_PROGRESS or _overtaken(call, order, newest):
                applied.append(False)
                continue
            period_before = subscription.period_start
            what = _move(order, subscription, result, at)
            moved.append(order)
            applied.append(True)
            if what:
                event = rows.order_event(order, subscription, what, at)
                events.append(event)
                if what == "completed":
                    lines.append((event, charges.of_order(order, subscription, period_before, at)))
            if what in ("completed", "failed"):
                subscription.version += 1
                changed[subscription.pk] = subscription
        rows.update(calls.values(), rows.CALL_FIELDS)
        events.extend(withdraw_what_is_left(changed.values(), at))
        events.extend(withdraw_activations(((one, subscriptions[one.subscription_id]) for one in moved), at))
        rows.write_subscriptions(changed.values())
        rows.forget_readings(changed.values())
        rows.update(moved, rows.ORDER_FIELDS)
        drift.end_settled(moved, at)
        rows.write_events(events)
        charges.write(lines)
        rows.defer_soon(moved)
    return applied


def _overtaken(call: VendorCall, order: Order, newest: dict[int, int]) -> bool:
    """An answer to an earlier sending must not end or release a later one, nor one that means to cancel it."""
    return newest.get(order.pk, 0) > call.pk or (order.retried_at is not None and call.started_at < order.retried_at)


def _move(order: Order, subscription: Subscription, result: Result, at: datetime) -> str:
    """Make the transition in memory; returns the event's word, empty when nothing worth telling happened."""
    open_question = result.verdict == Verdict.AGAIN
    # A read that settles nothing must not wipe out why the order is being read about.
    order.outcome_code = result.answer.code[:64] or (order.outcome_code if open_question else "")
    order.outcome_message = result.message
    order.needs_staff = result.answer.alert or (open_question and order.needs_staff)
    order.next_attempt_at = result.again_at
    match result.verdict:
        case Verdict.COMPLETE if order.abandoned:
            return fail_in_memory(order, subscription, at)
        case Verdict.COMPLETE if reason := _outside_range(order, subscription):
            _hold(order, "outside_range", reason)
            return "held"
        case Verdict.COMPLETE:
            order.complete()
            order.finished_at, order.outcome_code, order.outcome_message = at, "", ""
            actions.ACTIONS[order.action].effect(subscription, order, at, result.code)
            return "completed"
        case Verdict.FAIL:
            return fail_in_memory(order, subscription, at)
        case Verdict.HOLD:
            _hold(order, order.outcome_code, order.outcome_message)
            return "held"
        case Verdict.RELEASE:
            order.release()
            return "released"
    return ""


def _outside_range(order: Order, subscription: Subscription) -> str:
    """Why seats that the vendor has confirmed cannot be written: the SKU was narrowed while the order was under way."""
    sku = subscription.sku
    if order.action == actions.CHANGE_SKU.stem:
        sku = SKU.objects.get(code=order.after["SKU"])
    least, most = sku.seats_min, sku.seats_max
    seats = order.after.get("Seats")
    if seats is None or order.action == actions.PUSH_OURS.stem or least <= seats <= most:
        return ""
    return (
        f"The licence service has {actions.seats_words(seats)} now, and the SKU's range, {least:,} to {most:,}, no "
        "longer holds them. Widen the range and Retry, or Give up and settle the difference from Get details."
    )


def fail_in_memory(order: Order, subscription: Subscription, at: datetime) -> str:
    order.fail()
    order.finished_at, order.next_attempt_at = at, None
    if order.action == "start":
        subscription.refuse()
    return "failed"
