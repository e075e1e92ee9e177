"""How an order is carried to the vendor: the policy as a pure function, and each class of outcome end to end."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings as django_settings
from django.db import connection, connections
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from procrastinate.contrib.django import app

from subscriptions import clock, fulfilment, gateways, lifecycle
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.fulfilment import READ, SEND, judge_read, judge_write, next_step
from subscriptions.lifecycle import Attempt, Hold, Result, Verdict, Wait, Wish
from subscriptions.models import SKU, Event, Order, Subscription, VendorCall, VendorState
from subscriptions.vendors.kaspersky.gateway import KasperskyGateway
from subscriptions.vendors.port import NOT_FOUND, OPEN_ENDED, Answer, Details, Outcome, VendorStatus
from tests.factories import SKUFactory, SubscriptionFactory, VendorCallFactory

# --- the policy, in the seconds of vendor-protocol.md ----------------------------------------------------------------

IN_FULL = {
    "VENDOR_DEADLINE_MARGIN": 5.0,
    "VENDOR_RETRY_DELAYS": [5.0, 30.0, 120.0, 600.0, 3600.0],
    "VENDOR_RETRY_LIMIT": 24 * 3600.0,
    "VENDOR_READ_DELAYS": [2.0, 10.0, 60.0, 300.0],
    "VENDOR_READ_LIMIT": 900.0,
    "VENDOR_NOT_APPLIED_AFTER": 60.0,
    "VENDOR_PING_EVERY": 60.0,
}
in_full = override_settings(**IN_FULL)
T0 = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
LOST = None
SILENCE = ""
DAY = 24 * 3600


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def an_order(action="increase", *, retried=None, status="in_progress", due=None, abandoned=False):
    return Order(
        pk=1,
        subscription_id=1,
        action=action,
        status=status,
        before={"Seats": 0 if action == "start" else 25},
        after={"Seats": 30},
        placed_at=T0,
        retried_at=None if retried is None else at(retried),
        next_attempt_at=None if due is None else at(due),
        abandoned=abandoned,
    )


def a_call(number, what, started, came):
    """`came`: the outcome of a write, the evidence of a read (SILENCE: none), or LOST with its worker."""
    settled = {} if came is LOST else {"finished_at": at(started) + timedelta(seconds=1)}
    write = what == "write"
    return VendorCall(
        pk=number,
        purpose="write" if write else "settle",
        started_at=at(started),
        deadline=at(started + 60),
        outcome="" if came is LOST else came if write else "done" if came else "unknown",
        evidence="" if write or came is LOST else came,
        **settled,
    )


def history(*lines):
    return [a_call(number, *line) for number, line in enumerate(lines, 1)]


def reads(came, *starts):
    return tuple(("read", start, came) for start in starts)


UNKNOWN = ("write", 0, "unknown")
POLICY = {
    "nothing was sent": ({}, (), 0, SEND),
    "a stray job does not shorten a backoff": (
        {"status": "placed", "due": 30}, [("write", 0, "transient")], 10, Wait(at(30)),
    ),
    "surely not applied, and due": ({"status": "placed", "due": 30}, [("write", 0, "transient")], 30, SEND),
    "not let in, and due": ({"status": "placed", "due": 60}, [("write", 0, "credentials")], 60, SEND),
    "another worker may be sending": ({}, [("write", 0, LOST)], 0.5, Wait(at(65))),
    "it still may, past its deadline": ({}, [("write", 0, LOST)], 64, Wait(at(65))),
    "its worker is lost": ({}, [("write", 0, LOST)], 65, READ),
    "its worker was lost an hour ago, and so were all": ({}, [("write", 0, LOST)], 3600, READ),
    "another worker may be reading": ({}, [UNKNOWN, ("read", 10, LOST)], 40, Wait(at(75))),
    "the reader is lost": ({}, [UNKNOWN, ("read", 10, LOST)], 75, READ),
    "every reader is lost": ({}, [UNKNOWN, *reads(LOST, *range(10, 1200, 70))], 1300, Hold("unknown", "")),
    "too early to read": ({}, [UNKNOWN], 1, Wait(at(2))),
    "time to read": ({}, [UNKNOWN], 2, READ),
    "second read": ({}, [UNKNOWN, *reads("before", 2)], 5, Wait(at(12))),
    "third read": ({}, [UNKNOWN, *reads("before", 2, 12)], 13, Wait(at(72))),
    "too early reads prove nothing": ({}, [UNKNOWN, *reads("before", 2, 12, 59)], 60, Wait(at(359))),
    "one late read is not two": ({}, [UNKNOWN, *reads("before", 2, 12, 72)], 73, Wait(at(372))),
    "proven not applied": ({}, [UNKNOWN, *reads("before", 72, 372)], 373, SEND),
    "a lost worker's sending, proven not applied": ({}, [("write", 0, LOST), *reads("before", 72, 82)], 83, SEND),
    "never applied for a day": (
        {}, [UNKNOWN, ("write", DAY, "unknown"), *reads("before", DAY + 72, DAY + 372)], DAY + 373,
        Hold("never_applied", ""),
    ),
    "a day counts from the retry": (
        {"retried": DAY - 100}, [UNKNOWN, ("write", DAY, "unknown"), *reads("before", DAY + 72, DAY + 372)], DAY + 373,
        SEND,
    ),
    "neither": ({}, [UNKNOWN, *reads("neither", 2)], 3, Hold("neither", "")),
    "gone": ({}, [UNKNOWN, *reads("absent", 2)], 3, Hold("neither", "")),
    "start: not there yet": ({"action": "start"}, [UNKNOWN, *reads("absent", 2, 12)], 13, Wait(at(72))),
    "start: not there past the deadline": ({"action": "start"}, [UNKNOWN, *reads("absent", 72)], 73, SEND),
    "start: something else is there": ({"action": "start"}, [UNKNOWN, *reads("neither", 2)], 3, Hold("neither", "")),
    "done already, they say": ({}, [("write", 0, "already_done")], 2, READ),
    "done already, and is not": (
        {}, [("write", 0, "already_done"), *reads("before", 2)], 3, Hold("already_done", ""),
    ),
    "done already, and nobody answers": (
        {}, [("write", 0, "already_done"), *reads(SILENCE, 2, 12, 72, 372, 672)], 700, Wait(at(972)),
    ),
    "reads fail": ({}, [UNKNOWN, *reads(SILENCE, 2, 12, 72, 372, 672)], 973, READ),
    "reads failed for as long as the limit": (
        {}, [UNKNOWN, *reads(SILENCE, 2, 12, 72, 372, 672, 972)], 973, Hold("unknown", ""),
    ),
    "the last reads fail": (
        {}, [UNKNOWN, *reads("before", 2), *reads(SILENCE, 12, 72, 372, 672, 972)], 973, Hold("unknown", ""),
    ),
    "retried: reads first": ({"retried": 2000}, [UNKNOWN, *reads(SILENCE, 972)], 2001, Wait(at(2002))),
    "retried: time to read": ({"retried": 2000}, [UNKNOWN, *reads("before", 972)], 2002, READ),
    "retried, and the vendor was paused for long": ({"retried": 2000}, [UNKNOWN], 9000, READ),
    "retried: one answer is enough": ({"retried": 2000}, [UNKNOWN, *reads("before", 2002)], 2003, SEND),
    "retried: even this one": ({"retried": 2000}, [UNKNOWN, *reads("neither", 2002)], 2003, SEND),
    "retried: no answer": ({"retried": 2000}, [UNKNOWN, *reads(SILENCE, 2002)], 2003, Wait(at(2012))),
    "retried after a refusal": ({"retried": 2000}, [("write", 0, "rejected")], 2000, SEND),
    "retried, and the first answer was only late": ({"retried": 2000}, [("write", 0, "done")], 2002, READ),
    "given up at once: too early to tell": (
        {"action": "start", "retried": 10, "abandoned": True}, [UNKNOWN], 12, Wait(at(60)),
    ),
    "given up: what is there?": ({"action": "start", "retried": 100, "abandoned": True}, [UNKNOWN], 102, READ),
    "given up: it is there": (
        {"action": "start", "retried": 100, "abandoned": True}, [UNKNOWN, *reads("before", 102)], 103, SEND,
    ),
    "given up: the cancel may be on its way": (
        {"action": "start", "retried": 100, "abandoned": True},
        [UNKNOWN, *reads("before", 102), ("write", 103, "unknown"), *reads("before", 105, 170)], 171, Wait(at(230)),
    ),
    "given up: the cancel was not applied": (
        {"action": "start", "retried": 100, "abandoned": True},
        [UNKNOWN, *reads("before", 102), ("write", 103, "unknown"), *reads("before", 170, 470)], 471, SEND,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", POLICY)
def test_next_step(case):
    about, lines, now, expected = POLICY[case]
    with in_full:
        step = next_step(an_order(**about), history(*lines), at(now))
    if isinstance(expected, Hold):
        assert isinstance(step, Hold)
        assert step.code == expected.code
        assert step.message.endswith(".")
    else:
        assert step == expected


class Play:
    """One order against a vendor that applies whatever reaches it, as often as it reaches it.

    It moves time, and does with verdicts what `lifecycle` does; policy and judgement are the real ones.
    """

    record = SKU(vendor_product_id="P")
    about = Subscription(pk=1, sku=record, subscriber_id="S")

    def __init__(self, action, fates, rest):
        self.order = an_order(action, status="placed")
        self.calls, self.now, self.applied, self.late = [], 0.0, 0, []
        self.fates, self.rest, self.end = list(fates), rest, ""

    def fate(self, of):
        """The next fate that suits; after the last one it is always `rest`, and afterwards the best."""
        while self.fates:
            one = self.fates.pop(0)
            if one in of:
                return one
        return self.rest if self.rest in of else of[0]

    def settle_late(self):
        self.applied += sum(due <= self.now for due in self.late)
        self.late = [due for due in self.late if due > self.now]

    def send(self):
        fate = self.fate(
            ["done", "rejected", "transient", "credentials", "swallowed", "lost", "late", "unsent", "dead"]
        )
        outcome = fate
        if self.applied and fate == "rejected":
            outcome = "already_done"
        elif fate in ("done", "lost", "dead"):
            outcome = "already_done" if self.applied and fate == "done" else {"done": "done"}.get(fate, "unknown")
            self.applied += outcome != "already_done"
        elif fate == "late":
            self.late.append(self.now + 35)
            outcome = "unknown"
        elif fate in ("swallowed", "unsent"):
            outcome = "unknown"
        if fate in ("dead", "unsent"):
            outcome = LOST
        return outcome

    def read(self):
        fate = self.fate(["answered", "silent", "dead"])
        if fate == "dead":
            return LOST
        if fate == "silent":
            return Answer(Outcome.UNKNOWN, "read-timeout")
        if self.order.action == "start" and not self.applied:
            return Answer(Outcome.REJECTED, NOT_FOUND)
        seats = 30 if self.applied else 25
        return Answer(Outcome.DONE, details=Details("S", VendorStatus.STARTED, seats, "P", ends_at=OPEN_ENDED))

    def step(self):
        self.settle_late()
        step = next_step(self.order, self.calls, at(self.now))
        assert isinstance(step, Wait | Hold) or step in (SEND, READ)
        if isinstance(step, Wait):
            assert step.until > at(self.now), "a wait that does not move time on would spin"
            assert step.until <= at(self.now + DAY)
            self.now = (step.until - T0).total_seconds()
            return
        if isinstance(step, Hold):
            self.end = "held"
            return
        if self.order.status == "placed":
            self.order.claim()
        number = len(self.calls) + 1
        earlier, started = list(self.calls), self.now
        if step == SEND:
            self.check_nothing_unsettled()
            came = self.send()
            self.calls.append(call := a_call(number, "write", started, came))
            answer = came and Answer(Outcome(came))
        else:
            answer = self.read()
            self.calls.append(call := a_call(number, "read", started, answer and SILENCE))
        self.now += 1
        if not answer:
            return
        if step == SEND:
            result = judge_write(self.order, earlier, call, answer, at(self.now))
        else:
            result = judge_read(self.order, self.about, call, answer, at(self.now))
            call.evidence = result.evidence
        self.order.next_attempt_at = result.again_at
        if result.verdict == Verdict.RELEASE:
            self.order.release()
        elif result.verdict != Verdict.AGAIN:
            self.end = {"complete": "completed", "fail": "failed", "hold": "held"}[result.verdict]

    def check_nothing_unsettled(self):
        """Written apart from the policy: what must be true whenever a request is about to leave."""
        writes = [one for one in self.calls if one.purpose == "write"]
        for call in self.calls:
            assert call.finished_at or at(self.now) >= call.deadline + timedelta(seconds=5)
        if writes and (writes[-1].finished_at is None or writes[-1].outcome == "unknown"):
            calm = writes[-1].started_at + timedelta(seconds=60)
            proofs = [one.evidence for one in self.calls if one.pk > writes[-1].pk and one.started_at >= calm]
            assert proofs.count("before") >= 2 or (self.order.action == "start" and "absent" in proofs)


FATES = [
    "done", "rejected", "transient", "credentials", "swallowed", "lost", "late", "unsent", "dead", "answered", "silent",
]  # fmt: skip


@hypothesis_settings(deadline=None, max_examples=80)
@given(
    action=st.sampled_from(["start", "increase"]),
    fates=st.lists(st.sampled_from(FATES), max_size=12),
    rest=st.sampled_from(["", "transient", "swallowed", "unsent", "silent"]),
)
def test_every_order_ends_and_nothing_is_applied_twice(action, fates, rest):
    """Whatever the network, the vendor and the workers do; the vendor here knows no duplicates."""
    # A day of sending again is thousands of steps; two hours tell the same.
    with in_full, override_settings(VENDOR_RETRY_LIMIT=2 * 3600.0):
        play = Play(action, fates, rest)
        for _ in range(3_000):
            play.step()
            if play.end:
                break
    play.now += 60
    play.settle_late()
    assert play.end, "no end in sight"
    assert play.now < DAY / 2
    assert play.applied == 1 if play.end == "completed" else play.applied <= 1
    if play.end == "failed":
        assert not play.applied


@given(
    lines=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.floats(0, 300), st.sampled_from([LOST, *map(str, Outcome)])),
            st.tuples(
                st.just("read"), st.floats(0, 300),
                st.sampled_from([LOST, SILENCE, "target", "before", "neither", "absent"]),
            ),
        ),
        max_size=8,
    ),
    action=st.sampled_from(["start", "increase"]),
    retried=st.none() | st.floats(0, 2_000),
    abandoned=st.booleans(),
    wait=st.floats(0, 2 * DAY),
)  # fmt: skip
def test_policy_knows_an_answer_to_every_history(lines, action, retried, abandoned, wait):
    """Also to those that cannot happen: it must not send what is unsettled, and must not spin."""
    clocked, now = [], 0.0
    for what, gap, came in lines:
        clocked.append((what, now := now + gap, came))
    calls = history(*clocked)
    about = an_order(action, retried=retried, abandoned=abandoned and action == "start" and retried is not None)
    moment = at(now + wait)
    with in_full:
        step = next_step(about, calls, moment)
    if isinstance(step, Wait):
        assert step.until > moment
    elif step == SEND:
        writes = [one for one in calls if one.purpose == "write"]
        if writes and writes[-1].outcome in ("", "unknown", "already_done", "done"):
            answered = [one for one in calls if one.pk > writes[-1].pk and one.evidence]
            assert answered, "sent again without any read"
            assert all(one.finished_at or moment >= one.deadline for one in calls)
    else:
        assert step == READ or isinstance(step, Hold)


@pytest.mark.parametrize(
    ("tries", "least", "most"), [(0, 4, 6), (1, 24, 36), (2, 96, 144), (3, 480, 720), (4, 2880, 4320), (9, 2880, 4320)]
)
def test_backoff_grows_and_spreads(tries, least, most):
    calls = history(*(("write", number, "transient") for number in range(tries)))
    call = a_call(tries + 1, "write", tries, LOST)
    with in_full:
        result = judge_write(an_order(), calls, call, Answer(Outcome.TRANSIENT), at(10))
    assert result.verdict == Verdict.RELEASE
    assert at(10 + least) <= result.again_at <= at(10 + most)


TRANSIENT = Answer(Outcome.TRANSIENT, "http-503", retry_after=100.0)
TRIED = [("write", at, "transient") for at in (0, 5, 35, 155, 755, 4355)]
VERDICTS = {
    "first of all, after a day in the queue": ({}, (), 2 * DAY, TRANSIENT, Verdict.RELEASE),
    "for a day": ({}, TRIED, DAY + 1, TRANSIENT, Verdict.HOLD),
    "for a day, less a minute": ({}, TRIED, DAY - 60, TRANSIENT, Verdict.RELEASE),
    "for a day until somebody tried again": ({"retried": DAY}, TRIED, DAY + 60, TRANSIENT, Verdict.RELEASE),
    "twice, with days without a worker between": (
        {}, [("write", 0, "transient")], 3 * DAY, TRANSIENT, Verdict.RELEASE,
    ),
    "cancel of a start that nobody knows": (
        {"action": "start", "abandoned": True}, (), 0, Answer(Outcome.REJECTED, "5"), Verdict.COMPLETE,
    ),
    "refused cancel of a start": (
        {"action": "start", "abandoned": True}, (), 0, Answer(Outcome.REJECTED, "304"), Verdict.HOLD,
    ),
    "no such capability": ({}, (), 0, Answer(Outcome.UNSUPPORTED, "seat-change"), Verdict.FAIL),
    "refused": ({}, (), 0, Answer(Outcome.REJECTED, "602"), Verdict.FAIL),
    "not let in": ({}, (), 0, Answer(Outcome.CREDENTIALS, "http-401"), Verdict.RELEASE),
    "done already": ({}, (), 0, Answer(Outcome.ALREADY_DONE, "6"), Verdict.AGAIN),
    "unknown": ({}, (), 0, Answer(Outcome.UNKNOWN, "reset"), Verdict.AGAIN),
    "done": ({}, (), 0, Answer(Outcome.DONE), Verdict.COMPLETE),
}  # fmt: skip


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case):
    about, lines, now, answer, expected = VERDICTS[case]
    calls = history(*lines)
    with in_full:
        result = judge_write(an_order(**about), calls, a_call(len(calls) + 1, "write", now, LOST), answer, at(now))
    assert result.verdict == expected
    if expected == Verdict.RELEASE and answer.retry_after:
        assert result.again_at >= at(now + answer.retry_after)


# --- each class of outcome, end to end -------------------------------------------------------------------------------


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def place(subscription, person, stem="increase", audience=STOREFRONT):
    after = {"increase": {"Seats": 30}, "decrease": {"Seats": 20}}.get(stem, {})
    return lifecycle.place(Wish(subscription.pk, stem, after, reason="test"), actor=person, audience=audience)


def run(order):
    """One run of the order's job, as a worker would make it, whoever else may have one."""
    fulfilment.fulfil.func(order.pk)


def outcomes(order):
    return list(order.vendor_calls.order_by("pk").values_list("purpose", "outcome"))


def kinds(order):
    return [
        kind.partition(".")[2]
        for kind in Event.objects.filter(order=order).order_by("pk").values_list("kind", flat=True)
    ]


def jobs(status="todo"):
    with connection.cursor() as cursor:
        cursor.execute("SELECT task_name FROM procrastinate_jobs WHERE status = %s", [status])
        return [name.partition(".")[2] for (name,) in cursor.fetchall()]


def clear_jobs():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


def with_gateway(settings, backend):
    entry = settings.VENDORS["kaspersky"]
    settings.VENDORS = {"kaspersky": {**entry, "BACKEND": f"{__name__}.{backend}"}}
    gateways.gateway.cache_clear()


@pytest.mark.django_db
class TestTransient:
    def test_is_sent_again_until_it_succeeds(self, subscription, cast, drain, emulator):
        emulator.control.add_fault("http-503", count=2, retry_after=0)
        order = place(subscription, cast.manager)
        drain()
        assert fresh(order).status == "completed"
        assert outcomes(order) == [("write", "transient"), ("write", "transient"), ("write", "done")]
        assert kinds(order) == ["placed", "released", "released", "completed"]
        assert len({call.transaction_id for call in order.vendor_calls.all()}) == 1
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1

    def test_for_a_day_needs_a_person_who_can_try_again(self, subscription, cast, drain, emulator, settings):
        settings.VENDOR_RETRY_LIMIT, settings.VENDOR_RETRY_DELAYS = 0.2, [0.1, 0.1, 0.1]
        emulator.control.add_fault("http-429", count=1000, retry_after=0)
        order = place(subscription, cast.manager)
        drain()
        held = fresh(order)
        assert held.status == "needs_attention"
        assert held.needs_staff
        assert "day" in held.outcome_message
        assert fresh(subscription).seats == 25
        with pytest.raises(NotAllowed) as caught:
            place(subscription, cast.manager)
        assert caught.value.code == "needs_attention"
        emulator.control.clear_faults()
        lifecycle.retry(order.pk, actor=cast.support, audience=BSS, reason="they are back")
        drain()
        assert fresh(order).status == "completed"
        assert fresh(order).needs_staff is False
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1

    def test_waits_as_long_as_the_vendor_says(self, subscription, cast, drain, emulator):
        emulator.control.add_fault("http-503", retry_after=1)
        order = place(subscription, cast.manager)
        run(order)
        released = fresh(order)
        assert released.status == "placed"
        assert released.next_attempt_at >= order.placed_at + timedelta(seconds=1)
        # A second job, such as one of a worker that was lost after its commit, is early and must wait as well.
        run(order)
        assert outcomes(order) == [("write", "transient")]
        drain()
        assert outcomes(order) == [("write", "transient"), ("write", "done")]
        first, second = order.vendor_calls.order_by("pk")
        assert second.started_at - first.started_at >= timedelta(seconds=1)

    def test_empty_pool_of_codes_alerts_staff_and_is_tried_again(self, cast, drain, emulator):
        provider = emulator.control.providers()[0]
        emulator.control.put_provider(replace(provider, pool_size=0))
        order = lifecycle.start(cast.acme, SKUFactory(), 12, actor=cast.operator, audience=BSS)
        run(order)
        waiting = fresh(order)
        assert (waiting.status, waiting.outcome_code, waiting.needs_staff) == ("placed", "8", True)
        emulator.control.put_provider(provider)
        drain()
        done = fresh(order)
        assert (done.status, done.outcome_code, done.needs_staff) == ("completed", "", False)
        assert len(emulator.control.changes(order.subscription.subscriber_id)) == 1


@pytest.mark.django_db
class TestRefused:
    def test_order_fails_with_the_reason_and_our_record_stays(self, subscription, cast, drain, emulator):
        emulator.control.add_fault("item-error", code=602, message="LicenseCount is odd.")
        order = place(subscription, cast.manager)
        drain()
        failed = fresh(order)
        assert (failed.status, failed.outcome_code, failed.needs_staff) == ("failed", "602", False)
        assert failed.outcome_message == "LicenseCount is odd. (code 602)"
        assert failed.finished_at is not None
        assert (fresh(subscription).seats, fresh(subscription).status) == (25, "active")
        assert emulator.control.changes(subscription.subscriber_id) == []
        assert kinds(order) == ["placed", "failed"]

    @pytest.mark.parametrize("code", [777, 9, 601])
    def test_what_nobody_has_classified_or_configured_alerts_staff(self, code, subscription, cast, drain, emulator):
        emulator.control.add_fault("item-error", code=code, message="Word for word.")
        order = place(subscription, cast.manager)
        drain()
        failed = fresh(order)
        assert (failed.status, failed.outcome_code, failed.needs_staff) == ("failed", str(code), True)
        assert failed.outcome_message == f"Word for word. (code {code})"

    def test_unlisted_container_error_is_read_about_and_stays_flagged(self, subscription, cast, emulator):
        emulator.control.add_fault("transaction-error", code=777, message="What?")
        order = place(subscription, cast.manager)
        run(order)
        time.sleep(django_settings.VENDOR_READ_DELAYS[0] + 0.01)
        run(order)
        assert outcomes(order) == [("write", "unknown"), ("settle", "done")]
        assert (fresh(order).status, fresh(order).outcome_code, fresh(order).needs_staff) == (
            "in_progress",
            "777",
            True,
        )


@pytest.mark.django_db
class TestCredentials:
    def test_pause_the_vendor_until_a_ping_is_let_in(self, subscription, cast, at_vendor, drain, emulator, settings):
        settings.VENDOR_PING_EVERY = 0.3
        emulator.control.add_fault("credentials-refused", count=1000)
        order = place(subscription, cast.manager)
        run(order)
        assert fresh(order).status == "placed"
        state = VendorState.objects.get(vendor="kaspersky")
        assert state.paused_at is not None
        assert state.reason == "http-401"
        other = place(at_vendor(SubscriptionFactory(account=cast.acme)), cast.manager)
        asked = len(emulator.control.requests())
        run(order)
        run(other)
        assert len(emulator.control.requests()) == asked, "nothing is sent to a paused vendor"
        assert not other.vendor_calls.exists()
        settings.VENDOR_PING_EVERY = 60.0
        fulfilment.ping_vendors.func(0)
        assert len(emulator.control.requests()) == asked, "pinging more often than told could lock us out for good"
        settings.VENDOR_PING_EVERY = 0.0
        fulfilment.ping_vendors.func(0)
        settings.VENDOR_PING_EVERY = 60.0
        fulfilment.ping_vendors.func(0)
        assert len(emulator.control.requests()) == asked + 1
        assert fresh(state).paused_at is not None
        emulator.control.clear_faults()
        settings.VENDOR_PING_EVERY = 0.0
        fulfilment.ping_vendors.func(0)
        assert fresh(state).paused_at is None
        clear_jobs()
        time.sleep(0.35)
        assert lifecycle.sweep() == 2
        drain()
        assert [fresh(one).status for one in (order, other)] == ["completed", "completed"]
        assert [len(emulator.control.changes(one.subscription.subscriber_id)) for one in (order, other)] == [1, 1]

    def test_pause_keeps_its_first_instant_and_ends_by_a_person_too(self, db):
        lifecycle.pause_vendor("kaspersky", "first")
        first = VendorState.objects.get().paused_at
        lifecycle.pause_vendor("kaspersky", "second")
        assert (VendorState.objects.get().paused_at, VendorState.objects.get().reason) == (first, "first")
        lifecycle.open_vendor("kaspersky")
        assert VendorState.objects.get().paused_at is None


@pytest.mark.django_db
class TestUnsupported:
    @pytest.fixture
    def no_seat_change(self, emulator):
        django_settings.VENDORS["kaspersky"]["OPTIONS"]["seat_change"] = "unsupported"
        gateways.gateway.cache_clear()

    @pytest.mark.parametrize("stem", ["increase", "decrease"])
    def test_is_refused_before_any_order(self, stem, subscription, cast, no_seat_change):
        with pytest.raises(NotAllowed) as caught:
            place(subscription, cast.manager, stem)
        assert caught.value.code == "vendor_cannot"
        assert not Order.objects.exists()

    def test_order_from_before_the_setting_fails_unsent(self, subscription, cast, drain, emulator, request):
        order = place(subscription, cast.manager)
        request.getfixturevalue("no_seat_change")
        drain()
        assert fresh(order).status == "failed"
        assert outcomes(order) == [("write", "unsupported")]
        assert emulator.control.requests(source="service") == []

    def test_vendor_that_cannot_after_all_needs_a_person(self, subscription, cast, drain, emulator):
        emulator.control.set_profile("strict")
        order = place(subscription, cast.manager)
        drain()
        assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "already_done")
        assert fresh(subscription).seats == 25
        assert emulator.control.changes(subscription.subscriber_id) == []
        lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="not with this product")
        assert fresh(order).status == "failed"


# --- late and second workers -----------------------------------------------------------------------------------------


class SlowStarter(KasperskyGateway):
    """Between taking an order and opening the socket its worker is held up for 0.2 s."""

    def prepare(self, transaction_id, asks):
        time.sleep(0.2 if transaction_id != "start" else 0)
        return super().prepare(transaction_id, asks)


def attempt(order, purpose="write", *, seconds=60.0):
    """Take the order as a worker does that is not heard of again."""

    def decide(cases):
        now = clock.now()
        return [
            Attempt(
                VendorCallFactory.build(
                    order=case.order, subscription=case.subscription, purpose=purpose, started_at=now,
                    attempt=len(case.calls) + 1, deadline=now + timedelta(seconds=seconds),
                )
            )
            for case in cases
        ]  # fmt: skip

    [(_, call)] = lifecycle.claim_many([order.pk], decide)
    return call


def result(call, verdict, answer, **more):
    return Result(call.pk, call.order_id, call.subscription_id, answer, verdict, **more)


DONE = Answer(Outcome.DONE)
REFUSED = Answer(Outcome.REJECTED, "602", "No.")


@pytest.mark.django_db
class TestLate:
    def test_second_job_does_nothing_and_says_so(self, subscription, cast, drain, emulator, caplog):
        order = place(subscription, cast.manager)
        drain()
        asked = len(emulator.control.requests())
        with caplog.at_level(logging.DEBUG, logger="subscriptions.fulfilment"):
            run(order)
        assert "nothing to do" in str([record.msg for record in caplog.records])
        assert len(emulator.control.requests()) == asked
        assert order.vendor_calls.count() == 1

    def test_second_job_leaves_a_running_attempt_alone(self, subscription, cast, emulator):
        order = place(subscription, cast.manager)
        clear_jobs()
        call = attempt(order)
        run(order)
        run(order)
        assert order.vendor_calls.get() == call
        assert emulator.control.requests(source="service") == []
        assert fresh(order).next_attempt_at == call.deadline + timedelta(seconds=django_settings.VENDOR_DEADLINE_MARGIN)

    def test_jobs_of_one_order_become_one(self, subscription, cast, emulator):
        """Else each would come back for ever beside the others, and the last hold up the next order."""
        order = place(subscription, cast.manager)
        clear_jobs()
        attempt(order, seconds=1)
        for _ in range(3):
            run(order)
        assert jobs() == ["fulfil"]

    def test_attempt_that_starts_too_late_does_not_send(self, subscription, cast, drain, emulator, settings, caplog):
        with_gateway(settings, "SlowStarter")
        settings.VENDOR_ATTEMPT_DEADLINE = 0.1
        order = place(subscription, cast.manager)
        run(order)
        assert emulator.control.requests(source="service") == []
        assert "overtaken" in str([record.msg for record in caplog.records])
        assert fresh(order).status == "placed", "surely not sent, so no reads are needed"
        settings.VENDOR_ATTEMPT_DEADLINE = 5.0
        drain()
        assert fresh(order).status == "completed"
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1

    def test_attempt_never_outlives_its_deadline(self, subscription, cast, emulator, settings):
        """After it another worker reads, and takes what it sees for the end of the story."""
        settings.VENDORS["kaspersky"]["OPTIONS"].update(read_timeout=4.0, attempt_timeout=5.0)
        with_gateway(settings, "SlowStarter")
        settings.VENDOR_ATTEMPT_DEADLINE = 1.0
        emulator.control.add_fault("latency-fixed", seconds=2.0)
        order = place(subscription, cast.manager)
        run(order)
        call = order.vendor_calls.get()
        # Without that limit the answer would have come, and been believed, a second too late.
        assert call.outcome == "unknown"
        assert call.finished_at < call.started_at + timedelta(seconds=2)

    def test_socket_is_for_the_newest_attempt_within_its_deadline(self, subscription, cast):
        order = place(subscription, cast.manager)
        first = attempt(order)
        assert fulfilment._may_open_socket([first])
        second = attempt(order, "settle")
        assert not fulfilment._may_open_socket([first])
        assert fulfilment._may_open_socket([second])
        third = attempt(order, seconds=-1)
        assert not fulfilment._may_open_socket([third])

    @pytest.mark.parametrize(("verdict", "answer"), [(Verdict.COMPLETE, DONE), (Verdict.FAIL, REFUSED)])
    def test_answer_after_the_end_completes_its_own_row_only(
        self, verdict, answer, subscription, cast, drain, emulator
    ):
        order = place(subscription, cast.manager)
        lost = attempt(order, seconds=-1)
        emulator.control.set_seats(subscription.subscriber_id, 30)
        drain()
        assert fresh(order).status == "completed"
        ours, events = fresh(subscription), kinds(order)
        assert lifecycle.apply(result(lost, verdict, answer)) is False
        assert fresh(lost).outcome == answer.outcome
        assert fresh(lost).finished_at is not None
        assert fresh(order).status == "completed"
        assert (fresh(subscription).version, fresh(subscription).seats) == (ours.version, 30)
        assert kinds(order) == events == ["placed", "completed"]

    @pytest.mark.parametrize(
        ("verdict", "answer"),
        [(Verdict.FAIL, REFUSED), (Verdict.RELEASE, Answer(Outcome.TRANSIENT)), (Verdict.COMPLETE, DONE)],
    )
    def test_answer_to_an_earlier_sending_leaves_the_later_one_alone(self, verdict, answer, subscription, cast):
        order = place(subscription, cast.manager)
        first, second = attempt(order, seconds=-1), attempt(order)
        clear_jobs()
        assert lifecycle.apply(result(first, verdict, answer, again_at=clock.now())) is False
        assert fresh(first).outcome == answer.outcome
        assert (fresh(order).status, fresh(subscription).seats, jobs()) == ("in_progress", 25, [])
        assert lifecycle.apply(result(second, Verdict.COMPLETE, DONE)) is True
        assert (fresh(order).status, fresh(subscription).seats) == ("completed", 30)

    def test_late_answer_to_a_start_is_not_the_answer_to_its_cancel(self, cast, drain, emulator, settings):
        settings.VENDOR_READ_LIMIT = 0.1
        order = lifecycle.start(cast.acme, SKUFactory(), 12, actor=cast.operator, audience=BSS)
        fault = emulator.control.add_fault("applied-closed", kinds=["Activate"])
        silent = emulator.control.add_fault("html-500", kinds=["GetInfo"], count=1000)
        drain()
        assert fresh(order).status == "needs_attention"
        assert fault.fault == "applied-closed"
        first = order.vendor_calls.earliest("pk")
        lost = VendorCallFactory(
            order=order, attempt=99, started_at=first.started_at, deadline=first.started_at + timedelta(seconds=0.1)
        )
        lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="not wanted any more")
        cancelling = attempt(order, "settle", seconds=-1)
        assert lifecycle.apply(result(lost, Verdict.COMPLETE, DONE)) is False
        assert fresh(order).status == "in_progress", "the vendor still has it"
        emulator.control.clear_faults(silent.id)
        drain()
        assert fresh(cancelling).finished_at is None
        assert (fresh(order).status, fresh(order.subscription).status) == ("failed", "failed")
        assert emulator.control.subscriber(order.subscription.subscriber_id).status == "HardCancelled"

    def test_same_result_twice_counts_once(self, subscription, cast):
        order = place(subscription, cast.manager)
        call = attempt(order)
        release = result(call, Verdict.RELEASE, Answer(Outcome.TRANSIENT), again_at=clock.now())
        assert lifecycle.apply(release) is True
        later = attempt(order)
        assert lifecycle.apply(release) is False
        assert fresh(order).status == "in_progress"
        assert fresh(later).finished_at is None

    def test_placed_order_can_be_held(self, subscription, cast):
        order = place(subscription, cast.manager)
        assert lifecycle.claim_many([order.pk], lambda cases: [Hold("unknown", "Look at it.")]) == []
        assert fresh(order).status == "needs_attention"
        assert kinds(order) == ["placed", "held"]

    def test_order_that_never_was(self, db):
        fulfilment.fulfil.func(0)


# --- unclear answers -------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(settings):
    """The waits of an unclear answer at a five-hundredth."""
    settings.VENDOR_READ_DELAYS = [0.01, 0.02, 0.12, 0.2]
    settings.VENDOR_NOT_APPLIED_AFTER = 0.12
    settings.VENDOR_ATTEMPT_DEADLINE = 1.0


@pytest.mark.django_db
class TestUnclear:
    def test_stale_reads_delay_but_do_not_double(self, subscription, cast, drain, emulator, hasty):
        # Older than the record, so that a stale read shows it as it was and not as unknown.
        time.sleep(2.2)
        emulator.control.add_fault("applied-closed")
        emulator.control.add_fault("stale-read", kinds=["GetInfo"], count=1, seconds=2.0)
        order = place(subscription, cast.manager)
        drain()
        assert fresh(order).status == "completed"
        assert [one.evidence for one in order.vendor_calls.order_by("pk")][1] == "before"
        assert outcomes(order).count(("write", "unknown")) == 1
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1

    def test_reads_that_stay_stale_end_with_a_person_and_one_change(self, subscription, cast, drain, emulator, hasty):
        """Sent again after two wrong proofs, it meets the vendor's memory of the transaction."""
        emulator.control.add_fault("applied-closed")
        # Older than the reads below, younger than the record itself.
        time.sleep(3.2)
        emulator.control.add_fault("stale-read", for_seconds=60, seconds=3.0)
        order = place(subscription, cast.manager)
        drain()
        assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "already_done")
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1
        emulator.control.clear_faults()
        lifecycle.retry(order.pk, actor=cast.support, audience=BSS, reason="they say that it is there")
        drain()
        assert (fresh(order).status, fresh(subscription).seats) == ("completed", 30)
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1

    def test_what_is_applied_after_it_was_sent_again_counts_once(self, subscription, cast, drain, emulator, hasty):
        emulator.control.add_fault("applied-late", seconds=1.5)
        order = place(subscription, cast.manager)
        drain()
        time.sleep(max(0.0, 1.6 - (clock.now() - order.placed_at).total_seconds()))
        assert fresh(order).status == "completed"
        assert outcomes(order).count(("write", "unknown")) == 1
        assert len(emulator.control.changes(subscription.subscriber_id)) == 1
        assert emulator.control.subscriber(subscription.subscriber_id).seats == 30

    def test_sending_that_is_never_applied_ends_with_a_person(
        self, subscription, cast, drain, emulator, hasty, settings
    ):
        settings.VENDOR_RETRY_LIMIT = 2.0
        emulator.control.add_fault("closed-after-reading", kinds=["Activate"], count=1000)
        order = place(subscription, cast.manager)
        drain()
        assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "never_applied")
        assert outcomes(order).count(("write", "unknown")) >= 2
        assert emulator.control.changes(subscription.subscriber_id) == []

    def test_start_given_up_in_doubt_is_cancelled_there_first(self, cast, drain, emulator, hasty, settings):
        settings.VENDOR_READ_LIMIT = 0.1
        emulator.control.add_fault("applied-closed", kinds=["Activate"])
        emulator.control.add_fault("html-500", kinds=["GetInfo"], count=1000)
        order = lifecycle.start(cast.acme, SKUFactory(), 12, actor=cast.operator, audience=BSS)
        drain()
        assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "unknown")
        emulator.control.clear_faults()
        emulator.control.add_fault("item-error", kinds=["HardCancel"], code=602, message="Not now.")
        lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="not wanted")
        drain()
        assert fresh(order).status == "needs_attention", "failed would say that the vendor has nothing"
        assert fresh(order.subscription).status == "pending"
        lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="once more")
        drain()
        assert (fresh(order).status, fresh(order.subscription).status) == ("failed", "failed")
        assert emulator.control.subscriber(order.subscription.subscriber_id).status == "HardCancelled"


# --- upkeep ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lost_worker(empty_queue):
    """A worker whose heart stopped a minute ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 minute') RETURNING id"
        )
        return cursor.fetchone()[0]


def put_job(task, status, *, worker=None, lock=None, queueing_lock=None, args=None):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id, lock, queueing_lock, args)"
            " VALUES ('any', %s, %s::procrastinate_job_status, %s, %s, %s, %s)",
            [f"subscriptions.{task}", status, worker, lock, queueing_lock, json.dumps(args or {})],
        )


def rescue():
    """One round of the task, which may see committed rows only: its calls can run in a thread of their own.

    Browser tests of the same process leave Playwright's event loop running in this thread.
    """

    async def one_round():
        # That thread may hold a connection which another test has cut off.
        await sync_to_async(connections.close_all)()
        await fulfilment.rescue.func(SimpleNamespace(app=app), 0)

    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        async_to_sync(one_round)()
    finally:
        asyncio._set_running_loop(running)


@pytest.mark.django_db
class TestUpkeep:
    @pytest.mark.django_db(transaction=True)
    def test_rescue_runs_lost_jobs_again_whatever_else_was_lost(self, lost_worker):
        """A lost periodic job has a successor waiting; putting it back would break the rescue of all the others."""
        put_job("sweep", "doing", worker=lost_worker, queueing_lock="sweep")
        put_job("sweep", "todo", queueing_lock="sweep")
        put_job("fulfil", "doing", worker=lost_worker, lock="subscription-1", args={"order_id": 1})
        put_job("fulfil", "doing", lock="subscription-2", args={"order_id": 2})
        rescue()
        assert (sorted(jobs("todo")), jobs("doing")) == (["fulfil", "fulfil", "sweep"], [])

    @pytest.mark.django_db(transaction=True)
    def test_rescue_leaves_living_workers_alone(self, empty_queue):
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
            alive = cursor.fetchone()[0]
        put_job("fulfil", "doing", worker=alive, lock="subscription-1", args={"order_id": 1})
        rescue()
        assert jobs("doing") == ["fulfil"]

    @pytest.mark.parametrize(
        ("job", "found"), [(None, 1), ("todo", 0), ("doing", 0), ("failed", 1), ("succeeded", 1), ("aborted", 1)]
    )
    def test_sweep_puts_back_what_has_no_job(self, job, found, subscription, cast, empty_queue):
        place(subscription, cast.manager)
        clear_jobs()
        if job:
            put_job("fulfil", job, lock=f"subscription-{subscription.pk}")
        fulfilment.sweep.func(0)
        assert len(jobs()) == found + (job == "todo")

    def test_sweep_leaves_what_is_not_due(self, subscription, cast, emulator, empty_queue):
        emulator.control.add_fault("http-503", retry_after=3600)
        order = place(subscription, cast.manager)
        clear_jobs()
        run(order)
        assert jobs() == [], "a job for the far future would block its lock"
        assert lifecycle.sweep() == 0

    @pytest.mark.parametrize("end", ["completed", "needs_attention", "failed"])
    def test_sweep_leaves_what_has_ended(self, end, subscription, cast, drain, emulator):
        if end == "needs_attention":
            emulator.control.set_profile("strict")
        if end == "failed":
            emulator.control.add_fault("soap-fault-client")
        order = place(subscription, cast.manager)
        drain()
        assert fresh(order).status == end
        assert fresh(order).next_attempt_at is None
        assert lifecycle.sweep() == 0


# --- waits -----------------------------------------------------------------------------------------------------------


def test_default_waits_and_their_order():
    """In a process of its own, since every wait here is shortened."""
    program = (
        "import django, json; django.setup(); from django.conf import settings as s;"
        "names = [n for n in dir(s) if n.startswith(('VENDOR_', 'WORKER_')) or n in ('JOB_SOON', 'WAIT_SCALE')];"
        "out = {n: getattr(s, n) for n in names};"
        "out['options'] = s.VENDORS['kaspersky']['OPTIONS']; out['worker'] = s.PROCRASTINATE_WORKER_DEFAULTS;"
        "out['cron'] = s.UPKEEP_CRON;"
        "print(json.dumps(out, default=str))"
    )
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    environment = kept | {
        "DJANGO_SETTINGS_MODULE": "portal.settings", "DATABASE_URL": "postgresql://nobody@/nothing", "SECRET_KEY": "k",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=environment,
        cwd=django_settings.BASE_DIR,
    )  # fmt: skip
    waits = SimpleNamespace(**json.loads(ran.stdout))
    options, worker = SimpleNamespace(**waits.options), SimpleNamespace(**waits.worker)
    assert waits.WAIT_SCALE == 1
    assert (options.connect_timeout, options.read_timeout, options.attempt_timeout) == (5, 30, 45)
    assert (waits.VENDOR_ATTEMPT_DEADLINE, waits.VENDOR_DEADLINE_MARGIN) == (60, 5)
    assert waits.VENDOR_RETRY_DELAYS == [5, 30, 120, 600, 3600]
    assert (waits.VENDOR_RETRY_JITTER, waits.VENDOR_RETRY_LIMIT) == (0.2, 24 * 3600)
    assert waits.VENDOR_READ_DELAYS == [2, 10, 60, 300]
    assert (waits.VENDOR_READ_LIMIT, waits.VENDOR_NOT_APPLIED_AFTER, waits.VENDOR_PING_EVERY) == (900, 60, 60)
    assert waits.cron == "* * * * * */15"
    assert options.connect_timeout < options.read_timeout < options.attempt_timeout < waits.VENDOR_ATTEMPT_DEADLINE
    assert worker.update_heartbeat_interval * 2 < worker.stalled_worker_timeout < waits.VENDOR_ATTEMPT_DEADLINE
    assert worker.stalled_worker_timeout == waits.WORKER_STALLED_AFTER == 30
    assert worker.shutdown_graceful_timeout >= waits.VENDOR_ATTEMPT_DEADLINE, "SIGTERM lets running attempts end"
    assert options.read_timeout > waits.VENDOR_DETAILS_WITHIN
    assert max(*waits.VENDOR_READ_DELAYS, waits.VENDOR_PING_EVERY) <= waits.JOB_SOON, "else reads wait for the sweep"
    assert waits.VENDOR_READ_LIMIT < waits.VENDOR_RETRY_LIMIT
    assert sorted(waits.VENDOR_READ_DELAYS) == waits.VENDOR_READ_DELAYS
    assert sorted(waits.VENDOR_RETRY_DELAYS) == waits.VENDOR_RETRY_DELAYS
