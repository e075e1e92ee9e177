"""The words that narrow lists, commands and runs."""

from datetime import UTC, datetime, time, timedelta

import pytest

from subscriptions import clock, filters
from subscriptions.filters import BadFilter
from subscriptions.models import Charge, Order, Subscription, VendorCall
from tests.factories import (
    AccountFactory,
    ChargeFactory,
    OrderFactory,
    ProductFactory,
    SKUFactory,
    SubscriptionFactory,
    VendorCallFactory,
)

pytestmark = pytest.mark.django_db


def found(model, *texts):
    return set(filters.narrow(model.objects.all(), filters.parse(texts)))


def test_all_words_hold_together():
    acme = AccountFactory(name="Acme")
    wanted = SubscriptionFactory(account=acme, status="suspended")
    SubscriptionFactory(account=acme, status="active")
    SubscriptionFactory(status="suspended")
    assert found(Subscription, "status=suspended", "account=acme") == {wanted}
    assert found(Subscription, "status=active,suspended", "account=ACME") == set(acme.subscriptions.all())


def test_a_product_by_name_or_by_number_and_a_sku_by_code():
    sku = SKUFactory(product=ProductFactory(name="Cloud Plus"), code="CP-1")
    wanted = SubscriptionFactory(sku=sku)
    SubscriptionFactory()
    for text in ("product=cloud plus", f"product={sku.product_id}", "sku=cp-1"):
        assert found(Subscription, text) == {wanted}


def test_the_search_takes_an_exact_id_an_order_number_or_a_company():
    acme = AccountFactory(name="Acme Ltd")
    wanted = SubscriptionFactory(account=acme)
    other = SubscriptionFactory()
    order = OrderFactory(subscription=wanted)
    elsewhere = OrderFactory(subscription=other)
    for text in (wanted.number, str(wanted.pk), order.number, "Acme"):
        assert found(Subscription, f"q={text}") == {wanted}, text
    for text in (wanted.number, order.number, "Acme"):
        assert found(Order, f"q={text}") == {order}, text
    assert elsewhere not in found(Order, "q=Acme")


def test_days_leave_out_the_day_itself_where_they_say_before():
    today = clock.now().date()
    early, late = (
        SubscriptionFactory(period_start=today - timedelta(9), period_end=today + timedelta(n)) for n in (3, 4)
    )
    assert found(Subscription, f"renews_before={today + timedelta(4)}") == {early}
    assert found(Subscription, f"renews_before={today + timedelta(5)}") == {early, late}


def test_instants_are_compared_with_the_beginning_of_the_day_in_utc():
    day = clock.now().astimezone(UTC).date()
    midnight = datetime.combine(day, time(), tzinfo=UTC)
    before, then = (OrderFactory(placed_at=at, finished_at=at) for at in (midnight - timedelta(seconds=1), midnight))
    assert found(Order, f"placed_before={day}") == {before}
    assert found(Order, f"finished_from={day - timedelta(1)}") == {before, then}
    assert found(Order, f"placed_from={day}") == found(Order, f"finished_from={day}") == {then}
    ending = SubscriptionFactory(status="ending", ends_at=midnight)
    assert found(Subscription, f"ends_before={day}") == set()
    assert found(Subscription, f"ends_before={day + timedelta(1)}") == {ending}


def test_what_is_not_renewed_ends_with_its_term():
    day = clock.now().astimezone(UTC).date()
    unrenewed = {"auto_renew": False, "term_end": day}
    leaves, stopped = (SubscriptionFactory(status=one, **unrenewed) for one in ("active", "suspended"))
    SubscriptionFactory(term_end=day)
    SubscriptionFactory(status="cancelled", **unrenewed)
    assert found(Subscription, f"ends_before={day}") == set()
    assert found(Subscription, f"ends_before={day + timedelta(1)}") == {leaves, stopped}


def test_a_trial_ends_by_itself():
    day = clock.now().astimezone(UTC).date()
    trial = {"trial_ends": day, "term_end": day}
    runs, stopped = (SubscriptionFactory(status=one, **trial) for one in ("active", "suspended"))
    SubscriptionFactory(term_end=day)
    SubscriptionFactory(status="cancelled", **trial)
    assert found(Subscription, f"ends_before={day}") == set()
    assert found(Subscription, f"ends_before={day + timedelta(1)}") == {runs, stopped}


def test_late_is_what_is_on_its_way_for_longer_than_usual():
    now = clock.now()
    long_ago, just_now = now - timedelta(minutes=3), now - timedelta(minutes=1)
    late = {
        OrderFactory(status="placed", placed_at=long_ago),
        OrderFactory(status="in_progress", placed_at=long_ago, retried_at=long_ago),
        OrderFactory(status="placed", placed_at=now - timedelta(days=9), due_at=long_ago),
    }
    fine = {
        OrderFactory(status="placed", placed_at=just_now),
        OrderFactory(status="placed", placed_at=long_ago, retried_at=just_now),
        OrderFactory(status="placed", placed_at=now - timedelta(days=9), due_at=just_now),
        OrderFactory(status="completed", placed_at=long_ago),
        OrderFactory(status="needs_attention", placed_at=long_ago),
    }
    assert found(Order, "late=1") == late
    assert found(Order, "late=0") == fine


def test_trouble_is_a_call_of_the_last_day_without_a_clear_answer():
    now = clock.now()
    old = VendorCallFactory(outcome="transient", finished_at=now - timedelta(hours=25))
    clear = ("done", "rejected", "already_done", "unsupported")
    bad = {VendorCallFactory(outcome=one, finished_at=now) for one in ("transient", "unknown", "credentials")}
    fine = {VendorCallFactory(outcome=one, finished_at=now) for one in clear} | {VendorCallFactory()}
    assert found(VendorCall, "trouble=1") == bad
    assert found(VendorCall, "trouble=0") == fine | {old}


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        (Subscription, "colour=red", "There is no filter “colour”. There are: status, product"),
        (Subscription, "status=asleep", "status: “asleep” is none of: pending, active"),
        (Subscription, "account=Nobody", "account: There is no company “Nobody”."),
        (Subscription, "renews_before=1.3.2027", "renews_before: “1.3.2027” is no date."),
        (Order, "needs_staff=yes", "needs_staff: “yes” is neither 1 nor 0."),
        (Charge, "kind", "“kind” is no filter. Write it as status=active."),
        (Charge, "kind=", "“kind=” is no filter."),
    ],
)
def test_a_word_that_cannot_be_used_is_named(model, text, said):
    with pytest.raises(BadFilter) as bad:
        found(model, text)
    assert said in str(bad.value)


def test_digits_are_always_a_number_and_never_a_name():
    numbered = AccountFactory()
    named = AccountFactory(name=str(numbered.pk))
    wanted, _ = SubscriptionFactory(account=numbered), SubscriptionFactory(account=named)
    assert found(Subscription, f"account={numbered.pk}") == {wanted}


def test_a_line_of_the_ledger_by_its_number():
    line, other = ChargeFactory(), ChargeFactory()
    assert found(Charge, f"q={line.pk}") == {line}
    assert found(Charge, f"subscription={other.subscription.number}") == {other}


def test_two_of_one_name_are_told_apart_by_number():
    first, second = AccountFactory(name="Twin"), AccountFactory(name="twin")
    wanted = SubscriptionFactory(account=second)
    SubscriptionFactory(account=first)
    with pytest.raises(BadFilter, match="Several are called “Twin”"):
        found(Subscription, "account=Twin")
    assert found(Subscription, f"account={second.pk}") == {wanted}
