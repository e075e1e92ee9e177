"""Read the vendor's record, lay it beside ours, and settle a difference by an order."""

import threading
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Purpose, Subscription, SubscriptionStatus, User, VendorCall
from subscriptions.vendors import port
from subscriptions.vendors.port import Details, Outcome, VendorStatus

S = SubscriptionStatus
_slots = threading.BoundedSemaphore(settings.VENDOR_DETAILS_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of ours against theirs; `differs` is drift unless an open order explains it."""

    field: str
    """`status`, `seats`, `product`, `term` or `existence`."""
    label: str
    ours: str
    theirs: str
    differs: bool
    take: dict[str, Any] | None = None
    """Characteristics that *Take theirs* would write into our record; None when it cannot be taken."""
    take_refusal: str = ""
    push: dict[str, Any] | None = None
    """Characteristics that *Push ours* would send; None when the protocol cannot say it."""
    push_refusal: str = ""
    push_before: dict[str, Any] | None = None
    """The vendor's value in our words: what *Push ours* changes from."""


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
        record = {"status": ""}
    else:
        problem = f"The licence service did not answer ({answer.code or answer.outcome})."
    lifecycle.note_details(subscription, record, actor=actor, audience=audience)
    if record is None:
        return _last_known(subscription, problem)
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


def _ask(subscription: Subscription) -> port.Answer:
    gateway = gateways.gateway(subscription.sku.product.vendor)
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


def as_record(details: Details) -> dict[str, Any]:
    """The vendor's record in a form that can be stored; the activation code is left out."""

    def text(at: datetime | port.OpenEnded | None) -> str | None:
        return at.isoformat() if isinstance(at, datetime) else at.value if at else None

    return {
        "status": str(details.status),
        "seats": details.seats,
        "product": details.product_id,
        "starts_at": text(details.starts_at),
        "ends_at": text(details.ends_at),
    }


def _as_details(record: dict[str, Any]) -> Details:
    ends = record.get("ends_at")
    ends_at = port.OPEN_ENDED if ends == port.OPEN_ENDED.value else datetime.fromisoformat(ends) if ends else None
    return Details("", VendorStatus(record["status"]), record["seats"], record["product"], ends_at=ends_at)


def compare(subscription: Subscription, record: dict[str, Any]) -> tuple[Difference, ...]:
    """Ours against the vendor's record by the table of product.md, section 2; differences first."""
    if not record["status"]:
        unknown_is_right = subscription.status in (S.PENDING, S.FAILED)
        note = "Nothing to take: the licence service does not know this subscription."
        return (
            Difference(
                "existence", "Known there", "No" if unknown_is_right else "Yes", "No", not unknown_is_right,
                take_refusal=note, push_refusal="A licence that is gone cannot be brought back. Start a new one.",
            ),
        )  # fmt: skip
    details = _as_details(record)
    lines = [
        _status_line(subscription, details),
        _seats_line(subscription, details),
        Difference(
            "product", "Product", subscription.sku.vendor_product_id, details.product_id,
            details.product_id != subscription.sku.vendor_product_id,
            take_refusal="The product is never taken over: it is what was sold.",
            push_refusal="The product is sent only with a change of the SKU. Ask the licence service.",
        ),
    ]  # fmt: skip
    return tuple(sorted(lines, key=lambda line: not line.differs))


def _status_line(subscription: Subscription, details: Details) -> Difference:
    at = clock.now()
    differs = not actions.expected_at_vendor(subscription.status, details, at)
    take: dict[str, Any] | None = None
    take_refusal = push_refusal = ""
    push: dict[str, Any] | None = None
    theirs = _their_status(details, at)
    if differs:
        if theirs is None:
            take_refusal = "There is no status of ours for it."
        else:
            take = {"Status": str(theirs)}
            if theirs == S.ENDING and isinstance(details.ends_at, datetime):
                take["Ends"] = details.ends_at.isoformat()
            if refusal := lifecycle.why_not_take(subscription, take):
                take, take_refusal = None, refusal.sentence
        push, push_refusal = _push_status(subscription, details)
    ours = subscription.get_status_display()
    return Difference(
        "status", "Status", ours, str(details.status), differs, take, take_refusal, push, push_refusal,
        {"Status": str(theirs or "")},
    )  # fmt: skip


def _their_status(details: Details, at: datetime) -> S | None:
    match details.status:
        case VendorStatus.STARTED:
            return S.ACTIVE
        case VendorStatus.PAUSED:
            return S.SUSPENDED
        case VendorStatus.HARD_CANCELLED:
            return S.CANCELLED
        case VendorStatus.SOFT_CANCELLED:
            over = not isinstance(details.ends_at, datetime) or details.ends_at <= at
            return S.CANCELLED if over else S.ENDING
        case _:
            return None


def _push_status(subscription: Subscription, details: Details) -> tuple[dict[str, Any] | None, str]:
    """What the protocol can do to bring the vendor to our status."""
    ours, theirs = subscription.status, details.status
    if theirs == VendorStatus.HARD_CANCELLED:
        return None, "The licence service has ended this licence for good."
    possible = {
        (S.ACTIVE, VendorStatus.PAUSED), (S.ENDING, VendorStatus.PAUSED), (S.SUSPENDED, VendorStatus.STARTED),
        (S.CANCELLED, VendorStatus.STARTED), (S.CANCELLED, VendorStatus.PAUSED),
        (S.CANCELLED, VendorStatus.SOFT_CANCELLED),
    }  # fmt: skip
    if (ours, theirs) not in possible:
        return None, "The licence service has no command for this."
    if ours == S.SUSPENDED and not gateways.capabilities(subscription.sku).suspend:
        return None, "The licence service cannot suspend this product."
    return {"Status": str(ours)}, ""


def _seats_line(subscription: Subscription, details: Details) -> Difference:
    ours, theirs = subscription.seats, details.seats
    differs = ours != theirs and subscription.status != S.CANCELLED
    if not differs:
        return Difference("seats", "Seats", str(ours), str(theirs), False)
    take: dict[str, Any] | None = {"Seats": theirs}
    take_refusal = push_refusal = ""
    if refusal := lifecycle.why_not_take(subscription, {"Seats": theirs}):
        take, take_refusal = None, refusal.sentence
    push: dict[str, Any] | None = {"Seats": ours}
    if gateways.capabilities(subscription.sku).seat_change != "in_place":
        push, push_refusal = None, "The licence service cannot change the number of seats of this product."
    elif details.status != VendorStatus.STARTED:
        push, push_refusal = None, "Seats can only be sent while the licence runs there."
    return Difference(
        "seats", "Seats", str(ours), str(theirs), True, take, take_refusal, push, push_refusal, {"Seats": theirs}
    )


def settle(
    subscription: Subscription,
    field: str,
    stem: str,
    *,
    shown_theirs: str,
    actor: User | None,
    audience: str,
    reason: str,
    idempotency_key: uuid.UUID | None = None,
) -> Order:
    """Settle one difference by an order: `stem` is `take_theirs` or `push_ours`.

    The vendor is read again first. Raises NotAllowed when it cannot be read, when it now says something other than
    `shown_theirs`, when there is no difference any more, or when this way is not possible.
    """
    known = Order.objects.filter(actor=actor, idempotency_key=idempotency_key).first() if idempotency_key else None
    if known:
        return known
    if refusal := actions.ACTIONS[stem].why_not(actions.situation(subscription, actor=actor, audience=audience)):
        raise refusal
    reading = read_now(subscription, actor=actor, audience=audience)
    if not reading.fresh:
        raise NotAllowed("vendor_silent", f"{reading.problem} Nothing was changed. Try again.")
    line = next((one for one in reading.lines if one.field == field), None)
    if line is None or line.theirs != shown_theirs:
        raise NotAllowed("stale", "The licence service says something else now. Look at it again and decide.")
    if not line.differs:
        raise NotAllowed("settled", "There is no difference any more.")
    after, why_not = (
        (line.take, line.take_refusal) if stem == actions.TAKE_THEIRS.stem else (line.push, line.push_refusal)
    )
    if after is None:
        raise NotAllowed("not_possible", why_not)
    before = line.push_before if stem == actions.PUSH_OURS.stem else None
    # The version from before the read: a change that came meanwhile must not be settled away.
    wish = Wish(subscription.pk, stem, after, before, reason, subscription.version, idempotency_key)
    return lifecycle.place(wish, actor=actor, audience=audience)
