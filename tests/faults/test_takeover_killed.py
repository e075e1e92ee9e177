"""A takeover that is killed again and again, and resumed: each row becomes one subscription, and is told once."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from subscriptions import actions, clock, takeover
from subscriptions.models import Account, Charge, Event, Subscription, Takeover
from subscriptions.sheets import Sheet
from subscriptions.takeover import Base
from tests.factories import AccountFactory, SKUFactory
from tests.worker_process import database_url, wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.xdist_group("faults"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_queue"),
]

ROWS, KILLS = 3_000, 24
# It has loaded everything and forks the command for each line that it reads: to start Python each time would take
# longer than all the rest. Sets of so many rows, so that a kill comes among them and not before or after them all.
NURSERY = """
import os, signal, sys, django
django.setup()
from django.core.management import call_command, load_command_class
from subscriptions.takeover import runs
runs.CHUNK = 10
load_command_class("subscriptions", "import_subscriptions")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            call_command("import_subscriptions", "--resume", line.strip())
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


@pytest.fixture
def nursery():
    environment = os.environ | {
        "DATABASE_URL": database_url(), "SEATDESK_DEMO": "1", "DJANGO_SETTINGS_MODULE": "portal.settings",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY], cwd=django_settings.BASE_DIR, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


class Command:
    """`import_subscriptions --resume` in a process of its own."""

    def __init__(self, nursery, run):
        nursery.stdin.write(f"{run.pk}\n")
        nursery.stdin.flush()
        self.pid = int(nursery.stdout.readline())

    @property
    def is_over(self):
        return not self._sent(0)

    def kill(self):
        """Was it alive?"""
        return self._sent(signal.SIGKILL)

    def _sent(self, number):
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def begin():
    SKUFactory(code="KES")
    AccountFactory(name="Acme")
    today = clock.now().date()
    row = f"{{}},KES,25,{{:032X}},{today - timedelta(300)},{today + timedelta(10)},EUR,FAKE0-AAAAA-BBBBB-CCCCC\n"
    # Companies that are new, each in some of the sets, and one that is here.
    rows = "".join(row.format(f"New {n // 30}" if n % 2 else "Acme", n) for n in range(ROWS))
    data = ",".join([*takeover.NEEDED, "currency", "activation_code"]) + "\n" + rows
    base = Base(Sheet(io.BytesIO(data.encode()), needed=takeover.NEEDED), "base.csv")
    about = {"source": "Old portal", "reason": "We move", "actor": None, "audience": actions.COMMAND}
    return takeover.begin(base, asks_vendor=False, new=takeover.NewCompanies("Europe/Zurich"), **about)


def taken_of(run):
    return Takeover.objects.values_list("taken", flat=True).get(pk=run.pk)


def test_killed_and_resumed(nursery):
    dice, run = random.Random(25), begin()
    next_one, killed = Command(nursery, run), 0
    try:
        while killed < KILLS:
            # The next one starts while this one works, and both are on the same rows for a while.
            at_work, next_one, taken = next_one, Command(nursery, run), taken_of(run)
            wait_until(lambda at=at_work, n=taken: taken_of(run) > n or at.is_over, seconds=60, every=0.005)
            time.sleep(dice.uniform(0, 0.2))
            killed += at_work.kill()
            if Takeover.objects.get(pk=run.pk).status == "done":
                break
        assert killed >= 20, f"all was taken over after {killed} kills"
        wait_until(lambda: next_one.is_over, seconds=120)
    finally:
        next_one.kill()
    run.refresh_from_db()
    assert (run.taken, run.refused, run.total, run.status) == (ROWS, 0, ROWS, "done")
    assert Counter(run.rows.values_list("outcome", flat=True)) == {"taken": ROWS}
    subscriptions = set(Subscription.objects.values_list("pk", flat=True))
    assert len(subscriptions) == Subscription.objects.values("subscriber_id").distinct().count() == ROWS
    assert set(run.rows.values_list("subscription", flat=True)) == subscriptions
    assert Counter(Event.objects.values_list("kind", flat=True)) == {"takeover.done": ROWS}
    assert set(Event.objects.values_list("subscription", flat=True)) == subscriptions
    assert set(Charge.objects.values_list("subscription", "amount")) == {(pk, 0) for pk in subscriptions}
    assert Charge.objects.count() == ROWS
    companies = Account.objects.exclude(name="Acme")
    assert sorted(companies.values_list("name", flat=True)) == sorted(f"New {n}" for n in range(ROWS // 30))
    assert run.companies == list(companies.order_by("pk").values_list("pk", flat=True))
    assert not companies.filter(subscriptions=None).exists()
