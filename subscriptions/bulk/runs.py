"""The engine: a run, and what makes it happen set by set."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Max, Min, OuterRef, Q, Subquery

from subscriptions import clock, lifecycle, reconciliation
from subscriptions.actions import BSS, NotAllowed
from subscriptions.bulk.previews import broken, together
from subscriptions.bulk.selection import Selection
from subscriptions.bulk.wanted import CHUNK, Wanted
from subscriptions.filters import subscription_id
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRow, BulkRun, Order, OrderStatus, RowOutcome, RunStatus, User
from subscriptions.reconciliation import VendorSilent

log = structlog.get_logger(__name__)


class TooManyFailed(Exception):  # noqa: N818 - nothing is wrong with the run
    """So many rows have failed as were allowed."""


def begin(wanted: Wanted, selection: Selection, *, actor: User | None, audience: str) -> BulkRun:
    """Write a run down with all its rows; nothing is placed yet. A line that is wrong leaves nothing behind.

    Raises BadSheet, and NotAllowed (`nothing_chosen`).
    """
    run = BulkRun(
        action=wanted.stem, given=wanted.given, reason=wanted.reason, actor=actor, audience=audience,
        selection=selection.words, created_at=clock.now(),
    )  # fmt: skip
    with transaction.atomic(durable=True):
        write(run, selection)
    return run


def write(run: BulkRun, selection: Selection) -> None:
    """Store a new run and its rows, in the caller's transaction. Raises BadSheet, and NotAllowed (`nothing_chosen`)."""
    run.save(force_insert=True)
    selection.write(run)
    run.total = run.rows.count()
    if not run.total:
        raise NotAllowed("nothing_chosen", "No subscription was chosen.")
    run.save(update_fields=["total"])


def keep_shown(run: BulkRun, shown: Sequence[tuple[int, Decimal | None]]) -> None:
    """Write down, by position, what was shown as due for rows of a draft, in the caller's transaction."""
    if not shown:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_bulkrow AS r SET shown = v.shown"
            " FROM unnest(%s::integer[], %s::numeric[]) AS v(position, shown)"
            " WHERE r.run_id = %s AND r.position = v.position",
            [[position for position, _ in shown], [due for _, due in shown], run.pk],
        )


def place(run: BulkRun, *, allow: int | None = None) -> Iterator[BulkRun]:
    """Place what waits of a run, set by set, while it is `running`; it comes back with its counts after each set.

    What comes to more than the preview in BSS showed of its row is refused (`price_changed`). A `stop` by anybody ends
    it after the set that is being placed. Once `allow` rows have failed since this call, refused here or ended badly at
    the vendor, the run is `stopped` and TooManyFailed is raised. While the vendor does not answer, where it has to be
    read first, the run is `stopped` as well and its rows wait. It may be called again, after a crash too, and by two
    processes at once: each row is decided about once.
    """
    wanted = Wanted.of(run)
    run.refresh_from_db(fields=_PROGRESS)
    refused, ended_badly, first = run.refused, 0, 0
    if allow is not None:
        first = _first_order(run)
        ended_badly = _ended_badly(run, first)
    since = 0
    # From the beginning in the end: what another process gave up lies behind.
    while rows := _waiting(run, since) or _waiting(run, 0):
        if run.status != RunStatus.RUNNING:
            return
        since = rows[-1].position
        spare = None
        if allow is not None:
            spare = allow - (run.refused - refused) - (_ended_badly(run, first) - ended_badly)
            if spare <= 0:
                stop(run)
                raise TooManyFailed
        if run.actor_id:
            # Django remembers rights with the object, and somebody may have lost theirs since the last set.
            run.actor = User.objects.get(pk=run.actor_id)
        try:
            _place(run, wanted, rows, spare)
        except VendorSilent as silent:
            stop(run, silent.sentence)
        run.refresh_from_db(fields=_PROGRESS)
        yield run
    # Also when it was stopped too late for any row.
    _move(run, RunStatus.DONE, RunStatus.RUNNING, RunStatus.STOPPED, finished_at=clock.now())


def stop(run: BulkRun, because: str = "") -> None:
    """Let nobody place more of a run that is running; placed orders go on, and the rest can be resumed.

    `because` is a sentence for whoever finds it, where no person stops it.
    """
    _move(run, RunStatus.STOPPED, RunStatus.RUNNING, stopped_because=because)


def go_on(run: BulkRun) -> None:
    """Let a run that was stopped be placed again, by `place`."""
    _move(run, RunStatus.RUNNING, RunStatus.STOPPED, stopped_because="")


_PROGRESS = ("placed", "refused", "status")


def _move(run: BulkRun, status: RunStatus, *sources: RunStatus, **more: Any) -> None:
    BulkRun.objects.filter(pk=run.pk, status__in=sources).update(status=status, **more)
    run.refresh_from_db(fields=["status", *more])


def _waiting(run: BulkRun, since: int) -> list[BulkRow]:
    waiting = BulkRow.objects.filter(run=run, outcome=RowOutcome.WAITING, position__gt=since).order_by("position")
    return list(waiting.only("position", "subscription", "text", "after", "shown")[:CHUNK])


def _first_order(run: BulkRun) -> int:
    """No order of the run has a smaller key, those that are still to be placed neither."""
    first = BulkRow.objects.filter(run=run).aggregate(first=Min("order"))["first"]
    return first or Order.objects.aggregate(newest=Max("pk"))["newest"] or 0


def _ended_badly(run: BulkRun, first: int) -> int:
    # Asked after each set: by the small indexes of both statuses, and of each that they hold, whether it is the run's.
    badly = Q(status=OrderStatus.FAILED) | Q(status=OrderStatus.NEEDS_ATTENTION)
    its_run = Subquery(BulkRow.objects.filter(order=OuterRef("pk")).values("run"))
    return Order.objects.filter(badly, pk__gte=first).annotate(its_run=its_run).filter(its_run=run.pk).count()


class _Enough(Exception):  # noqa: N818 - leaves a transaction
    """So many rows, counted to the last refusal that is allowed."""


class _TakenByAnother(Exception):  # noqa: N818 - leaves a transaction
    """Another process has decided about some of these rows meanwhile."""


def _place(run: BulkRun, wanted: Wanted, rows: Sequence[BulkRow], spare: int | None) -> int:
    """Decide about rows, up to the last refusal that is allowed; returns how many were refused."""
    refused = 0

    def mark(placed: lifecycle.Results) -> None:
        nonlocal refused
        results = together(ready, placed)
        refusals = [number for number, one in enumerate(results, 1) if isinstance(one, NotAllowed)]
        if spare is not None and len(refusals) >= spare and refusals[spare - 1] < len(results):
            raise _Enough(refusals[spare - 1])
        _mark(run, rows, results)
        refused = len(refusals)

    wishes = [
        wanted.wish(row.subscription_id or subscription_id(row.text) or 0, row.after, _at_most(run, row))
        for row in rows
    ]
    try:
        # Drift is read again first, and settled only where it is still what was shown.
        ready = reconciliation.as_read(wishes)
        able = [one for one in ready if isinstance(one, Wish)]
        lifecycle.place_many(able, actor=run.actor, audience=run.audience, then=mark)
    except _Enough as enough:
        return _place(run, wanted, rows[: enough.args[0]], None)
    except _TakenByAnother:
        log.info("rows were placed by another process", run=run.pk)
    except (OperationalError, InterfaceError, VendorSilent):
        # The database or the vendor is in trouble, and not a row.
        raise
    except Exception as error:
        if len(rows) > 1:
            return _in_halves(run, wanted, rows, spare)
        log.exception("row cannot be placed", run=run.pk, row=rows[0].pk)
        return _give_up(run, rows, broken(error))
    return refused


def _at_most(run: BulkRun, row: BulkRow) -> Decimal | None:
    """What was shown of a row of BSS; a command is told to do it, and prices as it places."""
    # A run that the version before has looked at does not know what was shown of each row.
    priced = run.audience == BSS and "later" in (run.preview or {})
    return (row.shown or Decimal()) if priced else None


def _in_halves(run: BulkRun, wanted: Wanted, rows: Sequence[BulkRow], spare: int | None) -> int:
    """Whatever is wrong with one row must not stop the others: halves, until it stands alone."""
    half = len(rows) // 2
    refused = _place(run, wanted, rows[:half], spare)
    if spare is None:
        return refused + _place(run, wanted, rows[half:], None)
    return refused + _place(run, wanted, rows[half:], spare - refused) if refused < spare else refused


def _give_up(run: BulkRun, rows: Sequence[BulkRow], refusal: NotAllowed) -> int:
    try:
        with transaction.atomic(durable=True):
            _mark(run, rows, [refusal])
    except _TakenByAnother:
        return 0
    return 1


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
