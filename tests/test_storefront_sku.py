"""Change of the SKU in the Storefront: the list, seats and time, check page and order, and the ways that lead here."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest

from subscriptions import clock, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, Charge, Order, PriceBand, Subscription
from tests import factories
from tests.test_change_sku import LARGE, large, switch_off
from tests.test_periods import begun, instant, run, travel
from tests.test_storefront_cancel import buttons, fields, text

__all__ = ["begun", "large", "run", "travel"]

NOW, RENEWAL = quotes.NOW, quotes.RENEWAL


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.manager)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def path(subscription: Subscription, page: str = "change_sku/") -> str:
    return f"/subscriptions/{subscription.pk}/{page}"


def check(subscription: Subscription) -> str:
    return path(subscription, "change_sku/check/")


def asked(target, seats=25, when=NOW) -> dict[str, str]:
    return {"sku": target.code, "seats": str(seats), "when": when}


def amounts(subscription):
    return list(Charge.objects.filter(subscription=subscription).order_by("pk").values_list("kind", "amount"))


def radios(answer) -> list[str]:
    return re.findall(r'type="radio" name="when" value="(\w+)"', answer.content.decode())


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_list_names_price_range_and_time_of_each_target(door, begun, large):
    subscription = begun("2027-01-15")
    small = large(subscription, "now", name="Small", seats_min=1, seats_max=20, prices={1: "2.00"})
    great = large(subscription, name="Great", term_months=24)
    large(subscription, "renewal", name="Late")
    answer = door.get(path(subscription))
    page = text(answer)
    assert f"{subscription.sku.name}: 25 seats, EUR 87.50 a month. It allows 5 to 500 seats." in page
    assert "Small EUR 40.00 a month for 20 seats excl. VAT Seats 1 to 20, so not the 25 that you have" in page
    of_great = "Great EUR 125.00 a month for 25 seats excl. VAT Seats 20 to 5,000 Term 24 months"
    assert f"{of_great} When Now, or at the renewal on 15 January 2028 Change to Great" in page
    assert "When Now Change to Small" in page
    assert "When At the renewal, on 15 January 2028 Change to Late" in page
    for sku in (small, great):
        assert f'href="{path(subscription)}?sku={sku.code}"' in answer.content.decode()


def test_what_is_not_possible_says_why(door, subscription, large, cast):
    large(subscription, name="Without a price", prices={}, vendor_product_id=subscription.sku.vendor_product_id)
    late = large(subscription, "renewal", name="Late", vendor_product_id=subscription.sku.vendor_product_id)
    large(subscription, name="Foreign")
    switch_off("product_change")
    off = Wish(subscription.pk, "auto_renew", {"Renews automatically": False})
    lifecycle.place(off, actor=cast.owner, audience=STOREFRONT)
    answer = door.get(path(subscription))
    page = text(answer)
    assert "Not possible. There is no price for 25 seats in EUR. Ask your distributor." in page
    assert "Not possible. The term ends on" in page
    assert "Switch the automatic renewal on first." in page
    assert "Not possible. The licence service cannot change the product of a running subscription." in page
    assert "?sku=" not in answer.content.decode()
    assert text(door.get(path(subscription), {"sku": late.code})) == page


def test_without_a_target_the_page_says_so_and_the_subscription_does_not_offer_it(door, subscription, large):
    assert "There is no other SKU to change to." in text(door.get(path(subscription)))
    assert "Change the SKU" not in text(door.get(path(subscription, "")))
    large(subscription)
    assert "Change the SKU" in text(door.get(path(subscription, "")))


def test_the_list_takes_the_same_queries_for_two_targets_and_for_ten(
    door, subscription, large, django_assert_num_queries, django_assert_max_num_queries
):
    large(subscription)
    large(subscription)
    with django_assert_max_num_queries(20) as two:
        door.get(path(subscription))
    for _ in range(8):
        large(subscription)
    with django_assert_num_queries(len(two.captured_queries)):
        door.get(path(subscription))


# --- seats and time --------------------------------------------------------------------------------------------------


def test_the_field_page_has_the_price_of_now_for_the_seats_of_now(door, begun, run, travel, large):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    travel("2027-03-01")
    target = large(subscription)
    answer = door.get(path(subscription), {"sku": target.code})
    page = text(answer)
    assert re.search(r'name="seats"\s+value="25"', answer.content.decode())
    assert radios(answer) == [NOW, RENEWAL]
    assert "Due now EUR 81.25" in page
    assert "\N{MINUS SIGN}EUR 43.75" in page
    assert "EUR 125.00" in page
    assert "Then EUR 125.00 a month for 25 seats from 1 April 2027." in page


def test_the_price_of_a_change_at_the_renewal_is_due_then(door, begun, large):
    subscription = begun("2027-01-15")
    target = large(subscription)
    page = text(door.get(path(subscription), asked(target, 30, RENEWAL)))
    assert "Due on 15 January 2028 EUR 150.00" in page


def test_one_time_is_not_asked_for(door, begun, large):
    subscription = begun("2027-01-15")
    target = large(subscription, "renewal")
    answer = door.get(path(subscription), {"sku": target.code})
    assert radios(answer) == []
    assert 'type="hidden" name="when" value="renewal"' in answer.content.decode()
    assert "At the renewal, on 15 January 2028" in text(answer)


def test_seats_that_do_not_fit_begin_with_the_nearest_that_do(door, subscription, large):
    target = large(subscription, seats_min=50)
    answer = door.get(path(subscription), {"sku": target.code})
    assert re.search(r'name="seats"\s+value="50"', answer.content.decode())
    assert "You have 25. Between 50 and 5,000." in text(answer)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("19", "This product starts at 20 seats. Enter a whole number from 20 to 5,000."),
        ("5001", "This product allows at most 5,000 seats. Enter a whole number from 20 to 5,000."),
        ("1e3", "is not a number of seats. Enter a whole number from 20 to 5,000."),
        ("", "Enter the new number of seats."),
    ],
)
def test_bad_seats_get_a_sentence_and_are_kept(door, subscription, large, typed, words):
    target = large(subscription)
    for answer, status in (
        (door.get(path(subscription), asked(target, typed)), 200),
        (door.get(check(subscription), asked(target, typed)), 200),
        (door.post(check(subscription), asked(target, typed)), 422),
    ):
        assert answer.status_code == status
        # In the summary, beside the field, and in place of a price.
        assert text(answer).count(words) == 3
        assert f'value="{typed}"' in answer.content.decode() or not typed
        assert "<title>Error: " in answer.content.decode()
    assert not Order.objects.exists()


def test_the_time_must_be_one_that_is_possible(door, subscription, large):
    target = large(subscription, "now")
    answer = door.get(check(subscription), asked(target, 25, RENEWAL))
    assert "Choose when it changes." in text(answer)


def test_an_unknown_sku_leads_to_the_list(door, subscription, large):
    large(subscription, name="Great")
    for page in (path(subscription), check(subscription)):
        assert "What you can change to" in text(door.get(page, {"sku": "NO-SUCH"}))


# --- the order -------------------------------------------------------------------------------------------------------


def test_what_was_shown_is_ordered_and_charged(door, begun, run, travel, large, cast, drain):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    travel("2027-03-01")
    target = large(subscription, name="Great", term_months=24)
    shown = door.get(check(subscription), asked(target, 40))
    page = text(shown)
    assert "Seats 25 now, 40 after" in page
    assert "Price per period EUR 87.50 a month now, EUR 200.00 a month after" in page
    assert "Renews on 1 March 2029" in page
    assert "Activation code Stays the same" in page
    assert "ask the licence service for Great with 40 seats" in page
    assert "Change to Great and pay EUR 156.25" in buttons(shown)
    assert not Order.objects.exists()
    answer = door.post(check(subscription), fields(shown))
    order = Order.objects.get()
    assert (order.actor, order.audience, answer["Location"]) == (cast.manager, "storefront", f"/orders/{order.pk}/")
    assert (order.after["SKU"], order.after["Seats"], order.after["Product"]) == (target.code, 40, LARGE)
    assert door.post(check(subscription), fields(shown))["Location"] == answer["Location"]
    drain()
    assert (fresh(subscription).sku, fresh(subscription).term_end.isoformat()) == (target, "2029-03-01")
    assert [amount for _, amount in amounts(subscription)] == [Decimal("87.50"), Decimal("-43.75"), Decimal(200)]
    assert door.post(check(subscription), fields(shown))["Location"] == answer["Location"]
    assert Order.objects.count() == 1
    assert door.get(answer["Location"]).status_code == 200


def test_at_the_renewal_it_is_planned_and_nothing_is_due(door, begun, large, run, drain, emulator):
    subscription = begun("2027-01-15", {"term_months": 1})
    target = large(subscription, name="Great")
    shown = door.get(check(subscription), asked(target, 25, RENEWAL))
    assert "Plan the change to Great for 15 February 2027" in buttons(shown)
    assert "On 15 February 2027, in place of the renewal. You can undo it until then" in text(shown)
    door.post(check(subscription), fields(shown))
    order = Order.objects.get()
    assert (order.status, order.due_at) == ("scheduled", instant("2027-02-15"))
    assert emulator.control.requests(source="service") == []
    run("2027-02-15")
    drain()
    assert fresh(subscription).sku == target
    assert amounts(subscription) == [("change", Decimal(125))]


def test_a_cheaper_sku_gives_money_back(door, begun, run, travel, large):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    target = large(subscription, name="Basic", prices={1: "1.00"})
    shown = door.get(check(subscription), asked(target))
    assert "You get back now EUR 62.50" in text(shown)
    assert "Change to Basic and get EUR 62.50 back" in buttons(shown)


def test_what_the_vendor_would_not_notice_is_done_at_once(door, subscription, large, emulator):
    target = large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    shown = door.get(check(subscription), asked(target))
    assert "ask the licence service" not in text(shown)
    answer = door.post(check(subscription), fields(shown))
    assert Order.objects.get().status == "completed"
    receipt = text(door.get(answer["Location"]))
    assert "Done" in receipt
    assert "Confirmed by the licence service" not in receipt


def test_a_planned_change_is_withdrawn_with_the_order_and_named_before(door, begun, large, cast, drain):
    subscription = begun("2027-01-15")
    fewer = Wish(subscription.pk, "decrease", {"Seats": 20})
    planned = lifecycle.place(fewer, actor=cast.owner, audience=STOREFRONT)
    target = large(subscription)
    words = "A decrease to 20 seats is planned for 15 February 2027."
    assert words in text(door.get(path(subscription)))
    shown = door.get(check(subscription), asked(target))
    assert words in text(shown)
    assert "It was planned for the SKU that you have, so it is withdrawn with your order." in text(shown)
    door.post(check(subscription), fields(shown))
    assert fresh(planned).status == "withdrawn"
    drain()
    assert fresh(subscription).sku == target


def test_large_orders_wait_for_approval(door, subscription, large, cast, drain):
    ApprovalLimit.objects.create(sku=subscription.sku, orders_from="125")
    target = large(subscription)
    shown = door.get(check(subscription), asked(target))
    assert "Your distributor must approve this order" in text(shown)
    door.post(check(subscription), fields(shown))
    order = Order.objects.get()
    assert (order.status, fresh(subscription).sku) == ("awaiting_approval", subscription.sku)
    lifecycle.approve(order.pk, actor=cast.approver, audience=BSS, reason="Fine")
    drain()
    assert fresh(subscription).sku == target


@pytest.mark.parametrize("whose", ["old", "new"])
def test_a_new_price_of_either_sku_shows_old_and_new_figures(door, begun, run, travel, large, whose, empty_queue):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    travel("2027-03-01")
    target = large(subscription)
    sent = fields(door.get(check(subscription), asked(target)))
    PriceBand.objects.filter(sku=target if whose == "new" else subscription.sku).update(price="6.00")
    answer = door.post(check(subscription), sent)
    assert answer.status_code == 409
    assert "The price has changed since the page was opened." in text(answer)
    assert f"Due EUR 81.25 EUR {'106.25' if whose == 'new' else '81.25'}" in text(answer)
    assert not Order.objects.exists()
    assert door.post(check(subscription), fields(answer)).status_code == 302


def test_a_stale_page_comes_again_with_the_input_kept(door, subscription, large, cast, drain):
    target = large(subscription)
    sent = fields(door.get(check(subscription), asked(target, 40, RENEWAL)))
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    drain()
    answer = door.post(check(subscription), sent)
    assert answer.status_code == 409
    assert "Somebody changed this subscription while the page was open." in text(answer)
    kept = fields(answer)
    assert (kept["sku"], kept["seats"], kept["when"]) == (target.code, "40", RENEWAL)
    assert "Seats 30 now, 40 after" in text(answer)
    assert not Order.objects.filter(action="change_sku").exists()


def test_a_target_that_is_gone_by_then_places_nothing(door, subscription, large):
    target = large(subscription)
    large(subscription)
    sent = fields(door.get(check(subscription), asked(target)))
    subscription.sku.targets.filter(target=target).delete()
    answer = door.post(check(subscription), sent)
    assert answer.status_code == 409
    assert "cannot change to that SKU any more" in text(answer)
    assert not Order.objects.exists()


def test_the_quote_of_one_target_does_not_pay_for_another(door, subscription, large):
    cheap, dear = large(subscription, prices={1: "1.00"}), large(subscription)
    sent = fields(door.get(check(subscription), asked(cheap)))
    assert door.post(check(subscription), sent | {"sku": dear.code}).status_code == 409
    assert not Order.objects.exists()


@pytest.mark.parametrize("role", ["buyer", "billing", "viewer"])
def test_other_roles_may_not(signed_in, cast, subscription, large, role):
    client, target = signed_in(getattr(cast, role)), large(subscription)
    for answer in (
        client.get(path(subscription)),
        client.get(check(subscription), asked(target)),
        client.post(check(subscription), asked(target)),
    ):
        assert answer.status_code == 403
        assert "Ask Ana Kos." in text(answer)


def test_a_trial_is_converted_first(door, cast, large, emulator):
    trial = factories.SubscriptionFactory(account=cast.acme)
    Subscription.objects.filter(pk=trial.pk).update(trial_ends=trial.period_end)
    large(trial)
    answer = door.get(path(trial))
    assert "This is a trial until" in text(answer)
    assert f'href="/subscriptions/{trial.pk}/convert/"' in answer.content.decode()


# --- the ways that lead here -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("have", "stem", "typed", "least", "most", "leads"),
    [
        (500, "increase", None, 20, 5000, 501),
        (25, "increase", "700", 20, 5000, 700),
        (25, "increase", "6000", 20, 5000, None),
        (5, "decrease", None, 1, 4, 4),
        (25, "decrease", "3", 1, 20, 3),
        (25, "decrease", "3", 4, 20, None),
    ],
)
def test_seats_beyond_the_range_offer_a_sku_that_holds_them(
    door, cast, large, emulator, have, stem, typed, least, most, leads
):
    subscription = factories.SubscriptionFactory(account=cast.acme, seats=have)
    target = large(subscription, name="Other", seats_min=least, seats_max=most)
    answer = door.get(path(subscription, f"{stem}/"), {} if typed is None else {"seats": typed})
    link = re.search(r'<a href="([^"]*change_sku/[^"]*)">Change to Other</a>', answer.content.decode())
    if leads is None:
        assert link is None
        return
    address = link[1].replace("&amp;", "&")
    assert address == f"{path(subscription)}?sku={target.code}&seats={leads}"
    assert re.search(rf'name="seats"\s+value="{leads}"', door.get(address).content.decode())


def test_at_the_minimum_without_a_smaller_sku_the_way_out_stays_cancel(door, cast, large, emulator):
    least = factories.SubscriptionFactory(account=cast.acme, seats=5)
    large(least, seats_min=5)
    page = door.get(path(least, "")).content.decode()
    assert f'<a href="/subscriptions/{least.pk}/cancel/">Cancel subscription</a>' in page


def test_a_sku_that_the_vendor_cannot_reach_is_no_way_out(door, cast, large, emulator):
    full = factories.SubscriptionFactory(account=cast.acme, seats=500)
    large(full, name="Other")
    assert "Change to Other" in text(door.get(path(full, "increase/")))
    switch_off("product_change")
    assert "Change to Other" not in text(door.get(path(full, "increase/")))


def test_looking_changes_nothing(door, subscription, large):
    target = large(subscription)
    before = Subscription.objects.filter(pk=subscription.pk).values().get()
    door.get(path(subscription))
    door.get(path(subscription), asked(target))
    door.get(check(subscription), asked(target))
    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before
    assert not Order.objects.exists()


def test_a_page_that_was_open_for_too_long_comes_again(door, begun, travel, large):
    subscription = begun("2027-01-15")
    target = large(subscription)
    sent = fields(door.get(check(subscription), asked(target)))
    travel(clock.now() + timedelta(minutes=16))
    answer = door.post(check(subscription), sent)
    assert answer.status_code == 409
    assert "open for more than 15 minutes" in text(answer)
