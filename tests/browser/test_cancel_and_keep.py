"""Ending, keeping, renewing and changing the SKU in a real browser: once with scripts, once without."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from subscriptions import clock, lifecycle
from subscriptions.actions import STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import Charge, PriceBand, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
EITHER_WAY = pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])


@pytest.fixture
def target(subscription):
    """A dearer SKU of the same product, for 50 seats and more, of another product at the vendor."""
    found = factories.SKUFactory(
        product=subscription.sku.product, name="Great Protection", seats_min=50, seats_max=5000, prices={1: "5.00"}
    )
    subscription.sku.targets.create(target=found)
    return found


def words(day) -> str:
    return f"{day.day} {day:%B %Y}"


@EITHER_WAY
def test_cancel_at_the_end_and_keep_it_after_all(open_page, cast, subscription, emulator, javascript):
    page = open_page(cast.owner, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/")
    page.get_by_role("link", name="Cancel subscription").click()
    expect(page.get_by_label(re.compile("At the end of the period"))).to_be_checked()
    page.get_by_label("Why do you cancel?").fill("Too big")
    page.get_by_role("button", name="Check before cancelling").click()
    page.get_by_role("button", name="Go back").click()
    expect(page.get_by_label(re.compile("At the end of the period"))).to_be_checked()
    expect(page.get_by_label("Why do you cancel?")).to_have_value("Too big")
    page.get_by_role("button", name="Check before cancelling").click()
    assert "Too" not in page.url
    page.get_by_role("button", name=f"Cancel on {words(subscription.period_end)}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel subscription")
    assert Subscription.objects.get(pk=subscription.pk).status == "ending"

    page.get_by_role("link", name=f"Go to {subscription.number}").click()
    expect(page.get_by_role("heading", name=f"Ends on {words(subscription.period_end)}")).to_be_visible()
    page.get_by_role("link", name="Keep subscription").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Keep subscription")
    page.get_by_role("button", name="Keep subscription").click()
    expect(page.get_by_role("status").filter(has_text=f"{subscription.number} goes on")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("Ends on"))).to_have_count(0)
    assert Subscription.objects.get(pk=subscription.pk).status == "active"
    assert not Charge.objects.exists()
    assert emulator.control.requests(source="service") == []


@EITHER_WAY
def test_change_the_sku_with_the_seats_that_it_needs(open_page, cast, subscription, target, drain, javascript):
    page = open_page(cast.owner, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/")
    page.get_by_role("link", name="Change the SKU").click()
    page.get_by_role("link", name="Change to Great Protection").click()
    seats, price = page.get_by_label("How many seats?"), page.locator("#price")
    expect(seats).to_have_value("50")
    expect(price).to_contain_text("EUR 250.00")
    seats.fill("60")
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(price).to_contain_text("EUR 300.00")
    if javascript:
        expect(page.locator("#said")).to_contain_text("Due now EUR 300.00")
    page.get_by_label(re.compile("At the renewal")).check()
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(price).to_contain_text(f"Due on {words(subscription.term_end)}")
    page.get_by_label(re.compile("A new period and term")).check()
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("link", name="Go back").click()
    expect(seats).to_have_value("60")
    expect(page.get_by_label(re.compile("A new period and term"))).to_be_checked()

    seats.fill("49")
    page.get_by_role("button", name="Check your change").click()
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary a").click()
    expect(seats).to_be_focused()
    seats.fill("60")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("button", name="Change to Great Protection and pay EUR 300.00").click()
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.get_by_text("Confirmed by the licence service")).to_be_visible()
    row = Subscription.objects.get(pk=subscription.pk)
    assert (row.sku, row.seats, row.activation_code) == (target, 60, subscription.activation_code)


@EITHER_WAY
def test_the_browsers_back_keeps_what_was_typed_and_chosen(open_page, cast, subscription, target, javascript):
    page = open_page(cast.owner, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/change_sku/?sku={target.code}")
    page.get_by_label("How many seats?").fill("70")
    page.get_by_label(re.compile("At the renewal")).check()
    page.get_by_role("button", name="Check your change").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check your change")
    page.go_back()
    expect(page.get_by_label("How many seats?")).to_have_value("70")
    expect(page.get_by_label(re.compile("At the renewal"))).to_be_checked()


@EITHER_WAY
def test_switch_the_renewal_off_and_on(open_page, cast, subscription, javascript):
    page = open_page(cast.owner, javascript=javascript)
    for off in (True, False):
        page.goto(f"/subscriptions/{subscription.pk}/")
        page.get_by_role("link", name="Automatic renewal").click()
        page.get_by_role("button", name=f"Switch automatic renewal {'off' if off else 'on'}").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Switch automatic renewal {'off' if off else 'on'}")
        assert Subscription.objects.get(pk=subscription.pk).auto_renew is not off


def test_every_state_is_accessible_and_fits_320_px(open_page, accessible, cast, subscription, target, emulator):
    """What the table of URLs does not reach: real targets, errors, what comes again, what is ending or over."""
    today, sku = clock.now().date(), subscription.sku
    PriceBand.objects.create(sku=target, currency="USD", seats_from=1, price="5.00")
    factories.SKUFactory(product=sku.product, prices={}).change_sources.add(sku)
    more = {"account": cast.acme, "sku": sku}
    expired = factories.SubscriptionFactory(
        status="expired", grace_ends=today + timedelta(days=9), ends_at=clock.now(), **more
    )
    trial = factories.SubscriptionFactory(trial_ends=today + timedelta(days=20), **more)
    ending = factories.SubscriptionFactory(**more)
    lifecycle.place(Wish(ending.pk, "cancel", when="period_end"), actor=cast.owner, audience=STOREFRONT)
    shrinking = factories.SubscriptionFactory(**more)
    fewer = Wish(shrinking.pk, "decrease", {"Seats": 20}, when=today + timedelta(days=9))
    lifecycle.place(fewer, actor=cast.owner, audience=STOREFRONT)
    page = open_page(cast.owner, viewport={"width": 320, "height": 720})

    def look() -> None:
        accessible(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 320, f"{page.url} is {wide} px wide"

    for path in (
        f"{subscription.pk}/change_sku/",
        f"{subscription.pk}/change_sku/?sku={target.code}",
        f"{subscription.pk}/change_sku/?sku={target.code}&seats=3",
        f"{subscription.pk}/change_sku/check/?sku={target.code}&seats=60&when=now",
        f"{shrinking.pk}/change_sku/check/?sku={target.code}&seats=60&when=renewal",
        f"{expired.pk}/renew/",
        f"{trial.pk}/convert/",
        f"{trial.pk}/cancel/",
        f"{ending.pk}/keep/",
        f"{ending.pk}/cancel/",
    ):
        answer = page.goto(f"/subscriptions/{path}")
        assert answer is not None
        assert answer.status == 200
        look()
    page.goto(f"/subscriptions/{shrinking.pk}/cancel/")
    look()
    page.get_by_role("button", name="Check before cancelling").click()
    look()
    page.get_by_role("button", name="Go back").click()
    page.get_by_label("Why do you cancel?").fill("x" * 501)
    page.get_by_role("button", name="Check before cancelling").click()
    expect(page.locator(".error-summary")).to_be_focused()
    look()
    # A price that changes while the check page is open.
    page.goto(f"/subscriptions/{subscription.pk}/change_sku/check/?sku={target.code}&seats=60&when=now")
    PriceBand.objects.filter(sku=target).update(price="6.00")
    page.get_by_role("button", name="Change to Great Protection").click()
    expect(page.get_by_role("heading", name="What you saw, and what holds now")).to_be_visible()
    look()
