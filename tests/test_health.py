"""Probes: alive is whoever answers, ready is what can do its work, and outsiders learn no more than that."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal import readings
from subscriptions import clock
from subscriptions.bulk.jobs import PLACE, PRIORITY
from subscriptions.models import Order
from tests.factories import OrderFactory, SubscriptionFactory
from tests.worker_process import WorkerProcess, wait_until

TOKEN = "a-token-of-forty-characters-for-the-tests"
AS_OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def operations_token(settings):
    settings.OPERATIONS_TOKEN = TOKEN


@pytest.fixture
def worker_alive(empty_queue):
    """A heartbeat of just now, as a worker leaves it."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() + interval '1 minute')")


@pytest.fixture
def waiting_job(empty_queue):
    """A job that waits since so many seconds, in the way that procrastinate leaves one."""

    def insert(seconds, *, queue="orders", priority=0, scheduled=False, status="todo"):
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, status, scheduled_at)"
                " VALUES (%s, 'subscriptions.fulfil', %s, %s, %s) RETURNING id",
                [queue, priority, status, since if scheduled else None],
            )
            # Its trigger says that it was deferred now.
            cursor.execute(
                "UPDATE procrastinate_events SET at = %s WHERE job_id = %s AND type = 'deferred'",
                [since, *cursor.fetchone()],
            )

    return insert


def checks(client=None, query=""):
    """(HTTP status, names of the checks that failed)"""
    answer = (client or Client()).get(f"/readyz{query}", headers=AS_OPERATOR)
    told = answer.json()
    assert (told["status"] == "ok") == (answer.status_code == 200)
    return answer.status_code, [name for name, one in told["checks"].items() if not one["ok"]]


# --- who sees what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.django_db
def test_probes_open_no_session_and_are_never_kept(path, cast, signed_in):
    answer = signed_in(cast.owner).get(path)
    assert not answer.cookies
    assert "no-store" in answer.headers["Cache-Control"]
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == answer.status_code


def test_alive_asks_no_database():
    # pytest-django refuses every query in a test without its mark.
    assert Client().get("/livez").content == b"ok\n"


@pytest.mark.usefixtures("operations_token", "worker_alive")
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é"])
def test_outsiders_learn_the_sum_only(authorization):
    answer = Client().get("/readyz", headers={"Authorization": authorization} if authorization else {})
    assert answer.json() == {"status": "ok"}


@pytest.mark.django_db
@pytest.mark.parametrize("authorization", ["Bearer ", "Bearer", ""])
def test_without_a_token_nobody_is_an_operator(authorization):
    assert "checks" not in Client().get("/readyz", headers={"Authorization": authorization}).json()


PRODUCTION = """
import django; django.setup()
from django.test import Client
for path in ("/livez", "/readyz", "/metrics", "/"):
    for host in ("10.1.2.3:8000", "portal.example"):
        answer = Client(raise_request_exception=False).get(path, headers={"Host": host})
        print(path, host, answer.status_code, answer.headers.get("Location", "-"), len(answer.cookies))
"""


def test_probes_come_by_address_and_over_plain_http():
    """In production any other request like that is refused, or sent to https."""
    told = {
        "DATABASE_URL": "host=127.0.0.1 port=1 dbname=nothing", "DJANGO_SETTINGS_MODULE": "portal.settings",
        # But for its files, which need no collecting, it is as strict as production.
        "SEATDESK_DEMO": "1", "SECURE_PLAIN_HTTP": "0", "ALLOWED_HOSTS": "portal.example", "LOG_LEVEL": "CRITICAL",
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", PRODUCTION],
        cwd=django_settings.BASE_DIR, env=os.environ | told, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    # The database does not answer either: alive, and not ready.
    assert said[:6] == [
        "/livez 10.1.2.3:8000 200 - 0", "/livez portal.example 200 - 0",
        "/readyz 10.1.2.3:8000 503 - 0", "/readyz portal.example 503 - 0",
        "/metrics 10.1.2.3:8000 404 - 0", "/metrics portal.example 404 - 0",
    ]  # fmt: skip
    assert said[6].startswith("/ 10.1.2.3:8000 400 ")
    assert said[7].startswith("/ portal.example 301 https://portal.example/ ")


# --- what is looked at -----------------------------------------------------------------------------------------------

ready = pytest.mark.usefixtures("operations_token", "worker_alive")


@ready
def test_ready_takes_six_statements(waiting_job):
    for number in range(3):
        waiting_job(number)
        OrderFactory(status="placed")
    readings._newest()
    with CaptureQueriesContext(connection) as queries:
        assert checks() == (200, [])
    assert len(queries) == 6


@ready
def test_a_migration_that_is_not_applied(transactional_db):
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE id ="
            " (SELECT max(id) FROM django_migrations WHERE app = 'subscriptions') RETURNING app, name, applied"
        )
        gone = cursor.fetchone()
    try:
        answer = Client().get("/readyz", headers=AS_OPERATOR)
        assert answer.json()["checks"]["migrations"] == {"ok": False, "missing": [f"{gone[0]}.{gone[1]}"]}
        assert answer.status_code == 503
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", gone)


@contextmanager
def missing(table):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table}_elsewhere RENAME TO {table}")


@pytest.mark.django_db(transaction=True)
@ready
def test_a_database_that_nobody_has_migrated():
    """Each check says so by itself, in JSON, instead of a page about a bug."""
    with missing("django_migrations"), missing("procrastinate_workers"):
        assert checks() == (503, ["migrations", "worker"])


@ready
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_job_that_people_wait_for_is_too_old(scheduled, waiting_job, settings):
    waiting_job(settings.READY_JOB_AGE - 30, scheduled=scheduled)
    assert checks() == (200, [])
    waiting_job(settings.READY_JOB_AGE + 30, scheduled=scheduled, queue="mail")
    assert checks() == (503, ["jobs"])
    assert checks(query="?exclude=jobs&exclude=worker") == (200, [])


@ready
def test_jobs_that_may_wait_say_nothing(waiting_job, settings):
    too_long = settings.READY_JOB_AGE + 30
    waiting_job(too_long, priority=-10)
    waiting_job(too_long, status="failed")
    waiting_job(too_long, status="doing")
    waiting_job(-3600, scheduled=True)
    assert checks() == (200, [])


@ready
def test_a_bulk_run_that_nobody_places_is_too_old(waiting_job, settings):
    settings.READY_ORDER_AGE = 3600.0
    waiting_job(3500, queue="bulk", priority=PRIORITY[PLACE])
    assert checks() == (200, [])
    settings.READY_ORDER_AGE = 3400.0
    assert checks() == (503, ["bulk"])
    assert checks(query="?exclude=bulk") == (200, [])


@ready
def test_an_order_that_nobody_tries_is_too_old(settings, empty_queue):
    settings.READY_ORDER_AGE = 3600.0
    now = clock.now()
    OrderFactory(status="placed", next_attempt_at=now + timedelta(hours=1))
    assert readings.oldest_due_order() == 0
    OrderFactory(status="in_progress", next_attempt_at=now - timedelta(minutes=50))
    OrderFactory(status="failed", next_attempt_at=now - timedelta(days=1))
    assert checks() == (200, [])
    OrderFactory(status="placed", next_attempt_at=now - timedelta(minutes=70))
    assert checks() == (503, ["orders"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("operations_token", "empty_queue")
def test_a_worker_that_is_killed_is_missed(emulator, tmp_path, settings):
    settings.WORKER_STALLED_AFTER = 2.0
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
    assert checks() == (503, ["worker"])
    worker = WorkerProcess(emulator.url, tmp_path / "log")
    try:
        wait_until(lambda: checks() == (200, []), seconds=30)
    finally:
        worker.kill()
    wait_until(lambda: checks() == (503, ["worker"]), seconds=10)


def test_what_is_told_is_json_with_numbers(client, operations_token, worker_alive, waiting_job):
    waiting_job(100)
    told = json.loads(client.get("/readyz", headers=AS_OPERATOR).content)
    assert 90 <= told["checks"]["jobs"]["oldest"] < 200
    assert told["checks"]["jobs"]["limit"] == 600
    assert told["checks"]["worker"]["alive"] == 1


# --- cheap at any size -----------------------------------------------------------------------------------------------


@pytest.fixture
def a_backlog(db):
    """So much that reading a whole table would be the dearer plan; and PostgreSQL knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, status)"
            " SELECT 'bulk', 't', -10, 'todo' FROM generate_series(1, 3000)"
        )
        cursor.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('orders', 't')")
        cursor.execute("ANALYZE procrastinate_jobs, procrastinate_events")


def plan(cursor, statement, arguments):
    cursor.execute(f"EXPLAIN {statement}", arguments)
    return "\n".join(line for (line,) in cursor.fetchall())


def test_the_age_of_jobs_reads_indexes(a_backlog):
    with connection.cursor() as cursor:
        found = plan(cursor, readings._QUEUES, [readings.PEOPLE_WAIT])
    assert "procrastinate_jobs_priority_idx_v1" in found
    assert "procrastinate_events_job_id_fkey_v1" in found
    assert "Seq Scan" not in found


def test_the_age_of_orders_reads_an_index(db):
    of_one = {"subscription": SubscriptionFactory(), "action": "increase", "audience": "bss", "placed_at": clock.now()}
    Order.objects.bulk_create(Order(**of_one, status="completed") for _ in range(3000))
    OrderFactory(status="placed")
    with CaptureQueriesContext(connection) as queries:
        readings.oldest_due_order()
    [query] = queries
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Order._meta.db_table}")
        assert "order_sweep" in plan(cursor, query["sql"], [])
