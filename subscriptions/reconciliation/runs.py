"""A run: all subscriptions, or those that filters find, batch by batch against the vendor's records."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Max
from django.db.models.functions import Lower, Upper

from subscriptions import clock, filters
from subscriptions.actions import NotAllowed
from subscriptions.models import (
    SKU,
    Drift,
    DriftEnding,
    Order,
    Purpose,
    ReconciliationRun,
    ReconciliationStatus,
    Subscription,
    User,
)
from subscriptions.reconciliation.comparison import UNKNOWN_THERE, Ours, as_record, differing
from subscriptions.reconciliation.reading import VendorSilent, read_many
from subscriptions.reconciliation.worklist import Noted, Read, note
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Outcome

log = structlog.get_logger(__name__)
R = ReconciliationStatus


class Overtaken(Exception):  # noqa: N818 - a state of the run, with a sentence for whoever worked on it
    """Another process goes on with this run."""

    def __init__(self, run: ReconciliationRun) -> None:
        self.sentence = f"Another process goes on with run {run.pk}."
        super().__init__(self.sentence)


def begin(
    *, words: Iterable[tuple[str, str]] = (), actor: User | None, audience: str, report: str = ""
) -> ReconciliationRun:
    """Write a run down; nothing is read yet. `words` narrow it as a list of subscriptions.

    `report` is the vendor whose billing report is to be looked through as well, by `look_for_strangers`.

    Raises BadFilter, and NotAllowed (`under_way`) while another one runs.
    """
    chosen = [list(one) for one in words]
    last = filters.narrow(Subscription.objects.order_by(), [(name, typed) for name, typed in chosen])
    at = clock.now()
    try:
        with transaction.atomic():
            return ReconciliationRun.objects.create(
                words=chosen, actor=actor, audience=audience, started_at=at, moved_at=at, report=report,
                last=last.aggregate(last=Max("pk"))["last"] or 0,
            )  # fmt: skip
    except IntegrityError as clash:
        raise _under_way(clash) from clash


def take_up(run: ReconciliationRun) -> None:
    """Go on with one that was stopped or interrupted. Raises NotAllowed when it is done, or another one runs."""
    if run.status == R.DONE:
        raise NotAllowed("done", f"Run {run.pk} is done.")
    try:
        with transaction.atomic():
            _update(run, status=R.RUNNING, said="", moved_at=clock.now())
    except IntegrityError as clash:
        raise _under_way(clash) from clash


def _under_way(clash: IntegrityError) -> NotAllowed:
    if "one_reconciliation_at_a_time" not in str(clash):
        raise clash
    other = ReconciliationRun.objects.filter(status=R.RUNNING).first()
    named = f"Run {other.pk}" if other else "Another run"
    return NotAllowed("under_way", f"{named} is under way, and one runs at a time.")


def stop(run: ReconciliationRun, said: str) -> None:
    """Say why nobody goes on with it for now; it can be taken up."""
    _update(run, status=R.STOPPED, said=said)


def _update(run: ReconciliationRun, **values: Any) -> None:
    ReconciliationRun.objects.filter(pk=run.pk).update(**values)
    for name, value in values.items():
        setattr(run, name, value)


def work(run: ReconciliationRun, *, within: float | None = None) -> Iterator[ReconciliationRun]:
    """Compare batch after batch, to the end or for so many seconds; the run comes back after each, with its counts.

    Nothing of ours is changed but the worklist of drift. It may be called again after a crash at any instant; what the
    lost batch had read is read again. Raises VendorSilent when the vendor does not answer, and Overtaken when another
    process has moved the run on: by neither is anything lost.
    """
    until = None if within is None else time.monotonic() + within
    while rows := _next(run):
        _compare(run, rows)
        yield run
        if until is not None and time.monotonic() >= until:
            return
    _end_strangers_of_ours()
    # Somebody may have stopped it in the meantime.
    going_on = ReconciliationRun.objects.filter(pk=run.pk, status=R.RUNNING)
    going_on.update(status=R.DONE, finished_at=clock.now())
    run.refresh_from_db(fields=["status", "finished_at"])
    log.info("reconciled", run=run.pk, compared=run.compared, found=run.found, gone=run.gone)
    yield run


# --- a batch ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    pk: int
    version: int
    vendor: str
    subscriber_id: str
    ours: Ours


def _next(run: ReconciliationRun) -> list[_Row]:
    chosen = filters.narrow(Subscription.objects.all(), [(name, typed) for name, typed in run.words])
    rows = chosen.filter(pk__gt=run.position, pk__lte=run.last).order_by("pk")[: settings.VENDOR_READ_TOGETHER]
    values = list(rows.values_list("pk", "version", "subscriber_id", "sku_id", "status", "seats", "ends_at"))
    skus = _skus({sku for _, _, _, sku, *_ in values})
    return [
        _Row(pk, version, skus[sku][0], subscriber, Ours(status, seats, skus[sku][1], ends_at))
        for pk, version, subscriber, sku, status, seats, ends_at in values
    ]


def _skus(ids: set[int]) -> dict[int, tuple[str, str]]:
    """Vendor and its product of each; joined to every subscription they would be sent with each of them."""
    found = SKU.objects.filter(pk__in=ids).values_list("pk", "product__vendor", "vendor_product_id")
    return {pk: (vendor, product) for pk, vendor, product in found}


def _compare(run: ReconciliationRun, rows: list[_Row]) -> None:
    # After the rows: an order that was placed in between has made another version of its subscription.
    explained = set(
        Order.objects.open().filter(subscription__among=[row.pk for row in rows]).values_list("subscription", flat=True)
    )
    asked = [row for row in rows if row.pk not in explained]
    answers = _ask(asked)
    known = set(
        Drift.objects.filter(subscription__among=[row.pk for row in asked], ended_at__isnull=True).values_list(
            "subscription", flat=True
        )
    )
    at = clock.now()
    failed: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    readings: list[Read] = []
    for row in asked:
        answer = answers[row.pk]
        if answer.code != port.NOT_FOUND and (answer.outcome != Outcome.DONE or answer.details is None):
            failed[str(answer.outcome), answer.code].append(row)
        elif row.pk in known or differing(row.ours, answer.details, at):
            record = as_record(answer.details) if answer.details else UNKNOWN_THERE
            readings.append(Read(row.pk, row.version, record))
    # A line for each row would be a million of them, when a vendor is gone.
    for (outcome, code), some in failed.items():
        said = answers[some[0].pk].message
        log.warning(
            "records cannot be read", count=len(some), subscription_id=some[0].pk, outcome=outcome, code=code, said=said
        )
    _write(run, rows, readings, explained=len(explained), unanswered=sum(map(len, failed.values())))


def _ask(rows: Iterable[_Row]) -> dict[int, Answer]:
    by_vendor: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_vendor[row.vendor].append(row)
    answers: dict[int, Answer] = {}
    for vendor, some in by_vendor.items():
        found = read_many(vendor, [row.subscriber_id for row in some], purpose=Purpose.DRIFT)
        answers |= {row.pk: answer for row, answer in zip(some, found, strict=True)}
    return answers


def _write(run: ReconciliationRun, rows: list[_Row], readings: list[Read], *, explained: int, unanswered: int) -> None:
    """The worklist and the run's position in one transaction, so that each batch counts once."""
    with transaction.atomic(durable=True):
        mine = ReconciliationRun.objects.filter(pk=run.pk, status=R.RUNNING, position=run.position)
        noted = note(readings, run) if readings else Noted()
        explained += noted.passed_over
        # Nobody else has moved it since it was read, else this finds nothing.
        values = {
            "position": rows[-1].pk,
            "moved_at": clock.now(),
            "compared": run.compared + len(rows) - explained - unanswered,
            "explained": run.explained + explained,
            "unanswered": run.unanswered + unanswered,
            "found": run.found + noted.found,
            "again": run.again + noted.again,
            "gone": run.gone + noted.gone,
        }
        if not mine.update(**values):
            raise Overtaken(run)
    for name, value in values.items():
        setattr(run, name, value)


def _end_strangers_of_ours() -> None:
    """What was unknown here is known once it was taken over."""
    name = models.OuterRef("subscriber_id")
    ours = Subscription.objects.filter(subscriber_id__in=[name, Upper(name), Lower(name)])
    strangers = Drift.objects.filter(subscription__isnull=True, ended_at__isnull=True)
    strangers.filter(models.Exists(ours)).update(ended_at=clock.now(), ending=DriftEnding.GONE)


__all__ = ["Overtaken", "VendorSilent", "begin", "stop", "take_up", "work"]
