"""BSS: the customised Django admin for staff. Importing this package registers its pages."""

from subscriptions.admin import (
    accounts,
    bulk_runs,
    catalogue,
    drift,
    orders,
    records,
    statements,
    subscriptions,
    takeovers,
)  # fmt: skip

__all__ = [
    "accounts", "bulk_runs", "catalogue", "drift", "orders", "records", "statements", "subscriptions",
    "takeovers",
]  # fmt: skip
