"""Changes for a later day, and what becomes of them: planned, replaced, kept, undone, frozen; and what else applies."""

import re
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle, quotes, staff_groups
from subscriptions.actions import STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import Charge, Order, Subscription
from tests.factories import ChargeFactory, SKUFactory, SubscriptionFactory
from tests.test_bss_actions import answers, hidden, url
from tests.test_bss_money import check, place, read
from tests.test_bss_page import menu
from tests.test_periods import begun, fresh, lines, refuse, run, travel

__all__ = ["begun", "run", "travel"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def page_of(subscription):
    return reverse("admin:subscriptions_subscription_change", args=[subscription.pk])


def undo_url(order):
    return reverse("admin:subscriptions_order_undo", args=[order.pk])


def radios(answer, name="planned"):
    """The choices of a group, with the ticked one first."""
    found = re.findall(rf'<input type="radio" name="{name}" value="(\w+)"([^>]*)>', answer.content.decode())
    return [value for value, _ in found], [value for value, more in found if "checked" in more]


@pytest.fixture
def shrinking(begun, cast):
    """25 seats, and a decrease to 20 planned for 15 February 2027."""
    subscription = begun("2027-01-15")
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    return fresh(subscription)


def planned(subscription):
    return Order.objects.get(subscription=subscription, status="scheduled")


# --- planning --------------------------------------------------------------------------------------------------------


def test_a_decrease_waits_for_the_next_period_by_policy(operator, begun, run, drain):
    subscription = begun("2027-01-15")
    form = read(operator.get(url("decrease", subscription)))
    assert "Leave it empty: 15 February 2027, with the next period, as this SKU has it. Or with a later one." in form
    words, order = place(operator, subscription, "decrease", seats="20")
    assert f"Plan 20 seats for {subscription.number} from 15 February 2027" in words
    assert "Price per period EUR 87.50 a month EUR 70.00 a month" in words
    assert "On 15 February 2027" in words
    assert (order.status, f"{order.due_at:%Y-%m-%d}") == ("scheduled", "2027-02-15")
    run("2027-02-15")
    drain()
    assert fresh(subscription).seats == 20


def test_a_decrease_for_a_chosen_day_comes_with_the_period_that_begins_then(operator, begun):
    subscription = begun("2027-01-15")
    words, order = place(operator, subscription, "decrease", seats="20", on="2027-03-20")
    assert "from 15 April 2027" in words
    assert f"{order.due_at:%Y-%m-%d}" == "2027-04-15"


def test_an_increase_for_a_chosen_day_says_its_price_and_is_charged_it(operator, begun, run, drain):
    subscription = begun("2027-01-15")
    words, order = place(operator, subscription, "increase", seats="30", on="2027-02-01")
    # 14 of 31 days.
    assert "Due on 1 February 2027 EUR 7.90" in words
    assert f"Plan 30 seats for {subscription.number} from 1 February 2027 and charge EUR 7.90" in words
    run("2027-02-01")
    drain()
    assert [one.amount for one in order.charges.all()] == [Decimal("7.90")]


@pytest.mark.parametrize(
    ("stem", "status", "on", "sentence"),
    [
        ("increase", "active", "2027-01-14", "14 January 2027 is over. Choose today or a later day."),
        ("increase", "active", "2028-01-17", "A change can be planned for at most a year."),
        ("activate", "suspended", "2027-01-14", "14 January 2027 is over."),
        ("suspend", "active", "2027-01-15", "Choose a later day than today, or none."),
        ("suspend", "active", "2027-1-1x", "Enter a day as year-month-day"),
    ],
)
def test_a_day_that_cannot_be_stands_beside_the_field(stem, status, on, sentence, operator, begun):
    subscription = begun("2027-01-15", status=status)
    for checking in (True, False):
        answer = operator.post(url(stem, subscription, check=checking), answers(subscription, stem, on=on))
        assert answer.status_code == 422
        assert sentence in answer.content.decode().split('<div class="field field-invalid">')[1]
        assert f'value="{on}"' in answer.content.decode()
    assert not Order.objects.exists()


def test_what_is_wrong_is_said_at_once(operator, begun):
    subscription = begun("2027-01-15")
    given = answers(subscription, "increase", seats="1", on="2027-01-14", reason="")
    page = operator.post(url("increase", subscription, check=True), given).content.decode()
    assert page.count('<div class="field field-invalid">') == 3


# --- replace, keep, discard ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "left"), [("keep", "scheduled"), ("discard", "withdrawn")])
def test_a_change_now_asks_what_becomes_of_the_planned_one(choice, left, operator, shrinking, drain, run):
    plan = planned(shrinking)
    page = check(operator, shrinking, "increase", seats="30")
    assert radios(page) == (["keep", "discard"], [])
    words = read(page)
    assert f"A decrease to 20 seats is planned for 15 February 2027. See {plan.number}" in words
    assert "Keep it: 30 seats until 15 February 2027, then 20." in words
    kept, without = "Then EUR 70.00 a month for 20 seats", "EUR 105.00 a month for 30 seats from 15 February 2027."
    assert f"{kept} from 15 February 2027, as planned. If you withdraw that plan: {without}" in words
    unsaid = operator.post(url("increase", shrinking), hidden(page))
    assert unsaid.status_code == 422
    assert "Choose what becomes of the planned change." in read(unsaid)
    assert re.search(r"<title>\s*Error: ", unsaid.content.decode())
    assert not Order.objects.filter(action="increase").exists()
    operator.post(url("increase", shrinking), hidden(page) | {"planned": choice})
    drain()
    assert (fresh(shrinking).seats, fresh(plan).status) == (30, left)
    placed = Order.objects.get(action="increase")
    receipt = read(operator.get(reverse("admin:subscriptions_order_change", args=[placed.pk])))
    assert (kept in receipt, f"Then {without}" in receipt) == (choice == "keep", choice == "discard")
    run("2027-02-15")
    drain()
    assert fresh(shrinking).seats == (20 if choice == "keep" else 30)


def test_a_new_plan_takes_the_place_of_the_old_one_and_says_so(operator, shrinking):
    plan = planned(shrinking)
    words, order = place(operator, shrinking, "decrease", seats="15")
    assert "One change can be planned at a time: the new one takes its place." in words
    assert fresh(plan).status == "withdrawn"
    assert planned(shrinking) == order


def test_what_was_planned_meanwhile_brings_the_check_page_again(operator, begun, cast):
    subscription = begun("2027-01-15")
    page = check(operator, subscription, "increase", seats="30")
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    answer = operator.post(url("increase", subscription), hidden(page))
    assert answer.status_code == 409
    assert lifecycle.STALE in read(answer)
    assert radios(answer) == (["keep", "discard"], [])
    again = hidden(answer) | {"planned": "keep"}
    assert operator.post(url("increase", subscription), again).status_code == 302


def test_a_price_that_changed_keeps_the_choice(operator, shrinking):
    given = hidden(check(operator, shrinking, "increase", seats="30")) | {"planned": "discard"}
    shrinking.sku.price_bands.update(price="4.00")
    answer = operator.post(url("increase", shrinking), given)
    assert answer.status_code == 409
    assert radios(answer) == (["keep", "discard"], ["discard"])


# --- cancel, keep ----------------------------------------------------------------------------------------------------


def test_the_end_of_the_period_is_the_default_needs_no_id_and_can_be_taken_back(
    operator, begun, run, drain, cast, emulator
):
    subscription = begun("2027-01-15")
    assert radios(operator.get(url("cancel", subscription)), "ends")[1] == [quotes.PERIOD_END]
    words, order = place(operator, subscription, "cancel", ends=quotes.PERIOD_END, typed="")
    assert f"Plan the end of {subscription.number} on 15 February 2027" in words
    assert "25 users or devices of Acme GmbH lose protection on 15 February 2027." in words
    assert (order.status, fresh(subscription).status) == ("scheduled", "ending")
    page = operator.get(page_of(subscription))
    assert "The end of the subscription is planned for 15 February 2027." in read(page)
    assert ("Keep subscription", "", True) in menu(page.content.decode(), "further")
    form = operator.get(url("keep", subscription))
    assert "It is withdrawn, and nothing is charged for it." in read(form)
    kept = operator.post(url("keep", subscription, check=True), answers(subscription, "keep", reason="They stay"))
    assert "Status Ending Active" in read(kept)
    first, second = (operator.post(url("keep", subscription), hidden(kept)) for _ in range(2))
    assert first.url == second.url == page_of(subscription)
    assert (fresh(order).status, fresh(subscription).status) == ("withdrawn", "active")
    event = order.events.get(kind="cancel.withdrawn")
    assert (event.actor, event.reason) == (cast.operator, "They stay")
    run("2027-02-15")
    drain()
    assert lines(subscription) == [("period", "2027-02-15", "2027-03-15", Decimal("87.50"))]
    assert not emulator.control.changes(subscription.subscriber_id)


def test_an_ending_one_can_be_cancelled_now_and_the_plan_goes_with_it(operator, begun, drain, cast):
    subscription = begun("2027-01-15")
    end = lifecycle.place(Wish(subscription.pk, "cancel", when="period_end"), actor=cast.owner, audience=STOREFRONT)
    subscription = fresh(subscription)
    assert radios(operator.get(url("cancel", subscription)), "ends")[0] == ["now"]
    words, _ = place(operator, subscription, "cancel")
    assert "It is withdrawn when the cancellation is done." in words
    drain()
    assert (fresh(subscription).status, fresh(end).status) == ("cancelled", "withdrawn")


@pytest.mark.parametrize("ends", ["now", "back_dated"])
def test_what_cannot_be_taken_back_asks_for_the_id(ends, operator, begun, travel):
    subscription = begun("2027-01-15")
    travel("2027-01-20")
    given = answers(subscription, "cancel", ends=ends, on="2027-01-18", typed="")
    answer = operator.post(url("cancel", subscription, check=True), given)
    assert answer.status_code == 422
    assert f"Type {subscription.number} to show that you mean this subscription." in read(answer)


def test_an_end_from_the_vendor_is_not_ours_to_undo(operator, cast):
    subscription = SubscriptionFactory(account=cast.acme, status="ending")
    answer = operator.post(url("keep", subscription), answers(subscription, "keep"))
    assert answer.status_code == 409
    assert "The licence service ends it." in read(answer)


def test_what_does_not_end_need_not_be_kept(operator, begun):
    subscription = begun("2027-01-15")
    answer = operator.post(url("keep", subscription), answers(subscription, "keep"))
    assert answer.status_code == 409
    assert "It goes on already." in read(answer)


# --- undo ------------------------------------------------------------------------------------------------------------


def test_undo_stands_on_the_planned_line_and_leaves_no_trace_in_the_ledger(operator, shrinking, run, drain, cast):
    plan = planned(shrinking)
    page = operator.get(page_of(shrinking))
    assert "A decrease to 20 seats is planned for 15 February 2027." in read(page)
    assert f'href="{undo_url(plan)}"' in page.content.decode()
    assert "20 from 15 Feb 2027" in read(operator.get(reverse("admin:subscriptions_subscription_changelist")))
    order_page = operator.get(reverse("admin:subscriptions_order_change", args=[plan.pk]))
    assert f'href="{undo_url(plan)}"' in order_page.content.decode()
    assert "Planned for 15 February 2027, 00:00:00" in read(order_page)
    given = {"reason": "Not any more", "idempotency_key": str(plan.operation_id)}
    checked = operator.post(f"{undo_url(plan)}check/", given)
    assert f"Undo {plan.number} Change what you entered" in read(checked)
    first, second = (operator.post(undo_url(plan), hidden(checked)) for _ in range(2))
    assert first.url == second.url == reverse("admin:subscriptions_order_change", args=[plan.pk])
    assert fresh(plan).status == "withdrawn"
    assert "Not any more" in read(operator.get(first.url))
    assert not Charge.objects.exists()
    run("2027-02-15")
    drain()
    assert fresh(shrinking).seats == 25


def test_undone_by_the_customer_meanwhile(operator, shrinking, cast):
    plan = planned(shrinking)
    lifecycle.undo(plan.pk, actor=cast.owner, audience=STOREFRONT)
    answer = operator.post(undo_url(plan), {"reason": "x", "idempotency_key": str(plan.operation_id)})
    assert answer.status_code == 409
    assert f"{plan.number} is withdrawn and can no longer be undone." in read(answer)


def test_whoever_may_not_undo_reads_why_on_the_line(shrinking, cast, signed_in):
    page = signed_in(cast.auditor).get(page_of(shrinking))
    assert "Undo: Your staff group may not undo planned changes." in read(page)
    assert undo_url(planned(shrinking)) not in page.content.decode()


# --- suspend and activate --------------------------------------------------------------------------------------------


def test_suspended_until_a_day(operator, begun, run, travel, drain):
    subscription = begun("2027-01-15")
    travel("2027-02-10")
    words, _ = place(operator, subscription, "suspend", on="2027-03-01")
    assert "25 users or devices of Acme GmbH lose protection" in words
    assert "What the activation on 1 March 2027 costs Due on 1 March 2027 EUR 43.75" in words
    assert f"Suspend {subscription.number} until 1 March 2027" in words
    assert [one.action for one in Order.objects.order_by("pk")] == ["suspend", "activate"]
    drain()
    page = read(operator.get(page_of(subscription)))
    assert "An activation is planned for 1 March 2027." in page
    assert "Next charge EUR 43.75 on 1 March 2027" in page
    run("2027-02-15")
    run("2027-03-01")
    drain()
    assert fresh(subscription).status == "active"
    assert lines(subscription) == [("change", "2027-03-01", "2027-03-15", Decimal("43.75"))]


def test_a_suspension_that_is_refused_says_what_became_of_the_activation(operator, begun, drain, emulator):
    subscription = begun("2027-01-15")
    refuse(emulator, "Pause")
    place(operator, subscription, "suspend", on="2027-03-01")
    drain()
    then = Order.objects.get(action="activate")
    words = read(operator.get(reverse("admin:subscriptions_order_change", args=[then.pk])))
    assert "Withdrawn" in words
    assert "The subscription was not suspended." in words


@pytest.mark.parametrize(("choice", "seats"), [("keep", 20), ("discard", 25)])
def test_suspended_over_a_renewal_then_activated_with_what_was_frozen(
    choice, seats, operator, shrinking, run, travel, drain
):
    plan = planned(shrinking)
    words, _ = place(operator, shrinking, "suspend")
    assert "It stands still until the subscription is activated; whoever does that is asked" in words
    drain()
    assert "It stands still while the subscription is suspended." in read(operator.get(page_of(shrinking)))
    run("2027-02-15")
    assert fresh(plan).status == "scheduled"
    travel("2027-03-01")
    subscription = fresh(shrinking)
    page = check(operator, subscription, "activate")
    assert radios(page) == (["keep", "discard"], [])
    assert "Due now EUR 43.75" in read(page)
    # The plan stood still: it comes true with the activation, and the next period is the first that it changes.
    assert "Then EUR 70.00 a month for 20 seats from 15 March 2027, as planned." in read(page)
    operator.post(url("activate", subscription), hidden(page) | {"planned": choice})
    drain()
    assert lines(subscription) == [("change", "2027-03-01", "2027-03-15", Decimal("43.75"))]
    run("2027-03-02")
    drain()
    assert (fresh(subscription).status, fresh(subscription).seats) == ("active", seats)
    assert fresh(plan).status == ("completed" if choice == "keep" else "withdrawn")


def test_a_planned_activation(operator, begun, run, drain):
    subscription = begun("2027-01-15", status="suspended")
    words, order = place(operator, subscription, "activate", on="2027-02-01")
    assert f"Plan the activation of {subscription.number} on 1 February 2027 and charge EUR 39.52" in words
    assert (order.status, fresh(subscription).status) == ("scheduled", "suspended")
    # It is not lost when somebody activates before.
    words, _ = place(operator, fresh(subscription), "activate")
    assert "An activation is planned for 1 February 2027. This one takes its place." in words
    assert fresh(order).status == "withdrawn"


def test_beside_a_planned_end_no_activation_is_planned(operator, begun, cast):
    subscription = begun("2027-01-15")
    lifecycle.place(Wish(subscription.pk, "cancel", when="period_end"), actor=cast.owner, audience=STOREFRONT)
    subscription = fresh(subscription)
    page = operator.get(url("suspend", subscription))
    assert "The end of the subscription is planned for 15 February 2027. That day comes all the same." in read(page)
    answer = operator.post(url("suspend", subscription, check=True), answers(subscription, "suspend", on="2027-02-01"))
    assert answer.status_code == 422
    assert "Nothing else can be planned beside it." in answer.content.decode().split("field-invalid")[1]


# --- what applies besides --------------------------------------------------------------------------------------------


def further(browser, subscription):
    """What stands below the six; View as customer has a list of its own below that."""
    found = [label for label, _, _ in menu(browser.get(page_of(subscription)).content.decode(), "further")]
    return [] if found == ["View as customer"] else found


def test_the_menu_offers_what_applies_below_the_six(operator, begun, cast):
    plain = begun("2027-01-15")
    assert further(operator, plain) == ["Switch automatic renewal off"]
    plain.sku.targets.create(target=SKUFactory(product=plain.sku.product, vendor_product_id="other"))
    assert further(operator, plain) == ["Change the SKU", "Switch automatic renewal off"]
    unrenewed = SubscriptionFactory(account=cast.acme, auto_renew=False, status="suspended")
    assert further(operator, unrenewed) == ["Switch automatic renewal on"]
    trial = begun("2027-01-15", {"trial_days": 30}, trial_ends=date(2027, 2, 14))
    assert further(operator, trial) == ["Convert to a paid subscription"]
    expired = SubscriptionFactory(account=cast.acme, status="expired", grace_ends=date(2027, 2, 1))
    assert further(operator, expired) == ["Renew"]
    for status in ("pending", "failed", "cancelled"):
        assert further(operator, SubscriptionFactory(account=cast.acme, status=status)) == []


def test_whoever_may_not_reads_why(cast, signed_in):
    subscription = SubscriptionFactory(account=cast.acme, status="expired", grace_ends=date(2027, 2, 1))
    page = signed_in(cast.auditor).get(page_of(subscription)).content.decode()
    [(label, reason, linked)] = menu(page, "further")
    assert (label, linked) == ("Renew", False)
    assert "Your staff group may not renew subscriptions." in reason


def test_the_automatic_renewal_is_switched(operator, begun, cast):
    subscription = begun("2027-01-15")
    form = read(operator.get(url("auto_renew", subscription)))
    assert "On 15 January 2028 the term ends, and the subscription expires. It can be renewed for 14 days" in form
    words, order = place(operator, subscription, "auto_renew")
    assert "Renews automatically On Off" in words
    assert f"Switch automatic renewal off of {subscription.number}" in words
    assert (order.status, fresh(subscription).auto_renew) == ("completed", False)
    assert "15 January 2028 not renewed by itself" in read(operator.get(page_of(subscription)))
    words, order = place(operator, fresh(subscription), "auto_renew")
    assert fresh(subscription).auto_renew
    assert not Charge.objects.exists()


def test_without_renewal_a_change_at_the_renewal_goes_and_says_so(operator, begun, cast):
    subscription = begun("2027-01-15")
    sku = SKUFactory(product=subscription.sku.product)
    subscription.sku.targets.create(target=sku)
    change = Wish(subscription.pk, "change_sku", {"SKU": sku.code}, when=quotes.RENEWAL)
    plan = lifecycle.place(change, actor=cast.owner, audience=STOREFRONT)
    words, _ = place(operator, fresh(subscription), "auto_renew")
    assert "A change of the SKU is planned for 15 January 2028. It is withdrawn." in words
    assert fresh(plan).status == "withdrawn"


@pytest.mark.parametrize("stem", ["keep", "renew", "convert", "auto_renew", "change_sku"])
@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_one_permission_for_each(group, stem, cast, signed_in, begun):
    """By status: a forged POST of whom it is not for is a 403 wherever it might be possible."""
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    may = f"{stem}_subscription" in staff_groups.STAFF_GROUPS[group]
    for status in ("pending", "active", "suspended", "ending", "expired", "failed", "cancelled"):
        subscription = SubscriptionFactory(account=cast.acme, status=status, grace_ends=date(2027, 2, 1))
        answer = browser.post(url(stem, subscription), answers(subscription, stem))
        assert (answer.status_code != 403) == may, status
        if not may:
            assert "Your staff group may not" in read(answer)
            assert not Order.objects.exists()


def test_customers_have_no_way_in(cast, signed_in, begun):
    subscription = begun("2027-01-15")
    for stem in ("keep", "renew", "convert", "auto_renew", "change_sku"):
        answer = signed_in(cast.owner).post(url(stem, subscription), answers(subscription, stem))
        assert answer.status_code == 302
        assert "login" in answer.url
    assert not Order.objects.exists()


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_period_price_and_what_is_charged_next(operator, begun, travel):
    subscription = begun("2027-01-15")
    for number in range(12):
        ChargeFactory(subscription=subscription, words=f"Line {number}", covers_from=date(2027, 1, 15))
    page = operator.get(page_of(subscription))
    words = read(page)
    for said in (
        "Renews 15 January 2028 by itself",
        "Period 15 January to 14 February 2027",
        "Price of a seat EUR 3.50 a month",
        "Price of a period EUR 87.50 a month excl. VAT",
        "Next charge EUR 87.50 on 15 February 2027",
        "Line 11",
        "Line 2",
    ):
        assert said in words
    assert "Line 1 " not in words
    everything = f"{reverse('admin:subscriptions_charge_changelist')}?subscription={subscription.pk}"
    assert f'href="{everything}"' in page.content.decode()
    assert len(operator.get(everything).context["cl"].result_list) == 12


@pytest.mark.parametrize(
    ("status", "more", "said"),
    [
        ("suspended", {}, "Next charge None while it is suspended"),
        ("ending", {}, "Ends"),
        ("expired", {"grace_ends": date(2027, 2, 1)}, "Renewable until 31 January 2027"),
        ("active", {"auto_renew": False}, "not renewed by itself"),
        ("active", {"trial_ends": date(2027, 2, 14)}, "Trial until 14 February 2027"),
    ],
)
def test_every_standing_has_its_words_on_page_and_list(status, more, said, operator, cast):
    ends = {"ends_at": actions.midnight(date(2027, 3, 1), cast.acme)} if status in ("ending", "expired") else {}
    subscription = SubscriptionFactory(account=cast.acme, status=status, **more, **ends)
    assert said in read(operator.get(page_of(subscription)))
    answer = operator.get(reverse("admin:subscriptions_subscription_changelist"))
    assert answer.status_code == 200
    assert Subscription(status=status).get_status_display() in read(answer)


def test_taken_over_as_ending_from_the_vendor(operator, begun, cast, at_vendor, emulator):
    subscription = begun("2027-01-15")
    ends = actions.midnight(date(2027, 2, 1), cast.acme)
    at_vendor(subscription, status="SoftCancelled", end=ends)
    operator.post(reverse("admin:subscriptions_subscription_details", args=[subscription.pk]))
    take = reverse("admin:subscriptions_subscription_take_theirs", args=[subscription.pk, "status"])
    check_page = operator.post(f"{take}check/", hidden(operator.get(take)) | {"reason": "They are right"})
    operator.post(take, hidden(check_page))
    assert fresh(subscription).status == "ending"
    assert fresh(subscription).ends_at - ends < timedelta(seconds=1)
    assert "Ends 1 February 2027" in read(operator.get(page_of(subscription)))
