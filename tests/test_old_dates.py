"""The vendor refuses dates more than 14 days back: nothing that is sent late may carry one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from subscriptions import clock, lifecycle
from subscriptions.actions import BSS, STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import Order
from tests.factories import SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("stem", "after"), [("increase", {"Seats": 30}), ("decrease", {"Seats": 20}), ("cancel", {})])
def test_subscription_of_last_year_can_be_changed(stem, after, cast, at_vendor, drain):
    started = clock.now() - timedelta(days=400)
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, created_at=started, started_at=started))
    order = lifecycle.place(Wish(subscription.pk, stem, after), actor=cast.owner, audience=STOREFRONT)
    drain()
    assert Order.objects.get(pk=order.pk).status == "completed"


def test_start_that_was_refused_can_be_retried_weeks_later(cast, drain, emulator, settings):
    provider = emulator.control.providers()[0]
    emulator.control.put_provider(replace(provider, products=("ANOTHER",)))
    order = lifecycle.start(cast.acme, SKUFactory(), 25, actor=cast.operator, audience=BSS)
    drain()
    assert Order.objects.get(pk=order.pk).status == "failed"
    emulator.control.put_provider(provider)
    settings.CLOCK_OFFSET = timedelta(days=21)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="The product is in the contract now")
    drain()
    assert Order.objects.get(pk=order.pk).status == "completed"


def test_order_that_waited_longer_than_the_vendor_looks_back_is_taken(cast, subscription, drain, emulator, settings):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    settings.CLOCK_OFFSET = timedelta(days=20)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    drain()
    assert Order.objects.get(pk=order.pk).status == "completed"
