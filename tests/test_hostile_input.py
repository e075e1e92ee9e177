"""What no browser sends by itself: NUL characters, which PostgreSQL refuses."""

import pytest
from django.urls import reverse

from subscriptions.models import Order
from tests.factories import OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

BSS = "/bss/subscriptions"


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.mark.parametrize(
    "address",
    [
        "/bss/search/?q=%00",
        f"{BSS}/subscription/start/?q=%00",
        f"{BSS}/subscription/?q=%00",
        f"{BSS}/subscription/?status__exact=%00",
        f"{BSS}/order/?action=%00",
        f"{BSS}/order/?status__exact=a%00b",
        f"{BSS}/account/?q=%00",
        f"{BSS}/user/?q=%00",
        f"{BSS}/vendorcall/?purpose__exact=%00",
        f"{BSS}/vendorstate/%00/change/",
        f"{BSS}/order/?%00=1",
        "/subscriptions/?q=%00",
        "/orders/?subscription=%00",
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
