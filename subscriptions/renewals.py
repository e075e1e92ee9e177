"""The periodic task that lets things fall due: scheduled orders, period ends, trials, grace times, reminders."""

from collections import Counter

import structlog
from django.conf import settings
from procrastinate.contrib.django import app

from subscriptions import clock, lifecycle

log = structlog.get_logger(__name__)
# Jobs come by priority, then by age: dates do not wait behind a backlog of orders.
UPKEEP_FIRST = 100


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(
    name="subscriptions.run_due", queue="upkeep", priority=UPKEEP_FIRST, queueing_lock="run_due",
    # One at a time: a long one would be joined by another every few seconds, each in a thread of its own.
    lock="run_due",
)  # fmt: skip
def run_due(timestamp: int) -> None:
    """Take every step that is due. Safe to run twice, late, and by two workers at once."""
    done: Counter[str] = Counter()
    for one in lifecycle.passes(clock.now()):
        done += one.done
        for pk, error in one.failed.items():
            log.error("step failed", subscription_id=pk, exc_info=error)
    if done:
        log.info("fell due", **{kind.replace(" ", "_"): count for kind, count in done.items()})
