"""The page of a subscription: actions with their reasons and ways out, the one panel, the history."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock, lifecycle
from subscriptions.models import ChangeTarget, Event, Subscription
from tests import factories


@pytest.fixture
def see(signed_in, cast):
    def get(subscription, person=None) -> str:
        answer = signed_in(person or cast.owner).get(f"/subscriptions/{subscription.pk}/")
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", answer.content.decode())

    return get


def menu(page: str) -> list[str]:
    """The names of the actions, in order; those that are not possible in brackets."""
    entries = re.findall(r'<li class="action( action-off)?"> <(?:a class="button[^>]*|strong)>(.*?)</', page)
    return [f"({name})" if off else name for off, name in entries]


def test_an_active_subscription_offers_all_four_in_their_fixed_order(see, subscription):
    assert menu(see(subscription)) == ["Increase seats", "Decrease seats", "Get activation code", "Cancel subscription"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", "(Increase seats) (Decrease seats) (Get activation code) (Cancel subscription)"),
        ("suspended", "(Increase seats) (Decrease seats) (Get activation code) Cancel subscription"),
        ("failed", "(Increase seats) (Decrease seats) (Get activation code) (Cancel subscription)"),
        ("cancelled", "(Increase seats) (Decrease seats) (Get activation code) (Cancel subscription)"),
    ],
)
def test_unavailable_actions_stay_in_place(see, stock, status, expected):
    assert " ".join(menu(see(getattr(stock, status)))) == expected


def test_at_the_minimum_the_way_out_is_cancel(see, cast):
    least = factories.SubscriptionFactory(account=cast.acme, seats=5)
    page = see(least)
    assert "You have 5 seats, and 5 is the smallest number for this product." in page
    assert f'<a href="/subscriptions/{least.pk}/cancel/">Cancel subscription</a>' in page


def test_numbers_have_thousands_separators_on_every_page(signed_in, cast):
    client, sku = signed_in(cast.owner), factories.SKUFactory(seats_min=1000, seats_max=5000)
    many = factories.SubscriptionFactory(account=cast.acme, sku=sku, seats=2500)
    for path, expected in (
        ("", ["<strong>2,500</strong>", "of at most 5,000", "Smallest 1,000", "Largest 5,000"]),
        ("increase/check/?seats=3000", ["<strong>2,500</strong>", "<strong>3,000</strong>", "3,000 devices"]),
        ("decrease/check/?seats=1500", ["<strong>1,500</strong>", "1,500 devices", "1,000 seats fewer than now"]),
        ("cancel/", ["2,500 seats"]),
        ("code/", ["2,500 seats"]),
    ):
        page = " ".join(client.get(f"/subscriptions/{many.pk}/{path}").content.decode().split())
        for one in expected:
            assert one in page, (path, one)
    assert "> 2,500 <" in " ".join(client.get("/subscriptions/").content.decode().split())
    check = " ".join(client.post(f"/subscriptions/{many.pk}/cancel/check/", {"when": "now"}).content.decode().split())
    assert "2,500" in check


def test_at_the_maximum(see, cast):
    page = see(factories.SubscriptionFactory(account=cast.acme, seats=500))
    assert "This product allows at most 500 seats." in page


def test_an_open_order_is_the_panel_and_the_way_out(see, cast, subscription):
    placed = datetime(2026, 5, 4, 12, 2, tzinfo=UTC)
    order = factories.OrderFactory(subscription=subscription, status="placed", placed_at=placed, actor=cast.owner)
    page = see(subscription)
    assert f"{order.number} is being applied since 12:02." in page
    assert f'<a href="/orders/{order.pk}/">See {order.number}</a>' in page


def test_times_are_those_of_the_account(see, cast, subscription):
    cast.acme.time_zone = "Europe/Ljubljana"
    cast.acme.save()
    placed = datetime(2026, 5, 4, 12, 2, tzinfo=UTC)
    factories.OrderFactory(subscription=subscription, placed_at=placed)
    assert "4 May 2026, 14:02" in see(subscription)


def test_what_needs_attention_is_said_once(see, subscription):
    factories.OrderFactory(subscription=subscription, status="needs_attention")
    page = see(subscription)
    assert "The last change needs attention" in page
    assert page.count('<section class="panel') == 1


def test_a_change_that_was_not_done_is_told(see, subscription):
    factories.OrderFactory(subscription=subscription, status="failed", outcome_message="Vendor words for staff")
    page = see(subscription)
    assert "The last change was not done" in page
    assert "Vendor words" not in page


def test_a_subscription_that_was_never_started_has_no_code_that_stopped_working(see, cast):
    never = factories.SubscriptionFactory(account=cast.acme, status="cancelled", started_at=None, activation_code=None)
    page = see(never)
    assert "It was never started, and nothing was charged." in page
    assert "no longer works" not in page
    assert re.search(r"<dt>Started</dt> <dd> Never </dd>", page)


def test_a_subscription_that_was_used_says_what_became_of_its_code(see, stock):
    assert "its activation code no longer works" in see(stock.cancelled)


def test_a_viewer_is_told_whom_to_ask(see, cast, subscription):
    page = see(subscription, cast.viewer)
    assert menu(page) == ["(Increase seats)", "(Decrease seats)", "(Get activation code)", "(Cancel subscription)"]
    assert "Ask Ana Kos." in page


def test_history_names_people_and_hides_staff_and_their_reasons(see, cast, subscription):
    factories.OrderFactory(subscription=subscription, actor=cast.owner, before={"Seats": 20}, after={"Seats": 25})
    factories.OrderFactory(
        subscription=subscription, actor=cast.operator, audience="bss", action="suspend", reason="Did not pay",
        before={"Status": "active"}, after={"Status": "suspended"},
    )  # fmt: skip
    Event.objects.create(
        account=cast.acme, subscription=subscription, kind="code.shown", at=datetime.now(UTC), actor=cast.manager,
        audience="storefront",
    )  # fmt: skip
    page = see(subscription)
    for text in ("Increase seats from 20 to 25", "Ana Kos", "Activation code shown", "Marko Novak", "Your distributor"):
        assert text in page
    assert cast.operator.name not in page
    assert "Did not pay" not in page


def row(page: str, what: str) -> str:
    """The line of the history about `what`, as text."""
    [found] = [one for one in re.findall(r"<tr role=\"row\">.*?</tr>", page) if f"> {what} <" in one]
    return " ".join(re.sub(r"<[^>]*>", " ", found).split())


@pytest.mark.parametrize(
    ("what", "words"),
    [("retry", "Your distributor tried again"), ("give_up", "Your distributor gave up the order")],
)
def test_history_tells_what_the_distributor_did_about_an_order(see, cast, subscription, what, words):
    order = factories.OrderFactory(subscription=subscription, status="failed")
    factories.EventFactory(
        subscription=subscription, order=order, kind=f"increase.{what}", actor=cast.operator, audience="bss",
        reason="Words for staff", at=datetime(2026, 5, 4, 12, 2, tzinfo=UTC),
    )  # fmt: skip
    page = see(subscription)
    assert row(page, words) == f"{words} Your distributor 4 May 2026, 12:02 {order.number}"
    assert "Words for staff" not in page
    assert cast.operator.name not in page


def test_a_start_that_was_given_up_says_who_ended_it_and_when(see, cast, stock):
    order = factories.OrderFactory(
        subscription=stock.failed, action="start", before={}, after={"Seats": 25}, status="failed", audience="bss"
    )
    lifecycle.give_up(order.pk, actor=cast.operator, audience="bss", reason="Words for staff")
    page = see(stock.failed)
    act = Event.objects.get(kind="start.give_up")
    assert row(page, "Your distributor gave up the order").startswith(
        f"Your distributor gave up the order Your distributor {act.at:%-d %b %Y, %H:%M}"
    )
    assert f"Your distributor ended it on {act.at:%-d %B %Y, %H:%M}." in page


def test_the_code_is_not_on_the_page(see, subscription):
    code = subscription.activation_code.reveal()
    assert code not in see(subscription)
    assert code[-5:] not in see(subscription)


def test_the_page_runs_the_same_few_queries_for_2_orders_and_for_200(signed_in, cast, subscription):
    client, counts = signed_in(cast.owner), []
    for size in (2, 200):
        for _ in range(size):
            factories.OrderFactory(subscription=subscription, actor=cast.owner)
            Event.objects.create(
                account=cast.acme, subscription=subscription, kind="code.shown", at=datetime.now(UTC),
                actor=cast.manager, audience="storefront",
            )  # fmt: skip
        with CaptureQueriesContext(connection) as ran:
            assert client.get(f"/subscriptions/{subscription.pk}/").status_code == 200
        counts.append(len(ran))
    assert counts[0] == counts[1] <= 11


# --- terms, prices and plans -----------------------------------------------------------------------------------------

BEGAN = datetime(2027, 1, 31, 12, tzinfo=UTC)
NOW = datetime(2027, 2, 10, 12, tzinfo=UTC)


@pytest.fixture
def in_february(settings):
    """The clock shows 10 February 2027."""
    settings.CLOCK_OFFSET = NOW - datetime.now(UTC)


@pytest.fixture
def make(cast, in_february):
    """A subscription of 25 seats since 31 January 2027, at EUR 3.50 a seat and month."""

    def subscription(*, sku=None, **fields):
        made = factories.SKUFactory(**({"decrease_policy": "next_period"} | (sku or {})))
        return factories.SubscriptionFactory(account=cast.acme, sku=made, created_at=BEGAN, **fields)

    return subscription


def summary(page: str) -> dict[str, str]:
    """The list of facts, by name."""
    found = re.findall(r"<dt>(.*?)</dt> <dd[^>]*>(.*?)</dd>", page)
    return {name: " ".join(re.sub(r"<[^>]*>", " ", words).split()) for name, words in found}


def panel(page: str) -> str:
    """The one panel, as text."""
    [found] = re.findall(r'<section class="panel.*?</section>', page)
    return " ".join(re.sub(r"<[^>]*>", " ", found).split())


def test_the_summary_names_price_next_charge_term_and_renewal(see, make):
    facts = summary(see(make()))
    assert facts["Price"] == "EUR 87.50 a month EUR 3.50 a month for each seat, excl. VAT"
    assert facts["Next charge"] == "EUR 87.50 on 28 February 2027"
    assert facts["Term"] == "12 months, until 31 January 2028"
    assert facts["Renews automatically"] == "Yes, on 31 January 2028"


def plan(subscription, action, due, after, *, quote=None):
    return factories.OrderFactory(
        subscription=subscription, action=action, status="scheduled", due_at=due, after=after, quote=quote,
        before={name: 25 for name in after if name == "Seats"} | ({"SKU": "OLD"} if "SKU" in after else {}),
    )  # fmt: skip


PERIOD_END = datetime(2027, 2, 28, tzinfo=UTC)


def test_the_next_charge_counts_with_a_planned_decrease(see, make):
    one = make()
    plan(one, "decrease", PERIOD_END, {"Seats": 20})
    page = see(one)
    assert summary(page)["Next charge"] == "EUR 70.00 on 28 February 2027"
    assert "The decrease to 20 seats is planned" in page
    assert re.search(r'20 from <time datetime="2027-02-28">28 Feb 2027</time>', page)


def test_a_later_plan_does_not_touch_the_next_charge(see, make):
    one = make()
    plan(one, "decrease", datetime(2027, 3, 31, tzinfo=UTC), {"Seats": 20})
    assert summary(see(one))["Next charge"] == "EUR 87.50 on 28 February 2027"


@pytest.mark.parametrize(
    ("fields", "sku", "expected"),
    [
        ({"auto_renew": False, "term_end": date(2027, 2, 28)}, {}, "None, unless it is renewed"),
        ({"auto_renew": False}, {}, "EUR 87.50 on 28 February 2027"),
        ({"status": "suspended"}, {}, "None while it is suspended"),
        ({"status": "suspended"}, {"bills_while_suspended": True}, "EUR 87.50 on 28 February 2027"),
        ({"status": "ending", "ends_at": PERIOD_END}, {}, "None: it ends on 28 February 2027"),
        (
            {"status": "ending", "ends_at": datetime(2027, 5, 31, tzinfo=UTC)},
            {},
            "EUR 87.50 on 28 February 2027",
        ),
        ({"trial_ends": date(2027, 2, 28)}, {}, "None: a trial is free"),
        ({"status": "pending"}, {}, "With the start"),
    ],
)
def test_what_is_charged_next(see, make, fields, sku, expected):
    assert summary(see(make(sku=sku, **fields)))["Next charge"] == expected


def test_the_next_charge_is_what_the_period_then_is_billed(see, make, settings, emulator):
    one = make()
    shown = summary(see(one))["Next charge"]
    settings.CLOCK_OFFSET = PERIOD_END + timedelta(hours=1) - datetime.now(UTC)
    lifecycle.catch_up(clock.now(), only=[one.pk])
    [charge] = one.charges.all()
    assert shown == f"EUR {charge.amount:.2f} on {charge.covers_from:%-d %B %Y}"


def test_without_a_price_the_page_says_so(see, make):
    facts = summary(see(make(sku={"prices": {}})))
    assert facts["Price"].startswith("No price")
    assert facts["Next charge"] == "There is no price for 25 seats in EUR. Ask your distributor."


def test_what_is_over_has_no_price(see, stock):
    for status in ("cancelled", "failed"):
        assert "Next charge" not in see(getattr(stock, status))


@pytest.mark.parametrize(
    ("fields", "title", "text"),
    [
        ({"status": "ending", "ends_at": PERIOD_END}, "Ends on 28 February 2027", "It works as before until then."),
        (
            {"status": "expired", "ends_at": NOW, "term_end": date(2027, 2, 7), "grace_ends": date(2027, 2, 21)},
            "The term ended on 7 February 2027",
            "It can be renewed until 20 February 2027.",
        ),
        ({"trial_ends": date(2027, 2, 28)}, "Trial until 28 February 2027", "ends by itself on that day"),
    ],
)
def test_how_it_stands_is_said_with_the_way_out(see, cast, make, fields, title, text):
    one = make(**fields)
    if fields.get("status") == "ending":
        plan(one, "cancel", PERIOD_END, {"Status": "cancelled"})
    page = see(one)
    assert panel(page).startswith(title)
    assert text in panel(page)
    way = {"ending": "Keep subscription", "expired": "Renew"}.get(fields.get("status"), "Convert")
    assert way in panel(page)
    assert way not in panel(see(one, cast.viewer))


def test_what_was_suspended_when_its_term_ended_is_not_said_to_be_renewable(see, make):
    fields = {"ends_at": NOW, "term_end": date(2027, 2, 10), "grace_ends": date(2027, 2, 10), "suspended_at": NOW}
    page = see(make(status="expired", **fields))
    assert panel(page) == "The term ended on 10 February 2027 It was suspended then, and is over now."


FURTHER = [
    ({}, ["Automatic renewal"]),
    ({"status": "suspended"}, ["Automatic renewal"]),
    # What the panel at the top leads to is not repeated below.
    ({"status": "ending", "ends_at": PERIOD_END}, []),
    ({"status": "expired", "grace_ends": date(2027, 2, 21), "ends_at": NOW}, []),
    ({"trial_ends": date(2027, 2, 28)}, []),
    ({"status": "cancelled"}, []),
]


@pytest.mark.parametrize(("fields", "expected"), FURTHER)
def test_further_actions_are_listed_where_they_apply(see, cast, make, fields, expected):
    one = make(**fields)
    if fields.get("status") == "ending":
        plan(one, "cancel", PERIOD_END, {"Status": "cancelled"})
    page = see(one)
    listed = re.search(r'<ul class="further">(.*?)</ul>', page)
    assert re.findall(r"<a [^>]*>(.*?)</a>", listed[1] if listed else "") == expected
    assert '<ul class="further">' not in see(one, cast.viewer)


def test_a_change_of_the_sku_is_offered_where_there_is_another_one(see, make):
    one = make()
    ChangeTarget.objects.create(sku=one.sku, target=factories.SKUFactory(product=one.sku.product))
    assert f'<a href="/subscriptions/{one.pk}/change_sku/">Change the SKU</a>' in see(one).replace(
        "change-sku", "change_sku"
    )


def test_a_plan_can_be_undone_from_the_page_by_those_who_may(see, cast, make):
    one = make()
    order = plan(one, "decrease", PERIOD_END, {"Seats": 20})
    link = f'href="/orders/{order.pk}/undo/">Undo the decrease to 20 seats</a>'
    assert link in see(one)
    page = see(one, cast.viewer)
    assert "The decrease to 20 seats is planned" in page
    assert "Undo" not in page


def test_a_planned_activation_does_not_wait_for_itself(see, make):
    one = make(status="suspended")
    plan(one, "activate", PERIOD_END, {"Status": "active"})
    assert "It waits" not in see(one)


def test_the_next_charge_waits_for_what_is_open(see, make, settings):
    one = make()
    order = factories.OrderFactory(
        subscription=one, status="needs_attention", after={"Seats": 30}, before={"Seats": 25}
    )
    settings.CLOCK_OFFSET += timedelta(days=45)
    assert f"When {order.number} is over: periods wait for it" in see(one)


def test_a_plan_of_a_suspended_one_waits(see, make):
    one = make(status="suspended")
    plan(one, "decrease", PERIOD_END, {"Seats": 20})
    assert "It waits while the subscription is suspended." in see(one)


@pytest.mark.parametrize(
    ("status", "finished_at", "effect", "state"),
    [
        ("scheduled", None, "planned for 1 Mar 2027", "active"),
        # It stands still, and may take effect later than planned.
        ("scheduled", None, "planned for 1 Mar 2027", "suspended"),
        ("placed", None, "to take effect on 1 Mar 2027", "active"),
        # After an open order it was later than planned.
        ("completed", datetime(2027, 3, 2, 0, 1, tzinfo=UTC), "took effect on 2 Mar 2027", "active"),
        ("withdrawn", datetime(2027, 1, 9, 0, 1, tzinfo=UTC), "was to take effect on 1 Mar 2027", "active"),
        ("failed", datetime(2027, 3, 2, 0, 1, tzinfo=UTC), "was to take effect on 1 Mar 2027", "active"),
    ],
)
def test_a_planned_change_is_dated_by_when_it_was_planned_and_when_it_takes_effect(
    see, cast, signed_in, subscription, status, finished_at, effect, state
):
    Subscription.objects.filter(pk=subscription.pk).update(status=state)
    order = factories.OrderFactory(
        subscription=subscription, action="decrease", actor=cast.owner, status=status, before={"Seats": 25},
        after={"Seats": 20}, placed_at=datetime(2027, 1, 3, 10, 12, tzinfo=UTC),
        due_at=datetime(2027, 3, 1, tzinfo=UTC), finished_at=finished_at,
    )  # fmt: skip
    factories.EventFactory(
        subscription=subscription, order=order, kind="decrease.approved", audience="bss", actor=cast.operator,
        at=datetime(2027, 1, 4, 8, 0, tzinfo=UTC),
    )  # fmt: skip
    page = see(subscription)
    when = f"Planned on 3 Jan 2027, 10:12 {effect}"
    assert when in row(page, "Decrease seats from 25 to 20")
    # An act upon it has its own day and no other.
    assert "Your distributor 4 Jan 2027, 08:00 ORD" in row(page, "Your distributor approved the order")
    listed = " ".join(re.sub(r"<[^>]*>", " ", signed_in(cast.owner).get("/orders/").content.decode()).split())
    assert when in listed


def test_history_tells_what_time_brought(see, make):
    one = make()
    for kind, after in (
        ("renewal.renewed", {"Term ends": "2028-01-31"}),
        ("expire.expired", {}),
        ("trial.ended", {}),
    ):
        factories.EventFactory(subscription=one, kind=kind, after=after)
    page = see(one)
    for words in ("Renewed for another term", "Until 31 January 2028", "The term ended without renewal", "Seatdesk"):
        assert words in page


def test_an_order_that_waits_for_approval_is_the_panel(see, make):
    one = make()
    order = factories.OrderFactory(
        subscription=one, status="awaiting_approval", before={"Seats": 25}, after={"Seats": 30}
    )
    page = see(one)
    assert f"{order.number} waits for your distributor&#x27;s approval." in panel(page)
    assert "a change waits for approval" in page
