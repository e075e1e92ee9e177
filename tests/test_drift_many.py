"""Many differences settled at once: previewed from the worklist, read again before anything is placed."""

import html
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import bulk, clock, lifecycle, reconciliation
from subscriptions.actions import COMMAND, NotAllowed
from subscriptions.bulk import Drifting
from subscriptions.models import BulkRow, BulkRun, Drift, Order, Subscription, VendorCall
from tests.factories import OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


def reconcile():
    run = reconciliation.begin(actor=None, audience=COMMAND)
    for _ in reconciliation.work(run):
        pass


def fresh(subscription):
    return Subscription.objects.get(pk=subscription.pk)


@pytest.fixture
def drift(cast, at_vendor):
    """Six that differ, each in its way, by name."""
    sku = SKUFactory()

    def make(ours="active", **theirs):
        return at_vendor(SubscriptionFactory(account=cast.acme, sku=sku, status=ours), **theirs)

    return {
        "more": make(seats=30),
        "paused": make(status="Paused"),
        "too many": make(seats=900),
        "product": make(product="OTHER"),
        "runs there": make("cancelled", status="Started"),
        "ordered": make(seats=31),
    }


@pytest.fixture
def six(drift):
    reconcile()
    assert Drift.objects.count() == 6
    OrderFactory(subscription=drift["ordered"], status="needs_attention")
    return drift


def draft(stem, person):
    return bulk.draft(stem, Drifting(reconciliation.open_drift(), "all"), actor=person, given={})


def confirm(run, drain):
    bulk.confirm(run, "Month's end")
    drain()
    run.refresh_from_db()
    return {row.subscription_id: row for row in run.rows.select_related("order")}


def seen(run):
    preview = bulk.preview_of(run)
    return preview.able, {code: reason.count for code, reason in preview.cannot.items()}


def test_take_theirs_of_many(six, cast, drain, emulator):
    asked = VendorCall.objects.count()
    run = draft("take_theirs", cast.operator)
    assert seen(run) == (2, {"above_maximum": 1, "product_stays": 1, "no_such_move": 1, "needs_attention": 1})
    # A preview asks nobody.
    assert VendorCall.objects.count() == asked
    rows = confirm(run, drain)
    assert (run.status, run.placed, run.refused) == ("done", 2, 4)
    reasons = bulk.reasons(run)
    assert {code: one.count for code, one in reasons.items()} == seen(run)[1]
    assert fresh(six["more"]).seats == 30
    assert fresh(six["paused"]).status == "suspended"
    order = rows[six["more"].pk].order
    assert (order.action, order.before, order.after, order.reason, order.actor, order.status) == (
        "take_theirs", {"Seats": 25}, {"Seats": 30}, "Month's end", cast.operator, "completed",
    )  # fmt: skip
    sentences = {name: rows[one.pk].sentence for name, one in six.items()}
    assert "at most 500" in sentences["too many"]
    assert "never taken over" in sentences["product"]
    assert "cancelled" in sentences["runs there"]
    settled = Drift.objects.filter(ending="settled")
    assert set(settled.values_list("subscription", flat=True)) == {six["more"].pk, six["paused"].pk}
    assert reconciliation.open_count() == (4, False)


def test_push_ours_of_many(six, cast, drain, emulator):
    run = draft("push_ours", cast.operator)
    rows = confirm(run, drain)
    assert (run.placed, run.refused) == (4, 2)
    assert rows[six["more"].pk].order.before == {"Seats": 30}
    for name, status, seats in [
        ("more", "Started", 25), ("paused", "Started", 25), ("too many", "Started", 25),
        ("runs there", "HardCancelled", 25),
    ]:  # fmt: skip
        record = emulator.control.subscriber(six[name].subscriber_id)
        assert (name, record.status, record.seats) == (name, status, seats)
    assert Drift.objects.filter(ending="settled", order__in=Order.objects.filter(action="push_ours")).count() == 4
    assert "sent only with a change of the SKU" in rows[six["product"].pk].sentence


def test_of_those_that_are_unknown_there_the_page_says_that_they_are_cancelled_here(
    six, cast, drain, emulator, signed_in
):
    for name in ("product", "too many"):
        emulator.control.delete(six[name].subscriber_id)
    reconcile()
    run = draft("take_theirs", cast.operator)
    assert seen(run)[0] == 4
    assert bulk.preview_of(run).gone["existence"].count == 2
    assert bulk.Preview.from_json(bulk.preview_of(run).to_json()) == bulk.preview_of(run)
    page = signed_in(cast.operator).get(f"/bss/subscriptions/bulkrun/{run.pk}/change/").content.decode()
    assert "of them the licence service does not know. Take theirs cancels here, for good:" in page
    assert "button-danger" in page
    # Between the look and the deed it was restored there.
    emulator.control.put_subscriber(
        six["product"].subscriber_id, product=six["product"].sku.vendor_product_id, seats=25, status="Started"
    )
    rows = confirm(run, drain)
    assert (rows[six["too many"].pk].outcome, fresh(six["too many"]).status) == ("placed", "cancelled")
    assert (rows[six["product"].pk].code, fresh(six["product"]).status) == ("settled", "active")
    assert not Drift.objects.filter(field="existence", ended_at=None).exists()


def test_two_differences_of_one_subscription_are_settled_one_after_the_other(cast, at_vendor, drain, emulator):
    both = at_vendor(SubscriptionFactory(account=cast.acme, sku=SKUFactory()), status="Paused", seats=30)
    reconcile()
    for able, left in ((1, {"other_difference": 1}), (1, {})):
        run = draft("take_theirs", cast.operator)
        assert seen(run) == (able, left)
        bulk.confirm(run, "Month's end")
        drain()
        assert [row.sentence for row in run.rows.filter(outcome="refused")] == [
            f"This run settles another difference of {both}. Settle this one when that is done." for _ in left
        ]
    assert (fresh(both).status, fresh(both).seats) == ("suspended", 30)
    assert reconciliation.open_count() == (0, False)


@pytest.mark.parametrize(
    ("ours", "theirs", "then", "can", "refused"),
    [
        # Seats are sent while the licence runs there, which is what the vendor has confirmed last.
        ("active", "Started", "suspend", False, {"not_running_there": 1}),
        ("suspended", "Paused", "activate", True, {}),
        # It differed in its status too, and no order of ours has changed that.
        ("suspended", "Started", "", True, {}),
        ("active", "Paused", "cancel", False, {"not_running_there": 1}),
        ("active", "Started", "increase", False, {"settled": 1}),
    ],
)
def test_a_preview_knows_what_an_order_has_changed_since_the_reading(
    ours, theirs, then, can, refused, cast, at_vendor, drain, emulator
):
    one = at_vendor(SubscriptionFactory(account=cast.acme, status=ours), status=theirs, seats=30)
    reconcile()
    if then:
        more = {"increase": {"after": {"Seats": 40}}, "cancel": {"when": "period_end"}}.get(then, {})
        lifecycle.place(lifecycle.Wish(one.pk, then, reason="meanwhile", **more), actor=None, audience=COMMAND)
        drain()
    seats = Drifting(reconciliation.open_drift().filter(field="seats"), "seats")
    run = bulk.draft("push_ours", seats, actor=cast.operator, given={})
    assert seen(run) == (int(can), refused)
    if can:
        confirm(run, drain)
        assert (run.placed, run.refused) == (1, 0)
        assert emulator.control.subscriber(one.subscriber_id).seats == 25
    else:
        # What the reading would have led to is what placing refuses as well.
        wish = lifecycle.Wish(one.pk, "push_ours", reconciliation.shown("seats", "25", "30"))
        assert isinstance(reconciliation.as_read([wish])[0], NotAllowed)


def test_a_preview_says_of_when_the_records_are_that_it_goes_by(six, cast, signed_in):
    def page(run):
        page = signed_in(cast.operator).get(f"/bss/subscriptions/bulkrun/{run.pk}/change/").content.decode()
        return " ".join(re.sub(r"<[^>]+>", " ", page).split())

    def told(at):
        return f"{at.day} {at:%B %Y, %H:%M}"

    now = clock.now()
    long_ago, yesterday = now - timedelta(hours=40), now - timedelta(hours=20)
    Drift.objects.update(seen_at=yesterday)
    said = page(draft("take_theirs", cast.operator))
    assert f"By the licence service's records as they were read on {told(yesterday)} ." in said
    assert "As things stood" not in said
    Drift.objects.filter(subscription=six["more"]).update(seen_at=long_ago)
    run = draft("take_theirs", cast.operator)
    assert f"as they were read from {told(long_ago)} to {told(yesterday)} ." in page(run)
    assert bulk.Preview.from_json(bulk.preview_of(run).to_json()) == bulk.preview_of(run)


def test_what_says_something_else_by_now_is_not_settled(six, cast, drain, emulator):
    run = draft("take_theirs", cast.operator)
    emulator.control.set_seats(six["more"].subscriber_id, 33)
    emulator.control.resume(six["paused"].subscriber_id)
    rows = confirm(run, drain)
    assert rows[six["more"].pk].code == "other_there"
    assert rows[six["paused"].pk].code == "settled"
    assert run.placed == 0
    assert fresh(six["more"]).seats == 25
    # The worklist has learnt it on the way.
    now = {row.subscription_id: (row.theirs, row.ending) for row in Drift.objects.order_by("pk")}
    assert now[six["more"].pk] == ("33", "")
    assert now[six["paused"].pk] == ("Paused", "gone")


def test_a_change_of_ours_during_the_read_is_not_settled_away(six):
    wish = lifecycle.Wish(six["more"].pk, "take_theirs", reconciliation.shown("seats", "25", "30"))
    [ready] = reconciliation.as_read([wish])
    assert (ready.after, ready.version) == ({"Seats": 30}, fresh(six["more"]).version)
    lifecycle.place(
        lifecycle.Wish(six["more"].pk, "auto_renew", {"Renews automatically": False}), actor=None, audience=COMMAND
    )
    [result] = lifecycle.place_many([ready], actor=None, audience=COMMAND)
    assert result.code == "stale"


def test_while_the_vendor_is_silent_the_run_stops_and_its_rows_wait(six, cast, drain, emulator, signed_in):
    run = draft("take_theirs", cast.operator)
    emulator.control.add_fault("html-500")
    rows = confirm(run, drain)
    assert {row.outcome for row in rows.values()} == {"waiting"}
    assert (run.status, run.placed, run.refused) == ("stopped", 0, 0)
    page = signed_in(cast.operator).get(f"/bss/subscriptions/bulkrun/{run.pk}/change/").content.decode()
    assert run.stopped_because
    assert run.stopped_because in html.unescape(page)
    assert "Go on placing" in page
    emulator.control.clear_faults()
    bulk.resume(run)
    drain()
    run.refresh_from_db()
    assert (run.status, run.placed, run.stopped_because) == ("done", 2, "")
    assert fresh(six["more"]).seats == 30


def test_one_that_cannot_be_read_leaves_the_others(six, cast, drain, emulator):
    run = draft("take_theirs", cast.operator)
    emulator.control.add_fault("item-error", kinds=["GetInfo"], subscriber=six["more"].subscriber_id)
    rows = confirm(run, drain)
    assert rows[six["more"].pk].code == "vendor_silent"
    assert rows[six["paused"].pk].outcome == "placed"


@pytest.mark.parametrize("person", ["support", "approver", "auditor"])
def test_nobody_else_settles_by_a_run(person, six, cast, drain):
    run = draft("take_theirs", cast.people[person])
    assert bulk.preview_of(run).able == 0
    BulkRun.objects.filter(pk=run.pk).update(status="running", reason="forged")
    for _ in bulk.place(run):
        pass
    assert not Order.objects.filter(action="take_theirs").exists()


def test_the_file_of_outcomes_says_what_differed_as_the_list_does(six, cast, drain):
    run = draft("take_theirs", cast.operator)
    confirm(run, drain)
    # As rows of runs before today were written.
    old = BulkRow.objects.create(
        run=run, position=99, subscription=six["more"], after={"Difference": "seats", "Theirs": "30"}
    )
    wanted = {position: words for position, _, words, *_ in bulk.sheet(run)}
    of_name = {name: wanted[str(run.rows.get(subscription=one, position__lt=99).position)] for name, one in six.items()}
    assert of_name["more"] == "Seats: 25 here, 30 there"
    assert of_name["paused"] == "Status: Active here, Paused there"
    assert of_name["runs there"] == "Status: Cancelled here, Running there"
    assert wanted[str(old.position)] == "Seats: 30 there"


def test_strangers_cannot_be_settled(six, cast, emulator):
    Drift.objects.create(
        vendor="kaspersky", subscriber_id="LEGACY", field="unknown_here", ours="No", theirs="Started",
        found_at=six["more"].created_at, seen_at=six["more"].created_at,
    )  # fmt: skip
    assert draft("take_theirs", cast.operator).total == 6
    assert len(list(Drifting(reconciliation.open_drift(), "all").lines())) == 6


def test_queries_do_not_grow_with_rows(cast, at_vendor, emulator):
    sku = SKUFactory()

    def queries(many):
        for _ in range(many):
            at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30)
        reconcile()
        new = Drift.objects.order_by("-pk")[:many].values("pk")
        run = bulk.draft(
            "take_theirs",
            Drifting(Drift.objects.filter(pk__in=list(new.values_list("pk", flat=True))), ""),
            actor=cast.operator,
            given={},
        )
        BulkRun.objects.filter(pk=run.pk).update(status="running", reason="test")
        with CaptureQueriesContext(connection) as captured:
            for _ in bulk.place(run):
                pass
        assert run.placed == many
        return len(captured)

    assert queries(2) == queries(15)
