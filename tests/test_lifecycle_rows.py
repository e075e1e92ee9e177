"""Writing many rows at once: what is written is what the ORM would write, and no more than what has changed."""

import json
import uuid
from datetime import date
from decimal import Decimal

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock
from subscriptions.lifecycle import rows
from subscriptions.models import Charge, Event, Order, Subscription
from subscriptions.vendors.port import Secret
from tests.factories import ChargeFactory, EventFactory, OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

WORDS = "“Krämer & Söhne” \\ 'x' \"y\" {a,b} \t null 𝄞 %s %(x)s"


def fields(row, *, but=("id",)):
    return {one.name: getattr(row, one.attname) for one in row._meta.concrete_fields if one.name not in but}


@pytest.mark.parametrize(
    "make",
    [
        lambda: OrderFactory.build(
            subscription=SubscriptionFactory(), reason=WORDS, after={"Seats": 30, "Words": WORDS, "None": None},
            quote=None, idempotency_key=uuid.uuid4(), due_at=clock.now(),
        ),
        lambda: OrderFactory.build(subscription=SubscriptionFactory(), quote={"lines": []}, before={}),
        lambda: EventFactory.build(subscription=SubscriptionFactory(), account=SubscriptionFactory().account),
        lambda: ChargeFactory.build(
            subscription=(one := SubscriptionFactory()), account=one.account, event=EventFactory(subscription=one),
            amount=Decimal("-12.345"), unit_price=Decimal("3.33333333"), words=WORDS, booked_on=date(2028, 2, 29),
            covers_from=date(2028, 2, 29), covers_to=date(2028, 3, 29), period_start=date(2028, 2, 29),
        ),
    ],
)  # fmt: skip
def test_what_is_inserted_is_what_was_made(make):
    first, second = make(), make()
    assert rows.insert([first, second]) == [first, second]
    assert first.pk < second.pk
    for one in (first, second):
        assert fields(type(one).objects.get(pk=one.pk)) == fields(one)


def test_an_absent_document_is_null_and_no_document():
    rows.insert([OrderFactory.build(subscription=SubscriptionFactory(), quote=None)])
    assert Order.objects.filter(quote__isnull=True).count() == 1


def test_a_row_learns_the_number_of_what_it_belongs_to():
    subscription = SubscriptionFactory()
    order = OrderFactory.build(subscription=subscription)
    event = Event(account=subscription.account, subscription=subscription, order=order, kind="x.placed", at=clock.now())
    rows.insert([order])
    rows.insert([event])
    assert Event.objects.get().order == order


def test_nothing_is_inserted_of_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert rows.insert([]) == []
        rows.update([], rows.ORDER_FIELDS)


def test_only_what_has_changed_is_written():
    one, other = SubscriptionFactory(), SubscriptionFactory()
    locked = rows.lock_subscriptions([one.pk, other.pk])
    Subscription.objects.all().update(currency="USD", peak_seats=77)
    locked[one.pk].seats = 30
    locked[other.pk].seats = 31
    with CaptureQueriesContext(connection) as queries:
        rows.update(locked.values(), rows.SUBSCRIPTION_FIELDS)
    assert len(queries) == 1
    for found, seats in ((one, 30), (other, 31)):
        now = Subscription.objects.get(pk=found.pk)
        assert (now.seats, now.currency, now.peak_seats) == (seats, "USD", 77)
        assert now.activation_code == found.activation_code
    with CaptureQueriesContext(connection) as queries:
        rows.update(locked.values(), rows.SUBSCRIPTION_FIELDS)
    assert len(queries) == 0, "it is written already"


def test_rows_that_changed_otherwise_are_written_apart():
    one, other = SubscriptionFactory(), SubscriptionFactory()
    locked = rows.lock_subscriptions([one.pk, other.pk])
    locked[one.pk].seats, locked[other.pk].auto_renew = 30, False
    rows.update(locked.values(), rows.SUBSCRIPTION_FIELDS)
    found = Subscription.objects.in_bulk()
    assert [(found[row.pk].seats, found[row.pk].auto_renew) for row in (one, other)] == [(30, True), (25, False)]


def test_a_code_is_written_encrypted_and_none_is_kept():
    subscription = SubscriptionFactory(activation_code=None)
    [locked] = rows.lock_subscriptions([subscription.pk]).values()
    locked.activation_code = Secret("FAKE0-AAAAA-BBBBB-CCCCC")
    rows.write_subscriptions([locked])
    assert Subscription.objects.get().activation_code.reveal() == "FAKE0-AAAAA-BBBBB-CCCCC"
    with connection.cursor() as cursor:
        cursor.execute("SELECT activation_code FROM subscriptions_subscription")
        assert b"BBBBB-CCCCC" not in bytes(cursor.fetchone()[0])
    [locked] = rows.lock_subscriptions([subscription.pk]).values()
    locked.activation_code = None
    rows.write_subscriptions([locked])
    assert Subscription.objects.get().activation_code is None


def test_a_row_that_was_not_locked_here_is_written_whole():
    order = OrderFactory(status="scheduled")
    order.withdraw()
    order.outcome_message = WORDS
    rows.update([order], rows.ORDER_FIELDS)
    assert fields(Order.objects.get(pk=order.pk)) == fields(order)


def test_what_is_in_no_column_is_no_value():
    event = EventFactory.build(subscription=SubscriptionFactory(), account=SubscriptionFactory().account)
    event.reason = object()
    with pytest.raises(TypeError, match="is in no column"):
        rows.insert([event])
    event.reason = "nul \0"
    with pytest.raises((DataError, ValueError)):
        rows.insert([event])


def test_orders_whose_job_waits_get_no_other(empty_queue):
    found = [OrderFactory(subscription=SubscriptionFactory(), next_attempt_at=clock.now()) for _ in range(30)]
    apart, together = [found[0], found[12], found[29]], [*found[1:12], *found[13:29]]
    rows.defer(together[::-1])
    rows.defer_soon([together[4]])
    rows.defer_soon(together[:2])
    rows.defer_soon(together)
    assert len(waiting()) == 1
    for one in apart:
        rows.defer_soon([one, together[9]])
        rows.defer_soon([one])
    assert waiting() == [[one.pk for one in together], *([one.pk] for one in apart)]


def waiting():
    """Of each job that waits, its orders."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(args->'order_ids', jsonb_build_array(args->'order_id')) FROM procrastinate_jobs"
            " WHERE status = 'todo' ORDER BY id"
        )
        return [json.loads(ids) for (ids,) in cursor.fetchall()]


@pytest.mark.parametrize("many", [0, 1, 1000])
def test_among_finds_what_in_finds(many):
    found = [SubscriptionFactory() for _ in range(3)]
    ids = [one.pk for one in found[:2]][: many or None] + list(range(10**6, 10**6 + many)) if many else []
    expected = Subscription.objects.filter(pk__in=ids)
    assert list(Subscription.objects.filter(pk__among=ids)) == list(expected)
    assert list(Subscription.objects.filter(account__among=[one.account_id for one in expected])) == list(expected)
    assert not Charge.objects.filter(subscription__among=ids).exists()
