"""One by one and set by set lead to the same rows in every table: random subscriptions, each there twice."""

import json
import re
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from subscriptions import actions, bulk, clock, fulfilment, gateways, lifecycle, quotes
from subscriptions.actions import NotAllowed
from subscriptions.bulk import Listed, Wanted
from subscriptions.models import BulkRow, BulkRun, Charge, Event, Order, PriceBand, Subscription, VendorCall
from tests.factories import AccountFactory, OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

SKUS = (
    {},
    {"decrease_policy": "next_period"},
    {"decrease_policy": "immediate_credit", "increase_policy": "full_period", "cancel_credit": "by_days"},
    {"increase_policy": "high_water", "prices": {1: "4.20", 25: "3.75"}},
    {"prices": {}},
    {"can_suspend": False, "seats_max": 30},
)
AHEAD = {
    "decrease": {"before": {"Seats": 25}, "after": {"Seats": 10}},
    "increase": {"before": {"Seats": 25}, "after": {"Seats": 40}},
    "activate": {"before": {"Status": "suspended"}, "after": {"Status": "active"}},
    "cancel": {"before": {"Status": "active"}, "after": {"Status": "cancelled"}},
}
ROWS = st.fixed_dictionaries({
    "sku": st.integers(0, len(SKUS) - 1),
    "status": st.sampled_from(["active"] * 6 + ["suspended"] * 3 + ["ending", "expired", "cancelled", "pending"]),
    "seats": st.sampled_from([5, 24, 25, 26, 30]),
    "scheduled": st.sampled_from([""] * 4 + list(AHEAD)),
    "open": st.sampled_from([""] * 6 + ["placed", "needs_attention"]),
    "trial": st.sampled_from([False] * 5 + [True]),
    "overdue": st.sampled_from([0] * 4 + [1, 40]),
    "wanted": st.sampled_from([1, 5, 20, 25, 30, 45, 600, 0]),
    "there": st.sampled_from(["same"] * 5 + ["unknown", "paused", "cancelled"]),
})  # fmt: skip
WANTED = st.sampled_from([
    Wanted("suspend", "late"),
    Wanted("suspend", "late", {"then": (clock.now() + timedelta(days=12)).date().isoformat()}),
    Wanted("activate", "paid"),
    Wanted("activate", "paid", {"planned": "discard"}),
    Wanted("cancel", "gone"),
    Wanted("cancel", "gone", {"when": "period_end"}),
    Wanted(lifecycle.SET_SEATS, "agreed"),
    Wanted(lifecycle.SET_SEATS, "agreed", {"planned": "keep"}),
    Wanted(lifecycle.SET_SEATS, "agreed", {"planned": "discard"}),
])  # fmt: skip


@pytest.fixture(autouse=True)
def patient(emulator, settings):
    """What an answer that is late on a busy machine leads to would differ between the twins."""
    settings.VENDORS["kaspersky"]["OPTIONS"].update(connect_timeout=5.0, read_timeout=20.0, attempt_timeout=25.0)
    gateways.gateway.cache_clear()
    settings.VENDOR_ATTEMPT_DEADLINE = 30.0


@pytest.fixture
def world(emulator):
    """Make a subscription for each row of random data, which the vendor knows, mostly, as we do."""

    def make(rows, at):
        account, made = AccountFactory(name="Twin", time_zone="Europe/Ljubljana"), []
        skus = [SKUFactory(code=f"T{account.pk}-{n}", **terms) for n, terms in enumerate(SKUS)]
        for row in rows:
            begun = at - timedelta(days=20 + row["overdue"])
            details = {"ends_at": at + timedelta(days=5)} if row["status"] == "ending" else {}
            if row["status"] == "expired":
                details = {"ends_at": begun, "grace_ends": (at + timedelta(days=3)).date()}
            if row["trial"]:
                details |= {"trial_ends": (at + timedelta(days=9)).date()}
            one = SubscriptionFactory(
                account=account,
                sku=skus[row["sku"]],
                status=row["status"],
                seats=row["seats"],
                created_at=begun,
                **details,
            )
            due = at + timedelta(days=3 if row["overdue"] < 40 else -2)
            if row["scheduled"]:
                OrderFactory(
                    subscription=one, status="scheduled", action=row["scheduled"], placed_at=begun, due_at=due,
                    **AHEAD[row["scheduled"]],
                )  # fmt: skip
            if row["open"]:
                OrderFactory(
                    subscription=one, status=row["open"], action="increase", before={"Seats": one.seats},
                    after={"Seats": one.seats + 1}, placed_at=at, next_attempt_at=at + timedelta(hours=1),
                )  # fmt: skip
            theirs = {"suspended": "Paused", "cancelled": "HardCancelled"}.get(row["status"], "Started")
            theirs = {"paused": "Paused", "cancelled": "HardCancelled"}.get(row["there"], theirs)
            if row["there"] != "unknown":
                emulator.control.put_subscriber(
                    one.subscriber_id, product=one.sku.vendor_product_id, seats=one.seats, status=theirs,
                    activation_code="FAKE0-AAAAA-BBBBB-CCCCC",
                )  # fmt: skip
            made.append(one)
        return made

    return make


@pytest.fixture
def carry_out(empty_queue):
    """Let attempts be made until nothing is due any more."""

    def run(attempt):
        soon = Order.objects.filter(status__in=["placed", "in_progress"]).order_by("pk")
        for _ in range(400):
            orders = soon.filter(next_attempt_at__lte=clock.now() + timedelta(minutes=30))
            if not orders:
                return
            if ids := [one.pk for one in orders if one.next_attempt_at <= clock.now()]:
                attempt(ids)
            else:
                time.sleep(0.02)
        raise AssertionError("no end in sight")

    return run


def told(subscriptions):
    """What jobs are about, by row: the orders that one waits for, and the events that mail is owed about."""
    place = {one.pk: number for number, one in enumerate(subscriptions)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs")
        jobs = [json.loads(args) for (args,) in cursor.fetchall()]
    orders = {pk for job in jobs for pk in job.get("order_ids", [job.get("order_id")])}
    events = {pk for job in jobs for pk in job.get("event_ids", [])}
    found = Counter()
    for model, ids in ((Order, orders), (Event, events)):
        for row in model.objects.filter(pk__in=ids, subscription__in=subscriptions):
            found[place[row.subscription_id], row.action if model is Order else row.kind] += 1
    return found


def clear_jobs():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


OUR_OWN = {
    Subscription: {"id", "account", "sku", "subscriber_id", "created_at"},
    Order: {"id", "subscription", "operation_id", "idempotency_key"},
    Event: {"id", "account", "subscription", "order"},
    Charge: {"id", "account", "subscription", "order", "event", "corrects"},
    VendorCall: {"id", "subscription", "order", "transaction_id", "unit_id", "latency_ms", "asked", "answered"},
}
"""What two rows that are alike cannot share."""


def alike(value):
    """Instants to the day, and numbers of rows away: the twins were made and changed some moments apart."""
    if hasattr(value, "hour"):
        return value.date()
    if isinstance(value, dict):
        return {name: alike(one) for name, one in value.items() if name not in ("at", "fingerprint")}
    if isinstance(value, list):
        return [alike(one) for one in value]
    if isinstance(value, str):
        value = re.sub(r"\d\d:\d\d( UTC)?", "TIME", re.sub(r"ORD-\d+|T\d+-|Product \d+|[0-9A-F]{32}", "#", value))
    return value


def books(subscriptions):
    """Every table, row by row of the random data."""
    found = []
    for subscription in Subscription.objects.filter(pk__in=[one.pk for one in subscriptions]).order_by("pk"):
        pages = {Subscription: [subscription]}
        for model in (Order, Event, Charge, VendorCall):
            pages[model] = list(model.objects.filter(subscription=subscription).order_by("pk"))
        found.append({
            model.__name__: [
                {
                    field.name: alike(getattr(row, field.attname))
                    for field in model._meta.concrete_fields
                    if field.name not in OUR_OWN[model]
                }
                for row in rows
            ]
            for model, rows in pages.items()
        })  # fmt: skip
    return found


def shown(wanted, subscriptions, rows, door):
    """What each would cost, as one looks at it alone."""
    found = []
    for one, row in zip(subscriptions, rows, strict=True):
        [would] = lifecycle.would_place([wanted.wish(one.pk, after(wanted, row))], **door)
        found.append(Decimal() if isinstance(would, NotAllowed) else due(would.order, would.then))
    return found


def due(*orders):
    found = (quotes.quote_of(one) for one in orders if one)
    return sum((one.due_now for one in found if one), Decimal())


def one_by_one(wanted, subscriptions, rows, door, at_most):
    results = []
    for one, row, most in zip(subscriptions, rows, at_most, strict=True):
        try:
            results.append(lifecycle.place(wanted.wish(one.pk, after(wanted, row), most), **door))
        except NotAllowed as refusal:
            results.append(refusal)
    return [said(one) for one in results]


def after(wanted, row):
    return {"Seats": row["wanted"]} if wanted.stem == lifecycle.SET_SEATS else {}


def said(result):
    if isinstance(result, NotAllowed):
        return "refused", result.code, alike(result.sentence)
    return "placed", "", ""


class Rows:
    """Rows as a sheet gives them."""

    def __init__(self, wanted, subscriptions, rows):
        self.lines = [
            (number, {"subscription": str(one), "seats": str(row["wanted"])})
            for number, (one, row) in enumerate(zip(subscriptions, rows, strict=True), 2)
        ]

    def __iter__(self):
        return iter(self.lines)


def looked_at(wanted, subscriptions, rows, door):
    """A run of those rows that can be placed, with what its preview showed; one of BSS keeps that."""

    def chosen():
        return Listed(Rows(wanted, subscriptions, rows), "file", seats=wanted.stem == lifecycle.SET_SEATS)

    before = books(subscriptions)
    if door["audience"] == actions.BSS:
        run = bulk.draft(wanted.stem, chosen(), actor=door["actor"], given=wanted.given)
        seen = bulk.preview_of(run)
        BulkRun.objects.filter(pk=run.pk).update(status="running", reason=wanted.reason)
        run.refresh_from_db()
    else:
        *_, seen = bulk.preview(wanted, chosen(), **door)
        run = bulk.begin(wanted, chosen(), **door)
    assert books(subscriptions) == before, "a preview writes nothing"
    return run, seen


def set_by_set(run):
    for _ in bulk.place(run):
        pass
    placed = list(BulkRow.objects.filter(run=run).order_by("position"))
    return [(row.outcome, row.code, alike(row.sentence)) for row in placed], placed


@hypothesis_settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=7), wanted=WANTED, staff=st.booleans(),
    price=st.sampled_from(["", "", "1.15", "9.10"]),
)  # fmt: skip
def test_one_by_one_and_set_by_set_write_the_same(rows, wanted, staff, price, world, carry_out, cast, emulator):
    emulator.control.reset()
    clear_jobs()
    # Rows of earlier examples are still there; theirs must not be due.
    Order.objects.filter(status="placed").update(next_attempt_at=clock.now() + timedelta(hours=1))
    door = {"actor": cast.operator, "audience": actions.BSS} if staff else {"actor": None, "audience": actions.COMMAND}
    at = clock.now()
    first, second = world(rows, at), world(rows, at)

    at_most = shown(wanted, first, rows, door) if staff else [None] * len(rows)
    run, seen = looked_at(wanted, second, rows, door)
    if price:
        PriceBand.objects.update(price=price)
    alone = one_by_one(wanted, first, rows, door, at_most)
    told_alone = told(first)
    carry_out(lambda ids: [fulfilment.fulfil.func(pk) for pk in ids])
    clear_jobs()
    together, placed = set_by_set(run)
    told_together = told(second)
    carry_out(fulfilment.fulfil_many.func)

    note(str(alone))
    assert together == alone
    assert told_together == told_alone
    assert books(second) == books(first)
    dues = [due(row.order, planned_with(row.order)) if row.order else Decimal() for row in placed]
    if staff:
        assert [row.shown or 0 for row in placed] == at_most
        assert all(found <= most for found, most, row in zip(dues, at_most, placed, strict=True) if row.order)
    if not price and not any(row["overdue"] for row in rows):
        # What is overdue is caught up before placing, and a preview writes nothing.
        run.refresh_from_db()
        assert sum(one.count for one in seen.can.values()) == run.placed == sum(one[0] == "placed" for one in alone)
        assert {code: one.count for code, one in seen.cannot.items()} == Counter(
            code for outcome, code, _ in alone if outcome == "refused"
        )
        assert seen.due["EUR"] + seen.later["EUR"] == sum(dues)


def planned_with(order):
    """The activation that a suspension was placed with."""
    then = Order.objects.filter(subscription=order.subscription, action="activate", placed_at=order.placed_at)
    return then.first() if order.action == "suspend" else None
