"""`manage.py demo` as its users run it: a process with its own database, emulator, worker and web server."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from django.db import connection
from lxml import html

from portal.demo_processes import ROOT
from subscriptions.management import demo_data
from subscriptions.management.demo_data import State, catalogue, plan
from tests.factories import AccountFactory

pytestmark = pytest.mark.xdist_group("demo")

READY_SECONDS = 60


def free_port(following=0):
    """A port that is free, with as many free ones after it."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for extra in range(1, following + 1):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port + extra))
            except OSError:
                continue
            return port


class Demo:
    """One start of the demo with its output in a file."""

    def __init__(self, data, port, emulator_port, *more, **environment):
        self.data, self.base = data, f"http://127.0.0.1:{port}"
        kept = ("PATH", "HOME", "LANG", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "UV_CACHE_DIR")
        data.mkdir(exist_ok=True)
        self.output = data / "output.txt"
        command = [sys.executable, "manage.py", "demo", "--data", str(data), "--port", str(port)]
        command += ["--emulator-port", str(emulator_port), *more]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={name: os.environ[name] for name in kept if name in os.environ} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self):
        return self.output.read_text()

    def wait_for(self, words, seconds=READY_SECONDS):
        until = time.monotonic() + seconds
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)
        return self

    def children(self):
        return {one.pid: " ".join(one.cmdline()) for one in psutil.Process(self.process.pid).children(recursive=True)}

    def postgres(self):
        """The server's pid and the folder of its socket."""
        lines = (self.data / "postgres" / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[4]

    def rows(self, query, *values):
        with psycopg.connect(host=self.postgres()[1], user="postgres", dbname="postgres") as database:
            return database.execute(query, values).fetchall()

    def end(self, number=signal.SIGINT):
        """Its exit code; fails when something that it started is still there."""
        pids = [*self.children(), self.postgres()[0]]
        self.process.send_signal(number)
        code = self.process.wait(30)
        gone(pids)
        return code


def gone(pids, seconds=10):
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.05)


def is_running(pid):
    try:
        # In a container nobody may ask for the exit code of a process whose parent has gone.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Browser:
    """Follows links and fills in forms over HTTP."""

    def __init__(self, base, email):
        self.client = httpx.Client(base_url=base, follow_redirects=True, timeout=20, trust_env=False)
        self.open("/")
        self.send(login=email, password=demo_data.PASSWORD)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def open(self, path):
        self._took(self.client.get(path))
        return self

    def _took(self, response):
        assert response.is_success, f"{response.status_code} {response.url}"
        self.url, self.page = response.url, html.fromstring(response.content, base_url=str(response.url))
        self.page.make_links_absolute()
        self.text = " ".join(self.page.text_content().split())

    def send(self, **values):
        """Send the form of the page's main part."""
        form = self.page.xpath("//main//form[@method='post' or .//input[@name='seats'] or .//input[@name='login']]")[0]
        data = dict(form.form_values()) | values
        self._took(self.client.request(form.method, form.action or str(self.url), **{
            "data" if form.method == "POST" else "params": data
        }))  # fmt: skip
        return self


@pytest.fixture
def folder():
    """Not pytest's own: each session takes back the permissions that PostgreSQL's user needs there."""
    with tempfile.TemporaryDirectory(prefix="seatdesk-") as name:
        yield Path(name) / "demo"


@pytest.fixture
def start(folder):
    started = []

    def run(*more, data=folder, **environment):
        started.append(Demo(data, free_port(), free_port(following=1), *more, **environment))
        return started[-1]

    yield run
    for demo in started:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
            demo.process.wait(30)


def test_demo_from_the_first_page_to_the_last_process(start):
    interrupted = start().wait_for("Placing the orders")
    time.sleep(1)
    assert interrupted.end() == 0
    demo = start().wait_for("Ctrl-C ends everything")
    assert "beginning anew" in demo.said()
    looks_like_the_field(demo)
    pk = customer_increases_seats(demo)
    staff_see_it(demo, pk)
    assert demo.end() == 0

    again = start().wait_for("Ctrl-C ends everything")
    assert again.rows("SELECT count(*) FROM subscriptions_subscription") == [(plan.SUBSCRIPTIONS,)]
    assert again.rows("SELECT seats FROM subscriptions_subscription WHERE id = %s", pk) == [(37,)]
    pids = [*again.children(), again.postgres()[0]]
    [worker] = [pid for pid, command in again.children().items() if "procrastinate worker" in command]
    os.kill(worker, signal.SIGKILL)
    assert again.process.wait(30) == 1
    assert "Ended by itself: the worker" in again.said()
    gone(pids)

    killed = start().wait_for("Ctrl-C ends everything")
    children = list(killed.children())
    assert len(children) >= 4
    killed.process.kill()
    killed.process.wait()
    gone(children)
    # The database server alone outlives a killed demo, until the next one ends.
    assert start().wait_for("Ctrl-C ends everything").end() == 0


def looks_like_the_field(demo):
    subscriptions = Counter(status for (status,) in demo.rows("SELECT status FROM subscriptions_subscription"))
    assert subscriptions.keys() == {"pending", "active", "suspended", "failed", "cancelled"}
    assert subscriptions.total() == plan.SUBSCRIPTIONS == 60
    orders = Counter(status for (status,) in demo.rows("SELECT status FROM subscriptions_order"))
    assert orders["completed"] > 100
    assert orders["failed"] >= 8
    assert orders["needs_attention"] == 1
    assert orders["placed"] == 2
    [(first, last)] = demo.rows("SELECT min(placed_at), max(finished_at) FROM subscriptions_order")
    assert first < datetime.now(UTC) - timedelta(days=180)
    assert last <= datetime.now(UTC)
    assert demo.rows("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'orders'") == [(0,)]
    # Each account but the small one has a member in every role; every status of an order came about by events.
    roles = dict(demo.rows("SELECT account_id, count(DISTINCT role) FROM subscriptions_member GROUP BY account_id"))
    assert sum(count == 5 for count in roles.values()) >= 3
    assert demo.rows("SELECT count(DISTINCT name) FROM subscriptions_product") == [(len(catalogue.ROWS),)]
    assert len({row.seats for row in catalogue.ROWS}) >= 8
    edge = "SELECT count(*) FROM subscriptions_subscription s JOIN subscriptions_sku k ON k.id = s.sku_id WHERE "
    assert demo.rows(f"{edge} s.status = 'active' AND s.seats = k.seats_min")[0][0] >= 1
    assert demo.rows(f"{edge} s.status = 'active' AND s.seats = k.seats_max")[0][0] >= 1
    assert "The vendor's staff changed the seats of SUB-" in demo.said()
    assert str(demo.data / "mail") in demo.said()


def customer_increases_seats(demo):
    [(pk,)] = demo.rows(
        "SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_account a ON a.id = s.account_id"
        " JOIN subscriptions_sku k ON k.id = s.sku_id"
        " WHERE a.name = 'Brightwater Logistics' AND s.status = 'active' AND s.seats < 37 AND k.seats_max >= 37"
        " AND k.seat_change = 'in_place' AND NOT EXISTS (SELECT 1 FROM subscriptions_order o WHERE o.subscription_id ="
        " s.id AND o.status IN ('placed', 'in_progress', 'needs_attention')) ORDER BY s.id LIMIT 1"
    )
    with Browser(demo.base, "owner@brightwater.example") as owner:
        assert f"SUB-{pk:06d}" in owner.open("/subscriptions/").text or "Brightwater Logistics" in owner.text
        owner.open(f"/subscriptions/{pk}/increase/").send(seats="37").send()
        assert re.search(r"/orders/\d+/", str(owner.url))
        until = time.monotonic() + 10
        while "Completed" not in owner.text:
            assert time.monotonic() < until, owner.text
            time.sleep(0.2)
            owner.open(str(owner.url))
        stranger = owner.client.get(f"/subscriptions/{other_accounts(demo)}/")
        assert stranger.status_code == 404
    return pk


def other_accounts(demo):
    [(pk,)] = demo.rows(
        "SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_account a ON a.id = s.account_id"
        " WHERE a.name = 'Lipa Dental Group' LIMIT 1"
    )
    return pk


def staff_see_it(demo, pk):
    with Browser(demo.base, "operator@seatdesk.example") as operator:
        assert "/bss/" in str(operator.url)
        assert f"SUB-{pk:06d}" in operator.open(f"/bss/subscriptions/subscription/{pk}/change/").text
        assert "37" in operator.text


def test_port_in_use_is_said_before_anything_starts(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = Demo(folder, port, free_port(following=1))
        assert demo.process.wait(20) == 1
    assert f"The portal cannot use port {port}: something else is listening there" in demo.said()
    assert "--port" in demo.said()
    assert not (demo.data / "postgres").exists()


@pytest.mark.django_db(transaction=True)
def test_database_of_somebody_else_is_left_alone(start):
    assert demo_data.state() is State.EMPTY
    AccountFactory(name="A real customer")
    assert demo_data.state() is State.FOREIGN
    parts = connection.get_connection_params()
    url = psycopg.conninfo.make_conninfo(**{
        name: parts[name] for name in ("dbname", "user", "password", "host", "port") if parts.get(name)
    })  # fmt: skip
    demo = start(DATABASE_URL=url)
    assert demo.process.wait(30) == 1
    assert "holds people or accounts that the demo did not make" in demo.said()
    assert repr(parts["dbname"]) in demo.said()
    assert demo_data.state() is State.FOREIGN
