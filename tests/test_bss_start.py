"""Start: staff provision a new subscription for an account."""

import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse

from subscriptions import actions, clock, pricing, staff_groups
from subscriptions.models import Account, Charge, Order, Subscription
from tests.factories import AccountFactory, PriceBandFactory, SKUFactory, SubscriptionFactory

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
    given = hidden(operator.post(url(cast.acme, check=True), answers(sku)).content.decode())
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
    given = hidden(signed_in(cast.operator).post(url(cast.acme, check=True), answers(sku)).content.decode())
    assert browser.post(url(cast.acme), given).status_code == (302 if may else 403)
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
    operator.post(url(cast.acme), hidden(operator.post(url(cast.acme, check=True), answers(sku)).content.decode()))
    assert Subscription.objects.count() == 2
    assert before.orders.count() == 0


# --- what it costs ---------------------------------------------------------------------------------------------------


def hidden(page):
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def read(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize(("currency", "shown"), [("EUR", "EUR 17.01"), ("JPY", "JPY 17"), ("KWD", "KWD 17.010")])
def test_the_price_that_is_shown_is_charged(operator, cast, drain, currency, shown):
    Account.objects.filter(pk=cast.acme.pk).update(currency=currency, discount=10)
    sku = SKUFactory(prices={})
    PriceBandFactory(sku=sku, currency=currency, seats_from=5, price="1.89")
    page = operator.post(url(cast.acme, check=True), answers(sku)).content.decode()
    assert f"Start 10 seats for Acme GmbH and charge {shown}" in page
    assert f"Due now {shown} " in read(page)
    assert f"{shown} a month for 10 seats from" in read(page)
    operator.post(url(cast.acme), hidden(page))
    drain()
    [charge] = Charge.objects.all()
    assert pricing.money(charge.amount, charge.currency) == shown


def test_without_a_price_nothing_is_started(operator, cast):
    sku = SKUFactory(prices={})
    PriceBandFactory(sku=sku, currency="USD")
    for check in (True, False):
        answer = operator.post(url(cast.acme, check=check), answers(sku))
        assert answer.status_code == 422
        assert "There is no price for 10 seats in EUR." in answer.content.decode()
    assert not Subscription.objects.exists()


def test_another_price_brings_the_check_page_again(operator, cast, sku, drain):
    old = hidden(operator.post(url(cast.acme, check=True), answers(sku)).content.decode())
    sku.price_bands.update(price="4.00")
    answer = operator.post(url(cast.acme), old)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "The price has changed since the page was opened." in page
    assert "You saw Now Due EUR 35.00 EUR 40.00 " in read(page)
    assert not Subscription.objects.exists()
    operator.post(url(cast.acme), hidden(page))
    drain()
    assert Charge.objects.get().amount == 40


@pytest.mark.parametrize("quote", ["x", ""])
def test_a_price_that_is_not_ours_brings_the_check_page_again(quote, operator, cast, sku):
    page = operator.post(url(cast.acme, check=True), answers(sku)).content.decode()
    answer = operator.post(url(cast.acme), hidden(page) | {"quote": quote})
    assert answer.status_code == 409
    assert not Subscription.objects.exists()


def test_a_trial_is_free_and_had_once(operator, cast, drain):
    sku = SKUFactory(trial_days=30, prices={})
    page = operator.post(url(cast.acme, check=True), answers(sku, trial="on")).content.decode()
    assert "Start a trial of 10 seats for Acme GmbH" in page
    ends = actions.date_words(actions.local_day(clock.now(), cast.acme) + timedelta(days=30))
    assert f"Free: a trial that ends by itself on {ends}" in read(page)
    operator.post(url(cast.acme), hidden(page))
    drain()
    assert (Subscription.objects.get().status, Subscription.objects.get().trial_of) == ("active", sku.product)
    assert not Charge.objects.exists()
    again = operator.post(url(cast.acme, check=True), answers(sku, trial="on"))
    assert again.status_code == 422
    assert "Acme GmbH had a trial of" in again.content.decode()


def test_a_trial_that_does_not_exist_is_refused(operator, cast, sku):
    answer = operator.post(url(cast.acme, check=True), answers(sku, trial="on"))
    assert answer.status_code == 422
    assert "There is no trial of" in answer.content.decode()


@pytest.mark.parametrize("ticked", [True, False])
def test_the_way_back_from_the_check_page_keeps_the_tick(operator, cast, ticked):
    sku = SKUFactory(trial_days=30)
    given = answers(sku, trial="on") if ticked else answers(sku)
    page = operator.post(url(cast.acme, check=True), given).content.decode()
    back = operator.post(url(cast.acme, check=True), hidden(page) | {"change": "yes"}).content.decode()
    assert bool(re.search(r'name="trial"[^>]*checked', back)) == ticked
    assert 'value="10"' in back


def test_a_large_order_waits_for_somebody_else(operator, cast, sku, drain):
    sku.approval_limits.create(orders_from="35")
    page = operator.post(url(cast.acme, check=True), answers(sku)).content.decode()
    assert "somebody else must approve its order" in page
    assert "Somebody else must approve this order" in page
    operator.post(url(cast.acme), hidden(page))
    drain()
    assert Order.objects.get().status == "awaiting_approval"
    assert not Charge.objects.exists()


def test_a_company_without_its_details_is_not_sold_what_asks_for_them(operator, cast):
    sku = SKUFactory(product__needs_company_details=True)
    answer = operator.post(url(cast.acme, check=True), answers(sku))
    assert answer.status_code == 422
    assert "The legal name, address and country of Acme GmbH are needed for this product." in answer.content.decode()
