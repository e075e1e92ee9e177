"""What a change costs: pure, exact, and in words that a customer can check with a pocket calculator.

No database, no clock. Money is Decimal at the currency's minor unit; shares of it are exact fractions until the one
rounding of their line. Days are dates in the account's time zone; periods are half-open ranges of them.
"""

import calendar
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

from babel.numbers import get_currency_precision

from subscriptions.models.catalogue import CancelCredit, DecreasePolicy, IncreasePolicy

TIMES, BY, MINUS = "\N{MULTIPLICATION SIGN}", "\N{DIVISION SIGN}", "\N{MINUS SIGN}"


# Where the library follows what people use and not ISO 4217, by which books are kept.
_ISO_4217 = dict.fromkeys(
    ("AFN", "ALL", "IRR", "KPW", "LAK", "LBP", "MGA", "MMK", "RSD", "SLL", "SOS", "SYP", "YER"), 2
) | {"IQD": 3}


def minor_units(currency: str) -> int:
    """How many decimals an amount in this currency has (ISO 4217)."""
    return _ISO_4217.get(currency) or get_currency_precision(currency)


def rounded(amount: Decimal | Fraction, currency: str) -> Decimal:
    """Half up (halves away from zero) to the minor unit; the result has exactly its decimals."""
    places = minor_units(currency)
    units = floor(abs(Fraction(amount)) * 10**places + Fraction(1, 2))
    return Decimal(units if amount > 0 else -units).scaleb(-places)


def money(amount: Decimal, currency: str) -> str:
    """An amount for readers, rounded to the minor unit: "EUR 1,234.50", with a real minus sign in front."""
    amount = rounded(amount, currency)
    return f"{MINUS if amount < 0 else ''}{currency} {abs(amount):,f}"


def unit_money(price: Decimal, currency: str) -> str:
    """A price of one seat for readers, never rounded: at least the currency's decimals, more if it has more."""
    places = max(minor_units(currency), -int(price.normalize().as_tuple().exponent))
    return f"{currency} {price:,.{places}f}"


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `start` on, without `end`; at least one."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"A period cannot begin on {self.start} and end before {self.end}.")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        return self.end - timedelta(days=1)

    def days_from(self, on: date) -> int:
        """How many of its days are `on` or later."""
        return max(0, (self.end - max(on, self.start)).days)


def add_months(day: date, months: int, anchor_day: int) -> date:
    """The anchor day of the month that lies so many months after that of `day`, or that month's last day."""
    if not 1 <= anchor_day <= 31:
        raise ValueError(f"No month has a day {anchor_day}.")
    years, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not date.min.year <= years <= date.max.year:
        raise ValueError(f"The calendar does not reach {months} months from {day}.")
    return date(years, month + 1, min(anchor_day, calendar.monthrange(years, month + 1)[1]))


def first_period(on: date, months: int) -> Period:
    """The period that begins on a day and makes it the anchor."""
    return Period(on, add_months(on, months, on.day))


def next_period(period: Period, months: int, anchor_day: int) -> Period:
    """The period that follows without a gap, back on the anchor day where its month has it."""
    return Period(period.end, add_months(period.end, months, anchor_day))


def period_at(period: Period, months: int, anchor_day: int, day: date) -> Period:
    """The period that holds a day, this one or one after it."""
    if day < period.start:
        raise ValueError(f"{day} lies before the period that begins on {period.start}.")
    while day >= period.end:
        period = next_period(period, months, anchor_day)
    return period


def every(months: int) -> str:
    """How often a period of so many months is charged, such as "a month"."""
    return {1: "a month", 12: "a year"}.get(months, f"every {months} months")


def days_words(period: Period) -> str:
    """First and last day, saying month and year once where both share them: "20 to 31 March 2027"."""
    first, last = period.start, period.last_day
    if first == last:
        return _day_words(last)
    if first.year != last.year:
        return f"{_day_words(first)} to {_day_words(last)}"
    if first.month != last.month:
        return f"{first.day} {calendar.month_name[first.month]} to {_day_words(last)}"
    return f"{first.day} to {_day_words(last)}"


def _day_words(day: date) -> str:
    return f"{day.day} {calendar.month_name[day.month]} {day.year}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class NoPrice(Exception):  # noqa: N818 - a refusal that the reader can act on, like NotAllowed
    """The price list has no band for these seats; `sentence` is for the page."""

    def __init__(self, seats: int, currency: str) -> None:
        self.sentence = f"There is no price for {_counted(seats, 'seat')} in {currency}. Ask your distributor."
        super().__init__(self.sentence)


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


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

    def _list_price(self, seats: int) -> Decimal:
        fitting = [band for band in self.bands if band.seats_from <= seats]
        if not fitting:
            raise NoPrice(seats, self.currency)
        return max(fitting, key=lambda band: band.seats_from).price

    def _words(self, charged: int, seats: int) -> str:
        """So many charged seats at the price that holds for `seats` of them."""
        price = unit_money(self._list_price(seats), self.currency)
        less = f" less {_plain(self.discount)} %" if self.discount else ""
        return f"{_counted(charged, 'seat')} {TIMES} {price}{less}"


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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the ledger to be. `kind` is "period" (a period as such), "change" or "credit" (negative).

    A change of SKU bills its first period as a "change": it may begin on the very day on which a period was billed.
    `unit_price` is that of a seat for a whole period, unrounded; of a credit, what a seat's days left were charged.
    """

    kind: str
    words: str
    amount: Decimal
    seats: int
    unit_price: Decimal
    covers: Period


@dataclass(frozen=True, slots=True)
class Later:
    """What each period costs from `starts` on, at today's prices."""

    seats: int
    amount: Decimal
    starts: date
    months: int
    words: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a change costs. `on` is the day on which it takes effect, which may be later than the day asked for."""

    currency: str
    on: date
    lines: tuple[Line, ...]
    later: Later | None

    @property
    def due_now(self) -> Decimal:
        return sum((line.amount for line in self.lines), rounded(Decimal(), self.currency))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, amounts as text and days as ISO dates; `from_json` gives back an equal quote."""
        return json.loads(json.dumps(asdict(self), default=_text))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Quote":
        lines, later = data["lines"], data["later"]
        return cls(
            currency=data["currency"],
            on=date.fromisoformat(data["on"]),
            lines=tuple(
                Line(
                    **line
                    | {name: Decimal(line[name]) for name in ("amount", "unit_price")}
                    | {"covers": Period(**{edge: date.fromisoformat(day) for edge, day in line["covers"].items()})}
                )
                for line in lines
            ),
            later=later
            and Later(**later | {"amount": Decimal(later["amount"]), "starts": date.fromisoformat(later["starts"])}),
        )


def _text(value: Decimal | date) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else value.isoformat()


def quote(standing: Standing | None, terms: Terms, change: Change, on: date) -> Quote:
    """The cost of a change on a day, at these terms. `NoPrice` where a price is needed and missing.

    `on` lies in the standing's period or, for a planned change, in a later one. That one is then taken to be billed at
    its start as things stand; on its very first day nothing is due, since the renewal bills what the change left.
    """
    if isinstance(change, Start):
        return _beginning(terms, change.seats, on, "period")
    if standing is None:
        raise ValueError("Only a start has nothing before it.")
    here = _standing_on(standing, terms, on)
    renewal_bills = here is not standing and on == here.period.start
    boundary = here.period.start if renewal_bills else here.period.end
    match change:
        case SetSeats(seats):
            if seats < 1 or standing.trial:
                raise ValueError("Seats are at least one, and those of a trial stay.")
            later = _later(terms, seats, boundary)
            if seats > here.seats:
                return Quote(terms.currency, on, () if renewal_bills else _increase(here, terms, seats, on), later)
            if seats < here.seats and terms.decrease == DecreasePolicy.NEXT_PERIOD:
                return Quote(terms.currency, boundary, (), later)
            credited = terms.decrease == DecreasePolicy.IMMEDIATE_CREDIT
            return Quote(terms.currency, on, _credit(here, terms, here.seats - seats, on) if credited else (), later)
        case Cancel():
            credited = terms.cancel_credit == CancelCredit.BY_DAYS
            return Quote(terms.currency, on, _credit(here, terms, here.seats, on) if credited else (), None)
        case ChangeSKU():
            if change.terms.currency != terms.currency:
                raise ValueError("A subscription keeps its currency.")
            new = _beginning(change.terms, change.seats, on, "change")
            return replace(new, lines=_credit(here, terms, here.seats, on) + new.lines)
        case Activate():
            return _activation(here, terms, on, boundary, billed=renewal_bills or bool(here.paid))
        case Convert():
            return _beginning(terms, standing.seats, on, "period")
        case NextPeriod():
            return _renewal(standing, terms)
        case EndOfPeriod():
            return Quote(terms.currency, boundary, (), None)


def begun(quote: Quote, period: Period) -> Quote:
    """The quote of a start whose first period is not the one that was quoted: the same amounts for the days it is."""
    lines = tuple(
        replace(line, words=line.words.replace(days_words(line.covers), days_words(period)), covers=period)
        for line in quote.lines
    )
    later = quote.later
    if later is not None:
        words = later.words.replace(_day_words(later.starts), _day_words(period.end))
        later = replace(later, starts=period.end, words=words)
    return replace(quote, on=period.start, lines=lines, later=later)


def _standing_on(standing: Standing, terms: Terms, on: date) -> Standing:
    """As it is, or as it will be in the later period that holds `on`."""
    period = period_at(standing.period, terms.months, standing.anchor_day, on)
    if period == standing.period:
        return standing
    paid: tuple[Paid, ...] = ()
    if on > period.start and _is_billed(standing, terms):
        # A cancellation needs no price: without one, there will be nothing to credit either.
        with suppress(NoPrice):
            paid = (Paid(terms.line(standing.seats), period),)
    return replace(standing, period=period, peak_seats=standing.seats, paid=paid)


def _is_billed(standing: Standing, terms: Terms) -> bool:
    return not standing.trial and (terms.bills_while_suspended or not standing.suspended)


def _beginning(terms: Terms, seats: int, on: date, kind: str) -> Quote:
    """The full first period from a day on, and the same again later."""
    if seats < 1:
        raise ValueError("A subscription has at least one seat.")
    period = first_period(on, terms.months)
    return Quote(terms.currency, on, (_line(kind, terms, seats, seats, period, on),), _later(terms, seats, period.end))


def _renewal(standing: Standing, terms: Terms) -> Quote:
    period = next_period(standing.period, terms.months, standing.anchor_day)
    if not _is_billed(standing, terms):
        later = None if standing.trial else _later_if_priced(terms, standing.seats, period.end)
        return Quote(terms.currency, period.start, (), later)
    line = _line("period", terms, standing.seats, standing.seats, period, period.start)
    return Quote(terms.currency, period.start, (line,), _later(terms, standing.seats, period.end))


def _activation(here: Standing, terms: Terms, on: date, boundary: date, *, billed: bool) -> Quote:
    """What is left of a period that was not billed; nobody stays suspended for want of a price."""
    if here.trial:
        return Quote(terms.currency, on, (), None)
    later = _later_if_priced(terms, here.seats, boundary)
    lines = () if billed or later is None else (_line("change", terms, here.seats, here.seats, here.period, on),)
    return Quote(terms.currency, on, lines, later)


def _increase(here: Standing, terms: Terms, seats: int, on: date) -> tuple[Line, ...]:
    added = seats - here.seats
    unit_price = terms.unit_price(seats)
    if terms.increase == IncreasePolicy.PRORATE_DAYS:
        return (_line("change", terms, added, seats, here.period, on),)
    if terms.increase == IncreasePolicy.FULL_PERIOD:
        rest = Period(on, here.period.end)
        words = f"{terms._words(added, seats)}, the full period ({days_words(rest)})"
        return (Line("change", words, rounded(added * unit_price, terms.currency), added, unit_price, rest),)
    charged = sum((paid.amount + paid.elsewhere for paid in here.paid), rounded(Decimal(), terms.currency))
    due = terms.line(seats) - charged
    if seats <= here.peak_seats or due <= 0:
        return ()
    words = f"{terms._words(seats, seats)} is the most of this period"
    words += f", less {money(charged, terms.currency)} already charged"
    return (Line("change", words, due, seats, unit_price, here.period),)


def _line(kind: str, terms: Terms, charged: int, seats: int, period: Period, on: date) -> Line:
    """So many seats, at the price that holds for `seats` of them, for the days of a period from `on`."""
    unit_price = terms.unit_price(seats)
    rest = Period(on, period.end)
    words = f"{terms._words(charged, seats)}, {days_words(rest)}"
    if rest.days < period.days:
        words = f"{terms._words(charged, seats)} {TIMES} {rest.days} of {period.days} days ({days_words(rest)})"
    amount = rounded(Fraction(charged * unit_price) * rest.days / period.days, terms.currency)
    return Line(kind, words, amount, charged, unit_price, rest)


def _credit(here: Standing, terms: Terms, seats: int, on: date) -> tuple[Line, ...]:
    """So many of all seats' part in what was charged for the days that are left; never more than was charged.

    The seats that stay are worth their own band's price: a short visit to a cheaper band must not make them cheaper.
    """
    charged = sum(Fraction(paid.amount) for paid in here.paid)
    left = sum(Fraction(paid.amount) * paid.covers.days_from(on) / paid.covers.days for paid in here.paid)
    left = Fraction(max(0, min(left, charged)))
    rest, kept = Period(on, here.period.end), here.seats - seats
    part, stays = left * seats / here.seats, Fraction(0)
    if kept:
        stays = Fraction(kept * terms.unit_price(kept)) * rest.days / here.period.days
    dearer = bool(kept) and left - stays < part
    exact = max(Fraction(0), left - stays) if dearer else part
    amount = rounded(exact, terms.currency)
    if not amount:
        return ()
    days = f"{_counted(rest.days, 'day')} left ({days_words(rest)})"
    if dearer:
        share = _checkable(left, lambda shown: shown - stays, amount, terms.currency)
        words = f"Credit of {share} charged for the {days} less {terms._words(kept, kept)} {TIMES} {rest.days} of "
        words += _counted(here.period.days, "day")
    else:
        share = _checkable(left, lambda shown: shown * seats / here.seats, amount, terms.currency)
        words = f"Credit of {share} charged for the {days}"
        if kept:
            words += f" {BY} {_counted(here.seats, 'seat')} {TIMES} {_counted(seats, 'seat')}"
    return (Line("credit", words, -amount, seats, rounded(left / here.seats, terms.currency), rest),)


def _checkable(left: Fraction, credit: Callable[[Fraction], Fraction], amount: Decimal, currency: str) -> str:
    """An unrounded amount, at the minor unit or with the few more decimals from which the same credit comes out."""
    places = minor_units(currency)
    shown = rounded(left, currency)
    while rounded(credit(Fraction(shown)), currency) != amount and places < 16:
        places += 1
        # Rounded up, since a half of the minor unit must not become less than one.
        shown = Decimal(ceil(left * 10**places)).scaleb(-places)
    return unit_money(shown, currency)


def _later(terms: Terms, seats: int, starts: date) -> Later:
    amount = terms.line(seats)
    words = f"{money(amount, terms.currency)} {every(terms.months)} for {_counted(seats, 'seat')}"
    words += f" from {_day_words(starts)}"
    return Later(seats, amount, starts, terms.months, words)


def _later_if_priced(terms: Terms, seats: int, starts: date) -> Later | None:
    try:
        return _later(terms, seats, starts)
    except NoPrice:
        return None
