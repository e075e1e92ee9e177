"""Start: staff provision a new subscription for an account."""

import re
import uuid

import pytest
from django.urls import reverse

from subscriptions import staff_groups
from subscriptions.models import Order, Subscription
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def sku(db):
    return SKUFactory(seats_min=5, seats_max=50)


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def url(account, check=False):
    return reverse(f"admin:subscriptions_account_start{'_check' if check else ''}", args=[account.pk])


def answers(sku, **more):
    given = {
        "sku": str(sku.pk),
        "seats": "10",
        "ordered_by": "",
        "reason": "Offer 12",
        "idempotency_key": str(uuid.uuid4()),
    }
    return {**given, **more}


def test_form_check_order_and_licence(operator, cast, sku, emulator, drain):
    buyer = cast.acme.members.get(user=cast.buyer)
    given = answers(sku, ordered_by=str(buyer.pk))
    assert operator.get(url(cast.acme)).status_code == 200
    check = operator.post(url(cast.acme, check=True), given).content.decode()
    assert "Start 10 seats for Acme GmbH" in check
    assert not Subscription.objects.exists()
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check))
    answer = operator.post(url(cast.acme), hidden)
    order = Order.objects.get()
    assert answer.url == reverse("admin:subscriptions_order_change", args=[order.pk])
    subscription = order.subscription
    assert (subscription.account, subscription.seats, subscription.status) == (cast.acme, 10, "pending")
    assert (subscription.ordered_by, order.reason, order.audience) == (cast.buyer, "Offer 12", "bss")

    drain()
    subscription = Subscription.objects.get()
    assert subscription.status == "active"
    assert subscription.activation_code


def test_the_same_check_page_sent_twice_starts_one(operator, cast, sku):
    given = answers(sku)
    first, second = (operator.post(url(cast.acme), given) for _ in range(2))
    assert first.url == second.url
    assert Subscription.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("4", "This product starts at 5 seats. Enter a whole number from 5 to 50."),
        ("51", "This product allows at most 50 seats. Enter a whole number from 5 to 50."),
        ("0", "This product starts at 5 seats. Enter a whole number from 5 to 50."),
        ("-5", "is not a number of seats. Enter a whole number from 5 to 50."),
        ("1e1", "is not a number of seats. Enter a whole number from 5 to 50."),
        ("\u0661\u0660", "is not a number of seats. Enter a whole number from 5 to 50."),
        ("1000000000000", "This product allows at most 50 seats. Enter a whole number from 5 to 50."),
        ("ten", "is not a number of seats. Enter a whole number from 5 to 50."),
        ("", "Enter the number of seats."),
    ],
)
def test_seats_that_cannot_be(typed, sentence, operator, cast, sku):
    answer = operator.post(url(cast.acme), answers(sku, seats=typed))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert sentence in page
    assert typed == "" or f'value="{typed}"' in page
    assert not Subscription.objects.exists()


def test_reason_sku_and_member_are_checked(operator, cast, sku):
    stranger = cast.globex.members.get()
    given = {**answers(sku, reason="", ordered_by=str(stranger.pk)), "sku": ""}
    page = operator.post(url(cast.acme), given).content.decode()
    assert "Enter a reason." in page
    assert "Choose a SKU." in page
    assert "Select a valid choice" in page
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("where", ["sku", "product"])
def test_what_is_not_sold_is_not_offered(where, operator, cast):
    sold = SKUFactory()
    gone = SKUFactory(is_sold=False) if where == "sku" else SKUFactory(product__is_sold=False)
    form = operator.get(url(cast.acme)).content.decode()
    assert sold.code in form
    assert gone.code not in form
    assert operator.post(url(cast.acme), answers(gone)).status_code == 422
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_only_who_may_start_can(group, cast, signed_in, sku):
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    may = "start_subscription" in staff_groups.STAFF_GROUPS[group]
    chooser = reverse("admin:subscriptions_subscription_start")
    assert browser.get(chooser).status_code == (200 if may else 403)
    assert browser.get(url(cast.acme)).status_code == (200 if may else 403)
    assert browser.post(url(cast.acme), answers(sku)).status_code == (302 if may else 403)
    assert Subscription.objects.count() == may


def test_get_changes_nothing(operator, cast, sku):
    operator.get(url(cast.acme), answers(sku))
    assert operator.get(url(cast.acme, check=True), answers(sku)).url == url(cast.acme)
    assert not Subscription.objects.exists()


def test_the_account_is_found_by_a_part_of_its_name(operator, cast):
    chooser = reverse("admin:subscriptions_subscription_start")
    found = operator.get(chooser, {"q": "acme"}).content.decode()
    assert url(cast.acme) in found
    assert url(cast.globex) not in found
    assert "No company has “nobody” in its name." in operator.get(chooser, {"q": "nobody"}).content.decode()
    for number in range(25):
        AccountFactory(name=f"Twin {number}")
    assert "More companies match" in operator.get(chooser, {"q": "twin"}).content.decode()


def test_a_running_subscription_is_left_alone(operator, cast, sku):
    before = SubscriptionFactory(account=cast.acme, sku=sku)
    operator.post(url(cast.acme), answers(sku))
    assert before.orders.count() == 0
