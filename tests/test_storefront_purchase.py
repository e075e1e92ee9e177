"""Buying in the Storefront: seats, company details, the check page, the order; what was shown is what is charged."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.models import SKU, Account, Charge, Member, Order, PriceBand, Product, Subscription
from tests.factories import (
    AccountFactory,
    MemberFactory,
    OrderFactory,
    PriceBandFactory,
    SKUFactory,
    SubscriptionFactory,
)

pytestmark = pytest.mark.django_db


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def url(sku, page="check"):
    return reverse(f"storefront:start_{page}" if page else "storefront:start", args=[sku.pk])


def text(page: str) -> str:
    """What is read on a page."""
    main = page.split("<main")[1].split("</main>")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main)))


def form(page: str) -> dict[str, str]:
    """What the button of the check page sends."""
    main = page.split("<main")[1].split("</main>")[0]
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', main)
    return {name: unescape(value) for name, value in fields if name != "csrfmiddlewaretoken"}


def button(page: str) -> str:
    """Of the check page."""
    words = re.findall(r'<button type="submit" class="button">([^<]*)</button>', page)[-1]
    return re.sub(r"\s+", " ", words).strip()


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.buyer)


@pytest.fixture
def check(door):
    """The check page, as the person gets it."""

    def get(sku, seats=25, **more):
        answer = door.get(url(sku), {"seats": seats} | more)
        assert answer.status_code == 200
        return answer.content.decode()

    return get


# --- seats and their price -------------------------------------------------------------------------------------------

BAD = [
    "4", "501", "0", "-1", "1e3", "1,000", "٣٠", "1" + "0" * 12, "ten", "", "5.0", "0x10",
]  # fmt: skip


@pytest.mark.parametrize("typed", BAD)
def test_seats_that_cannot_be_are_said_beside_the_field_and_kept(door, typed):
    sku = SKUFactory()
    for answer, status in (
        (door.get(url(sku, ""), {"seats": typed}), 200),
        (door.get(url(sku), {"seats": typed}), 200),
        (door.post(url(sku), {"seats": typed, "key": str(uuid.uuid4()), "quote": "x"}), 422),
    ):
        page = unescape(answer.content.decode())
        assert answer.status_code == status
        assert f'value="{typed}"' in page or not typed
        summary, beside = re.findall(r"(?:#id_seats\">|Error: </span>)([^<]*from 5 to 500[^<]*)<", page)
        assert summary == beside
        assert "<title>Error: " in page
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("typed", "step", "shown"),
    [
        ("25", "plus", "26"), ("25", "minus", "24"), ("500", "plus", "500"), ("5", "minus", "5"), ("x", "plus", "6"),
        ("9" * 12, "plus", "6"), ("600", "minus", "500"), ("025", "plus", "26"),
    ],
)  # fmt: skip
def test_minus_and_plus_stay_within_the_range(door, typed, step, shown):
    page = door.get(url(SKUFactory(), ""), {"seats": typed, "step": step}).content.decode()
    assert re.search(rf'name="seats"\s+value="{shown}"', page)


def test_the_panel_says_what_is_due_and_what_comes_later(door):
    sku = SKUFactory(prices={5: "2.10", 25: "1.90"})
    page = text(door.get(url(sku, ""), {"seats": "30"}).content.decode())
    assert f"Price for 30 seats Due now EUR 57.00 30 seats {pricing.TIMES} EUR 1.90, " in page
    assert "Then EUR 57.00 a month for 30 seats from " in page
    assert "All amounts excl. VAT." in page


def test_seats_without_a_price_say_so_on_every_page(door):
    sku = SKUFactory(prices={10: "2.00"})
    sentence = "There is no price for 7 seats in EUR. Ask your distributor."
    assert sentence in text(door.get(url(sku, ""), {"seats": "7"}).content.decode())
    for answer in (door.get(url(sku), {"seats": "7"}), door.post(url(sku), {"seats": "7"})):
        assert sentence in text(answer.content.decode())
        assert 'value="7"' in answer.content.decode()
    assert not Order.objects.exists()


def test_the_price_panel_answers_htmx_in_3_queries(door):
    sku = SKUFactory(prices={5: "2.10", 25: "1.90"}, trial_days=30)
    for more in ({}, {"how": "trial"}):
        with CaptureQueriesContext(connection) as captured:
            answer = door.get(url(sku, "price"), {"seats": "30"} | more, headers={"HX-Request": "true"})
        # The session and the person are looked up for every page.
        assert len(captured) - 2 <= 3
        page = answer.content.decode()
        assert page.lstrip().startswith("<section")
        assert ("Trial of 30 seats" if more else "EUR 57.00") in page
    assert answer["HX-Replace-Url"] == f"{url(sku, '')}?seats=30&how=trial"
    bad = door.get(url(sku, "price"), {"seats": "1e3"}, headers={"HX-Request": "true"}).content.decode()
    assert "is not a number of seats" in bad
    assert door.get(url(sku, "price"), {"seats": "30"})["Location"] == f"{url(sku, '')}?seats=30"


def test_the_price_panel_sends_who_may_not_buy_to_the_page(signed_in, cast):
    sku = SKUFactory()
    answer = signed_in(cast.viewer).get(url(sku, "price"), {"seats": "30"}, headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == f"{url(sku, '')}?seats=30"


# --- the check page --------------------------------------------------------------------------------------------------


def test_all_that_is_agreed_stands_before_the_button(check, cast):
    sku = SKUFactory(prices={5: "2.10"}, term_months=24, decrease_policy="next_period")
    page = check(sku)
    words = text(page)
    for part in (
        "25 seats", sku.name, "Acme GmbH", "Due now EUR 52.50", "Then EUR 52.50 a month for 25 seats from", "excl. VAT",
        "24 months. Renews by itself", "You pay for the added seats by the days left", "From the next billing period",
        "with no credit for a started one",
    ):  # fmt: skip
        assert 0 < words.find(part) < words.find("Buy 25 seats and pay EUR 52.50"), part
    assert button(page) == "Buy 25 seats and pay EUR 52.50"
    assert not Order.objects.exists()
    assert not Subscription.objects.exists()


def test_the_button_places_one_order_of_the_buyer(door, check, cast, empty_queue):
    sku = SKUFactory(prices={5: "2.10"})
    answer = door.post(url(sku), form(check(sku)))
    [order] = Order.objects.all()
    assert answer["Location"] == reverse("storefront:order", args=[order.pk])
    subscription = order.subscription
    assert (order.action, order.actor, order.audience) == ("start", cast.buyer, "storefront")
    assert (subscription.account, subscription.sku, subscription.seats) == (cast.acme, sku, 25)
    assert (subscription.ordered_by, subscription.status, subscription.currency) == (cast.buyer, "pending", "EUR")
    assert not Charge.objects.exists()


def test_sent_twice_leads_to_the_same_receipt_also_after_it_was_done(door, check, drain):
    sku = SKUFactory()
    sent = form(check(sku))
    first = door.post(url(sku), sent)
    assert door.post(url(sku), sent)["Location"] == first["Location"]
    drain()
    # Nothing that was changed since is in the way of a receipt.
    SKU.objects.update(is_sold=False)
    assert door.post(url(sku), sent)["Location"] == first["Location"]
    assert (Subscription.objects.count(), Charge.objects.count()) == (1, 1)


def test_a_buyer_sees_the_code_of_what_they_bought(door, check, drain, signed_in, cast):
    sku = SKUFactory()
    receipt = door.post(url(sku), form(check(sku)))["Location"]
    drain()
    [subscription] = Subscription.objects.all()
    code = reverse("storefront:code", args=[subscription.pk])
    assert f'href="{code}"' in door.get(receipt).content.decode()
    shown = door.post(code, {"how": "show"}).content.decode()
    assert subscription.activation_code.reveal() in shown
    # Who may not see it is not led there.
    assert f'href="{code}"' not in signed_in(cast.viewer).get(receipt).content.decode()


@pytest.mark.parametrize("role", ["billing", "viewer"])
def test_who_may_not_buy_is_told_whom_to_ask(signed_in, cast, role):
    sku, client = SKUFactory(), signed_in(cast.people[role])
    sent = {"seats": "25", "key": str(uuid.uuid4()), "quote": "x"}
    for answer in (client.get(url(sku, "")), client.get(url(sku), {"seats": "25"}), client.post(url(sku), sent)):
        assert answer.status_code == 403
        page = text(answer.content.decode())
        assert "Only people with the Owner, Manager or Buyer role can buy subscriptions. Ask Ana Kos." in page
    assert not Order.objects.exists()


def test_approval_is_said_before_the_button_and_nothing_is_charged_until_then(door, check, cast, drain):
    sku = SKUFactory(prices={5: "2.00"})
    sku.approval_limits.create(orders_from="100")
    assert "must approve" not in check(sku, 49)
    page = check(sku, 50)
    assert "Your distributor must approve this order" in text(page)
    assert "you can withdraw the order" in text(page)
    receipt = door.post(url(sku), form(page))["Location"]
    drain()
    [order] = Order.objects.all()
    assert (order.status, fresh(order.subscription).status) == ("awaiting_approval", "pending")
    assert not Charge.objects.exists()
    lifecycle.approve(order.pk, actor=cast.approver, audience=actions.COMMAND)
    drain()
    assert fresh(order.subscription).status == "active"
    assert [one.amount for one in Charge.objects.all()] == [Decimal(100)]
    assert door.get(receipt).status_code == 200


def test_a_buyer_withdraws_a_purchase_of_theirs_while_it_waits(door, check, cast):
    sku = SKUFactory(prices={5: "2.00"})
    sku.approval_limits.create(orders_from="1")
    receipt = door.post(url(sku), form(check(sku, 50)))["Location"]
    [order] = Order.objects.all()
    assert order.actor == cast.buyer
    assert f"Withdraw {order.number}" in text(door.get(receipt).content.decode())
    undo = reverse("storefront:undo", args=[order.pk])
    assert f"Withdraw {order.number}" in text(door.get(undo).content.decode())
    assert [door.post(undo)["Location"] for _ in range(2)] == [receipt, receipt]
    assert (fresh(order).status, fresh(order.subscription).status) == ("withdrawn", "cancelled")
    assert not Charge.objects.exists()


def test_a_buyer_withdraws_nothing_that_somebody_else_bought_nor_once_it_is_decided(door, cast):
    sku = SKUFactory(prices={5: "2.00"})
    sku.approval_limits.create(orders_from="1")

    def bought(actor):
        return lifecycle.start(cast.acme, sku, 50, actor=actor, audience=actions.STOREFRONT)

    others, mine, lost = bought(cast.manager), bought(cast.buyer), bought(cast.buyer)
    lifecycle.approve(mine.pk, actor=cast.approver, audience=actions.COMMAND)
    Member.objects.filter(user=cast.buyer).update(role="viewer")
    answer = door.post(reverse("storefront:undo", args=[lost.pk]))
    assert (answer.status_code, fresh(lost).status) == (403, "awaiting_approval")
    assert "Only people with the Owner, Manager or Buyer role can undo planned changes. Ask Ana Kos." in text(
        answer.content.decode()
    )
    Member.objects.filter(user=cast.buyer).update(role="buyer")
    for order, status in ((others, "awaiting_approval"), (mine, "placed")):
        assert "Withdraw" not in text(door.get(reverse("storefront:order", args=[order.pk])).content.decode())
        answer = door.post(reverse("storefront:undo", args=[order.pk]))
        assert (answer.status_code, fresh(order).status) == (403, status)


def test_a_start_that_was_approved_later_is_charged_for_the_days_that_began(
    door, check, cast, drain, emulator, settings
):
    sku = SKUFactory(prices={5: "2.00"})
    sku.approval_limits.create(orders_from="1")
    receipt = door.post(url(sku), form(check(sku)))["Location"]
    settings.CLOCK_OFFSET = timedelta(days=20)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    lifecycle.approve(Order.objects.get().pk, actor=cast.approver, audience=actions.COMMAND)
    drain()
    [charge] = Charge.objects.all()
    period = pricing.Period(charge.covers_from, charge.covers_to)
    assert (charge.amount, period.start) == (Decimal(50), actions.local_day(clock.now(), cast.acme))
    page = text(door.get(receipt).content.decode())
    assert f"Charged EUR 50.00 {charge.words} " in page
    assert pricing.days_words(period) in charge.words
    assert f"Then EUR 50.00 a month for 25 seats from {actions.date_words(period.end)}." in page


@pytest.mark.parametrize("end", ["rejected", "withdrawn"])
def test_a_start_that_was_not_let_go_ends_cancelled_and_the_pages_say_so(door, check, cast, drain, end, signed_in):
    sku = SKUFactory()
    sku.approval_limits.create(orders_from="1")
    receipt = door.post(url(sku), form(check(sku)))["Location"]
    [order] = Order.objects.all()
    if end == "rejected":
        lifecycle.reject(order.pk, actor=cast.approver, audience=actions.COMMAND, reason="No credit")
    else:
        lifecycle.undo(order.pk, actor=cast.owner, audience=actions.STOREFRONT)
    drain()
    assert "nothing was charged" in text(door.get(receipt).content.decode()).lower()
    page = text(door.get(reverse("storefront:subscription", args=[order.subscription_id])).content.decode())
    assert "It was never started, and nothing was charged." in page
    assert fresh(order.subscription).status == "cancelled"
    assert not Charge.objects.exists()


def test_a_start_that_failed_tells_the_customer_and_charges_nothing(door, check, emulator, drain):
    sku = SKUFactory()
    emulator.control.add_fault("item-error", kinds=["Activate"], code=601, message="Not allowed.")
    receipt = door.post(url(sku), form(check(sku)))["Location"]
    drain()
    page = text(door.get(receipt).content.decode())
    assert "Nothing exists at the licence service yet, and nothing was charged." in page
    [subscription] = Subscription.objects.all()
    page = text(door.get(reverse("storefront:subscription", args=[subscription.pk])).content.decode())
    assert "This subscription could not be started" in page
    assert not Charge.objects.exists()


# --- what was shown is what is charged -------------------------------------------------------------------------------


@pytest.mark.parametrize("discount", ["0", "12.5", "100"])
@pytest.mark.parametrize(
    ("currency", "bands", "seats"),
    [
        ("EUR", {5: "2.10", 25: "1.99"}, 27),
        ("JPY", {5: "351", 25: "349"}, 27),
        ("KWD", {5: "1.111", 25: "0.9995"}, 27),
        ("EUR", {5: "2.10", 25: "1.99"}, 24),
    ],
)
def test_the_price_that_was_shown_is_charged_to_the_last_unit(
    door, check, cast, drain, currency, bands, seats, discount
):
    Account.objects.filter(pk=cast.acme.pk).update(currency=currency, discount=discount)
    sku = SKUFactory(prices={})
    for seats_from, price in bands.items():
        PriceBand.objects.create(sku=sku, currency=currency, seats_from=seats_from, price=price)
    page = check(sku, seats)
    [paid] = re.findall(r"and pay ([A-Z]{3} [\d,.]+)$", button(page)) or [f"{currency} 0"]
    due = re.search(rf"Due now {currency} ([\d,.]+) ", text(page))[1]
    in_catalogue = text(door.get("/catalogue/", {"seats": seats}).content.decode())
    door.post(url(sku), form(page))
    drain()
    [charge] = Charge.objects.all()
    assert charge.currency == currency
    assert Decimal(due.replace(",", "")) == charge.amount
    assert Decimal(paid.split()[1].replace(",", "")) == charge.amount
    assert f"{currency} {due} a month" in in_catalogue
    # By hand.
    price = Decimal(bands[25 if seats >= 25 else 5]) * (100 - Decimal(discount)) / 100
    unit = {"EUR": "0.01", "JPY": "1", "KWD": "0.001"}[currency]
    assert charge.amount == (seats * price).quantize(Decimal(unit), rounding="ROUND_HALF_UP")
    assert len(due.partition(".")[2]) == {"EUR": 2, "JPY": 0, "KWD": 3}[currency]


# --- what changes meanwhile ------------------------------------------------------------------------------------------


def raise_price(sku, cast):
    sku.price_bands.update(price="2.50")


def cut_discount(sku, cast):
    Account.objects.filter(pk=cast.acme.pk).update(discount=0)


@pytest.mark.parametrize(("change", "new"), [(raise_price, "EUR 56.25"), (cut_discount, "EUR 52.50")])
def test_another_price_brings_the_page_again_with_old_and_new_figures(door, check, cast, drain, change, new):
    Account.objects.filter(pk=cast.acme.pk).update(discount=10)
    sku = SKUFactory(prices={5: "2.10"})
    old = form(check(sku))
    change(sku, cast)
    answer = door.post(url(sku), old)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert lifecycle.STALE_QUOTE in page
    assert f"Due EUR 47.25 {new} " in text(page)
    assert button(page) == f"Buy 25 seats and pay {new}"
    assert not Order.objects.exists()
    assert door.post(url(sku), form(page)).status_code == 302
    drain()
    assert f"EUR {Charge.objects.get().amount:.2f}" == new


@pytest.mark.parametrize("minutes", [14, 16])
def test_a_quote_is_honoured_for_15_minutes(door, check, settings, minutes):
    sku = SKUFactory()
    sent = form(check(sku))
    settings.CLOCK_OFFSET = timedelta(minutes=minutes)
    answer = door.post(url(sku), sent)
    if minutes < 15:
        assert answer.status_code == 302
        return
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "This page was open for more than 15 minutes." in page
    assert door.post(url(sku), form(page)).status_code == 302


def test_midnight_alone_changes_nothing(door, check, settings, drain, emulator):
    """Shown a minute before midnight, ordered a minute after it: the price holds, the period is the one that began."""
    sku = SKUFactory(prices={5: "2.10"})
    now = datetime.now(UTC)
    before = (now + timedelta(days=1)).replace(hour=23, minute=59, second=0)
    settings.CLOCK_OFFSET = before - now
    sent = form(check(sku))
    settings.CLOCK_OFFSET += timedelta(minutes=2)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    assert door.post(url(sku), sent).status_code == 302
    drain()
    assert Charge.objects.get().amount == Decimal("52.50")
    assert Charge.objects.get().covers_from == before.date() + timedelta(days=1)


def forged(sent, sku):
    return sent | {"quote": sent["quote"][:-2] + "xx"}


def for_fewer_seats(sent, sku):
    return sent | {"seats": "100"}


def without_quote(sent, sku):
    return {name: value for name, value in sent.items() if name != "quote"}


def without_key(sent, sku):
    return {name: value for name, value in sent.items() if name != "key"}


def of_the_other(sent, sku):
    """A quote of ours, of a cheaper SKU."""
    cheap = SKUFactory(prices={5: "0.01"})
    subscription = lifecycle.new_subscription(Account.objects.get(name="Acme GmbH"), cheap, 25, clock.now())
    pinned = lifecycle.price_start(subscription, quotes.load([subscription]), clock.now())
    return sent | {"quote": pinned.token()}


@pytest.mark.parametrize("hostile", [forged, for_fewer_seats, without_quote, without_key, of_the_other])
def test_nothing_is_ordered_that_was_not_shown(door, check, cast, hostile):
    sku = SKUFactory(prices={5: "2.10"})
    # An order without a key, which no page without one leads to.
    OrderFactory(actor=cast.buyer, subscription__account=cast.acme)
    answer = door.post(url(sku), hostile(form(check(sku)), sku))
    assert answer.status_code == 409
    assert Order.objects.count() == 1
    # The page shows what it would cost, and its button works.
    assert door.post(url(sku), form(answer.content.decode())).status_code == 302


@pytest.mark.parametrize("what", ["sku", "product"])
def test_no_longer_sold_between_the_pages(door, check, what):
    sku = SKUFactory()
    sent = form(check(sku))
    (SKU if what == "sku" else Product).objects.update(is_sold=False)
    answer = door.post(url(sku), sent)
    assert answer.status_code == 409
    assert f"{sku.name} is not sold any more." in text(answer.content.decode())
    assert 'href="/catalogue/"' in answer.content.decode()
    for page in ("", "check"):
        answer = door.get(url(sku, page), {"seats": "25"})
        assert (answer.status_code, "is not sold any more" in answer.content.decode()) == (200, True)
    assert not Order.objects.exists()


def test_a_narrowed_range_between_the_pages_leads_back_to_the_seats(door, check):
    sku = SKUFactory()
    sent = form(check(sku))
    SKU.objects.update(seats_max=20)
    answer = door.post(url(sku), sent)
    assert answer.status_code == 422
    assert 'value="25"' in answer.content.decode()
    assert "This product allows at most 20 seats." in answer.content.decode()
    assert not Order.objects.exists()


# --- trials ----------------------------------------------------------------------------------------------------------


def test_a_trial_is_free_says_when_it_ends_and_is_had_once(door, check, drain, cast):
    sku = SKUFactory(trial_days=30, prices={5: "2.10"})
    page = check(sku, how="trial")
    ends = actions.date_words(actions.local_day(clock.now(), cast.acme) + timedelta(days=30))
    assert button(page) == "Start the trial with 25 seats"
    assert f"Free until {ends}, when it ends by itself. Nothing is charged." in text(page)
    assert "EUR 52.50 a month excl. VAT at today's prices" in text(page)
    sent = form(page)
    first = door.post(url(sku), sent)
    assert door.post(url(sku), sent)["Location"] == first["Location"]
    drain()
    [subscription] = Subscription.objects.all()
    assert (subscription.status, actions.date_words(subscription.trial_ends)) == ("active", ends)
    assert subscription.ordered_by == cast.buyer
    assert not Charge.objects.exists()

    for answer, status in (
        (door.get(url(sku), {"seats": "25", "how": "trial"}), 200),
        (door.get(url(sku, ""), {"seats": "25", "how": "trial"}), 200),
        (door.post(url(sku), sent | {"key": str(uuid.uuid4())}), 409),
    ):
        assert answer.status_code == status
        assert "Acme GmbH had a trial of" in text(answer.content.decode())
        assert f'href="{url(sku, "")}?seats=25"' in answer.content.decode()
    assert Subscription.objects.count() == 1
    assert "Try it free" not in door.get(url(sku, "")).content.decode()
    assert door.post(url(sku), form(check(sku))).status_code == 302


def test_a_trial_that_is_not_offered(door):
    sku = SKUFactory()
    page = door.get(url(sku), {"seats": "25", "how": "trial"}).content.decode()
    assert f"There is no trial of {sku.name}." in text(page)


def test_a_trial_that_became_shorter_brings_the_page_again(door, check):
    sku = SKUFactory(trial_days=30)
    sent = form(check(sku, how="trial"))
    SKU.objects.update(trial_days=10)
    answer = door.post(url(sku), sent)
    assert answer.status_code == 409
    assert "another day than the page said" in answer.content.decode()
    assert not Order.objects.exists()
    assert door.post(url(sku), form(answer.content.decode())).status_code == 302


def test_a_trial_needs_no_price(door, check, drain):
    sku = SKUFactory(trial_days=30, prices={})
    assert door.post(url(sku), form(check(sku, how="trial"))).status_code == 302
    drain()
    assert Subscription.objects.get().status == "active"


# --- the company -----------------------------------------------------------------------------------------------------

DETAILS = {"legal_name": "Acme GmbH", "address": "Ring 1\r\n1010 Wien", "country": "AT", "vat_id": " atu 123-456.78 "}


def test_details_that_are_missing_are_asked_for_once_and_kept(door, check, cast, drain):
    sku = SKUFactory(product__needs_company_details=True)
    answer = door.get(url(sku), {"seats": "30"})
    asked = answer["Location"]
    assert asked == f"{url(sku, 'details')}?seats=30"
    assert "Details of Acme GmbH" in door.get(asked).content.decode()
    answer = door.post(asked, DETAILS)
    assert answer["Location"] == f"{url(sku)}?seats=30"
    kept = fresh(cast.acme)
    assert (kept.legal_name, kept.address, kept.country) == ("Acme GmbH", "Ring 1\n1010 Wien", "AT")
    assert kept.vat_id == "ATU12345678"

    page = door.get(answer["Location"]).content.decode()
    assert button(page).startswith("Buy 30 seats")
    assert door.post(url(sku), form(page)).status_code == 302
    # Never again, and nobody changes them here.
    assert door.get(asked)["Location"] == f"{url(sku)}?seats=30"
    assert door.post(asked, DETAILS | {"legal_name": "Other"}).status_code == 302
    assert fresh(cast.acme).legal_name == "Acme GmbH"
    check(SKUFactory(product__needs_company_details=True))


def test_without_details_nothing_is_ordered(door, check):
    sku = SKUFactory()
    sent = form(check(sku))
    Product.objects.update(needs_company_details=True)
    answer = door.post(url(sku), sent)
    assert answer["Location"] == f"{url(sku, 'details')}?seats=25"
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"legal_name": " "}, "Enter the legal name of the company."),
        ({"legal_name": "x" * 201}, "The legal name is too long: 200 characters are the most."),
        ({"address": ""}, "Enter the address of the company."),
        ({"address": "x" * 501}, "The address is too long: it has 501 characters, and 500 are the most."),
        ({"country": ""}, "Choose the country."),
        ({"country": "EU"}, "Choose a country from the list."),
        ({"country": "XX"}, "Choose a country from the list."),
        ({"vat_id": "12"}, "“12” is not a VAT ID. Enter 4 to 20 letters and digits."),
        ({"vat_id": "ATU٣٣٣٣٣"}, "is not a VAT ID. Enter 4 to 20 letters and digits."),
        ({"vat_id": "SI12345678"}, "A VAT ID of this country begins with AT, such as AT12345678."),
        ({"country": "GR", "vat_id": "GR12345678"}, "A VAT ID of this country begins with EL, such as EL12345678."),
    ],
)
def test_wrong_details_are_said_beside_the_field_and_kept(door, cast, wrong, sentence):
    sku = SKUFactory(product__needs_company_details=True)
    given = DETAILS | wrong
    answer = door.post(f"{url(sku, 'details')}?seats=30", given)
    page = unescape(answer.content.decode())
    assert answer.status_code == 422
    summary, beside = re.findall(rf"(?:#id_\w+\">|Error: </span>)([^<]*{re.escape(sentence)})<", page)
    assert summary == beside
    for name in ("legal_name", "vat_id"):
        assert f'value="{given[name]}"' in page or not given[name].strip()
    assert not fresh(cast.acme).has_details


def test_a_vat_id_is_not_demanded_and_other_countries_have_other_forms(door, cast):
    sku = SKUFactory(product__needs_company_details=True)
    door.post(url(sku, "details"), DETAILS | {"country": "CH", "vat_id": "CHE-123.456.789 MWST"})
    assert fresh(cast.acme).vat_id == "CHE123456789MWST"
    other = AccountFactory()
    MemberFactory(account=other, user=cast.buyer, role="buyer")
    door.post(f"{url(sku, 'details')}?account={other.pk}", DETAILS | {"vat_id": ""})
    assert (fresh(other).has_details, fresh(other).vat_id) == (True, "")


# --- several companies -----------------------------------------------------------------------------------------------


@pytest.fixture
def second(cast):
    account = AccountFactory(name="Zen KK", currency="JPY")
    MemberFactory(account=account, user=cast.buyer, role="owner")
    return account


def test_the_person_chooses_the_company(door, cast, second, drain):
    sku = SKUFactory()
    PriceBandFactory(sku=sku, currency="JPY", price="300")
    page = door.get(url(sku, ""), {"seats": "25"}).content.decode()
    assert re.search(rf'<option value="{cast.acme.pk}" selected>', page)
    page = door.get(url(sku), {"seats": "25", "account": second.pk}).content.decode()
    assert button(page) == "Buy 25 seats and pay JPY 7,500"
    door.post(url(sku), form(page))
    drain()
    [subscription] = Subscription.objects.all()
    assert (subscription.account, subscription.currency) == (second, "JPY")
    assert (Charge.objects.get().account, Charge.objects.get().amount) == (second, Decimal(7500))


def test_a_quote_of_one_company_is_none_of_another(door, cast, second):
    sku = SKUFactory()
    PriceBandFactory(sku=sku, currency="JPY", price="300")
    sent = form(door.get(url(sku), {"seats": "25", "account": second.pk}).content.decode())
    answer = door.post(url(sku), sent | {"account": str(cast.acme.pk)})
    assert answer.status_code == 409
    assert not Order.objects.exists()


def test_a_company_in_which_the_person_may_not_buy(signed_in, cast):
    other = AccountFactory(name="Zen KK")
    MemberFactory(account=other, user=cast.viewer, role="owner")
    client, sku = signed_in(cast.viewer), SKUFactory()
    # Without a choice it is the one in which they may.
    assert "for Zen KK" in text(client.get(url(sku, "")).content.decode())
    assert client.get(url(sku), {"seats": "25", "account": cast.acme.pk}).status_code == 403


@pytest.mark.parametrize("page", ["", "price", "details", "check"])
def test_a_strangers_company_does_not_exist(door, cast, page):
    sku = SKUFactory(product__needs_company_details=True)
    address = f"{url(sku, page)}?account={cast.globex.pk}&seats=25"
    assert door.get(address).status_code == 404
    if page in ("details", "check"):
        sent = DETAILS | {"account": str(cast.globex.pk), "seats": "25", "key": str(uuid.uuid4()), "quote": "x"}
        assert door.post(address, sent).status_code == 404
    assert not fresh(cast.globex).has_details
    assert not Order.objects.exists()


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_the_number_of_queries_depends_on_nothing(door):
    sku = SKUFactory(trial_days=30)

    def queries():
        found = []
        for page in ("", "check"):
            with CaptureQueriesContext(connection) as captured:
                assert door.get(url(sku, page), {"seats": "25"}).status_code == 200
            found.append(len(captured))
        return found

    few = queries()
    for _ in range(30):
        SubscriptionFactory(account=Account.objects.get(name="Acme GmbH"), sku=sku)
    PriceBand.objects.bulk_create(PriceBand(sku=sku, seats_from=n, price="3") for n in range(10, 110))
    assert queries() == few
    assert max(few) <= 11


def test_get_changes_nothing(door, check):
    sku = SKUFactory(trial_days=30)
    sent = form(check(sku))
    assert door.get(url(sku), sent).status_code == 200
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "0"])
def test_a_number_that_names_nothing(door, number):
    for address in (
        f"/catalogue/{number}/",
        f"/catalogue/sku/{number}/start/",
        f"/catalogue/sku/{number}/start/check/",
    ):
        assert door.get(address).status_code == 404
