"""Runs of BSS: chosen, looked at by the worker, confirmed, placed by jobs that follow each other."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from subscriptions import actions, bulk, clock, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.bulk import drafts, jobs, tasks
from subscriptions.filters import BadFilter
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRow, BulkRun, Order, Subscription
from tests.factories import AccountFactory, ProductFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def make():
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory(product=ProductFactory(name="Endpoint"))

    def rows(count, **details):
        return [SubscriptionFactory(**{"account": account, "sku": sku, **details}) for _ in range(count)]

    return rows


@pytest.fixture
def draft(cast):
    def of(*rows, stem="suspend", given=None, actor=cast.operator):
        return bulk.draft(stem, bulk.ticked([one.pk for one in rows]), actor=actor, given=given or {})

    return of


@pytest.fixture
def many(monkeypatch):
    """Two rows are many, and each job does one step."""
    monkeypatch.setattr(drafts, "CHUNK", 2)
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    monkeypatch.setattr(tasks, "SLICE", 0)


def waiting():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT task_name, args->>'run_id', priority, lock FROM procrastinate_jobs"
            " WHERE task_name LIKE 'subscriptions.bulk%' ORDER BY id"
        )
        return [(name.removeprefix("subscriptions.bulk_"), int(run), *more) for name, run, *more in cursor.fetchall()]


def work():
    """Run the jobs of runs, one after the other, until there are none; returns how many there were."""
    done = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM procrastinate_jobs WHERE id = (SELECT min(id) FROM procrastinate_jobs"
                " WHERE task_name LIKE 'subscriptions.bulk%') RETURNING task_name, (args->>'run_id')::bigint"
            )
            job = cursor.fetchone()
        if job is None:
            return done
        {jobs.LOOK: tasks.look, jobs.PLACE: tasks.place}[job[0]].func(job[1])
        done += 1


# --- choosing --------------------------------------------------------------------------------------------------------


def test_words_choose_what_the_list_shows_and_are_remembered(make):
    rows, other = make(2), AccountFactory(name="17")
    make(1, status="cancelled"), make(1, account=other)
    product = rows[0].sku.product
    chosen = bulk.narrowed([("q", "acme"), ("status", "active"), ("product", str(product.pk)), ("account", " ")])
    assert set(chosen.subscriptions) == set(rows)
    assert chosen.words == "search acme, status active, product Endpoint"
    assert bulk.narrowed([("account", str(other.pk))]).words == "account 17"
    assert (bulk.narrowed([]).words, bulk.narrowed([]).subscriptions.count()) == ("all subscriptions", 4)
    with pytest.raises(BadFilter):
        bulk.narrowed([("status__exact", "active")])


def test_nothing_chosen_leaves_no_draft(draft):
    with pytest.raises(NotAllowed, match="No subscription was chosen"):
        draft()
    assert not BulkRun.objects.exists()


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_few_are_looked_at_at_once_and_nothing_is_placed(make, draft, cast):
    can, cannot = make(2), make(1, status="suspended")
    run = draft(*can, *cannot)
    assert (run.status, run.total, run.actor, run.audience, run.reason) == ("draft", 3, cast.operator, "bss", "")
    seen = bulk.preview_of(fresh(run))
    assert (seen.rows, seen.able, seen.unable, list(seen.cannot)) == (3, 2, 1, ["suspended"])
    assert seen.can["placed"].examples == [(str(one), "Status: active to suspended") for one in can]
    assert seen.at <= clock.now()
    assert waiting() == []
    assert not Order.objects.exists()


def test_many_are_looked_at_by_jobs_that_follow_each_other(make, draft, many):
    run = draft(*make(5), stem=lifecycle.SET_SEATS, given={"seats": 26})
    assert bulk.preview_of(run).rows == 0
    # What somebody waits for goes before what is placed, and after every click.
    assert waiting() == [("look", run.pk, lifecycle.AFTER_CLICKS + 1, f"bulk-run-{run.pk}")]
    jobs.owe(jobs.LOOK, run)
    assert len(waiting()) == 1, "one is enough"
    assert work() == 3
    seen = bulk.preview_of(fresh(run))
    assert (seen.rows, seen.able, seen.at is not None) == (5, 5, True)
    [one] = bulk.preview(
        bulk.Wanted(lifecycle.SET_SEATS, given={"seats": 26}), bulk.narrowed([]), actor=run.actor, audience=actions.BSS
    )
    assert seen.due == one.due
    assert isinstance(seen.due["EUR"], Decimal)
    assert seen.due["EUR"] > 0
    assert (seen.can, seen.cannot) == (one.can, one.cannot)


def test_what_is_asked_meanwhile_counts_and_what_was_looked_at_for_it_before_does_not(make, draft, many):
    run = draft(*make(5))
    early = fresh(run)
    bulk.ask(run, {"then": "2027-03-01"}, "late payers")
    assert drafts.look(early) is False
    assert fresh(run).preview == {}
    work()
    assert bulk.preview_of(fresh(run)).able == 5
    assert (fresh(run).given, fresh(run).reason) == ({"then": "2027-03-01"}, "late payers")


def test_before_the_seats_are_said_there_is_nothing_to_look_at(make, cast, many):
    run = bulk.draft(lifecycle.SET_SEATS, bulk.ticked([one.pk for one in make(3)]), actor=cast.operator, given=None)
    assert (bulk.preview_of(run), waiting(), jobs.wake()) == (None, [], [])
    with pytest.raises(NotAllowed) as refused:
        bulk.confirm(run, "agreed")
    assert refused.value.code == "not_looked_at"


# --- confirming ------------------------------------------------------------------------------------------------------


def test_confirming_owes_one_job_however_often_it_is_done(make, draft):
    run = draft(*make(2))
    bulk.confirm(run, "late payers")
    assert (fresh(run).status, fresh(run).reason, Order.objects.count()) == ("running", "late payers", 0)
    assert waiting() == [("place", run.pk, lifecycle.AFTER_CLICKS, f"bulk-run-{run.pk}")]
    for again in (lambda: bulk.confirm(fresh(run), "other"), lambda: bulk.ask(fresh(run), {}, "other")):
        with pytest.raises(NotAllowed) as refused:
            again()
        assert refused.value.code == "confirmed"
    assert len(waiting()) == 1
    assert work() == 1
    assert (fresh(run).status, fresh(run).placed, fresh(run).reason) == ("done", 2, "late payers")
    tasks.place.func(run.pk)
    assert Order.objects.count() == 2


def test_figures_that_are_older_than_a_quote_is_honoured_are_not_confirmed(make, draft, monkeypatch):
    run = draft(*make(2))
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=16))
    with pytest.raises(NotAllowed) as refused:
        bulk.confirm(run, "late")
    assert (refused.value.code, fresh(run).status, waiting()) == ("too_old", "draft", [])


def test_what_cannot_be_done_at_all_is_not_confirmed(make, draft):
    with pytest.raises(NotAllowed) as refused:
        bulk.confirm(draft(*make(2, status="cancelled")), "late")
    assert refused.value.code == "nothing_possible"


@pytest.mark.parametrize(
    ("stem", "status", "given", "placed"),
    [
        ("suspend", "active", {"then": "2027-02-01"}, {("suspend", "placed"), ("activate", "scheduled")}),
        ("activate", "suspended", {"when": "2026-12-24"}, {("activate", "scheduled")}),
        ("cancel", "active", {"when": "period_end"}, {("cancel", "scheduled")}),
        ("set_seats", "active", {"seats": 30}, {("increase", "placed")}),
        ("set_seats", "active", {"seats": 20, "when": "2026-12-20"}, {("decrease", "scheduled")}),
    ],
)
def test_what_holds_for_all_reaches_each(stem, status, given, placed, make, draft, monkeypatch):
    now = clock.now().replace(year=2026, month=12, day=1)
    monkeypatch.setattr(clock, "now", lambda: now)
    run = draft(*make(2, status=status), stem=stem, given=given)
    assert bulk.preview_of(run).able == 2
    bulk.confirm(run, "agreed")
    work()
    assert {(one.action, one.status) for one in Order.objects.all()} == placed
    wanted = {line[2] for line in bulk.sheet(run)}
    assert wanted == ({f"Seats: {given['seats']}"} if "seats" in given else {""})


# --- placing ---------------------------------------------------------------------------------------------------------


def test_rows_that_changed_since_they_were_looked_at_are_refused_and_the_others_done(make, draft):
    rows = make(4)
    run = draft(*rows)
    assert bulk.preview_of(run).able == 4
    lifecycle.place(Wish(rows[1].pk, "increase", {"Seats": 30}), actor=None, audience=actions.SYSTEM)
    Subscription.objects.filter(pk=rows[2].pk).update(status="suspended")
    bulk.confirm(run, "late")
    work()
    assert [(row.outcome, row.code) for row in run.rows.order_by("position")] == [
        ("placed", ""), ("refused", "order_open"), ("refused", "suspended"), ("placed", ""),
    ]  # fmt: skip
    assert (fresh(run).placed, fresh(run).refused) == (2, 2)


def test_what_another_tab_has_asked_for_is_not_confirmed_unseen(make, draft):
    seen = draft(*make(1), stem="cancel", given={"when": "period_end"})
    bulk.ask(fresh(seen), {"when": "now"}, "")
    with pytest.raises(NotAllowed, match="in another tab"):
        bulk.confirm(seen, "late")
    assert fresh(seen).status == "draft"


@pytest.mark.parametrize("lost", ["group", "account"])
def test_somebody_who_lost_the_right_meanwhile_places_nothing(lost, make, draft, cast, many):
    run = draft(*make(4))
    work()
    bulk.confirm(run, "late")
    [(name, *_)] = waiting()
    assert name == "place"
    tasks.place.func(run.pk)
    assert fresh(run).placed == 2
    if lost == "group":
        cast.operator.groups.clear()
    else:
        type(cast.operator).objects.filter(pk=cast.operator.pk).update(is_active=False)
    work()
    assert [(row.outcome, row.code) for row in run.rows.order_by("position")] == [
        *[("placed", "")] * 2, *[("refused", "permission")] * 2,
    ]  # fmt: skip
    assert run.rows.last().sentence.startswith("Your staff group may not suspend subscriptions.")


def test_a_run_that_is_stopped_waits_until_it_is_resumed(make, draft, many):
    run = draft(*make(6))
    work()
    bulk.confirm(run, "late")
    tasks.place.func(run.pk)
    bulk.stop(run)
    assert work() == 1
    assert (fresh(run).status, fresh(run).placed, jobs.wake()) == ("stopped", 2, [])
    bulk.resume(run), bulk.resume(run)
    assert len(waiting()) == 1
    work()
    assert (fresh(run).status, fresh(run).placed, Order.objects.count()) == ("done", 6, 6)
    bulk.resume(run)
    assert (fresh(run).status, waiting()) == ("done", [])


def test_a_run_that_cannot_be_placed_at_all_is_not_tried_for_ever(make, draft, many):
    run = draft(*make(2))
    work()
    BulkRun.objects.filter(pk=run.pk).update(given={"when": "rubbish"})
    bulk.confirm(fresh(run), "late")
    work()
    assert (fresh(run).status, jobs.wake(), Order.objects.count()) == ("stopped", [], 0)
    assert "It could not be placed: ValueError. See the log" in fresh(run).stopped_because


class KilledError(BaseException):
    """The worker ends here, and no code of ours has a say in it."""


def test_a_run_whose_worker_dies_in_a_set_goes_on_by_itself(make, draft, many, monkeypatch):
    run = draft(*make(6))
    work()
    bulk.confirm(run, "late")
    tasks.place.func(run.pk)
    assert fresh(run).placed == 2
    mark = bulk.runs._mark

    def die(*arguments):
        mark(*arguments)
        raise KilledError

    monkeypatch.setattr(bulk.runs, "_mark", die)
    with pytest.raises(KilledError):
        work()
    monkeypatch.undo()
    assert (fresh(run).placed, Order.objects.count(), run.rows.filter(outcome="placed").count()) == (2, 2, 2)
    assert waiting() == [], "its job went with it"
    tasks.upkeep.func(0)
    assert [one[:2] for one in waiting()] == [("place", run.pk)]
    tasks.upkeep.func(0)
    assert len(waiting()) == 1
    work()
    assert (fresh(run).status, fresh(run).placed) == ("done", 6)
    assert Order.objects.values("subscription").distinct().count() == Order.objects.count() == 6


def test_a_look_whose_job_was_lost_goes_on_by_itself(make, draft, many):
    run = draft(*make(5))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    assert jobs.wake() == [run.pk]
    work()
    assert bulk.preview_of(fresh(run)).rows == 5
    assert jobs.wake() == []


def test_a_run_of_a_command_is_left_to_it(make):
    make(2)
    bulk.begin(bulk.Wanted("suspend", "late"), bulk.narrowed([]), actor=None, audience=actions.COMMAND)
    assert jobs.wake() == []


def test_a_job_that_is_being_done_is_not_given_twice(make, draft, many):
    run = draft(*make(3))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing'")
    assert jobs.wake() == []
    assert jobs.owe(jobs.LOOK, run) is True, "the one after it is"


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_a_draft_that_nobody_confirms_is_forgotten_after_a_week(make, draft, monkeypatch):
    rows, now = make(2), clock.now()
    old, kept = draft(*rows), draft(*rows)
    bulk.confirm(kept, "late")
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=6))
    young = draft(*rows)
    tasks.upkeep.func(0)
    assert BulkRun.objects.count() == 3
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=8))
    tasks.upkeep.func(0), tasks.upkeep.func(0)
    assert set(BulkRun.objects.all()) == {kept, young}
    assert BulkRow.objects.count() == 4
    tasks.look.func(old.pk), tasks.place.func(old.pk)


def test_only_drafts_can_be_deleted(make, draft):
    run = draft(*make(1))
    bulk.confirm(run, "late")
    for rows in (run.rows.all(), BulkRun.objects.all()):
        with pytest.raises(DatabaseError, match="Cannot delete"), transaction.atomic():
            rows._raw_delete(rows.db)
