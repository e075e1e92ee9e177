"""Portal and vendor on one clock, which this process moves while it runs what the worker would run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Min
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from subscriptions import clock, lifecycle
from subscriptions.models import Order, OrderStatus, Subscription
from subscriptions.vendors.emulator.control import Control


class Stage:
    """Business time of this process and of the emulator, moved together and never back.

    `keep` hears how far business time runs ahead before anything happens at it. Mails that would have gone out before
    `mails_from` are dropped. No worker may be running.
    """

    def __init__(
        self,
        vendor: Control,
        *,
        keep: Callable[[timedelta], None] = lambda offset: None,
        mails_from: datetime | None = None,
    ) -> None:
        self.vendor = vendor
        self._keep = keep
        self._mails_from = mails_from
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
        self.work()
        while (due := _next_due(clock.now())) is not None and due <= at:
            self.begin_at(due)
            progress(due)
            self.work()
        if at > clock.now():
            self.begin_at(at)

    def work(self) -> None:
        """Everything that is due now, and the mails about it."""
        lifecycle.sweep()
        self.carry_out()
        while lifecycle.catch_up(clock.now()):
            self.carry_out()
        self._send_mails()

    def carry_out(self) -> None:
        """Make the attempts that are due; what is to be tried again later stays owed."""
        while job := self._due_job():
            self._run(job)

    def _due_job(self) -> ProcrastinateJob | None:
        for job in _waiting("orders"):
            due = Order.objects.values_list("next_attempt_at", flat=True).get(pk=job.args["order_id"])
            if due is None or due <= clock.now():
                return job
        return None

    def _send_mails(self) -> None:
        while jobs := _waiting("mail"):
            for job in jobs:
                self._run(job, drop=bool(self._mails_from and clock.now() < self._mails_from))

    def _run(self, job: ProcrastinateJob, *, drop: bool = False) -> None:
        # Taken before it runs, as a worker does: what it leaves owing is a job of its own.
        app.job_manager.cancel_job_by_id(job.pk, delete_job=True)
        if not drop:
            app.tasks[job.task_name](**job.args)


def _waiting(queue: str) -> list[Any]:
    return list(ProcrastinateJob.objects.filter(queue_name=queue, status="todo").order_by("-priority", "id"))


def _next_due(after: datetime) -> datetime | None:
    """The first instant later than this one at which something falls due by itself, or is to be tried again."""
    tries = Order.objects.filter(status__in=[OrderStatus.PLACED, OrderStatus.IN_PROGRESS])
    found = (
        Subscription.objects.filter(next_due_at__gt=after).aggregate(at=Min("next_due_at")),
        Order.objects.filter(status=OrderStatus.SCHEDULED, due_at__gt=after).aggregate(at=Min("due_at")),
        tries.filter(next_attempt_at__gt=after).aggregate(at=Min("next_attempt_at")),
    )
    return min((one["at"] for one in found if one["at"]), default=None)
