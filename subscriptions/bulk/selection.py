"""Which subscriptions: those that a file lists, or those that filters find."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models import Max

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
        _write(run, self.subscriptions.order_by(), self.after)


@dataclass(frozen=True, slots=True)
class Narrowed(Filtered):
    """Those that words find in a list, by which they can be found again."""

    asked: tuple[tuple[str, str], ...] = ()

    def few(self, at_most: int) -> Filtered | None:
        """Those that there are now, or None when they are more than so many. Two queries at most, whatever there is."""
        keys = list(self.subscriptions.order_by().values_list("pk", flat=True)[: at_most + 1])
        return None if len(keys) > at_most else replace(ticked(keys), words=self.words)

    def later(self) -> dict[str, Any]:
        """As `BulkRun.choosing`: all of them are still to be written; what is made from now on is none of them."""
        last = Subscription.objects.aggregate(last=Max("pk"))["last"] or 0
        return {"words": [list(one) for one in self.asked], "since": 0, "to": last}


def write_next(run: BulkRun, at_most: int) -> None:
    """Store the next rows of those that a run is `choosing`, by ID, with how far it is; in the caller's transaction.

    Needs the run locked. Raises BadFilter where the words find nothing any more that they have found.
    """
    choosing: Any = run.choosing
    found = narrowed((name, typed) for name, typed in choosing["words"]).subscriptions
    left = found.filter(pk__gt=choosing["since"], pk__lte=choosing["to"]).order_by("pk")
    written, last = _write(run, left[:at_most], {})
    run.total += written
    run.choosing = {**choosing, "since": last} if written == at_most else None
    run.save(update_fields=["total", "choosing"])


def _write(run: BulkRun, found: models.QuerySet[Subscription], after: dict[str, Any]) -> tuple[int, int]:
    """Rows behind those that the run has; how many they are, and the last key."""
    try:
        keys, parameters = found.values("pk").query.sql_with_params()
    except EmptyResultSet:
        return 0, 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH written AS (INSERT INTO subscriptions_bulkrow {_COLUMNS}"  # noqa: S608 - Django's own SQL
            " SELECT %s, %s + row_number() OVER (ORDER BY id), id, '', %s::jsonb, 'waiting', '', ''"
            f" FROM ({keys}) AS found(id) RETURNING subscription_id)"
            " SELECT count(*), coalesce(max(subscription_id), 0) FROM written",
            [run.pk, run.total, json.dumps(after), *parameters],
        )
        written, last = cursor.fetchone()
        return written, last


def ticked(keys: Collection[int]) -> Filtered:
    """Those of so many keys, as somebody has ticked them in a list."""
    return Filtered(Subscription.objects.filter(pk__in=keys), "ticked in the list")


def narrowed(words: Iterable[tuple[str, str]]) -> Narrowed:
    """All that a list shows that is narrowed by these words. Raises BadFilter."""
    words = [(name, typed.strip()) for name, typed in words if typed.strip()]
    said = [f"{'search' if name == 'q' else name} {_label(name, typed)}" for name, typed in words]
    found = filters.narrow(Subscription.objects.all(), words)
    return Narrowed(found, ", ".join(said) or "all subscriptions", asked=tuple(words))


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
