"""The journeys of staff in a real browser: with scripts, and without."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from subscriptions import actions, bulk, clock, lifecycle
from subscriptions.admin.site import MODELS
from subscriptions.lifecycle import Wish
from subscriptions.models import SKU, Order, ReconciliationRun, Subscription
from tests.factories import (
    ChargeFactory,
    DriftFactory,
    OrderFactory,
    ProductFactory,
    SKUFactory,
    SubscriptionFactory,
    UserFactory,
    VendorCallFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)
EITHER_WAY = pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])


def open_subscription(page: Page, subscription: Subscription) -> None:
    """By the search box in the header, as somebody does who has the ID from a ticket."""
    page.goto("/bss/")
    page.get_by_label("Subscription ID, order number or company").fill(subscription.number.lower())
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(re.compile(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])))


def shortcut(page: Page, label: str) -> None:
    page.get_by_role("navigation", name="Shortcut menu").get_by_role("link", name=label, exact=True).click()


def see_it_done(page: Page, drain, javascript: bool) -> None:
    """From the progress to the end: by itself with scripts, by the link without."""
    expect(page.get_by_role("heading", name="Steps")).to_be_visible()
    expect(page.get_by_text("Waiting to be sent")).to_be_visible()
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.locator(".object-meta").get_by_text("Completed")).to_be_visible()
    expect(page.get_by_role("link", name="Check again")).to_have_count(0)
    # The menu beside it knows as well, and no longer points to the order under way.
    menu = page.get_by_role("navigation", name="Shortcut menu")
    expect(menu.get_by_role("link", name=re.compile("See ORD-"))).to_have_count(0)


@EITHER_WAY
def test_increase_with_a_slip_on_the_way(open_page, cast, subscription, drain, javascript):
    page = open_page(cast.operator, javascript=javascript)
    open_subscription(page, subscription)
    shortcut(page, "Increase seats")
    seats = page.get_by_label("New total of seats")
    seats.fill("1e3")
    page.get_by_role("button", name="Check before it is placed").click()
    expect(page).to_have_title(re.compile(r"^\s*Error: Increase seats"))
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary").get_by_role("link", name="is not a number of seats").click()
    expect(seats).to_be_focused()
    expect(seats).to_have_value("1e3")
    seats.fill("30")
    page.get_by_label("Reason").fill("Ticket 4711, asked by Ana Kos")
    page.get_by_role("button", name="Check before it is placed").click()
    expect(page.get_by_role("heading", name="Check: Increase seats")).to_be_visible()
    page.get_by_role("button", name="Change what you entered").click()
    expect(seats).to_have_value("30")
    page.get_by_role("button", name="Check before it is placed").click()
    # A full period: it began today.
    expect(page.locator(".price")).to_contain_text("5 seats \N{MULTIPLICATION SIGN} EUR 3.50")
    page.get_by_role("button", name=f"Add 5 seats to {subscription.number} and charge EUR 17.50").click()
    see_it_done(page, drain, javascript)
    expect(page.get_by_text("Ticket 4711, asked by Ana Kos").first).to_be_visible()
    if javascript:
        expect(page.locator("#said")).to_contain_text("completed")
    assert Subscription.objects.get().seats == 30


@EITHER_WAY
def test_suspend_activate_and_cancel(open_page, cast, subscription, drain, javascript):
    page = open_page(cast.operator, javascript=javascript)
    for label, button, status in (
        ("Suspend", f"Suspend {subscription.number}", "suspended"),
        ("Activate", f"Activate {subscription.number}", "active"),
        ("Cancel subscription", f"Cancel {subscription.number} now", "cancelled"),
    ):
        open_subscription(page, subscription)
        shortcut(page, label)
        page.get_by_label("Reason").fill("Agreed by telephone")
        if status == "cancelled":
            page.get_by_label("Now.").check()
            page.get_by_label("Subscription ID (optional)", exact=True).fill(subscription.number)
        page.get_by_role("button", name="Check before it is placed").click()
        page.get_by_role("button", name=button).click()
        see_it_done(page, drain, javascript)
        assert Subscription.objects.get().status == status
    open_subscription(page, subscription)
    menu = page.get_by_role("navigation", name="Shortcut menu")
    expect(menu.get_by_text("Cancelled on").first).to_be_visible()
    expect(menu.get_by_role("link", name="Get details")).to_be_visible()


@EITHER_WAY
def test_suspend_with_a_day_and_undo_it(open_page, cast, subscription, drain, javascript):
    on = clock.now().date() + timedelta(days=10)
    page = open_page(cast.operator, javascript=javascript)
    open_subscription(page, subscription)
    shortcut(page, "Suspend")
    day = page.get_by_label("Activate by itself on")
    day.fill(str(clock.now().date() - timedelta(days=1)))
    page.get_by_label("Reason").fill("Late payer")
    page.get_by_role("button", name="Check before it is placed").click()
    expect(page.locator(".field-invalid")).to_contain_text("is over. Choose today or a later day.")
    page.locator(".error-summary").get_by_role("link").click()
    expect(day).to_be_focused()
    day.fill(on.isoformat())
    page.get_by_role("button", name="Check before it is placed").click()
    words = actions.date_words(on)
    expect(page.get_by_role("heading", name=f"What the activation on {words} costs")).to_be_visible()
    page.get_by_role("button", name=f"Suspend {subscription.number} until {words}").click()
    see_it_done(page, drain, javascript)
    open_subscription(page, subscription)
    planned = page.get_by_role("region", name="Planned")
    expect(planned).to_contain_text(f"An activation is planned for {words}.")
    planned.get_by_role("link", name="Undo").click()
    page.get_by_label("Reason").fill("They have left")
    page.get_by_role("button", name="Check before it is placed").click()
    page.get_by_role("button", name="Undo ORD-").click()
    expect(page.locator(".object-meta").get_by_text("Withdrawn")).to_be_visible()
    assert Subscription.objects.get().status == "suspended"


@EITHER_WAY
def test_an_approver_decides_about_a_cancel_of_the_customer(open_page, cast, subscription, drain, javascript):
    SKU.objects.update(cancel_needs_approval=True)
    order = lifecycle.place(
        Wish(subscription.pk, "cancel", reason="Too dear"), actor=cast.owner, audience=actions.STOREFRONT
    )
    page = open_page(cast.approver, javascript=javascript)
    page.goto("/bss/")
    waiting = page.get_by_role("region", name="Awaiting approval")
    waiting.get_by_role("link", name=order.number).click()
    page.get_by_role("link", name="Reject").click()
    page.get_by_role("button", name="Check before it is placed").click()
    expect(page.locator(".error-summary")).to_contain_text("Enter a comment: the customer reads why.")
    page.get_by_role("link", name="Go back").click()
    page.get_by_role("link", name="Approve").click()
    expect(page.get_by_text("Reason: Too dear")).to_be_visible()
    page.get_by_label("Comment").fill("Agreed by telephone")
    page.get_by_role("button", name="Check before it is placed").click()
    page.get_by_role("button", name=f"Approve {order.number}").click()
    see_it_done(page, drain, javascript)
    expect(page.get_by_text("Agreed by telephone").first).to_be_visible()
    assert Subscription.objects.get().status == "cancelled"


@EITHER_WAY
def test_a_change_beside_a_planned_one(open_page, cast, subscription, drain, javascript):
    SKU.objects.update(decrease_policy="next_period")
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=actions.STOREFRONT)
    page = open_page(cast.operator, javascript=javascript)
    open_subscription(page, subscription)
    shortcut(page, "Increase seats")
    page.get_by_label("New total of seats").fill("30")
    page.get_by_label("Reason").fill("Ticket 4712")
    page.get_by_role("button", name="Check before it is placed").click()
    add = page.get_by_role("button", name=f"Add 5 seats to {subscription.number}")
    add.click()
    expect(page).to_have_title(re.compile(r"^\s*Error: "))
    page.locator(".error-summary").get_by_role("link", name="Choose what becomes").click()
    page.get_by_label("Keep it: 30 seats until").check()
    add.click()
    see_it_done(page, drain, javascript)
    assert Subscription.objects.get().seats == 30
    assert Order.objects.get(action="decrease").status == "scheduled"


@EITHER_WAY
def test_start(open_page, cast, emulator, drain, javascript):
    sku = SubscriptionFactory().sku
    page = open_page(cast.operator, javascript=javascript)
    page.goto("/bss/")
    page.get_by_role("link", name="Start a subscription").click()
    page.get_by_label("For which company?").fill("acme")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Acme GmbH").click()
    page.get_by_label("SKU").select_option(str(sku.pk))
    page.get_by_label("Seats", exact=True).fill("12")
    page.get_by_label("Ordered by").select_option(label="Bea Kralj (Buyer), buyer@acme.example")
    page.get_by_label("Reason").fill("Offer 2026-88")
    page.get_by_role("button", name="Check before it is placed").click()
    page.get_by_role("button", name="Start 12 seats for Acme GmbH").click()
    see_it_done(page, drain, javascript)
    started = Subscription.objects.get(account=cast.acme)
    assert (started.status, started.seats, started.ordered_by) == ("active", 12, cast.buyer)


@EITHER_WAY
def test_get_details_and_settle(open_page, cast, at_vendor, drain, javascript):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme), seats=40)
    page = open_page(cast.operator, javascript=javascript)
    open_subscription(page, subscription)
    shortcut(page, "Get details")
    page.get_by_role("button", name="Ask the licence service now").click()
    row = page.get_by_role("row", name="Seats")
    expect(row.get_by_text("Differs")).to_be_visible()
    row.get_by_role("link", name="Take theirs").click()
    page.get_by_label("Reason").fill("They are right")
    page.get_by_role("button", name="Check before it is placed").click()
    page.get_by_role("button", name=f"Take their seats for {subscription.number}").click()
    expect(page.locator(".object-meta").get_by_text("Completed")).to_be_visible()
    shortcut(page, "Get details")
    page.get_by_role("button", name="Ask the licence service now").click()
    expect(page.get_by_text("Our record and the licence service's say the same.")).to_be_visible()
    assert Subscription.objects.get().seats == 40


@EITHER_WAY
def test_retry_what_needs_attention(open_page, cast, subscription, drain, javascript):
    order = OrderFactory(
        subscription=subscription,
        status="needs_attention",
        needs_staff=True,
        before={"Seats": 25},
        after={"Seats": 30},
        outcome_message="Whether the licence service applied this could not be found out.",
    )
    page = open_page(cast.operator, javascript=javascript)
    page.goto("/bss/")
    page.get_by_role("link", name="Needs attention").click()
    page.get_by_role("link", name=order.number).click()
    page.get_by_role("link", name="Retry").click()
    page.get_by_label("Reason").fill("Their operator says that it is safe")
    page.get_by_role("button", name="Check before it is placed").click()
    page.get_by_role("button", name=f"Retry {order.number}").click()
    see_it_done(page, drain, javascript)
    assert Order.objects.get().status == "completed"


@EITHER_WAY
def test_the_activation_code(open_page, cast, subscription, javascript):
    page = open_page(cast.operator, javascript=javascript)
    open_subscription(page, subscription)
    page.get_by_role("button", name="Reveal").click()
    expect(page.get_by_role("textbox", name="The code")).to_have_value("FAKE0-AAAAA-BBBBB-CCCCC")
    expect(page.get_by_role("button", name="Copy code")).to_be_visible(visible=javascript)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as .txt").click()
    assert waiting.value.suggested_filename == f"{subscription.number}-activation-code.txt"


def test_the_menu_folds_on_a_narrow_page(open_page, cast, subscription):
    page = open_page(cast.operator, viewport={"width": 320, "height": 700})
    page.goto(reverse("admin:subscriptions_subscription_change", args=[subscription.pk]))
    menu = page.get_by_role("navigation", name="Shortcut menu")
    expect(menu.get_by_role("link", name="Suspend")).to_be_hidden()
    menu.get_by_text("Actions").click()
    expect(menu.get_by_role("link", name="Suspend")).to_be_visible()
    for address in (page.url, "/bss/subscriptions/subscription/", "/bss/subscriptions/order/", "/bss/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, address


# What of a page reaches beyond the window, also where only a part of the page would scroll.
TOO_WIDE = """() => [...document.querySelectorAll("main *")].filter(one => {
    const box = one.getBoundingClientRect()
    const shown = box.width > 1 && box.height > 1 && !one.closest(".visually-hidden, thead:not(:has(a))")
    return shown && (box.right > innerWidth + 1 || box.left < -1)
}).map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture
def one_of_each(cast):
    """A row in each list of a superuser, with long words in it; the subscription."""
    sku = SKUFactory(name="A name without an end, of words that somebody typed once", code="KESB-ADVANCED-EDITION")
    subscription = SubscriptionFactory(account=cast.acme, sku=sku)
    order = OrderFactory(subscription=subscription, actor=cast.owner, status="needs_attention")
    VendorCallFactory(order=order)
    subscription.events.create(account=cast.acme, order=order, kind="increase.placed", at=order.placed_at)
    ChargeFactory(subscription=subscription)
    DriftFactory(subscription=subscription, field="existence", ours="Yes", theirs="No")
    ReconciliationRun.objects.create(started_at=order.placed_at, moved_at=order.placed_at, audience=actions.COMMAND)
    chosen = bulk.ticked({subscription.pk})
    bulk.draft("suspend", chosen, actor=cast.operator, given={})
    return subscription


def test_lists_fit_every_width_and_are_cards_on_a_narrow_page(open_page, one_of_each, accessible):
    page = open_page(UserFactory(is_staff=True, is_superuser=True), reduced_motion="reduce")
    for model in MODELS:
        page.goto(reverse(f"admin:subscriptions_{model.lower()}_changelist"))
        for width in (1280, 800, 320):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(TOO_WIDE) == [], f"{model} at {width}"
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{model} at {width}"
        accessible(page)
    page.goto(reverse("admin:subscriptions_subscription_changelist"))
    row = page.get_by_role("row", name=one_of_each.number)
    expect(row.get_by_role("rowheader")).to_contain_text(one_of_each.number)
    expect(row.get_by_role("cell")).to_have_count(6)
    row.get_by_role("checkbox", name=f"Choose {one_of_each.number}").check()
    seats = row.locator(".field-seat_count")
    assert "Seats" in seats.evaluate("cell => getComputedStyle(cell, '::before').content")
    page.get_by_role("link", name="Filter this list").click()
    expect(page.get_by_role("navigation", name="Filter")).to_be_in_viewport()
    # Headers that sort are links above the cards.
    page.goto(reverse("admin:subscriptions_sku_changelist"))
    name = page.get_by_role("columnheader", name="Name")
    with page.expect_navigation():
        name.get_by_role("link").click()
    expect(name).to_have_attribute("aria-sort", "ascending")


def test_rows_to_read_are_cards_with_the_names_of_their_columns(open_page, cast, accessible):
    band = SKUFactory().price_bands.first()
    page = open_page(cast.auditor, viewport={"width": 320, "height": 700})
    page.goto(reverse("admin:subscriptions_sku_change", args=[band.sku_id]))
    row = page.get_by_role("table").get_by_role("row", name=str(band))
    price = row.get_by_role("cell").and_(page.locator(".field-price"))
    expect(price).to_be_visible()
    assert "Price" in price.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert page.evaluate(TOO_WIDE) == []
    accessible(page)


def test_fifty_subscriptions_are_two_lines_each(open_page, cast):
    sku = SKUFactory(
        product=ProductFactory(name="Kaspersky Endpoint Security for Business Advanced"), code="KESB-ADVANCED"
    )
    for _ in range(50):
        SubscriptionFactory(account=cast.acme, sku=sku)
    page = open_page(cast.operator, viewport={"width": 1280, "height": 800})
    page.goto(reverse("admin:subscriptions_subscription_changelist"))
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(50)
    assert rows.evaluate_all("rows => Math.max(...rows.map(row => row.offsetHeight))") <= 48
    assert page.evaluate("document.documentElement.scrollHeight") < 2800


def test_the_menu_stands_at_the_left(open_page, cast, subscription):
    page = open_page(cast.operator)
    page.goto(reverse("admin:subscriptions_subscription_change", args=[subscription.pk]))
    menu = page.get_by_role("navigation", name="Shortcut menu").bounding_box()
    content = page.get_by_role("heading", level=1).bounding_box()
    assert menu
    assert content
    assert menu["x"] + menu["width"] <= content["x"]


def test_pages_with_something_on_them_are_accessible(open_page, cast, at_vendor, accessible):
    """The permission table visits pages at rest; these are in the middle of something."""
    subscription = at_vendor(SubscriptionFactory(account=cast.acme), seats=40)
    held = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status="needs_attention")
    page = open_page(cast.operator)
    for menu in ("increase", "cancel"):
        page.goto(reverse(f"admin:subscriptions_subscription_{menu}", args=[subscription.pk]))
        with page.expect_navigation():
            page.get_by_role("button", name="Check before it is placed").click()
        accessible(page)
    for menu in ("suspend", "auto_renew", "cancel"):
        page.goto(reverse(f"admin:subscriptions_subscription_{menu}", args=[subscription.pk]))
        page.get_by_label("Reason").fill("Agreed")
        with page.expect_navigation():
            page.get_by_role("button", name="Check before it is placed").click()
        accessible(page)
    page.goto(reverse("admin:subscriptions_subscription_details", args=[subscription.pk]))
    with page.expect_navigation():
        page.get_by_role("button", name="Ask the licence service now").click()
    accessible(page)
    page.goto(reverse("admin:subscriptions_subscription_change", args=[subscription.pk]))
    accessible(page)
    with page.expect_navigation():
        page.get_by_role("button", name="Reveal").click()
    accessible(page)
    page.goto(reverse("admin:subscriptions_order_change", args=[held.pk]))
    accessible(page)
    page.goto("/bss/subscriptions/subscription/?q=nobody")
    accessible(page)


def test_pages_about_money_and_plans_are_accessible(open_page, cast, at_vendor, accessible):
    sku = SKUFactory(decrease_policy="next_period", cancel_needs_approval=True)
    sku.targets.create(target=SKUFactory(product=sku.product))
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, sku=sku))
    trial, ending, expired = (
        SubscriptionFactory(account=cast.acme, **more)
        for more in (
            {"trial_ends": clock.now().date() + timedelta(days=9)},
            {},
            {"status": "expired", "grace_ends": clock.now().date() + timedelta(days=9)},
        )
    )
    plan = lifecycle.place(
        Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=actions.STOREFRONT
    )
    lifecycle.place(Wish(ending.pk, "cancel", when="period_end"), actor=cast.owner, audience=actions.STOREFRONT)
    page = open_page(cast.operator)
    page.goto(reverse("admin:subscriptions_subscription_increase", args=[subscription.pk]))
    page.get_by_label("New total of seats").fill("30")
    page.get_by_label("Reason").fill("Agreed")
    with page.expect_navigation():
        page.get_by_role("button", name="Check before it is placed").click()
    accessible(page)
    SKU.objects.get(pk=sku.pk).price_bands.update(price="4.00")
    page.get_by_label("Withdraw it").check()
    page.get_by_role("button", name=re.compile("Add 5 seats")).click()
    expect(page.get_by_role("heading", name="What you saw, and what holds now")).to_be_visible()
    accessible(page)
    for name, key in (
        ("subscription_change", subscription.pk),
        ("subscription_change_sku", subscription.pk),
        ("subscription_change", ending.pk),
        ("subscription_keep", ending.pk),
        ("subscription_change", expired.pk),
        ("subscription_renew", expired.pk),
        ("subscription_convert", trial.pk),
        ("order_change", plan.pk),
        ("order_undo", plan.pk),
    ):
        page.goto(reverse(f"admin:subscriptions_{name}", args=[key]))
        accessible(page)
    waits = lifecycle.place(Wish(trial.pk, "suspend", reason="x"), actor=cast.operator, audience=actions.BSS)
    waiting = OrderFactory(subscription=expired, status="awaiting_approval", actor=cast.owner)
    page = open_page(cast.approver)
    for address in (
        "/bss/",
        "/bss/subscriptions/order/?status=awaiting_approval",
        reverse("admin:subscriptions_order_change", args=[waits.pk]),
        reverse("admin:subscriptions_order_change", args=[waiting.pk]),
        reverse("admin:subscriptions_order_approve", args=[waiting.pk]),
        reverse("admin:subscriptions_order_reject", args=[waiting.pk]),
    ):
        page.goto(address)
        accessible(page)


def test_links_that_stand_alone_are_targets_of_24_px(open_page, cast, subscription):
    OrderFactory(subscription=subscription)
    page = open_page(cast.operator, viewport={"width": 360, "height": 800})
    for path in (
        reverse("admin:subscriptions_subscription_changelist"),
        reverse("admin:subscriptions_subscription_change", args=[subscription.pk]),
    ):
        page.goto(path)
        heights = page.locator(":is(.card-head, .code-row, .downloads, .shortcut-about) > a").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect().height)"
        )
        assert heights
        assert min(heights) >= 24, path
