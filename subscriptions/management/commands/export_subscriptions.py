"""`uv run manage.py export_subscriptions`: all subscriptions, or some, as a file."""

from subscriptions import exports
from subscriptions.management.export_command import ExportCommand


class Command(ExportCommand):
    help = "Write subscriptions to a file, or to standard output: all, or those that the words of --where find."
    table = exports.SUBSCRIPTIONS
    example = "uv run manage.py export_subscriptions --where status=active,ending --out subscriptions.csv"
