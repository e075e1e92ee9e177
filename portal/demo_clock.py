"""Business time of the demo: how far it runs ahead of true time, kept beside the data whose time it is."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

FARTHEST = timedelta(days=2 * 366)
"""How far one move may go: a mistyped year would otherwise be played to its end."""


def moment(text: str) -> datetime:
    """The instant that `--at` names: an ISO date or date-time, UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date. Write 2027-03-02, or 2027-03-02T09:30 (UTC).") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def words(at: datetime) -> str:
    """Such as 2 March 2027, 09:30 UTC."""
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def why_not(at: datetime, reached: datetime) -> str:
    """Why business time cannot be moved to `at`, empty when it can. The day that it has reached needs no move."""
    if at < reached and not (at.date() == reached.date() and at.time() == time()):
        return (
            f"{words(at)} is over: business time in this demo is {words(reached)}, and it only goes forward. Choose a "
            "later --at, or begin anew with --fresh."
        )
    if at - reached > FARTHEST:
        return f"{words(at)} lies more than two years ahead of this demo's {words(reached)}. Choose an earlier --at."
    return ""


def kept(data: Path) -> timedelta:
    """How far business time runs ahead in the demo with this data folder."""
    try:
        return timedelta(seconds=float(_file(data).read_text()))
    except FileNotFoundError:
        return timedelta()


def keep(data: Path, offset: timedelta) -> None:
    """Let the next start go on from here, also when this one is killed the instant after."""
    new = _file(data).with_suffix(".new")
    new.write_text(repr(offset.total_seconds()))
    new.replace(_file(data))


def _file(data: Path) -> Path:
    return data / "business-time"
