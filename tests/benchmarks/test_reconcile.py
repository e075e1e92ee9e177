"""Reconciliation of many subscriptions against the emulator, beside the bare containers; printed, never asserted.

RECONCILE_ROWS=100000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_reconcile.py
"""

import os
import resource
import uuid

import pytest

from subscriptions import gateways, reconciliation
from subscriptions.actions import COMMAND
from subscriptions.models import Subscription, VendorCall
from subscriptions.vendors import port
from tests import many
from tests.benchmarks.test_bulk import Peak, provision, show, timed

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

ROWS = int(os.environ.get("RECONCILE_ROWS", "20000"))
TOGETHER = 500
DRIFTING = 100
"""One in so many differs."""


def containers():
    """The same records asked for and read, and nothing done with them."""
    gateway = gateways.gateway("kaspersky")
    ids = list(Subscription.objects.order_by("pk").values_list("subscriber_id", flat=True))
    for start in range(0, len(ids), TOGETHER):
        asks = [port.Read(one) for one in ids[start : start + TOGETHER]]
        answers = gateway.send(gateway.prepare(str(uuid.uuid4()), asks))
        assert {one.outcome for one in answers} == {port.Outcome.DONE}


def reconcile():
    run = reconciliation.begin(actor=None, audience=COMMAND)
    for _ in reconciliation.work(run):
        pass
    return run


def test_reconcile(emulator_process, emulator, settings):
    settings.VENDORS["kaspersky"]["OPTIONS"].update(connect_timeout=5.0, read_timeout=30.0, attempt_timeout=45.0)
    gateways.gateway.cache_clear()
    many.subscriptions(ROWS, ended_ago=-20)
    chosen = Subscription.objects.order_by("pk")
    provision(chosen)
    for one in chosen.values_list("subscriber_id", flat=True)[:ROWS:DRIFTING]:
        emulator.control.set_seats(one, 300)
    bare = ROWS / timed(containers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Peak(emulator=emulator.pid) as peak:
        runs = []
        rate = ROWS / timed(lambda: runs.append(reconcile()))
        again = ROWS / timed(lambda: runs.append(reconcile()))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    expected = -(-ROWS // DRIFTING)
    assert [(run.compared, run.found, run.again) for run in runs] == [(ROWS, expected, 0), (ROWS, 0, expected)]
    assert VendorCall.objects.filter(purpose="drift").count() == 2 * -(-ROWS // TOGETHER)
    show(
        f"reconcile of {ROWS:,}, one in {DRIFTING} differs, vendor at 0 ms, containers of {TOGETHER}",
        rate,
        {"the same again, all of it known": again, "yardstick: the bare containers": bare},
    )
    print(f"{'most memory of this process before and after':<66}{before:>9,.0f} MB{after:>9,.0f} MB")
    for name, most in peak.most.items():
        print(f"{'most memory of the ' + name:<66}{most:>9,.0f} MB")
    print(f"{'load of the machine':<66}{os.getloadavg()[0]:>9.1f}")
