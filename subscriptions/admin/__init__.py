"""BSS: the customised Django admin for staff. Importing this package registers its pages."""

from subscriptions.admin import accounts, catalogue, orders, records, statements, subscriptions

__all__ = ["accounts", "catalogue", "orders", "records", "statements", "subscriptions"]
