"""The figures of the start page equal a count by hand, however often they are counted."""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from django.core.management import call_command
from procrastinate.contrib.django import app

from subscriptions import clock, figures, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import DailyFigures, Subscription
from tests.factories import AccountFactory, OrderFactory, PriceBandFactory, SKUFactory, SubscriptionFactory
from tests.test_concurrency import together

pytestmark = pytest.mark.django_db

MINOR = {"EUR": "1.00", "JPY": "1", "KWD": "1.000"}


def today():
    return clock.now().astimezone(UTC).date()


def at(day, hour=12):
    return datetime.combine(day, time(hour), tzinfo=UTC)


def money():
    return {currency: Decimal(amount) for currency, amount in DailyFigures.objects.get(day=today()).revenue.items()}


def by_hand():
    """(running, seats, unpriced, revenue): row by row, with no code of pricing."""
    running = seats = unpriced = 0
    exact = defaultdict(Decimal)
    for one in Subscription.objects.select_related("sku", "account"):
        if one.status in ("active", "ending"):
            running, seats = running + 1, seats + one.seats
        elif one.status != "suspended":
            continue
        if one.trial_ends or (one.status == "suspended" and not one.sku.bills_while_suspended):
            continue
        bands = one.sku.price_bands.filter(currency=one.currency, seats_from__lte=one.seats)
        band = bands.order_by("-seats_from").first()
        if band is None:
            unpriced += 1
            continue
        line = band.price * one.seats * (1 - one.account.discount / 100)
        billed = line.quantize(Decimal(MINOR[one.currency]), ROUND_HALF_UP)
        exact[one.currency] += billed / 12 if one.sku.billing_period == "year" else billed
    rounded = {name: amount.quantize(Decimal(MINOR[name]), ROUND_HALF_UP) for name, amount in exact.items()}
    return running, seats, unpriced, rounded


def test_figures_equal_a_count_by_hand():
    chance = random.Random(4)
    skus = [
        SKUFactory(prices={}, billing_period=period, bills_while_suspended=bills)
        for period in ("month", "year")
        for bills in (False, True)
    ]
    for sku in skus:
        for currency, prices in {"EUR": ("3.3333", "2.9"), "JPY": ("410", "377.7"), "KWD": ("1.2345", "1.1")}.items():
            for seats_from, price in zip((10, 50), prices, strict=True):
                PriceBandFactory(sku=sku, currency=currency, seats_from=seats_from, price=price)
    accounts = [AccountFactory(currency=currency, discount=off) for currency in MINOR for off in ("0", "7.5", "33.33")]
    statuses = ["active"] * 5 + ["ending", "suspended", "pending", "expired", "failed", "cancelled"]
    for _ in range(120):
        SubscriptionFactory(
            account=chance.choice(accounts), sku=chance.choice(skus), status=chance.choice(statuses),
            seats=chance.choice([7, 13, 49, 50, 333]), trial_ends=chance.choice([None] * 4 + [today()]),
        )  # fmt: skip
    row = figures.refresh()
    running, seats, unpriced, revenue = by_hand()
    assert (row.running, row.seats, row.unpriced) == (running, seats, unpriced)
    assert money() == revenue
    assert set(revenue) == set(MINOR)
    assert running > 0 < unpriced


def test_a_yearly_price_is_rounded_once_for_all_and_not_for_each():
    """A third of EUR 1.00 a month, three times: EUR 1.00."""
    sku = SKUFactory(prices={1: "0.80"}, billing_period="year")
    for _ in range(3):
        SubscriptionFactory(sku=sku, seats=5)
    figures.refresh()
    assert money() == {"EUR": Decimal("1.00")}


@pytest.mark.parametrize(
    ("currency", "price", "amount"), [("JPY", "33.3", "167"), ("KWD", "0.0333", "0.167"), ("EUR", "0.0333", "0.17")]
)
def test_amounts_have_the_decimals_of_their_currency(currency, price, amount):
    sku = SKUFactory(prices={})
    PriceBandFactory(sku=sku, currency=currency, seats_from=1, price=price)
    SubscriptionFactory(account=AccountFactory(currency=currency), sku=sku, seats=5)
    figures.refresh()
    assert DailyFigures.objects.get(day=today()).revenue == {currency: amount}


def test_twice_is_once():
    SubscriptionFactory(seats=5)
    OrderFactory(finished_at=at(today(), 0))
    first = figures.refresh()
    before = list(DailyFigures.objects.values())
    second = figures.refresh()
    after = list(DailyFigures.objects.values())
    assert second.counted_at > first.counted_at
    for rows in (before, after):
        rows[0].pop("counted_at")
    assert after == before


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_the_same_instant():
    SubscriptionFactory(seats=25)
    OrderFactory(finished_at=at(today(), 0), subscription=Subscription.objects.get())
    for _ in range(3):
        DailyFigures.objects.all().delete()
        together(*[figures.refresh] * 4)
        assert DailyFigures.objects.count() == figures.DAYS
        last = figures.read().last
        assert (last.seats, last.changes) == (25, {"increase": 1})


@pytest.mark.django_db(transaction=True)
def test_what_is_suspended_or_cancelled_is_not_counted_any_more(cast, at_vendor, drain):
    [late, leaving, stays] = [at_vendor(SubscriptionFactory(account=cast.acme, seats=seats)) for seats in (10, 20, 40)]
    SubscriptionFactory(account=cast.acme, seats=80, trial_ends=today() + timedelta(days=9))
    assert figures.refresh().seats == 150
    assert money() == {"EUR": Decimal("245.00")}
    lifecycle.place(Wish(late.pk, "suspend", reason="late payer"), actor=None, audience="command")
    lifecycle.place(Wish(leaving.pk, "cancel", reason="leaves"), actor=None, audience="command")
    lifecycle.place(Wish(stays.pk, "increase", {"Seats": 50}), actor=None, audience="command")
    drain()
    row = figures.refresh()
    assert (row.running, row.seats) == (2, 130)
    assert money() == {"EUR": Decimal("175.00")}
    assert row.changes == {"suspend": 1, "cancel": 1, "increase": 1}


def test_completed_orders_by_day_and_kind():
    day = today()
    for ago, action, many in ((0, "increase", 2), (0, "cancel", 1), (1, "start", 3), (29, "increase", 1)):
        OrderFactory.create_batch(many, action=action, finished_at=at(day - timedelta(ago), 0))
    OrderFactory(finished_at=at(day - timedelta(30), 23))
    OrderFactory(status="failed", finished_at=at(day, 0))
    figures.refresh()
    days = figures.read().days
    assert [one for one, _ in days] == [day - timedelta(n) for n in range(29, -1, -1)]
    assert {(day - one).days: found for one, found in days if found} == {
        0: Counter(increase=2, cancel=1), 1: Counter(start=3), 29: Counter(increase=1),
    }  # fmt: skip


def test_a_day_that_was_counted_before_its_end_is_counted_again():
    """And so is the day before: what was completed just before midnight may have been stored just after it."""
    day = today()
    for ago in (0, 1, 2, 5, 6):
        OrderFactory(finished_at=at(day - timedelta(ago), 0))
    five_ago = day - timedelta(5)
    DailyFigures.objects.create(day=five_ago, changes={"cancel": 7}, counted_at=at(five_ago), seats=3)
    DailyFigures.objects.create(day=day - timedelta(7), changes={"cancel": 9})
    figures.refresh()
    counted = dict(DailyFigures.objects.values_list("day", "changes"))
    one = {"increase": 1}
    assert {(day - found).days: changes for found, changes in counted.items()} == {
        0: one, 1: one, 2: one, 3: {}, 4: {}, 5: one, 6: one, 7: {"cancel": 9},
    }  # fmt: skip
    kept = DailyFigures.objects.get(day=five_ago)
    assert (kept.seats, kept.counted_at) == (3, at(five_ago))
    assert figures.read().last.day == day


def test_all_days_are_counted_anew_by_the_command():
    """The worker leaves the days alone that it has counted; who writes into them asks for all."""
    figures.refresh()
    long_ago = today() - timedelta(20)
    OrderFactory(finished_at=at(long_ago))
    figures.refresh()
    assert dict(figures.read().days)[long_ago] == {}
    call_command("count_figures", stdout=None)
    assert dict(figures.read().days)[long_ago] == {"increase": 1}


def test_a_clock_that_was_put_back_is_no_hindrance():
    DailyFigures.objects.create(day=today() + timedelta(3), changes={"start": 1}, counted_at=clock.now())
    OrderFactory(finished_at=at(today(), 0))
    assert figures.refresh().changes == {"increase": 1}


def test_it_asks_the_database_as_often_for_two_as_for_many(django_assert_num_queries):
    for rows in (2, 30):
        for _ in range(rows):
            OrderFactory(subscription=SubscriptionFactory(account=AccountFactory(discount=rows)))
        figures.refresh()
        # Newest row, orders, subscriptions, SKUs, prices, and two upserts in one transaction.
        with django_assert_num_queries(9):
            figures.refresh()


def test_nothing_yet():
    assert figures.read().last is None
    row = figures.refresh()
    assert (row.running, row.seats, row.unpriced, row.revenue, row.changes) == (0, 0, 0, {}, {})


def test_a_worker_counts_every_few_minutes():
    app.perform_import_paths()
    [(task, _)] = [key for key in app.periodic_registry.periodic_tasks if key[0] == "subscriptions.count_figures"]
    SubscriptionFactory(seats=25)
    app.tasks[task].func(timestamp=0)
    assert figures.read().last.seats == 25


def test_a_command_counts_now(capsys):
    SubscriptionFactory(seats=1000, sku__seats_max=5000)
    SubscriptionFactory(sku__prices={})
    OrderFactory(finished_at=at(today(), 0), subscription=Subscription.objects.first())
    call_command("count_figures")
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "1,025  active seats in 2 subscriptions", "EUR 3,500.00  a month", "1  subscriptions without a price",
        "1  orders completed today (UTC)",
    ]  # fmt: skip
