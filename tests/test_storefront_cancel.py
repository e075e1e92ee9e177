"""Cancel in the Storefront: two pages and a receipt; and Keep subscription, which takes it back."""

import re
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest

from subscriptions import clock, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT
from subscriptions.lifecycle import Wish
from subscriptions.models import ApprovalLimit, Charge, Event, Order, Subscription
from tests import factories
from tests.test_periods import begun, instant, run, travel

__all__ = ["begun", "run", "travel"]

END, NOW = quotes.PERIOD_END, quotes.NOW


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.owner)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def path(subscription: Subscription, page: str = "cancel/check/") -> str:
    return f"/subscriptions/{subscription.pk}/{page}"


def fields(answer) -> dict[str, str]:
    """The hidden fields of a check page."""
    form = re.search(r'<form class="form"\s+method="post".*?</form>', answer.content.decode(), re.DOTALL)[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


def confirm(client, subscription: Subscription, when: str = NOW, reason: str = "") -> dict[str, str]:
    """What the check page would send."""
    return fields(client.post(path(subscription), {"when": when, "reason": reason}))


def text(answer) -> str:
    """What stands on the page, without its tags."""
    main = re.search(r'<main id="main".*</main>', answer.content.decode(), re.DOTALL)[0]
    words = " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())
    return re.sub(r" ([.,;])", r"\1", words)


def buttons(answer) -> list[str]:
    found = re.findall(r"<button[^>]*>(.*?)</button>", answer.content.decode(), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", one).split()) for one in found]


def amounts(subscription):
    return list(Charge.objects.filter(subscription=subscription).order_by("pk").values_list("kind", "amount"))


# --- the first page --------------------------------------------------------------------------------------------------


def test_the_first_page_says_when_what_it_costs_and_what_ends(door, begun, run):
    subscription = begun("2027-01-15")
    run("2027-02-15")
    page = text(door.get(path(subscription, "cancel/")))
    assert "Only need fewer seats?" in page
    assert "(optional)" in page
    assert (
        "At the end of the period, on 15 March 2027 You have paid until then, and nothing more is charged. "
        "You can undo it until then." in page
    )
    assert "Now You have paid until 15 March 2027, and nothing of it is given back. This cannot be undone." in page
    assert "Ends on all 25 seats" in page
    assert re.search(r'value="period_end"[^>]*checked', door.get(path(subscription, "cancel/")).content.decode())


def test_a_credit_by_days_is_said_with_its_formula(door, begun, run, travel):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    travel("2027-03-01")
    words = "Credit of EUR 43.75 charged for the 14 days left (1 to 14 March 2027)"
    page = text(door.get(path(subscription, "cancel/")))
    assert f"Now You get EUR 43.75 back: {words}. This cannot be undone." in page


def test_where_nothing_was_charged_nothing_is_promised(door, subscription):
    assert "Nothing was charged for this period, and nothing more will be." in text(
        door.get(path(subscription, "cancel/"))
    )


def test_a_trial_ends_with_its_last_day_or_now(door, cast, emulator):
    trial = factories.SubscriptionFactory(account=cast.acme)
    Subscription.objects.filter(pk=trial.pk).update(trial_ends=trial.period_end, term_end=trial.period_end)
    page = text(door.get(path(trial, "cancel/")))
    assert f"At the end of the trial, on {trial.period_end:%-d %B %Y} A trial costs nothing" in page


@pytest.mark.parametrize("status", ["ending", "suspended"])
def test_what_ends_already_can_only_end_now(door, cast, status):
    at = clock.now() + timedelta(days=9)
    ending = factories.SubscriptionFactory(account=cast.acme, status=status, ends_at=at)
    answer = door.get(path(ending, "cancel/"))
    assert f"It ends on {at:%-d %B %Y} by itself. You can end it now instead." in text(answer)
    assert 'type="radio"' not in answer.content.decode()
    assert confirm(door, ending)["when"] == NOW
    assert door.post(path(ending), {"when": END, "reason": ""}).status_code == 422


def test_fewer_seats_are_not_offered_at_the_minimum(door, cast):
    least = factories.SubscriptionFactory(account=cast.acme, seats=5)
    assert "Only need fewer seats?" not in text(door.get(path(least, "cancel/")))


def test_an_expired_one_is_over_anyway(door, cast):
    today = clock.now().date()
    expired = factories.SubscriptionFactory(account=cast.acme, status="expired", grace_ends=today + timedelta(days=5))
    assert "The term is over and was not renewed." in text(door.get(path(expired, "cancel/")))


@pytest.mark.parametrize("sent", [{}, {"when": "someday"}])
def test_when_must_be_chosen(door, subscription, sent):
    answer = door.post(path(subscription), {"reason": "Too big"} | sent)
    assert answer.status_code == 422
    assert text(answer).count("Choose when it ends.") == 2
    assert "Too big</textarea>" in answer.content.decode()


# --- now -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "We move to another product"])
def test_cancelling_now_ends_it_at_the_vendor_and_then_here(door, cast, subscription, drain, reason):
    shown = door.post(path(subscription), {"when": NOW, "reason": reason})
    assert "Cancel now" in buttons(shown)
    sent = fields(shown)
    answer = door.post(path(subscription), sent)
    [order] = Order.objects.all()
    assert answer["Location"] == f"/orders/{order.pk}/"
    assert (order.action, order.reason, order.actor, order.due_at) == ("cancel", reason, cast.owner, None)
    assert fresh(subscription).status == "active"
    drain()
    assert fresh(subscription).status == "cancelled"
    assert door.post(path(subscription), sent)["Location"] == answer["Location"]
    assert "Its activation code no longer works" in door.get(answer["Location"]).content.decode()
    assert Order.objects.count() == 1


def test_the_credit_that_was_shown_is_what_is_credited(door, begun, run, travel, drain):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    travel(instant("2027-03-01") + timedelta(hours=20))
    shown = door.post(path(subscription), {"when": NOW, "reason": ""})
    assert "You get EUR 43.75 back" in text(shown)
    # Confirmed after midnight, and still within the quarter of an hour.
    travel(instant("2027-03-01") + timedelta(hours=20, minutes=14))
    door.post(path(subscription), fields(shown))
    drain()
    assert fresh(subscription).status == "cancelled"
    assert amounts(subscription) == [("period", Decimal("87.50")), ("credit", Decimal("-43.75"))]


def test_midnight_alone_changes_no_credit(door, begun, run, travel, drain):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    travel(instant("2027-03-02") - timedelta(minutes=5))
    sent = confirm(door, subscription)
    travel(instant("2027-03-02") + timedelta(minutes=5))
    assert door.post(path(subscription), sent).status_code == 302
    drain()
    assert amounts(subscription)[-1] == ("credit", Decimal("-43.75"))


def test_a_suspended_one_can_be_cancelled_now(door, cast, at_vendor, drain, emulator):
    suspended = at_vendor(factories.SubscriptionFactory(account=cast.acme, status="suspended"))
    door.post(path(suspended), confirm(door, suspended))
    drain()
    assert fresh(suspended).status == "cancelled"
    assert emulator.control.subscriber(suspended.subscriber_id).status == "HardCancelled"


# --- at the end of the period ----------------------------------------------------------------------------------------


def end_later(door, subscription, reason=""):
    shown = door.post(path(subscription), {"when": END, "reason": reason})
    door.post(path(subscription), fields(shown))
    return Order.objects.latest("pk"), shown


def test_at_the_end_of_the_period_it_shows_at_once_and_the_vendor_hears_nothing(door, begun, cast, emulator):
    subscription = begun("2027-01-15")
    order, shown = end_later(door, subscription, "Too big")
    assert "Cancel on 15 February 2027" in buttons(shown)
    assert (order.status, order.due_at, order.reason) == ("scheduled", instant("2027-02-15"), "Too big")
    row = fresh(subscription)
    assert (row.status, row.ends_at) == ("ending", instant("2027-02-15"))
    assert emulator.control.requests(source="service") == []
    page = text(door.get(path(subscription, "")))
    assert "Ends on 15 February 2027" in page
    assert f'href="/subscriptions/{subscription.pk}/keep/"' in door.get(path(subscription, "")).content.decode()


def test_on_its_day_it_ends_at_the_vendor_and_nothing_is_charged(door, begun, run, drain, emulator):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    order, _ = end_later(door, subscription)
    assert not run(instant("2027-03-15") - timedelta(seconds=1))
    assert run("2027-03-15") == {"due cancel": 1}
    assert fresh(subscription).status == "ending", "the vendor first"
    drain()
    assert (fresh(order).status, fresh(subscription).status) == ("completed", "cancelled")
    assert emulator.control.subscriber(subscription.subscriber_id).status == "HardCancelled"
    assert not run("2027-04-15")
    assert amounts(subscription) == [("period", Decimal("87.50"))]


def test_refused_by_the_vendor_it_stays_ending_and_is_tried_again_a_day_later(door, begun, run, drain, emulator):
    subscription = begun("2027-01-15")
    emulator.control.add_fault("item-error", kinds=["HardCancel"], code=602, message="Not now.")
    order, _ = end_later(door, subscription)
    run("2027-02-15")
    drain()
    assert (fresh(order).status, fresh(subscription).status) == ("failed", "ending")
    assert not run(fresh(order).finished_at + timedelta(days=1) - timedelta(seconds=1)).get("ended")
    assert run(fresh(order).finished_at + timedelta(days=1))["ended"] == 1
    drain()
    assert fresh(subscription).status == "cancelled"
    assert amounts(subscription) == []


def test_cancelling_now_after_all_withdraws_the_planned_end_when_it_is_done(door, subscription, drain):
    planned, _ = end_later(door, subscription)
    door.post(path(subscription), confirm(door, subscription))
    assert (fresh(subscription).status, fresh(planned).status) == ("ending", "scheduled")
    drain()
    assert (fresh(subscription).status, fresh(planned).status) == ("cancelled", "withdrawn")


@pytest.mark.parametrize("when", [END, NOW])
def test_a_planned_change_that_falls_away_is_named(door, begun, cast, drain, when):
    subscription = begun("2027-01-15")
    fewer = Wish(subscription.pk, "decrease", {"Seats": 20})
    planned = lifecycle.place(fewer, actor=cast.owner, audience=STOREFRONT)
    words = "A decrease to 20 seats is planned for 15 February 2027. It falls away."
    assert words in text(door.get(path(subscription, "cancel/")))
    shown = door.post(path(subscription), {"when": when, "reason": ""})
    assert words in text(shown)
    door.post(path(subscription), fields(shown))
    drain()
    assert fresh(planned).status == "withdrawn"


# --- keep ------------------------------------------------------------------------------------------------------------


def keep(door, subscription) -> dict[str, str]:
    return fields(door.get(path(subscription, "keep/")))


def test_kept_it_goes_on_without_any_trace_in_the_ledger(door, begun, cast, run, emulator):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    order, _ = end_later(door, subscription)
    before = fresh(subscription)
    page = text(door.get(path(subscription, "keep/")))
    assert "15 February 2027" in page
    answer = door.post(path(subscription, "keep/"), keep(door, subscription))
    assert answer["Location"] == path(subscription, "")
    row = fresh(subscription)
    assert (row.status, row.ends_at, fresh(order).status) == ("active", None, "withdrawn")
    assert (row.period_start, row.period_end, row.term_end) == (before.period_start, before.period_end, before.term_end)
    assert not Charge.objects.exists()
    event = Event.objects.get(kind="cancel.withdrawn")
    assert (event.order, event.actor, event.audience) == (order, cast.owner, "storefront")
    assert f"{subscription.number} goes on" in text(door.get(answer["Location"]))
    assert run("2027-02-15") == {"billed": 1}
    assert emulator.control.requests(source="service") == []
    assert amounts(subscription) == [("period", Decimal("87.50"))]


def test_in_the_last_period_of_a_term_without_renewal_keeping_promises_no_charge(door, begun):
    for renews, words in (
        (True, "Keeping it costs nothing. From 15 February 2027 on: EUR 87.50 a month, excl. VAT"),
        (False, "Keeping it costs nothing, and nothing more is charged in this term"),
    ):
        subscription = begun("2027-01-15", {"term_months": 1}, auto_renew=renews)
        end_later(door, subscription)
        assert words in text(door.get(path(subscription, "keep/")))


def test_kept_twice_it_is_kept_once(door, subscription, emulator):
    end_later(door, subscription)
    sent = keep(door, subscription)
    first, second = (door.post(path(subscription, "keep/"), sent) for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 302)
    assert first["Location"] == second["Location"]
    assert Event.objects.filter(kind="cancel.withdrawn").count() == 1


def test_a_second_before_the_end_it_is_kept_and_at_the_end_no_more(door, begun, travel, emulator):
    subscription = begun("2027-01-15")
    end_later(door, subscription)
    travel("2027-02-15")
    answer = door.post(path(subscription, "keep/"))
    assert answer.status_code == 409
    assert "has come; it is being applied" in text(answer)
    assert "has come; it is being applied" in text(door.get(path(subscription, "keep/")))
    assert fresh(subscription).status == "ending"
    travel(instant("2027-02-15") - timedelta(seconds=1))
    assert door.post(path(subscription, "keep/"), keep(door, subscription)).status_code == 302
    assert fresh(subscription).status == "active"


def test_what_does_not_end_cannot_be_kept(door, cast, subscription):
    assert "It goes on already." in text(door.get(path(subscription, "keep/")))
    assert door.post(path(subscription, "keep/")).status_code == 409
    theirs = factories.SubscriptionFactory(account=cast.acme, status="ending", ends_at=clock.now() + timedelta(days=3))
    assert "The licence service ends it." in text(door.get(path(theirs, "keep/")))


# --- approval --------------------------------------------------------------------------------------------------------


@pytest.fixture
def checked(begun):
    """A subscription whose cancels staff must approve; `under` is the amount below which they need not."""

    def make(under: str | None = None) -> Subscription:
        subscription = begun("2027-01-15", {"cancel_needs_approval": True})
        if under:
            ApprovalLimit.objects.create(sku=subscription.sku, cancels_under=under)
        return subscription

    return make


@pytest.mark.parametrize("when", [END, NOW])
@pytest.mark.parametrize("under", [None, "87.50"])
def test_where_approval_is_needed_the_page_says_so_and_nothing_ends(door, checked, cast, drain, when, under):
    subscription = checked(under)
    shown = door.post(path(subscription), {"when": when, "reason": ""})
    assert "Your distributor must approve this" in text(shown)
    answer = door.post(path(subscription), fields(shown))
    order = Order.objects.get()
    drain()
    assert (fresh(order).status, fresh(subscription).status) == ("awaiting_approval", "active")
    assert "approval" in text(door.get(answer["Location"]))
    assert "waits for your distributor's approval" in text(door.get(path(subscription, "")))
    lifecycle.approve(order.pk, actor=cast.approver, audience=BSS, reason="Fine")
    drain()
    assert fresh(subscription).status == ("ending" if when == END else "cancelled")


def test_under_the_limit_it_is_automatic(door, checked):
    subscription = checked("87.51")
    order, shown = end_later(door, subscription)
    assert "must approve" not in text(shown)
    assert (order.status, fresh(subscription).status) == ("scheduled", "ending")


def test_rejected_it_goes_on_and_the_comment_is_read(door, checked, cast, drain):
    subscription = checked()
    order, _ = end_later(door, subscription)
    lifecycle.reject(order.pk, actor=cast.approver, audience=BSS, reason="Your contract runs until May.")
    assert fresh(subscription).status == "active"
    assert "Your contract runs until May." in text(door.get(path(subscription, "")))
    assert not Charge.objects.exists()


# --- what comes again ------------------------------------------------------------------------------------------------


def test_a_stale_page_is_refused_and_keeps_choice_and_reason(door, subscription):
    sent = confirm(door, subscription, END, "Too big") | {"version": str(subscription.version + 7)}
    answer = door.post(path(subscription), sent)
    assert answer.status_code == 409
    assert fields(answer)["reason"] == "Too big"
    assert fields(answer)["when"] == END
    assert "Somebody changed this subscription while the page was open." in text(answer)
    assert not Order.objects.exists()
    assert door.post(path(subscription), fields(answer)).status_code == 302


def test_another_credit_is_shown_beside_the_old_one(door, begun, run, travel, cast, drain):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    travel("2027-03-01")
    sent = confirm(door, subscription)
    more = Wish(subscription.pk, "increase", {"Seats": 50})
    lifecycle.place(more, actor=cast.manager, audience=STOREFRONT)
    drain()
    answer = door.post(path(subscription), sent)
    page = text(answer)
    assert answer.status_code == 409
    minus = "\N{MINUS SIGN}"
    assert f"Due {minus}EUR 43.75 {minus}EUR 87.50" in page
    assert "You get EUR 87.50 back" in page
    assert Order.objects.filter(action="cancel").count() == 0
    door.post(path(subscription), fields(answer))
    drain()
    assert amounts(subscription)[-1] == ("credit", Decimal("-87.50"))


def test_a_page_that_was_open_for_too_long_comes_again(door, begun, travel):
    subscription = begun("2027-01-15")
    sent = confirm(door, subscription, END)
    travel(instant("2027-01-15") + timedelta(minutes=16))
    answer = door.post(path(subscription), sent)
    assert answer.status_code == 409
    assert "open for more than 15 minutes" in text(answer)
    assert not Order.objects.exists()


def test_a_quote_that_we_have_not_signed_places_nothing(door, subscription):
    sent = confirm(door, subscription, END)
    answer = door.post(path(subscription), sent | {"quote": sent["quote"][:-3] + "abc"})
    assert answer.status_code == 409
    assert not Order.objects.exists()


def test_the_quote_of_an_end_later_does_not_pay_for_one_now(door, begun, run, drain):
    subscription = begun("2027-01-15", {"cancel_credit": "by_days"})
    run("2027-02-15")
    later = confirm(door, subscription, END)
    answer = door.post(path(subscription), later | {"when": NOW})
    assert answer.status_code == 409
    assert not Order.objects.exists()


# --- the reason ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["check", "confirm"])
def test_a_reason_that_is_too_long_is_refused_and_kept(door, subscription, step):
    sent = confirm(door, subscription) if step == "confirm" else {"when": NOW}
    answer = door.post(path(subscription), sent | {"reason": "x" * 1501})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "The reason is too long: it has 1,501 characters, and 500 are the most." in page
    assert "x" * 1501 in page
    assert not Order.objects.exists()


def test_line_ends_count_once(door, subscription):
    answer = door.post(path(subscription), {"when": NOW, "reason": "x\r\n" * 249 + "xx"})
    assert answer.status_code == 200
    door.post(path(subscription), fields(answer) | {"reason": "One\r\nTwo"})
    assert Order.objects.get().reason == "One\nTwo"


def test_the_reason_stays_out_of_every_address(door, subscription):
    first, second = path(subscription, "cancel/"), path(subscription)
    assert f'method="post" action="{second}"' in " ".join(door.get(first).content.decode().split())
    page = door.post(second, {"when": END, "reason": "Too big"}).content.decode()
    assert "reason=" not in page
    assert re.search(r'name="back"\s+value="1"[^>]*>Go back</button>', page)
    again = door.post(second, confirm(door, subscription, NOW, "Too big") | {"back": "1"})
    assert again.status_code == 200
    assert "Too big</textarea>" in again.content.decode()
    assert re.search(r'value="now"[^>]*checked', again.content.decode())
    assert not Order.objects.exists()
    assert "Leaked</textarea>" not in door.get(first, {"reason": "Leaked"}).content.decode()


def test_the_check_page_by_address_alone_is_the_first_page(door, subscription):
    page = door.get(path(subscription), {"reason": "Leaked", "when": NOW}).content.decode()
    assert "Why do you cancel?" in page
    assert "Leaked</textarea>" not in page


def test_a_refusal_in_between_keeps_the_reason(door, subscription):
    factories.OrderFactory(subscription=subscription, status="placed")
    page = " ".join(door.post(path(subscription), {"when": NOW, "reason": "Too big"}).content.decode().split())
    assert "reason=" not in page
    assert re.search(
        rf'method="post" action="{path(subscription)}">.*name="when" value="now".*name="reason" value="Too big".*'
        r'name="back".*Go on where you were',
        page,
    )


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["buyer", "billing", "viewer"])
def test_other_roles_may_not(signed_in, cast, subscription, role):
    client = signed_in(getattr(cast, role))
    lifecycle.place(Wish(subscription.pk, "cancel", when=END), actor=cast.owner, audience=STOREFRONT)
    for answer in (
        client.get(path(subscription, "cancel/")),
        client.post(path(subscription), {"when": NOW}),
        client.get(path(subscription, "keep/")),
        client.post(path(subscription, "keep/")),
    ):
        assert answer.status_code == 403
        assert "Ask Ana Kos." in text(answer)
    assert fresh(subscription).status == "ending"


def test_looking_changes_nothing(door, subscription):
    before = Subscription.objects.filter(pk=subscription.pk).values().get()
    door.get(path(subscription, "cancel/"))
    confirm(door, subscription, NOW)
    confirm(door, subscription, END)
    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before
    assert not Order.objects.exists()
