"""Trials that ran before their end was announced: they get the day of it by a migration."""

from datetime import UTC, date, datetime
from importlib import import_module

import pytest
from django.db import connection

from subscriptions.actions import midnight
from subscriptions.models import Subscription
from tests.factories import AccountFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

migration = import_module("subscriptions.migrations.0025_trials_that_end_soon")


@pytest.fixture
def migrate(settings):
    """Run the migration at noon of 10 February 2027."""
    settings.CLOCK_OFFSET = datetime(2027, 2, 10, 12, tzinfo=UTC) - datetime.now(UTC)

    def run():
        with connection.schema_editor(atomic=False) as editor:
            migration.announce_running_trials(None, editor)

    return run


def trial(ends, **more):
    account = AccountFactory(time_zone="Europe/Ljubljana")
    dates = {"period_start": date(2027, 2, 1), "period_end": ends, "term_end": ends, "trial_ends": ends}
    others = {"reminder_due_on": None, "next_due_at": midnight(ends, account)}
    return SubscriptionFactory(account=account, **dates | others | more)


@pytest.mark.parametrize(
    ("ends", "day"),
    [
        (date(2027, 3, 3), date(2027, 2, 24)),
        # A worker of the version before would take what is due today for a renewal.
        (date(2027, 2, 17), date(2027, 2, 11)),
        (date(2027, 2, 12), date(2027, 2, 11)),
        (date(2027, 2, 11), None),
    ],
)
def test_a_trial_that_runs_gets_the_day_of_its_announcement(ends, day, migrate):
    running = trial(ends)
    for _ in range(2):
        migrate()
        found = Subscription.objects.get(pk=running.pk)
        assert found.reminder_due_on == day
        assert found.next_due_at == midnight(day or ends, running.account)


def test_others_are_left_alone(migrate):
    ends = date(2027, 3, 3)
    rows = [
        trial(ends, trial_ends=None), trial(ends, status="cancelled"), trial(ends, status="suspended"),
        trial(ends, reminder_due_on=date(2027, 3, 1)),
    ]  # fmt: skip
    migrate()
    for one in rows:
        now = Subscription.objects.get(pk=one.pk)
        assert (now.reminder_due_on, now.next_due_at) == (one.reminder_due_on, one.next_due_at)
