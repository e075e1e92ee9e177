"""Bulk work and money: nothing is charged that the preview did not show, and what it showed is what the ledger gets."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from subscriptions import actions, bulk, clock, lifecycle
from subscriptions.actions import BSS, COMMAND, NotAllowed
from subscriptions.bulk import Preview, Wanted
from subscriptions.lifecycle import Wish
from subscriptions.models import SKU, Account, ApprovalLimit, BulkRow, BulkRun, Charge, Order, PriceBand, Subscription
from tests.factories import ChargeFactory, OrderFactory, SKUFactory, SubscriptionFactory
from tests.test_periods import begun, fresh, lines, run, travel

__all__ = ["begun", "run", "travel"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

SET_SEATS, WENT = lifecycle.SET_SEATS, {"when": "now"}
EUR = Decimal


def outcomes(chosen):
    return list(chosen.rows.order_by("position").values_list("outcome", "code"))


def at(day, time):
    return datetime.fromisoformat(f"{day}T{time}+00:00")


def shown(chosen):
    return list(chosen.rows.order_by("position").values_list("shown", flat=True))


@pytest.fixture
def look(cast):
    """A draft of these rows, looked at."""

    def of(*rows, stem=SET_SEATS, **given):
        return bulk.draft(stem, bulk.ticked([one.pk for one in rows]), actor=cast.operator, given=given)

    return of


def place(chosen):
    bulk.confirm(chosen, "agreed")
    for _ in bulk.place(chosen):
        pass
    return chosen


def paid(subscription, amount="87.50"):
    """Charged for its current period."""
    return ChargeFactory(
        subscription=subscription, kind="period", amount=amount, covers_from=subscription.period_start,
        covers_to=subscription.period_end, period_start=subscription.period_start,
    )  # fmt: skip


# --- no more than was shown ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "due"),
    [
        (lambda one: PriceBand.objects.filter(sku=one.sku).update(price="4.00"), "EUR 18.00"),
        (lambda one: Account.objects.filter(pk=one.account_id).update(discount="0"), "EUR 17.50"),
        (lambda one: Subscription.objects.filter(pk=one.pk).update(seats=24), "EUR 18.90"),
    ],
    ids=["price list", "discount", "seats by somebody else"],
)
def test_what_costs_more_by_now_is_refused_and_the_others_are_done(change, due, look):
    one, other = SubscriptionFactory(account__discount=10), SubscriptionFactory(account__discount=10)
    chosen = look(one, other, seats=30)
    assert shown(chosen) == [EUR("15.75"), EUR("15.75")]
    change(one)
    place(chosen)
    assert outcomes(chosen) == [("refused", "price_changed"), ("placed", "")]
    words = f"EUR 15.75 was shown and {due} would be charged now, so nothing was done. Choose it again to see the new "
    assert bulk.reasons(chosen)["price_changed"].examples == [(str(one), f"{words}figures.")]
    [refused, _] = bulk.sheet(chosen)
    assert refused[3:6] == ("refused", "price_changed", f"{words}figures.")
    assert not one.orders.exists()
    assert (fresh(chosen).placed, fresh(chosen).refused) == (1, 1)


def test_another_policy_of_the_sku_is_another_price(begun, travel, look):
    one = begun("2027-01-15")
    travel("2027-02-01")
    chosen = look(one, seats=30)
    # 14 of the 31 days.
    assert shown(chosen) == [EUR("7.90")]
    SKU.objects.update(increase_policy="full_period")
    assert outcomes(place(chosen)) == [("refused", "price_changed")]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: PriceBand.objects.filter(sku=one.sku).update(price="3.00"),
        lambda one: Subscription.objects.filter(pk=one.pk).update(seats=28),
    ],
    ids=["price list", "seats by somebody else"],
)
def test_what_costs_less_by_now_is_done_for_less(change, look):
    one = SubscriptionFactory()
    chosen = look(one, seats=30)
    change(one)
    assert outcomes(place(chosen)) == [("placed", "")]
    [order] = one.orders.all()
    assert EUR(order.quote["lines"][0]["amount"]) < shown(chosen)[0]


def test_midnight_makes_it_cheaper(begun, travel, look):
    one = begun("2027-01-15")
    travel(at("2027-02-01", "23:50"))
    chosen = look(one, seats=30)
    travel(at("2027-02-02", "00:01"))
    assert outcomes(place(chosen)) == [("placed", "")]
    assert (shown(chosen), one.orders.get().quote["lines"][0]["amount"]) == ([EUR("7.90")], "7.34")


def test_the_midnight_that_begins_a_period_may_not_charge_the_whole_of_it(begun, travel, look):
    one = begun("2027-01-15")
    travel(at("2027-02-14", "23:50"))
    chosen = look(one, seats=30)
    assert shown(chosen) == [EUR("0.56")]
    travel(at("2027-02-15", "00:01"))
    assert outcomes(place(chosen)) == [("refused", "price_changed")]
    # The period itself is billed as ever.
    assert lines(one) == [("period", "2027-02-15", "2027-03-15", EUR("87.50"))]


def test_what_was_refused_when_it_was_looked_at_may_cost_nothing_later(look):
    one, free = SubscriptionFactory(), SubscriptionFactory(seats=40, sku=SKUFactory(decrease_policy="next_period"))
    chosen_rows = [one, free, SubscriptionFactory()]
    open_ones = [OrderFactory(subscription=row, status="placed") for row in (one, free)]
    chosen = look(*chosen_rows, seats=30)
    assert shown(chosen) == [None, None, EUR("17.50")]
    Order.objects.filter(pk__in=[order.pk for order in open_ones]).update(status="in_progress")
    Order.objects.filter(pk__in=[order.pk for order in open_ones]).update(status="failed", finished_at=clock.now())
    assert outcomes(place(chosen)) == [("refused", "price_changed"), ("placed", ""), ("placed", "")]
    sentence = bulk.reasons(chosen)["price_changed"].sentence
    assert sentence.startswith("No charge was shown and EUR 17.50 would be charged now, so nothing was done.")


def test_less_is_not_given_back_than_was_shown(begun, travel, look):
    credits = {"cancel_credit": "by_days"}
    one, other = begun("2027-01-15", sku=credits), begun("2027-01-15", sku=credits)
    paid(one), paid(other)
    travel(at("2027-02-01", "12:00"))
    chosen = look(one, stem="cancel", **WENT)
    # 14 of 31 days.
    assert shown(chosen) == [EUR("-39.52")]
    assert bulk.preview_of(chosen).due == {"EUR": EUR("-39.52")}
    assert outcomes(place(chosen)) == [("placed", "")]
    travel(at("2027-02-01", "23:50"))
    chosen = look(other, stem="cancel", **WENT)
    travel(at("2027-02-02", "00:01"))
    assert outcomes(place(chosen)) == [("refused", "price_changed")]
    sentence = bulk.reasons(chosen)["price_changed"].sentence
    assert sentence.startswith("A credit of EUR 39.52 was shown and only EUR 36.69 would be given back now, so nothing")


def test_a_command_prices_as_it_places():
    one = SubscriptionFactory()
    wanted, rows = Wanted(SET_SEATS, "agreed", {"seats": 30}), bulk.ticked([one.pk])
    *_, seen = bulk.preview(wanted, rows, actor=None, audience=COMMAND)
    chosen = bulk.begin(wanted, rows, actor=None, audience=COMMAND)
    PriceBand.objects.update(price="4.00")
    for _ in bulk.place(chosen):
        pass
    assert (seen.due, shown(chosen), outcomes(chosen)) == ({"EUR": EUR("17.50")}, [None], [("placed", "")])
    assert one.orders.get().quote["lines"][0]["amount"] == "20.00"


@pytest.mark.parametrize(
    ("at_most", "seats", "sentence"),
    [
        ("17.49", 30, "EUR 17.49 was shown and EUR 17.50 would be charged now, so nothing was done. "),
        ("0", 30, "No charge was shown and EUR 17.50 would be charged now, so nothing was done. "),
        ("-1", 30, "A credit of EUR 1.00 was shown and EUR 17.50 would be charged now, so nothing was done. "),
        ("-17.51", 20, "A credit of EUR 17.51 was shown and only EUR 17.50 would be given back now, so nothing was "),
        ("17.50", 30, ""),
        ("-17.50", 20, ""),
        ("0", 20, ""),
        (None, 30, ""),
    ],
)
def test_one_order_has_a_ceiling_too(at_most, seats, sentence):
    one = SubscriptionFactory(sku=SKUFactory(decrease_policy="immediate_credit"))
    paid(one)
    wish = Wish(one.pk, SET_SEATS, {"Seats": seats}, at_most=None if at_most is None else EUR(at_most))
    if not sentence:
        assert lifecycle.place(wish, actor=None, audience=actions.SYSTEM).status == "placed"
        return
    with pytest.raises(NotAllowed) as refused:
        lifecycle.place(wish, actor=None, audience=actions.SYSTEM)
    assert refused.value.code == "price_changed"
    assert refused.value.sentence.startswith(sentence)
    assert refused.value.sentence.endswith(" Choose it again to see the new figures.")
    assert not Order.objects.exists()


def test_a_credit_that_is_gone_is_said():
    one = SubscriptionFactory(sku=SKUFactory(decrease_policy="immediate_no_credit"))
    with pytest.raises(NotAllowed, match=r"A credit of EUR 1\.00 was shown and none would be given now, so"):
        lifecycle.place(Wish(one.pk, SET_SEATS, {"Seats": 20}, at_most=EUR("-1")), actor=None, audience=actions.SYSTEM)


# --- what is kept of it ----------------------------------------------------------------------------------------------


def updates(queries):
    return [one["sql"] for one in queries if one["sql"].startswith("UPDATE subscriptions_bulkrow")]


def test_each_look_keeps_its_own_figures_and_writes_as_little_as_it_can(look, monkeypatch):
    monkeypatch.setattr(bulk.drafts, "CHUNK", 3)
    rows = [SubscriptionFactory() for _ in range(3)]
    with CaptureQueriesContext(connection) as queries:
        chosen = look(*rows, seats=30)
    assert len(updates(queries)) == 1
    assert shown(chosen) == [EUR("17.50")] * 3
    with CaptureQueriesContext(connection) as queries:
        bulk.ask(chosen, {"seats": 30}, "agreed")
    assert updates(queries) == [], "nothing has changed"
    bulk.ask(chosen, {"seats": 20}, "agreed")
    assert shown(chosen) == [None] * 3
    PriceBand.objects.filter(sku=rows[1].sku).update(price="9.00")
    bulk.ask(chosen, {"seats": 26}, "agreed")
    assert shown(chosen) == [EUR("3.50"), EUR("9.00"), EUR("3.50")]
    with CaptureQueriesContext(connection) as queries:
        assert shown(look(*rows, stem="suspend")) == [None] * 3
    assert updates(queries) == [], "nothing costs"


def test_what_was_shown_is_final_once_it_is_confirmed(look):
    chosen = look(SubscriptionFactory(), seats=30)
    bulk.confirm(chosen, "agreed")
    with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
        BulkRow.objects.filter(run=chosen).update(shown="99.00")


def test_a_run_that_the_version_before_has_looked_at_is_priced_as_it_is_placed(look):
    one = SubscriptionFactory()
    chosen = look(one, seats=30)
    kept = {name: value for name, value in chosen.preview.items() if name != "later"}
    BulkRun.objects.filter(pk=chosen.pk).update(preview=kept)
    BulkRow.objects.filter(run=chosen).update(shown=None)
    place(fresh(chosen))
    assert fresh(chosen).placed == 1


def test_a_preview_comes_back_from_what_is_kept_of_it(look):
    one, planned = SubscriptionFactory(), SubscriptionFactory(status="suspended")
    OrderFactory(subscription=planned, status="scheduled", action="decrease", after={"Seats": 9})
    day = (clock.now() + timedelta(days=3)).date().isoformat()
    for chosen in (
        look(one, seats=30, when=day),
        look(planned, stem="cancel", when="period_end"),
        look(one, seats=31),
    ):
        seen = bulk.preview_of(fresh(chosen))
        assert Preview.from_json(seen.to_json()) == seen
        assert bool(seen.later) + bool(seen.planned) + bool(seen.due) == 1
    assert Preview.from_json({"rows": 1, "can": {}, "cannot": {}, "due": {}}).later == {}, "as it was kept before"


# --- all of it is shown ----------------------------------------------------------------------------------------------


def charged():
    """What the ledger got, by currency."""
    return sum((one.amount for one in Charge.objects.all()), Decimal())


def test_an_activation_that_is_planned_with_a_suspension_is_shown_with_its_price(begun, run, travel, drain, look):
    rows = [begun("2027-01-15") for _ in range(2)]
    travel("2027-02-10")
    chosen = look(*rows, stem="suspend", then="2027-03-01")
    seen = bulk.preview_of(chosen)
    # 14 of the 28 days from 15 February on, which are not billed while it is suspended.
    assert (seen.due, seen.later, shown(chosen)) == ({}, {"EUR": EUR("87.50")}, [EUR("43.75")] * 2)
    place(chosen)
    drain()
    assert bulk.money(chosen) == [("Still to be charged", "EUR 87.50")]
    for day in ("2027-02-15", "2027-03-01"):
        run(day)
        drain()
    assert {fresh(one).status for one in rows} == {"active"}
    assert charged() == seen.later["EUR"]
    assert bulk.money(chosen) == [("Charged", "EUR 87.50")]


def test_an_activation_that_costs_more_by_now_is_not_planned_and_nothing_is_suspended(begun, travel, look):
    one = begun("2027-01-15")
    travel("2027-02-10")
    chosen = look(one, stem="suspend", then="2027-03-01")
    PriceBand.objects.update(price="4.00")
    assert outcomes(place(chosen)) == [("refused", "price_changed")]
    assert not Order.objects.exists()


@pytest.mark.parametrize("day", ["2027-02-10", "2027-02-15", "2027-03-01"])
def test_seats_of_a_later_day_are_charged_then_as_they_were_shown(day, begun, run, travel, drain, look):
    one = begun("2027-01-15")
    paid(one)
    travel("2027-02-01")
    chosen = look(one, seats=30, when=day)
    seen = bulk.preview_of(chosen)
    place(chosen)
    for on in sorted({"2027-02-15", day}):
        run(on)
        drain()
    ledger = [line for line in lines(one) if line[0] == "change"]
    # On the first day of a period the renewal bills the seats that there are then.
    expected = {"2027-02-10": EUR("2.82"), "2027-02-15": EUR(0), "2027-03-01": EUR("8.75")}[day]
    assert (fresh(one).seats, sum(line[3] for line in ledger)) == (30, expected)
    assert (seen.due, seen.later.get("EUR", 0), shown(chosen)) == ({}, expected, [expected or None])


def test_activations_of_a_later_day_are_charged_then_as_they_were_shown(begun, run, travel, drain, look, emulator):
    one = begun("2027-01-15", status="suspended")
    travel("2027-02-20"), run("2027-02-20")
    chosen = look(one, stem="activate", when="2027-03-01")
    seen = bulk.preview_of(chosen)
    place(chosen)
    run("2027-03-01")
    drain()
    assert (fresh(one).status, seen.due, seen.later) == ("active", {}, {"EUR": EUR("43.75")})
    assert charged() == EUR("43.75")


def test_what_waits_for_approval_is_shown_with_its_price(look):
    one = SubscriptionFactory()
    ApprovalLimit.objects.create(sku=one.sku, currency="EUR", orders_from="10.00")
    for given, name in (({"seats": 30}, "due"), ({"seats": 30, "when": tomorrow(one)}, "later")):
        seen = bulk.preview_of(look(one, **given))
        assert list(seen.can) == ["awaiting_approval"]
        assert getattr(seen, name)["EUR"] > 10


def tomorrow(subscription):
    return (actions.local_day(clock.now(), subscription.account) + timedelta(days=1)).isoformat()


def test_staff_read_sentences_about_somebody_elses_seats(look):
    few, same, unpriced = SubscriptionFactory(seats=5), SubscriptionFactory(), SubscriptionFactory(sku__prices={})
    reasons = bulk.preview_of(look(few, same, stem=SET_SEATS, seats=25)).cannot
    assert reasons["same"].sentence == "It has 25 seats already. Enter a whole number from 26 to 500."
    reasons = bulk.preview_of(look(few, unpriced, seats=30)).cannot
    assert reasons["no_price"].sentence == "There is no price for 30 seats in EUR. Add one to the price list."
    reasons = bulk.preview_of(look(few, seats=4)).cannot
    assert reasons["at_minimum"].sentence.startswith("It has 5 seats, and 5 is the smallest number")


# --- what is planned already -----------------------------------------------------------------------------------------


def planned_decrease(subscription):
    return OrderFactory(
        subscription=subscription, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20},
        due_at=actions.midnight(date(2027, 2, 15), subscription.account),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "given", "status", "becomes", "afterwards"),
    [
        ("cancel", {"when": "now"}, "active", "withdrawn", "withdrawn"),
        ("cancel", {"when": "2027-01-18"}, "active", "withdrawn", "withdrawn"),
        ("cancel", {"when": "period_end"}, "active", "withdrawn", "withdrawn"),
        ("suspend", {}, "active", "stands_still", "scheduled"),
        ("activate", {"planned": "keep"}, "suspended", None, "scheduled"),
        ("activate", {"planned": "discard"}, "suspended", "withdrawn", "withdrawn"),
        ("set_seats", {"seats": 22, "planned": "discard"}, "active", "withdrawn", "withdrawn"),
        ("set_seats", {"seats": 30, "planned": "keep"}, "active", None, "scheduled"),
    ],
)
def test_what_becomes_of_a_planned_change_is_told_before_it_does(
    stem, given, status, becomes, afterwards, begun, travel, drain, look
):
    one, other = (begun("2027-01-15", status=status, sku={"cancel_credit": "none"}) for _ in range(2))
    planned = planned_decrease(one)
    travel("2027-01-20")
    chosen = look(one, other, stem=stem, **given)
    seen = bulk.preview_of(chosen)
    assert seen.able == 2
    assert {name: reason.count for name, reason in seen.planned.items()} == ({becomes: 1} if becomes else {})
    if becomes:
        words = "A decrease to 20 seats is planned for 15 February 2027."
        assert seen.planned[becomes].examples == [(str(one), words)]
    place(chosen)
    drain()
    assert fresh(planned).status == afterwards
    assert Order.objects.filter(bulk_row__run=chosen, status__in=["completed", "scheduled"]).count() == 2


def test_a_planned_end_comes_all_the_same_while_it_is_suspended(look):
    one = SubscriptionFactory(status="ending", ends_at=clock.now() + timedelta(days=5))
    OrderFactory(subscription=one, status="scheduled", action="cancel", after={"Status": "cancelled"})
    seen = bulk.preview_of(look(one, stem="suspend"))
    assert (seen.able, seen.planned) == (1, {})


def test_what_cannot_be_done_withdraws_nothing(look):
    one = SubscriptionFactory(status="suspended")
    planned_decrease(one)
    seen = bulk.preview_of(look(one, stem="suspend"))
    assert (seen.unable, seen.planned) == (1, {})


def test_a_row_with_a_planned_change_is_refused_for_that_and_not_for_its_price(look):
    able, planned = SubscriptionFactory(), SubscriptionFactory()
    planned_decrease(planned)
    chosen = place(look(able, planned, seats=90))
    row = chosen.rows.get(subscription=planned)
    assert (row.outcome, row.code) == ("refused", "order_scheduled")
    assert row.sentence.startswith("A decrease to 20 seats is planned for 15 February 2027.")


def test_looking_at_planned_changes_costs_no_statements(look):
    numbers = []
    for count in (2, 20):
        rows = [SubscriptionFactory() for _ in range(count)]
        for one in rows:
            planned_decrease(one)
        wishes = [Wish(one.pk, "cancel") for one in rows]
        with CaptureQueriesContext(connection) as queries:
            placed = lifecycle.would_place(wishes, actor=None, audience=BSS)
        numbers.append(len(queries))
        assert {lifecycle.becomes_of_planned(one) for one in placed if not isinstance(one, NotAllowed)} <= {"withdrawn"}
    assert numbers[0] == numbers[1]
