"""Whom the Storefront lets in: every URL of its own list, so that a new one is tried too."""

import pytest
from django.urls import reverse

from subscriptions.models import Order
from subscriptions.storefront.urls import urlpatterns
from tests import factories

OF_A_SUBSCRIPTION = [one.name for one in urlpatterns if "subscriptions/<int:pk>" in str(one.pattern)]
OF_AN_ORDER = [one.name for one in urlpatterns if "orders/<int:pk>" in str(one.pattern)]


@pytest.fixture
def order(subscription):
    return factories.OrderFactory(subscription=subscription)


def paths(order: Order) -> list[str]:
    return [
        *(reverse(f"storefront:{name}", args=[order.subscription_id]) for name in OF_A_SUBSCRIPTION),
        *(reverse(f"storefront:{name}", args=[order.pk]) for name in OF_AN_ORDER),
    ]


def test_the_two_lists_name_every_url_of_subscriptions_and_orders_but_the_lists_themselves():
    all_of_them = {one.name for one in urlpatterns if str(one.pattern).startswith(("subscriptions/", "orders/"))}
    assert {*OF_A_SUBSCRIPTION, *OF_AN_ORDER} == all_of_them - {"subscriptions", "subscriptions_csv", "orders"}


@pytest.mark.parametrize("who", ["stranger", "operator"])
def test_somebody_elses_object_is_404(signed_in, cast, order, who):
    client = signed_in(getattr(cast, who))
    for path in paths(order):
        assert client.get(path).status_code == 404, path
        assert client.post(path).status_code in (404, 405), path
        assert client.get(path, headers={"HX-Request": "true"}).status_code == 404, path


def test_without_a_sign_in_every_url_leads_to_it(client, order):
    for path in [*paths(order), reverse("storefront:subscriptions"), reverse("storefront:orders")]:
        assert client.get(path)["Location"].startswith("/account/login/?next="), path


def test_an_object_that_does_not_exist_is_404(signed_in, cast):
    client = signed_in(cast.owner)
    for number in (0, 987654321, 10**30):
        assert client.get(f"/subscriptions/{number}/").status_code == 404
        assert client.get(f"/orders/{number}/").status_code == 404


@pytest.mark.parametrize(
    ("person", "status", "title", "again"),
    [
        ("viewer", "active", "Increase seats: not within your role", False),
        ("owner", "cancelled", "Increase seats: no longer possible", False),
        ("owner", "suspended", "Increase seats: not possible now", True),
    ],
)
def test_a_refusal_promises_a_later_chance_only_where_there_is_one(
    signed_in, cast, stock, person, status, title, again
):
    client = signed_in(getattr(cast, person))
    answer = client.post(f"/subscriptions/{getattr(stock, status).pk}/increase/check/", {"seats": "30"})
    page = " ".join(answer.content.decode().split())
    assert f"<h1>{title}</h1>" in page
    assert "you asked for <strong>30</strong> seats" in page
    assert ("When it is possible again" in page) == again
    assert ("go on where you were" in page) == again
