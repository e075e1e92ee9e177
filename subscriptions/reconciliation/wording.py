"""What is noted of a difference, in the words that people say."""

from subscriptions.models import DriftField
from subscriptions.vendors.port import VendorStatus

_THEIRS: dict[str, str] = {
    VendorStatus.NOT_STARTED: "Not started",
    VendorStatus.STARTED: "Running",
    VendorStatus.PAUSED: "Paused",
    VendorStatus.SOFT_CANCELLED: "Set to end",
    VendorStatus.HARD_CANCELLED: "Ended for good",
}
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
