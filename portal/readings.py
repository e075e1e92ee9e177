"""How the running system is doing, read from its database: what `/readyz`, `/metrics` and `doctor` all look at.

Each function is one statement that reads an index, so that a base of any size may be asked every few seconds. Ages of
jobs and workers are measured by PostgreSQL's clock, which wrote their instants.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import ProgrammingError

from subscriptions import clock
from subscriptions.lifecycle import AFTER_CLICKS
from subscriptions.models import Order, OrderStatus, VendorCall

# Work that may wait for as long as it takes, such as bulk orders and thousands of notices, has less than this.
PEOPLE_WAIT = 0
# Of the queue `bulk`: somebody has confirmed it, and it gives way to clicks.
BULK = AFTER_CLICKS
EVERYTHING = -(2**31)
QUEUES = ("bulk", "mail", "orders", "upkeep")
# What happened lately is read from so many newest rows, whatever the base has grown to and however much happens.
NEWEST = 10_000
BUCKETS_MS = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)


def missing_migrations() -> list[str]:
    """Names of the newest migrations of this code that the database has not seen, such as `subscriptions.0001_x`."""
    try:
        applied = set(MigrationRecorder(connection).migration_qs.values_list("app", "name"))
    except ProgrammingError:
        applied = set()
    return [f"{app}.{name}" for app, name in _newest() if (app, name) not in applied]


@lru_cache
def _newest() -> list[tuple[str, str]]:
    # Read from the disk once: a process runs the code that it was started with.
    return sorted(MigrationLoader(None).graph.leaf_nodes())


@dataclass(frozen=True, slots=True)
class Workers:
    alive: int
    silent_for: float | None
    """Seconds since any worker was heard of; None when none is known."""


_WORKERS = """
    SELECT count(*) FILTER (WHERE last_heartbeat > now() - %s * interval '1 second') AS alive,
           extract(epoch FROM now() - max(last_heartbeat))::float8 AS silent_for
    FROM procrastinate_workers
"""


def workers() -> Workers:
    """How many workers gave a sign of life lately; one that was killed counts until WORKER_STALLED_AFTER is over."""
    with connection.cursor() as cursor:
        cursor.execute(_WORKERS, [settings.WORKER_STALLED_AFTER])
        return Workers(*cursor.fetchone())


@dataclass(frozen=True, slots=True)
class Queue:
    name: str
    waiting: int
    """Jobs that may run now."""
    later: int
    """Jobs that wait for their time, such as the next try of a mail."""
    age: float
    """Seconds for which the oldest of those that may run has waited."""


# A job does not hold when it was deferred: its first event does, and is looked up for the oldest of a queue only.
_QUEUES = """
    SELECT queue_name, waiting, later,
           coalesce(extract(epoch FROM now() - least(due_since, deferred.at)), 0)::float8
    FROM (
        SELECT queue_name,
               count(*) FILTER (WHERE scheduled_at IS NULL OR scheduled_at <= now()) AS waiting,
               count(*) FILTER (WHERE scheduled_at > now()) AS later,
               min(scheduled_at) FILTER (WHERE scheduled_at <= now()) AS due_since,
               min(id) FILTER (WHERE scheduled_at IS NULL) AS oldest
        FROM procrastinate_jobs
        WHERE status = 'todo' AND priority >= %s
        GROUP BY queue_name
    ) AS queue
    LEFT JOIN LATERAL (
        SELECT min(at) AS at FROM procrastinate_events WHERE job_id = oldest AND type = 'deferred'
    ) AS deferred ON true
    ORDER BY queue_name
"""


def queues(*, priority: int = EVERYTHING) -> list[Queue]:
    """The queues that have jobs of at least that priority waiting; those of less are neither counted nor looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_QUEUES, [priority])
        return [Queue(*row) for row in cursor.fetchall()]


def workers_and_queues() -> tuple[Workers, list[Queue]]:
    """Both in one statement, for a page that counts its own."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM ({_WORKERS}) AS worker LEFT JOIN ({_QUEUES}) AS queue ON true",  # noqa: S608 - constants
            [settings.WORKER_STALLED_AFTER, EVERYTHING],
        )
        rows = cursor.fetchall()
    return Workers(*rows[0][:2]), [Queue(*row[2:]) for row in rows if row[2] is not None]


def oldest_bulk_job() -> float:
    """Seconds for which the oldest job of bulk work that may run has waited; 0 when none waits."""
    return max((one.age for one in queues(priority=BULK) if one.name == "bulk"), default=0.0)


def oldest_due_order() -> float:
    """Seconds for which the order has been due that has waited longest to be tried; 0 when none is due."""
    now = clock.now()
    due = Order.objects.filter(status__in=[OrderStatus.PLACED, OrderStatus.IN_PROGRESS], next_attempt_at__lte=now)
    since = due.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()
    return (now - since).total_seconds() if since else 0.0


# What was asked begins with the item's name, as in <Activate ...>; nothing is asked of a vendor that cannot do it. The
# last row is the sum of all, which is there when nothing happened, too.
_CALLS = f"""
    SELECT item, outcome, count(*) FILTER (WHERE lately), coalesce(sum(latency_ms) FILTER (WHERE lately), 0)::float8,
           ARRAY[{", ".join(f"count(*) FILTER (WHERE lately AND latency_ms <= {one})" for one in BUCKETS_MS)}],
           count(*), min(started_at), max(id)
    FROM (
        SELECT *, CASE WHEN lately THEN coalesce(nullif(ltrim(split_part(asked, ' ', 1), '<'), ''), 'none') END AS item
        FROM (
            SELECT id, asked, outcome, latency_ms, started_at, coalesce(finished_at >= %s, false) AS lately
            FROM {VendorCall._meta.db_table} ORDER BY id DESC LIMIT {NEWEST}
        ) AS newest
    ) AS named
    GROUP BY GROUPING SETS ((item, outcome), ()) ORDER BY grouping(item), item, outcome
"""  # noqa: S608 - names come from the models alone


@dataclass(frozen=True, slots=True)
class Answered:
    """The calls of one item of the vendor's protocol, such as `Pause`, that ended in one way."""

    item: str
    outcome: str
    many: int
    milliseconds: float
    """Of all of them together."""
    within: list[int]
    """How many took at most each of `BUCKETS_MS`."""


@dataclass(frozen=True, slots=True)
class Calls:
    answered: list[Answered]
    seconds: float
    """How far back they reach: less than was asked for when very much happens, as in a bulk run."""
    newest: int
    """Number of the newest call ever, 0 before the first."""


def vendor_calls(seconds: float) -> Calls:
    """The vendor calls that ended within so many seconds, among the newest `NEWEST`."""
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(_CALLS, [now - timedelta(seconds=seconds)])
        *groups, (*_, read, since, newest) = cursor.fetchall()
    answered = [Answered(*group) for *group, _, _, _ in groups if group[2]]
    return Calls(answered, reach(seconds, read, since, now), newest or 0)


def reach(seconds: float, read: int, since: datetime | None, now: datetime) -> float:
    """How far back the newest rows reach, of which so many were read, the oldest of them from `since`."""
    return min(seconds, (now - since).total_seconds()) if read == NEWEST and since is not None else seconds
