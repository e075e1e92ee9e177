"""Portal and vendor on one clock, which this process moves while it runs what the worker would run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.conf import settings
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from subscriptions import clock, lifecycle
from subscriptions.models import OPEN_ORDER, Order
from subscriptions.vendors.emulator.control import Control


class Stage:
    """Business time of this process and of the emulator, moved together and never back, until `open` ends."""

    def __init__(self, vendor: Control) -> None:
        self.vendor = vendor

    @contextmanager
    def open(self) -> Iterator[None]:
        """Time may be moved inside; afterwards both clocks show the true time again."""
        before = settings.CLOCK_OFFSET
        app.perform_import_paths()
        try:
            yield
        finally:
            settings.CLOCK_OFFSET = before
            self.vendor.set_offset(before)

    def begin_at(self, at: datetime) -> None:
        settings.CLOCK_OFFSET = at - datetime.now(UTC)
        self.vendor.set_offset(settings.CLOCK_OFFSET)

    def go_to(self, at: datetime) -> None:
        """Wait for `at` by moving time there; nothing happens when it has passed."""
        if at > clock.now():
            self.begin_at(at)

    def run_one(self) -> bool:
        """Run the oldest job that waits, at the time at which it is due; False when there is none."""
        job = ProcrastinateJob.objects.filter(queue_name="orders", status="todo").order_by("id").first()
        if job is None:
            return False
        # Taken before it runs, as a worker does: what it leaves owing is a job of its own.
        app.job_manager.cancel_job_by_id(job.pk, delete_job=True)
        due = Order.objects.values_list("next_attempt_at", flat=True).get(pk=job.args["order_id"])
        self.go_to(due or clock.now())
        app.tasks[job.task_name](**job.args)
        return True

    def run_all(self, within: timedelta = timedelta(hours=2)) -> None:
        """Run what is owed, moving time to each next try, until nothing is due within the time given."""
        while True:
            while self.run_one():
                pass
            next_try = (
                Order.objects.filter(status__in=OPEN_ORDER, next_attempt_at__lte=clock.now() + within)
                .order_by("next_attempt_at")
                .values_list("next_attempt_at", flat=True)
                .first()
            )
            if next_try is None:
                return
            self.go_to(next_try)
            lifecycle.sweep()
