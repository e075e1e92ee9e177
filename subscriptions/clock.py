"""Business time: the one place that asks what time it is."""

from datetime import UTC, datetime

from django.conf import settings


def now() -> datetime:
    """The current business instant (aware, UTC): real time plus `CLOCK_OFFSET`, which all processes share."""
    return datetime.now(UTC) + settings.CLOCK_OFFSET
