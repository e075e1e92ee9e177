"""Subscriptions from before there were periods: they get theirs by a migration, and nothing is charged for it."""

from datetime import UTC, date, datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from subscriptions import clock, lifecycle
from subscriptions.actions import terms
from subscriptions.models import Charge, Event, Subscription
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

migration = import_module("subscriptions.migrations.0006_periods_of_what_runs")
NONE = dict.fromkeys(
    ["anchor_day", "period_start", "period_end", "term_end", "reminder_due_on", "next_due_at", "trial_ends"]
) | {"peak_seats": 0}


@pytest.fixture
def migrate(settings):
    """Run the migration on a day, over the models as they were then."""

    def run(day):
        settings.CLOCK_OFFSET = (
            datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12) - datetime.now(UTC)
        )
        state = MigrationExecutor(connection).loader.project_state(("subscriptions", "0006_periods_of_what_runs"))
        with connection.schema_editor(atomic=False) as editor:
            migration.give_periods(state.apps, editor)

    return run


def old(begun, sku=None, **more):
    at = datetime.fromisoformat(begun).replace(tzinfo=UTC)
    sku = SKUFactory(**sku or {})
    return SubscriptionFactory(sku=sku, created_at=at, **NONE | more)


def dates(row):
    row = Subscription.objects.get(pk=row.pk)
    return [f"{one}" for one in (row.period_start, row.period_end, row.term_end, row.reminder_due_on)]


@pytest.mark.parametrize(
    ("begun", "sku", "today", "expected"),
    [
        ("2026-01-15", {}, "2026-11-24", ["2026-11-15", "2026-12-15", "2027-01-15", "2026-12-16"]),
        # Begun today, on the last and on the first day of a period.
        ("2026-11-24", {}, "2026-11-24", ["2026-11-24", "2026-12-24", "2027-11-24", "2027-10-25"]),
        ("2025-10-25", {}, "2026-11-24", ["2026-10-25", "2026-11-25", "2027-10-25", "2027-09-25"]),
        ("2025-11-24", {}, "2026-11-24", ["2026-11-24", "2026-12-24", "2027-11-24", "2027-10-25"]),
        # The anchor day is kept over shorter months.
        ("2025-08-31", {}, "2027-02-27", ["2027-01-31", "2027-02-28", "2027-08-31", "2027-08-01"]),
        ("2025-08-31", {}, "2027-02-28", ["2027-02-28", "2027-03-31", "2027-08-31", "2027-08-01"]),
        (
            "2024-02-29",
            {"billing_period": "year", "term_months": 24},
            "2026-02-28",
            ["2026-02-28", "2027-02-28", "2028-02-29", "2028-01-30"],
        ),
        # A reminder whose day has come is not sent late, and a term of a month has one.
        ("2025-12-15", {}, "2026-11-24", ["2026-11-15", "2026-12-15", "2026-12-15", "2026-12-08"]),
        ("2025-12-01", {}, "2026-11-24", ["2026-11-01", "2026-12-01", "2026-12-01", "None"]),
        ("2026-01-15", {"term_months": 1}, "2026-11-24", ["2026-11-15", "2026-12-15", "2026-12-15", "2026-12-08"]),
    ],
)
def test_the_period_and_term_that_hold_today(begun, sku, today, expected, migrate):
    row = old(begun, sku)
    migrate(date.fromisoformat(today))
    assert dates(row) == expected
    row = Subscription.objects.select_related("sku", "account").get(pk=row.pk)
    assert row.anchor_day == int(begun[-2:])
    assert row.peak_seats == row.seats == 25
    assert row.next_due_at == terms.next_due(row)


def test_days_are_those_of_the_account(migrate):
    account = AccountFactory(time_zone="Pacific/Auckland")
    # There it was the 1st already.
    row = old("2026-01-31T12:00", account=account)
    migrate(date(2026, 11, 30))
    assert dates(row)[:2] == ["2026-12-01", "2027-01-01"]
    assert Subscription.objects.get().next_due_at == datetime(2026, 12, 31, 11, tzinfo=UTC)


def test_nothing_is_charged_for_the_past_and_the_next_period_is_billed(migrate):
    row = old("2026-01-15")
    migrate(date(2026, 11, 24))
    assert not lifecycle.catch_up(clock.now())
    assert not Event.objects.exists()
    assert lifecycle.catch_up(datetime(2026, 12, 15, tzinfo=UTC)) == {"billed": 1}
    assert Charge.objects.get().covers_from == date(2026, 12, 15)
    assert Subscription.objects.get().version == row.version + 1


def test_each_status(migrate):
    ends = datetime(2026, 12, 1, tzinfo=UTC)
    rows = {
        "suspended": old("2026-01-15", status="suspended"),
        "ending": old("2026-01-15", status="ending", ends_at=ends),
        "stopped": old("2026-01-15", status="suspended", ends_at=ends),
        "cancelled": old("2026-01-15", status="cancelled", cancelled_at=datetime(2026, 3, 20, tzinfo=UTC)),
        "pending": old("2026-01-15", status="pending", started_at=None),
        "failed": old("2026-01-15", status="failed", started_at=None),
    }
    migrate(date(2026, 11, 24))
    assert {name: dates(row)[:2] for name, row in rows.items()} == {
        "suspended": ["2026-11-15", "2026-12-15"],
        "ending": ["2026-11-15", "2026-12-15"],
        "stopped": ["2026-11-15", "2026-12-15"],
        "cancelled": ["2026-03-15", "2026-04-15"],
        "pending": ["None", "None"],
        "failed": ["None", "None"],
    }
    for name, row in rows.items():
        row = Subscription.objects.select_related("sku", "account").get(pk=row.pk)
        assert row.next_due_at == terms.next_due(row), name
        assert (row.next_due_at == ends) == (name in ("ending", "stopped"))


def test_every_chunk_is_reached_and_what_has_a_period_is_left_alone(migrate, monkeypatch):
    monkeypatch.setattr(migration, "CHUNK", 2)
    rows = [old("2026-01-15", account=AccountFactory(currency="CHF"), currency="EUR") for _ in range(5)]
    has = SubscriptionFactory(created_at=datetime(2026, 11, 20, tzinfo=UTC))
    before = {name: value for name, value in vars(Subscription.objects.get(pk=has.pk)).items() if name != "_state"}
    for _ in range(2):
        migrate(date(2026, 11, 24))
    assert all(dates(row)[0] == "2026-11-15" for row in rows)
    assert {one.currency for one in Subscription.objects.exclude(pk=has.pk)} == {"CHF"}
    after = {name: value for name, value in vars(Subscription.objects.get(pk=has.pk)).items() if name != "_state"}
    assert after == before
