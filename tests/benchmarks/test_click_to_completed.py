"""From the click to `completed`, with one worker and a vendor that takes no time; printed, never asserted.

uv run pytest -n 0 -m benchmark -s tests/benchmarks
"""

import statistics
import time
import uuid

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, fulfilment, gateways, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription, VendorState
from subscriptions.vendors import port
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory
from tests.worker_process import WorkerProcess, wait_until

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True)]

ORDERS = 50


def show(title, lines):
    """`lines`: name -> seconds measured."""
    print(f"\n{title}\n{'':<44}{'median':>10}{'p95':>10}{'n':>6}")
    for name, seconds in lines.items():
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(f"{name:<44}{statistics.median(seconds) * 1000:>7.1f} ms{p95 * 1000:>7.1f} ms{len(seconds):>6}")


def timed(act, times=ORDERS):
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - begun)
    return seconds


def bare_round_trip(subscription):
    gateway = gateways.gateway("kaspersky")
    gateway.send(gateway.prepare(str(uuid.uuid4()), [port.Read(subscription.subscriber_id)]))


def bare_commit():
    with transaction.atomic():
        VendorState.objects.update_or_create(vendor="yardstick", defaults={"reason": str(uuid.uuid4())})


def increase(subscription, seats):
    wish = Wish(subscription.pk, "increase", {"Seats": seats})
    return lifecycle.place(wish, actor=None, audience=actions.SYSTEM)


@pytest.fixture
def subscriptions(at_vendor):
    account, sku = AccountFactory(), SKUFactory()
    return [at_vendor(SubscriptionFactory(account=account, sku=sku)) for _ in range(ORDERS)]


@pytest.fixture
def worker(emulator, empty_queue, tmp_path, settings):
    # The upkeep of the tests comes each second; that of a real worker would not disturb.
    settings.UPKEEP_CRON = "* * * * * */15"
    settings.WAIT_SCALE = 1
    worker = WorkerProcess(emulator.url, tmp_path / "worker.log", module="portal.settings")
    yield worker
    worker.stop()


def test_click_to_completed(subscriptions, worker, emulator):
    def completed(order):
        return Order.objects.filter(pk=order.pk, status="completed").exists()

    warm = increase(subscriptions[0], 26)
    wait_until(lambda: completed(warm), seconds=30, every=0.01)

    clicks, placings = [], []
    for subscription in subscriptions:
        begun = time.perf_counter()
        order = increase(subscription, 30)
        placings.append(time.perf_counter() - begun)
        wait_until(lambda order=order: completed(order), seconds=30, every=0.002)
        clicks.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    for one in subscriptions:
        increase(one, 40)
    wait_until(lambda: not Order.objects.exclude(status="completed").exists(), seconds=60, every=0.01)
    together = time.perf_counter() - begun
    show(
        "Click to completed, one worker",
        {
            "click to completed": clicks,
            "of that, placing": placings,
            "yardstick: bare vendor round trip": timed(lambda: bare_round_trip(subscriptions[0])),
            "yardstick: bare commit": timed(bare_commit),
        },
    )
    print(f"{ORDERS} at once: {together:.2f} s, {ORDERS / together:.0f} orders/s")


def test_queries_of_one_order(subscriptions, emulator, empty_queue):
    queries, seconds = [], []
    for subscription in subscriptions:
        with CaptureQueriesContext(connection) as placing:
            order = increase(subscription, 30)
        begun = time.perf_counter()
        with CaptureQueriesContext(connection) as fulfilling:
            fulfilment.fulfil.func(order.pk)
        seconds.append(time.perf_counter() - begun)
        queries.append((len(placing), len(fulfilling)))
    assert Subscription.objects.filter(seats=30).count() == ORDERS
    show(
        f"One order in this process, waits at {settings.WAIT_SCALE}",
        {
            "fulfil": seconds,
            "yardstick: bare vendor round trip": timed(lambda: bare_round_trip(subscriptions[0])),
            "yardstick: bare commit": timed(bare_commit),
        },
    )
    print(f"SQL statements: placing {max(queries)[0]}, fulfilling {max(queries)[1]}")
