"""A bulk command that is killed again and again, and resumed: every row is placed once, and done at the vendor once.

BULK_KILLS=24 uv run pytest -n 0 tests/faults/test_bulk_killed.py kills more often than there is time for each day.
"""

import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter

import pytest
from django.conf import settings as django_settings
from django.db import connection

from subscriptions import actions, bulk, clock, gateways
from subscriptions.models import BulkRun, Event, Order, Subscription
from subscriptions.vendors import port
from tests import many
from tests.worker_process import WorkerProcess, database_url, wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.xdist_group("faults"),
    pytest.mark.django_db(transaction=True),
]

KILLS = int(os.environ.get("BULK_KILLS", "6"))
ROWS = 250 * KILLS
# Sets of so many, so that a kill comes among them and not before or after them all.
MANAGE = """
import sys, django
django.setup()
from django.core.management import execute_from_command_line
from subscriptions.bulk import runs
runs.CHUNK = 25
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def known(emulator):
    """So many active subscriptions, which the vendor knows too."""
    many.subscriptions(ROWS, ended_ago=-20)
    rows = Subscription.objects.values_list("subscriber_id", "sku__vendor_product_id", "seats")
    asks, gateway = [port.Provision(*row, clock.now()) for row in rows], gateways.gateway("kaspersky")
    for start in range(0, ROWS, 500):
        gateway.send(gateway.prepare(str(uuid.uuid4()), asks[start : start + 500]))


@pytest.fixture
def empty_afterwards(empty_queue):
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs; DELETE FROM procrastinate_workers")


def command(run):
    environment = os.environ | {
        "DATABASE_URL": database_url(), "SEATDESK_DEMO": "1", "DJANGO_SETTINGS_MODULE": "portal.settings",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", MANAGE, "bulk_suspend", "--resume", str(run.pk), "--no-wait"],
        cwd=django_settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_killed_and_resumed(known, empty_afterwards, emulator, tmp_path):
    dice = random.Random(24)
    chosen = bulk.Filtered(Subscription.objects.filter(status="active"), "status active")
    run = bulk.begin(bulk.Wanted("suspend", "late"), chosen, actor=None, audience=actions.COMMAND)
    log = tmp_path / "workers.log"
    worker, next_one, killed = WorkerProcess(emulator.url, log), command(run), 0
    try:
        while killed < KILLS:
            # The next one starts while this one works, and both are on the same rows for a while.
            at_work, next_one, placed = next_one, command(run), placed_of(run)
            wait_until(
                lambda at=at_work, before=placed: placed_of(run) > before or at.poll() is not None,
                seconds=30, every=0.005,
            )  # fmt: skip
            time.sleep(dice.uniform(0, 0.25))
            at_work.kill()
            killed += at_work.wait() == -9
            if killed % 6 == 5:
                worker.kill()
                worker = WorkerProcess(emulator.url, log)
            if BulkRun.objects.get(pk=run.pk).status == "done":
                break
        assert killed >= KILLS - 2, f"all was placed after {killed} kills"
        assert next_one.wait(60) == 0
        wait_until(lambda: not Order.objects.filter(status__in=["placed", "in_progress"]).exists(), seconds=60)
    finally:
        for process in (next_one, at_work):
            process.kill()
            process.wait()
        worker.kill()
    check_each_row_once(run, emulator.control)


def placed_of(run):
    return BulkRun.objects.values_list("placed", flat=True).get(pk=run.pk)


def check_each_row_once(run, control):
    run.refresh_from_db()
    assert (run.placed, run.refused, run.total, run.status) == (ROWS, 0, ROWS, "done")
    assert Order.objects.values("subscription").distinct().count() == Order.objects.count() == ROWS
    assert set(run.rows.values_list("order", flat=True)) == set(Order.objects.values_list("pk", flat=True))
    assert Counter(Event.objects.values_list("kind", flat=True))["suspend.placed"] == ROWS
    told = Counter(entry.subscriber for entry in control.journal(kind="Pause", source="service"))
    applied = Counter(entry.subscriber for entry in control.journal(kind="Pause", source="service", applied=True))
    names = dict(Subscription.objects.values_list("subscriber_id", "status"))
    assert applied == dict.fromkeys(names, 1), "the vendor paused each once"
    assert told == applied, "and was asked once"
    outcomes = Counter(Order.objects.values_list("status", flat=True))
    # On a busy machine answers stay away for longer than a test's day; those wait for a person.
    assert outcomes["completed"] + outcomes["needs_attention"] == ROWS
    assert outcomes["needs_attention"] * 20 <= ROWS
    assert Counter(names.values())["suspended"] == outcomes["completed"]
