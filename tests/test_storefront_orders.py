"""Orders in the Storefront: the list, the receipt, and its progress."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, clock, lifecycle, quotes
from subscriptions.actions import STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, Charge, Order
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
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
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


# --- what waits, and undo --------------------------------------------------------------------------------------------


@pytest.fixture
def member(signed_in, cast):
    return signed_in(cast.manager)


@pytest.fixture
def planned(cast, at_vendor, empty_queue):
    """A decrease from 25 to 20 seats for the next period, placed by the Owner."""
    sku = factories.SKUFactory(decrease_policy="next_period")
    found = at_vendor(factories.SubscriptionFactory(account=cast.acme, sku=sku))
    return lifecycle.place(Wish(found.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)


def words(answer) -> str:
    """What stands on the page, without its tags."""
    main = re.search(r'<main id="main".*</main>', answer.content.decode(), re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main[0])).split())


def just_before(order, settings, seconds: int) -> None:
    settings.CLOCK_OFFSET = order.due_at - datetime.now(UTC) - timedelta(seconds=seconds)


def test_a_planned_change_says_its_day_and_is_undone_without_a_trace_in_the_ledger(member, cast, planned, drain):
    day = actions.day(planned.due_at, planned.subscription)
    page = words(member.get(f"/orders/{planned.pk}/"))
    assert f"Planned for {day}" in page
    assert "Undo the decrease to 20 seats" in page
    undo = f"/orders/{planned.pk}/undo/"
    confirm = words(member.get(undo))
    assert f"Planned for {day}" in confirm
    assert "Everything stays as it is now: 25 seats at the same price" in confirm
    assert Order.objects.get().status == "scheduled"
    assert member.post(undo)["Location"] == f"/orders/{planned.pk}/"
    assert member.post(undo)["Location"] == f"/orders/{planned.pk}/"
    drain()
    assert Order.objects.get().status == "withdrawn"
    assert not Charge.objects.exists()
    receipt = words(member.get(f"/orders/{planned.pk}/"))
    assert "Withdrawn" in receipt
    assert "By Marko Novak." in receipt
    assert "Nothing was charged EUR 0.00" in receipt
    assert "Undo the decrease" not in receipt
    page = words(member.get(f"/subscriptions/{planned.subscription_id}/"))
    assert "is planned" not in page
    assert "Order withdrawn" not in page, "the order's own line says so"


@pytest.mark.parametrize(("seconds", "status", "code"), [(1, "withdrawn", 302), (0, "scheduled", 409)])
def test_it_can_be_undone_until_the_second_before_its_date(member, planned, settings, seconds, status, code):
    just_before(planned, settings, seconds)
    answer = member.post(f"/orders/{planned.pk}/undo/")
    assert answer.status_code == code
    assert Order.objects.get().status == status
    if code == 409:
        assert f"The date of {planned.number} has come; it is being applied." in words(answer)
        assert member.get(f"/orders/{planned.pk}/undo/").status_code == 200
        assert "Undo the decrease" not in words(member.get(f"/orders/{planned.pk}/"))


def test_after_its_date_the_page_tells_what_became_of_it(member, planned, settings, emulator, drain):
    just_before(planned, settings, -60)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    lifecycle.catch_up(clock.now())
    drain()
    page = words(member.get(f"/orders/{planned.pk}/"))
    assert "Its day came" in page
    assert "Confirmed by the licence service" in page
    assert "The subscription has 20 seats now." in page
    answer = member.post(f"/orders/{planned.pk}/undo/")
    assert answer.status_code == 409
    assert "can no longer be undone" in words(answer)
    assert "Undo: no longer possible" in words(answer)


def test_what_stands_still_while_suspended_can_be_undone_after_its_date(
    member, cast, planned, settings, drain, emulator
):
    lifecycle.place(
        Wish(planned.subscription_id, "suspend", reason="Late payer"), actor=cast.operator, audience=actions.BSS
    )
    drain()
    page = words(member.get(f"/orders/{planned.pk}/"))
    assert "Waits while the subscription is suspended" in page
    just_before(planned, settings, -60)
    lifecycle.catch_up(clock.now())
    assert Order.objects.get(pk=planned.pk).status == "scheduled"
    assert "Undo the decrease to 20 seats" in words(member.get(f"/orders/{planned.pk}/"))
    assert member.post(f"/orders/{planned.pk}/undo/").status_code == 302
    assert Order.objects.get(pk=planned.pk).status == "withdrawn"


def test_who_may_not_change_seats_cannot_undo(signed_in, cast, planned):
    for person in (cast.buyer, cast.billing, cast.viewer):
        client = signed_in(person)
        assert "Undo the decrease" not in words(client.get(f"/orders/{planned.pk}/"))
        assert client.get(f"/orders/{planned.pk}/undo/").status_code == 403
        assert client.post(f"/orders/{planned.pk}/undo/").status_code == 403
    assert signed_in(cast.stranger).post(f"/orders/{planned.pk}/undo/").status_code == 404
    assert Order.objects.get().status == "scheduled"


def test_what_staff_have_planned_is_theirs_to_undo(member, subscription):
    order = factories.OrderFactory(
        subscription=subscription, action="activate", status="scheduled", audience="bss", before={}, after={}
    )
    assert "Undo" not in words(member.get(f"/orders/{order.pk}/"))
    answer = member.post(f"/orders/{order.pk}/undo/")
    assert answer.status_code == 409
    assert "Your distributor planned this. Ask them to undo it." in words(answer)


def test_what_staff_withdrew_does_not_give_their_words_away(member, cast, planned):
    lifecycle.undo(planned.pk, actor=None, audience="command", reason="Words for staff")
    for path in (f"/orders/{planned.pk}/", f"/subscriptions/{planned.subscription_id}/"):
        page = words(member.get(path))
        assert "Words for staff" not in page
        assert "Your distributor" in page


# --- approval --------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(cast, at_vendor, empty_queue):
    """An increase that staff must approve."""
    sku = factories.SKUFactory(increase_policy="full_period")
    ApprovalLimit.objects.create(sku=sku, currency="EUR", orders_from=1)
    found = at_vendor(factories.SubscriptionFactory(account=cast.acme, sku=sku))
    return lifecycle.place(Wish(found.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)


def test_an_order_that_waits_for_approval_can_be_withdrawn(member, large):
    page = words(member.get(f"/orders/{large.pk}/"))
    assert "Waiting for your distributor's approval" in page
    assert "Will be charged when it is approved and the licence service confirms EUR 17.50" in page
    assert f"Withdraw {large.number}" in page
    assert "Waits for your distributor's approval" in words(member.get(f"/orders/{large.pk}/undo/"))
    member.post(f"/orders/{large.pk}/undo/")
    assert Order.objects.get().status == "withdrawn"
    assert "a change waits for approval" not in words(member.get("/subscriptions/"))


def test_a_rejected_order_tells_why_and_charges_nothing(member, cast, large, drain):
    assert "a change waits for approval" in words(member.get("/subscriptions/"))
    lifecycle.reject(large.pk, actor=None, audience="command", reason="Please order through the frame contract.")
    drain()
    page = words(member.get(f"/orders/{large.pk}/"))
    assert "Rejected by your distributor" in page
    assert "Please order through the frame contract." in page
    assert "Nothing was charged EUR 0.00 EUR 17.50 were quoted." in page
    assert not Charge.objects.exists()
    panel = words(member.get(f"/subscriptions/{large.subscription_id}/"))
    assert "Your distributor did not approve the last change" in panel
    assert "Please order through the frame contract." in panel


# --- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "receipt", "amount"),
    [
        ("placed", "Will be charged when the licence service confirms EUR 17.50", "EUR 17.50 not charged yet"),
        ("in_progress", "Will be charged when the licence service confirms EUR 17.50", "EUR 17.50 not charged yet"),
        ("needs_attention", "Will be charged only if the licence service confirms EUR 17.50", "EUR 17.50 not charged"),
        ("completed", "Charged EUR 17.50", "EUR 17.50"),
        ("failed", "Nothing was charged EUR 0.00 EUR 17.50 were quoted.", "EUR 0.00 not charged"),
        ("withdrawn", "Nothing was charged EUR 0.00 EUR 17.50 were quoted.", "EUR 0.00 not charged"),
        ("rejected", "Nothing was charged EUR 0.00 EUR 17.50 were quoted.", "EUR 0.00 not charged"),
    ],
)
def test_money_is_said_to_have_moved_only_when_it_has(door, subscription, status, receipt, amount):
    order = factories.OrderFactory(subscription=subscription, status=status, quote=quoted(subscription))
    page = words(door.get(f"/orders/{order.pk}/"))
    assert receipt in page
    assert ("5 seats" in page) == (status not in ("failed", "withdrawn", "rejected"))
    row = words(door.get("/orders/"))
    assert amount in row
    assert ("not charged" in row) == (status != "completed")


def quoted(subscription) -> dict:
    """What 5 more seats cost for a whole period."""
    about = actions.situation(subscription, actor=None, audience="command")
    at = clock.now()
    day = subscription.period_start
    pinned = quotes.price(
        actions.INCREASE, about.subscription, {"Seats": 30}, on=day, planned=False, at=at,
        prices=quotes.load([subscription]),
    )  # fmt: skip
    return pinned.to_json()


def test_an_order_that_costs_nothing_by_its_nature_has_no_price(door, subscription):
    order = factories.OrderFactory(
        subscription=subscription, action="suspend", audience="bss", before={"Status": "active"},
        after={"Status": "suspended"},
    )  # fmt: skip
    assert "EUR" not in words(door.get(f"/orders/{order.pk}/"))
    assert "EUR" not in words(door.get("/orders/"))


def test_a_correction_of_the_ledger_shows_its_amount(door, cast, subscription):
    line = factories.ChargeFactory(subscription=subscription, account=cast.acme)
    lifecycle.correct(line.pk, Decimal("-2.50"), "Goodwill", actor=None, audience="command")
    [order] = Order.objects.all()
    page = words(door.get(f"/orders/{order.pk}/"))
    assert "Correct a charge" in page
    assert "\N{MINUS SIGN}EUR 2.50" in page
    assert "Goodwill" not in page
    assert "\N{MINUS SIGN}EUR 2.50" in words(door.get("/orders/"))


def test_the_fragment_brings_the_money_along_with_the_steps(member, cast, subscription, drain):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    drain()
    fragment = member.get(f"/orders/{order.pk}/progress/", headers={"HX-Request": "true"}).content.decode()
    assert "Charged" in fragment
    assert "EUR 17.50" in fragment
