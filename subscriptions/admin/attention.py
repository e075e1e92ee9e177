"""The work that waits for staff: how much of each kind, and the first few orders of what needs a person now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.db.models import Model, QuerySet, Value
from django.urls import reverse

from subscriptions import clock, filters, reconciliation
from subscriptions.admin import quoted, words
from subscriptions.admin.shortcut import order_url
from subscriptions.models import Order, OrderStatus, Subscription, VendorCall

SHOWN = 6
# So many are counted and no more: what a person wants to know beyond is that there are many.
COUNTED = 10_000
# Nothing takes the flag from a failed order, so after a week it is only in the list.
FAILED_WITHIN = timedelta(days=7)
ENDING_WITHIN = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Pile:
    """One kind of work, with its list at `url`; `number` is at most `COUNTED`, and then there may be `more`."""

    name: str
    label: str
    note: str
    tone: str
    rows: QuerySet[Any]
    url: str
    waits: bool = True
    """Does it wait for a person of the staff, and not go by of itself?"""
    number: int = 0
    more: bool = False

    @property
    def permission(self) -> str:
        return f"subscriptions.view_{self.rows.model._meta.model_name}"


def _pile(name: str, label: str, note: str, tone: str, model: type[Model], waits: bool = True, **typed: str) -> Pile:
    """Of a list narrowed by the words in its address, so that the number is that of its rows."""
    rows = filters.narrow(model._default_manager.all(), typed.items())
    address = reverse(f"admin:subscriptions_{model._meta.model_name}_changelist")
    return Pile(name, label, note, tone, rows, f"{address}?{urlencode(typed, safe=',')}", waits)


def _piles() -> list[Pile]:
    """In the order in which a person takes them up."""
    today = clock.now().astimezone(UTC).date()
    open_ones = ",".join((OrderStatus.PLACED, OrderStatus.IN_PROGRESS, OrderStatus.NEEDS_ATTENTION))
    return [
        _pile("held", "Needs attention", "orders for staff to settle", "warn", Order,
              needs_staff="1", status=open_ones),
        _pile("failed", "Failed", "orders of the last 7 days", "danger", Order,
              needs_staff="1", status=OrderStatus.FAILED, finished_from=f"{today - FAILED_WITHIN}"),
        _pile("late", "Taking too long", "orders under way for over 2 minutes", "warn", Order,
              late="1", needs_staff="0"),
        _pile("approvals", "Awaiting approval", "orders, oldest first", "info", Order,
              status=OrderStatus.AWAITING_APPROVAL),
        Pile("drift", "Drift", "differences from the vendor's record", "warn", reconciliation.open_drift(),
             reverse("admin:subscriptions_drift_changelist")),
        _pile("ending", "Ending soon", "subscriptions, within 14 days", "info", Subscription, waits=False,
              ends_before=f"{today + ENDING_WITHIN + timedelta(days=1)}"),
        _pile("trouble", "Vendor trouble", "calls without a clear answer, in 24 hours", "warn", VendorCall, waits=False,
              trouble="1"),
    ]  # fmt: skip


def piles(user: Any) -> list[Pile]:
    """What this person may see of it, counted; 1 query, which reads a small index of each list."""
    seen = [pile for pile in _piles() if user.has_perm(pile.permission)]
    counts = _count([pile.rows for pile in seen])
    return [
        replace(pile, number=min(many, COUNTED), more=many > COUNTED) for pile, many in zip(seen, counts, strict=True)
    ]


def _count(lists: Sequence[QuerySet[Any]]) -> list[int]:
    """How many rows of each, counted to one more than `COUNTED`; 1 query."""
    if not lists:
        return []
    parts: list[str] = []
    values: list[Any] = []
    for place, rows in enumerate(lists):
        sql, given = rows.order_by().values("pk")[: COUNTED + 1].query.sql_with_params()
        parts.append(f"SELECT {place} AS place, count(*) FROM ({sql}) AS few")  # noqa: S608 - Django wrote it
        values.extend(given)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        return [many for _, many in sorted(cursor.fetchall())]


def first_orders(seen: Sequence[Pile]) -> list[dict[str, Any]]:
    """The few orders on top of each pile that waits for a decision, with that pile; 1 query.

    The newest come first, but for approvals: there the one that has waited longest does.
    """
    tops = [pile for pile in seen if pile.name in _NEWEST_FIRST and pile.number]
    if not tops:
        return []
    few = [
        pile.rows.select_related("subscription__account")
        .annotate(pile=Value(pile.name))
        .order_by("-pk" if _NEWEST_FIRST[pile.name] else "pk")[:SHOWN]
        for pile in tops
    ]
    found = list(few[0].union(*few[1:], all=True)) if len(few) > 1 else list(few[0])
    return [
        {
            "pile": pile,
            "rows": [
                {"order": one, "url": order_url(one.pk), "wish": words.order_words(one), "costs": quoted.amount_of(one)}
                for one in sorted(found, key=lambda one: one.pk, reverse=_NEWEST_FIRST[pile.name])
                if one.pile == pile.name
            ],
        }
        for pile in tops
    ]


_NEWEST_FIRST = {"held": True, "approvals": False, "failed": True}
