"""What no browser sends by itself: NUL characters, which PostgreSQL refuses, and numbers longer than any key."""

import pytest
from django.urls import reverse

from subscriptions.models import Order
from tests.factories import OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

BSS = "/bss/subscriptions"
LONG = "9" * 5000


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.mark.parametrize(
    "address",
    [
        "/bss/search/?q=%00",
        f"{BSS}/subscription/start/?q=%00",
        f"{BSS}/subscription/?q=%00",
        f"{BSS}/subscription/?status=%00",
        f"{BSS}/order/?action=%00",
        f"{BSS}/order/?status=a%00b",
        f"{BSS}/account/?q=%00",
        f"{BSS}/user/?q=%00",
        f"{BSS}/vendorcall/?purpose=%00",
        f"{BSS}/vendorstate/%00/change/",
        f"{BSS}/order/?%00=1",
        "/subscriptions/?q=%00",
        "/orders/?subscription=%00",
        "/catalogue/?q=%00",
        "/catalogue/?after=%00",
    ],
)
def test_a_nul_in_an_address_is_a_bad_request(address, operator):
    answer = operator.get(address)
    assert answer.status_code == 400
    assert "We did not understand this request" in answer.content.decode()


@pytest.mark.parametrize("action", ["retry", "give_up"])
def test_a_nul_in_the_reason_for_settling_an_order_is_a_bad_request(action, operator):
    order = OrderFactory()
    for page in ("", "check/"):
        address = f"{BSS}/order/{order.pk}/{action}/{page}"
        assert operator.post(address, {"reason": "a\x00b"}).status_code == 400
    assert Order.objects.get().status == "completed"


def test_a_nul_in_a_form_of_a_customer_or_of_a_stranger_is_a_bad_request(cast, signed_in, client):
    subscription = SubscriptionFactory(account=cast.acme)
    cancel = reverse("storefront:cancel_check", args=[subscription.pk])
    assert signed_in(cast.owner).post(cancel, {"reason": "\x00"}).status_code == 400
    assert client.post("/account/login/", {"login": "\x00@a.example", "password": "x"}).status_code == 400


def test_other_signs_are_taken_as_they_are(operator):
    assert operator.get(f"{BSS}/account/", {"q": "\x01\u2028é%00"}).status_code == 200


@pytest.mark.parametrize("model", ["order", "subscription", "account", "user", "event", "sku"])
def test_a_number_longer_than_any_key_names_nothing(model, operator):
    for text in (LONG, "9" * 30):
        answer = operator.get(f"{BSS}/{model}/{text}/change/")
        assert answer.status_code in (302, 404)


@pytest.mark.parametrize(
    "address",
    [
        f"{BSS}/order/{'9' * 30}/retry/",
        f"{BSS}/order/{LONG}/retry/",
        f"{BSS}/subscription/{'9' * 30}/code/",
        f"{BSS}/account/{'9' * 30}/start/",
        f"/subscriptions/{'9' * 30}/",
        f"/orders/{LONG}/",
    ],
)
def test_the_pages_of_an_action_say_404_for_it_too(address, operator):
    # What is no number at all is looked up under the address of a page that has moved.
    assert operator.get(address, follow=True).status_code == 404


@pytest.mark.parametrize("query", [{"q": LONG}, {"p": LONG}, {"q": f"SUB-{LONG}"}, {"account": LONG}])
def test_a_list_asked_for_a_number_longer_than_any_key(query, operator):
    assert operator.get(f"{BSS}/subscription/", query).status_code in (200, 302)


@pytest.mark.parametrize("address", ["/subscriptions/?after=", "/orders/?after=", "/orders/?subscription="])
def test_the_lists_of_customers_asked_for_one(address, cast, signed_in):
    for text in (LONG, "9" * 30):
        assert signed_in(cast.owner).get(address + text).status_code == 200
