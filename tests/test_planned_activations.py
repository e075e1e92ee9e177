"""A suspension with the day on which it ends by itself: two orders from one wish, priced and decided together."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from subscriptions import actions, clock, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order
from tests.factories import ChargeFactory
from tests.test_periods import begun, events, fresh, lines, refuse, run, travel

__all__ = ["begun", "run", "travel"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def suspend(cast):
    """Suspend a subscription, with an activation planned for a day."""

    def place(subscription, day=None, **more):
        then = date.fromisoformat(day) if day else None
        wish = Wish(subscription.pk, "suspend", then_activate_on=then, reason="late", **more)
        return lifecycle.place(wish, actor=cast.operator, audience=BSS)

    return place


def planned(subscription):
    return Order.objects.get(subscription=subscription, status="scheduled")


def proposed(subscription, day, actor):
    about = actions.situation(fresh(subscription), actor=actor, audience=BSS)
    then = date.fromisoformat(day)
    return lifecycle.propose(actions.SUSPEND, about, {}, at=clock.now(), then_activate_on=then)


def test_it_is_activated_on_the_day_and_pays_the_days_left_as_quoted(begun, run, travel, drain, suspend, cast):
    subscription = begun("2027-01-15")
    travel("2027-02-10")
    quote = proposed(subscription, "2027-03-01", cast.operator).pinned
    order = suspend(subscription, "2027-03-01", quote=quote)
    then = planned(subscription)
    assert (order.action, order.status, order.quote) == ("suspend", "placed", None)
    assert (then.action, f"{then.due_at:%Y-%m-%d}", then.before) == ("activate", "2027-03-01", {"Status": "suspended"})
    assert (then.actor, then.audience, then.reason) == (cast.operator, "bss", "late")
    assert [one.kind for one in events(subscription)] == ["suspend.placed", "activate.scheduled"]
    drain()
    assert run("2027-02-15") == {"unbilled": 1}
    assert run("2027-03-01") == {"due activate": 1}
    drain()
    assert (fresh(subscription).status, fresh(then).status) == ("active", "completed")
    # 14 of the 28 days from 15 February on.
    assert lines(subscription) == [("change", "2027-03-01", "2027-03-15", Decimal("43.75"))]
    assert quote.quote.due_now == Decimal("43.75")
    assert run("2027-03-15") == {"billed": 1}


def test_within_the_period_that_was_billed_nothing_more_is_due(begun, travel, cast):
    subscription = begun("2027-01-15")
    ChargeFactory(subscription=subscription, kind="period", covers_from=date(2027, 1, 15), covers_to=date(2027, 2, 15))
    travel("2027-01-20")
    assert proposed(subscription, "2027-02-14", cast.operator).quote.lines == ()


def test_another_price_than_the_one_shown_places_neither(begun, travel, suspend, cast):
    subscription = begun("2027-01-15")
    quote = proposed(subscription, "2027-03-01", cast.operator).pinned
    subscription.sku.price_bands.update(price="4.00")
    with pytest.raises(NotAllowed) as refused:
        suspend(subscription, "2027-03-01", quote=quote)
    assert refused.value.code == "stale_quote"
    assert not Order.objects.exists()


def test_without_a_day_there_is_one_order(begun, suspend):
    subscription = begun("2027-01-15")
    suspend(subscription)
    assert Order.objects.get(subscription=subscription).action == "suspend"


def test_a_suspension_that_the_vendor_refuses_withdraws_it(begun, drain, suspend, emulator):
    subscription = begun("2027-01-15")
    refuse(emulator, "Pause")
    order = suspend(subscription, "2027-03-01")
    then = planned(subscription)
    drain()
    assert (fresh(order).status, fresh(then).status) == ("failed", "withdrawn")
    assert fresh(subscription).status == "active"
    [told] = events(subscription, "activate.withdrawn")
    assert told.reason == "The subscription was not suspended."


def test_a_suspension_that_is_given_up_withdraws_it(begun, suspend, cast):
    subscription = begun("2027-01-15")
    order = suspend(subscription, "2027-03-01")
    for status in ("in_progress", "needs_attention"):
        Order.objects.filter(pk=order.pk).update(status=status)
    lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="forget it")
    assert [one.status for one in Order.objects.order_by("pk")] == ["failed", "withdrawn"]


def test_what_is_planned_already_must_be_discarded_for_it(begun, drain, suspend, cast):
    subscription = begun("2027-01-15")
    old = lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    for choice, code, then in (
        ("", "order_scheduled", "Say what becomes of it."),
        ("keep", "cannot_keep", "It cannot be kept beside this."),
    ):
        with pytest.raises(NotAllowed) as refused:
            suspend(subscription, "2027-02-01", planned=choice)
        assert refused.value.code == code
        assert refused.value.sentence == f"A decrease to 20 seats is planned for 15 February 2027. {then}"
    suspend(subscription, "2027-02-01", planned="discard")
    assert (fresh(old).status, planned(subscription).action) == ("withdrawn", "activate")


def test_without_a_day_what_is_planned_stands_still(begun, suspend, cast):
    subscription = begun("2027-01-15")
    old = lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    suspend(subscription)
    assert fresh(old).status == "scheduled"


def test_beside_a_planned_end_no_activation_is_planned(begun, drain, suspend, cast):
    """Neither with the suspension nor later: the end would vanish silently."""
    subscription = begun("2027-01-15")
    wish = Wish(subscription.pk, "cancel", when="period_end")
    end = lifecycle.place(wish, actor=cast.owner, audience=STOREFRONT)
    with pytest.raises(NotAllowed) as refused:
        suspend(subscription, "2027-02-01", planned="discard")
    assert refused.value.code == "end_planned"
    assert refused.value.sentence.endswith("Nothing else can be planned beside it.")
    suspend(subscription)
    drain()
    activate = Wish(subscription.pk, "activate", when=date(2027, 2, 1), planned="discard")
    with pytest.raises(NotAllowed) as refused:
        lifecycle.place(activate, actor=cast.operator, audience=BSS)
    assert refused.value.order == end
    with pytest.raises(NotAllowed, match="It ends on 15 February 2027"):
        lifecycle.place(replace(activate, when=date(2027, 2, 15)), actor=cast.operator, audience=BSS)
    assert fresh(end).status == "scheduled"


@pytest.mark.parametrize(
    ("more", "sku", "day", "code"),
    [
        ({}, {}, "2027-01-15", "not_later"),
        ({}, {}, "2027-01-14", "past"),
        ({}, {}, "2028-01-17", "too_far_ahead"),
        ({"auto_renew": False}, {"term_months": 1}, "2027-02-15", "over_by_then"),
        ({"trial_ends": date(2027, 2, 1)}, {}, "2027-02-01", "over_by_then"),
    ],
)
def test_days_that_cannot_be_chosen(more, sku, day, code, begun, suspend):
    subscription = begun("2027-01-15", sku, **more)
    with pytest.raises(NotAllowed) as refused:
        suspend(subscription, day)
    assert refused.value.code == code
    assert not Order.objects.exists()


def test_the_last_day_before_the_end_can_be_chosen(begun, suspend):
    subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=False)
    suspend(subscription, "2027-02-14")
    assert planned(subscription).action == "activate"


def test_one_that_costs_so_much_that_it_needs_approval_is_planned_later(begun, drain, suspend, cast):
    subscription = begun("2027-01-15")
    subscription.sku.approval_limits.create(orders_from="43.75")
    with pytest.raises(NotAllowed, match="needs approval"):
        suspend(subscription, "2027-03-01")
    suspend(subscription, "2027-03-02")
    assert Order.objects.count() == 2


def test_activated_by_hand_before_the_day_the_plan_is_withdrawn(begun, drain, suspend, cast):
    subscription = begun("2027-01-15")
    suspend(subscription, "2027-02-01")
    drain()
    then = planned(subscription)
    lifecycle.place(Wish(subscription.pk, "activate"), actor=cast.operator, audience=BSS)
    drain()
    assert (fresh(subscription).status, fresh(then).status) == ("active", "withdrawn")


def test_taken_over_as_active_from_the_vendor_the_plan_is_withdrawn(begun, drain, suspend, cast):
    subscription = begun("2027-01-15")
    suspend(subscription, "2027-02-01")
    drain()
    then = planned(subscription)
    lifecycle.place(Wish(subscription.pk, "take_theirs", {"Status": "active"}), actor=cast.operator, audience=BSS)
    assert (fresh(subscription).status, fresh(then).status) == ("active", "withdrawn")


def test_a_plan_for_a_suspended_one_is_undone_by_staff_alone(begun, drain, suspend, cast):
    subscription = begun("2027-01-15")
    suspend(subscription, "2027-02-01")
    drain()
    with pytest.raises(NotAllowed, match="Your distributor planned this"):
        lifecycle.undo(planned(subscription).pk, actor=cast.owner, audience=STOREFRONT)
    lifecycle.undo(planned(subscription).pk, actor=cast.operator, audience=BSS)
    assert fresh(subscription).status == "suspended"
    assert not lines(subscription)


def test_what_is_charged_next_is_the_activation(begun, run, travel, drain, suspend):
    subscription = begun("2027-01-15")
    travel("2027-02-10")
    suspend(subscription, "2027-03-01")
    drain()
    about = actions.situation(fresh(subscription), actor=None, audience=actions.SYSTEM)
    found = quotes.next_charge(about, quotes.load([], [subscription.sku]))
    assert (found.amount, found.on) == ("EUR 43.75", date(2027, 3, 1))
