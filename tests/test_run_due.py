"""The command that shows what falls due, and does it when told."""

import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from subscriptions import actions, clock, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import Charge, Event, Order, Subscription
from tests.factories import AccountFactory, ChargeFactory, OrderFactory, SKUFactory, SubscriptionFactory
from tests.worker_process import database_url, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


def run(*arguments):
    said = StringIO()
    call_command("run_due", *arguments, stdout=said)
    return said.getvalue()


@pytest.fixture
def begun():
    """A subscription that began so many days ago."""

    def begin(days, sku=None, **more):
        at = clock.now() - timedelta(days=days)
        return SubscriptionFactory(sku=SKUFactory(**sku or {}), created_at=at, **more)

    return begin


@pytest.fixture
def forged(begun):
    """A subscription whose next period has a line already."""
    subscription = begun(40)
    ChargeFactory(
        subscription=subscription, kind="period", covers_from=subscription.period_end,
        covers_to=subscription.period_end + timedelta(days=30),
    )  # fmt: skip
    return subscription


def counted():
    return Charge.objects.count(), Event.objects.count(), Order.objects.count()


def test_without_apply_it_shows_and_does_nothing(begun):
    subscription = begun(40, account=AccountFactory(name="Acme [GmbH]"))
    for _ in range(4):
        begun(40)
    before = counted()
    said = run()
    day = actions.date_words(subscription.period_end)
    assert re.search(r"^ +5  A period begins and is billed \(EUR 437\.50\)$", said, re.M), said
    assert f"  {subscription} (Acme [GmbH]) on {day}, EUR 87.50\n" in said
    assert said.count(" on ") == 3
    assert re.search(r"^ +\.\.\.$", said, re.M)
    assert said.endswith("Nothing was done. With --apply, what is due by now is done.\n")
    assert counted() == before


def test_with_apply_it_does_so_once(begun):
    for _ in range(3):
        begun(70)
    said = run("--apply")
    assert re.search(r"^ +6  A period begins and is billed$", said, re.M), said
    assert Charge.objects.count() == 6
    assert "nothing was due" in run("--apply")
    assert Charge.objects.count() == 6


def test_on_a_terminal_a_bar_says_how_far_it_is(begun):
    begun(70), begun(40)
    assert "Due" not in run("--no-color")
    said = run("--apply", "--force-color")
    assert "\x1b[" in said
    # A subscription that is two periods behind counts twice.
    assert re.findall(r"Due .*?(\d+/\d+)", said)[-1] == "3/3"


def test_a_forecast_of_a_later_day_counts_every_step(begun):
    begun(1)
    begun(1, {"term_months": 1, "grace_days": 5}, auto_renew=False, reminder_due_on=None)
    later = clock.now() + timedelta(days=100)
    said = run("--at", later.isoformat())
    for line in (
        r"3  A period begins and is billed \(EUR 262\.50\)",
        "1  A term is over and is not renewed",
        "1  A grace time is over: a cancel is placed",
    ):
        assert re.search(rf"^ +{line}$", said, re.M), said
    assert counted() == (0, 0, 0)


def test_a_later_day_cannot_be_applied(begun):
    begun(40)
    day = f"{clock.now() + timedelta(days=2):%Y-%m-%d}"
    with pytest.raises(CommandError, match=rf"Business time is .*`manage.py demo --at {day}` moves it on\.") as refused:
        run("--at", day, "--apply")
    assert refused.value.returncode == 2
    assert counted() == (0, 0, 0)


def test_business_time_says_what_is_later(begun, settings):
    begun(1)
    settings.CLOCK_OFFSET = timedelta(days=50)
    assert "A period begins and is billed" in run("--apply", "--at", (clock.now() - timedelta(days=2)).isoformat())


def test_until_an_earlier_day_only_what_was_due_then(begun):
    old, new = begun(70), begun(40)
    between = clock.now() - timedelta(days=25)
    assert re.search(r"^ +1  A period begins and is billed", run("--at", between.isoformat()), re.M)
    run("--at", between.isoformat(), "--apply")
    assert Charge.objects.get().subscription == old
    assert Charge.objects.get().booked_on == clock.now().date()
    run("--apply")
    assert (old.charges.count(), new.charges.count()) == (2, 1)


@pytest.mark.parametrize("text", ["tomorrow", "2027-02-30", ""])
def test_what_is_no_date_is_refused_with_an_example(text):
    with pytest.raises(CommandError, match=r"is no date\. Write 2027-03-02"):
        run("--at", text)


def test_a_forecast_has_an_end():
    with pytest.raises(CommandError, match="at most five years") as refused:
        run("--at", "2999-01-01")
    assert refused.value.returncode == 2


def test_the_example_of_the_help_works_as_it_is(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    [example] = re.findall(r"Example: uv run manage\.py run_due (.*)", capsys.readouterr().out)
    assert "Business time is" in run(*example.split())


def test_a_row_that_cannot_be_done_has_a_line_and_the_rest_is_done(begun, forged):
    good = begun(40)
    said = StringIO()
    with pytest.raises(CommandError, match="1 cannot be done") as failed:
        call_command("run_due", "--apply", stdout=said)
    assert failed.value.returncode == 1
    assert re.search(rf"^{forged}: IntegrityError: .*one_period_charge", said.getvalue(), re.M), said.getvalue()
    assert re.search(r"^ +1  A period begins and is billed$", said.getvalue(), re.M)
    assert good.charges.count() == 1


def test_a_row_that_cannot_be_forecast_has_a_line_too(begun):
    begun(40)
    due = clock.now() - timedelta(days=20)
    OrderFactory(subscription=begun(40), status="scheduled", after={"Chairs": 30}, due_at=due)
    said = StringIO()
    with pytest.raises(CommandError, match="1 cannot be done") as failed:
        call_command("run_due", stdout=said)
    assert failed.value.returncode == 1
    assert "KeyError: 'Seats'" in said.getvalue()
    assert re.search(r"^ +1  A period begins and is billed", said.getvalue(), re.M), said.getvalue()


def test_what_waits_for_an_open_order_is_counted(begun):
    subscription = begun(29)
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=None, audience="system")
    said = run("--at", (clock.now() + timedelta(days=5)).isoformat())
    assert re.search(r"^ +1  Waits for its open order$", said, re.M)
    assert "A period begins" not in said


def test_every_kind_of_step_has_words(begun):
    """Kinds come from `lifecycle`, and their words from the command."""
    ended = clock.now() - timedelta(days=1)
    begun(40), begun(40, status="suspended")
    begun(40, {"prices": {}})
    begun(40, {"term_months": 1, "grace_days": 1}, auto_renew=False)
    begun(40, status="ending", ends_at=ended)
    begun(40, trial_ends=clock.now().date() - timedelta(days=10))
    begun(40, reminder_due_on=clock.now().date() - timedelta(days=30))
    OrderFactory(subscription=begun(40), status="scheduled", after={"Seats": 30}, due_at=ended)
    OrderFactory(subscription=begun(40), status="scheduled", after={"Seats": 9999}, due_at=ended)
    begun(40, {"term_months": 1})
    said = run()
    for words in (
        "A planned order falls due: Increase seats",
        "A period begins and is billed",
        "not billed: suspended",
        "A period waits for a price",
        "A term is renewed",
        "A reminder of a renewal",
        "A term is over and is not renewed",
        "A grace time is over",
        "A trial is over",
        "An end date has come",
        "A planned order has become impossible",
    ):
        assert words in said, f"{words} is missing in:\n{said}"


# --- as a process ----------------------------------------------------------------------------------------------------


# What is started in the background ignores Ctrl-C, and so do its children.
_MANAGE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""


def process(*arguments):
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", _MANAGE, "run_due", *arguments],
        cwd=django_settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_two_processes_at_once_charge_each_period_once(begun):
    for _ in range(40):
        begun(100)
    owed = 40 * 3
    both = [process("--apply"), process("--apply")]
    for one in both:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
        assert "\x1b" not in out, "no progress bar where nobody looks"
    assert Charge.objects.count() == owed
    assert Charge.objects.values("subscription", "period_start").distinct().count() == owed
    assert not Subscription.objects.filter(next_due_at__lte=clock.now()).exists()


@pytest.mark.django_db(transaction=True)
def test_exit_codes(begun, forged):
    for arguments, code in ((["--apply"], 1), (["--at", "2999-01-01"], 2), (["--at", "never"], 2), (["--help"], 0)):
        one = process(*arguments)
        _, err = one.communicate(timeout=60)
        assert one.returncode == code, (arguments, err)
        assert "Traceback" not in err


@pytest.mark.django_db(transaction=True)
def test_an_interruption_says_what_to_do(begun):
    begun(40)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE subscriptions_event")
        one = process("--apply")
        wait_until(lambda: _waits_for_the_lock() or one.poll() is not None, seconds=30)
        one.send_signal(signal.SIGINT)
        _, err = one.communicate(timeout=60)
    assert one.returncode == 130, err
    assert "run it again for the rest" in err
    assert not Charge.objects.exists()


def _waits_for_the_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'subscriptions_event'::regclass AND NOT granted")
        return cursor.fetchone()[0] > 0
