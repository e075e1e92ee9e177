"""Two at the same instant: threads with connections of their own, on rows that are really committed."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.sync_psycopg_connector import SyncPsycopgConnector

from subscriptions import clock, fulfilment, lifecycle
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Attempt, Result, Verdict, Wish, rows
from subscriptions.models import Event, Order, Subscription, VendorState
from subscriptions.vendors.port import Answer, Outcome
from tests.factories import SKUFactory, VendorCallFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

ROUNDS = 5


def together(*acts):
    """Run all at once, as near as threads get; each entry is what came back, or the refusal."""
    gate = threading.Barrier(len(acts))

    def run(act):
        try:
            connection.ensure_connection()
            gate.wait(10)
            return act()
        except NotAllowed as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [one.result(30) for one in [pool.submit(run, act) for act in acts]]


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def jobs():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'subscriptions.fulfil'")
        return cursor.fetchone()[0]


def test_customer_and_staff_at_the_same_instant(subscription, cast, drain, emulator):
    """One order; the other person gets the reason with the order that stands in the way."""
    for number in range(ROUNDS):
        seats = fresh(subscription).seats
        results = together(
            lambda seats=seats: lifecycle.place(
                Wish(subscription.pk, "increase", {"Seats": seats + 1}), actor=cast.manager, audience=STOREFRONT
            ),
            lambda seats=seats: lifecycle.place(
                Wish(subscription.pk, "increase", {"Seats": seats + 2}), actor=cast.operator, audience=BSS
            ),
        )
        [order] = [one for one in results if isinstance(one, Order)]
        [refusal] = [one for one in results if isinstance(one, NotAllowed)]
        assert refusal.code == "order_open"
        assert refusal.order == order
        assert order.number in refusal.sentence
        assert Order.objects.count() == number + 1
        assert jobs() == 1
        drain()
        assert fresh(subscription).seats == order.after["Seats"]
    assert len(emulator.control.changes(subscription.subscriber_id)) == ROUNDS


def test_same_version_twice_is_one_change(subscription, cast, drain):
    """Two tabs that show the same page: the second is refused even when the first is through already."""
    seen = subscription.version
    results = together(
        *[
            lambda seats=seats: lifecycle.place(
                Wish(subscription.pk, "increase", {"Seats": seats}, version=seen),
                actor=cast.manager,
                audience=STOREFRONT,
            )
            for seats in (30, 31, 32, 33)
        ]
    )
    assert [type(one) for one in results].count(Order) == 1
    assert {one.code for one in results if isinstance(one, NotAllowed)} <= {"order_open", "stale"}


def test_same_key_from_several_threads_is_one_order(subscription, cast):
    key = uuid.uuid4()
    wish = Wish(subscription.pk, "increase", {"Seats": 30}, version=subscription.version, idempotency_key=key)
    orders = together(*[lambda: lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT)] * 4)
    assert {type(one) for one in orders} == {Order}, orders
    assert len({one.pk for one in orders}) == 1
    assert (Order.objects.count(), Event.objects.count(), jobs()) == (1, 1, 1)


def test_same_key_starts_one_subscription(cast):
    sku, key = SKUFactory(), uuid.uuid4()
    orders = together(
        *[lambda: lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS, idempotency_key=key)] * 4
    )
    assert {type(one) for one in orders} == {Order}, orders
    assert len({one.pk for one in orders}) == 1
    assert (Subscription.objects.count(), Order.objects.count(), jobs()) == (1, 1, 1)


@pytest.mark.parametrize("verdict", [Verdict.COMPLETE, Verdict.FAIL, Verdict.HOLD])
def test_result_raced_by_threads_is_applied_once(verdict, subscription, cast):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.manager, audience=STOREFRONT)
    version = fresh(subscription).version

    def decide(cases):
        return [
            Attempt(VendorCallFactory.build(order=one.order, subscription=one.subscription, deadline=clock.now()))
            for one in cases
        ]

    [(_, call)] = lifecycle.claim_many([order.pk], decide)
    result = Result(call.pk, order.pk, subscription.pk, Answer(Outcome.DONE), verdict, message="test")
    assert sorted(together(*[lambda: lifecycle.apply(result)] * 4)) == [False, False, False, True]
    assert Event.objects.filter(order=order).count() == 2
    assert fresh(subscription).version == version + (verdict != Verdict.HOLD)
    assert fresh(subscription).seats == (30 if verdict == Verdict.COMPLETE else 25)


def test_one_order_run_by_several_workers_is_sent_once(subscription, cast, emulator):
    emulator.control.add_fault("latency-fixed", seconds=0.2)
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.manager, audience=STOREFRONT)
    together(*[lambda: fulfilment.fulfil.func(order.pk)] * 4)
    assert fresh(order).status == "completed"
    assert order.vendor_calls.count() == 1
    assert [entry.applied for entry in emulator.control.journal(subscription.subscriber_id, source="service")] == [True]


def test_two_workers_pause_and_ping_a_vendor_once(emulator, db, settings):
    together(*[lambda: lifecycle.pause_vendor("kaspersky", "401")] * 4)
    assert VendorState.objects.count() == 1
    emulator.control.add_fault("credentials-refused", count=10)
    settings.VENDOR_PING_EVERY = 10.0
    VendorState.objects.update(paused_at=clock.now() - timedelta(seconds=20))
    together(*[lambda: fulfilment.ping_vendors.func(0)] * 4)
    assert len(emulator.control.requests(source="service")) == 1


def test_job_dies_with_the_transaction_that_owed_it(subscription, cast):
    """In a worker procrastinate talks to the database over connections of its own; the job must not go that way."""
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.manager, audience=STOREFRONT)
    worker = SyncPsycopgConnector(kwargs=connector_params())
    worker.open()
    try:
        with app.replace_connector(worker), transaction.atomic():
            rows.defer([order])
            transaction.set_rollback(True)
    finally:
        worker.close()
    assert jobs() == 1
