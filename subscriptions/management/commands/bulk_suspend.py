"""`uv run manage.py bulk_suspend`: late payers by the thousand."""

from subscriptions.management.bulk_command import BulkCommand


class Command(BulkCommand):
    help = (
        "Suspend many subscriptions. Without --apply it only shows how many can be suspended, how many cannot, and why."
    )
    stem = "suspend"
    example = "printf 'subscription\\nSUB-000001\\nSUB-000002\\n' | uv run manage.py bulk_suspend -"
