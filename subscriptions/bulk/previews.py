"""What would happen: looked at as placing would decide now, and nothing is placed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError

from subscriptions import lifecycle, pricing, quotes, reconciliation
from subscriptions.actions import NotAllowed
from subscriptions.bulk.results import REFUSED, Reason, as_cells
from subscriptions.bulk.selection import Line, Selection
from subscriptions.bulk.wanted import CHUNK, Wanted
from subscriptions.lifecycle import Placed, Wish
from subscriptions.models import DriftField, Order, OrderStatus, User

Result = TypeVar("Result")
log = structlog.get_logger(__name__)

_BECOMES = {
    lifecycle.WITHDRAWN: "which will not happen",
    lifecycle.STANDS_STILL: "which stands still meanwhile",
}


@dataclass(slots=True)
class Preview:
    """How many rows can and cannot, as far as they were looked at; reasons and orders come with a few examples."""

    rows: int = 0
    can: dict[str, Reason] = field(default_factory=dict)
    """By the status that the order would have."""
    cannot: dict[str, Reason] = field(default_factory=dict)
    """By the code of the refusal."""
    due: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """What is charged with it, by currency; credits count as less."""
    later: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """The same of what is planned, which is charged on its day."""
    planned: dict[str, Reason] = field(default_factory=dict)
    """Of those that can, what is planned for them already and will not be as planned, by what becomes of it: the words
    of `lifecycle.becomes_of_planned`."""
    gone: dict[str, Reason] = field(default_factory=dict)
    """Of those that can, those that the vendor does not know, by the field of their drift."""
    read: tuple[datetime, datetime] | None = None
    """Of what settles drift: the first and the last reading of the vendor's records that it goes by."""
    at: datetime | None = None
    """When all rows had been looked at; kept for drafts alone."""
    chunk: list[Sequence[str]] = field(default_factory=list, compare=False)
    """The rows of the last `take`, as lines of a CSV file under `results.COLUMNS`."""

    @property
    def able(self) -> int:
        return sum(one.count for one in self.can.values())

    @property
    def unable(self) -> int:
        return sum(one.count for one in self.cannot.values())

    @property
    def money(self) -> list[tuple[str, str]]:
        """What is charged or given back and when, by currency, such as ("Charged with them", "EUR 35.00")."""
        return [
            (f"{'Given back' if amount < 0 else 'Charged'} {when}", pricing.money(abs(amount), currency))
            for when, amounts in (("with them", self.due), ("on their day", self.later))
            for currency, amount in sorted(amounts.items())
        ]

    @property
    def touched(self) -> list[tuple[str, Reason]]:
        """What else becomes of those that can, such as "of them have a planned change, which will not happen"."""
        unknown = "of them the licence service does not know. Take theirs cancels here, for good"
        return [(unknown, one) for one in self.gone.values()] + [
            (f"of them {'has' if one.count == 1 else 'have'} a planned change, {words}", one)
            for becomes, words in _BECOMES.items()
            if (one := self.planned.get(becomes))
        ]

    def take(self, wanted: Wanted, lines: Sequence[Line], *, actor: User | None, audience: str) -> list[Decimal | None]:
        """Look at some more rows; returns what is due for each, now and later, or None for nothing."""
        wishes = [wanted.wish(line.subscription_id, line.after) for line in lines]
        dues: list[Decimal | None] = []
        self.chunk = []
        for line, result in zip(lines, _would_place(wishes, actor=actor, audience=audience), strict=True):
            self.rows += 1
            named = line.text or f"SUB-{line.subscription_id:06d}"
            self.chunk.append(_told(line, named, wanted.after | line.after, result))
            if isinstance(result, NotAllowed):
                Reason.add(self.cannot, result.code, named, result.sentence)
                dues.append(None)
                continue
            Reason.add(self.can, result.order.status, named, _change(result.order))
            if line.after.get("Difference") == DriftField.EXISTENCE:
                Reason.add(self.gone, DriftField.EXISTENCE.value, named, _change(result.order))
            if result.planned and (becomes := lifecycle.becomes_of_planned(result)):
                words = lifecycle.planned_words(result.planned, result.subscription)
                Reason.add(self.planned, becomes, named, words)
            dues.append(self._charge(result.order, result.then) or None)
        if some := reconciliation.readings(wishes):
            self.read = (min(some[0], self.read[0]), max(some[1], self.read[1])) if self.read else some
        return dues

    def _charge(self, *orders: Order | None) -> Decimal:
        due = Decimal()
        for order in orders:
            quote = quotes.quote_of(order) if order else None
            if order and quote and quote.due_now:
                (self.later if order.due_at else self.due)[quote.currency] += quote.due_now
                due += quote.due_now
        return due

    def to_json(self) -> dict[str, Any]:
        kept: dict[str, Any] = {
            "rows": self.rows,
            "can": {status: reason.to_json() for status, reason in self.can.items()},
            "cannot": {code: reason.to_json() for code, reason in self.cannot.items()},
            "due": {currency: str(amount) for currency, amount in self.due.items()},
            "later": {currency: str(amount) for currency, amount in self.later.items()},
            "planned": {becomes: reason.to_json() for becomes, reason in self.planned.items()},
            "gone": {field: reason.to_json() for field, reason in self.gone.items()},
        }
        if self.read:
            kept["read"] = [at.isoformat() for at in self.read]
        return kept | ({"at": self.at.isoformat()} if self.at else {})

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Preview":
        found = cls(
            kept.get("rows", 0),
            {status: Reason.from_json(one) for status, one in kept.get("can", {}).items()},
            {code: Reason.from_json(one) for code, one in kept.get("cannot", {}).items()},
            planned={becomes: Reason.from_json(one) for becomes, one in kept.get("planned", {}).items()},
            gone={field: Reason.from_json(one) for field, one in kept.get("gone", {}).items()},
            at=datetime.fromisoformat(kept["at"]) if "at" in kept else None,
        )
        if "read" in kept:
            first, last = kept["read"]
            found.read = (datetime.fromisoformat(first), datetime.fromisoformat(last))
        for name, amounts in (("due", found.due), ("later", found.later)):
            amounts.update((currency, Decimal(amount)) for currency, amount in kept.get(name, {}).items())
        return found


def preview(wanted: Wanted, selection: Selection, *, actor: User | None, audience: str) -> Iterator[Preview]:
    """Look at all rows, a chunk at a time, and write nothing; the same Preview comes again with each chunk.

    It decides as placing does, on what is there now. Raises BadSheet.
    """
    found = Preview()
    lines = selection.lines()
    while chunk := list(islice(lines, CHUNK)):
        found.take(wanted, chunk, actor=actor, audience=audience)
        yield found
    if not found.rows:
        yield found


def broken(error: Exception) -> NotAllowed:
    """The refusal of a row that raises what no rule foresees."""
    return NotAllowed("error", f"This row cannot be placed: {type(error).__name__}. See the log.")


def together(ready: Sequence[Wish | NotAllowed], placed: Sequence[Result]) -> list[Result | NotAllowed]:
    """One result for each row: its refusal from before, or what became of its wish."""
    results = iter(placed)
    return [one if isinstance(one, NotAllowed) else next(results) for one in ready]


def _would_place(wishes: Sequence[Wish], *, actor: User | None, audience: str) -> list[Placed | NotAllowed]:
    try:
        ready = reconciliation.as_noted(wishes)
        able = [one for one in ready if isinstance(one, Wish)]
        return together(ready, lifecycle.would_place(able, actor=actor, audience=audience))
    except (OperationalError, InterfaceError):
        # The database is in trouble, and not a row.
        raise
    except Exception as error:
        if len(wishes) == 1:
            log.exception("row cannot be looked at", subscription_id=wishes[0].subscription_id)
            return [broken(error)]
        # As with placing: halves, until what is wrong stands alone.
        half = len(wishes) // 2
        some, others = wishes[:half], wishes[half:]
        return [
            *_would_place(some, actor=actor, audience=audience),
            *_would_place(others, actor=actor, audience=audience),
        ]


_OUTCOMES = {OrderStatus.PLACED: "can be done", OrderStatus.SCHEDULED: "can be planned"}


def _told(line: Line, named: str, after: dict[str, Any], result: Placed | NotAllowed) -> Sequence[str]:
    if isinstance(result, NotAllowed):
        return as_cells(line.position, named, after, REFUSED, result.code, result.sentence)
    outcome = _OUTCOMES.get(OrderStatus(result.order.status), "would wait for approval")
    return as_cells(line.position, named, after, outcome, "", _change(result.order))


def _change(order: Order) -> str:
    """What changes by an order, such as "Seats: 25 to 30"."""
    return ", ".join(f"{name}: {order.before[name]} to {order.after[name]}" for name in order.before)
