"""The lists that staff open most read an index and not the whole table of orders."""

import pytest
from django.db import connection

from subscriptions import clock
from subscriptions.models import Account, Order
from tests.factories import OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def many_orders():
    """Most completed, some failed, a few that wait for staff; and PostgreSQL knows."""
    of_one = {"subscription": SubscriptionFactory(), "action": "increase", "audience": "bss", "placed_at": clock.now()}
    rows = [Order(**of_one, status="completed") for _ in range(3000)]
    rows += [Order(**of_one, status="failed", needs_staff=number < 3) for number in range(300)]
    Order.objects.bulk_create(rows)
    OrderFactory(status="needs_attention", needs_staff=True)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Order._meta.db_table}")


@pytest.mark.parametrize(
    ("narrowed", "index"),
    [
        ({"status": "failed"}, "order_failed"),
        ({"status": "needs_attention"}, "order_attention"),
        ({"status": "failed", "needs_staff": True}, "order_needs_staff"),
    ],
)
def test_a_narrowed_list_of_orders_reads_its_index(narrowed, index, many_orders):
    assert index in Order.objects.filter(**narrowed).order_by("-pk")[:51].explain()


def test_no_index_is_kept_that_the_search_for_a_company_cannot_use():
    """A search for a part of a name reads all names; a b-tree of lower-case names serves nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [Account._meta.db_table])
        assert not [definition for (definition,) in cursor if "lower" in definition]
