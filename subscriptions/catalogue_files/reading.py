"""From a file to what it says, or to everything that is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO

from subscriptions.catalogue_files.columns import BAND, COLUMNS, NAMES, PRODUCT, READ_BAND, BadCell, Column
from subscriptions.models import SKU, Product
from subscriptions.sheets import BadSheet, Sheet, bare

LARGEST = 1_000_000
"""Bytes that a file may have; a price list of ten thousand bands has fewer."""
TOLD = 20


class BadCatalogue(Exception):  # noqa: N818 - a file that is refused, with sentences for its sender
    """Why nothing of a file can be used: at most `TOLD` sentences, each with its line and, where it has one, column."""

    def __init__(self, sentences: Sequence[str]) -> None:
        more = len(sentences) - TOLD
        self.sentences = [*sentences[:TOLD], *([f"And {more:,} more."] if more > 0 else [])]
        super().__init__(" ".join(self.sentences))


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with the line that says it."""

    value: Any
    line: int


@dataclass(slots=True)
class Said:
    """What a file says of one product or SKU: its cells by column, and the first line that names it."""

    line: int
    cells: dict[str, Cell] = field(default_factory=dict)


Band = tuple[str, str, int]
"""SKU, currency, seats from."""


@dataclass(slots=True)
class Contents:
    """What a file says. Of a SKU's cells the one under `product` names its product; a band without a price is to go."""

    products: dict[str, Said] = field(default_factory=dict)
    skus: dict[str, Said] = field(default_factory=dict)
    bands: dict[Band, Cell] = field(default_factory=dict)


def read(stream: BinaryIO) -> Contents:
    """What the file says, as one; the catalogue itself is not looked at. Raises BadCatalogue."""
    try:
        sheet = Sheet(stream, needed=["sku"])
        if strange := [name for name in sheet.columns if name and name not in NAMES]:
            raise BadSheet(
                f"Line 1 has the column “{strange[0][:40]}”, which is none of: {', '.join(NAMES)}. Leave it out."
            )
        reading = _Reading()
        for line, cells in sheet:
            reading.take(line, cells)
    except BadSheet as bad:
        raise BadCatalogue([str(bad)]) from None
    if reading.wrong:
        raise BadCatalogue(reading.wrong)
    if not reading.contents.skus and not reading.contents.products:
        raise BadCatalogue(["The file has a header and no lines below it."])
    return reading.contents


class _Reading:
    def __init__(self) -> None:
        self.contents = Contents()
        self.wrong: list[str] = []

    def take(self, line: int, cells: dict[str, str]) -> None:
        given = {name: cell for name, cell in cells.items() if name and cell}
        code, product = bare(given.get("sku", "")), bare(given.get(PRODUCT.name, ""))
        if not code and not product:
            self._say(line, "sku", "It is empty. Each line names the SKU that it is about.")
            return
        if product:
            said = self.contents.products.setdefault(product, Said(line))
            self._keep(line, given, Product, said)
        elif lost := next((one.name for one in COLUMNS if one.of is Product and one.name in given), ""):
            self._say(line, lost, "It is about a product. Name the product in the same line.")
        if code:
            said = self.contents.skus.setdefault(code, Said(line))
            if product:
                self._put(line, PRODUCT.name, product, said)
            self._keep(line, given, SKU, said)
            self._keep_band(line, given, code)
        elif lost := next((name for name in given if name in _OF_A_SKU), ""):
            self._say(line, lost, "It is about a SKU. Name the SKU in the same line.")

    def _keep(self, line: int, given: dict[str, str], model: type[Product] | type[SKU], said: Said) -> None:
        for column in COLUMNS:
            if column.of is model and column.name in given:
                value = self._read(line, column, given[column.name])
                if value is not None:
                    self._put(line, column.name, value, said)

    def _read(self, line: int, column: Column, cell: str) -> Any:
        try:
            return column.read(cell)
        except BadCell as bad:
            self._say(line, column.name, str(bad))
            return None

    def _put(self, line: int, name: str, value: Any, said: Said) -> None:
        earlier = said.cells.setdefault(name, Cell(value, line))
        if earlier.value != value:
            self._say(line, name, f"Line {earlier.line} says something else. Say it once, or the same in both.")

    def _keep_band(self, line: int, given: dict[str, str], code: str) -> None:
        missing = [name for name in BAND if name not in given]
        if len(missing) == len(BAND):
            return
        if missing:
            self._say(line, missing[0], "It is empty. A price needs currency, seats_from and price.")
            return
        found: dict[str, str | int | Decimal | None] = {}
        for name, reader in READ_BAND.items():
            try:
                found[name] = reader(given[name])
            except BadCell as bad:
                self._say(line, name, str(bad))
        if len(found) < len(BAND):
            return
        band: Any = (code, found["currency"], found["seats_from"])
        if band in self.contents.bands:
            earlier = self.contents.bands[band].line
            self._say(line, "price", f"Line {earlier} has a price of {code} for {band[1]} and {band[2]} seats already.")
            return
        self.contents.bands[band] = Cell(found["price"], line)

    def _say(self, line: int, name: str, sentence: str) -> None:
        self.wrong.append(at(line, name, sentence))


_OF_A_SKU = {*BAND, *(column.name for column in COLUMNS if column.of is SKU)}


def at(line: int, name: str, sentence: str) -> str:
    """A sentence with its place."""
    return f"Line {line}, {name}: {sentence}" if name else f"Line {line}: {sentence}"
