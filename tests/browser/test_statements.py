"""A statement on paper: no way around the site, black on white, whatever the theme."""

from decimal import Decimal

import pytest

from tests.factories import ChargeFactory, EventFactory, OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db(transaction=True)

BLACK, WHITE = "rgb(0, 0, 0)", "rgb(255, 255, 255)"


@pytest.fixture
def line(cast):
    subscription = SubscriptionFactory(account=cast.acme)
    order = OrderFactory(subscription=subscription)
    return ChargeFactory(subscription=subscription, order=order, amount=Decimal("41.10"))


def _style(page, selector: str, name: str) -> str:
    return page.locator(selector).first.evaluate("(one, name) => getComputedStyle(one)[name]", name)


@pytest.mark.parametrize("door", ["storefront", "bss"])
def test_print_leaves_out_the_way_around_and_is_black_on_white(door, cast, line, open_context, server, accessible):
    month = f"{line.booked_on:%Y-%m}"
    ours, theirs = (
        f"/statements/{cast.acme.pk}/{month}/",
        f"/bss/subscriptions/account/{cast.acme.pk}/statements/{month}/",
    )
    ChargeFactory(
        subscription=line.subscription,
        event=EventFactory(subscription=line.subscription),
        amount=Decimal("-1.10"),
        corrects=line,
    )
    context = open_context(cast.owner if door == "storefront" else cast.operator, color_scheme="dark")
    context.add_cookies([{"name": "theme", "value": "dark", "url": server}])
    page = context.new_page()
    page.goto(ours if door == "storefront" else theirs)
    away = (
        [".site-nav", ".site-footer", ".back"]
        if door == "storefront"
        else [".bss-header", ".bss-crumbs", ".bss-footer"]
    )
    away += ["text=Download CSV", "text=Corrected by"]
    assert page.locator("html").get_attribute("data-theme") == "dark"
    for one in away:
        assert page.locator(one).first.is_visible(), one
    assert _style(page, "h1", "color") != BLACK
    accessible(page)
    page.emulate_media(media="print", reduced_motion="reduce")
    for one in away:
        assert not page.locator(one).first.is_visible(), one
    for one in ("h1", ".statement thead th", ".statement tbody td", ".statement-figures dd"):
        assert page.locator(one).first.is_visible(), one
    assert _style(page, "h1", "color") == _style(page, ".statement tbody td", "color") == BLACK
    assert _style(page, ".statement a", "color") == BLACK
    assert _style(page, ".table-card", "backgroundColor") == WHITE
    # The columns are named on each sheet, and no line is cut in two.
    assert _style(page, ".statement thead", "display") == "table-header-group"
    assert _style(page, ".statement tbody tr", "breakInside") == "avoid"


def test_the_line_that_a_link_names_is_marked(cast, line, open_page):
    page = open_page(cast.owner)
    page.goto(f"/statements/{cast.acme.pk}/{line.booked_on:%Y-%m}/?all=1#line-{line.pk}")
    assert page.locator(f"#line-{line.pk}:target").count() == 1
    assert _style(page, f"#line-{line.pk}", "backgroundColor") != "rgba(0, 0, 0, 0)"


def test_on_a_phone_a_line_is_short_and_nothing_of_it_is_lost(cast, line, open_context, accessible):
    page = open_context(cast.owner, viewport={"width": 360, "height": 800}).new_page()
    page.goto(f"/statements/{cast.acme.pk}/{line.booked_on:%Y-%m}/")
    row = page.locator(f"#line-{line.pk}")
    cells = {name: row.locator(f"td[data-label={name}]") for name in ("What", "Amount", "Days", "Seats", "Booked")}
    for cell in (*cells.values(), row.locator("th")):
        assert cell.is_visible()
    tops = {name: cell.bounding_box()["y"] for name, cell in cells.items()}
    assert tops["What"] == tops["Amount"] < tops["Days"] == tops["Seats"] < tops["Booked"]
    assert row.bounding_box()["height"] < 160
    accessible(page)
