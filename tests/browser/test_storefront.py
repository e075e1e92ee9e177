"""The customer's journeys in a real browser: once with scripts, once without."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from subscriptions import clock, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, PriceBand, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
EITHER_WAY = pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])


@pytest.fixture
def ana(cast):
    cast.owner.set_password(factories.PASSWORD)
    cast.owner.save()
    return cast.owner


@EITHER_WAY
def test_from_sign_in_to_more_seats(open_page, ana, subscription, drain, javascript):
    page = open_page(javascript=javascript)
    page.goto("/orders/")
    page.get_by_label("Email address").fill(ana.email)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Subscriptions", exact=True).click()
    page.get_by_label("Search").fill(subscription.number)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=subscription.sku.product.name).click()
    page.get_by_role("link", name="Increase seats").click()
    seats = page.get_by_label("How many seats?")
    expect(seats).to_have_value("26")

    seats.fill("1e3")
    seats.press("Enter")
    expect(page).to_have_title("Error: Increase seats - Seatdesk")
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary a").click()
    expect(seats).to_be_focused()
    expect(seats).to_have_value("1e3")

    seats.fill("29")
    page.get_by_role("button", name="One seat more").click()
    expect(seats).to_have_value("30")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("link", name="Go back").click()
    expect(seats).to_have_value("30")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("button", name="Add 5 seats and pay EUR 17.50").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Increase seats from 25 to 30")
    expect(page.get_by_text("Waiting to be sent to the licence service")).to_be_visible()
    receipt = page.url
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.get_by_text("Confirmed by the licence service")).to_be_visible()
    expect(page.locator("#progress").get_by_text("The subscription has 30 seats now.")).to_be_visible()
    if javascript:
        expect(page.locator("#said")).to_contain_text("The subscription has 30 seats now.")
    assert page.url == receipt
    assert Subscription.objects.get(pk=subscription.pk).seats == 30


@EITHER_WAY
def test_fewer_seats_and_the_way_to_cancel(open_page, ana, subscription, drain, javascript):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/decrease/")
    page.get_by_label("How many seats?").fill("0")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("link", name="Cancel subscription", exact=True).click()
    page.get_by_role("link", name="Decrease seats").click()
    page.get_by_label("How many seats?").fill("20")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("button", name="Remove 5 seats").click()
    drain()
    page.goto(f"/subscriptions/{subscription.pk}/")
    expect(page.locator(".figure strong")).to_have_text("20")


@pytest.fixture
def growing(cast, at_vendor):
    """25 seats at EUR 3.50, a whole period for each one added; fewer seats come with the next period."""
    sku = factories.SKUFactory(increase_policy="full_period", decrease_policy="next_period")
    return at_vendor(factories.SubscriptionFactory(account=cast.acme, sku=sku))


@EITHER_WAY
def test_the_price_follows_the_number(open_page, ana, growing, javascript):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{growing.pk}/increase/")
    seats, price = page.get_by_label("How many seats?"), page.locator("#price")
    expect(price.get_by_role("heading")).to_have_text("Price for 26 seats")
    expect(page.get_by_role("button", name="Calculate price")).to_have_count(0 if javascript else 1)
    if javascript:
        page.evaluate("document.querySelector('h1').dataset.same = 'page'")
        seats.fill("40")
        expect(price.get_by_role("heading")).to_have_text("Price for 40 seats")
        expect(page).to_have_url(re.compile(r"/increase/\?seats=40$"))
        expect(page.locator("#said")).to_contain_text("Price for 40 seats: Due now EUR 52.50.")
        expect(page.locator("h1[data-same=page]")).to_have_count(1)
        expect(seats).to_be_focused()
    else:
        seats.fill("40")
        page.get_by_role("button", name="Calculate price").click()
        expect(seats).to_have_value("40")
    expect(price.locator(".price-due")).to_contain_text("EUR 52.50")
    page.get_by_role("button", name="One seat more").click()
    expect(price.get_by_role("heading")).to_have_text("Price for 41 seats")
    expect(price.locator(".price-due")).to_contain_text("EUR 56.00")
    seats.fill("7")
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    wrong = price if javascript else page.locator(".error-summary")
    expect(wrong).to_contain_text("That is fewer than the 25 you have.")


@EITHER_WAY
def test_a_decrease_is_planned_kept_with_an_increase_and_undone(open_page, ana, growing, drain, javascript):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{growing.pk}/decrease/")
    page.get_by_label("How many seats?").fill("20")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("button", name=re.compile("^Plan 20 seats from ")).click()
    expect(page.locator("#progress").get_by_role("heading", name=re.compile("^Planned for "))).to_be_visible()
    page.get_by_role("link", name=f"Go to {growing.number}").click()
    expect(page.get_by_role("heading", name="The decrease to 20 seats is planned")).to_be_visible()

    page.get_by_role("link", name="Increase seats").click()
    page.get_by_label("How many seats?").fill("30")
    page.get_by_role("button", name="Check your change").click()
    page.get_by_role("button", name="Add 5 seats and pay EUR 17.50").click()
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary a").click()
    page.get_by_label(re.compile("Keep it: 30 seats until ")).check()
    page.get_by_role("button", name="Add 5 seats and pay EUR 17.50").click()
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.locator("#progress .price-due")).to_contain_text("Charged")
    expect(page.locator("#progress .price-due")).to_contain_text("EUR 17.50")

    page.get_by_role("link", name=f"Go to {growing.number}").click()
    expect(page.locator(".figure strong")).to_have_text("30")
    page.get_by_role("link", name="Undo the decrease to 20 seats").click()
    page.get_by_role("button", name="Undo the decrease to 20 seats").click()
    expect(page.locator("#progress").get_by_role("heading", name="Nothing was changed")).to_be_visible()
    page.get_by_role("link", name=f"Go to {growing.number}").click()
    expect(page.get_by_role("heading", name="The decrease to 20 seats is planned")).to_have_count(0)


@EITHER_WAY
def test_a_price_that_changed_meanwhile_is_confirmed_anew(open_page, ana, growing, drain, javascript):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{growing.pk}/increase/check/?seats=30")
    PriceBand.objects.update(price="4.00")
    page.get_by_role("button", name="Add 5 seats and pay EUR 17.50").click()
    expect(page.locator(".error-summary")).to_be_focused()
    row = page.get_by_role("row", name=re.compile("^Due "))
    expect(row).to_contain_text("EUR 17.50")
    expect(row).to_contain_text("EUR 20.00")
    page.get_by_role("button", name="Add 5 seats and pay EUR 20.00").click()
    drain()
    assert [line.amount for line in growing.charges.all()] == [Decimal("20.000")]


@EITHER_WAY
def test_an_order_that_must_be_approved(open_page, ana, cast, growing, drain, javascript):
    ApprovalLimit.objects.create(sku=growing.sku, currency="EUR", orders_from=10)
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{growing.pk}/increase/check/?seats=30")
    expect(page.get_by_role("heading", name="Your distributor must approve this order")).to_be_visible()
    page.get_by_role("button", name="Add 5 seats and pay EUR 17.50").click()
    expect(page.get_by_text("Waiting for your distributor's approval")).to_be_visible()
    receipt = page.url
    page.get_by_role("link", name=re.compile("^Withdraw ORD-")).click()
    page.get_by_role("button", name=re.compile("^Withdraw ORD-")).click()
    expect(page).to_have_url(receipt)
    expect(page.locator("#progress")).to_contain_text("By Ana Kos.")


@EITHER_WAY
@pytest.mark.parametrize("how", ["typed", "stepped"])
def test_the_browsers_back_keeps_the_seats(open_page, ana, subscription, javascript, how):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/increase/")
    seats = page.get_by_label("How many seats?")
    if how == "typed":
        seats.fill("41")
    else:
        page.get_by_role("button", name="One seat more").click()
        expect(seats).to_have_value("27")
        page.get_by_role("button", name="One seat more").click()
        expect(seats).to_have_value("28")
    page.get_by_role("button", name="Check your change").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check your change")
    page.go_back()
    expect(seats).to_have_value("41" if how == "typed" else "28")


@EITHER_WAY
def test_the_code_is_shown_downloaded_and_sent(open_page, ana, subscription, drain, javascript):
    code = subscription.activation_code.reveal()
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/")
    page.get_by_role("link", name="Get activation code").click()
    expect(page.get_by_text(code)).to_have_count(0)
    page.get_by_role("button", name="Show the code").click()
    expect(page.get_by_label("Your code")).to_have_value(code)
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as .txt").click()
    assert code in download.value.path().read_text()
    page.get_by_role("button", name="Send the code by email").click()
    expect(page.get_by_role("status").filter(has_text="The code is on its way to Ana Kos")).to_be_visible()


def test_the_code_is_copied_and_the_result_is_spoken(open_page, ana, subscription):
    page = open_page(ana, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"/subscriptions/{subscription.pk}/code/")
    page.get_by_role("button", name="Show the code").click()
    field = page.get_by_label("Your code")
    field.click()
    assert field.evaluate("one => one.selectionEnd - one.selectionStart") == len(subscription.activation_code.reveal())
    page.get_by_role("button", name="Copy code").click()
    expect(page.locator("#said")).to_have_text("Code copied")
    assert page.evaluate("navigator.clipboard.readText()") == subscription.activation_code.reveal()


@EITHER_WAY
def test_cancel_in_two_pages(open_page, ana, subscription, drain, javascript):
    page = open_page(ana, javascript=javascript)
    page.goto(f"/subscriptions/{subscription.pk}/")
    page.get_by_role("link", name="Cancel subscription").click()
    page.get_by_label("Now").check()
    page.get_by_label("Why do you cancel?").fill("Too big")
    page.get_by_role("button", name="Check before cancelling").click()
    page.get_by_role("button", name="Go back").click()
    expect(page.get_by_label("Why do you cancel?")).to_have_value("Too big")
    page.get_by_role("button", name="Check before cancelling").click()
    assert "Too" not in page.url
    page.get_by_role("button", name="Cancel now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel subscription")
    drain()
    page.get_by_role("link", name=f"Go to {subscription.number}").click()
    expect(page.get_by_role("heading", name="Cancelled on")).to_be_visible()


def test_the_whole_change_by_keyboard_alone(open_page, ana, subscription):
    page = open_page(ana)
    page.goto(f"/subscriptions/{subscription.pk}/increase/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the main content")).to_be_focused()
    page.keyboard.press("Enter")
    field = page.get_by_label("How many seats?")
    for _ in range(8):
        if field.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(field).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("31")
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Add 6 seats")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Increase seats from 25 to 31")


def test_a_theme_is_chosen_before_signing_in_and_stays(open_page, ana, subscription):
    page = open_page(color_scheme="light")
    page.goto("/account/login/")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 21, 19)"


def test_every_state_of_every_page_is_accessible_and_fits_320_px(open_page, accessible, ana, cast, stock, drain):
    """States that the table of URLs does not reach: errors, refusals, empty lists, every status."""
    active = factories.SubscriptionFactory(account=cast.acme, sku=stock.active.sku)
    orders = [
        factories.OrderFactory(
            subscription=factories.SubscriptionFactory(account=cast.acme, sku=active.sku), status=status, actor=ana
        )
        for status in (
            "placed", "in_progress", "needs_attention", "failed", "completed", "withdrawn", "rejected", "scheduled",
            "awaiting_approval",
        )
    ]  # fmt: skip
    planned = factories.SubscriptionFactory(account=cast.acme, sku=active.sku)
    wish = Wish(planned.pk, "decrease", {"Seats": 20}, when=clock.now().date() + timedelta(days=40))
    terms = {"term_end": clock.now().date(), "grace_ends": clock.now().date() + timedelta(days=9)}
    others = [
        factories.SubscriptionFactory(account=cast.acme, sku=active.sku, status="ending", ends_at=clock.now()),
        factories.SubscriptionFactory(account=cast.acme, sku=active.sku, status="expired", **terms),
        factories.SubscriptionFactory(account=cast.acme, sku=active.sku, trial_ends=clock.now().date()),
    ]
    lifecycle.place(wish, actor=ana, audience="storefront")
    page = open_page(ana, viewport={"width": 320, "height": 720})
    paths = [
        "/subscriptions/",
        "/subscriptions/?q=zzz",
        *(f"/subscriptions/{one.pk}/" for one in vars(stock).values()),
        *(f"/subscriptions/{one.subscription_id}/" for one in (*orders[2:4], *orders[6:])),
        *(f"/subscriptions/{one.pk}/" for one in (planned, *others)),
        f"/subscriptions/{planned.pk}/increase/check/?seats=30",
        f"/subscriptions/{planned.pk}/decrease/check/?seats=15",
        *(f"/orders/{one.pk}/undo/" for one in orders[7:]),
        *(f"/orders/{one.pk}/" for one in orders),
        "/orders/",
        f"/subscriptions/{active.pk}/increase/",
        f"/subscriptions/{active.pk}/increase/check/?seats=30",
        f"/subscriptions/{active.pk}/decrease/check/?seats=0",
        f"/subscriptions/{active.pk}/cancel/",
        f"/subscriptions/{stock.suspended.pk}/increase/",
        f"/subscriptions/{active.pk}/code/",
        "/no-such-page/",
    ]
    for path in paths:
        page.goto(path)
        accessible(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 320, f"{path} is {wide} px wide"
    # A choice left out, and figures that no longer hold.
    page.goto(f"/subscriptions/{planned.pk}/increase/check/?seats=30")
    with page.expect_navigation():
        page.get_by_role("button", name="Add 5 seats").click()
    accessible(page)
    PriceBand.objects.update(price="4.00")
    page.get_by_label(re.compile("Keep it: 30")).check()
    page.get_by_role("button", name="Add 5 seats").click()
    expect(page.get_by_role("heading", name="What you saw, and what holds now")).to_be_visible()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.goto(f"/subscriptions/{active.pk}/cancel/")
    with page.expect_navigation():
        page.get_by_role("button", name="Check before cancelling").click()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.goto(f"/subscriptions/{active.pk}/code/")
    with page.expect_navigation():
        page.get_by_role("button", name="Show the code").click()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_targets_are_large_enough(open_page, ana, subscription):
    page = open_page(ana)
    for path in (
        "/subscriptions/",
        f"/subscriptions/{subscription.pk}/",
        f"/subscriptions/{subscription.pk}/increase/",
    ):
        page.goto(path)
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, input:not([type=hidden]), select, nav a, .button, .back")]
                .filter((one) => !one.closest(".visually-hidden") && !one.hidden)
                .filter((one) => { const box = one.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
                .map((one) => one.outerHTML)"""
        )
        assert small == []
