"""Differences that an order has settled leave the worklist with it."""

from collections.abc import Iterable
from datetime import datetime

from django.db import connection

from subscriptions import actions
from subscriptions.models import DriftEnding, DriftField, Order, OrderStatus

# A licence that is unknown there has no status, so that of ours is what settles it.
_FIELDS = {"Seats": (DriftField.SEATS,), "Status": (DriftField.STATUS, DriftField.EXISTENCE)}
SETTLING = (actions.TAKE_THEIRS.stem, actions.PUSH_OURS.stem)
"""Stems of the orders that settle a difference."""


def end_settled(orders: Iterable[Order], at: datetime) -> None:
    """End the open drift that completed settling orders were placed for; 1 query, and none where there are none.

    The caller holds the locks of their subscriptions.
    """
    settled = [
        (order.subscription_id, str(field), order.pk)
        for order in orders
        if order.action in SETTLING and order.status == OrderStatus.COMPLETED
        for name in order.after
        for field in _FIELDS.get(name, ())
    ]
    if not settled:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_drift AS d SET ended_at = %s, ending = %s, order_id = v.order_id"
            " FROM unnest(%s::bigint[], %s::varchar[], %s::bigint[]) AS v(subscription_id, field, order_id)"
            " WHERE d.subscription_id = v.subscription_id AND d.field = v.field AND d.ended_at IS NULL",
            [at, DriftEnding.SETTLED, *(list(column) for column in zip(*settled, strict=True))],
        )
