"""Our record against the vendor's by the table of product.md, section 2, and what could be done about a difference."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.models import DriftField, Subscription, SubscriptionStatus
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
    take_refusal: NotAllowed | None = None
    push: dict[str, Any] | None = None
    """Characteristics that *Push ours* would send; None when the protocol cannot say it."""
    push_refusal: NotAllowed | None = None
    push_before: dict[str, Any] | None = None
    """The vendor's value in our words: what *Push ours* changes from."""


UNKNOWN_THERE: dict[str, Any] = {"status": ""}
"""The record of a subscriber that the vendor does not know."""


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


def as_details(record: dict[str, Any]) -> Details | None:
    """What `as_record` was made of, as far as it is compared; None for a subscriber that the vendor does not know."""
    if not record["status"]:
        return None
    ends = record.get("ends_at")
    ends_at = port.OPEN_ENDED if ends == port.OPEN_ENDED.value else datetime.fromisoformat(ends) if ends else None
    return Details("", VendorStatus(record["status"]), record["seats"], record["product"], ends_at=ends_at)


class Ours(NamedTuple):
    """What of a subscription of ours the vendor's record is held against."""

    status: str
    seats: int
    product: str
    ends_at: datetime | None


def of(subscription: Subscription) -> Ours:
    """Needs `sku` loaded."""
    return Ours(
        subscription.status, subscription.seats, subscription.sku.vendor_product_id, subscription.ends_at
    )  # fmt: skip


def differing(ours: Ours, details: Details | None, at: datetime) -> tuple[DriftField, ...]:
    """The one rule: which fields differ from the table of product.md, section 2. None: the vendor does not know it.

    It runs for each subscription every night, and makes no sentence.
    """
    if details is None:
        return () if ours.status in _UNKNOWN else (DriftField.EXISTENCE,)
    found = []
    status_agrees = actions.expected_at_vendor(ours.status, details, at)
    if not status_agrees:
        found.append(DriftField.STATUS)
    if ours.seats != details.seats and ours.status != S.CANCELLED:
        found.append(DriftField.SEATS)
    if ours.product != details.product_id:
        found.append(DriftField.PRODUCT)
    # The status of one that is over, or that is told apart by its date, says all about its end.
    if status_agrees and isinstance(details.ends_at, datetime) and ours.status in _RUNNING:
        same = ours.ends_at is not None and abs(ours.ends_at - details.ends_at) < _SAME_INSTANT
        if not same:
            found.append(DriftField.TERM)
    return tuple(found)


# What is cancelled runs nowhere, whether the vendor keeps a record of it, has forgotten it or never had one.
_UNKNOWN = frozenset({S.PENDING, S.FAILED, S.CANCELLED})
_RUNNING = frozenset({S.ACTIVE, S.SUSPENDED, S.ENDING, S.EXPIRED})
# Vendors keep whole seconds.
_SAME_INSTANT = timedelta(seconds=1)


def compare(subscription: Subscription, record: dict[str, Any]) -> tuple[Difference, ...]:
    """Ours beside the vendor's record, line by line with what could be done; differences first.

    Needs `sku__product` and `account` loaded.
    """
    at = clock.now()
    details = as_details(record)
    differ = differing(of(subscription), details, at)
    if details is None:
        return (_existence_line(subscription, differs=bool(differ)),)
    lines = [
        _status_line(subscription, details, at, differs=DriftField.STATUS in differ),
        _seats_line(subscription, details, differs=DriftField.SEATS in differ),
        Difference(
            "product", "Product", subscription.sku.vendor_product_id, details.product_id,
            DriftField.PRODUCT in differ,
            take_refusal=NotAllowed("product_stays", "The product is never taken over: it is what was sold."),
            push_refusal=NotAllowed(
                "product_not_sent", "The product is sent only with a change of the SKU. Ask the licence service."
            ),
        ),
    ]  # fmt: skip
    if DriftField.TERM in differ:
        lines.append(_term_line(subscription, details))
    return tuple(sorted(lines, key=lambda line: not line.differs))


def _existence_line(subscription: Subscription, *, differs: bool) -> Difference:
    return Difference(
        "existence", "Known there", "Yes" if differs else "No", "No", differs,
        # What is theirs is nothing, and what has none is over.
        take={"Status": str(S.CANCELLED)} if differs else None,
        push_refusal=NotAllowed("gone_there", "A licence that is gone cannot be brought back. Start a new one."),
    )  # fmt: skip


def _term_line(subscription: Subscription, details: Details) -> Difference:
    ours = actions.day(subscription.ends_at, subscription) if subscription.ends_at else "No end"
    theirs = actions.day(details.ends_at, subscription) if isinstance(details.ends_at, datetime) else "No end"
    if ours == theirs and subscription.ends_at and isinstance(details.ends_at, datetime):
        # Dates alone would look alike.
        ours, theirs = (f"{one:%Y-%m-%d %H:%M:%S} UTC" for one in (subscription.ends_at, details.ends_at))
    return Difference(
        "term", "End", ours, theirs, True,
        take_refusal=NotAllowed(
            "end_by_order", "A date is taken by ordering it: keep what is ending, or cancel it for their day."
        ),
        push_refusal=NotAllowed(
            "end_not_sent", "The licence service has no command that moves the end of a running licence."
        ),
    )  # fmt: skip


def _status_line(subscription: Subscription, details: Details, at: datetime, *, differs: bool) -> Difference:
    take: dict[str, Any] | None = None
    take_refusal: NotAllowed | None = None
    push: dict[str, Any] | None = None
    push_refusal: NotAllowed | None = None
    theirs = _their_status(details, at)
    if differs:
        if theirs is None:
            take_refusal = NotAllowed("no_status_of_ours", "There is no status of ours for it.")
        else:
            take = {"Status": str(theirs)}
            if theirs == S.ENDING and isinstance(details.ends_at, datetime):
                take["Ends"] = details.ends_at.isoformat()
            if take_refusal := lifecycle.why_not_take(subscription, take):
                take = None
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


def _push_status(subscription: Subscription, details: Details) -> tuple[dict[str, Any] | None, NotAllowed | None]:
    """What the protocol can do to bring the vendor to our status."""
    ours, theirs = subscription.status, details.status
    if theirs == VendorStatus.HARD_CANCELLED:
        return None, NotAllowed("ended_there", "The licence service has ended this licence for good.")
    possible = {
        (S.ACTIVE, VendorStatus.PAUSED), (S.ENDING, VendorStatus.PAUSED), (S.SUSPENDED, VendorStatus.STARTED),
        (S.CANCELLED, VendorStatus.STARTED), (S.CANCELLED, VendorStatus.PAUSED),
        (S.CANCELLED, VendorStatus.SOFT_CANCELLED),
    }  # fmt: skip
    if (ours, theirs) not in possible:
        return None, NotAllowed("no_command", "The licence service has no command for this.")
    if ours == S.SUSPENDED and not gateways.capabilities(subscription.sku).suspend:
        return None, NotAllowed("vendor_cannot", "The licence service cannot suspend this product.")
    return {"Status": str(ours)}, None


def _seats_line(subscription: Subscription, details: Details, *, differs: bool) -> Difference:
    ours, theirs = subscription.seats, details.seats
    if not differs:
        return Difference("seats", "Seats", str(ours), str(theirs), False)
    take: dict[str, Any] | None = {"Seats": theirs}
    if take_refusal := lifecycle.why_not_take(subscription, {"Seats": theirs}):
        take = None
    push: dict[str, Any] | None = {"Seats": ours}
    push_refusal: NotAllowed | None = None
    if gateways.capabilities(subscription.sku).seat_change != "in_place":
        words = "The licence service cannot change the number of seats of this product."
        push, push_refusal = None, NotAllowed("seats_not_sent", words)
    elif details.status != VendorStatus.STARTED:
        words = "Seats can only be sent while the licence runs there."
        push, push_refusal = None, NotAllowed("not_running_there", words)
    return Difference(
        "seats", "Seats", str(ours), str(theirs), True, take, take_refusal, push, push_refusal, {"Seats": theirs}
    )
