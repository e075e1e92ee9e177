"""Increase and Decrease in the Storefront: what is typed, its price, the check page, the order, what is charged."""

import re
import uuid
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.actions import STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, Charge, Order, PriceBand, Subscription
from subscriptions.pricing import TIMES
from subscriptions.quotes import Pinned
from tests import factories


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.manager)


def url(subscription: Subscription, stem: str, page: str = "check/") -> str:
    return f"/subscriptions/{subscription.pk}/{stem}/{page}"


def confirm(client, subscription: Subscription, stem: str, seats: int) -> dict[str, str]:
    """What the check page would send."""
    return fields(client.get(url(subscription, stem), {"seats": seats}))


def fields(answer) -> dict[str, str]:
    """The hidden fields of a check page."""
    form = re.search(r'<form class="form" method="post"[^>]*>.*?</form>', answer.content.decode(), re.DOTALL)[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


def text(answer) -> str:
    """What stands on the page, without its tags."""
    main = re.search(r'<main id="main".*</main>', answer.content.decode(), re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main[0] if main else answer.content.decode())).split())


BAD = [
    ("increase", "4", "from 26 to 500"),
    ("increase", "501", "from 26 to 500"),
    ("increase", "25", "from 26 to 500"),
    ("increase", "0", "from 26 to 500"),
    ("increase", "-3", "from 26 to 500"),
    ("increase", "1e3", "from 26 to 500"),
    ("increase", "٣٠", "from 26 to 500"),
    ("increase", "1000000000000", "from 26 to 500"),
    ("increase", "thirty", "from 26 to 500"),
    ("increase", "", "from 26 to 500"),
    ("decrease", "4", "from 5 to 24"),
    ("decrease", "501", "from 5 to 24"),
    ("decrease", "25", "from 5 to 24"),
    ("decrease", "0", "from 5 to 24"),
    ("decrease", "-3", "from 5 to 24"),
    ("decrease", "1e3", "from 5 to 24"),
    ("decrease", "٣٠", "from 5 to 24"),
    ("decrease", "1000000000000", "from 5 to 24"),
    ("decrease", "", "from 5 to 24"),
]


@pytest.mark.parametrize(("stem", "typed", "allowed"), BAD)
def test_bad_input_gets_a_sentence_beside_the_field_and_is_kept(door, subscription, stem, typed, allowed):
    sent = {"seats": typed, "version": subscription.version, "key": str(uuid.uuid4())}
    for answer, status in (
        (door.get(url(subscription, stem), {"seats": typed}), 200),
        (door.post(url(subscription, stem), sent), 422),
    ):
        page = unescape(answer.content.decode())
        assert answer.status_code == status
        assert f'value="{typed}"' in page or not typed
        summary, beside = re.findall(rf"(?:#id_seats\">|Error: </span>)([^<]*{allowed}[^<]*)<", page)
        assert summary == beside
        assert "<title>Error: " in page
    assert not Order.objects.exists()


def test_zero_on_decrease_leads_to_cancel(door, subscription):
    page = door.get(url(subscription, "decrease"), {"seats": "0"}).content.decode()
    assert f'<a href="/subscriptions/{subscription.pk}/cancel/">' in page


@pytest.mark.parametrize(
    ("stem", "typed", "step", "shown"),
    [
        ("increase", "30", "plus", "31"),
        ("increase", "26", "minus", "26"),
        ("increase", "500", "plus", "500"),
        ("increase", "rubbish", "plus", "26"),
        ("decrease", "24", "plus", "24"),
        ("decrease", "10", "minus", "9"),
        ("decrease", "5", "minus", "5"),
        ("increase", "30", "", "30"),
    ],
)
def test_minus_and_plus_stay_within_the_range(door, subscription, stem, typed, step, shown):
    page = door.get(url(subscription, stem, ""), {"seats": typed, "step": step}).content.decode()
    assert re.search(rf'name="seats"\s+value="{shown}"', page)


@pytest.mark.parametrize(
    ("stem", "seats", "button"), [("increase", 30, "Add 5 seats and pay EUR 17.50"), ("decrease", 24, "Remove 1 seat")]
)
def test_the_button_names_what_it_does_and_places_one_order(door, cast, subscription, stem, seats, button, empty_queue):
    page = re.sub(r"\s+", " ", door.get(url(subscription, stem), {"seats": seats}).content.decode())
    assert f'<button type="submit" class="button">{button}</button>' in page.replace("> ", ">").replace(" <", "<")
    sent = confirm(door, subscription, stem, seats)
    assert not Order.objects.exists()
    answer = door.post(url(subscription, stem), sent)
    [order] = Order.objects.all()
    assert (answer.status_code, answer["Location"]) == (302, f"/orders/{order.pk}/")
    assert (order.action, order.after, order.actor, order.audience) == (
        stem,
        {"Seats": seats},
        cast.manager,
        "storefront",
    )


def test_the_same_check_page_sent_twice_leads_to_the_same_receipt(door, subscription, empty_queue):
    sent = confirm(door, subscription, "increase", 30)
    first, second = (door.post(url(subscription, "increase"), sent) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Order.objects.count() == 1


def test_sent_again_after_it_was_done_still_leads_to_the_receipt(door, subscription, drain):
    sent = confirm(door, subscription, "increase", 30)
    first = door.post(url(subscription, "increase"), sent)
    drain()
    assert door.post(url(subscription, "increase"), sent)["Location"] == first["Location"]
    assert Subscription.objects.get(pk=subscription.pk).seats == 30


def test_a_stale_page_is_refused_with_the_new_figures_and_the_input_kept(door, subscription, drain):
    stale = confirm(door, subscription, "increase", 40)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    answer = door.post(url(subscription, "increase"), stale)
    page = re.sub(r"\s+", " ", answer.content.decode())
    assert answer.status_code == 409
    assert "Somebody changed this subscription while the page was open." in page
    assert '<span class="soft">Now</span><strong>30</strong>' in page.replace("> <", "><")
    assert 'name="seats" value="40"' in page
    assert "Add 10 seats" in page
    assert Order.objects.count() == 1
    assert door.post(url(subscription, "increase"), fields(answer)).status_code == 302


def test_a_stale_page_whose_number_is_no_longer_possible_goes_back_to_the_field(door, subscription, drain):
    stale = confirm(door, subscription, "increase", 28)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    answer = door.post(url(subscription, "increase"), stale)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody changed this subscription" in page
    assert 'value="28"' in page


def test_while_an_order_is_open_the_second_gets_the_reason_and_keeps_the_input(door, subscription, empty_queue):
    second = confirm(door, subscription, "increase", 40)
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    answer = door.post(url(subscription, "increase"), second)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "is being applied since" in page
    assert f"/subscriptions/{subscription.pk}/increase/?seats=40" in page
    assert Order.objects.count() == 1


def test_a_check_page_without_its_key_places_nothing(door, subscription):
    page = door.post(url(subscription, "increase"), {"seats": "30"})
    assert "Add 5 seats and pay EUR 17.50" in text(page)
    assert not Order.objects.exists()


@pytest.mark.parametrize("role", ["buyer", "billing", "viewer"])
def test_other_roles_are_refused_at_every_page(signed_in, cast, subscription, role):
    client = signed_in(getattr(cast, role))
    sent = {"seats": "30", "version": subscription.version, "key": str(uuid.uuid4())}
    for answer in (
        client.get(url(subscription, "increase", "")),
        client.get(url(subscription, "increase"), {"seats": 30}),
        client.post(url(subscription, "increase"), sent),
    ):
        assert answer.status_code == 403
        assert "Ask Ana Kos." in answer.content.decode()
    assert not Order.objects.exists()


def test_an_impossible_action_is_a_page_that_says_why(door, stock):
    answer = door.get(url(stock.suspended, "increase", ""))
    assert answer.status_code == 200
    assert "Your distributor can activate it again." in answer.content.decode()


def test_looking_changes_nothing(door, subscription):
    before = Subscription.objects.filter(pk=subscription.pk).values().get()
    for stem in ("increase", "decrease"):
        door.get(url(subscription, stem, ""))
        door.get(url(subscription, stem), {"seats": 30})
        door.get(url(subscription, stem), {"seats": 10})
    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before
    assert not Order.objects.exists()


def test_only_seats_change(door, subscription, drain, emulator):
    kept = ["activation_code", "created_at", "status", "subscriber_id", "sku_id", "started_at", "account_id", "ends_at"]
    before = {name: getattr(subscription, name) for name in kept}
    door.post(url(subscription, "increase"), confirm(door, subscription, "increase", 30))
    drain()
    after = Subscription.objects.get(pk=subscription.pk)
    assert after.seats == 30
    assert {name: getattr(after, name) for name in kept} == before


def test_a_subscription_with_one_possible_number_says_so(door, cast):
    nearly = factories.SubscriptionFactory(account=cast.acme, seats=499)
    page = door.get(url(nearly, "increase", "")).content.decode()
    assert "Only 500 is possible." in page


@pytest.mark.parametrize("seats", [20, 15])
def test_a_plan_that_would_find_nothing_to_do_cannot_be_kept(cast, subscription, seats, empty_queue):
    factories.OrderFactory(
        subscription=subscription, action="decrease", status="scheduled", before={"Seats": 25}, after={"Seats": 20}
    )
    wish = Wish(subscription.pk, "decrease", {"Seats": seats}, planned="keep")
    with pytest.raises(NotAllowed) as refused:
        lifecycle.place(wish, actor=cast.manager, audience=STOREFRONT)
    assert refused.value.code == "cannot_keep"
    about = actions.situation(subscription, actor=cast.manager, audience=STOREFRONT)
    assert lifecycle.planned_choices(about, actions.DECREASE, planned=False, after={"Seats": 21}) == ("keep", "discard")


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def running(cast, at_vendor):
    """A subscription of 25 seats whose period began 10 days ago and is paid, for a SKU with these fields."""

    def make(*, prices=None, **sku) -> Subscription:
        currency = cast.acme.currency
        made = factories.SKUFactory(prices={}, **({"decrease_policy": "next_period"} | sku))
        for seats_from, price in (prices or {1: "3.50"}).items():
            PriceBand.objects.create(sku=made, currency=currency, seats_from=seats_from, price=price)
        began = clock.now() - timedelta(days=10)
        found = factories.SubscriptionFactory(account=cast.acme, sku=made, created_at=began)
        amount = quotes.load([found]).terms_of(found).line(25)
        factories.ChargeFactory(
            subscription=found, kind="period", amount=amount, booked_at=began, covers_from=found.period_start,
            covers_to=found.period_end, currency=currency,
        )  # fmt: skip
        return at_vendor(found)

    return make


def new_lines(subscription: Subscription) -> list[Charge]:
    """What the ledger holds besides the period's own line, oldest first."""
    return list(subscription.charges.exclude(kind="period").order_by("pk"))


def due_in(words: str) -> Decimal:
    """The amount that a price panel or a button says is due, negative if it is given back."""
    if found := re.search(r"(?:Due now|and pay) [A-Z]{3} ([\d,.]+\d)", words):
        return Decimal(found[1].replace(",", ""))
    return -Decimal(re.search(r"(?:get back now|and get) [A-Z]{3} ([\d,.]+\d)", words)[1].replace(",", ""))


COSTS = [
    ("EUR", "increase", 32, {"increase_policy": "prorate_days"}, {1: "3.3333"}),
    ("EUR", "increase", 60, {"increase_policy": "prorate_days"}, {1: "3.50", 50: "2.9999"}),
    ("EUR", "increase", 32, {"increase_policy": "full_period"}, {1: "3.3333"}),
    ("EUR", "increase", 32, {"increase_policy": "high_water"}, {1: "3.3333"}),
    ("EUR", "increase", 32, {"increase_policy": "prorate_days", "billing_period": "year"}, {1: "41.7"}),
    ("JPY", "increase", 32, {"increase_policy": "prorate_days"}, {1: "333.3"}),
    ("BHD", "increase", 32, {"increase_policy": "prorate_days"}, {1: "1.2345"}),
    ("EUR", "decrease", 19, {"decrease_policy": "immediate_credit"}, {1: "3.3333"}),
    ("JPY", "decrease", 19, {"decrease_policy": "immediate_credit"}, {1: "333.3"}),
    ("EUR", "decrease", 19, {"decrease_policy": "immediate_no_credit"}, {1: "3.3333"}),
]


@pytest.mark.parametrize("discount", ["0", "12.5"])
@pytest.mark.parametrize(("currency", "stem", "seats", "sku", "prices"), COSTS)
def test_what_is_shown_is_what_is_charged(door, cast, running, drain, currency, stem, seats, sku, prices, discount):
    cast.acme.currency, cast.acme.discount = currency, Decimal(discount)
    cast.acme.save()
    subscription = running(prices=prices, **sku)
    panel = text(door.get(url(subscription, stem, ""), {"seats": seats}))
    check = door.get(url(subscription, stem), {"seats": seats})
    receipt = door.post(url(subscription, stem), fields(check))["Location"]
    waiting = text(door.get(receipt))
    assert new_lines(subscription) == []
    drain()
    done = text(door.get(receipt))
    lines = new_lines(subscription)
    due = sum((one.amount for one in lines), Decimal())
    assert bool(lines) == (sku.get("decrease_policy") != "immediate_no_credit")
    assert due_in(panel) == due_in(text(check)) == due
    button = re.search(r'<button type="submit" class="button">(.*?)</button>', check.content.decode())[1]
    if lines:
        assert due_in(button) == due
        assert f"Will be {'charged' if due > 0 else 'credited'} when the licence service confirms" in waiting
        assert f"{'Charged' if due > 0 else 'Credited'} {currency}" in done
    for line in lines:
        assert line.words in panel
        assert line.words in text(check)
        assert line.words in waiting
        assert line.words in done


def test_an_increase_that_is_paid_for_already_says_why_it_costs_nothing(door, running):
    subscription = running(increase_policy="high_water", prices={1: "3.50", 26: "3.00"})
    check = door.get(url(subscription, "increase"), {"seats": 27})
    page = text(check)
    assert "Due now EUR 0.00 What was charged for this period covers so many seats already." in page
    assert ">Add 2 seats</button>" in check.content.decode()


def test_the_panel_says_due_now_with_its_formula_and_what_later_periods_cost(door, running):
    subscription = running(prices={1: "3.50", 30: "3.20"})
    days = (subscription.period_end - subscription.period_start).days
    panel = text(door.get(url(subscription, "increase", ""), {"seats": 30}))
    starts = actions.date_words(subscription.period_end)
    assert (
        f"Price for 30 seats Due now EUR {Decimal(16) * (days - 10) / days:.2f} 5 seats {TIMES} EUR 3.20 {TIMES} "
        in panel
    )
    assert f"Then EUR 96.00 a month for 30 seats from {starts}." in panel
    assert panel.count("excl. VAT") == 1


def test_a_decrease_says_until_when_and_what_then(door, running):
    subscription = running(prices={1: "8.24"})
    until = actions.date_words(subscription.period_end)
    for answer in (
        door.get(url(subscription, "decrease", ""), {"seats": 20}),
        door.get(url(subscription, "decrease"), {"seats": 20}),
    ):
        assert f"You pay for 25 until {until}, then EUR 164.80 a month for 20." in text(answer)
    assert f">Plan 20 seats from {until}</button>" in answer.content.decode()


def test_a_term_that_is_not_renewed_has_no_later_periods(door, cast, running):
    subscription = running(term_months=1)
    factories.Subscription.objects.filter(pk=subscription.pk).update(auto_renew=False)
    page = text(door.get(url(subscription, "increase", ""), {"seats": 30}))
    ends = actions.date_words(subscription.term_end)
    assert f"The term ends on {ends} and is not renewed by itself. If you renew it: EUR 105.00 a month" in page


def test_without_a_price_the_page_says_so_and_orders_nothing(door, running):
    subscription = running(prices={1: "3.50"})
    PriceBand.objects.all().delete()
    sentence = "There is no price for 30 seats in EUR. Ask your distributor."
    assert sentence in text(door.get(url(subscription, "increase", ""), {"seats": 30}))
    answer = door.get(url(subscription, "increase"), {"seats": 30})
    assert text(answer).count(sentence) >= 2
    assert "<title>Error: " in answer.content.decode()
    assert door.get(f"/subscriptions/{subscription.pk}/").status_code == 200


# --- the panel alone -------------------------------------------------------------------------------------------------

HTMX = {"HX-Request": "true", "HX-Target": "price"}


def panel(client, subscription, seats, stem="increase", headers=HTMX):
    return client.get(url(subscription, stem, "price/"), {"seats": seats}, headers=headers)


@pytest.mark.parametrize(("stem", "seats"), [("increase", 30), ("decrease", 20)])
def test_the_panel_takes_three_queries(door, running, stem, seats):
    subscription = running(decrease_policy="immediate_credit")
    panel(door, subscription, seats, stem)
    with CaptureQueriesContext(connection) as ran:
        answer = panel(door, subscription, seats, stem)
    session_and_user = [
        one for one in ran if re.match(r'SELECT "(django_session|subscriptions_user)"\.', one["sql"])
    ]  # fmt: skip
    assert len(session_and_user) == 2
    assert len(ran) - 2 <= 3
    page = answer.content.decode()
    assert "<html" not in page
    assert f"Price for {seats} seats" in page
    assert answer["HX-Replace-Url"] == f"{url(subscription, stem, '')}?seats={seats}"


def test_the_panel_says_what_is_wrong_with_the_number(door, running):
    page = text(panel(door, running(), "12"))
    assert "That is fewer than the 25 you have. Enter a whole number from 26 to 500." in page
    assert "Due now" not in page


def test_without_htmx_the_address_of_the_panel_is_the_page(door, running):
    subscription = running()
    answer = panel(door, subscription, 30, headers={})
    assert answer["Location"] == f"{url(subscription, 'increase', '')}?seats=30"


def test_the_panel_shows_no_price_to_those_who_may_not_order(signed_in, cast, running):
    subscription = running()
    answer = panel(signed_in(cast.viewer), subscription, 30)
    assert answer["HX-Redirect"] == f"{url(subscription, 'increase', '')}?seats=30"
    assert answer.content == b""
    assert panel(signed_in(cast.stranger), subscription, 30).status_code == 404


def test_the_role_of_another_account_gives_no_rights_in_this_one(signed_in, cast, running):
    subscription = running()
    factories.MemberFactory(account=cast.globex, user=cast.viewer, role="owner")
    assert "HX-Redirect" in panel(signed_in(cast.viewer), subscription, 30)
    assert "HX-Redirect" not in panel(signed_in(cast.manager), subscription, 30)


# --- a quote that no longer holds ------------------------------------------------------------------------------------


def refused_with_new_figures(door, subscription, sent) -> tuple[str, dict[str, str]]:
    """The page that comes again, and what it would send."""
    answer = door.post(url(subscription, "increase"), sent)
    assert answer.status_code == 409
    assert not Order.objects.exists()
    return text(answer), fields(answer)


def test_a_price_list_changed_between_check_and_confirm_shows_both_prices_and_charges_the_new_one(door, running, drain):
    subscription = running(increase_policy="full_period")
    sent = confirm(door, subscription, "increase", 30)
    PriceBand.objects.update(price="4.00")
    page, fresh = refused_with_new_figures(door, subscription, sent)
    assert "The price has changed since the page was opened." in page
    assert "Due EUR 17.50 EUR 20.00" in page
    assert "EUR 105.00 a month for 30 seats from" in page
    assert "EUR 120.00 a month for 30 seats from" in page
    assert "Add 5 seats and pay EUR 20.00" in page
    assert (fresh["seats"], fresh["key"]) == ("30", sent["key"])
    assert door.post(url(subscription, "increase"), fresh).status_code == 302
    drain()
    assert [line.amount for line in new_lines(subscription)] == [Decimal("20.000")]


def test_a_change_of_seats_meanwhile_shows_both_prices(door, cast, running, drain):
    subscription = running(increase_policy="full_period")
    sent = confirm(door, subscription, "increase", 30)
    lifecycle.place(Wish(subscription.pk, "increase", {"Seats": 28}), actor=cast.owner, audience=STOREFRONT)
    drain()
    answer = door.post(url(subscription, "increase"), sent)
    assert answer.status_code == 409
    assert "Due EUR 17.50 EUR 7.00" in text(answer)
    assert "Add 2 seats and pay EUR 7.00" in text(answer)


@pytest.mark.parametrize(("minutes", "status"), [(14, 302), (16, 409)])
def test_a_quote_is_honoured_for_15_minutes(door, running, settings, minutes, status, empty_queue):
    subscription = running(increase_policy="full_period")
    sent = confirm(door, subscription, "increase", 30)
    settings.CLOCK_OFFSET = timedelta(minutes=minutes)
    answer = door.post(url(subscription, "increase"), sent)
    assert answer.status_code == status
    if status == 409:
        assert "This page was open for more than 15 minutes." in text(answer)
        assert door.post(url(subscription, "increase"), fields(answer)).status_code == 302


def test_a_quote_from_before_midnight_is_charged_as_it_was_shown(door, running, settings, drain, emulator):
    subscription = running(increase_policy="prorate_days")
    now = clock.now()
    to_midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - now
    settings.CLOCK_OFFSET = to_midnight - timedelta(minutes=5)
    check = door.get(url(subscription, "increase"), {"seats": 30})
    settings.CLOCK_OFFSET = to_midnight + timedelta(minutes=5)
    emulator.control.set_offset(settings.CLOCK_OFFSET)
    assert door.post(url(subscription, "increase"), fields(check)).status_code == 302
    drain()
    assert [line.amount for line in new_lines(subscription)] == [due_in(text(check))]


def forged(token: str) -> str:
    """The same quote for a cent, signed by nobody we know."""
    cheap = Pinned.from_token(token).to_json()
    cheap["lines"][0]["amount"] = "0.01"
    return signing.dumps(cheap, key="not our key", salt="subscriptions.quote", compress=True)


@pytest.mark.parametrize(
    "spoil",
    [forged, lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"), lambda token: "", lambda token: "x:y:z"],
    ids=["forged", "damaged", "missing", "rubbish"],
)
def test_a_quote_that_we_have_not_signed_is_refused(door, running, spoil):
    subscription = running(increase_policy="full_period")
    sent = confirm(door, subscription, "increase", 30)
    page, fresh = refused_with_new_figures(door, subscription, sent | {"quote": spoil(sent["quote"])})
    assert "You saw" not in page
    assert "Add 5 seats and pay EUR 17.50" in page
    assert fresh["quote"]


def test_the_quote_of_another_subscription_or_number_is_refused(door, cast, running):
    subscription, cheaper = running(increase_policy="full_period"), running(prices={1: "0.01"})
    sent = confirm(door, subscription, "increase", 30)
    for other in (
        confirm(door, cheaper, "increase", 30)["quote"],
        confirm(door, subscription, "increase", 26)["quote"],
    ):
        page, _ = refused_with_new_figures(door, subscription, sent | {"quote": other})
        assert "Add 5 seats and pay EUR 17.50" in page


# --- the policies of a decrease --------------------------------------------------------------------------------------


def test_a_decrease_of_the_next_period_is_planned_and_the_vendor_does_not_hear_of_it(door, running, drain, emulator):
    subscription = running()
    receipt = door.post(url(subscription, "decrease"), confirm(door, subscription, "decrease", 20))["Location"]
    drain()
    order = Order.objects.get()
    assert (order.status, order.due_at) == (
        "scheduled",
        actions.midnight(subscription.period_end, subscription.account),
    )
    assert emulator.control.changes(subscription.subscriber_id) == []
    page = text(door.get(receipt))
    assert f"Planned for {actions.date_words(subscription.period_end)}" in page
    assert new_lines(subscription) == []


@pytest.mark.parametrize("policy", ["immediate_credit", "immediate_no_credit"])
def test_a_decrease_at_once_says_whether_something_is_given_back(door, running, drain, policy):
    subscription = running(decrease_policy=policy)
    check = door.get(url(subscription, "decrease"), {"seats": 20})
    gives = policy == "immediate_credit"
    assert ("You get back now EUR" in text(check)) == gives
    assert ("nothing of it is given back" in text(check)) != gives
    door.post(url(subscription, "decrease"), fields(check))
    drain()
    assert Subscription.objects.get(pk=subscription.pk).seats == 20
    assert [line.kind for line in new_lines(subscription)] == (["credit"] if gives else [])


# --- a change is planned already -------------------------------------------------------------------------------------


@pytest.fixture
def shrinking(cast, running):
    """20 seats are planned for the next period."""

    def make(**sku) -> Subscription:
        subscription = running(**sku)
        wish = Wish(subscription.pk, "decrease", {"Seats": 20})
        lifecycle.place(wish, actor=cast.owner, audience=STOREFRONT)
        return subscription

    return make


def test_an_increase_asks_what_becomes_of_the_planned_decrease(door, shrinking, empty_queue):
    subscription = shrinking()
    day = actions.date_words(subscription.period_end)
    assert f"A decrease to 20 seats is planned for {day}." in text(door.get(url(subscription, "increase", "")))
    check = door.get(url(subscription, "increase"), {"seats": 30})
    page = text(check)
    assert f"A decrease to 20 seats is planned for {day}." in page
    assert f"Keep it: 30 seats until {day}, then 20 for EUR 70.00 a month." in page
    assert "Withdraw it: 30 seats from now on, and no change to 20." in page
    answer = door.post(url(subscription, "increase"), fields(check))
    assert answer.status_code == 422
    html = answer.content.decode()
    assert html.count("Choose what becomes of the planned change.") == 2
    assert '<a href="#id_planned">Choose what becomes of the planned change.</a>' in html
    assert 'id="id_planned"' in html
    assert fields(answer)["quote"] == fields(check)["quote"]
    assert Order.objects.count() == 1


@pytest.mark.parametrize(("choice", "planned"), [("keep", "scheduled"), ("discard", "withdrawn")])
def test_the_planned_decrease_is_kept_or_withdrawn(door, shrinking, drain, choice, planned):
    subscription = shrinking()
    sent = confirm(door, subscription, "increase", 30) | {"planned": choice}
    assert door.post(url(subscription, "increase"), sent).status_code == 302
    drain()
    assert Subscription.objects.get(pk=subscription.pk).seats == 30
    assert [one.status for one in Order.objects.order_by("pk")] == [planned, "completed"]
    page = text(door.get(f"/subscriptions/{subscription.pk}/"))
    assert ("The decrease to 20 seats is planned" in page) == (choice == "keep")


@pytest.mark.parametrize("choice", ["keep", "discard"])
def test_later_periods_are_priced_with_the_plan_that_stays(door, shrinking, drain, choice):
    subscription = shrinking()
    day = actions.date_words(subscription.period_end)
    planned = f"Then EUR 70.00 a month for 20 seats from {day}, as planned."
    without = f"EUR 105.00 a month for 30 seats from {day}."
    both = f"{planned} If you withdraw that plan: {without}"
    check = door.get(url(subscription, "increase"), {"seats": 30})
    for answer in (door.get(url(subscription, "increase", ""), {"seats": 30}), panel(door, subscription, 30), check):
        assert both in text(answer)
    receipt = door.post(url(subscription, "increase"), fields(check) | {"planned": choice})["Location"]
    drain()
    kept = choice == "keep"
    for _ in range(2):
        page = text(door.get(receipt))
        assert (planned in page, f"Then {without}" in page, "If you" in page) == (kept, not kept, False)
        # A receipt stays as it was, whatever becomes of the plan.
        for order in Order.objects.filter(status="scheduled"):
            lifecycle.undo(order.pk, actor=None, audience=actions.SYSTEM)


def test_later_periods_before_the_plan_and_after_it_are_both_named(door, running, cast, empty_queue):
    subscription = running()
    first, second = subscription.period_end, pricing.add_months(subscription.period_end, 1, subscription.anchor_day)
    wish = Wish(subscription.pk, "decrease", {"Seats": 20}, when=second, reason="x")
    planned = lifecycle.place(wish, actor=None, audience=actions.COMMAND)
    assert actions.local_day(planned.due_at, cast.acme) == second
    check = door.get(url(subscription, "increase"), {"seats": 30})
    words = f"Then EUR 105.00 a month for 30 seats from {actions.date_words(first)}"
    assert f"{words}, and EUR 70.00 a month for 20 seats from {actions.date_words(second)}, as planned." in text(check)


def test_the_choice_stays_when_the_page_comes_again(door, shrinking, empty_queue):
    subscription = shrinking()
    sent = confirm(door, subscription, "increase", 30) | {"planned": "keep"}
    PriceBand.objects.update(price="4.00")
    answer = door.post(url(subscription, "increase"), sent)
    assert answer.status_code == 409
    assert re.search(r'name="planned" value="keep"[^>]* checked', answer.content.decode())
    later = (
        f"Later periods EUR 70.00 a month for 20 seats from {actions.date_words(subscription.period_end)}, as planned"
    )
    assert later in text(answer)


def test_a_new_plan_takes_the_place_of_the_old_one(door, shrinking, empty_queue):
    subscription = shrinking()
    check = door.get(url(subscription, "decrease"), {"seats": 15})
    assert "Your new plan takes its place. To keep the old one, go back." in text(check)
    assert "Keep it" not in text(check)
    assert door.post(url(subscription, "decrease"), fields(check)).status_code == 302
    assert [(one.after, one.status) for one in Order.objects.order_by("pk")] == [
        ({"Seats": 20}, "withdrawn"),
        ({"Seats": 15}, "scheduled"),
    ]


def test_with_approval_it_is_said_that_the_plan_goes_before_the_decision(door, shrinking, empty_queue):
    subscription = shrinking()
    ApprovalLimit.objects.create(sku=subscription.sku, currency="EUR", orders_from=1)
    sent = confirm(door, subscription, "increase", 30)
    assert "A plan is withdrawn when you order" in text(door.get(url(subscription, "increase"), {"seats": 30}))
    door.post(url(subscription, "increase"), sent | {"planned": "discard"})
    assert [one.status for one in Order.objects.order_by("pk")] == ["withdrawn", "awaiting_approval"]


def test_a_plan_made_while_the_page_was_open_is_not_lost_in_silence(door, cast, running, empty_queue):
    subscription = running()
    sent = confirm(door, subscription, "increase", 30)
    lifecycle.place(Wish(subscription.pk, "decrease", {"Seats": 20}), actor=cast.owner, audience=STOREFRONT)
    answer = door.post(url(subscription, "increase"), sent)
    assert answer.status_code == 409
    assert "A decrease to 20 seats is planned for" in text(answer)
    assert Order.objects.count() == 1


# --- approval, trials ------------------------------------------------------------------------------------------------


def test_a_large_order_says_before_its_button_that_it_must_be_approved(door, cast, running, drain):
    subscription = running(increase_policy="full_period")
    ApprovalLimit.objects.create(sku=subscription.sku, currency="EUR", orders_from="17.50")
    assert "must approve" not in text(door.get(url(subscription, "increase"), {"seats": 29}))
    check = door.get(url(subscription, "increase"), {"seats": 30})
    page = check.content.decode()
    assert 0 < page.index("Your distributor must approve this order") < page.index("Add 5 seats and pay EUR 17.50")
    receipt = door.post(url(subscription, "increase"), fields(check))["Location"]
    drain()
    assert Order.objects.get().status == "awaiting_approval"
    waiting = text(door.get(receipt))
    assert "Waiting for your distributor's approval" in waiting
    assert "Will be charged" in waiting
    assert "waits for your distributor's approval" in text(door.get(f"/subscriptions/{subscription.pk}/"))
    cast.approver.user_permissions.add(Permission.objects.get(codename="approve_subscription"))
    lifecycle.approve(Order.objects.get().pk, actor=cast.approver, audience="bss", reason="Words for staff")
    drain()
    done = text(door.get(receipt))
    assert "Approved by your distributor" in done
    assert "Charged EUR 17.50" in done
    assert "Words for staff" not in done
    assert [line.amount for line in new_lines(subscription)] == [Decimal("17.500")]


def test_seats_of_a_trial_do_not_change(door, cast):
    sku = factories.SKUFactory(trial_days=30)
    trial = factories.SubscriptionFactory(
        account=cast.acme, sku=sku, trial_of=sku.product, trial_ends=clock.now().date() + timedelta(days=20)
    )
    for stem in ("increase", "decrease"):
        assert "This is a trial until" in text(door.get(url(trial, stem, "")))
        assert door.post(url(trial, stem), {"seats": "30"}).status_code == 409
    assert not Order.objects.exists()


def test_a_page_without_its_key_leads_to_no_order_of_another_page(door, cast, subscription):
    # Orders of commands and of old have no key either.
    factories.OrderFactory(actor=cast.manager, subscription__account=cast.acme)
    answer = door.post(url(subscription, "increase"), {"seats": "30", "version": "1", "quote": "x"})
    assert "Add 5 seats and pay EUR 17.50" in text(answer)
    assert Order.objects.count() == 1
