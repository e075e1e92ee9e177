"""What is said of a planned change that stays beside another one, after the price list or the discount has changed."""

from decimal import Decimal

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle
from subscriptions.actions import STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import Account, ChangeTarget, Order, PriceBand
from subscriptions.models.notice import Notice
from subscriptions.notifications import letters
from tests.factories import EventFactory, SKUFactory
from tests.test_bss_money import check as check_in_bss
from tests.test_bss_money import read
from tests.test_periods import begun, fresh, lines, run, travel
from tests.test_storefront_seats import fields, panel, text, url

__all__ = ["begun", "run", "travel"]

pytestmark = pytest.mark.django_db

DAY = "15 February 2027"


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.manager)


@pytest.fixture
def shrinking(begun, cast):
    """25 seats at EUR 3.50 each, and a decrease to 20 planned for 15 February 2027."""
    subscription = begun("2027-01-15")
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    return fresh(subscription)


def doubled(cast):
    PriceBand.objects.update(price="7.00")
    return "EUR 140.00", "EUR 210.00"


def halved(cast):
    Account.objects.filter(pk=cast.acme.pk).update(discount=50)
    return "EUR 35.00", "EUR 52.50"


def increase(door, subscription, choice="keep"):
    """The receipt."""
    sent = fields(door.get(url(subscription, "increase"), {"seats": 30})) | {"planned": choice}
    return door.post(url(subscription, "increase"), sent)["Location"]


@pytest.mark.parametrize("change", [doubled, halved])
def test_a_kept_plan_costs_what_the_period_after_it_will(change, door, shrinking, cast, signed_in, drain, run):
    after, without = change(cast)
    then = f"Then {after} a month for 20 seats from {DAY}, as planned. If you withdraw that plan: {without} a month"
    seen = door.get(url(shrinking, "increase"), {"seats": 30})
    for page in (text(seen), text(panel(door, shrinking, 30)), read(
        check_in_bss(signed_in(cast.operator), shrinking, "increase", seats="30")
    )):  # fmt: skip
        assert then in page
    assert f"Keep it: 30 seats until {DAY}, then 20 for {after} a month." in text(seen)
    increase(door, shrinking)
    drain()
    assert f"Next charge {after} on {DAY}" in text(door.get(f"/subscriptions/{shrinking.pk}/"))
    run("2027-02-15")
    drain()
    run("2027-02-15")
    assert fresh(shrinking).seats == 20
    assert lines(shrinking)[-1] == ("period", "2027-02-15", "2027-03-15", Decimal(after.removeprefix("EUR ")))


def test_what_was_ordered_never_promises_a_price_of_another_list(door, shrinking, cast, signed_in, drain):
    doubled(cast)
    receipt = increase(door, shrinking)
    drain()
    order = Order.objects.get(action="increase")
    of_staff = reverse("admin:subscriptions_order_change", args=[order.pk])
    for page in (text(door.get(receipt)), read(signed_in(cast.operator).get(of_staff))):
        assert f"Then 20 seats from {DAY}, as planned." in page
        assert "70.00" not in page


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "20 seats, from 15 February 2027, as planned"), ("de", "20 Plätze, ab 15. Februar 2027, wie geplant")],
)
def test_nor_does_a_letter(language, said, door, shrinking, cast, drain):
    doubled(cast)
    increase(door, shrinking)
    drain()
    Account.objects.filter(pk=cast.acme.pk).update(language=language)
    order = Order.objects.get(action="increase")
    event = EventFactory(
        subscription=shrinking, account=cast.acme, order=order, kind="increase.completed", at=order.placed_at
    )
    made = Notice.objects.create(event=event, user=cast.viewer, kind="done")
    mail = letters.letter(Notice.objects.get(pk=made.pk))
    [afterwards] = [one for one in mail.body.splitlines() if said in one]
    assert "EUR" not in afterwards
    assert "70" not in mail.body


def test_a_page_that_comes_again_has_the_plan_at_the_price_that_it_was_shown_with(door, shrinking, cast):
    sent = fields(door.get(url(shrinking, "increase"), {"seats": 30})) | {"planned": "keep"}
    doubled(cast)
    again = door.post(url(shrinking, "increase"), sent)
    assert again.status_code == 409
    was, now = (f"{amount} a month for 20 seats from {DAY}, as planned" for amount in ("EUR 70.00", "EUR 140.00"))
    assert f"Later periods {was} {now}" in text(again)
    PriceBand.objects.update(price="8.00")
    last = text(door.post(url(shrinking, "increase"), fields(again) | {"planned": "keep"}))
    assert f"Later periods 20 seats from {DAY}, as planned {now.replace('140', '160')}" in last


def test_a_kept_plan_that_the_list_has_no_price_for_has_no_amount(door, shrinking):
    PriceBand.objects.update(seats_from=25)
    page = text(door.get(url(shrinking, "increase"), {"seats": 30}))
    assert f"Then 20 seats from {DAY}, as planned. If you withdraw that plan: EUR 105.00 a month" in page
    assert f"Keep it: 30 seats until {DAY}, then 20." in page


def test_a_plan_that_stood_still_is_priced_for_the_next_period(signed_in, shrinking, cast, run, drain):
    suspend = Wish(shrinking.pk, "suspend", {}, reason="Unpaid")
    lifecycle.place(suspend, actor=cast.operator, audience=actions.BSS)
    drain()
    run("2027-03-20")
    doubled(cast)
    page = read(check_in_bss(signed_in(cast.operator), fresh(shrinking), "activate"))
    assert "Then EUR 140.00 a month for 20 seats from 15 April 2027, as planned" in page
    # By then its day lies in a period that is over.
    assert f"{fresh(shrinking).period_start}" == "2027-03-15"


def test_a_change_of_sku_that_stood_still_costs_what_was_shown_of_it(signed_in, begun, cast, run, drain):
    subscription = begun("2027-01-15")
    target = SKUFactory(product=subscription.sku.product)
    ChangeTarget.objects.create(sku=subscription.sku, target=target)
    change = Wish(subscription.pk, "change_sku", {"SKU": target.code, "Seats": 25}, when="period_end")
    lifecycle.place(change, actor=cast.owner, audience=STOREFRONT)
    lifecycle.place(Wish(subscription.pk, "suspend", {}, reason="Unpaid"), actor=cast.operator, audience=actions.BSS)
    drain()
    doubled(cast)
    page = read(check_in_bss(signed_in(cast.operator), fresh(subscription), "activate"))
    assert f"Then EUR 87.50 a month for 25 seats from {DAY}, as planned. If you withdraw that plan: EUR 175.00" in page
