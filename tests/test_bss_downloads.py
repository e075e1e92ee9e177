"""Lists of BSS as files: what the list finds, for whom may read it, never more."""

import csv
import io
import re
import zipfile
from html import unescape

import pytest
from django.urls import reverse
from structlog.testing import capture_logs

from subscriptions import exports
from subscriptions.admin import downloads
from subscriptions.models import Charge, Order, Subscription
from tests import many
from tests.factories import ChargeFactory, OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

MODELS = {"subscription": Subscription, "order": Order, "charge": Charge}


@pytest.fixture
def auditor(cast, signed_in):
    return signed_in(cast.auditor)


def address(model, format="csv"):
    return reverse(f"admin:subscriptions_{model}_export", args=[format])


def rows_of(answer):
    assert answer.status_code == 200
    data = b"".join(answer.streaming_content)
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def links_of(page):
    return {
        label: unescape(url)
        for url, label in re.findall(r'<a href="([^"]+)">(Download \w+)</a>', page.content.decode())
    }


@pytest.fixture
def rows(cast):
    acme = [SubscriptionFactory(account=cast.acme, status=status) for status in ("active", "active", "suspended")]
    SubscriptionFactory(account=cast.globex)
    for one in acme:
        OrderFactory(subscription=one)
        ChargeFactory(subscription=one)
    return acme


@pytest.mark.parametrize("model", MODELS)
def test_the_links_of_a_list_lead_to_all_that_it_finds(model, auditor, rows):
    listing = reverse(f"admin:subscriptions_{model}_changelist")
    for query, count in (("?q=acme", 3), (f"?q={rows[0]}", 1), ("", 4 if model == "subscription" else 3)):
        page = auditor.get(listing + query)
        links = links_of(page)
        found = rows_of(auditor.get(links["Download CSV"]))
        assert len(found) == count == len(page.context["cl"].result_list)
        assert list(found[0]) == exports.TABLES[MODELS[model]].header
        answer = auditor.get(links["Download XLSX"])
        with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as book:
            assert book.read("xl/worksheets/sheet1.xml").count(b"<row ") == count + 1


def test_filters_search_and_other_pages(auditor, rows, cast):
    listing = reverse("admin:subscriptions_subscription_changelist")
    page = auditor.get(f"{listing}?status=active&q=acme&product={rows[0].sku.product_id}&p={rows[1].pk}")
    [row] = rows_of(auditor.get(links_of(page)["Download CSV"]))
    assert row["subscription"] == rows[0].number
    # The key of a page plays no part in what is found.
    for _ in range(60):
        SubscriptionFactory(account=cast.globex)
    page = auditor.get(f"{listing}?p={rows[-1].pk + 2}&status=active")
    assert len(rows_of(auditor.get(links_of(page)["Download CSV"]))) == 63


def test_it_is_a_file_that_nobody_keeps(auditor, rows):
    answer = auditor.get(address("subscription"))
    assert answer.streaming
    assert re.fullmatch(r'attachment; filename="subscriptions-\d{4}-\d\d-\d\d\.csv"', answer["Content-Disposition"])
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]
    answer = auditor.get(address("order", "xlsx"))
    assert re.fullmatch(r'attachment; filename="orders-\d{4}-\d\d-\d\d\.xlsx"', answer["Content-Disposition"])
    assert "no-store" in answer["Cache-Control"]
    answer.close()


def test_who_took_what_is_logged(auditor, cast, rows):
    with capture_logs() as lines:
        auditor.get(address("subscription"), {"status": "active"}).close()
    [line] = [one for one in lines if one["event"] == "list exported"]
    assert (line["user_id"], line["table"], line["format"]) == (cast.auditor.pk, "subscriptions", "csv")
    assert line["words"] == {"status": "active"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_the_view_permission_is_needed(model, format, cast, signed_in, rows):
    cast.auditor.groups.clear()
    assert signed_in(cast.auditor).get(address(model, format)).status_code == 403
    assert signed_in(cast.owner).get(address(model, format)).status_code == 302


def test_it_is_only_read(auditor, rows):
    assert auditor.post(address("subscription")).status_code == 405
    assert auditor.get(address("subscription", "ods")).status_code == 404


def test_a_filter_that_cannot_be_used_is_a_page_that_says_so(auditor, rows):
    answer = auditor.get(address("subscription"), {"status": "asleep"})
    assert answer.status_code == 400
    assert "status: “asleep” is none of" in answer.content.decode()
    answer = auditor.get(address("subscription"), {"colour": "red"})
    assert answer.status_code == 400
    assert "There is no filter “colour”." in answer.content.decode()


def test_too_many_rows_for_a_workbook_lead_to_other_ways(auditor, rows, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_IN_A_WORKBOOK", 3)
    answer = auditor.get(address("subscription", "xlsx"))
    assert answer.status_code == 409
    assert "uv run manage.py export_subscriptions --out subscriptions.xlsx" in answer.content.decode()
    answer = auditor.get(address("subscription", "xlsx"), {"q": "acme"})
    assert answer.status_code == 200
    answer.close()


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_two_rows_or_two_hundred_ask_the_database_as_often(format, auditor, django_assert_num_queries):
    asked = []
    for _ in range(2):
        many.subscriptions(100, ended_ago=-20)
        with django_assert_num_queries(10 if format == "xlsx" else 7) as found:
            b"".join(auditor.get(address("subscription", format)).streaming_content)
        asked.append(len(found))
    assert asked[0] == asked[1]


def test_a_list_of_nothing_offers_no_file(auditor):
    assert "Download" not in auditor.get(reverse("admin:subscriptions_subscription_changelist")).content.decode()
