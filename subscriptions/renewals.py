"""The periodic task that lets things fall due: scheduled orders, period ends, trials, grace times, reminders."""

import structlog
from django.conf import settings
from procrastinate.contrib.django import app

from subscriptions import clock, lifecycle

log = structlog.get_logger(__name__)


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.run_due", queue="upkeep", queueing_lock="run_due")
def run_due(timestamp: int) -> None:
    """Take every step that is due. Safe to run twice, late, and by two workers at once."""
    done = lifecycle.catch_up(clock.now())
    if done:
        log.info("fell due", **{kind.replace(" ", "_"): count for kind, count in done.items()})
