"""Get details: asked now, ours beside theirs, and the two ways to settle a difference."""

import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle, staff_groups
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Order, Subscription, VendorCall
from tests.factories import OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db


def details(subscription):
    return reverse("admin:subscriptions_subscription_details", args=[subscription.pk])


def subscription_page(subscription):
    return reverse("admin:subscriptions_subscription_change", args=[subscription.pk])


def settle(subscription, stem, field, check=False):
    return reverse(f"admin:subscriptions_subscription_{stem}{'_check' if check else ''}", args=[subscription.pk, field])


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&#x27;", "'")


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def drifted(cast, at_vendor, operator):
    """25 seats here, 40 there, and the vendor's answer is known."""
    subscription = at_vendor(SubscriptionFactory(account=cast.acme), seats=40)
    operator.post(details(subscription))
    return Subscription.objects.select_related("sku__product", "account").get(pk=subscription.pk)


def answers(**more):
    return {"reason": "Ticket 5", "shown_theirs": "40", "idempotency_key": str(uuid.uuid4()), **more}


def test_get_asks_nobody(operator, subscription):
    page = operator.get(details(subscription))
    assert page.status_code == 200
    assert "not asked" in page.content.decode()
    assert not VendorCall.objects.exists()
    assert not Event.objects.exists()


def test_post_asks_the_vendor_and_is_logged(operator, subscription, cast):
    page = text(operator.post(details(subscription)))
    assert "Our record and the licence service's say the same." in page
    assert re.search(r"Answered at .* in \d+ ms", page)
    event = Event.objects.get()
    assert (event.kind, event.actor, event.audience) == ("details.read", cast.operator, "bss")
    assert VendorCall.objects.get().purpose == "details"


def test_differences_come_first_with_two_ways_out(operator, drifted):
    page = operator.get(details(drifted)).content.decode()
    table = page[page.index("<tbody") :]
    assert table.index(">Seats<") < table.index(">Status<")
    for stem in ("take_theirs", "push_ours"):
        assert settle(drifted, stem, "seats") in page


def test_what_cannot_be_taken_says_why(operator, cast, at_vendor):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme), seats=900)
    page = text(operator.post(details(subscription)))
    assert "This product allows at most 500 seats." in page
    address = settle(subscription, "take_theirs", "seats")
    answer = operator.post(address, answers(shown_theirs="900"))
    assert answer.status_code == 409
    assert "This product allows at most 500 seats." in answer.content.decode()
    assert not Order.objects.exists()


def test_the_vendor_is_silent(operator, drifted, emulator):
    emulator.control.add_fault("html-500", count=9)
    page = text(operator.post(details(drifted)))
    assert "The licence service did not answer" in page
    assert "last known answer" in page
    assert "40" in page


def test_the_age_of_an_answer_is_in_business_time(operator, drifted, settings, emulator):
    settings.CLOCK_OFFSET += timedelta(minutes=4)
    assert re.search(r"Last answer: .*, 4\W*minutes ago", text(operator.get(details(drifted))))
    emulator.control.add_fault("html-500", count=9)
    assert re.search(r"last known answer, 4\W*minutes old", text(operator.post(details(drifted))))


@pytest.mark.parametrize(("stem", "ours", "theirs"), [("take_theirs", 40, 40), ("push_ours", 25, 25)])
def test_settling_a_difference_is_an_order(stem, ours, theirs, operator, drifted, emulator, drain, cast):
    form = operator.get(settle(drifted, stem, "seats"))
    assert form.status_code == 200
    check = operator.post(settle(drifted, stem, "seats", check=True), answers()).content.decode()
    assert not Order.objects.exists()
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check))
    answer = operator.post(settle(drifted, stem, "seats"), hidden)
    order = Order.objects.get()
    assert answer.url == reverse("admin:subscriptions_order_change", args=[order.pk])
    assert (order.action, order.reason, order.actor) == (stem, "Ticket 5", cast.operator)
    drain()
    assert Order.objects.get().status == "completed"
    assert Subscription.objects.get().seats == ours
    assert "same" in text(operator.post(details(drifted)))
    assert operator.post(settle(drifted, stem, "seats"), hidden).url == answer.url
    assert Order.objects.count() == 1


def test_the_vendor_says_something_else_by_now(operator, drifted, emulator):
    emulator.control.put_subscriber(
        drifted.subscriber_id, product=drifted.sku.vendor_product_id, seats=60, status="Started"
    )
    answer = operator.post(settle(drifted, "take_theirs", "seats"), answers())
    assert answer.status_code == 409
    assert "The licence service says something else now." in answer.content.decode()
    assert "Ticket 5" in answer.content.decode()
    assert not Order.objects.exists()


def test_a_status_is_said_in_words_beside_the_vendors_own(cast, operator, at_vendor):
    ended = at_vendor(SubscriptionFactory(account=cast.acme), status="HardCancelled")
    assert "Active Ended for good HardCancelled Differs" in text(operator.post(details(ended)))
    assert "Active Ended for good HardCancelled Differs" in text(operator.get(subscription_page(ended)))
    page = text(operator.get(settle(ended, "take_theirs", "status")))
    assert "Our record says Active, the licence service says Ended for good." in page


def test_what_is_unknown_there_can_be_cancelled_here(operator, subscription, emulator):
    emulator.control.delete(subscription.subscriber_id)
    said = "The licence service does not know this subscription. Take theirs cancels it here, for good."
    page = operator.post(details(subscription))
    assert said in text(page)
    assert "A licence that is gone cannot be brought back." in text(page)
    assert settle(subscription, "push_ours", "existence") not in page.content.decode()
    form = operator.get(settle(subscription, "take_theirs", "existence"))
    assert f"{said} Nothing is sent, charged or given back." in text(form)
    check = operator.post(settle(subscription, "take_theirs", "existence", check=True), answers(shown_theirs="No"))
    assert said in text(check)
    assert "Our status Active Cancelled" in text(check)
    assert f'button-danger">Cancel {subscription} here, for good</button>' in check.content.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check.content.decode()))
    assert operator.post(settle(subscription, "take_theirs", "existence"), hidden).status_code == 302
    ours = Subscription.objects.get()
    assert (ours.status, ours.charges.count()) == ("cancelled", 0)
    assert said not in text(operator.post(details(subscription)))


def test_no_difference_nothing_to_settle(operator, subscription):
    operator.post(details(subscription))
    answer = operator.post(settle(subscription, "push_ours", "seats"), answers(shown_theirs="25"))
    assert answer.status_code == 409
    assert "There is no difference" in answer.content.decode()
    assert operator.get(settle(subscription, "push_ours", "price")).status_code == 404


def test_refused_while_an_order_is_open(operator, drifted, cast):
    lifecycle.place(Wish(drifted.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=actions.STOREFRONT)
    page = text(operator.get(details(drifted)))
    assert "Differences cannot be settled now:" in page
    answer = operator.post(settle(drifted, "take_theirs", "seats"), answers())
    assert answer.status_code == 409
    assert Order.objects.count() == 1


def test_a_reason_is_required(operator, drifted):
    for stem in ("take_theirs", "push_ours"):
        answer = operator.post(settle(drifted, stem, "seats"), answers(reason=""))
        assert answer.status_code == 422
        assert "Enter a reason." in answer.content.decode()


@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_one_permission_for_each(group, cast, signed_in, drifted):
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    granted = staff_groups.STAFF_GROUPS[group]
    for method in (browser.get, browser.post):
        assert method(details(drifted)).status_code == (200 if "details_subscription" in granted else 403)
    for stem in ("take_theirs", "push_ours"):
        may = f"{stem}_subscription" in granted
        assert browser.get(settle(drifted, stem, "seats")).status_code == (200 if may else 403)
        if not may:
            assert browser.post(settle(drifted, stem, "seats"), answers()).status_code == 403
    assert not Order.objects.exists()


@pytest.fixture
def frozen(cast, at_vendor, operator):
    """Suspended here, running there, with a decrease that stands still; and that decrease."""
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status="suspended"), status="Started")
    planned = OrderFactory(
        subscription=subscription, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20}
    )
    operator.post(details(subscription))
    return subscription, planned


@pytest.mark.parametrize(("chosen", "status"), [("keep", "scheduled"), ("discard", "withdrawn")])
def test_who_takes_that_it_runs_is_asked_what_becomes_of_a_plan_that_stood_still(chosen, status, frozen, operator):
    subscription, planned = frozen
    check = operator.post(settle(subscription, "take_theirs", "status", check=True), answers(shown_theirs="Started"))
    said = text(check)
    assert f"{lifecycle.planned_words(planned, subscription)} See {planned}" in said
    assert "Keep it: 25 seats until" in said
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check.content.decode()))
    unsaid = operator.post(settle(subscription, "take_theirs", "status"), hidden)
    assert (unsaid.status_code, "Choose what becomes of the planned change." in text(unsaid)) == (422, True)
    answer = operator.post(settle(subscription, "take_theirs", "status"), {**hidden, "planned": chosen})
    assert answer.status_code == 302
    assert Subscription.objects.get().status == "active"
    assert Order.objects.get(pk=planned.pk).status == status


def test_what_touches_no_plan_asks_nothing_of_it(frozen, operator, emulator, at_vendor):
    subscription, planned = frozen
    at_vendor(subscription, seats=40)
    operator.post(details(subscription))
    check = operator.post(settle(subscription, "take_theirs", "seats", check=True), answers()).content.decode()
    assert "A change is planned already" not in check
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', check))
    assert operator.post(settle(subscription, "take_theirs", "seats"), hidden).status_code == 302
    assert Order.objects.get(pk=planned.pk).status == "scheduled"
