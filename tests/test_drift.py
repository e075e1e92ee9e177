"""Drift: what a run finds, what it leaves alone, and what becomes of it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, clock, lifecycle, reconciliation
from subscriptions.actions import BSS, COMMAND, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Drift, Event, Order, ReconciliationRun, Subscription, VendorCall
from subscriptions.reconciliation import VendorSilent
from tests.factories import OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


def reconcile(*words):
    run = reconciliation.begin(words=words, actor=None, audience=COMMAND)
    for _ in reconciliation.work(run):
        pass
    return run


def fresh(subscription):
    return Subscription.objects.select_related("sku__product", "account").get(pk=subscription.pk)


def found(**more):
    rows = Drift.objects.filter(ended_at__isnull=True, **more).order_by("pk")
    return [(row.field, row.ours, row.theirs) for row in rows]


# --- what is found ---------------------------------------------------------------------------------------------------


def test_nothing_differs(subscription):
    run = reconcile()
    assert (run.status, run.compared, run.found, run.unanswered) == ("done", 1, 0, 0)
    assert not Drift.objects.exists()
    # A night's reading of a million must not rewrite a million rows, nor write an event for each.
    assert fresh(subscription).vendor_read_at is None
    assert not Event.objects.exists()


def paused(vendor, one):
    vendor.pause(one.subscriber_id)


def cancelled(vendor, one):
    vendor.cancel(one.subscriber_id)


def more_seats(vendor, one):
    vendor.set_seats(one.subscriber_id, 30)


def another_product(vendor, one):
    vendor.set_product(one.subscriber_id, "OTHER")


def deleted(vendor, one):
    vendor.delete(one.subscriber_id)


# At 3.50 a seat and month; all 25 seats are at stake but where 5 seats differ.
OUTSIDE = [
    (paused, "status", "Active", "Paused", "87.50"),
    (cancelled, "status", "Active", "HardCancelled", "87.50"),
    (more_seats, "seats", "25", "30", "17.50"),
    (another_product, "product", None, "OTHER", "87.50"),
    (deleted, "existence", "Yes", "No", "87.50"),
]


@pytest.mark.parametrize(("change", "field", "ours", "theirs", "amount"), OUTSIDE)
def test_changes_from_outside_become_drift(change, field, ours, theirs, amount, subscription, emulator):
    change(emulator.control, subscription)
    run = reconcile()
    row = Drift.objects.get()
    assert (row.field, row.ours, row.theirs) == (field, ours or subscription.sku.vendor_product_id, theirs)
    assert (row.subscription, row.run, row.currency, row.amount) == (subscription, run, "EUR", Decimal(amount))
    assert (run.compared, run.found) == (1, 1)
    # The page of the subscription shows what was read.
    assert reconciliation.last_known(fresh(subscription)).drift
    # Nothing of ours was changed.
    before, after = subscription, fresh(subscription)
    assert (after.status, after.seats, after.version) == (before.status, before.seats, before.version)
    assert not Order.objects.exists()


def test_ends_are_dates(cast, at_vendor):
    end = clock.now().replace(microsecond=0) + timedelta(days=9)
    active = at_vendor(SubscriptionFactory(account=cast.acme), end=end)
    other_day = at_vendor(
        SubscriptionFactory(account=cast.acme, status="ending", ends_at=end + timedelta(days=1)),
        status="SoftCancelled", end=end,
    )  # fmt: skip
    same_day = SubscriptionFactory(account=cast.acme, status="ending", ends_at=end + timedelta(milliseconds=400))
    at_vendor(same_day, status="SoftCancelled", end=end)
    still_runs = at_vendor(SubscriptionFactory(account=cast.acme, status="ending", ends_at=end))
    says_nothing = at_vendor(SubscriptionFactory(account=cast.acme), end=None)
    reconcile()
    ours, theirs = actions.day(end + timedelta(days=1), active), actions.day(end, active)
    assert found(subscription=active) == [("term", "No end", theirs)]
    assert found(subscription=other_day) == [("term", ours, theirs)]
    for one in (same_day, still_runs, says_nothing):
        assert found(subscription=one) == []


@pytest.mark.parametrize(("status", "started", "drift"), [
    ("pending", False, False), ("failed", False, False), ("cancelled", False, False), ("cancelled", True, False),
    ("active", True, True), ("suspended", True, True), ("ending", True, True), ("expired", True, True),
])  # fmt: skip
def test_unknown_there(status, started, drift, cast, emulator):
    SubscriptionFactory(account=cast.acme, status=status, **({} if started else {"started_at": None}))
    reconcile()
    assert Drift.objects.filter(field="existence").exists() == drift


def test_money_at_stake(cast, at_vendor):
    yearly = SKUFactory(billing_period="year", term_months=12, prices={1: "120.00", 26: "12.00"})
    cast.acme.discount = Decimal(10)
    cast.acme.save()
    by_year = at_vendor(SubscriptionFactory(account=cast.acme, sku=yearly), seats=30)
    runs_there = at_vendor(SubscriptionFactory(account=cast.acme, sku=yearly, status="cancelled"), status="Started")
    over_there = SubscriptionFactory(account=cast.acme, sku=yearly, status="cancelled")
    at_vendor(over_there, status="HardCancelled", product="OTHER")
    unpriced = at_vendor(SubscriptionFactory(account=cast.acme, sku=SKUFactory(prices={})), seats=30)
    outside = at_vendor(SubscriptionFactory(account=cast.acme, sku=yearly), seats=9_000)
    reconcile()

    def amount(one):
        return Drift.objects.filter(subscription=one).values_list("currency", "amount").get()

    # 5 seats at 120.00 a year less 10 %, whatever the band of the other number.
    assert amount(by_year) == ("EUR", Decimal("45.00"))
    assert amount(runs_there) == ("EUR", Decimal("225.00"))
    assert amount(over_there) == ("EUR", 0)
    assert amount(unpriced) == ("", 0)
    assert amount(outside) == ("EUR", Decimal("80775.00"))
    assert [row.subscription for row in reconciliation.open_drift()] == [
        unpriced, outside, runs_there, by_year, over_there,
    ]  # fmt: skip
    assert reconciliation.at_stake() == {"EUR": Decimal("81045.00")}


# --- again, changed, gone --------------------------------------------------------------------------------------------


def test_found_again_it_stays_the_same_row(subscription, emulator, settings):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    row = Drift.objects.get()
    settings.CLOCK_OFFSET = timedelta(days=1)
    run = reconcile()
    again = Drift.objects.get()
    assert (again.pk, again.found_at) == (row.pk, row.found_at)
    assert again.seen_at - row.seen_at >= timedelta(days=1)
    assert (run.found, run.again) == (0, 1)


def test_another_value_is_another_row(subscription, emulator):
    for seats in (30, 31):
        emulator.control.set_seats(subscription.subscriber_id, seats)
        reconcile()
    assert [(row.theirs, row.ending) for row in Drift.objects.order_by("pk")] == [("30", "changed"), ("31", "")]


def test_gone_by_itself(subscription, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    emulator.control.set_seats(subscription.subscriber_id, 25)
    run = reconcile()
    assert (Drift.objects.get().ending, run.gone) == ("gone", 1)
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    assert [row.ending for row in Drift.objects.order_by("pk")] == ["gone", ""]


def test_get_details_keeps_the_worklist_too(subscription, cast, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconciliation.read_now(fresh(subscription), actor=cast.support, audience=BSS)
    assert found() == [("seats", "25", "30")]
    emulator.control.set_seats(subscription.subscriber_id, 25)
    reconciliation.read_now(fresh(subscription), actor=cast.support, audience=BSS)
    assert found() == []


def test_postgresql_keeps_the_rules(subscription, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    row = Drift.objects.get()
    for breaks in (
        lambda: row.delete(),
        lambda: Drift.objects.update(theirs="31"),
        lambda: Drift.objects.update(ended_at=clock.now()),
        lambda: Drift.objects.create(
            subscription=subscription, field="seats", subscriber_id="X", found_at=row.found_at, seen_at=row.found_at
        ),
        lambda: Drift.objects.create(field="seats", subscriber_id="X", found_at=row.found_at, seen_at=row.found_at),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            breaks()
    Drift.objects.update(ended_at=clock.now(), ending="gone")
    with pytest.raises(DatabaseError), transaction.atomic():
        Drift.objects.update(ended_at=None, ending="")


# --- explained -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["awaiting_approval", "placed", "in_progress", "needs_attention"])
def test_an_open_order_explains_it(status, subscription, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    OrderFactory(subscription=subscription, status=status)
    run = reconcile()
    assert (run.compared, run.explained, found()) == (0, 1, [])


def test_what_is_known_stays_while_an_order_is_open(subscription, emulator):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    OrderFactory(subscription=subscription, status="placed")
    emulator.control.set_seats(subscription.subscriber_id, 25)
    reconcile()
    assert found() == [("seats", "25", "30")]


@pytest.mark.parametrize("drained", [False, True])
def test_an_order_that_comes_after_the_read_explains_it(drained, subscription, cast, drain):
    """Opened, and perhaps completed, between the read and the comparison."""
    read = reconciliation.Read(
        subscription.pk, subscription.version, {"status": "Started", "seats": 30, "product": "OTHER", "ends_at": None}
    )
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 40}), actor=cast.owner, audience="storefront")
    if drained:
        drain()
    assert reconciliation.note([read]).passed_over == 1
    assert (found(), fresh(subscription).vendor_record) == ([], None)


# --- settled ---------------------------------------------------------------------------------------------------------

BOTH_WAYS = [
    (paused, "status", "Paused", "suspended", "Started"),
    (more_seats, "seats", "30", "active", "Started"),
    (cancelled, "status", "HardCancelled", "cancelled", None),
    (deleted, "existence", "No", "cancelled", None),
]


@pytest.mark.parametrize(("change", "field", "theirs", "taken", "pushed"), BOTH_WAYS)
@pytest.mark.parametrize("stem", ["take_theirs", "push_ours"])
def test_settled_by_an_order(stem, change, field, theirs, taken, pushed, subscription, cast, emulator, drain):
    change(emulator.control, subscription)
    reconcile()

    def settle():
        return reconciliation.settle(
            fresh(subscription), field, stem, shown_theirs=theirs, actor=cast.operator, audience=BSS, reason="drift"
        )

    if stem == "push_ours" and pushed is None:
        with pytest.raises(NotAllowed, match=r"for good|cannot be brought back"):
            settle()
        assert len(found()) == 1
        return
    order = settle()
    row = Drift.objects.get()
    if stem == "push_ours":
        # Settled by what the vendor has confirmed, and not by a wish.
        assert row.ended_at is None
        drain()
        row = Drift.objects.get()
    assert (row.ending, row.order) == ("settled", order)
    assert reconcile().found == 0
    ours = fresh(subscription)
    if stem == "take_theirs":
        assert (ours.status, ours.seats) == (taken, 30 if field == "seats" else 25)
    else:
        assert emulator.control.subscriber(subscription.subscriber_id).status == pushed
        assert (ours.status, ours.seats) == ("active", 25)


def test_an_order_that_failed_settles_nothing(subscription, cast, emulator, drain):
    emulator.control.set_seats(subscription.subscriber_id, 30)
    reconcile()
    emulator.control.add_fault("item-error", kinds=["Activate"], code=601)
    order = reconciliation.settle(
        fresh(subscription), "seats", "push_ours", shown_theirs="30", actor=cast.operator, audience=BSS, reason="drift"
    )
    drain()
    assert Order.objects.get(pk=order.pk).status == "failed"
    assert found() == [("seats", "25", "30")]


@pytest.fixture
def gone(subscription, cast, emulator):
    """Active here and forgotten there, and what takes that over."""
    emulator.control.delete(subscription.subscriber_id)
    reconcile()

    def take():
        return reconciliation.settle(
            fresh(subscription), "existence", "take_theirs", shown_theirs="No", actor=cast.operator, audience=BSS,
            reason="It is gone",
        )  # fmt: skip

    return subscription, take


@pytest.mark.parametrize("status", ["active", "suspended", "ending", "expired"])
def test_taking_that_it_is_unknown_there_cancels_it_without_a_word_to_the_vendor(status, cast, emulator):
    days = {"ending": 9, "expired": -9}.get(status)
    one = SubscriptionFactory(account=cast.acme, status=status, ends_at=clock.now() + timedelta(days) if days else None)
    planned = OrderFactory(
        subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20}
    )
    order = reconciliation.settle(
        fresh(one), "existence", "take_theirs", shown_theirs="No", actor=cast.operator, audience=BSS, reason="Gone"
    )
    ours = fresh(one)
    assert (order.status, order.before, order.after) == ("completed", {"Status": status}, {"Status": "cancelled"})
    assert (ours.status, ours.cancelled_at, ours.ends_at) == ("cancelled", order.finished_at, order.finished_at)
    assert not order.charges.exists()
    assert Order.objects.get(pk=planned.pk).status == "withdrawn"
    assert set(VendorCall.objects.values_list("purpose", flat=True)) == {"details"}
    assert (reconcile().found, found()) == (0, [])


def test_a_cancel_of_what_is_unknown_there_fails_and_says_what_to_do(gone, cast, drain):
    subscription, take = gone
    order = lifecycle.place(Wish(subscription.pk, "cancel", reason="x"), actor=cast.operator, audience=BSS)
    with pytest.raises(NotAllowed) as refused:
        take()
    assert refused.value.code == "order_open"
    drain()
    order = Order.objects.get(pk=order.pk)
    assert (order.status, order.outcome_code, fresh(subscription).status) == ("failed", "5", "active")
    assert order.outcome_message.endswith("does not know this subscription. Get details, then take theirs.")
    assert take().status == "completed"


@pytest.mark.parametrize(
    ("fault", "more"),
    [("html-500", {}), ("http-503", {}), ("item-error", {"code": 99}), ("item-error", {"code": 2})],
)
def test_only_the_vendor_itself_can_say_that_it_is_unknown_there(fault, more, gone, emulator):
    subscription, take = gone
    emulator.control.add_fault(fault, count=9, **more)
    with pytest.raises(NotAllowed) as refused:
        take()
    assert refused.value.code == "vendor_silent"
    assert (fresh(subscription).status, Order.objects.exists()) == ("active", False)


def test_what_is_known_there_again_is_not_cancelled_here(gone, at_vendor):
    subscription, take = gone
    at_vendor(subscription)
    with pytest.raises(NotAllowed) as refused:
        take()
    assert refused.value.code == "other_there"
    assert fresh(subscription).status == "active"


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def five(cast, at_vendor, settings):
    settings.VENDOR_READ_TOGETHER = 2
    sku = SKUFactory()
    return [at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30) for _ in range(5)]


def test_only_those_that_are_chosen(five, cast, at_vendor):
    other = at_vendor(SubscriptionFactory(account=cast.globex, status="suspended"))
    run = reconcile(("status", "suspended"))
    assert (run.compared, run.words) == (1, [["status", "suspended"]])
    assert not Drift.objects.filter(subscription=other).exists()


def test_batch_by_batch_from_where_it_stopped(five):
    run = reconciliation.begin(actor=None, audience=COMMAND)
    next(reconciliation.work(run))
    assert (run.position, run.compared, run.status) == (five[1].pk, 2, "running")
    reconciliation.stop(run, "Enough.")
    asked = VendorCall.objects.count()
    again = ReconciliationRun.objects.get()
    reconciliation.take_up(again)
    for _ in reconciliation.work(again):
        pass
    assert (again.status, again.compared, again.found, again.said) == ("done", 5, 5, "")
    assert VendorCall.objects.count() - asked == 2
    with pytest.raises(NotAllowed, match="is done"):
        reconciliation.take_up(again)


def test_one_at_a_time(five):
    run = reconciliation.begin(actor=None, audience=COMMAND)
    with pytest.raises(NotAllowed, match=f"Run {run.pk} is under way"):
        reconciliation.begin(actor=None, audience=COMMAND)
    reconciliation.stop(run, "Enough.")
    second = reconciliation.begin(actor=None, audience=COMMAND)
    with pytest.raises(NotAllowed, match=f"Run {second.pk} is under way"):
        reconciliation.take_up(run)


def test_two_processes_on_one_run_do_nothing_twice(five):
    run = reconciliation.begin(actor=None, audience=COMMAND)
    twin = ReconciliationRun.objects.get()
    assert len(list(reconciliation.work(run))) == 4
    with pytest.raises(reconciliation.Overtaken, match="Another process"):
        list(reconciliation.work(twin))
    run.refresh_from_db()
    assert (run.compared, run.found, Drift.objects.count()) == (5, 5, 5)


def test_a_vendor_that_fails_in_the_middle(five, emulator):
    emulator.control.add_fault("html-500", nth=2)
    run = reconciliation.begin(actor=None, audience=COMMAND)
    with pytest.raises(VendorSilent, match="http-500"):
        list(reconciliation.work(run))
    assert ReconciliationRun.objects.get().position == five[1].pk
    list(reconciliation.work(run))
    assert (run.status, run.compared, run.found) == ("done", 5, 5)


def test_one_that_cannot_be_read_leaves_the_others(five, emulator):
    emulator.control.add_fault("item-error", subscriber=five[0].subscriber_id)
    run = reconcile()
    assert (run.status, run.compared, run.unanswered, run.found) == ("done", 4, 1, 4)


def test_queries_do_not_grow_with_rows(cast, at_vendor, emulator):
    sku = SKUFactory()

    def queries(many):
        for _ in range(many):
            at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30)
        with CaptureQueriesContext(connection) as captured:
            run = reconcile()
        assert run.found == many
        return len(captured)

    queries(1)
    assert queries(2) == queries(20)


def test_the_walk_and_the_worklist_use_their_indexes(subscription, emulator):
    reconcile()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        for rows, index in (
            (Subscription.objects.filter(pk__gt=5, pk__lte=9).order_by("pk")[:500], "subscriptions_subscription_pkey"),
            (reconciliation.open_drift()[:50], "drift_worklist"),
        ):
            assert index in rows.explain()


def test_the_number_for_the_dashboard_is_bounded(five):
    reconcile()
    assert reconciliation.open_count() == (5, False)
    assert reconciliation.open_count(up_to=3) == (3, True)
