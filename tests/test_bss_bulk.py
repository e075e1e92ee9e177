"""Many at once in BSS: chosen in the list, previewed, confirmed, watched, stopped, gone on with, downloaded."""

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse

from subscriptions import actions, bulk, clock, fulfilment, lifecycle
from subscriptions.bulk import drafts, tasks
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRow, BulkRun, Order, PriceBand
from tests.factories import AccountFactory, OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

LIST = "/bss/subscriptions/subscription/"
RUNS = "/bss/subscriptions/bulkrun/"
CHOOSE = f"{RUNS}choose/"
STAFF = ("support", "operator", "approver", "catalogue_manager", "auditor")
STEMS = ("suspend", "activate", "set_seats", "cancel")


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def address(run, act="change"):
    return reverse(f"admin:subscriptions_bulkrun_{act}", args=[run.pk])


def text(answer):
    """What can be read on a page, with every space of its source as one."""
    page = answer.content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<main") :]).split())


@pytest.fixture
def make():
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory(product__name="Endpoint")

    def rows(count, **details):
        return [SubscriptionFactory(**{"account": account, "sku": sku, **details}) for _ in range(count)]

    return rows


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def choose(operator):
    def ticked(*rows, action="suspend", **more):
        answer = operator.post(
            CHOOSE, {"which": "ticked", "ticked": [one.pk for one in rows], "action": action, **more}
        )
        assert answer.status_code == 302
        assert answer.url.startswith(RUNS), answer.url
        return BulkRun.objects.get(pk=answer.url.split("/")[-3])

    return ticked


@pytest.fixture
def confirm(operator):
    def with_reason(run, **entered):
        return operator.post(address(run, "ask"), {"reason": "late payers", "confirm": "yes", **entered}, follow=True)

    return with_reason


def work(run):
    while fresh(run).status == "running":
        tasks.place.func(run.pk)


# --- the list --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", STAFF)
def test_only_who_may_do_something_with_many_sees_boxes(person, cast, signed_in, make):
    [one] = make(1)
    page = signed_in(cast.people[person]).get(LIST).content.decode()
    assert (f'name="ticked" value="{one.pk}" aria-label="Choose {one}"' in page) is (person == "operator")
    assert ('id="bulk"' in page) is (person == "operator")


def test_each_act_needs_its_own_right(cast, signed_in, make):
    make(1)
    cast.operator.groups.clear()
    allowed = ("view_subscription", "increase_subscription", "suspend_subscription")
    cast.operator.user_permissions.set(Permission.objects.filter(codename__in=allowed))
    page = signed_in(cast.operator).get(LIST).content.decode()
    assert re.findall(r'<option value="(\w+)">', page[page.index('id="bulk-action"') :]) == ["suspend"]


def test_ticked_all_on_the_page_or_all_that_match(make, operator, choose):
    rows, other = make(3), make(1, account=AccountFactory(name="Globex"))
    run = choose(rows[0], rows[2])
    assert ([row.subscription for row in run.rows.all()], run.selection) == ([rows[0], rows[2]], "ticked in the list")
    page = operator.get(f"{LIST}?q=acme&status=active").content.decode()
    [on_page], [narrowed] = (re.findall(rf'name="{name}"\s+value="([^"]*)"', page) for name in ("on_page", "list"))
    assert narrowed == "q=acme&amp;status=active"
    chosen = {"on_page": on_page, "list": "q=acme&status=active&p=9", "action": "suspend"}
    operator.post(CHOOSE, {**chosen, "which": "page"})
    run = BulkRun.objects.first()
    assert (run.total, run.selection) == (3, "ticked in the list")
    operator.post(CHOOSE, {**chosen, "which": "matching"})
    run = BulkRun.objects.first()
    assert [row.subscription for row in run.rows.order_by("position")] == rows
    assert run.selection == "search acme, status active"
    operator.post(CHOOSE, {**chosen, "which": "matching", "list": ""})
    assert BulkRun.objects.first().total == len(rows + other)


@pytest.mark.parametrize(
    ("posted", "sentence"),
    [
        ({"action": ""}, "Choose what to do with them."),
        ({"action": "delete"}, "Choose what to do with them."),
        ({"ticked": []}, "Tick the subscriptions in the list first"),
        ({"ticked": ["x", "-1", "1" * 30]}, "Tick the subscriptions in the list first"),
        ({"ticked": ["99999999"]}, "No subscription was chosen."),
        ({"which": "matching", "list": "status=gone"}, "is none of: pending"),
        ({"which": "matching", "list": "sku__id__exact=1"}, "There is no filter “sku__id__exact”."),
        ({"which": "matching", "list": "q=nobody"}, "No subscription was chosen."),
    ],
)
def test_what_cannot_be_chosen_leads_back_to_the_list_with_the_reason(posted, sentence, make, operator):
    [one] = make(1)
    answer = operator.post(CHOOSE, {"which": "ticked", "ticked": [one.pk], "action": "suspend", **posted})
    assert answer.url.split("?")[0] == LIST
    assert sentence in text(operator.get(LIST))
    assert not BulkRun.objects.exists()


# --- the preview -----------------------------------------------------------------------------------------------------


def test_a_preview_says_how_many_can_and_why_the_others_cannot(make, operator, choose):
    can, suspended, cancelled = make(5), make(3, status="suspended"), make(1, status="cancelled")
    run = choose(*can, *suspended, *cancelled)
    page = operator.get(address(run))
    said = text(page)
    assert "9 selected: 5 can be suspended, 4 cannot." in said
    assert "Suspended already." in said
    assert "Cancelled on" in said
    for one in (*can[:3], *suspended, *cancelled):
        assert f'href="{LIST}{one.pk}/change/">{one}</a>' in page.content.decode()
    assert f"{can[3]}" not in said, "examples are few"
    assert "Suspend 5 subscriptions" in said
    assert not Order.objects.exists()
    assert operator.get(address(run)).content.count(b"<h1") == 1


def test_what_is_charged_stands_by_currency_on_page_and_button(make, operator, choose, confirm):
    dollars = AccountFactory(currency="USD")
    rows = [*make(2), SubscriptionFactory(account=dollars, sku=SKUFactory(prices={}))]
    PriceBand.objects.create(sku=rows[2].sku, seats_from=1, price="4.00", currency="USD")
    run = choose(*rows, action="set_seats")
    assert "See what would happen" in text(operator.get(address(run)))
    assert "can have" not in text(operator.get(address(run)))
    answer = operator.post(address(run, "ask"), {"look": "yes", "seats": "30"}, follow=True)
    said = text(answer)
    assert "3 selected: all can have that many seats." in said
    assert "Charged with them: EUR 35.00" in said
    assert "Charged with them: USD 20.00" in said
    assert "Set 3 subscriptions to 30 seats and charge EUR 35.00 and USD 20.00" in said
    assert 'value="30"' in answer.content.decode()
    confirm(run, seats="30")
    work(run)
    assert sorted(order.quote["lines"][0]["amount"] for order in Order.objects.all()) == ["17.50", "17.50", "20.00"]


def test_what_is_charged_on_a_later_day_stands_on_page_and_button(make, operator, choose, confirm):
    rows, day = make(2), (clock.now() + timedelta(days=40)).date()
    words = actions.date_words(day)
    run = choose(*rows)
    said = text(operator.post(address(run, "ask"), {"look": "yes", "on": day.isoformat()}, follow=True))
    [due] = re.findall(r"Charged on their day: (EUR \d+\.\d\d)", said)
    assert "Charged with them" not in said
    assert f"Suspend 2 subscriptions until {words} and charge {due} on that day" in said
    assert "one that would cost more than is shown here is left out" in said
    confirm(run, on=day.isoformat())
    work(run)
    amounts = [Decimal(order.quote["lines"][0]["amount"]) for order in Order.objects.filter(action="activate")]
    assert (len(amounts), f"EUR {sum(amounts)}") == (2, due)


def test_what_costs_more_when_it_is_placed_is_told_with_its_reason(make, operator, choose, confirm):
    rows = [*make(1), SubscriptionFactory()]
    run = choose(*rows, action="set_seats")
    operator.post(address(run, "ask"), {"look": "yes", "seats": "30"})
    PriceBand.objects.filter(sku=rows[1].sku).update(price="4.00")
    confirm(run, seats="30")
    work(run)
    page = operator.get(address(run))
    assert "2 of 2 rows decided: 1 placed, 1 refused." in text(page)
    assert "EUR 17.50 was shown and EUR 20.00 would be charged now, so nothing was done." in text(page)
    assert f">{rows[1]}</a>" in page.content.decode()


def test_planned_changes_that_would_not_happen_are_told(make, operator, choose):
    rows, frozen = make(2), make(1)
    for one in (*rows, *frozen):
        OrderFactory(subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20})
    due = actions.day(rows[0].orders.get().due_at, rows[0])
    page = operator.get(address(choose(*rows, *make(1), action="cancel")))
    example = f"A decrease to 20 seats is planned for {due}. {rows[0]} {rows[1]}"
    assert f"2 of them have a planned change, which will not happen: {example}" in text(page)
    assert page.content.decode().count(f"{LIST}{rows[0].pk}/change/") == 2
    said = text(operator.get(address(choose(*frozen, *make(1)))))
    assert "1 of them has a planned change, which stands still meanwhile: A decrease to 20 seats" in said
    assert "planned change" not in text(operator.get(address(choose(*make(2), action="cancel"))))


def test_nothing_is_placed_before_it_is_confirmed_and_then_by_the_worker(make, operator, choose, confirm):
    run = choose(*make(2))
    answer = operator.post(address(run, "ask"), {"reason": "", "confirm": "yes"})
    assert answer.status_code == 422
    assert "Enter a reason." in text(answer)
    assert "There is a problem" in text(answer)
    assert re.search(r"<title>\s*Error: Suspend: 2 subscriptions", answer.content.decode())
    assert fresh(run).status == "draft"
    said = text(confirm(run))
    assert "0 of 2 rows decided" in said
    assert not Order.objects.exists()
    work(run)
    assert {(one.actor, one.audience, one.reason) for one in Order.objects.all()} == {
        (run.actor, "bss", "late payers"),
    }  # fmt: skip


def test_what_was_not_looked_at_is_not_confirmed(make, operator, choose, confirm):
    run, day = choose(*make(2)), (clock.now() + timedelta(days=9)).date()
    said = text(confirm(run, on=day.isoformat()))
    assert "What you entered changes what would happen." in said
    assert f"Suspend 2 subscriptions until {actions.date_words(day)}" in said
    assert (fresh(run).status, fresh(run).given) == ("draft", {"then": day.isoformat()})
    assert "0 of 2 rows decided" in text(confirm(run, on=day.isoformat()))
    work(run)
    assert Order.objects.filter(action="activate", status="scheduled").count() == 2


def test_old_figures_are_looked_at_again(make, operator, choose, confirm, monkeypatch):
    run, now = choose(*make(2)), clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=16))
    said = text(confirm(run))
    assert "These figures were older than 15 minutes." in said
    assert fresh(run).status == "draft"
    confirm(run)
    assert fresh(run).status == "running"


def test_of_two_tabs_with_old_figures_one_asks_anew_and_confirms_while_the_other_asks(
    make, operator, choose, confirm, monkeypatch
):
    run, now = choose(*make(2)), clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=16))
    # Nothing else lies between the two transactions of the page where the other tab could come in.
    confirmed = drafts.confirm

    def first_in_the_other_tab(run, reason):
        monkeypatch.setattr(bulk, "confirm", confirmed)
        try:
            confirmed(run, reason)
        finally:
            confirm(run), confirm(run)

    monkeypatch.setattr(bulk, "confirm", first_in_the_other_tab)
    said = text(confirm(run))
    assert "0 of 2 rows decided" in said
    assert fresh(run).status == "running"


@pytest.mark.parametrize("entered", [{"confirm": "yes"}, {"look": "yes"}, {"confirm": "yes", "on": "2199-01-01"}])
def test_a_draft_that_is_forgotten_meanwhile_says_so(entered, make, operator, choose):
    run = choose(*make(2))

    def too_late(execute, query, *more):
        if "FOR NO KEY UPDATE" in query:
            BulkRow.objects.all()._raw_delete("default"), BulkRun.objects.all()._raw_delete("default")
        return execute(query, *more)

    with connection.execute_wrapper(too_late):
        answer = operator.post(address(run, "ask"), {"reason": "late", **entered}, follow=True)
    assert answer.redirect_chain == [(RUNS, 302)]
    assert "Nobody confirmed this for a week, and it was deleted." in text(answer)


@pytest.mark.parametrize(
    ("entered", "sentence"),
    [
        ({"ends": "now"}, "Type 2 to show that you mean all that can be cancelled."),
        ({"ends": "now", "typed": "3"}, "Type 2 to show that you mean all that can be cancelled."),
        ({"ends": "back_dated", "typed": "2"}, "Enter the day since when they have ended."),
        ({"ends": "back_dated", "typed": "2", "on": "2199-01-01"}, "is still to come."),
        ({"ends": "soon"}, "Choose when they end."),
        ({}, "Choose when they end."),
    ],
)
def test_what_cannot_be_taken_back_is_meant(entered, sentence, make, operator, choose):
    run = choose(*make(2), action="cancel")
    operator.post(address(run, "ask"), {"look": "yes", "ends": "now"})
    answer = operator.post(address(run, "ask"), {"reason": "gone", "confirm": "yes", **entered})
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert fresh(run).status == "draft"


def test_the_number_to_type_is_that_of_the_button(make, operator, choose, confirm):
    run = choose(*make(3), *make(2, status="cancelled"), action="cancel")
    answer = operator.post(address(run, "ask"), {"look": "yes", "ends": "now"}, follow=True)
    assert "Cancel 3 subscriptions now" in text(answer)
    assert "type 3, the number that can be cancelled:" in text(answer)
    assert "Type 3 to show that you mean all that can be cancelled." in text(confirm(run, ends="now", typed="5"))
    assert fresh(run).status == "draft"
    confirm(run, ends="now", typed="3")
    assert fresh(run).status == "running"


@pytest.mark.parametrize("typed", ["", "3", "2"])
def test_the_number_of_another_choice_is_not_asked_for(typed, make, operator, choose, confirm):
    run = choose(*make(2), action="cancel")
    said = text(confirm(run, ends="now", typed=typed))
    assert "What you entered changes what would happen." in said
    assert "to show that you mean" not in said
    assert (fresh(run).status, fresh(run).given) == ("draft", {"when": "now"})


def test_a_suspension_until_a_day_asks_what_becomes_of_a_planned_change(make, operator, choose, confirm):
    planned, other = make(2)
    OrderFactory(subscription=planned, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20})
    day = (clock.now() + timedelta(days=40)).date().isoformat()
    run = choose(planned, other)
    said = text(operator.post(address(run, "ask"), {"look": "yes", "on": day}, follow=True))
    assert "2 selected: 1 can be suspended, 1 cannot." in said
    assert "Say what becomes of it." in said
    assert "Keep the plan" not in said
    entered = {"on": day, "planned": "discard"}
    answer = operator.post(address(run, "ask"), {"look": "yes", **entered}, follow=True)
    assert "2 selected: all can be suspended." in text(answer)
    assert "1 of them has a planned change, which will not happen" in text(answer)
    [chosen] = re.findall(r"<input[^>]* checked[^>]*>", answer.content.decode())
    assert 'value="discard"' in chosen
    confirm(run, **entered)
    work(run)
    assert planned.orders.get(action="decrease").status == "withdrawn"
    assert set(Order.objects.filter(action="activate").values_list("subscription", flat=True)) == {
        planned.pk, other.pk,
    }  # fmt: skip


def test_a_suspension_without_a_day_asks_nothing_of_planned_changes(make, choose, operator):
    run = choose(*make(1))
    operator.post(address(run, "ask"), {"look": "yes", "planned": "discard"})
    assert fresh(run).given == {}
    assert operator.post(address(run, "ask"), {"look": "yes", "planned": "keep"}).status_code == 422


def test_cancel_with_the_period_or_now(make, operator, choose, confirm):
    run = choose(*make(2), action="cancel")
    assert "Plan the end of 2 subscriptions with each period" in text(operator.get(address(run)))
    operator.post(address(run, "ask"), {"look": "yes", "ends": "now"})
    assert "Cancel 2 subscriptions now" in text(operator.get(address(run)))
    confirm(run, ends="now", typed="2")
    work(run)
    assert {(one.action, one.status) for one in Order.objects.all()} == {("cancel", "placed")}


@pytest.mark.parametrize(
    ("action", "entered", "sentence"),
    [
        ("set_seats", {"seats": "1,000"}, "is no number of seats"),
        ("set_seats", {"seats": "0"}, "is no number of seats"),
        ("set_seats", {"seats": ""}, "Enter the number of seats"),
        ("suspend", {"on": "2020-01-01"}, "or a later day."),
        ("activate", {"on": "tomorrow"}, "Enter a day as year-month-day"),
        ("activate", {"planned": "perhaps"}, "Select a valid choice"),
    ],
)
def test_a_slip_comes_back_with_what_was_entered(action, entered, sentence, make, operator, choose):
    run = choose(*make(1), action=action)
    answer = operator.post(address(run, "ask"), {"look": "yes", "reason": "Ticket 4711", **entered})
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert "Ticket 4711" in text(answer)


def test_many_are_looked_at_by_the_worker_while_the_page_tells_how_far(make, operator, choose, confirm, monkeypatch):
    monkeypatch.setattr(drafts, "CHUNK", 2)
    run = choose(*make(5))
    page = operator.get(address(run))
    assert "5 selected, 0 looked at" in text(page)
    assert "Check again" in text(page)
    assert 'name="confirm"' not in page.content.decode()
    assert 'hx-trigger="load delay:1s"' in page.content.decode()
    assert "Not all of them were looked at yet." in text(confirm(run))
    assert fresh(run).status == "draft"
    tasks.look.func(run.pk)
    page = operator.get(address(run), {"look": "1"})
    assert "5 selected: all can be suspended." in text(page)
    assert "hx-get" not in page.content.decode()


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", STEMS)
def test_forged_posts_of_each_group(stem, make, cast, signed_in):
    [one] = make(1, status="suspended" if stem == "activate" else "active")
    given = {"suspend": {}, "activate": {}, "set_seats": {"seats": 30}, "cancel": {"when": "period_end"}}[stem]
    entered = {"reason": "x", "confirm": "yes", "ends": "period_end", "seats": "30"}
    others = {person: 403 for person in STAFF if person != "operator"} | {"owner": 302, "stranger": 302}
    draft, begun, stopped = (
        bulk.draft(stem, bulk.ticked([one.pk]), actor=cast.operator, given=given) for _ in range(3)
    )
    bulk.confirm(begun, "late"), bulk.confirm(stopped, "late"), bulk.stop(stopped)
    for person, status in others.items():
        browser = signed_in(cast.people[person])
        chosen = browser.post(CHOOSE, {"which": "ticked", "ticked": [one.pk], "action": stem})
        posts = [chosen, *(browser.post(address(run, act), entered) for run, act in acts_on(draft, begun, stopped))]
        assert [answer.status_code for answer in posts] == [status] * 4, person
    assert [fresh(run).status for run in (draft, begun, stopped)] == ["draft", "running", "stopped"]
    assert BulkRun.objects.count() == 3
    browser = signed_in(cast.operator)
    for run, act in acts_on(draft, begun, stopped):
        assert browser.post(address(run, act), entered).status_code == 302
    assert [fresh(run).status for run in (draft, begun, stopped)] == ["running", "stopped", "running"]


def acts_on(draft, begun, stopped):
    return (draft, "ask"), (begun, "stop"), (stopped, "resume")


def test_a_draft_is_confirmed_by_whoever_chose_it(make, cast, signed_in, choose):
    run, other = choose(*make(1)), signed_in(cast.people["support"])
    said = text(other.get(address(run)))
    assert "Only the person who chose them can confirm it." in said
    assert "Look again" not in said
    colleague = type(cast.operator).objects.create(email="second@seatdesk.example", name="Second", is_staff=True)
    colleague.groups.set(cast.operator.groups.all())
    answer = signed_in(colleague).post(address(run, "ask"), {"reason": "x", "confirm": "yes"})
    assert answer.status_code == 403
    assert "who chose them, can go on" in text(answer)
    assert fresh(run).status == "draft"


def test_without_the_view_permission_there_are_no_runs(make, cast, signed_in, choose):
    run = choose(*make(1))
    cast.auditor.groups.clear()
    browser = signed_in(cast.auditor)
    for place in (RUNS, address(run), address(run, "results")):
        assert browser.get(place).status_code == 403


# --- afterwards ------------------------------------------------------------------------------------------------------


def test_a_confirm_that_is_sent_twice_leads_to_one_run(make, operator, choose, confirm):
    run = choose(*make(2))
    confirm(run)
    work(run)
    said = text(confirm(run))
    assert "2 of 2 rows decided: 2 placed, 0 refused." in said
    assert (BulkRun.objects.count(), Order.objects.count()) == (1, 2)


def test_rows_that_changed_meanwhile_are_told_with_their_reason(make, operator, choose, confirm):
    rows = make(3)
    run = choose(*rows)
    order = lifecycle.place(Wish(rows[1].pk, "increase", {"Seats": 30}), actor=None, audience=actions.SYSTEM)
    confirm(run)
    work(run)
    page = operator.get(address(run))
    assert "3 of 3 rows decided: 2 placed, 1 refused." in text(page)
    assert f"{order.number} is being applied" in text(page)
    assert f">{rows[1]}</a>" in page.content.decode()


def test_stop_and_go_on(make, operator, choose, confirm, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    monkeypatch.setattr(tasks, "SLICE", 0)
    run = choose(*make(5))
    assert "Stop placing" in text(confirm(run))
    tasks.place.func(run.pk)
    assert operator.get(address(run, "stop")).status_code == 405
    said = text(operator.post(address(run, "stop"), follow=True))
    assert "2 of 5 rows decided" in said
    assert "Go on placing" in said
    assert "Stopped Operator" in said
    work(run)
    assert fresh(run).placed == 2
    said = text(operator.post(address(run, "resume"), follow=True))
    assert "Stop placing" in said
    assert "Resumed Operator" in said
    work(run)
    said = text(operator.post(address(run, "stop"), follow=True))
    assert "5 of 5 rows decided: 5 placed" in said
    assert (fresh(run).status, "Go on placing" in said) == ("done", False)


def test_a_run_of_a_command_is_seen_and_stopped_here_and_resumed_there(make, operator):
    make(2)
    run = bulk.begin(bulk.Wanted("suspend", "late"), bulk.narrowed([]), actor=None, audience=actions.COMMAND)
    assert "Seatdesk, command line" in text(operator.get(address(run)))
    operator.post(address(run, "stop"))
    said = text(operator.get(address(run)))
    assert f"uv run manage.py bulk_suspend --resume {run.pk}" in said
    assert "Go on placing" not in said
    operator.post(address(run, "resume"))
    assert fresh(run).status == "stopped"


def test_results_come_as_the_file_of_the_commands(make, operator, choose, confirm):
    rows = [*make(2), *make(1, status="suspended")]
    run = choose(*rows)
    assert operator.get(address(run, "results")).url == address(run)
    confirm(run)
    work(run)
    answer = operator.get(address(run, "results"))
    assert answer.streaming
    assert answer["Content-Disposition"] == f'attachment; filename="bulk-run-{run.pk}.csv"'
    got = list(csv.reader(io.StringIO(b"".join(answer).decode("utf-8-sig"))))
    assert got == [list(bulk.COLUMNS), *map(list, bulk.sheet(run))]
    assert [line[3] for line in got[1:]] == ["in progress", "in progress", "refused"]


def test_the_list_of_runs_says_who_what_why_and_how_many(make, operator, choose, confirm, cast, signed_in):
    run = choose(*make(2), *make(1, status="suspended"))
    confirm(run)
    work(run)
    draft = choose(*make(1), action="cancel")
    for person in STAFF:
        said = text(signed_in(cast.people[person]).get(RUNS))
        assert f"{run.pk} Suspend: 3 subscriptions ticked in the list Placed 2 of 3 1 refused" in said
        assert "Operator, BSS late payers" in said
        assert f"{draft.pk} Cancel: 1 subscription" in said
        assert "Not confirmed" in said


# --- how often the database is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 60])
def test_pages_ask_the_database_as_often_for_few_as_for_many(
    count, make, operator, choose, confirm, django_assert_num_queries, django_assert_max_num_queries
):
    rows = [*make(count), *make(count, status="suspended"), *make(1, status="cancelled")]
    run = choose(*rows)
    # What Django keeps in memory was fetched before.
    operator.get(address(run))
    with django_assert_num_queries(6):
        operator.get(address(run))
    confirm(run)
    work(run)
    with django_assert_num_queries(10):
        operator.get(address(run))
    for _ in range(count):
        bulk.draft("suspend", bulk.ticked([rows[0].pk]), actor=run.actor, given={})
    with django_assert_num_queries(5):
        operator.get(RUNS)
    posted = {"which": "ticked", "ticked": [one.pk for one in rows], "action": "suspend"}
    with django_assert_max_num_queries(24):
        operator.post(CHOOSE, posted)


def test_the_list_of_runs_pages_by_key(make, cast, operator):
    [one] = make(1)
    for _ in range(52):
        bulk.draft("suspend", bulk.ticked([one.pk]), actor=cast.operator, given={})
    page = operator.get(RUNS).content.decode()
    [more] = re.findall(r'href="(\?p=\d+)"', page)
    assert operator.get(f"{RUNS}{more}").content.decode().count('class="field-what"') == 2


def test_what_a_run_has_charged_is_told_when_it_is_over(make, operator, choose, confirm, at_vendor):
    run = choose(*[at_vendor(one) for one in make(2)], action="set_seats")
    operator.post(address(run, "ask"), {"look": "yes", "seats": "30"})
    confirm(run, seats="30")
    work(run)
    assert "Charged" not in text(operator.get(address(run)))
    fulfilment.fulfil_many.func(list(Order.objects.values_list("pk", flat=True)))
    assert "Charged EUR 35.00" in text(operator.get(address(run)))


def test_orders_of_a_run_that_end_badly_are_told(make, operator, choose, confirm, at_vendor, emulator):
    known, unknown = at_vendor(make(1)[0]), make(1)[0]
    run = choose(known, unknown)
    confirm(run)
    work(run)
    page = operator.get(address(run))
    assert "Being carried out 2" in text(page)
    assert "Check again" in text(page)
    fulfilment.fulfil_many.func(list(Order.objects.values_list("pk", flat=True)))
    page = operator.get(address(run))
    assert "Done 1 Failed 1" in text(page)
    assert "(code 5)" in text(page)
    assert f">{unknown}</a>" in page.content.decode()
    assert "Check again" not in text(page)
    assert "hx-get" not in page.content.decode()
