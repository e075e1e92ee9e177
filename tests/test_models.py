"""What PostgreSQL itself guarantees, whoever writes."""

import itertools
import re
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.deletion import ProtectedError
from django.db.utils import DatabaseError
from django_fsm import TransitionNotAllowed, can_proceed
from hypothesis import given
from hypothesis import strategies as st

from subscriptions import clock
from subscriptions.models import SKU, Event, Order, Subscription, VendorCall, order, subscription
from subscriptions.vendors.port import Secret
from tests.factories import (
    AccountFactory,
    EventFactory,
    OrderFactory,
    SKUFactory,
    SubscriptionFactory,
    VendorCallFactory,
)

pytestmark = pytest.mark.django_db

SUBSCRIPTION_STATUSES = subscription.SubscriptionStatus.values
ORDER_STATUSES = order.OrderStatus.values
ARGUMENTS = {"at", "code", "ends_at", "grace_ends"}


def call(row, name):
    """Call a transition method with whatever instants it asks for."""
    method = getattr(row, name)
    wanted = method.__wrapped__.__kwdefaults__ or {}
    code = method.__wrapped__.__code__
    names = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) & ARGUMENTS
    return method(**{one: None if one == "code" else clock.now() for one in names - set(wanted)})


@pytest.mark.parametrize("name", sorted(subscription.TRANSITIONS))
@pytest.mark.parametrize("status", SUBSCRIPTION_STATUSES)
def test_every_subscription_transition_from_every_status(name, status):
    sources, targets = subscription.TRANSITIONS[name]
    row = Subscription(status=status, seats=5)
    if status in sources:
        call(row, name)
        assert row.status in targets
    else:
        assert not can_proceed(getattr(row, name))
        with pytest.raises(TransitionNotAllowed):
            call(row, name)
        assert row.status == status


@pytest.mark.parametrize("name", sorted(order.TRANSITIONS))
@pytest.mark.parametrize("status", ORDER_STATUSES)
def test_every_order_transition_from_every_status(name, status):
    sources, targets = order.TRANSITIONS[name]
    row = Order(status=status)
    if status in sources:
        call(row, name)
        assert (row.status,) == targets
    else:
        with pytest.raises(TransitionNotAllowed):
            call(row, name)
        assert row.status == status


def test_the_tables_name_every_transition_method():
    for model, module in ((Subscription, subscription), (Order, order)):
        methods = {one.name for one in model._meta.get_field("status").get_all_transitions(model)}
        assert methods == set(module.TRANSITIONS)


@given(st.lists(st.sampled_from(sorted(subscription.TRANSITIONS)), max_size=25))
def test_no_walk_leaves_cancelled_or_reaches_an_unknown_status(walk):
    row, seen = Subscription(status="pending", seats=5), ["pending"]
    for name in walk:
        if can_proceed(getattr(row, name)):
            call(row, name)
            seen.append(row.status)
    assert set(seen) <= set(SUBSCRIPTION_STATUSES)
    assert "cancelled" not in seen[:-1]
    assert all(pair in subscription.PAIRS for pair in itertools.pairwise(seen))


def test_status_cannot_be_assigned():
    row = SubscriptionFactory()
    with pytest.raises(AttributeError):
        row.status = "cancelled"


@pytest.mark.parametrize(
    ("factory", "statuses", "pairs", "dates"),
    [
        (SubscriptionFactory, SUBSCRIPTION_STATUSES, subscription.PAIRS, {}),
        (OrderFactory, ORDER_STATUSES, order.PAIRS, {"due_at": datetime(2027, 3, 1, tzinfo=UTC)}),
    ],
)
def test_postgresql_allows_the_same_moves_as_python(factory, statuses, pairs, dates):
    model = factory._meta.model
    for old, new in itertools.product(statuses, statuses):
        row = factory(status=old, **dates)
        try:
            with transaction.atomic():
                model.objects.filter(pk=row.pk).update(status=new)
            allowed = True
        except DatabaseError as refused:
            assert "Invalid transition" in str(refused)  # noqa: PT017 - both ways out are checked below
            allowed = False
        assert allowed == (old == new or (old, new) in pairs), (old, new)


def test_one_bad_move_stops_a_bulk_update_whole():
    rows = [SubscriptionFactory(), SubscriptionFactory(status="cancelled")]
    with pytest.raises(DatabaseError, match="Invalid transition"), transaction.atomic():
        Subscription.objects.filter(pk__in=[row.pk for row in rows]).update(status="suspended")
    assert Subscription.objects.get(pk=rows[0].pk).status == "active"


@pytest.mark.parametrize("seats", [4, 501, 0])
def test_seats_outside_the_range_are_refused_on_insert_and_update(seats):
    sku = SKUFactory(seats_min=5, seats_max=500)
    with pytest.raises(IntegrityError), transaction.atomic():
        SubscriptionFactory(sku=sku, seats=seats)
    row = SubscriptionFactory(sku=sku, seats=5)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(pk=row.pk).update(seats=seats)


def test_range_is_checked_when_the_sku_changes():
    row = SubscriptionFactory(seats=25)
    with pytest.raises(IntegrityError, match="outside 50 to 60"), transaction.atomic():
        Subscription.objects.filter(pk=row.pk).update(sku=SKUFactory(seats_min=50, seats_max=60))


def test_narrowing_a_sku_leaves_running_subscriptions_alone_and_lists_them():
    row = SubscriptionFactory(seats=400)
    SubscriptionFactory(sku=row.sku, seats=50)
    SubscriptionFactory(sku=row.sku, seats=450, status="cancelled")
    row.sku.seats_max = 100
    row.sku.save()
    assert list(row.sku.outside_range()) == [row]
    # The row can still be written as long as neither seats nor SKU change.
    Subscription.objects.filter(pk=row.pk).update(status="suspended", seats=400)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(pk=row.pk).update(seats=300)


@pytest.mark.parametrize(("least", "most"), [(0, 5), (6, 5)])
def test_sku_range_must_make_sense(least, most):
    with pytest.raises(IntegrityError), transaction.atomic():
        SKUFactory(seats_min=least, seats_max=most)


@pytest.mark.parametrize("status", order.OPEN_ORDER)
def test_at_most_one_open_order(status):
    first = OrderFactory(status="needs_attention")
    with pytest.raises(IntegrityError, match="one_open_order"), transaction.atomic():
        OrderFactory(subscription=first.subscription, status=status)
    OrderFactory(subscription=first.subscription, status="failed")


def test_at_most_one_scheduled_order():
    first = OrderFactory(status="scheduled")
    with pytest.raises(IntegrityError, match="one_scheduled_order"), transaction.atomic():
        OrderFactory(subscription=first.subscription, status="scheduled")


@pytest.mark.parametrize("factory", [SubscriptionFactory, OrderFactory, VendorCallFactory, EventFactory])
def test_history_cannot_be_deleted(factory):
    row = factory()
    with pytest.raises((DatabaseError, ProtectedError)), transaction.atomic():
        row.delete()
    with pytest.raises(DatabaseError, match=r"Cannot .*delete"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {row._meta.db_table} WHERE id = %s", [row.pk])


def test_events_are_append_only():
    row = EventFactory()
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        Event.objects.filter(pk=row.pk).update(reason="rewritten")


def test_vendor_calls_are_completed_once_and_their_request_never_changes():
    row = VendorCallFactory()
    with pytest.raises(DatabaseError), transaction.atomic():
        VendorCall.objects.filter(pk=row.pk).update(asked="<Other/>")
    VendorCall.objects.filter(pk=row.pk).update(finished_at=clock.now(), outcome="done")
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        VendorCall.objects.filter(pk=row.pk).update(outcome="rejected")


@pytest.mark.parametrize("change", [{"after": {"Seats": 99}}, {"before": {}}, {"action": "cancel"}])
def test_the_wish_of_an_order_never_changes(change):
    row = OrderFactory(status="placed")
    with pytest.raises(DatabaseError), transaction.atomic():
        Order.objects.filter(pk=row.pk).update(**change)


def test_accounts_and_skus_with_history_cannot_be_deleted():
    row = SubscriptionFactory()
    for owner in (row.account, row.sku, row.sku.product):
        with pytest.raises(ProtectedError):
            owner.delete()
    AccountFactory().delete()
    SKU.objects.get(pk=SKUFactory().pk).delete()


def test_activation_code_is_encrypted_and_masked():
    row = Subscription.objects.get(pk=SubscriptionFactory(activation_code=Secret("AAAAA-BBBBB-CCCCC-DDDDD")).pk)
    assert row.activation_code.reveal() == "AAAAA-BBBBB-CCCCC-DDDDD"
    assert row.masked_code == "....-DDDDD"
    assert "BBBBB" not in f"{row.activation_code!r} {row.activation_code} {vars(row)}"
    with pytest.raises(TypeError):
        Subscription(activation_code="AAAAA-BBBBB-CCCCC-DDDDD", sku=row.sku, account=row.account, seats=5,
                     created_at=clock.now()).save()  # fmt: skip


def test_older_key_still_decrypts_after_rotation(settings):
    old, new = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAwMDE=", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAwMDI="
    settings.ENCRYPTION_KEYS = [old]
    row = SubscriptionFactory(activation_code=Secret("AAAAA-BBBBB-CCCCC-DDDDD"))
    settings.ENCRYPTION_KEYS = [new, old]
    assert Subscription.objects.get(pk=row.pk).activation_code.reveal() == "AAAAA-BBBBB-CCCCC-DDDDD"


@pytest.mark.parametrize("change", ["new secret key", "explicit key"])
def test_codes_stay_readable_when_the_secret_key_was_the_key(change, settings):
    row = SubscriptionFactory(activation_code=Secret("AAAAA-BBBBB-CCCCC-DDDDD"))
    if change == "explicit key":
        settings.ENCRYPTION_KEYS = ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAwMDE="]
    else:
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another secret key"
    assert Subscription.objects.get(pk=row.pk).activation_code.reveal() == "AAAAA-BBBBB-CCCCC-DDDDD"


def test_subscriber_id_is_ours_and_unique():
    rows = [SubscriptionFactory() for _ in range(3)]
    assert len({row.subscriber_id for row in rows}) == 3
    assert all(re.fullmatch("[0-9A-F]{32}", row.subscriber_id) for row in rows)
