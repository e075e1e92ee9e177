"""All that match the list of subscriptions, when they are many: the pages while they are chosen and afterwards."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import bulk
from subscriptions.bulk import drafts, tasks
from subscriptions.models import BulkRow, BulkRun, Subscription
from tests.factories import AccountFactory
from tests.test_bss_bulk import CHOOSE, LIST, RUNS, address, choose, confirm, fresh, make, operator, text, work

__all__ = ["choose", "confirm", "make", "operator"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


@pytest.fixture
def many(monkeypatch):
    """Two rows are many, two are written together, and each job does one step."""
    monkeypatch.setattr(drafts, "CHUNK", 2)
    monkeypatch.setattr(drafts, "CHOSEN_TOGETHER", 2)
    monkeypatch.setattr(tasks, "SLICE", 0)


@pytest.fixture
def matching(operator):
    def of(words="status=active", action="suspend"):
        answer = operator.post(CHOOSE, {"which": "matching", "list": words, "action": action})
        assert answer.url.startswith(RUNS), answer.url
        return BulkRun.objects.get(pk=answer.url.split("/")[-3])

    return of


def look(run, times=1):
    for _ in range(times):
        tasks.look.func(run.pk)


def test_the_page_says_how_many_are_chosen_until_it_says_what_would_happen(make, many, matching, operator, confirm):
    make(5), make(2, status="cancelled")
    run = matching()
    for steps, said in ((0, "0 chosen so far."), (1, "2 chosen so far."), (1, "4 chosen so far.")):
        look(run, steps)
        page = operator.get(address(run))
        assert "Suspend: subscriptions that are being chosen" in text(page)
        assert said in text(page)
        assert "You can close this page" in text(page)
        assert 'hx-trigger="load delay:1s"' in page.content.decode()
        assert 'name="confirm"' not in page.content.decode()
        assert "See what would happen" in text(page)
        assert "Suspend: subscriptions that are being chosen status active Not confirmed" in text(operator.get(RUNS))
    assert "Not all of them are chosen yet." in text(confirm(run))
    assert fresh(run).status == "draft"
    look(run)
    assert "Suspend: 5 subscriptions" in text(operator.get(address(run)))
    assert "5 selected, 0 looked at" in text(operator.get(address(run)))
    look(run, 3)
    assert "5 selected: all can be suspended." in text(operator.get(address(run)))
    confirm(run)
    work(run)
    assert fresh(run).placed == 5


def test_seats_are_said_while_they_are_chosen_or_when_they_are(make, many, matching, operator):
    make(5)
    run = matching(action="set_seats")
    page = operator.get(address(run))
    assert "0 chosen so far." in text(page)
    assert 'hx-trigger="load delay:1s"' in page.content.decode()
    operator.post(address(run, "ask"), {"look": "yes", "seats": "30"})
    assert "0 chosen so far." in text(operator.get(address(run)))
    look(run, 6)
    assert "5 selected: all can have that many seats." in text(operator.get(address(run)))
    run = matching(action="set_seats")
    look(run, 3)
    page = operator.get(address(run))
    assert "Set seats: 5 subscriptions" in text(page)
    assert "See what would happen" in text(page)
    assert "hx-get" not in page.content.decode(), "there is nothing to wait for"


def test_what_cannot_be_taken_back_asks_for_the_number_of_all(make, many, matching, operator):
    make(5)
    run = matching(action="cancel")
    operator.post(address(run, "ask"), {"look": "yes", "ends": "now"})
    look(run)
    typed = {"reason": "gone", "confirm": "yes", "ends": "now"}
    assert "type the number that can be cancelled, once all were looked at:" in text(operator.get(address(run)))
    for number in ("2", "5", ""):
        answer = operator.post(address(run, "ask"), {**typed, "typed": number})
        assert answer.status_code == 422
        assert "Wait until they are, then type how many can be cancelled." in text(answer)
    look(run, 5)
    assert "type 5, the number that can be cancelled:" in text(operator.get(address(run)))
    assert operator.post(address(run, "ask"), {**typed, "typed": "2"}).status_code == 422
    assert fresh(run).status == "draft"
    operator.post(address(run, "ask"), {**typed, "typed": "5"})
    assert fresh(run).status == "running"


def test_words_that_find_nothing_any_more_say_so(make, many, matching, operator):
    account = AccountFactory(name="Initech")
    make(5, account=account)
    run = matching("account=initech")
    look(run)
    type(account).objects.filter(pk=account.pk).update(name="Initrode")
    look(run)
    page = operator.get(address(run))
    assert (
        "Not all could be chosen 2 chosen so far. The others cannot be chosen any more. account: There is no company"
        in text(page)
    )
    assert "hx-get" not in page.content.decode()
    assert 'name="look"' not in page.content.decode()
    assert "To the list of subscriptions" in text(page)
    assert "Only the person" not in text(page)
    assert "cannot be chosen any more" in text(operator.post(address(run, "ask"), {"look": "yes"}, follow=True))


def test_who_did_not_choose_them_can_watch(make, many, matching, cast, signed_in):
    make(5)
    run = matching()
    look(run)
    said = text(signed_in(cast.people["support"]).get(address(run)))
    assert "2 chosen so far." in said
    assert "Only the person who chose them can confirm it." in said


def test_a_malformed_filter_is_refused_at_once(make, many, operator):
    make(5)
    answer = operator.post(CHOOSE, {"which": "matching", "list": "status=gone", "action": "suspend"})
    assert answer.url.split("?")[0] == LIST
    assert "is none of: pending" in text(operator.get(LIST))
    assert not BulkRun.objects.exists()


def test_the_request_writes_no_rows_and_asks_no_more_for_more(make, matching, monkeypatch, operator):
    asked = []
    operator.get(LIST)
    for at_most in (100, 2):
        monkeypatch.setattr(drafts, "CHUNK", at_most)
        for count in (3, 20):
            make(count)
            with CaptureQueriesContext(connection) as queries:
                run = matching()
            asked.append(len(queries))
            assert BulkRow.objects.filter(run=run).count() == (Subscription.objects.count() if at_most == 100 else 0)
    assert asked[0] == asked[1]
    assert asked[2] == asked[3] < asked[0]
    assert bulk.preview_of(run).rows == 0
