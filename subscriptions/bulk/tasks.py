"""The worker's part in runs of BSS: looking and placing, a slice at a time."""

import time
from collections.abc import Iterator

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from procrastinate.contrib.django import app

from subscriptions.bulk import drafts, endings, jobs, runs
from subscriptions.fulfilment import UPKEEP_FIRST
from subscriptions.models import BulkRun, RunStatus

log = structlog.get_logger(__name__)

SLICE = 4.0
"""Seconds after which a job leaves the rest to the next one, so that a worker that is told to stop can."""


@app.task(name=jobs.LOOK, queue="bulk", priority=jobs.PRIORITY[jobs.LOOK])
def look(run_id: int) -> None:
    """Choose or look at a slice of a draft, and see to the next one. Safe twice, late, and after it was confirmed."""
    if run := BulkRun.objects.select_related("actor").filter(pk=run_id).first():
        _slice(jobs.LOOK, run, _looks(run))


@app.task(name=jobs.PLACE, queue="bulk", priority=jobs.PRIORITY[jobs.PLACE])
def place(run_id: int) -> None:
    """Place a slice of a run, and see to the next one. Safe to run twice, late, and after it was stopped."""
    if run := BulkRun.objects.select_related("actor").filter(pk=run_id).first():
        try:
            _slice(jobs.PLACE, run, runs.place(run))
        except (OperationalError, InterfaceError):
            # It goes on when the database is back.
            raise
        except Exception as error:
            # Tried again it would fail again, each time somebody looks for lost jobs.
            log.exception("bulk run cannot be placed", run=run.pk)
            runs.stop(run, f"It could not be placed: {type(error).__name__}. See the log, and go on when it is mended.")
        if run.status == RunStatus.DONE:
            log.info("bulk run placed", run=run.pk, action=run.action, placed=run.placed, refused=run.refused)


def _looks(run: BulkRun) -> Iterator[BulkRun]:
    while drafts.look(run):
        yield run


def _slice(task: str, run: BulkRun, steps: Iterator[BulkRun]) -> None:
    end = time.monotonic() + SLICE
    for _ in steps:
        if time.monotonic() >= end:
            with transaction.atomic(durable=True):
                jobs.owe(task, run)
            return


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.bulk_upkeep", queue="upkeep", priority=UPKEEP_FIRST, queueing_lock="bulk_upkeep")
def upkeep(timestamp: int) -> None:
    """Let runs go on whose job was lost or has failed, see which are carried out, and forget old drafts."""
    if woken := jobs.wake():
        log.info("bulk runs without a job go on", runs=woken)
    endings.follow()
    drafts.forget()
