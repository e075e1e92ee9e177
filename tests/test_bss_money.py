"""What staff see of money is what is charged: each action, with its policies, through the emulator."""

import re
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from subscriptions import clock, lifecycle, quotes
from subscriptions.models import Charge, Order, PriceBand
from subscriptions.pricing import TIMES
from tests.factories import ChargeFactory, SKUFactory
from tests.test_bss_actions import answers, hidden, shown, url
from tests.test_periods import begun, fresh, lines, run, travel

__all__ = ["begun", "run", "travel"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def read(answer):
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&#x27;", "'")


@pytest.fixture
def billed(begun):
    """A subscription of 25 seats at EUR 3.50 whose first period, 15 January to 14 February 2027, was charged."""

    def begin(sku=None, **more):
        subscription = begun("2027-01-15", sku, **more)
        ChargeFactory(
            subscription=subscription,
            kind="period",
            amount=Decimal("87.50"),
            seats=25,
            covers_from=date(2027, 1, 15),
            covers_to=date(2027, 2, 15),
        )
        return subscription

    return begin


def check(browser, subscription, stem, **more):
    answer = browser.post(url(stem, subscription, check=True), answers(subscription, stem, **more))
    assert answer.status_code == 200
    return answer


def place(browser, subscription, stem, **more):
    """The check page's words, then its button; the order."""
    page = check(browser, subscription, stem, **more)
    answer = browser.post(url(stem, subscription), hidden(page))
    assert answer.status_code == 302, read(answer)
    return read(page), Order.objects.latest("pk")


CASES = {
    # On 31 January 15 of the 31 days are left, that day included.
    "increase by days": ("increase", {}, {"seats": "30"}, "Add 5 seats to {} and charge EUR 8.47", ["8.47"]),
    "increase, full period": (
        "increase", {"increase_policy": "full_period"}, {"seats": "30"}, "Add 5 seats to {} and charge EUR 17.50",
        ["17.50"],
    ),
    "increase, highest count": (
        "increase", {"increase_policy": "high_water"}, {"seats": "30"}, "Add 5 seats to {} and charge EUR 17.50",
        ["17.50"],
    ),
    "decrease, no credit": (
        "decrease", {"decrease_policy": "immediate_no_credit"}, {"seats": "20"}, "Remove 5 seats from {}", [],
    ),
    "decrease with a credit": (
        "decrease", {"decrease_policy": "immediate_credit"}, {"seats": "20"},
        "Remove 5 seats from {} and give back EUR 8.47", ["-8.47"],
    ),
    "cancel now": ("cancel", {}, {}, "Cancel {} now", []),
    "cancel now with a credit": (
        "cancel", {"cancel_credit": "by_days"}, {}, "Cancel {} now and give back EUR 42.34", ["-42.34"],
    ),
    "cancel back-dated": (
        "cancel", {"cancel_credit": "by_days"}, {"ends": "back_dated", "on": "2027-01-25"},
        "Cancel {} as of 25 January 2027 and give back EUR 59.27", ["-59.27"],
    ),
    "suspend": ("suspend", {}, {}, "Suspend {}", []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_button_names_is_what_is_charged(case, operator, billed, travel, drain):
    stem, sku, more, button, amounts = CASES[case]
    subscription = billed(sku)
    travel("2027-01-31")
    words, order = place(operator, subscription, stem, **more)
    assert f" {button.format(subscription.number)} Change what you entered" in words
    assert not Charge.objects.filter(order=order).exists()
    drain()
    assert fresh(order).status == "completed"
    assert [one.amount for one in order.charges.order_by("pk")] == [Decimal(one) for one in amounts]
    page = read(operator.get(reverse("admin:subscriptions_order_change", args=[order.pk])))
    for charge in order.charges.all():
        assert charge.words in words
        assert f"{charge.pk} {charge.words}" in page


def test_before_the_vendor_confirms_nobody_is_charged_and_the_page_says_so(operator, billed, travel, drain):
    subscription = billed()
    travel("2027-01-31")
    words, order = place(operator, subscription, "increase", seats="30")
    assert f"Due now EUR 8.47 5 seats {TIMES} EUR 3.50 {TIMES} 15 of 31 days (31 January to 14 February 2027)" in words
    assert "Then EUR 105.00 a month for 30 seats from 15 February 2027." in words
    assert "Nothing is charged before the licence service confirms." in words
    page = reverse("admin:subscriptions_order_change", args=[order.pk])
    assert "Will be charged when the licence service confirms EUR 8.47" in read(operator.get(page))
    assert Charge.objects.count() == 1
    drain()
    assert "Charged EUR 8.47" in read(operator.get(page))


def test_a_refused_order_says_that_it_was_not_charged(operator, billed, travel, drain, emulator):
    subscription = billed()
    emulator.control.add_fault("item-error", code=602, message="Not now.")
    _, order = place(operator, subscription, "increase", seats="30")
    drain()
    assert fresh(order).status == "failed"
    words = read(operator.get(reverse("admin:subscriptions_order_change", args=[order.pk])))
    assert "Not charged EUR 17.50" in words
    assert Charge.objects.count() == 1


def test_back_dated_before_an_increase_both_are_credited(operator, billed, travel, drain):
    subscription = billed({"cancel_credit": "by_days"})
    travel("2027-01-31")
    place(operator, subscription, "increase", seats="30")
    drain()
    _, order = place(operator, fresh(subscription), "cancel", ends="back_dated", on="2027-01-25")
    drain()
    # 21 of 31 days of EUR 87.50, and all of what the increase cost.
    assert [one.amount for one in order.charges.all()] == [Decimal("-67.74")]
    assert f"{fresh(subscription).ends_at:%Y-%m-%d}" == "2027-01-25"
    assert fresh(subscription).status == "cancelled"


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ("2027-01-16", "Choose a day from 17 January 2027 on: within this period, and at most 14 days back."),
        ("2027-02-01", "1 February 2027 is still to come. Choose today or an earlier day."),
        ("", "Enter the day since when it has ended."),
        ("31.1.2027", "Enter a day as year-month-day, such as 2027-03-01."),
    ],
)
def test_a_back_dated_end_lies_in_the_last_14_days_of_the_period(on, sentence, operator, billed, travel):
    subscription = billed()
    travel("2027-01-31")
    given = answers(subscription, "cancel", ends="back_dated", on=on)
    answer = operator.post(url("cancel", subscription, check=True), given)
    assert answer.status_code == 422
    beside = answer.content.decode().split('<div class="field field-invalid">')[1]
    assert sentence in beside
    assert "The day since when it has ended" in beside


def test_on_the_first_day_of_a_period_nothing_lies_back(operator, billed):
    subscription = billed()
    page = operator.get(url("cancel", subscription)).content.decode()
    assert "Back-dated" not in page
    given = answers(subscription, "cancel", ends="back_dated", on="2027-01-14")
    assert operator.post(url("cancel", subscription), given).status_code == 422
    assert not Order.objects.exists()


def test_each_way_to_cancel_says_its_money(operator, billed, travel):
    subscription = billed({"cancel_credit": "by_days"})
    travel("2027-01-31")
    words = read(operator.get(url("cancel", subscription)))
    assert "With the period, on 15 February 2027. Nothing is given back. Can be undone until then." in words
    assert "Now. EUR 42.34 is given back." in words
    assert "Back-dated, since the day below. The days since then are given back too." in words


# --- what was not charged before -------------------------------------------------------------------------------------


def test_activated_over_a_renewal_the_days_left_are_charged(operator, billed, run, travel, drain):
    subscription = billed()
    place(operator, subscription, "suspend")
    drain()
    run("2027-02-15")
    travel("2027-03-01")
    form = read(operator.get(url("activate", subscription)))
    assert f"Due now EUR 43.75 25 seats {TIMES} EUR 3.50 {TIMES} 14 of 28 days (1 to 14 March 2027)" in form
    words, order = place(operator, fresh(subscription), "activate")
    assert f"Activate {subscription.number} and charge EUR 43.75" in words
    drain()
    assert fresh(subscription).status == "active"
    assert [one.amount for one in order.charges.all()] == [Decimal("43.75")]


def test_without_a_price_it_is_activated_for_nothing(operator, billed, run, travel, drain):
    subscription = billed()
    place(operator, subscription, "suspend")
    drain()
    run("2027-02-15")
    PriceBand.objects.all().delete()
    words, order = place(operator, fresh(subscription), "activate")
    assert "Due now EUR 0.00 The price list has no price for 25 seats: nothing is charged until it has one." in words
    drain()
    assert fresh(subscription).status == "active"
    assert not order.charges.exists()


def test_renewed_in_the_grace_the_next_period_is_charged_at_once(operator, begun, run, travel):
    subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=False)
    run("2027-02-15")
    travel("2027-02-20")
    assert "Renew" in read(operator.get(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])))
    assert "Due now EUR 87.50" in read(operator.get(url("renew", subscription)))
    words, order = place(operator, fresh(subscription), "renew")
    assert f"Renew {subscription.number} and charge EUR 87.50" in words
    assert order.status == "completed"
    assert fresh(subscription).status == "active"
    assert lines(subscription) == [("period", "2027-02-15", "2027-03-15", Decimal("87.50"))]


def test_a_trial_is_converted_for_a_full_period_from_today(operator, begun, travel):
    subscription = begun("2027-01-15", {"trial_days": 30}, trial_ends=date(2027, 2, 14), period_end=date(2027, 2, 14))
    travel("2027-01-20")
    words, order = place(operator, subscription, "convert")
    assert f"Convert {subscription.number} and charge EUR 87.50" in words
    assert order.status == "completed"
    assert fresh(subscription).trial_ends is None
    assert lines(subscription) == [("period", "2027-01-20", "2027-02-20", Decimal("87.50"))]


@pytest.fixture
def target(billed):
    """A subscription, and a SKU that it can change to at EUR 5.00 a seat, by default at any time."""

    def make(timing="either", **more):
        subscription = billed()
        sku = SKUFactory(product=subscription.sku.product, prices={1: "5.00"}, **more)
        subscription.sku.targets.create(target=sku, timing=timing)
        return subscription, sku

    return make


def test_changed_to_another_sku_now(operator, target, travel, drain):
    subscription, sku = target()
    travel("2027-01-31")
    words, order = place(operator, subscription, "change_sku", to=f"{sku.pk}-now", seats="25")
    # EUR 125.00 for the new period, less 15 of 31 days of the old one.
    assert f"Change {subscription.number} to {sku.code} and charge EUR 82.66" in words
    drain()
    assert [one.amount for one in order.charges.order_by("pk")] == [Decimal("-42.34"), Decimal("125.00")]
    assert fresh(subscription).sku == sku


def test_changed_to_another_sku_at_the_renewal_with_other_seats(operator, target, drain, run):
    subscription, sku = target(seats_min=30)
    words, order = place(operator, subscription, "change_sku", to=f"{sku.pk}-renewal", seats="30")
    assert f"Plan {sku.code} for {subscription.number} from 15 January 2028 and charge EUR 150.00" in words
    assert (order.status, order.after["Seats"]) == ("scheduled", 30)


@pytest.mark.parametrize("timing", ["now", "renewal"])
def test_only_the_times_of_a_target_are_offered(timing, operator, target):
    subscription, sku = target(timing)
    page = operator.get(url("change_sku", subscription)).content.decode()
    other = {"now": "renewal", "renewal": "now"}[timing]
    assert f'value="{sku.pk}-{timing}"' in page
    assert f'value="{sku.pk}-{other}"' not in page
    given = answers(subscription, "change_sku", to=f"{sku.pk}-{other}", seats="25")
    answer = operator.post(url("change_sku", subscription), given)
    assert answer.status_code == 422
    assert "Choose what it changes to." in answer.content.decode()


def test_seats_that_the_other_sku_does_not_allow(operator, target):
    subscription, sku = target(seats_max=20)
    answer = operator.post(
        url("change_sku", subscription, check=True),
        answers(subscription, "change_sku", to=f"{sku.pk}-now", seats="25"),
    )
    assert answer.status_code == 422
    assert "This product allows at most 20 seats. Enter a whole number from 5 to 20." in answer.content.decode()


def test_without_a_price_there_is_a_sentence_beside_the_seats(operator, billed):
    subscription = billed()
    PriceBand.objects.all().delete()
    for checking in (True, False):
        given = answers(subscription, "increase", seats="30")
        answer = operator.post(url("increase", subscription, check=checking), given)
        assert answer.status_code == 422
        beside = answer.content.decode().split('<div class="field field-invalid">')[1]
        assert "There is no price for 30 seats in EUR." in beside
    assert not Order.objects.exists()


# --- pinned ----------------------------------------------------------------------------------------------------------


def test_a_changed_price_list_brings_the_check_page_again_with_old_and_new(operator, billed, travel, drain):
    subscription = billed()
    travel("2027-01-31")
    old = shown(operator, subscription, "increase")
    subscription.sku.price_bands.update(price="4.00")
    answer = operator.post(url("increase", subscription), old)
    assert answer.status_code == 409
    words = read(answer)
    assert lifecycle.STALE_QUOTE in words
    assert "You saw Now Due EUR 8.47 EUR 9.68" in words
    assert not Order.objects.exists()
    assert operator.post(url("increase", subscription), hidden(answer)).status_code == 302
    drain()
    assert Order.objects.get().charges.get().amount == Decimal("9.68")


def test_a_quote_is_honoured_for_15_minutes(operator, billed, travel):
    subscription = billed()
    at = travel("2027-01-31") + timedelta(hours=10)
    travel(at)
    old = shown(operator, subscription, "increase")
    travel(at + quotes.HONOURED + timedelta(minutes=1))
    answer = operator.post(url("increase", subscription), old)
    assert answer.status_code == 409
    assert lifecycle.TOO_OLD in read(answer)
    travel(at + quotes.HONOURED - timedelta(minutes=1))
    assert operator.post(url("increase", subscription), old).status_code == 302


def test_midnight_between_check_and_button_changes_nothing(operator, billed, travel, drain):
    subscription = billed()
    at = travel("2027-02-01") - timedelta(minutes=5)
    travel(at)
    old = shown(operator, subscription, "increase")
    travel(at + timedelta(minutes=10))
    assert operator.post(url("increase", subscription), old).status_code == 302
    drain()
    assert Order.objects.get().charges.get().amount == Decimal("8.47")
    assert clock.now().date() == date(2027, 2, 1)


@pytest.mark.parametrize("forged", [{"quote": ""}, {"quote": "x"}, {"quote": None}])
def test_nothing_is_placed_at_a_price_that_was_not_shown(forged, operator, billed):
    subscription = billed()
    given = shown(operator, subscription, "increase") | forged
    given = {name: value for name, value in given.items() if value is not None}
    answer = operator.post(url("increase", subscription), given)
    assert answer.status_code == 409
    assert lifecycle.STALE_QUOTE in read(answer)
    assert not Order.objects.exists()


def test_the_quote_of_another_change_does_not_fit(operator, billed):
    subscription = billed()
    cheap = shown(operator, subscription, "increase", seats="26")["quote"]
    dear = shown(operator, subscription, "increase", seats="400") | {"quote": cheap}
    answer = operator.post(url("increase", subscription), dear)
    assert answer.status_code == 409
    assert "You saw Now Due EUR 3.50 EUR 1,312.50" in read(answer)
    assert not Order.objects.exists()
