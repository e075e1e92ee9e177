"""Locking and writing many rows at once; private to `lifecycle`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, models
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import actions, clock
from subscriptions.actions import terms
from subscriptions.models import Event, Order, Subscription, User, VendorCall
from subscriptions.models.notice import told
from subscriptions.vendors.port import Answer

# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())

FEW = 20
"""Orders that are written together are so many clicks up to this number, and bulk work beyond it."""
TOGETHER = 500
"""How many orders travel in one job, and to the vendor in one container."""
AFTER_CLICKS = -5
"""Priority of jobs that everything overtakes that somebody waits for; the mail about their orders comes after them."""
SUBSCRIPTION_FIELDS = (
    "status", "sku", "seats", "activation_code", "started_at", "suspended_at", "ends_at", "cancelled_at", "auto_renew",
    "anchor_day", "period_start", "period_end", "term_end", "trial_ends", "trial_of", "grace_ends", "reminder_due_on",
    "peak_seats", "next_due_at", "version",
)  # fmt: skip
# Those of them that time alone changes.
DATE_FIELDS = (
    "status", "ends_at", "period_start", "period_end", "term_end", "grace_ends", "reminder_due_on", "peak_seats",
    "next_due_at", "version",
)  # fmt: skip
ORDER_FIELDS = (
    "status", "before", "generation", "first_sent_at", "next_attempt_at", "retried_at", "finished_at", "abandoned",
    "outcome_code", "outcome_message", "needs_staff",
)  # fmt: skip
CALL_FIELDS = (
    "finished_at", "outcome", "code", "message", "answered", "evidence", "http_status", "latency_ms",
)  # fmt: skip


def lock_subscriptions(ids: Iterable[int], *, skip_locked: bool = False) -> dict[int, Subscription]:
    rows = (
        Subscription.objects.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
        .select_related("sku__product", "account")
        .filter(pk__in=set(ids))
        .order_by("pk")
    )
    return {row.pk: row for row in rows}


def lock_orders(ids: Iterable[int]) -> dict[int, Order]:
    rows = Order.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=set(ids)).order_by("pk")
    return {row.pk: row for row in rows}


def update(rows: Iterable[models.Model], fields: Sequence[str]) -> None:
    """Write `fields` of all rows (of one model) in one statement; the ORM's bulk_update is 20 times slower."""
    found = list(rows)
    if not found:
        return
    meta = found[0]._meta
    columns: list[Any] = [meta.get_field(name) for name in fields]
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(one.column)} = v.{quote(one.column)}" for one in columns)
    arrays = ", ".join(f"%s::{one.db_type(connection)}[]" for one in columns)
    names = ", ".join(quote(one.column) for one in columns)
    sql = (
        f"UPDATE {quote(meta.db_table)} AS t SET {assignments} "  # noqa: S608 - names come from the model alone
        f"FROM unnest(%s::bigint[], {arrays}) AS v(id, {names}) WHERE t.id = v.id"
    )
    values = [[one.get_db_prep_save(getattr(row, one.attname), connection) for row in found] for one in columns]
    with connection.cursor() as cursor:
        cursor.execute(sql, [[row.pk for row in found], *values])


def write_subscriptions(subscriptions: Iterable[Subscription], fields: Sequence[str] = SUBSCRIPTION_FIELDS) -> None:
    """Write all that `lifecycle` owns of them, with what falls due next. Needs `sku` and `account` loaded."""
    found = list(subscriptions)
    for one in found:
        one.next_due_at = terms.next_due(one)
    update(found, fields)


def write_events(events: Iterable[Event]) -> list[Event]:
    """Write them, and owe one job for the mail about all of those that somebody is told about."""
    written = Event.objects.bulk_create(events)
    ids: list[Any] = [one.pk for one in written if told(one.kind)]
    if ids:
        _queue.defer_job(
            Job(
                task_name="subscriptions.notify", queue="mail", lock=None, queueing_lock=None,
                task_kwargs={"event_ids": ids},
            )
        )  # fmt: skip
    return written


def defer(orders: Iterable[Order], *, at: datetime | None = None) -> None:
    """Jobs for orders, in the transaction of the caller."""
    if jobs := _jobs(list(orders), at):
        _queue.batch_defer_jobs(jobs)


def _jobs(orders: Sequence[Order], at: datetime | None) -> list[Job]:
    """One for each of a few, which nothing of a bulk run holds up; many travel together."""
    if len(orders) > FEW:
        return [
            Job(
                task_name="subscriptions.fulfil_many",
                queue="bulk",
                priority=AFTER_CLICKS,
                lock=None,
                queueing_lock=None,
                task_kwargs={"order_ids": [one.pk for one in orders[start : start + TOGETHER]]},
                scheduled_at=at,
            )
            for start in range(0, len(orders), TOGETHER)
        ]
    return [
        Job(
            task_name="subscriptions.fulfil",
            queue="orders",
            lock=f"subscription-{order.subscription_id}",
            queueing_lock=None,
            task_kwargs={"order_id": order.pk},
            scheduled_at=at,
        )
        for order in orders
    ]


def forget_readings(subscriptions: Iterable[Subscription]) -> None:
    """Drop the vendor's answer from before a change, which would look like drift beside the record after it."""
    ids = [one.pk for one in subscriptions]
    if ids:
        Subscription.objects.filter(pk__in=ids).update(vendor_record=None, vendor_read_at=None)


def owe_mail(task: str, **arguments: int) -> None:
    """A mail in the transaction of the caller; arguments are ids only. It goes out before the backlog of orders."""
    _queue.defer_job(
        Job(task_name=task, queue="mail", priority=50, lock=None, queueing_lock=None, task_kwargs=dict(arguments))
    )


def finish(call: VendorCall, answer: Answer, at: datetime, evidence: str = "") -> None:
    """Complete an attempt in memory; `CALL_FIELDS` are what must be written."""
    call.finished_at = at
    call.outcome, call.code, call.message = str(answer.outcome), answer.code[:64], answer.message
    call.answered, call.evidence = answer.answered, evidence
    call.http_status, call.latency_ms = answer.http_status, answer.latency_ms


def defer_soon(orders: Iterable[Order]) -> None:
    """Jobs now or within minutes; what is due later is found by the sweep, since a waiting job blocks its lock.

    Orders that are due at the same instant, such as those of one container, go on together.
    """
    now = clock.now()
    soon: dict[datetime, list[Order]] = defaultdict(list)
    for order in orders:
        if order.next_attempt_at and (order.next_attempt_at - now).total_seconds() <= settings.JOB_SOON:
            soon[order.next_attempt_at].append(order)
    if not soon:
        return
    waiting = _with_job_waiting([one for due in soon.values() for one in due])
    jobs: list[Job] = []
    for at, due in soon.items():
        left = [one for one in due if one.pk not in waiting]
        jobs.extend(_jobs(left, at - settings.CLOCK_OFFSET if at > now else None))
    if jobs:
        _queue.batch_defer_jobs(jobs)


def _with_job_waiting(orders: Sequence[Order]) -> set[int]:
    """One is enough: each more would come back for as long as the order lives, and outlive it under its lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (args->>'order_id')::bigint FROM procrastinate_jobs WHERE status = 'todo' AND lock = ANY(%(locks)s)"
            " AND task_name = 'subscriptions.fulfil' UNION ALL "
            "SELECT id FROM (SELECT jsonb_array_elements(args->'order_ids')::bigint FROM procrastinate_jobs"
            " WHERE status = 'todo' AND task_name = 'subscriptions.fulfil_many') AS batch(id) WHERE id = ANY(%(ids)s)",
            {"locks": [f"subscription-{one.subscription_id}" for one in orders], "ids": [one.pk for one in orders]},
        )
        return {pk for (pk,) in cursor.fetchall()}


def event(
    subscription: Subscription,
    kind: str,
    at: datetime,
    *,
    order: Order | None = None,
    actor: User | None,
    audience: str,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> Event:
    return Event(
        account_id=subscription.account_id,
        subscription_id=subscription.pk,
        order=order,
        kind=kind,
        at=at,
        actor=actor,
        audience=audience,
        reason=reason,
        before=before or {},
        after=after or {},
    )


def order_event(order: Order, subscription: Subscription, what: str, at: datetime) -> Event:
    """The person stands on the act of asking; what the worker does about it is the system's act."""
    asked = what in ("placed", "scheduled", "awaiting_approval")
    return event(
        subscription,
        f"{order.action}.{what}",
        at,
        order=order,
        actor=order.actor if asked else None,
        audience=order.audience if asked else actions.SYSTEM,
        reason=order.reason if asked else order.outcome_message,
        before=order.before,
        after=order.after,
    )
