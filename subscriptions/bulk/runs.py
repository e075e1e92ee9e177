"""The engine: what would happen, and a run that makes it happen set by set."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F

from subscriptions import clock, lifecycle, quotes
from subscriptions.actions import NotAllowed
from subscriptions.bulk.results import Reason
from subscriptions.bulk.selection import Selection, number_in
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRow, BulkRun, Order, OrderStatus, RowOutcome, RunStatus, User

log = structlog.get_logger(__name__)

CHUNK = 1_000
"""How many rows one transaction decides about."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of every row: the stem of an action, or `lifecycle.SET_SEATS`; why; and what else holds for all.

    `given` may hold `when`, a date in ISO form or a word of `quotes`, and `planned`, as in a Wish.
    """

    stem: str
    reason: str = ""
    given: dict[str, str] = field(default_factory=dict)

    def wish(self, subscription_id: int, after: dict[str, Any]) -> Wish:
        when = self.given.get("when")
        return Wish(
            subscription_id,
            self.stem,
            after,
            reason=self.reason,
            when=when if when in (None, quotes.NOW, quotes.PERIOD_END, quotes.RENEWAL) else date.fromisoformat(when),
            planned=self.given.get("planned", ""),
        )


# --- what would happen -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Preview:
    """How many rows can and cannot, as far as they were looked at; reasons and orders come with a few examples."""

    rows: int = 0
    can: dict[str, Reason] = field(default_factory=dict)
    """By the status that the order would have."""
    cannot: dict[str, Reason] = field(default_factory=dict)
    """By the code of the refusal."""
    due: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """What is charged with it, by currency; credits count as less."""


def preview(wanted: Wanted, selection: Selection, *, actor: User | None, audience: str) -> Iterator[Preview]:
    """Look at all rows, a chunk at a time, and write nothing; the same Preview comes again with each chunk.

    It decides as placing does, on what is there now. Raises BadSheet.
    """
    found = Preview()
    lines = selection.lines()
    while chunk := list(islice(lines, CHUNK)):
        wishes = [wanted.wish(line.subscription_id, line.after) for line in chunk]
        for line, result in zip(chunk, lifecycle.would_place(wishes, actor=actor, audience=audience), strict=True):
            found.rows += 1
            named = line.text or f"SUB-{line.subscription_id:06d}"
            if isinstance(result, NotAllowed):
                Reason.add(found.cannot, result.code, named, result.sentence)
                continue
            Reason.add(found.can, result.status, named, _change(result))
            quote = quotes.quote_of(result)
            if quote is not None and quote.due_now:
                found.due[quote.currency] += quote.due_now
        yield found
    if not found.rows:
        yield found


def _change(order: Order) -> str:
    """What changes by an order, such as "Seats: 25 to 30"."""
    return ", ".join(f"{name}: {order.before[name]} to {order.after[name]}" for name in order.before)


# --- a run -----------------------------------------------------------------------------------------------------------


def begin(wanted: Wanted, selection: Selection, *, actor: User | None, audience: str) -> BulkRun:
    """Write a run down with all its rows; nothing is placed yet. A line that is wrong leaves nothing behind.

    Raises BadSheet, and NotAllowed (`nothing_chosen`).
    """
    with transaction.atomic(durable=True):
        run = BulkRun.objects.create(
            action=wanted.stem, given=wanted.given, reason=wanted.reason, actor=actor, audience=audience,
            selection=selection.words, created_at=clock.now(),
        )  # fmt: skip
        selection.write(run)
        run.total = run.rows.count()
        if not run.total:
            raise NotAllowed("nothing_chosen", "No subscription was chosen.")
        run.save(update_fields=["total"])
    return run


def place(run: BulkRun, *, allow: int | None = None) -> Iterator[BulkRun]:
    """Place what waits of a run, set by set; the run comes back with its counts after each set.

    Once `allow` rows have failed since this call, refused here or ended badly at the vendor, nothing more is placed and
    the run is `stopped`. It may be called again, after a crash too, and by two processes at once: each row is decided
    about once.
    """
    wanted = Wanted(run.action, run.reason, run.given)
    refused, ended_badly = run.refused, _ended_badly(run) if allow is not None else 0
    _update(run, status=RunStatus.RUNNING, finished_at=None)
    since = 0
    # From the beginning in the end: what another process gave up lies behind.
    while rows := _waiting(run, since) or _waiting(run, 0):
        since = rows[-1].position
        spare = None
        if allow is not None:
            spare = allow - (run.refused - refused) - (_ended_badly(run) - ended_badly)
            if spare <= 0:
                stop(run)
                yield run
                return
        _place(run, wanted, rows, spare)
        run.refresh_from_db(fields=["placed", "refused"])
        yield run
    _update(run, status=RunStatus.DONE, finished_at=clock.now())


def stop(run: BulkRun) -> None:
    """Say that nobody works on it for now; placed orders go on, and the rest can be resumed."""
    _update(run, status=RunStatus.STOPPED)


def _update(run: BulkRun, **values: Any) -> None:
    BulkRun.objects.filter(pk=run.pk).update(**values)
    for name, value in values.items():
        setattr(run, name, value)


def _waiting(run: BulkRun, since: int) -> list[BulkRow]:
    waiting = BulkRow.objects.filter(run=run, outcome=RowOutcome.WAITING, position__gt=since).order_by("position")
    return list(waiting.only("position", "subscription", "text", "after")[:CHUNK])


def _ended_badly(run: BulkRun) -> int:
    badly = Order.objects.filter(status__in=[OrderStatus.FAILED, OrderStatus.NEEDS_ATTENTION])
    return badly.filter(bulk_row__run=run).count()


class _Enough(Exception):  # noqa: N818 - leaves a transaction
    """So many rows, counted to the last refusal that is allowed."""


class _TakenByAnother(Exception):  # noqa: N818 - leaves a transaction
    """Another process has decided about some of these rows meanwhile."""


def _place(run: BulkRun, wanted: Wanted, rows: Sequence[BulkRow], spare: int | None) -> None:
    def mark(results: lifecycle.Results) -> None:
        refusals = [number for number, one in enumerate(results, 1) if isinstance(one, NotAllowed)]
        if spare is not None and len(refusals) >= spare and refusals[spare - 1] < len(results):
            raise _Enough(refusals[spare - 1])
        _mark(run, rows, results)

    wishes = [wanted.wish(row.subscription_id or number_in(row.text) or 0, row.after) for row in rows]
    try:
        lifecycle.place_many(wishes, actor=run.actor, audience=run.audience, then=mark)
    except _Enough as enough:
        _place(run, wanted, rows[: enough.args[0]], None)
    except _TakenByAnother:
        log.info("rows were placed by another process", run=run.pk)
    except (OperationalError, InterfaceError):
        # The database is in trouble, and not a row.
        raise
    except Exception as error:
        if len(rows) == 1:
            log.exception("row cannot be placed", run=run.pk, row=rows[0].pk)
            with transaction.atomic(durable=True):
                said = f"This row cannot be placed: {type(error).__name__}. See the log."
                _mark(run, rows, [NotAllowed("error", said)])
            return
        # Whatever is wrong with one row must not stop the others: halves, until it stands alone.
        half = len(rows) // 2
        for some in (rows[:half], rows[half:]):
            _place(run, wanted, some, None)


def _mark(run: BulkRun, rows: Sequence[BulkRow], results: lifecycle.Results) -> None:
    refused = [one if isinstance(one, NotAllowed) else None for one in results]
    orders = [None if isinstance(one, NotAllowed) else one.pk for one in results]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_bulkrow AS r SET order_id = v.order_id, code = v.code, sentence = v.sentence,"
            " outcome = CASE WHEN v.order_id IS NULL THEN 'refused' ELSE 'placed' END"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::varchar[], %s::text[]) AS v(id, order_id, code, sentence)"
            " WHERE r.id = v.id AND r.outcome = 'waiting'",
            [
                [row.pk for row in rows], orders, [one.code if one else "" for one in refused],
                [one.sentence if one else "" for one in refused],
            ],
        )  # fmt: skip
        if cursor.rowcount != len(rows):
            raise _TakenByAnother
    placed = sum(one is None for one in refused)
    BulkRun.objects.filter(pk=run.pk).update(placed=F("placed") + placed, refused=F("refused") + len(rows) - placed)
