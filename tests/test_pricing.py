"""Prices: plain cases by hand, random ones against a second calculator that knows only the words of each line."""
# ruff: noqa: RUF001 - the words of a price hold real signs of multiplication, and amounts a real minus

import ast
import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from subscriptions import pricing
from subscriptions.pricing import (
    Activate,
    Band,
    Cancel,
    ChangeSKU,
    Convert,
    EndOfPeriod,
    NextPeriod,
    NoPrice,
    Paid,
    Period,
    Quote,
    SetSeats,
    Standing,
    Start,
    Terms,
    add_months,
    days_words,
    first_period,
    money,
    next_period,
    period_at,
    quote,
    rounded,
    unit_money,
)

D = Decimal
MARCH = Period(date(2027, 3, 1), date(2027, 4, 1))
APRIL = Period(date(2027, 4, 1), date(2027, 5, 1))
MAY = Period(date(2027, 5, 1), date(2027, 6, 1))
PLACES = {"EUR": 2, "JPY": 0, "KWD": 3}


def bands(*pairs: tuple[int, str]) -> tuple[Band, ...]:
    return tuple(Band(seats_from, D(price)) for seats_from, price in pairs)


def terms(*pairs: tuple[int, str], **changes) -> Terms:
    """A month at EUR 10.30 a seat with the default policies, unless told otherwise."""
    plain = Terms(
        sku="EDR",
        currency="EUR",
        bands=bands(*pairs or [(1, "10.3000")]),
        discount=D(0),
        months=1,
        term_months=12,
        increase="prorate_days",
        decrease="next_period",
        cancel_credit="none",
        bills_while_suspended=False,
    )
    return replace(plain, **changes)


def standing(seats: int = 25, *paid: Paid, period: Period = MARCH, peak: int = 0, **changes) -> Standing:
    """Billed for the period at EUR 10.30 a seat, unless told what was paid."""
    return Standing(
        seats=seats,
        peak_seats=peak or seats,
        period=period,
        anchor_day=1,
        paid=paid or (Paid(seats * D("10.30"), period),),
        **changes,
    )


def unbilled(seats: int = 25, **changes) -> Standing:
    return replace(standing(seats), paid=(), **changes)


def after(before: Standing, priced: Quote, seats: int) -> Standing:
    """The standing once a change of seats within its period is done and in the ledger."""
    paid = before.paid + tuple(Paid(line.amount, line.covers) for line in priced.lines)
    return replace(before, seats=seats, peak_seats=max(before.peak_seats, seats), paid=paid)


# --- a second calculator ---------------------------------------------------------------------------------------------

AMOUNT = r"[A-Z]{3} [\d,]+(?:\.\d+)?"
SEATS_AT = rf"(?P<seats>[\d,]+) seats? × (?P<price>{AMOUNT})(?: less (?P<less>[\d.]+) %)?"
SHAPES = [
    rf"{SEATS_AT}, (?P<days>\d.*\d)",
    rf"{SEATS_AT}, the full period \((?P<days>.*)\)",
    rf"{SEATS_AT} × (?P<left>\d+) of (?P<of>\d+) days \((?P<days>.*)\)",
    rf"{SEATS_AT} is the most of this period, less (?P<charged>{AMOUNT}) already charged",
    rf"Credit of (?P<share>{AMOUNT}) charged for the (?P<n>\d+) days? left \((?P<days>[^)]*)\)"
    r"(?: ÷ (?P<all>[\d,]+) seats? × (?P<some>[\d,]+) seats?)?",
    rf"Credit of (?P<share>{AMOUNT}) charged for the (?P<n>\d+) days? left \((?P<days>[^)]*)\)"
    rf" less {SEATS_AT} × (?P<left>\d+) of (?P<of>\d+) days?",
]


def number(words: str) -> Decimal:
    return D(words.split()[-1].replace(",", ""))


def by_calculator(words: str, currency: str) -> Decimal:
    """What the sentence of a line comes to, in the order in which one would type it, rounded at the end."""
    (said,) = [found.groupdict() for shape in SHAPES if (found := re.fullmatch(shape, words))]
    with localcontext() as context:
        context.prec = 60
        if share := said.get("share"):
            shown = -number(share)
            if said.get("all"):
                shown = shown * number(said["some"]) / number(said["all"])
            if said.get("seats"):
                kept = number(said["seats"]) * number(said["price"]) * (100 - D(said["less"] or 0)) / 100
                shown += kept * D(said["left"]) / D(said["of"])
        else:
            shown = number(said["seats"]) * number(said["price"])
            shown = shown * (100 - D(said["less"] or 0)) / 100
            if said.get("left"):
                shown = shown * D(said["left"]) / D(said["of"])
        shown = shown.quantize(D(1).scaleb(-PLACES[currency]), ROUND_HALF_UP)
        return shown - number(said.get("charged") or "0")


def day(words: str) -> date:
    return datetime.strptime(words, "%d %B %Y").date()  # noqa: DTZ007 - a day has no zone


def by_calendar(words: str) -> Period:
    """The days that the words name, month and year taken from the last one where the first lacks them."""
    first, _, last = words.rpartition(" to ")
    if not first:
        return Period(day(last), day(last) + timedelta(1))
    return Period(day(" ".join(first.split() + last.split()[len(first.split()) :])), day(last) + timedelta(1))


def check(priced: Quote) -> None:
    """Everything that holds for any quote."""
    for line in priced.lines:
        assert type(line.amount) is type(line.unit_price) is Decimal
        assert line.amount.as_tuple().exponent == -PLACES[priced.currency]
        assert line.amount < 0 if line.kind == "credit" else line.amount >= 0
        assert by_calculator(line.words, priced.currency) == line.amount
        for days in re.findall(r"\(([^)]*)\)$|, (\d[^(]*)$", line.words):
            assert by_calendar("".join(days)) == line.covers
        assert not re.search(r"\b1 (seats|days)\b|\b(?!1\b)\d+ (seat|day)\b", line.words)
    assert priced.due_now.as_tuple().exponent == -PLACES[priced.currency]
    if priced.later:
        assert priced.later.amount.as_tuple().exponent == -PLACES[priced.currency]
        assert priced.later.amount >= 0
    assert Quote.from_json(json.loads(json.dumps(priced.to_json()))) == priced


def priced(before: Standing | None, at: Terms, change: pricing.Change, on: date) -> Quote:
    found = quote(before, at, change, on)
    check(found)
    return found


def amounts(found: Quote) -> list[str]:
    return [str(line.amount) for line in found.lines]


# --- random ones -----------------------------------------------------------------------------------------------------

days = st.dates(date(2020, 1, 1), date(2040, 1, 1))
anchors = st.integers(1, 31)
months = st.sampled_from([1, 3, 12])
seat_counts = st.integers(1, 2000)
prices = st.decimals(0, 2000, places=4)
discounts = st.just(D(0)) | st.just(D(100)) | st.decimals(0, 100, places=2)


@st.composite
def any_terms(draw, currency: str | None = None, **fixed) -> Terms:
    steps = draw(st.dictionaries(st.integers(2, 1500), prices, max_size=3)) | {1: draw(prices)}
    increase = draw(st.sampled_from(["prorate_days", "full_period", "high_water"]))
    decreases = ["next_period", "immediate_no_credit"] + ["immediate_credit"] * (increase != "high_water")
    billing = draw(months)
    drawn = Terms(
        sku="EDR",
        currency=currency or draw(st.sampled_from(sorted(PLACES))),
        bands=tuple(draw(st.permutations([Band(seats_from, price) for seats_from, price in steps.items()]))),
        discount=draw(discounts),
        months=billing,
        term_months=billing * draw(st.integers(1, 3)),
        increase=increase,
        decrease=draw(st.sampled_from(decreases)),
        cancel_credit=draw(st.sampled_from(["none", "by_days"])),
        bills_while_suspended=draw(st.booleans()),
    )
    return replace(drawn, **fixed)


# --- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1.005", "EUR", "1.01"),
        ("1.0049999", "EUR", "1.00"),
        ("-1.005", "EUR", "-1.01"),
        ("0.004", "EUR", "0.00"),
        ("-0.004", "EUR", "0.00"),
        ("1234.5", "JPY", "1235"),
        ("2.5", "JPY", "3"),
        ("1.2345", "KWD", "1.235"),
        ("7", "KWD", "7.000"),
    ],
)
def test_halves_are_rounded_away_from_zero_to_the_minor_unit(amount, currency, expected):
    assert str(rounded(D(amount), currency)) == expected


@given(st.decimals(-(10**9), 10**9, places=5), st.sampled_from(sorted(PLACES)))
def test_rounding_agrees_with_the_decimal_module(amount, currency):
    assert rounded(amount, currency) == amount.quantize(D(1).scaleb(-PLACES[currency]), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1234.5", "EUR", "EUR 1,234.50"),
        ("1234.5", "JPY", "JPY 1,235"),
        ("1.2341", "KWD", "KWD 1.234"),
        ("-5", "EUR", "−EUR 5.00"),
        ("-0.001", "EUR", "EUR 0.00"),
        ("1000000", "EUR", "EUR 1,000,000.00"),
    ],
)
def test_amounts_have_currency_thousands_and_all_decimals(amount, currency, expected):
    assert money(D(amount), currency) == expected


@pytest.mark.parametrize(
    ("price", "currency", "expected"),
    [
        ("10.3000", "EUR", "EUR 10.30"),
        ("0.0125", "EUR", "EUR 0.0125"),
        ("1500.0000", "JPY", "JPY 1,500"),
        ("0.5000", "JPY", "JPY 0.5"),
        ("2", "KWD", "KWD 2.000"),
    ],
)
def test_a_price_of_a_seat_is_never_rounded_for_readers(price, currency, expected):
    assert unit_money(D(price), currency) == expected


@pytest.mark.parametrize(
    ("currency", "period", "change"),
    [("EUR", "257.50", "19.94"), ("JPY", "258", "20"), ("KWD", "257.500", "19.935")],
)
def test_currencies_keep_their_own_decimals(currency, period, change):
    at = terms(currency=currency)
    assert amounts(priced(None, at, Start(25), date(2027, 3, 1))) == [period]
    assert amounts(priced(standing(), at, SetSeats(30), date(2027, 3, 20))) == [change]


def test_a_line_is_rounded_once_and_not_for_each_seat():
    assert terms((1, "0.3350")).line(3) == D("1.01")
    assert terms((1, "0.9950"), discount=D(50)).line(2) == D("1.00")


def test_many_lines_are_credited_with_one_rounding():
    year = Period(date(2027, 1, 1), date(2028, 1, 1))
    thirty, sixty = Period(date(2027, 12, 2), year.end), Period(date(2027, 11, 2), year.end)
    paid = [Paid(D("0.01"), thirty), Paid(D("0.01"), sixty)]
    at = terms(months=12, cancel_credit="by_days")
    # A third and a sixth of a cent are exactly half a cent; each alone would be nothing.
    assert amounts(priced(standing(1, *paid, period=year), at, Cancel(), date(2027, 12, 22))) == ["-0.01"]


# --- the price list --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seats", "line"), [(1, "12.00"), (9, "108.00"), (10, "100.00"), (11, "110.00"), (49, "490.00"), (50, "450.00")]
)
def test_all_seats_are_billed_at_the_band_of_their_number(seats, line):
    listed = terms((10, "10"), (1, "12"), (50, "9"))
    assert listed.line(seats) == D(line)
    assert amounts(priced(None, listed, Start(seats), date(2027, 3, 1))) == [line]


@pytest.mark.parametrize(("seats", "said"), [(3, "3 seats"), (1, "1 seat")])
def test_seats_below_the_first_band_have_no_price(seats, said):
    with pytest.raises(NoPrice) as refusal:
        terms((5, "10"), currency="CHF").unit_price(seats)
    assert refusal.value.sentence == f"There is no price for {said} in CHF. Ask your distributor."
    assert str(refusal.value) == refusal.value.sentence


def test_an_empty_price_list_has_no_price():
    nothing = terms(bands=())
    for change in (SetSeats(30), SetSeats(20), Convert(), NextPeriod()):
        with pytest.raises(NoPrice):
            quote(standing(), nothing, change, date(2027, 3, 20))
    with pytest.raises(NoPrice):
        quote(None, nothing, Start(25), date(2027, 3, 20))


def test_nobody_is_stuck_for_want_of_a_price():
    nothing = terms(bands=(), cancel_credit="by_days")
    assert amounts(priced(standing(), nothing, Cancel(), date(2027, 3, 20))) == ["-99.68"]
    assert priced(standing(), nothing, Cancel(), date(2027, 4, 20)).lines == ()
    assert priced(standing(), nothing, EndOfPeriod(), date(2027, 3, 20)).lines == ()
    assert priced(unbilled(suspended=True), nothing, Activate(), date(2027, 3, 20)) == Quote(
        "EUR", date(2027, 3, 20), (), None
    )
    assert priced(standing(suspended=True), nothing, NextPeriod(), APRIL.start) == Quote("EUR", APRIL.start, (), None)


@given(any_terms(currency="EUR"), seat_counts, st.integers(0, 100))
def test_a_discount_takes_its_percentage_off(at, seats, percent):
    full, less = replace(at, discount=D(0)), replace(at, discount=D(percent))
    assert less.unit_price(seats) * 100 == full.unit_price(seats) * (100 - percent)
    assert 0 <= less.line(seats) <= full.line(seats)
    check(quote(None, less, Start(seats), date(2027, 3, 1)))


def test_a_discount_is_named_beside_the_price():
    (line,) = priced(None, terms(discount=D("12.50")), Start(25), date(2027, 3, 1)).lines
    assert (line.words, line.amount) == ("25 seats × EUR 10.30 less 12.5 %, 1 to 31 March 2027", D("225.31"))
    assert line.unit_price == D("9.0125")


def test_a_fingerprint_tells_every_difference_and_no_other():
    at = terms((1, "12"), (10, "10"), discount=D(5))
    others = {
        "sku": "XDR",
        "currency": "CHF",
        "bands": bands((1, "12"), (10, "10.0001")),
        "discount": D("5.01"),
        "months": 3,
        "term_months": 24,
        "increase": "full_period",
        "decrease": "immediate_no_credit",
        "cancel_credit": "by_days",
        "bills_while_suspended": True,
    }
    assert set(others) == {field.name for field in dataclasses.fields(Terms)}
    prints = {replace(at, **{name: value}).fingerprint for name, value in others.items()} | {at.fingerprint}
    assert len(prints) == len(others) + 1
    alike = replace(at, bands=bands((10, "10.0000"), (1, "12.00")), discount=D("5.00"))
    assert alike.fingerprint == at.fingerprint
    # Written down, so that a pinned quote outlives a new process and a new release.
    assert terms().fingerprint == "eec91518c02fff00"


# --- the calendar ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "count", "anchor", "expected"),
    [
        (date(2027, 1, 31), 1, 31, date(2027, 2, 28)),
        (date(2028, 1, 31), 1, 31, date(2028, 2, 29)),
        (date(2027, 2, 28), 1, 31, date(2027, 3, 31)),
        (date(2027, 2, 28), 1, 30, date(2027, 3, 30)),
        (date(2027, 3, 31), 1, 31, date(2027, 4, 30)),
        (date(2027, 12, 31), 1, 31, date(2028, 1, 31)),
        (date(2028, 2, 29), 12, 29, date(2029, 2, 28)),
        (date(2031, 2, 28), 12, 29, date(2032, 2, 29)),
        (date(2027, 12, 1), 12, 1, date(2028, 12, 1)),
        (date(2100, 1, 29), 1, 29, date(2100, 2, 28)),
    ],
)
def test_a_month_that_lacks_the_day_ends_on_its_last(start, count, anchor, expected):
    assert add_months(start, count, anchor) == expected


def test_a_chain_of_months_comes_back_to_the_31st():
    period = first_period(date(2027, 10, 31), 1)
    ends = []
    for _ in range(6):
        ends.append(period.end.isoformat())
        period = next_period(period, 1, 31)
    assert ends == ["2027-11-30", "2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]


@pytest.mark.parametrize(
    ("start", "lengths"),
    [(date(2027, 3, 1), [366, 365, 365, 365]), (date(2028, 2, 29), [365, 365, 365, 366])],
)
def test_a_year_has_the_days_of_its_calendar(start, lengths):
    period, found = first_period(start, 12), []
    for _ in lengths:
        found.append(period.days)
        period = next_period(period, 12, start.day)
    assert found == lengths


@given(days, months, st.integers(1, 60))
def test_periods_tile_the_calendar(on, billing, count):
    period = first_period(on, billing)
    for passed in range(1, count + 1):
        following = next_period(period, billing, on.day)
        assert following.start == period.end
        assert (period.end - timedelta(1)) == period.last_day
        month_later = (period.end.replace(day=28) + timedelta(4)).replace(day=1)
        assert period.end.day == min(on.day, (month_later - timedelta(1)).day)
        assert (period.end.year - on.year) * 12 + period.end.month - on.month == passed * billing
        period = following


@given(days, months, st.integers(0, 1500))
def test_the_period_of_a_day_is_the_one_of_the_chain_that_holds_it(on, billing, later):
    wanted = on + timedelta(later)
    chain = [first_period(on, billing)]
    while chain[-1].end <= wanted:
        chain.append(next_period(chain[-1], billing, on.day))
    found = period_at(chain[0], billing, on.day, wanted)
    assert found == chain[-1]
    assert found.start <= wanted < found.end


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (date(2027, 3, 20), date(2027, 4, 1), "20 to 31 March 2027"),
        (date(2027, 3, 20), date(2027, 4, 5), "20 March to 4 April 2027"),
        (date(2027, 12, 20), date(2028, 1, 5), "20 December 2027 to 4 January 2028"),
        (date(2027, 3, 1), date(2028, 3, 1), "1 March 2027 to 29 February 2028"),
        (date(2027, 3, 31), date(2027, 4, 1), "31 March 2027"),
    ],
)
def test_days_say_month_and_year_once_where_they_can(start, end, words):
    assert days_words(Period(start, end)) == words


@given(days, st.integers(1, 800))
def test_days_can_be_read_back(start, length):
    period = Period(start, start + timedelta(length))
    assert by_calendar(days_words(period)) == period


# --- start, convert, renew -------------------------------------------------------------------------------------------


def test_a_start_bills_its_first_period_and_names_the_next():
    found = priced(None, terms(), Start(25), date(2027, 1, 31))
    (line,) = found.lines
    assert (line.kind, line.amount, line.seats, line.unit_price) == ("period", D("257.50"), 25, D("10.30"))
    assert line.words == "25 seats × EUR 10.30, 31 January to 27 February 2027"
    assert line.covers == Period(date(2027, 1, 31), date(2027, 2, 28))
    assert found.on == date(2027, 1, 31)
    assert found.later.words == "EUR 257.50 a month for 25 seats from 28 February 2027"
    assert (found.later.amount, found.later.starts, found.later.months) == (D("257.50"), date(2027, 2, 28), 1)


@pytest.mark.parametrize(("billing", "every"), [(1, "a month"), (12, "a year"), (3, "every 3 months")])
def test_later_prices_say_how_often(billing, every):
    found = priced(None, terms(months=billing), Start(1), date(2027, 3, 1))
    assert found.later.words.startswith(f"EUR 10.30 {every} for 1 seat from 1 ")
    assert found.later.months == billing


def test_a_trial_costs_nothing_until_it_is_converted():
    trial = unbilled(trial=True)
    at = terms(cancel_credit="by_days")
    for change in (Activate(), Cancel(), EndOfPeriod(), NextPeriod()):
        found = priced(trial, at, change, date(2027, 3, 20))
        assert (found.lines, found.later) == ((), None)
    found = priced(trial, at, Convert(), date(2027, 3, 20))
    assert found == priced(None, at, Start(25), date(2027, 3, 20))
    with pytest.raises(ValueError, match="trial"):
        quote(trial, at, SetSeats(30), date(2027, 3, 20))


def test_a_renewal_bills_the_period_after_this_one():
    found = priced(standing(), terms(), NextPeriod(), date(2027, 4, 3))
    assert [(line.kind, line.words) for line in found.lines] == [("period", "25 seats × EUR 10.30, 1 to 30 April 2027")]
    assert (found.on, found.due_now, found.later.starts) == (APRIL.start, D("257.50"), MAY.start)


def test_a_renewal_comes_back_to_the_anchor():
    february = Period(date(2027, 1, 31), date(2027, 2, 28))
    (line,) = priced(replace(standing(period=february), anchor_day=31), terms(), NextPeriod(), february.end).lines
    assert line.covers == Period(date(2027, 2, 28), date(2027, 3, 31))


@pytest.mark.parametrize(("bills", "renewal", "activation"), [(False, [], ["99.68"]), (True, ["257.50"], [])])
def test_suspended_over_a_renewal_is_billed_as_the_sku_says(bills, renewal, activation):
    at = terms(bills_while_suspended=bills)
    found = priced(standing(suspended=True), at, NextPeriod(), APRIL.start)
    assert amounts(found) == renewal
    assert (found.on, found.later.starts, found.later.amount) == (APRIL.start, MAY.start, D("257.50"))
    paid = tuple(Paid(line.amount, line.covers) for line in found.lines)
    april = replace(standing(suspended=True), period=APRIL, paid=paid)
    back = priced(april, at, Activate(), date(2027, 4, 19))
    assert amounts(back) == (["103.00"] if not bills else [])
    # Planned ahead, it costs what it costs on the day.
    assert priced(standing(suspended=True), at, Activate(), date(2027, 4, 19)).lines == back.lines
    assert amounts(priced(unbilled(suspended=True), at, Activate(), date(2027, 3, 20))) == ["99.68"]


def test_an_activation_charges_the_days_left_once():
    late = unbilled(suspended=True)
    found = priced(late, terms(), Activate(), date(2027, 3, 20))
    (line,) = found.lines
    assert line.kind == "change"
    assert line.words == "25 seats × EUR 10.30 × 12 of 31 days (20 to 31 March 2027)"
    assert found.later.words == "EUR 257.50 a month for 25 seats from 1 April 2027"
    assert priced(after(late, found, 25), terms(), Activate(), date(2027, 3, 25)).lines == ()
    assert amounts(priced(late, terms(), Activate(), MARCH.start)) == ["257.50"]
    assert amounts(priced(late, terms(), Activate(), MARCH.last_day)) == ["8.31"]


def test_an_activation_within_a_period_that_was_billed_for_nothing_is_free():
    free = standing(25, Paid(D("0.00"), MARCH), suspended=True)
    assert priced(free, terms(), Activate(), date(2027, 3, 20)).lines == ()


def test_an_activation_on_a_renewals_day_leaves_the_bill_to_the_renewal():
    found = priced(standing(suspended=True), terms(), Activate(), APRIL.start)
    assert (found.lines, found.later.starts) == ((), APRIL.start)


# --- more seats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "amount", "words"),
    [
        (date(2027, 3, 1), "51.50", "5 seats × EUR 10.30, 1 to 31 March 2027"),
        (date(2027, 3, 2), "49.84", "5 seats × EUR 10.30 × 30 of 31 days (2 to 31 March 2027)"),
        (date(2027, 3, 20), "19.94", "5 seats × EUR 10.30 × 12 of 31 days (20 to 31 March 2027)"),
        (date(2027, 3, 31), "1.66", "5 seats × EUR 10.30 × 1 of 31 days (31 March 2027)"),
    ],
)
def test_added_seats_are_charged_for_the_days_left(on, amount, words):
    found = priced(standing(), terms(), SetSeats(30), on)
    (line,) = found.lines
    assert (line.kind, str(line.amount), line.words) == ("change", amount, words)
    assert (line.seats, line.unit_price, line.covers) == (5, D("10.30"), Period(on, MARCH.end))
    assert (found.on, found.later.words) == (on, "EUR 309.00 a month for 30 seats from 1 April 2027")


def test_one_seat_more_is_said_in_the_singular():
    (line,) = priced(standing(), terms(), SetSeats(26), MARCH.last_day).lines
    assert line.words == "1 seat × EUR 10.30 × 1 of 31 days (31 March 2027)"


def test_a_years_increase_counts_the_days_of_the_year():
    leap = Period(date(2027, 3, 1), date(2028, 3, 1))
    (line,) = priced(standing(period=leap), terms(months=12), SetSeats(30), date(2028, 2, 29)).lines
    assert line.words == "5 seats × EUR 10.30 × 1 of 366 days (29 February 2028)"


@pytest.mark.parametrize("on", [MARCH.start, date(2027, 3, 20), MARCH.last_day])
def test_added_seats_can_cost_the_full_period(on):
    (line,) = priced(standing(), terms(increase="full_period"), SetSeats(30), on).lines
    assert (line.amount, line.seats, line.covers) == (D("51.50"), 5, Period(on, MARCH.end))


def test_added_seats_have_the_price_of_the_band_that_they_reach():
    listed = terms((1, "12"), (30, "10"))
    assert amounts(priced(standing(), listed, SetSeats(29), MARCH.start)) == ["48.00"]
    assert amounts(priced(standing(), listed, SetSeats(30), MARCH.start)) == ["50.00"]


def test_two_increases_on_one_day_cost_as_much_as_one():
    at, on = terms((1, "9.3000")), date(2027, 3, 12)
    first = priced(standing(), at, SetSeats(28), on)
    second = priced(after(standing(), first, 28), at, SetSeats(30), on)
    assert first.due_now + second.due_now == priced(standing(), at, SetSeats(30), on).due_now == D("30.00")


def test_a_period_is_billed_at_its_highest_count_once():
    at, now = terms(increase="high_water", decrease="immediate_no_credit"), standing()
    charged = []
    for seats, on in [(30, 5), (20, 8), (30, 12), (29, 12), (40, 20), (10, 20), (40, 31)]:
        found = priced(now, at, SetSeats(seats), date(2027, 3, on))
        charged += amounts(found)
        now = after(now, found, seats)
    assert charged == ["51.50", "103.00"]
    assert sum(paid.amount for paid in now.paid) == at.line(40)


def test_the_highest_count_says_what_was_charged_already():
    (line,) = priced(standing(), terms(increase="high_water"), SetSeats(30), date(2027, 3, 20)).lines
    assert line.words == "30 seats × EUR 10.30 is the most of this period, less EUR 257.50 already charged"
    assert (line.amount, line.seats, line.covers) == (D("51.50"), 30, MARCH)


@pytest.mark.parametrize("increase", ["prorate_days", "full_period", "high_water"])
def test_a_bigger_band_that_is_cheaper_in_all_gives_nothing_back(increase):
    found = priced(standing(), terms((1, "10.30"), (30, "5")), SetSeats(30), date(2027, 3, 20))
    assert found.due_now > 0
    cheap = terms((1, "10.30"), (30, "5"), increase=increase)
    assert priced(standing(), cheap, SetSeats(30), date(2027, 3, 20)).due_now >= 0
    assert priced(standing(), replace(cheap, increase="high_water"), SetSeats(30), date(2027, 3, 20)).lines == ()


@pytest.mark.parametrize("decrease", ["next_period", "immediate_credit", "immediate_no_credit"])
def test_the_same_seats_cost_nothing(decrease):
    found = priced(standing(), terms(decrease=decrease), SetSeats(25), date(2027, 3, 20))
    assert (found.on, found.lines, found.later.amount) == (date(2027, 3, 20), (), D("257.50"))


# --- fewer seats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "takes_effect"),
    [
        (MARCH.start, APRIL.start),
        (MARCH.last_day, APRIL.start),
        (APRIL.start, APRIL.start),
        (date(2027, 4, 2), MAY.start),
        (APRIL.last_day, MAY.start),
        (MAY.start, MAY.start),
    ],
)
def test_a_decrease_waits_for_the_next_period(on, takes_effect):
    found = priced(standing(), terms(), SetSeats(20), on)
    assert (found.on, found.lines, found.later.starts) == (takes_effect, (), takes_effect)
    assert found.later.words.startswith("EUR 206.00 a month for 20 seats from 1 ")


@pytest.mark.parametrize(
    ("on", "amount", "words"),
    [
        (MARCH.start, "-51.50", "Credit of EUR 257.50 charged for the 31 days left (1 to 31 March 2027)"),
        (date(2027, 3, 20), "-19.94", "Credit of EUR 99.68 charged for the 12 days left (20 to 31 March 2027)"),
        (MARCH.last_day, "-1.66", "Credit of EUR 8.31 charged for the 1 day left (31 March 2027)"),
    ],
)
def test_a_decrease_at_once_is_credited_by_days(on, amount, words):
    found = priced(standing(), terms(decrease="immediate_credit"), SetSeats(20), on)
    (line,) = found.lines
    assert (line.kind, str(line.amount), line.seats) == ("credit", amount, 5)
    assert line.words == f"{words} ÷ 25 seats × 5 seats"
    assert line.covers == Period(on, MARCH.end)
    assert (found.on, found.later.starts, found.later.amount) == (on, APRIL.start, D("206.00"))


def test_a_decrease_at_once_can_be_without_credit():
    found = priced(standing(), terms(decrease="immediate_no_credit"), SetSeats(20), date(2027, 3, 20))
    assert (found.on, found.lines, found.later.amount) == (date(2027, 3, 20), (), D("206.00"))


def test_a_share_gets_more_decimals_where_the_cent_hangs_on_them():
    # 7.50 x 7 / 31 is 1.69354...; of 1.69 the three fifths would be 1.01 and not 1.02.
    found = priced(
        standing(5, Paid(D("7.50"), MARCH)),
        terms((1, "1.50"), decrease="immediate_credit"),
        SetSeats(2),
        date(2027, 3, 25),
    )
    (line,) = found.lines
    assert line.amount == D("-1.02")
    assert line.words.startswith("Credit of EUR 1.694 charged")


@given(any_terms(increase="prorate_days", decrease="immediate_credit"), days, st.data())
def test_up_and_down_on_one_day_within_a_band_nets_to_zero(at, start, data):
    at = replace(at, bands=at.bands[:1] and (Band(1, data.draw(prices)),))
    seats, added = data.draw(seat_counts), data.draw(seat_counts)
    first = priced(None, at, Start(seats), start)
    period = first.lines[0].covers
    now = Standing(seats, seats, period, start.day, (Paid(first.due_now, period),))
    on = start + timedelta(data.draw(st.integers(0, period.days - 1)))
    up = priced(now, at, SetSeats(seats + added), on)
    down = priced(after(now, up, seats + added), at, SetSeats(seats), on)
    assert up.due_now + down.due_now == 0


def test_a_short_visit_to_a_cheaper_band_does_not_make_the_seats_that_stay_cheaper():
    at = terms(decrease="immediate_credit", bands=(Band(1, D(10)), Band(1000, D(1))))
    begun = standing(10, Paid(D("100.00"), MARCH))
    up = priced(begun, at, SetSeats(1000), MARCH.start)
    down = priced(after(begun, up, 1000), at, SetSeats(10), MARCH.start)
    assert (up.due_now, down.due_now) == (D("990.00"), D("-990.00"))
    assert down.lines[0].words == (
        "Credit of EUR 1,090.00 charged for the 31 days left (1 to 31 March 2027) "
        "less 10 seats × EUR 10.00 × 31 of 31 days"
    )


@given(any_terms(increase="prorate_days", decrease="immediate_credit"), days, st.data())
def test_up_and_down_on_one_day_never_leaves_the_seats_cheaper(at, start, data):
    seats, added = data.draw(seat_counts), data.draw(seat_counts)
    first = priced(None, at, Start(seats), start)
    period = first.lines[0].covers
    now = Standing(seats, seats, period, start.day, (Paid(first.due_now, period),))
    on = start + timedelta(data.draw(st.integers(0, period.days - 1)))
    up = priced(now, at, SetSeats(seats + added), on)
    down = priced(after(now, up, seats + added), at, SetSeats(seats), on)
    assert up.due_now + down.due_now >= 0


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "amount"), [(MARCH.start, "-257.50"), (date(2027, 3, 20), "-99.68"), (MARCH.last_day, "-8.31")]
)
def test_a_cancellation_credits_the_days_left_where_the_sku_says_so(on, amount):
    found = priced(standing(), terms(cancel_credit="by_days"), Cancel(), on)
    assert (found.on, amounts(found), found.later) == (on, [amount], None)
    assert priced(standing(), terms(), Cancel(), on) == Quote("EUR", on, (), None)


def test_a_credit_says_what_was_charged_for_the_days_left():
    (line,) = priced(standing(), terms(cancel_credit="by_days"), Cancel(), date(2027, 3, 20)).lines
    assert line.words == "Credit of EUR 99.68 charged for the 12 days left (20 to 31 March 2027)"
    assert (line.kind, line.seats, line.covers) == ("credit", 25, Period(date(2027, 3, 20), MARCH.end))
    assert line.unit_price == D("3.99")


def test_a_cancellation_dated_back_before_an_increase_credits_that_whole():
    at = terms(cancel_credit="by_days")
    up = priced(standing(), at, SetSeats(30), date(2027, 3, 20))
    now = after(standing(), up, 30)
    base = D("257.50") * 16 / 31
    assert priced(now, at, Cancel(), date(2027, 3, 16)).due_now == -rounded(base + up.due_now, "EUR")
    assert priced(now, at, Cancel(), MARCH.start).due_now == -(D("257.50") + up.due_now)


def test_what_was_credited_already_is_not_credited_again():
    at = terms(cancel_credit="by_days", decrease="immediate_credit")
    down = priced(standing(), at, SetSeats(1), date(2027, 3, 20))
    now = after(standing(), down, 1)
    for on in (MARCH.start, date(2027, 3, 10), date(2027, 3, 20), MARCH.last_day):
        found = priced(now, at, Cancel(), on)
        assert found.due_now < 0 <= D("257.50") + down.due_now + found.due_now


@pytest.mark.parametrize("amount", ["0.00", "-5.00"])
def test_nothing_is_credited_where_nothing_was_charged(amount):
    now = standing(25, Paid(D(amount), MARCH))
    assert priced(now, terms(cancel_credit="by_days"), Cancel(), date(2027, 3, 20)).lines == ()
    assert priced(now, terms(decrease="immediate_credit"), SetSeats(20), date(2027, 3, 20)).lines == ()


def test_a_correction_that_took_most_back_leaves_only_the_rest_to_credit():
    now = standing(25, Paid(D("257.50"), MARCH), Paid(D("-250.00"), Period(MARCH.start, date(2027, 3, 10))))
    found = priced(now, terms(cancel_credit="by_days"), Cancel(), date(2027, 3, 20))
    assert amounts(found) == ["-7.50"]


@pytest.mark.parametrize(
    ("on", "ends"), [(MARCH.start, APRIL.start), (MARCH.last_day, APRIL.start), (MAY.start, MAY.start)]
)
def test_a_cancellation_at_the_end_of_the_period_costs_nothing(on, ends):
    assert priced(standing(), terms(cancel_credit="by_days"), EndOfPeriod(), on) == Quote("EUR", ends, (), None)


# --- another SKU -----------------------------------------------------------------------------------------------------


def test_a_change_of_sku_credits_the_old_and_begins_a_period_of_the_new():
    new = terms((1, "20"), sku="XDR", months=12)
    found = priced(standing(), terms(), ChangeSKU(new, 10), date(2027, 3, 31))
    old, first = found.lines
    assert (old.kind, old.amount, old.words) == (
        "credit",
        D("-8.31"),
        "Credit of EUR 8.31 charged for the 1 day left (31 March 2027)",
    )
    assert (first.kind, first.amount, first.covers) == ("change", D(200), Period(date(2027, 3, 31), date(2028, 3, 31)))
    assert found.due_now == D("191.69")
    assert found.later.words == "EUR 200.00 a year for 10 seats from 31 March 2028"


def test_a_change_of_sku_at_the_renewal_credits_nothing():
    found = priced(standing(), terms(), ChangeSKU(terms((1, "20")), 10), APRIL.start)
    assert [(line.kind, line.amount, line.covers) for line in found.lines] == [("change", D(200), APRIL)]


def test_a_change_of_sku_keeps_the_currency():
    with pytest.raises(ValueError, match="currency"):
        quote(standing(), terms(), ChangeSKU(terms(currency="CHF"), 10), date(2027, 3, 20))


# --- planned for a later period --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "on", "expected"),
    [
        (SetSeats(20), APRIL.start, [(20, APRIL.start)]),
        (SetSeats(20), MAY.start, [(30, APRIL.start), (20, MAY.start)]),
        # Within a period, it is billed from the next one on.
        (SetSeats(35), date(2027, 4, 20), [(30, APRIL.start), (35, MAY.start)]),
        # The first period of another SKU is a line of the change itself, and begins with it.
        (ChangeSKU(terms((1, "20")), 10), MAY.start, [(30, APRIL.start), (10, MAY.start)]),
        (EndOfPeriod(), MARCH.start, []),
    ],
)
def test_later_periods_beside_a_plan(change, on, expected):
    plan = priced(standing(), terms(), change, on)
    now = priced(standing(), terms(), SetSeats(30), MARCH.start)
    found = pricing.with_plan(now.later, plan)
    assert [(one.seats, one.starts) for one in found] == expected
    for one in found:
        price = plan.later if one.seats != 30 else now.later
        assert one.amount == price.amount
        assert one.words.endswith(f"{one.starts.day} {one.starts:%B} 2027")


def test_later_periods_of_a_plan_that_stood_still_begin_with_the_next_one():
    plan = priced(standing(period=Period(date(2027, 2, 1), MARCH.start)), terms(), SetSeats(20), MARCH.start)
    [only] = pricing.with_plan(priced(standing(), terms(), Activate(), date(2027, 3, 9)).later, plan)
    assert (only.seats, only.starts) == (20, APRIL.start)
    assert "from 1 April 2027" in only.words


def test_later_periods_are_as_quoted_without_a_plan_and_until_an_end_that_comes_later():
    now = priced(standing(), terms(), SetSeats(30), MARCH.start)
    end = Quote("EUR", MAY.start, (), None)
    assert pricing.with_plan(now.later, None) == pricing.with_plan(now.later, end) == (now.later,)
    assert pricing.with_plan(None, end) == ()


@pytest.mark.parametrize(
    ("increase", "amount"), [("prorate_days", "20.60"), ("full_period", "51.50"), ("high_water", "51.50")]
)
def test_an_increase_in_a_later_period_counts_that_ones_days_and_charges(increase, amount):
    odd = standing(25, Paid(D("1.00"), MARCH), peak=500)
    found = priced(odd, terms(increase=increase), SetSeats(30), date(2027, 4, 19))
    assert (amounts(found), found.on, found.later.starts) == ([amount], date(2027, 4, 19), MAY.start)


@pytest.mark.parametrize("increase", ["prorate_days", "full_period", "high_water"])
def test_an_increase_on_a_renewals_day_is_billed_by_the_renewal_alone(increase):
    at = terms(increase=increase)
    found = priced(standing(), at, SetSeats(30), APRIL.start)
    assert (found.lines, found.on) == ((), APRIL.start)
    assert (found.later.starts, found.later.amount) == (APRIL.start, D("309.00"))
    assert priced(standing(30), at, NextPeriod(), APRIL.start).due_now == found.later.amount


def test_a_decrease_at_once_in_a_later_period_is_credited_from_that_ones_bill():
    odd = standing(25, Paid(D("1.00"), MARCH))
    at = terms(decrease="immediate_credit", cancel_credit="by_days")
    assert amounts(priced(odd, at, SetSeats(20), date(2027, 4, 16))) == ["-25.75"]
    assert amounts(priced(odd, at, Cancel(), date(2027, 4, 16))) == ["-128.75"]
    assert amounts(priced(replace(odd, suspended=True), at, Cancel(), date(2027, 4, 16))) == []
    for change in (SetSeats(20), Cancel()):
        assert priced(odd, at, change, APRIL.start).lines == ()


# --- any history -----------------------------------------------------------------------------------------------------


ACTS = ["seats", "seats", "seats", "suspend", "activate", "sku", "renew"]


def play(
    at: Terms, start: date, seats: int, steps: list[tuple[int, str, int, Terms]]
) -> Iterator[tuple[Terms, Standing, date]]:
    """Act on a subscription day after day, renewing it meanwhile; yields how it stands after each thing."""
    bill = priced(None, at, Start(seats), start)
    period = first_period(start, at.months)
    now = Standing(seats, seats, period, start.day, (Paid(bill.due_now, period),))
    yield at, now, start
    on = start
    for forward, act, seats, other in steps:
        on = now.period.end if act == "renew" else on + timedelta(forward)
        while on >= now.period.end:
            bill = priced(now, at, NextPeriod(), on)
            following = next_period(now.period, at.months, now.anchor_day)
            assert bill.on == following.start
            assert all(line.covers == following for line in bill.lines)
            paid = tuple(Paid(line.amount, line.covers) for line in bill.lines)
            now = replace(now, period=following, peak_seats=now.seats, paid=paid)
            yield at, now, now.period.start
        match act:
            case "seats":
                found = priced(now, at, SetSeats(seats), on)
                if found.on == on:
                    now = after(now, found, seats)
                else:
                    assert found.on == now.period.end
            case "suspend":
                now = replace(now, suspended=True)
            case "activate":
                now = replace(after(now, priced(now, at, Activate(), on), now.seats), suspended=False)
            case "sku":
                found = priced(now, at, ChangeSKU(other, seats), on)
                assert -sum(paid.amount for paid in now.paid) <= found.due_now - other.line(seats) <= 0
                first = found.lines[-1]
                at, now = other, Standing(seats, seats, first.covers, on.day, (Paid(first.amount, first.covers),))
        yield at, now, on


@st.composite
def histories(draw) -> list[tuple[Terms, Standing, date]]:
    at = draw(any_terms())
    step = st.tuples(st.integers(0, 45), st.sampled_from(ACTS), seat_counts, any_terms(currency=at.currency))
    return list(play(at, draw(days), draw(seat_counts), draw(st.lists(step, max_size=8))))


@settings(deadline=None, max_examples=150)
@given(histories())
def test_no_history_credits_more_than_was_charged(history):
    for at, now, on in history:
        charged = sum(paid.amount for paid in now.paid)
        assert charged >= 0
        assert now.period.start <= on < now.period.end
        lenient = replace(at, cancel_credit="by_days")
        credits = [
            priced(now, lenient, Cancel(), back).due_now
            for back in sorted({now.period.start, on, now.period.last_day, *(paid.covers.start for paid in now.paid)})
        ]
        assert all(-charged <= credit <= 0 for credit in credits)
        # The later the day, the less is left of lines that only add up.
        if all(paid.amount >= 0 for paid in now.paid):
            assert credits == sorted(credits)


@given(any_terms(increase="high_water", decrease="immediate_no_credit"), days, st.lists(seat_counts, min_size=1))
def test_the_highest_count_is_charged_once_whatever_came_between(at, start, counts):
    first, *rest = counts
    steps = [(0, "seats", seats, at) for seats in rest]
    *_, (_, now, _) = play(at, start, first, steps)
    records = [seats for index, seats in enumerate(counts) if seats > max(counts[:index], default=0)]
    assert sum(paid.amount for paid in now.paid) == max(at.line(seats) for seats in records)


@given(any_terms(), seat_counts, seat_counts, days, st.integers(0, 400))
def test_an_increase_is_never_negative_nor_more_than_its_seats_cost(at, seats, added, start, later):
    period = first_period(start, at.months)
    now = Standing(seats, seats, period, start.day, (Paid(at.line(seats), period),))
    due = priced(now, at, SetSeats(seats + added), start + timedelta(later)).due_now
    whole = at.line(seats + added) if at.increase == "high_water" else added * at.unit_price(seats + added)
    assert 0 <= due <= rounded(whole, at.currency)


@given(any_terms(increase="prorate_days"), seat_counts, seat_counts, days)
def test_an_increase_costs_no_more_a_day_later(at, seats, added, start):
    period = first_period(start, at.months)
    now = Standing(seats, seats, period, start.day)
    dues = [
        quote(now, at, SetSeats(seats + added), period.start + timedelta(passed)).due_now
        for passed in range(period.days)
    ]
    assert dues == sorted(dues, reverse=True)
    assert dues[0] == rounded(added * at.unit_price(seats + added), at.currency)


# --- what is refused, what is pinned ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: quote(None, terms(), Start(0), MARCH.start),
        lambda: quote(None, terms(), Start(-1), MARCH.start),
        lambda: quote(None, terms(), SetSeats(5), MARCH.start),
        lambda: quote(standing(), terms(), SetSeats(-5), MARCH.start),
        lambda: quote(standing(), terms(), SetSeats(0), MARCH.start),
        lambda: quote(standing(), terms(), ChangeSKU(terms(), 0), MARCH.start),
        lambda: quote(standing(), terms(), SetSeats(30), date(2027, 2, 28)),
        lambda: quote(standing(), terms(), Cancel(), date(2027, 2, 28)),
        lambda: quote(standing(), terms(), NextPeriod(), date.max),
        lambda: standing(0),
        lambda: replace(standing(), anchor_day=32),
        lambda: Period(MARCH.start, MARCH.start),
        lambda: add_months(MARCH.start, 1, 0),
        lambda: add_months(MARCH.start, 12 * 9000, 1),
        lambda: Band(-1, D(1)),
        lambda: Band(1, D(-1)),
        lambda: terms(discount=D("100.01")),
        lambda: terms(discount=D("-0.01")),
        lambda: terms(months=0),
        lambda: terms(increase="whatever"),
        lambda: terms(decrease="whatever"),
        lambda: terms(cancel_credit="whatever"),
        lambda: terms(increase="high_water", decrease="immediate_credit"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_a_pinned_quote_is_plain_json_with_amounts_as_text():
    found = priced(standing(), terms(), SetSeats(30), date(2027, 3, 20))
    assert found.to_json() == {
        "currency": "EUR",
        "on": "2027-03-20",
        "lines": [
            {
                "kind": "change",
                "words": "5 seats × EUR 10.30 × 12 of 31 days (20 to 31 March 2027)",
                "amount": "19.94",
                "seats": 5,
                "unit_price": "10.3000",
                "covers": {"start": "2027-03-20", "end": "2027-04-01"},
            }
        ],
        "later": {
            "seats": 30,
            "amount": "309.00",
            "starts": "2027-04-01",
            "months": 1,
            "words": "EUR 309.00 a month for 30 seats from 1 April 2027",
        },
    }


def test_what_is_pinned_stays_as_it_is():
    classes = [one for one in vars(pricing).values() if dataclasses.is_dataclass(one)]
    assert len(classes) == 16
    for one in classes:
        assert one.__dataclass_params__.frozen
        assert "__slots__" in vars(one)


def test_money_is_typed_as_decimal():
    named = {"amount", "price", "unit_price", "discount"}
    found = set()
    for one in vars(pricing).values():
        if dataclasses.is_dataclass(one):
            for name, kind in typing.get_type_hints(one).items():
                assert "float" not in str(kind)
                if name in named:
                    assert kind is Decimal
                    found.add(name)
    assert found == named
    for name in ("line", "unit_price"):
        assert typing.get_type_hints(getattr(Terms, name))["return"] is Decimal


HOME = Path(django_settings.BASE_DIR) / "subscriptions"
ROOMS_WITH_MONEY = [
    *sorted(f"pricing/{room.name}" for room in (HOME / "pricing").glob("*.py")),
    "quotes.py",
    "models/ledger.py",
    "models/catalogue.py",
    "lifecycle/charges.py",
]


@pytest.mark.parametrize("room", ROOMS_WITH_MONEY)
def test_no_room_with_money_knows_floats(room):
    for node in ast.walk(ast.parse((HOME / room).read_text())):
        assert not (isinstance(node, ast.Name) and node.id == "float"), node.lineno
        assert not (isinstance(node, ast.Attribute) and node.attr == "FloatField"), node.lineno
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), node.lineno
