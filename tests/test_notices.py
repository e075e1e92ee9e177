"""Who is told what, once each, and the page on which people choose."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, lifecycle, notifications
from subscriptions.actions import BSS, STOREFRONT, SYSTEM, terms
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Member, Notice, Order, Role, User
from subscriptions.models.notice import STAFF_KINDS, NoticeKind, told
from subscriptions.notifications.recipients import ALL, can_hear
from subscriptions.pricing import Later, Line, Period, Quote
from tests.factories import EventFactory, MemberFactory, OrderFactory, SubscriptionFactory
from tests.test_concurrency import together

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

PLACED_AT = datetime(2027, 3, 7, 21, 0, tzinfo=UTC)
AT = datetime(2027, 3, 7, 23, 30, tzinfo=UTC)
DUE = datetime(2027, 3, 31, 22, 0, tzinfo=UTC)
REST = Period(AT.date(), DUE.date())
LINE = Line("change", "5 seats", Decimal("1041.10"), 5, Decimal("10.30"), REST)
COSTS = Quote("EUR", AT.date(), (LINE,), Later(30, Decimal("309.00"), DUE.date(), 1, "")).to_json()
STATUS_AFTER = {
    "awaiting_approval": "awaiting_approval", "approved": "placed", "rejected": "rejected", "withdrawn": "withdrawn",
    "scheduled": "scheduled", "failed": "failed", "give_up": "failed", "held": "needs_attention",
}  # fmt: skip


def happened(account, kind, *, by=None, who=None, at=AT, reason="", after=None, subscription=None, **order) -> Event:
    """An event of an account as `lifecycle` would leave it, with its order, placed by `by`, when it is about one.

    `who` is the person of the event, `after` is of both, `order` and `subscription` are fields of those rows.
    """
    made = SubscriptionFactory(account=account, **(subscription or {}))
    stem, _, what = kind.rpartition(".")
    placed = None
    if stem in actions.ACTIONS:
        status = order.pop("status", STATUS_AFTER.get(what, "completed"))
        fields = {"finished_at": at} if status in ("completed", "failed", "rejected", "withdrawn") else {}
        if status == "scheduled":
            fields["due_at"] = DUE
        audience = STOREFRONT if by is None or not by.is_staff else BSS
        fields = {"placed_at": PLACED_AT, "audience": audience, "after": after or {"Seats": 25}} | fields | order
        placed = OrderFactory(subscription=made, action=stem, status=status, actor=by, **fields)
    audience = SYSTEM if who is None else BSS if who.is_staff else STOREFRONT
    return EventFactory(
        subscription=made, order=placed, kind=kind, at=at, actor=who, audience=audience, reason=reason,
        after=after or {},
    )  # fmt: skip


def notify(*events):
    notifications.notify.func([one.pk for one in events])


def jobs():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (args ->> 'notice_id')::int, lock, priority FROM procrastinate_jobs"
            " WHERE task_name = 'subscriptions.send_notice' ORDER BY id"
        )
        return cursor.fetchall()


@pytest.fixture
def told_of(cast):
    """Let something happen in Acme and tell about it; returns who got which kind of notice."""

    def run(kind, **what):
        event = happened(cast.acme, kind, **({"by": cast.manager} | what))
        notify(event)
        names = {user.pk: name for name, user in cast.people.items()}
        return {names[one.user_id]: str(one.kind) for one in Notice.objects.filter(event=event)}

    return run


# --- which events ----------------------------------------------------------------------------------------------------

WHATS = (
    *STATUS_AFTER, "placed", "due", "completed", "released", "retry",
)  # fmt: skip
ASKED_FOR = {"start", "increase", "decrease", "change_sku", "convert", "renew", "auto_renew", "cancel"}
OUTCOMES = {"awaiting_approval", "approved", "rejected", "withdrawn", "completed", "failed", "give_up"}
TOLD = {f"{stem}.{what}" for stem in ASKED_FOR for what in OUTCOMES} | {
    "suspend.completed", "activate.completed", "activate.withdrawn", "take_theirs.completed", "cancel.scheduled",
    "renewal.reminder", "trial.reminder", "trial.ended", "expire.expired", "period.no_price",
} | {f"{stem}.held" for stem in actions.ACTIONS}  # fmt: skip


def test_what_is_told():
    stems = {*actions.ACTIONS, "renewal", "trial", "expire", "period", "charge"}
    by_itself = {"reminder", "renewed", "ended", "expired", "billed", "unbilled", "no_price", "corrected", "shown"}
    happens = {f"{stem}.{what}" for stem in stems for what in (*WHATS, *by_itself) if what != "held"}
    happens |= {f"{stem}.held" for stem in actions.ACTIONS}
    assert {kind for kind in happens if told(kind)} == TOLD


def test_the_kinds_that_can_be_stored_are_those_of_the_table(cast):
    for kind in NoticeKind:
        Notice(event=EventFactory(), user=cast.owner, kind=kind).save()
    with pytest.raises(IntegrityError, match="notice_kind_known"), transaction.atomic():
        Notice(event=EventFactory(), user=cast.owner, kind="other").save()


# --- who -------------------------------------------------------------------------------------------------------------


def both(kind, **others):
    return {"owner": kind, "manager": kind} | others


# What happened -> kind of event, what differs, who is told as what. People are named as in the cast.
WHO = {
    "a change without a price": ("increase.completed", {}, both("done")),
    "a change with a price": ("increase.completed", {"quote": COSTS}, both("done", billing="done")),
    "a change that staff placed": ("increase.completed", {"by": "operator"}, both("done")),
    "a conversion by a Buyer": ("convert.completed", {"by": "buyer"}, both("done", buyer="done")),
    "what a Viewer had ordered": ("increase.failed", {"by": "viewer"}, both("failed", viewer="failed")),
    "a change of what a Buyer bought": (
        "increase.completed", {"ordered_by": "buyer"}, both("done", buyer="done"),
    ),
    "of what a Billing person once bought": ("increase.completed", {"ordered_by": "billing"}, both("done")),
    "a start": ("start.completed", {"quote": COSTS}, both("code", billing="done")),
    "a start without a price": ("start.completed", {}, both("code")),
    "a start by a Buyer": (
        "start.completed", {"by": "buyer", "ordered_by": "buyer", "quote": COSTS},
        both("code", buyer="code", billing="done"),
    ),
    "a start by staff for a Buyer": (
        "start.completed", {"by": "operator", "ordered_by": "buyer"}, both("code", buyer="code"),
    ),
    "a start by somebody who may not see codes any more": (
        "start.completed", {"by": "viewer", "ordered_by": "viewer"}, both("code", viewer="done"),
    ),
    "a refused start": ("start.failed", {}, both("failed")),
    "a wait for approval": ("increase.awaiting_approval", {"quote": COSTS}, both("approval", approver="decide")),
    "a wait for somebody else's approval": ("cancel.awaiting_approval", {"by": "approver"}, both("approval")),
    "approval": ("increase.approved", {"who": "approver"}, both("approval")),
    "rejection": ("cancel.rejected", {"who": "approver"}, both("approval")),
    "an order that needs attention": ("suspend.held", {"by": "operator"}, {"operator": "attention"}),
    "suspension": ("suspend.completed", {"by": "operator"}, both("suspension")),
    "suspension of what a Buyer bought": (
        "suspend.completed", {"by": "operator", "ordered_by": "buyer"}, both("suspension", buyer="suspension"),
    ),
    "activation": ("activate.completed", {"by": "operator"}, both("suspension")),
    "a planned end": ("cancel.scheduled", {"who": "manager"}, both("ending", billing="ending")),
    "an end": ("cancel.completed", {}, both("ended", billing="ended")),
    "a correction of our record": ("take_theirs.completed", {"by": "operator"}, both("done")),
    "given up by staff": ("increase.give_up", {"who": "operator"}, both("failed")),
    "a reminder": ("renewal.reminder", {}, both("reminder", billing="reminder")),
    "a reminder about what a Buyer bought": (
        "renewal.reminder", {"ordered_by": "buyer"}, both("reminder", billing="reminder", buyer="reminder"),
    ),
    "an expiry": ("expire.expired", {}, both("expired", billing="expired")),
    "a trial that ends soon": (
        "trial.reminder", {"trial_ends": AT.date(), "after": {"Date": f"{AT.date()}"}}, both("trial_ending"),
    ),
    "a trial that ends soon, which a Buyer began": (
        "trial.reminder", {"trial_ends": AT.date(), "after": {"Date": f"{AT.date()}"}, "ordered_by": "buyer"},
        both("trial_ending", buyer="trial_ending"),
    ),
    "a trial that was converted meanwhile": ("trial.reminder", {"after": {"Date": f"{AT.date()}"}}, {}),
    "the end of a trial": ("trial.ended", {}, both("trial")),
    # What people have done themselves and seen.
    "undone by a colleague": ("decrease.withdrawn", {"by": "owner", "who": "manager"}, {"owner": "withdrawn"}),
    "undone by staff": ("decrease.withdrawn", {"who": "operator"}, both("withdrawn")),
    "become impossible": ("decrease.withdrawn", {}, both("withdrawn")),
    "done at once and free": ("auto_renew.completed", {"placed_at": AT}, {"owner": "done"}),
    "done at once for money": (
        "renew.completed", {"placed_at": AT, "quote": COSTS}, both("done", billing="done"),
    ),
    # What is no news.
    "a wait that is over": ("increase.awaiting_approval", {"status": "placed"}, {}),
    "attention that is not needed any more": ("increase.held", {"status": "completed"}, {}),
    "given up after it was refused": ("start.give_up", {"finished_at": PLACED_AT, "who": "operator"}, {}),
    "given up while it is cancelled at the vendor": ("start.give_up", {"status": "placed", "who": "operator"}, {}),
    "refused, but asked for by nobody": ("cancel.failed", {"by": None, "audience": SYSTEM}, {}),
    "the end of an order after that of its trial": (
        "cancel.completed", {"by": None, "audience": SYSTEM, "trial_ends": AT.date()}, {},
    ),
    "the end of a trial that somebody cancelled": (
        "cancel.completed", {"trial_ends": AT.date()}, both("ended", billing="ended"),
    ),
    "placed": ("increase.placed", {"status": "placed"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", WHO)
def test_who_hears_what(case, cast, told_of):
    kind, what, expected = WHO[case]
    what = {name: cast.people.get(value) if isinstance(value, str) and name in ("by", "who", "ordered_by") else value
            for name, value in what.items()}  # fmt: skip
    of_subscription = {name: what.pop(name) for name in ("ordered_by", "trial_ends") if name in what}
    assert told_of(kind, subscription=of_subscription, **what) == expected


def test_who_replaced_a_planned_change_knows_what_became_of_it(cast):
    event = happened(cast.acme, "decrease.withdrawn", by=cast.owner, reason="Another change took its place.")
    other = {"subscription": event.subscription, "placed_at": AT}
    OrderFactory(actor=cast.manager, **other)
    notify(event)
    assert [one.user for one in Notice.objects.all()] == [cast.owner]


def test_an_order_that_the_system_placed_in_the_same_pass_replaces_nothing(cast):
    event = happened(cast.acme, "decrease.withdrawn", by=cast.owner, reason="Its end has come.")
    OrderFactory(subscription=event.subscription, placed_at=AT, audience=SYSTEM, action="cancel")
    notify(event)
    assert {one.user for one in Notice.objects.all()} == {cast.owner, cast.manager}


@pytest.mark.parametrize(("by", "heard"), [(None, set()), ("manager", {"owner"})])
def test_what_falls_away_with_the_subscription_is_told_by_its_end_alone(cast, by, heard):
    over = {"subscription": {"status": "cancelled"}}
    notify(happened(cast.acme, "cancel.withdrawn", by=cast.owner, who=by and cast.people[by], **over))
    assert {one.user for one in Notice.objects.all()} == {cast.people[one] for one in heard}


def test_nobody_else_is_told(cast, told_of):
    MemberFactory(account=cast.globex, user=cast.viewer, role=Role.OWNER)
    assert told_of("increase.completed") == both("done")


@pytest.mark.parametrize("person", ["manager", "approver"])
def test_people_who_were_switched_off_are_not_told(person, cast, told_of):
    User.objects.filter(pk=cast.people[person].pk).update(is_active=False)
    everybody = both("approval", approver="decide")
    del everybody[person]
    assert told_of("increase.awaiting_approval") == everybody


def test_customers_in_a_staff_group_are_no_staff(cast, told_of):
    User.objects.filter(pk=cast.approver.pk).update(is_staff=False)
    assert "approver" not in told_of("increase.awaiting_approval")


def test_somebody_who_is_both_is_told_once_and_what_there_is_to_do(cast, told_of):
    MemberFactory(account=cast.acme, user=cast.approver, role=Role.OWNER)
    assert told_of("increase.awaiting_approval") == both("approval", approver="decide")


def test_what_somebody_declined_is_not_told(cast, told_of):
    Member.objects.filter(user=cast.manager).update(notices_off=["done", "code"])
    assert told_of("increase.completed") == {"owner": "done"}
    assert told_of("start.completed") == {"owner": "code"}
    assert told_of("increase.failed") == both("failed")


def test_what_staff_must_do_cannot_be_declined(cast, told_of):
    MemberFactory(account=cast.acme, user=cast.operator, role=Role.OWNER, notices_off=list(NoticeKind))
    assert told_of("suspend.held")["operator"] == "attention"


def test_every_kind_that_reaches_a_role_can_be_declined(cast):
    """Over all events, and all people as those who placed the order and bought the subscription."""
    for kind in sorted(TOLD):
        stem = kind.partition(".")[0]
        for role in Role.values:
            person = cast.people[role]
            placed = {"by": person if stem in ASKED_FOR else cast.operator, "quote": COSTS}
            about = placed if stem in actions.ACTIONS else {}
            bought = {"ordered_by": person}
            if kind == "trial.reminder":
                bought, about = bought | {"trial_ends": AT.date()}, {"after": {"Date": f"{AT.date()}"}}
            notify(happened(cast.acme, kind, subscription=bought, **about))
    roles = {one.user_id: Role(one.role) for one in cast.acme.members.all()}
    found = {(roles[one.user_id], NoticeKind(one.kind)) for one in Notice.objects.filter(user__in=roles)}
    assert found == {(role, kind) for role in Role for kind in can_hear(role)}
    assert {kind for _, kind in found} == ALL == set(NoticeKind) - set(STAFF_KINDS)


# --- once ------------------------------------------------------------------------------------------------------------


def test_each_notice_is_owed_one_job_that_no_two_workers_run_at_once(cast):
    notify(happened(cast.acme, "increase.completed"))
    notices = sorted(Notice.objects.values_list("pk", flat=True))
    assert len(notices) == 2
    assert jobs() == [(pk, f"notice-{pk}", -10) for pk in notices]


def test_telling_twice_makes_one_notice_each(cast):
    event = happened(cast.acme, "increase.completed")
    notify(event)
    notify(event, event, happened(cast.acme, "suspend.completed"))
    assert Notice.objects.filter(event=event).count() == 2
    assert len(jobs()) == Notice.objects.count() == 4
    with pytest.raises(IntegrityError, match="one_notice_of_an_event_for_a_person"), transaction.atomic():
        Notice(event=event, user=cast.owner, kind="done").save()


@pytest.mark.django_db(transaction=True)
def test_telling_at_the_same_instant_makes_one_notice_each(cast):
    events = [happened(cast.acme, "increase.completed") for _ in range(3)]
    together(*[lambda: notify(*events)] * 4)
    assert len(jobs()) == Notice.objects.count() == 6


def test_telling_needs_as_many_queries_for_many_events_as_for_one(cast, django_assert_num_queries):
    kinds = ("increase.completed", "decrease.withdrawn", "increase.awaiting_approval", "suspend.held")
    # Two of them begin and end the transaction; twenty of a kind are gathered, and owe no job.
    for number, queries in ((1, 9), (3, 9), (20, 8), (40, 8)):
        events = [happened(cast.acme, kind) for kind in kinds for _ in range(number)]
        with django_assert_num_queries(queries):
            notify(*events)


def test_what_lifecycle_writes_is_told_and_sent_once(cast, subscription, drain, mailoutbox):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.manager, audience=STOREFRONT)
    drain(notices=True)
    assert Order.objects.get(pk=order.pk).status == "completed"
    assert sorted(mail.to[0].partition("@")[0] for mail in mailoutbox) == ["billing", "manager", "owner"]
    assert not Notice.objects.filter(sent_at=None).exists()
    assert {one.event.kind for one in Notice.objects.all()} == {"increase.completed"}


def test_a_start_is_told_with_a_link_and_without_the_code(cast, subscription, drain, mailoutbox):
    order = lifecycle.start(
        cast.acme, subscription.sku, 12, actor=cast.buyer, audience=STOREFRONT, ordered_by=cast.buyer
    )
    drain(notices=True)
    code = Order.objects.get(pk=order.pk).subscription.activation_code.reveal()
    assert {mail.to[0].partition("@")[0] for mail in mailoutbox} >= {"owner", "manager", "buyer"}
    for mail in mailoutbox:
        assert f"/subscriptions/{order.subscription_id}/code/" in mail.body or mail.to == ["billing@acme.example"]
        assert code not in str(mail.message())


# --- between ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def owed(cast):
    """A notice to the manager that is not sent yet."""
    notify(happened(cast.acme, "increase.completed"))
    return Notice.objects.get(user=cast.manager)


def send(notice):
    notifications.send_notice.func(notice.pk)


def test_it_is_sent_once(owed, mailoutbox):
    send(owed)
    first = Notice.objects.get(pk=owed.pk).sent_at
    send(owed)
    assert [mail.to for mail in mailoutbox] == [["manager@acme.example"]]
    assert first is not None
    assert Notice.objects.get(pk=owed.pk).sent_at == first


@pytest.mark.parametrize(
    "change",
    [
        lambda cast: Member.objects.filter(user=cast.manager).delete(),
        lambda cast: Member.objects.filter(user=cast.manager).update(role=Role.VIEWER),
        lambda cast: Member.objects.filter(user=cast.manager).update(notices_off=["done"]),
        lambda cast: User.objects.filter(pk=cast.manager.pk).update(is_active=False),
    ],
    ids=["removed", "became a Viewer", "declined", "switched off"],
)
def test_who_is_not_to_be_told_any_more_when_it_is_sent_is_not(change, cast, owed, mailoutbox):
    change(cast)
    send(owed)
    assert mailoutbox == []
    assert not Notice.objects.filter(user=cast.manager).exists()
    # The job may come again.
    send(owed)
    assert Notice.objects.filter(user=cast.owner).count() == 1


def test_what_was_decided_before_the_mail_left_is_not_announced(cast, mailoutbox):
    event = happened(cast.acme, "increase.awaiting_approval")
    notify(event)
    event.order.approve()
    event.order.save(update_fields=["status"])
    for notice in Notice.objects.all():
        send(notice)
    assert mailoutbox == []


# --- the page --------------------------------------------------------------------------------------------------------

URL = "/notices/"


def boxes(page):
    """The checkboxes of a page: (name, value) -> ticked."""
    inputs = re.findall(r'<input type="checkbox"\s+id="\S+"\s+name="(\S+)"\s+value="(\S+)"\s*(checked)?', page)
    return {(name, value): bool(ticked) for name, value, ticked in inputs}


@pytest.mark.parametrize("role", Role.values)
def test_the_page_shows_what_can_reach_a_role_and_everything_is_on(role, cast, signed_in):
    page = signed_in(cast.people[role]).get(URL).content.decode()
    member = cast.people[role].memberships.get()
    assert boxes(page) == {(f"{member.pk}-on", str(kind)): True for kind in can_hear(Role(role))}
    assert f"As {Role(role).label} you hear" in page
    for kind in can_hear(Role(role)):
        assert kind.label in page
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)


def test_the_page_says_on_which_days_the_end_of_a_trial_is_announced(cast, signed_in):
    page = " ".join(signed_in(cast.owner).get(URL).content.decode().split())
    usual, short = terms.OF_TRIALS
    assert f"{usual} days before, or {short} day before the end of a short one, with seats" in page


def test_staff_without_a_company_are_told_why_there_is_nothing(cast, signed_in):
    page = signed_in(cast.operator).get(URL).content.decode()
    assert boxes(page) == {}
    assert "not a member of any company" in page


def test_saving_keeps_exactly_what_was_not_ticked(cast, signed_in):
    client, member = signed_in(cast.manager), cast.manager.memberships.get()
    answer = client.post(URL, {f"{member.pk}-shown": "1", f"{member.pk}-on": ["done", "failed"]}, follow=True)
    assert answer.redirect_chain == [(URL, 302)]
    page = answer.content.decode()
    assert "Saved." in page
    assert {value for (_, value), ticked in boxes(page).items() if ticked} == {"done", "failed"}
    member.refresh_from_db()
    assert set(member.notices_off) == {str(one) for one in ALL} - {"done", "failed"}


def test_everything_can_be_switched_off_and_on(cast, signed_in):
    client, member = signed_in(cast.manager), cast.manager.memberships.get()
    client.post(URL, {f"{member.pk}-shown": "1"})
    member.refresh_from_db()
    assert set(member.notices_off) == {str(one) for one in ALL}
    client.post(URL, {f"{member.pk}-shown": "1", f"{member.pk}-on": [str(one) for one in ALL]})
    member.refresh_from_db()
    assert member.notices_off == []


def test_each_company_is_chosen_for_by_itself(cast, signed_in):
    first = cast.viewer.memberships.get()
    second = MemberFactory(account=cast.globex, user=cast.viewer, role=Role.OWNER)
    client = signed_in(cast.viewer)
    page = client.get(URL).content.decode()
    assert page.index("Acme GmbH</h2>") < page.index("Globex d.o.o.</h2>")
    client.post(URL, {f"{first.pk}-shown": "1", f"{first.pk}-on": "done", f"{second.pk}-shown": "1",
                      f"{second.pk}-on": [str(one) for one in ALL - {NoticeKind.ENDED}]})  # fmt: skip
    first.refresh_from_db()
    second.refresh_from_db()
    assert "failed" in first.notices_off
    assert second.notices_off == ["ended"]


def test_a_company_that_the_page_did_not_show_stays_as_it_is(cast, signed_in):
    """Somebody became a member between looking and saving."""
    client, first = signed_in(cast.viewer), cast.viewer.memberships.get()
    second = MemberFactory(account=cast.globex, user=cast.viewer, role=Role.OWNER, notices_off=["ended"])
    client.post(URL, {f"{first.pk}-shown": "1"})
    second.refresh_from_db()
    assert second.notices_off == ["ended"]


def test_nobody_chooses_for_others(cast, signed_in):
    theirs, mine = cast.owner.memberships.get(), cast.manager.memberships.get()
    signed_in(cast.manager).post(URL, {f"{theirs.pk}-shown": "1", f"{mine.pk}-shown": "1"})
    theirs.refresh_from_db()
    assert theirs.notices_off == []


def test_invented_kinds_are_not_kept(cast, signed_in):
    member = cast.manager.memberships.get()
    ticked = [str(one) for one in ALL] + ["decide", "attention", "x" * 5000, "\N{SNOWMAN}"]
    signed_in(cast.manager).post(URL, {f"{member.pk}-shown": "1", f"{member.pk}-on": ticked})
    member.refresh_from_db()
    assert member.notices_off == []


def test_what_a_role_does_not_see_stays_declined_for_the_day_when_it_does(cast, signed_in):
    Member.objects.filter(user=cast.viewer).update(notices_off=["reminder", "done"])
    member = cast.viewer.memberships.get()
    signed_in(cast.viewer).post(
        URL, {f"{member.pk}-shown": "1", f"{member.pk}-on": [str(one) for one in can_hear(Role.VIEWER)]}
    )
    member.refresh_from_db()
    assert member.notices_off == ["reminder"]


def test_the_page_needs_as_many_queries_for_many_companies(cast, signed_in):
    client, counts = signed_in(cast.viewer), []
    for companies in (1, 10):
        MemberFactory.create_batch(companies, user=cast.viewer, role=Role.OWNER)
        with CaptureQueriesContext(connection) as queries:
            client.get(URL)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 5
