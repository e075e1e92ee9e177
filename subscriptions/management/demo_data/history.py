"""Carries the plan out: orders are placed by the people who may, and run through the emulator with its troubles."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from subscriptions import clock, lifecycle, reconciliation, staff_groups
from subscriptions.actions import BSS, STOREFRONT, SYSTEM, local_day
from subscriptions.lifecycle import Wish
from subscriptions.management.demo_data import cast, plan
from subscriptions.management.demo_data.plan import Line, Step
from subscriptions.management.demo_data.stage import Stage
from subscriptions.models import SKU, Account, ChargeKind, Order, Subscription, User
from subscriptions.quotes import When
from subscriptions.vendors.emulator.control import Control

Progress = Callable[[int, int], None]

MAILS_OF = timedelta(days=3)
"""Nine months of mail would hide what is new: those of the last days lie in the folder."""

BUSY_FOR_LONG: dict[str, Any] = {"fault": "http-503", "for_seconds": 14 * 24 * 3600.0, "retry_after": 3600}
TROUBLES: dict[str, dict[str, Any]] = {
    # Tried again by itself, or settled by reading.
    "busy": {"fault": "http-503", "retry_after": 20},
    "overloaded": {"fault": "http-429", "retry_after": 5},
    "closed after applying": {"fault": "applied-closed"},
    "error page": {"fault": "applied-html-500"},
    "cut answer": {"fault": "applied-truncated-xml"},
    "wrong echo": {"fault": "applied-wrong-echo"},
    "lost before applying": {"fault": "html-500"},
    # Refused for good.
    "refused": {"fault": "item-error", "code": 601, "message": "This command is not allowed for this provider."},
    "unknown product": {"fault": "item-error", "code": 9, "message": "The product is unknown."},
    "unlisted number": {"fault": "item-error", "code": 777, "message": "Internal reference 48-11."},
    # Not settled by itself.
    "torn": {"fault": "applied-html-500"},
    "busy for long": BUSY_FOR_LONG,
}


@dataclass
class _Thread:
    """One line of the plan as it unfolds."""

    line: Line
    subscription: Subscription | None = None
    order: Order | None = None
    """The one that was placed last."""


def play(stage: Stage, now: datetime, progress: Progress) -> None:
    """Everything of the plan in its order, from months ago to now; `progress` hears steps done and steps in all."""
    dice = random.Random(plan.SEED)  # noqa: S311 - repeatable on purpose
    steps = [
        (at, step, thread)
        for thread in [_Thread(line) for line in plan.lines()]
        for at, step in _dated(thread.line, now, dice)
    ]
    steps.sort(key=lambda one: one[0])
    stage.hold_mails()
    latest = now - MAILS_OF
    for done, (at, step, thread) in enumerate(steps):
        progress(done, len(steps))
        if latest <= at:
            stage.play_until(latest)
            stage.drop_mails()
            latest = datetime.max.replace(tzinfo=UTC)
        stage.play_until(at)
        _act(stage, step, thread)
    stage.play_until(now)
    stage.work()
    progress(len(steps), len(steps))


def earliest(now: datetime) -> datetime:
    """Some days before the first step, when the companies became customers."""
    return now - timedelta(days=4 + max(line.steps[0].days_ago for line in plan.lines()))


def keep_busy(vendor: Control) -> None:
    """The emulator forgets its faults when it ends: be busy again for the orders that wait because of them."""
    waiting = Order.objects.filter(status__in=["placed", "in_progress"], outcome_code="http-503")
    for subscriber in waiting.values_list("subscription__subscriber_id", flat=True):
        vendor.add_fault(subscriber=subscriber, **BUSY_FOR_LONG)


def _dated(line: Line, now: datetime, dice: random.Random) -> Iterator[tuple[datetime, Step]]:
    before = datetime.min.replace(tzinfo=UTC)
    for step in line.steps:
        # Two of one day, or of one weekend, must not change places.
        at = _working_hours(now - timedelta(days=step.days_ago), now, dice)
        before = max(at, before + timedelta(minutes=20))
        yield before, step


def _working_hours(at: datetime, now: datetime, dice: random.Random) -> datetime:
    """What is older than a day happened on a weekday between 8 and 17 o'clock."""
    if now - at < timedelta(days=1):
        return at
    at -= timedelta(days=max(0, at.weekday() - 4))
    return at.replace(hour=8 + dice.randrange(9), minute=dice.randrange(60))


def _act(stage: Stage, step: Step, thread: _Thread) -> None:
    if step.stem in ("start", "trial"):
        _start(stage, step, thread)
        return
    subscription = _fresh(thread)
    actor, audience = _who(step, thread.line) if step.by else (None, SYSTEM)
    match step.stem:
        case "seats from outside":
            stage.vendor.set_seats(subscription.subscriber_id, step.seats or 0)
        case "code" if actor:
            lifecycle.reveal_code(subscription, "shown", actor=actor, audience=audience)
        case "details":
            reconciliation.read_now(subscription, actor=actor, audience=audience)
        case "correct":
            line = subscription.charges.filter(kind=ChargeKind.PERIOD).latest("period_start")
            lifecycle.correct(line.pk, Decimal(step.amount), step.reason, actor=actor, audience=audience)
        case "retry" | "give_up" | "undo" | "approve" | "reject" if thread.order:
            decide = getattr(lifecycle, step.stem)
            decide(thread.order.pk, actor=actor, audience=audience, reason=step.reason)
            stage.carry_out()
        case _:
            _trouble(stage, step, subscription)
            thread.order = lifecycle.place(_wish(step, subscription), actor=actor, audience=audience)
            stage.carry_out()
            if step.trouble == "torn":
                # Before anybody reads what became of it, the vendor's staff change the number once more.
                stage.vendor.set_seats(subscription.subscriber_id, (step.seats or 0) + 3)


def _start(stage: Stage, step: Step, thread: _Thread) -> None:
    line = thread.line
    sku = SKU.objects.select_related("product").get(code=line.sku)
    account = Account.objects.get(name=line.account)
    ordered_by = User.objects.get(email=cast.email_of(line.ordered_by, line.account)) if line.ordered_by else None
    actor, audience = _who(step, line)
    thread.order = lifecycle.start(
        account, sku, step.seats or 0, actor=actor, audience=audience, ordered_by=ordered_by,
        trial=step.stem == "trial",
    )  # fmt: skip
    thread.subscription = thread.order.subscription
    _trouble(stage, step, thread.subscription)
    stage.carry_out()


def _wish(step: Step, subscription: Subscription) -> Wish:
    after: dict[str, Any] = {"Seats": step.seats} if step.seats else {}
    if step.stem == "auto_renew":
        after = {"Renews automatically": False}
    elif step.sku:
        after = {"SKU": step.sku}
    when: When = None if isinstance(step.when, int) else step.when
    if isinstance(step.when, int):
        when = local_day(clock.now() + timedelta(days=step.when), subscription.account)
    return Wish(subscription.pk, step.stem, after, reason=step.reason, when=when, planned=step.planned)


def _trouble(stage: Stage, step: Step, subscription: Subscription) -> None:
    if step.trouble:
        stage.vendor.add_fault(subscriber=subscription.subscriber_id, **TROUBLES[step.trouble])


def _who(step: Step, line: Line) -> tuple[User, str]:
    if step.by in staff_groups.STAFF_GROUPS:
        return User.objects.get(email=cast.email_of(step.by)), BSS
    return User.objects.get(email=cast.email_of(step.by, line.account)), STOREFRONT


def _fresh(thread: _Thread) -> Subscription:
    if thread.subscription is None:
        raise ValueError(f"The plan changes a subscription before it starts: {thread.line}")
    return Subscription.objects.select_related("sku__product", "account").get(pk=thread.subscription.pk)
