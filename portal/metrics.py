"""`/metrics`: numbers for Prometheus, read from the database when they are asked for.

Several web servers and workers have one database, so whichever of them is asked gives the same numbers, and none is
lost when a process ends. What happened lately is read from the newest `NEWEST` rows, so that a scrape costs the same
whatever the base has grown to and however much happens.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from portal import readings
from portal.health import is_operator
from portal.readings import BUCKETS_MS, NEWEST
from subscriptions import clock
from subscriptions.models import OPEN_ORDER, Event, Notice, Order, OrderStatus, VendorState

# Second parts of the kinds of event with which an order ends, or waits for a person.
ENDS = {
    "completed": "completed", "failed": "failed", "give_up": "failed", "rejected": "rejected",
    "withdrawn": "withdrawn", "held": "needs_attention",
}  # fmt: skip


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"seatdesk_{name}", about, value=value)


def _by(label: str, name: str, about: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"seatdesk_{name}", about, labels=[label])
    for of, value in values.items():
        family.add_metric([of], value)
    return family


# --- orders ----------------------------------------------------------------------------------------------------------


def _orders() -> Iterator[Metric]:
    at_work = {str(status): 0 for status in (*OPEN_ORDER, OrderStatus.SCHEDULED)}
    flagged = {str(status): 0 for status in (OrderStatus.FAILED, OrderStatus.NEEDS_ATTENTION)}
    for status, needs_staff, many in orders_not_at_rest():
        if status in at_work:
            at_work[status] += many
        if needs_staff:
            flagged[status] = flagged.get(status, 0) + many
    yield _by("status", "orders", "Orders that are not at rest.", at_work)
    yield _by("status", "orders_flagged", "Orders that ask for a person of the staff.", flagged)


def orders_not_at_rest() -> QuerySet[Order, Any]:
    """(status, flagged?, how many): open and scheduled orders, and failed ones that are flagged, each by its index."""

    def counted(orders: QuerySet[Order]) -> QuerySet[Order, Any]:
        return orders.order_by().values_list("status", "needs_staff").annotate(many=Count("pk"))

    orders = Order.objects.all()
    return counted(orders.filter(status__in=OPEN_ORDER)).union(
        counted(orders.filter(status=OrderStatus.SCHEDULED)),
        counted(orders.filter(status=OrderStatus.FAILED, needs_staff=True)),
        all=True,
    )


# --- what happened lately --------------------------------------------------------------------------------------------

# The last row of each is the sum of all, which is there when nothing happened, too.
_ENDED = f"""
    SELECT kind, count(*) FILTER (WHERE at >= %s AND order_id IS NOT NULL), count(*), min(at),
           (SELECT max(id) FROM {Order._meta.db_table})
    FROM (SELECT kind, at, order_id FROM {Event._meta.db_table} ORDER BY id DESC LIMIT {NEWEST}) AS newest
    GROUP BY GROUPING SETS ((kind), ()) ORDER BY grouping(kind), kind
"""  # noqa: S608 - names come from the models alone


def _ended() -> Iterator[Metric]:
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(_ENDED, [now - timedelta(seconds=settings.METRICS_WINDOW)])
        *kinds, (_, _, read, since, placed) = cursor.fetchall()
    ended: Counter[tuple[str, str]] = Counter()
    for kind, many, *_ in kinds:
        action, _, what = kind.partition(".")
        if many and what in ENDS:
            ended[action, ENDS[what]] += many
    family = GaugeMetricFamily(
        "seatdesk_orders_ended",
        "Orders that ended, or began to need attention, within the window.",
        labels=["action", "outcome"],
    )
    for of, many in ended.items():
        family.add_metric(of, many)
    yield family
    yield _window("orders_ended", readings.reach(settings.METRICS_WINDOW, read, since, now))
    # Numbers come from a sequence, which also counts the orders of transactions that were rolled back.
    yield CounterMetricFamily("seatdesk_orders_placed", "Orders ever placed: the newest's number.", value=placed or 0)


def _calls() -> Iterator[Metric]:
    found = readings.vendor_calls(settings.METRICS_WINDOW)
    family = GaugeHistogramMetricFamily(
        "seatdesk_vendor_call_seconds",
        "How long the vendor took for each item that it was asked within the window.",
        labels=("item", "outcome"),
    )
    upper = [*(f"{one / 1000}" for one in BUCKETS_MS), "+Inf"]
    for one in found.answered:
        buckets = list(zip(upper, [*one.within, one.many], strict=True))
        family.add_metric((one.item, one.outcome), buckets, one.milliseconds / 1000)
    yield family
    yield _window("vendor_call", found.seconds)
    yield CounterMetricFamily(
        "seatdesk_vendor_calls", "Items ever asked of the vendor: the newest call's number.", value=found.newest
    )


def _window(name: str, seconds: float) -> Metric:
    return _one(f"{name}_window_seconds", f"The window of seatdesk_{name}.", seconds)


# --- work that waits -------------------------------------------------------------------------------------------------


def _queues() -> Iterator[Metric]:
    # A series that is not there raises no alarm, and is no 0 in a sum.
    none = dict.fromkeys(readings.QUEUES, 0)
    found = readings.queues()
    waiting = none | {one.name: one.waiting for one in found}
    yield _by("queue", "jobs_waiting", "Jobs that may run now.", waiting)
    later = none | {one.name: one.later for one in found}
    yield _by("queue", "jobs_later", "Jobs that wait for their time.", later)
    ages = none | {one.name: one.age for one in found}
    yield _by("queue", "jobs_oldest_seconds", "How long the oldest job that may run has waited.", ages)


def _due() -> Iterator[Metric]:
    about = "How long the order has been due that has waited longest to be tried."
    yield _one("orders_oldest_due_seconds", about, readings.oldest_due_order())


def _workers() -> Iterator[Metric]:
    yield _one("workers", "Workers with a heartbeat.", readings.workers().alive)


def _paused() -> Iterator[Metric]:
    paused = dict.fromkeys(settings.VENDORS, 0)
    paused |= {vendor: int(at is not None) for vendor, at in VendorState.objects.values_list("vendor", "paused_at")}
    yield _by("vendor", "vendor_paused", "1 while nothing is sent to a vendor that does not let us in.", paused)


def _notices() -> Iterator[Metric]:
    owed = Notice.objects.filter(sent_at=None).count()
    yield _one("notices_owed", "Mails about events that no mail server has taken yet.", owed)


# --- the door --------------------------------------------------------------------------------------------------------


class Portal(Collector):
    """The numbers of the whole installation, by eight statements, each of which reads an index."""

    def collect(self) -> Iterator[Metric]:
        for part in (_orders, _ended, _calls, _queues, _due, _workers, _paused, _notices):
            yield from part()


_registry = CollectorRegistry(auto_describe=False)
_registry.register(Portal())


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics for who carries OPERATIONS_TOKEN; 404 where none is set, 503 when the database does not answer."""
    if not settings.OPERATIONS_TOKEN:
        return _plain("There are no metrics here: OPERATIONS_TOKEN is not set.\n", 404)
    if not is_operator(request):
        refusal = _plain("This needs Authorization: Bearer, with the token of OPERATIONS_TOKEN.\n", 401)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        return HttpResponse(encode(_registry), content_type=content_type)
    except Error:
        return _plain("The database does not answer, or was not migrated.\n", 503)


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
