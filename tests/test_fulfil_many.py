"""Many orders in one container: each has its own fate, and the vendor is asked once for all of them."""

import json
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_fsm import TransitionNotAllowed

from subscriptions import actions, clock, fulfilment, gateways, lifecycle
from subscriptions.lifecycle import Attempt, Wish, rows
from subscriptions.models import Event, Order, Subscription, VendorCall, VendorState
from subscriptions.vendors.kaspersky.gateway import KasperskyGateway
from tests.factories import AccountFactory, OrderFactory, SKUFactory, SubscriptionFactory, VendorCallFactory

pytestmark = pytest.mark.django_db

MANY = rows.FEW + 5


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def many(at_vendor):
    """So many active subscriptions of one account, which the vendor knows too."""

    def make(count=MANY, **details):
        account, sku = AccountFactory(), SKUFactory()
        return [at_vendor(SubscriptionFactory(account=account, sku=sku, **details)) for _ in range(count)]

    return make


def place(subscriptions, stem="suspend", after=None):
    wishes = [Wish(one.pk, stem, after or {}, reason="late payers") for one in subscriptions]
    orders = lifecycle.place_many(wishes, actor=None, audience=actions.COMMAND)
    assert {type(one) for one in orders} == {Order}, orders
    return orders


def run(orders):
    fulfilment.fulfil_many.func([one.pk for one in orders])


def jobs(status="todo"):
    """What waits: task, and how many orders it is about."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT task_name, args FROM procrastinate_jobs WHERE status = %s ORDER BY id", [status])
        found = [(name.partition(".")[2], json.loads(args)) for name, args in cursor.fetchall()]
    return [(name, len(args["order_ids"]) if name == "fulfil_many" else 1) for name, args in found if name != "notify"]


def clear_jobs():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


def asked(emulator):
    """Every request that reached the vendor: how many items of which kind."""
    items = emulator.control.journal(source="service")
    requests = emulator.control.requests(source="service")
    return [dict(Counter(one.kind for one in items if one.transaction_id == r.transaction_id)) for r in requests]


def states(orders):
    return Counter(Order.objects.filter(pk__in=[one.pk for one in orders]).values_list("status", flat=True))


def changes(emulator, orders):
    """How many changes the vendor applied for each of them, as a set."""
    applied = Counter(one.subscriber for one in emulator.control.changes())
    return {applied[one.subscription.subscriber_id] for one in orders}


# --- one container, many fates ---------------------------------------------------------------------------------------


def test_many_orders_go_in_one_container(many, empty_queue, emulator):
    orders = place(many())
    run(orders)
    assert states(orders) == {"completed": MANY}
    assert asked(emulator) == [{"Pause": MANY}]
    assert changes(emulator, orders) == {1}
    calls = VendorCall.objects.order_by("unit_id")
    assert [call.unit_id for call in calls] == list(range(MANY))
    assert len({call.transaction_id for call in calls}) == 1
    assert str(orders[0].operation_id) not in calls[0].transaction_id
    for call in calls:
        assert call.subscription.subscriber_id in call.asked
        assert call.subscription.subscriber_id in call.answered
    assert {one.status for one in Subscription.objects.all()} == {"suspended"}
    assert Counter(Event.objects.values_list("kind", flat=True)) == {
        "suspend.placed": MANY, "suspend.completed": MANY,
    }  # fmt: skip


def test_each_item_has_its_own_fate(many, empty_queue, emulator, drain):
    """Done, refused, done already, without an answer, settled before, never there: nobody touches a neighbour."""
    subscriptions = many()
    refused, already, unanswered, settled = subscriptions[:4]
    emulator.control.delete(refused.subscriber_id)
    emulator.control.pause(already.subscriber_id)
    emulator.control.add_fault("applied-missing-item", subscriber=unanswered.subscriber_id)
    orders = place(subscriptions)
    give_up(orders[3])
    clear_jobs()
    fulfilment.fulfil_many.func([*(one.pk for one in orders), 10**9])
    assert asked(emulator) == [{"Pause": MANY - 1}]
    assert (fresh(orders[0]).status, fresh(orders[0]).outcome_code) == ("failed", "5")
    assert [fresh(one).status for one in orders[1:3]] == ["in_progress", "in_progress"]
    assert fresh(orders[3]).status == "failed"
    assert states(orders[4:]) == {"completed": MANY - 4}
    assert [fresh(one).status for one in (refused, already, unanswered, settled)] == ["active"] * 4
    drain()
    assert [fresh(one).status for one in orders[1:3]] == ["completed", "completed"]
    assert len(emulator.control.changes(unanswered.subscriber_id)) == 1
    assert emulator.control.changes(already.subscriber_id) == []
    assert changes(emulator, orders[4:]) == {1}


def give_up(order):
    """Held and given up by staff, before anything was sent."""
    hold = lifecycle.Hold("unknown", "Look at it.")
    assert lifecycle.claim_many([order.pk], lambda cases: [hold]) == []
    lifecycle.give_up(order.pk, actor=None, audience=actions.COMMAND, reason="not wanted")


def test_commands_of_all_kinds_travel_together(many, empty_queue, emulator):
    running, paused = many(12), many(10, status="suspended")
    orders = [
        *place(running[:4]), *place(running[4:8], "increase", {"Seats": 30}), *place(running[8:], "cancel"),
        *place(paused[:5], "activate"), *place(paused[5:], "cancel"),
    ]  # fmt: skip
    run(orders)
    assert states(orders) == {"completed": 22}
    assert asked(emulator) == [{"Pause": 4, "Activate": 4, "HardCancel": 9, "Resume": 5}]


def test_what_the_gateway_cannot_do_stays_here(many, empty_queue, emulator):
    subscriptions = many()
    orders = [*place(subscriptions[:3], "increase", {"Seats": 30}), *place(subscriptions[3:])]
    django_settings.VENDORS["kaspersky"]["OPTIONS"]["seat_change"] = "unsupported"
    gateways.gateway.cache_clear()
    run(orders)
    assert states(orders[:3]) == {"failed": 3}
    assert states(orders[3:]) == {"completed": MANY - 3}
    assert asked(emulator) == [{"Pause": MANY - 3}]


# --- answers that are lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["applied-closed", "applied-html-500", "applied-wrong-echo"])
def test_a_lost_answer_is_read_about_in_one_container(fault, many, empty_queue, emulator, drain):
    emulator.control.add_fault(fault)
    orders = place(many())
    clear_jobs()
    run(orders)
    assert states(orders) == {"in_progress": MANY}
    assert jobs() == [("fulfil_many", MANY)]
    drain()
    assert states(orders) == {"completed": MANY}
    assert asked(emulator) == [{"Pause": MANY}, {"GetInfo": MANY}]
    assert changes(emulator, orders) == {1}


def test_what_was_not_applied_is_sent_again_together_under_another_name(many, empty_queue, emulator, drain):
    """Two reads prove it; what is repeated is not what was sent, since some of it may be done by then."""
    emulator.control.add_fault("closed-after-reading", kinds=["Pause"])
    orders = place(many())
    clear_jobs()
    run(orders)
    emulator.control.pause(orders[0].subscription.subscriber_id)
    drain()
    assert states(orders) == {"completed": MANY}
    assert asked(emulator)[-1] == {"Pause": MANY - 1}
    assert {len(set(_names(one))) for one in orders[1:]} == {2}
    assert changes(emulator, orders[1:]) == {1}
    assert len({tuple(_names(one)) for one in orders[1:]}) == 1
    first, *_, again = emulator.control.journal(orders[1].subscription.subscriber_id, source="service")
    assert (first.applied, again.applied) == (False, True)


def _names(order):
    return order.vendor_calls.filter(purpose="write").order_by("pk").values_list("transaction_id", flat=True)


def test_what_was_sent_among_many_and_is_repeated_alone_is_named_by_its_order(many, empty_queue, emulator, drain):
    orders = place(many())
    clear_jobs()
    alone = orders[0]
    emulator.control.add_fault("applied-missing-item", subscriber=alone.subscription.subscriber_id)
    run(orders)
    emulator.control.resume(alone.subscription.subscriber_id)
    drain()
    assert states(orders) == {"completed": MANY}
    assert list(_names(alone))[1:] == [f"{alone.operation_id}-1"]
    # Resumed from outside in between, so that twice is right.
    assert len(emulator.control.changes(alone.subscription.subscriber_id)) == 2


def test_orders_of_a_vendor_that_is_down_come_again_together(many, empty_queue, emulator, drain):
    emulator.control.add_fault("http-503", count=2, retry_after=0)
    orders = place(many())
    clear_jobs()
    run(orders)
    assert states(orders) == {"placed": MANY}
    assert Order.objects.values("next_attempt_at").distinct().count() == 1
    assert jobs() == [("fulfil_many", MANY)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT scheduled_at IS NOT NULL, lock FROM procrastinate_jobs")
        assert cursor.fetchall() == [(True, None)], "waiting for its time it must hold up nobody"
    drain()
    assert asked(emulator) == [{"Pause": MANY}] * 3
    assert changes(emulator, orders) == {1}


def test_a_vendor_that_lets_nobody_in_is_paused_once_for_all(many, empty_queue, emulator, settings):
    settings.VENDOR_PING_EVERY = 0.3
    emulator.control.add_fault("credentials-refused", count=1000)
    orders = place(many())
    clear_jobs()
    run(orders)
    assert VendorState.objects.get().reason == "http-401"
    assert states(orders) == {"placed": MANY}
    clear_jobs()
    time.sleep(0.35)
    run(orders)
    assert asked(emulator) == [{"Pause": MANY}], "nothing is sent to a paused vendor"
    assert jobs() == [("fulfil_many", MANY)]


# --- one that is wrong -----------------------------------------------------------------------------------------------


def test_an_order_that_cannot_be_said_is_held_alone(many, empty_queue, emulator, caplog):
    subscriptions = many()
    orders = place(subscriptions[2:])
    bad = [
        OrderFactory(subscription=subscriptions[0], status="placed", after={"Seats": 0}),
        OrderFactory(subscription=subscriptions[1], status="placed", action="dance"),
    ]
    run([bad[0], *orders, bad[1]])
    assert states(orders) == {"completed": MANY - 2}
    assert asked(emulator) == [{"Pause": MANY - 2}]
    assert [(fresh(one).status, fresh(one).outcome_code) for one in bad] == [("needs_attention", "unsendable")] * 2
    assert [one.events.get().kind.partition(".")[2] for one in bad] == ["held", "held"]
    assert sorted(VendorCall.objects.values_list("unit_id", flat=True)) == list(range(MANY - 2))


def test_an_order_that_breaks_the_decision_stops_nobody(many, empty_queue, emulator, caplog):
    """A row that no code of today would write."""
    subscriptions = many()
    orders = place(subscriptions[1:])
    bad = OrderFactory(subscription=subscriptions[0], status="in_progress", action="increase", before={}, after={})
    VendorCallFactory(
        order=bad, outcome="unknown", started_at=clock.now() - timedelta(hours=1), finished_at=clock.now()
    )
    with pytest.raises(KeyError):
        run([*orders[:7], bad, *orders[7:]])
    assert states(orders) == {"completed": MANY - 1}
    assert fresh(bad).status == "in_progress"


def test_an_answer_that_cannot_be_applied_stops_nobody(many, empty_queue, emulator, caplog):
    subscriptions = many()
    bad = OrderFactory(
        subscription=SubscriptionFactory(status="pending", subscriber_id=subscriptions[0].subscriber_id[::-1]),
        status="placed", action="suspend", before={"Status": "active"}, after={"Status": "suspended"},
    )  # fmt: skip
    emulator.control.put_subscriber(bad.subscription.subscriber_id, product="P", seats=25)
    orders = place(subscriptions)
    with pytest.raises(TransitionNotAllowed):
        run([*orders[:7], bad, *orders[7:]])
    assert states(orders) == {"completed": MANY}
    assert changes(emulator, [*orders, bad]) == {1}
    assert fresh(bad).status == "in_progress"


# --- workers that die, or meet ---------------------------------------------------------------------------------------


def claim(orders, *, seconds):
    """Take them as a worker does that is not heard of again."""

    def decide(cases):
        now = clock.now()
        return [
            Attempt(
                VendorCallFactory.build(
                    order=case.order, subscription=case.subscription, started_at=now,
                    deadline=now + timedelta(seconds=seconds),
                )
            )
            for case in cases
        ]  # fmt: skip

    return [call for _, call in lifecycle.claim_many([one.pk for one in orders], decide)]


def test_after_a_worker_that_was_lost_between_claiming_and_sending(many, empty_queue, emulator, drain):
    orders = place(many())
    clear_jobs()
    claim(orders, seconds=0.5)
    run(orders)
    assert asked(emulator) == [], "the lost one may still be sending"
    assert jobs() == [("fulfil_many", MANY)]
    drain()
    assert states(orders) == {"completed": MANY}
    assert asked(emulator)[-1] == {"Pause": MANY}
    assert {"GetInfo": MANY} in asked(emulator)
    assert changes(emulator, orders) == {1}


def test_one_that_was_overtaken_keeps_all_of_its_container_back(many, empty_queue, emulator, settings):
    class Slow(KasperskyGateway):
        """Held up between claiming and sending, for longer than its deadline."""

        def prepare(self, transaction_id, asks):
            time.sleep(0.2 if len(asks) > 1 else 0)
            return super().prepare(transaction_id, asks)

    globals()["Slow"] = Slow
    settings.VENDORS = {"kaspersky": {**settings.VENDORS["kaspersky"], "BACKEND": f"{__name__}.Slow"}}
    gateways.gateway.cache_clear()
    settings.VENDOR_ATTEMPT_DEADLINE = 0.1
    orders = place(many())
    run(orders)
    assert asked(emulator) == []
    assert states(orders) == {"placed": MANY}, "surely not sent, so no reads are needed"
    assert set(VendorCall.objects.values_list("code", flat=True)) == {"not-sent"}


def test_a_second_claim_keeps_the_first_from_sending(many, empty_queue, emulator):
    orders = place(many())
    first = claim(orders, seconds=60)
    assert fulfilment._may_open_socket(first)
    claim(orders[5:6], seconds=60)
    assert not fulfilment._may_open_socket(first)


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_lists_that_overlap_send_each_once(many, empty_queue, emulator):
    orders = place(many(40))
    emulator.control.add_fault("latency-fixed", seconds=0.3, count=1000)

    def work(mine):
        try:
            run(mine)
        finally:
            connection.close()

    lists = (orders[:30], orders[10:], orders[5:35], orders[::-1])
    workers = [threading.Thread(target=work, args=[mine]) for mine in lists]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert states(orders) == {"completed": 40}
    assert changes(emulator, orders) == {1}
    assert VendorCall.objects.count() == 40
    assert sum(len(one) for one in asked(emulator)) == len(asked(emulator)) <= 4


def test_lists_that_overlap_leave_one_job_for_an_order(many, empty_queue, emulator):
    orders = place(many(60))
    clear_jobs()
    claim(orders, seconds=1)
    run(orders[:50])
    run(orders)
    run(orders[:30])
    assert jobs() == [("fulfil_many", 50), *[("fulfil", 1)] * 10]
    fulfilment.fulfil.func(orders[0].pk)
    assert len(jobs()) == 11


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_few_orders_are_clicks_and_many_are_bulk_work(many, empty_queue):
    place(many(rows.FEW))
    assert jobs() == [("fulfil", 1)] * rows.FEW
    clear_jobs()
    place(many(rows.FEW + 1))
    assert jobs() == [("fulfil_many", rows.FEW + 1)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT priority, lock FROM procrastinate_jobs WHERE task_name = 'subscriptions.fulfil_many'")
        [(priority, lock)] = cursor.fetchall()
    assert priority < 0, "a click must overtake it"
    assert lock.startswith("bulk-"), "all at once they would leave no room for a click"


def test_a_job_holds_no_more_than_a_container_may(db, empty_queue):
    subscription = SubscriptionFactory()
    rows.defer([Order(pk=number, subscription=subscription) for number in range(2 * rows.TOGETHER + 1)])
    assert jobs() == [("fulfil_many", rows.TOGETHER), ("fulfil_many", rows.TOGETHER), ("fulfil_many", 1)]
    rows.defer([Order(pk=number, subscription=subscription) for number in range(20 * rows.TOGETHER)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT lock) FROM procrastinate_jobs")
        assert cursor.fetchone()[0] == rows.LANES


@pytest.mark.parametrize(
    ("status", "found"), [(None, MANY), ("todo", 0), ("doing", 0), ("failed", MANY), ("succeeded", MANY)]
)
def test_sweep_puts_many_back_together(status, found, many, empty_queue):
    place(many())
    if status is None:
        clear_jobs()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status", [status or "todo"])
    fulfilment.sweep.func(0)
    assert jobs() == [("fulfil_many", MANY)] * (bool(found) + (status == "todo"))


def test_sql_does_not_grow_with_the_orders(many, empty_queue, emulator):
    counts = []
    for count in (MANY, 2 * MANY):
        orders = place(many(count))
        with CaptureQueriesContext(connection) as queries:
            run(orders)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 30


def test_a_second_job_for_what_is_done_asks_nobody(many, empty_queue, emulator):
    orders = place(many())
    run(orders)
    run(orders)
    assert asked(emulator) == [{"Pause": MANY}]
    assert VendorCall.objects.count() == MANY
