"""Notices that come in the hundreds go as one letter of a kind to a person."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.utils.html import strip_tags

from subscriptions import actions, bulk, clock, notifications
from subscriptions.bulk import Wanted
from subscriptions.models import Account, BulkRow, BulkRun, Language, Notice, Subscription
from subscriptions.models.notice import STAFF_KINDS, NoticeKind
from subscriptions.notifications import gathering
from subscriptions.notifications.words import PHRASES
from tests.factories import SubscriptionFactory
from tests.test_concurrency import together
from tests.test_notices import AT, COSTS, happened
from tests.test_notices_mail import REMINDER

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


@pytest.fixture
def of_a_run():
    """Let something happen by a bulk run and tell about it; returns the events."""
    run = BulkRun.objects.create(action="suspend", reason="late", audience="bss", selection="", created_at=AT)

    def made(account, kind, number, **what):
        events = [happened(account, kind, **what) for _ in range(number)]
        for event in events:
            BulkRow.objects.create(
                run=run, position=event.pk, subscription=event.subscription, order=event.order, outcome="placed"
            )
        notifications.notify.func([one.pk for one in events])
        return events

    return made


def letters_owed():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (args ->> 'letter')::int, lock, priority FROM procrastinate_jobs"
            " WHERE task_name = 'subscriptions.send_letter' ORDER BY id"
        )
        return cursor.fetchall()


def gather(monkeypatch, after):
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: AT + after)
        gathering.gather.func(0)


def send_all(monkeypatch):
    gather(monkeypatch, gathering.QUIET)
    for letter, _, _ in letters_owed():
        gathering.send_letter.func(letter)


def parts(mail):
    [(html, _)] = mail.alternatives
    html = re.sub(r"<title>.*?</title>|<style>.*?</style>", "", html, flags=re.DOTALL)
    return [" ".join(part.split()) for part in (mail.body, strip_tags(html))]


def jobs_alone():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'subscriptions.send_notice'")
        return cursor.fetchone()[0]


def test_a_person_gets_one_letter_of_what_a_bulk_run_did(of_a_run, cast, mailoutbox, monkeypatch):
    events = of_a_run(cast.acme, "suspend.completed", 3, by=cast.operator, who=cast.operator)
    assert (jobs_alone(), letters_owed()) == (0, [])
    send_all(monkeypatch)
    assert sorted(mail.to for mail in mailoutbox) == [["manager@acme.example"], ["owner@acme.example"]]
    assert not Notice.objects.filter(sent_at=None).exists()
    for mail in mailoutbox:
        assert mail.subject == "3 subscriptions are suspended"
        for part in parts(mail):
            assert all(part.count(f"({event.subscription.number})") == 1 for event in events)
            # Said once of all that are alike.
            assert part.count("Devices are not protected while it is") == 1
        assert all(f"/orders/{event.order_id}/" in mail.body for event in events)


def test_what_is_not_alike_has_one_subject_for_all(of_a_run, cast, mailoutbox, monkeypatch):
    for kind in ("suspend.completed", "activate.completed"):
        of_a_run(cast.acme, kind, 1, by=cast.operator)
    send_all(monkeypatch)
    assert {mail.subject for mail in mailoutbox} == {"2 subscriptions are suspended, or active again"}


def test_letters_are_apart_by_account_and_kind(of_a_run, cast, mailoutbox, monkeypatch):
    of_a_run(cast.acme, "suspend.completed", 2, by=cast.operator)
    of_a_run(cast.acme, "cancel.completed", 2, by=cast.operator)
    of_a_run(cast.globex, "suspend.completed", 2, by=cast.operator)
    send_all(monkeypatch)
    owner = [mail.subject for mail in mailoutbox if mail.to == ["owner@acme.example"]]
    assert sorted(owner) == ["2 subscriptions are suspended", "2 subscriptions have ended"]
    assert not any("Globex" in mail.body for mail in mailoutbox if mail.to == ["owner@acme.example"])


def test_staff_get_one_letter_of_all_accounts(of_a_run, cast, mailoutbox, monkeypatch):
    for account in (cast.acme, cast.globex):
        of_a_run(account, "cancel.awaiting_approval", 2, by=cast.operator, who=cast.operator)
    send_all(monkeypatch)
    [mail] = [mail for mail in mailoutbox if mail.to == [cast.approver.email]]
    assert mail.subject == "4 orders wait for approval"
    assert all(
        f"Approval needed: ORD-{one}" in mail.body for one in Notice.objects.values_list("event__order", flat=True)
    )


def test_it_waits_until_no_more_come_but_not_for_ever(of_a_run, cast, monkeypatch):
    of_a_run(cast.acme, "suspend.completed", 1, by=cast.operator)
    of_a_run(cast.acme, "suspend.completed", 1, by=cast.operator, at=AT + gathering.AT_LATEST)
    gather(monkeypatch, gathering.AT_LATEST - timedelta(seconds=1))
    assert letters_owed() == []
    gather(monkeypatch, gathering.AT_LATEST)
    owed = letters_owed()
    assert [(lock, priority) for _, lock, priority in owed] == [(f"letter-{letter}", -10) for letter, _, _ in owed]
    assert len(owed) == 2
    # The same ones are not gathered again.
    gather(monkeypatch, gathering.AT_LATEST * 2)
    assert letters_owed() == owed


@pytest.mark.django_db(transaction=True)
def test_gathering_at_the_same_instant_owes_each_letter_once(of_a_run, cast, monkeypatch):
    of_a_run(cast.acme, "suspend.completed", 5, by=cast.operator)
    monkeypatch.setattr(clock, "now", lambda: AT + gathering.QUIET)
    together(*[lambda: gathering.gather.func(0)] * 3)
    assert len(letters_owed()) == 2
    assert Notice.objects.filter(letter=None).count() == 0


def test_one_alone_is_told_as_always(of_a_run, cast, mailoutbox, monkeypatch):
    [event] = of_a_run(cast.acme, "suspend.completed", 1, by=cast.operator)
    send_all(monkeypatch)
    assert {mail.subject for mail in mailoutbox} == {
        f"Suspended: {event.subscription.sku.product.name} ({event.subscription.number})"
    }


def test_sending_twice_sends_once_and_what_is_no_news_is_dropped(of_a_run, cast, mailoutbox, monkeypatch):
    of_a_run(cast.acme, "suspend.completed", 2, by=cast.operator)
    gather(monkeypatch, gathering.QUIET)
    cast.acme.members.filter(user=cast.manager).update(role="viewer")
    for letter, _, _ in letters_owed() * 2:
        gathering.send_letter.func(letter)
    assert [mail.to for mail in mailoutbox] == [["owner@acme.example"]]
    assert not Notice.objects.filter(user=cast.manager).exists()


def test_a_long_letter_lists_some_and_counts_the_rest(of_a_run, cast, mailoutbox, monkeypatch):
    monkeypatch.setattr(gathering, "LISTED", 2)
    monkeypatch.setattr(gathering, "_CHUNK", 3)
    events = of_a_run(cast.acme, "suspend.completed", 7, by=cast.operator)
    send_all(monkeypatch)
    for mail in mailoutbox:
        assert mail.subject.startswith("7 ")
        assert "And 5 more, which are not listed here." in mail.body
        assert sum(one.subscription.number in mail.body for one in events) == 2
        assert "/subscriptions/\n" in mail.body


def test_reminders_are_gathered_with_the_figures_of_each(cast, mailoutbox, monkeypatch):
    for seats in (1250, 30):
        event = happened(cast.acme, "renewal.reminder", after=REMINDER | {"Seats": seats})
        notifications.notify.func([event.pk])
    send_all(monkeypatch)
    assert jobs_alone() == 0
    [mail] = [mail for mail in mailoutbox if mail.to == ["owner@acme.example"]]
    assert mail.subject == "The terms of 2 subscriptions end soon"
    for part in parts(mail):
        assert "1,250 seats for EUR 12,875.00 a month" in part
        assert ": 30 seats for" in part


@pytest.mark.parametrize(("number", "gathered"), [(3, False), (4, True)])
def test_what_comes_at_once_in_numbers_is_gathered_whatever_it_is(number, gathered, cast):
    events = [happened(cast.acme, "expire.expired", after={"Renewable until": "2027-04-01"}) for _ in range(number)]
    events.append(happened(cast.globex, "expire.expired", after={"Renewable until": "2027-04-01"}))
    notifications.notify.func([one.pk for one in events])
    assert set(Notice.objects.filter(event__account=cast.acme).values_list("gathered", flat=True)) == {gathered}
    assert not Notice.objects.filter(event__account=cast.globex, gathered=True).exists()


def test_what_each_costs_is_said_of_each(of_a_run, cast, mailoutbox, monkeypatch):
    of_a_run(cast.acme, "increase.completed", 2, by=cast.operator, quote=COSTS, before={"Seats": 25})
    send_all(monkeypatch)
    assert all(mail.body.count("Charged: EUR 1,041.10, excl. VAT") == 2 for mail in mailoutbox)
    assert len(mailoutbox) == 3


def test_every_kind_has_its_words_in_every_language(of_a_run, cast, mailoutbox, monkeypatch):
    for kind in NoticeKind:
        for language in [Language.ENGLISH] if kind in STAFF_KINDS else Language:
            assert "{number}" in PHRASES[language][f"many_{kind}"], (kind, language)
    Account.objects.filter(pk=cast.acme.pk).update(language="de")
    of_a_run(cast.acme, "suspend.completed", 2, by=cast.operator)
    send_all(monkeypatch)
    assert {mail.subject for mail in mailoutbox} == {"2 Abonnements sind ausgesetzt"}
    assert all("Zu allen Abonnements" in mail.body for mail in mailoutbox)


def test_a_run_through_the_engine_is_gathered(cast, at_vendor, drain, mailoutbox, monkeypatch):
    rows = [at_vendor(SubscriptionFactory(account=cast.acme)) for _ in range(3)]
    chosen = bulk.ticked([one.pk for one in rows])
    run = bulk.begin(Wanted("suspend", "late"), chosen, actor=None, audience=actions.COMMAND)
    list(bulk.place(run))
    drain(notices=True)
    assert set(Subscription.objects.values_list("status", flat=True)) == {"suspended"}
    assert Notice.objects.filter(gathered=True).count() == 6
    monkeypatch.setattr(gathering, "QUIET", timedelta())
    gathering.gather.func(0)
    drain(notices=True)
    assert len(mailoutbox) == 2
