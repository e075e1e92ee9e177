"""What is sold to a company: SKUs with their prices, and what is agreed with a purchase, in plain sentences.

Every figure comes from `pricing`; nothing here computes one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

from subscriptions import actions, gateways, pricing, quotes
from subscriptions.models import SKU, Account, ApprovalLimit
from subscriptions.models.catalogue import CancelCredit, DecreasePolicy, IncreasePolicy
from subscriptions.pricing import NoPrice, Terms


@dataclass(frozen=True, slots=True)
class Price:
    """What a period costs for a number of seats, or a `sentence` that says why there is no price."""

    seats: int
    amount: str = ""
    every: str = ""
    each: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """A row of the price table: from how many seats to how many, and one seat's price for a period."""

    seats: str
    list_price: str
    price: str
    holds: bool = False
    """Is it the one of the seats that were asked for?"""


@dataclass(frozen=True, slots=True)
class Sold:
    """A SKU as one company can buy it, for the number of seats that was asked for or for its smallest one."""

    sku: SKU
    terms: Terms
    asked: int | None = None
    limit: ApprovalLimit | None = None

    @property
    def seats(self) -> int:
        """Those asked for where the SKU allows them, else the smallest number with a price."""
        low, high = self.sku.seats_min, self.sku.seats_max
        if self.asked is not None and low <= self.asked <= high:
            return self.asked
        return max(low, min((band.seats_from for band in self.terms.bands), default=low))

    @property
    def range(self) -> str:
        low, high = self.sku.seats_min, self.sku.seats_max
        return f"{low:,} to {high:,} seats" if low < high else actions.seats_words(low)

    @property
    def price(self) -> Price:
        """For the seats asked for, or for the smallest number where nobody asked."""
        seats = self.seats if self.asked is None else self.asked
        low, high = self.sku.seats_min, self.sku.seats_max
        if seats < low:
            return Price(seats, sentence=f"Starts at {actions.seats_words(low)}.")
        if seats > high:
            return Price(seats, sentence=f"At most {actions.seats_words(high)}.")
        try:
            amount, each = self.terms.line(seats), self.terms.unit_price(seats)
        except NoPrice as missing:
            return Price(seats, sentence=missing.sentence)
        currency = self.terms.currency
        words = pricing.money(amount, currency), pricing.every(self.terms.months), pricing.unit_money(each, currency)
        return Price(seats, *words)

    @property
    def is_priced(self) -> bool:
        """Is there a number of seats that can be bought in this currency?"""
        return any(band.seats_from <= self.sku.seats_max for band in self.terms.bands)

    @property
    def bands(self) -> list[Band]:
        """The price list within the SKU's range; a number of seats without a price says so."""
        low, high = self.sku.seats_min, self.sku.seats_max
        starts = {low} | {band.seats_from for band in self.terms.bands if low < band.seats_from <= high}
        edges = [*sorted(starts), high + 1]
        undiscounted = replace(self.terms, discount=Decimal(0))
        return [
            Band(
                f"{first:,} to {after - 1:,}" if first < after - 1 else f"{first:,}",
                _each(undiscounted, first),
                _each(self.terms, first),
                first <= self.price.seats < after,
            )
            for first, after in pairwise(edges)
        ]

    @property
    def every(self) -> str:
        return pricing.every(self.terms.months)

    @property
    def discount(self) -> str:
        return discount_words(self.terms.discount)

    @property
    def agreed(self) -> list[tuple[str, str]]:
        """What is agreed with a purchase: names and sentences."""
        rows = [
            ("Billing", _billing(self.terms)),
            ("Term and renewal", _renewal(self.sku)),
            *_changes(self.sku),
            ("Cancel", _cancel(self)),
            ("While suspended", _suspended(self.sku)),
        ]
        if self.limit is not None and self.limit.orders_from is not None:
            amount = pricing.money(self.limit.orders_from, self.limit.currency)
            rows.append(("Approval", f"Your distributor decides first about orders of {amount} or more."))
        return rows

    @property
    def trial(self) -> str:
        """What a trial is, where there is one."""
        if not self.sku.trial_days:
            return ""
        return (
            f"{days(self.sku.trial_days)} free, once for a company and product. It ends by itself, its seats stay the "
            "same, and you can convert it to a paid subscription at any time."
        )


def sold_to(account: Account, skus: Iterable[SKU], asked: int | None = None, *, limits: bool = False) -> list[Sold]:
    """The SKUs as this company can buy them, in 1 query, or 2 with the limits of approval. Needs `product` loaded."""
    found = list(skus)
    prices = quotes.load([], found)
    by_sku = quotes.approval_limits(sku.pk for sku in found) if limits else {}
    currency = account.currency
    return [Sold(sku, prices.terms(sku, currency, account), asked, by_sku.get((sku.pk, currency))) for sku in found]


def discount_words(discount: Decimal) -> str:
    """What is off every price, such as "12.5 %"; empty when nothing is."""
    return f"{discount.normalize():f} %" if discount else ""


def _each(terms: Terms, seats: int) -> str:
    try:
        return pricing.unit_money(terms.unit_price(seats), terms.currency)
    except NoPrice:
        return "No price"


# --- what is agreed --------------------------------------------------------------------------------------------------


def days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _months(count: int) -> str:
    return "1 month" if count == 1 else f"{count} months"


def _billing(terms: Terms) -> str:
    words = f"Once {pricing.every(terms.months)}, in advance. All seats are charged at the price for their number, and"
    return f"{words} each period at the price list of its first day."


def _renewal(sku: SKU) -> str:
    term = _months(sku.term_months)
    words = f"{term}. Renews by itself for {term} more, until you switch that off"
    if sku.grace_days:
        return f"{words}; then it ends with its term, and can be renewed for {days(sku.grace_days)} after it."
    return f"{words}; then it ends with its term."


_INCREASE = {
    IncreasePolicy.PRORATE_DAYS: "At once. You pay for the added seats by the days left in the billing period.",
    IncreasePolicy.FULL_PERIOD: "At once. You pay for the added seats for the full billing period.",
    IncreasePolicy.HIGH_WATER: "At once. Each billing period is charged at the highest number of seats in it.",
}
_DECREASE = {
    DecreasePolicy.NEXT_PERIOD: "From the next billing period on, with no credit for the current one. "
    "You can undo it until then.",
    DecreasePolicy.IMMEDIATE_CREDIT: "At once, with a credit by the days left in the billing period.",
    DecreasePolicy.IMMEDIATE_NO_CREDIT: "At once, with no credit for the current billing period.",
}


def _changes(sku: SKU) -> list[tuple[str, str]]:
    if gateways.capabilities(sku).seat_change != "in_place":
        return [("More or fewer seats", "Not possible: the licence service cannot change the number of seats later.")]
    return [
        ("More seats", _INCREASE[IncreasePolicy(sku.increase_policy)]),
        ("Fewer seats", _DECREASE[DecreasePolicy(sku.decrease_policy)]),
    ]


def _cancel(sold: Sold) -> str:
    words = "At the end of the billing period, or at once, "
    if sold.sku.cancel_credit == CancelCredit.BY_DAYS:
        words += "with a credit by the days left in it."
    else:
        words += "with no credit for a started one."
    if not sold.sku.cancel_needs_approval:
        return words
    if sold.limit is None or sold.limit.cancels_under is None:
        return f"{words} Your distributor decides about it."
    amount = pricing.money(sold.limit.cancels_under, sold.limit.currency)
    return f"{words} Your distributor decides about it where a period costs {amount} or more."


def _suspended(sku: SKU) -> str:
    if sku.bills_while_suspended:
        return "Billing goes on while your distributor suspends it."
    return "No new billing period is charged while your distributor suspends it."
