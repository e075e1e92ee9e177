"""Subscriptions taken over from another system: as if they had been started here, and billed once."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions import actions, lifecycle, quotes
from subscriptions.actions import COMMAND, NotAllowed
from subscriptions.lifecycle import Running, Wish
from subscriptions.models import Charge, Event, Order, Subscription
from subscriptions.vendors.port import Secret
from tests.factories import AccountFactory, PriceBandFactory, SKUFactory, UserFactory
from tests.test_concurrency import together
from tests.test_periods import fresh, instant, lines, period

pytestmark = pytest.mark.django_db

TODAY, CODE = date(2027, 3, 10), Secret("FAKE0-AAAAA-BBBBB-CCCCC")
PRICE = Decimal("87.50")
"""Of 25 seats at 3.50 for one period."""
FREE = ("period", "2027-02-20", "2027-03-20", Decimal())
"""The line of the period that another system has charged."""


@pytest.fixture
def travel(settings, emulator, empty_queue):
    """Set business time, ours and the vendor's, to a midnight (UTC)."""

    def to(day):
        settings.CLOCK_OFFSET = instant(f"{day}") - datetime.now(UTC)
        emulator.control.set_offset(settings.CLOCK_OFFSET)

    to(TODAY)
    return to


@pytest.fixture
def running(travel):
    """One as another system has it: 25 seats since a year and three weeks, paid until 20 March."""

    def make(sku=None, **more):
        values = {
            "subscriber_id": f"{Subscription.objects.count() + 1:032X}", "seats": 25, "code": CODE,
            "account": more.pop("account", None) or AccountFactory(),
            "sku": sku if not isinstance(sku, dict | None) else SKUFactory(**(sku or {})),
            "started_on": date(2026, 2, 20), "next_charge_on": date(2027, 3, 20),
        }  # fmt: skip
        return Running(**values | more)

    return make


def take(*running, **more):
    said = {"source": "Old system", "reason": "We move", "actor": None, "audience": COMMAND}
    return lifecycle.take_over(running, **said | more)


def taken(one, at_vendor=None):
    [result] = take(one)
    assert not isinstance(result, NotAllowed), result.sentence
    return at_vendor(fresh(result)) if at_vendor else fresh(result)


def refused(one):
    [result] = take(one)
    assert isinstance(result, NotAllowed)
    assert not Subscription.objects.exists()
    return result.code, result.sentence


def order(subscription, stem, seats=None, *, drain=None, **more):
    after = {} if seats is None else {"Seats": seats}
    placed = lifecycle.place(Wish(subscription.pk, stem, after, **more), actor=None, audience="system")
    if drain:
        drain()
    return fresh(placed)


# --- what is written -------------------------------------------------------------------------------------------------


COLUMNS = (
    "status", "seats", "currency", "auto_renew", "anchor_day", "period_start", "period_end", "term_end", "trial_ends",
    "grace_ends", "reminder_due_on", "peak_seats", "next_due_at", "started_at", "suspended_at", "ends_at",
    "cancelled_at", "trial_of",
)  # fmt: skip


@pytest.mark.parametrize("billing", ["month", "year"])
@pytest.mark.parametrize("began", ["2026-02-20", "2026-01-31", "2027-03-10"])
def test_it_is_as_one_that_was_started_here(billing, began, running, travel, drain):
    sku, account = SKUFactory(billing_period=billing), AccountFactory(time_zone="Europe/Ljubljana")
    travel(began)
    ours = lifecycle.start(account, sku, 25, actor=None, audience=COMMAND).subscription
    drain()
    travel(TODAY)
    lifecycle.catch_up(instant(f"{TODAY}"))
    ours = fresh(ours)
    here = taken(running(sku, account=account, started_on=ours.period_start and date.fromisoformat(began),
                         next_charge_on=ours.period_end))  # fmt: skip
    expected = {name: getattr(ours, name) for name in COLUMNS} | {"started_at": actions.midnight(
        date.fromisoformat(began), account)}  # fmt: skip
    assert {name: getattr(here, name) for name in COLUMNS} == expected
    assert here.activation_code == CODE


def test_one_event_tells_who_and_why_and_one_line_that_nothing_is_billed(running):
    operator = UserFactory()
    [new] = take(running(reference="C-77"), actor=operator, audience=actions.BSS)
    [event] = Event.objects.all()
    assert (event.kind, event.actor, event.audience, event.reason) == ("takeover.done", operator, "bss", "We move")
    assert event.after == {
        "Status": "active", "Seats": 25, "SKU": new.sku.code, "Period": "2027-02-20",
        "Charged elsewhere until": "2027-03-20", "From": "Old system", "Reference": "C-77",
    }  # fmt: skip
    [line] = event.charges.all()
    assert lines(new) == [FREE]
    assert line.words == "25 seats, 20 February to 19 March 2027: charged before the takeover"
    assert (line.seats, line.unit_price, line.booked_on) == (25, Decimal("3.5"), TODAY)


def test_nobody_is_asked_or_told(running, emulator):
    taken(running(status="ending", ends_on=date(2027, 4, 2)))
    assert not emulator.control.journal()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs")
        assert cursor.fetchone() == (0,)


def test_statements_do_not_grow_with_the_rows(running):
    def statements(count):
        sku, account = SKUFactory(), AccountFactory()
        start = Subscription.objects.count()
        rows = [
            running(sku, account=account, subscriber_id=f"{start + n:032X}", status="ending", ends_on=date(2027, 4, 2))
            for n in range(count)
        ]
        with CaptureQueriesContext(connection) as captured:
            assert all(isinstance(one, Subscription) for one in take(*rows))
        return len(captured)

    assert statements(2) == statements(200)


# --- billed once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "due"),
    [
        # 5 x 3.50 x 9 of 28 days.
        ("prorate_days", Decimal("5.63")),
        ("full_period", Decimal("17.50")),
        ("high_water", Decimal("17.50")),
    ],
)
def test_an_increase_the_day_after_charges_the_added_seats_alone(policy, due, running, at_vendor, travel, drain):
    subscription = taken(running({"increase_policy": policy}), at_vendor)
    travel("2027-03-11")
    assert order(subscription, "increase", 30, drain=drain).status == "completed"
    assert lines(subscription) == [FREE, ("change", *lines(subscription)[1][1:3], due)]


def test_what_is_billed_at_its_highest_count_counts_what_was_charged_elsewhere(running, at_vendor, travel, drain):
    subscription = taken(running({"increase_policy": "high_water"}), at_vendor)
    PriceBandFactory(sku=subscription.sku, seats_from=30, price="4.00")
    for seats in (30, 20, 30):
        order(subscription, "increase" if seats > 25 else "decrease", seats, drain=drain)
    # All of the period at 30 seats, less what 25 had cost.
    assert [line[3] for line in lines(subscription)] == [0, 30 * 4 - PRICE]


@pytest.mark.parametrize("policy", ["immediate_credit", "immediate_no_credit"])
def test_what_was_charged_elsewhere_is_not_credited_here(policy, running, at_vendor, drain):
    sku = {"decrease_policy": policy, "cancel_credit": "by_days"}
    subscription = taken(running(sku), at_vendor)
    order(subscription, "decrease", 20, drain=drain)
    order(subscription, "cancel", drain=drain)
    assert fresh(subscription).status == "cancelled"
    assert lines(subscription) == [FREE]


def test_suspended_and_active_again_it_is_not_billed_twice(running, at_vendor, drain):
    subscription = taken(running(), at_vendor)
    order(subscription, "suspend", drain=drain)
    activated = order(subscription, "activate", drain=drain)
    assert quotes.quote_of(activated).due_now == 0
    assert fresh(subscription).status == "active"
    assert lines(subscription) == [FREE]


def test_the_next_period_is_billed_once_at_the_price_list(running, travel):
    subscription = taken(running())
    travel("2027-03-19")
    assert not lifecycle.catch_up(instant("2027-03-19"))
    for day in ("2027-03-20", "2027-03-20", "2027-04-20"):
        travel(day)
        lifecycle.catch_up(instant(day))
    assert lines(subscription) == [
        FREE, ("period", "2027-03-20", "2027-04-20", PRICE), ("period", "2027-04-20", "2027-05-20", PRICE)
    ]  # fmt: skip


def test_a_change_of_the_sku_bills_the_new_one(running, at_vendor, drain):
    subscription = taken(running(), at_vendor)
    target = SKUFactory(product=subscription.sku.product, prices={1: "5.00"})
    subscription.sku.targets.create(target=target)
    wish = Wish(subscription.pk, "change_sku", {"SKU": target.code, "Seats": 25}, when=quotes.NOW)
    lifecycle.place(wish, actor=None, audience="system")
    drain()
    assert lines(subscription) == [FREE, ("change", "2027-03-10", "2027-04-10", Decimal("125.00"))]


def test_after_a_change_of_the_sku_what_was_charged_elsewhere_counts_no_more(running, at_vendor, drain):
    # On the first day of the period that was charged elsewhere: the new one begins on the same day.
    one = running({"increase_policy": "high_water"}, started_on=date(2026, 3, 10), next_charge_on=date(2027, 4, 10))
    subscription = taken(one, at_vendor)
    target = SKUFactory(product=subscription.sku.product, increase_policy="high_water", prices={1: "5.00"})
    subscription.sku.targets.create(target=target)
    wish = Wish(subscription.pk, "change_sku", {"SKU": target.code, "Seats": 25}, when=quotes.NOW)
    lifecycle.place(wish, actor=None, audience="system")
    drain()
    order(subscription, "increase", 30, drain=drain)
    assert [line[3] for line in lines(subscription)] == [0, Decimal(125), Decimal(25)]


# --- each status -----------------------------------------------------------------------------------------------------


def test_one_that_is_suspended_without_being_paid_for_is_billed_when_it_works_again(running, at_vendor, drain):
    one = running(status="suspended", suspended_on=date(2027, 1, 5), next_charge_on=date(2027, 1, 20))
    subscription = taken(one, at_vendor)
    assert subscription.suspended_at == instant("2027-01-05")
    lifecycle.catch_up(instant(f"{TODAY}"))
    assert (fresh(subscription).status, period(subscription)) == ("suspended", ("2027-02-20", "2027-03-20"))
    order(subscription, "activate", drain=drain)
    [_, (kind, start, end, amount)] = lines(subscription)
    # 87.50 x 10 of 28 days.
    assert (kind, start, end, amount) == ("change", "2027-03-10", "2027-03-20", Decimal("31.25"))


def test_an_end_that_is_planned_can_be_undone_by_the_customer(running, cast):
    subscription = taken(running(account=cast.acme, status="ending", ends_on=date(2027, 4, 2)))
    planned = Order.objects.get()
    assert (planned.action, planned.status, planned.due_at) == ("cancel", "scheduled", instant("2027-04-02"))
    assert (subscription.status, subscription.ends_at) == ("ending", planned.due_at)
    lifecycle.undo(planned.pk, actor=cast.owner, audience=actions.STOREFRONT)
    assert (fresh(subscription).status, fresh(subscription).ends_at) == ("active", None)


def test_an_end_that_is_planned_comes(running, at_vendor, travel, drain, emulator):
    subscription = taken(running(status="ending", ends_on=date(2027, 4, 2)), at_vendor)
    travel("2027-04-02")
    lifecycle.catch_up(instant("2027-04-02"))
    drain()
    assert fresh(subscription).status == "cancelled"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"


def test_an_end_that_the_vendor_knows_of_is_not_ours_to_undo(running, cast):
    ends = {"ends_on": date(2027, 4, 2), "vendor_ends_at": datetime(2027, 4, 2, 9, 30, tzinfo=UTC)}
    subscription = taken(running(account=cast.acme, status="ending", **ends))
    assert subscription.ends_at == ends["vendor_ends_at"]
    assert not Order.objects.exists()
    about = actions.situation(subscription, actor=cast.owner, audience=actions.STOREFRONT)
    assert actions.KEEP.why_not(about).code == "ends_at_vendor"


def test_nothing_is_billed_where_the_vendor_ends_it_with_the_period_that_was_paid(running, at_vendor, travel, drain):
    account, ends_at = AccountFactory(time_zone="Europe/Amsterdam"), instant("2027-03-20")
    ends = {"ends_on": date(2027, 3, 20), "vendor_ends_at": ends_at}
    subscription = taken(running(account=account, status="ending", **ends), at_vendor)
    assert subscription.next_due_at == ends_at
    travel("2027-03-20")
    assert not lifecycle.catch_up(ends_at - timedelta(minutes=30))
    assert lifecycle.catch_up(ends_at) == {"ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert lines(subscription) == [FREE]


def test_a_suspended_one_with_a_planned_end_is_ending_once_it_works_again(running, at_vendor, drain):
    one = running(status="suspended", suspended_on=date(2027, 3, 1), ends_on=date(2027, 4, 2))
    subscription = taken(one, at_vendor)
    order(subscription, "activate", drain=drain)
    assert (fresh(subscription).status, fresh(subscription).ends_at) == ("ending", instant("2027-04-02"))


def test_one_whose_term_is_over_can_be_renewed_and_pays_from_the_end_of_its_term(running, travel):
    subscription = taken(running(status="expired", next_charge_on=date(2027, 3, 1)))
    assert not subscription.auto_renew
    assert (subscription.term_end, subscription.grace_ends) == (date(2027, 3, 1), date(2027, 3, 15))
    assert subscription.next_due_at == instant("2027-03-15")
    order(subscription, "renew")
    assert fresh(subscription).status == "active"
    assert lines(subscription)[1:] == [("period", "2027-03-01", "2027-04-01", PRICE)]


def test_a_term_that_is_not_renewed_ends_on_its_day(running, travel):
    subscription = taken(running(auto_renew=False, term_ends_on=date(2027, 5, 20)))
    assert subscription.term_end == date(2027, 5, 20)
    for day in ("2027-03-20", "2027-04-20", "2027-05-20"):
        travel(day)
        lifecycle.catch_up(instant(day))
    assert fresh(subscription).status == "expired"
    assert [line[3] for line in lines(subscription)] == [0, PRICE, PRICE]


@pytest.mark.parametrize(
    ("started", "next_charge", "anchor", "term_end"),
    [
        ("2026-02-20", "2027-03-20", 20, "2028-02-20"),
        ("2026-03-20", "2027-03-20", 20, "2027-03-20"),
        ("2026-05-31", "2027-03-31", 31, "2027-05-31"),
        ("2026-04-01", "2027-03-15", 15, "2027-04-15"),
        ("2027-03-05", "2027-03-31", 31, "2028-03-31"),
    ],
)
def test_terms_are_counted_from_the_start(started, next_charge, anchor, term_end, running):
    dates = {"started_on": date.fromisoformat(started), "next_charge_on": date.fromisoformat(next_charge)}
    found = taken(running(**dates))
    assert (found.anchor_day, found.term_end) == (anchor, date.fromisoformat(term_end))


def test_the_end_of_a_short_month_is_not_taken_for_the_day_of_the_month(running, travel):
    travel("2027-02-10")
    born = running(started_on=date(2026, 12, 31), next_charge_on=date(2027, 2, 28))
    told = replace(running(started_on=date(2026, 12, 30), next_charge_on=date(2027, 2, 28)), anchor_day=29,
                   subscriber_id="E" * 32)  # fmt: skip
    first, second = take(born, told)
    for day in ("2027-02-28", "2027-03-29", "2027-03-31"):
        travel(day)
        lifecycle.catch_up(instant(day))
    assert [period(first)[0], period(second)[0]] == ["2027-03-31", "2027-03-29"]


# --- on pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(signed_in, cast, travel):
    """The words of a page, as somebody sees it."""

    def get(person, path, post=None):
        client = signed_in(getattr(cast, person))
        answer = client.get(path) if post is None else client.post(path, post)
        assert answer.status_code == 200, path
        return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())

    return get


def test_customers_see_it_as_their_own(words, running, cast, at_vendor, signed_in):
    subscription = taken(running(account=cast.acme), at_vendor)
    here = f"/subscriptions/{subscription.pk}/"
    assert subscription.number in words("owner", "/subscriptions/")
    shown = words("owner", here)
    assert "Taken over from Old system" in shown
    assert "It was charged there until 19 March 2027" in shown
    assert "EUR 87.50 on 20 March 2027" in shown
    code = signed_in(cast.owner).post(f"{here}code/", {"how": "show"})
    assert CODE.reveal() in code.content.decode()
    statement = words("owner", f"/statements/{cast.acme.pk}/2027-03/")
    assert "25 seats, 20 February to 19 March 2027: charged before the takeover" in statement
    assert "EUR 0.00" in statement


def test_staff_see_who_took_it_over_and_from_where(words, running, cast, at_vendor):
    [new] = take(running(account=cast.acme, reference="C-77"), actor=cast.operator, audience=actions.BSS)
    at_vendor(fresh(new))
    shown = words("operator", reverse("admin:subscriptions_subscription_change", args=[new.pk]))
    for expected in (
        "Taken over from another system", "From Old system", "Reference C-77",
        "Charged elsewhere until 20 March 2027", f"{cast.operator}, BSS",
    ):  # fmt: skip
        assert expected in shown
    details = words("operator", reverse("admin:subscriptions_subscription_details", args=[new.pk]), {})
    assert details.count("Same") == 3
    assert "Differs" not in details
    assert "From Old system" in words("auditor", reverse("admin:subscriptions_event_changelist"))
    assert "charged before the takeover" in words("auditor", reverse("admin:subscriptions_charge_changelist"))


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"seats": 4}, "below_minimum", "This product starts at 5 seats."),
        ({"seats": 501}, "above_maximum", "at most 500 seats."),
        ({"started_on": date(2027, 3, 11)}, "not_started", "It starts on 11 March 2027"),
        ({"next_charge_on": date(2027, 3, 10)}, "not_paid", "from 10 March 2027 on has begun and is not paid"),
        ({"next_charge_on": date(2027, 4, 11)}, "paid_ahead", "more than a period ahead: it is billed a month."),
        ({"next_charge_on": date(2027, 4, 30), "anchor_day": 31}, "paid_ahead", "30 April 2027"),
        ({"anchor_day": 21}, "anchor_day", "on day 21 of a month do not begin on 20 March 2027"),
        ({"term_ends_on": date(2027, 5, 19)}, "term", "A term ends with a period: on 20 March 2027 or later"),
        ({"term_ends_on": date(2027, 2, 20)}, "term", "or later"),
        ({"currency": "CHF"}, "currency", "is billed in EUR, and not in CHF."),
        ({"status": "cancelled"}, "status", "What is cancelled does not run"),
        ({"status": "pending"}, "status", "What is pending does not run"),
        ({"status": "suspended"}, "suspended_on", "the day since which it is suspended"),
        ({"suspended_on": date(2027, 3, 1)}, "suspended_on", "A suspended one, and no other"),
        ({"status": "suspended", "suspended_on": date(2027, 3, 11)}, "suspended_on", "since 11 March 2027"),
        ({"status": "suspended", "suspended_on": date(2026, 2, 19)}, "suspended_on", "since 19 February 2026"),
        ({"status": "ending"}, "ends_on", "has the day on which it ends"),
        ({"ends_on": date(2027, 4, 2)}, "ends_on", "only it and a suspended one have"),
        ({"status": "ending", "ends_on": date(2027, 3, 10)}, "over", "It ended on 10 March 2027"),
        ({"status": "expired"}, "not_expired", "Its term is not over before 20 March 2027"),
        ({"status": "expired", "next_charge_on": date(2027, 2, 24)}, "over", "the time to renew it is over"),
        ({"sku": {"prices": {}}}, "no_price", "no price for 25 seats in EUR"),
        ({"sku": {"prices": {50: "3.00"}}}, "no_price", "its next period could not be billed."),
        (
            {"sku": {"bills_while_suspended": True}, "status": "suspended", "suspended_on": date(2027, 1, 5),
             "next_charge_on": date(2027, 2, 20)}, "not_paid", "from 20 February 2027 on",
        ),
        (
            {"sku": {"billing_period": "year"}, "started_on": date(2026, 2, 20)}, "term",
            "Its terms, counted from 20 February 2026, do not end with a period.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_over_is_refused_with_a_sentence(wrong, code, words, running):
    said = refused(running(**wrong))
    assert said[0] == code
    assert words in said[1]
    assert not Event.objects.exists()
    assert not Charge.objects.exists()


def test_what_is_here_already_is_left_alone(running):
    one = running()
    first = taken(one)
    before = list(Subscription.objects.values())
    other = AccountFactory(name="Globex")
    [same, differs] = [take(again)[0] for again in (one, replace(one, seats=30, account=other, status="expired"))]
    assert (same.code, same.sentence) == ("already_here", f"It is {first} here already, just as the file says.")
    assert differs.code == "here_otherwise"
    assert differs.sentence == (
        f"It is {first} here already, but with company {first.account} and not Globex, seats 25 and not 30, status"
        " active and not expired."
    )
    assert list(Subscription.objects.values()) == before
    assert Event.objects.count() == Charge.objects.count() == 1


@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_a_subscriber_is_the_same_in_small_letters(running, written):
    """A file may write hex digits as it likes; a second subscription of one licence would be billed twice."""
    one = running(subscriber_id="0A1B2C3D" * 4)
    taken(replace(one, subscriber_id=one.subscriber_id.lower()) if written is str.upper else one)
    again = replace(one, subscriber_id=written(one.subscriber_id))
    [would], [does] = lifecycle.would_take_over([again]), take(again)
    assert (would.code, does.code) == ("already_here", "already_here")
    assert Subscription.objects.count() == 1


def test_a_bad_row_leaves_its_neighbours_alone(running):
    good, bad, also_good = running(), running(seats=1), replace(running(), subscriber_id="F" * 32)
    results = take(good, replace(bad, subscriber_id="E" * 32), also_good)
    assert [isinstance(one, NotAllowed) for one in results] == [False, True, False]
    assert set(Subscription.objects.values_list("subscriber_id", flat=True)) == {good.subscriber_id, "F" * 32}


def test_what_is_told_inside_the_transaction_can_leave_nothing_behind(running):
    def stop(results):
        assert len(results) == 1
        raise KeyError

    with pytest.raises(KeyError):
        take(running(), then=stop)
    for model in (Subscription, Event, Charge):
        assert not model.objects.exists()


def test_looking_writes_nothing(running):
    [new, refusal] = lifecycle.would_take_over([running(), running(seats=1)])
    assert (new.status, new.pk, refusal.code) == ("active", None, "below_minimum")
    assert not Subscription.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_take_each_over_once(running):
    sku, account = SKUFactory(), AccountFactory()
    rows = [running(sku, account=account, subscriber_id=f"{n:032X}") for n in range(100)]
    results = together(*[lambda: take(*rows)] * 4)
    assert Subscription.objects.count() == Charge.objects.count() == Event.objects.count() == 100
    new = [one for result in results for one in result if isinstance(one, Subscription)]
    told = {one.code for result in results for one in result if isinstance(one, NotAllowed)}
    assert (len(new), told) == (100, {"already_here"})
