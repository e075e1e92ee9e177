"""The start page of BSS says first what needs a person now."""

from datetime import timedelta

import pytest
from django.urls import reverse

from subscriptions import clock
from subscriptions.models import VendorState
from tests.factories import OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

ORDERS = reverse("admin:subscriptions_order_changelist")
NOTHING = "Nothing needs a person now"
STOPPED = {"status": "failed", "needs_staff": True, "outcome_message": "Product is not in the contract."}


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def start_page(browser):
    return browser.get("/bss/").content.decode()


def test_nothing_to_do_is_said_calmly(operator):
    OrderFactory()
    OrderFactory(status="failed")
    OrderFactory(status="in_progress")
    VendorState.objects.create(vendor="kaspersky")
    page = start_page(operator)
    assert NOTHING in page
    assert "Orders that need attention</h" not in page


def test_a_paused_vendor_with_since_when_and_why(operator):
    since = clock.now() - timedelta(hours=2)
    VendorState.objects.create(vendor="kaspersky", paused_at=since, reason="Wrong user or password")
    page = start_page(operator)
    assert NOTHING not in page
    assert "Kaspersky does not let us in: no orders are sent to it" in page
    assert f'datetime="{since.isoformat()}"' in page
    assert "Wrong user or password" in page
    assert f'href="{reverse("admin:subscriptions_vendorstate_changelist")}"' in page


def test_orders_that_need_attention_and_orders_that_wait_for_staff(operator, cast):
    held = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status="needs_attention")
    waiting = OrderFactory(status="placed", needs_staff=True, outcome_message="The limit of the contract is reached.")
    page = start_page(operator)
    for order in (held, waiting):
        assert f'href="{reverse("admin:subscriptions_order_change", args=[order.pk])}"' in page
    assert "Increase seats: Seats 20 → 25" in page
    assert "Acme GmbH" in page
    assert "The limit of the contract is reached." in page
    assert page.index(waiting.number) < page.index(held.number)


def test_failed_orders_that_staff_must_look_at_for_a_week(operator):
    fresh = OrderFactory(**STOPPED)
    old = OrderFactory(**STOPPED, finished_at=clock.now() - timedelta(days=8))
    plain = OrderFactory(status="failed")
    page = start_page(operator)
    assert fresh.number in page
    assert "Product is not in the contract." in page
    assert old.number not in page
    assert plain.number not in page


def test_six_are_shown_and_the_list_has_the_rest(operator):
    held = [OrderFactory(status="needs_attention", needs_staff=True) for _ in range(7)]
    failed = [OrderFactory(**STOPPED) for _ in range(6)]
    page = start_page(operator)
    shown = [order.number for order in (*held, *failed) if f">{order.number}<" in page]
    assert shown == [order.number for order in (*held[1:], *failed)]
    assert f"{ORDERS}?needs_staff=1&amp;status=placed,in_progress,needs_attention" in page
    assert page.count("There are more.") == 1
    rest = operator.get(ORDERS, {"needs_staff": 1, "status": "placed,in_progress,needs_attention"})
    assert len(rest.context["cl"].result_list) == 7
    assert len(operator.get(ORDERS, {"needs_staff": 1}).context["cl"].result_list) == 13


def test_it_asks_the_database_as_often_for_two_as_for_many(operator, django_assert_num_queries):
    for rows in (2, 30):
        for _ in range(rows):
            OrderFactory(status="needs_attention", needs_staff=True)
            OrderFactory(**STOPPED)
        with django_assert_num_queries(8) as asked:
            start_page(operator)
    assert "COUNT(" not in " ".join(one["sql"].upper() for one in asked.captured_queries)


def test_it_is_there_for_who_may_see_orders(cast, signed_in):
    OrderFactory(status="needs_attention", needs_staff=True)
    for group in ("support", "auditor"):
        assert "Orders that need attention" in start_page(signed_in(cast.people[group]))
    cast.support.groups.clear()
    page = start_page(signed_in(cast.support))
    assert "Needs a person" not in page
    assert NOTHING not in page


def test_orders_under_way_are_the_placed_ones_too(operator):
    placed, sent = OrderFactory(status="placed"), OrderFactory(status="in_progress")
    OrderFactory()
    address = f"{ORDERS}?status=placed,in_progress"
    assert f'href="{address}">Orders under way</a>' in start_page(operator)
    assert [row.pk for row in operator.get(address).context["cl"].result_list] == [sent.pk, placed.pk]


def test_a_list_narrowed_by_its_address_does_not_say_that_there_is_nothing_yet(operator):
    OrderFactory()
    page = operator.get(f"{ORDERS}?status=placed,in_progress").content.decode()
    assert "Nothing matches" in page
