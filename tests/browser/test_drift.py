"""Drift found, shown and settled by a person of the staff, in a real browser: with scripts, and without."""

import pytest
from playwright.sync_api import expect

from subscriptions import reconciliation
from subscriptions.actions import COMMAND
from subscriptions.models import Subscription
from tests.factories import SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows(cast, at_vendor):
    """Two with other seats there, one with another product."""
    sku = SKUFactory()
    made = [SubscriptionFactory(account=cast.acme, sku=sku) for _ in range(3)]
    for one, theirs in zip(made, ({"seats": 30}, {"seats": 45}, {"product": "OTHER"}), strict=True):
        at_vendor(one, **theirs)
    run = reconciliation.begin(actor=None, audience=COMMAND)
    for _ in reconciliation.work(run):
        pass
    return made


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_from_the_worklist_to_what_was_settled(javascript, open_page, cast, rows, drain, accessible):
    page = open_page(cast.operator, javascript=javascript)

    def check():
        # axe is a script itself.
        if javascript:
            accessible(page)

    page.goto("/bss/subscriptions/drift/")
    listed = page.locator("#result_list tbody tr")
    expect(listed.nth(0)).to_contain_text("EUR 87.50")
    expect(listed.nth(0)).to_contain_text("OTHER")
    expect(listed.nth(1)).to_contain_text("45")
    check()
    bar = page.get_by_role("form", name="Settle several at once")
    bar.get_by_role("button", name="See what would happen").click()
    expect(page.get_by_text("Choose whether to take theirs or push ours.")).to_be_visible()

    # One, from its own page.
    page.get_by_role("link", name=str(rows[1])).click()
    page.get_by_role("link", name="Take theirs").click()
    page.get_by_label("Reason").fill("Their bill says 45")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("button", name=f"Take their seats for {rows[1]}").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("take theirs")
    assert Subscription.objects.get(pk=rows[1].pk).seats == 45

    # All that are left, of which one can be settled so.
    page.goto("/bss/subscriptions/drift/")
    expect(listed).to_have_count(2)
    bar.get_by_label("Choose").select_option("all drift there is")
    bar.get_by_label("and settle by").select_option("Take theirs")
    bar.get_by_role("button", name="See what would happen").click()
    expect(page.locator(".run-sum")).to_have_text("2 selected: 1 can take theirs, 1 cannot.")
    expect(page.get_by_text("The product is never taken over")).to_be_visible()
    check()
    page.get_by_label("Reason").fill("Month's end")
    page.get_by_role("button", name="Take theirs for 1 difference").click()
    drain()
    page.goto("/bss/subscriptions/drift/")
    expect(listed).to_have_count(1)
    expect(page.locator("#result_list")).not_to_contain_text(str(rows[0]))
    assert Subscription.objects.get(pk=rows[0].pk).seats == 30


def test_a_small_screen_shows_all_of_it(open_page, cast, rows):
    page = open_page(cast.operator, viewport={"width": 320, "height": 640})
    page.goto("/bss/subscriptions/drift/")
    expect(page.get_by_text("At stake each month")).to_be_visible()
    page.get_by_label(f"Choose {rows[0]}: seats").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
