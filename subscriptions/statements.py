"""What an account was charged, month by month: the figures and lines of statements, for pages, print and CSV.

A statement holds the lines that were booked in one month of the account's time zone. Lines are booked when they are
written and never change, so the figures of a month that is over never change either. Only charges are kept here: a
balance is what was charged so far, less credits, whatever was paid of it. Each currency has figures of its own.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain, groupby
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.http import StreamingHttpResponse
from django.utils.text import slugify

from subscriptions import clock, pricing
from subscriptions.models import Account, Charge, Member, Role, Subscription, User
from subscriptions.sheets import safe, written

SEES_STATEMENTS = frozenset({Role.OWNER, Role.MANAGER, Role.BILLING})
MONTHS = 24
LINES = 100
# For print, where half a statement is of no use; beyond it a CSV is what anybody would want.
LINES_FOR_PRINT = 5_000

_ADDRESS = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month; `str` is for readers, `address` for URLs and file names."""

    first: date

    @classmethod
    def of(cls, day: date) -> "Month":
        return cls(day.replace(day=1))

    @classmethod
    def at(cls, address: str) -> "Month | None":
        """The month of an address such as 2026-11, None when it names no month of this century."""
        found = _ADDRESS.fullmatch(address)
        return cls(date(int(found[1]), int(found[2]), 1)) if found else None

    @property
    def address(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def end(self) -> date:
        """The first day that is no longer in it."""
        return (self.first + timedelta(days=31)).replace(day=1)

    @property
    def last(self) -> date:
        return self.end - timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.first:%B %Y}"


def today(account: Account) -> date:
    return clock.now().astimezone(ZoneInfo(account.time_zone)).date()


def with_sight(people: QuerySet[User]) -> QuerySet[User]:
    """The same people, each with `sees_statements`: is there an account whose statements they may see?"""
    seeing = Member.objects.filter(user=OuterRef("pk"), role__in=SEES_STATEMENTS)
    return people.annotate(sees_statements=Exists(seeing))


# --- the months of accounts ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MonthTotal:
    """What was charged to an account in a month, in one currency."""

    account: Account
    month: Month
    currency: str
    total: Decimal
    lines: int
    so_far: bool
    """The month is not over."""


def months(accounts: Iterable[Account], after: str = "") -> tuple[list[MonthTotal], str]:
    """One page of the months with charges, newest first, and the key of the next page or an empty text; 1 query."""
    by_pk = {account.pk: account for account in accounts}
    rows = (
        Charge.objects.filter(account__in=by_pk)
        .annotate(month=TruncMonth("booked_on"))
        .order_by("-month", "account_id", "currency")
        .values("month", "account_id", "currency")
        .annotate(total=Sum("amount"), lines=Count("pk"))
    )
    if key := re.fullmatch(r"(20[0-9]{2}-[0-9]{2})-([0-9]{1,18})-([A-Z]{3})", after, re.ASCII):
        month, account, currency = Month.at(key[1]), int(key[2]), key[3]
        if month is not None:
            # The day is compared, not its month: that is what the index knows.
            rows = rows.filter(booked_on__lt=month.end).filter(
                Q(booked_on__lt=month.first) | Q(account__gt=account) | Q(account=account, currency__gt=currency)
            )
    found = list(rows[: MONTHS + 1])
    page = [
        MonthTotal(
            owner := by_pk[row["account_id"]],
            booked := Month(row["month"]),
            row["currency"],
            row["total"],
            row["lines"],
            today(owner) < booked.end,
        )
        for row in found[:MONTHS]
    ]
    last = page[-1] if len(found) > MONTHS else None
    return page, f"{last.month.address}-{last.account.pk}-{last.currency}" if last else ""


# --- a statement -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the ledger as a statement shows it; its number is the same on every statement that names it."""

    charge: Charge
    corrects: Charge | None = None
    corrections: list[Charge] = field(default_factory=list)
    """Lines of any month that correct it. On paper they are left out: a printed statement stays as it was."""

    @property
    def last_day(self) -> date:
        return self.charge.covers_to - timedelta(days=1)

    @property
    def corrects_in(self) -> Month | None:
        """The month of the line that it corrects."""
        return Month.of(self.corrects.booked_on) if self.corrects else None

    @property
    def corrected_in(self) -> list[tuple[Charge, Month]]:
        return [(one, Month.of(one.booked_on)) for one in self.corrections]


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of one subscription on this page, and its total of the whole month."""

    subscription: Subscription
    lines: list[Line]
    total: Decimal
    elsewhere: bool
    """Some of its lines stand on another page."""


@dataclass(frozen=True, slots=True)
class Section:
    """The figures of the whole month in one currency, with the lines of this page. Opening and total make closing."""

    currency: str
    opening: Decimal
    total: Decimal
    lines: int
    groups: list[Group]

    @property
    def closing(self) -> Decimal:
        return self.opening + self.total


@dataclass(frozen=True, slots=True)
class Statement:
    account: Account
    month: Month
    sections: list[Section]
    next_key: str
    so_far: bool
    """The month is not over: lines may still come."""

    @property
    def lines(self) -> int:
        return sum(section.lines for section in self.sections)


def statement(account: Account, month: Month, *, after: str = "", size: int = LINES) -> Statement:
    """The figures of a month and one page of its lines, by currency and subscription, in at most 4 queries.

    A month without lines has figures too, once there is something to carry over; before that it has no sections.
    """
    rows = _lines(account, month)
    if key := re.fullmatch(r"([A-Z]{3})-([0-9]{1,18})-([0-9]{1,18})", after, re.ASCII):
        currency, subscription, pk = key[1], int(key[2]), int(key[3])
        later = Q(subscription__gt=subscription) | Q(subscription=subscription, pk__gt=pk)
        rows = rows.filter(Q(currency__gt=currency) | Q(later, currency=currency))
    found = list(rows[: size + 1])
    page, more = found[:size], len(found) > size
    groups = _groups(account, month, page)
    sections = [
        Section(one["currency"], one["opening"], one["total"], one["lines"], groups.get(one["currency"], []))
        for one in _figures(account, month)
    ]
    next_key = f"{page[-1].currency}-{page[-1].subscription_id}-{page[-1].pk}" if more else ""
    return Statement(account, month, sections, next_key, today(account) < month.end)


def _booked(account: Account, month: Month) -> QuerySet[Charge]:
    return Charge.objects.filter(account=account, booked_on__gte=month.first, booked_on__lt=month.end)


def _lines(account: Account, month: Month) -> QuerySet[Charge]:
    """The lines of a month in the order in which every statement shows them."""
    return (
        _booked(account, month)
        .select_related("subscription__sku__product")
        .defer("subscription__activation_code", "subscription__vendor_record")
        .order_by("currency", "subscription_id", "pk")
    )


def _figures(account: Account, month: Month) -> Iterable[Any]:
    before, within = Q(booked_on__lt=month.first), Q(booked_on__gte=month.first)
    return (
        Charge.objects.filter(account=account, booked_on__lt=month.end)
        .order_by("currency")
        .values("currency")
        .annotate(
            opening=Sum("amount", filter=before, default=Decimal(0)),
            total=Sum("amount", filter=within, default=Decimal(0)),
            lines=Count("pk", filter=within),
        )
    )


def _groups(account: Account, month: Month, page: list[Charge]) -> dict[str, list[Group]]:
    if not page:
        return {}
    subscriptions = {charge.subscription_id for charge in page}
    totals = {
        (row["currency"], row["subscription"]): (row["total"], row["count"])
        for row in _booked(account, month)
        .filter(subscription__in=subscriptions)
        .order_by()
        .values("currency", "subscription")
        .annotate(total=Sum("amount"), count=Count("pk"))
    }
    # Not joined to the lines: that would be done for the whole month before one page of it is cut out.
    named = Q(pk__in={charge.corrects_id for charge in page if charge.corrects_id})
    by_pk: dict[int | None, Charge] = {}
    corrections: dict[int | None, list[Charge]] = {}
    for one in Charge.objects.filter(named | Q(corrects__in=[charge.pk for charge in page])).order_by("pk"):
        by_pk[one.pk] = one
        corrections.setdefault(one.corrects_id, []).append(one)
    made: dict[str, list[Group]] = {}
    for (currency, subscription), charges in groupby(page, lambda one: (one.currency, one.subscription_id)):
        lines = [Line(one, by_pk.get(one.corrects_id), corrections.get(one.pk, [])) for one in charges]
        total, count = totals[currency, subscription]
        group = Group(lines[0].charge.subscription, lines, total, count > len(lines))
        made.setdefault(currency, []).append(group)
    return made


# --- CSV -------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "Line", "Booked", "Subscription", "Product", "Order", "What", "First day", "Last day", "Seats", "Currency",
    "Amount", "Corrects line",
)  # fmt: skip


def csv_name(account: Account, month: Month) -> str:
    return f"statement-{slugify(account.name) or account.pk}-{month.address}.csv"


def csv_rows(account: Account, month: Month) -> Iterator[str]:
    """The lines of a month in the order of the page, row by row: nothing is held for longer than its row.

    Lines only, so that the sum of a column is the total of the month. Days are ISO, the last one included; amounts
    have a decimal point and nothing else.
    """
    yield from written(chain([COLUMNS], map(_csv_row, _lines(account, month).iterator(chunk_size=1000))))


def _csv_row(charge: Charge) -> tuple[object, ...]:
    return (
        charge.pk,
        charge.booked_on,
        charge.subscription.number,
        safe(charge.subscription.sku.product.name),
        f"ORD-{charge.order_id}" if charge.order_id else "",
        safe(charge.words),
        charge.covers_from,
        Line(charge).last_day,
        charge.seats,
        charge.currency,
        plain(charge.amount, charge.currency),
        charge.corrects_id or "",
    )


def csv_response(account: Account, month: Month) -> StreamingHttpResponse:
    """The rows as a file to keep, row by row; never kept by a cache (`no-store`)."""
    response = StreamingHttpResponse(csv_rows(account, month), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{csv_name(account, month)}"'
    response["Cache-Control"] = "no-store"
    return response


def plain(amount: Decimal, currency: str) -> str:
    return f"{pricing.rounded(amount, currency):f}"
