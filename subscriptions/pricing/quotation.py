"""What comes out: the lines of a quote, what follows later, and its JSON."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from subscriptions.pricing.amounts import rounded
from subscriptions.pricing.periods import Period, day_words, days_words


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the ledger to be. `kind` is "period" (a period as such), "change" or "credit" (negative).

    A change of SKU bills its first period as a "change": it may begin on the very day on which a period was billed.
    `unit_price` is that of a seat for a whole period, unrounded; of a credit, what a seat's days left were charged.
    """

    kind: str
    words: str
    amount: Decimal
    seats: int
    unit_price: Decimal
    covers: Period


@dataclass(frozen=True, slots=True)
class Later:
    """What each period costs from `starts` on, at today's prices."""

    seats: int
    amount: Decimal
    starts: date
    months: int
    words: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a change costs. `on` is the day on which it takes effect, which may be later than the day asked for."""

    currency: str
    on: date
    lines: tuple[Line, ...]
    later: Later | None

    @property
    def due_now(self) -> Decimal:
        return sum((line.amount for line in self.lines), rounded(Decimal(), self.currency))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, amounts as text and days as ISO dates; `from_json` gives back an equal quote."""
        return json.loads(json.dumps(asdict(self), default=_text))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Quote":
        lines, later = data["lines"], data["later"]
        return cls(
            currency=data["currency"],
            on=date.fromisoformat(data["on"]),
            lines=tuple(
                Line(
                    **line
                    | {name: Decimal(line[name]) for name in ("amount", "unit_price")}
                    | {"covers": Period(**{edge: date.fromisoformat(day) for edge, day in line["covers"].items()})}
                )
                for line in lines
            ),
            later=later
            and Later(**later | {"amount": Decimal(later["amount"]), "starts": date.fromisoformat(later["starts"])}),
        )


def begun(quote: Quote, period: Period) -> Quote:
    """The quote of a start whose first period is not the one that was quoted: the same amounts for the days it is."""
    lines = tuple(
        replace(line, words=line.words.replace(days_words(line.covers), days_words(period)), covers=period)
        for line in quote.lines
    )
    later = quote.later
    if later is not None:
        words = later.words.replace(day_words(later.starts), day_words(period.end))
        later = replace(later, starts=period.end, words=words)
    return replace(quote, on=period.start, lines=lines, later=later)


def with_plan(later: Later | None, plan: Quote | None) -> tuple[Later, ...]:
    """What each later period costs beside a change that is planned: `later` until it comes true, its own from then on.

    One of them where the plan comes true before any later period begins; none where it ends the subscription by then.
    """
    if later is None or plan is None:
        return () if later is None else (later,)
    planned = plan.later
    if planned is None:
        return (later,) if later.starts < plan.on else ()
    starts = planned.starts
    if any(line.amount == planned.amount and line.covers.start == plan.on for line in plan.lines):
        # A change of SKU bills the first of its periods itself.
        starts = plan.on
    starts = max(starts, later.starts)
    words = planned.words.replace(day_words(planned.starts), day_words(starts))
    planned = replace(planned, starts=starts, words=words)
    return (planned,) if starts == later.starts else (later, planned)


def _text(value: Decimal | date) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else value.isoformat()
