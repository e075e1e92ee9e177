"""The vendor's record against ours."""

from datetime import datetime

from subscriptions import clock
from subscriptions.models import Order, Subscription, SubscriptionStatus
from subscriptions.vendors import port

S = SubscriptionStatus
V = port.VendorStatus


def expected_at_vendor(status: str, details: port.Details, at: datetime) -> bool:
    """Does the vendor's status say what product.md, section 2, expects beside `status`?"""
    over = isinstance(details.ends_at, datetime) and details.ends_at <= at
    match status:
        case S.PENDING:
            return details.status == V.NOT_STARTED
        case S.ACTIVE | S.EXPIRED:
            return details.status == V.STARTED
        case S.ENDING:
            return details.status == V.STARTED or (details.status == V.SOFT_CANCELLED and not over)
        case S.SUSPENDED:
            return details.status == V.PAUSED
        case S.CANCELLED:
            return details.status == V.HARD_CANCELLED or (details.status == V.SOFT_CANCELLED and over)
        case _:
            return False


TARGET, BEFORE, NEITHER, ABSENT = "target", "before", "neither", "absent"


def evidence(order: Order, subscription: Subscription, details: port.Details) -> str:
    """What a read proves about an order: `target`, `before` or `neither`. Needs `sku` loaded."""
    if order.abandoned:
        return TARGET if expected_at_vendor(S.CANCELLED, details, clock.now()) else BEFORE
    ours = subscription.sku.vendor_product_id
    if "Product" in order.after:
        wanted = (details.product_id, details.seats) == (order.after["Product"], order.after["Seats"])
        if wanted and details.status == V.STARTED:
            return TARGET
        return BEFORE if (details.product_id, details.seats) == (ours, subscription.seats) else NEITHER
    if details.product_id != ours:
        return NEITHER
    if "Seats" in order.after:
        running = details.status == V.STARTED
        if details.seats == order.after["Seats"] and (running or order.action != "start"):
            return TARGET
        return BEFORE if details.seats == order.before.get("Seats") else NEITHER
    if expected_at_vendor(order.after["Status"], details, clock.now()):
        return TARGET
    return BEFORE if expected_at_vendor(order.before["Status"], details, clock.now()) else NEITHER
