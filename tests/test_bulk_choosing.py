"""All that match a filter, when they are many: the worker writes them down, set by set, and then looks at them."""

import threading

import pytest
from django.db import DatabaseError, connection, transaction

from subscriptions import bulk, filters, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.bulk import drafts, jobs, tasks
from subscriptions.models import BulkRow, BulkRun, Subscription
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory
from tests.test_bulk_drafts import KilledError, fresh, waiting, work

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

WORDS = [("q", "acme"), ("status", "active,suspended")]


@pytest.fixture
def make():
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory()

    def rows(count, **details):
        return [SubscriptionFactory(**{"account": account, "sku": sku, **details}) for _ in range(count)]

    return rows


@pytest.fixture
def mixed(make):
    """Seven that the words find, among others."""
    other = AccountFactory(name="Globex")
    for _ in range(3):
        make(1), make(1, status="cancelled"), make(1, account=other), make(1, status="suspended")
    make(1)


@pytest.fixture
def many(monkeypatch):
    """Three rows are many, two are written together, and each job does one step."""
    monkeypatch.setattr(drafts, "CHUNK", 2)
    monkeypatch.setattr(drafts, "CHOSEN_TOGETHER", 2)
    monkeypatch.setattr(tasks, "SLICE", 0)


@pytest.fixture
def draft(cast):
    def of(words=WORDS, stem="suspend", given=None):
        return bulk.draft(stem, bulk.narrowed(words), actor=cast.operator, given=given)

    return of


def in_the_list():
    return list(filters.narrow(Subscription.objects.all(), WORDS).order_by("pk").values_list("pk", flat=True))


def written(run):
    return list(run.rows.order_by("position").values_list("position", "subscription"))


def all_of_them():
    return list(enumerate(in_the_list(), 1))


def test_what_an_older_worker_took_for_a_draft_of_no_rows_is_looked_at_anew(mixed, many, draft):
    run = draft(given={})
    BulkRun.objects.filter(pk=run.pk).update(preview={"rows": 0, "at": "2027-02-01T10:00:00+00:00"})
    work()
    assert bulk.preview_of(fresh(run)).rows == 7


def test_many_are_written_by_the_worker_as_the_list_shows_them(mixed, many, draft):
    run = draft(given={})
    assert (written(run), run.total, run.selection) == ([], 0, "search acme, status active,suspended")
    assert [one[:2] for one in waiting()] == [("look", run.pk)]
    assert len(in_the_list()) == 7
    for count in (2, 4, 6, 7):
        assert fresh(run).choosing is not None
        tasks.look.func(run.pk)
        assert written(run) == all_of_them()[:count]
        assert fresh(run).total == count, "what is there can be told while the rest is written"
        assert bulk.preview_of(fresh(run)).rows == 0, "and nothing is counted before"
    assert fresh(run).choosing is None
    work()
    seen = bulk.preview_of(fresh(run))
    assert (seen.rows, seen.able, seen.unable, seen.at is not None) == (7, 4, 3, True)
    bulk.confirm(run, "late")
    work()
    assert (fresh(run).status, fresh(run).placed, fresh(run).refused) == ("done", 4, 3)


def test_few_are_written_and_looked_at_at_once(mixed, draft, monkeypatch):
    monkeypatch.setattr(drafts, "CHUNK", 7)
    run = draft(given={})
    assert (written(run), run.choosing, waiting()) == (all_of_them(), None, [])
    assert bulk.preview_of(run).rows == 7
    monkeypatch.setattr(drafts, "CHUNK", 6)
    assert written(draft(given={})) == []


def test_a_set_that_ends_with_the_last_one_leaves_none_out(make, many, draft):
    make(4)
    run = draft(given={})
    work()
    assert (written(run), fresh(run).choosing, fresh(run).total) == (all_of_them(), None, 4)
    assert bulk.preview_of(fresh(run)).at


def test_what_is_made_meanwhile_is_none_of_them(mixed, many, draft, make):
    run, there = draft(given={}), all_of_them()
    tasks.look.func(run.pk)
    make(3)
    work()
    assert written(run) == there


@pytest.mark.parametrize(("stem", "given"), [("suspend", {}), (lifecycle.SET_SEATS, None)])
def test_a_worker_that_dies_among_them_loses_none_and_doubles_none(stem, given, mixed, many, draft, monkeypatch):
    run = draft(stem=stem, given=given)
    tasks.look.func(run.pk)
    # Dies between its writing and its commit, at an instant that no signal would hit.
    write = drafts.write_next

    def die(*arguments):
        write(*arguments)
        raise KilledError

    monkeypatch.setattr(drafts, "write_next", die)
    with pytest.raises(KilledError):
        work()
    assert (written(run), fresh(run).total) == (all_of_them()[:2], 2)
    assert waiting() == [], "its job went with it"
    monkeypatch.setattr(drafts, "write_next", write)
    tasks.upkeep.func(0)
    assert [one[:2] for one in waiting()] == [("look", run.pk)]
    work()
    assert (written(run), fresh(run).total) == (all_of_them(), 7)
    assert jobs.wake() == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_write_each_row_once(make, many, draft):
    make(60)
    run, failed = draft(given=None), []

    def at_work():
        try:
            for _ in tasks._looks(BulkRun.objects.get(pk=run.pk)):
                pass
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=at_work) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not failed
    assert (written(run), fresh(run).total, fresh(run).choosing) == (all_of_them(), 60, None)


def test_nothing_is_confirmed_before_all_are_chosen(mixed, many, draft):
    run = draft(given={})
    tasks.look.func(run.pk)
    with pytest.raises(NotAllowed) as refused:
        bulk.confirm(run, "late")
    assert refused.value.code == "not_chosen"
    with pytest.raises(DatabaseError, match="bulk_run_is_chosen_when_confirmed"), transaction.atomic():
        BulkRun.objects.filter(pk=run.pk).update(status="running", reason="late")


@pytest.mark.parametrize("steps", [0, 2, 4])
def test_seats_can_be_said_while_they_are_chosen_and_afterwards(steps, mixed, many, draft):
    run = draft(stem=lifecycle.SET_SEATS, given=None)
    for _ in range(steps):
        tasks.look.func(run.pk)
    bulk.ask(fresh(run), {"seats": 30}, "agreed")
    assert (bulk.preview_of(fresh(run)).rows, len(written(run))) == (0, min(2 * steps, 7))
    work()
    assert written(run) == all_of_them()
    assert (bulk.preview_of(fresh(run)).rows, fresh(run).given) == (7, {"seats": 30})


def test_they_are_chosen_before_the_seats_are_said(mixed, many, draft):
    run = draft(stem=lifecycle.SET_SEATS, given=None)
    work()
    assert (written(run), fresh(run).choosing, bulk.preview_of(fresh(run))) == (all_of_them(), None, None)
    assert jobs.wake() == []


def test_words_that_find_nothing_any_more_say_so_and_are_not_tried_for_ever(make, many, draft):
    company = AccountFactory(name="Initech")
    make(5, account=company)
    run = draft([("account", "initech")], given={})
    tasks.look.func(run.pk)
    type(company).objects.filter(pk=company.pk).update(name="Initrode")
    work()
    assert fresh(run).stopped_because == (
        "The others cannot be chosen any more. account: There is no company “initech”. Choose them in the list again."
    )
    assert (len(written(run)), jobs.wake()) == (2, [])
    type(company).objects.filter(pk=company.pk).update(name="Initech")
    tasks.look.func(run.pk)
    assert len(written(run)) == 2
    for act in (lambda: bulk.confirm(run, "late"), lambda: bulk.ask(run, {}, "late")):
        with pytest.raises(NotAllowed, match="cannot be chosen any more") as refused:
            act()
        assert refused.value.code == "not_chosen"


def test_a_draft_that_is_forgotten_meanwhile_is_left(mixed, many, draft):
    run = draft(given={})
    BulkRow.objects.all()._raw_delete("default"), BulkRun.objects.all()._raw_delete("default")
    assert drafts.look(run) is False
    assert not BulkRow.objects.exists()
