"""What becomes of the orders of a run is kept with it, so that the list of runs says it without a look at its rows."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, bulk, fulfilment, lifecycle
from subscriptions.bulk import endings
from subscriptions.models import Order
from tests.factories import AccountFactory, SKUFactory, SubscriptionFactory
from tests.test_bss_bulk import RUNS, address, choose, confirm, fresh, operator, text, work

__all__ = ["choose", "confirm", "operator"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]


@pytest.fixture
def make(at_vendor):
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory()

    def rows(count, **details):
        return [at_vendor(SubscriptionFactory(**{"account": account, "sku": sku, **details})) for _ in range(count)]

    return rows


@pytest.fixture
def said(operator):
    """What the page of a run and the list of runs call its status."""

    def of(run):
        endings.follow()
        page, listed = text(operator.get(address(run))), text(operator.get(RUNS))
        return page.split(" ticked in the list")[0], listed.split(" ticked in the list ")[1].split(" of ")[0]

    return of


def carry_out(*orders):
    fulfilment.fulfil_many.func([one.pk for one in orders])


def orders_of(run):
    return list(Order.objects.filter(bulk_row__run=run).order_by("pk"))


def test_a_run_is_placed_while_orders_are_under_way_and_done_when_all_are_over(make, choose, confirm, said):
    run = choose(*make(3))
    confirm(run)
    work(run)
    first, second, third = orders_of(run)
    assert said(run) == ("Suspend: 3 subscriptions Placed", "Placed 3")
    carry_out(second, third)
    assert said(run) == ("Suspend: 3 subscriptions Placed", "Placed 3")
    carry_out(first)
    assert said(run) == ("Suspend: 3 subscriptions Done", "Done 3")


def test_what_was_not_done_is_counted_once(make, choose, confirm, said):
    unknown = SubscriptionFactory(account=AccountFactory(), sku=SKUFactory())
    [suspended] = make(1, status="suspended")
    run = choose(*make(1), suspended, unknown, *make(2))
    confirm(run)
    work(run)
    orders = {order.subscription_id: order for order in orders_of(run)}
    carry_out(orders.pop(unknown.pk))
    assert said(run)[1] == "Placed 4"
    for order in orders.values():
        carry_out(order)
        endings.follow(), endings.follow()
    assert said(run) == ("Suspend: 5 subscriptions Done, 2 not", "Done, 2 not 4")
    assert (fresh(run).open_from, fresh(run).not_done) == (None, 2)


def test_none_done(choose, confirm, said, emulator):
    run = choose(*[SubscriptionFactory() for _ in range(2)])
    confirm(run)
    work(run)
    carry_out(*orders_of(run))
    assert said(run) == ("Suspend: 2 subscriptions None done", "None done 2")


def test_what_is_planned_or_needs_somebody_is_not_over(make, operator, choose, confirm, said):
    run = choose(*make(2), action="cancel")
    confirm(run, ends="period_end")
    work(run)
    assert said(run) == ("Cancel: 2 subscriptions Placed", "Placed 2")
    for order in orders_of(run):
        lifecycle.undo(order.pk, actor=run.actor, audience=actions.BSS, reason="They pay.")
    assert said(run) == ("Cancel: 2 subscriptions None done", "None done 2")
    run = choose(*make(2))
    confirm(run)
    work(run)
    done, held = orders_of(run)
    carry_out(done)
    for status in ("in_progress", "needs_attention"):
        Order.objects.filter(pk=held.pk).update(status=status)
    assert said(run) == ("Suspend: 2 subscriptions Placed", "Placed 2")


def test_a_run_of_a_command_and_one_of_refused_rows_alone(make, said):
    make(2, status="suspended"), make(1, status="cancelled")
    run = bulk.begin(bulk.Wanted("suspend", "late"), bulk.narrowed([]), actor=None, audience=actions.COMMAND)
    endings.follow()
    assert fresh(run).open_from == 0, "it is not placed yet"
    list(bulk.place(run))
    endings.follow()
    assert (fresh(run).open_from, fresh(run).not_done) == (None, 3)


def test_rows_that_were_looked_at_are_not_looked_at_again(make, choose, confirm):
    run = choose(*make(6))
    confirm(run)
    work(run)
    carry_out(*orders_of(run)[:4])
    endings.follow()
    assert (fresh(run).open_from, fresh(run).not_done) == (5, 0)
    for asked in (2, 2):
        with CaptureQueriesContext(connection) as queries:
            endings.follow()
        assert len(queries) == asked
    carry_out(*orders_of(run)[4:])
    with CaptureQueriesContext(connection) as queries:
        endings.follow()
    assert all('"position" >= 5' in one["sql"] for one in queries if "bulkrow" in one["sql"])
    with CaptureQueriesContext(connection) as queries:
        endings.follow()
    assert len(queries) == 1


def test_two_workers_at_once_count_once(make):
    make(3, status="suspended")
    run = bulk.begin(bulk.Wanted("suspend", "late"), bulk.narrowed([]), actor=None, audience=actions.COMMAND)
    list(bulk.place(run))
    counted = []

    def behind_another(execute, query, *more):
        if "COUNT(" in query and not counted:
            counted.append(query)
            endings.follow()
        return execute(query, *more)

    with connection.execute_wrapper(behind_another):
        endings.follow()
    assert counted
    assert (fresh(run).open_from, fresh(run).not_done) == (None, 3)
