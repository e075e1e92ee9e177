"""Subscriptions, orders and charges as files, for people and for other systems; no code and no secret is among them."""

from subscriptions.exports.tables import CHARGES, ORDERS, SUBSCRIPTIONS, TABLES, Table
from subscriptions.exports.writing import SHEET_ROWS, WRITERS, csv_pieces, suffix, write_csv, write_xlsx

__all__ = [
    "CHARGES", "ORDERS", "SHEET_ROWS", "SUBSCRIPTIONS", "TABLES", "WRITERS", "Table", "csv_pieces", "suffix",
    "write_csv", "write_xlsx",
]  # fmt: skip
