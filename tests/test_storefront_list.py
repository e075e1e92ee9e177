"""The list of subscriptions: search, status links, order, pages, empty states, number of queries."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

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


@pytest.mark.parametrize("odd", ["%F0%9F%98%80", "' OR 1=1 --", "9" * 40, "%25", "SUB-٣"])
def test_an_odd_search_finds_nothing_and_breaks_nothing(see, stock, odd):
    see(f"{PATH}?q={odd}")


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
