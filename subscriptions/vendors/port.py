"""The gateway port: what Seatdesk asks of a vendor, and the only answers a vendor can give.

Pure Python without Django. Dataclasses go in and come out; vendor trouble is an `Answer`, never an exception, so
any exception that leaves a gateway is a bug of ours. Seats are absolute targets, instants are aware UTC datetimes.

A caller writes the attempt down between `prepare` and `send`: `prepare` is pure, `send` opens the socket.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, Literal


class Secret:
    """A text that must not be shown by accident: its repr and str are masked, `reveal()` is explicit."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class OpenEnded(Enum):
    """The term that has no end, which is not the same as a term whose end was not said (None)."""

    OPEN_ENDED = "indefinite"


OPEN_ENDED: Final = OpenEnded.OPEN_ENDED


class VendorStatus(StrEnum):
    """Status of a licence in the vendor's own words."""

    NOT_STARTED = "NotStarted"
    STARTED = "Started"
    PAUSED = "Paused"
    SOFT_CANCELLED = "SoftCancelled"
    HARD_CANCELLED = "HardCancelled"


# --- what we ask -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provision:
    """Start a licence for a subscriber that the vendor does not know yet."""

    subscriber_id: str
    product_id: str
    seats: int
    starts_at: datetime
    ends_at: datetime | OpenEnded = OPEN_ENDED


@dataclass(frozen=True, slots=True)
class SetSeats:
    """Bring a running licence to `seats` (the new total); code and term stay."""

    subscriber_id: str
    product_id: str
    seats: int
    starts_at: datetime
    ends_at: datetime | OpenEnded = OPEN_ENDED


@dataclass(frozen=True, slots=True)
class ChangeProduct:
    """Bring a running licence to another product, with `seats` of it; code and term stay."""

    subscriber_id: str
    product_id: str
    seats: int
    starts_at: datetime
    ends_at: datetime | OpenEnded = OPEN_ENDED


@dataclass(frozen=True, slots=True)
class Suspend:
    subscriber_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Activate:
    """Bring a suspended licence back."""

    subscriber_id: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """`now`: over at `at` for good, also for a suspended licence. `end`: works until `at`."""

    subscriber_id: str
    mode: Literal["now", "end"]
    at: datetime


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for the vendor's record; changes nothing."""

    subscriber_id: str


Command = Provision | SetSeats | ChangeProduct | Suspend | Activate | Cancel
Ask = Command | Read


# --- what comes back -------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """Classes of an answer; `fulfilment` decides by these alone."""

    DONE = "done"
    """The vendor confirmed the change, or answered the read."""
    TRANSIENT = "transient"
    """Surely not applied, and worth sending again later."""
    REJECTED = "rejected"
    """Understood and refused."""
    ALREADY_DONE = "already_done"
    """The target exists, or the order is a duplicate: read and compare."""
    UNKNOWN = "unknown"
    """Sent, and no trustworthy answer: never send again blindly."""
    CREDENTIALS = "credentials"
    """The vendor does not let us in; surely not applied."""
    UNSUPPORTED = "unsupported"
    """The gateway has no such capability; nothing was sent."""


NOT_FOUND: Final = "not-found"
"""`Answer.code` of a read whose subscriber the vendor surely does not know: proof that nothing was applied."""


@dataclass(frozen=True, slots=True)
class Details:
    """The vendor's record of one licence."""

    subscriber_id: str
    status: VendorStatus
    seats: int
    product_id: str
    status_changed_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | OpenEnded | None = None
    activation_code: Secret | None = None
    first_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one ask of a container led to.

    `code` is the vendor's error number as text, `NOT_FOUND` for a read of a subscriber that the vendor does not know,
    or a word of the gateway's own (`connect-timeout`, `http-503`, `echo`). `message` is the vendor's, word for word,
    for staff. `answered` is what stood in the answer for this ask, secrets masked. `alert` asks for a person:
    wrong configuration, an empty pool of codes, an error number that nobody has classified.
    """

    outcome: Outcome
    code: str = ""
    message: str = ""
    details: Details | None = None
    activation_code: Secret | None = None
    answered: str = ""
    alert: bool = False
    retry_after: float | None = None
    """Seconds that the vendor asked us to wait."""
    http_status: int | None = None
    latency_ms: int = 0
    vendor_time: datetime | None = field(default=None, compare=False)
    """What the vendor's clock showed when it answered, where it says so."""


@dataclass(frozen=True, slots=True)
class Container:
    """Asks that travel together, ready to be sent; the items stand in the order of `asks`, UnitId = index."""

    transaction_id: str
    asks: tuple[Ask, ...]
    asked: tuple[str, ...]
    """Each ask as the vendor will read it, secrets masked, without credentials."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the gateway can do for a product; the SKU may narrow it further."""

    seat_change: Literal["in_place", "unsupported"]
    suspend: bool = True
    product_change: Literal["in_place", "unsupported"] = "unsupported"


class Gateway(ABC):
    """One vendor. Built once per process from settings; safe to share between threads; never retries by itself.

    Its options are keywords; unknown or missing ones raise `TypeError` that names them.
    """

    @abstractmethod
    def capabilities(self, product_id: str) -> Capabilities: ...

    @abstractmethod
    def prepare(self, transaction_id: str, asks: Sequence[Ask]) -> Container:
        """Build the container. Raises ValueError for an ask that the protocol cannot say: naive datetime, seats < 1."""

    @abstractmethod
    def send(self, container: Container, *, within: float | None = None) -> list[Answer]:
        """Send once and give exactly one answer for each ask, in order.

        `within` shortens the whole attempt (seconds); the gateway's own attempt timeout is the most that it may take.
        """

    @abstractmethod
    def ping(self) -> Answer:
        """Is the vendor there, and does it let us in? DONE, TRANSIENT, CREDENTIALS or UNKNOWN; changes nothing."""

    def get_details(self, transaction_id: str, subscriber_id: str, *, within: float | None = None) -> Answer:
        """Read one record; the transaction id must be fresh for each read."""
        return self.get_details_many(transaction_id, [subscriber_id], within=within)[0]

    def get_details_many(
        self, transaction_id: str, subscriber_ids: Sequence[str], *, within: float | None = None
    ) -> list[Answer]:
        """Read many records in one container; answers in the order asked."""
        return self.send(self.prepare(transaction_id, [Read(one) for one in subscriber_ids]), within=within)
