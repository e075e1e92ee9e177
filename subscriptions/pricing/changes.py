"""What a subscription is before a change, and the changes that have a price."""

from dataclasses import dataclass
from decimal import Decimal

from subscriptions.pricing.periods import Period
from subscriptions.pricing.terms import Terms


@dataclass(frozen=True, slots=True)
class Paid:
    """A ledger line of the current period; negative if a credit. `covers` are the days that it pays for.

    `elsewhere` is what another system charged for the period, before the subscription was taken over from it: that
    counts where a period is billed at its highest count, and is never credited here.
    """

    amount: Decimal
    covers: Period
    elsewhere: Decimal = Decimal()


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription as it is before the change: `paid` holds every line of its current period and no other."""

    seats: int
    peak_seats: int
    period: Period
    anchor_day: int
    paid: tuple[Paid, ...] = ()
    trial: bool = False
    suspended: bool = False

    def __post_init__(self) -> None:
        if self.seats < 1 or not 1 <= self.anchor_day <= 31:
            raise ValueError("A subscription has at least one seat and an anchor day from 1 to 31.")


@dataclass(frozen=True, slots=True)
class Start:
    seats: int


@dataclass(frozen=True, slots=True)
class SetSeats:
    seats: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """On a day, which may lie back in the current period."""


@dataclass(frozen=True, slots=True)
class ChangeSKU:
    """`terms` are the new SKU's; a new period and a new anchor begin on the day."""

    terms: Terms
    seats: int


@dataclass(frozen=True, slots=True)
class Activate:
    """End of a suspension."""


@dataclass(frozen=True, slots=True)
class Convert:
    """A trial becomes a paid subscription on a day."""


@dataclass(frozen=True, slots=True)
class NextPeriod:
    """The renewal that follows the standing's period."""


@dataclass(frozen=True, slots=True)
class EndOfPeriod:
    """Cancel when the period is over."""


Change = Start | SetSeats | Cancel | ChangeSKU | Activate | Convert | NextPeriod | EndOfPeriod
