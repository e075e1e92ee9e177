"""Renewals among 100,000 subscriptions, beside the same rows written by plain SQL; printed, never asserted.

uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_run_due.py
"""

import os
import statistics
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction

from subscriptions import clock, lifecycle
from subscriptions.models import Charge, Event, Subscription
from tests.many import subscriptions

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

ALL, DUE = 100_000, 20_000
PLAIN_BATCH = 5_000


def memory():
    """What this process holds now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


PLAIN = """
    WITH due AS (
        SELECT s.id, s.account_id, s.seats, s.period_end, s.period_end + interval '1 month' AS ends, k.price,
               a.time_zone, 'x'::text AS words
        FROM subscriptions_subscription s
        JOIN subscriptions_account a ON a.id = s.account_id
        JOIN LATERAL (
            SELECT price FROM subscriptions_priceband b
            WHERE b.sku_id = s.sku_id AND b.currency = s.currency AND b.seats_from <= s.seats
            ORDER BY seats_from DESC LIMIT 1
        ) k ON true
        WHERE s.next_due_at <= %(at)s
        ORDER BY s.next_due_at LIMIT %(batch)s
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ), moved AS (
        UPDATE subscriptions_subscription s
        SET period_start = due.period_end, period_end = due.ends, peak_seats = due.seats, version = version + 1,
            next_due_at = due.ends AT TIME ZONE due.time_zone
        FROM due WHERE s.id = due.id
    ), told AS (
        INSERT INTO subscriptions_event (account_id, subscription_id, kind, at, audience, reason, before, after)
        SELECT account_id, id, 'period.billed', %(at)s, 'system', '', '{}',
               jsonb_build_object('Period', period_end, 'Seats', seats)
        FROM due RETURNING id, subscription_id
    )
    INSERT INTO subscriptions_charge (
        account_id, subscription_id, event_id, position, kind, words, seats, unit_price, currency, amount, period_start,
        covers_from, covers_to, booked_at, booked_on
    )
    SELECT due.account_id, due.id, told.id, 0, 'period', due.seats || ' seats at ' || due.price, due.seats, due.price,
           'EUR', round(due.seats * due.price, 2), due.period_end, due.period_end, due.ends, %(at)s, %(at)s::date
    FROM due JOIN told ON told.subscription_id = due.id
"""


def by_plain_sql(at):
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PLAIN, {"at": at, "batch": PLAIN_BATCH})
            if not cursor.rowcount:
                return


def timed(act):
    begun = time.perf_counter()
    result = act()
    return time.perf_counter() - begun, result


def test_renewals():
    at = clock.now()
    subscriptions(ALL - DUE, ended_ago=-20)
    subscriptions(DUE, ended_ago=3)
    found, ids = timed(lambda: lifecycle.due_ids(at, limit=None))
    assert len(ids) == DUE
    forecast, steps = timed(lambda: sum(1 for _ in lifecycle.forecast(at, at)))
    assert steps == DUE
    before = memory()
    seconds, held = [], []
    for one in _timed_passes(at, seconds):
        assert not one.failed
        held.append(memory())
    ours = DUE / sum(seconds)
    assert Charge.objects.count() == Event.objects.count() == DUE
    idle = [timed(lambda: lifecycle.catch_up(at))[0] for _ in range(50)]
    named = [timed(lambda pk=pk: lifecycle.catch_up(at, only=[pk]))[0] for pk in ids[:200]]

    # The same rows once more, a month later, in plain SQL.
    later = at + timedelta(days=31)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    Subscription.objects.exclude(pk__in=ids).update(next_due_at=None)
    plain_seconds, _ = timed(lambda: by_plain_sql(later))
    plain = DUE / plain_seconds
    assert Charge.objects.count() == 2 * DUE

    print(f"\n{DUE:,} renewals among {ALL:,} subscriptions, one process, batches of {lifecycle.periods.BATCH}")
    print(f"{'run_due':<58}{ours:>9,.0f} /s")
    print(f"{'yardstick: the same rows by set-based SQL':<58}{plain:>9,.0f} /s")
    print(f"{'ratio':<58}{ours / plain:>9.2f}")
    slowest, middle = max(seconds) * 1000, statistics.median(seconds) * 1000
    print(f"{'a batch holds its locks for: median, at most':<58}{middle:>9,.0f} ms{slowest:>7,.0f} ms")
    print(f"{'forecast, nothing written':<58}{DUE / forecast:>9,.0f} /s")
    print(f"{'finding all that are due':<58}{found * 1000:>9,.1f} ms")
    print(f"{'nothing due, all':<58}{statistics.median(idle) * 1000:>9,.2f} ms")
    print(f"{'nothing due, one (asked by every order)':<58}{statistics.median(named) * 1000:>9,.2f} ms")
    print(f"{'memory held: before, after a tenth, after all':<58}{before:>9,.1f} MB{held[len(held) // 10]:>7,.1f} MB"
        f"{held[-1]:>7,.1f} MB")  # fmt: skip


def _timed_passes(at, seconds):
    passes = lifecycle.passes(at)
    while True:
        begun = time.perf_counter()
        one = next(passes, None)
        if one is None:
            return
        seconds.append(time.perf_counter() - begun)
        yield one
