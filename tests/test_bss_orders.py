"""Orders in BSS: the list, the page with every attempt, Retry and Give up."""

import re

import pytest
from django.urls import reverse

from subscriptions import actions, clock, lifecycle, staff_groups
from subscriptions.admin import orders
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Order, Subscription
from tests.factories import OrderFactory, SubscriptionFactory, VendorCallFactory

pytestmark = pytest.mark.django_db


def page_of(order):
    return reverse("admin:subscriptions_order_change", args=[order.pk])


def url(stem, order, check=False):
    return reverse(f"admin:subscriptions_order_{stem}{'_check' if check else ''}", args=[order.pk])


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&#x27;", "'")


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def held(cast):
    """An increase that a person must look at, with two attempts."""
    order = OrderFactory(
        subscription=SubscriptionFactory(account=cast.acme),
        status="needs_attention",
        after={"Seats": 30},
        before={"Seats": 25},
        outcome_code="neither",
        outcome_message="Two records differ.",
        first_sent_at=clock.now(),
    )
    at = clock.now()
    VendorCallFactory(
        order=order,
        outcome="unknown",
        code="read-timeout",
        message="No answer",
        finished_at=at,
        asked="<Activate A='1'/>",
    )
    VendorCallFactory(
        order=order,
        purpose="settle",
        attempt=2,
        outcome="done",
        evidence="neither",
        finished_at=at,
        latency_ms=181,
        asked="<GetInfo/>",
        answered='<Subscription ActivationCode="****-****-****-CCCCC"/>',
    )
    return order


def test_the_page_shows_every_attempt_in_plain_words(operator, held):
    page = operator.get(page_of(held)).content.decode()
    said = text(operator.get(page_of(held)))
    for words in (
        "Seats 25 → 30",
        "Two records differ. Our record is unchanged.",
        "Code neither",
        "Attempt 1 No clear answer Sent",
        "Attempt 2 Done Read to find out what became of it",
        "It shows neither what was ordered nor the state before.",
        "181 ms",
    ):
        assert words in said
    assert "&lt;Activate A=&#x27;1&#x27;/&gt;" in page
    assert "****-****-****-CCCCC" in page
    assert url("retry", held) in page
    assert url("give_up", held) in page


def test_an_order_under_way_is_looked_at_again_by_itself_and_by_a_link(operator, cast):
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status="in_progress")
    page = operator.get(page_of(order)).content.decode()
    assert 'hx-trigger="load delay:2s"' in page
    assert 'hx-get="?look=1"' in page
    assert f'href="{page_of(order)}">Check again' in page
    assert 'hx-trigger="load delay:15s"' in operator.get(page_of(order), {"look": "2"}).content.decode()
    assert "hx-trigger" not in operator.get(page_of(order), {"look": str(len(orders.LOOKS))}).content.decode()
    assert "Next automatic try" in page
    done = OrderFactory(subscription=order.subscription)
    assert "hx-trigger" not in operator.get(page_of(done)).content.decode()


def test_taking_longer_than_usual(operator, cast, settings):
    settings.TAKING_LONG = -1.0
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status="placed")
    assert "Taking longer than usual." in text(operator.get(page_of(order)))


@pytest.mark.parametrize("status", ["completed", "failed", "withdrawn", "scheduled", "rejected", "awaiting_approval"])
def test_a_page_for_every_status(status, operator, cast):
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status=status)
    said = text(operator.get(page_of(order)))
    assert order.get_status_display() in said
    assert "Give up" not in said.split("Steps")[1]


@pytest.mark.parametrize("stem", ["retry", "give_up"])
def test_form_check_and_act(stem, operator, held, cast):
    assert operator.get(url(stem, held)).status_code == 200
    check = operator.post(url(stem, held, check=True), {"reason": "Asked them", "idempotency_key": held.operation_id})
    assert check.status_code == 200
    assert not Event.objects.exists()
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check.content.decode()))
    first, second = (operator.post(url(stem, held), hidden) for _ in range(2))
    assert first.url == second.url == page_of(held)
    event = Event.objects.get()
    assert (event.kind, event.actor, event.reason) == (f"increase.{stem}", cast.operator, "Asked them")
    assert Order.objects.get().status == ("placed" if stem == "retry" else "failed")
    assert Order.objects.get().vendor_calls.count() == 2


@pytest.mark.parametrize("stem", ["retry", "give_up"])
def test_what_is_settled_is_refused(stem, operator, cast):
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme))
    answer = operator.post(url(stem, order), {"reason": "Why not", "idempotency_key": order.operation_id})
    assert answer.status_code == 409
    assert f"{order.number} is completed: nothing to settle." in answer.content.decode()
    assert not Event.objects.exists()


@pytest.mark.parametrize("stem", ["retry", "give_up"])
def test_a_reason_is_required_and_get_changes_nothing(stem, operator, held):
    answer = operator.post(url(stem, held), {"reason": "", "idempotency_key": held.operation_id})
    assert answer.status_code == 422
    operator.get(url(stem, held), {"reason": "x"})
    operator.get(url(stem, held, check=True), {"reason": "x"})
    assert Order.objects.get().status == "needs_attention"


@pytest.mark.parametrize("stem", ["retry", "give_up"])
@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_one_permission_for_each(group, stem, cast, signed_in, held):
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    may = f"{stem}_subscription" in staff_groups.STAFF_GROUPS[group]
    given = {"reason": "Because", "idempotency_key": held.operation_id}
    assert browser.get(url(stem, held)).status_code == (200 if may else 403)
    assert browser.post(url(stem, held), given).status_code == (302 if may else 403)
    assert Event.objects.count() == may


def test_a_refused_start_is_retried(operator, cast, emulator, drain):
    subscription = SubscriptionFactory(account=cast.acme, status="failed")
    order = OrderFactory(
        subscription=subscription, action="start", status="failed", before={"Seats": 0}, after={"Seats": 25}
    )
    page = operator.get(page_of(order)).content.decode()
    assert url("retry", order) in page
    operator.post(url("retry", order), {"reason": "Pool is filled", "idempotency_key": order.operation_id})
    drain()
    assert Order.objects.get().status == "completed"
    assert Subscription.objects.get().status == "active"


def test_the_vendors_refusal_stands_on_the_page(operator, subscription, emulator, drain, cast):
    emulator.control.add_fault("item-error", code=602, message="LicenseCount is odd.")
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 31}), actor=cast.operator, audience=actions.BSS)
    drain()
    said = text(operator.get(page_of(order)))
    assert "LicenseCount is odd." in said
    assert "602" in said
    assert "Refused" in said


def test_the_same_number_of_queries_whatever_the_history(cast, signed_in, held, django_assert_num_queries):
    operator = signed_in(cast.operator)
    with django_assert_num_queries(8):
        operator.get(page_of(held))
    for _ in range(60):
        VendorCallFactory(order=held, outcome="done")
    with django_assert_num_queries(8):
        operator.get(page_of(held))


def test_what_failed_since_nobody_there_knows_it_names_the_way_out(cast, operator, drain, emulator):
    subscription = SubscriptionFactory(account=cast.acme)
    order = lifecycle.place(Wish(subscription.pk, "cancel", reason="x"), actor=cast.operator, audience=actions.BSS)
    drain()
    page = operator.get(page_of(order))
    assert "does not know this subscription. Get details, then take theirs. Our record is unchanged." in text(page)
    assert f'/subscription/{subscription.pk}/details/">Get details of {subscription}</a>' in page.content.decode()
    Order.objects.filter(pk=order.pk).update(outcome_code="601")
    assert "Get details of" not in text(operator.get(page_of(order)))
