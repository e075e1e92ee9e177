"""Orders in the Storefront: the list, the receipt, and its progress."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock
from tests import factories


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.viewer)


def see(client, order) -> str:
    return re.sub(r"\s+", " ", client.get(f"/orders/{order.pk}/").content.decode())


def test_the_list_is_newest_first_and_can_be_narrowed(door, cast, subscription):
    older = factories.OrderFactory(subscription=subscription)
    newer = factories.OrderFactory(subscription=factories.SubscriptionFactory(account=cast.acme, sku=subscription.sku))
    page = door.get("/orders/").content.decode()
    assert page.index(newer.number) < page.index(older.number)
    assert newer.number not in door.get(f"/orders/?subscription={subscription.pk}").content.decode()


def test_the_list_narrowed_to_a_strangers_subscription_is_empty(signed_in, cast, subscription):
    factories.OrderFactory(subscription=subscription)
    page = signed_in(cast.stranger).get(f"/orders/?subscription={subscription.pk}").content.decode()
    assert "No orders yet" in page


def test_pages_by_key_show_each_order_once(door, subscription):
    made = [factories.OrderFactory(subscription=subscription) for _ in range(60)]
    seen, path = [], "/orders/"
    while path:
        page = door.get(path).content.decode()
        seen += re.findall(r'href="/orders/(\d+)/"', page)
        following = re.search(r'href="(\?[^"]*)"\s+rel="next"', page)
        path = "/orders/" + following[1].replace("&amp;", "&") if following else None
    assert [int(one) for one in seen] == [one.pk for one in reversed(made)]


def test_the_list_runs_the_same_few_queries_for_2_rows_and_for_200(door, cast, subscription):
    counts = []
    for size in (2, 200):
        for _ in range(size):
            factories.OrderFactory(subscription=subscription, actor=cast.owner)
        with CaptureQueriesContext(connection) as ran:
            assert door.get("/orders/").status_code == 200
        counts.append(len(ran))
    assert counts[0] == counts[1] <= 8


@pytest.mark.parametrize(
    ("status", "title"),
    [
        ("placed", "In progress"),
        ("in_progress", "In progress"),
        ("completed", "The subscription has 25 seats now."),
        ("failed", "You still have 20 seats, and nothing was charged."),
        ("needs_attention", "there is nothing that you have to do"),
        ("withdrawn", "Nothing was changed"),
        ("rejected", "Rejected by your distributor"),
    ],
)
def test_the_receipt_says_how_it_stands(door, subscription, status, title):
    order = factories.OrderFactory(subscription=subscription, status=status, outcome_message="Vendor words")
    page = see(door, order)
    assert title in page
    assert "Vendor words" not in page
    assert ("Check again" in page) == (status in ("placed", "in_progress"))


@pytest.mark.parametrize(
    ("age", "delay"), [(0, "2s"), (30, "5s"), (300, "15s"), (3600, None)], ids=["fresh", "30 s", "5 min", "1 h"]
)
def test_progress_slows_down_and_stops(door, subscription, age, delay):
    order = factories.OrderFactory(
        subscription=subscription, status="in_progress", placed_at=clock.now() - timedelta(seconds=age)
    )
    page = door.get(f"/orders/{order.pk}/progress/", headers={"HX-Request": "true"}).content.decode()
    assert (f'hx-trigger="load delay:{delay}"' in page) == bool(delay)
    assert ("hx-get" in page) == bool(delay)
    assert ("Taking longer than usual" in page) == (age > 120)
    assert "<html" not in page


def test_a_settled_order_is_not_asked_for_again(door, subscription):
    order = factories.OrderFactory(subscription=subscription)
    assert "hx-get" not in see(door, order)


def test_the_fragment_without_htmx_is_the_page(door, subscription):
    order = factories.OrderFactory(subscription=subscription)
    assert door.get(f"/orders/{order.pk}/progress/")["Location"] == f"/orders/{order.pk}/"


def test_an_order_that_the_worker_has_done_shows_its_steps(door, signed_in, cast, subscription, drain):
    from subscriptions import actions, lifecycle

    order = lifecycle.place(
        lifecycle.Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=actions.STOREFRONT
    )
    assert "Waiting to be sent to the licence service" in see(door, order)
    drain()
    page = see(door, order)
    for step in ("Received", "From Ana Kos.", "Sent to the licence service", "Confirmed by the licence service"):
        assert step in page


@pytest.mark.parametrize(
    ("action", "audience", "before", "after", "words"),
    [
        ("start", "bss", {}, {"Seats": 10}, "Start subscription with 10 seats"),
        ("cancel", "storefront", {"Status": "active"}, {"Status": "cancelled"}, "Cancel subscription"),
        ("suspend", "bss", {"Status": "active"}, {"Status": "suspended"}, "Suspend subscription"),
        ("take_theirs", "bss", {"Seats": 25}, {"Seats": 30}, "Correct our record from 25 to 30"),
        ("push_ours", "bss", {"Status": "active"}, {"Status": "active"}, "Correct the licence"),
    ],
)
@pytest.mark.parametrize("status", ["placed", "completed", "failed"])
def test_every_kind_of_order_has_words(door, subscription, action, audience, before, after, words, status):
    order = factories.OrderFactory(
        subscription=subscription, action=action, audience=audience, before=before, after=after, status=status
    )
    assert f"<h1>{words}</h1>" in see(door, order)
    assert door.get(f"/subscriptions/{subscription.pk}/").status_code == 200
