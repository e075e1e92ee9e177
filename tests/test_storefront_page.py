"""The page of a subscription: actions with their reasons and ways out, the one panel, the history."""

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import lifecycle
from subscriptions.models import Event
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
    check = " ".join(client.post(f"/subscriptions/{many.pk}/cancel/check/").content.decode().split())
    assert "<dd> 2,500 </dd>" in check


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
