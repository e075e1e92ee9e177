"""The start page of BSS: each number is that of a list, each figure that of a count, at a price that does not grow."""

import html
import re
from datetime import UTC, datetime, time, timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from portal import readings
from subscriptions import clock, figures, filters
from subscriptions.admin import attention, dashboard
from subscriptions.models import DailyFigures, Order, Subscription, VendorCall, VendorState
from tests import many
from tests.factories import (
    DriftFactory,
    EventFactory,
    OrderFactory,
    PriceBandFactory,
    SKUFactory,
    SubscriptionFactory,
    UserFactory,
    VendorCallFactory,
)
from tests.test_health import waiting_job, worker_alive

__all__ = ["waiting_job", "worker_alive"]

pytestmark = pytest.mark.django_db

CALM = "Nothing needs a person now"
STOPPED = {"status": "failed", "needs_staff": True, "outcome_message": "Product is not in the contract."}


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def start_page(browser):
    answer = browser.get("/bss/")
    assert answer.status_code == 200
    return answer.content.decode()


def piles(browser):
    """{name: (number as it is written, address)}"""
    page = start_page(browser)
    shown = re.findall(r'class="pile[^"]*"\s+href="([^"]+)">\s*<span[^>]*>([^<]+)</span>\s*<span[^>]*>([^<]+)<', page)
    return {label: (number, html.unescape(url)) for url, number, label in shown}


def follow(browser, address):
    answer = browser.get(address)
    assert answer.status_code == 200, address
    return answer.context["cl"].result_list


def today():
    return clock.now().astimezone(UTC).date()


def midnight(days=0):
    return datetime.combine(today() + timedelta(days), time(), tzinfo=UTC)


# --- the work --------------------------------------------------------------------------------------------------------


def test_each_number_is_that_of_its_list(operator):
    long_ago, now = clock.now() - timedelta(minutes=3), clock.now()
    OrderFactory.create_batch(3, status="needs_attention", needs_staff=True)
    OrderFactory(status="placed", needs_staff=True, placed_at=long_ago)
    OrderFactory.create_batch(2, **STOPPED)
    OrderFactory(**STOPPED, finished_at=now - timedelta(days=8))
    OrderFactory(status="failed")
    OrderFactory.create_batch(4, status="in_progress", placed_at=long_ago)
    OrderFactory(status="placed")
    OrderFactory(status="awaiting_approval")
    OrderFactory(status="scheduled")
    OrderFactory()
    SubscriptionFactory.create_batch(2, status="ending", ends_at=midnight(15) - timedelta(seconds=1))
    SubscriptionFactory(status="suspended", ends_at=midnight(3))
    SubscriptionFactory(status="ending", ends_at=midnight(15))
    over = midnight(15).date()
    SubscriptionFactory(auto_renew=False, term_end=over - timedelta(days=1))
    SubscriptionFactory(auto_renew=False, term_end=over)
    SubscriptionFactory(auto_renew=True, term_end=over - timedelta(days=1))
    # A trial ends by itself, whatever its row says of renewals.
    for status, last in (("active", over - timedelta(days=1)), ("active", over), ("cancelled", over)):
        SubscriptionFactory(status=status, trial_ends=last, term_end=last)
    SubscriptionFactory(status="cancelled", ends_at=midnight(-3))
    SubscriptionFactory(status="suspended")
    call = VendorCallFactory(outcome="transient", finished_at=now)
    of_it = {"order": call.order, "subscription": call.subscription}
    VendorCallFactory(outcome="unknown", finished_at=now - timedelta(hours=23), **of_it)
    VendorCallFactory(outcome="unknown", finished_at=now - timedelta(hours=25), **of_it)
    VendorCallFactory(outcome="rejected", finished_at=now, **of_it)
    DriftFactory.create_batch(5)
    DriftFactory(ended_at=now, ending="gone")
    shown = piles(operator)
    expected = {
        "Needs attention": 4, "Failed": 2, "Taking too long": 4, "Awaiting approval": 1, "Drift": 5, "Ending soon": 5,
        "Vendor trouble": 2,
    }  # fmt: skip
    assert {label: number for label, (number, _) in shown.items()} == {
        label: str(many_rows) for label, many_rows in expected.items()
    }
    for label, many_rows in expected.items():
        assert len(follow(operator, shown[label][1])) == many_rows, label


def test_trouble_of_the_day_is_found_behind_all_the_calls_of_bulk_work(operator):
    now = clock.now()
    call = VendorCallFactory(outcome="unknown", finished_at=now - timedelta(hours=23))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO subscriptions_vendorcall (subscription_id, order_id, purpose, attempt, transaction_id,"
            " unit_id, asked, started_at, deadline, finished_at, outcome, code, message, answered, evidence)"
            " SELECT subscription_id, order_id, purpose, attempt, transaction_id, n, asked, started_at, deadline, %s,"
            " 'done', '', '', '', '' FROM subscriptions_vendorcall, generate_series(1, %s) AS n WHERE id = %s",
            [now, readings.NEWEST + 1, call.pk],
        )
        cursor.execute("ANALYZE subscriptions_vendorcall")
    number, address = piles(operator)["Vendor trouble"]
    assert number == "1"
    assert list(follow(operator, address)) == [call]
    in_trouble = filters.narrow(VendorCall.objects.all(), [("trouble", "1")])
    for asked in (in_trouble.order_by("-pk")[:51], in_trouble.order_by()[: attention.COUNTED + 1]):
        assert "vendor_call_trouble" in asked.explain()


def test_orders_under_way_are_the_placed_ones_too(operator):
    address = f"{reverse('admin:subscriptions_order_changelist')}?status=placed,in_progress"
    OrderFactory()
    assert "Nothing matches" in operator.get(address).content.decode()
    placed, sent = OrderFactory(status="placed"), OrderFactory(status="in_progress")
    assert f'href="{address}">Orders under way</a>' in start_page(operator)
    assert [row.pk for row in follow(operator, address)] == [sent.pk, placed.pk]


def test_very_many_are_not_counted_to_the_end(operator, monkeypatch):
    monkeypatch.setattr(attention, "COUNTED", 3)
    OrderFactory.create_batch(3, status="awaiting_approval")
    OrderFactory.create_batch(4, status="needs_attention", needs_staff=True)
    shown = piles(operator)
    assert shown["Awaiting approval"][0] == "3"
    assert shown["Needs attention"][0] == "3+"


def test_nothing_to_do_is_said_calmly(operator):
    OrderFactory()
    OrderFactory(status="failed")
    OrderFactory(status="in_progress")
    SubscriptionFactory(status="ending", ends_at=midnight(3))
    VendorState.objects.create(vendor="kaspersky")
    page = start_page(operator)
    assert CALM in page
    assert '<table class="table dense start-orders">' not in page


@pytest.mark.parametrize("work", [
    {"status": "needs_attention", "needs_staff": True}, STOPPED, {"status": "awaiting_approval"},
    {"status": "placed", "placed_at": datetime(2026, 1, 1, tzinfo=UTC)},
])  # fmt: skip
def test_any_work_ends_the_calm(work, operator):
    OrderFactory(**work)
    assert CALM not in start_page(operator)


def test_drift_ends_the_calm(operator):
    DriftFactory()
    assert CALM not in start_page(operator)


def test_a_paused_vendor_with_since_when_and_why(operator):
    since = clock.now() - timedelta(hours=2)
    VendorState.objects.create(vendor="kaspersky", paused_at=since, reason="Wrong user or password")
    page = start_page(operator)
    assert CALM not in page
    said = page.index("Kaspersky does not let us in: no orders are sent to it")
    assert said < page.index('class="piles"')
    assert f'datetime="{since.isoformat()}"' in page
    assert "Wrong user or password" in page
    assert f'href="{reverse("admin:subscriptions_vendorstate_changelist")}"' in page


def test_the_first_orders_of_what_needs_a_decision(operator, cast):
    of_acme = SubscriptionFactory(account=cast.acme)
    held = [OrderFactory(status="needs_attention", needs_staff=True) for _ in range(7)]
    waiting = [OrderFactory(status="awaiting_approval") for _ in range(8)]
    failed = [
        OrderFactory(**STOPPED, subscription=of_acme if number == 5 else SubscriptionFactory()) for number in range(6)
    ]
    page = start_page(operator)
    shown = re.findall(r">ORD-(\d+)<", page)
    expected = [*held[:0:-1], *failed[::-1], *waiting[:6]]
    assert shown == [str(order.pk) for order in expected]
    for order in expected:
        assert f'href="{reverse("admin:subscriptions_order_change", args=[order.pk])}"' in page
    assert "Increase seats: Seats 20 → 25" in page
    assert "Product is not in the contract." in page
    assert "Acme GmbH" in page
    assert re.findall(r">(All \d+)<", page) == ["All 7", "All 8"]


# --- the figures -----------------------------------------------------------------------------------------------------


def test_what_runs_is_what_was_counted_last(operator):
    SubscriptionFactory(seats=1000, sku__seats_max=5000)
    sku = SKUFactory(prices={})
    for currency, price in (("JPY", "410"), ("KWD", "1.2345")):
        PriceBandFactory(sku=sku, currency=currency, seats_from=1, price=price)
        SubscriptionFactory(sku=sku, seats=10, account__currency=currency)
    row = figures.refresh()
    SubscriptionFactory()
    page = start_page(operator)
    assert '<p class="big-figure">1,020</p>' in page
    assert "In 3 subscriptions, active or ending." in page
    assert re.findall(r'<p class="big-figure">([A-Z].*)</p>', page) == ["EUR 3,500.00", "JPY 4,100", "KWD 12.345"]
    assert f'datetime="{row.counted_at.isoformat()}"' in page
    assert "These figures are old" not in page
    assert "without a price" not in page


def test_what_has_no_price_is_said(operator):
    SubscriptionFactory(sku__prices={})
    figures.refresh()
    assert "1 subscription without a price is not in it." in start_page(operator)


def test_figures_that_no_worker_refreshes_say_so(operator):
    figures.refresh()
    DailyFigures.objects.update(counted_at=clock.now() - timedelta(minutes=21))
    assert "These figures are old" in start_page(operator)


def test_that_no_worker_runs_is_said(operator, worker_alive):
    assert "Nothing is carried out" not in start_page(operator)
    for ago, said in (("1 minute", r"(\d+ \w+ \d{4}, )?\d\d:\d\d"), ("3 days", r"\d+ \w+ \d{4}, \d\d:\d\d")):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - %s::interval", [ago])
        words = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", start_page(operator)))
        assert re.search(f"No worker has been seen since {said} ?. Nothing is carried out until one runs.", words)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
    assert "No worker runs." in start_page(operator)


def test_a_new_installation(operator, empty_queue):
    page = start_page(operator)
    assert "Not counted yet." in page
    assert "No order was completed in these 30 days." in page
    assert "Nothing waits to be run" in page
    assert "Not asked for anything in 24 hours" in page
    assert CALM in page
    figures.refresh()
    assert '<p class="big-figure">0</p>' in start_page(operator)
    assert "None yet" in start_page(operator)


def test_changes_per_day_as_bars_and_as_a_table(operator):
    for ago, action, orders in ((0, "cancel", 2), (0, "increase", 5), (1, "increase", 1), (29, "start", 3)):
        OrderFactory.create_batch(orders, action=action, finished_at=midnight(-ago))
    figures.refresh()
    page = start_page(operator)
    assert (
        "<strong>11</strong> orders completed. Increase seats 6, Start a subscription 3, Cancel subscription 2." in page
    )
    bars = re.findall(r'<rect x="(\d+)" y="(\d+)" width="14" height="(\d+)">\s*<title>([^<]+)</title>', page)

    def day(ago):
        on = today() - timedelta(ago)
        return f"{on.day} {on:%b %Y}"

    # The scale goes to 10: a change is a tenth of the height.
    assert bars == [
        ("3", "70", "30", f"{day(29)}: 3"), ("563", "90", "10", f"{day(1)}: 1"), ("583", "30", "70", f"{day(0)}: 7"),
    ]  # fmt: skip
    table = page[page.index("Each day as a table") :]
    rows = re.findall(r'<time datetime="([^"]+)">.*?<td class="number">(\d+)</td>\s*<td>([^<]*)<', table, re.S)
    assert len(rows) == 30
    assert rows[0] == (today().isoformat(), "7", "Increase seats 5, Cancel subscription 2")
    assert rows[2] == ((today() - timedelta(2)).isoformat(), "0", "\N{EN DASH}")
    assert "style=" not in page


class Tags(HTMLParser):
    """Every element that must be closed is, in its order; `ids` and what refers to them are kept."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.referred = [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), self.get_starttag_text()
        self.ids += [given[one] for one in ("id",) if one in given]
        self.referred += [one for name in ("aria-labelledby", "for") for one in given.get(name, "").split()]
        if tag not in ("meta", "link", "input", "br", "hr", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


def test_its_html_is_in_order(operator):
    busy(2)
    OrderFactory(finished_at=midnight())
    figures.refresh()
    tags = Tags()
    tags.feed(start_page(operator))
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert set(tags.referred) <= set(tags.ids)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (10, 10), (11, 20), (41, 100), (100_001, 200_000)]
)
def test_the_scale_ends_with_a_round_number(most, top):
    assert dashboard._round_up(most) == top


def test_how_it_runs(operator, waiting_job):
    waiting_job(100, queue="orders")
    waiting_job(4000, queue="bulk", priority=-10)
    waiting_job(-600, queue="mail", scheduled=True)
    now = clock.now()
    order = OrderFactory()
    for ago, outcome, latency, calls in (
        (1, "done", 40, 60), (1, "done", 240, 34), (1, "unknown", 1900, 5), (1, "rejected", 90, 1),
        (90, "done", 40, 900), (1, "unsupported", 0, 50),
    ):  # fmt: skip
        VendorCall.objects.bulk_create(
            VendorCallFactory.build(
                order=order, subscription=order.subscription, outcome=outcome, latency_ms=latency,
                finished_at=now - timedelta(minutes=ago),
            )
            for _ in range(calls)
        )  # fmt: skip
    page = start_page(operator)
    assert "2 jobs to be run, the oldest for 1 h 6 min" in page
    assert "1 more for later" in page
    table = page[page.index("<caption>Vendor</caption>") :]
    rows = re.findall(
        r'<th scope="row">([^<]+)</th>\s*<td class="number">([^<]*)</td>\s*<td class="number">([^<]*)</td>', table
    )
    assert rows == [
        ("Answers", "100", "1,000"), ("Half of them within", "50 ms", "50 ms"), ("95 of 100 within", "250 ms", "50 ms"),
        ("No clear answer", "5 %", "0.5 %"), ("Refused", "1 %", "0.1 %"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (200_000, "2 days"),
    ],
)
def test_times_in_words(seconds, words):
    assert dashboard.duration(seconds) == words


# --- who sees what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["support", "operator", "approver", "catalogue_manager", "auditor"])
def test_no_link_leads_where_a_group_may_not_go(group, cast, signed_in):
    OrderFactory(status="needs_attention", needs_staff=True)
    OrderFactory(status="awaiting_approval")
    VendorState.objects.create(vendor="kaspersky", paused_at=clock.now(), reason="Wrong password")
    browser = signed_in(cast.people[group])
    page = start_page(browser)
    content = page[page.index("<h1>") : page.index("<footer")]
    links = {html.unescape(url) for url in re.findall(r'href="(/[^"]*)"', content)}
    assert len(links) > 15
    assert {url: browser.get(url).status_code for url in links} == dict.fromkeys(links, 200)
    assert ("/bss/subscriptions/subscription/start/" in links) == (group == "operator")


def test_people_see_what_they_may_view_and_no_more(signed_in):
    OrderFactory(status="needs_attention", needs_staff=True)
    figures.refresh()
    parts = {
        "vendorstate": [], "subscription": ["Active seats", "Ending soon"], "charge": [], "priceband": [],
        "order": ["Needs attention", "Changes per day", "ORD-"], "drift": ["Drift"],
        "vendorcall": ["Vendor trouble", "How it runs"],
    }  # fmt: skip
    everything = [*(one for shown in parts.values() for one in shown), "Monthly revenue"]
    for model, shown in parts.items():
        person = UserFactory(is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
        page = start_page(signed_in(person))
        assert [one for one in everything if one in page[page.index("<h1>") :]] == shown, model
    person = UserFactory(is_staff=True)
    person.user_permissions.set(
        Permission.objects.filter(codename__in=["view_subscription", "view_charge", "view_priceband"])
    )
    assert "Monthly revenue" in start_page(signed_in(person))


def test_whoever_is_in_no_group_is_told_so(cast, signed_in):
    OrderFactory(status="needs_attention", needs_staff=True)
    cast.support.groups.clear()
    page = start_page(signed_in(cast.support))
    assert "You are in no staff group." in page
    assert "Needs attention" not in page


# --- its price -------------------------------------------------------------------------------------------------------


def busy(rows):
    """Some of everything that the page shows."""
    for _ in range(rows):
        OrderFactory(status="needs_attention", needs_staff=True)
        OrderFactory(status="awaiting_approval")
        order = OrderFactory(**STOPPED)
        VendorCallFactory(order=order, outcome="unknown", finished_at=clock.now())
        SubscriptionFactory(status="ending", ends_at=midnight(3))
        SubscriptionFactory(trial_ends=midnight(3).date())
        DriftFactory()
    VendorState.objects.get_or_create(vendor=f"vendor {rows}", paused_at=clock.now())
    figures.refresh()


def test_it_asks_the_database_eleven_times_for_two_as_for_many(operator):
    asked = []
    for rows in (2, 30):
        busy(rows)
        with CaptureQueriesContext(connection) as queries:
            start_page(operator)
        asked.append(len(queries))
    assert asked == [11, 11]


def read_of(plan, table, loops=1):
    """The most rows of a table that a step of a plan has touched."""
    own = 0
    if plan.get("Relation Name") == table:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return max([own, *(read_of(part, table) for part in plan.get("Plans", []))])


def test_no_query_reads_a_large_table(operator):
    """Among thousands at rest it touches those that wait, and the newest vendor calls."""
    many.subscriptions(6000, ended_ago=-20)
    many.orders(6000, "completed")
    now = clock.now()
    Order.objects.update(finished_at=now - timedelta(days=40))
    busy(3)
    order = Order.objects.first()
    EventFactory.create_batch(3, subscription=order.subscription)
    VendorCall.objects.bulk_create(
        VendorCallFactory.build(order=order, subscription=order.subscription, finished_at=now) for _ in range(50)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as queries:
        start_page(operator)
    touched = {}
    for query in queries:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"].replace("%", "%%"), [])
            plan = cursor.fetchone()[0][0]["Plan"]
        for model in (Subscription, Order, VendorCall):
            table = model._meta.db_table
            touched[table] = max(touched.get(table, 0), read_of(plan, table))
    assert touched[Order._meta.db_table] > 0 < touched[Subscription._meta.db_table]
    assert max(touched.values()) < 100, touched
