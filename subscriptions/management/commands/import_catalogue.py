"""`uv run manage.py import_catalogue`: products, SKUs and prices from a spreadsheet."""

import io
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import structlog
from django.core.management import CommandError

from subscriptions import catalogue_files
from subscriptions.catalogue_files import LARGEST, REMOVE, BadCatalogue, Plan
from subscriptions.management.telling import MISUSED, TellingCommand

_log = structlog.get_logger(__name__)


class Command(TellingCommand):
    help = "Bring products, SKUs and prices in line with a CSV file. Without --apply it only shows what would change."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("file", help="CSV file in UTF-8 with commas and a header; - reads standard input")
        parser.add_argument("--apply", action="store_true", help="save it, and do not only show it")
        parser.epilog = "\n".join(
            [
                "One line for each price. A line may also say something about its SKU, and about the product that it",
                "names: once is enough, on any line. What is left out or empty stays as it is, and nothing is deleted",
                f"but a price that says “{REMOVE}”. The file is saved as a whole or not at all.",
                "",
                "Columns, of which only sku must be there:",
                *(f"  {name:<22}{about}" for name, about in catalogue_files.ABOUT),
                "",
                "A file for a spreadsheet, with all that is there now: uv run manage.py export_catalogue --out FILE",
                "",
                "Example:",
                "  printf 'sku,product,name,vendor_product_id,seats_min,seats_max,currency,seats_from,price\\n"
                'X1,Example,"Example, monthly",V-X1,5,500,EUR,5,3.50\\nX1,,,,,,EUR,50,2.95\\n\''
                " | uv run manage.py import_catalogue -",
            ]
        )

    def handle(self, *, file: str, apply: bool, **options: Any) -> None:
        """Exit code 2 when the file is refused, and then nothing was saved."""
        try:
            contents = catalogue_files.read(io.BytesIO(_data(file)))
            plan = catalogue_files.save(contents, actor=None) if apply else catalogue_files.preview(contents)
        except BadCatalogue as bad:
            raise CommandError("\n".join([*bad.sentences, "Nothing was saved."]), returncode=MISUSED) from None
        self._show(plan)
        if apply:
            _log.info("catalogue imported", file=Path(file).name, **plan.counts)
        self._say("Saved." if apply else "Nothing was saved. With --apply, it is.")

    def _show(self, plan: Plan) -> None:
        for one in plan.differences:
            self._say(f"{one.kind:<9}{one.about} (line {one.line})")
            for name, before, after in one.values:
                self._say(f"{'':>11}{name}: {before} to {after or 'nothing'}" if before else f"{'':>11}{name}: {after}")
        for note in plan.notes:
            self._say(f"note     {note}")
        counts = ", ".join(f"{count:,} {kind}" for kind, count in plan.counts.items())
        self._say(f"{counts}, {plan.unchanged:,} unchanged.")


def _data(file: str) -> bytes:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(LARGEST + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=MISUSED) from None
    if len(data) > LARGEST:
        raise CommandError(f"{file} is larger than {LARGEST // 1_000_000} MB.", returncode=MISUSED)
    return data
