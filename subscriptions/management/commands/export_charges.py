"""`uv run manage.py export_charges`: the ledger, or a part of it, as a file."""

from subscriptions import exports
from subscriptions.management.export_command import ExportCommand


class Command(ExportCommand):
    help = "Write lines of the ledger to a file, or to standard output: all, or those that the words of --where find."
    table = exports.CHARGES
    example = "uv run manage.py export_charges --where booked_from=2026-01-01 --where kind=credit --out charges.csv"
