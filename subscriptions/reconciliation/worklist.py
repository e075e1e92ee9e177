"""The worklist of drift: what reading found, how much money is at stake, and what became of it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import connection, models, transaction

from subscriptions import clock, pricing, quotes
from subscriptions.models import Drift, DriftEnding, DriftField, Order, ReconciliationRun, Subscription
from subscriptions.pricing import NoPrice
from subscriptions.quotes import Prices
from subscriptions.reconciliation.comparison import Difference, as_details, compare
from subscriptions.vendors.port import VendorStatus

OVER = (VendorStatus.HARD_CANCELLED, VendorStatus.NOT_STARTED)
COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Noted:
    """What a reading did to the worklist, in rows of it."""

    found: int = 0
    again: int = 0
    gone: int = 0
    passed_over: int = 0
    """Subscriptions that have changed since, or that an open order explains."""


def open_drift() -> models.QuerySet[Drift]:
    """The worklist: by currency, those without a price first, then by money at stake, then by age."""
    return Drift.objects.filter(ended_at__isnull=True).order_by("currency", "-amount", "pk")


def open_count(up_to: int = COUNTED) -> tuple[int, bool]:
    """How many are open, counted up to a number, and whether there are more; 1 query that reads one small index."""
    found = Drift.objects.filter(ended_at__isnull=True).order_by()[: up_to + 1].count()
    return min(found, up_to), found > up_to


def at_stake() -> dict[str, Decimal]:
    """Money at stake for a month, by currency, over all that is open; the index of the worklist alone is read."""
    totals = Drift.objects.filter(ended_at__isnull=True).exclude(currency="").order_by("currency")
    return dict(totals.values("currency").annotate(models.Sum("amount")).values_list("currency", "amount__sum"))


@dataclass(frozen=True, slots=True)
class Read:
    """A subscription as it was before the vendor was asked, and the vendor's record of it."""

    subscription_id: int
    version: int
    record: dict[str, Any]


def note(readings: Iterable[Read], run: ReconciliationRun | None = None) -> Noted:
    """Bring the worklist in line with what was read: new drift, seen again, changed, gone.

    In the caller's transaction, or in one of its own. A reading says nothing about a subscription that has changed
    since, or that has an open order: their rows stay as they are. Of the subscription only `vendor_record` is written.
    """
    by_id = {one.subscription_id: one for one in readings}
    with transaction.atomic():
        locked = _unchanged(by_id)
        noted = _note(locked, {pk: by_id[pk].record for pk in locked}, run)
    return replace(noted, passed_over=len(by_id) - len(locked))


def _unchanged(readings: dict[int, Read]) -> dict[int, Subscription]:
    """Under their locks, so that no order of them is placed or completed until the worklist is written."""
    rows = Subscription.objects.select_for_update(of=("self",), no_key=True).filter(pk__among=readings)
    rows = rows.defer("activation_code", "vendor_record").select_related("sku__product", "account").order_by("pk")
    found = {row.pk: row for row in rows if row.version == readings[row.pk].version}
    explained = Order.objects.open().filter(subscription__among=found).values_list("subscription_id", flat=True)
    for pk in set(explained):
        del found[pk]
    return found


def _note(
    subscriptions: dict[int, Subscription], records: dict[int, dict[str, Any]], run: ReconciliationRun | None
) -> Noted:
    at = clock.now()
    known: dict[int, dict[str, Drift]] = defaultdict(dict)
    for row in Drift.objects.filter(subscription__among=subscriptions, ended_at__isnull=True).defer("record"):
        known[row.subscription_id or 0][row.field] = row
    differ: dict[int, list[Difference]] = {}
    for pk, subscription in subscriptions.items():
        if lines := [line for line in compare(subscription, records[pk]) if line.differs]:
            differ[pk] = lines
    # The price list alone: what is paid already is at nobody's stake.
    prices = quotes.load([], {subscriptions[pk].sku for pk in differ}) if differ else Prices()
    new: list[Drift] = []
    again: list[Drift] = []
    changed: list[Drift] = []
    gone: list[Drift] = []
    for pk, subscription in subscriptions.items():
        before = known.pop(pk, {})
        for line in differ.get(pk, ()):
            old = before.pop(line.field, None)
            if old is not None and (old.ours, old.theirs) == (_fits("ours", line.ours), _fits("theirs", line.theirs)):
                again.append(old)
                continue
            if old is not None:
                changed.append(old)
            new.append(_drift(subscription, line, records[pk], prices, run, at))
        gone.extend(before.values())
    _end(changed, DriftEnding.CHANGED, at)
    _end(gone, DriftEnding.GONE, at)
    if again:
        Drift.objects.filter(pk__among=[one.pk for one in again]).update(seen_at=at)
    Drift.objects.bulk_create(new)
    _keep_records({pk: records[pk] for pk in differ}, at)
    return Noted(len(new), len(again), len(gone))


def _end(rows: Sequence[Drift], ending: DriftEnding, at: datetime) -> None:
    if rows:
        Drift.objects.filter(pk__among=[one.pk for one in rows]).update(ended_at=at, ending=ending)


def _drift(
    subscription: Subscription,
    line: Difference,
    record: dict[str, Any],
    prices: Prices,
    run: ReconciliationRun | None,
    at: datetime,
) -> Drift:
    amount = money_at_stake(subscription, line.field, record, prices)
    return Drift(
        subscription=subscription,
        vendor=subscription.sku.product.vendor,
        subscriber_id=subscription.subscriber_id,
        field=line.field,
        ours=_fits("ours", line.ours),
        theirs=_fits("theirs", line.theirs),
        record=record,
        currency=subscription.currency if amount is not None else "",
        amount=amount or 0,
        run=run,
        found_at=at,
        seen_at=at,
    )


def _fits(column: str, text: str) -> str:
    # A vendor's product may have a longer name than fits.
    return text[: _LONGEST[column]]


_LONGEST: dict[str, int] = {name: Drift._meta.get_field(name).max_length for name in ("ours", "theirs")}  # type: ignore[union-attr,misc]  # texts of a length


def money_at_stake(subscription: Subscription, field: str, record: dict[str, Any], prices: Prices) -> Decimal | None:
    """What the difference is worth for a month by our price list; None without a price. Needs `sku` and `account`.

    The seats that differ, or all of them where status, product, end or existence do, each at the price of the band of
    our number. What runs only there is counted with their seats, and what runs nowhere costs nothing.
    """
    details = as_details(record)
    ours, theirs = subscription.seats, details.seats if details else 0
    over_here = subscription.status in ("cancelled", "failed")
    if field == DriftField.SEATS:
        seats = abs(ours - theirs)
    elif over_here:
        seats = theirs if details and details.status not in OVER else 0
    else:
        seats = ours
    terms = prices.terms_of(subscription)
    try:
        price = terms.unit_price(ours)
    except NoPrice:
        return None
    return pricing.rounded(Fraction(price) * seats / terms.months, subscription.currency)


def _keep_records(records: dict[int, dict[str, Any]], at: datetime) -> None:
    """So that the page of each shows what was read, beside ours. Of those that agree nobody asks: a night's reading
    of a million would rewrite a million rows for it."""
    if not records:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_subscription AS s SET vendor_record = e->1, vendor_read_at = %s"
            " FROM jsonb_array_elements(%s) AS e WHERE s.id = (e->>0)::bigint",
            [at, json.dumps(list(records.items()))],
        )
