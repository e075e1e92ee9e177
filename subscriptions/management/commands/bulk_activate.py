"""`uv run manage.py bulk_activate`: back to work after a suspension."""

from argparse import ArgumentParser
from typing import Any

from subscriptions import lifecycle
from subscriptions.management.bulk_command import BulkCommand


class Command(BulkCommand):
    help = "Activate many suspended subscriptions. Without --apply it only shows how many can be, and why others not."
    stem = "activate"
    example = "uv run manage.py bulk_activate --status suspended"
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
