"""The Shortcut menu's changes: form, check, order; who may, what is refused, and what the reader is told."""

import re
import uuid

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle, staff_groups
from subscriptions.lifecycle import Wish
from subscriptions.models import SKU, Order
from tests.factories import SubscriptionFactory

pytestmark = pytest.mark.django_db

# Where each action is possible, and what it needs beyond a reason.
CHANGES = {
    "increase": ("active", {"seats": "30"}, {"Seats": 30}),
    "decrease": ("active", {"seats": "20"}, {"Seats": 20}),
    "suspend": ("active", {}, {"Status": "suspended"}),
    "activate": ("suspended", {}, {"Status": "active"}),
    "cancel": ("active", {"ends": "now", "typed": None}, {"Status": "cancelled"}),
}
GROUPS = {"support": "Support", "operator": "Operator", "approver": "Approver", "auditor": "Auditor"}
GROUPS["catalogue_manager"] = "Catalogue manager"


def url(stem, subscription, check=False):
    name = f"admin:subscriptions_subscription_{stem}{'_check' if check else ''}"
    return reverse(name, args=[subscription.pk])


def answers(subscription, stem, **more):
    """What a browser sends from the check page."""
    fields = {
        "reason": "Ticket 4711",
        "version": str(subscription.version),
        "idempotency_key": str(uuid.uuid4()),
        **(CHANGES[stem][1] if stem in CHANGES else {}),
    }
    if "typed" in fields:
        fields["typed"] = subscription.number
    return {**fields, **more}


def shown(browser, subscription, stem, **more):
    """What the check page sends back: the answers, and what it showed."""
    return hidden(browser.post(url(stem, subscription, check=True), answers(subscription, stem, **more)))


def hidden(answer):
    """What a page has in its hidden fields, but for the token against forgeries."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.content.decode()))


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def make(cast):
    return lambda status="active", **more: SubscriptionFactory(account=cast.acme, status=status, **more)


@pytest.mark.parametrize("stem", CHANGES)
def test_form_check_and_order(stem, operator, make, cast):
    subscription = make(CHANGES[stem][0])
    form = operator.get(url(stem, subscription))
    assert form.status_code == 200
    assert 'name="reason"' in form.content.decode()

    given = answers(subscription, stem)
    check = operator.post(url(stem, subscription, check=True), given)
    page = check.content.decode()
    assert check.status_code == 200
    assert "What happens next" in page
    assert "Ticket 4711" in page
    assert subscription.number in page
    assert not Order.objects.exists()

    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    assert {name: hidden[name] for name in given} == given

    done = operator.post(url(stem, subscription), hidden)
    order = Order.objects.get()
    assert done.status_code == 302
    assert done.url == reverse("admin:subscriptions_order_change", args=[order.pk])
    assert (order.action, order.after, order.status) == (stem, CHANGES[stem][2], "placed")
    assert (order.actor, order.audience, order.reason) == (cast.operator, "bss", "Ticket 4711")
    event = order.events.get()
    assert (event.kind, event.actor, event.reason) == (f"{stem}.placed", cast.operator, "Ticket 4711")
    assert operator.get(done.url).status_code == 200


@pytest.mark.parametrize("stem", CHANGES)
def test_the_changed_input_is_kept_on_the_way_back_to_the_form(stem, operator, make):
    subscription = make(CHANGES[stem][0])
    back = operator.post(
        url(stem, subscription, check=True), answers(subscription, stem, change="yes", reason="Half a thought")
    )
    assert back.status_code == 200
    assert "Half a thought" in back.content.decode()
    assert "There is a problem" not in back.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("stem", CHANGES)
@pytest.mark.parametrize("person", GROUPS)
def test_one_permission_for_each_action(person, stem, make, cast, signed_in):
    """A forged POST with everything right but the permission is a 403, and the form is one too."""
    subscription = make(CHANGES[stem][0])
    may = f"{stem}_subscription" in staff_groups.STAFF_GROUPS[GROUPS[person]]
    browser = signed_in(cast.people[person])
    given = answers(subscription, stem)
    assert browser.get(url(stem, subscription)).status_code == (200 if may else 403)
    assert browser.post(url(stem, subscription, check=True), given).status_code == (200 if may else 403)
    answer = browser.post(url(stem, subscription), shown(signed_in(cast.operator), subscription, stem))
    assert answer.status_code == (302 if may else 403)
    assert Order.objects.count() == may
    if not may:
        assert "Your staff group may not" in answer.content.decode()


@pytest.mark.parametrize("stem", CHANGES)
def test_customers_have_no_way_in(stem, make, cast, signed_in):
    subscription = make(CHANGES[stem][0])
    answer = signed_in(cast.owner).post(url(stem, subscription), answers(subscription, stem))
    assert answer.status_code == 302
    assert "login" in answer.url
    assert not Order.objects.exists()


@pytest.mark.parametrize("stem", CHANGES)
def test_get_changes_nothing(stem, operator, make):
    subscription = make(CHANGES[stem][0])
    operator.get(url(stem, subscription), answers(subscription, stem))
    answer = operator.get(url(stem, subscription, check=True), answers(subscription, stem))
    assert (answer.status_code, answer.url) == (302, url(stem, subscription))
    assert not Order.objects.exists()
    assert not subscription.events.exists()


@pytest.mark.parametrize("stem", CHANGES)
def test_the_same_check_page_sent_twice_leads_to_the_same_order(stem, operator, make):
    subscription = make(CHANGES[stem][0])
    given = shown(operator, subscription, stem)
    first, second = (operator.post(url(stem, subscription), given) for _ in range(2))
    assert first.status_code == second.status_code == 302
    assert first.url == second.url
    assert Order.objects.count() == 1


def test_the_same_check_page_sent_after_the_change_leads_to_its_order(operator, subscription, drain):
    given = shown(operator, subscription, "increase")
    first = operator.post(url("increase", subscription), given)
    drain()
    assert Order.objects.get().status == "completed"
    assert operator.post(url("increase", subscription), given).url == first.url


@pytest.mark.parametrize("stem", CHANGES)
def test_a_reason_is_required(stem, operator, make):
    subscription = make(CHANGES[stem][0])
    for check in (True, False):
        answer = operator.post(url(stem, subscription, check=check), answers(subscription, stem, reason="  "))
        page = answer.content.decode()
        assert answer.status_code == 422
        assert page.count("Enter a reason.") == 2
        assert re.search(r"<title>\s*Error: ", page)
    assert not Order.objects.exists()


@pytest.mark.parametrize("stem", CHANGES)
def test_a_stale_check_page_comes_again_with_the_input(stem, operator, make, cast):
    subscription = make(CHANGES[stem][0])
    given = answers(subscription, stem, version=str(subscription.version - 1))
    answer = operator.post(url(stem, subscription), given)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert lifecycle.STALE in page
    assert "Ticket 4711" in page
    assert not Order.objects.exists()

    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    assert hidden["version"] == str(subscription.version)
    assert operator.post(url(stem, subscription), hidden).status_code == 302


def test_a_stale_form_whose_number_is_wrong_by_now_says_both(operator, make):
    subscription = make(seats=30)
    answer = operator.post(url("increase", subscription), answers(subscription, "increase", version="0", seats="28"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert lifecycle.STALE in page
    assert "That is fewer than the 30 it has. Enter a whole number from 31 to 500." in page
    assert 'value="28"' in page


BAD_INCREASES = {
    "4": "That is fewer than the 25 it has. Enter a whole number from 26 to 500.",
    "501": "This product allows at most 500 seats. Enter a whole number from 26 to 500.",
    "25": "It has 25 seats already. Enter a whole number from 26 to 500.",
    "0": "That is fewer than the 25 it has. Enter a whole number from 26 to 500.",
    "-30": "is not a number of seats. Enter a whole number from 26 to 500.",
    "1e3": "is not a number of seats. Enter a whole number from 26 to 500.",
    "\u0663\u0660": "is not a number of seats. Enter a whole number from 26 to 500.",
    "1000000000000": "This product allows at most 500 seats. Enter a whole number from 26 to 500.",
    "thirty": "is not a number of seats. Enter a whole number from 26 to 500.",
    "": "Enter the new number of seats. Enter a whole number from 26 to 500.",
}
BAD_DECREASES = {
    "4": "This product starts at 5 seats. Enter a whole number from 5 to 24.",
    "501": "That is more than the 25 it has. Enter a whole number from 5 to 24.",
    "25": "It has 25 seats already. Enter a whole number from 5 to 24.",
    "0": "Zero seats is not a decrease: cancel the subscription instead.",
    "-20": "is not a number of seats. Enter a whole number from 5 to 24.",
    "1e1": "is not a number of seats. Enter a whole number from 5 to 24.",
    "\u0662\u0660": "is not a number of seats. Enter a whole number from 5 to 24.",
    "1000000000000": "That is more than the 25 it has. Enter a whole number from 5 to 24.",
    "ten": "is not a number of seats. Enter a whole number from 5 to 24.",
    "": "Enter the new number of seats. Enter a whole number from 5 to 24.",
}


@pytest.mark.parametrize(
    ("stem", "typed", "sentence"),
    [("increase", *pair) for pair in BAD_INCREASES.items()] + [("decrease", *pair) for pair in BAD_DECREASES.items()],
)
def test_seats_that_cannot_be(stem, typed, sentence, operator, make):
    subscription = make()
    for check in (True, False):
        answer = operator.post(url(stem, subscription, check=check), answers(subscription, stem, seats=typed))
        page = answer.content.decode()
        assert answer.status_code == 422
        beside = page[page.index('<div class="field field-invalid">') :]
        assert sentence in beside
        assert 'aria-invalid="true"' in beside
        assert typed == "" or f'value="{typed}"' in beside
        assert "Ticket 4711" in page
    assert not Order.objects.exists()


def test_zero_leads_to_cancel(operator, make):
    subscription = make()
    answer = operator.post(url("decrease", subscription, check=True), answers(subscription, "decrease", seats="0"))
    assert f'href="{url("cancel", subscription)}">Cancel subscription</a>' in answer.content.decode()


@pytest.mark.parametrize("typed", ["", "SUB-999999", "yes"])
def test_cancel_asks_for_the_id(typed, operator, make):
    subscription = make()
    answer = operator.post(url("cancel", subscription), answers(subscription, "cancel", typed=typed))
    assert answer.status_code == 422
    assert f"Type {subscription.number} to show" in answer.content.decode()
    assert not Order.objects.exists()


def test_suspend_says_who_loses_protection(operator, make):
    page = operator.get(url("suspend", make(seats=40))).content.decode()
    assert "40 users or devices of Acme GmbH lose protection" in page


def test_an_open_order_refuses_with_the_way_out(operator, make, cast):
    subscription = make()
    order = lifecycle.place(
        Wish(subscription.pk, "increase", {"Seats": 40}), actor=cast.owner, audience=actions.STOREFRONT
    )
    subscription.version += 1
    explained = operator.get(url("suspend", subscription))
    assert explained.status_code == 200
    assert f"{order.number} is being applied since" in explained.content.decode()
    assert 'name="reason"' not in explained.content.decode()
    answer = operator.post(url("suspend", subscription), answers(subscription, "suspend"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert f"{order.number} is being applied since" in page
    assert reverse("admin:subscriptions_order_change", args=[order.pk]) in page
    assert "Ticket 4711" in page
    assert Order.objects.count() == 1


def test_two_doors_at_the_same_instant_place_one_order(operator, make, cast):
    """The customer was first, after the staff's page was made: the second gets the reason."""
    subscription = make()
    given = answers(subscription, "increase")
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=actions.STOREFRONT)
    assert operator.post(url("increase", subscription), given).status_code == 409
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("status", "stem", "sentence"),
    [
        ("pending", "increase", "Not started yet: the licence service has not confirmed it."),
        ("suspended", "decrease", "Suspended. Activate it first."),
        ("active", "activate", "Not suspended."),
        ("cancelled", "suspend", "Cancelled on"),
        ("failed", "cancel", "The licence service refused to start this subscription."),
    ],
)
def test_what_the_status_forbids_is_refused_with_the_sentence(status, stem, sentence, operator, make):
    subscription = make(status)
    answer = operator.post(url(stem, subscription), answers(subscription, stem))
    assert answer.status_code == 409
    assert sentence in answer.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("stem", CHANGES)
def test_the_whole_way_to_the_vendor_and_back(stem, operator, make, at_vendor, drain):
    status, _, after = CHANGES[stem]
    subscription = at_vendor(make(status))
    operator.post(url(stem, subscription), shown(operator, subscription, stem))
    drain()
    changed = type(subscription).objects.get(pk=subscription.pk)
    assert Order.objects.get().status == "completed"
    assert (changed.seats if "Seats" in after else changed.status) == next(iter(after.values()))


def test_nothing_behind_an_unknown_id(operator, make):
    subscription = make()
    for stem in CHANGES:
        address = url(stem, subscription).replace(str(subscription.pk), "999999")
        assert operator.get(address).status_code == 404
        assert operator.post(address, answers(subscription, stem)).status_code == 404


@pytest.mark.parametrize(
    ("stem", "narrowed", "hint"),
    [
        ("decrease", {}, "Now 25. From 5 to 24."),
        ("decrease", {"seats_max": 20}, "Now 25. From 5 to 20."),
        ("increase", {"seats_min": 50}, "Now 25. From 50 to 500."),
        ("increase", {"seats_max": 26}, "Now 25. Only 26 is possible."),
    ],
)
def test_the_hint_names_what_can_be_entered_also_beyond_a_narrowed_sku(stem, narrowed, hint, operator, subscription):
    SKU.objects.update(**narrowed or {"seats_max": 500})
    assert hint in operator.get(url(stem, subscription)).content.decode()
