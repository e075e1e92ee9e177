"""`uv run manage.py export_catalogue`: the price list for a spreadsheet."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management import CommandError

from subscriptions import catalogue_files
from subscriptions.management.outfile import printed, whole
from subscriptions.management.telling import INTERRUPTED, TellingCommand


class Command(TellingCommand):
    help = "Write the whole catalogue as CSV, for import_catalogue: to read it again changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("--out", type=Path, metavar="FILE", help="write this file; else standard output")
        parser.epilog = (
            "The columns are those of import_catalogue, whose --help explains them.\n\n"
            "Example:\n  uv run manage.py export_catalogue --out catalogue.csv"
        )

    def handle(self, *, out: Path | None, **options: Any) -> None:
        lines = catalogue_files.lines()
        if out is None:
            with printed() as stream:
                stream.writelines(line.encode() for line in lines)
            return
        try:
            with whole(out) as stream:
                stream.writelines(line.encode() for line in lines)
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing was written.", returncode=INTERRUPTED) from None
        self._say(f"The catalogue is in {out}.")
