"""What became of the rows of a takeover."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Min

from subscriptions import lifecycle
from subscriptions.bulk import Reason
from subscriptions.models import Takeover, TakeoverOutcome, TakeoverRow
from subscriptions.sheets import safe

NO_CODE = "no_code"
CAN = "can be taken over"
NO_CODE_WORDS = "Taken over without an activation code: neither the file nor the licence service says it."
OUTCOMES = ("line", "subscriber_id", "account", "sku", "seats", "outcome", "code", "sentence", "subscription")
"""The columns of `sheet`."""


def sheet(takeover: Takeover) -> Iterator[tuple[object, ...]]:
    """The outcome of every row for a CSV file, its header first; they are read as they are needed, by line.

    An outcome is `taken over`, `already here`, `refused` or `waiting`.
    """
    yield OUTCOMES
    values = (
        TakeoverRow.objects.filter(takeover=takeover)
        .order_by("position")
        .values_list("position", "subscriber_id", "told", "outcome", "code", "sentence", "subscription_id")
    )
    for position, subscriber_id, told, outcome, code, sentence, pk in values.iterator(chunk_size=5_000):
        yield as_cells(position, subscriber_id, told, outcome, code, sentence, f"SUB-{pk:06d}" if pk else "")


def as_cells(
    position: int, subscriber_id: str, told: dict[str, Any], outcome: str, code: str, sentence: str,
    subscription: str = "",
) -> tuple[object, ...]:  # fmt: skip
    """One line under `OUTCOMES`."""
    return (
        position, subscriber_id, safe(told["account"]), safe(told["sku"]), told["seats"], _outcome(outcome, code), code,
        safe(sentence), subscription,
    )  # fmt: skip


def _outcome(outcome: str, code: str) -> str:
    if code == lifecycle.ALREADY_HERE:
        return "already here"
    return "taken over" if outcome == TakeoverOutcome.TAKEN else str(outcome)


def reasons(takeover: Takeover) -> dict[str, Reason]:
    """Why rows were not taken over, by code, the most frequent first; `lifecycle.ALREADY_HERE` is no failure."""
    refused = TakeoverRow.objects.filter(takeover=takeover, outcome=TakeoverOutcome.REFUSED)
    grouped = list(refused.order_by().values_list("code").annotate(count=Count("pk"), first=Min("position")))
    sentences = dict(refused.filter(position__in=[first for *_, first in grouped]).values_list("position", "sentence"))
    found: dict[str, Reason] = {}
    for code, count, first in sorted(grouped, key=lambda one: (-one[1], one[2])):
        words = sentences[first]
        found[code] = Reason(count, words, [(f"line {first}", words)])
    return found
