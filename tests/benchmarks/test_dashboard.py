"""The start page of BSS and the count behind its figures on a large base; printed, never asserted.

DASHBOARD_ROWS=1000000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_dashboard.py
"""

import os
import statistics
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock, figures
from subscriptions.management import generated
from subscriptions.models import DailyFigures, Order, Subscription

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

ROWS = int(os.environ.get("DASHBOARD_ROWS", "100000"))
PAGES = 60


def timed(act):
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


def pages(browser):
    """Milliseconds of each of many, the first left out."""
    return [timed(lambda: browser.get("/bss/")) for _ in range(PAGES + 1)][1:]


def p95(times):
    return statistics.quantiles(times, n=20)[-1]


# Each subscription gets a second order, completed on one of the last 400 days.
SECOND_ORDERS = """
    INSERT INTO subscriptions_order (
        subscription_id, action, status, before, after, audience, reason, operation_id, generation, placed_at,
        finished_at, abandoned, outcome_code, outcome_message, needs_staff
    )
    SELECT id, (ARRAY['increase', 'decrease', 'suspend', 'activate'])[1 + id %% 4], 'completed', '{"Seats": 20}',
           '{"Seats": 25}', 'storefront', '', gen_random_uuid(), 1, at, at, false, '', '', false
    FROM subscriptions_subscription, LATERAL (SELECT %s::timestamptz - id %% 400 * interval '1 day' AS at) AS finish
"""
# The same sums in SQL alone: seats and a month's money of what is active or ending, without discounts.
PLAIN = """
    SELECT currency, sum(seats), sum(round(seats * price, 2) / months)
    FROM (
        SELECT s.currency, s.seats, CASE k.billing_period WHEN 'year' THEN 12 ELSE 1 END AS months,
               (SELECT price FROM subscriptions_priceband b
                WHERE b.sku_id = s.sku_id AND b.currency = s.currency AND b.seats_from <= s.seats
                ORDER BY seats_from DESC LIMIT 1) AS price
        FROM subscriptions_subscription s JOIN subscriptions_sku k ON k.id = s.sku_id
        WHERE s.status IN ('active', 'ending') AND s.trial_ends IS NULL
    ) AS priced
    GROUP BY currency
"""


def run(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def test_the_start_page_and_its_figures(cast, signed_in):
    browser = signed_in(cast.operator)
    figures.refresh()
    empty = pages(browser)
    generated.fill(ROWS, accounts=max(ROWS // 8, generated.FEWEST_ACCOUNTS), seed=0)
    run(SECOND_ORDERS, clock.now())
    generated.analyse()
    print(f"\n{Subscription.objects.count():,} subscriptions, {Order.objects.count():,} orders")

    plain = min(timed(lambda: run(PLAIN)) for _ in range(3))
    first = timed(figures.refresh)
    again = min(timed(figures.refresh) for _ in range(3))
    runs = min(timed(figures.what_runs) for _ in range(3))
    print(f"{'count of the figures, again / the first of a base':<58}{again:>9,.0f} ms{first:>9,.0f} ms")
    print(f"{'  of that, what runs':<58}{runs:>9,.0f} ms")
    print(f"{'yardstick: the same sums by SQL alone':<58}{plain:>9,.0f} ms")
    print(f"{'ratio':<58}{again / plain:>9.2f}")

    full = pages(browser)
    with CaptureQueriesContext(connection) as queries:
        browser.get("/bss/")
    asked = sum(float(one["time"]) for one in queries) * 1000
    print(f"{'start page: median, p95':<58}{statistics.median(full):>9,.1f} ms{p95(full):>9,.1f} ms")
    print(f"{f'  its {len(queries)} statements together':<58}{asked:>9,.1f} ms")
    print(
        f"{'yardstick: the same page of an empty base':<58}{statistics.median(empty):>9,.1f} ms{p95(empty):>9,.1f} ms"
    )
    print(f"{'ratio':<58}{statistics.median(full) / statistics.median(empty):>9.2f}{p95(full) / p95(empty):>12.2f}")
    for one in sorted(queries, key=lambda one: -float(one["time"]))[:3]:
        print(f"  {float(one['time']) * 1000:>6,.0f} ms  {one['sql'].strip()[:100]}")
    print(f"{DailyFigures.objects.count()} days of figures")
