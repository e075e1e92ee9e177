"""Other SKUs that a subscription can change to: which of them hold what is wanted, and when they can be had."""

from subscriptions import lifecycle, quotes
from subscriptions.models import SKU, ChangeTarget, Subscription

WHENS = (quotes.NOW, quotes.RENEWAL)


def nearest(sku: SKU, seats: int) -> int:
    """So many seats, or the nearest number that the SKU allows."""
    return min(max(seats, sku.seats_min), sku.seats_max)


def whens(subscription: Subscription, declared: ChangeTarget) -> list[str]:
    """When it can change to this one; empty when it cannot at all."""
    seats = nearest(declared.target, subscription.seats)
    return [when for when in WHENS if lifecycle.why_not_change(subscription, declared, seats, when) is None]


def holding(subscription: Subscription, seats: int) -> SKU | None:
    """The first of them that holds so many seats; 1 query."""
    for declared in subscription.sku.sold_targets():
        if nearest(declared.target, seats) == seats and whens(subscription, declared):
            return declared.target
    return None
