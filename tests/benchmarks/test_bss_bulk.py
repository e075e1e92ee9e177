"""Many rows in BSS: chosen, looked at, shown, forgotten; beside the same rows by plain SQL; printed, never asserted.

BULK_ROWS=100000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_bss_bulk.py
"""

from datetime import timedelta

import pytest
from django.db import connection, transaction

from subscriptions import clock, lifecycle
from subscriptions.bulk import CHUNK, drafts, endings, tasks
from subscriptions.models import BulkRun, Subscription
from tests.benchmarks.test_bulk import ROWS, subscriptions, timed

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_queue")]

RUNS = "/bss/subscriptions/bulkrun/"


def show(name, seconds, yardstick=None):
    ratio = f"{seconds / yardstick:>7.2f}" if yardstick else ""
    print(f"{name:<66}{seconds:>9.3f} s{ratio}")


def insert_by_plain_sql():
    run = BulkRun.objects.create(
        action="suspend", audience="bss", selection="x", created_at=clock.now(), status="draft"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO subscriptions_bulkrow"
            " (run_id, position, subscription_id, text, after, outcome, code, sentence)"
            " SELECT %s, row_number() OVER (ORDER BY id), id, '', '{}', 'waiting', '', ''"
            " FROM subscriptions_subscription WHERE status = 'active'",
            [run.pk],
        )


def read_alone():
    """What a decision looks at of each row, and no decision."""
    keys = list(Subscription.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), CHUNK):
        lifecycle.rows.subscriptions(keys[start : start + CHUNK])


def choose_all(run):
    while run.choosing is not None:
        drafts.look(run)


def look_at_all(run):
    while drafts.look(run):
        pass


@pytest.mark.parametrize(("action", "entered"), [("suspend", {}), ("set_seats", {"seats": "240"})])
def test_chosen_looked_at_placed_and_shown(action, entered, cast, signed_in, monkeypatch):
    subscriptions(ROWS)
    browser = signed_in(cast.operator)
    browser.get("/bss/")
    plain, alone = timed(insert_by_plain_sql), timed(read_alone)
    print(f"\n{ROWS:,} rows, {action}")
    chosen = {"which": "matching", "list": "status=active", "action": action}
    show("POST of all that match the filter, to the run's page", timed(lambda: browser.post(f"{RUNS}choose/", chosen)))
    run = BulkRun.objects.first()
    show("choosing, all slices", timed(lambda: choose_all(run)), plain)
    show("yardstick: INSERT .. SELECT of as many rows alone", plain)
    page = f"{RUNS}{run.pk}/change/"
    if entered:
        browser.post(f"{RUNS}{run.pk}/ask/", {**entered, "look": "yes"})
        run.refresh_from_db()
    seconds = timed(lambda: look_at_all(run))
    show("preview, all slices", seconds, alone)
    show("yardstick: the rows read alone", alone)
    show("the page with its preview", timed(lambda: browser.get(page)))
    show(
        "confirming", timed(lambda: browser.post(f"{RUNS}{run.pk}/ask/", {**entered, "reason": "x", "confirm": "yes"}))
    )

    def place():
        while BulkRun.objects.get(pk=run.pk).status == "running":
            tasks.place.func(run.pk)

    show("placing, all slices", timed(place))
    show("the page with its progress", timed(lambda: browser.get(page)))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    show("the same, when tables were analysed", timed(lambda: browser.get(page)))
    show("counting how it ended", timed(endings.follow))
    show("the list of runs", timed(lambda: browser.get(RUNS)))
    show("results of all rows as CSV", timed(lambda: b"".join(browser.get(f"{RUNS}{run.pk}/results/"))))
    later = clock.now() + timedelta(days=8)
    monkeypatch.setattr(clock, "now", lambda: later)
    show("forgetting a draft of as many rows", timed(drafts.forget))
