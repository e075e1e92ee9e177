"""Whether the orders of runs are over, and how many rows came to nothing: kept with each run, for the list of runs."""

from django.db.models import F, Q

from subscriptions.models import BulkRow, BulkRun, OrderStatus, RowOutcome, RunStatus

_NOTHING = (OrderStatus.FAILED, OrderStatus.REJECTED, OrderStatus.WITHDRAWN)
_OVER = (OrderStatus.COMPLETED, *_NOTHING)


def follow() -> None:
    """Go on from where each placed run was left, to its first order that is not over; no row is looked at twice.

    May be called by several processes at once, and as often as you like.
    """
    placed = BulkRun.objects.filter(status=RunStatus.DONE, open_from__isnull=False)
    for pk, left_at in placed.values_list("pk", "open_from").iterator():
        since = left_at or 0
        first = _first_open(pk, since)
        if first != since:
            moved = BulkRun.objects.filter(pk=pk, open_from=since)
            moved.update(open_from=first, not_done=F("not_done") + _not_done(pk, since, first))


def _first_open(pk: int, since: int) -> int | None:
    rows = BulkRow.objects.filter(run=pk, position__gte=since, order__isnull=False).exclude(order__status__in=_OVER)
    return rows.order_by("position").values_list("position", flat=True).first()


def _not_done(pk: int, since: int, before: int | None) -> int:
    rows = BulkRow.objects.filter(run=pk, position__gte=since)
    if before is not None:
        rows = rows.filter(position__lt=before)
    return rows.filter(Q(outcome=RowOutcome.REFUSED) | Q(order__status__in=_NOTHING)).count()
