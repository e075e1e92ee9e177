"""Portal and vendor on one clock, which this process moves while it runs what the worker would run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from subscriptions import clock, lifecycle
from subscriptions.models import Order
from subscriptions.notifications import gathering
from subscriptions.vendors.emulator.control import Control


class Stage:
    """Business time of this process and of the emulator, moved together and never back; no worker may be running.

    `keep` hears how far business time runs ahead before anything happens at it.
    """

    def __init__(self, vendor: Control, *, keep: Callable[[timedelta], None] = lambda offset: None) -> None:
        self.vendor = vendor
        self._keep = keep
        self._sends_mails = True
        self._worked_at = datetime.min.replace(tzinfo=UTC)
        app.perform_import_paths()

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Afterwards both clocks show again what they showed before."""
        before = settings.CLOCK_OFFSET
        try:
            yield
        finally:
            settings.CLOCK_OFFSET = before
            self.vendor.set_offset(before)

    def begin_at(self, at: datetime) -> None:
        offset = at - datetime.now(UTC)
        self._keep(offset)
        settings.CLOCK_OFFSET = offset
        self.vendor.set_offset(offset)

    def play_until(self, at: datetime, progress: Callable[[datetime], None] = lambda at: None) -> None:
        """Let time pass until `at`; what falls due happens at its own instant, as it does beside a worker."""
        while (due := _next_due(self._worked_at)) is not None and due <= at:
            self._go_to(due)
            self.work()
            progress(due)
        self._go_to(at)

    def _go_to(self, at: datetime) -> None:
        # True time goes by as well, while work is done.
        if at > clock.now():
            self.begin_at(at)

    def work(self) -> None:
        """Everything that is due now, and the mails about it."""
        self._worked_at = clock.now()
        lifecycle.sweep()
        self.carry_out()
        # What an order kept waiting comes after it.
        while lifecycle.catch_up(clock.now()) and self.carry_out():
            pass
        self._send_mails()

    def carry_out(self) -> bool:
        """Make the attempts that are due; what is to be tried again later stays owed. False: there was none."""
        found = False
        while job := self._due_job():
            _run(job)
            found = True
        return found

    def _due_job(self) -> ProcrastinateJob | None:
        for job in _waiting("orders"):
            due = Order.objects.values_list("next_attempt_at", flat=True).get(pk=job.args["order_id"])
            if due is None or due <= clock.now():
                return job
        return None

    def hold_mails(self) -> None:
        """Send none until `drop_mails`."""
        self._sends_mails = False

    def drop_mails(self) -> None:
        """Forget those that were held, and send the later ones."""
        ProcrastinateJob.objects.filter(queue_name="mail").delete()
        self._sends_mails = True

    def _send_mails(self) -> None:
        if not self._sends_mails:
            return
        _run_all("mail")
        gathering.gather(timestamp=0)
        _run_all("mail")


def _waiting(queue: str) -> list[Any]:
    return list(ProcrastinateJob.objects.filter(queue_name=queue, status="todo").order_by("-priority", "id"))


def _run_all(queue: str) -> None:
    while jobs := _waiting(queue):
        for job in jobs:
            _run(job)


def _run(job: ProcrastinateJob) -> None:
    # Taken before it runs, as a worker does: what it leaves owing is a job of its own.
    app.job_manager.cancel_job_by_id(job.pk, delete_job=True)
    app.tasks[job.task_name](**job.args)


def _next_due(after: datetime) -> datetime | None:
    """The first instant later than this one at which something falls due by itself, is to be tried again or told."""
    values: dict[str, Any] = {"after": after, "quiet": gathering.QUIET}
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_DUE, values)
        [found] = cursor.fetchone()
    return found


_NEXT_DUE = """
SELECT least(
    (SELECT min(next_due_at) FROM subscriptions_subscription WHERE next_due_at > %(after)s),
    (SELECT min(due_at) FROM subscriptions_order WHERE status = 'scheduled' AND due_at > %(after)s),
    (SELECT min(next_attempt_at) FROM subscriptions_order
     WHERE status IN ('placed', 'in_progress') AND next_attempt_at > %(after)s),
    (SELECT max(e.at) + %(quiet)s FROM subscriptions_notice n JOIN subscriptions_event e ON e.id = n.event_id
     WHERE n.gathered AND n.letter IS NULL HAVING max(e.at) + %(quiet)s > %(after)s)
)
"""
