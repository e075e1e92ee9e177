"""The list of subscriptions: search, status links, order, pages, empty states, number of queries."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock
from subscriptions.models import PriceBand
from subscriptions.storefront import listed
from tests import factories

PATH = "/subscriptions/"


@pytest.fixture
def see(signed_in, cast):
    client = signed_in(cast.owner)

    def get(path: str = PATH) -> str:
        answer = client.get(path)
        assert answer.status_code == 200
        return answer.content.decode()

    return get


def numbers(page: str) -> list[str]:
    """Subscription IDs of the rows, in order."""
    return re.findall(r"<small>(SUB-\d+)</small>", page)


def test_what_needs_attention_comes_first_and_what_is_over_last(see, cast, stock):
    waiting = factories.SubscriptionFactory(account=cast.acme, sku=stock.active.sku)
    factories.OrderFactory(subscription=waiting, status="needs_attention")
    newest = factories.SubscriptionFactory(account=cast.acme, sku=stock.active.sku)
    expected = [waiting, stock.failed, stock.suspended, newest, stock.active, stock.pending, stock.cancelled]
    assert numbers(see()) == [one.number for one in expected]


def test_status_links_count_and_filter(see, cast, stock):
    factories.SubscriptionFactory(account=cast.acme, sku=stock.active.sku)
    page = re.sub(r"\s+", " ", see())
    assert 'All <span class="count">6</span>' in page
    assert 'Active <span class="count">2</span>' in page
    assert numbers(see(f"{PATH}?status=suspended")) == [stock.suspended.number]
    assert len(numbers(see(f"{PATH}?status=nonsense"))) == 6


def test_what_is_many_is_not_counted_to_the_end(see, stock, cast, monkeypatch):
    monkeypatch.setattr(listed, "COUNTED", 2)
    for _ in range(2):
        factories.SubscriptionFactory(account=cast.acme, sku=stock.active.sku)
    page = re.sub(r"\s+", " ", see())
    assert 'Active <span class="count">2+</span>' in page
    assert 'Suspended <span class="count">1</span>' in page
    assert 'All <span class="count">6+</span>' in page


def test_each_status_pages_in_the_order_of_the_whole(see, cast, monkeypatch):
    monkeypatch.setattr(listed, "PAGE", 4)
    sku, made = factories.SKUFactory(), []
    for status in ("active", "cancelled", "suspended", "ending", "expired", "failed", "pending") * 2:
        made.append(factories.SubscriptionFactory(account=cast.acme, sku=sku, status=status))
        made.append(factories.SubscriptionFactory(account=cast.acme, sku=sku, status=status))
        if status in ("active", "cancelled", "suspended"):
            factories.OrderFactory(subscription=made[-1], status="needs_attention")

    def rank(one):
        waits = one.orders.exists()
        return 0 if waits or one.status in ("failed", "suspended", "expired") else 2 if one.status == "cancelled" else 1

    def walk(path):
        seen = []
        while path:
            page = see(path)
            seen += numbers(page)
            following = re.search(r'href="(\?[^"]*)"\s+rel="next"', page)
            path = PATH + following[1].replace("&amp;", "&") if following else None
        return seen

    made.sort(key=lambda one: (rank(one), -one.pk))
    assert walk(PATH) == [one.number for one in made]
    for status in ("active", "cancelled", "suspended"):
        assert walk(f"{PATH}?status={status}") == [one.number for one in made if one.status == status]


@pytest.mark.parametrize("how", ["SUB-{pk:06d}", "sub-{pk}", "{pk}", " SUB-{pk:06d} "])
def test_search_by_id(see, stock, how):
    found = numbers(see(f"{PATH}?q={how.format(pk=stock.active.pk)}"))
    assert stock.active.number in found
    assert len(found) <= 2


def test_search_by_order_number_and_by_product(see, cast, stock):
    special = factories.SubscriptionFactory(
        account=cast.acme, sku=factories.SKUFactory(product__name="Hybrid Cloud Security Server")
    )
    order = factories.OrderFactory(subscription=stock.pending, status="placed")
    assert numbers(see(f"{PATH}?q={order.number}")) == [stock.pending.number]
    assert numbers(see(f"{PATH}?q=hybrid cloud")) == [special.number]
    assert len(numbers(see(f"{PATH}?q=gmbh ac"))) == 6
    assert numbers(see(f"{PATH}?q=globex")) == []


@pytest.mark.parametrize("odd", ["%F0%9F%98%80", "' OR 1=1 --", "9" * 40, "%25", "SUB-٣"])
def test_an_odd_search_finds_nothing_and_breaks_nothing(see, stock, odd):
    assert numbers(see(f"{PATH}?q={odd}")) == []


def test_an_open_order_is_named_beside_the_status(see, subscription):
    factories.OrderFactory(subscription=subscription, status="in_progress", before={"Seats": 25}, after={"Seats": 30})
    assert "increasing to 30" in see()


def test_pages_by_key_show_each_row_once(see, cast):
    sku = factories.SKUFactory()
    made = [
        factories.SubscriptionFactory(account=cast.acme, sku=sku, status=status)
        for status in ["active", "suspended", "cancelled"] * 20
    ]
    seen, path = [], PATH
    while path:
        page = see(path)
        seen += numbers(page)
        following = re.search(r'href="(\?[^"]*)"\s+rel="next"', page)
        path = PATH + following[1].replace("&amp;", "&") if following else None
    assert len(seen) == len(set(seen)) == len(made)


def test_a_damaged_key_is_the_first_page(see, stock):
    assert len(numbers(see(f"{PATH}?after=7-x"))) == 5


def test_three_different_empty_states(signed_in, cast, see, db):
    assert "No subscriptions yet" in see()
    assert "Nothing matches" in see(f"{PATH}?q=zzz")
    nobody = factories.UserFactory()
    assert "You are in no account yet" in signed_in(nobody).get(PATH).content.decode()


def test_nothing_of_another_account_is_listed_or_counted(signed_in, cast, stock):
    assert numbers(signed_in(cast.stranger).get(PATH).content.decode()) == []


def test_members_of_several_accounts_see_the_company(signed_in, cast, stock):
    factories.MemberFactory(user=cast.owner, account=cast.globex)
    page = signed_in(cast.owner).get(PATH).content.decode()
    assert "2 companies" in page
    assert 'data-label="Company"' in page


def test_the_list_runs_the_same_few_queries_for_2_rows_and_for_200(signed_in, cast):
    client, sku, counts = signed_in(cast.owner), factories.SKUFactory(), []
    for size in (2, 200):
        for _ in range(size):
            one = factories.SubscriptionFactory(account=cast.acme, sku=sku)
            factories.OrderFactory(subscription=one, status="placed")
            factories.OrderFactory(subscription=one, status="scheduled")
        with CaptureQueriesContext(connection) as ran:
            assert client.get(PATH).status_code == 200
        counts.append(len(ran))
    assert counts[0] == counts[1] <= 8


def test_the_way_to_buy_is_for_those_who_may(signed_in, cast, subscription):
    for role in ("owner", "manager", "buyer", "billing", "viewer"):
        page = signed_in(cast.people[role]).get(PATH).content.decode()
        assert ("Buy a subscription" in page) == (role in ("owner", "manager", "buyer"))


def test_an_empty_list_leads_to_the_catalogue(see):
    assert re.search(r'href="/catalogue/">See what is sold</a>', see())


def cells(page: str, number: str) -> dict[str, str]:
    """The row of a subscription: what stands in its columns."""
    [row] = [
        one for one in re.findall(r'<tr role="row">.*?</tr>', page, re.DOTALL) if f"<small>{number}</small>" in one
    ]
    found = re.findall(r'data-label="([^"]*)">(.*?)</td>', row, re.DOTALL)
    return {name: " ".join(unescape(re.sub(r"<[^>]*>", " ", words)).split()) for name, words in found}


BEGAN = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "renewal", "price"),
    [
        ({}, "31 Mar 2027", "EUR 87.50 a month"),
        ({"auto_renew": False}, "Not renewed, ends on 31 Mar 2027", "EUR 87.50 a month"),
        ({"status": "suspended"}, "31 Mar 2027", "EUR 87.50 a month"),
        (
            {"status": "ending", "ends_at": datetime(2026, 4, 30, tzinfo=UTC)},
            "Ends on 30 Apr 2026",
            "EUR 87.50 a month",
        ),
        (
            {"status": "expired", "ends_at": datetime(2027, 3, 31, tzinfo=UTC), "grace_ends": date(2027, 4, 14)},
            "Can be renewed until 13 Apr 2027",
            "EUR 87.50 a month",
        ),
        (
            {"status": "expired", "ends_at": BEGAN, "grace_ends": date(2026, 3, 31), "suspended_at": BEGAN},
            "Over",
            "EUR 87.50 a month",
        ),
        ({"trial_ends": date(2026, 4, 30)}, "Trial until 30 Apr 2026", "Free trial"),
        ({"status": "pending"}, "Not started yet", "EUR 87.50 a month"),
        ({"status": "cancelled"}, "None", None),
        ({"status": "failed"}, "None", None),
    ],
)
def test_each_row_says_what_becomes_of_the_term_and_what_a_period_costs(see, cast, fields, renewal, price):
    one = factories.SubscriptionFactory(account=cast.acme, created_at=BEGAN, **fields)
    row = cells(see(), one.number)
    assert row["Next renewal"] == renewal
    assert row.get("Price") == price
    assert row["Seats"] == "25"


def test_the_planned_number_stands_below_the_seats(see, cast, subscription):
    factories.OrderFactory(
        subscription=subscription, action="decrease", status="scheduled", before={"Seats": 25}, after={"Seats": 20},
        due_at=datetime(2027, 2, 28, 23, 30, tzinfo=UTC),
    )  # fmt: skip
    assert cells(see(), subscription.number)["Seats"] == "25 20 from 28 Feb 2027"
    cast.acme.time_zone = "Europe/Ljubljana"
    cast.acme.save()
    assert cells(see(), subscription.number)["Seats"] == "25 20 from 1 Mar 2027"


def test_prices_are_those_of_the_account(see, cast):
    cast.acme.currency, cast.acme.discount = "JPY", 10
    cast.acme.save()
    sku = factories.SKUFactory()
    PriceBand.objects.create(sku=sku, currency="JPY", seats_from=1, price=500)
    PriceBand.objects.create(sku=sku, currency="JPY", seats_from=20, price=400)
    one = factories.SubscriptionFactory(account=cast.acme, sku=sku)
    assert cells(see(), one.number)["Price"] == "JPY 9,000 a month"


def test_what_has_no_price_says_so(see, cast):
    one = factories.SubscriptionFactory(account=cast.acme, sku=factories.SKUFactory(prices={}))
    assert cells(see(), one.number)["Price"] == "No price"


def test_an_expired_one_needs_attention(see, cast, stock):
    expired = factories.SubscriptionFactory(
        account=cast.acme, sku=stock.active.sku, status="expired", grace_ends=clock.now().date() + timedelta(days=9)
    )
    assert numbers(see())[0] == expired.number
