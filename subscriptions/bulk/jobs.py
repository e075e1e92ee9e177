"""Jobs of the runs of BSS, as they are owed: one at a time for a run, each a slice that is followed by the next."""

from django.db import connection, transaction
from django.db.models import Q
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import lifecycle
from subscriptions.actions import BSS
from subscriptions.bulk import runs
from subscriptions.models import BulkRun, RunStatus

LOOK, PLACE = "subscriptions.bulk_look", "subscriptions.bulk_place"
# Somebody waits for a preview; what it leads to may take as long as it takes.
PRIORITY = {LOOK: lifecycle.AFTER_CLICKS + 1, PLACE: lifecycle.AFTER_CLICKS}
# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())


def owe(task: str, run: BulkRun, *, unless_at_work: bool = False) -> bool:
    """A job for a run, in the transaction of the caller, unless one waits already; is there a new one?"""
    lock = f"bulk-run-{run.pk}"
    statuses = ["todo", "doing"] if unless_at_work else ["todo"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE lock = %s AND task_name = %s"
            " AND status = ANY(%s::procrastinate_job_status[]))",
            [lock, task, statuses],
        )
        if cursor.fetchone()[0]:
            return False
    _queue.defer_job(
        Job(
            task_name=task, queue="bulk", priority=PRIORITY[task], lock=lock, queueing_lock=None,
            task_kwargs={"run_id": run.pk},
        )
    )  # fmt: skip
    return True


def resume(run: BulkRun) -> None:
    """Let a stopped run of BSS go on, by a worker; nothing happens to one that is not stopped."""
    with transaction.atomic(durable=True):
        runs.go_on(run)
        if run.status == RunStatus.RUNNING:
            owe(PLACE, run, unless_at_work=True)


def wake() -> list[int]:
    """Owe a job to each run of BSS that is at work and has lost its own; returns their keys."""
    choosing = Q(choosing__isnull=False)
    unseen = Q(preview__isnull=False) & ~Q(preview__has_key="at")
    drafts = Q(choosing | unseen, status=RunStatus.DRAFT, stopped_because="")
    at_work = BulkRun.objects.filter(Q(status=RunStatus.RUNNING) | drafts, audience=BSS)
    with transaction.atomic(durable=True):
        tasks = [(PLACE if run.status == RunStatus.RUNNING else LOOK, run) for run in at_work]
        return [run.pk for task, run in tasks if owe(task, run, unless_at_work=True)]
