"""What commands about many rows have in common: files in and out, and reasons with examples."""

import shutil
import sys
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from django.core.management import CommandError

from subscriptions.bulk import Reason
from subscriptions.management.telling import MISUSED, TellingCommand


class RowsCommand(TellingCommand):
    """Says what happens with many rows."""

    def _reasons(self, reasons: dict[str, Reason]) -> None:
        for code, reason in reasons.items():
            self._say(f"{reason.count:>13,}  {code or 'no code'}")
            self._examples([f"{named}: {sentence}" for named, sentence in reason.examples], reason.count)

    def _examples(self, lines: list[str], count: int) -> None:
        for line in lines:
            self._say(f"{'':>15}{line}")
        if count > len(lines):
            self._say(f"{'':>15}...")


LARGEST = 2**31 - 1


def whole_number(text: str) -> int:
    """For argparse: a positive whole number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= LARGEST):
        raise ArgumentTypeError(f"{text} cannot be it. Write a whole number from 1 to {LARGEST}, digits only.")
    return int(text)


def not_done(count: int) -> str:
    """Such as "2 rows were not done, refused or failed."."""
    return f"{count:,} {'row was' if count == 1 else 'rows were'} not done, refused or failed."


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        # Its rows are stored in one transaction, which must not wait for whoever writes into the pipe.
        with tempfile.TemporaryFile() as spooled:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
            spooled.seek(0)
            yield spooled
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=MISUSED) from None
        yield stream


def check_writable(out: Path, file: str | None) -> None:
    """Before anything is done: to lose the outcomes after an hour's work would be worse."""
    if file and file != "-" and out.exists() and Path(file).exists() and out.samefile(file):
        raise CommandError(f"{out} is the file with the rows itself.", returncode=MISUSED)
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}.", returncode=MISUSED) from None
    if out.is_dir():
        raise CommandError(f"{out} is a folder.", returncode=MISUSED)
