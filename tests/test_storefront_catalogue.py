"""The catalogue and the page of a product: what is listed, its prices for the seats asked for, pages, queries."""

import re
from decimal import Decimal
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions.models import Account, PriceBand
from tests.factories import AccountFactory, MemberFactory, PriceBandFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

PATH = "/catalogue/"


def text(page: str) -> str:
    """What is read on a page."""
    main = page.split("<main")[1].split("</main>")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main)))


@pytest.fixture
def see(signed_in, cast):
    client = signed_in(cast.owner)

    def get(path: str = PATH, **query: object) -> str:
        answer = client.get(path, query)
        assert answer.status_code == 200
        return answer.content.decode()

    return get


def product_page(sku):
    return reverse("storefront:product", args=[sku.product_id])


def products(page: str) -> list[str]:
    return re.findall(r'<h2>\s*<a href="/catalogue/\d+/[^"]*">([^<]+)</a>', page)


# --- what is listed --------------------------------------------------------------------------------------------------


def test_listed_is_what_can_be_bought_in_the_companys_currency(see, cast):
    sold = SKUFactory(product__name="Sold")
    SKUFactory(product__name="Product not sold", product__is_sold=False)
    SKUFactory(product__name="SKU not sold", is_sold=False)
    SKUFactory(product__name="No price", prices={})
    SKUFactory(product__name="Beyond its range", seats_max=50, prices={51: "1.00"})
    PriceBandFactory(sku=SKUFactory(product__name="Other currency", prices={}), currency="USD")
    SKUFactory(product=sold.product, name="Twin that is not sold", is_sold=False)
    page = see()
    assert products(page) == ["Sold"]
    assert "Twin" not in page
    Account.objects.filter(pk=cast.acme.pk).update(currency="USD")
    assert products(see()) == ["Other currency"]


def test_without_a_price_list_it_says_so(see):
    SKUFactory(prices={})
    assert "Nothing is sold in your currency yet" in see()


def test_a_person_without_a_company_is_told_whom_to_ask(signed_in, cast):
    SKUFactory()
    page = signed_in(cast.support).get(PATH).content.decode()
    assert "You are in no account yet" in page
    assert products(page) == []


# --- prices ----------------------------------------------------------------------------------------------------------


def test_prices_for_the_seats_that_are_asked_for(see):
    SKUFactory(name="Small", seats_min=5, seats_max=20, prices={5: "2.00"})
    SKUFactory(name="Middle", seats_min=5, seats_max=500, prices={5: "2.10", 25: "1.90"})
    SKUFactory(name="Large", seats_min=50, seats_max=500, prices={50: "1.50"})
    SKUFactory(name="Gap", seats_min=5, seats_max=500, prices={100: "1.00"})
    page = text(see(seats="25"))
    assert "Middle 5 to 500 seats EUR 47.50 a month 25 seats, EUR 1.90 each" in page
    assert "Small 5 to 20 seats At most 20 seats." in page
    assert "Large 50 to 500 seats Starts at 50 seats." in page
    assert "Gap 5 to 500 seats There is no price for 25 seats in EUR. Ask your distributor." in page


def test_without_a_number_the_smallest_one_that_has_a_price_is_shown(see):
    SKUFactory(name="Middle", prices={5: "2.10", 25: "1.90"})
    SKUFactory(name="Gap", prices={100: "1.00"})
    page = text(see())
    assert "EUR 10.50 a month 5 seats, EUR 2.10 each" in page
    assert "EUR 100.00 a month 100 seats, EUR 1.00 each" in page


@pytest.mark.parametrize(
    ("currency", "price", "discount", "amount", "each"),
    [
        ("EUR", "1.90", "12.5", "EUR 41.56", "EUR 1.6625"),
        ("JPY", "351", "12.5", "JPY 7,678", "JPY 307.125"),
        ("KWD", "1.111", "12.5", "KWD 24.303", "KWD 0.972125"),
    ],
)
def test_the_discount_and_the_currency_of_the_company(see, cast, currency, price, discount, amount, each):
    Account.objects.filter(pk=cast.acme.pk).update(currency=currency, discount=discount)
    sku = SKUFactory(prices={})
    PriceBand.objects.create(sku=sku, currency=currency, seats_from=5, price=price)
    for path in (PATH, product_page(sku)):
        page = text(see(path, seats="25"))
        assert f"{amount} a month 25 seats, {each} each" in page
    assert "Your discount of 12.5 % is taken off." in page
    assert "with your discount of 12.5 % taken off" in text(see())
    assert re.search(rf"5 to 500 {currency} [\d.,]+ {each}", page)


def test_a_yearly_sku_is_priced_by_the_year(see):
    SKUFactory(billing_period="year", prices={5: "20.00"})
    assert "EUR 500.00 a year" in text(see(seats="25"))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("1e3", "“1e3” is not a number of seats. Enter one such as 25."),
        ("-1", "“-1” is not a number of seats. Enter one such as 25."),
        ("٣٠", "“٣٠” is not a number of seats. Enter one such as 25."),
        ("0", "Enter at least 1 seat."),
        ("000", "Enter at least 1 seat."),
        ("ten", "“ten” is not a number of seats. Enter one such as 25."),
    ],
)
def test_what_is_no_number_of_seats_is_said_and_kept(see, typed, sentence):
    sku = SKUFactory(prices={5: "2.10"})
    for path in (PATH, product_page(sku)):
        page = see(path, seats=typed)
        assert f'value="{typed}"' in page
        summary, beside = re.findall(rf"(?:#id_seats\">|Error: </span>)({re.escape(sentence)})<", unescape(page))
        assert summary == beside
        assert "<title>Error: " in page
        assert "EUR 10.50 a month" in text(page)


@pytest.mark.parametrize("typed", ["1" + "0" * 30, "9" * 9, "501"])
def test_more_seats_than_anything_allows(see, typed):
    SKUFactory()
    assert "At most 500 seats." in text(see(seats=typed))


# --- several companies -----------------------------------------------------------------------------------------------


@pytest.fixture
def second(cast):
    """Another company of the owner's, with prices in yen."""
    account = AccountFactory(name="Zen KK", currency="JPY", discount=Decimal(50))
    MemberFactory(account=account, user=cast.owner, role="owner")
    return account


def test_prices_are_those_of_the_chosen_company(see, cast, second):
    sku = SKUFactory(prices={5: "2.10"})
    PriceBandFactory(sku=sku, currency="JPY", price="300")
    assert "EUR 10.50 a month" in text(see())
    page = see(account=second.pk, seats="10")
    assert "JPY 1,500 a month" in text(page)
    assert re.search(rf'<option value="{second.pk}" selected>', page)
    # The way to a product keeps the company and the number.
    way = unescape(re.search(r'<h2>\s*<a href="([^"]+)"', page)[1])
    assert "JPY 1,500 a month" in text(see(way))


def test_a_company_of_somebody_else_does_not_exist(signed_in, cast, second):
    client, sku = signed_in(cast.owner), SKUFactory()
    for path in (PATH, product_page(sku), reverse("storefront:start", args=[sku.pk])):
        for account in (cast.globex.pk, "9" * 30, "x", "-1", "٣"):
            assert client.get(path, {"account": account}).status_code == 404
        assert client.get(path, {"account": second.pk}).status_code == 200


# --- the page of a product -------------------------------------------------------------------------------------------


def test_bands_within_the_range_with_both_prices(see, cast):
    Account.objects.filter(pk=cast.acme.pk).update(discount=10)
    sku = SKUFactory(seats_min=10, seats_max=100, prices={1: "4.00", 25: "3.00", 100: "2.00", 101: "1.00"})
    page = text(see(product_page(sku), seats="30"))
    assert "10 to 24 EUR 4.00 EUR 3.60 25 to 99 EUR 3.00 EUR 2.70 100 EUR 2.00 EUR 1.80 " in page
    assert "EUR 1.00" not in page


def test_seats_below_the_first_band_have_no_price(see):
    page = text(see(product_page(SKUFactory(prices={10: "3.00"}))))
    assert "5 to 9 No price 10 to 500 EUR 3.00" in page


@pytest.mark.parametrize(
    ("rules", "sentences"),
    [
        (
            {"decrease_policy": "next_period", "term_months": 1, "grace_days": 1},
            (
                "Once a month, in advance.",
                "1 month. Renews by itself for 1 month more, until you switch that off; then it ends with its term, "
                "and can be renewed for 1 day after it.",
                "You pay for the added seats by the days left in the billing period.",
                "From the next billing period on, with no credit for the current one.",
                "At the end of the billing period, or at once, with no credit for a started one.",
                "No new billing period is charged while your distributor suspends it.",
            ),
        ),
        (
            {
                "billing_period": "year", "term_months": 24, "grace_days": 0, "increase_policy": "full_period",
                "decrease_policy": "immediate_credit", "cancel_credit": "by_days", "bills_while_suspended": True,
                "cancel_needs_approval": True,
            },
            (
                "Once a year, in advance.",
                "24 months. Renews by itself for 24 months more, until you switch that off; then it ends with its "
                "term. ",
                "You pay for the added seats for the full billing period.",
                "At once, with a credit by the days left in the billing period.",
                "or at once, with a credit by the days left in it. Your distributor decides about it.",
                "Billing goes on while your distributor suspends it.",
            ),
        ),
        (
            {"increase_policy": "high_water", "decrease_policy": "immediate_no_credit"},
            (
                "Each billing period is charged at the highest number of seats in it.",
                "At once, with no credit for the current billing period.",
            ),
        ),
        (
            {"seat_change": "unsupported"},
            ("Not possible: the licence service cannot change the number of seats later.",),
        ),
    ],
)  # fmt: skip
def test_what_is_agreed_follows_the_rules_of_the_sku(see, rules, sentences):
    page = text(see(product_page(SKUFactory(**rules))))
    for sentence in sentences:
        assert sentence in page


def test_approval_is_said_with_its_amounts(see):
    sku = SKUFactory(cancel_needs_approval=True)
    sku.approval_limits.create(orders_from="800", cancels_under="50")
    sku.approval_limits.create(currency="USD", orders_from="1", cancels_under="1")
    page = text(see(product_page(sku)))
    assert "Your distributor decides first about orders of EUR 800.00 or more." in page
    assert "Your distributor decides about it where a period costs EUR 50.00 or more." in page


def test_a_trial_is_offered_once(see, cast):
    sku = SKUFactory(trial_days=30)
    assert "Try it free for 30 days" in see(product_page(sku))
    SubscriptionFactory(account=cast.globex, sku=sku, trial_of=sku.product)
    assert "Try it free" in see(product_page(sku))
    SubscriptionFactory(account=cast.acme, sku=sku, trial_of=sku.product, status="cancelled")
    page = see(product_page(sku))
    assert "Try it free" not in page
    assert "Buy a subscription" in page


@pytest.mark.parametrize("role", ["billing", "viewer"])
def test_who_may_not_buy_reads_whom_to_ask(signed_in, cast, role):
    page = text(signed_in(cast.people[role]).get(product_page(SKUFactory())).content.decode())
    assert "Only people with the Owner, Manager or Buyer role can buy subscriptions. Ask Ana Kos." in page
    assert "Buy a subscription" not in page


def test_the_way_to_buy_keeps_a_number_that_is_possible(see):
    sku = SKUFactory(seats_min=5)
    start = reverse("storefront:start", args=[sku.pk])
    assert f'href="{start}?seats=30"' in see(product_page(sku), seats="30")
    assert f'href="{start}?seats=5"' in see(product_page(sku), seats="3")
    assert f'href="{start}?seats=5"' in see(product_page(sku), seats="rubbish")


def test_a_variant_without_a_price_is_not_sold_here(see):
    sku = SKUFactory()
    SKUFactory(product=sku.product, name="Variant in dollars", prices={})
    page = see(product_page(sku))
    assert "There is no price in EUR. Ask your distributor." in text(page)
    assert page.count("Buy a subscription") == 1


def test_a_product_that_is_not_sold_does_not_exist(signed_in, cast):
    client = signed_in(cast.owner)
    assert client.get(product_page(SKUFactory(product__is_sold=False))).status_code == 404
    sku = SKUFactory(is_sold=False)
    assert "Not sold just now" in client.get(product_page(sku)).content.decode()


# --- search and pages ------------------------------------------------------------------------------------------------


def test_pages_by_key_show_each_product_once_and_search_appears_with_the_second(see):
    names = [f"Product {number:02d}" for number in range(25)]
    for name in names:
        SKUFactory(product__name=name)
    assert 'type="search"' not in see()
    names += ["product 7½", "Ångström", "Ünit & Söhne", "100 % cover"]
    for name in names[25:]:
        SKUFactory(product__name=name)
    page, seen = see(seats="25"), []
    assert 'type="search"' in page
    while True:
        seen += [unescape(name) for name in products(page)]
        more = re.search(r'href="([^"]*)"\s+rel="next"', page)
        if not more:
            break
        page = see(PATH + unescape(more[1]))
        assert 'value="25"' in page
    assert sorted(seen) == sorted(names)


def test_search_by_name(see):
    for number in range(30):
        SKUFactory(product__name=f"Product {number:02d}")
    SKUFactory(product__name="Hybrid Cloud")
    assert products(see(q="hybrid cl")) == ["Hybrid Cloud"]
    assert "Nothing matches" in see(q="no such thing")
    assert "Nothing after that" in see(after="zzzz")


@pytest.mark.parametrize("odd", ["' OR 1=1 --", "%", "_", "\U0001f600", "9" * 300])
def test_odd_keys_and_words_break_nothing(see, odd):
    SKUFactory()
    assert "Nothing matches" in see(q=odd)
    see(after=odd)


def test_the_same_number_of_queries_for_2_products_and_for_200(signed_in, cast):
    client = signed_in(cast.owner)

    def queries(path):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(path, {"seats": "25"}).status_code == 200
        return len(captured)

    few_skus = [SKUFactory(trial_days=30) for _ in range(2)]
    few = queries(PATH), queries(product_page(few_skus[0]))
    for _ in range(60):
        SKUFactory(prices={5: "2.00", 25: "1.50"})
    for _ in range(20):
        SKUFactory(product=few_skus[0].product, prices={5: "2.00", 25: "1.50"})
    assert (queries(PATH), queries(product_page(few_skus[0]))) == few
    # Of them 2 are the session and the person.
    assert few[0] <= 6
    assert few[1] <= 9
