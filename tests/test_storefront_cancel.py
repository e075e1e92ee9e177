"""Cancel in the Storefront: two pages and a receipt."""

import re

import pytest

from subscriptions.models import Order, Subscription
from tests import factories


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.owner)


def confirm(client, subscription: Subscription, reason: str = "") -> dict[str, str]:
    page = client.post(f"/subscriptions/{subscription.pk}/cancel/check/", {"reason": reason}).content.decode()
    return {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1] for name in ("version", "key", "reason")}


def test_the_first_page_says_what_ends_and_offers_fewer_seats(door, subscription):
    page = door.get(f"/subscriptions/{subscription.pk}/cancel/").content.decode()
    assert "Only need fewer seats?" in page
    assert "(optional)" in page


def test_fewer_seats_are_not_offered_at_the_minimum(door, cast):
    least = factories.SubscriptionFactory(account=cast.acme, seats=5)
    assert "Only need fewer seats?" not in door.get(f"/subscriptions/{least.pk}/cancel/").content.decode()


@pytest.mark.parametrize("reason", ["", "We move to another product"])
def test_cancelling_ends_it_at_the_vendor_and_then_here(door, cast, subscription, drain, reason):
    sent = confirm(door, subscription, reason)
    path = f"/subscriptions/{subscription.pk}/cancel/check/"
    answer = door.post(path, sent)
    [order] = Order.objects.all()
    assert answer["Location"] == f"/orders/{order.pk}/"
    assert (order.action, order.reason, order.actor) == ("cancel", reason, cast.owner)
    assert Subscription.objects.get(pk=subscription.pk).status == "active"
    drain()
    assert Subscription.objects.get(pk=subscription.pk).status == "cancelled"
    assert door.post(path, sent)["Location"] == answer["Location"]
    assert "Its activation code no longer works" in door.get(answer["Location"]).content.decode()


def test_a_stale_page_is_refused_and_keeps_the_reason(door, subscription):
    sent = confirm(door, subscription, "Too big") | {"version": str(subscription.version + 7)}
    answer = door.post(f"/subscriptions/{subscription.pk}/cancel/check/", sent)
    assert answer.status_code == 409
    assert 'name="reason" value="Too big"' in answer.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("step", ["check", "confirm"])
def test_a_reason_that_is_too_long_is_refused_and_kept(door, subscription, step):
    sent = confirm(door, subscription) if step == "confirm" else {}
    answer = door.post(f"/subscriptions/{subscription.pk}/cancel/check/", sent | {"reason": "x" * 1501})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "The reason is too long: it has 1,501 characters, and 500 are the most." in page
    assert "x" * 1501 in page
    assert not Order.objects.exists()


def test_line_ends_count_once(door, subscription):
    answer = door.post(f"/subscriptions/{subscription.pk}/cancel/check/", {"reason": "x\r\n" * 249 + "xx"})
    assert answer.status_code == 200


def test_the_reason_stays_out_of_every_address(door, subscription):
    first, second = f"/subscriptions/{subscription.pk}/cancel/", f"/subscriptions/{subscription.pk}/cancel/check/"
    assert f'method="post" action="{second}"' in " ".join(door.get(first).content.decode().split())
    page = door.post(second, {"reason": "Too big"}).content.decode()
    assert "reason=" not in page
    assert re.search(r'name="back"\s+value="1"[^>]*>Go back</button>', page)
    again = door.post(second, confirm(door, subscription, "Too big") | {"back": "1"})
    assert again.status_code == 200
    assert "Too big</textarea>" in again.content.decode()
    assert not Order.objects.exists()
    assert "Leaked</textarea>" not in door.get(first, {"reason": "Leaked"}).content.decode()


def test_the_check_page_by_address_alone_is_the_first_page(door, subscription):
    page = door.get(f"/subscriptions/{subscription.pk}/cancel/check/", {"reason": "Leaked"}).content.decode()
    assert "Why do you cancel?" in page
    assert "Leaked</textarea>" not in page


def test_a_refusal_in_between_keeps_the_reason(door, subscription):
    factories.OrderFactory(subscription=subscription, status="placed")
    path = f"/subscriptions/{subscription.pk}/cancel/"
    page = " ".join(door.post(f"{path}check/", {"reason": "Too big"}).content.decode().split())
    assert "reason=" not in page
    assert re.search(
        rf'method="post" action="{path}check/">.*name="reason" value="Too big".*name="back".*Go on where you were', page
    )


@pytest.mark.parametrize("role", ["buyer", "billing", "viewer"])
def test_other_roles_may_not(signed_in, cast, subscription, role):
    client = signed_in(getattr(cast, role))
    assert client.get(f"/subscriptions/{subscription.pk}/cancel/").status_code == 403
    assert client.post(f"/subscriptions/{subscription.pk}/cancel/check/", {}).status_code == 403
