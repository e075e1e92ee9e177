"""Every night a run over all subscriptions, by the worker: in slices that follow one another."""

from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.models import ReconciliationRun, ReconciliationStatus
from subscriptions.reconciliation import runs
from subscriptions.reconciliation.reading import VendorSilent

log = structlog.get_logger(__name__)

SLICE = 4.0
"""Seconds after which a job leaves the rest to the next one, so that a worker that is told to stop can."""
LOST = timedelta(hours=2)
"""A run that has not moved for so long has nobody who works on it: it would have tried again before."""
_PERIOD = timedelta(hours=1)
LATEST = LOST + _PERIOD
"""So long after its hour the night's run still begins: until then whatever was in its way is lost or has ended."""
_TASK = "subscriptions.reconcile_slice"
# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())


@app.periodic(cron="0 * * * *")
@app.task(name="subscriptions.reconcile", queue="upkeep", queueing_lock="reconcile")
def reconcile(timestamp: int) -> None:
    """At the hour of `RECONCILE_HOUR` (UTC) begin the night's run; at any other let one go on that has lost its job.

    While another one is in the way, such as that of a command that was killed, the night's run begins at a later hour.
    """
    late = timedelta(hours=(datetime.fromtimestamp(timestamp, UTC).hour - settings.RECONCILE_HOUR) % 24)
    owed = settings.RECONCILE_HOUR >= 0 and late <= LATEST and not _begun_since(clock.now() - late - _PERIOD / 2)
    if not (owed and begin()):
        wake()


def _begun_since(at: datetime) -> bool:
    return ReconciliationRun.objects.filter(audience=actions.SYSTEM, started_at__gte=at).exists()


def begin() -> ReconciliationRun | None:
    """Begin a run that the worker carries out; None while another one is under way."""
    with transaction.atomic(durable=True):
        running = ReconciliationRun.objects.select_for_update(no_key=True).filter(status=ReconciliationStatus.RUNNING)
        other = running.first()
        if other and clock.now() - other.moved_at < LOST:
            log.warning("no run begins beside another one", run=other.pk)
            return None
        if other:
            runs.stop(other, "It was interrupted.")
        try:
            run = runs.begin(actor=None, audience=actions.SYSTEM)
        except NotAllowed as refusal:
            # A command was faster by a moment.
            log.warning("no run begins beside another one", said=refusal.sentence)
            return None
        _owe(run)
    return run


def wake() -> None:
    """Owe a job to the worker's run when its own was lost with the database or has failed."""
    run = ReconciliationRun.objects.filter(status=ReconciliationStatus.RUNNING, audience=actions.SYSTEM).first()
    if run is None:
        return
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing'))",
            [_TASK],
        )
        if not cursor.fetchone()[0]:
            _owe(run)


@app.task(name=_TASK, queue="bulk", priority=lifecycle.AFTER_CLICKS)
def carry_on(run_id: int, failures: int = 0) -> None:
    """Compare for some seconds, and see to the next slice. Safe to run twice, late, and after the run was stopped.

    A vendor that does not answer is asked again later and later, and in the end the run stops and says so.
    """
    run = ReconciliationRun.objects.filter(pk=run_id, status=ReconciliationStatus.RUNNING).first()
    if run is None:
        return
    try:
        for _ in runs.work(run, within=SLICE):
            failures = 0
    except runs.Overtaken:
        log.info("another process goes on with the run", run=run.pk)
        return
    except VendorSilent as silent:
        _again(run, failures, silent)
        return
    if run.status == ReconciliationStatus.RUNNING:
        _owe(run)


def _again(run: ReconciliationRun, failures: int, silent: VendorSilent) -> None:
    delays = settings.VENDOR_RETRY_DELAYS
    if failures < len(delays):
        log.warning("the vendor does not answer", run=run.pk, said=silent.sentence)
        _owe(run, failures + 1, timedelta(seconds=delays[failures]))
        return
    runs.stop(run, silent.sentence)
    log.error("reconciliation has stopped", run=run.pk, said=silent.sentence)


def _owe(run: ReconciliationRun, failures: int = 0, later: timedelta | None = None) -> None:
    _queue.defer_job(
        Job(
            task_name=_TASK, queue="bulk", priority=lifecycle.AFTER_CLICKS, lock=f"reconciliation-{run.pk}",
            queueing_lock=None, task_kwargs={"run_id": run.pk, "failures": failures},
            scheduled_at=datetime.now(UTC) + later if later else None,
        )
    )  # fmt: skip
