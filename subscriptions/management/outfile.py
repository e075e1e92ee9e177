"""What commands write: files, whole or not at all, and standard output."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from django.core.management import CommandError

from subscriptions.management.telling import MISUSED


@contextmanager
def whole(out: Path) -> Iterator[BinaryIO]:
    """A stream into a new file beside `out`, which replaces `out` when the block ends well.

    A reader never finds half a file, and a failure or Ctrl-C leaves the old one. Raises CommandError (exit code 2)
    before anything is done when it cannot be written there.
    """
    place = out.resolve()
    if place.exists() and not place.is_file():
        raise CommandError(f"{out} is no file.", returncode=MISUSED)
    try:
        number, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}.", returncode=MISUSED) from None
    written = Path(name)
    try:
        with open(number, "wb") as beside:
            # It is as readable as the old one, and a new one as any other new file.
            written.chmod(place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
            yield beside
        written.replace(place)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}. Nothing was written.") from None
    finally:
        written.unlink(missing_ok=True)


@contextmanager
def printed() -> Iterator[BinaryIO]:
    """Standard output for bytes. Raises CommandError (exit code 1) when it is closed before the end, as by `head`."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever read it has had enough; Python would complain once more when it ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("Standard output was closed before the end.") from None


def _umask() -> int:
    """It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
