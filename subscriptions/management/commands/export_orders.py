"""`uv run manage.py export_orders`: all orders, or some, as a file."""

from subscriptions import exports
from subscriptions.management.export_command import ExportCommand


class Command(ExportCommand):
    help = "Write orders to a file, or to standard output: all, or those that the words of --where find."
    table = exports.ORDERS
    example = "uv run manage.py export_orders --where status=failed --where placed_from=2026-01-01 --out orders.xlsx"
