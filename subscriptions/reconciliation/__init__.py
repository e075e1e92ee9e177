"""Read the vendor's record, lay it beside ours, and settle a difference by an order."""

from subscriptions.reconciliation.comparison import Difference, compare
from subscriptions.reconciliation.reading import Reading, VendorSilent, last_known, read_many, read_now
from subscriptions.reconciliation.settling import settle

__all__ = ["Difference", "Reading", "VendorSilent", "compare", "last_known", "read_many", "read_now", "settle"]
