"""Exports beside what PostgreSQL itself writes of the same columns; printed, never asserted.

EXPORT_ROWS=1000000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_exports.py
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests import many
from tests.worker_process import database_url

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True)]

ROWS = int(os.environ.get("EXPORT_ROWS", "100000"))
MOST_IN_A_WORKBOOK = 100_000

# The least that could be done: the same columns as they lie there, without any format, guard or order.
PLAIN = """
    COPY (
        SELECT s.id, s.account_id, a.name, p.name, k.code, s.status, s.seats, s.currency, s.auto_renew, s.created_at,
               s.started_at, s.suspended_at, s.ends_at, s.cancelled_at, s.period_start, s.period_end, s.term_end,
               s.trial_ends, s.grace_ends, s.subscriber_id
        FROM subscriptions_subscription s
        JOIN subscriptions_account a ON a.id = s.account_id
        JOIN subscriptions_sku k ON k.id = s.sku_id
        JOIN subscriptions_product p ON p.id = k.product_id
        {order}
    ) TO STDOUT WITH (FORMAT csv)
"""


def timed(act):
    begun = time.perf_counter()
    result = act()
    return time.perf_counter() - begun, result


def plain(path, order=""):
    with path.open("wb") as stream, connection.cursor() as cursor, cursor.copy(PLAIN.format(order=order)) as lines:
        for line in lines:
            stream.write(line)


# What a process has held at most, it says at its end: what the system says of a child counts its parent's memory too.
_MEASURED = """
import re, runpy, sys
sys.argv[0] = "manage.py"
try:
    runpy.run_path("manage.py", run_name="__main__")
finally:
    print("peak", int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


def command(name, *arguments):
    """How long the process took, with its start, and the most memory that it held, in MB."""
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    seconds, done = timed(
        lambda: subprocess.run(
            [sys.executable, "-c", _MEASURED, name, *map(str, arguments)],
            cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=True,
        )
    )  # fmt: skip
    return seconds, int(done.stdout.rsplit("peak ", 1)[1])


def test_export_of_subscriptions(tmp_path):
    making, _ = timed(lambda: many.subscriptions(ROWS, ended_ago=-20))
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    plain(theirs)
    limit, _ = timed(lambda: plain(theirs))
    ordered, _ = timed(lambda: plain(theirs, "ORDER BY s.id"))
    seconds, peak = command("export_subscriptions", "--out", ours)
    with ours.open("rb") as stream:
        assert sum(1 for _ in stream) == ROWS + 1
    _, least = command("export_subscriptions", "--where", "q=SUB-0", "--out", tmp_path / "none.csv")
    workbook, held = (
        command("export_subscriptions", "--out", tmp_path / "all.xlsx") if ROWS <= MOST_IN_A_WORKBOOK else (0, 0)
    )
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"\nExport of {ROWS:,} subscriptions, one process with its start; load {load}, rows made in {making:.0f} s")
    print(f"{'CSV':<58}{ROWS / seconds:>9,.0f} /s")
    for name, other in (("COPY of the same columns, as they lie", limit), ("the same, by ID", ordered)):
        print(f"{'yardstick: ' + name:<58}{ROWS / other:>9,.0f} /s{other / seconds:>7.2f}")
    print(f"{'most memory: CSV of all, of none':<58}{peak:>9,} MB{least:>6,} MB")
    if workbook:
        print(f"{'XLSX':<58}{ROWS / workbook:>9,.0f} /s{held:>9,} MB")


def test_export_of_orders(tmp_path):
    """The heaviest of the three: JSON, and free texts in which codes are looked for."""
    many.subscriptions(ROWS, ended_ago=-20)
    many.orders(ROWS, "completed")
    seconds, peak = command("export_orders", "--out", tmp_path / "orders.csv")
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"\nExport of {ROWS:,} orders, one process with its start; load {load}")
    print(f"{'CSV':<58}{ROWS / seconds:>9,.0f} /s{peak:>9,} MB")
