"""Change of the SKU, from the order to the vendor and into the ledger; what customers see is tested with the pages."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.conf import settings as django_settings

from subscriptions import actions, clock, gateways, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Charge, Order, Subscription
from tests.factories import SKUFactory
from tests.test_periods import begun, instant, run, travel

__all__ = ["begun", "run", "travel"]

pytestmark = pytest.mark.django_db

LARGE = "CAD-LARGE"


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def large():
    """A dearer SKU of the same product that a subscription can change to, of another product at the vendor."""

    def declare(subscription: Subscription, timing: str = "either", **more):
        given = {"seats_min": 20, "seats_max": 5000, "vendor_product_id": LARGE, "prices": {1: "5.00"}} | more
        target = SKUFactory(product=subscription.sku.product, **given)
        subscription.sku.targets.create(target=target, timing=timing)
        return target

    return declare


def change(subscription, target, *, actor=None, audience="system", seats=None, **more) -> Order:
    after = {"SKU": target.code} | ({} if seats is None else {"Seats": seats})
    return lifecycle.place(Wish(subscription.pk, "change_sku", after, **more), actor=actor, audience=audience)


def refusal(subscription, target, **more) -> NotAllowed:
    with pytest.raises(NotAllowed) as caught:
        change(subscription, target, **more)
    assert not Order.objects.filter(action="change_sku").exists()
    return caught.value


def amounts(subscription):
    return list(Charge.objects.filter(subscription=subscription).order_by("pk").values_list("kind", "amount"))


def switch_off(option: str) -> None:
    django_settings.VENDORS["kaspersky"]["OPTIONS"][option] = "unsupported"
    gateways.gateway.cache_clear()


# --- now -------------------------------------------------------------------------------------------------------------


def test_now_it_credits_what_is_left_and_begins_a_period_of_its_own(begun, large, run, cast, travel, drain, emulator):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    target = large(subscription, term_months=24)
    travel("2027-03-01")
    order = change(subscription, target, actor=cast.owner, audience=STOREFRONT, seats=40)
    assert order.before == {"SKU": subscription.sku.code, "Seats": 25, "Product": subscription.sku.vendor_product_id}
    assert order.after == {"SKU": target.code, "Seats": 40, "Product": LARGE}
    assert fresh(subscription).sku == subscription.sku, "the vendor first"
    drain()
    row = fresh(subscription)
    assert (fresh(order).status, row.sku, row.seats, row.peak_seats) == ("completed", target, 40, 40)
    assert (row.period_start, row.period_end, row.anchor_day) == (date(2027, 3, 1), date(2027, 4, 1), 1)
    assert row.term_end == date(2029, 3, 1)
    theirs = emulator.control.subscriber(subscription.subscriber_id)
    assert (theirs.product, theirs.seats, theirs.status) == (LARGE, 40, "Started")
    assert row.activation_code == subscription.activation_code
    assert theirs.activation_code == subscription.activation_code.reveal()
    # 87.50 for the 28 days from 15 February on, 14 of which are left.
    assert amounts(subscription) == [
        ("period", Decimal("87.50")),
        ("credit", Decimal("-43.75")),
        ("change", Decimal(200)),
    ]
    assert run("2027-04-01")["billed"] == 1
    assert amounts(subscription)[-1] == ("period", Decimal(200))


def test_a_change_that_the_vendor_would_not_notice_asks_it_nothing(subscription, large, cast, drain, emulator):
    target = large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    order = change(subscription, target, actor=cast.owner, audience=STOREFRONT)
    assert (order.status, fresh(subscription).sku) == ("completed", target)
    assert drain() == 0
    assert emulator.control.requests(source="service") == []
    assert amounts(subscription) == [("change", Decimal(125))]
    said = list(order.events.order_by("pk").values_list("kind", flat=True))
    assert said == [
        "change_sku.placed",
        "change_sku.completed",
    ]


def test_of_the_same_product_only_the_seats_are_sent(subscription, large, drain, emulator):
    target = large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    order = change(subscription, target, seats=30)
    assert order.status == "placed"
    drain()
    [sent] = emulator.control.changes(subscription.subscriber_id)
    assert (sent.before["product"], sent.before["seats"]) == (sent.after["product"], 25)
    assert (sent.after["seats"], fresh(subscription).seats) == (30, 30)


@pytest.mark.parametrize("fault", ["applied-closed", "applied-truncated-xml", "closed-after-reading", "http-503"])
def test_an_answer_that_is_lost_ends_by_reading_and_changes_once(subscription, large, drain, emulator, settings, fault):
    settings.VENDOR_READ_DELAYS = [0.01, 0.02, 0.12, 0.2]
    settings.VENDOR_NOT_APPLIED_AFTER = 0.12
    settings.VENDOR_RETRY_DELAYS = [0.05]
    target = large(subscription)
    emulator.control.add_fault(fault, kinds=["Activate"])
    order = change(subscription, target, seats=40)
    drain()
    assert (fresh(order).status, fresh(subscription).sku, fresh(subscription).seats) == ("completed", target, 40)
    assert len(emulator.control.changes(subscription.subscriber_id)) == 1
    assert amounts(subscription) == [("change", Decimal(200))]
    proofs = list(order.vendor_calls.exclude(evidence="").values_list("evidence", flat=True))
    assert ("target" in proofs) is fault.startswith("applied")


def test_what_the_vendor_refuses_costs_nothing_and_leaves_all_as_it_was(subscription, large, drain, emulator):
    target = large(subscription)
    emulator.control.add_fault("item-error", kinds=["Activate"], code=9, message="The product is unknown.")
    order = change(subscription, target)
    drain()
    assert (fresh(order).status, fresh(order).outcome_message) == ("failed", "The product is unknown. (code 9)")
    assert fresh(subscription).sku == subscription.sku
    assert amounts(subscription) == []


def test_a_strict_vendor_needs_a_person_and_nothing_is_charged(subscription, large, cast, drain, emulator):
    target = large(subscription)
    emulator.control.set_profile("strict")
    order = change(subscription, target)
    drain()
    assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "already_done")
    assert emulator.control.changes(subscription.subscriber_id) == []
    lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="not with this product")
    assert (fresh(order).status, fresh(subscription).sku) == ("failed", subscription.sku)
    assert amounts(subscription) == []


# --- what is possible ------------------------------------------------------------------------------------------------


def test_without_the_capability_only_the_same_product_remains(subscription, large, emulator):
    switch_off("product_change")
    other = large(subscription)
    about = actions.situation(subscription, actor=None, audience="system")
    assert actions.CHANGE_SKU.why_not(about).code == "vendor_cannot"
    assert refusal(subscription, other).sentence == (
        "The licence service cannot change the product of a running subscription."
    )
    same = large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    assert refusal(subscription, other).code == "vendor_cannot"
    assert change(subscription, same).status == "completed"


def test_where_seats_cannot_change_they_stay(subscription, large, emulator):
    switch_off("seat_change")
    target = large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    assert refusal(subscription, target, seats=30).code == "vendor_cannot"
    assert change(subscription, target).status == "completed"


def test_a_target_is_declared_and_sold(subscription, large, emulator):
    assert refusal(subscription, SKUFactory(product=subscription.sku.product)).code == "no_target"
    target = large(subscription)
    assert refusal(subscription, SKUFactory(product=subscription.sku.product)).code == "not_a_target"
    target.is_sold = False
    target.save()
    assert refusal(subscription, target).code == "no_target"
    target.is_sold, target.product.is_sold = True, False
    target.save()
    target.product.save()
    assert refusal(subscription, target).code == "no_target"


@pytest.mark.parametrize(
    ("timing", "when", "code"),
    [
        ("now", quotes.RENEWAL, "only_now"),
        ("renewal", quotes.NOW, "only_at_renewal"),
        ("renewal", None, "only_at_renewal"),
        ("now", None, ""),
        ("now", quotes.NOW, ""),
        ("renewal", quotes.RENEWAL, ""),
        ("either", quotes.NOW, ""),
        ("either", quotes.RENEWAL, ""),
    ],
)
def test_when_a_target_is_possible(subscription, large, emulator, timing, when, code):
    target = large(subscription, timing, vendor_product_id=subscription.sku.vendor_product_id)
    if code:
        assert refusal(subscription, target, when=when).code == code
    else:
        assert change(subscription, target, when=when).status == (
            "scheduled" if when == quotes.RENEWAL else "completed"
        )


@pytest.mark.parametrize("seats", [19, 5001])
def test_seats_lie_within_the_range_of_the_target(subscription, large, emulator, seats):
    found = refusal(subscription, large(subscription), seats=seats)
    assert (found.code, found.sentence.endswith(f" allows 20 to 5,000 seats, and not {seats:,}.")) == (
        "outside_range",
        True,
    )


# --- at the renewal --------------------------------------------------------------------------------------------------


def test_at_the_renewal_it_comes_in_place_of_it(begun, large, run, cast, drain, emulator, travel):
    subscription = begun("2027-01-15", {"term_months": 2})
    target = large(subscription, "renewal")
    order = change(subscription, target, actor=cast.owner, audience=STOREFRONT, seats=30, when=quotes.RENEWAL)
    assert (order.status, order.due_at) == ("scheduled", instant("2027-03-15"))
    assert run("2027-02-15")["billed"] == 1
    assert not run(instant("2027-03-15") - timedelta(seconds=1)).get("due change_sku")
    assert emulator.control.requests(source="service") == []
    assert run("2027-03-15") == {"due change_sku": 1}
    drain()
    assert not run("2027-03-15")
    row = fresh(subscription)
    assert (row.sku, row.seats, row.period_start) == (target, 30, date(2027, 3, 15))
    assert amounts(subscription) == [("period", Decimal("87.50")), ("change", Decimal(150))]
    assert order.quote["lines"][0]["amount"] == "150.00"
    assert fresh(order).quote == order.quote


def test_undone_before_the_renewal_it_leaves_no_trace_in_the_ledger(begun, large, run, cast, travel, emulator):
    subscription = begun("2027-01-15", {"term_months": 1})
    order = change(subscription, large(subscription), actor=cast.owner, audience=STOREFRONT, when=quotes.RENEWAL)
    travel(instant("2027-02-15") - timedelta(seconds=1))
    lifecycle.undo(order.pk, actor=cast.manager, audience=STOREFRONT)
    assert run("2027-02-15") == {"billed": 1, "renewed": 1}
    assert amounts(subscription) == [("period", Decimal("87.50"))]
    assert fresh(subscription).sku == subscription.sku
    assert emulator.control.requests(source="service") == []


def test_refused_at_the_renewal_the_old_one_is_renewed(begun, large, run, drain, emulator):
    subscription = begun("2027-01-15", {"term_months": 1})
    order = change(subscription, large(subscription), when=quotes.RENEWAL)
    emulator.control.add_fault("item-error", kinds=["Activate"], code=602, message="Not now.")
    run("2027-02-15")
    drain()
    assert fresh(order).status == "failed"
    assert run("2027-02-15") == {"billed": 1, "renewed": 1}
    assert amounts(subscription) == [("period", Decimal("87.50"))]


def test_a_change_that_became_impossible_is_withdrawn_with_the_sentence(begun, large, run, emulator):
    subscription = begun("2027-01-15", {"term_months": 1})
    order = change(subscription, large(subscription), when=quotes.RENEWAL)
    # Another target, so that the action as such stays possible.
    large(subscription, vendor_product_id=subscription.sku.vendor_product_id)
    switch_off("product_change")
    assert run("2027-02-15")["withdrawn"] == 1
    assert fresh(order).outcome_message == "The licence service cannot change the product of a running subscription."
    assert amounts(subscription) == [("period", Decimal("87.50"))]


def test_without_a_renewal_there_is_nothing_to_change_at(subscription, large, cast, emulator):
    target = large(subscription)
    off = Wish(subscription.pk, "auto_renew", {"Renews automatically": False})
    lifecycle.place(off, actor=cast.owner, audience=STOREFRONT)
    assert refusal(subscription, target, when=quotes.RENEWAL).code == "no_renewal"
    assert change(subscription, target, when=quotes.NOW).status == "placed"


def test_switching_the_renewal_off_withdraws_what_was_to_come_in_place_of_it(subscription, large, cast, emulator):
    order = change(subscription, large(subscription), when=quotes.RENEWAL)
    off = Wish(subscription.pk, "auto_renew", {"Renews automatically": False})
    lifecycle.place(off, actor=cast.owner, audience=STOREFRONT)
    assert (fresh(order).status, fresh(order).outcome_message) == ("withdrawn", "Another change took its place.")
    assert fresh(subscription).auto_renew is False


def test_switching_the_renewal_off_leaves_other_plans_alone(subscription, large, cast, emulator):
    on = actions.local_day(clock.now(), subscription.account) + timedelta(days=3)
    order = change(subscription, large(subscription), when=on)
    off = Wish(subscription.pk, "auto_renew", {"Renews automatically": False})
    lifecycle.place(off, actor=cast.owner, audience=STOREFRONT)
    assert fresh(order).status == "scheduled"
