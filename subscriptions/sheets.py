"""CSV as people send it: read strictly, line by line, or refused with the number of the line that is wrong."""

import csv
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO

LONGEST_LINE = 64 * 1024


class BadSheet(Exception):  # noqa: N818 - a file that is refused, with a sentence for its sender
    """Why a file cannot be used: a sentence that names the line. Nothing of the file counts."""


class Sheet:
    """The rows of a CSV file in UTF-8 with commas and a header; `stream` is read once, and never as a whole.

    Iterating gives each row's line number and its cells by column, trimmed; empty lines are skipped. Column names count
    without regard to case, and `line` is that of the header. Raises BadSheet, from the constructor for the header and
    while iterating for a row.
    """

    def __init__(self, stream: BinaryIO, *, needed: Collection[str]) -> None:
        self._reader = csv.reader(_lines(stream), strict=True)
        header = next(self._rows(), None)
        if header is not None and [cell.strip().lower() for cell in header[1]] == ["sep=", ""]:
            # With it Excel is told, and tells, that commas separate the cells.
            header = next(self._rows(), None)
        if header is None:
            raise BadSheet("The file is empty. Its first line must name the columns.")
        self.line, names = header
        self.columns = [name.strip().lower() for name in names]
        self._check_header(self.line, needed)

    def _check_header(self, line: int, needed: Collection[str]) -> None:
        for name in needed:
            if name in self.columns:
                continue
            for mark, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
                if any(mark in one for one in self.columns):
                    raise BadSheet(f"Line {line}: the columns are separated by {called}. Separate them by commas.")
            found = ", ".join(one or "(no name)" for one in self.columns)
            raise BadSheet(f"Line {line} has no column “{name}”. It has: {found[:200]}.")
        repeated = sorted({name for name in self.columns if name and self.columns.count(name) > 1})
        if repeated:
            raise BadSheet(f"Line {line} has the column “{repeated[0]}” more than once.")

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        for line, cells in self._rows():
            if len(cells) != len(self.columns):
                raise BadSheet(f"Line {line} has {len(cells)} cells, and the header has {len(self.columns)}.")
            yield line, {name: cell.strip() for name, cell in zip(self.columns, cells, strict=True)}

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            # A cell may hold line breaks: the row is known by the line on which it begins.
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadSheet(f"Line {line} cannot be read: {_words(error)}") from None
            if any(cell.strip() for cell in cells):
                yield line, cells


def _words(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end" in said or "field limit" in said:
        return "a quotation mark is opened there, and not closed."
    if "new-line" in said:
        return "it holds a carriage return without a line feed. Save the file as CSV in UTF-8."
    if "expected after" in said:
        return "a quotation mark stands inside a cell. Write it twice."
    return f"{said}."


def _lines(stream: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := stream.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise BadSheet("The file is in UTF-16. Save it as CSV in UTF-8.")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > LONGEST_LINE:
            raise BadSheet(f"Line {number} is longer than {LONGEST_LINE // 1024} KB. Is this a CSV file?")
        if b"\0" in raw:
            raise BadSheet(f"Line {number} holds a NUL character. Save the file as CSV in UTF-8.")
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            raise BadSheet(f"Line {number} is not in UTF-8. Save the file as CSV in UTF-8.") from None


# Excel takes a CSV without it for text in the code page of its country, and spoils every name; others skip it.
BYTE_ORDER_MARK = "\ufeff"
# The wide ones are signs too where such keyboards are in use.
SIGNS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
BREAKS = ("\t", "\r", "\n")
# Spreadsheets skip them before a formula; spelled out, so that PostgreSQL skips the same ones.
BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def written(rows: Iterable[Iterable[object]], *, mark: str = BYTE_ORDER_MARK) -> Iterator[str]:
    """A CSV file for a spreadsheet, row by row: nothing is held for longer than its row. Without a `mark` it goes on
    with one."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield mark + writer.writerow(row)
        mark = ""


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; words of a vendor or a customer may begin like one."""
    return f"'{text}" if text.lstrip(BLANKS)[:1] in SIGNS or text[:1] in BREAKS else text


def instant(at: datetime) -> str:
    """A cell with an instant, in UTC and to the second, as all files write it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def bare(cell: str) -> str:
    """The text that `safe` has made a cell of."""
    return cell[1:] if cell.startswith("'") and safe(cell[1:]) == cell else cell
