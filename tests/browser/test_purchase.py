"""From the catalogue to the activation code in a real browser: once with scripts, once without."""

import re

import pytest
from playwright.sync_api import expect

from subscriptions.models import Charge, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
EITHER_WAY = pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])


@pytest.fixture
def sku(cast):
    return factories.SKUFactory(
        product__name="Endpoint Cloud", product__needs_company_details=True, prices={5: "2.10", 25: "1.90"},
        trial_days=30,
    )  # fmt: skip


@EITHER_WAY
def test_from_the_catalogue_to_the_activation_code(open_page, accessible, cast, sku, drain, javascript):
    page = open_page(cast.buyer, javascript=javascript)
    page.goto("/subscriptions/")
    page.get_by_role("link", name="Buy a subscription").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Catalogue")

    number = page.get_by_label("Number of seats")
    number.fill("1e3")
    number.press("Enter")
    expect(page).to_have_title("Error: Catalogue - Seatdesk")
    expect(page.locator(".error-summary")).to_be_focused()
    expect(number).to_have_value("1e3")
    number.fill("24")
    page.get_by_role("button", name="Show prices").click()
    expect(page.locator(".sold-price")).to_contain_text("EUR 50.40 a month")
    expect(page).to_have_title("Catalogue - Seatdesk")
    assert "seats=24" in page.url

    page.get_by_role("link", name="Endpoint Cloud").click()
    expect(page.locator(".holds")).to_have_text(re.compile(r"5 to 24\s+EUR 2.10"))
    page.get_by_role("link", name="Buy a subscription of").click()
    seats = page.get_by_label("How many seats?")
    expect(seats).to_have_value("24")
    page.get_by_role("button", name="One seat more").click()
    expect(seats).to_have_value("25")
    due = page.locator(".price-due")
    expect(due).to_contain_text("EUR 47.50")
    seats.fill("30")
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(due).to_contain_text("EUR 57.00")
    page.get_by_role("button", name="Check your order").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Details of Acme GmbH")
    page.get_by_role("button", name="Save the details").click()
    expect(page.locator(".error-summary li")).to_have_count(3)
    if javascript:
        accessible(page)
    page.get_by_label("Legal name").fill("Acme GmbH")
    page.get_by_label("Address").fill("Ring 1\n1010 Wien")
    page.get_by_label("Country").select_option(label="Austria")
    page.get_by_role("button", name="Save the details").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Check your order")
    page.get_by_role("link", name="Go back").click()
    expect(seats).to_have_value("30")
    page.get_by_role("button", name="Check your order").click()
    page.get_by_role("button", name="Buy 30 seats and pay EUR 57.00").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Start subscription with 30 seats")
    receipt = page.url
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    page.get_by_role("link", name="Get activation code").click()
    page.get_by_role("button", name="Show the code").click()
    [subscription] = Subscription.objects.all()
    expect(page.get_by_label("Your code")).to_have_value(subscription.activation_code.reveal())
    assert [str(one.amount) for one in Charge.objects.all()] == ["57.000"]
    page.goto(receipt)
    expect(page.get_by_text("EUR 57.00").first).to_be_visible()


@EITHER_WAY
def test_a_trial_instead(open_page, cast, drain, javascript):
    factories.SKUFactory(product__name="Endpoint Cloud", trial_days=30, prices={5: "2.00"})
    page = open_page(cast.owner, javascript=javascript)
    page.goto("/catalogue/")
    page.get_by_role("link", name="Endpoint Cloud").click()
    page.get_by_role("link", name="Buy a subscription of").click()
    page.get_by_label("Try it free for 30 days").check()
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(page.locator("#price")).to_contain_text("when it ends by itself. Nothing is charged.")
    page.get_by_label("Buy it").check()
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(page.locator("#price")).to_contain_text("EUR 10.00")
    page.get_by_label("Try it free for 30 days").check()
    page.get_by_role("button", name="Check your order").click()
    page.get_by_role("button", name="Start the trial with 5 seats").click()
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.get_by_role("link", name="Get activation code")).to_be_visible()
    assert not Charge.objects.exists()


@EITHER_WAY
def test_another_company_has_other_prices(open_page, cast, javascript):
    sku = factories.SKUFactory(prices={5: "2.00"})
    other = factories.AccountFactory(name="Zen KK", currency="JPY")
    factories.MemberFactory(account=other, user=cast.buyer, role="owner")
    factories.PriceBandFactory(sku=sku, currency="JPY", price="300")
    page = open_page(cast.buyer, javascript=javascript)
    page.goto(f"/catalogue/sku/{sku.pk}/start/?seats=10")
    expect(page.locator(".price-due")).to_contain_text("EUR 20.00")
    page.get_by_label("Company").select_option(label="Zen KK")
    if not javascript:
        page.get_by_role("button", name="Calculate price").click()
    expect(page.locator(".price-due")).to_contain_text("JPY 3,000")
    page.get_by_role("button", name="Check your order").click()
    expect(page.get_by_role("button", name="Buy 10 seats and pay JPY 3,000")).to_be_visible()


@EITHER_WAY
def test_a_price_that_changed_is_shown_beside_the_old_one(open_page, accessible, cast, javascript):
    sku = factories.SKUFactory(prices={5: "2.00"})
    page = open_page(cast.buyer, javascript=javascript)
    page.goto(f"/catalogue/sku/{sku.pk}/start/check/?seats=10")
    sku.price_bands.update(price="3.00")
    page.get_by_role("button", name="Buy 10 seats and pay EUR 20.00").click()
    expect(page.locator(".error-summary")).to_be_focused()
    expect(page.locator(".figures")).to_contain_text("EUR 20.00")
    expect(page.get_by_role("button", name="Buy 10 seats and pay EUR 30.00")).to_be_visible()
    if javascript:
        accessible(page)


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_is_wider_than_the_window(open_page, cast, sku, width):
    page = open_page(cast.buyer, viewport={"width": width, "height": 800})
    start = f"/catalogue/sku/{sku.pk}/start/"
    for address in ("/catalogue/?seats=25", f"/catalogue/{sku.product_id}/", start, f"{start}details/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
