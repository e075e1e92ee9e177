"""The customer's list: what is found, page by page in its order, and how many of each status.

An account may have 100,000 subscriptions. Both the pages and the numbers read a few rows of each status by the index of
account and status, and never the account's whole list.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, Func, IntegerField, OuterRef, Q, QuerySet, Value

from subscriptions.models import SKU, Account, Order, OrderStatus, Subscription, SubscriptionStatus, User, names

PAGE = 25
COUNTED = 1_000
"""More of a status than this are not counted."""
S = SubscriptionStatus

# What needs attention first, what is over last.
_RANKS = ((S.FAILED, S.SUSPENDED, S.EXPIRED), (S.PENDING, S.ACTIVE, S.ENDING), (S.CANCELLED,))


def matching(rows: QuerySet[Subscription], sought: str, accounts: Sequence[int]) -> QuerySet[Subscription]:
    """Those whose ID, order number, product or company is `sought`; all of them when it is empty.

    `accounts` are those that `rows` belong to. 1 query for a number, 2 for words.
    """
    if not sought:
        return rows
    if number := re.fullmatch(r"(sub|ord)?-?0*([0-9]{1,18})", sought, re.IGNORECASE):
        kind, digits = (number[1] or "").lower(), int(number[2])
        own = [] if kind == "ord" else [digits]
        ordered = [] if kind == "sub" else list(Order.objects.filter(pk=digits).values_list("subscription", flat=True))
        return rows.filter(pk__in=own + ordered)
    # As keys, PostgreSQL can tell how many rows they have.
    skus = SKU.objects.filter(Q(product__name__icontains=sought) | Q(name__icontains=sought)).order_by()
    companies = names.called(Account.objects.filter(pk__in=accounts).order_by(), sought)
    return rows.filter(Q(sku__in=list(skus.values_list("pk", flat=True))) | Q(account__in=list(companies)))


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are, up to `COUNTED` of a status; `more` when there are more."""

    number: int
    more: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.more else ''}"

    def __bool__(self) -> bool:
        return self.number > 0


def counts_of(rows: QuerySet[Subscription], user: User) -> dict[str, Count]:
    """By status, in 1 query. (The person plays no part: the numbers need a row to stand in.)"""
    numbers = {status: _number(rows.filter(status=status)) for status in S.values}
    found: Any = User.objects.filter(pk=user.pk).values_list(*numbers.values())[0]
    # None: nothing can be found, and PostgreSQL was not asked.
    known = {status: number or 0 for status, number in zip(numbers, found, strict=True)}
    return {status: Count(min(number, COUNTED), number > COUNTED) for status, number in known.items()}


def total(counts: dict[str, Count]) -> Count:
    return Count(sum(one.number for one in counts.values()), any(one.more for one in counts.values()))


def _number(rows: QuerySet[Subscription]) -> Func:
    some = ArraySubquery(rows.order_by().values("pk")[: COUNTED + 1])
    return Func(some, template="cardinality((%(expressions)s)::bigint[])", output_field=IntegerField())


def page_of(rows: QuerySet[Subscription], status: str, after: str) -> tuple[list[Subscription], str]:
    """One page after the key `<rank>-<id>`, with the key of the next page or an empty text; 2 queries.

    `rows` of one status, or of all when it is empty; they are narrowed to accounts by their keys.
    """
    key = re.fullmatch(r"([0-2])-([0-9]{1,18})", after)
    since, last = (int(key[1]), int(key[2])) if key else (0, None)
    waiting = Exists(Order.objects.filter(subscription=OuterRef("pk"), status=OrderStatus.NEEDS_ATTENTION))
    ordered = [(0, rows.filter(waiting).exclude(status__in=_RANKS[0]))]
    ordered += [(0, rows.filter(status=one)) for one in _RANKS[0]]
    ordered += [(rank, rows.filter(~waiting, status=one)) for rank in (1, 2) for one in _RANKS[rank]]
    wanted = []
    for rank, part in ordered:
        if rank < since:
            continue
        if status:
            part = part.filter(status=status)
        if rank == since and last is not None:
            part = part.filter(pk__lt=last)
        wanted.append(part.annotate(rank=Value(rank)).order_by("-id").values_list("rank", "id")[: PAGE + 1])
    keys = sorted(wanted[0].union(*wanted[1:], all=True), key=lambda found: (found[0], -found[1]))[: PAGE + 1]
    shown = [pk for _, pk in keys[:PAGE]]
    found = rows.select_related("sku__product", "account").defer("activation_code").in_bulk(shown)
    following = "{}-{}".format(*keys[PAGE - 1]) if len(keys) > PAGE else ""
    return [found[pk] for pk in shown if pk in found], following
