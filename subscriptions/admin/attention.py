"""What needs a person now: the top of the start page."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.urls import reverse

from subscriptions import clock
from subscriptions.admin import approvals, quoted, words
from subscriptions.admin.shortcut import order_url
from subscriptions.models import Order, OrderStatus, VendorState

SHOWN = 6
OPEN = (OrderStatus.PLACED, OrderStatus.IN_PROGRESS, OrderStatus.NEEDS_ATTENTION)
# Nothing takes the flag from a failed order, so after a week it is only in the list.
FAILED_WITHIN = timedelta(days=7)


def now(user: Any) -> dict[str, Any] | None:
    """The context of the section, in four short queries, one more when many wait; None for whom it is not."""
    if not user.has_perms(["subscriptions.view_order", "subscriptions.view_vendorstate"]):
        return None
    rows = Order.objects.select_related("subscription__account")
    held = rows.filter(Q(status=OrderStatus.NEEDS_ATTENTION) | Q(needs_staff=True, status__in=OPEN))
    failed = rows.filter(needs_staff=True, status=OrderStatus.FAILED, finished_at__gte=clock.now() - FAILED_WITHIN)
    groups = [
        _group("held", "Orders that need attention", held, _list(OPEN)),
        _approvals(rows),
        _group(
            "failed",
            "Failed orders of the last seven days that staff must look at",
            failed,
            _list((OrderStatus.FAILED,)),
        ),
    ]
    return {
        "vendors": list(VendorState.objects.filter(paused_at__isnull=False).order_by("paused_at")),
        "groups": [group for group in groups if group["rows"]],
    }


def _list(statuses: tuple[OrderStatus, ...]) -> str:
    narrowed = urlencode({"needs_staff": 1, "status": ",".join(statuses)}, safe=",")
    return f"{reverse('admin:subscriptions_order_changelist')}?{narrowed}"


def _approvals(rows: QuerySet[Order]) -> dict[str, Any]:
    """The longest waiting first, with how many there are: the index of the few that wait is all that is read."""
    waiting = rows.filter(status=OrderStatus.AWAITING_APPROVAL)
    group = _group("approvals", "", waiting, approvals.waiting_url(), order="pk")
    count = waiting.count() if group["more"] else len(group["rows"])
    group["title"] = "1 order waits for approval" if count == 1 else f"{count:,} orders wait for approval"
    return group


def _group(name: str, title: str, orders: QuerySet[Order], url: str, *, order: str = "-pk") -> dict[str, Any]:
    found = list(orders.order_by(order)[: SHOWN + 1])
    return {
        "name": name,
        "title": title,
        "url": url,
        "more": len(found) > SHOWN,
        "rows": [
            {
                "order": order,
                "url": order_url(order.pk),
                "wish": words.order_words(order),
                "costs": quoted.amount_of(order),
            }
            for order in found[:SHOWN]
        ],
    }
