"""`uv run manage.py bulk_set_seats`: a new total for each row, whether that is more or fewer."""

from argparse import ArgumentParser
from typing import Any

from subscriptions import lifecycle
from subscriptions.management.bulk_command import BulkCommand


class Command(BulkCommand):
    help = (
        "Set the seats of many subscriptions to new totals. Without --apply it only shows how many can be set, how "
        "many cannot and why, and what it costs. When fewer seats take effect is the SKU's policy."
    )
    stem = lifecycle.SET_SEATS
    example = "printf 'subscription,seats\\nSUB-000001,30\\nSUB-000002,12\\n' | uv run manage.py bulk_set_seats -"
    seats = True
    asks_about_plans = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--planned",
            choices=[lifecycle.KEEP, lifecycle.DISCARD],
            help="what becomes of a change that is planned; without it, rows with such a change are refused",
        )

    def given(self, options: dict[str, Any]) -> dict[str, str]:
        return {"planned": options["planned"]} if options["planned"] else {}
