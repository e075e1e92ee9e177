"""The numbers of the start page of BSS, counted every few minutes into a row a day.

To sum a million subscriptions takes a second or two, which a page has not; to keep sums in step with each write would
make all writers wait for one row. So they are a few minutes old, and say it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from procrastinate.contrib.django import app

from subscriptions import clock, pricing, quotes
from subscriptions.models import (
    SKU,
    Account,
    DailyFigures,
    Order,
    OrderStatus,
    Subscription,
    SubscriptionStatus,
)  # fmt: skip
from subscriptions.pricing import NoPrice, Period, Standing, Terms

DAYS = 30
"""How many days of changes there are from the first count on."""
WORKS = (SubscriptionStatus.ACTIVE, SubscriptionStatus.ENDING)
# Which one does not matter: no price hangs on the days of a whole period.
_SOME_PERIOD = Period(date(2026, 1, 1), date(2026, 2, 1))


# At its minute and once more where a worker starts up to ten minutes late. It must not wait behind bulk work, during
# which people look at the numbers most.
@app.periodic(cron="*/5 * * * *")
@app.task(name="subscriptions.count_figures", queue="upkeep", priority=100, queueing_lock="figures", lock="figures")
def count_figures(timestamp: int) -> None:
    """Count today's figures."""
    refresh()


def refresh(*, anew: bool = False) -> DailyFigures:
    """Count, and write it to today's row, which is returned. Safe to run twice, late, and by two at once.

    Changes are counted of every day since the last count, at most `DAYS`, and of the day before it: an order that was
    completed just before midnight may have been stored just after it. With `anew` they are counted of all `DAYS`, for
    whoever has written orders of earlier days.
    """
    now = clock.now()
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    newest = DailyFigures.objects.values_list("day", flat=True).first() or date.min + timedelta(1)
    since = first if anew else max(min(newest, today) - timedelta(days=1), first)
    changes = completed(since)
    days = [since + timedelta(days=n) for n in range((today - since).days + 1)]
    rows = [DailyFigures(day=day, changes=changes.get(day, {})) for day in days]
    running = what_runs()
    rows[-1].counted_at = now
    rows[-1].running, rows[-1].seats, rows[-1].unpriced = running.subscriptions, running.seats, running.unpriced
    rows[-1].revenue = {currency: f"{amount:f}" for currency, amount in sorted(running.revenue.items())}
    counted = ["counted_at", "running", "seats", "unpriced", "revenue"]
    with transaction.atomic():
        _upsert(rows[:-1], ["changes"])
        _upsert(rows[-1:], ["changes", *counted])
    return rows[-1]


def _upsert(rows: list[DailyFigures], fields: list[str]) -> None:
    DailyFigures.objects.bulk_create(rows, update_conflicts=True, unique_fields=["day"], update_fields=fields)


def completed(since: date) -> dict[date, dict[str, int]]:
    """How many orders of each action were completed on each day (UTC) from `since` on; 1 query of an index."""
    finished = Order.objects.filter(
        status=OrderStatus.COMPLETED, finished_at__gte=datetime.combine(since, time(), tzinfo=UTC)
    )
    days = finished.annotate(day=TruncDate("finished_at", tzinfo=UTC)).order_by()
    found: dict[date, dict[str, int]] = defaultdict(dict)
    for day, action, many in days.values_list("day", "action").annotate(many=Count("*")).order_by("day", "action"):
        found[day][action] = many
    return found


@dataclass(frozen=True, slots=True)
class Running:
    """What works now, and what it is billed: `revenue` is a month's by currency, rounded once."""

    subscriptions: int
    seats: int
    revenue: dict[str, Decimal]
    unpriced: int
    """Subscriptions that would be billed, had the price list a price for them."""


def what_runs() -> Running:
    """Count it: 1 query that reads every subscription, and 2 for the price list.

    Each is taken at what its next period would be billed as it stands now, a yearly one at a twelfth. So a trial and a
    suspended one count nothing, unless its SKU bills while suspended; one that is ending counts until it ends.
    """
    counted = Subscription.objects.filter(status__in=[*WORKS, SubscriptionStatus.SUSPENDED]).order_by()
    groups = list(
        counted.annotate(trial=Q(trial_ends__isnull=False))
        .values_list("sku", "currency", "account__discount", "seats", "status", "trial")
        .annotate(many=Count("*"))
    )
    works = [(many, seats * many) for *_, seats, status, _, many in groups if status in WORKS]
    billed: defaultdict[str, Fraction] = defaultdict(Fraction)
    unpriced = 0
    terms = _terms({(sku, currency, discount) for sku, currency, discount, *_ in groups})
    for sku, currency, discount, seats, status, trial, many in groups:
        mine = terms[sku, currency, discount]
        suspended = status == SubscriptionStatus.SUSPENDED
        standing = Standing(seats, seats, _SOME_PERIOD, 1, trial=trial, suspended=suspended)
        try:
            due = pricing.quote(standing, mine, pricing.NextPeriod(), _SOME_PERIOD.start).due_now
        except NoPrice:
            unpriced += many
            continue
        billed[currency] += Fraction(due) * many / mine.months
    revenue = {currency: pricing.rounded(amount, currency) for currency, amount in billed.items()}
    return Running(sum(many for many, _ in works), sum(seats for _, seats in works), revenue, unpriced)


def _terms(wanted: Iterable[tuple[int, str, Decimal]]) -> dict[tuple[int, str, Decimal], Terms]:
    wanted = list(wanted)
    skus = SKU.objects.in_bulk({sku for sku, *_ in wanted})
    prices = quotes.load((), skus.values())
    return {
        (sku, currency, discount): prices.terms(skus[sku], currency, Account(discount=discount))
        for sku, currency, discount in wanted
    }


# --- the other way round ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted last: the newest row with a count, None before the first, and the changes of `DAYS` days."""

    last: DailyFigures | None
    days: list[tuple[date, Counter[str]]]
    """Oldest first, without gaps, up to today."""


def read() -> Figures:
    """The figures as they were counted last; 1 query."""
    today = clock.now().astimezone(UTC).date()
    since = today - timedelta(days=DAYS - 1)
    # Without workers for longer than that, the last count is older than the days.
    rows = list(DailyFigures.objects.all()[:DAYS])
    changes = {row.day: Counter(row.changes) for row in rows}
    days = [since + timedelta(days=n) for n in range(DAYS)]
    last = next((row for row in rows if row.counted_at), None)
    return Figures(last, [(day, changes.get(day, Counter())) for day in days])
