"""Drift as it was chosen from the worklist, to be settled row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db import connection, models

from subscriptions import reconciliation
from subscriptions.bulk.selection import Line
from subscriptions.models import BulkRun, Drift


@dataclass(frozen=True, slots=True)
class Drifting:
    """Those of a queryset of open drift, in its order, each with what was shown of it; no stranger's.

    A run with the stem of `lifecycle.drift.SETTLING` reads each again before it places anything.
    """

    drift: models.QuerySet[Drift]
    words: str

    def lines(self) -> Iterator[Line]:
        rows = self._ours().values_list("subscription", "field", "ours", "theirs")
        for position, (pk, *noted) in enumerate(rows.iterator(chunk_size=10_000), 1):
            yield Line(position, pk or 0, reconciliation.shown(*noted))

    def write(self, run: BulkRun) -> None:
        columns = ("subscription", "field", "ours", "theirs", "currency", "amount", "pk")
        try:
            found, parameters = self._ours().values(*columns).query.sql_with_params()
        except EmptyResultSet:
            return
        difference, ours, theirs = reconciliation.shown("", "", "")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO subscriptions_bulkrow"  # noqa: S608 - Django's own SQL, with its parameters
                " (run_id, position, subscription_id, text, after, outcome, code, sentence)"
                " SELECT %s, row_number() OVER (ORDER BY currency, amount DESC, id), subscription_id, '',"
                " jsonb_build_object(%s::text, field, %s::text, ours, %s::text, theirs), 'waiting', '', ''"
                f" FROM ({found}) AS found(subscription_id, field, ours, theirs, currency, amount, id)",
                [run.pk, difference, ours, theirs, *parameters],
            )

    def _ours(self) -> models.QuerySet[Drift]:
        return self.drift.filter(ended_at__isnull=True, subscription__isnull=False)
