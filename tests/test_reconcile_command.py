"""The command and the nightly task: what they say, and that they go on after anything that stops them."""

import csv
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection

from subscriptions import clock, reconciliation
from subscriptions.actions import COMMAND
from subscriptions.models import Drift, ReconciliationRun, ReconciliationStatus, VendorCall
from subscriptions.reconciliation import nightly
from tests.factories import OrderFactory, SKUFactory, SubscriptionFactory
from tests.worker_process import database_url, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


KILLS = int(os.environ.get("RECONCILE_KILLS", "1"))
ROWS = 8 + 2 * KILLS


def reconcile(*arguments):
    out = StringIO()
    call_command("reconcile", *map(str, arguments), stdout=out)
    return out.getvalue()


def refusal(*arguments, code):
    with pytest.raises(CommandError) as refused:
        reconcile(*arguments)
    assert refused.value.returncode == code
    return str(refused.value)


@pytest.fixture
def three(cast, at_vendor, settings):
    settings.VENDOR_READ_TOGETHER = 1
    sku = SKUFactory()
    return [at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30 + more) for more in range(3)]


def the_run():
    return ReconciliationRun.objects.get()


# --- what it says ----------------------------------------------------------------------------------------------------


def test_it_tells_what_it_found_and_writes_the_worklist(three, cast, emulator, tmp_path):
    OrderFactory(subscription=three[0], status="placed")
    cast.acme.name = "=Acme"
    cast.acme.save()
    said = reconcile("--out", tmp_path / "drift.csv")
    assert "2  compared with the vendor's record" in said
    assert "1  passed over: an open order, or a change meanwhile" in said
    assert "2  differences found" in said
    assert "2 differences are open. Most is at stake with:" in said
    assert f"{three[2]} (=Acme): seats, 25 / 32, EUR 24.50 a month" in said
    with (tmp_path / "drift.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    shown = ("subscription", "company", "field", "theirs", "at_stake_a_month")
    assert [tuple(row[name] for name in shown) for row in rows] == [
        (three[2].number, "'=Acme", "Seats", "32", "24.50"), (three[1].number, "'=Acme", "Seats", "31", "21.00"),
    ]  # fmt: skip
    assert re.fullmatch(r"[-\d]{10}T[:\d]{8}Z", rows[0]["since"]), "as exports write it"


def test_one_difference_is_one(subscription, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    assert f"1 difference is open:\n{'':>11}{subscription} (" in reconcile()


def test_nothing_differs(subscription):
    assert "Nothing differs." in reconcile("--where", "status=active")


def test_one_that_cannot_be_read_makes_it_fail_in_the_end(three, emulator):
    emulator.control.add_fault("item-error", subscriber=three[0].subscriber_id)
    assert "1 records could not be read" in refusal(code=1)
    assert (the_run().status, the_run().compared) == ("done", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--where", "status=asleep"], "is none of: pending"),
        (["--where", "seats"], "is no filter"),
        (["--resume", "7777777"], "There is no run 7777777"),
        (["--resume", "1", "--where", "status=active"], "--resume goes without --where"),
        (["--known", "/nowhere/report.csv"], "cannot be read"),
        (["--out", "/nowhere/drift.csv"], "cannot be written"),
    ],
)
def test_the_impossible_is_refused_before_anything(arguments, said, three):
    assert said in refusal(*arguments, code=2)
    assert not VendorCall.objects.exists()
    assert not ReconciliationRun.objects.filter(status="running").exists()


def test_beside_another_run_it_says_so(three):
    run = reconciliation.begin(actor=None, audience=COMMAND)
    assert f"Run {run.pk} is under way" in refusal(code=2)


# --- unknown here ----------------------------------------------------------------------------------------------------


@pytest.fixture
def report(tmp_path):
    def write(*lines, header="subscriber_id"):
        path = tmp_path / "report.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def strangers():
    rows = Drift.objects.filter(subscription__isnull=True).order_by("pk")
    return [(row.subscriber_id, row.theirs, row.ending) for row in rows]


def test_what_is_billed_and_not_ours_is_unknown_here(three, emulator, report, at_vendor, cast, tmp_path):
    emulator.control.put_subscriber("LEGACY-1", product="OLD", seats=40)
    billed = report(three[0].subscriber_id, "LEGACY-1", "NOBODY", "LEGACY-1")
    for _ in range(2):
        assert "LEGACY-1: unknown here, Not known / Running, 40 of OLD, no price" in reconcile("--known", billed)
        assert strangers() == [("LEGACY-1", "Started, 40 of OLD", "")]
    emulator.control.set_seats("LEGACY-1", 41)
    reconcile("--known", billed, "--out", tmp_path / "drift.csv")
    assert 'LEGACY-1,,,Unknown here,Not known,"Running, 41 of OLD",' in (tmp_path / "drift.csv").read_text("utf-8")
    assert strangers() == [("LEGACY-1", "Started, 40 of OLD", "changed"), ("LEGACY-1", "Started, 41 of OLD", "")]
    # A run without a report knows nothing of them, and one with another report ends what is not in it.
    reconcile()
    assert strangers()[-1][2] == ""
    reconcile("--known", report())
    assert strangers()[-1][2] == "", "an empty report says nothing"
    reconcile("--known", report(three[0].subscriber_id))
    assert strangers()[-1][2] == "gone"


def test_once_taken_over_it_is_known(cast, emulator, report):
    emulator.control.put_subscriber("LEGACY-1", product="OLD", seats=40)
    reconcile("--known", report("LEGACY-1"))
    sku = SKUFactory(vendor_product_id="OLD")
    SubscriptionFactory(account=cast.acme, sku=sku, seats=40, subscriber_id="LEGACY-1")
    reconcile()
    assert strangers() == [("LEGACY-1", "Started, 40 of OLD", "gone")]
    assert reconciliation.open_count() == (0, False)


def test_a_report_in_small_letters_names_the_same_subscribers(cast, at_vendor, emulator, report):
    ours = at_vendor(SubscriptionFactory(account=cast.acme, subscriber_id="0A1B2C3D" * 4))
    stranger = "A0B1C2D3" * 4
    # A vendor to whom they are the same.
    for name in (stranger, stranger.lower(), ours.subscriber_id.lower()):
        emulator.control.put_subscriber(name, product="OLD", seats=40)
    said = reconcile("--known", report(ours.subscriber_id.lower(), stranger, stranger.lower()))
    assert "1  differences found" in said
    assert "1  differences seen again" in reconcile("--known", report(stranger.lower()))
    sku = SKUFactory(vendor_product_id="OLD")
    SubscriptionFactory(account=cast.acme, sku=sku, seats=40, subscriber_id=stranger)
    reconcile()
    assert strangers() == [(stranger.lower(), "Started, 40 of OLD", "gone")]


def test_the_report_is_not_written_over(three, report):
    billed = report(three[0].subscriber_id)
    before = billed.read_text()
    assert "is the file with the rows itself" in refusal("--known", billed, "--out", billed, code=2)
    assert billed.read_text() == before


def test_stopped_while_it_reads_a_report_it_says_how_to_go_on(three, emulator, report):
    emulator.control.add_fault("html-500", nth=1)
    billed = report("LEGACY-1")
    said = refusal("--known", billed, code=1)
    assert said.endswith(f"reconcile --resume {the_run().pk} --known {billed} --vendor kaspersky")
    # Without the report, what only that names would silently be left out.
    said = refusal("--resume", the_run().pk, code=2)
    assert said == (
        f"Run {the_run().pk} has not read the report of kaspersky to its end: give it again, with --known FILE "
        "--vendor kaspersky."
    )
    assert the_run().status == "stopped"
    emulator.control.put_subscriber("LEGACY-1", product="OLD", seats=40)
    assert "LEGACY-1: unknown here" in reconcile("--resume", the_run().pk, "--known", billed)


def test_a_report_that_was_read_to_its_end_is_not_asked_for_again(three, emulator, report):
    emulator.control.add_fault("html-500", nth=2)
    refusal("--known", report("LEGACY-1"), code=1)
    assert (the_run().status, the_run().report) == ("stopped", "")
    reconcile("--resume", the_run().pk)
    assert the_run().status == "done"


def test_a_worklist_that_cannot_be_written_leaves_the_old_file(three, tmp_path, monkeypatch):
    def full(amount, currency):
        raise OSError(28, "No space left on device")

    reconcile()
    monkeypatch.setattr("subscriptions.pricing.rounded", full)
    monkeypatch.setattr("subscriptions.pricing.money", lambda amount, currency: "")
    out = tmp_path / "drift.csv"
    out.write_text("old")
    said = refusal("--out", out, "--where", "status=cancelled", code=1)
    assert "drift.csv cannot be written: No space left on device" in said
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_report_that_is_wrong_is_refused_with_its_line(three, report):
    assert "Line 3: “XXXXX" in refusal("--known", report("A", "X" * 65), code=2)
    assert "no column “subscriber_id”" in refusal("--known", report("A", header="id"), code=2)
    assert not VendorCall.objects.exists()


# --- stopped, and gone on with ---------------------------------------------------------------------------------------


def test_a_vendor_that_falls_silent_stops_it_and_it_goes_on(three, emulator):
    emulator.control.add_fault("html-500", nth=2)
    said = refusal(code=1)
    run = the_run()
    assert said == (
        "The licence service did not answer (http-500). Stopped after 1. "
        f"Go on with: uv run manage.py reconcile --resume {run.pk}"
    )
    assert (run.status, run.said) == ("stopped", "The licence service did not answer (http-500).")
    assert "3  compared" in reconcile("--resume", run.pk)
    assert (the_run().status, the_run().found) == ("done", 3)
    assert "is done" in refusal("--resume", run.pk, code=2)


@pytest.mark.django_db(transaction=True)
def test_killed_at_any_moment_and_gone_on_with(cast, at_vendor, emulator, tmp_path):
    sku = SKUFactory()
    for _ in range(ROWS):
        at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30)
    emulator.control.add_fault("latency-fixed", seconds=0.08, count=999)
    environment = os.environ | {
        "DATABASE_URL": database_url(), "SEATDESK_DEMO": "1", "KASPERSKY_ENDPOINT": emulator.url,
        "VENDOR_READ_TOGETHER": "1", "WAIT_SCALE": "1",
    }  # fmt: skip
    seen = 0
    for deaths in range(KILLS + 1):
        resume = ["--resume", str(the_run().pk)] if deaths else []
        process = subprocess.Popen(
            [sys.executable, "manage.py", "reconcile", *resume], cwd=django_settings.BASE_DIR, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_until(
                lambda done=seen, process=process: (
                    process.poll() is not None or ReconciliationRun.objects.filter(position__gt=done).exists()
                ),
                seconds=30, every=0.02,
            )  # fmt: skip
        finally:
            if deaths < KILLS:
                process.send_signal(signal.SIGKILL)
            said, _ = process.communicate(timeout=30)
        seen = the_run().position
    assert process.returncode == 0, said
    run = the_run()
    assert (run.status, run.compared, run.found, Drift.objects.count()) == ("done", ROWS, ROWS, ROWS)
    # What was read and lost was read again, and nothing else was.
    assert len(emulator.control.journal(kind="GetInfo")) in range(ROWS, ROWS + KILLS + 1)


# --- every night -----------------------------------------------------------------------------------------------------


def at_hour(hour):
    nightly.reconcile.func(int(datetime(2027, 3, 1, hour, tzinfo=UTC).timestamp()))


def test_the_worker_compares_all_at_its_hour(three, drain, settings):
    settings.RECONCILE_HOUR = 3
    at_hour(2)
    assert not ReconciliationRun.objects.exists()
    at_hour(3)
    drain()
    assert (the_run().status, the_run().audience, the_run().compared) == ("done", "system", 3)
    settings.RECONCILE_HOUR = -1
    for hour in range(24):
        at_hour(hour)
    assert the_run()


def test_in_slices_that_follow_one_another(three, drain, settings, monkeypatch):
    monkeypatch.setattr(nightly, "SLICE", 0.0)
    nightly.begin()
    # One for each subscription, and one that finds nothing left.
    assert drain() == 4
    assert (the_run().status, the_run().compared) == ("done", 3)


def test_a_silent_vendor_is_asked_again_later_and_in_the_end_it_stops(three, drain, emulator, settings):
    settings.VENDOR_RETRY_DELAYS = [0.01, 0.02]
    emulator.control.add_fault("html-500", nth=2, count=2)
    nightly.begin()
    drain()
    assert (the_run().status, the_run().compared) == ("done", 3)
    ReconciliationRun.objects.update(status=ReconciliationStatus.STOPPED)
    emulator.control.add_fault("html-500", count=9)
    run = nightly.begin()
    drain()
    run.refresh_from_db()
    assert (run.status, run.said) == ("stopped", "The licence service did not answer (http-500).")


def test_no_night_beside_a_run_that_is_at_work_but_after_one_that_was_lost(three, drain, settings):
    other = reconciliation.begin(actor=None, audience=COMMAND)
    assert nightly.begin() is None
    settings.CLOCK_OFFSET += timedelta(hours=3)
    run = nightly.begin()
    other.refresh_from_db()
    assert (other.status, other.said) == ("stopped", "It was interrupted.")
    drain()
    run.refresh_from_db()
    assert run.status == "done"
    reconciliation.take_up(other)


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_of_a_command_in_its_way_costs_no_night(ended, three, drain, settings):
    settings.RECONCILE_HOUR = 3
    settings.CLOCK_OFFSET -= timedelta(hours=1)
    other = reconciliation.begin(actor=None, audience=COMMAND)
    settings.CLOCK_OFFSET += timedelta(hours=1)
    at_hour(3)
    assert the_run() == other
    if ended:
        reconciliation.stop(other, "It was interrupted.")
    settings.CLOCK_OFFSET += timedelta(hours=1)
    at_hour(4)
    drain()
    newest = ReconciliationRun.objects.first()
    assert (newest.audience, newest.status) == ("system", "done")
    for hour in (5, 6):
        settings.CLOCK_OFFSET += timedelta(hours=1)
        at_hour(hour)
    assert ReconciliationRun.objects.count() == 2, "one a night"


def test_hours_after_its_own_no_night_begins_any_more(three, settings):
    settings.RECONCILE_HOUR = 23
    for hour in range(3, 23):
        at_hour(hour)
    assert not ReconciliationRun.objects.exists()
    at_hour(2)
    assert the_run().audience == "system"


def test_a_run_of_the_night_before_that_has_lost_its_job_goes_on_at_the_hour_too(three, drain, settings):
    settings.RECONCILE_HOUR = 3
    run = nightly.begin()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    settings.CLOCK_OFFSET += timedelta(hours=24)
    ReconciliationRun.objects.update(moved_at=clock.now())
    at_hour(3)
    drain()
    run.refresh_from_db()
    assert run.status == "done"


def test_a_run_that_has_lost_its_job_goes_on(three, drain, settings):
    settings.RECONCILE_HOUR = 3
    run = nightly.begin()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    for _ in range(2):
        at_hour(9)
    assert drain() == 1
    run.refresh_from_db()
    assert (run.status, run.compared) == ("done", 3)
    assert run.finished_at <= clock.now()
