"""Metrics that Prometheus can read, true to the database, at a price that does not grow with it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django import app
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from portal import metrics as room
from subscriptions import clock, lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Notice, Order, VendorCall
from tests.factories import EventFactory, OrderFactory, SubscriptionFactory, UserFactory, VendorCallFactory
from tests.test_health import AS_OPERATOR, missing, operations_token, waiting_job

__all__ = ["operations_token", "waiting_job"]

pytestmark = pytest.mark.usefixtures("operations_token")


def scrape():
    """{name: {labels as a tuple of values in the order of their names: number}}"""
    answer = Client().get("/metrics", headers=AS_OPERATOR)
    assert answer.status_code == 200
    found = {}
    for family in read_text(answer.content.decode()):
        for one in family.samples:
            labels = tuple(value for _, value in sorted(one.labels.items()))
            found.setdefault(one.name.removeprefix("seatdesk_"), {})[labels] = one.value
    return found


# --- the door --------------------------------------------------------------------------------------------------------


def test_without_a_token_there_are_no_metrics(client, settings):
    settings.OPERATIONS_TOKEN = ""
    for headers in ({}, AS_OPERATOR, {"Authorization": "Bearer "}):
        assert client.get("/metrics", headers=headers).status_code == 404


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer"])
def test_whoever_has_not_the_token_gets_none(client, authorization):
    answer = client.get("/metrics", headers={"Authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert b"seatdesk" not in answer.content


@pytest.mark.django_db
def test_prometheus_may_choose_the_format(client):
    text = client.get("/metrics", headers=AS_OPERATOR)
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "no-store" in text.headers["Cache-Control"]
    newer = client.get("/metrics", headers=AS_OPERATOR | {"Accept": "application/openmetrics-text;version=1.0.0"})
    families = {family.name: family for family in read_openmetrics(newer.content.decode())}
    assert families["seatdesk_vendor_call_seconds"].type == "gaugehistogram"
    assert all(family.documentation for family in families.values())


@pytest.mark.django_db(transaction=True)
def test_a_scrape_that_cannot_be_answered_fails(client):
    """Prometheus then says `up 0`; half of the metrics would look like an installation without orders."""
    with missing("procrastinate_workers"):
        assert client.get("/metrics", headers=AS_OPERATOR).status_code == 503


# --- what is told ----------------------------------------------------------------------------------------------------


def test_orders_by_status(db):
    OrderFactory.create_batch(2, status="placed")
    OrderFactory(status="needs_attention", needs_staff=True)
    OrderFactory(status="scheduled")
    OrderFactory(status="failed")
    OrderFactory(status="failed", needs_staff=True)
    OrderFactory(status="completed")
    found = scrape()
    assert found["orders"] == {
        ("awaiting_approval",): 0, ("placed",): 2, ("in_progress",): 0, ("needs_attention",): 1, ("scheduled",): 1,
    }  # fmt: skip
    assert found["orders_flagged"] == {("failed",): 1, ("needs_attention",): 1}
    assert found["orders_placed_total"] == {(): Order.objects.latest("pk").pk}


@pytest.mark.django_db(transaction=True)
def test_what_an_order_leads_to_is_counted(subscription, drain, emulator):
    """A real order, carried out, and one that the vendor refuses."""
    wish = Wish(subscription.pk, "increase", {"Seats": 30})
    lifecycle.place(wish, actor=None, audience="command")
    drain()
    emulator.control.add_fault("item-error", code=602, message="Not now.")
    wish = Wish(subscription.pk, "suspend", reason="late payer")
    lifecycle.place(wish, actor=None, audience="command")
    drain()
    found = scrape()
    assert found["orders_ended"] == {("increase", "completed"): 1, ("suspend", "failed"): 1}
    assert found["vendor_call_seconds_gcount"] == {("Activate", "done"): 1, ("Pause", "rejected"): 1}
    assert found["vendor_call_seconds_bucket"]["Activate", "+Inf", "done"] == 1
    assert found["vendor_calls_total"] == {(): VendorCall.objects.latest("pk").pk}


def test_the_latency_of_the_vendor_is_a_histogram(db, settings):
    settings.METRICS_WINDOW = 300.0
    now = clock.now()
    for latency, outcome in ((40, "done"), (400, "done"), (90_000, "unknown")):
        VendorCallFactory(asked='<Pause UnitId="0"/>', outcome=outcome, latency_ms=latency, finished_at=now)
    VendorCallFactory(
        asked='<GetInfo UnitId="0"/>', outcome="done", latency_ms=7, finished_at=now - timedelta(minutes=9)
    )
    VendorCallFactory(asked="", outcome="unsupported", latency_ms=0, finished_at=now)
    VendorCallFactory(asked='<Pause UnitId="0"/>')
    found = scrape()
    buckets = found["vendor_call_seconds_bucket"]
    assert [buckets["Pause", le, "done"] for le in ("0.05", "0.25", "0.5", "60.0", "+Inf")] == [1, 1, 2, 2, 2]
    assert [buckets["Pause", le, "unknown"] for le in ("60.0", "+Inf")] == [0, 1]
    assert found["vendor_call_seconds_gcount"] == {
        ("Pause", "done"): 2, ("Pause", "unknown"): 1, ("none", "unsupported"): 1,
    }  # fmt: skip
    assert found["vendor_call_seconds_gsum"]["Pause", "done"] == pytest.approx(0.44)


def test_only_what_ended_lately_is_counted(db, settings):
    settings.METRICS_WINDOW = 300.0
    order = OrderFactory()
    of_it = {"order": order, "subscription": order.subscription}
    for kind in ("increase.completed", "increase.placed", "start.give_up", "start.failed", "cancel.held"):
        EventFactory(kind=kind, **of_it)
    EventFactory(kind="increase.completed", at=clock.now() - timedelta(minutes=6), **of_it)
    EventFactory(kind="renewal.failed", subscription=order.subscription)
    found = scrape()
    assert found["orders_ended"] == {
        ("increase", "completed"): 1, ("start", "failed"): 2, ("cancel", "needs_attention"): 1,
    }  # fmt: skip
    assert found["orders_ended_window_seconds"] == {(): 300}


def test_a_window_that_very_much_fills_says_how_far_back_it_reaches(db):
    """Else the rates of a bulk run would be cut to what fits in."""
    order = OrderFactory()
    of_one = {"order": order, "subscription": order.subscription, "account": order.subscription.account}
    since = clock.now() - timedelta(seconds=20)
    Event.objects.bulk_create(Event(kind="suspend.completed", at=since, **of_one) for _ in range(room.NEWEST + 5))
    found = scrape()
    assert found["orders_ended"] == {("suspend", "completed"): room.NEWEST}
    assert 20 <= found["orders_ended_window_seconds"][()] < 60


@pytest.mark.django_db
def test_queues_workers_vendors_and_notices(waiting_job):
    waiting_job(100, queue="orders")
    waiting_job(50, queue="orders", scheduled=True)
    waiting_job(400, queue="bulk", priority=-10)
    waiting_job(-60, queue="mail", scheduled=True)
    waiting_job(5000, queue="mail", status="failed")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() + interval '1 minute'), (now() - interval '1 hour')"
        )
    OrderFactory(status="placed", next_attempt_at=clock.now() - timedelta(minutes=3))
    lifecycle.pause_vendor("kaspersky", "wrong password")
    event = EventFactory()
    Notice.objects.create(event=event, user=UserFactory(), kind="done")
    Notice.objects.create(event=event, user=UserFactory(), kind="done", sent_at=clock.now())
    found = scrape()
    assert found["jobs_waiting"] == {("bulk",): 1, ("mail",): 0, ("orders",): 2, ("upkeep",): 0}
    assert found["jobs_later"] == {("bulk",): 0, ("mail",): 1, ("orders",): 0, ("upkeep",): 0}
    ages = found["jobs_oldest_seconds"]
    assert ages == {
        ("bulk",): pytest.approx(400, abs=30), ("mail",): 0, ("orders",): pytest.approx(100, abs=30), ("upkeep",): 0,
    }  # fmt: skip
    assert found["workers"] == {(): 1}
    assert found["orders_oldest_due_seconds"][()] == pytest.approx(180, abs=30)
    assert found["vendor_paused"] == {("kaspersky",): 1}
    assert found["notices_owed"] == {(): 1}
    lifecycle.open_vendor("kaspersky")
    assert scrape()["vendor_paused"] == {("kaspersky",): 0}


def test_an_untouched_installation_says_zero(db, empty_queue):
    found = scrape()
    assert found["vendor_paused"] == {("kaspersky",): 0}
    assert found["orders_placed_total"] == found["vendor_calls_total"] == found["notices_owed"] == {(): 0}
    assert "orders_ended" not in found
    app.perform_import_paths()
    queues = {(task.queue,) for task in app.tasks.values() if task.queue != "builtin"}
    for name in ("jobs_waiting", "jobs_later", "jobs_oldest_seconds"):
        assert found[name] == dict.fromkeys(queues, 0)


# --- its price -------------------------------------------------------------------------------------------------------


@pytest.fixture
def a_past(waiting_job):
    """Thousands of rows at rest in each table, a few at work; and PostgreSQL knows."""
    subscription, now = SubscriptionFactory(), clock.now()
    of_one = {"subscription": subscription, "action": "increase", "audience": "bss", "placed_at": now}
    orders = Order.objects.bulk_create(Order(**of_one, status="completed") for _ in range(4000))
    Order.objects.bulk_create(Order(**of_one, status="failed") for _ in range(500))
    about = {"subscription": subscription, "order": orders[0]}
    events = Event.objects.bulk_create(
        Event(account=subscription.account, kind="increase.completed", at=now, **about) for _ in range(12_000)
    )
    VendorCall.objects.bulk_create(
        VendorCall(purpose="write", asked="<Pause/>", started_at=now, deadline=now, finished_at=now, **about)
        for _ in range(12_000)
    )
    person = UserFactory()
    Notice.objects.bulk_create(Notice(event=event, user=person, kind="done", sent_at=now) for event in events[:4000])
    for _ in range(3):
        OrderFactory(status="placed")
        waiting_job(10)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, status)"
            " SELECT 'mail', 't', 0, 'failed' FROM generate_series(1, 4000)"
        )
        cursor.execute("INSERT INTO procrastinate_events (job_id, type) SELECT id, 'failed' FROM procrastinate_jobs")
        cursor.execute("ANALYZE")


def statements():
    with CaptureQueriesContext(connection) as queries:
        scrape()
    return [query["sql"] for query in queries]


@pytest.mark.django_db
def test_each_statement_reads_an_index(a_past):
    plans = {}
    with connection.cursor() as cursor:
        for sql in statements():
            cursor.execute(f"EXPLAIN {sql}")
            plans[sql] = "\n".join(line for (line,) in cursor.fetchall())
    everything = "\n".join(plans.values())
    for index in (
        "one_open_order_for_a_subscription", "order_needs_staff", "order_sweep", "subscriptions_event_pkey",
        "subscriptions_order_pkey", "subscriptions_vendorcall_pkey", "procrastinate_jobs_",
        "procrastinate_events_job_id_fkey_v1", "notice_owed",
    ):  # fmt: skip
        assert index in everything, f"{index}\n{everything}"
    # A handful of rows each: what there is of workers and vendors.
    small = ("procrastinate_workers", "subscriptions_vendorstate")
    read = [line for line in everything.splitlines() if "Seq Scan" in line]
    assert all(any(table in line for table in small) for line in read), everything


@pytest.mark.django_db
def test_a_scrape_takes_as_many_statements_as_ever(empty_queue, request):
    before = len(statements())
    request.getfixturevalue("a_past")
    assert len(statements()) == before == 8
