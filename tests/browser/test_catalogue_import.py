"""A price list comes in by file: with a slip on the way, with scripts and without."""

import re

import pytest
from playwright.sync_api import expect

from subscriptions.models import SKU
from tests.browser.test_bss import EITHER_WAY
from tests.factories import SKUFactory

pytestmark = pytest.mark.django_db(transaction=True)


@EITHER_WAY
def test_a_price_list_is_compared_corrected_and_saved(open_page, cast, accessible, javascript, tmp_path):
    sku = SKUFactory(code="KL1", name="Endpoint, monthly", prices={1: "3.50", 50: "2.95"})
    page = open_page(cast.catalogue_manager, javascript=javascript)
    page.goto("/bss/subscriptions/sku/")
    page.get_by_role("link", name="Import a file").click()
    expect(page.get_by_role("heading", name="Import products, SKUs and prices")).to_be_visible()
    if javascript:
        accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the catalogue as it is").click()
    file = tmp_path / "may.csv"
    download.value.save_as(file)
    as_it_is = file.read_text(encoding="utf-8-sig")
    file.write_text(as_it_is.replace(",2.95", ',"3,10"'))
    page.get_by_label("Note").fill("Price list of May")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Compare with the catalogue").click()
    expect(page).to_have_title(re.compile(r"^\s*Error: Import products"))
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary").get_by_role("link", name="Line 3, price: “3,10” is no price.").click()
    expect(page.get_by_label("CSV file")).to_be_focused()
    expect(page.get_by_label("Note")).to_have_value("Price list of May")
    if javascript:
        accessible(page)
    file.write_text(as_it_is.replace(",2.95", ",3.10"))
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Compare with the catalogue").click()
    row = page.get_by_role("row", name=re.compile("Price of KL1 in EUR from 50 seats"))
    expect(row).to_contain_text("2.95")
    expect(row).to_contain_text("3.10")
    if javascript:
        accessible(page)
    page.get_by_role("button", name="Save 1 changed").click()
    expect(page.get_by_text("Saved from may.csv: 1 changed.")).to_be_visible()
    assert {str(one.price) for one in SKU.objects.get(pk=sku.pk).price_bands.all()} == {"3.5000", "3.1000"}
    page.goto(f"/bss/subscriptions/sku/{sku.pk}/history/")
    expect(page.get_by_text("Price list of May")).to_be_visible()
