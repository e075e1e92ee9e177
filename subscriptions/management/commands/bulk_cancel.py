"""`uv run manage.py bulk_cancel`: now, at the end of the period, or on a day."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import date
from typing import Any

from subscriptions import quotes
from subscriptions.management.bulk_command import BulkCommand


class Command(BulkCommand):
    help = "Cancel many subscriptions. Without --apply it only shows how many can be, how many cannot, and why."
    stem = "cancel"
    example = "uv run manage.py bulk_cancel --status suspended --when period_end"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--when",
            type=_when,
            metavar="WHEN",
            help="now (without it), period_end, or a day such as 2027-03-02; at most 14 days back",
        )

    def given(self, options: dict[str, Any]) -> dict[str, str]:
        return {"when": options["when"]} if options["when"] else {}


def _when(text: str) -> str:
    if text in (quotes.NOW, quotes.PERIOD_END):
        return text
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError(f"{text} is no day. Write now, period_end, or 2027-03-02.") from None
