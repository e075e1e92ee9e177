"""Many at once by a person of the staff, in a real browser: with scripts, and without."""

import re

import pytest
from playwright.sync_api import expect

from subscriptions import clock
from subscriptions.bulk import drafts, tasks
from subscriptions.models import BulkRow, BulkRun, Order, Subscription
from tests.factories import SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows(cast, at_vendor):
    """Three that run and one that is suspended already, all of Acme's; and one of somebody else's."""
    sku = SKUFactory()
    SubscriptionFactory(account=cast.globex, sku=sku)
    statuses = ("active", "active", "active", "suspended")
    return [at_vendor(SubscriptionFactory(account=cast.acme, sku=sku, status=status)) for status in statuses]


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_from_the_list_to_the_results(javascript, open_page, cast, rows, drain, accessible, monkeypatch):
    # Few are many here, so that the worker looks at them while the page waits.
    monkeypatch.setattr(drafts, "CHUNK", 2)
    page = open_page(cast.operator, javascript=javascript)
    # It is a script itself. The pages are the same.
    examine = accessible if javascript else lambda page: None
    page.goto("/bss/subscriptions/subscription/")
    bar = page.get_by_role("form", name="Several at once")
    bar.get_by_role("button", name="See what would happen").click()
    expect(page.get_by_text("Choose what to do with them.")).to_be_visible()
    for one in (rows[0], rows[1], rows[3]):
        page.get_by_label(f"Choose {one}").check()
    bar.get_by_label("to do").select_option("Suspend")
    examine(page)
    bar.get_by_role("button", name="See what would happen").click()

    expect(page.get_by_role("heading", name="Suspend: 3 subscriptions")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Looked at")).to_be_visible()
    page.get_by_label("Reason").fill("Late payers, ticket 4711")
    tasks.look.func(BulkRun.objects.get().pk)
    if javascript:
        expect(page.get_by_label("Reason")).to_have_value("Late payers, ticket 4711")
    else:
        page.get_by_role("link", name="Check again").click()
        page.get_by_label("Reason").fill("Late payers, ticket 4711")
    expect(page.locator("#run").get_by_text("3 selected: 2 can be suspended, 1 cannot.")).to_be_visible()
    expect(page.get_by_role("link", name=str(rows[3]))).to_be_visible()
    examine(page)
    assert not Order.objects.exists()

    page.get_by_role("button", name="Suspend 2 subscriptions").click()
    expect(page.locator("#run").get_by_text("0 of 3 rows decided")).to_be_visible()
    examine(page)
    # Left, and found again.
    page.goto("/bss/subscriptions/bulkrun/")
    examine(page)
    page.locator("#result_list").get_by_role("link", name=re.compile(r"^\d+$")).click()
    drain()
    if not javascript:
        page.get_by_role("link", name="Check again").click()
    expect(page.locator("#run").get_by_text("3 of 3 rows decided: 2 placed, 1 refused.")).to_be_visible()
    expect(page.locator(".run-outcomes")).to_contain_text(re.compile(r"Done\s+2"))
    expect(page.get_by_role("link", name="Check again")).to_have_count(0)
    if javascript:
        expect(page.locator("#said")).to_contain_text("3 of 3 rows decided")
    examine(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result of each row").click()
    assert download.value.suggested_filename == f"bulk-run-{BulkRun.objects.get().pk}.csv"
    assert Subscription.objects.filter(status="suspended").count() == 3


def test_a_small_screen_shows_all_of_it(open_page, cast, rows):
    page = open_page(cast.operator, viewport={"width": 320, "height": 640})
    page.goto("/bss/subscriptions/subscription/")
    bar = page.get_by_role("form", name="Several at once")
    bar.get_by_label("Choose").select_option("page")
    bar.get_by_label("to do").select_option("Cancel")
    bar.get_by_role("button", name="See what would happen").click()
    expect(page.get_by_role("heading", name="Cancel: 5 subscriptions")).to_be_visible()
    page.get_by_label("Now.").check()
    page.get_by_label("Reason").fill("Gone")
    page.get_by_role("button", name=re.compile("^Plan the end of")).click()
    expect(page.get_by_text("What you entered changes what would happen.")).to_be_visible()
    page.get_by_role("button", name="Cancel 5 subscriptions now").click()
    expect(page.locator(".error-summary")).to_be_focused()
    expect(page.locator(".error-summary")).to_contain_text("Type 5 to show that you mean all that can be cancelled.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_label("Number of subscriptions").fill("5")
    page.get_by_role("button", name="Cancel 5 subscriptions now").click()
    expect(page.get_by_role("heading", name="Progress")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_small_screen_shows_outcomes_of_many_rows(open_page, cast):
    run = BulkRun.objects.create(
        action="suspend", reason="late", actor=cast.operator, audience="bss", selection="all", status="done",
        created_at=clock.now(), total=12_345, refused=12_345,
    )  # fmt: skip
    BulkRow.objects.bulk_create(
        BulkRow(run=run, position=position, outcome="refused", code="unknown", sentence="There is none.")
        for position in range(12_345)
    )
    page = open_page(cast.operator, viewport={"width": 320, "height": 640})
    page.goto(f"/bss/subscriptions/bulkrun/{run.pk}/change/")
    outcome = page.locator(".run-outcomes li")
    expect(outcome).to_contain_text("12,345")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    end, card = (one.bounding_box() for one in (outcome, page.locator(".card").first))
    assert end["x"] + end["width"] < card["x"] + card["width"]
