"""What a start charges and when, trials once for a company, and what becomes of starts that go wrong."""

import threading
import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import BSS, COMMAND, STOREFRONT, NotAllowed
from subscriptions.models import Charge, Order, Subscription
from tests.factories import AccountFactory, SKUFactory

pytestmark = pytest.mark.django_db


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def refuse_starts(emulator):
    emulator.control.add_fault("item-error", kinds=["Activate"], code=601, message="Not allowed.")


@pytest.fixture
def buy(cast):
    def start(sku, seats=10, **more):
        return lifecycle.start(
            cast.acme, sku, seats, **{"actor": cast.owner, "audience": STOREFRONT, "ordered_by": cast.owner} | more
        )

    return start


def test_a_start_that_is_tried_again_charges_what_was_quoted_for_the_period_that_began(
    buy, cast, drain, emulator, settings
):
    sku = SKUFactory(prices={1: "2.10"})
    refuse_starts(emulator)
    order = buy(sku, 25)
    drain()
    assert (fresh(order).status, fresh(order.subscription).status) == ("failed", "failed")
    assert not Charge.objects.exists()

    # The price list of the day of the retry is not what was shown.
    sku.price_bands.update(price="9.99")
    settings.CLOCK_OFFSET = timedelta(days=40)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="The contract is signed")
    drain()
    [charge], subscription = Charge.objects.all(), fresh(order.subscription)
    today = actions.local_day(clock.now(), cast.acme)
    assert (charge.amount, charge.seats, charge.covers_from) == (Decimal("52.500"), 25, today)
    assert (charge.period_start, charge.covers_to) == (subscription.period_start, subscription.period_end)
    first, last = charge.covers_from, charge.covers_to - timedelta(days=1)
    assert f"{first.day} {first:%B}" in charge.words
    assert charge.words.endswith(f"{last.day} {last:%B} {last.year}")


@pytest.mark.parametrize("end", ["rejected", "withdrawn", "given up"])
def test_a_start_that_never_began_ends_cancelled_and_charges_nothing(end, buy, cast, drain, emulator):
    sku = SKUFactory()
    if end == "given up":
        refuse_starts(emulator)
    else:
        sku.approval_limits.create(orders_from="1")
    order = buy(sku)
    drain()
    match end:
        case "rejected":
            assert fresh(order).status == "awaiting_approval"
            lifecycle.reject(order.pk, actor=cast.approver, audience=COMMAND, reason="No credit")
        case "withdrawn":
            lifecycle.undo(order.pk, actor=cast.owner, audience=STOREFRONT)
        case _:
            lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="They bought something else")
    drain()
    assert fresh(order.subscription).status == "cancelled"
    assert not Charge.objects.exists()
    assert emulator.control.changes(order.subscription.subscriber_id) == []


# --- trials ----------------------------------------------------------------------------------------------------------


def test_a_trial_is_free_and_ends_by_itself(buy, drain, emulator, settings):
    order = buy(SKUFactory(trial_days=30), trial=True)
    drain()
    subscription = fresh(order.subscription)
    begun = actions.local_day(subscription.started_at, subscription.account)
    assert (subscription.status, subscription.trial_ends) == ("active", begun + timedelta(days=30))
    settings.CLOCK_OFFSET = timedelta(days=31)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    lifecycle.catch_up(clock.now())
    drain()
    assert fresh(subscription).status == "cancelled"
    assert not Charge.objects.exists()


def test_a_company_has_one_trial_of_a_product_whatever_the_sku(buy, cast, drain):
    sku = SKUFactory(trial_days=30)
    buy(sku, trial=True)
    drain()
    for twin in (sku, SKUFactory(product=sku.product, trial_days=10)):
        with pytest.raises(NotAllowed, match="Acme GmbH had a trial") as refused:
            buy(twin, trial=True)
        assert refused.value.code == "trial_used"
    assert buy(SKUFactory(trial_days=5), trial=True).after["Trial"]
    assert buy(sku).quote
    other = lifecycle.start(cast.globex, sku, 10, actor=cast.stranger, audience=STOREFRONT, trial=True)
    assert other.status == "placed"


def test_a_trial_that_never_began_leaves_the_right_to_one(buy, cast, drain, emulator):
    sku = SKUFactory(trial_days=30)
    refuse_starts(emulator)
    failed = buy(sku, trial=True)
    drain()
    assert fresh(failed.subscription).status == "failed"
    second = buy(sku, trial=True)
    drain()
    assert fresh(second.subscription).status == "active"


def test_a_failed_trial_is_not_tried_again_after_another_one(buy, cast, drain, emulator):
    sku = SKUFactory(trial_days=30)
    refuse_starts(emulator)
    failed = buy(sku, trial=True)
    drain()
    buy(sku, trial=True)
    drain()
    with pytest.raises(NotAllowed) as refused:
        lifecycle.retry(failed.pk, actor=cast.operator, audience=BSS, reason="Once more")
    assert refused.value.code == "trial_used"
    assert (fresh(failed).status, fresh(failed.subscription).status) == ("failed", "failed")
    lifecycle.give_up(failed.pk, actor=cast.operator, audience=BSS, reason="They have another")
    assert fresh(failed.subscription).status == "cancelled"


def together(ask, times=4):
    """What so many calls at the same instant give or raise."""
    results, gate = [], threading.Barrier(times)

    def run():
        gate.wait()
        try:
            results.append(ask())
        except Exception as error:
            results.append(error)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_two_trials_at_the_same_instant_are_one(buy, empty_queue):
    sku = SKUFactory(trial_days=30)
    results = together(lambda: buy(sku, trial=True))
    refusals = [one for one in results if not isinstance(one, Order)]
    assert {type(one) for one in refusals} == {NotAllowed}
    assert [one.code for one in refusals] == ["trial_used"] * 3
    assert Subscription.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_page_of_a_trial_sent_several_times_at_once_is_one_order(buy, empty_queue):
    sku, key = SKUFactory(trial_days=30), uuid.uuid4()
    results = together(lambda: buy(sku, trial=True, idempotency_key=key))
    assert {type(one) for one in results} == {Order}, results
    assert len({one.pk for one in results}) == Subscription.objects.count() == 1


# --- days ------------------------------------------------------------------------------------------------------------


def test_the_days_are_those_of_the_companys_time_zone(cast, drain, emulator, settings):
    """Late in the evening in Europe it is tomorrow in Auckland."""
    account = AccountFactory(time_zone="Pacific/Auckland")
    order = lifecycle.start(account, SKUFactory(), 10, actor=cast.operator, audience=BSS)
    drain()
    begun = fresh(order.subscription).period_start
    assert begun == actions.local_day(clock.now(), account)
    assert date.fromisoformat(order.quote["on"]) == begun


# --- the company -----------------------------------------------------------------------------------------------------

DETAILS = {"legal_name": "Acme GmbH", "address": "Ring 1\n1010 Wien", "country": "AT", "vat_id": "ATU12345678"}


def test_details_of_a_company_are_kept_once_with_the_person_who_gave_them(cast):
    lifecycle.keep_company_details(cast.acme, DETAILS, actor=cast.buyer)
    lifecycle.keep_company_details(cast.acme, DETAILS | {"legal_name": "Other"}, actor=cast.owner)
    kept = fresh(cast.acme)
    assert {name: getattr(kept, name) for name in DETAILS} == DETAILS
    [entry] = LogEntry.objects.all()
    assert (entry.user, entry.object_id) == (cast.buyer, str(cast.acme.pk))


@pytest.mark.parametrize("role", ["viewer", "billing", "stranger"])
def test_who_may_not_buy_gives_no_details(role, cast):
    with pytest.raises(NotAllowed):
        lifecycle.keep_company_details(cast.acme, DETAILS, actor=cast.people[role])
    assert not fresh(cast.acme).has_details


def test_a_product_that_asks_for_details_is_not_sold_without(buy, cast):
    sku = SKUFactory(product__needs_company_details=True)
    with pytest.raises(NotAllowed) as refused:
        buy(sku)
    assert refused.value.code == "company_details"
    lifecycle.keep_company_details(cast.acme, DETAILS, actor=cast.owner)
    order = lifecycle.start(fresh(cast.acme), sku, 10, actor=cast.owner, audience=STOREFRONT)
    assert order.status == "placed"
