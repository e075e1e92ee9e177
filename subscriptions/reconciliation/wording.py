"""What is noted of a difference, in the words that people say."""

from typing import Any

from subscriptions.models import DriftField
from subscriptions.vendors.port import VendorStatus

_THEIRS: dict[str, str] = {
    VendorStatus.NOT_STARTED: "Not started",
    VendorStatus.STARTED: "Running",
    VendorStatus.PAUSED: "Paused",
    VendorStatus.SOFT_CANCELLED: "Set to end",
    VendorStatus.HARD_CANCELLED: "Ended for good",
}
GONE_THERE = "The licence service does not know this subscription. Take theirs cancels it here, for good."
"""What whoever settles a difference of `existence` must have read."""
_KNOWN = {"Yes": "Known", "No": "Not known"}


def in_words(field: str, noted: str) -> str:
    """`ours` or `theirs` of a Drift as a list or a file says it: `HardCancelled` is `Ended for good`."""
    match field:
        case DriftField.STATUS:
            return _THEIRS.get(noted, noted)
        case DriftField.EXISTENCE | DriftField.UNKNOWN_HERE:
            # What is unknown here is noted as `Started, 40 of PRODUCT`.
            status, comma, rest = noted.partition(",")
            return f"{_THEIRS.get(status, status)}{comma}{rest}" if comma else _KNOWN.get(noted, noted)
    return noted


def shown(field: str, ours: str, theirs: str) -> dict[str, Any]:
    """What a row that is to settle drift wants, until it is known what that leads to: the difference as it was shown.

    Of a Wish with a stem of `SETTLING` it is the `after`, which `as_noted` and `as_read` make definite.
    """
    return {"Difference": field, "Ours": ours, "Theirs": theirs}


def shown_in_words(after: dict[str, Any]) -> str:
    """What `shown` has made, such as "Seats: 25 here, 30 there"; empty for what else is wanted of a row."""
    if "Difference" not in after:
        return ""
    field = after["Difference"]
    # Rows of older runs do not say what was ours.
    here = f"{in_words(field, after['Ours'])} here, " if "Ours" in after else ""
    return f"{DriftField(field).label}: {here}{in_words(field, after['Theirs'])} there"
