"""The rows of the file: what each column holds, read strictly."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from subscriptions.models import SubscriptionStatus
from subscriptions.sheets import BadSheet, Sheet, bare
from subscriptions.vendors.port import Secret

NEEDED = ("account", "sku", "seats", "subscriber_id", "started_on", "period_end")
COLUMNS = {
    "account": "the company: its name here, or its number",
    "sku": "code of the SKU that it is from now on",
    "seats": "digits only, such as 1000",
    "subscriber_id": "the vendor's name for the licence: 32 hex digits",
    "started_on": "the day on which it started, such as 2026-01-31",
    "period_end": "the first day that is not paid for: with it the next period begins, and is billed here",
    "status": "active (also when empty), suspended, ending or expired",
    "suspended_on": "of a suspended one: since when",
    "ends_on": "of one that is ending: the first day on which it does not work any more",
    "term_end": "the first day after its term; empty: counted from started_on by terms of the SKU",
    "anchor_day": "the day of the month on which periods begin, 1 to 31; empty: that of period_end or started_on",
    "auto_renew": "yes (also when empty) or no: does a term follow?",
    "currency": "only to check, or for a company that is created: such as EUR",
    "activation_code": "empty: the one that the vendor says. It is kept encrypted and never shown",
    "reference": "its number in the other system, for the history",
}
"""What the file may hold; `NEEDED` columns must be there."""

_SUBSCRIBER = re.compile(r"[0-9A-Fa-f]{32}")
_DAY = re.compile(r"(?:19|20)\d\d-\d\d-\d\d", re.ASCII)
_CODE = re.compile(r"[!-~]{4,64}")
# What looks like one must not stand in a message, or in a column that is kept in clear.
_LIKE_A_CODE = re.compile(r"[0-9A-Za-z]{5}(?:-[0-9A-Za-z]{5}){3}")


@dataclass(frozen=True, slots=True)
class Line:
    """One row; `told` is what stands in it, by column, days as text: all but the subscriber and the code."""

    position: int
    subscriber_id: str
    told: dict[str, Any]
    code: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Base:
    """The rows of a sheet. Iterating raises BadSheet with the number of the first line that is wrong.

    A subscriber that is named twice is, and so is a column that is not one of `COLUMNS`: to leave it out silently
    might change what is billed.
    """

    sheet: Sheet
    words: str

    def __post_init__(self) -> None:
        for name in self.sheet.columns:
            if name not in COLUMNS:
                what = f"the column “{name[:40]}” is not known" if name else "a column has no name"
                known = ", ".join(COLUMNS)
                raise BadSheet(f"Line {self.sheet.line}: {what}. Leave it out, or call it one of: {known}.")

    def __iter__(self) -> Iterator[Line]:
        seen: set[int] = set()
        for position, cells in self.sheet:
            line = _line(position, cells)
            # Digits, since a million texts take twice the memory.
            number = int(line.subscriber_id, 16)
            if number in seen:
                raise BadSheet(f"Line {position} names the subscriber {line.subscriber_id} a second time.")
            seen.add(number)
            yield line


def _line(position: int, cells: dict[str, str]) -> Line:
    told: dict[str, Any] = {}
    for name, read in _READ.items():
        typed = cells.get(name, "")
        if typed or name in NEEDED:
            told[name] = read(position, name, typed)
    subscriber = told.pop("subscriber_id")
    code = cells.get("activation_code", "")
    if code and not _CODE.fullmatch(code):
        raise BadSheet(f"Line {position}: what stands in “activation_code” is none. It is not shown here.")
    return Line(position, subscriber, told, Secret(code) if code else None)


def _refused(position: int, name: str, typed: str, why: str) -> BadSheet:
    shown = "what stands there" if _LIKE_A_CODE.search(typed) else f"“{typed[:40]}”"
    return BadSheet(f"Line {position}, {name}: {shown} {why}")


def _text(position: int, name: str, typed: str) -> str:
    text = bare(typed)
    if not text:
        raise BadSheet(f"Line {position} says no {name}.")
    if len(text) > 200:
        raise _refused(position, name, typed, "is longer than 200 characters.")
    if _LIKE_A_CODE.search(text):
        raise _refused(position, name, typed, "looks like an activation code, which has a column of its own.")
    return text


def _seats(position: int, name: str, typed: str) -> int:
    if not (typed.isascii() and typed.isdigit()):
        raise _refused(position, name, typed, "is no number of seats. Write digits only, such as 1000.")
    # Longer than any seat limit: it is refused with the range, like every number beyond it.
    return int(typed) if len(typed.lstrip("0")) <= 9 else 10**9


def _subscriber(position: int, name: str, typed: str) -> str:
    if not _SUBSCRIBER.fullmatch(typed):
        raise _refused(position, name, typed, "is no subscriber of the vendor: 32 digits 0 to 9 and A to F.")
    return typed


def _day(position: int, name: str, typed: str) -> str:
    try:
        if not _DAY.fullmatch(typed):
            raise ValueError
        date.fromisoformat(typed)
    except ValueError:
        raise _refused(position, name, typed, "is no day. Write it like 2026-12-31.") from None
    return typed


def _status(position: int, name: str, typed: str) -> str:
    if typed.lower() not in SubscriptionStatus.values:
        raise _refused(position, name, typed, "is no status. Write active, suspended, ending or expired.")
    return typed.lower()


def _anchor_day(position: int, name: str, typed: str) -> int:
    if not (typed.isascii() and typed.isdigit() and len(typed) <= 2 and 1 <= int(typed) <= 31):
        raise _refused(position, name, typed, "is no day of a month. Write 1 to 31.")
    return int(typed)


def _yes_or_no(position: int, name: str, typed: str) -> bool:
    if typed.lower() not in ("yes", "no"):
        raise _refused(position, name, typed, "is neither yes nor no.")
    return typed.lower() == "yes"


def _currency(position: int, name: str, typed: str) -> str:
    if not (typed.isascii() and typed.isalpha() and len(typed) == 3):
        raise _refused(position, name, typed, "is no currency. Write its ISO 4217 code, such as EUR.")
    return typed.upper()


_READ: dict[str, Callable[[int, str, str], Any]] = {
    "account": _text, "sku": _text, "seats": _seats, "subscriber_id": _subscriber, "started_on": _day,
    "period_end": _day, "status": _status, "suspended_on": _day, "ends_on": _day, "term_end": _day,
    "anchor_day": _anchor_day, "auto_renew": _yes_or_no, "currency": _currency, "reference": _text,
}  # fmt: skip
