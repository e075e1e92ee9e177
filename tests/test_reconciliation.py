"""Our record beside the vendor's, and the two ways to settle a difference."""

import uuid
from datetime import UTC, datetime, time, timedelta

import pytest

from subscriptions import clock, lifecycle, reconciliation
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Charge, Event, Order, Subscription, VendorCall
from tests.factories import AccountFactory, OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


def read(subscription, person):
    return reconciliation.read_now(fresh(subscription), actor=person, audience=BSS)


def settle(subscription, field, stem, person, shown, **more):
    return reconciliation.settle(
        fresh(subscription), field, stem, shown_theirs=shown, actor=person, audience=BSS, reason="drift", **more
    )


def fresh(subscription):
    return Subscription.objects.select_related("sku__product", "account").get(pk=subscription.pk)


def lines(reading):
    return {line.field: line for line in reading.lines}


def test_same_on_both_sides(subscription, cast):
    reading = read(subscription, cast.support)
    assert reading.fresh
    assert not reading.drift
    assert reading.latency_ms is not None
    assert {line.field: (line.ours, line.theirs) for line in reading.lines} == {
        "status": ("Active", "Started"),
        "seats": ("25", "25"),
        "product": (subscription.sku.vendor_product_id,) * 2,
    }
    call = VendorCall.objects.get()
    assert (call.purpose, call.order, call.outcome) == ("details", None, "done")
    assert subscription.activation_code.reveal() not in call.answered
    assert subscription.activation_code.reveal() not in str(fresh(subscription).vendor_record)
    assert Event.objects.get().kind == "details.read"


EXPECTED = [
    ("active", "Started", False), ("active", "Paused", True), ("active", "HardCancelled", True),
    ("active", "NotStarted", True), ("suspended", "Paused", False), ("suspended", "Started", True),
    ("cancelled", "HardCancelled", False), ("cancelled", "Started", True), ("active", "SoftCancelled", True),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "drift"), EXPECTED)
def test_drift_is_a_difference_from_the_table(ours, theirs, drift, cast, at_vendor):
    # The vendor calls a licence not started while its start lies ahead.
    start = clock.now() + timedelta(days=1) if theirs == "NotStarted" else clock.now()
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status=ours), status=theirs, start=start)
    assert read(subscription, cast.support).drift == drift


@pytest.mark.parametrize(("status", "drift"), [("pending", False), ("failed", False), ("active", True)])
def test_unknown_at_the_vendor(status, drift, cast, emulator):
    subscription = SubscriptionFactory(account=cast.acme, status=status)
    reading = read(subscription, cast.support)
    assert reading.fresh
    assert reading.drift == drift


def test_differences_come_first(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    reading = read(subscription, cast.support)
    assert [line.differs for line in reading.lines] == [True, False, False]


def test_open_order_explains_a_difference(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    order = OrderFactory(subscription=subscription, status="in_progress")
    reading = read(subscription, cast.support)
    assert not reading.drift
    assert reading.explained_by == order
    with pytest.raises(NotAllowed, match="being applied"):
        settle(subscription, "seats", "take_theirs", cast.operator, "28")


def test_take_theirs_is_an_order_without_a_vendor_call(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    before = fresh(subscription)
    order = settle(subscription, "seats", "take_theirs", cast.operator, "28")
    assert order.status == "completed"
    assert (order.before, order.after) == ({"Seats": 25}, {"Seats": 28})
    after = fresh(subscription)
    assert (after.seats, after.status, after.version) == (28, "active", before.version + 1)
    assert not order.vendor_calls.exists()
    assert emulator.control.changes(subscription.subscriber_id) == []
    assert [event.kind for event in Event.objects.filter(order=order).order_by("pk")] == [
        "take_theirs.placed", "take_theirs.completed",
    ]  # fmt: skip
    assert not read(subscription, cast.support).drift


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        ("active", "Paused", "suspended"),
        ("suspended", "Started", "active"),
        ("active", "HardCancelled", "cancelled"),
        ("suspended", "HardCancelled", "cancelled"),
    ],
)
def test_take_their_status_where_the_life_cycle_allows(ours, theirs, status, cast, at_vendor):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status=ours), status=theirs)
    settle(subscription, "status", "take_theirs", cast.operator, theirs)
    assert fresh(subscription).status == status
    assert not read(subscription, cast.support).drift


@pytest.mark.parametrize(("theirs", "end"), [("Started", "indefinite"), ("Paused", "indefinite")])
def test_never_out_of_cancelled_but_ours_can_be_pushed(theirs, end, cast, at_vendor, drain, emulator):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status="cancelled"), status=theirs)
    line = lines(read(subscription, cast.operator))["status"]
    assert line.take is None
    assert "cancelled" in line.take_refusal.sentence
    with pytest.raises(NotAllowed):
        settle(subscription, "status", "take_theirs", cast.operator, theirs)
    order = settle(subscription, "status", "push_ours", cast.operator, theirs)
    drain()
    assert Order.objects.get(pk=order.pk).status == "completed"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert fresh(subscription).status == "cancelled"


def test_push_our_seats(subscription, cast, drain, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    order = settle(subscription, "seats", "push_ours", cast.operator, "28")
    assert (order.before, order.after) == ({"Seats": 28}, {"Seats": 25})
    drain()
    assert Order.objects.get(pk=order.pk).status == "completed"
    assert emulator.control.subscriber(subscription.subscriber_id).seats == 25
    assert fresh(subscription).seats == 25


PUSHED = [("suspended", "Started", "Paused"), ("active", "Paused", "Started")]


@pytest.mark.parametrize(("ours", "theirs", "vendor_after"), PUSHED)
def test_push_our_status(ours, theirs, vendor_after, cast, at_vendor, drain, emulator):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status=ours), status=theirs)
    settle(subscription, "status", "push_ours", cast.operator, theirs)
    drain()
    assert emulator.control.subscriber(subscription.subscriber_id).status == vendor_after
    assert fresh(subscription).status == ours


def test_theirs_outside_the_range_can_only_be_pushed(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 900)
    line = lines(read(subscription, cast.operator))["seats"]
    assert line.take is None
    assert "at most 500" in line.take_refusal.sentence
    assert line.push == {"Seats": 25}


def test_the_product_is_never_taken(subscription, cast, emulator):
    emulator.control.set_product(subscription.subscriber_id, "SOMETHING-ELSE")
    line = lines(read(subscription, cast.operator))["product"]
    assert line.differs
    assert (line.take, line.push) == (None, None)
    with pytest.raises(NotAllowed, match="never taken over"):
        settle(subscription, "product", "take_theirs", cast.operator, "SOMETHING-ELSE")


def test_values_are_read_again_on_confirming(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    read(subscription, cast.operator)
    emulator.control.set_seats(subscription.subscriber_id, 29)
    with pytest.raises(NotAllowed) as caught:
        settle(subscription, "seats", "take_theirs", cast.operator, "28")
    assert caught.value.code == "other_there"
    emulator.control.set_seats(subscription.subscriber_id, 25)
    with pytest.raises(NotAllowed):
        settle(subscription, "seats", "take_theirs", cast.operator, "28")
    assert not Order.objects.exists()


def test_same_key_settles_once(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    key = uuid.uuid4()
    first = settle(subscription, "seats", "take_theirs", cast.operator, "28", idempotency_key=key)
    assert settle(subscription, "seats", "take_theirs", cast.operator, "28", idempotency_key=key) == first


def test_vendor_down_shows_the_last_answer_with_its_age(subscription, cast, emulator):
    first = read(subscription, cast.support)
    emulator.control.add_fault("html-500", count=9)
    reading = read(subscription, cast.support)
    assert not reading.fresh
    assert reading.problem
    assert reading.read_at <= first.read_at
    assert {line.field for line in reading.lines} == {"status", "seats", "product"}
    with pytest.raises(NotAllowed, match="Nothing was changed"):
        settle(subscription, "seats", "take_theirs", cast.operator, "25")
    assert VendorCall.objects.filter(outcome="unknown").count() == 2


@pytest.mark.parametrize("person", ["owner", "catalogue_manager", "auditor"])
def test_get_details_needs_its_permission(person, subscription, cast):
    with pytest.raises(NotAllowed):
        read(subscription, cast.people[person])
    assert not VendorCall.objects.exists()


def test_suspend_is_not_pushed_where_the_sku_cannot(cast, at_vendor):
    sku = SKUFactory(can_suspend=False)
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, sku=sku, status="suspended"), status="Started")
    line = lines(read(subscription, cast.operator))["status"]
    assert line.push is None
    assert "cannot suspend" in line.push_refusal.sentence


def test_a_change_that_came_during_the_read_is_not_settled_away(subscription, cast, emulator, drain):
    emulator.control.set_seats(subscription.subscriber_id, 28)
    seen = fresh(subscription)
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 40}), actor=cast.owner, audience=STOREFRONT)
    drain()
    emulator.control.set_seats(subscription.subscriber_id, 28)
    for stem in ("take_theirs", "push_ours"):
        with pytest.raises(NotAllowed) as caught:
            reconciliation.settle(
                seen, "seats", stem, shown_theirs="28", actor=cast.operator, audience=BSS, reason="drift"
            )
        assert caught.value.code == "stale"
    assert fresh(subscription).seats == 40


def test_suspended_takes_an_end_date_that_is_still_ahead(cast, at_vendor):
    end = clock.now().replace(microsecond=0) + timedelta(days=9)
    subscription = at_vendor(
        SubscriptionFactory(account=cast.acme, status="suspended"), status="SoftCancelled", end=end
    )
    settle(subscription, "status", "take_theirs", cast.operator, "SoftCancelled")
    assert (fresh(subscription).status, fresh(subscription).ends_at) == ("ending", end)
    assert not read(subscription, cast.support).drift


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_an_end_taken_from_the_vendor_bills_no_period_that_begins_on_its_day(status, cast, at_vendor):
    sku = SKUFactory(bills_while_suspended=True)
    account = AccountFactory(time_zone="Europe/Zagreb")
    subscription = at_vendor(SubscriptionFactory(account=account, sku=sku, status=status))
    # In Zagreb its last day begins an hour or two before.
    end = datetime.combine(subscription.period_end, time(), UTC)
    at_vendor(subscription, status="SoftCancelled", end=end)
    settle(subscription, "status", "take_theirs", cast.operator, "SoftCancelled")
    assert (fresh(subscription).status, fresh(subscription).ends_at) == ("ending", end)
    assert fresh(subscription).next_due_at == end
    assert not lifecycle.catch_up(end - timedelta(minutes=30))
    assert lifecycle.catch_up(end) == {"ended": 1}
    assert not Charge.objects.exists()


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_nothing_is_taken_before_the_start(status, cast, emulator):
    subscription = SubscriptionFactory(account=cast.acme, status=status)
    emulator.control.put_subscriber(subscription.subscriber_id, product=subscription.sku.vendor_product_id, seats=30)
    assert {line.take is None for line in read(subscription, cast.operator).lines} == {True}


def test_an_answer_from_before_a_change_is_no_drift_after_it(subscription, cast, drain):
    read(subscription, cast.support)
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    assert reconciliation.last_known(fresh(subscription), order) is not None
    before = fresh(subscription)
    drain()
    assert reconciliation.last_known(fresh(subscription)) is None
    # Nor is an answer kept that was asked for before the change and came after it.
    lifecycle.note_details(before, {"status": "Started", "seats": 25, "product": "x"}, actor=cast.support, audience=BSS)
    assert reconciliation.last_known(fresh(subscription)) is None
