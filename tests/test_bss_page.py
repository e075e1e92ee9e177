"""The subscription page: the menu at its left, and everything that staff read there."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from subscriptions import actions, clock, lifecycle
from subscriptions.lifecycle import Wish
from tests.factories import ChargeFactory, OrderFactory, SubscriptionFactory, VendorCallFactory

pytestmark = pytest.mark.django_db

LABELS = ["Increase seats", "Decrease seats", "Suspend", "Activate", "Cancel subscription", "Get details"]


def url(subscription):
    return reverse("admin:subscriptions_subscription_change", args=[subscription.pk])


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def menu(page, part=""):
    """(label, what stands below it, is it a link) for each line of the wide menu, or of its "further" part."""
    begins = f'<ul class="shortcut-list {part and f"shortcut-{part} "}shortcut-wide"'
    if begins not in page:
        return []
    nav = page[page.index(begins) :]
    lines = re.findall(r"<li>(.*?)</li>", nav[: nav.index("</ul>")], re.DOTALL)
    found = []
    for line in lines:
        words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "|", line)).strip(" |")
        parts = [part.strip() for part in words.split("|") if part.strip()]
        found.append((parts[0], parts[1] if len(parts) > 1 else "", "href" in line.split("</strong>")[0]))
    return found


def record(subscription, **more):
    return {
        "status": "Started",
        "seats": subscription.seats,
        "product": subscription.sku.vendor_product_id,
        "starts_at": None,
        "ends_at": "indefinite",
        **more,
    }


@pytest.mark.parametrize(
    ("status", "possible"),
    [
        ("pending", {"Get details"}),
        ("active", {"Increase seats", "Decrease seats", "Suspend", "Cancel subscription", "Get details"}),
        ("suspended", {"Activate", "Cancel subscription", "Get details"}),
        ("failed", {"Get details"}),
        ("cancelled", {"Get details"}),
    ],
)
def test_the_same_six_actions_in_the_same_order(status, possible, operator, stock):
    lines = menu(operator.get(url(getattr(stock, status))).content.decode())
    assert [label for label, _, _ in lines] == LABELS
    assert {label for label, _, linked in lines if linked} == possible
    for _, reason, linked in lines:
        assert linked or reason


def test_whoever_may_not_reads_why(cast, signed_in, stock):
    lines = menu(signed_in(cast.auditor).get(url(stock.active)).content.decode())
    assert [label for label, _, _ in lines] == LABELS
    assert all("Your staff group may not" in reason for _, reason, _ in lines)


def test_an_open_order_stands_beside_the_status(operator, stock, cast):
    order = lifecycle.place(
        Wish(stock.active.pk, "increase", {"Seats": 30}), actor=cast.owner, audience=actions.STOREFRONT
    )
    page = operator.get(url(stock.active)).content.decode()
    assert "increasing to 30" in page
    assert f"{order.number} is under way" in page
    assert "Ana Kos, Storefront" in page


def test_the_open_order_is_known_whatever_came_after(operator, stock):
    """The page reads the orders once and finds the open one among them."""
    held = OrderFactory(subscription=stock.active, status="needs_attention", outcome_message="Two records.")
    for _ in range(15):
        OrderFactory(subscription=stock.active)
    page = operator.get(url(stock.active)).content.decode()
    assert f"{held.number} needs attention: Two records." in page
    assert all(not linked for label, _, linked in menu(page) if label != "Get details")


def test_same_differs_or_never_asked(operator, cast):
    never = SubscriptionFactory(account=cast.acme)
    assert "Vendor: not asked" in text(operator.get(url(never)))
    at = clock.now() - timedelta(hours=2)
    same = SubscriptionFactory(account=cast.acme)
    same = SubscriptionFactory(account=cast.acme, sku=same.sku, vendor_record=record(same), vendor_read_at=at)
    assert f"Vendor: same as of {at.day} {at:%b %Y, %H:%M}" in text(operator.get(url(same)))
    drifted = SubscriptionFactory(
        account=cast.acme, sku=same.sku, vendor_record=record(same, seats=99), vendor_read_at=at
    )
    page = text(operator.get(url(drifted)))
    assert "Vendor: differs as of" in page
    assert "The licence service's record differs from ours." in page


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&#x27;", "'")


def test_who_when_why_and_how_it_went(operator, subscription, cast, drain):
    lifecycle.place(
        Wish(subscription.pk, "increase", {"Seats": 30}, reason="Ticket 9"), actor=cast.operator, audience=actions.BSS
    )
    drain()
    lifecycle.reveal_code(subscription, "shown", actor=cast.operator, audience=actions.BSS)
    page = text(operator.get(url(subscription)))
    for said in (
        "Seats 25 → 30",
        "Operator, BSS",
        "Ticket 9",
        "Increase seats placed",
        "Increase seats completed",
        "Activation code shown",
        "Carry out the order",
    ):
        assert said in page
    assert "FAKE0-AAAAA" not in page


def test_the_timeline_says_days_in_words(operator, subscription):
    subscription.events.create(
        account=subscription.account, kind="period.billed", at=clock.now(), before={"Period": "2026-09-26"},
        after={"Period": "2026-10-26"},
    )  # fmt: skip
    page = operator.get(url(subscription)).content.decode()
    assert "Period 26 September 2026 → 26 October 2026" in page


def test_nothing_on_the_page_can_be_edited(operator, stock):
    page = operator.get(url(stock.active)).content.decode()
    assert not re.findall(r'<(?:input|select|textarea)(?![^>]*(?:type="hidden"|name="q"))', page)
    assert operator.post(url(stock.active), {"status": "cancelled", "seats": "1"}).status_code == 405
    assert type(stock.active).objects.get(pk=stock.active.pk).status == "active"


def fill(subscription, rows):
    for _ in range(rows):
        order = OrderFactory(subscription=subscription)
        VendorCallFactory(order=order, outcome="done")
        ChargeFactory(subscription=subscription)
        lifecycle.reveal_code(subscription, "shown", actor=subscription.ordered_by, audience=actions.SYSTEM)


def test_the_same_number_of_queries_whatever_the_history(cast, signed_in, django_assert_num_queries):
    operator = signed_in(cast.operator)
    short = SubscriptionFactory(account=cast.acme, ordered_by=cast.buyer)
    long = SubscriptionFactory(account=cast.acme, ordered_by=cast.buyer, vendor_record=None)
    fill(short, 2)
    fill(long, 60)
    # Session, person, two for permissions; subscription, orders, events, vendor calls, charges, prices, and the SKUs
    # that it can change to.
    for subscription in (short, long):
        with django_assert_num_queries(11):
            assert operator.get(url(subscription)).status_code == 200


@pytest.mark.parametrize("wrong", ["999999", "0", "abc", "1_2F"])
def test_what_does_not_exist_is_404(wrong, operator, stock):
    assert operator.get(f"/bss/subscriptions/subscription/{wrong}/change/").status_code == 404
