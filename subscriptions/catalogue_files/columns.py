"""What a file of the catalogue can say, column by column: how a cell is read, and how a value is written into one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import BooleanField, Field, IntegerField

from subscriptions.models import SKU, Product
from subscriptions.models.catalogue import clean_currency
from subscriptions.sheets import bare, safe

REMOVE = "remove"
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


class BadCell(Exception):  # noqa: N818 - what is wrong with a cell, in a sentence
    """Why a cell cannot be used, for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column about a product or a SKU, and the field that it fills."""

    name: str
    field: "Field[Any, Any]"
    about: str

    @property
    def of(self) -> type[Any]:
        """The model."""
        return self.field.model

    def read(self, cell: str) -> Any:
        """The value of a cell that is not empty. Raises BadCell; lengths and ranges are the model's to judge."""
        if isinstance(self.field, BooleanField):
            return _flag(cell)
        if isinstance(self.field, IntegerField):
            return whole(cell)
        if self.field.choices:
            return _choice(cell, [str(value) for value, _ in self.field.flatchoices])
        return bare(cell).replace("\r\n", "\n")

    def write(self, value: Any) -> str:
        """The cell of a value; `read` gives back one that is `same`."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return safe(value.strip()) if isinstance(value, str) else str(value)

    def same(self, one: Any, other: Any) -> bool:
        """As far as a file can tell, in which cells are trimmed and lines end in their own way."""
        if isinstance(one, str) and isinstance(other, str):
            return _plain(one) == _plain(other)
        return bool(one == other)


def _plain(text: str) -> str:
    return bare("\n".join(text.splitlines()).strip())


def _of(model: type[Product] | type[SKU], name: str, field: str, about: str) -> Column:
    return Column(name, model._meta.get_field(field), about)  # type: ignore[arg-type]  # a column, no relation to one


PRODUCT = _of(Product, "product", "name", "name of the product; the first line of a new SKU must say it")
COLUMNS: tuple[Column, ...] = (
    _of(Product, "vendor", "vendor", "of a new product: the vendor's key, such as kaspersky"),
    _of(Product, "description", "description", "of the product, for customers"),
    _of(Product, "product_sold", "is_sold", "is the product sold: yes or no"),
    _of(Product, "company_details", "needs_company_details", "sold only to companies with all details: yes or no"),
    _of(SKU, "name", "name", "name of the SKU"),
    _of(SKU, "vendor_product_id", "vendor_product_id", "the vendor's own name for it"),
    _of(SKU, "seats_min", "seats_min", "smallest number of seats"),
    _of(SKU, "seats_max", "seats_max", "largest number of seats"),
    _of(SKU, "term_months", "term_months", "term in months"),
    _of(SKU, "billing_period", "billing_period", "month or year"),
    _of(SKU, "seat_change", "seat_change", "in_place or unsupported"),
    _of(SKU, "can_suspend", "can_suspend", "can be suspended: yes or no"),
    _of(SKU, "increase_policy", "increase_policy", "prorate_days, full_period or high_water"),
    _of(SKU, "decrease_policy", "decrease_policy", "next_period, immediate_credit or immediate_no_credit"),
    _of(SKU, "bills_while_suspended", "bills_while_suspended", "yes or no"),
    _of(SKU, "cancel_credit", "cancel_credit", "none or by_days"),
    _of(SKU, "cancel_needs_approval", "cancel_needs_approval", "yes or no"),
    _of(SKU, "trial_days", "trial_days", "days of a trial; 0: there is none"),
    _of(SKU, "grace_days", "grace_days", "days in which an expired subscription can be renewed"),
    _of(SKU, "sold", "is_sold", "is the SKU sold: yes or no"),
)
BAND = ("currency", "seats_from", "price")
NAMES = ("sku", PRODUCT.name, *(column.name for column in COLUMNS), *BAND)

ABOUT: tuple[tuple[str, str], ...] = (
    ("sku", "code of the SKU that the line is about; empty only in a line about nothing but a product"),
    *((column.name, column.about) for column in (PRODUCT, *COLUMNS)),
    ("currency", "of the price: ISO 4217 code, such as EUR"),
    ("seats_from", "of the price: from how many seats on it holds, for all seats"),
    ("price", f"of one seat for a billing period, such as 3.50; “{REMOVE}” takes the price of these seats away"),
)
"""Every column by name, with what it holds."""


def whole(cell: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", cell):
        raise BadCell(f"“{cell[:40]}” is no number. Write digits only, such as 1000.")
    return int(cell)


def price(cell: str) -> Decimal | None:
    """None for one that is to go."""
    if cell.lower() == REMOVE:
        return None
    if not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,4})?", cell):
        raise BadCell(
            f"“{cell[:40]}” is no price. Write it with a decimal point and without separators, such as 1234.50."
        )
    return Decimal(cell)


def currency(cell: str) -> str:
    try:
        return clean_currency(cell)
    except ValidationError as wrong:
        raise BadCell(wrong.messages[0]) from None


def _flag(cell: str) -> bool:
    if cell.lower() not in (*_YES, *_NO):
        raise BadCell(f"“{cell[:40]}” is neither yes nor no.")
    return cell.lower() in _YES


def _choice(cell: str, values: list[str]) -> str:
    if cell.lower() not in values:
        raise BadCell(f"“{cell[:40]}” is none of: {', '.join(values)}.")
    return cell.lower()


READ_BAND: dict[str, Callable[[str], Any]] = {"currency": currency, "seats_from": whole, "price": price}
