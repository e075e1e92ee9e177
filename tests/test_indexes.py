"""The lists that staff open most read an index and not the whole table of orders."""

import pytest
from django.db import connection

from subscriptions.models import Account, Order

pytestmark = pytest.mark.django_db

STAFF_NEEDED = {"needs_staff": True, "status": "failed"}


@pytest.mark.parametrize(
    ("narrowed", "index"),
    [
        ({"status": "failed"}, "order_failed"),
        ({"status": "needs_attention"}, "order_attention"),
        (STAFF_NEEDED, "order_needs_staff"),
    ],
)
def test_a_narrowed_list_of_orders_reads_its_index(narrowed, index):
    with connection.cursor() as cursor:
        # With a handful of rows PostgreSQL would read the table.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    assert index in Order.objects.filter(**narrowed).order_by("-pk")[:51].explain()


def test_no_index_is_kept_that_the_search_for_a_company_cannot_use():
    """A search for a part of a name reads all names; a b-tree of lower-case names serves nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [Account._meta.db_table])
        assert not [definition for (definition,) in cursor if "lower" in definition]
