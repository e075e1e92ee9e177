"""Processes that die: workers, the vendor's, the database's. Every order ends, and the vendor applied each once."""

import itertools
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, transaction

from subscriptions import actions, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Order, Subscription, VendorCall
from subscriptions.vendors.emulator import process
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory
from tests.faults.gateway import POINTS
from tests.worker_process import WorkerProcess, wait_until

pytestmark = [
    pytest.mark.faults,
    # One after the other on one process of xdist: they need the machine's clock, and the whole queue.
    pytest.mark.xdist_group("faults"),
    pytest.mark.django_db(transaction=True),
]

KINDS = ["start", "increase", "decrease", "suspend", "activate", "cancel"]
WISHED = {"increase": {"Seats": 30}, "decrease": {"Seats": 20}}
THEIRS = {"active": "Started", "suspended": "Paused", "cancelled": "HardCancelled"}


class Yard:
    """The workers of one test; none outlives it."""

    def __init__(self, endpoint, log):
        self.endpoint, self.log, self.workers, self.killed = endpoint, log, [], 0

    def start(self, kill_at=""):
        worker = WorkerProcess(self.endpoint, self.log, kill_at=kill_at)
        self.workers.append(worker)
        return worker

    def replace_dead(self, plan=None):
        """Bury the dead and start others in their place, each with the next point of the plan to die at."""
        for dead in [one for one in self.workers if not one.running]:
            self.workers.remove(dead)
            self.killed += dead.was_killed
            self.start(next(plan, "") if plan else "")

    def close(self):
        for worker in self.workers:
            if worker.running:
                worker.kill()


@pytest.fixture
def yard(emulator, tmp_path, empty_queue):
    yard = Yard(emulator.url, tmp_path / "workers.log")
    yield yard
    yard.close()
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM procrastinate_periodic_defers; DELETE FROM procrastinate_jobs;"
            " DELETE FROM procrastinate_workers"
        )


@pytest.fixture
def place(at_vendor):
    """Place so many orders, of every kind in turn."""
    account, sku = AccountFactory(), SKUFactory()
    kinds = itertools.cycle(KINDS)

    def place_orders(count, put=at_vendor):
        orders = []
        for kind in itertools.islice(kinds, count):
            if kind == "start":
                orders.append(lifecycle.start(account, sku, 12, actor=None, audience=actions.SYSTEM))
                continue
            subscription = put(
                SubscriptionFactory(account=account, sku=sku, status="suspended" if kind == "activate" else "active")
            )
            wish = Wish(subscription.pk, kind, WISHED.get(kind, {}), reason="test")
            orders.append(lifecycle.place(wish, actor=None, audience=actions.SYSTEM))
        return orders

    return place_orders


def open_orders():
    return Order.objects.filter(status__in=["placed", "in_progress"]).count()


def wait_for_the_end(yard, seconds=120.0):
    """Until no order is open, with a healthy worker in the place of each that dies."""

    def over():
        yard.replace_dead()
        return not open_orders()

    wait_until(over, seconds=seconds)


def check_every_order(control, *, sendings=1):
    """Each order came to its end, once, and its one change reached the vendor once."""
    journal = {}
    for entry in control.journal(source="service"):
        if entry.kind != "GetInfo":
            journal.setdefault(entry.subscriber, []).append(entry)
    completed = Counter(Event.objects.filter(kind__endswith=".completed").values_list("order", flat=True))
    subscriptions = Subscription.objects.in_bulk()
    records = {one.subscriber: one for one in control.subscribers()}
    for order in Order.objects.order_by("pk"):
        ours = subscriptions[order.subscription_id]
        told = journal.get(ours.subscriber_id, [])
        assert order.status in ("completed", "needs_attention"), (order, order.action, order.outcome_message)
        applied = sum(entry.applied for entry in told)
        # What needs a person may not have reached the vendor at all; what is completed has, and nothing has twice.
        assert applied == 1 or (applied == 0 and order.status == "needs_attention"), (order, order.action, told)
        # The journal counts changes, and a repetition changes nothing: so it must not have been sent at all.
        assert len(told) <= sendings, (order, order.action, told)
        if order.status == "needs_attention":
            continue
        assert completed[order.pk] == 1
        theirs = records[ours.subscriber_id]
        assert (theirs.status, theirs.seats) == (THEIRS[ours.status], ours.seats)
        assert theirs.activation_code == ours.activation_code.reveal()
        assert ours.status == order.after.get("Status", "active")
        assert ours.seats == order.after.get("Seats", 25)


def end_all_connections():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@contextmanager
def refusing_connections():
    """As while a server starts again."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    parameters = connection.get_connection_params() | {"dbname": "postgres"}
    with psycopg.connect(
        **{name: parameters[name] for name in ("dbname", "user", "password", "host", "port") if parameters.get(name)},
        autocommit=True,
    ) as other:
        other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            yield
        finally:
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def backends(condition):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}")
        return cursor.fetchone()[0]


def workers_with_a_listener():
    return backends("query LIKE 'LISTEN %'")


def nearly_all_completed():
    """At most one in twenty may need a person: on a busy machine answers stay away for longer than a test's day."""
    held = {
        str(order): (order.action, order.outcome_code, [str(one.outcome) for one in order.vendor_calls.order_by("pk")])
        for order in Order.objects.filter(status="needs_attention")
    }
    assert len(held) * 20 <= Order.objects.count(), held


def kill_workers(yard, place, plan, *, kills, orders, side_by_side, more=12):
    """Let workers die by plan until `kills` have; orders never run out meanwhile."""
    place(orders)
    points = iter(plan)
    for _ in range(side_by_side):
        yard.start(next(points))

    def enough():
        yard.replace_dead(points)
        if yard.killed < kills and open_orders() < 8:
            place(more)
        return yard.killed >= kills

    wait_until(enough, seconds=100)
    for worker in yard.workers:
        # What is left of the plan must not go on.
        if worker.kill_at and worker.running:
            worker.kill()
    wait_for_the_end(yard)
    # One that was only just starting when the others were done knows no other end yet.
    assert {worker.stop() for worker in yard.workers} <= {0, -signal.SIGTERM}


@pytest.mark.parametrize("point", POINTS)
def test_worker_killed(point, yard, place, emulator):
    """Five times each, one worker after the other, 20 orders."""
    dice = random.Random(point)
    plan = [f"{point}:{dice.randint(1, 5)}" for _ in range(5)]
    kill_workers(yard, place, plan, kills=5, orders=20, side_by_side=1)
    check_every_order(emulator.control)
    assert Order.objects.count() >= 20
    nearly_all_completed()


def test_two_workers_killed_side_by_side(yard, place, emulator):
    """25 times at mixed points, 100 orders: what one leaves behind the other takes over."""
    dice = random.Random(7)
    plan = [f"{dice.choice(POINTS)}:{dice.randint(1, 8)}" for _ in range(40)]
    kill_workers(yard, place, plan, kills=25, orders=100, side_by_side=2)
    check_every_order(emulator.control)
    assert Order.objects.count() >= 100
    nearly_all_completed()


@pytest.fixture
def place_together(at_vendor):
    """Place so many orders at once, which then travel together; commands of several kinds."""
    account, sku = AccountFactory(), SKUFactory()
    kinds = itertools.cycle(["suspend", "increase", "cancel"])

    def place_orders(count):
        subscriptions = [at_vendor(SubscriptionFactory(account=account, sku=sku)) for _ in range(count)]
        wishes = [Wish(one.pk, kind, WISHED.get(kind, {})) for one, kind in zip(subscriptions, kinds, strict=False)]
        lifecycle.place_many(wishes, actor=None, audience=actions.COMMAND)

    return place_orders


def test_workers_killed_with_many_orders_in_hand(yard, place_together, emulator):
    """Twelve times, with a container of 30 under way each time."""
    dice = random.Random(11)
    plan = [f"{point}:{dice.randint(1, 3)}" for point in POINTS * 4]
    dice.shuffle(plan)
    kill_workers(yard, place_together, plan, kills=12, orders=30, side_by_side=2, more=30)
    check_every_order(emulator.control)
    assert VendorCall.objects.filter(unit_id__gt=20).exists(), "nothing travelled together"
    nearly_all_completed()


def test_vendor_killed_and_started_again(place, yard, tmp_path):
    """What it had applied it remembers; what it had not, it never saw. Which of the two is for a read to find out."""
    with process.start(tmp_path / "vendor.sqlite") as vendor:
        yard.endpoint = vendor.url
        running = vendor

        def put(subscription):
            running.control.put_subscriber(
                subscription.subscriber_id,
                product=subscription.sku.vendor_product_id,
                seats=25,
                status=THEIRS[subscription.status],
                activation_code=subscription.activation_code.reveal(),
            )
            return subscription

        place(30, put)
        running.control.add_fault("latency-fixed", seconds=0.1, count=10_000)
        yard.start()
        for so_many in (4, 8, 12):
            wait_until(lambda n=so_many: VendorCall.objects.count() >= n, seconds=30, every=0.02)
            running.kill()
            time.sleep(0.3)
            running = running.start_again()
            running.control.add_fault("latency-fixed", seconds=0.1, count=10_000)
        try:
            wait_for_the_end(yard)
            assert VendorCall.objects.exclude(outcome="done").exists(), "nothing was hit"
            check_every_order(running.control)
        finally:
            running.stop()


def test_database_restarts_while_orders_run(place, yard, emulator):
    """To everybody connected a restart looks like this: the backend is gone, in the middle of anything.

    A worker that was about to fetch a job ends with an error, for its service manager to start it again.
    """
    place(40)
    emulator.control.add_fault("latency-fixed", seconds=0.05, count=10_000)
    yard.start()
    yard.start()
    for so_many in (5, 15, 25):

        def under_way(so_many=so_many):
            yard.replace_dead()
            return VendorCall.objects.count() >= so_many

        wait_until(under_way, seconds=30, every=0.02)
        assert end_all_connections() >= 2
    wait_for_the_end(yard)
    check_every_order(emulator.control)
    nearly_all_completed()


def test_an_idle_worker_that_loses_the_database_says_so_by_its_exit_code(yard, emulator):
    worker = yard.start()
    wait_until(lambda: workers_with_a_listener() > 0, seconds=30)
    with refusing_connections():
        end_all_connections()
        time.sleep(1)
    wait_until(lambda: not worker.running, seconds=30)
    assert worker.stop() == 1
    assert "The worker has lost the database" in worker.log.read_text()


def test_a_worker_that_loses_the_database_in_the_middle_of_a_statement_says_so_too(yard, emulator):
    worker = yard.start()
    wait_until(lambda: workers_with_a_listener() > 0, seconds=30)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE procrastinate_jobs")
        wait_until(lambda: backends("wait_event_type = 'Lock'") > 0, seconds=30)
        end_all_connections()
    wait_until(lambda: not worker.running, seconds=30)
    assert worker.stop() == 1
    assert "The worker has lost the database" in worker.log.read_text()


def test_sigterm_lets_running_attempts_end(place, yard, emulator):
    place(20)
    emulator.control.add_fault("latency-fixed", seconds=0.4, count=10_000)
    worker = yard.start()
    wait_until(lambda: VendorCall.objects.filter(finished_at=None).exists(), seconds=30, every=0.02)
    assert worker.stop() == 0
    calls = VendorCall.objects.all()
    assert {call.outcome for call in calls} == {"done"}
    assert Order.objects.filter(status="completed").count() == len(calls) < 20
    assert Order.objects.filter(status="in_progress").count() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'")
        assert cursor.fetchone()[0] == 0
    emulator.control.clear_faults()
    yard.replace_dead()
    wait_for_the_end(yard)
    check_every_order(emulator.control)
