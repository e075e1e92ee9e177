"""Locking and writing many rows at once; private to `lifecycle`."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import connection, models
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import actions, clock
from subscriptions.actions import terms
from subscriptions.models import Event, Order, Subscription, User, VendorCall
from subscriptions.models.notice import told
from subscriptions.models.secrets import EncryptedField
from subscriptions.vendors.port import Answer, Secret

# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())

FEW = 20
"""Orders that are written together are so many clicks up to this number, and bulk work beyond it."""
TOGETHER = 500
"""How many orders travel in one job, and to the vendor in one container."""
LANES = 4
"""How many of those jobs run at once, on all workers together: the rest of each worker is for clicks."""
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
    locked = Subscription.objects.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked)
    return _as_read(_loaded(locked, set(ids)))


def subscriptions(ids: Iterable[int]) -> dict[int, Subscription]:
    """As `lock_subscriptions`, to look at only."""
    return {row.pk: row for row in _loaded(Subscription.objects.all(), set(ids))}


def _loaded(rows: models.QuerySet[Subscription], ids: Collection[int]) -> Iterable[Subscription]:
    # Nobody here looks at the code, and to decrypt it takes longer than to read the row.
    found = rows.defer("activation_code", "vendor_record").select_related("sku__product", "account")
    return found.filter(pk__among=ids).order_by("pk")


def lock_orders(ids: Iterable[int]) -> dict[int, Order]:
    locked = Order.objects.select_for_update(of=("self",), no_key=True)
    return _as_read(locked.filter(pk__among=set(ids)).order_by("pk"))


def lock_calls(ids: Iterable[int]) -> dict[int, VendorCall]:
    """Those that are not completed."""
    unfinished = VendorCall.objects.filter(pk__among=set(ids), finished_at__isnull=True).defer("asked")
    return _as_read(unfinished.select_for_update(no_key=True).order_by("pk"))


Row = TypeVar("Row", bound=models.Model)


def _as_read(locked: Iterable[Row]) -> dict[int, Row]:
    found = {row.pk: row for row in locked}
    for row in found.values():
        vars(row)["_as_read"] = vars(row).copy()
    return found


def update(rows: Iterable[models.Model], fields: Sequence[str]) -> None:
    """Write those of `fields` that have changed since the rows (of one model) were locked; all, of others.

    One statement for all rows that have changed alike; the ORM's bulk_update is 20 times slower.
    """
    found = list(rows)
    if not found:
        return
    columns: list[Any] = [found[0]._meta.get_field(name) for name in fields]
    alike: dict[tuple[Any, ...], list[models.Model]] = defaultdict(list)
    for row in found:
        alike[_changed(row, columns)].append(row)
    for changed, some in alike.items():
        if changed:
            _update(some, changed)


def _changed(row: models.Model, columns: Sequence[Any]) -> tuple[Any, ...]:
    now, before = vars(row), vars(row).get("_as_read")
    if before is None:
        return tuple(columns)
    # What was not read and is not there now is equal, too.
    return tuple(one for one in columns if now.get(one.attname, _UNREAD) != before.get(one.attname, _UNREAD))


_UNREAD = object()


def _update(rows: Sequence[models.Model], columns: Sequence[Any]) -> None:
    meta = rows[0]._meta
    table, values = _table(rows, [meta.pk, *columns])
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(one.column)} = v.{quote(one.column)}" for one in columns)
    name = quote(meta.db_table)
    update = f"UPDATE {name} AS t SET {assignments} FROM ({table}) AS v WHERE t.id = v.id"  # noqa: S608 - quoted names
    with connection.cursor() as cursor:
        cursor.execute(update, [values])
    for row in rows:
        if before := vars(row).get("_as_read"):
            before.update((one.attname, vars(row)[one.attname]) for one in columns)


def insert(rows: Iterable[Row]) -> list[Row]:
    """Write new rows (of one model) in one statement, each with its ID; the ORM's bulk_create is 4 times slower."""
    found = list(rows)
    if not found:
        return found
    meta = found[0]._meta
    columns: list[Any] = [one for one in meta.concrete_fields if not one.primary_key]
    for one in columns:
        if one.remote_field:
            for row in found:
                # What a row belongs to may have had no ID when it was made.
                if one.is_cached(row) and (parent := getattr(row, one.name)):
                    setattr(row, one.attname, parent.pk)
    table, values = _table(found, columns)
    quote = connection.ops.quote_name
    names = ", ".join(quote(one.column) for one in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(meta.db_table)} ({names}) {table} RETURNING id",
            [values],
        )
        for row, (pk,) in zip(found, cursor.fetchall(), strict=True):
            row.pk = pk
            row._state.adding, row._state.db = False, connection.alias
    return found


def _table(rows: Sequence[models.Model], columns: Sequence[Any]) -> tuple[str, str]:
    """A SELECT of the columns from its one parameter: a text is made and read faster than an array for each column."""
    quote = connection.ops.quote_name
    cells = []
    for number, one in enumerate(columns):
        kind = one.rel_db_type(connection)
        # The null of JSON is a value, and none is meant.
        cell = f"NULLIF(e->{number}, 'null')" if kind == "jsonb" else f"(e->>{number})::{kind}"
        cells.append(f"{cell} AS {quote(one.column)}")
    values = attrgetter(*(one.attname for one in columns))
    text = json.dumps([values(row) for row in rows], default=_in_json)
    return f"SELECT {', '.join(cells)} FROM jsonb_array_elements(%s) AS e", text  # noqa: S608 - names of the model


_SEALED = EncryptedField()


def _in_json(value: Any) -> str:
    """What PostgreSQL reads back as the value, from the text of its type."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Secret):
        return f"\\x{_SEALED.get_prep_value(value).hex()}"
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(f"{type(value)} is in no column")


def write_subscriptions(subscriptions: Iterable[Subscription], fields: Sequence[str] = SUBSCRIPTION_FIELDS) -> None:
    """Write all that `lifecycle` owns of them, with what falls due next. Needs `sku` and `account` loaded."""
    found = list(subscriptions)
    for one in found:
        one.next_due_at = terms.next_due(one)
    update(found, fields)


def write_events(events: Iterable[Event]) -> list[Event]:
    """Write them, and owe one job for the mail about all of those that somebody is told about."""
    written = insert(events)
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
    """One for each of a few, which nothing of a bulk run holds up; many travel together, by their keys."""
    if len(orders) > FEW:
        orders = sorted(orders, key=attrgetter("pk"))
        return [
            Job(
                task_name="subscriptions.fulfil_many",
                queue="bulk",
                priority=AFTER_CLICKS,
                # One that waits for its time would hold up its lane.
                lock=f"bulk-{orders[start].pk // TOGETHER % LANES}" if at is None else None,
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
        Subscription.objects.filter(pk__among=ids).update(vendor_record=None, vendor_read_at=None)


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
    ids = [one.pk for one in orders]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (args->>'order_id')::bigint FROM procrastinate_jobs WHERE status = 'todo' AND lock = ANY(%(locks)s)"
            " AND task_name = 'subscriptions.fulfil' UNION ALL "
            "SELECT id FROM (SELECT jsonb_array_elements(args->'order_ids')::bigint FROM procrastinate_jobs"
            " WHERE status = 'todo' AND task_name = 'subscriptions.fulfil_many'"
            # From the first to the last of its orders: the others of a backlog are not unpacked.
            " AND (args->'order_ids'->>0)::bigint <= %(last)s AND (args->'order_ids'->>-1)::bigint >= %(first)s"
            ") AS batch(id) WHERE id = ANY(%(ids)s)",
            {
                "locks": [f"subscription-{one.subscription_id}" for one in orders],
                "ids": ids, "first": min(ids), "last": max(ids),
            },
        )  # fmt: skip
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
