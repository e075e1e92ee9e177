"""Placing orders and applying what became of them, through the real worker code and the emulator."""

import uuid
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.forms.models import model_to_dict

from subscriptions import actions, clock, fulfilment, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Event, Order, Product, Subscription
from tests.factories import MemberFactory, OrderFactory, SKUFactory, SubscriptionFactory, VendorCallFactory

pytestmark = pytest.mark.django_db

CHANGES = [("increase", 30), ("decrease", 20)]


def columns(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def only_allow(emulator, *products):
    emulator.control.put_provider(replace(emulator.control.providers()[0], products=products or None))


@pytest.mark.parametrize(("stem", "seats"), CHANGES)
def test_seat_change_touches_seats_and_nothing_else(stem, seats, subscription, cast, drain, emulator):
    before, theirs = columns(fresh(subscription)), emulator.control.subscriber(subscription.subscriber_id)
    order = lifecycle.place(Wish(subscription.pk, stem, {"Seats": seats}), actor=cast.manager, audience=STOREFRONT)
    assert order.before == {"Seats": 25}
    assert order.after == {"Seats": seats}
    assert fresh(subscription).seats == 25
    drain()
    assert fresh(order).status == "completed"
    after = columns(fresh(subscription))
    # The highest count of the period is bookkeeping of ours, and grows with the seats.
    assert {name for name in after if after[name] != before[name]} - {"peak_seats"} == {"seats", "version"}
    assert after["seats"] == seats
    now_theirs = emulator.control.subscriber(subscription.subscriber_id)
    changed = {name for name, value in theirs.as_dict().items() if value != now_theirs.as_dict()[name]}
    assert changed == {"seats"}
    assert now_theirs.seats == seats
    assert len(emulator.control.changes(subscription.subscriber_id)) == 1


@pytest.mark.parametrize(
    ("stem", "status", "ours", "theirs"),
    [
        ("suspend", "active", "suspended", "Paused"),
        ("activate", "suspended", "active", "Started"),
        ("cancel", "active", "cancelled", "HardCancelled"),
        ("cancel", "suspended", "cancelled", "HardCancelled"),
    ],
)
def test_status_actions_reach_the_vendor_first(stem, status, ours, theirs, cast, at_vendor, drain, emulator):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, status=status))
    order = lifecycle.place(Wish(subscription.pk, stem, reason="late payer"), actor=cast.operator, audience=BSS)
    assert fresh(subscription).status == status
    drain()
    assert fresh(order).status == "completed"
    assert fresh(subscription).status == ours
    assert emulator.control.subscriber(subscription.subscriber_id).status == theirs
    assert fresh(subscription).activation_code == subscription.activation_code
    assert list(Event.objects.filter(order=order).order_by("pk").values_list("kind", "actor", "reason")) == [
        (f"{stem}.placed", cast.operator.pk, "late payer"),
        (f"{stem}.completed", None, ""),
    ]


def test_start_provisions_and_keeps_the_code_encrypted(cast, drain, emulator):
    sku = SKUFactory()
    order = lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS, reason="contract 7")
    assert order.subscription.status == "pending"
    drain()
    subscription = fresh(order.subscription)
    assert subscription.status == "active"
    assert subscription.started_at == fresh(order).first_sent_at
    theirs = datetime.fromisoformat(emulator.control.subscriber(subscription.subscriber_id).start)
    assert abs(theirs - subscription.started_at) < timedelta(milliseconds=1)
    code = emulator.control.subscriber(subscription.subscriber_id).activation_code
    assert subscription.activation_code.reveal() == code
    with connection.cursor() as cursor:
        cursor.execute("SELECT activation_code FROM subscriptions_subscription WHERE id = %s", [subscription.pk])
        assert code.encode() not in bytes(cursor.fetchone()[0])
    call = order.vendor_calls.get()
    assert code not in call.answered
    assert code[-5:] in call.answered


def test_start_refused_by_the_vendor_fails_and_can_be_given_up(cast, drain, emulator):
    sku = SKUFactory()
    only_allow(emulator, "another product")
    order = lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS)
    drain()
    assert (fresh(order).status, fresh(order.subscription).status) == ("failed", "failed")
    assert (fresh(order).outcome_code, fresh(order).needs_staff) == ("9", True)
    lifecycle.give_up(order.pk, actor=cast.operator, audience=BSS, reason="wrong product")
    assert (fresh(order).status, fresh(order.subscription).status) == ("failed", "cancelled")
    assert fresh(order).needs_staff is False


def test_start_can_be_retried_after_the_cause_is_mended(cast, drain, emulator):
    sku = SKUFactory()
    only_allow(emulator, "another product")
    order = lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS)
    drain()
    only_allow(emulator)
    lifecycle.retry(order.pk, actor=cast.support, audience=BSS, reason="mended")
    assert fresh(order.subscription).status == "pending"
    drain()
    assert (fresh(order).status, fresh(order.subscription).status) == ("completed", "active")
    assert order.vendor_calls.count() == 2
    assert fresh(order).operation_id == order.operation_id


def test_same_key_of_a_person_is_one_order(subscription, cast):
    key = uuid.uuid4()
    wish = Wish(subscription.pk, "increase", {"Seats": 30}, version=subscription.version, idempotency_key=key)
    first = lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT)
    assert lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT) == first
    with pytest.raises(NotAllowed, match="being applied") as caught:
        lifecycle.place(wish, actor=cast.owner, audience=STOREFRONT)
    assert caught.value.order == first


def test_same_key_starts_one_subscription(cast):
    sku, key = SKUFactory(), uuid.uuid4()
    orders = [
        lifecycle.start(cast.acme, sku, 12, actor=cast.operator, audience=BSS, idempotency_key=key) for _ in range(2)
    ]
    assert orders[0] == orders[1]
    assert Subscription.objects.count() == 1


def test_stale_page_is_refused(subscription, cast, drain):
    seen = subscription.version
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.manager, audience=STOREFRONT)
    drain()
    with pytest.raises(NotAllowed) as caught:
        lifecycle.place(
            Wish(subscription.pk, "increase", {"Seats": 40}, version=seen), actor=cast.owner, audience=STOREFRONT
        )
    assert caught.value.code == "stale"
    assert Order.objects.count() == 1


def test_refused_rows_do_not_touch_their_neighbours(cast, at_vendor, drain):
    rows = [
        at_vendor(SubscriptionFactory(account=cast.acme, status=status)) for status in ("active", "suspended", "active")
    ]
    wishes = [Wish(row.pk, "suspend", reason="late") for row in rows] + [
        Wish(rows[0].pk, "suspend"),
        Wish(0, "suspend"),
    ]
    results = lifecycle.place_many(wishes, actor=cast.operator, audience=BSS)
    assert [one.code if isinstance(one, NotAllowed) else one.status for one in results] == [
        "placed", "suspended", "placed", "repeated", "unknown",
    ]  # fmt: skip
    drain()
    assert [fresh(row).status for row in rows] == ["suspended"] * 3


def test_refused_change_leaves_our_record(subscription, cast, drain, emulator):
    emulator.control.pause(subscription.subscriber_id)
    order = lifecycle.place(Wish(subscription.pk, "suspend", reason="late"), actor=cast.operator, audience=BSS)
    drain()
    # 402, already paused: the target exists, so a read settles it.
    assert fresh(order).status == "completed"
    assert [one.evidence for one in order.vendor_calls.order_by("pk")] == ["", "target"]


def test_failed_cancel_never_shows_cancelled(cast, at_vendor, drain, emulator):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme))
    emulator.control.add_fault("soap-fault-client", kinds=["HardCancel"])
    order = lifecycle.place(Wish(subscription.pk, "cancel"), actor=cast.owner, audience=STOREFRONT)
    drain()
    assert fresh(order).status == "failed"
    assert fresh(subscription).status == "active"
    assert fresh(subscription).cancelled_at is None


@pytest.mark.parametrize(
    ("planned", "when", "after", "status"),
    [("decrease", None, {"Seats": 20}, "active"), ("cancel", quotes.PERIOD_END, {}, "ending")],
)
def test_a_cancel_withdraws_what_is_planned_only_when_it_is_done(
    planned, when, after, status, cast, at_vendor, drain, emulator
):
    sku = SKUFactory(decrease_policy="next_period")
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, sku=sku))
    plan = lifecycle.place(Wish(subscription.pk, planned, after, when=when), actor=cast.owner, audience=STOREFRONT)
    ends_at = fresh(subscription).ends_at
    emulator.control.add_fault("soap-fault-client", kinds=["HardCancel"])
    cancel = lifecycle.place(Wish(subscription.pk, "cancel"), actor=cast.owner, audience=STOREFRONT)
    assert fresh(subscription).status == status
    drain()
    assert (fresh(cancel).status, fresh(plan).status) == ("failed", "scheduled")
    assert (fresh(subscription).status, fresh(subscription).ends_at) == (status, ends_at)
    lifecycle.place(Wish(subscription.pk, "cancel"), actor=cast.owner, audience=STOREFRONT)
    drain()
    assert (fresh(subscription).status, fresh(plan).status) == ("cancelled", "withdrawn")
    assert fresh(subscription).ends_at == fresh(subscription).cancelled_at
    event = Event.objects.get(kind=f"{planned}.withdrawn")
    assert (event.order, event.reason, event.actor) == (plan, "The subscription is over.", None)


def test_what_is_planned_is_withdrawn_when_the_vendor_has_ended_it(cast, at_vendor, emulator, empty_queue):
    sku = SKUFactory(decrease_policy="next_period")
    subscription = at_vendor(SubscriptionFactory(account=cast.acme, sku=sku))
    plan = lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    lifecycle.place(Wish(subscription.pk, "take_theirs", {"Status": "cancelled"}), actor=cast.operator, audience=BSS)
    assert (fresh(subscription).status, fresh(plan).status) == ("cancelled", "withdrawn")


def test_what_ends_already_is_not_planned_to_end_once_more(cast, at_vendor, emulator, empty_queue):
    subscription = at_vendor(SubscriptionFactory(account=cast.acme))
    wish = Wish(subscription.pk, "cancel", when=quotes.PERIOD_END)
    plan = lifecycle.place(wish, actor=cast.owner, audience=STOREFRONT)
    suspended = SubscriptionFactory(account=cast.acme, status="suspended", ends_at=clock.now() + timedelta(days=9))
    for one in (subscription, suspended):
        with pytest.raises(NotAllowed) as refused:
            lifecycle.place(replace(wish, subscription_id=one.pk), actor=cast.owner, audience=STOREFRONT)
        assert refused.value.code == "ending"
    assert fresh(plan).status == "scheduled"


def test_actor_is_required():
    with pytest.raises(TypeError):
        lifecycle.place(Wish(1, "cancel"))


def test_code_is_revealed_with_an_event_and_mailed_by_the_worker(subscription, cast, drain, mailoutbox, emulator):
    code = lifecycle.reveal_code(subscription, "shown", actor=cast.manager, audience=STOREFRONT)
    assert code == subscription.activation_code
    member = cast.owner.memberships.get()
    lifecycle.mail_code(subscription, member, actor=cast.manager, audience=STOREFRONT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT args::text FROM procrastinate_jobs")
        [(arguments,)] = cursor.fetchall()
    assert code.reveal() not in arguments
    drain()
    [mail] = mailoutbox
    assert mail.to == [cast.owner.email]
    assert code.reveal() in mail.body
    assert code.reveal() not in mail.subject
    assert list(Event.objects.order_by("pk").values_list("kind", "actor")) == [
        ("code.shown", cast.manager.pk),
        ("code.mailed", cast.manager.pk),
    ]
    assert code.reveal() not in str([model_to_dict(event) for event in Event.objects.all()])


@pytest.mark.parametrize("role", ["viewer", "billing", "buyer"])
def test_code_is_for_owners_and_managers(role, subscription, cast):
    with pytest.raises(NotAllowed, match="Ask Ana Kos"):
        lifecycle.reveal_code(subscription, "shown", actor=cast.people[role], audience=STOREFRONT)
    with pytest.raises(NotAllowed, match="may not see"):
        lifecycle.mail_code(subscription, cast.people[role].memberships.get(), actor=cast.owner, audience=STOREFRONT)
    assert not Event.objects.exists()


def test_buyer_sees_the_code_of_what_they_ordered(cast, at_vendor):
    mine = at_vendor(SubscriptionFactory(account=cast.acme, ordered_by=cast.buyer))
    assert lifecycle.reveal_code(mine, "shown", actor=cast.buyer, audience=STOREFRONT)


def test_customer_codes_hide_while_suspended_and_after_cancelling(cast):
    for status in ("suspended", "cancelled"):
        subscription = SubscriptionFactory(account=cast.acme, status=status)
        with pytest.raises(NotAllowed) as caught:
            lifecycle.reveal_code(subscription, "shown", actor=cast.owner, audience=STOREFRONT)
        assert caught.value.code == status
        assert lifecycle.reveal_code(subscription, "shown", actor=cast.operator, audience=BSS)


def test_role_in_another_account_opens_nothing(subscription, cast):
    MemberFactory(account=cast.globex, user=cast.viewer, role="owner")
    with pytest.raises(NotAllowed) as caught:
        lifecycle.place(Wish(subscription.pk, "cancel"), actor=cast.viewer, audience=STOREFRONT)
    assert caught.value.code == "role"
    about = actions.situation(subscription, actor=cast.stranger, audience=STOREFRONT)
    assert about.role is None


def test_start_given_up_and_wanted_after_all_is_sent_under_a_new_transaction(cast, drain, emulator):
    order = OrderFactory(
        subscription__account=cast.acme,
        subscription__status="pending",
        action="start",
        status="needs_attention",
        before={"Seats": 0},
        after={"Seats": 25},
        abandoned=True,
        generation=2,
    )
    VendorCallFactory(order=order, transaction_id=f"{order.operation_id}-2", outcome="unknown", finished_at=clock.now())
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="wanted after all")
    assert (fresh(order).generation, fresh(order).abandoned) == (3, False)
    drain()
    assert (fresh(order).status, fresh(order.subscription).status) == ("completed", "active")
    [change] = emulator.control.changes(order.subscription.subscriber_id)
    assert change.transaction_id == f"{order.operation_id}-3"


def test_sku_narrowed_under_a_running_order_needs_a_person_and_is_mended_by_one(subscription, cast, drain, emulator):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 400}), actor=cast.owner, audience=STOREFRONT)
    sku = subscription.sku
    sku.seats_max = 100
    sku.save()
    drain()
    assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "outside_range")
    assert "400 seats" in fresh(order).outcome_message
    assert fresh(subscription).seats == 25
    sku.seats_max = 400
    sku.save()
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="widened")
    drain()
    assert (fresh(order).status, fresh(subscription).seats) == ("completed", 400)
    assert len(emulator.control.changes(subscription.subscriber_id)) == 1


def test_code_is_not_mailed_to_somebody_who_was_switched_off(subscription, cast, drain, mailoutbox):
    member = cast.owner.memberships.get()
    lifecycle.mail_code(subscription, member, actor=cast.operator, audience=BSS)
    cast.owner.is_active = False
    cast.owner.save()
    drain()
    assert mailoutbox == []
    member.refresh_from_db()
    with pytest.raises(NotAllowed, match="may not see"):
        lifecycle.mail_code(subscription, member, actor=cast.operator, audience=BSS)


def test_product_name_with_a_line_break_does_not_break_the_mail(subscription, cast, drain, mailoutbox):
    Product.objects.filter(pk=subscription.sku.product_id).update(name="Endpoint\nSecurity")
    lifecycle.mail_code(subscription, cast.owner.memberships.get(), actor=cast.operator, audience=BSS)
    drain()
    assert mailoutbox[0].subject == f"Activation code for Endpoint Security ({subscription.number})"


def test_order_that_cannot_be_said_to_the_vendor_needs_attention(subscription, cast, drain, settings):
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    Product.objects.filter(pk=subscription.sku.product_id).update(vendor="somebody else")
    drain()
    assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "unsendable")


def test_retry_after_a_change_by_others_is_sent_anew(subscription, cast, drain, emulator):
    emulator.control.add_fault("applied-closed", kinds=["Activate"])
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    fulfilment.fulfil(order.pk)
    emulator.control.set_seats(subscription.subscriber_id, 58)
    drain()
    assert (fresh(order).status, fresh(order).outcome_code) == ("needs_attention", "neither")
    lifecycle.retry(order.pk, actor=cast.operator, audience=BSS, reason="ours is right")
    drain()
    assert fresh(order).status == "completed"
    assert emulator.control.subscriber(subscription.subscriber_id).seats == 30
