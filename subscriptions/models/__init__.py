"""Everything that is stored, by noun."""

from subscriptions.models.accounts import Account, Member, Role, User
from subscriptions.models.catalogue import SKU, PriceBand, Product
from subscriptions.models.event import Event
from subscriptions.models.order import OPEN_ORDER, Order, OrderStatus, Purpose, VendorCall, VendorState
from subscriptions.models.subscription import Subscription, SubscriptionStatus

__all__ = [
    "OPEN_ORDER",
    "SKU",
    "Account",
    "Event",
    "Member",
    "Order",
    "OrderStatus",
    "PriceBand",
    "Product",
    "Purpose",
    "Role",
    "Subscription",
    "SubscriptionStatus",
    "User",
    "VendorCall",
    "VendorState",
]
