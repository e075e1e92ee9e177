"""Renew, automatic renewal and Convert in the Storefront: what is said, what is charged, and what comes of it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from subscriptions import lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, Charge, Event, Order, PriceBand, Subscription
from tests import factories
from tests.test_change_sku import large
from tests.test_periods import begun, instant, run, travel
from tests.test_storefront_cancel import buttons, fields, text

__all__ = ["begun", "large", "run", "travel"]

PRICE = Decimal("87.50")


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.owner)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def path(subscription: Subscription, page: str) -> str:
    return f"/subscriptions/{subscription.pk}/{page}/"


def amounts(subscription):
    return list(Charge.objects.filter(subscription=subscription).order_by("pk").values_list("kind", "amount"))


def confirm(door, subscription, page):
    """See the page and press its button."""
    shown = door.get(path(subscription, page))
    return door.post(path(subscription, page), fields(shown)), shown


# --- renew -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def expired(begun, run, travel):
    """Its term of a month ended on 15 February 2027 without renewal; 5 of 14 days of grace have passed."""

    def make(sku=None, **more) -> Subscription:
        subscription = begun("2027-01-15", {"term_months": 1} | (sku or {}), auto_renew=False, **more)
        assert run("2027-02-15")["expired"] == 1
        travel("2027-02-20")
        return fresh(subscription)

    return make


def test_renewed_it_goes_on_from_the_old_end_at_the_price_that_was_shown(door, cast, expired, run, emulator):
    subscription = expired()
    shown = door.get(path(subscription, "renew"))
    page = text(shown)
    assert "New term 1 month, from 15 February 2027 to 15 March 2027" in page
    assert "25 seats, with the same activation code" in page
    assert "Renews automatically No, the term ends on 15 March 2027" in page
    assert "Possible until 28 February 2027" in page
    assert "Due now EUR 87.50" in page
    assert "Then EUR 87.50 a month for 25 seats from 15 March 2027. All" in page
    assert "Renew and pay EUR 87.50" in buttons(shown)
    answer = door.post(path(subscription, "renew"), fields(shown))
    order = Order.objects.get(action="renew")
    assert (answer["Location"], order.status, order.actor) == (f"/orders/{order.pk}/", "completed", cast.owner)
    row = fresh(subscription)
    assert (row.status, row.grace_ends, row.ends_at) == ("active", None, None)
    assert (row.period_start, row.period_end, row.term_end) == (date(2027, 2, 15), date(2027, 3, 15), date(2027, 3, 15))
    assert amounts(subscription) == [("period", PRICE)]
    assert door.post(path(subscription, "renew"), fields(shown))["Location"] == answer["Location"]
    assert amounts(subscription) == [("period", PRICE)]
    assert emulator.control.requests(source="service") == []
    assert run("2027-03-15")["expired"] == 1


def test_the_subscription_leads_to_renew_while_it_can_be_renewed(door, expired):
    subscription = expired()
    page = door.get(f"/subscriptions/{subscription.pk}/").content.decode()
    assert f'href="{path(subscription, "renew")}"' in page


def test_after_the_grace_it_cannot_be_renewed(door, expired, run, drain):
    subscription = expired()
    run("2027-03-01")
    drain()
    assert fresh(subscription).status == "cancelled"
    assert "Cancelled on 1 March 2027." in text(door.get(path(subscription, "renew")))
    assert door.post(path(subscription, "renew")).status_code == 409


def test_a_suspended_one_that_expired_cannot_be_renewed(door, begun, run, cast, drain, emulator):
    subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=False)
    lifecycle.place(Wish(subscription.pk, "suspend", reason="late"), actor=cast.operator, audience=BSS)
    drain()
    # It is cancelled at once; here the licence service does not do it yet.
    emulator.control.add_fault("item-error", kinds=["HardCancel"], code=602, message="Not now.")
    run("2027-02-15")
    drain()
    assert fresh(subscription).status == "expired"
    words = "It was suspended when its term ended, and cannot be renewed."
    assert words in text(door.get(path(subscription, "renew")))
    assert door.post(path(subscription, "renew")).status_code == 409


def test_a_new_price_shows_old_and_new_figures_before_it_is_renewed(door, expired):
    subscription = expired()
    sent = fields(door.get(path(subscription, "renew")))
    PriceBand.objects.filter(sku=subscription.sku).update(price="4.00")
    answer = door.post(path(subscription, "renew"), sent)
    assert answer.status_code == 409
    assert "Due EUR 87.50 EUR 100.00" in text(answer)
    assert not Order.objects.filter(action="renew").exists()
    assert door.post(path(subscription, "renew"), fields(answer)).status_code == 302
    assert amounts(subscription) == [("period", Decimal(100))]


def test_a_renewal_without_a_price_is_refused_with_the_sentence(door, expired):
    subscription = expired()
    PriceBand.objects.filter(sku=subscription.sku).delete()
    assert "There is no price for 25 seats in EUR." in text(door.get(path(subscription, "renew")))


def test_a_large_renewal_waits_for_approval_within_its_grace(door, expired, cast):
    subscription = expired()
    ApprovalLimit.objects.create(sku=subscription.sku, orders_from="50")
    _, shown = confirm(door, subscription, "renew")
    assert "Your distributor must approve this order" in text(shown)
    order = Order.objects.get(action="renew")
    assert (order.status, fresh(subscription).status) == ("awaiting_approval", "expired")
    lifecycle.approve(order.pk, actor=cast.approver, audience=BSS, reason="Fine")
    assert fresh(subscription).status == "active"
    assert amounts(subscription) == [("period", PRICE)]


# --- automatic renewal -----------------------------------------------------------------------------------------------


def test_switched_off_it_says_what_happens_at_the_end_and_when(door, cast, begun, run, emulator):
    subscription = begun("2027-01-15", {"term_months": 2})
    answer, shown = confirm(door, subscription, "auto_renew")
    page = text(shown)
    assert "Now Renewed on 15 March 2027 for 2 months, at EUR 87.50 a month" in page
    assert "Switched off Ends on 15 March 2027. Nothing more is charged" in page
    assert "It can still be renewed until 28 March 2027. Then the activation code stops working" in page
    assert "You can switch it back Until 15 March 2027" in page
    assert "Switch automatic renewal off" in buttons(shown)
    order = Order.objects.get()
    assert (order.status, order.before, order.after) == (
        "completed", {"Renews automatically": True}, {"Renews automatically": False},
    )  # fmt: skip
    assert answer["Location"] == f"/orders/{order.pk}/"
    assert "Switch automatic renewal off" in text(door.get(answer["Location"]))
    assert fresh(subscription).auto_renew is False
    assert run("2027-02-15")["billed"] == 1
    assert run("2027-03-15")["expired"] == 1
    assert amounts(subscription) == [("period", PRICE)]
    assert emulator.control.requests(source="service") == []


def test_switched_on_again_it_is_renewed(door, begun, run):
    subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=False)
    _, shown = confirm(door, subscription, "auto_renew")
    assert "Switched on Renewed on 15 February 2027 for 1 month, at EUR 87.50 a month" in text(shown)
    assert "Switch automatic renewal on" in buttons(shown)
    assert run("2027-02-15") == {"billed": 1, "renewed": 1}


@pytest.mark.parametrize(
    ("status", "grace", "words"),
    [
        ("active", 0, "The activation code no longer works, and it cannot be renewed any more"),
        ("suspended", 14, "A suspended subscription cannot be renewed after its term"),
    ],
)
def test_where_there_is_no_grace_none_is_promised(door, cast, emulator, status, grace, words):
    sku = factories.SKUFactory(grace_days=grace)
    subscription = factories.SubscriptionFactory(account=cast.acme, sku=sku, status=status)
    assert words in text(door.get(path(subscription, "auto_renew")))


def test_the_same_page_sent_twice_switches_once(door, subscription):
    sent = fields(door.get(path(subscription, "auto_renew")))
    first, second = (door.post(path(subscription, "auto_renew"), sent) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert fresh(subscription).auto_renew is False


def test_a_page_from_before_the_switch_does_not_switch_it_back(door, subscription, cast):
    stale = fields(door.get(path(subscription, "auto_renew")))
    off = Wish(subscription.pk, "auto_renew", {"Renews automatically": False})
    lifecycle.place(off, actor=cast.manager, audience=STOREFRONT)
    answer = door.post(path(subscription, "auto_renew"), stale)
    assert answer.status_code == 409
    assert "Somebody changed this subscription" in text(answer)
    assert "Switch automatic renewal on" in buttons(answer)
    assert fresh(subscription).auto_renew is False


def test_what_was_to_come_at_the_renewal_is_named_and_withdrawn(door, subscription, large, cast, emulator):
    wish = Wish(subscription.pk, "change_sku", {"SKU": large(subscription).code}, when=quotes.RENEWAL)
    planned = lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT)
    _, shown = confirm(door, subscription, "auto_renew")
    assert "A change of the SKU is planned for" in text(shown)
    assert "It is withdrawn, since there is no renewal." in text(shown)
    assert fresh(planned).status == "withdrawn"


# --- convert ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def trial(cast, travel, drain):
    """A trial of 30 days that began on 1 March 2027 and is 10 days old, bought by the Buyer."""

    def make(**sku) -> Subscription:
        travel("2027-03-01")
        found = factories.SKUFactory(trial_days=30, **sku)
        order = lifecycle.start(
            cast.acme, found, 25, actor=cast.buyer, audience=STOREFRONT, ordered_by=cast.buyer, trial=True
        )
        drain()
        travel("2027-03-11")
        return fresh(order.subscription)

    return make


@pytest.mark.parametrize("role", ["owner", "manager", "buyer"])
def test_converted_it_begins_a_paid_period_and_term_on_that_day(signed_in, cast, trial, run, emulator, role):
    subscription, door = trial(term_months=12), signed_in(cast.people[role])
    asked_before = len(emulator.control.requests(source="service"))
    answer, shown = confirm(door, subscription, "convert")
    page = text(shown)
    assert "Trial Free until 31 March 2027; it ends today" in page
    assert "Paid term 12 months, from 11 March 2027 to 11 March 2028" in page
    assert "Renews automatically Yes, on 11 March 2028" in page
    assert "Due now EUR 87.50" in page
    assert "Then EUR 87.50 a month for 25 seats from 11 April 2027." in page
    assert "Convert and pay EUR 87.50" in buttons(shown)
    order = Order.objects.get(action="convert")
    assert (order.status, order.before, order.after) == ("completed", {"Trial": True}, {"Trial": False})
    assert answer["Location"] == f"/orders/{order.pk}/"
    row = fresh(subscription)
    assert (row.trial_ends, row.period_start, row.period_end) == (None, date(2027, 3, 11), date(2027, 4, 11))
    assert row.activation_code == subscription.activation_code
    assert amounts(subscription) == [("period", PRICE)]
    assert len(emulator.control.requests(source="service")) == asked_before
    assert run("2027-04-11") == {"billed": 1}


def test_the_same_page_sent_twice_converts_once(door, trial):
    subscription = trial()
    sent = fields(door.get(path(subscription, "convert")))
    first, second = (door.post(path(subscription, "convert"), sent) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert amounts(subscription) == [("period", PRICE)]


def test_seats_and_sku_stay_until_it_is_converted(door, trial):
    subscription = trial()
    for page in ("increase", "decrease", "auto_renew"):
        answer = door.get(path(subscription, page))
        assert "This is a trial until 31 March 2027." in text(answer)
        assert f'href="{path(subscription, "convert")}"' in answer.content.decode()


def test_what_is_no_trial_cannot_be_converted(door, subscription):
    assert "This is not a trial." in text(door.get(path(subscription, "convert")))
    assert door.post(path(subscription, "convert")).status_code == 409


@pytest.mark.parametrize(
    ("role", "page"),
    [(role, page) for role in ("billing", "viewer") for page in ("renew", "auto_renew", "convert")]
    + [("buyer", "renew"), ("buyer", "auto_renew")],
)
def test_other_roles_may_not(signed_in, cast, subscription, role, page):
    client = signed_in(cast.people[role])
    for answer in (client.get(path(subscription, page)), client.post(path(subscription, page))):
        assert answer.status_code == 403
        assert "Ask Ana Kos." in text(answer)


@pytest.mark.parametrize("page", ["renew", "auto_renew", "convert"])
def test_looking_changes_nothing(door, subscription, page):
    before = Subscription.objects.filter(pk=subscription.pk).values().get()
    door.get(path(subscription, page))
    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before
    assert not Event.objects.exists()


def test_a_price_is_honoured_for_a_quarter_of_an_hour(door, expired, travel):
    subscription = expired()
    sent = fields(door.get(path(subscription, "renew")))
    travel(instant("2027-02-20") + timedelta(minutes=16))
    assert door.post(path(subscription, "renew"), sent).status_code == 409
    travel(instant("2027-02-20") + timedelta(minutes=14))
    assert door.post(path(subscription, "renew"), sent).status_code == 302
