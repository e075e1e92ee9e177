"""What a seat costs, and by which rules: the price list of one SKU for one account."""

import hashlib
import json
from dataclasses import asdict, dataclass
from decimal import Decimal

from subscriptions.models.catalogue import CancelCredit, DecreasePolicy, IncreasePolicy
from subscriptions.pricing.amounts import TIMES, counted, rounded, unit_money


class NoPrice(Exception):  # noqa: N818 - a refusal that the reader can act on, like NotAllowed
    """The price list has no band for these seats; `sentence` is for customers, and `fact` is its part for everybody."""

    def __init__(self, seats: int, currency: str) -> None:
        self.fact = f"There is no price for {counted(seats, 'seat')} in {currency}."
        self.sentence = f"{self.fact} Ask your distributor."
        super().__init__(self.sentence)


@dataclass(frozen=True, slots=True)
class Band:
    """Price of one seat for one billing period, from a number of seats on."""

    seats_from: int
    price: Decimal

    def __post_init__(self) -> None:
        if self.seats_from < 0 or self.price < 0:
            raise ValueError("A band has neither negative seats nor a negative price.")


@dataclass(frozen=True, slots=True)
class Terms:
    """The price list of one SKU for one account, and the rules by which it is applied."""

    sku: str
    currency: str
    bands: tuple[Band, ...]
    discount: Decimal
    """Percent, 0 to 100."""
    months: int
    """Of one billing period."""
    term_months: int
    increase: str
    decrease: str
    cancel_credit: str
    bills_while_suspended: bool

    def __post_init__(self) -> None:
        increase, decrease = IncreasePolicy(self.increase), DecreasePolicy(self.decrease)
        CancelCredit(self.cancel_credit)
        if not 0 <= self.discount <= 100:
            raise ValueError(f"A discount of {self.discount} % is none.")
        if self.months < 1:
            raise ValueError("A billing period has at least one month.")
        if increase == IncreasePolicy.HIGH_WATER and decrease == DecreasePolicy.IMMEDIATE_CREDIT:
            raise ValueError("A period billed at its highest count gives no credit within it.")

    @property
    def fingerprint(self) -> str:
        """Equal exactly when everything is, whatever the order of the bands and the zeros that end a number."""
        bands = sorted((band.seats_from, _plain(band.price)) for band in self.bands)
        facts = json.dumps(asdict(self) | {"bands": bands}, sort_keys=True, default=_plain)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def unit_price(self, seats: int) -> Decimal:
        """Of one seat for one period when there are so many, discount taken off, not rounded; or `NoPrice`."""
        price = self._list_price(seats)
        return price * (100 - self.discount) / 100 if self.discount else price

    def line(self, seats: int) -> Decimal:
        """What one period costs: all seats at their band's price; or `NoPrice`."""
        return rounded(seats * self.unit_price(seats), self.currency)

    def words(self, charged: int, seats: int) -> str:
        """So many charged seats at the price that holds for `seats` of them."""
        price = unit_money(self._list_price(seats), self.currency)
        less = f" less {_plain(self.discount)} %" if self.discount else ""
        return f"{counted(charged, 'seat')} {TIMES} {price}{less}"

    def _list_price(self, seats: int) -> Decimal:
        fitting = [band for band in self.bands if band.seats_from <= seats]
        if not fitting:
            raise NoPrice(seats, self.currency)
        return max(fitting, key=lambda band: band.seats_from).price


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
