"""The generated base: every row stands as the life cycle would have left it, and as the emulator has it."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F

from subscriptions import actions, clock, figures, gateways, pricing, reconciliation
from subscriptions.actions import terms
from subscriptions.management import generated
from subscriptions.models import Account, Charge, Event, Order, Purpose, Subscription, VendorCall
from subscriptions.models import SubscriptionStatus as S
from subscriptions.reconciliation import comparison
from subscriptions.vendors.emulator import process
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

ROWS = 3_000
RUNNING = (S.ACTIVE, S.SUSPENDED, S.ENDING)


def generate(*arguments):
    call_command("generate_base", *arguments, stdout=None)


def rows():
    return Subscription.objects.select_related("account", "sku").order_by("pk")


def test_every_row_stands_as_the_life_cycle_would_have_left_it():
    generate("--subscriptions", str(ROWS))
    at = clock.now()
    statuses = Counter()
    for one in rows():
        statuses[one.status] += 1
        assert one.next_due_at == terms.next_due(one)
        assert one.next_due_at is None or one.next_due_at > at
        if one.started_at is None:
            continue
        today = actions.local_day(at, one.account)
        began = actions.local_day(one.started_at, one.account)
        months = one.sku.billing_months
        period = pricing.period_at(pricing.first_period(began, months), months, began.day, one.period_start)
        assert (one.anchor_day, one.period_start, one.period_end) == (began.day, period.start, period.end)
        if one.status in RUNNING:
            assert one.period_start <= today < one.period_end
            assert one.term_end > today
            assert one.reminder_due_on == terms.next_reminder(one, today)
        for stopped in (one.suspended_at, one.cancelled_at):
            assert stopped is None or one.started_at < stopped < at
    assert set(statuses) == set(S.values)
    assert statuses[S.ACTIVE] > 0.8 * ROWS
    assert not Subscription.objects.exclude(seats__gte=F("sku__seats_min"), seats__lte=F("sku__seats_max")).exists()


def test_each_has_its_orders_events_charge_and_call():
    generate("--subscriptions", str(ROWS))
    assert Order.objects.filter(action="start").count() == ROWS
    assert Event.objects.count() == Order.objects.count()
    for row in Event.objects.select_related("order"):
        assert row.subscription_id == row.order.subscription_id
        assert (row.before, row.after) == (row.order.before, row.order.after)
    charged = Charge.objects.filter(amount=F("seats") * F("unit_price"), subscription__period_start=F("period_start"))
    assert charged.count() == Charge.objects.count() == Subscription.objects.filter(started_at__isnull=False).count()
    assert VendorCall.objects.count() == Subscription.objects.exclude(status=S.PENDING).count()
    of = Counter(Order.objects.values_list("action", "status"))
    status = Counter(Subscription.objects.values_list("status", flat=True))
    assert of["suspend", "completed"] == status[S.SUSPENDED]
    assert of["cancel", "completed"] == status[S.CANCELLED]
    assert of["cancel", "scheduled"] == status[S.ENDING]
    assert of["start", "failed"] == status[S.FAILED]
    assert of["start", "placed"] == status[S.PENDING]
    for wish in (("increase", "failed"), ("decrease", "scheduled"), ("increase", "completed")):
        assert of[wish] > 0


def test_the_emulator_has_the_same_and_runs_meanwhile(emulator, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "AT_ONCE", 100)
    with process.start(tmp_path / "emulator.sqlite") as running, ThreadPoolExecutor() as pool:
        generated_all = threading.Event()
        changing = pool.submit(change_while, generated_all, running.control)
        try:
            generate("--subscriptions", "1000", "--emulator", str(tmp_path / "emulator.sqlite"))
        finally:
            generated_all.set()
        changed = changing.result()
        assert running.control.subscriber("BUSY").seats == changed > 10
        settings.VENDORS["kaspersky"]["OPTIONS"]["endpoint"] = running.url
        gateways.gateway.cache_clear()
        ours = list(rows())
        theirs = reconciliation.read_many("kaspersky", [one.subscriber_id for one in ours], purpose=Purpose.DRIFT)
    known = 0
    for one, answer in zip(ours, theirs, strict=True):
        known += answer.details is not None
        assert comparison.differing(comparison.of(one), answer.details, clock.now()) == ()
    assert known == Subscription.objects.filter(started_at__isnull=False).count() > 900


def change_while(ended, control):
    """Change one record at the emulator again and again until then; returns its last number of seats."""
    control.put_subscriber("BUSY", product="P")
    seats = 1
    while not ended.is_set():
        seats += 1
        control.set_seats("BUSY", seats)
    return seats


def test_the_same_seed_makes_the_same_base():
    def made():
        return list(rows().values_list("account__name", "sku__code", "seats", "status", "period_start", "term_end"))

    generated.fill(200, accounts=20, seed=1)
    first = made()
    generated.fill(200, accounts=20, seed=1)
    generated.fill(200, accounts=20, seed=2)
    every = made()
    assert every[200:400] == every[:200] == first
    assert every[400:] != first
    assert len(set(rows().values_list("subscriber_id", flat=True))) == 600


def test_some_accounts_are_large(monkeypatch):
    monkeypatch.setattr(generated, "BATCH", 300)
    heard = []
    generated.fill(1_000, accounts=30, seed=0, progress=heard.append)
    assert heard == [300, 600, 900, 1_000]
    first = Account.objects.order_by("pk")[0]
    assert first.subscriptions.count() == 100
    assert first.members.get().user.email == f"owner{first.pk}@generated.example"


def test_a_database_that_holds_accounts_is_left_alone_unless_told():
    AccountFactory()
    with pytest.raises(CommandError, match=r"holds accounts\. It was left as it is") as refused:
        generate("--subscriptions", "10")
    assert refused.value.returncode == 2
    assert not Subscription.objects.exists()
    generate("--subscriptions", "10", "--add")
    assert Subscription.objects.count() == 10


def test_what_is_added_to_days_that_were_counted_is_counted():
    figures.refresh()
    generate("--subscriptions", "300", "--add")
    counted = figures.read()
    assert counted.last.running == Subscription.objects.filter(status__in=figures.WORKS).count()
    by_hand = figures.completed(counted.days[0][0])
    assert {day: dict(changes) for day, changes in counted.days if changes} == by_hand
    assert sum(day < counted.last.day - timedelta(days=2) for day in by_hand) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--subscriptions", "0"), "--subscriptions takes 1 to 10,000,000"),
        (("--accounts", "19"), "--accounts takes 20 to"),
        (("--seed", "-1"), "--seed takes 0 to"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, said):
    with pytest.raises(CommandError, match=said):
        generate(*arguments)
