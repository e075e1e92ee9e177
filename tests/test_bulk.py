"""The engine of bulk work: chosen, seen, placed set by set, stopped and gone on with, told row by row."""

import threading
from collections import Counter
from contextlib import suppress

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, bulk, fulfilment, lifecycle
from subscriptions.actions import BSS, COMMAND, NotAllowed
from subscriptions.bulk import Filtered, Line, Wanted
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRow, BulkRun, Event, Order, Subscription
from tests import many
from tests.factories import AccountFactory, OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

SUSPEND = Wanted("suspend", "late payers")


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def make():
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory()

    def rows(count, **details):
        return [SubscriptionFactory(account=account, sku=sku, **details) for _ in range(count)]

    return rows


class Rows:
    """What a file would list: subscriptions, numbers that are none of ours, and seats."""

    words = "file late.csv"

    def __init__(self, *named, seats=None):
        self.named, self.seats = named, seats

    def lines(self):
        for number, one in enumerate(self.named, 2):
            pk = one if isinstance(one, int) else one.pk
            yield Line(number, pk, {"Seats": self.seats} if self.seats else {}, f"SUB-{pk}")

    write = bulk.Listed.write


def begin(*rows, wanted=SUSPEND, seats=None, actor=None, audience=COMMAND):
    return bulk.begin(wanted, Rows(*rows, seats=seats), actor=actor, audience=audience)


def place(run, **options):
    """Go on with it, and tell its counts after each set."""
    bulk.go_on(run)
    sets = []
    with suppress(bulk.TooManyFailed):
        sets.extend((one.placed, one.refused) for one in bulk.place(run, **options))
    return sets


def see(*rows, wanted=SUSPEND, seats=None, actor=None, audience=COMMAND):
    *_, seen = bulk.preview(wanted, Rows(*rows, seats=seats), actor=actor, audience=audience)
    return seen


def outcomes(run):
    return list(run.rows.order_by("position").values_list("outcome", "code"))


def counts():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs")
        jobs = cursor.fetchone()[0]
    return jobs, *(model.objects.count() for model in (Order, Event, BulkRun, BulkRow))


# --- seeing ----------------------------------------------------------------------------------------------------------


def test_a_preview_counts_by_reason_with_examples_and_writes_nothing(make):
    can, suspended, cancelled = make(5), make(4, status="suspended"), make(1, status="cancelled")
    before, versions = counts(), [one.version for one in can]
    seen = see(*can, *suspended, *cancelled, 10**9)
    assert counts() == before
    assert [fresh(one).version for one in can] == versions
    assert seen.rows == 11
    assert {status: reason.count for status, reason in seen.can.items()} == {"placed": 5}
    assert {code: reason.count for code, reason in seen.cannot.items()} == {
        "suspended": 4, "cancelled": 1, "unknown": 1,
    }  # fmt: skip
    assert seen.can["placed"].examples == [(f"SUB-{one.pk}", "Status: active to suspended") for one in can[:3]]
    assert seen.cannot["suspended"].examples == [(f"SUB-{one.pk}", "Suspended already.") for one in suspended[:3]]
    assert seen.cannot["unknown"].sentence == "There is no subscription SUB-1000000000."


def test_a_preview_says_what_is_planned_and_what_it_costs(make):
    later = SubscriptionFactory(sku=SKUFactory(decrease_policy="next_period"))
    seen = see(*make(3), later, wanted=Wanted(lifecycle.SET_SEATS), seats=20)
    assert {status: reason.count for status, reason in seen.can.items()} == {"placed": 3, "scheduled": 1}
    assert seen.due == {}
    seen = see(*make(3), wanted=Wanted(lifecycle.SET_SEATS), seats=26)
    one = Order.objects.first()
    assert one is None
    assert seen.can["placed"].examples[0][1] == "Seats: 25 to 26"
    assert list(seen.due) == ["EUR"]
    assert seen.due["EUR"] > 0


def test_nothing_chosen_is_seen_too_and_cannot_be_begun(db):
    assert see().rows == 0
    with pytest.raises(NotAllowed) as refused:
        begin()
    assert refused.value.code == "nothing_chosen"
    assert not BulkRun.objects.exists()


def test_what_cannot_be_chosen_by_filters_is_chosen_by_none(make):
    running = make(3)
    make(2, status="suspended")
    chosen = Filtered(Subscription.objects.filter(status="active"), "status active")
    *_, seen = bulk.preview(SUSPEND, chosen, actor=None, audience=COMMAND)
    assert (seen.rows, seen.can["placed"].count) == (3, 3)
    assert seen.can["placed"].examples[0][0] == f"SUB-{running[0].pk:06d}"
    run = bulk.begin(SUSPEND, chosen, actor=None, audience=COMMAND)
    assert [row.subscription_id for row in run.rows.order_by("position")] == [one.pk for one in running]
    assert [row.position for row in run.rows.order_by("position")] == [1, 2, 3]
    assert (run.total, run.selection) == (3, "status active")


# --- placing ---------------------------------------------------------------------------------------------------------


def test_a_run_places_what_can_be_and_says_why_not_of_the_rest(make, cast):
    can, suspended = make(2), make(1, status="suspended")
    run = begin(can[0], *suspended, 10**9, can[1], actor=cast.operator, audience=BSS)
    assert counts()[1] == 0
    assert place(run) == [(2, 2)]
    assert outcomes(run) == [("placed", ""), ("refused", "suspended"), ("refused", "unknown"), ("placed", "")]
    assert (fresh(run).status, fresh(run).placed, fresh(run).refused, fresh(run).total) == ("done", 2, 2, 4)
    assert fresh(run).finished_at is not None
    for row, subscription in zip(run.rows.filter(outcome="placed").order_by("position"), can, strict=True):
        assert row.order.subscription == subscription
        assert (row.order.actor, row.order.audience, row.order.reason) == (cast.operator, "bss", "late payers")
        assert row.order.bulk_row == row
    assert run.rows.get(code="unknown").sentence == "There is no subscription SUB-1000000000."
    assert run.rows.get(code="unknown").subscription is None


def test_permission_is_asked_for_each_row(make, cast):
    run = begin(*make(2), actor=cast.auditor, audience=BSS)
    place(run)
    assert outcomes(run) == [("refused", "permission")] * 2


def test_who_loses_the_right_places_no_further_set(make, cast, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    run = begin(*make(6), actor=cast.operator, audience=BSS)
    for one in bulk.place(run):
        if one.placed == 2:
            type(cast.operator).objects.get(pk=cast.operator.pk).groups.clear()
    assert outcomes(run) == [("placed", "")] * 2 + [("refused", "permission")] * 4


def test_seats_go_up_or_down_by_what_there_is_when_it_is_decided(make):
    few, many, same = make(1, seats=10)[0], make(1, seats=40)[0], make(1, seats=20)[0]
    run = begin(few, many, same, wanted=Wanted(lifecycle.SET_SEATS, "agreed"), seats=20)
    Subscription.objects.filter(pk=few.pk).update(seats=30)
    place(run)
    assert outcomes(run) == [("placed", ""), ("placed", ""), ("refused", "same")]
    assert [order.action for order in Order.objects.order_by("pk")] == ["decrease", "decrease"]


def test_what_holds_for_all_rows_reaches_each(make):
    run = begin(*make(2), wanted=Wanted("cancel", "gone", {"when": "period_end"}))
    place(run)
    assert [order.status for order in Order.objects.all()] == ["scheduled", "scheduled"]
    day = make(1)[0].period_start
    wanted = Wanted("cancel", "gone", {"when": day.isoformat()})
    assert wanted.wish(1, {}).when == day


def test_a_chunk_costs_as_many_statements_as_a_small_one(make, monkeypatch):
    numbers = []
    for count in (25, 60):
        run = begin(*make(count), *make(5, status="suspended"))
        with CaptureQueriesContext(connection) as queries:
            place(run)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1] <= 25
    monkeypatch.setattr(bulk.runs, "CHUNK", 20)
    run = begin(*make(60))
    with CaptureQueriesContext(connection) as queries:
        assert place(run) == [(20, 0), (40, 0), (60, 0)]
    assert len(queries) <= 3 * numbers[0]


def test_jobs_come_with_the_orders_and_carry_many(make):
    run = begin(*make(30))
    place(run)
    with connection.cursor() as cursor:
        cursor.execute("SELECT task_name, queue_name FROM procrastinate_jobs")
        assert cursor.fetchall() == [("subscriptions.fulfil_many", "bulk")]


def broken(subscription):
    """What no code of today writes: a planned order whose words are missing."""
    OrderFactory(subscription=subscription, status="scheduled", action="increase", after={"Chairs": 30})


def test_a_row_that_raises_stands_alone(make, caplog):
    rows, wanted = make(9), Wanted(lifecycle.SET_SEATS, "agreed", {"planned": "keep"})
    broken(rows[4])
    seen = see(*rows, wanted=wanted, seats=30)
    assert (seen.able, seen.unable) == (8, 1)
    assert "KeyError" in seen.cannot["error"].sentence
    run = begin(*rows, wanted=wanted, seats=30)
    place(run)
    assert Counter(outcomes(run)) == {("placed", ""): 8, ("refused", "error"): 1}
    assert run.rows.get(code="error").subscription == rows[4]
    assert "KeyError" in run.rows.get(code="error").sentence
    assert (fresh(run).placed, fresh(run).refused, fresh(run).status) == (8, 1, "done")
    assert "row cannot be placed" in str([record.msg for record in caplog.records])


# --- stopping and going on -------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was_left(make, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 4)
    run = begin(*make(10))
    placing = bulk.place(run)
    next(placing)
    placing.close()
    assert (fresh(run).status, fresh(run).placed) == ("running", 4)
    bulk.stop(run)
    assert fresh(run).status == "stopped"
    assert place(fresh(run)) == [(8, 0), (10, 0)]
    assert place(fresh(run)) == []
    assert (fresh(run).status, Order.objects.count(), Event.objects.count()) == ("done", 10, 10)


def test_a_stop_by_somebody_else_ends_it_after_the_set(make, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 4)
    run = begin(*make(10))
    placing = bulk.place(run)
    next(placing)
    bulk.stop(fresh(run))
    assert [one.placed for one in placing] == [8]
    assert (fresh(run).status, fresh(run).finished_at) == ("stopped", None)
    assert list(bulk.place(fresh(run))) == [], "and nothing is placed until somebody wants it to go on"
    bulk.go_on(fresh(run))
    assert [one.placed for one in bulk.place(fresh(run))] == [10]


def test_a_stop_that_comes_too_late_stops_nothing(make):
    run = begin(*make(2))
    placing = bulk.place(run)
    next(placing)
    bulk.stop(fresh(run))
    assert list(placing) == []
    assert (fresh(run).status, fresh(run).placed) == ("done", 2)
    bulk.stop(run), bulk.go_on(run)
    assert fresh(run).status == "done"


class CutError(Exception):
    """The process ends here."""


def test_a_transaction_that_is_cut_leaves_its_rows_waiting(make, monkeypatch):
    run = begin(*make(3))
    wanted = Wanted(run.action, run.reason)
    before = counts()

    def cut(results):
        assert len(results) == 3
        raise CutError

    wishes = [wanted.wish(row.subscription_id, {}) for row in run.rows.all()]
    with pytest.raises(CutError):
        lifecycle.place_many(wishes, actor=None, audience=COMMAND, then=cut)
    assert counts() == before
    assert {one.version for one in Subscription.objects.all()} == {1}
    place(run)
    assert outcomes(run) == [("placed", "")] * 3


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_so_many_failures_end_it_and_nothing_is_placed_after_them(allowed, make):
    rows = [one for _ in range(5) for one in (*make(1), *make(1, status="suspended"))]
    run = begin(*rows)
    place(run, allow=allowed)
    assert outcomes(run) == [
        *[("placed", ""), ("refused", "suspended")] * allowed,
        *[("waiting", "")] * (10 - 2 * allowed),
    ]
    assert (fresh(run).status, fresh(run).placed, fresh(run).refused) == ("stopped", allowed, allowed)
    place(fresh(run), allow=1)
    assert Counter(outcomes(run))["refused", "suspended"] == allowed + 1
    place(fresh(run))
    assert Counter(outcomes(run)) == {("placed", ""): 5, ("refused", "suspended"): 5}
    assert fresh(run).status == "done"


def test_rows_that_raise_count_among_the_failures_that_are_allowed(make):
    rows, wanted = make(8), Wanted(lifecycle.SET_SEATS, "agreed", {"planned": "keep"})
    for one in rows[1::2]:
        broken(one)
    run = begin(*rows, wanted=wanted, seats=30)
    place(run, allow=2)
    assert outcomes(run) == [*[("placed", ""), ("refused", "error")] * 2, *[("waiting", "")] * 4]
    assert (fresh(run).status, fresh(run).refused) == ("stopped", 2)


def test_what_fails_at_the_vendor_counts_as_well(make, emulator, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    run = begin(*make(6))
    placing = bulk.place(run, allow=2)
    next(placing)
    fulfilment.fulfil_many.func(list(Order.objects.values_list("pk", flat=True)))
    assert {one.status for one in Order.objects.all()} == {"failed"}, "the vendor knows none of them"
    with pytest.raises(bulk.TooManyFailed):
        next(placing)
    assert fresh(run).status == "stopped"
    assert Counter(outcomes(run)) == {("placed", ""): 2, ("waiting", ""): 4}


def test_what_was_placed_before_and_fails_since_counts_and_what_had_failed_or_is_of_another_run_does_not(
    make, emulator, monkeypatch
):
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    run, other = begin(*make(8)), begin(*make(2))

    def fail(*orders):
        fulfilment.fulfil_many.func([one.pk for one in orders])

    next(bulk.place(run))
    earlier = list(Order.objects.order_by("pk"))
    fail(earlier[1])
    placing = bulk.place(fresh(run), allow=1)
    next(placing)
    place(other)
    fail(*Order.objects.filter(bulk_row__run=other))
    next(placing)
    fail(earlier[0])
    with pytest.raises(bulk.TooManyFailed):
        next(placing)
    assert Counter(outcomes(run)) == {("placed", ""): 6, ("waiting", ""): 2}


def test_failures_are_counted_without_a_look_at_what_has_not_failed(emulator, monkeypatch):
    many.subscriptions(500, ended_ago=-20)
    monkeypatch.setattr(bulk.runs, "CHUNK", 50)
    run = bulk.begin(SUSPEND, Filtered(Subscription.objects.all(), "all"), actor=None, audience=COMMAND)
    placing = bulk.place(run, allow=400)
    next(placing)
    fulfilment.fulfil_many.func(list(Order.objects.values_list("pk", flat=True))[:3])
    for _ in range(8):
        next(placing)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as queries:
        next(placing)
    [counting] = [one["sql"] for one in queries if "needs_attention" in one["sql"] and "COUNT(" in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {counting}")
        [[plan]] = cursor.fetchone()
    assert read_by(plan["Plan"]) <= 3 * 3, "of 500 orders and as many rows"


def read_by(node):
    """How many rows of tables a plan has read."""
    own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return (own if "Relation Name" in node else 0) + sum(read_by(inner) for inner in node.get("Plans", ()))


@pytest.mark.django_db(transaction=True)
def test_two_processes_on_one_run_decide_about_each_row_once(make, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 7)
    run = begin(*make(60))
    failed = []

    def work():
        try:
            place(BulkRun.objects.get(pk=run.pk))
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not failed
    assert outcomes(run) == [("placed", "")] * 60
    assert (fresh(run).placed, fresh(run).refused, fresh(run).status) == (60, 0, "done")
    assert Order.objects.count() == Event.objects.count() == 60
    assert {one.version for one in Subscription.objects.all()} == {2}


def test_a_click_meanwhile_is_left_alone(make):
    rows = make(3)
    run = begin(*rows)
    lifecycle.place(Wish(rows[1].pk, "increase", {"Seats": 30}), actor=None, audience=actions.SYSTEM)
    place(run)
    assert outcomes(run) == [("placed", ""), ("refused", "order_open"), ("placed", "")]


# --- what became of it -----------------------------------------------------------------------------------------------


@pytest.fixture
def ended(make, at_vendor, emulator):
    """A run of which rows were done, refused, failed at the vendor, and one is still under way."""
    done, failed, waits = make(2), make(1), make(1)
    for one in done:
        at_vendor(one)
    run = begin(*done, *make(1, status="suspended"), *failed, *waits, 10**9)
    place(run)
    fulfilment.fulfil_many.func([one.orders.get().pk for one in (*done, *failed)])
    return run


def test_results_tell_ours_and_the_vendors_words(ended):
    rows = list(bulk.results(ended))
    assert [(row.position, row.outcome, row.code) for row in rows] == [
        (2, "done", ""), (3, "done", ""), (4, "refused", "suspended"), (5, "failed", "5"), (6, "in progress", ""),
        (7, "refused", "unknown"),
    ]  # fmt: skip
    assert rows[2].sentence == "Suspended already."
    assert "(code 5). The licence service does not know" in rows[3].sentence
    assert rows[0].order == str(ended.rows.get(position=2).order)
    assert rows[0].finished_at is not None
    assert rows[5].subscription == "SUB-1000000000"
    assert bulk.tally(ended) == {"done": 2, "refused": 2, "failed": 1, "in progress": 1}
    assert [row.position for row in bulk.results(ended, only=[3, 5])] == [3, 5]


def test_reasons_are_counted_with_an_example(ended):
    found = bulk.reasons(ended)
    assert {code: reason.count for code, reason in found.items()} == {"suspended": 1, "5": 1, "unknown": 1}
    assert found["unknown"].sentence == "There is no subscription SUB-1000000000."
    assert len(found["5"].examples) == 1


def test_what_is_under_way_is_counted_from_the_first_that_is(ended):
    assert bulk.under_way(ended) == (1, 6)
    assert bulk.under_way(ended, 6) == (1, 6)
    assert bulk.under_way(ended, 7) == (0, None)


# --- what PostgreSQL holds -------------------------------------------------------------------------------------------


def test_a_row_is_decided_about_once(make):
    run = begin(*make(1))
    place(run)
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        run.rows.update(outcome="waiting", order=None)


@pytest.mark.parametrize("change", [{"position": 9}, {"text": "other"}, {"after": {"Seats": 1}}])
def test_what_a_row_asked_is_final(change, make):
    run = begin(*make(1))
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        run.rows.update(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "other"}, {"action": "cancel"}, {"selection": ""}, {"given": {"a": 1}}, {"preview": {}},
        {"status": "draft"},
    ],
)  # fmt: skip
def test_what_a_run_asked_is_final(change, make):
    run = begin(*make(1))
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        BulkRun.objects.filter(pk=run.pk).update(**change)


def test_runs_and_rows_stay(make):
    run = begin(*make(1))
    for rows in (run.rows.all(), BulkRun.objects.all()):
        with pytest.raises(DatabaseError, match="Cannot delete"), transaction.atomic():
            rows._raw_delete(rows.db)


def test_a_run_has_a_reason_and_a_placed_row_its_order(make):
    with pytest.raises(IntegrityError, match="bulk_run_has_a_reason"):
        begin(*make(1), wanted=Wanted("suspend", ""))
    run = begin(*make(1))
    with pytest.raises(IntegrityError, match="bulk_row_placed_has_its_order"), transaction.atomic():
        run.rows.update(outcome="placed")
