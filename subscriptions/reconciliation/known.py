"""Subscribers that a vendor's billing report names, and that we do not have: the protocol cannot list them."""

from collections.abc import Iterable, Iterator
from itertools import islice

import structlog
from django.conf import settings
from django.db import models, transaction

from subscriptions import clock
from subscriptions.models import Drift, DriftEnding, DriftField, Purpose, ReconciliationRun, Subscription
from subscriptions.models.subscription import spellings
from subscriptions.reconciliation.comparison import as_record
from subscriptions.reconciliation.reading import read_many
from subscriptions.vendors import port
from subscriptions.vendors.port import Details, Outcome

log = structlog.get_logger(__name__)
LONGEST = 64
"""Characters of a subscriber's id."""


def look_for_strangers(vendor: str, subscriber_ids: Iterable[str], run: ReconciliationRun) -> Iterator[int]:
    """Note those that we do not have and the vendor knows, as unknown here; yields how many ids were looked at.

    The ids are the whole report: what stood in an earlier one and not in this one is gone in the end. Safe to run again
    for the same run. Raises VendorSilent.
    """
    looked_at = 0
    ids = iter(subscriber_ids)
    while some := list(islice(ids, settings.VENDOR_READ_TOGETHER)):
        _note(vendor, list({one.upper(): one for one in some}.values()), run)
        looked_at += len(some)
        yield looked_at
    # A report without rows is a mistake, and says nothing about what was in the one before.
    if looked_at:
        gone = _open(vendor).filter(seen_at__lt=run.started_at)
        gone.update(ended_at=clock.now(), ending=DriftEnding.GONE)
    ReconciliationRun.objects.filter(pk=run.pk).update(report="")


def _note(vendor: str, ids: list[str], run: ReconciliationRun) -> None:
    here = Subscription.objects.filter(subscriber_id__in=spellings(ids)).values_list("subscriber_id", flat=True)
    ours = {one.upper() for one in here}
    strangers = [one for one in ids if one.upper() not in ours]
    if not strangers:
        return
    found: dict[str, Details | None] = {}
    for subscriber_id, answer in zip(strangers, read_many(vendor, strangers, purpose=Purpose.DRIFT), strict=True):
        if answer.outcome == Outcome.DONE and answer.details:
            found[subscriber_id] = answer.details
        elif answer.code != port.NOT_FOUND:
            # Billed and not readable is worth a look as well.
            found[subscriber_id] = None
            log.warning("record cannot be read", subscriber_id=subscriber_id, code=answer.code)
    at = clock.now()
    with transaction.atomic(durable=True):
        # Two that read the same report would both find it new.
        ReconciliationRun.objects.select_for_update(no_key=True).get(pk=run.pk)
        known = {row.subscriber_id.upper(): row for row in _open(vendor).filter(subscriber_id__in=spellings(found))}
        again: list[int] = []
        changed: list[int] = []
        new: dict[str, Details | None] = {}
        for name, details in found.items():
            row = known.get(name.upper())
            if row is not None and row.theirs == _words(details):
                again.append(row.pk)
                continue
            if row is not None:
                changed.append(row.pk)
            new[name] = details
        Drift.objects.filter(pk__among=again).update(seen_at=at)
        Drift.objects.filter(pk__among=changed).update(ended_at=at, ending=DriftEnding.CHANGED)
        Drift.objects.bulk_create(
            Drift(
                vendor=vendor, subscriber_id=name, field=DriftField.UNKNOWN_HERE, ours="No", theirs=_words(details),
                record=as_record(details) if details else {}, run=run, found_at=at, seen_at=at,
            )
            for name, details in new.items()
        )  # fmt: skip
        ReconciliationRun.objects.filter(pk=run.pk).update(
            moved_at=at, found=models.F("found") + len(new), again=models.F("again") + len(again)
        )
    run.refresh_from_db()


def _open(vendor: str) -> models.QuerySet[Drift]:
    return Drift.objects.filter(subscription__isnull=True, vendor=vendor, ended_at__isnull=True)


def _words(details: Details | None) -> str:
    return f"{details.status}, {details.seats:,} of {details.product_id}"[:200] if details else "Could not be read"
