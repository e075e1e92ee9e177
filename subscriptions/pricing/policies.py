"""From a change to its quote, policy by policy."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil

from subscriptions.models.catalogue import CancelCredit, DecreasePolicy, IncreasePolicy
from subscriptions.pricing.amounts import BY, TIMES, counted, minor_units, money, rounded, unit_money
from subscriptions.pricing.changes import (
    Activate,
    Cancel,
    Change,
    ChangeSKU,
    Convert,
    EndOfPeriod,
    NextPeriod,
    Paid,
    SetSeats,
    Standing,
    Start,
)
from subscriptions.pricing.periods import Period, day_words, days_words, every, first_period, next_period, period_at
from subscriptions.pricing.quotation import Later, Line, Quote
from subscriptions.pricing.terms import NoPrice, Terms


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
        words = f"{terms.words(added, seats)}, the full period ({days_words(rest)})"
        return (Line("change", words, rounded(added * unit_price, terms.currency), added, unit_price, rest),)
    charged = sum((paid.amount + paid.elsewhere for paid in here.paid), rounded(Decimal(), terms.currency))
    due = terms.line(seats) - charged
    if seats <= here.peak_seats or due <= 0:
        return ()
    words = f"{terms.words(seats, seats)} is the most of this period"
    words += f", less {money(charged, terms.currency)} already charged"
    return (Line("change", words, due, seats, unit_price, here.period),)


def _line(kind: str, terms: Terms, charged: int, seats: int, period: Period, on: date) -> Line:
    """So many seats, at the price that holds for `seats` of them, for the days of a period from `on`."""
    unit_price = terms.unit_price(seats)
    rest = Period(on, period.end)
    words = f"{terms.words(charged, seats)}, {days_words(rest)}"
    if rest.days < period.days:
        words = f"{terms.words(charged, seats)} {TIMES} {rest.days} of {period.days} days ({days_words(rest)})"
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
    days = f"{counted(rest.days, 'day')} left ({days_words(rest)})"
    if dearer:
        share = _checkable(left, lambda shown: shown - stays, amount, terms.currency)
        words = f"Credit of {share} charged for the {days} less {terms.words(kept, kept)} {TIMES} {rest.days} of "
        words += counted(here.period.days, "day")
    else:
        share = _checkable(left, lambda shown: shown * seats / here.seats, amount, terms.currency)
        words = f"Credit of {share} charged for the {days}"
        if kept:
            words += f" {BY} {counted(here.seats, 'seat')} {TIMES} {counted(seats, 'seat')}"
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
    words = f"{money(amount, terms.currency)} {every(terms.months)} for {counted(seats, 'seat')}"
    words += f" from {day_words(starts)}"
    return Later(seats, amount, starts, terms.months, words)


def _later_if_priced(terms: Terms, seats: int, starts: date) -> Later | None:
    try:
        return _later(terms, seats, starts)
    except NoPrice:
        return None
