"""bulk_suspend from its start to the last completed order, beside the same rows by plain SQL; printed, never asserted.

BULK_ROWS=100000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_bulk.py
"""

import os
import re
import statistics
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction

from subscriptions import actions, bulk, clock, gateways, lifecycle
from subscriptions.models import BulkRun, Event, Order, Subscription
from subscriptions.vendors import port
from tests import many
from tests.worker_process import WorkerProcess, database_url, wait_until

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

ROWS = int(os.environ.get("BULK_ROWS", "10000"))
PLAIN_BATCH = 5_000
TOGETHER = 500


def timed(act):
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def show(title, rate, yardsticks):
    print(f"\n{title}")
    print(f"{'ours':<66}{rate:>9,.0f} /s")
    for name, other in yardsticks.items():
        print(f"{name:<66}{other:>9,.0f} /s{rate / other:>7.2f}")


class Peak:
    """The most that processes have held, in MB; looked up while they run."""

    def __init__(self, **processes):
        self.processes, self.most, self._over = processes, dict.fromkeys(processes, 0.0), threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(0.2):
            for name, pid in self.processes.items():
                try:
                    held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                except FileNotFoundError:
                    continue
                if held:
                    self.most[name] = int(held[1]) / 1024


# --- the same rows by plain SQL --------------------------------------------------------------------------------------

PLACE = """
    WITH chosen AS (
        SELECT r.id AS row_id, s.id, s.account_id, s.status
        FROM subscriptions_bulkrow r JOIN subscriptions_subscription s ON s.id = r.subscription_id
        WHERE r.run_id = %(run)s AND r.outcome = 'waiting' AND r.position > %(since)s
          AND r.position <= %(since)s + %(batch)s
        FOR NO KEY UPDATE OF s
    ), placed AS (
        INSERT INTO subscriptions_order (
            subscription_id, action, status, before, after, audience, reason, operation_id, generation, placed_at,
            next_attempt_at, abandoned, outcome_code, outcome_message, needs_staff
        )
        SELECT id, 'suspend', 'placed', '{"Status": "active"}', '{"Status": "suspended"}', 'command', 'late',
               gen_random_uuid(), 1, %(at)s, %(at)s, false, '', '', false
        FROM chosen RETURNING id, subscription_id
    ), told AS (
        INSERT INTO subscriptions_event (
            account_id, subscription_id, order_id, kind, at, audience, reason, before, after
        )
        SELECT account_id, chosen.id, placed.id, 'suspend.placed', %(at)s, 'command', 'late', '{"Status": "active"}',
               '{"Status": "suspended"}'
        FROM chosen JOIN placed ON placed.subscription_id = chosen.id
    ), seen AS (
        UPDATE subscriptions_subscription s SET version = version + 1 FROM chosen WHERE s.id = chosen.id
    ), marked AS (
        UPDATE subscriptions_bulkrow r SET outcome = 'placed', order_id = placed.id
        FROM chosen JOIN placed ON placed.subscription_id = chosen.id WHERE r.id = chosen.row_id
    )
    INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args)
    SELECT 'bulk', 'subscriptions.fulfil_many', -5, jsonb_build_object('order_ids', jsonb_agg(id))
    FROM (SELECT id, row_number() OVER () / 500 AS batch FROM placed) AS p GROUP BY batch
"""


def place_by_plain_sql(run):
    for since in range(0, run.total, PLAIN_BATCH):
        with transaction.atomic(), connection.cursor() as cursor:
            values = {"run": run.pk, "since": since, "batch": PLAIN_BATCH, "at": clock.now()}
            cursor.execute(PLACE, values)


CARRY_OUT = """
    WITH mine AS (SELECT id, subscription_id FROM subscriptions_order WHERE id = ANY(%(ids)s)),
    written AS (
        INSERT INTO subscriptions_vendorcall (
            subscription_id, order_id, purpose, attempt, transaction_id, unit_id, asked, started_at, deadline,
            outcome, code, message, answered, evidence
        )
        SELECT subscription_id, id, 'write', 1, %(name)s, 0, repeat('x', 160), %(at)s, %(at)s, '', '', '', '', ''
        FROM mine
    )
    UPDATE subscriptions_order o SET status = 'in_progress', first_sent_at = %(at)s FROM mine WHERE o.id = mine.id;

    UPDATE subscriptions_vendorcall SET finished_at = %(at)s, outcome = 'done', answered = repeat('x', 160)
    WHERE order_id = ANY(%(ids)s);

    WITH mine AS (SELECT id, subscription_id FROM subscriptions_order WHERE id = ANY(%(ids)s)),
    moved AS (
        UPDATE subscriptions_subscription s SET status = 'suspended', suspended_at = %(at)s, version = version + 1
        FROM mine WHERE s.id = mine.subscription_id RETURNING s.id, s.account_id
    ), told AS (
        INSERT INTO subscriptions_event (
            account_id, subscription_id, order_id, kind, at, audience, reason, before, after
        )
        SELECT account_id, moved.id, mine.id, 'suspend.completed', %(at)s, 'system', '', '{"Status": "active"}',
               '{"Status": "suspended"}'
        FROM moved JOIN mine ON mine.subscription_id = moved.id
    )
    UPDATE subscriptions_order o SET status = 'completed', finished_at = %(at)s, next_attempt_at = NULL
    FROM mine WHERE o.id = mine.id
"""


def carry_out_by_plain_sql(run):
    ids = list(Order.objects.filter(bulk_row__run=run).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), PLAIN_BATCH):
        some = ids[start : start + PLAIN_BATCH]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(CARRY_OUT, {"ids": some, "at": clock.now(), "name": str(uuid.uuid4())})


# --- the vendor alone ------------------------------------------------------------------------------------------------


def in_containers(asks):
    gateway = gateways.gateway("kaspersky")
    for start in range(0, len(asks), TOGETHER):
        answers = gateway.send(gateway.prepare(str(uuid.uuid4()), asks[start : start + TOGETHER]))
        assert {one.outcome for one in answers} == {port.Outcome.DONE}


def provision(chosen):
    now = clock.now()
    rows = chosen.values_list("subscriber_id", "sku__vendor_product_id", "seats")
    in_containers([port.Provision(*row, now) for row in rows])


# --- ours ------------------------------------------------------------------------------------------------------------


def subscriptions(count):
    """So many subscriptions, all active."""
    before = newest()
    many.subscriptions(count, ended_ago=-20)
    return Subscription.objects.filter(pk__gt=before, pk__lte=newest()).order_by("pk")


def newest():
    return Subscription.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def begin(chosen):
    chosen = bulk.Filtered(chosen, "benchmark")
    run = bulk.begin(bulk.Wanted("suspend", "late"), chosen, actor=None, audience=actions.COMMAND)
    with connection.cursor() as cursor:
        # Else the plain SQL would be planned for a few rows.
        cursor.execute("ANALYZE")
    return run


def place(run):
    for _ in bulk.place(run):
        pass


def test_placing():
    ours, theirs = begin(subscriptions(ROWS)), begin(subscriptions(ROWS))
    plain = ROWS / timed(lambda: place_by_plain_sql(theirs))
    rate = ROWS / timed(lambda: place(ours))
    assert Order.objects.filter(status="placed").count() == Event.objects.count() == 2 * ROWS
    show(f"Placing {ROWS:,} suspensions, in transactions of {bulk.CHUNK:,}", rate, {"plain set-based SQL": plain})


def command(*arguments):
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    return subprocess.Popen(
        [sys.executable, "manage.py", "bulk_suspend", *arguments], cwd=django_settings.BASE_DIR, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def clicks(chosen, while_true):
    """Seconds from a click to its completed order, one click after the other."""
    seconds = []
    for subscription in chosen:
        if not while_true():
            break
        begun = time.perf_counter()
        wish = lifecycle.Wish(subscription.pk, "increase", {"Seats": subscription.seats + 1})
        order = lifecycle.place(wish, actor=None, audience=actions.SYSTEM)
        wait_until(lambda order=order: Order.objects.get(pk=order.pk).status == "completed", seconds=60, every=0.005)
        seconds.append(time.perf_counter() - begun)
        time.sleep(0.1)
    return seconds


def test_clicks_while_bulk_work_runs(emulator, tmp_path, settings):
    settings.UPKEEP_CRON, settings.WAIT_SCALE = "* * * * * */15", 1
    settings.VENDORS["kaspersky"]["OPTIONS"].update(connect_timeout=5.0, read_timeout=30.0, attempt_timeout=45.0)
    gateways.gateway.cache_clear()
    chosen, others = subscriptions(ROWS), subscriptions(250)
    provision(chosen)
    provision(others)
    place(begin(chosen))
    first, *rest = others
    worker = WorkerProcess(emulator.url, tmp_path / "worker.log", module="portal.settings")
    try:
        clicks([first], lambda: True)
        meanwhile = clicks(rest[:150], Order.objects.filter(status="placed", action="suspend").exists)
        wait_until(lambda: not Order.objects.filter(status__in=["placed", "in_progress"]).exists(), seconds=600)
        alone = clicks(rest[150:], lambda: True)
    finally:
        worker.stop()
    print(f"\nA click to its completed order, one worker, {ROWS:,} suspensions waiting: median, at most, clicks")
    for name, seconds in (("while they are carried out", meanwhile), ("afterwards", alone)):
        print(f"{name:<66}{statistics.median(seconds):>9.3f} s {max(seconds):>7.3f} s {len(seconds):>5}")


def test_from_the_start_to_every_order_completed(emulator_process, emulator, tmp_path, settings):
    # The upkeep of the tests comes each second; that of a real worker would not disturb.
    settings.UPKEEP_CRON, settings.WAIT_SCALE = "* * * * * */15", 1
    settings.VENDORS["kaspersky"]["OPTIONS"].update(connect_timeout=5.0, read_timeout=30.0, attempt_timeout=45.0)
    gateways.gateway.cache_clear()
    chosen = subscriptions(ROWS)
    provision(chosen)
    worker = WorkerProcess(emulator.url, tmp_path / "worker.log", module="portal.settings")
    try:
        time.sleep(3)
        begun = time.perf_counter()
        running = command(
            "--status", "active", "--apply", "--reason", "late payers", "--out", str(tmp_path / "out.csv")
        )
        with Peak(command=running.pid, worker=worker._process.pid, emulator=emulator.pid) as peak:
            said, _ = running.communicate()
        seconds = time.perf_counter() - begun
        assert running.returncode == 0, said
        assert f"{ROWS:,}  done" in said
    finally:
        worker.stop()
    run = BulkRun.objects.get()
    completed = Order.objects.filter(status="completed").order_by("-finished_at").values_list("finished_at", flat=True)
    whole = (completed[0] - run.created_at).total_seconds()
    placing = (run.finished_at - run.created_at).total_seconds()

    theirs = begin(subscriptions(ROWS))
    plain = timed(lambda: (place_by_plain_sql(theirs), carry_out_by_plain_sql(theirs)))
    pauses = [port.Suspend(one, clock.now()) for one in chosen.values_list("subscriber_id", flat=True)]
    emulator.control.reset()
    provision(chosen)
    vendor = timed(lambda: in_containers(pauses))
    show(
        f"bulk_suspend of {ROWS:,}, one worker, vendor at 0 ms: from the start to every order completed",
        ROWS / whole,
        {
            "the command's whole process, with its start and its result file": ROWS / seconds,
            "its placing": ROWS / placing,
            "yardstick: the same rows by plain set-based SQL": ROWS / plain,
            "yardstick: the vendor alone, containers of 500": ROWS / vendor,
        },
    )
    for name, most in peak.most.items():
        print(f"{'most memory of the ' + name:<66}{most:>9,.0f} MB")
