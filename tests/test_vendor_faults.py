"""Every fault of the emulator against every kind of order: nothing lost, nothing twice, nothing told."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.forms.models import model_to_dict
from procrastinate.contrib.django import app

from subscriptions import gateways, lifecycle, reconciliation
from subscriptions.actions import BSS
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Order, Subscription, VendorCall
from subscriptions.vendors.emulator.faults import FAULTS
from tests.factories import SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

ITEMS = {
    "start": "Activate", "increase": "Activate", "decrease": "Activate", "suspend": "Pause", "activate": "Resume",
    "cancel": "HardCancel",
}  # fmt: skip
WISHED = {"increase": {"Seats": 30}, "decrease": {"Seats": 20}}
THEIRS = {"active": "Started", "suspended": "Paused", "cancelled": "HardCancelled"}
REFUSALS = {"soap-fault-client"}
"""Faults that are a clear refusal: the order fails, with its reason. All others must end well."""
MAY_NEED_A_PERSON = {"stale-read"}
"""Faults of a read that can look like a record which is neither what was ordered nor what was before."""


@pytest.fixture(autouse=True)
def short_waits(settings, emulator):
    """A vendor that may think for a quarter of a second, and everything else in proportion."""
    options = settings.VENDORS["kaspersky"]["OPTIONS"]
    options["read_timeout"], options["attempt_timeout"] = 0.25, 0.35
    gateways.gateway.cache_clear()
    settings.VENDOR_ATTEMPT_DEADLINE = 0.5
    settings.VENDOR_READ_DELAYS = [0.02, 0.05, 0.2, 0.3]
    settings.VENDOR_NOT_APPLIED_AFTER = 0.3
    settings.VENDOR_PING_EVERY = 0.1
    settings.VENDOR_RETRY_DELAYS = [0.05, 0.1, 0.2]


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def orders(cast, at_vendor):
    """One order of each kind, placed, with the rows they are about."""

    def place_all():
        sku, placed = SKUFactory(), {}
        for stem in ITEMS:
            if stem == "start":
                placed[stem] = lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS)
                continue
            status = "suspended" if stem == "activate" else "active"
            subscription = at_vendor(SubscriptionFactory(account=cast.acme, sku=sku, status=status))
            wish = Wish(subscription.pk, stem, WISHED.get(stem, {}), reason="test")
            placed[stem] = lifecycle.place(wish, actor=cast.operator, audience=BSS)
        return placed

    return place_all


def check_end(order, emulator, person, *, failed=False):
    """Order, our record, the vendor's record and its journal tell one story."""
    done = fresh(order)
    ours = Subscription.objects.select_related("sku__product", "account").get(pk=order.subscription_id)
    assert done.status == ("failed" if failed else "completed"), (order.action, done.outcome_message)
    assert len(emulator.control.changes(ours.subscriber_id)) == (0 if failed else 1), order.action
    if failed:
        assert done.outcome_message
        before = order.before.get("Status", "failed" if order.action == "start" else "active")
        assert (ours.status, ours.seats) == (before, 12 if order.action == "start" else 25)
    else:
        assert ours.status == order.after.get("Status", "active")
        assert ours.seats == order.after.get("Seats", 25)
    assert [event.kind.partition(".")[2] for event in Event.objects.filter(order=order).order_by("pk")].count(
        done.status
    ) == 1
    theirs = emulator.control.subscriber(ours.subscriber_id)
    if failed and order.action == "start":
        assert theirs is None
        return
    assert (theirs.status, theirs.seats) == (THEIRS[ours.status], ours.seats)
    assert theirs.activation_code == ours.activation_code.reveal()
    assert not reconciliation.read_now(ours, actor=person, audience=BSS).drift


def check_no_secrets(placed, emulator, caplog):
    told = [str(model_to_dict(row)) for model in (VendorCall, Event, Order) for row in model.objects.all()]
    told += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    codes = [emulator.control.subscriber(one.subscription.subscriber_id) for one in placed.values()]
    for secret in ("emulator-only", *(record.activation_code for record in codes if record)):
        assert not [text for text in told if secret in text]


def strike(emulator, fault, order, *, kinds):
    """Let the fault meet this order, or everything where it strikes before anything is read."""
    scope = FAULTS[fault].scope
    if scope == "connection":
        return
    emulator.control.add_fault(fault, kinds=kinds, subscriber=order.subscription.subscriber_id)


def strike_connections(emulator, fault):
    if fault == "refused":
        emulator.control.add_fault(fault, for_seconds=0.3)
    elif FAULTS[fault].scope == "connection":
        emulator.control.add_fault(fault, count=len(ITEMS))


def finish(placed, fault, emulator, cast, drain):
    """To the end of every order; where a person is needed, one looks at it again when the trouble is over."""
    if fault == "credentials-refused":
        # What a worker's clock would do: nobody is let in again before a ping has been.
        soon = datetime.now(UTC)
        for number in range(1, 8):
            app.configure_task(
                "subscriptions.ping_vendors",
                schedule_at=soon + timedelta(seconds=number * 0.15),
                queueing_lock=f"{number}",
            ).defer(timestamp=0)
    drain()
    held = [one for one in placed.values() if fresh(one).status == "needs_attention"]
    assert not held or fault in MAY_NEED_A_PERSON
    emulator.control.clear_faults()
    for one in held:
        lifecycle.retry(one.pk, actor=cast.support, audience=BSS, reason="trouble over")
    drain()


@pytest.mark.parametrize("fault", FAULTS)
def test_sending_meets(fault, orders, cast, drain, emulator, caplog):
    caplog.set_level(logging.DEBUG)
    placed = orders()
    strike_connections(emulator, fault)
    if fault == "credentials-refused":
        # One is enough to pause the vendor for all of them.
        strike(emulator, fault, placed["increase"], kinds=["Activate"])
    else:
        for stem, order in placed.items():
            kinds = ["GetInfo"] if FAULTS[fault].scope == "read" else [ITEMS[stem]]
            strike(emulator, fault, order, kinds=kinds)
    finish(placed, fault, emulator, cast, drain)
    for order in placed.values():
        check_end(order, emulator, cast.support, failed=fault in REFUSALS)
    check_no_secrets(placed, emulator, caplog)


@pytest.mark.parametrize("fault", FAULTS)
def test_settling_read_meets(fault, orders, cast, drain, emulator, caplog):
    caplog.set_level(logging.DEBUG)
    placed = orders()
    for stem, order in placed.items():
        emulator.control.add_fault("applied-closed", kinds=[ITEMS[stem]], subscriber=order.subscription.subscriber_id)
    strike_connections(emulator, fault)
    for order in placed.values():
        if fault != "credentials-refused" or order.action == "increase":
            strike(emulator, fault, order, kinds=["GetInfo"])
    finish(placed, fault, emulator, cast, drain)
    for order in placed.values():
        check_end(order, emulator, cast.support)
    check_no_secrets(placed, emulator, caplog)


def test_fault_names_cover_what_the_protocol_can_do():
    """The two tests above go through the whole list; an empty or renamed list must not pass as tested."""
    assert len(FAULTS) >= 30
    assert set(FAULTS) >= REFUSALS | MAY_NEED_A_PERSON


def test_vendor_down_for_a_while(orders, cast, drain, emulator):
    placed = orders()
    emulator.control.add_fault("refused", for_seconds=1.5)
    drain()
    for order in placed.values():
        check_end(order, emulator, cast.support)
        assert order.vendor_calls.filter(outcome="transient").exists()
        assert order.vendor_calls.filter(outcome="done").count() == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_share_of_failures_for_a_while(seed, orders, cast, drain, emulator):
    emulator.control.reseed(seed)
    several = [orders() for _ in range(3)]
    for fault in ("applied-closed", "http-503", "closed-after-reading", "applied-html-500", "latency-long-tail"):
        told = {"retry_after": 0} if fault == "http-503" else {}
        emulator.control.add_fault(fault, share=0.25, for_seconds=3, **told)
    drain(60)
    assert sum(rule.fired for rule in emulator.control.faults()) > 10
    for placed in several:
        for order in placed.values():
            check_end(order, emulator, cast.support)
