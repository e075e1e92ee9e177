"""Ask the vendor: for one subscription from a page, and for many from a job or a command."""

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.models import Order, Purpose, Subscription, User, VendorCall, VendorState
from subscriptions.reconciliation.comparison import UNKNOWN_THERE, Difference, as_record, compare
from subscriptions.reconciliation.worklist import Read, note
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Outcome

_slots = threading.BoundedSemaphore(settings.VENDOR_DETAILS_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the vendor said last: `lines` with differences first; `fresh` is False when it is an older answer."""

    lines: tuple[Difference, ...]
    read_at: datetime | None
    fresh: bool
    latency_ms: int | None = None
    problem: str = ""
    explained_by: Order | None = None

    @property
    def drift(self) -> bool:
        return self.explained_by is None and any(line.differs for line in self.lines)


def read_now(subscription: Subscription, *, actor: User | None, audience: str) -> Reading:
    """Ask the vendor from the request: outside any transaction, at most 8 s in all and 4 at once.

    When there is no answer the last known one comes back with its age and `problem`. Needs `sku__product` and
    `account` loaded. Raises NotAllowed for whom Get details is not.
    """
    about = actions.situation(subscription, actor=actor, audience=audience)
    if refusal := actions.DETAILS.why_not(about):
        raise refusal
    if not _slots.acquire(blocking=False):
        return _last_known(subscription, "Too many people are asking the licence service just now. Try again.")
    try:
        answer = _ask(subscription)
    finally:
        _slots.release()
    record: dict[str, Any] | None = None
    problem = ""
    if answer.outcome == Outcome.DONE and answer.details:
        record = as_record(answer.details)
    elif answer.code == port.NOT_FOUND:
        record = UNKNOWN_THERE
    elif answer.code == _NO_VENDOR:
        problem = answer.message
    else:
        problem = f"The licence service did not answer ({answer.code or answer.outcome})."
    lifecycle.note_details(subscription, record, actor=actor, audience=audience)
    if record is None:
        return _last_known(subscription, problem)
    note([Read(subscription.pk, subscription.version, record)])
    return Reading(compare(subscription, record), clock.now(), True, answer.latency_ms, "", about.open_order)


def last_known(subscription: Subscription, open_order: Order | None = None) -> Reading | None:
    """The vendor's last answer beside our record, without asking; None when it was not asked since our last change."""
    if subscription.vendor_record is None:
        return None
    lines = compare(subscription, subscription.vendor_record)
    return Reading(lines, subscription.vendor_read_at, False, None, "", open_order)


def _last_known(subscription: Subscription, problem: str) -> Reading:
    lines = compare(subscription, subscription.vendor_record) if subscription.vendor_record is not None else ()
    return Reading(lines, subscription.vendor_read_at, False, None, problem)


_NO_VENDOR = "no-vendor"


def _ask(subscription: Subscription) -> port.Answer:
    vendor = subscription.sku.product.vendor
    if sentence := gateways.missing(vendor):
        return Answer(Outcome.REJECTED, _NO_VENDOR, sentence)
    gateway = gateways.gateway(vendor)
    container = gateway.prepare(str(uuid.uuid4()), [port.Read(subscription.subscriber_id)])
    within = settings.VENDOR_DETAILS_WITHIN
    at = clock.now()
    call = VendorCall.objects.create(
        subscription=subscription,
        purpose=Purpose.DETAILS,
        transaction_id=container.transaction_id,
        asked=container.asked[0],
        started_at=at,
        deadline=at + timedelta(seconds=within),
    )
    [answer] = gateway.send(container, within=within)
    lifecycle.finish(call, answer, clock.now())
    call.save(update_fields=lifecycle.CALL_FIELDS)
    return answer


# --- many at once ----------------------------------------------------------------------------------------------------


class VendorSilent(Exception):  # noqa: N818 - a state of the vendor, with a sentence for whoever waits for it
    """The vendor does not answer, or does not let us in: nothing more was asked, and asking again later is harmless."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def read_many(vendor: str, subscriber_ids: Sequence[str], *, purpose: Purpose) -> list[Answer]:
    """The vendor's records of these subscribers, one answer for each in their order; outside any transaction.

    They need not be subscriptions of ours. An answer is DONE with its `details`, or has the code `port.NOT_FOUND` when
    the vendor surely does not know the subscriber, or says what is wrong with this one. Where VENDORS does not name the
    vendor, each is refused. Raises VendorSilent when the vendor as a whole did not answer.

    Each container is written down before the socket opens and completed after, as one row: what a read of an order
    proves is proved by its own row, and here nothing hangs on one.
    """
    if sentence := gateways.missing(vendor):
        return [Answer(Outcome.REJECTED, _NO_VENDOR, sentence)] * len(subscriber_ids)
    answers: list[Answer] = []
    for start in range(0, len(subscriber_ids), settings.VENDOR_READ_TOGETHER):
        answers += _read_container(vendor, subscriber_ids[start : start + settings.VENDOR_READ_TOGETHER], purpose)
    return answers


def _read_container(vendor: str, subscriber_ids: Sequence[str], purpose: Purpose) -> list[Answer]:
    paused = VendorState.objects.filter(vendor=vendor, paused_at__isnull=False).first()
    if paused:
        raise VendorSilent(f"The licence service does not let us in: {paused.reason or 'no reason was given'}.")
    gateway = gateways.gateway(vendor)
    try:
        container = gateway.prepare(str(uuid.uuid4()), [port.Read(one) for one in subscriber_ids])
    except ValueError as error:
        if len(subscriber_ids) == 1:
            return [Answer(Outcome.REJECTED, "unsayable", str(error))]
        # A name that the protocol cannot write must not stop the others.
        half = len(subscriber_ids) // 2
        return [
            *_read_container(vendor, subscriber_ids[:half], purpose),
            *_read_container(vendor, subscriber_ids[half:], purpose),
        ]
    at = clock.now()
    call = VendorCall.objects.create(
        purpose=purpose,
        transaction_id=container.transaction_id,
        asked=_asked(subscriber_ids),
        started_at=at,
        deadline=at + timedelta(seconds=settings.VENDOR_ATTEMPT_DEADLINE),
    )
    answers = gateway.send(container)
    trouble = None if any(_is_about_its_item(one) for one in answers) else answers[0]
    told = Counter(one.code or str(one.outcome) for one in answers)
    summary = trouble or Answer(
        Outcome.DONE,
        answered="\n".join(f"{code}: {count}" for code, count in told.most_common()),
        http_status=answers[0].http_status,
        latency_ms=answers[0].latency_ms,
    )
    lifecycle.finish(call, summary, clock.now())
    call.save(update_fields=lifecycle.CALL_FIELDS)
    if trouble is None:
        return answers
    if trouble.outcome == Outcome.CREDENTIALS:
        lifecycle.pause_vendor(vendor, f"{trouble.code} {trouble.message}".strip())
        raise VendorSilent(f"The licence service does not let us in ({trouble.code}).")
    raise VendorSilent(f"The licence service did not answer ({trouble.code or trouble.outcome}).")


def _is_about_its_item(answer: Answer) -> bool:
    """Did the vendor answer this item, and not the container as a whole or nothing at all?"""
    return answer.outcome == Outcome.DONE or answer.code == port.NOT_FOUND or answer.vendor_time is not None


def _asked(subscriber_ids: Sequence[str]) -> str:
    # It begins with the item's name, by which calls are counted.
    if len(subscriber_ids) == 1:
        return f"GetInfo of {subscriber_ids[0]}"
    return f"GetInfo of {len(subscriber_ids):,} subscribers, from {subscriber_ids[0]} to {subscriber_ids[-1]}"
