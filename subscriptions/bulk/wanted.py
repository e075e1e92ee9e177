"""What is wanted of every row of a run."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from subscriptions import quotes
from subscriptions.lifecycle import Wish
from subscriptions.models import BulkRun

CHUNK = 1_000
"""How many rows are decided about together, and in one transaction."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of every row: the stem of an action, or `lifecycle.SET_SEATS`; why; and what else holds for all.

    `given` may hold `when`, a date in ISO form or a word of `quotes`; `planned`, as in a Wish; `then`, the day on which
    what is suspended activates by itself; and `seats`, the new total, where the rows do not say one each.
    """

    stem: str
    reason: str = ""
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: BulkRun) -> "Wanted":
        return cls(run.action, run.reason, run.given)

    @property
    def after(self) -> dict[str, Any]:
        """The characteristics that are asked for of each."""
        return {"Seats": self.given["seats"]} if "seats" in self.given else {}

    def wish(self, subscription_id: int, after: dict[str, Any], at_most: Decimal | None = None) -> Wish:
        when, then = self.given.get("when"), self.given.get("then")
        return Wish(
            subscription_id,
            self.stem,
            self.after | after,
            reason=self.reason,
            when=when if when in (None, quotes.NOW, quotes.PERIOD_END, quotes.RENEWAL) else date.fromisoformat(when),
            planned=self.given.get("planned", ""),
            then_activate_on=date.fromisoformat(then) if then else None,
            at_most=at_most,
        )
