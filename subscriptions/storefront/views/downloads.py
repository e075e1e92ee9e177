"""The list of subscriptions as a file."""

from collections.abc import Iterator
from itertools import chain, islice

import structlog
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.views.decorators.http import require_safe

from subscriptions import clock, quotes
from subscriptions.models import Order, OrderStatus, Subscription, SubscriptionStatus
from subscriptions.pricing import NoPrice
from subscriptions.quotes import Prices
from subscriptions.sheets import safe, written
from subscriptions.statements import plain
from subscriptions.storefront import words
from subscriptions.storefront.access import SignedIn, accounts_of
from subscriptions.storefront.views.subscriptions import narrowed, renewal

COLUMNS = (
    "Subscription", "Product", "SKU", "Company", "Status", "Seats", "Planned", "Planned for", "Renewal", "Renewal date",
    "Currency", "Price per period", "Months in a period",
)  # fmt: skip

_BATCH = 500
_FREE = (SubscriptionStatus.FAILED, SubscriptionStatus.CANCELLED)
_log = structlog.get_logger(__name__)


@require_safe
def subscriptions_csv(request: SignedIn) -> StreamingHttpResponse:
    """What the list shows with the same search and status, all of it, by ID; never kept by a cache (`no-store`)."""
    _log.info("list exported", user_id=request.user.pk, table="subscriptions", format="csv")
    lines = written(chain([COLUMNS], _rows(narrowed(request, accounts_of(request.eyes)).found)))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="subscriptions-{clock.now():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _rows(found: QuerySet[Subscription]) -> Iterator[tuple[object, ...]]:
    """Of each 500 rows 2 queries: what is planned, and the prices."""
    found = found.select_related("sku__product", "account").defer("activation_code").order_by("pk")
    rows = found.iterator(chunk_size=_BATCH)
    while some := list(islice(rows, _BATCH)):
        scheduled = Order.objects.filter(subscription__among=[one.pk for one in some], status=OrderStatus.SCHEDULED)
        planned = {order.subscription_id: order for order in scheduled}
        prices = quotes.load([], {one.sku_id: one.sku for one in some}.values())
        for one in some:
            yield _row(one, words.plan(planned.get(one.pk), one), prices)


def _row(one: Subscription, plan: words.Plan | None, prices: Prices) -> tuple[object, ...]:
    ahead = renewal(one)
    return (
        one.number,
        safe(one.sku.product.name),
        safe(one.sku.code),
        safe(one.account.name),
        one.get_status_display(),
        one.seats,
        safe(plan.title) if plan else "",
        plan.on if plan else "",
        ahead.words or "Renews on",
        ahead.on or "",
        one.currency,
        _price(one, prices),
        one.sku.billing_months,
    )


def _price(one: Subscription, prices: Prices) -> str:
    """With its seats of now; empty for what costs nothing, and where the price list has no price."""
    if one.status in _FREE or one.trial_ends:
        return ""
    try:
        return plain(prices.terms_of(one).line(one.seats), one.currency)
    except NoPrice:
        return ""
