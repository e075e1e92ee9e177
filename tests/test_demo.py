"""`manage.py demo` as its users run it: a process with its own database, emulator, worker and web server.

Filling a demo takes seconds, so most tests share one: what the base holds is read once, before anything changes it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentTypeError
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from django.db import connection
from lxml import html

from portal import demo_clock, demo_processes
from portal.demo_processes import ROOT
from subscriptions.management import demo_data
from subscriptions.management.demo_data import State, catalogue, plan
from tests.demo_base import STATES, Ledger, states
from tests.factories import AccountFactory

pytestmark = pytest.mark.xdist_group("demo")

READY_SECONDS = 120


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

    def business_time(self):
        return datetime.now(UTC) + demo_clock.kept(self.data)

    def mails(self):
        files = (self.data / "mail").glob("*")
        return [mail for one in files for mail in one.read_text().split("Content-Type: multipart/alternative")[1:]]

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


def is_group(pid):
    return os.getpgid(pid) == pid


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


class Seeded:
    """A filled data folder; `first` is what the start said that filled it, `base` what it held then."""

    def __init__(self, folder):
        self.folder = folder
        self.demo = self._start().wait_for("Placing the orders")
        time.sleep(1)
        assert self.demo.end() == 0
        self.first = self.running().said()
        self.base = Base(self.demo)

    def _start(self, *more):
        return Demo(self.folder, free_port(), free_port(following=1), *more)

    def running(self):
        """The demo, started if it is not running."""
        if self.demo.process.poll() is not None:
            self.demo = self._start().wait_for("Ctrl-C ends everything")
        return self.demo

    def restart(self, *more, until="Ctrl-C ends everything"):
        if self.demo.process.poll() is None:
            assert self.demo.end() == 0
        self.demo = self._start(*more).wait_for(until)
        return self.demo


@pytest.fixture(scope="module")
def seeded():
    with tempfile.TemporaryDirectory(prefix="seatdesk-") as name:
        seeded = Seeded(Path(name) / "demo")
        yield seeded
        if seeded.demo.process.poll() is None:
            seeded.demo.process.send_signal(signal.SIGINT)
            seeded.demo.process.wait(30)


class Base:
    """What the demo held when it was filled."""

    def __init__(self, demo):
        rows = demo.rows
        self.states, self.ledger = states(rows), Ledger(rows)
        self.subscriptions = Counter(status for (status,) in rows("SELECT status FROM subscriptions_subscription"))
        self.orders = Counter(status for (status,) in rows("SELECT status FROM subscriptions_order"))
        [(self.first, self.last)] = rows("SELECT min(placed_at), max(finished_at) FROM subscriptions_order")
        self.jobs = rows("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'orders'")[0][0]
        self.roles = rows("SELECT count(DISTINCT role) FROM subscriptions_member GROUP BY account_id")
        self.products = rows("SELECT count(DISTINCT name) FROM subscriptions_product")[0][0]
        rules = rows("SELECT increase_policy, decrease_policy, billing_period, cancel_credit FROM subscriptions_sku")
        self.rules = [len(set(column)) for column in zip(*rules, strict=True)]
        self.timings = {timing for (timing,) in rows("SELECT timing FROM subscriptions_changetarget")}
        edges = "SELECT count(*) FILTER (WHERE s.seats = k.seats_min), count(*) FILTER (WHERE s.seats = k.seats_max)"
        edges += " FROM subscriptions_subscription s JOIN subscriptions_sku k ON k.id = s.sku_id"
        [(self.at_minimum, self.at_maximum)] = rows(edges + " WHERE s.status = 'active'")


def test_an_interrupted_start_begins_anew(seeded):
    assert "beginning anew" in seeded.first


def test_base_looks_like_the_field(seeded):
    base = seeded.base
    assert base.subscriptions.keys() == {"pending", "active", "suspended", "ending", "expired", "failed", "cancelled"}
    assert base.subscriptions.total() == plan.SUBSCRIPTIONS >= 60
    assert base.orders["completed"] > 100
    assert base.orders["failed"] >= 8
    assert base.orders["needs_attention"] == 1
    assert base.orders["placed"] == 2
    assert base.first < datetime.now(UTC) - timedelta(days=180)
    assert base.last <= datetime.now(UTC)
    assert base.jobs == 0
    # Each account but the small ones has a member in every role.
    assert sum(count == 5 for (count,) in base.roles) >= 3
    assert base.products == len(catalogue.ROWS)
    assert base.rules == [3, 3, 2, 2]
    assert base.timings == {"now", "renewal", "either"}
    assert len({row.seats for row in catalogue.ROWS}) >= 8
    assert base.at_minimum >= 1
    assert base.at_maximum >= 1
    assert "The vendor's staff changed the seats of SUB-" in seeded.first
    assert str(seeded.folder / "mail") in seeded.first


@pytest.mark.parametrize("state", STATES)
def test_base_holds(seeded, state):
    assert seeded.base.states[state] >= 1


def test_base_is_billed_for_each_period_once(seeded):
    assert seeded.base.ledger.check() > 200


def test_customer_changes_seats_and_staff_see_it(seeded):
    demo = seeded.running()
    pk = customer_increases_seats(demo)
    staff_see_it(demo, pk)
    again = seeded.restart()
    assert again.rows("SELECT count(*) FROM subscriptions_subscription") == [(plan.SUBSCRIPTIONS,)]
    assert again.rows("SELECT seats FROM subscriptions_subscription WHERE id = %s", pk) == [(37,)]


def test_a_command_beside_it_meets_its_database_and_its_emulator(seeded):
    demo = seeded.running()
    line = re.search(r"Commands beside it +(SEATDESK_DEMO_DATA=\S+) uv run (manage\.py reconcile)", seeded.first)
    name, folder = line[1].split("=")
    beside = subprocess.run(
        [sys.executable, *line[2].split()], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], name: folder, "KASPERSKY_ENDPOINT": "https://vendor.invalid/"},
    )  # fmt: skip
    assert beside.returncode == 0, beside.stderr
    [(runs, compared)] = demo.rows("SELECT count(*), min(compared) FROM subscriptions_reconciliationrun")
    assert (runs, compared > 40) == (1, True), beside.stdout


def test_a_demo_outlives_a_restart_of_its_database(seeded):
    demo = seeded.running()
    until = time.monotonic() + 30
    while not demo.rows("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN %%'"):
        assert time.monotonic() < until
        time.sleep(0.1)
    # What everybody connected sees of a restart: it is gone, and for a while nobody is let in.
    with psycopg.connect(host=demo.postgres()[1], user="postgres", dbname="template1", autocommit=True) as other:
        other.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        time.sleep(1)
        other.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")
    demo.wait_for("Ended by itself: the worker (exit code 1). It is started again.", 30)
    customer_increases_seats(demo, 38)
    assert demo.end() == 0


def test_what_ends_again_and_again_is_not_started_for_ever(monkeypatch):
    monkeypatch.setattr(demo_processes, "_AGAIN_AFTER", 0.0)
    family, ended = demo_processes.Family(), []
    family.start("it", [sys.executable, "-S", "-c", "raise SystemExit(3)"], {}, again=True)
    until = time.monotonic() + 30
    while not family.dead() or len(ended) < demo_processes.AGAIN_A_MINUTE:
        assert time.monotonic() < until
        if one := family.revive():
            ended.append(one)
        time.sleep(0.01)
    assert ended == ["it (exit code 3)"] * demo_processes.AGAIN_A_MINUTE
    assert (family.revive(), family.dead()) == (None, "it (exit code 3)")
    family.end()


def test_nothing_outlives_a_demo(seeded):
    demo = seeded.running()
    pids = [*demo.children(), demo.postgres()[0]]
    [web] = [pid for pid, command in demo.children().items() if "granian" in command and is_group(pid)]
    os.kill(web, signal.SIGKILL)
    assert demo.process.wait(30) == 1
    assert "Ended by itself: the web server" in demo.said()
    gone(pids)

    killed = seeded.running()
    children = list(killed.children())
    assert len(children) >= 4
    killed.process.kill()
    killed.process.wait()
    gone(children)
    # The database server alone outlives a killed demo, until the next one ends.
    assert seeded.running().end() == 0


def test_time_moves_on(seeded):
    demo = seeded.running()
    since = demo.business_time()
    planned = demo.rows(
        "SELECT o.id, o.action, s.id, (o.after->>'Seats')::int FROM subscriptions_order o JOIN"
        " subscriptions_subscription s ON s.id = o.subscription_id WHERE o.status = 'scheduled' AND s.status IN"
        " ('active', 'ending') AND o.action IN ('decrease', 'cancel') AND o.due_at < %s",
        since + timedelta(days=90),
    )
    assert {action for _, action, _, _ in planned} == {"decrease", "cancel"}
    over = demo.rows("SELECT id FROM subscriptions_subscription WHERE status = 'expired' OR trial_ends > now()")
    lines, mails = Ledger(demo.rows).check(), len(demo.mails())
    to = (since + timedelta(days=98)).replace(hour=0, minute=0, second=0, microsecond=0)

    # Interrupted on the way, it goes on from where it was.
    assert seeded.restart("--at", f"{to:%Y-%m-%d}", until="Moving business time").end() == 0
    moved = seeded.restart("--at", f"{to:%Y-%m-%d}")
    assert moved.business_time() >= to
    assert f"Business time            {demo_clock.words(to)[:-9]}" in moved.said()
    for order, action, pk, seats in planned:
        [(status, late)] = moved.rows(
            "SELECT status, finished_at - due_at FROM subscriptions_order WHERE id = %s", order
        )
        assert (status, late < timedelta(hours=1)) == ("completed", True)
        [row] = moved.rows("SELECT status, seats FROM subscriptions_subscription WHERE id = %s", pk)
        assert row[0] == "cancelled" if action == "cancel" else row == ("active", seats)
    for (pk,) in over:
        assert moved.rows("SELECT status FROM subscriptions_subscription WHERE id = %s", pk) == [("cancelled",)]
    assert Ledger(moved.rows).check() > lines + 100
    still_due = moved.rows(
        "SELECT s.id FROM subscriptions_subscription s WHERE s.next_due_at <= %s AND NOT EXISTS (SELECT 1 FROM"
        " subscriptions_order o WHERE o.subscription_id = s.id AND o.status IN ('needs_attention',"
        " 'awaiting_approval'))", to,
    )  # fmt: skip
    assert still_due == []
    # A period is billed at its own instant, and not when somebody looked.
    [(late,)] = moved.rows(
        "SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY c.booked_at - c.covers_from::timestamp AT TIME ZONE"
        " a.time_zone) FROM subscriptions_charge c JOIN subscriptions_account a ON a.id = c.account_id"
        " WHERE c.order_id IS NULL AND c.booked_at > %s", since,
    )  # fmt: skip
    assert late < timedelta(hours=1)
    told = moved.rows("SELECT kind, coalesce(letter, id) FROM subscriptions_notice WHERE sent_at > %s", since)
    assert {"reminder", "ended", "trial", "done"} <= {kind for kind, _ in told}
    assert len(moved.mails()) - mails == len({letter for _, letter in told})
    [(late,)] = moved.rows(
        "SELECT max(n.sent_at - e.at) FROM subscriptions_notice n JOIN subscriptions_event e ON e.id = n.event_id"
        " WHERE n.gathered AND n.sent_at > %s", since,
    )  # fmt: skip
    assert late < timedelta(hours=1)

    # People sign in, are quoted prices and place orders in the new time.
    pk = customer_increases_seats(moved, seats=38)
    [(placed_at,)] = moved.rows("SELECT max(placed_at) FROM subscriptions_order WHERE subscription_id = %s", pk)
    assert placed_at > to
    assert moved.end() == 0
    reached, sent = moved.business_time(), len(moved.mails())

    again = seeded.restart("--at", f"{to:%Y-%m-%d}")
    assert "Moving business time" not in again.said()
    assert reached < again.business_time() < reached + timedelta(minutes=5)
    assert again.rows("SELECT count(*) FROM subscriptions_event WHERE at > %s", reached) == [(0,)]
    assert again.rows("SELECT count(*) FROM subscriptions_charge WHERE booked_at > %s", reached) == [(0,)]
    assert len(again.mails()) == sent

    back = Demo(seeded.folder, free_port(), free_port(following=1), "--at", f"{to - timedelta(days=1):%Y-%m-%d}")
    assert back.process.wait(20) == 1
    assert f"business time in this demo is {demo_clock.words(to)[:-9]}" in back.said()
    assert again.process.poll() is None


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ("2027-03-02", ""),
        ("2026-11-24T12:00", ""),
        ("2026-11-24", ""),  # the day that it is needs no move
        ("2026-11-24T11:59", "only goes forward"),
        ("2026-11-23", "only goes forward"),
        ("2028-11-24", ""),
        ("2028-12-01", "more than two years ahead"),
        ("2206-03-02", "more than two years ahead"),
    ],
)
def test_where_time_can_be_moved(at, sentence):
    reason = demo_clock.why_not(demo_clock.moment(at), NOON)
    assert sentence in reason
    assert bool(reason) == bool(sentence)


def test_a_date_is_understood_in_utc_unless_it_says_otherwise():
    assert demo_clock.moment("2027-03-02T09:30") == datetime(2027, 3, 2, 9, 30, tzinfo=UTC)
    assert demo_clock.moment("2027-03-02T09:30+01:00") == datetime(2027, 3, 2, 8, 30, tzinfo=UTC)
    with pytest.raises(ArgumentTypeError, match="Write 2027-03-02"):
        demo_clock.moment("2 March")


def customer_increases_seats(demo, seats=37):
    [(pk,)] = demo.rows(
        "SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_account a ON a.id = s.account_id"
        " JOIN subscriptions_sku k ON k.id = s.sku_id"
        " WHERE a.name = 'Brightwater Logistics' AND s.status = 'active' AND s.seats < 37 AND k.seats_max >= 38"
        " AND k.seat_change = 'in_place' AND NOT EXISTS (SELECT 1 FROM subscriptions_order o WHERE o.subscription_id ="
        " s.id AND o.status IN ('placed', 'in_progress', 'needs_attention', 'awaiting_approval', 'scheduled'))"
        " AND s.trial_ends IS NULL ORDER BY s.id LIMIT 1"
    )
    with Browser(demo.base, "owner@brightwater.example") as owner:
        assert f"SUB-{pk:06d}" in owner.open("/subscriptions/").text or "Brightwater Logistics" in owner.text
        owner.open(f"/subscriptions/{pk}/increase/").send(seats=str(seats)).send()
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
