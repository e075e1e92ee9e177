"""What falls due by itself: each step once, on its day, in order, whatever became of the worker meanwhile."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, clock, lifecycle, quotes, renewals
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish, periods, rows
from subscriptions.models import Charge, Event, Order, PriceBand, Subscription
from tests import many
from tests.factories import AccountFactory, ChargeFactory, OrderFactory, SKUFactory, SubscriptionFactory
from tests.test_concurrency import together

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
PRICE = Decimal("87.50")
"""Of 25 seats at 3.50 for one period."""


def instant(day, zone="UTC"):
    """The midnight with which a day begins there."""
    return datetime.combine(date.fromisoformat(day), time(), ZoneInfo(zone)).astimezone(UTC)


@pytest.fixture
def travel(settings, emulator, empty_queue):
    """Set business time, ours and the vendor's."""

    def to(at):
        at = instant(at) if isinstance(at, str) else at
        settings.CLOCK_OFFSET = at - datetime.now(UTC)
        emulator.control.set_offset(settings.CLOCK_OFFSET)
        return at

    return to


@pytest.fixture
def run(travel):
    """Take what is due at a midnight (UTC) or an instant."""
    return lambda at: lifecycle.catch_up(travel(at))


@pytest.fixture
def begun(cast, at_vendor, travel):
    """A subscription that began on a day, known to the vendor; `sku` holds attributes of its SKU."""

    def begin(day, sku=None, **more):
        account = more.setdefault("account", cast.acme)
        sku = SKUFactory(**{"decrease_policy": "next_period"} | (sku or {}))
        at = travel(instant(day, account.time_zone))
        return at_vendor(SubscriptionFactory(sku=sku, created_at=at, **more))

    return begin


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def period(subscription):
    row = fresh(subscription)
    return f"{row.period_start}", f"{row.period_end}"


def lines(subscription):
    """(kind, first day, day after the last, amount) of its ledger, oldest first."""
    return [
        (one.kind, f"{one.covers_from}", f"{one.covers_to}", one.amount)
        for one in Charge.objects.filter(subscription=subscription).order_by("pk")
    ]


def billed(*begins_and_ends, amount=PRICE):
    return [("period", begin, end, amount) for begin, end in begins_and_ends]


def events(subscription, *kinds):
    found = Event.objects.filter(subscription=subscription).order_by("pk")
    return list(found.filter(kind__in=kinds) if kinds else found)


def place(subscription, stem, seats=None, *, actor=None, audience="system", **more):
    after = {} if seats is None else {"Seats": seats}
    return lifecycle.place(Wish(subscription.pk, stem, after, **more), actor=actor, audience=audience)


def refuse(emulator, kind, count=1):
    emulator.control.add_fault("item-error", kinds=[kind], count=count, code=602, message="Not now.")


# --- periods and terms -----------------------------------------------------------------------------------------------


def test_a_period_is_billed_at_the_instant_in_which_it_begins(begun, run):
    subscription = begun("2027-01-15")
    assert not run(instant("2027-02-15") - SECOND)
    assert run("2027-02-15") == {"billed": 1}
    assert period(subscription) == ("2027-02-15", "2027-03-15")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    [event] = events(subscription)
    assert (event.kind, event.actor, event.before) == ("period.billed", None, {"Period": "2027-01-15"})
    assert event.after == {"Period": "2027-02-15", "Seats": 25}
    [charge] = event.charges.all()
    assert (charge.seats, charge.unit_price, charge.order, charge.currency) == (25, Decimal("3.5"), None, "EUR")
    assert charge.words == "25 seats \N{MULTIPLICATION SIGN} EUR 3.50, 15 February to 14 March 2027"
    assert fresh(subscription).version == subscription.version + 1
    assert fresh(subscription).next_due_at == instant("2027-03-15")


def test_a_renewal_moves_the_term(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    assert run("2027-02-15") == {"billed": 1, "reminded": 1}
    assert run("2027-03-15") == {"billed": 1, "renewed": 1}
    assert fresh(subscription).term_end == date(2027, 5, 15)
    [event] = events(subscription, "renewal.renewed")
    assert (event.before, event.after) == ({"Term ends": "2027-03-15"}, {"Term ends": "2027-05-15"})


def test_the_next_period_is_billed_at_the_highest_count_of_its_own_only(begun, run, drain):
    subscription = begun("2027-01-15", {"increase_policy": "high_water", "decrease_policy": "immediate_no_credit"})
    place(subscription, "increase", 40)
    drain()
    place(subscription, "decrease", 25)
    drain()
    assert fresh(subscription).peak_seats == 40
    run("2027-02-15")
    assert fresh(subscription).peak_seats == 25
    assert lines(subscription)[-1] == ("period", "2027-02-15", "2027-03-15", PRICE)


def test_a_discount_and_a_new_price_list_hold_from_the_next_period_on(begun, run):
    subscription = begun("2027-01-15")
    PriceBand.objects.filter(sku=subscription.sku).update(price="4.00")
    subscription.account.discount = Decimal(10)
    subscription.account.save()
    run("2027-02-15")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), amount=Decimal("90.00"))


def test_those_that_renew_in_one_pass_pay_their_own_price(begun, run):
    first = begun("2027-01-15")
    common = {"sku": first.sku, "created_at": instant("2027-01-15")}
    PriceBand.objects.create(sku=first.sku, seats_from=1, price="4.00", currency="CHF")
    cheap = AccountFactory(discount=10)
    seats, discount, currency, month, stopped = (
        SubscriptionFactory(**common | more)
        for more in (
            {"seats": 30},
            {"account": cheap},
            {"account": AccountFactory(currency="CHF")},
            {"created_at": instant("2027-01-14")},
            {"status": "suspended"},
        )
    )
    assert run("2027-02-15") == {"billed": 5, "unbilled": 1}
    found = [lines(one)[0][1:] for one in (first, seats, discount, currency, month)]
    assert found == [
        ("2027-02-15", "2027-03-15", PRICE),
        ("2027-02-15", "2027-03-15", Decimal("105.00")),
        ("2027-02-15", "2027-03-15", Decimal("78.75")),
        ("2027-02-15", "2027-03-15", Decimal("100.00")),
        ("2027-02-14", "2027-03-14", PRICE),
    ]
    assert not lines(stopped)


@pytest.mark.parametrize(
    ("begins", "sku", "expected"),
    [
        ("2027-01-31", {}, ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("2028-01-31", {}, ["2028-01-31", "2028-02-29", "2028-03-31"]),
        ("2027-01-30", {}, ["2027-01-30", "2027-02-28", "2027-03-30"]),
        (
            "2028-02-29",
            {"billing_period": "year"},
            ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29", "2033-02-28"],
        ),
        ("2027-12-15", {}, ["2027-12-15", "2028-01-15"]),
    ],
)
def test_the_anchor_day_is_kept(begins, sku, expected, begun, run):
    subscription = begun(begins, sku)
    following = list(pairwise(expected[1:]))
    for begin, end in following:
        assert "billed" not in run(instant(begin) - SECOND)
        assert run(begin)["billed"] == 1
        assert period(subscription) == (begin, end)
    assert lines(subscription) == billed(*following)
    if sku:
        assert f"{fresh(subscription).term_end}" == expected[-1]


@pytest.mark.parametrize(
    ("zone", "begins", "instants"),
    [
        ("Europe/Ljubljana", "2027-02-28", ["2027-03-27T23:00", "2027-04-27T22:00"]),
        ("Europe/Ljubljana", "2027-09-30", ["2027-10-29T22:00", "2027-11-29T23:00"]),
        ("Europe/Ljubljana", "2027-03-28", ["2027-04-27T22:00"]),
        ("Europe/Ljubljana", "2027-10-01", ["2027-10-31T23:00"]),
        ("Pacific/Auckland", "2027-03-04", ["2027-04-03T11:00", "2027-05-03T12:00"]),
        ("Pacific/Auckland", "2027-08-26", ["2027-09-25T12:00", "2027-10-25T11:00"]),
        # There the clock goes from 23:59:59 to 01:00: the day begins without its midnight.
        ("America/Havana", "2027-02-14", ["2027-03-14T05:00", "2027-04-14T04:00"]),
        ("Pacific/Kiritimati", "2027-01-01", ["2027-01-31T10:00"]),
        ("America/Los_Angeles", "2027-01-01", ["2027-02-01T08:00"]),
    ],
)
def test_a_period_begins_at_midnight_of_the_account(zone, begins, instants, begun, run):
    subscription = begun(begins, account=AccountFactory(time_zone=zone))
    for text in instants:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        assert not run(at - SECOND), text
        assert run(at) == {"billed": 1}, text
    for charge in Charge.objects.all():
        assert charge.booked_on == charge.covers_from == actions.local_day(charge.booked_at, subscription.account)


# --- late, twice, at the same time -----------------------------------------------------------------------------------


def test_three_months_without_a_worker_are_caught_up_period_by_period(begun, run):
    subscription = begun("2027-01-31")
    assert run("2027-05-02") == {"billed": 3}
    assert lines(subscription) == billed(
        ("2027-02-28", "2027-03-31"), ("2027-03-31", "2027-04-30"), ("2027-04-30", "2027-05-31")
    )
    # A statement that was closed meanwhile stays as it is.
    assert {one.booked_on for one in Charge.objects.all()} == {date(2027, 5, 2)}
    assert [one.kind for one in events(subscription)] == ["period.billed"] * 3
    assert fresh(subscription).version == subscription.version + 3


def test_three_days_without_a_worker(begun, run):
    days = [begun(day) for day in ("2027-01-15", "2027-01-16", "2027-01-17", "2027-01-19")]
    assert run(instant("2027-02-18") - SECOND) == {"billed": 3}
    assert [len(lines(one)) for one in days] == [1, 1, 1, 0]
    assert [period(one)[0] for one in days[:3]] == ["2027-02-15", "2027-02-16", "2027-02-17"]


def test_what_is_done_is_not_done_again(begun, run):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    before = vars(fresh(subscription))
    assert not run("2027-02-15")
    assert not run(instant("2027-03-15") - SECOND)
    assert {name: value for name, value in vars(fresh(subscription)).items() if name != "_state"} == {
        name: value for name, value in before.items() if name != "_state"
    }
    assert len(events(subscription)) == 1


def test_a_clock_that_goes_back_an_hour_changes_nothing(begun, run):
    subscription = begun("2027-01-15")
    at = instant("2027-02-15")
    run(at)
    for back in (at - timedelta(hours=1), at - SECOND, at, at + timedelta(hours=1)):
        assert not run(back)
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    assert period(subscription) == ("2027-02-15", "2027-03-15")


def test_seats_added_in_the_hour_that_comes_twice_belong_to_the_period_that_has_begun(begun, run, travel, drain):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    travel(instant("2027-02-15") - timedelta(minutes=30))
    place(subscription, "increase", 30)
    drain()
    assert fresh(subscription).seats == 30
    assert lines(subscription)[1:] == [("change", "2027-02-15", "2027-03-15", Decimal("17.50"))]
    assert Charge.objects.first().period_start == date(2027, 2, 15)


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_charge_each_period_once(cast, empty_queue):
    sku, at = SKUFactory(), clock.now() - timedelta(days=100)
    for _ in range(60):
        SubscriptionFactory(account=cast.acme, sku=sku, created_at=at)
    owed = sum(lifecycle.catch_up(clock.now(), only=[Subscription.objects.first().pk]).values())
    assert owed >= 3
    done = together(*[lambda: lifecycle.catch_up(clock.now(), batch=7)] * 3)
    lifecycle.catch_up(clock.now())
    assert Charge.objects.count() == 60 * owed
    assert Charge.objects.values("subscription", "period_start").distinct().count() == 60 * owed
    assert Event.objects.count() == 60 * owed
    assert sum(one["billed"] for one in done) <= 59 * owed


@pytest.mark.django_db(transaction=True)
def test_two_who_name_the_same_rows_wait_for_each_other(cast, empty_queue):
    subscription = SubscriptionFactory(account=cast.acme, created_at=clock.now() - timedelta(days=100))
    done = together(*[lambda: lifecycle.catch_up(clock.now(), only=[subscription.pk])] * 4)
    assert sum(one["billed"] for one in done) == Charge.objects.count() == 3


# --- orders and periods ----------------------------------------------------------------------------------------------


def test_an_increase_that_is_open_over_the_periods_end_is_charged_as_quoted_and_renewed_after(
    begun, run, travel, drain, cast
):
    """The worker was down: the order was placed on the last day, and is carried out three days later."""
    subscription = begun("2027-01-15")
    travel("2027-02-14")
    order = place(subscription, "increase", 30, actor=cast.owner, audience=STOREFRONT)
    quoted = quotes.Pinned.from_json(order.quote).quote
    # 5 seats at 3.50 for one of 31 days.
    assert [line.amount for line in quoted.lines] == [Decimal("0.56")]
    assert not run("2027-02-17"), "the period waits"
    assert not Charge.objects.exists()
    drain()
    assert lines(subscription) == [("change", "2027-02-14", "2027-02-15", Decimal("0.56"))]
    assert Charge.objects.get().period_start == date(2027, 1, 15)
    assert run("2027-02-17") == {"billed": 1}
    assert lines(subscription)[1:] == billed(("2027-02-15", "2027-03-15"), amount=Decimal("105.00"))


def test_an_order_that_came_between_looking_and_locking_is_waited_for(begun, travel):
    subscription = begun("2027-01-15")
    at = travel("2027-02-15")
    ids = lifecycle.due_ids(at)
    OrderFactory(subscription=subscription, status="placed")
    assert periods._pass(ids, at, at, skip_locked=True).moved == 0
    assert not Charge.objects.exists()


def test_an_order_that_fails_at_the_vendor_charges_nothing_and_the_period_goes_on(begun, run, travel, drain, emulator):
    subscription = begun("2027-01-15")
    travel("2027-02-14")
    order = place(subscription, "increase", 30)
    assert order.quote["lines"]
    refuse(emulator, "Activate")
    travel("2027-02-16")
    drain()
    assert fresh(order).status == "failed"
    assert not Charge.objects.exists()
    run("2027-02-16")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_a_planned_decrease_is_applied_before_the_renewal_bills(begun, run, drain, emulator, cast):
    subscription = begun("2027-01-15")
    order = place(subscription, "decrease", 20, actor=cast.owner, audience=STOREFRONT)
    assert (order.status, order.due_at) == ("scheduled", instant("2027-02-15"))
    assert not run(instant("2027-02-15") - SECOND)
    assert run("2027-02-15") == {"due decrease": 1}
    assert fresh(order).status == "placed"
    assert not run("2027-02-15"), "the period waits until the vendor has confirmed"
    drain()
    assert emulator.control.subscriber(subscription.subscriber_id).seats == 20
    assert run("2027-02-15") == {"billed": 1}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), amount=Decimal("70.00"))
    assert [one.kind for one in events(subscription)] == [
        "decrease.scheduled", "decrease.due", "decrease.completed", "period.billed",
    ]  # fmt: skip


def test_a_planned_order_learns_on_its_day_what_it_changes(begun, run, drain):
    subscription = begun("2027-01-15")
    planned = place(subscription, "decrease", 20)
    place(subscription, "increase", 30, planned="keep")
    drain()
    assert fresh(planned).before == {"Seats": 25}
    run("2027-02-15")
    assert fresh(planned).before == {"Seats": 30}
    assert events(subscription, "decrease.due")[0].before == {"Seats": 30}


def test_a_planned_decrease_that_the_vendor_refuses_leaves_the_old_count_to_be_billed(begun, run, drain, emulator):
    subscription = begun("2027-01-15")
    order = place(subscription, "decrease", 20)
    refuse(emulator, "Activate")
    run("2027-02-15")
    drain()
    assert fresh(order).status == "failed"
    run("2027-02-15")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    assert fresh(subscription).seats == 25


def test_a_decrease_planned_in_the_last_second_of_a_period_is_in_time(begun, run, travel, drain):
    subscription = begun("2027-01-15")
    travel(instant("2027-02-15") - SECOND)
    assert place(subscription, "decrease", 20).due_at == instant("2027-02-15")
    run("2027-02-15")
    drain()
    run("2027-02-15")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), amount=Decimal("70.00"))


def test_a_change_in_the_first_second_of_a_period_is_one_of_that_period(begun, travel, drain):
    """No worker has been there yet: whoever places an order catches up first."""
    subscription = begun("2027-01-15")
    travel("2027-02-15")
    place(subscription, "increase", 30)
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    drain()
    assert lines(subscription)[1:] == [("change", "2027-02-15", "2027-03-15", Decimal("17.50"))]
    assert place(subscription, "decrease", 20).due_at == instant("2027-03-15")


def test_undone_a_second_before_the_date_leaves_no_trace_in_the_ledger(begun, run, travel, cast):
    subscription = begun("2027-01-15")
    order = place(subscription, "decrease", 20, actor=cast.owner, audience=STOREFRONT)
    travel(instant("2027-02-15") - 2 * SECOND)
    lifecycle.undo(order.pk, actor=cast.owner, audience=STOREFRONT)
    assert run("2027-02-15") == {"billed": 1}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    assert fresh(order).status == "withdrawn"


def test_too_late_to_undo_when_the_date_has_come(begun, travel, cast):
    order = place(begun("2027-01-15"), "decrease", 20, actor=cast.owner, audience=STOREFRONT)
    travel("2027-02-15")
    with pytest.raises(NotAllowed, match="The date of ORD-"):
        lifecycle.undo(order.pk, actor=cast.owner, audience=STOREFRONT)


def test_what_fell_due_while_no_worker_ran_comes_in_the_order_of_its_dates(begun, run, drain, cast):
    """A change planned for the middle of March leaves February and March as they were agreed."""
    subscription = begun("2027-01-01")
    order = place(subscription, "increase", 30, when=date(2027, 3, 16), actor=cast.owner, audience=STOREFRONT)
    assert order.due_at == instant("2027-03-16")
    assert run("2027-04-02") == {"billed": 2, "due increase": 1}
    drain()
    run("2027-04-02")
    assert lines(subscription) == [
        *billed(("2027-02-01", "2027-03-01"), ("2027-03-01", "2027-04-01")),
        ("change", "2027-03-16", "2027-04-01", Decimal("9.03")),
        *billed(("2027-04-01", "2027-05-01"), amount=Decimal("105.00")),
    ]
    assert Charge.objects.get(kind="change").period_start == date(2027, 3, 1)


def test_a_planned_order_that_has_become_impossible_is_withdrawn_with_a_sentence(begun, run, drain):
    subscription = begun("2027-01-15")
    order = place(subscription, "decrease", 20)
    sku = subscription.sku
    sku.seats_min = 22
    sku.save()
    assert run("2027-02-15") == {"withdrawn": 1, "billed": 1}
    assert fresh(order).status == "withdrawn"
    [event] = events(subscription, "decrease.withdrawn")
    assert event.reason == fresh(order).outcome_message
    assert event.reason == "This product starts at 22 seats. Enter a whole number from 22 to 24."
    assert (event.actor, event.audience) == (None, "system")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_a_planned_change_of_the_sku_needs_room_for_the_seats(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 1})
    target = SKUFactory(product=subscription.sku.product)
    subscription.sku.targets.create(target=target)
    wish = Wish(subscription.pk, "change_sku", {"SKU": target.code}, when=quotes.RENEWAL)
    order = lifecycle.place(wish, actor=None, audience="system")
    target.seats_max = 24
    target.save()
    assert run("2027-02-15")["withdrawn"] == 1
    assert fresh(order).outcome_message == f"{target.name} allows 5 to 24 seats, and not 25."
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_a_change_of_the_sku_at_the_renewal_is_charged_in_place_of_it(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 1})
    same = {"product": subscription.sku.product, "vendor_product_id": subscription.sku.vendor_product_id}
    target = SKUFactory(**same, prices={1: "5.00"})
    subscription.sku.targets.create(target=target)
    wish = Wish(subscription.pk, "change_sku", {"SKU": target.code}, when=quotes.RENEWAL)
    lifecycle.place(wish, actor=None, audience="system")
    assert run("2027-02-15")["due change_sku"] == 1
    drain()
    assert "billed" not in run("2027-02-15")
    assert fresh(subscription).sku == target
    assert lines(subscription) == [("change", "2027-02-15", "2027-03-15", Decimal("125.00"))]
    assert run("2027-03-15")["billed"] == 1
    assert fresh(subscription).term_end == date(2028, 2, 15)


def test_a_start_that_is_tried_again_weeks_later_begins_its_period_then(cast, travel, drain, emulator, run):
    travel("2027-01-15")
    order = lifecycle.start(cast.acme, SKUFactory(), 25, actor=cast.operator, audience=BSS)
    refuse(emulator, "Activate")
    drain()
    assert not Charge.objects.exists()
    assert not run("2027-02-20")
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="Now it is in the contract")
    drain()
    subscription = Subscription.objects.get()
    assert period(subscription) == ("2027-02-20", "2027-03-20")
    assert lines(subscription) == billed(("2027-02-20", "2027-03-20"))
    assert fresh(subscription).term_end == date(2028, 2, 20)
    assert run("2027-03-20") == {"billed": 1}


# --- the end ---------------------------------------------------------------------------------------------------------


def test_without_automatic_renewal_the_term_expires_and_the_grace_ends_it(begun, run, drain, emulator):
    subscription = begun("2027-01-15", {"term_months": 1, "grace_days": 10}, auto_renew=False)
    assert run("2027-02-15") == {"expired": 1}
    assert fresh(subscription).status == "expired"
    assert fresh(subscription).grace_ends == date(2027, 2, 25)
    [event] = events(subscription)
    assert (event.kind, event.before) == ("expire.expired", {"Status": "active"})
    assert event.after == {"Status": "expired", "Renewable until": "2027-02-24"}
    assert not run(instant("2027-02-25") - SECOND)
    assert emulator.control.subscriber(subscription.subscriber_id).status == "Started"
    assert run("2027-02-25") == {"grace": 1}
    order = Order.objects.get()
    assert (order.action, order.audience, order.actor, order.reason) == (
        "cancel", "system", None, "The grace time is over.",
    )  # fmt: skip
    assert fresh(subscription).status == "expired", "until the vendor has confirmed"
    drain()
    assert fresh(subscription).status == "cancelled"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert not run("2028-01-01")
    assert not Charge.objects.exists()


def test_without_automatic_renewal_the_periods_of_the_term_are_billed_to_its_end(begun, run):
    subscription = begun("2027-01-15", {"term_months": 3}, auto_renew=False, reminder_due_on=None)
    assert run("2027-04-15") == {"billed": 2, "expired": 1}
    assert fresh(subscription).period_end == date(2027, 4, 15)


def test_a_grace_that_is_missed_altogether_ends_too(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 1, "grace_days": 10}, auto_renew=False)
    assert run("2027-06-01") == {"expired": 1, "grace": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert [one.kind for one in events(subscription)] == ["expire.expired", "cancel.placed", "cancel.completed"]


def test_renewed_in_the_grace_the_next_period_follows_without_a_gap(begun, run, travel, cast):
    subscription = begun("2027-01-15", {"term_months": 1, "grace_days": 40}, auto_renew=False)
    run("2027-02-15")
    travel("2027-03-20")
    place(subscription, "renew", actor=cast.owner, audience=STOREFRONT)
    assert fresh(subscription).status == "active"
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))
    assert (fresh(subscription).grace_ends, fresh(subscription).ends_at) == (None, None)
    assert fresh(subscription).term_end == date(2027, 3, 15)
    # It was renewed for one term, and that one is over as well.
    assert run("2027-03-20") == {"expired": 1}


def test_a_suspended_one_expires_without_a_grace(begun, run, drain, emulator, cast):
    subscription = begun("2027-01-15", {"term_months": 1, "grace_days": 10}, auto_renew=False)
    place(subscription, "suspend")
    drain()
    assert run("2027-02-15") == {"expired": 1, "grace": 1}
    with pytest.raises(NotAllowed):
        place(subscription, "renew", actor=cast.owner, audience=STOREFRONT)
    drain()
    assert fresh(subscription).status == "cancelled"


def test_a_decrease_planned_for_the_day_on_which_it_expires_comes_first(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=False)
    place(subscription, "decrease", 20)
    assert run("2027-02-15") == {"due decrease": 1}
    drain()
    assert run("2027-02-15") == {"expired": 1}
    place(subscription, "renew")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), amount=Decimal("70.00"))


def test_what_is_still_planned_when_the_grace_is_over_is_withdrawn(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 1, "grace_days": 10}, auto_renew=False)
    run("2027-02-15")
    planned = OrderFactory(
        subscription=subscription, action="increase", status="scheduled", after={"Seats": 30},
        due_at=instant("2027-06-01"),
    )  # fmt: skip
    assert run("2027-02-25") == {"grace": 1}
    drain()
    assert fresh(planned).status == "withdrawn"
    assert events(subscription, "increase.withdrawn")


def test_a_planned_end_comes_and_nothing_is_billed_after(begun, run, drain, emulator, cast):
    subscription = begun("2027-01-15")
    place(subscription, "cancel", when=quotes.PERIOD_END, actor=cast.owner, audience=STOREFRONT)
    assert fresh(subscription).status == "ending"
    assert not run(instant("2027-02-15") - SECOND)
    assert run("2027-02-15") == {"due cancel": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert not run("2027-05-01")
    assert not Charge.objects.exists()


def test_an_end_that_lies_periods_ahead_bills_until_then(begun, run, drain, cast):
    subscription = begun("2027-01-15", {"term_months": 3})
    place(subscription, "cancel", when=quotes.RENEWAL, actor=cast.owner, audience=STOREFRONT)
    assert run("2027-04-15") == {"billed": 2, "due cancel": 1}
    drain()
    run("2027-06-15")
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), ("2027-03-15", "2027-04-15"))


def test_an_end_known_from_the_vendor_comes_after_the_periods_before_it(begun, run, drain):
    subscription = begun("2027-01-15", status="ending", ends_at=instant("2027-03-20"))
    assert run("2027-03-21") == {"billed": 2, "ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert len(lines(subscription)) == 2
    assert Order.objects.get().reason == "Its end has come."


def test_an_end_after_a_term_that_is_not_renewed_is_kept(begun, run, drain):
    subscription = begun(
        "2027-01-15", {"term_months": 1}, auto_renew=False, status="ending", ends_at=instant("2027-03-20")
    )
    assert run("2027-03-21") == {"billed": 2, "renewed": 2, "ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"


def test_an_end_that_the_vendor_refuses_is_asked_for_again_a_day_later_and_bills_nothing(
    begun, run, drain, emulator, cast
):
    subscription = begun("2027-01-15")
    place(subscription, "cancel", when=quotes.PERIOD_END, actor=cast.owner, audience=STOREFRONT)
    refuse(emulator, "HardCancel", count=2)
    run("2027-02-15")
    drain()
    assert not run("2027-02-15")
    assert run(instant("2027-02-16") + timedelta(minutes=1)) == {"ended": 1}
    drain()
    assert not run("2027-02-17")
    assert run(instant("2027-02-17") + timedelta(minutes=2)) == {"ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert not Charge.objects.exists()


def test_a_trial_ends_by_itself(cast, travel, drain, run, emulator):
    travel("2027-01-15")
    lifecycle.start(cast.acme, SKUFactory(trial_days=30), 25, actor=cast.owner, audience=STOREFRONT, trial=True)
    drain()
    subscription = Subscription.objects.get()
    assert run(instant("2027-02-14") - SECOND) == {"reminded": 1}
    assert run("2027-02-14") == {"trial": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert len(events(subscription, "trial.ended")) == 1
    assert not Charge.objects.exists()


def test_a_trial_is_said_to_be_over_once_however_often_the_vendor_refuses(cast, travel, drain, run, emulator):
    travel("2027-01-15")
    lifecycle.start(cast.acme, SKUFactory(trial_days=30), 25, actor=cast.owner, audience=STOREFRONT, trial=True)
    drain()
    refuse(emulator, "HardCancel", count=2)
    for day in ("2027-02-14", "2027-02-15", "2027-02-17", "2027-02-19"):
        run(day)
        drain()
    assert Subscription.objects.get().status == "cancelled"
    assert Event.objects.filter(kind="trial.ended").count() == 1
    assert Order.objects.filter(action="cancel").count() == 3


def test_a_trial_converted_on_its_last_day_goes_on(cast, travel, drain, run):
    travel("2027-01-15")
    lifecycle.start(cast.acme, SKUFactory(trial_days=30), 25, actor=cast.owner, audience=STOREFRONT, trial=True)
    drain()
    subscription = Subscription.objects.get()
    travel(instant("2027-02-14") - SECOND)
    place(subscription, "convert", actor=cast.owner, audience=STOREFRONT)
    assert not run("2027-02-14")
    assert run("2027-03-13") == {"billed": 1}
    assert lines(subscription) == billed(("2027-02-13", "2027-03-13"), ("2027-03-13", "2027-04-13"))


# --- an end after midnight -------------------------------------------------------------------------------------------

A_VENDORS_END = [
    # Its last instant is the first hour of the local day with which a period would begin, or the evening before it.
    ("Europe/Zagreb", "2027-02-14T23:00", "2027-02-15T00:00"),
    ("Europe/Zagreb", "2027-02-14T23:00", "2027-02-15T22:59"),
    ("America/New_York", "2027-02-14T20:00", "2027-02-15T00:00"),
    ("America/New_York", "2027-02-15T05:00", "2027-02-15T09:30"),
]


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("status", ["ending", "suspended"])
@pytest.mark.parametrize(("zone", "before", "ends"), A_VENDORS_END)
def test_no_period_begins_on_the_day_of_an_end(status, zone, before, ends, begun, run, drain):
    subscription = begun(
        "2027-01-15", {"bills_while_suspended": True}, account=AccountFactory(time_zone=zone),
        status=status, ends_at=utc(ends),
    )  # fmt: skip
    day = actions.day(utc(ends), subscription)
    assert next_charge(subscription) == f"None: it ends on {day}"
    assert not [one.kind for one in lifecycle.forecast(clock.now(), utc(ends) - SECOND)]
    for at in (utc(before), utc(ends) - SECOND):
        assert not run(at)
        assert not lifecycle.due_ids(at), "it is not looked at again before its end"
        assert next_charge(subscription) == f"None: it ends on {day}"
    assert run(utc(ends)) == {"ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert not run("2027-05-01")
    assert not lines(subscription)


def next_charge(subscription):
    about = actions.situation(fresh(subscription), actor=None, audience=actions.SYSTEM)
    found = quotes.next_charge(about, quotes.load([], [subscription.sku]))
    return found.sentence or found.amount


def test_the_last_period_before_an_end_after_midnight_is_billed(begun, run, drain):
    account = AccountFactory(time_zone="Europe/Zagreb")
    subscription = begun("2027-01-15", account=account, status="ending", ends_at=utc("2027-03-15T00:00"))
    assert next_charge(subscription) == "EUR 87.50"
    assert run("2027-03-15") == {"billed": 1, "ended": 1}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_a_term_does_not_expire_on_the_day_of_a_kept_end(begun, run, drain):
    account = AccountFactory(time_zone="Europe/Zagreb")
    subscription = begun(
        "2027-01-15", {"term_months": 1}, account=account, auto_renew=False, status="suspended",
        ends_at=utc("2027-02-15T00:00"),
    )  # fmt: skip
    assert run("2027-02-15") == {"ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"


def test_a_row_that_was_due_at_the_midnight_before_its_end_is_put_right(begun, run):
    account = AccountFactory(time_zone="Europe/Zagreb")
    ends = utc("2027-02-15T00:00")
    subscription = begun(
        "2027-01-15", account=account, status="ending", ends_at=ends, next_due_at=utc("2027-02-14T23:00")
    )  # fmt: skip
    assert not run(utc("2027-02-14T23:00"))
    assert fresh(subscription).next_due_at == ends


def test_kept_in_the_hour_between_the_midnight_and_the_end_its_period_is_billed(begun, run, travel, cast):
    account = AccountFactory(time_zone="Europe/Zagreb")
    subscription = begun("2027-01-15", account=account, status="ending", ends_at=utc("2027-02-15T00:00"))
    travel(utc("2027-02-14T23:30"))
    lifecycle.place(Wish(subscription.pk, "take_theirs", {"Status": "active"}), actor=cast.operator, audience=BSS)
    assert fresh(subscription).status == "active"
    assert run(utc("2027-02-15T00:30")) == {"billed": 1}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


# --- suspended -------------------------------------------------------------------------------------------------------


@pytest.fixture
def suspended(begun, drain):
    """Begun on 15 January 2027 and suspended at once."""

    def suspend(sku=None, **more):
        subscription = begun("2027-01-15", sku, **more)
        place(subscription, "suspend")
        drain()
        return subscription

    return suspend


def test_suspended_over_a_renewal_is_not_billed_and_pays_the_days_left_once(suspended, run, travel, drain):
    subscription = suspended()
    assert run("2027-02-15") == {"unbilled": 1}
    assert [one.kind for one in events(subscription)][-1] == "period.unbilled"
    assert not Charge.objects.exists()
    travel("2027-03-01")
    place(subscription, "activate")
    drain()
    # 14 of 28 days, that of the activation included.
    expected = [("change", "2027-03-01", "2027-03-15", Decimal("43.75"))]
    assert lines(subscription) == expected
    assert Charge.objects.get().period_start == date(2027, 2, 15)
    for stem in ("suspend", "activate"):
        place(subscription, stem)
        drain()
    assert lines(subscription) == expected
    assert run("2027-03-15") == {"billed": 1}
    assert lines(subscription)[1:] == billed(("2027-03-15", "2027-04-15"))


def test_suspended_within_a_period_that_was_billed_pays_nothing_more(begun, run, drain):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    for stem in ("suspend", "activate"):
        place(subscription, stem)
        drain()
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_a_sku_that_bills_while_suspended_goes_on(suspended, run, travel, drain):
    subscription = suspended({"bills_while_suspended": True})
    assert run("2027-02-15") == {"billed": 1}
    travel("2027-03-01")
    place(subscription, "activate")
    drain()
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_suspension_does_not_move_the_renewal(suspended, run):
    subscription = suspended({"term_months": 2})
    assert run("2027-03-15") == {"unbilled": 2, "renewed": 1}
    assert fresh(subscription).term_end == date(2027, 5, 15)


def test_a_planned_decrease_stands_still_while_suspended_and_goes_on_with_keep(begun, run, drain):
    subscription = begun("2027-01-15")
    planned = place(subscription, "decrease", 20)
    place(subscription, "suspend")
    drain()
    assert run("2027-02-15") == {"unbilled": 1}
    assert not run("2027-02-20")
    assert not lifecycle.due_ids(clock.now())
    assert fresh(planned).status == "scheduled"
    with pytest.raises(NotAllowed) as refused:
        place(subscription, "activate")
    assert refused.value.code == "order_scheduled"
    place(subscription, "activate", planned="keep")
    drain()
    assert run("2027-02-20") == {"due decrease": 1}
    drain()
    assert (fresh(subscription).status, fresh(subscription).seats) == ("active", 20)


def test_a_frozen_order_is_withdrawn_with_discard(begun, run, drain):
    subscription = begun("2027-01-15")
    planned = place(subscription, "decrease", 20)
    place(subscription, "suspend")
    drain()
    run("2027-02-20")
    place(subscription, "activate", planned="discard")
    drain()
    assert fresh(planned).status == "withdrawn"
    assert not run("2027-02-20")
    assert fresh(subscription).seats == 25


def test_a_kept_end_comes_while_suspended(begun, run, drain, emulator, cast):
    subscription = begun("2027-01-15")
    place(subscription, "cancel", when=quotes.PERIOD_END, actor=cast.owner, audience=STOREFRONT)
    place(subscription, "suspend")
    drain()
    assert fresh(subscription).status == "suspended"
    assert run("2027-02-15") == {"due cancel": 1}
    drain()
    assert fresh(subscription).status == "cancelled"
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert not Charge.objects.exists()


def test_a_kept_end_that_the_vendor_refuses_while_suspended_is_asked_for_again(begun, run, drain, emulator):
    subscription = begun("2027-01-15")
    place(subscription, "cancel", when=quotes.PERIOD_END)
    place(subscription, "suspend")
    drain()
    refuse(emulator, "HardCancel")
    run("2027-02-15")
    drain()
    assert fresh(subscription).status == "suspended"
    assert run("2027-02-17") == {"ended": 1}
    drain()
    assert fresh(subscription).status == "cancelled"


def test_activated_although_its_end_has_come_it_has_none_any_more(begun, run, drain, emulator):
    """Staff may want it so when the vendor has refused to end it."""
    subscription = begun("2027-01-15")
    place(subscription, "cancel", when=quotes.PERIOD_END)
    place(subscription, "suspend")
    drain()
    refuse(emulator, "HardCancel")
    run("2027-02-15")
    drain()
    place(subscription, "activate")
    drain()
    assert (fresh(subscription).status, fresh(subscription).ends_at) == ("active", None)
    assert run("2027-02-17") == {"billed": 1}
    place(subscription, "suspend")
    drain()
    assert run("2027-02-20") == {}


def test_activated_on_the_day_after_its_end_the_period_is_charged_once(begun, run, travel, drain, emulator):
    ends = instant("2027-02-15") + timedelta(hours=12)
    subscription = begun("2027-01-15", status="suspended", ends_at=ends)
    refuse(emulator, "HardCancel")
    run(ends)
    drain()
    travel(instant("2027-02-16") + timedelta(hours=6))
    order = place(subscription, "activate")
    drain()
    shown = quotes.quote_of(order)
    assert (shown.lines, shown.later.words) == ((), "EUR 87.50 a month for 25 seats from 15 February 2027")
    assert run("2027-02-17") == {"billed": 1}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"))


def test_an_activation_before_a_kept_end_names_no_later_periods(begun, travel, drain, run):
    ends = utc("2027-02-15T00:00")
    account = AccountFactory(time_zone="Europe/Zagreb")
    subscription = begun("2027-01-15", account=account, status="suspended", ends_at=ends)
    travel("2027-02-01")
    order = place(subscription, "activate")
    drain()
    assert fresh(subscription).status == "ending"
    assert quotes.quote_of(order).later is None
    assert run(ends) == {"ended": 1}


def test_a_planned_activation_falls_due_while_suspended(suspended, run, drain):
    subscription = suspended()
    order = place(subscription, "activate", when=date(2027, 3, 1))
    assert order.status == "scheduled"
    assert run("2027-03-01") == {"unbilled": 1, "due activate": 1}
    drain()
    assert fresh(subscription).status == "active"
    assert lines(subscription) == [("change", "2027-03-01", "2027-03-15", Decimal("43.75"))]


# --- without a price -------------------------------------------------------------------------------------------------


def test_a_period_without_a_price_waits_for_one_and_is_not_lost(begun, run):
    subscription = begun("2027-01-15")
    band = subscription.sku.price_bands.get()
    band.delete()
    assert run("2027-02-15") == {"no price": 1}
    [event] = events(subscription)
    assert event.kind == "period.no_price"
    assert event.after == {"Period": "2027-02-15", "Seats": 25}
    assert event.reason == (
        f"The price list has no price for 25 seats of {subscription.sku} in EUR. "
        "The period from 15 February 2027 on is billed when it has one."
    )
    assert not run("2027-02-15"), "looked at again a day later"
    for _ in range(3):
        run("2027-02-17")
        run("2027-02-19")
    assert len(events(subscription)) == 1, "told once"
    assert period(subscription) == ("2027-01-15", "2027-02-15")
    band.save(force_insert=True)
    assert run("2027-03-16") == {"billed": 2}
    assert lines(subscription) == billed(("2027-02-15", "2027-03-15"), ("2027-03-15", "2027-04-15"))


def test_staff_are_told_once_about_a_price_that_is_missing_for_many(begun, run, drain, cast, mailoutbox):
    first = begun("2027-01-15")
    second = SubscriptionFactory(account=cast.globex, sku=first.sku, created_at=instant("2027-01-15"))
    first.sku.price_bands.all().delete()
    assert run("2027-02-15") == {"no price": 2}
    drain(notices=True)
    [mail] = mailoutbox
    assert mail.to == [cast.operator.email]
    assert mail.subject == f"No price: {first.sku.product.name} ({first.number})"
    assert events(first)[0].reason in mail.body
    assert f"/bss/subscriptions/subscription/{first.pk}/change/" in mail.body
    run("2027-02-18")
    drain(notices=True)
    assert len(mailoutbox) == 1
    assert len(events(second)) == 1


def test_staff_are_not_told_about_a_price_that_is_there_by_now(begun, run, travel, drain, mailoutbox):
    subscription = begun("2027-01-15")
    band = subscription.sku.price_bands.get()
    band.delete()
    run("2027-02-15")
    band.save(force_insert=True)
    run("2027-02-17")
    drain(notices=True)
    assert not mailoutbox


def test_without_a_price_an_end_comes_nevertheless(begun, run, drain):
    subscription = begun("2027-01-15", {"term_months": 2})
    subscription.sku.price_bands.all().delete()
    place(subscription, "cancel", when=quotes.RENEWAL)
    assert run("2027-02-15") == {"no price": 1}
    assert run("2027-03-15")["due cancel"] == 1
    drain()
    assert fresh(subscription).status == "cancelled"


def test_without_a_price_others_go_on(begun, run):
    poor, rich = begun("2027-01-15"), begun("2027-01-15")
    poor.sku.price_bands.all().delete()
    assert run("2027-02-15") == {"no price": 1, "billed": 1}
    assert len(lines(rich)) == 1


# --- reminders -------------------------------------------------------------------------------------------------------


def test_people_are_reminded_30_and_7_days_before_a_renewal_once_each(begun, run):
    subscription = begun("2027-01-15", account=AccountFactory(time_zone="Europe/Ljubljana"))
    for begins in range(2, 13):
        run(instant(f"2027-{begins:02}-15", "Europe/Ljubljana"))
    assert not events(subscription, "renewal.reminder")
    version = fresh(subscription).version
    first, second = instant("2027-12-16", "Europe/Ljubljana"), instant("2028-01-08", "Europe/Ljubljana")
    for day, expected in ((first, {"reminded": 1}), (second, {"reminded": 1})):
        assert not run(day - SECOND)
        assert run(day) == expected
        assert not run(day + timedelta(hours=12))
    assert run(instant("2028-01-15", "Europe/Ljubljana")) == {"billed": 1, "renewed": 1}
    told = [one.after for one in events(subscription, "renewal.reminder")]
    assert [one["Days"] for one in told] == [30, 7]
    assert told[0] == {
        "Seats": 25, "Price": "87.50", "Currency": "EUR", "Months": 1, "Date": "2028-01-15",
        "Reduce until": "2028-01-14", "Days": 30, "Renews": True,
    }  # fmt: skip
    assert fresh(subscription).reminder_due_on == date(2028, 12, 16)
    assert fresh(subscription).version == version + 1, "a reminder makes no open page stale"


def test_the_last_day_to_reduce_is_the_last_one(begun, run, travel, drain, cast):
    subscription = begun("2027-01-15", {"term_months": 2})
    run("2027-02-15")
    [reminder] = events(subscription, "renewal.reminder")
    last = instant(reminder.after["Reduce until"])
    travel(last + timedelta(days=1) - SECOND)
    order = place(subscription, "decrease", 20, actor=cast.owner, audience=STOREFRONT)
    assert order.due_at == instant(reminder.after["Date"])
    run(order.due_at)
    drain()
    run(order.due_at)
    assert lines(subscription)[-1] == ("period", "2027-03-15", "2027-04-15", Decimal("70.00"))


def test_a_reminder_names_what_is_planned_until_the_renewal(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    place(subscription, "decrease", 20, when=date(2027, 3, 15))
    run("2027-02-15")
    [reminder] = events(subscription, "renewal.reminder")
    assert (reminder.after["Seats"], reminder.after["Price"]) == (20, "70.00")


def test_a_reminder_leaves_out_what_is_planned_for_later(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    place(subscription, "decrease", 20, when=date(2027, 4, 15))
    run("2027-02-15")
    [reminder] = events(subscription, "renewal.reminder")
    assert (reminder.after["Seats"], reminder.after["Price"]) == (25, "87.50")


def test_a_reminder_names_the_price_of_the_sku_that_is_planned(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    target = SKUFactory(product=subscription.sku.product, billing_period="year", prices={1: "40.00"})
    subscription.sku.targets.create(target=target)
    wish = Wish(subscription.pk, "change_sku", {"SKU": target.code, "Seats": 30}, when=quotes.RENEWAL)
    lifecycle.place(wish, actor=None, audience="system")
    run("2027-02-15")
    [reminder] = events(subscription, "renewal.reminder")
    assert (reminder.after["Seats"], reminder.after["Price"], reminder.after["Months"]) == (30, "1200.00", 12)


def test_after_a_time_without_a_worker_one_reminder_says_how_many_days_are_left(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    run("2027-03-12")
    run("2027-03-14")
    [reminder] = events(subscription, "renewal.reminder")
    assert reminder.after["Days"] == 3


def test_no_reminder_comes_after_the_renewal(begun, run):
    subscription = begun("2027-01-15", {"term_months": 2})
    assert run("2027-03-15") == {"billed": 2, "renewed": 1}
    assert not events(subscription, "renewal.reminder")
    assert fresh(subscription).reminder_due_on == date(2027, 4, 15)


def test_a_term_of_a_month_has_the_later_reminder_only(cast, travel, drain, run):
    travel("2027-01-15")
    lifecycle.start(cast.acme, SKUFactory(term_months=1), 25, actor=cast.operator, audience=BSS)
    drain()
    assert not run("2027-01-20")
    run("2027-02-14")
    run("2027-03-14")
    assert [one.after["Date"] for one in Event.objects.filter(kind="renewal.reminder").order_by("pk")] == [
        "2027-02-15", "2027-03-15",
    ]  # fmt: skip


def test_who_does_not_renew_is_told_so_and_who_is_ending_is_not_reminded(begun, run, cast):
    once = begun("2027-01-15", {"term_months": 2}, auto_renew=False)
    ending = begun("2027-01-15", {"term_months": 2})
    order = place(ending, "cancel", when=quotes.RENEWAL, actor=cast.owner, audience=STOREFRONT)
    run("2027-02-20")
    [reminder] = events(once, "renewal.reminder")
    assert reminder.after["Renews"] is False
    assert not events(ending, "renewal.reminder")
    lifecycle.undo(order.pk, actor=cast.owner, audience=STOREFRONT)
    assert run("2027-02-20") == {"reminded": 1}
    [reminder] = events(ending, "renewal.reminder")
    assert reminder.after["Days"] == 23


@pytest.fixture
def on_trial(cast, travel, drain):
    """25 seats on trial since 15 January 2027."""

    def make(days):
        travel("2027-01-15")
        lifecycle.start(
            cast.acme, SKUFactory(trial_days=days), 25, actor=cast.owner, audience=STOREFRONT, trial=True
        )  # fmt: skip
        drain()
        return Subscription.objects.get()

    return make


@pytest.mark.parametrize(("length", "day", "left"), [(30, "2027-02-07", 7), (8, "2027-01-16", 7), (7, "2027-01-21", 1)])
def test_the_end_of_a_trial_is_announced_once(length, day, left, on_trial, run):
    subscription = on_trial(length)
    assert not run(instant(day) - SECOND)
    assert run(day) == {"reminded": 1}
    assert not run(instant(f"{subscription.trial_ends}") - SECOND)
    [told] = events(subscription, "trial.reminder")
    last = subscription.trial_ends - timedelta(days=1)
    assert told.after == {
        "Seats": 25, "Price": "87.50", "Currency": "EUR", "Months": 1, "Days": left,
        "Date": f"{subscription.trial_ends}", "Convert until": f"{last}",
    }  # fmt: skip
    assert not events(subscription, "renewal.reminder")


def test_a_trial_of_a_day_ends_unannounced(on_trial, run):
    assert on_trial(1).reminder_due_on is None
    assert run("2027-01-16") == {"trial": 1}


def test_a_trial_without_a_price_is_announced_without_one(on_trial, run):
    subscription = on_trial(30)
    PriceBand.objects.all().delete()
    assert run("2027-02-07") == {"reminded": 1}
    [told] = events(subscription, "trial.reminder")
    assert "Price" not in told.after


def test_a_trial_that_was_converted_is_reminded_of_its_renewal_alone(on_trial, run, cast):
    subscription = on_trial(30)
    place(subscription, "convert", actor=cast.owner, audience=STOREFRONT)
    run("2027-02-14")
    assert not events(subscription, "trial.reminder")
    assert fresh(subscription).reminder_due_on == fresh(subscription).term_end - timedelta(days=30)


# --- rows that are wrong ---------------------------------------------------------------------------------------------


def test_a_second_line_for_a_period_undoes_the_step_and_leaves_the_others_alone(begun, travel):
    good, bad, other = [begun("2027-01-15") for _ in range(3)]
    ChargeFactory(
        subscription=bad, kind="period", covers_from=date(2027, 2, 15), covers_to=date(2027, 3, 15), amount=PRICE
    )
    at = travel("2027-02-15")
    found = list(lifecycle.passes(at))
    [(pk, error)] = [failure for one in found for failure in one.failed.items()]
    assert pk == bad.pk
    assert isinstance(error, IntegrityError)
    assert "one_period_charge" in str(error)
    assert period(bad) == ("2027-01-15", "2027-02-15")
    assert fresh(bad).version == bad.version
    assert [one.kind for one in events(bad)] == ["increase.completed"], "that of the forged line"
    for one in (good, other):
        assert lines(one) == billed(("2027-02-15", "2027-03-15"))
    with pytest.raises(IntegrityError):
        lifecycle.catch_up(at)
    with pytest.raises(IntegrityError):
        place(bad, "increase", 30)


def test_the_task_says_which_row_is_wrong_and_goes_on(begun, travel, caplog):
    bad, good = [begun("2027-01-15") for _ in range(2)]
    ChargeFactory(
        subscription=bad, kind="period", covers_from=date(2027, 2, 15), covers_to=date(2027, 3, 15), amount=PRICE
    )
    travel("2027-02-15")
    renewals.run_due.func(0)
    assert len(lines(good)) == 1
    [said] = [one.msg for one in caplog.records if one.levelname == "ERROR"]
    assert said["subscription_id"] == bad.pk
    assert "one_period_charge" in said["exception"]


@pytest.mark.django_db(transaction=True)
def test_trouble_with_the_database_is_no_rows_fault(cast, empty_queue):
    """A lock that is not given in time stands for a connection that is lost: both are the database's."""
    subscription = SubscriptionFactory(account=cast.acme, created_at=clock.now() - timedelta(days=40))

    def impatient():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        try:
            return list(lifecycle.passes(clock.now(), only=[subscription.pk]))
        except OperationalError:
            return "raised"

    with transaction.atomic():
        rows.lock_subscriptions([subscription.pk])
        assert together(impatient) == ["raised"]


def test_a_row_that_says_too_early_when_it_is_due_is_put_right(begun, run):
    subscription = begun("2027-01-15", next_due_at=instant("2027-01-20"))
    assert not run("2027-01-21")
    assert fresh(subscription).next_due_at == instant("2027-02-15")
    assert fresh(subscription).version == subscription.version


def test_what_was_due_until_an_earlier_day_is_written_today(begun, travel):
    subscription = begun("2027-01-15")
    at = travel("2027-03-20")
    [done] = list(lifecycle.passes(at, until=instant("2027-02-20")))
    assert done.done == {"billed": 1}
    assert period(subscription)[0] == "2027-02-15"
    assert Charge.objects.get().booked_on == date(2027, 3, 20)
    assert lifecycle.catch_up(at) == {"billed": 1}


# --- how much it costs to ask ----------------------------------------------------------------------------------------


def test_nothing_due_costs_one_query_for_named_rows(begun):
    subscription = begun("2027-01-15")
    with CaptureQueriesContext(connection) as queries:
        assert not lifecycle.catch_up(clock.now(), only=[subscription.pk])
    assert len(queries) == 1


def test_what_is_due_among_100000_is_found_by_its_indexes(begun):
    subscription = begun("2027-01-15")
    many.subscriptions(99_000, ended_ago=-20)
    many.orders(99_000, "completed")
    many.orders(2_000, "scheduled", due_in=5)
    many.subscriptions(1_000, ended_ago=3)
    many.orders(10, "placed")
    for only, indexes, due in ((None, ["order_due", "subscription_due"], 990), ([subscription.pk], ["_pkey"], 0)):
        with CaptureQueriesContext(connection) as queries:
            assert len(lifecycle.due_ids(clock.now(), only=only)) == due
        for query, index in zip(list(queries), indexes, strict=True):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(line for (line,) in cursor)
            assert index in plan, plan
            assert "Seq Scan on subscriptions_" not in plan, plan


@pytest.mark.parametrize("number", [2, 40])
def test_a_pass_takes_the_same_queries_for_few_and_many(number, begun, travel):
    for _ in range(number):
        begun("2027-01-15")
    at = travel("2027-02-15")
    ids = lifecycle.due_ids(at)
    with CaptureQueriesContext(connection) as queries:
        periods._pass(ids, at, at, skip_locked=True)
    # Savepoint, lock, orders, prices, subscriptions, events, charges, release.
    assert len(queries) == 8
    assert Charge.objects.count() == number


# --- a forecast ------------------------------------------------------------------------------------------------------


def test_a_forecast_goes_on_step_by_step_and_writes_nothing(begun, travel, cast):
    monthly = begun("2027-01-15", {"term_months": 2})
    place(monthly, "decrease", 20)
    once = begun("2027-01-15", {"term_months": 1, "grace_days": 10}, auto_renew=False, reminder_due_on=None)
    ending = begun("2027-01-15")
    place(ending, "cancel", when=quotes.PERIOD_END)
    poor = begun("2027-01-15")
    poor.sku.price_bands.all().delete()
    impossible = begun("2027-01-15")
    place(impossible, "decrease", 20)
    type(impossible.sku).objects.filter(pk=impossible.sku.pk).update(seats_min=22)
    before = [vars(fresh(one)) | {"_state": None} for one in (monthly, once, ending, poor, impossible)]
    counted = (Charge.objects.count(), Event.objects.count(), Order.objects.count())
    at = travel("2027-01-16")
    found = [
        (one.subscription.pk, one.kind, f"{one.due:%m-%d}") for one in lifecycle.forecast(at, instant("2027-03-20"))
    ]
    assert sorted(found) == sorted(
        [
            (monthly.pk, "reminded", "02-13"),
            (monthly.pk, "due decrease", "02-15"),
            (monthly.pk, "billed", "02-15"),
            (monthly.pk, "reminded", "03-08"),
            (monthly.pk, "billed", "03-15"),
            (monthly.pk, "renewed", "03-15"),
            (once.pk, "expired", "02-15"),
            (once.pk, "grace", "02-25"),
            (ending.pk, "due cancel", "02-15"),
            (poor.pk, "no price", "02-15"),
            (impossible.pk, "withdrawn", "02-15"),
            (impossible.pk, "billed", "02-15"),
            (impossible.pk, "billed", "03-15"),
        ]
    )
    assert [vars(fresh(one)) | {"_state": None} for one in (monthly, once, ending, poor, impossible)] == before
    assert (Charge.objects.count(), Event.objects.count(), Order.objects.count()) == counted
    assert not lifecycle.catch_up(at)
