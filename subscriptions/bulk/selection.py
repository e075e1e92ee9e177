"""Which subscriptions: those that a file lists, or those that filters find."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from django.core.exceptions import EmptyResultSet
from django.db import connection, models

from subscriptions import filters
from subscriptions.filters import subscription_id
from subscriptions.models import Account, BulkRun, Product, Subscription
from subscriptions.sheets import BadSheet, Sheet

_COLUMNS = "(run_id, position, subscription_id, text, after, outcome, code, sentence)"
_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """One row that was chosen; a file may name a subscription that there is not."""

    position: int
    subscription_id: int
    after: dict[str, Any] = field(default_factory=dict)
    text: str = ""


class Selection(Protocol):
    """Rows that were chosen; used once, since they may come from a pipe."""

    @property
    def words(self) -> str:
        """How they were chosen."""

    def lines(self) -> Iterator[Line]: ...

    def write(self, run: BulkRun) -> None:
        """Store the rows of a run, in the caller's transaction."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """Those of a queryset, by ID; `after` is wanted of each."""

    subscriptions: models.QuerySet[Subscription]
    words: str
    after: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[Line]:
        ids = self.subscriptions.order_by("pk").values_list("pk", flat=True)
        for position, pk in enumerate(ids.iterator(chunk_size=10_000), 1):
            yield Line(position, pk, self.after)

    def write(self, run: BulkRun) -> None:
        try:
            found, parameters = self.subscriptions.order_by().values("pk").query.sql_with_params()
        except EmptyResultSet:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO subscriptions_bulkrow {_COLUMNS}"  # noqa: S608 - Django's own SQL, with its parameters
                " SELECT %s, row_number() OVER (ORDER BY id), id, '', %s::jsonb, 'waiting', '', ''"
                f" FROM ({found}) AS found(id)",
                [run.pk, json.dumps(self.after), *parameters],
            )


def ticked(keys: Collection[int]) -> Filtered:
    """Those of so many keys, as somebody has ticked them in a list."""
    return Filtered(Subscription.objects.filter(pk__in=keys), "ticked in the list")


def narrowed(words: Iterable[tuple[str, str]]) -> Filtered:
    """All that a list shows that is narrowed by these words. Raises BadFilter."""
    words = [(name, typed.strip()) for name, typed in words if typed.strip()]
    said = [f"{'search' if name == 'q' else name} {_label(name, typed)}" for name, typed in words]
    return Filtered(filters.narrow(Subscription.objects.all(), words), ", ".join(said) or "all subscriptions")


def _label(name: str, typed: str) -> str:
    """An address names a product or a company by its key, and people read its name."""
    model = {"product": Product, "account": Account}.get(name)
    if model is None or not (typed.isascii() and typed.isdigit() and len(typed) < 19):
        return typed
    return str(model._default_manager.filter(pk=int(typed)).first() or typed)


@dataclass(frozen=True, slots=True)
class Listed:
    """Those that a sheet names in its column `subscription`, with the new total of its column `seats` if wanted.

    Iterating raises BadSheet with the number of the first line that is wrong; a subscription that is named twice is.
    """

    sheet: Sheet
    words: str
    seats: bool = False

    def lines(self) -> Iterator[Line]:
        seen: set[int] = set()
        for position, cells in self.sheet:
            text = cells["subscription"]
            pk = subscription_id(text)
            if pk is None:
                raise BadSheet(f"Line {position}: “{text[:40]}” is no subscription. Write its ID, such as SUB-000123.")
            if pk in seen:
                raise BadSheet(f"Line {position} names {text} a second time.")
            seen.add(pk)
            yield Line(position, pk, {"Seats": _seats(position, cells["seats"])} if self.seats else {}, text)

    def write(self, run: BulkRun) -> None:
        lines = self.lines()
        with connection.cursor() as cursor:
            while some := list(islice(lines, _BATCH)):
                cells = [(one.position, one.subscription_id, one.after, one.text) for one in some]
                cursor.execute(
                    f"INSERT INTO subscriptions_bulkrow {_COLUMNS}"  # noqa: S608 - a constant
                    " SELECT %s, (e->>0)::integer, s.id, e->>3, e->2, 'waiting', '', ''"
                    " FROM jsonb_array_elements(%s) AS e"
                    " LEFT JOIN subscriptions_subscription s ON s.id = (e->>1)::bigint",
                    [run.pk, json.dumps(cells)],
                )


def _seats(line: int, typed: str) -> int:
    if not (typed.isascii() and typed.isdigit()):
        raise BadSheet(f"Line {line}: “{typed[:40]}” is no number of seats. Write digits only, such as 1000.")
    # Longer than any seat limit: it is refused with the range, like every number beyond it.
    return int(typed) if len(typed.lstrip("0")) <= 9 else 10**9
