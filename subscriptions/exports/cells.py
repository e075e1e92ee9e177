"""How a value becomes a cell, in SQL: PostgreSQL writes CSV many times faster than any loop of ours."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

from babel import Locale
from django.db.models import DateField, DecimalField, Expression, F, Func, IntegerField, TextField

from subscriptions.pricing import minor_units
from subscriptions.sheets import BLANKS, BREAKS, SIGNS

TEXT, NUMBER, DAY = "text", "number", "day"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an export. `text` is its cell in CSV; `value` is what a workbook keeps as a number or a day."""

    name: str
    about: str
    text: Expression | F
    shape: str = TEXT
    value: Expression | F | None = None

    @property
    def cell(self) -> Expression | F:
        """Its cell in a workbook."""
        return self.text if self.value is None else self.value


def _sql(template: str, *paths: str | Expression | F, of: type = TextField) -> Func:
    """SQL around columns; `{0}` stands for the first of them, and each may be named as often as needed."""
    return _Around(*paths, around=template, output_field=of())


class _Around(Func):
    def as_sql(  # type: ignore[override]  # the compiler gives no more than these two
        self, compiler: Any, connection: Any, **extra: Any
    ) -> tuple[str, tuple[Any, ...]]:
        parts: list[str] = []
        parameters: list[Any] = []
        template: str = self.extra["around"]
        for position, one in enumerate(self.source_expressions):
            sql, values = compiler.compile(one)
            parts.append(sql)
            parameters += list(values) * template.count(f"{{{position}}}")
        return template.format(*parts), tuple(parameters)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SIGNS = ", ".join(map(_literal, SIGNS))
_BREAKS = ", ".join(map(_literal, BREAKS))
# The rule of `sheets.safe`; most cells begin with a letter or a digit, and need no closer look.
SAFE = (
    f"CASE WHEN {{0}} COLLATE \"C\" ~ '^[A-Za-z0-9]' THEN {{0}}"
    f" WHEN left(ltrim({{0}}, {_literal(BLANKS)}), 1) IN ({_SIGNS}) OR left({{0}}, 1) IN ({_BREAKS})"
    f" THEN '''' || {{0}} ELSE {{0}} END"
)
# That of the logs: somebody may have written a code into a reason. What is shorter than a code needs no look.
MASKED = (
    "CASE WHEN octet_length({0}) < 23 THEN {1}"
    r" ELSE regexp_replace({1}, '\y(?:[0-9A-Z]{{5}}-){{3}}([0-9A-Z]{{5}})\y', '****-****-****-\1', 'g') END"
)


def text(name: str, path: str | F, about: str) -> Column:
    """What people or a vendor named."""
    return Column(name, about, _sql(SAFE, path))


def words(name: str, path: str | Expression | F, about: str) -> Column:
    """What people or a vendor wrote; what looks like an activation code is cut to its last group."""
    return Column(name, about, _sql(MASKED, path, _sql(SAFE, path)))


def code(name: str, path: str, about: str) -> Column:
    """A word of ours, which needs no guard."""
    return Column(name, about, F(path))


def named(name: str, path: str, prefix: str, about: str, *, digits: int = 1) -> Column:
    """An ID as people write it, such as SUB-000123."""
    padded = f"lpad({{0}}::text, greatest({digits}, length({{0}}::text)), '0')" if digits > 1 else "{0}::text"
    return Column(name, about, _sql(f"'{prefix}' || {padded}", path))


def number(name: str, path: str | Expression, about: str) -> Column:
    of = F(path) if isinstance(path, str) else path
    return Column(name, about, of, NUMBER)


def flag(name: str, path: str, about: str) -> Column:
    return Column(name, f"{about}: yes or no", _sql("CASE WHEN {0} THEN 'yes' WHEN NOT {0} THEN 'no' END", path))


def day(name: str, path: str, about: str) -> Column:
    return Column(name, about, _sql("to_char({0}, 'YYYY-MM-DD')", path), DAY, _sql("{0}", path, of=DateField))


def instant(name: str, path: str, about: str) -> Column:
    """In UTC and to the second; text in a workbook too, which knows no time zones."""
    return Column(name, about, _sql("to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", path))


def amount(name: str, path: str | Expression, currency: str | Expression, about: str) -> Column:
    """With exactly the decimals of its currency, and a point before them."""
    return Column(name, about, _sql(f"round({{0}}, {_decimals()})", path, currency, of=DecimalField), NUMBER)


def unit_price(name: str, path: str, currency: str, about: str) -> Column:
    """Exact: with more decimals than the currency where it has them."""
    exact = f"round({{0}}, greatest(min_scale({{0}}), {_decimals()}))"
    return Column(name, about, _sql(exact, path, currency, of=DecimalField), NUMBER)


@cache
def _decimals() -> str:
    """SQL for the minor unit of the currency that is the second column."""
    others: dict[int, list[str]] = defaultdict(list)
    for currency in sorted(Locale("en").currencies):
        if (places := minor_units(currency)) != 2:
            others[places].append(_literal(currency))
    cases = " ".join(f"WHEN {{1}} IN ({', '.join(names)}) THEN {places}" for places, names in others.items())
    return f"CASE {cases} ELSE 2 END"


def integer(template: str, path: str) -> Func:
    """A whole number out of SQL around a column."""
    return _sql(template, path, of=IntegerField)


def decimal(template: str, *paths: str) -> Func:
    """An exact number out of SQL around columns."""
    return _sql(template, *paths, of=DecimalField)


def writing(template: str, path: str) -> Func:
    """A text out of SQL around a column."""
    return _sql(template, path)
