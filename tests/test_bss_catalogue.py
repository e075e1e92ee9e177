"""Products and SKUs: who may change them, and what a narrowed range does to running subscriptions."""

import pytest
from django.forms.models import model_to_dict
from django.urls import reverse

from subscriptions.models import SKU, PriceBand, Product, Subscription
from tests.factories import PriceBandFactory, SKUFactory, SubscriptionFactory, UserFactory

pytestmark = pytest.mark.django_db


def url(model, page, *arguments):
    return reverse(f"admin:subscriptions_{model}_{page}", args=arguments)


@pytest.fixture
def manager(cast, signed_in):
    return signed_in(cast.catalogue_manager)


def form(sku, bands=(), limits=(), targets=(), **more):
    fields = model_to_dict(sku, exclude=["id", "change_targets"])
    given = {name: value for name, value in fields.items() if value is not False}
    rows = {}
    for prefix, found in (("price_bands", bands), ("approval_limits", limits), ("targets", targets)):
        rows[f"{prefix}-TOTAL_FORMS"] = len(found)
        rows[f"{prefix}-INITIAL_FORMS"] = sum(1 for one in found if one.get("id"))
        for number, row in enumerate(found):
            rows |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
    return {**given, **rows, **more}


def test_a_product_and_a_sku_with_prices(manager):
    manager.post(url("product", "add"), {"vendor": "kaspersky", "name": "Cloud Pro", "is_sold": "on"})
    product = Product.objects.get(name="Cloud Pro")
    bands = [
        {"currency": "EUR", "seats_from": 5, "price": "3.10"},
        {"currency": "EUR", "seats_from": 50, "price": "2.40"},
    ]
    new = form(
        SKU(product=product, code="KL9", name="Cloud Pro, 1 year", vendor_product_id="X9", seats_min=5, seats_max=99),
        bands,
    )
    manager.post(url("sku", "add"), new)
    assert SKU.objects.get().price_bands.count() == 2


def test_the_vendor_must_be_known(manager):
    answer = manager.post(url("product", "add"), {"vendor": "acme", "name": "Cloud Pro"})
    assert "is no vendor of this portal" in answer.content.decode()
    assert not Product.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"seats_min": 9, "seats_max": 8}, "seats_max", "The largest number of seats must be at least the smallest"),
        (
            {"billing_period": "year", "term_months": 18},
            "term_months",
            "A SKU that is billed by the year has a term of 12, 24, 36, ... months.",
        ),
        (
            {"increase_policy": "high_water", "decrease_policy": "immediate_credit"},
            "decrease_policy",
            "A period billed at its highest count cannot give a credit for a decrease.",
        ),
        ({"term_months": 0}, "term_months", "Ensure this value is greater than or equal to 1."),
    ],
)
def test_rules_of_the_database_are_sentences_beside_their_fields(wrong, field, sentence, manager):
    sku = SKUFactory()
    page = manager.post(url("sku", "change", sku.pk), form(sku, **wrong)).content.decode()
    assert sentence in page[: page.index("<h1")]
    assert f'href="#id_{field}"' in page[: page.index("<h1")]
    beside = page.split(f'id="id_{field}_error"')[1]
    assert sentence in beside[: beside.index("</ul>")]
    assert SKU.objects.get(pk=sku.pk).seats_min == 5


def test_everything_of_a_sku_can_be_set(manager):
    sku = SKUFactory()
    new = {
        "billing_period": "year", "term_months": 24, "trial_days": 14, "grace_days": 7, "seat_change": "unsupported",
        "cancel_needs_approval": "on", "increase_policy": "full_period", "decrease_policy": "immediate_credit",
        "bills_while_suspended": "on", "cancel_credit": "by_days",
    }  # fmt: skip
    manager.post(url("sku", "change", sku.pk), form(sku, **new))
    saved = model_to_dict(SKU.objects.get(pk=sku.pk))
    assert {name: saved[name] for name in new} == {
        name: True if value == "on" else value for name, value in new.items()
    }


def test_limits_and_what_it_can_change_to(manager):
    sku, larger = SKUFactory(), SKUFactory(seats_min=100, seats_max=9000)
    page = manager.get(url("sku", "change", sku.pk)).content.decode()
    assert f"{larger.name} ({larger.code}), 100 to 9,000 seats" in page
    limit = {"currency": "eur", "orders_from": "5000", "cancels_under": ""}
    manager.post(
        url("sku", "change", sku.pk), form(sku, limits=[limit], targets=[{"target": larger.pk, "timing": "renewal"}])
    )
    saved = sku.approval_limits.get()
    assert (saved.currency, saved.orders_from, saved.cancels_under) == ("EUR", 5000, None)
    assert [(one.target, one.timing) for one in sku.targets.all()] == [(larger, "renewal")]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"bands": [{"currency": "EUX", "seats_from": 1, "price": "1"}]}, "“EUX” is no currency."),
        ({"bands": [{"currency": "EUR", "seats_from": 1, "price": "-1"}]}, "A price is at least 0."),
        (
            {"bands": [{"currency": "EUR", "seats_from": 1, "price": "1"}] * 2},
            "Two rows have the same currency and seats from. Keep one of them.",
        ),
        ({"limits": [{"currency": "EUR", "orders_from": "-5"}]}, "greater than or equal to 0"),
        ({"limits": [{"currency": "EUR"}] * 2}, "Two rows have the same currency. Keep one of them."),
    ],
)
def test_wrong_rows_are_said_in_sentences(rows, sentence, manager):
    sku = SKUFactory(prices={})
    for row in (one for found in rows.values() for one in found if "orders_from" not in one and "price" not in one):
        row["orders_from"] = "1"
    page = manager.post(url("sku", "change", sku.pk), form(sku, **rows)).content.decode()
    assert sentence in page[: page.index("<h1")]
    assert not sku.price_bands.exists()
    assert not sku.approval_limits.exists()


def test_a_target_is_another_sku_of_the_same_vendor(manager):
    sku, strange = SKUFactory(), SKUFactory(product__vendor="other")
    for target, sentence in ((sku, "A SKU does not change to itself."), (strange, "is of another vendor (other).")):
        answer = manager.post(url("sku", "change", sku.pk), form(sku, targets=[{"target": target.pk, "timing": "now"}]))
        assert sentence in answer.content.decode()
    twice = [{"target": SKUFactory().pk, "timing": "now"}] * 2
    answer = manager.post(url("sku", "change", sku.pk), form(sku, targets=twice))
    assert "Two rows have the same target. Keep one of them." in answer.content.decode()
    assert not sku.targets.exists()


def test_a_product_that_asks_for_company_details(manager):
    given = {"vendor": "kaspersky", "name": "Cloud Pro", "needs_company_details": "on"}
    manager.post(url("product", "add"), given)
    assert Product.objects.get().needs_company_details


def test_what_is_wrong_stands_above_the_heading_with_links_to_the_fields(manager):
    sku = SKUFactory()
    band = {"currency": "EUR", "seats_from": "many", "price": "3.10"}
    page = manager.post(url("sku", "change", sku.pk), form(sku, [band], seats_min="")).content.decode()
    summary = page[page.index("There is a problem") : page.index("<h1")]
    assert 'href="#id_seats_min"' in summary
    assert 'href="#id_price_bands-0-seats_from"' in summary


def test_a_narrowed_range_leaves_running_subscriptions_alone_and_lists_them(manager):
    sku = SKUFactory(seats_min=5, seats_max=500)
    outside = SubscriptionFactory(sku=sku, seats=400)
    SubscriptionFactory(sku=sku, seats=50)
    SubscriptionFactory(sku=sku, seats=450, status="cancelled")
    answer = manager.post(url("sku", "change", sku.pk), form(sku, seats_max=100), follow=True)
    page = answer.content.decode()
    assert "1 running subscription has a number of seats outside 5 to 100." in page
    assert Subscription.objects.get(pk=outside.pk).seats == 400
    page = manager.get(url("sku", "change", sku.pk)).content.decode()
    assert "Running subscriptions outside 5 to 100 seats" in page
    assert outside.number in page
    assert page.count("/bss/subscriptions/subscription/") == 2  # the way around the site, and the one outside


def test_what_is_running_is_not_deleted(manager):
    subscription = SubscriptionFactory()
    for model, row in (("sku", subscription.sku), ("product", subscription.sku.product)):
        assert "has a history and stays" in manager.get(url(model, "delete", row.pk)).content.decode()
        manager.post(url(model, "delete", row.pk), {"post": "yes"})
    assert SKU.objects.filter(pk=subscription.sku_id).exists()
    band = PriceBandFactory()
    manager.post(url("sku", "delete", band.sku_id), {"post": "yes"})
    assert not PriceBand.objects.filter(sku=band.sku_id).exists()


@pytest.mark.parametrize("person", ["support", "operator", "approver", "auditor"])
def test_others_read_the_catalogue_only(person, cast, signed_in):
    sku = SKUFactory()
    browser = signed_in(cast.people[person])
    assert browser.get(url("sku", "change", sku.pk)).status_code == 200
    assert browser.post(url("sku", "change", sku.pk), form(sku, seats_max=9)).status_code == 403
    assert browser.post(url("product", "add"), {"vendor": "kaspersky", "name": "X"}).status_code == 403
    assert SKU.objects.get().seats_max == 500


def test_the_list_of_skus_does_not_grow_in_queries(signed_in, django_assert_max_num_queries):
    browser = signed_in(UserFactory(is_staff=True, is_superuser=True))
    for _ in range(30):
        SKUFactory()
    with django_assert_max_num_queries(8):
        assert browser.get(url("sku", "changelist")).status_code == 200
