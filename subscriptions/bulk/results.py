"""What became of the rows of a run; of placed ones their orders tell it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Count, F, Min, Q, Window
from django.db.models.functions import RowNumber

from subscriptions import pricing, reconciliation
from subscriptions.bulk.wanted import Wanted
from subscriptions.models import BulkRow, BulkRun, OrderStatus, RowOutcome
from subscriptions.sheets import instant, safe

EXAMPLES = 3
DONE, REFUSED, WAITING = "done", "refused", "waiting"
# In the words of the result file; the other statuses of an order are their own.
_WORDS = {
    OrderStatus.COMPLETED: DONE,
    OrderStatus.PLACED: "in progress",
    OrderStatus.IN_PROGRESS: "in progress",
    OrderStatus.NEEDS_ATTENTION: "needs attention",
    OrderStatus.AWAITING_APPROVAL: "awaiting approval",
}
COLUMNS = ("line", "subscription", "wanted", "outcome", "code", "sentence", "order", "finished")
"""Of the sheet of results."""
FAILURES = (REFUSED, "failed", "needs attention", "rejected", "withdrawn")
"""Outcomes of rows that did not come to what was wanted."""


@dataclass(slots=True)
class Reason:
    """Rows that are alike, with a sentence of one of them and the names of a few."""

    count: int = 0
    sentence: str = ""
    examples: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def add(cls, reasons: dict[str, "Reason"], code: str, named: str, sentence: str) -> None:
        reason = reasons.setdefault(code, cls(sentence=sentence))
        reason.count += 1
        if len(reason.examples) < EXAMPLES:
            reason.examples.append((named, sentence))

    def to_json(self) -> list[Any]:
        return [self.count, self.sentence, [list(one) for one in self.examples]]

    @classmethod
    def from_json(cls, kept: list[Any]) -> "Reason":
        count, sentence, examples = kept
        return cls(count, sentence, [(named, said) for named, said in examples])


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its outcome: done, refused, failed, needs attention, in progress, scheduled, waiting, ...

    `code` and `sentence` are ours for what was refused, and the vendor's for what ended badly there.
    """

    position: int
    subscription: str
    after: dict[str, Any]
    outcome: str
    code: str
    sentence: str
    order: str
    finished_at: datetime | None


def results(run: BulkRun, *, only: Collection[int] | None = None) -> Iterator[Row]:
    """Every row by position, or those at some positions; they are read as they are needed, whatever their number."""
    common = Wanted.of(run).after
    rows = BulkRow.objects.filter(run=run).order_by("position")
    if only is not None:
        rows = rows.filter(position__in=only)
    values = rows.values_list(
        "position", "subscription_id", "text", "after", "outcome", "code", "sentence", "order_id", "order__status",
        "order__outcome_code", "order__outcome_message", "order__finished_at",
    )  # fmt: skip
    for position, pk, text, after, outcome, code, sentence, order, status, said, words, at in values.iterator(
        chunk_size=5_000
    ):
        yield Row(
            position, f"SUB-{pk:06d}" if pk else text, common | after, _outcome(outcome, status), said or code,
            words or sentence, f"ORD-{order}" if order else "", at,
        )  # fmt: skip


def sheet(run: BulkRun) -> Iterator[Sequence[str]]:
    """The results as the lines of a CSV file under `COLUMNS`, read as they are needed."""
    for one in results(run):
        yield as_cells(
            one.position, one.subscription, one.after, one.outcome, one.code, one.sentence, one.order,
            one.finished_at,
        )  # fmt: skip


def as_cells(
    position: int, subscription: str, after: dict[str, Any], outcome: str, code: str, sentence: str,
    order: str = "", finished_at: datetime | None = None,
) -> Sequence[str]:  # fmt: skip
    """One line under `COLUMNS`."""
    named = "; ".join(f"{name}: {value}" for name, value in after.items())
    wanted = reconciliation.shown_in_words(after) or named
    return (
        str(position), safe(subscription), wanted, outcome, safe(code), safe(sentence), order,
        instant(finished_at) if finished_at else "",
    )  # fmt: skip


def _outcome(outcome: str, status: str | None) -> str:
    if outcome != RowOutcome.PLACED or status is None:
        return str(outcome)
    return _WORDS.get(OrderStatus(status), status)


def tally(run: BulkRun) -> dict[str, int]:
    """How many rows have which outcome, in the words of `results`."""
    counts: dict[str, int] = {}
    for outcome, status, count in (
        BulkRow.objects.filter(run=run).order_by().values_list("outcome", "order__status").annotate(count=Count("pk"))
    ):
        word = _outcome(outcome, status)
        counts[word] = counts.get(word, 0) + count
    return counts


def reasons(run: BulkRun) -> dict[str, Reason]:
    """Why rows were refused or ended badly, by code, the most frequent first, each with a few examples."""
    badly = BulkRow.objects.filter(_BADLY, run=run).order_by()
    alike = ("code", "order__outcome_code")
    counted = badly.values_list(*alike).annotate(count=Count("pk"), first=Min("position")).order_by("-count", "first")
    among = Window(RowNumber(), partition_by=[F(name) for name in alike], order_by="position")
    few = badly.annotate(nth=among).filter(nth__lte=EXAMPLES).values_list("position", flat=True)
    examples: dict[str, list[Row]] = defaultdict(list)
    for row in results(run, only=list(few)):
        examples[row.code].append(row)
    found: dict[str, Reason] = {}
    for code, of_order, count, _ in counted:
        some = examples[of_order or code]
        reason = found.setdefault(of_order or code, Reason(sentence=some[0].sentence))
        reason.count += count
        reason.examples = [(row.subscription, row.sentence) for row in some[:EXAMPLES]]
    return found


_BADLY = Q(outcome=RowOutcome.REFUSED) | Q(
    order__status__in=[OrderStatus.FAILED, OrderStatus.NEEDS_ATTENTION, OrderStatus.REJECTED, OrderStatus.WITHDRAWN]
)


def money(run: BulkRun) -> list[tuple[str, str]]:
    """What the orders of a run have cost and will cost, by currency, such as ("Charged", "EUR 35.00")."""
    with connection.cursor() as cursor:
        # What is completed stands in the ledger as it was quoted.
        cursor.execute(
            "SELECT o.status = 'completed', o.quote->>'currency', sum((line->>'amount')::numeric)"
            " FROM subscriptions_bulkrow r JOIN subscriptions_order own ON own.id = r.order_id"
            # With a suspension an activation may have been planned.
            " JOIN LATERAL (SELECT own.status, own.quote UNION ALL SELECT t.status, t.quote FROM subscriptions_order t"
            " WHERE %s AND t.subscription_id = own.subscription_id AND t.placed_at = own.placed_at"
            " AND t.action = 'activate') o ON true, jsonb_array_elements(o.quote->'lines') AS line"
            " WHERE r.run_id = %s AND o.status NOT IN ('failed', 'rejected', 'withdrawn')"
            " GROUP BY 1, 2 ORDER BY 1 DESC, 2",
            ["then" in run.given, run.pk],
        )
        found = []
        for done, currency, amount in cursor.fetchall():
            what = "given back" if amount < 0 else "charged"
            words = what.capitalize() if done else f"Still to be {what}"
            found.append((words, pricing.money(abs(amount), currency)))
        return found


def under_way(run: BulkRun, since: int = 0) -> tuple[int, int | None]:
    """How many placed orders are still to be carried out, and the position of the first.

    No row before `since` is looked at: ask with the position that the time before has told.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(r.position) FROM subscriptions_bulkrow r JOIN subscriptions_order o"
            " ON o.id = r.order_id WHERE r.run_id = %s AND r.position >= %s AND o.status IN ('placed', 'in_progress')",
            [run.pk, since],
        )
        count, first = cursor.fetchone()
        return count, first
