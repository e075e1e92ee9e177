"""What the emulator knows, as plain values. The control interface carries the same values as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Status = Literal["NotStarted", "Started", "Paused", "SoftCancelled", "HardCancelled"]
Profile = Literal["in-place", "strict"]
Refusal = Literal["http-401", "transaction-error"]

STATUSES: Final[tuple[Status, ...]] = ("NotStarted", "Started", "Paused", "SoftCancelled", "HardCancelled")
PROFILES: Final[tuple[Profile, ...]] = ("in-place", "strict")
REFUSALS: Final[tuple[Refusal, ...]] = ("http-401", "transaction-error")

CHANGING: Final = ("Activate", "Renew", "Pause", "Resume", "SoftCancel", "HardCancel")
READING: Final = ("GetInfo", "GetDownloadLinks")
KINDS: Final = CHANGING + READING


@dataclass(frozen=True, slots=True)
class Provider:
    """A customer of the vendor's: whom the wire calls by user and password."""

    user: str
    password: str
    products: tuple[str, ...] | None = None
    """Product ids that may be activated; None allows every id."""
    refused_items: tuple[str, ...] = ()
    """Kinds of items that this provider may not send (code 601)."""
    pool_size: int | None = None
    """How many activation codes may be issued in all; None has no bottom."""
    issued: int = 0


DEFAULT_PROVIDER: Final = Provider(user="seatdesk", password="emulator-only")  # noqa: S106 - a stand-in guards nothing


@dataclass(frozen=True, slots=True)
class Record:
    """One licence. Instants are XML dateTimes in UTC; `end` may be `indefinite`; None is an end that nobody said."""

    provider: str
    subscriber: str
    product: str
    seats: int
    status: Status
    status_changed_at: str
    start: str
    end: str | None
    activation_code: str
    activation_type: str = "Standard"
    first_used_at: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JournalRequest:
    """One request over the service's socket, or one change made from outside (`source` is `control`)."""

    id: int
    at: str
    real_at: float
    source: str
    provider: str | None
    transaction_id: str | None
    error_code: int | None
    """Of the whole container; None when items were answered one by one."""
    error_message: str | None
    http_status: int | None
    """None where the connection was closed without an answer."""
    fault: str | None
    """Names of the faults that were used, joined by `+`."""


@dataclass(frozen=True, slots=True)
class JournalItem:
    """One item of a request. `applied` is true only if the record differs: `before` -> `after`."""

    id: int
    request: int
    at: str
    real_at: float
    source: str
    provider: str
    transaction_id: str | None
    unit: int | None
    kind: str
    subscriber: str | None
    applied: bool
    error_code: int | None
    error_message: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    fault: str | None
