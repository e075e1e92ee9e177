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
    order = factories.OrderFactory(subscription=subscription, status=status, outcome_message="Words of its end")
    page = see(door, order)
    assert title in page
    # The vendor's words are for staff; those of a withdrawal or a refusal are for the customer.
    assert ("Words of its end" in page) == (status in ("withdrawn", "rejected"))
    assert ("Check again" in page) == (status in ("placed", "in_progress"))


SENT = "Sent to the licence service"


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ("transient", "connect", "The licence service cannot be reached"),
        ("transient", "connect-timeout", "The licence service cannot be reached"),
        ("transient", "dns", "The licence service cannot be reached"),
        ("transient", "http-503", "The licence service is busy"),
        ("transient", "http-429", "The licence service is busy"),
        ("transient", "8", "The licence service is busy"),
        ("transient", "not-sent", "Not sent yet"),
        ("credentials", "http-401", "We cannot reach the licence service just now; our staff see it"),
        ("credentials", "client-certificate", "We cannot reach the licence service just now; our staff see it"),
    ],
)
def test_what_did_not_get_through_is_not_ticked_as_sent(door, subscription, outcome, code, said):
    order = released(subscription, outcome, code)
    page = see(door, order)
    again = f"We try again at {order.next_attempt_at:%H:%M}."
    assert re.search(rf'<li class="step step-warn"> <svg.*?</svg> <div> <strong>{said}</strong> <p>{again}</p>', page)
    assert SENT not in page
    assert "Waiting for its answer" not in page
    panel = re.sub(r"\s+", " ", door.get(f"/subscriptions/{subscription.pk}/").content.decode())
    assert f"{order.number} is not done yet. {said}. {again}" in panel


def released(subscription, outcome, code, **more):
    """An order that waits after a sending that surely did not get through."""
    order = factories.OrderFactory(
        subscription=subscription,
        status="placed",
        first_sent_at=clock.now(),
        outcome_code=code,
        **({"next_attempt_at": clock.now() + timedelta(minutes=7)} | more),
    )
    factories.VendorCallFactory(order=order, outcome=outcome, code=code, finished_at=clock.now())
    return order


def test_a_try_that_is_due_is_not_announced_for_the_past(door, subscription):
    order = released(subscription, "transient", "connect", next_attempt_at=clock.now() - timedelta(minutes=1))
    assert "<p>We are about to try again.</p>" in see(door, order)


def test_what_is_asked_just_now_is_not_ticked_as_sent(door, subscription):
    order = factories.OrderFactory(subscription=subscription, status="in_progress", outcome_code="connect")
    factories.VendorCallFactory(order=order, deadline=clock.now() + timedelta(minutes=1))
    page = see(door, order)
    assert "<strong>Being sent to the licence service</strong>" in page
    assert SENT not in page


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"outcome": "unknown", "finished_at": clock.now()}, "Sent; no clear answer came back"),
        ({}, "No clear answer came back"),
    ],
    ids=["answered", "lost"],
)
def test_a_sending_without_a_clear_answer_says_so(door, subscription, ended, said):
    order = factories.OrderFactory(subscription=subscription, status="in_progress", outcome_code="read-timeout")
    factories.VendorCallFactory(order=order, deadline=clock.now() - timedelta(minutes=1), **ended)
    page = see(door, order)
    assert f"<strong>{said}</strong> <p>We are finding out what became of it.</p>" in page
    assert (SENT in page) == bool(ended)
    assert "Usually done within a minute" not in page
    panel = re.sub(r"\s+", " ", door.get(f"/subscriptions/{subscription.pk}/").content.decode())
    assert f"{order.number} is not done yet. {said}. We are finding out what became of it." in panel


def test_a_retry_by_a_person_waits_to_be_sent_again(door, subscription):
    order = factories.OrderFactory(
        subscription=subscription, status="placed", outcome_code="unknown", retried_at=clock.now()
    )
    factories.VendorCallFactory(
        order=order, outcome="transient", finished_at=clock.now(), started_at=clock.now() - timedelta(hours=1)
    )
    assert "<strong>Waiting to be sent again to the licence service</strong>" in see(door, order)


def gave_up(order, cast, **more):
    """What staff's Give up leaves behind."""
    return factories.EventFactory(
        subscription=order.subscription, order=order, actor=cast.operator, audience="bss", reason="Words for staff",
        **({"kind": f"{order.action}.give_up", "at": order.finished_at or clock.now()} | more),
    )  # fmt: skip


def test_an_order_that_staff_gave_up_is_not_said_to_be_refused(door, cast, subscription):
    order = factories.OrderFactory(subscription=subscription, status="failed")
    event = gave_up(order, cast)
    said = "Your distributor ended this order; whether the licence service made the change is being checked with them."
    page = see(door, order)
    assert "<strong>Ended by your distributor</strong>" in page
    assert f">{event.at:%-d %B %Y, %H:%M:%S}</time>" in page
    panel = re.sub(r"\s+", " ", door.get(f"/subscriptions/{subscription.pk}/").content.decode())
    for one in (page, panel):
        assert said in one
        assert "did not make" not in one
        assert "everything is as before" not in one.lower()
        assert "Words for staff" not in one
    assert f"{event.at:%-d %B %Y, %H:%M}" in panel


def test_an_order_that_was_refused_is_not_said_to_be_given_up(door, subscription):
    order = factories.OrderFactory(subscription=subscription, status="failed", outcome_code="5")
    page = see(door, order)
    assert "The licence service refused this change." in page
    assert "nothing was charged. Ask your distributor." in page
    assert "Try again later" not in page


def start_of(cast, subscription_status, **more):
    subscription = factories.SubscriptionFactory(account=cast.acme, status=subscription_status, started_at=None)
    return factories.OrderFactory(subscription=subscription, action="start", before={}, after={"Seats": 25}, **more)


@pytest.mark.parametrize("status", ["placed", "in_progress"])
def test_a_start_that_is_being_given_up_is_not_said_to_be_starting(door, cast, status):
    order = start_of(cast, "pending", status=status, abandoned=True)
    gave_up(order, cast)
    page = see(door, order)
    assert "Your distributor ended this order. What the licence service may have started is being cancelled" in page
    assert "In progress: " not in page
    panel = door.get(f"/subscriptions/{order.subscription_id}/").content.decode()
    assert "being ended" in panel
    assert "Your distributor ended this order." in panel


def test_a_start_that_was_given_up_and_cancelled_at_the_licence_service(door, cast):
    order = start_of(cast, "failed", status="failed", abandoned=True)
    gave_up(order, cast, at=order.placed_at - timedelta(minutes=3))
    said = "Your distributor ended this order, and nothing is left of it at the licence service"
    assert said in see(door, order)
    panel = door.get(f"/subscriptions/{order.subscription_id}/").content.decode()
    assert said in panel
    assert "refused to start" not in panel


def test_a_start_that_was_refused_and_then_given_up_is_still_refused(door, cast):
    order = start_of(cast, "cancelled", status="failed")
    gave_up(order, cast, at=order.finished_at + timedelta(minutes=3))
    page = see(door, order)
    assert "The licence service refused this change." in page
    assert "<strong>Ended by your distributor</strong>" in page


def test_a_retry_after_giving_up_makes_the_refusal_the_vendors_again(door, cast):
    order = start_of(cast, "failed", status="failed")
    gave_up(order, cast, at=order.finished_at - timedelta(minutes=3))
    gave_up(order, cast, at=order.finished_at - timedelta(minutes=2), kind="start.retry")
    page = see(door, order)
    assert "The licence service refused this change." in page
    assert "Ended by your distributor" not in page


def test_nobody_is_said_to_have_been_told(door, stock, subscription):
    held = factories.OrderFactory(subscription=subscription, status="needs_attention")
    assert "It is on our staff&#x27;s list." in see(door, held)
    for path in (f"/orders/{held.pk}/", f"/subscriptions/{subscription.pk}/", f"/subscriptions/{stock.failed.pk}/"):
        assert "been told" not in door.get(path).content.decode()
    assert "Ask your distributor" in door.get(f"/subscriptions/{stock.failed.pk}/").content.decode()


@pytest.mark.parametrize("path", ["/orders/{0.pk}/", "/subscriptions/{0.subscription_id}/"])
def test_what_became_of_an_order_that_needs_attention_is_being_found_out(door, subscription, path):
    order = factories.OrderFactory(subscription=subscription, status="needs_attention")
    page = re.sub(r"\s+", " ", door.get(path.format(order)).content.decode())
    assert "We are finding out what became of it; nothing was charged" in page


@pytest.mark.parametrize("status", ["placed", "in_progress", "needs_attention", "failed", "completed"])
def test_the_pages_run_the_same_few_queries_after_2_calls_and_after_200(door, subscription, status):
    order = factories.OrderFactory(subscription=subscription, status=status)
    for path, most in ((f"/orders/{order.pk}/", 8), (f"/subscriptions/{subscription.pk}/", 12)):
        counts = []
        for size in (2, 200):
            for _ in range(size):
                factories.VendorCallFactory(order=order, outcome="transient", finished_at=clock.now())
                factories.EventFactory(subscription=subscription, order=order, kind="increase.retry")
            with CaptureQueriesContext(connection) as ran:
                assert door.get(path).status_code == 200
            counts.append(len(ran))
        assert counts[0] == counts[1] <= most


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
