"""Rows as CSV and as a workbook, in one pass over the database: memory stays flat whatever their number."""

import csv
import io
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import xlsxwriter
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import QuerySet
from xlsxwriter.worksheet import Worksheet

from subscriptions.exports.tables import Table

SHEET_ROWS = 1_048_576
"""What a sheet of a workbook holds, the header among them; what is more goes on in a further sheet."""

_PIECE = 64 * 1024
_BATCH = 5_000
# A spreadsheet counts in doubles: what has more digits would be rounded, so it stays a text.
_EXACT = 15
_LONGEST = 32_767
_WIDTHS = {"text": 18, "number": 11, "day": 11}


def csv_pieces(rows: QuerySet[Any], table: Table) -> Iterator[bytes]:
    """A CSV file in UTF-8 with a header, by ID; `rows` are of the table's model. For one use.

    PostgreSQL writes it, from one snapshot. Nothing is held but a piece of some 64 KB and the connection: close the
    iterator when the reader is gone.
    """
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(table.header)
    yield header.getvalue().encode()
    try:
        statement = _copy(rows, table)
    except EmptyResultSet:
        return
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as lines:
        held, size = [], 0
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)


def _copy(rows: QuerySet[Any], table: Table) -> str:
    found = _select(rows, {f"x_{column.name}": column.text for column in table.columns})
    sql, parameters = found.query.sql_with_params()
    connection.ensure_connection()
    # COPY takes no parameters, so the driver writes them into the statement, with its own quoting.
    query = psycopg.ClientCursor(connection.connection).mogrify(sql, parameters)
    return f"COPY ({query}) TO STDOUT WITH (FORMAT csv)"


def _select(rows: QuerySet[Any], columns: dict[str, Any]) -> QuerySet[Any, tuple[Any, ...]]:
    return rows.order_by("pk").annotate(**columns).values_list(*columns)


Told = Callable[[int], None] | None


def write_csv(rows: QuerySet[Any], table: Table, stream: BinaryIO, *, told: Told = None) -> int:
    """Writes all rows and returns how many; `told` hears now and then how many it are so far."""
    written = -1
    for piece in csv_pieces(rows, table):
        stream.write(piece)
        # Good enough for a bar: a cell may hold a line break.
        written += piece.count(b"\n")
        if told:
            told(written)
    return written


def write_xlsx(
    rows: QuerySet[Any], table: Table, stream: BinaryIO, *, told: Callable[[int], None] | None = None
) -> int:
    """The same as a workbook: numbers are numbers, days are days, and no text is a formula."""
    with tempfile.TemporaryDirectory(prefix="seatdesk-") as beside:
        workbook = xlsxwriter.Workbook(stream, {"constant_memory": True, "tmpdir": beside, "use_zip64": True})
        count = _fill(workbook, _values(rows, table), table, told)
        workbook.close()
    return count


def _values(rows: QuerySet[Any], table: Table) -> Iterator[tuple[Any, ...]]:
    columns = {f"x_{column.name}": column.cell for column in table.columns}
    # Outside a transaction the server would first store the whole answer.
    with transaction.atomic():
        yield from _select(rows, columns).iterator(chunk_size=_BATCH)


def _fill(
    workbook: xlsxwriter.Workbook,
    values: Iterator[tuple[Any, ...]],
    table: Table,
    told: Told,
) -> int:
    bold = workbook.add_format({"bold": True})
    iso = workbook.add_format({"num_format": "yyyy-mm-dd"})
    writers = [_writer(column.shape, iso) for column in table.columns]
    sheet, row, sheets, count = None, SHEET_ROWS, 0, 0
    for cells in values:
        if row == SHEET_ROWS:
            sheets, row = sheets + 1, 1
            sheet = _sheet(workbook, table, sheets, bold)
        assert sheet is not None  # noqa: S101 - the first row makes one
        for column, (write, cell) in enumerate(zip(writers, cells, strict=True)):
            if cell is not None:
                write(sheet, row, column, cell)
        row += 1
        count += 1
        if told and not count % _BATCH:
            told(count)
    if sheet is None:
        _sheet(workbook, table, 1, bold)
    return count


def _sheet(workbook: xlsxwriter.Workbook, table: Table, position: int, bold: Any) -> Worksheet:
    sheet = workbook.add_worksheet(table.title if position == 1 else f"{table.title} {position}")
    sheet.freeze_panes(1, 0)
    for column, one in enumerate(table.columns):
        sheet.set_column(column, column, _WIDTHS[one.shape])
    for column, name in enumerate(table.header):
        sheet.write_string(0, column, name, bold)
    return sheet


def _writer(shape: str, iso: Any) -> Callable[[Worksheet, int, int, Any], None]:
    if shape == "day":
        return lambda sheet, row, column, cell: sheet.write_datetime(row, column, cell, iso)
    if shape == "number":
        return _number
    return _text


def _text(sheet: Worksheet, row: int, column: int, cell: str) -> None:
    # A cell that is longer would be left out without a word.
    sheet.write_string(row, column, cell if len(cell) <= _LONGEST else f"{cell[: _LONGEST - 1]}…")


def _number(sheet: Worksheet, row: int, column: int, cell: int | Decimal) -> None:
    if isinstance(cell, Decimal) and len(cell.as_tuple().digits) > _EXACT:
        sheet.write_string(row, column, f"{cell:f}")
    else:
        sheet.write_number(row, column, cell)


WRITERS = {"csv": write_csv, "xlsx": write_xlsx}


def suffix(path: Path) -> str:
    """The format that a file's name asks for; empty when it is none of ours."""
    found = path.suffix.lower().removeprefix(".")
    return found if found in WRITERS else ""
