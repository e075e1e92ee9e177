"""Our record against the vendor's by the table of product.md, section 2, and what could be done about a difference."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.models import Subscription, SubscriptionStatus
from subscriptions.vendors import port
from subscriptions.vendors.port import Details, VendorStatus

S = SubscriptionStatus


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
