"""Who may, when, and the sentence that says why not."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from subscriptions import actions, staff_groups
from subscriptions.actions import BSS, COMMAND, STOREFRONT, SYSTEM, NotAllowed
from subscriptions.models import SKU, Account, Product, Subscription
from tests.factories import OrderFactory, SKUFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

STAFF_ONLY = {
    "suspend", "activate", "details", "retry", "give_up", "approve", "reject", "correct", "take_theirs", "push_ours",
}  # fmt: skip


def refusal(action, subscription, actor, audience, order=None):
    found = action.why_not(actions.situation(subscription, actor=actor, audience=audience, order=order))
    return found.code if found else None


def sentence(action, subscription, actor, audience):
    return action.why_not(actions.situation(subscription, actor=actor, audience=audience)).sentence


# What product.md, section 4, says for a person who may do everything: status -> code of the refusal, None if possible.
BY_STATUS = {
    "increase": {"active": None, "pending": "not_provisioned", "suspended": "suspended", "failed": "failed",
                 "cancelled": "cancelled", "ending": "status", "expired": "expired"},
    "cancel": {"active": None, "suspended": None, "ending": None, "pending": "not_provisioned", "failed": "failed",
               "cancelled": "cancelled", "expired": "expired"},
    "suspend": {"active": None, "ending": None, "suspended": "suspended", "pending": "not_provisioned",
                "failed": "failed", "cancelled": "cancelled", "expired": "expired"},
    "activate": {"suspended": None, "active": "not_suspended", "pending": "not_provisioned", "failed": "failed",
                 "cancelled": "cancelled", "ending": "not_suspended", "expired": "expired"},
}  # fmt: skip
BY_STATUS["decrease"] = BY_STATUS["increase"]


@pytest.mark.parametrize("stem", sorted(BY_STATUS))
@pytest.mark.parametrize("status", ["active", "pending", "suspended", "failed", "cancelled", "ending", "expired"])
def test_status_decides(stem, status, cast):
    subscription = SubscriptionFactory(account=cast.acme, status=status)
    assert refusal(actions.ACTIONS[stem], subscription, cast.operator, BSS) == BY_STATUS[stem][status]


def test_every_refusal_is_a_sentence_that_ends(cast, stock):
    for subscription in vars(stock).values():
        for audience, people in ((STOREFRONT, ("owner", "viewer")), (BSS, ("operator", "auditor"))):
            for person in people:
                about = actions.situation(subscription, actor=cast.people[person], audience=audience)
                for action in actions.ACTIONS.values():
                    if found := action.why_not(about):
                        assert re.fullmatch(r"[A-Z“].*[.]", found.sentence), found.sentence
                        assert "None" not in found.sentence


def test_roles_of_customers(cast):
    subscription = SubscriptionFactory(account=cast.acme)
    for action in actions.STOREFRONT_MENU:
        for role in ("owner", "manager", "buyer", "billing", "viewer"):
            code = refusal(action, subscription, cast.people[role], STOREFRONT)
            assert (code is None) == (role in ("owner", "manager")), (action.stem, role)
            assert code in (None, "role")
        assert refusal(action, subscription, cast.stranger, STOREFRONT) == "role"
    assert sentence(actions.INCREASE, subscription, cast.viewer, STOREFRONT) == (
        "Only people with the Owner or Manager role can change seats. Ask Ana Kos."
    )


@pytest.mark.parametrize("stem", sorted(STAFF_ONLY))
def test_staff_actions_do_not_exist_for_customers(stem, cast):
    subscription = SubscriptionFactory(account=cast.acme)
    assert refusal(actions.ACTIONS[stem], subscription, cast.owner, STOREFRONT) == "audience"
    about = actions.situation(subscription, actor=cast.owner, audience=STOREFRONT)
    assert STAFF_ONLY.isdisjoint(one.action.stem for one in actions.offers(actions.ACTIONS.values(), about))


def test_one_permission_for_each_action_and_groups_from_the_table(cast):
    subscription = SubscriptionFactory(account=cast.acme)
    for stem, action in actions.ACTIONS.items():
        for group, codenames in staff_groups.STAFF_GROUPS.items():
            person = cast.people[group.lower().replace(" ", "_")]
            allowed = f"{stem}_subscription" in codenames
            assert (refusal(action, subscription, person, BSS) != "permission") == allowed, (stem, group)
    assert {one for one in staff_groups.STAFF_GROUPS["Support"] if not one.startswith("view_")} == {
        "details_subscription", "retry_subscription",
    }  # fmt: skip
    assert all(one.startswith("view_") for one in staff_groups.STAFF_GROUPS["Auditor"])
    # A staff member without a group, and a customer who guesses a BSS address, get nothing.
    assert refusal(actions.SUSPEND, subscription, cast.owner, BSS) == "permission"


def test_groups_are_put_right_after_each_migrate():
    group = Group.objects.get(name="Auditor")
    group.permissions.add(*Group.objects.get(name="Operator").permissions.all())
    call_command("migrate", verbosity=0)
    assert {one.codename for one in group.permissions.all()} == set(staff_groups.STAFF_GROUPS["Auditor"])


def test_groups_have_all_that_the_table_says_and_less_after_a_migration_back():
    for name, codenames in staff_groups.STAFF_GROUPS.items():
        assert {one.codename for one in Group.objects.get(name=name).permissions.all()} == set(codenames)
    Permission.objects.filter(codename="view_drift").delete()
    staff_groups.apply_staff_groups()
    assert "view_drift" not in {one.codename for one in Group.objects.get(name="Auditor").permissions.all()}


def test_limits_have_their_sentences(cast):
    sku = SKUFactory(seats_min=5, seats_max=500)
    least, most = (SubscriptionFactory(account=cast.acme, sku=sku, seats=seats) for seats in (5, 500))
    assert sentence(actions.DECREASE, least, cast.owner, STOREFRONT) == (
        "You have 5 seats, and 5 is the smallest number for this product."
    )
    # Staff read about somebody else's.
    assert sentence(actions.DECREASE, least, cast.operator, BSS) == (
        "It has 5 seats, and 5 is the smallest number for this product."
    )
    assert sentence(actions.INCREASE, most, cast.owner, STOREFRONT) == "This product allows at most 500 seats."
    assert refusal(actions.INCREASE, least, cast.owner, STOREFRONT) is None
    assert refusal(actions.DECREASE, most, cast.owner, STOREFRONT) is None


@pytest.mark.parametrize("status", ["placed", "in_progress", "awaiting_approval", "needs_attention"])
def test_open_order_stands_in_the_way(status, cast):
    order = OrderFactory(subscription__account=cast.acme, status=status)
    expected = status if status in ("needs_attention", "awaiting_approval") else "order_open"
    for action in (actions.INCREASE, actions.DECREASE, actions.CANCEL):
        found = action.why_not(actions.situation(order.subscription, actor=cast.owner, audience=STOREFRONT))
        assert (found.code, found.order) == (expected, order)
        if status == "needs_attention":
            assert found.sentence == (
                "The last change is not done yet. We are finding out what became of it; nothing was charged."
            )
    # The code stays in reach: a change under way does not touch it.
    assert refusal(actions.CODE, order.subscription, cast.owner, STOREFRONT) is None


def test_suspend_does_not_send_to_activate(cast):
    subscription = SubscriptionFactory(account=cast.acme, status="suspended")
    assert sentence(actions.SUSPEND, subscription, cast.operator, BSS) == "Suspended already."
    assert sentence(actions.INCREASE, subscription, cast.operator, BSS) == "Suspended. Activate it first."


def test_times_are_the_accounts_for_customers_and_utc_for_staff(cast):
    cast.acme.time_zone = "Asia/Tokyo"
    cast.acme.save()
    placed_at = datetime(2026, 11, 24, 20, 2, tzinfo=UTC)
    order = OrderFactory(subscription__account=cast.acme, status="placed", placed_at=placed_at)
    assert "since 05:02." in sentence(actions.INCREASE, order.subscription, cast.owner, STOREFRONT)
    assert "since 20:02 UTC." in sentence(actions.INCREASE, order.subscription, cast.operator, BSS)


def test_capabilities_are_the_vendors_and_the_skus(cast):
    subscription = SubscriptionFactory(account=cast.acme, sku=SKUFactory(can_suspend=False, seat_change="unsupported"))
    assert sentence(actions.SUSPEND, subscription, cast.operator, BSS) == (
        "The licence service cannot suspend this product."
    )
    for action in (actions.INCREASE, actions.DECREASE):
        assert refusal(action, subscription, cast.owner, STOREFRONT) == "vendor_cannot"


@pytest.mark.parametrize("status", ["placed", "in_progress", "completed", "rejected", "withdrawn"])
def test_retry_and_give_up_are_for_orders_that_need_them(status, cast):
    order = OrderFactory(subscription__account=cast.acme, status=status)
    for action in (actions.RETRY, actions.GIVE_UP):
        assert refusal(action, order.subscription, cast.operator, BSS, order) == "order_status"
        assert refusal(action, order.subscription, cast.owner, STOREFRONT, order) == "audience"


def test_a_failed_increase_is_not_retried(cast):
    order = OrderFactory(subscription__account=cast.acme, status="failed")
    assert refusal(actions.RETRY, order.subscription, cast.operator, BSS, order) == "order_status"


def test_console_and_system_need_no_role(cast):
    subscription = SubscriptionFactory(account=cast.acme)
    assert refusal(actions.SUSPEND, subscription, None, COMMAND) is None
    assert refusal(actions.SUSPEND, subscription, None, SYSTEM) is None


@pytest.mark.parametrize("rows", [2, 40])
def test_situations_ask_the_same_for_many(rows, cast, django_assert_num_queries):
    sku = SKUFactory()
    for _ in range(rows):
        SubscriptionFactory(account=cast.acme, sku=sku)
    found = list(Subscription.objects.select_related("sku__product", "account"))
    with django_assert_num_queries(2):
        about = actions.situations(found, actor=cast.owner, audience=STOREFRONT)
        assert all(offer.refusal is None for one in about for offer in actions.offers(actions.STOREFRONT_MENU, one))


# --- seats as people type them ---------------------------------------------------------------------------------------


def unsaved(have=25, least=5, most=500):
    product = Product(name="P")
    sku = SKU(product=product, seats_min=least, seats_max=most)
    return Subscription(account=Account(name="A"), sku=sku, seats=have, status="active")


BAD = [
    "",
    " ",
    "25",
    "0",
    "-5",
    "+30",
    "4",
    "501",
    "1e3",
    "1,000",
    "30.0",
    "٣٠",
    "³",
    "10000000000000",
    "9" * 400,
    "thirty",
]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(("action", "allowed"), [(actions.INCREASE, "26 to 500"), (actions.DECREASE, "5 to 24")])
def test_bad_input_names_the_allowed_range(text, action, allowed):
    with pytest.raises(NotAllowed) as caught:
        actions.read_seats(action, unsaved(), text)
    assert allowed in caught.value.sentence
    assert len(caught.value.sentence) < 150


def test_zero_seats_leads_to_cancel():
    with pytest.raises(NotAllowed, match="cancel the subscription") as caught:
        actions.read_seats(actions.DECREASE, unsaved(), "0")
    assert caught.value.code == "zero"


def test_a_range_of_one_number_says_so():
    with pytest.raises(NotAllowed, match=r"The only possible number is 5\."):
        actions.read_seats(actions.DECREASE, unsaved(have=6), "6")


@given(have=st.integers(1, 700), least=st.integers(1, 600), width=st.integers(0, 600), seats=st.integers(0, 1300))
def test_seats_are_accepted_exactly_inside_the_range(have, least, width, seats):
    about = unsaved(have, least, least + width)
    for action, right in (
        (actions.INCREASE, have < seats <= least + width and seats >= least),
        (actions.DECREASE, least <= seats < have and seats <= least + width),
        (actions.START, least <= seats <= least + width),
    ):
        assert (actions.why_not_seats(action, about, seats) is None) == right
        try:
            assert actions.read_seats(action, about, f" {seats} ") == seats
            assert right
        except NotAllowed:
            assert not right


@given(st.text(max_size=30))
def test_no_text_is_taken_for_a_number_it_is_not(text):
    try:
        seats = actions.read_seats(actions.START, unsaved(), text)
    except NotAllowed:
        return
    assert re.fullmatch(r"\s*0*[1-9][0-9]*\s*", text)
    assert int(text) == seats
    assert 5 <= seats <= 500


def test_seats_beyond_a_narrowed_sku_can_go_down_into_its_range():
    about = unsaved(have=400, least=5, most=100)
    assert actions.seat_range(actions.DECREASE, about) == (5, 100)
    with pytest.raises(NotAllowed, match=r"at most 100 seats\. Enter a whole number from 5 to 100"):
        actions.read_seats(actions.DECREASE, about, "200")
    assert actions.read_seats(actions.DECREASE, about, "100") == 100
