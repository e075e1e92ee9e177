"""Instants as the wire writes them, and the emulator's own clock."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

INDEFINITE: Final = "indefinite"
"""The word that stands where a term has no end."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def parse(text: str) -> datetime:
    """An aware UTC datetime from an XML dateTime. A time without a zone or any other form raises ValueError."""
    if not _DATE_TIME.fullmatch(text):
        raise ValueError(f"not a dateTime with a zone: {text[:40]!r}")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def write(moment: datetime) -> str:
    """An XML dateTime in UTC that ends in `Z`; parts of a second are kept. Texts of equal length sort by time."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def real_now() -> datetime:
    return datetime.now(UTC)


def shifted(offset_seconds: float) -> datetime:
    """The emulator's present, which tests and the demo may move."""
    return real_now() + timedelta(seconds=offset_seconds)
