"""Lists of BSS: search by ID, company and order number, filters, pages by key, and how much they ask the database."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils.html import strip_tags

from subscriptions.admin.site import MODELS
from subscriptions.models import Subscription
from tests.factories import (
    AccountFactory,
    ChargeFactory,
    DriftFactory,
    OrderFactory,
    SKUFactory,
    SubscriptionFactory,
    UserFactory,
    VendorCallFactory,
)

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS = "/bss/subscriptions/subscription/"
ORDERS = "/bss/subscriptions/order/"


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def listed(browser, address, **query):
    """Keys of the rows in their order."""
    answer = browser.get(address, query)
    assert answer.status_code == 200, answer
    return [row.pk for row in answer.context["cl"].result_list]


@pytest.fixture
def rows(cast):
    sku = SKUFactory()
    acme = [SubscriptionFactory(account=cast.acme, sku=sku) for _ in range(2)]
    globex = SubscriptionFactory(account=cast.globex, status="suspended")
    return acme, globex


def test_search_by_id_company_and_order_number(operator, rows):
    [one, two], globex = rows
    order = OrderFactory(subscription=globex)
    for text in (one.number, one.number.lower(), str(one.pk), f"{one.pk:06d}", f" sub-{one.pk} "):
        assert listed(operator, SUBSCRIPTIONS, q=text) == [one.pk]
        assert operator.get("/bss/search/", {"q": text}).url == f"{SUBSCRIPTIONS}{one.pk}/change/"
    for text in (order.number, f"ord {order.pk}"):
        assert listed(operator, SUBSCRIPTIONS, q=text) == [globex.pk]
        assert listed(operator, ORDERS, q=text) == [order.pk]
        assert operator.get("/bss/search/", {"q": text}).url == f"{ORDERS}{order.pk}/change/"
    assert listed(operator, SUBSCRIPTIONS, q="acme") == [two.pk, one.pk]
    assert listed(operator, ORDERS, q="GLOBEX") == [order.pk]
    assert listed(operator, ORDERS, q=globex.number) == [order.pk]
    assert operator.get("/bss/search/", {"q": "acme"}).url == f"{SUBSCRIPTIONS}?q=acme"


@pytest.mark.parametrize("text", ["SUB-999999", "ORD-999999", "nobody", "%", "\u0661", "9" * 30, "'; --"])
def test_nothing_found_says_so(text, operator, rows):
    assert listed(operator, SUBSCRIPTIONS, q=text) == []
    assert "Nothing matches" in operator.get(SUBSCRIPTIONS, {"q": text}).content.decode()
    assert listed(operator, ORDERS, q=text) == []


def test_a_company_may_be_named_by_a_number(operator):
    company = AccountFactory(name="1001 Nights")
    subscription = SubscriptionFactory(account=company)
    assert listed(operator, SUBSCRIPTIONS, q="1001") == [subscription.pk]


def test_filters_by_status_and_product(operator, rows):
    [one, two], globex = rows
    assert listed(operator, SUBSCRIPTIONS, status="suspended") == [globex.pk]
    product = one.sku.product_id
    assert listed(operator, SUBSCRIPTIONS, product=product) == [two.pk, one.pk]
    held = OrderFactory(subscription=one, status="needs_attention")
    OrderFactory(subscription=two, action="suspend", before={"Status": "active"}, after={"Status": "suspended"})
    assert listed(operator, ORDERS, status="needs_attention") == [held.pk]
    assert listed(operator, ORDERS, action="increase") == [held.pk]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"status": "asleep"}, "status: “asleep” is none of: pending, active"),
        ({"renews_before": "1.3.2027"}, "renews_before: “1.3.2027” is no date."),
        ({"account": "Nobody"}, "account: There is no company “Nobody”."),
        ({"product": "9" * 30}, "product: There is no product"),
        ({"foo": "1"}, "There is no filter “foo”. There are: status, product"),
        ({"sku__product": "1"}, "There is no filter “sku__product”."),
    ],
)
def test_a_filter_that_cannot_be_used_is_named_and_everything_else_stays(query, said, operator, rows):
    answer = operator.get(SUBSCRIPTIONS, {**query, "sku": "KL1"})
    page = answer.content.decode()
    assert answer.context["cl"].result_list == []
    assert "This filter cannot be used" in page
    assert said in page
    assert f'value="{query.get("account", "")}"' in page
    assert 'href="?sku=KL1&amp;status=active"' in page or "status" not in query


def test_each_choice_is_a_link_that_keeps_the_others(operator, rows):
    [one, _], _ = rows
    page = operator.get(SUBSCRIPTIONS, {"status": "active", "q": "acme"}).content.decode()
    assert f'<a href="?product={one.sku.product_id}&amp;q=acme&amp;status=active">{one.sku.product}</a>' in page
    assert '<a href="?q=acme&amp;status=active" aria-current="true">Active</a>' in page
    assert 'href="?q=acme">Clear all filters' in page
    for group in ("Status", "Product"):
        assert f"<summary>{group}</summary>" in page
    several = operator.get(ORDERS, {"status": "placed,in_progress"}).content.decode()
    chosen = re.findall(r'aria-current="true">([^<]*)</a>', several.partition('<nav id="changelist-filter"')[2])
    assert chosen == ["Placed", "In progress", "All", "All", "All"]


def test_companies_and_days_are_typed(operator, rows, cast):
    [one, two], globex = rows
    page = operator.get(SUBSCRIPTIONS, {"status": "active", "account": "Acme GmbH"})
    form = page.content.decode().partition('<nav id="changelist-filter"')[2]
    assert 'name="account"' in form
    assert 'value="Acme GmbH"' in form
    assert '<input type="hidden" name="status" value="active">' in form
    assert [row.pk for row in page.context["cl"].result_list] == [two.pk, one.pk]
    assert listed(operator, SUBSCRIPTIONS, account=cast.globex.pk, status="") == [globex.pk]
    tomorrow, later = (one.period_end + timedelta(days=n) for n in (0, 1))
    assert listed(operator, SUBSCRIPTIONS, account="acme gmbh", renews_before=tomorrow) == []
    assert listed(operator, SUBSCRIPTIONS, account="acme gmbh", renews_before=later) == [two.pk, one.pk]


def test_a_subscription_leads_to_all_that_is_written_about_it(operator, rows):
    [one, two], _ = rows
    orders = [OrderFactory(subscription=one) for _ in range(2)]
    calls = [VendorCallFactory(order=order) for order in (*orders, OrderFactory(subscription=two))]
    one.events.create(account=one.account, kind="increase.placed", at=orders[0].placed_at)
    ChargeFactory(subscription=one)
    page = operator.get(f"{SUBSCRIPTIONS}{one.pk}/change/").content.decode()
    for name, written in (("order", 2), ("event", 2), ("vendorcall", 2), ("charge", 1)):
        address = reverse(f"admin:subscriptions_{name}_changelist")
        assert f'href="{address}?subscription={one.pk}"' in page
        assert len(listed(operator, address, subscription=one.pk)) == written
    calls_of_one = listed(operator, reverse("admin:subscriptions_vendorcall_changelist"), subscription=one.number)
    assert calls_of_one == [calls[1].pk, calls[0].pk]


def test_pages_by_key(operator, cast):
    sku = SKUFactory()
    keys = [SubscriptionFactory(account=cast.acme, sku=sku).pk for _ in range(120)][::-1]
    seen, address = [], SUBSCRIPTIONS
    for _ in range(3):
        answer = operator.get(address)
        changes = answer.context["cl"]
        seen += [row.pk for row in changes.result_list]
        address = SUBSCRIPTIONS + changes.next_url
    assert seen == keys
    assert changes.next_url == ""
    assert changes.first_url
    assert "Back to the first page" in answer.content.decode()
    page = operator.get(SUBSCRIPTIONS, {"status": "active", "q": "acme"})
    assert "status=active" in page.context["cl"].next_url
    assert listed(operator, SUBSCRIPTIONS, p="x")[0] == keys[0]


def fill(cast, number):
    sku = SKUFactory()
    for position in range(number):
        account = AccountFactory() if position % 2 else cast.acme
        subscription = SubscriptionFactory(account=account, sku=sku)
        order = OrderFactory(
            subscription=subscription, actor=cast.owner, status="placed" if position % 3 else "completed"
        )
        VendorCallFactory(order=order)
        subscription.events.create(account=account, order=order, kind="increase.placed", at=order.placed_at)


LISTS = {
    SUBSCRIPTIONS: 7,
    f"{SUBSCRIPTIONS}?q=acme": 8,
    f"{SUBSCRIPTIONS}?status=active": 7,
    ORDERS: 5,
    "/bss/subscriptions/event/": 5,
    "/bss/subscriptions/vendorcall/": 5,
    "/bss/subscriptions/account/": 5,
    "/bss/subscriptions/account/?q=company": 6,
    "/bss/subscriptions/user/": 5,
    "/bss/subscriptions/user/?q=acme": 6,
    "/bss/subscriptions/charge/": 5,
}


@pytest.mark.parametrize("address", LISTS)
def test_two_rows_or_two_hundred_ask_the_database_as_often(
    address, cast, signed_in, django_assert_num_queries, django_assert_max_num_queries
):
    operator = signed_in(cast.operator)
    fill(cast, 2)
    with django_assert_num_queries(LISTS[address]):
        assert operator.get(address).status_code == 200
    fill(cast, 200)
    with django_assert_num_queries(LISTS[address]) as asked:
        assert operator.get(address).status_code == 200
    statements = " ".join(one["sql"].upper() for one in asked.captured_queries)
    assert "COUNT(" not in statements
    assert "DISTINCT" not in statements
    assert "OFFSET" not in statements


# A narrow page shows each row as a card, which needs both.
def test_each_cell_says_its_column_and_the_first_one_heads_its_row(cast, signed_in):
    fill(cast, 2)
    ChargeFactory(subscription=Subscription.objects.first())
    DriftFactory(subscription=Subscription.objects.first())
    SKUFactory(name="<b>")
    browser = signed_in(UserFactory(is_staff=True, is_superuser=True))
    seen = set()
    for model in MODELS:
        page = browser.get(reverse(f"admin:subscriptions_{model.lower()}_changelist")).content.decode()
        if 'id="result_list"' not in page:
            continue
        seen.add(model)
        head, rows = page.partition('id="result_list"')[2].split("</thead>")
        columns = re.findall(r'role="columnheader"[^>]*>\s*<(?:a|span)[^>]*>(.*?)</(?:a|span)>\s*</th>', head)
        heading = 1 if "Choose" in columns[0] else 0
        for row in rows.partition("</table>")[0].split('<tr role="row">')[1:]:
            assert row.count('<th scope="row" role="rowheader"') == row.count("<th") == 1, model
            labels = re.findall(r'<td role="cell" data-label="([^"]*)"', row)
            assert labels == [strip_tags(name) for place, name in enumerate(columns) if place != heading], model
    assert seen >= {
        "Subscription",
        "Order",
        "Drift",
        "Account",
        "User",
        "Product",
        "SKU",
        "Charge",
        "Event",
        "VendorCall",
    }


def test_what_a_stock_list_cannot_read_is_said(operator):
    answer = operator.get("/bss/subscriptions/account/", {"foo": "1"}, follow=True)
    assert answer.redirect_chain == [("/bss/subscriptions/account/?e=1", 302)]
    assert "asked for a filter that this list does not have" in answer.content.decode()


def test_without_the_view_permission_there_is_no_list(cast, signed_in):
    cast.auditor.groups.clear()
    browser = signed_in(cast.auditor)
    for address in LISTS:
        assert browser.get(address).status_code == 403
    assert "You are in no staff group" in browser.get("/bss/").content.decode()


def test_customers_are_led_to_the_sign_in(cast, signed_in, client):
    for browser in (client, signed_in(cast.owner)):
        for address in ("/bss/", "/bss/search/?q=1", *LISTS):
            answer = browser.get(address)
            assert answer.status_code == 302
            assert "login" in answer.url


def test_the_start_page_leads_to_what_this_person_may_see(operator):
    page = operator.get("/bss/").content.decode()
    for name in ("subscription", "order", "account", "user", "product", "sku", "event", "vendorcall", "vendorstate"):
        assert f'href="{reverse(f"admin:subscriptions_{name}_changelist")}' in page
