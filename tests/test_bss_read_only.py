"""What happened stays: nobody adds, changes or deletes it by hand, not even an administrator."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.urls import reverse

from subscriptions import clock
from subscriptions.models import Event, Order, Subscription, VendorCall, VendorState
from tests.factories import OrderFactory, SubscriptionFactory, UserFactory, VendorCallFactory

pytestmark = pytest.mark.django_db

RECORDS = (Subscription, Order, VendorCall, Event, VendorState)


@pytest.fixture
def administrator(signed_in):
    return signed_in(UserFactory(is_staff=True, is_superuser=True))


@pytest.fixture
def rows(cast):
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme))
    return {
        Subscription: order.subscription,
        Order: order,
        VendorCall: VendorCallFactory(order=order, asked="<Ask/>", answered="<Answer/>", outcome="done"),
        Event: Event.objects.create(
            account=cast.acme, subscription=order.subscription, order=order, kind="increase.placed", at=clock.now()
        ),
        VendorState: VendorState.objects.create(vendor="kaspersky", paused_at=clock.now(), reason="Let us in"),
    }


def address(model, page, *arguments):
    return reverse(f"admin:subscriptions_{model._meta.model_name}_{page}", args=arguments)


@pytest.mark.parametrize("model", RECORDS)
def test_add_change_and_delete_are_refused(model, administrator, rows):
    row = rows[model]
    before = model.objects.filter(pk=row.pk).values().get()
    everything = {field.name: "1" for field in model._meta.fields}
    assert administrator.get(address(model, "changelist")).status_code == 200
    page = administrator.get(address(model, "change", row.pk))
    assert page.status_code == 200
    # The page itself is the history; what is left to do is to go back.
    assert ">History</a>" not in page.content.decode()
    assert ">Close</a>" not in page.content.decode()
    for method in (administrator.get, administrator.post):
        assert method(address(model, "add"), everything).status_code == 403
        assert method(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert administrator.post(address(model, "change", row.pk), everything).status_code in (403, 405)
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    administrator.post(address(model, "changelist"), chosen)
    assert model.objects.filter(pk=row.pk).values().get() == before
    assert model.objects.count() == 1


@pytest.mark.parametrize("model", RECORDS)
def test_the_view_permission_is_needed_and_enough(model, cast, signed_in, rows):
    browser = signed_in(cast.auditor)
    assert browser.get(address(model, "change", rows[model].pk)).status_code == 200
    cast.auditor.groups.clear()
    assert browser.get(address(model, "change", rows[model].pk)).status_code == 403


@pytest.mark.parametrize("model", [Subscription, Order])
def test_history_is_on_the_page_itself(model, administrator, rows):
    answer = administrator.get(address(model, "history", rows[model].pk))
    assert answer.url == address(model, "change", rows[model].pk)


def test_vendor_calls_show_what_was_asked_and_answered(administrator, rows):
    page = administrator.get(address(VendorCall, "change", rows[VendorCall].pk)).content.decode()
    assert "&lt;Ask/&gt;" in page
    assert "&lt;Answer/&gt;" in page


def test_bss_shows_our_own_models_only():
    assert {model._meta.app_label for model in admin.site._registry} == {"subscriptions"}
    assert not list(admin.site.actions)


def test_no_template_breaks_the_page_policy():
    """The stock list ends with an inline style; nothing of ours may bring one either."""
    every = Path(settings.BASE_DIR, "templates").rglob("*.html")
    # Mail has no style sheet to link.
    templates = [one for one in every if "email" not in one.parts]
    assert len(templates) > 100
    for template in templates:
        source = template.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", source), template
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source)), template


CARDS = re.compile(r"""<table\b[^>]*(?:class="(?:[^"]*\s)?table[\s"]|id="result_list"|role=).*?</table>""", re.S)
PARTS = re.compile(r"<(?:table|thead|tbody|tfoot|tr|th|td)\b(?:{%.*?%}|{{.*?}}|[^>])*>")


def test_tables_stay_tables_where_they_turn_to_cards():
    """Which is done by `display`, and takes away what the elements mean by themselves."""
    tables = []
    for template in Path(settings.BASE_DIR, "templates").rglob("*.html"):
        for table in CARDS.findall(template.read_text()):
            tables.append(template.name)
            assert [part for part in PARTS.findall(table) if not re.search(r'\srole="', part)] == [], template
    assert len(tables) > 15
    assert "tabular.html" in tables


STOCK = (
    "/bss/", "/bss/password_change/", "/bss/subscriptions/user/add/", "/bss/subscriptions/account/add/",
    "/bss/subscriptions/sku/add/", "/bss/subscriptions/product/add/", "/bss/subscriptions/subscription/",
    "/bss/subscriptions/user/", "/bss/subscriptions/product/", "/bss/subscriptions/sku/",
)  # fmt: skip


@pytest.mark.parametrize("page", STOCK)
def test_stock_pages_keep_the_page_policy(page, administrator, rows):
    answer = administrator.get(page)
    source = answer.content.decode()
    assert answer.status_code == 200
    assert not re.search(r"<style|\sstyle=|\sonclick=|javascript:", source)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source))
    assert source.count("<h1") == 1


def test_staff_read_refusals_in_the_words_of_bss(cast, signed_in, rows):
    browser = signed_in(cast.auditor)
    refused = browser.get("/bss/subscriptions/account/add/")
    assert refused.status_code == 403
    assert "Ask an administrator of BSS." in refused.content.decode()
    missing = browser.get("/bss/subscriptions/subscription/999999/change/")
    assert missing.status_code == 404
    for answer in (refused, missing, browser.get("/bss/nowhere/")):
        assert "Seatdesk BSS" in answer.content.decode()
        assert "Owner" not in answer.content.decode()
