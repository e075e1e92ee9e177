"""Everything that is stored, by noun."""

from subscriptions.models import lookups as lookups
from subscriptions.models.accounts import Account, Language, Member, Role, User
from subscriptions.models.bulk import BulkRow, BulkRun, RowOutcome, RunStatus
from subscriptions.models.catalogue import SKU, ApprovalLimit, ChangeTarget, PriceBand, Product, Timing
from subscriptions.models.drift import Drift, DriftEnding, DriftField, ReconciliationRun, ReconciliationStatus
from subscriptions.models.event import Event
from subscriptions.models.figures import DailyFigures
from subscriptions.models.ledger import Charge, ChargeKind
from subscriptions.models.notice import Notice
from subscriptions.models.order import OPEN_ORDER, TROUBLE, Order, OrderStatus, Purpose, VendorCall, VendorState
from subscriptions.models.subscription import Subscription, SubscriptionStatus
from subscriptions.models.takeover import Takeover, TakeoverOutcome, TakeoverRow, TakeoverStatus
from subscriptions.models.viewing import Ending, Viewing

__all__ = [
    "OPEN_ORDER",
    "SKU",
    "TROUBLE",
    "Account",
    "ApprovalLimit",
    "BulkRow",
    "BulkRun",
    "ChangeTarget",
    "Charge",
    "ChargeKind",
    "DailyFigures",
    "Drift",
    "DriftEnding",
    "DriftField",
    "Ending",
    "Event",
    "Language",
    "Member",
    "Notice",
    "Order",
    "OrderStatus",
    "PriceBand",
    "Product",
    "Purpose",
    "ReconciliationRun",
    "ReconciliationStatus",
    "Role",
    "RowOutcome",
    "RunStatus",
    "Subscription",
    "SubscriptionStatus",
    "Takeover",
    "TakeoverOutcome",
    "TakeoverRow",
    "TakeoverStatus",
    "Timing",
    "User",
    "VendorCall",
    "VendorState",
    "Viewing",
]
