"""import_subscriptions beside the same rows by COPY and plain set-based SQL; printed, never asserted.

BULK_ROWS=100000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_takeover.py
"""

import csv
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction

from subscriptions import actions, clock, gateways, reconciliation, takeover
from subscriptions.models import Charge, Event, Purpose, Subscription
from subscriptions.models.secrets import EncryptedField
from subscriptions.sheets import Sheet
from subscriptions.takeover import Base
from subscriptions.vendors import port
from subscriptions.vendors.port import Secret
from tests.benchmarks.test_bulk import ROWS, Peak, in_containers, show, timed
from tests.factories import AccountFactory, SKUFactory
from tests.many import BANDS
from tests.worker_process import database_url

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

PLAIN_BATCH = 5_000
COLUMNS = [*takeover.NEEDED, "activation_code", "reference"]


@pytest.fixture
def base(tmp_path):
    """Files of so many rows each, no subscriber in two of them."""
    skus = [SKUFactory(prices=BANDS).code for _ in range(4)]
    accounts = [AccountFactory(time_zone="Europe/Ljubljana").name for _ in range(500)]
    today = clock.now().date()
    began, ends = today - timedelta(days=300), today + timedelta(days=10)

    def write(number, *, codes=True):
        path = tmp_path / f"base-{number}.csv"
        with path.open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(COLUMNS)
            for n in range(ROWS):
                code = f"FAKE0-{n:05d}-BBBBB-CCCCC" if codes else ""
                rows.writerow((
                    accounts[n % len(accounts)], skus[n % len(skus)], 5 + n % 200, f"{number:08X}{n:024X}", began, ends,
                    code, f"C-{n}",
                ))  # fmt: skip
        return path

    return write


def begin(path, *, asks_vendor=False):
    with path.open("rb") as stream:
        rows = Base(Sheet(stream, needed=takeover.NEEDED), path.name)
        about = {"source": "Old portal", "reason": "We move", "actor": None, "audience": actions.COMMAND}
        return takeover.begin(rows, asks_vendor=asks_vendor, **about)


def take(run):
    for _ in takeover.take(run):
        pass


def analyse():
    with connection.cursor() as cursor:
        # Else the first set would be planned for empty tables.
        cursor.execute("ANALYZE")


# --- the same rows by plain SQL --------------------------------------------------------------------------------------

PLAIN = """
    WITH told AS (
        SELECT a.id AS account_id, s.id AS sku_id, r.*
        FROM old_base r JOIN subscriptions_account a ON a.name = r.account JOIN subscriptions_sku s ON s.code = r.sku
        WHERE r.n > %(since)s AND r.n <= %(since)s + %(batch)s
    ), written AS (
        INSERT INTO subscriptions_subscription (
            account_id, sku_id, status, seats, subscriber_id, activation_code, created_at, started_at, currency,
            auto_renew, anchor_day, period_start, period_end, term_end, reminder_due_on, peak_seats, next_due_at,
            version
        )
        SELECT account_id, sku_id, 'active', seats, subscriber_id, convert_to(activation_code, 'UTF8'), %(at)s,
               started_on::timestamp AT TIME ZONE 'Europe/Ljubljana', 'EUR', true, extract(day FROM period_end),
               period_end - interval '1 month', period_end, period_end + interval '2 months', period_end + 30, seats,
               period_end::timestamp AT TIME ZONE 'Europe/Ljubljana', 1
        FROM told RETURNING id, account_id, seats, period_start, period_end
    ), happened AS (
        INSERT INTO subscriptions_event (account_id, subscription_id, kind, at, audience, reason, before, after)
        SELECT account_id, id, 'takeover.done', %(at)s, 'command', 'We move', '{}',
               jsonb_build_object('Status', 'active', 'Seats', seats, 'Period', period_start, 'From', 'Old portal')
        FROM written RETURNING id, subscription_id
    )
    INSERT INTO subscriptions_charge (
        account_id, subscription_id, event_id, position, kind, words, seats, unit_price, currency, amount, period_start,
        covers_from, covers_to, booked_at, booked_on
    )
    SELECT w.account_id, w.id, h.id, 0, 'period', 'charged before the takeover', w.seats, 3.5, 'EUR', 0, w.period_start,
           w.period_start, w.period_end, %(at)s, %(at)s::date
    FROM written w JOIN happened h ON h.subscription_id = w.id
"""


def by_plain_sql(path):
    seal = EncryptedField().get_prep_value
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE old_base (n serial, account text, sku text, seats integer, subscriber_id text,"
            " started_on date, period_end date, activation_code text, reference text)"
        )
        columns = "account, sku, seats, subscriber_id, started_on, period_end, activation_code, reference"
        with path.open(newline="") as stream, cursor.copy(f"COPY old_base ({columns}) FROM STDIN") as copy:
            rows = csv.reader(stream)
            next(rows)
            for row in rows:
                row[6] = seal(Secret(row[6])).decode()
                copy.write_row(row)
        cursor.execute("ANALYZE old_base")
    for since in range(0, ROWS, PLAIN_BATCH):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PLAIN, {"since": since, "batch": PLAIN_BATCH, "at": clock.now()})


# --- ours ------------------------------------------------------------------------------------------------------------


def command(*arguments):
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    return subprocess.Popen(
        [sys.executable, "manage.py", "import_subscriptions", *map(str, arguments)], cwd=django_settings.BASE_DIR,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def imported(*arguments):
    """Seconds of the whole process, what it said, and the most memory it held."""
    begun = time.perf_counter()
    running = command(*arguments, "--apply", "--reason", "We move", "--from", "Old portal")
    with Peak(command=running.pid) as peak:
        said, _ = running.communicate()
    assert running.returncode == 0, said
    return time.perf_counter() - begun, said, peak.most["command"]


def test_without_the_vendor_check(base, tmp_path):
    first, second, third = base(1), base(2), base(3)
    analyse()
    plain = timed(lambda: by_plain_sql(first))
    analyse()
    run = None

    def store():
        nonlocal run
        run = begin(second)

    storing = timed(store)
    analyse()
    taking = timed(lambda: take(run))
    assert Subscription.objects.count() == Event.objects.count() == Charge.objects.count() == 2 * ROWS
    whole, said, most = imported(third, "--no-vendor-check", "--out", tmp_path / "out.csv")
    assert f"{ROWS:,}  taken over" in said
    show(
        f"import_subscriptions of {ROWS:,} without the vendor check: file, rows and subscriptions",
        ROWS / (storing + taking),
        {
            "reading and storing the file": ROWS / storing,
            "taking over": ROWS / taking,
            "the command's whole process, with its start and its result file": ROWS / whole,
            "yardstick: the same rows by COPY and plain set-based SQL": ROWS / plain,
        },
    )
    print(f"{'most memory of the command':<66}{most:>9,.0f} MB")


def test_with_the_vendor_check(base, emulator, settings):
    settings.WAIT_SCALE = 1
    settings.VENDORS["kaspersky"]["OPTIONS"].update(connect_timeout=5.0, read_timeout=30.0, attempt_timeout=45.0)
    gateways.gateway.cache_clear()
    path = base(1, codes=False)
    names, asks = [], []
    with path.open(newline="") as stream:
        products = dict(SKUFactory._meta.model.objects.values_list("code", "vendor_product_id"))
        for row in csv.DictReader(stream):
            names.append(row["subscriber_id"])
            asks.append(port.Provision(names[-1], products[row["sku"]], int(row["seats"]), clock.now()))
    in_containers(asks)
    analyse()
    reading = timed(lambda: reconciliation.read_many("kaspersky", names, purpose=Purpose.TAKEOVER))
    run = None

    def ours():
        nonlocal run
        run = begin(path, asks_vendor=True)
        take(run)

    seconds = timed(ours)
    assert run.taken == Subscription.objects.exclude(activation_code=None).count() == ROWS
    show(
        f"import_subscriptions of {ROWS:,} with the vendor check, vendor at 0 ms",
        ROWS / seconds,
        {"yardstick: the reads alone, one container after the other": ROWS / reading},
    )
