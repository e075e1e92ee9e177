"""Increase and Decrease in the Storefront: what is typed, the check page, the order."""

import re
import uuid
from html import unescape

import pytest

from subscriptions import actions, lifecycle
from subscriptions.actions import STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription
from tests import factories


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.manager)


def url(subscription: Subscription, stem: str, page: str = "check/") -> str:
    return f"/subscriptions/{subscription.pk}/{stem}/{page}"


def confirm(client, subscription: Subscription, stem: str, seats: int) -> dict[str, str]:
    """What the check page would send."""
    page = client.get(url(subscription, stem), {"seats": seats}).content.decode()
    return {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1] for name in ("version", "key", "seats")}


BAD = [
    ("increase", "4", "from 26 to 500"),
    ("increase", "501", "from 26 to 500"),
    ("increase", "25", "from 26 to 500"),
    ("increase", "0", "from 26 to 500"),
    ("increase", "-3", "from 26 to 500"),
    ("increase", "1e3", "from 26 to 500"),
    ("increase", "٣٠", "from 26 to 500"),
    ("increase", "1000000000000", "from 26 to 500"),
    ("increase", "thirty", "from 26 to 500"),
    ("increase", "", "from 26 to 500"),
    ("decrease", "4", "from 5 to 24"),
    ("decrease", "501", "from 5 to 24"),
    ("decrease", "25", "from 5 to 24"),
    ("decrease", "0", "from 5 to 24"),
    ("decrease", "-3", "from 5 to 24"),
    ("decrease", "1e3", "from 5 to 24"),
    ("decrease", "٣٠", "from 5 to 24"),
    ("decrease", "1000000000000", "from 5 to 24"),
    ("decrease", "", "from 5 to 24"),
]


@pytest.mark.parametrize(("stem", "typed", "allowed"), BAD)
def test_bad_input_gets_a_sentence_beside_the_field_and_is_kept(door, subscription, stem, typed, allowed):
    sent = {"seats": typed, "version": subscription.version, "key": str(uuid.uuid4())}
    for answer, status in (
        (door.get(url(subscription, stem), {"seats": typed}), 200),
        (door.post(url(subscription, stem), sent), 422),
    ):
        page = unescape(answer.content.decode())
        assert answer.status_code == status
        assert f'value="{typed}"' in page or not typed
        summary, beside = re.findall(rf"(?:#id_seats\">|Error: </span>)([^<]*{allowed}[^<]*)<", page)
        assert summary == beside
        assert "<title>Error: " in page
    assert not Order.objects.exists()


def test_zero_on_decrease_leads_to_cancel(door, subscription):
    page = door.get(url(subscription, "decrease"), {"seats": "0"}).content.decode()
    assert f'<a href="/subscriptions/{subscription.pk}/cancel/">' in page


@pytest.mark.parametrize(
    ("stem", "typed", "step", "shown"),
    [
        ("increase", "30", "plus", "31"),
        ("increase", "26", "minus", "26"),
        ("increase", "500", "plus", "500"),
        ("increase", "rubbish", "plus", "26"),
        ("decrease", "24", "plus", "24"),
        ("decrease", "10", "minus", "9"),
        ("decrease", "5", "minus", "5"),
        ("increase", "30", "", "30"),
    ],
)
def test_minus_and_plus_stay_within_the_range(door, subscription, stem, typed, step, shown):
    page = door.get(url(subscription, stem, ""), {"seats": typed, "step": step}).content.decode()
    assert re.search(rf'name="seats"\s+value="{shown}"', page)


@pytest.mark.parametrize(
    ("stem", "seats", "button"), [("increase", 30, "Add 5 seats"), ("decrease", 24, "Remove 1 seat")]
)
def test_the_button_names_what_it_does_and_places_one_order(door, cast, subscription, stem, seats, button, empty_queue):
    page = re.sub(r"\s+", " ", door.get(url(subscription, stem), {"seats": seats}).content.decode())
    assert f'<button type="submit" class="button">{button}</button>' in page.replace("> ", ">").replace(" <", "<")
    sent = confirm(door, subscription, stem, seats)
    assert not Order.objects.exists()
    answer = door.post(url(subscription, stem), sent)
    [order] = Order.objects.all()
    assert (answer.status_code, answer["Location"]) == (302, f"/orders/{order.pk}/")
    assert (order.action, order.after, order.actor, order.audience) == (
        stem,
        {"Seats": seats},
        cast.manager,
        "storefront",
    )


def test_the_same_check_page_sent_twice_leads_to_the_same_receipt(door, subscription, empty_queue):
    sent = confirm(door, subscription, "increase", 30)
    first, second = (door.post(url(subscription, "increase"), sent) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Order.objects.count() == 1


def test_sent_again_after_it_was_done_still_leads_to_the_receipt(door, subscription, drain):
    sent = confirm(door, subscription, "increase", 30)
    first = door.post(url(subscription, "increase"), sent)
    drain()
    assert door.post(url(subscription, "increase"), sent)["Location"] == first["Location"]
    assert Subscription.objects.get(pk=subscription.pk).seats == 30


def test_a_stale_page_is_refused_with_the_new_figures_and_the_input_kept(door, subscription, drain):
    stale = confirm(door, subscription, "increase", 40)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    answer = door.post(url(subscription, "increase"), stale)
    page = re.sub(r"\s+", " ", answer.content.decode())
    assert answer.status_code == 409
    assert "Somebody changed this subscription while the page was open." in page
    assert '<span class="soft">Now</span><strong>30</strong>' in page.replace("> <", "><")
    assert 'name="seats" value="40"' in page
    assert "Add 10 seats" in page
    assert Order.objects.count() == 1
    fresh = {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1] for name in ("version", "key", "seats")}
    assert door.post(url(subscription, "increase"), fresh).status_code == 302


def test_a_stale_page_whose_number_is_no_longer_possible_goes_back_to_the_field(door, subscription, drain):
    stale = confirm(door, subscription, "increase", 28)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    answer = door.post(url(subscription, "increase"), stale)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody changed this subscription" in page
    assert 'value="28"' in page


def test_while_an_order_is_open_the_second_gets_the_reason_and_keeps_the_input(door, subscription, empty_queue):
    second = confirm(door, subscription, "increase", 40)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    answer = door.post(url(subscription, "increase"), second)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "is being applied since" in page
    assert f"/subscriptions/{subscription.pk}/increase/?seats=40" in page
    assert Order.objects.count() == 1


def test_a_check_page_without_its_key_places_nothing(door, subscription):
    assert door.post(url(subscription, "increase"), {"seats": "30"}).status_code == 409
    assert not Order.objects.exists()


@pytest.mark.parametrize("role", ["buyer", "billing", "viewer"])
def test_other_roles_are_refused_at_every_page(signed_in, cast, subscription, role):
    client = signed_in(getattr(cast, role))
    sent = {"seats": "30", "version": subscription.version, "key": str(uuid.uuid4())}
    for answer in (
        client.get(url(subscription, "increase", "")),
        client.get(url(subscription, "increase"), {"seats": 30}),
        client.post(url(subscription, "increase"), sent),
    ):
        assert answer.status_code == 403
        assert "Ask Ana Kos." in answer.content.decode()
    assert not Order.objects.exists()


def test_an_impossible_action_is_a_page_that_says_why(door, stock):
    answer = door.get(url(stock.suspended, "increase", ""))
    assert answer.status_code == 200
    assert "Your distributor can activate it again." in answer.content.decode()


def test_looking_changes_nothing(door, subscription):
    before = Subscription.objects.filter(pk=subscription.pk).values().get()
    for stem in ("increase", "decrease"):
        door.get(url(subscription, stem, ""))
        door.get(url(subscription, stem), {"seats": 30})
        door.get(url(subscription, stem), {"seats": 10})
    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before
    assert not Order.objects.exists()


def test_only_seats_change(door, subscription, drain, emulator):
    kept = ["activation_code", "created_at", "status", "subscriber_id", "sku_id", "started_at", "account_id", "ends_at"]
    before = {name: getattr(subscription, name) for name in kept}
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    after = Subscription.objects.get(pk=subscription.pk)
    assert after.seats == 30
    assert {name: getattr(after, name) for name in kept} == before


def test_a_subscription_with_one_possible_number_says_so(door, cast):
    nearly = factories.SubscriptionFactory(account=cast.acme, seats=499)
    page = door.get(url(nearly, "increase", "")).content.decode()
    assert "Only 500 is possible." in page


@pytest.mark.parametrize("seats", [20, 15])
def test_a_plan_that_would_find_nothing_to_do_cannot_be_kept(cast, subscription, seats, empty_queue):
    factories.OrderFactory(
        subscription=subscription, action="decrease", status="scheduled", before={"Seats": 25}, after={"Seats": 20}
    )
    wish = Wish(subscription.pk, "decrease", {"Seats": seats}, planned="keep")
    with pytest.raises(NotAllowed) as refused:
        lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT)
    assert refused.value.code == "cannot_keep"
    about = actions.situation(subscription, actor=cast.manager, audience=STOREFRONT)
    assert lifecycle.planned_choices(about, actions.DECREASE, planned=False, after={"Seats": 21}) == ("keep", "discard")
