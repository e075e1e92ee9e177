"""The customer's list as a file: the rows that the list shows, for whom may see them, with their prices."""

import csv
import io
import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from subscriptions import clock
from subscriptions.vendors.port import Secret
from tests import many
from tests.factories import AccountFactory, MemberFactory, OrderFactory, ProductFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

LIST = "/subscriptions/"
CSV = f"{LIST}csv/"


def data_of(browser, query=""):
    answer = browser.get(CSV + query)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


def rows_of(browser, query=""):
    return list(csv.DictReader(io.StringIO(data_of(browser, query).decode("utf-8-sig"), newline="")))


@pytest.fixture
def owner(cast, signed_in):
    return signed_in(cast.owner)


def test_it_holds_what_the_list_shows(owner, cast):
    sku = SKUFactory(product=ProductFactory(name="Endpoint"), code="KL1", prices={1: "3.50", 100: "2.9988"})
    cast.acme.discount = 10
    cast.acme.save()
    active = SubscriptionFactory(account=cast.acme, sku=sku, seats=1000 // 8)
    OrderFactory(
        subscription=active, status="scheduled", action="decrease", after={"Seats": 100},
        due_at=clock.now() + timedelta(days=9),
    )  # fmt: skip
    SubscriptionFactory(account=cast.acme, sku=sku, status="cancelled")
    yearly = SubscriptionFactory(account=cast.acme, sku=SKUFactory(billing_period="year", prices={}), auto_renew=False)
    first, second, third = rows_of(owner)
    assert first == {
        "Subscription": active.number, "Product": "Endpoint", "SKU": "KL1", "Company": "Acme GmbH",
        "Status": "Active", "Seats": "125", "Planned": "The decrease to 100 seats",
        "Planned for": f"{clock.now() + timedelta(days=9):%Y-%m-%d}", "Renewal": "Renews on",
        "Renewal date": f"{active.term_end}", "Currency": "EUR", "Price per period": "337.37",
        "Months in a period": "1",
    }  # fmt: skip
    assert (second["Status"], second["Price per period"], second["Renewal date"]) == ("Cancelled", "", "")
    assert (third["Renewal"], third["Renewal date"]) == ("Not renewed, ends on", f"{yearly.term_end}")
    # There is no price for it.
    assert (third["Price per period"], third["Months in a period"]) == ("", "12")


@pytest.mark.parametrize(
    "query", ["", "?status=suspended", "?status=nonsense", "?q=cloud", "?q=Cloud&status=active", "?q=nothing+like+it"]
)
def test_the_same_search_and_status_find_the_same(query, owner, cast):
    cloud, other = SKUFactory(product=ProductFactory(name="Cloud")), SKUFactory()
    for sku in (cloud, other):
        for status in ("active", "suspended"):
            SubscriptionFactory(account=cast.acme, sku=sku, status=status)
    page = owner.get(LIST + query).content.decode()
    shown = set(re.findall(r"<small>(SUB-\d+)</small>", page))
    assert {row["Subscription"] for row in rows_of(owner, query)} == shown
    links = re.findall(r'href="([^"]*)">Download CSV</a>', page)
    assert len(links) == (1 if shown else 0)
    if links:
        assert {row["Subscription"] for row in rows_of(owner, unescape(links[0]).removeprefix(CSV))} == shown


def test_a_page_of_the_list_leads_to_all_of_it(owner, cast):
    sku = SKUFactory()
    for _ in range(30):
        SubscriptionFactory(account=cast.acme, sku=sku)
    page = owner.get(LIST).content.decode()
    [more] = re.findall(r'href="(\?after=[^"]+)"', page)
    [link] = re.findall(r'href="([^"]*)">Download CSV</a>', owner.get(LIST + more).content.decode())
    assert len(rows_of(owner, unescape(link).removeprefix(CSV))) == 30


def test_everybody_gets_their_own(cast, signed_in):
    ours, theirs = SubscriptionFactory(account=cast.acme), SubscriptionFactory(account=cast.globex)
    for role in ("owner", "manager", "buyer", "billing", "viewer"):
        assert [row["Subscription"] for row in rows_of(signed_in(cast.people[role]))] == [ours.number]
    assert [row["Subscription"] for row in rows_of(signed_in(cast.stranger))] == [theirs.number]
    assert rows_of(signed_in(cast.stranger), f"?q={ours}") == []
    assert rows_of(signed_in(cast.operator)) == []
    both = AccountFactory(name="Both")
    MemberFactory(user=cast.owner, account=both)
    third = SubscriptionFactory(account=both)
    assert {row["Subscription"] for row in rows_of(signed_in(cast.owner))} == {ours.number, third.number}


def test_no_code_and_no_formula_is_in_it(owner, cast):
    product = ProductFactory(name="=1+1")
    SubscriptionFactory(
        account=cast.acme, sku=SKUFactory(product=product), activation_code=Secret("ABCD0-EFGH1-IJKL2-MNOP3")
    )
    data = data_of(owner).decode()
    assert "MNOP3" not in data
    assert ",'=1+1," in data


def test_it_is_a_file_that_nobody_keeps(owner, cast):
    SubscriptionFactory(account=cast.acme)
    with capture_logs() as lines:
        answer = owner.get(CSV)
    assert answer.streaming
    assert re.fullmatch(r'attachment; filename="subscriptions-\d{4}-\d\d-\d\d\.csv"', answer["Content-Disposition"])
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("text/csv; charset=utf-8", "no-store")
    assert [one["user_id"] for one in lines if one["event"] == "list exported"] == [cast.owner.pk]
    assert owner.post(CSV).status_code == 405


def test_two_rows_or_two_hundred_ask_the_database_as_often(owner, cast):
    asked = []
    for count in (2, 200):
        many.subscriptions(count, ended_ago=-20)
        sku = SKUFactory()
        for _ in range(count):
            SubscriptionFactory(account=cast.acme, sku=sku)
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert len(rows_of(owner)) >= count
        asked.append(len(found))
    assert asked[0] == asked[1] <= 6
