"""Orders that wait for approval: who decides, what happens then, and what the customer reads."""

from decimal import Decimal

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle, quotes, staff_groups
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import SKU, Charge
from tests.factories import ChargeFactory, OrderFactory, SKUFactory, SubscriptionFactory, UserFactory
from tests.test_bss_actions import hidden
from tests.test_bss_actions import url as change_url
from tests.test_bss_money import read

pytestmark = pytest.mark.django_db

ORDERS = reverse("admin:subscriptions_order_changelist")
WAITING = f"{ORDERS}?status=awaiting_approval"


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def page_of(order):
    return reverse("admin:subscriptions_order_change", args=[order.pk])


def url(stem, order, check=False):
    return reverse(f"admin:subscriptions_order_{stem}{'_check' if check else ''}", args=[order.pk])


def given(reason="", **more):
    return {"reason": reason, "idempotency_key": "6a7e0ef0-0000-4000-8000-000000000001", **more}


@pytest.fixture
def approver(cast, signed_in):
    return signed_in(cast.approver)


@pytest.fixture
def sold(cast, at_vendor):
    """A subscription of Acme whose cancels need approval, 25 seats at EUR 3.50, with a limit if there is one."""

    def make(limit=None, **sku):
        row = SKUFactory(**{"cancel_needs_approval": True} | sku)
        if limit:
            row.approval_limits.create(**limit)
        return at_vendor(SubscriptionFactory(account=cast.acme, sku=row))

    return make


@pytest.fixture
def waiting(sold, cast):
    """The customer's cancel, which waits; its period was charged."""
    subscription = sold(cancel_credit="by_days")
    ChargeFactory(subscription=subscription, kind="period", amount="87.50", covers_to=subscription.period_end)
    return lifecycle.place(Wish(subscription.pk, "cancel", reason="Too dear"), actor=cast.owner, audience=STOREFRONT)


# --- which orders wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        (None, "awaiting_approval"),
        ({"cancels_under": None}, "awaiting_approval"),
        ({"cancels_under": "87.50"}, "awaiting_approval"),
        ({"cancels_under": "87.51"}, "placed"),
        ({"cancels_under": "1000", "currency": "USD"}, "awaiting_approval"),
    ],
)
@pytest.mark.parametrize("audience", [STOREFRONT, BSS])
def test_cancels_under_an_amount_are_automatic_at_both_doors(limit, status, audience, sold, cast):
    actor = cast.owner if audience == STOREFRONT else cast.operator
    order = lifecycle.place(Wish(sold(limit).pk, "cancel", reason="x"), actor=actor, audience=audience)
    assert order.status == status


@pytest.mark.parametrize(("seats", "status"), [(29, "placed"), (30, "awaiting_approval")])
def test_orders_from_an_amount_on_wait(seats, status, sold, cast):
    subscription = sold({"orders_from": "17.50"})
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": seats}), actor=cast.owner, audience=STOREFRONT)
    assert order.status == status


def test_staff_read_before_they_place_it_that_somebody_else_decides(sold, cast, signed_in):
    subscription, operator = sold({"orders_from": "17.50"}), signed_in(cast.operator)
    page = operator.post(
        change_url("increase", subscription, check=True),
        {"seats": "30", "reason": "Offer", "version": str(subscription.version), **given("Offer")},
    )
    assert "Somebody else must approve this order" in read(page)
    order = operator.post(change_url("increase", subscription), hidden(page))
    words = read(operator.get(order.url))
    assert "Waiting for approval" in words
    assert "Will be charged when it is approved and the licence service confirms EUR 17.50" in words
    assert "Your staff group may not approve orders." in words


# --- the decision ----------------------------------------------------------------------------------------------------


def test_approved_it_goes_to_the_vendor_and_is_charged_as_quoted(waiting, approver, cast, drain, emulator):
    drain()
    assert not emulator.control.changes(waiting.subscription.subscriber_id)
    form = read(approver.get(url("approve", waiting)))
    assert "Cancel subscription: Status Active → Cancelled, ordered by Ana Kos, Storefront. Reason: Too dear" in form
    assert "Will be given back when it is approved and the licence service confirms EUR 87.50" in form
    check = approver.post(url("approve", waiting, check=True), given("Agreed"))
    assert f"Approve {waiting.number} and give back EUR 87.50 Change what you entered" in read(check)
    assert "Comment Agreed" in read(check)
    assert fresh(waiting).status == "awaiting_approval"
    first, second = (approver.post(url("approve", waiting), hidden(check)) for _ in range(2))
    assert first.url == second.url == page_of(waiting)
    assert Charge.objects.count() == 1
    drain()
    assert (fresh(waiting).status, fresh(waiting.subscription).status) == ("completed", "cancelled")
    assert [one.amount for one in waiting.charges.all()] == [Decimal("-87.50")]
    assert [one.kind for one in waiting.events.order_by("pk")] == [
        "cancel.awaiting_approval", "cancel.approved", "cancel.completed",
    ]  # fmt: skip
    event = waiting.events.get(kind="cancel.approved")
    assert (event.actor, event.reason) == (cast.approver, "Agreed")
    words = read(approver.get(page_of(waiting)))
    assert "Approved" in words
    assert "Approver, BSS Agreed" in words


def test_an_end_of_the_period_is_planned_when_it_is_approved(sold, approver, cast, drain):
    subscription = sold()
    wish = Wish(subscription.pk, "cancel", when=quotes.PERIOD_END)
    order = lifecycle.place(wish, actor=cast.owner, audience=STOREFRONT)
    assert fresh(subscription).status == "active"
    on = actions.date_words(subscription.period_end)
    check = approver.post(url("approve", order, check=True), given())
    assert f"It takes effect on {on}, and can be undone until then." in read(check)
    approver.post(url("approve", order), hidden(check))
    assert (fresh(order).status, fresh(subscription).status) == ("scheduled", "ending")


def test_rejected_the_customer_reads_why_and_nothing_happens(waiting, approver, cast, drain, emulator, signed_in):
    refused = approver.post(url("reject", waiting), given(" "))
    assert refused.status_code == 422
    assert "Enter a comment: the customer reads why." in read(refused)
    check = approver.post(url("reject", waiting, check=True), given("Runs until March by contract."))
    first, second = (approver.post(url("reject", waiting), hidden(check)) for _ in range(2))
    assert first.url == second.url == page_of(waiting)
    drain()
    assert (fresh(waiting).status, fresh(waiting.subscription).status) == ("rejected", "active")
    assert Charge.objects.count() == 1
    assert not emulator.control.changes(waiting.subscription.subscriber_id)
    receipt = read(signed_in(cast.owner).get(reverse("storefront:order", args=[waiting.pk])))
    assert "Runs until March by contract." in receipt
    assert "Not given back" in read(approver.get(page_of(waiting)))
    # What stood in the way is gone.
    lifecycle.place(Wish(waiting.subscription_id, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)


def test_a_start_that_is_rejected_never_begins(cast, approver, drain):
    sku = SKUFactory()
    sku.approval_limits.create(orders_from="10")
    order = lifecycle.start(cast.acme, sku, 12, actor=cast.owner, audience=STOREFRONT)
    assert order.status == "awaiting_approval"
    approver.post(url("reject", order), given("No credit."))
    drain()
    assert (fresh(order).status, fresh(order.subscription).status) == ("rejected", "cancelled")


def test_nobody_decides_about_their_own_order(sold, signed_in, cast):
    boss = UserFactory(is_staff=True, is_superuser=True)
    order = lifecycle.place(Wish(sold().pk, "cancel", reason="x"), actor=boss, audience=BSS)
    browser = signed_in(boss)
    assert "You placed this order yourself: somebody else must decide about it." in read(browser.get(page_of(order)))
    for stem in ("approve", "reject"):
        answer = browser.post(url(stem, order), given("Fine"))
        assert answer.status_code == 409
        assert "You placed this order yourself" in read(answer)
    assert fresh(order).status == "awaiting_approval"
    other = UserFactory(is_staff=True, is_superuser=True)
    assert signed_in(other).post(url("approve", order), given()).status_code == 302


@pytest.mark.parametrize("stem", ["approve", "reject"])
@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_only_approvers_decide(group, stem, waiting, cast, signed_in):
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    may = group == "Approver"
    assert browser.get(page_of(waiting)).status_code == 200
    for check in (True, False):
        answer = browser.post(url(stem, waiting, check=check), given("Because"))
        assert answer.status_code == ((200 if check else 302) if may else 403)
    assert (fresh(waiting).status != "awaiting_approval") == may


def test_customers_do_not(waiting, cast, signed_in):
    answer = signed_in(cast.owner).post(url("approve", waiting), given())
    assert (answer.status_code, fresh(waiting).status) == (302, "awaiting_approval")
    assert "login" in answer.url


def test_get_decides_nothing(waiting, approver):
    for stem in ("approve", "reject"):
        approver.get(url(stem, waiting), given("x"))
        assert approver.get(url(stem, waiting, check=True), given("x")).url == url(stem, waiting)
    assert fresh(waiting).status == "awaiting_approval"


@pytest.mark.parametrize("status", ["placed", "completed", "failed", "rejected", "withdrawn", "scheduled"])
@pytest.mark.parametrize("stem", ["approve", "reject"])
def test_what_does_not_wait_is_not_decided_about(stem, status, approver, cast):
    order = OrderFactory(subscription=SubscriptionFactory(account=cast.acme), status=status)
    answer = approver.post(url(stem, order), given("Because"))
    assert answer.status_code == 409
    words = f"{order.number} is {order.get_status_display().lower()}: there is nothing to decide."
    assert words in read(answer)
    assert fresh(order).status == status


def test_withdrawn_by_the_customer_meanwhile(waiting, approver, cast):
    check = approver.post(url("approve", waiting, check=True), given())
    lifecycle.undo(waiting.pk, actor=cast.owner, audience=STOREFRONT)
    answer = approver.post(url("approve", waiting), hidden(check))
    assert answer.status_code == 409
    assert f"{waiting.number} is withdrawn: there is nothing to decide." in read(answer)


@pytest.mark.parametrize(
    ("narrowed", "sentence"),
    [
        ({"seats_max": 29}, "This product allows at most 29 seats."),
        ({"seat_change": "unsupported"}, "The licence service cannot change the number of seats of this product."),
    ],
)
def test_what_has_become_impossible_is_refused_with_the_sentence(narrowed, sentence, sold, approver, cast):
    """Until then it waits, so that it can be rejected with a comment."""
    subscription = sold({"orders_from": "1"})
    order = lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=STOREFRONT)
    SKU.objects.filter(pk=subscription.sku_id).update(**narrowed)
    answer = approver.post(url("approve", order), given())
    assert answer.status_code == 409
    assert sentence in read(answer)
    assert fresh(order).status == "awaiting_approval"
    assert approver.post(url("reject", order), given("Not any more.")).status_code == 302


def test_staff_withdraw_what_they_have_asked_for(sold, cast, signed_in):
    order = lifecycle.place(Wish(sold().pk, "cancel", reason="x"), actor=cast.operator, audience=BSS)
    operator = signed_in(cast.operator)
    assert f'href="{url("undo", order)}"' in operator.get(page_of(order)).content.decode()
    operator.post(url("undo", order), given("Wrong one"))
    assert fresh(order).status == "withdrawn"


def test_nothing_else_is_placed_meanwhile(waiting, cast):
    with pytest.raises(NotAllowed) as refused:
        lifecycle.place(Wish(waiting.subscription_id, "suspend", reason="x"), actor=cast.operator, audience=BSS)
    assert refused.value.code == "awaiting_approval"


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_longest_waiting_come_first_page_by_page(approver, settings):
    made = [OrderFactory(status="awaiting_approval").pk for _ in range(60)]
    OrderFactory(status="completed")
    first = approver.get(WAITING)
    changes = first.context["cl"]
    assert [row.pk for row in changes.result_list] == made[:50]
    rest = approver.get(ORDERS + changes.next_url)
    assert [row.pk for row in rest.context["cl"].result_list] == made[50:]
    assert "Back to the first page" in rest.content.decode()


def test_the_list_reads_the_index_of_those_that_wait(approver, django_assert_num_queries):
    for _ in range(3):
        OrderFactory(status="awaiting_approval")
    with django_assert_num_queries(5) as asked:
        approver.get(WAITING)
    statements = " ".join(one["sql"].upper() for one in asked.captured_queries)
    assert "COUNT(" not in statements
    assert "OFFSET" not in statements


def test_the_start_page_says_how_many_wait(approver):
    assert "Awaiting approval</h2>" not in approver.get("/bss/").content.decode()
    made = [OrderFactory(status="awaiting_approval") for _ in range(8)]
    page = approver.get("/bss/").content.decode()
    assert "Awaiting approval</h2>" in page
    assert f'<a href="{WAITING}">All 8</a>' in page
    assert [order.number for order in made if f">{order.number}<" in page] == [order.number for order in made[:6]]
    for order in made[1:]:
        lifecycle.undo(order.pk, actor=None, audience=actions.SYSTEM)
    page = approver.get("/bss/").content.decode()
    assert f">{made[0].number}<" in page
    assert f">{made[1].number}<" not in page


def test_the_subscription_says_that_an_order_waits(waiting, approver):
    words = read(approver.get(reverse("admin:subscriptions_subscription_change", args=[waiting.subscription_id])))
    assert f"{waiting.number} waits for approval: Cancel subscription: Status Active → Cancelled." in words
    assert f"Decide about {waiting.number}" in words
