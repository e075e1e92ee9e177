"""From the Shortcut menu into the Storefront with a member's eyes, and back: with scripts and without."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from subscriptions.models import Order, Viewing

pytestmark = pytest.mark.django_db(transaction=True)
EITHER_WAY = pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])


@EITHER_WAY
def test_look_with_the_eyes_of_a_manager_and_go_back(open_page, cast, subscription, accessible, javascript):
    def examine():
        # axe is a script itself, and contrast is the same with and without ours.
        if javascript:
            accessible(page)

    page = open_page(cast.support, javascript=javascript)
    home = reverse("admin:subscriptions_subscription_change", args=[subscription.pk])
    page.goto(home)
    page.get_by_role("navigation", name="Shortcut menu").get_by_role("link", name="View as customer").click()
    examine()
    page.get_by_label("View as").select_option(label="Marko Novak (Manager), manager@acme.example")
    page.get_by_role("button", name="View as customer").click()
    expect(page.locator(".error-summary")).to_contain_text("Enter a reason.")
    expect(page.get_by_label("View as").locator("option:checked")).to_contain_text("Marko Novak")
    page.get_by_label("Reason").fill("Ticket 4711")
    page.get_by_role("button", name="View as customer").click()

    banner = page.get_by_role("complementary", name="View as customer")
    expect(banner).to_contain_text(re.compile(r"Support, you are viewing as Marko Novak, Manager of Acme GmbH, since"))
    expect(page.get_by_text(subscription.number).first).to_be_visible()
    examine()

    page.get_by_role("link", name="Increase seats").click()
    page.get_by_label("How many seats?").fill("30")
    page.get_by_role("button", name="Check", exact=False).last.click()
    expect(page.get_by_role("heading", name="Check your change")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Add 5 seats"))).to_be_disabled()
    expect(page.get_by_text("You are only looking: Marko Novak can press this button, you cannot.")).to_be_visible()
    expect(banner).to_be_visible()
    examine()

    page.goto(reverse("storefront:code", args=[subscription.pk]))
    expect(page.get_by_role("heading", name="Not shown while you view as a customer")).to_be_visible()
    examine()

    tab = page.context.new_page()
    tab.goto(reverse("admin:subscriptions_account_change", args=[cast.acme.pk]))
    expect(tab.get_by_role("row", name=re.compile("Support Marko Novak"))).to_contain_text("Goes on")

    banner.get_by_role("button", name="Stop viewing").click()
    expect(page).to_have_url(re.compile(re.escape(home) + "$"))
    page.go_back()
    # Not kept by the browser: whoever has stopped is asked for anew, and may not see it.
    expect(page.get_by_role("heading", name="We cannot find this page")).to_be_visible()
    assert Viewing.objects.get().ending == "stopped"
    assert not Order.objects.exists()


def test_on_a_small_screen_the_banner_leaves_no_room_for_doubt_or_scrolling_sideways(
    open_page, cast, subscription, accessible
):
    page = open_page(cast.operator, viewport={"width": 320, "height": 640})
    page.goto(reverse("admin:subscriptions_account_view_as_customer", args=[cast.acme.pk]))
    page.get_by_label("Reason").fill("Ticket 4711")
    page.get_by_role("button", name="View as customer").click()
    for address in (reverse("storefront:subscriptions"), reverse("storefront:viewings"), "/subscriptions/987654321/"):
        page.goto(address)
        banner = page.get_by_role("complementary", name="View as customer")
        expect(banner).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address
        accessible(page)


def test_a_page_left_open_says_when_it_is_over(open_page, cast, subscription, accessible):
    page = open_page(cast.support)
    page.goto(reverse("admin:subscriptions_account_view_as_customer", args=[cast.acme.pk]))
    page.get_by_label("Reason").fill("Ticket 4711")
    page.get_by_role("button", name="View as customer").click()
    cast.support.groups.clear()
    page.get_by_role("link", name=subscription.sku.product.name).first.click()
    expect(page.get_by_role("heading", name="Viewing has ended")).to_be_visible()
    expect(page.get_by_text("Your staff group may not view as a customer any more.")).to_be_visible()
    accessible(page)
