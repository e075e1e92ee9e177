"""What became of the rows of a takeover."""

from collections.abc import Iterator

from django.db.models import Count, Min

from subscriptions import lifecycle
from subscriptions.bulk import Reason
from subscriptions.models import Takeover, TakeoverOutcome, TakeoverRow
from subscriptions.sheets import safe

NO_CODE = "no_code"
NO_CODE_WORDS = "Taken over without an activation code: neither the file nor the licence service says it."
NO_FAILURES = frozenset({lifecycle.ALREADY_HERE})
"""Codes of refusals by which nothing is left to do."""
OUTCOMES = ("line", "subscriber_id", "account", "sku", "seats", "outcome", "code", "sentence", "subscription")
"""The columns of `sheet`."""
_WORDS = {TakeoverOutcome.TAKEN: "taken over"}


def sheet(takeover: Takeover) -> Iterator[tuple[object, ...]]:
    """The outcome of every row for a CSV file, its header first; they are read as they are needed, by line.

    An outcome is `taken over`, `refused` or `waiting`.
    """
    yield OUTCOMES
    values = (
        TakeoverRow.objects.filter(takeover=takeover)
        .order_by("position")
        .values_list("position", "subscriber_id", "told", "outcome", "code", "sentence", "subscription_id")
    )
    for position, subscriber_id, told, outcome, code, sentence, pk in values.iterator(chunk_size=5_000):
        yield (
            position, subscriber_id, safe(told["account"]), safe(told["sku"]), told["seats"],
            _WORDS.get(TakeoverOutcome(outcome), outcome), code, safe(sentence), f"SUB-{pk:06d}" if pk else "",
        )  # fmt: skip


def reasons(takeover: Takeover) -> dict[str, Reason]:
    """Why rows were refused, by code, the most frequent first."""
    refused = TakeoverRow.objects.filter(takeover=takeover, outcome=TakeoverOutcome.REFUSED)
    grouped = list(refused.order_by().values_list("code").annotate(count=Count("pk"), first=Min("position")))
    sentences = dict(refused.filter(position__in=[first for *_, first in grouped]).values_list("position", "sentence"))
    found: dict[str, Reason] = {}
    for code, count, first in sorted(grouped, key=lambda one: (-one[1], one[2])):
        words = sentences[first]
        found[code] = Reason(count, words, [(f"line {first}", words)])
    return found
