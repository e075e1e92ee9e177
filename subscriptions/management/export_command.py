"""The base of the commands that write a list to a file, or to standard output."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management import CommandError
from django.db import Error

from subscriptions import exports, filters
from subscriptions.exports import Table
from subscriptions.filters import BadFilter
from subscriptions.management.outfile import printed, whole
from subscriptions.management.telling import INTERRUPTED, MISUSED, TellingCommand


class ExportCommand(TellingCommand):
    """A thin file for each: its table and an example."""

    table: Table
    example: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        words = filters.of(self.table.model)
        parser.add_argument(
            "--where",
            action="append",
            default=[],
            metavar="WORD=VALUE",
            help="only those that this finds, such as status=active; may be repeated, and then all must hold",
        )
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="write this file, whole or not at all; else standard output (CSV)"
        )
        parser.add_argument(
            "--format", choices=sorted(exports.WRITERS), help="csv or xlsx; the name of the file says it otherwise"
        )
        parser.epilog = "\n".join(
            [
                "Columns:",
                *_listed((column.name, column.about) for column in self.table.columns),
                "",
                "Days are written as 2027-03-01, instants as 2027-03-01T12:30:00Z (UTC), amounts with a decimal point.",
                "A text that a spreadsheet could take for a formula has an apostrophe before it. No column holds an",
                f"activation code. A workbook goes on in a further sheet after {exports.SHEET_ROWS - 1:,} rows.",
                "",
                "Words for --where:",
                *_listed((name, word.takes) for name, word in words.items()),
                "",
                f"Example:\n  {self.example}",
            ]
        )

    def handle(self, *, where: list[str], out: Path | None, format: str | None, **options: Any) -> None:
        """Exit code 1 when the file could not be completed, 2 when asked for the impossible, 130 when interrupted."""
        try:
            rows = filters.narrow(self.table.model._default_manager.all(), filters.parse(where))
        except BadFilter as bad:
            raise CommandError(str(bad), returncode=MISUSED) from None
        write = exports.WRITERS[self._format(out, format)]
        try:
            if out is None:
                with printed() as stream:
                    write(rows, self.table, stream)
                return
            # Of how many would take as long to find out.
            with whole(out) as stream, self._progress("Rows", None) as reached:
                count = write(rows, self.table, stream, told=reached)
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing was written.", returncode=INTERRUPTED) from None
        except Error as error:
            raise CommandError(f"The database failed: {str(error).strip().partition(chr(10))[0]}") from None
        self._say(f"{count:,} rows are in {out}.")

    def _format(self, out: Path | None, told: str | None) -> str:
        if out is None:
            if told == "xlsx":
                raise CommandError("A workbook needs a file: --out FILE.", returncode=MISUSED)
            return "csv"
        found = told or exports.suffix(out)
        if not found:
            raise CommandError(
                f"{out} ends neither in .csv nor in .xlsx: say --format csv or --format xlsx.", returncode=MISUSED
            )
        return found


def _listed(rows: Any) -> list[str]:
    return [f"  {name:<16}{about}" for name, about in rows]
