"""The vendor's records of many subscribers, in containers."""

from dataclasses import replace

import pytest

from subscriptions import lifecycle, reconciliation
from subscriptions.models import Purpose, VendorCall, VendorState
from subscriptions.reconciliation import VendorSilent
from subscriptions.vendors import port
from subscriptions.vendors.emulator.records import DEFAULT_PROVIDER
from tests.factories import SubscriptionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(cast, at_vendor):
    rows = SubscriptionFactory.create_batch(3, account=cast.acme)
    for number, one in enumerate(rows):
        at_vendor(one, seats=10 + number)
    return [one.subscriber_id for one in rows]


def read(ids, purpose=Purpose.TAKEOVER):
    return reconciliation.read_many("kaspersky", ids, purpose=purpose)


def test_one_answer_for_each_in_order_and_one_row_for_each_container(three, settings):
    settings.VENDOR_READ_TOGETHER = 2
    answers = read([three[2], "STRANGER", three[0], three[1]])
    assert [one.details and one.details.seats for one in answers] == [12, None, 10, 11]
    assert answers[1].code == port.NOT_FOUND
    first, second = VendorCall.objects.order_by("pk")
    assert (first.purpose, first.subscription, first.order, first.outcome) == ("takeover", None, None, "done")
    assert first.finished_at
    assert first.asked == f"GetInfo of 2 subscribers, from {three[2]} to STRANGER"
    assert first.answered == "done: 1\nnot-found: 1"
    assert second.transaction_id != first.transaction_id
    assert second.answered == "done: 2"


def test_no_code_is_written_down(three):
    [answer] = read(three[:1])
    assert answer.activation_code.reveal() not in VendorCall.objects.get().answered


def test_one_that_cannot_be_said_or_read_does_not_stop_the_others(three, emulator):
    emulator.control.add_fault("applied-missing-item", subscriber=three[1])
    answers = read([three[0], "\x00", three[1], three[2]])
    assert [one.outcome for one in answers] == ["done", "rejected", "unknown", "done"]
    assert [one.code for one in answers][1:3] == ["unsayable", "missing-item"]


@pytest.mark.parametrize("fault", ["html-500", "applied-truncated-xml", "applied-wrong-echo"])
def test_a_vendor_that_does_not_answer(fault, three, emulator):
    emulator.control.add_fault(fault)
    with pytest.raises(VendorSilent, match="did not answer"):
        read(three)
    call = VendorCall.objects.get()
    assert (call.outcome, bool(call.finished_at)) == ("unknown", True)
    assert len(read(three)) == 3


def test_nothing_is_asked_of_a_vendor_that_does_not_let_us_in(three, emulator):
    emulator.control.put_provider(replace(DEFAULT_PROVIDER, password="changed"))
    with pytest.raises(VendorSilent, match="does not let us in"):
        read(three)
    assert VendorState.objects.get().paused_at
    asked = len(emulator.control.journal())
    with pytest.raises(VendorSilent, match="does not let us in"):
        read(three)
    assert len(emulator.control.journal()) == asked
    emulator.control.put_provider(DEFAULT_PROVIDER)
    lifecycle.open_vendor("kaspersky")
    assert len(read(three)) == 3
