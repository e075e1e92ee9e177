"""What falls due by itself: scheduled orders, periods, terms, trials, grace times, reminders.

One pass takes one step for each subscription that is due; the next pass takes the next, so a time without a worker is
caught up period by period. A step changes the row so that it is not due any more, under its lock: passes of two
workers, late ones and repeated ones do nothing twice, and the ledger holds one line for a period.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q

from subscriptions import actions
from subscriptions.lifecycle import rows
from subscriptions.lifecycle.steps import FROZEN_STEMS, Steps, Taken
from subscriptions.models import OPEN_ORDER, Order, OrderStatus, Subscription, SubscriptionStatus

BATCH = 500
AHEAD = 20_000
"""How many subscriptions are looked up at once; they are worked through in batches."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one transaction did: how many steps of each kind, and the subscriptions whose step raised."""

    done: Counter[str] = field(default_factory=Counter)
    failed: dict[int, Exception] = field(default_factory=dict)
    moved: int = 0
    """How many subscriptions are not due any more as they were."""


def catch_up(at: datetime, *, only: Collection[int] | None = None, batch: int = BATCH) -> Counter[str]:
    """Take every step that is due at `at`, of all subscriptions or of those named; returns how many of each kind.

    What waits for an open order is left for later. Raises what the step of a subscription raised.
    """
    done: Counter[str] = Counter()
    for one in passes(at, only=only, batch=batch):
        done += one.done
        for error in one.failed.values():
            raise error
    return done


def passes(
    at: datetime, *, until: datetime | None = None, only: Collection[int] | None = None, batch: int = BATCH
) -> Iterator[Pass]:
    """`catch_up`, a transaction at a time. A subscription whose step raises is left alone, and the rest goes on.

    With `until`, an earlier instant, only what was due then; it is written as of `at` nevertheless.
    """
    until = at if until is None else min(until, at)
    failed: set[int] = set()
    moved = True
    while moved:
        moved = False
        ids = due_ids(until, only=only, but=failed)
        for start in range(0, len(ids), batch):
            # A worker leaves to another one what that one has in its hands; who names rows waits for them.
            one = _pass(ids[start : start + batch], at, until, skip_locked=only is None)
            failed.update(one.failed)
            moved = moved or bool(one.moved or one.failed)
            yield one


def due_ids(
    at: datetime, *, only: Collection[int] | None = None, but: Collection[int] = (), limit: int | None = AHEAD
) -> list[int]:
    """Subscriptions for which a step is due and possible, those that have waited longest first.

    2 queries; 1 when rows are named.
    """
    ahead = Order.objects.filter(subscription=OuterRef("pk"), status__in=OPEN_ORDER)
    free = Subscription.objects.filter(~Exists(ahead)).exclude(pk__in=but).order_by("next_due_at", "pk")
    planned = Order.objects.filter(status=OrderStatus.SCHEDULED, due_at__lte=at).exclude(
        subscription__status=SubscriptionStatus.SUSPENDED, action__in=FROZEN_STEMS
    )
    if only is not None:
        due = Q(next_due_at__lte=at) | Exists(planned.filter(subscription=OuterRef("pk")))
        return list(free.filter(due, pk__among=only).values_list("pk", flat=True))
    ahead = Order.objects.filter(subscription=OuterRef("subscription"), status__in=OPEN_ORDER)
    planned = planned.filter(~Exists(ahead)).exclude(subscription__in=but).order_by("due_at")
    found = chain(
        planned.values_list("subscription_id", flat=True)[:limit],
        free.filter(next_due_at__lte=at).values_list("pk", flat=True)[:limit],
    )
    return list(dict.fromkeys(found))


def forecast(at: datetime, until: datetime, *, batch: int = BATCH) -> Iterator[Taken]:
    """The steps that fall due until then as things stand at `at`, subscription by subscription; nothing is written.

    Orders of the steps are taken to be confirmed. Subscriptions with an open order are left out: theirs waits for it.
    A step that raises comes with its error.
    """
    ids = due_ids(until, limit=None)
    for start in range(0, len(ids), batch):
        found = Subscription.objects.filter(pk__in=ids[start : start + batch]).order_by("next_due_at", "pk")
        loaded = found.select_related("sku__product", "account")
        situations = actions.situations(loaded, actor=None, audience=actions.SYSTEM)
        steps = Steps(situations, at, until)
        for about in situations:
            try:
                while steps.take(about):
                    about = steps.assume(about)
            except Exception as error:
                steps.forget()
                steps.taken.append(Taken("error", about.subscription, until, error=error))
        yield from steps.taken


def held_up(at: datetime) -> int:
    """How many subscriptions have something due that waits for their open order."""
    open_order = Order.objects.filter(subscription=OuterRef("pk"), status__in=OPEN_ORDER)
    planned = Order.objects.filter(subscription=OuterRef("pk"), status=OrderStatus.SCHEDULED, due_at__lte=at)
    due = Q(next_due_at__lte=at) | Exists(planned)
    return Subscription.objects.filter(Exists(open_order)).filter(due).count()


def _pass(ids: Sequence[int], at: datetime, until: datetime, *, skip_locked: bool) -> Pass:
    try:
        with transaction.atomic(durable=True):
            locked = rows.lock_subscriptions(ids, skip_locked=skip_locked)
            about = actions.situations(locked.values(), actor=None, audience=actions.SYSTEM)
            steps = Steps(about, at, until)
            for one in about:
                steps.take(one)
            steps.write()
        return Pass(steps.done, moved=steps.moved)
    except (OperationalError, InterfaceError):
        # The database is in trouble, and not a row.
        raise
    except Exception as error:
        if len(ids) == 1:
            return Pass(failed={ids[0]: error})
    # Whatever is wrong with one row must not stop the others: halves, until it stands alone.
    half = len(ids) // 2
    first, second = (_pass(some, at, until, skip_locked=skip_locked) for some in (ids[:half], ids[half:]))
    return Pass(first.done + second.done, first.failed | second.failed, first.moved + second.moved)
