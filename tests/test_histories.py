"""Months of random acts by customer and staff, of time and of vendor faults; after each step all books must agree.

The ledger is computed a second time from the events alone, by plain arithmetic that shares no code with `pricing`.
"""

import calendar
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from subscriptions import actions, clock, lifecycle, quotes
from subscriptions.actions import BSS, STOREFRONT, NotAllowed
from subscriptions.lifecycle import DISCARD, KEEP, Wish
from subscriptions.models import (
    OPEN_ORDER,
    ApprovalLimit,
    ChangeTarget,
    Charge,
    Event,
    Order,
    PriceBand,
    Role,
    Subscription,
)  # fmt: skip
from subscriptions.vendors import port
from tests.factories import AccountFactory, MemberFactory, ProductFactory, SKUFactory, UserFactory

pytestmark = pytest.mark.django_db

D = Decimal
EXPECTED = {
    "pending": {None, "NotStarted"},
    "active": {"Started"},
    "ending": {"Started"},
    "expired": {"Started", "Paused"},
    "suspended": {"Paused"},
    "failed": {None},
    "cancelled": {"HardCancelled", None},
}
MENDED = ("applied-closed", "applied-truncated-xml", "http-503")
ZONES = ("Europe/Ljubljana", "Pacific/Auckland", "America/Los_Angeles", "UTC")


# --- the second book -------------------------------------------------------------------------------------------------


def cents(amount: Fraction) -> Decimal:
    return (D(amount.numerator) / D(amount.denominator)).quantize(D("0.01"), ROUND_HALF_UP)


def month_after(day: date, anchor: int, months: int = 1) -> date:
    for _ in range(months):
        year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
        day = date(year, month, min(anchor, calendar.monthrange(year, month)[1]))
    return day


@dataclass
class Book:
    """What the events say was owed: amounts by event, and the period's lines on the way."""

    world: "Histories"
    owed: dict[int, list[Decimal]] = field(default_factory=lambda: defaultdict(list))
    seats: int = 0
    code: str = ""
    anchor: int = 1
    start: date | None = None
    end: date | None = None
    lines: list[tuple[Decimal, date, date]] = field(default_factory=list)
    elsewhere: Decimal = Decimal()
    """What the system before had charged for this period, at the price list of the takeover."""

    def price(self, at: datetime, seats: int) -> Fraction:
        bands = [pair for pair in self.world.prices_at(at)[self.code] if pair[0] <= seats]
        return Fraction(max(bands)[1]) * (100 - Fraction(self.world.account.discount)) / 100

    def begin(self, on: date, months: int) -> None:
        self.anchor, self.start, self.end = on.day, on, month_after(on, on.day, months)
        self.lines, self.elsewhere = [], D(0)

    def book(self, event: Event, amount: Decimal, start: date, end: date) -> None:
        self.owed[event.pk].append(amount)
        self.lines.append((amount, start, end))

    def left(self, on: date) -> Fraction:
        """What was charged for the days from `on`."""
        whole = sum(Fraction(amount) for amount, _, _ in self.lines)
        share = sum(Fraction(a) * max(0, (e - max(on, s)).days) / (e - s).days for a, s, e in self.lines)
        return max(Fraction(0), min(whole, share))

    def read(self, event: Event) -> None:
        stem, what = event.kind.split(".")
        order, world = event.order, self.world
        if event.kind == "period.billed":
            self._next_period(event)
            self.book(event, cents(self.seats * self.price(event.at, self.seats)), self.start, self.end)
        elif event.kind == "period.unbilled":
            self._next_period(event)
        elif event.kind == "takeover.done":
            self.seats, self.code, self.peak = event.after["Seats"], event.after["SKU"], event.after["Seats"]
            names = ("Period", "Charged elsewhere until")
            self.start, self.end = (date.fromisoformat(event.after[one]) for one in names)
            self.anchor, self.elsewhere = self.end.day, cents(self.seats * self.price(event.at, self.seats))
            self.book(event, D(0), self.start, self.end)
        if what != "completed" or order is None:
            return
        asked = order.due_at or order.placed_at
        on = world.day(asked)
        sku = world.skus[self.code] if self.code else None
        match stem:
            case "start":
                self.seats, self.code = order.after["Seats"], order.after["SKU"]
                months = world.skus[self.code].billing_months
                self.begin(world.day(order.first_sent_at), months)
                self.book(event, cents(self.seats * self.price(order.placed_at, self.seats)), self.start, self.end)
            case "increase":
                before, self.seats = event.before["Seats"], event.after["Seats"]
                self._increase(event, order, on, before, sku)
                self.peak = max(self.peak, self.seats)
            case "decrease":
                before, self.seats = event.before["Seats"], event.after["Seats"]
                if sku.decrease_policy == "immediate_credit" and not self._planned_to_a_start(order, on):
                    stays = self.seats * self.price(order.placed_at, self.seats) * (self.end - on).days
                    rest = self.left(on) - stays / (self.end - self.start).days
                    part = self.left(on) * (before - self.seats) / before
                    self._credit(event, min(part, max(Fraction(0), rest)), on)
            case "cancel":
                if sku.cancel_credit == "by_days" and order.audience in (STOREFRONT, BSS) and not order.due_at:
                    since = order.after.get("Effective")
                    on = date.fromisoformat(since) if since else on
                    self._credit(event, self.left(on), on)
            case "activate":
                # What begins after it is billed whole, when it begins.
                if not self.lines and on < self.end:
                    share = Fraction((self.end - on).days, (self.end - self.start).days)
                    amount = self.seats * self.price(order.placed_at, self.seats) * share
                    self.book(event, cents(amount), on, self.end)
            case "renew":
                self._roll()
                self.book(event, cents(self.seats * self.price(order.placed_at, self.seats)), self.start, self.end)
            case "change_sku":
                if not self._planned_to_a_start(order, on):
                    self._credit(event, self.left(on), on)
                self.seats, self.code = order.after["Seats"], order.after["SKU"]
                carried = self.lines if self.start == on else []
                self.begin(on, world.skus[self.code].billing_months)
                self.lines = carried
                self.book(event, cents(self.seats * self.price(order.placed_at, self.seats)), self.start, self.end)
        if stem in ("start", "renew", "change_sku"):
            self.peak = self.seats

    peak: int = 0

    def _planned_to_a_start(self, order: Order, on: date) -> bool:
        return order.due_at is not None and on == self.end

    def _increase(self, event: Event, order: Order, on: date, before: int, sku) -> None:
        if self._planned_to_a_start(order, on):
            return
        price = self.price(order.placed_at, self.seats)
        days, left = (self.end - self.start).days, (self.end - on).days
        match sku.increase_policy:
            case "prorate_days":
                self.book(event, cents((self.seats - before) * price * left / days), on, self.end)
            case "full_period":
                self.book(event, cents((self.seats - before) * price), on, self.end)
            case "high_water":
                charged = sum((amount for amount, _, _ in self.lines), self.elsewhere)
                more = cents(self.seats * price) - charged
                if self.seats > self.peak and more > 0:
                    self.book(event, more, self.start, self.end)

    def _credit(self, event: Event, exact: Fraction, on: date) -> None:
        if amount := cents(exact):
            self.book(event, -amount, on, self.end)

    def _next_period(self, event: Event) -> None:
        self._roll()
        assert event.after["Period"] == self.start.isoformat()

    def _roll(self) -> None:
        months = self.world.skus[self.code].billing_months
        self.start, self.end = self.end, month_after(self.end, self.anchor, months)
        self.lines, self.elsewhere, self.peak = [], D(0), self.seats


# --- the machine -----------------------------------------------------------------------------------------------------


class Histories(RuleBasedStateMachine):
    """One subscription from its start; the fixtures are put on the class by the test."""

    emulator = drain = portal = None
    ends_at_vendor = False

    @initialize(data=st.data())
    def start(self, data):
        self.emulator.control.reset()
        self.portal.CLOCK_OFFSET = timedelta(days=data.draw(st.integers(0, 500)), hours=data.draw(st.integers(0, 23)))
        self.emulator.control.set_offset(self.portal.CLOCK_OFFSET)
        discount = data.draw(st.sampled_from(["0", "12.5"]))
        self.account = AccountFactory(time_zone=data.draw(st.sampled_from(ZONES)), discount=D(discount))
        self.owner = UserFactory()
        MemberFactory(account=self.account, user=self.owner, role=Role.OWNER)
        self.staff = UserFactory(is_staff=True, is_superuser=True)
        self.approver = UserFactory(is_staff=True, is_superuser=True)
        increase = data.draw(st.sampled_from(["prorate_days", "full_period", "high_water"]))
        decreases = ["next_period", "immediate_no_credit"] + ["immediate_credit"] * (increase != "high_water")
        product = ProductFactory()
        common = {
            "product": product,
            "increase_policy": increase,
            "decrease_policy": data.draw(st.sampled_from(decreases)),
            "cancel_credit": data.draw(st.sampled_from(["none", "by_days"])),
            "bills_while_suspended": data.draw(st.booleans()),
            "cancel_needs_approval": data.draw(st.booleans()),
            "billing_period": data.draw(st.sampled_from(["month", "month", "year"])),
            "seats_max": 60,
            "prices": {},
        }
        term = 12 if common["billing_period"] == "year" else data.draw(st.sampled_from([1, 3]))
        small, large = (SKUFactory(**common, term_months=term), SKUFactory(**common, term_months=12))
        ChangeTarget.objects.create(sku=small, target=large)
        self.skus = {one.code: one for one in (small, large)}
        if data.draw(st.booleans()):
            ApprovalLimit.objects.create(sku=small, orders_from=D(60), cancels_under=D(30))
        self.price_lists = []
        self.change_prices(data=data)
        seats = data.draw(st.integers(5, 20))
        if data.draw(st.booleans()):
            ends_in, vendor = data.draw(st.integers(0, 40)), data.draw(st.sampled_from([None, None, 0, 9, 23]))
            self.take_over(small, seats, data.draw(st.integers(1, 28)), ends_in, vendor)
            return
        order = self.tried(lambda: lifecycle.start(self.account, small, seats, actor=self.staff, audience=BSS))
        if order.status == "awaiting_approval":
            lifecycle.approve(order.pk, actor=self.approver, audience=BSS)
        self.pk = order.subscription_id
        self.drain()

    def take_over(self, sku, seats, charged_for, ends_in, vendor):
        """In place of a start: it ran in another system, has paid until some days from now, and may be ending.

        By the vendor itself, where `vendor` is the hour of the day.
        """
        today = self.day(clock.now())
        next_charge = today + timedelta(days=charged_for)
        name = f"{Subscription.objects.count() + 1:032X}"
        ends_at = None
        if ends_in and vendor is not None:
            ends_at = actions.midnight(today + timedelta(days=ends_in), self.account) + timedelta(hours=vendor)
        one = lifecycle.Running(
            name, self.account, sku, seats, today - timedelta(days=400), next_charge, term_ends_on=next_charge,
            anchor_day=next_charge.day, status="ending" if ends_in else "active",
            ends_on=today + timedelta(days=ends_in) if ends_in else None, vendor_ends_at=ends_at,
        )  # fmt: skip
        self.emulator.control.put_subscriber(name, product=sku.vendor_product_id, seats=seats, start=clock.now())
        about = {"source": "Old portal", "reason": "We move", "actor": self.staff, "audience": BSS}
        [taken] = lifecycle.take_over([one], **about)
        assert isinstance(taken, Subscription), taken.sentence
        self.pk, self.ends_at_vendor = taken.pk, ends_at is not None

    # --- what people do ---

    @rule(data=st.data(), seats=st.integers(5, 60), wait=st.booleans())
    def change_seats(self, data, seats, wait):
        stem = "increase" if seats > self.subscription().seats else "decrease"
        self.ask(stem, {"Seats": seats}, data=data, wait=wait)

    @rule(data=st.data(), seats=st.integers(5, 60), days=st.integers(1, 40))
    def plan_seats(self, data, seats, days):
        stem = "increase" if seats > self.subscription().seats else "decrease"
        self.ask(stem, {"Seats": seats}, data=data, when=self.day(clock.now()) + timedelta(days=days))

    @rule(data=st.data(), when=st.sampled_from([quotes.NOW, quotes.PERIOD_END, quotes.PERIOD_END, quotes.PERIOD_END]))
    def cancel(self, data, when):
        self.ask("cancel", {}, data=data, when=when)

    @rule(data=st.data(), back=st.integers(1, 14))
    @precondition(lambda self: self.steps > 12)
    def cancel_back_dated(self, data, back):
        self.ask("cancel", {}, data=data, when=self.day(clock.now()) - timedelta(days=back), staff=True)

    @rule()
    def undo(self):
        for order in Order.objects.filter(subscription=self.pk, status__in=["scheduled", "awaiting_approval"]):
            with suppress(NotAllowed):
                before = Charge.objects.count()
                lifecycle.undo(order.pk, actor=self.owner, audience=STOREFRONT)
                assert Charge.objects.count() == before

    @rule(data=st.data())
    def suspend(self, data):
        self.ask("suspend", {}, data=data, staff=True)

    @rule(data=st.data(), days=st.integers(1, 60))
    def suspend_until(self, data, days):
        self.ask("suspend", {}, data=data, staff=True, until=self.day(clock.now()) + timedelta(days=days))

    @rule(data=st.data())
    def activate(self, data):
        self.ask("activate", {}, data=data, staff=True)

    @rule(data=st.data(), now=st.booleans(), seats=st.integers(5, 60))
    def change_sku(self, data, now, seats):
        code = next(code for code in self.skus if code != self.subscription().sku.code)
        when = quotes.NOW if now else quotes.RENEWAL
        self.ask("change_sku", {"SKU": code, "Seats": seats}, data=data, when=when)

    @rule(on=st.booleans(), data=st.data())
    def switch_renewal(self, on, data):
        self.ask("auto_renew", {"Renews automatically": on}, data=data)

    @rule(data=st.data())
    def renew(self, data):
        self.ask("renew", {}, data=data)

    @rule(approve=st.booleans())
    def decide(self, approve):
        for order in Order.objects.filter(subscription=self.pk, status="awaiting_approval"):
            act = lifecycle.approve if approve else lifecycle.reject
            with suppress(NotAllowed):
                act(order.pk, actor=self.approver, audience=BSS, reason="Looked at")
        self.drain()

    @rule(retry=st.booleans())
    def settle(self, retry):
        act = lifecycle.retry if retry else lifecycle.give_up
        for order in Order.objects.filter(subscription=self.pk, status="needs_attention"):
            act(order.pk, actor=self.staff, audience=BSS, reason="Looked at")
        self.drain()

    @rule(data=st.data())
    def change_prices(self, data):
        lists = {}
        for code, sku in self.skus.items():
            low, high = (data.draw(st.decimals(1, 20, places=2)) for _ in range(2))
            lists[code] = [(1, low), (25, high)]
            PriceBand.objects.filter(sku=sku).delete()
            PriceBand.objects.bulk_create(PriceBand(sku=sku, seats_from=n, price=price) for n, price in lists[code])
        self.price_lists.append((clock.now(), lists))

    # --- time, worker, vendor ---

    @rule(days=st.integers(0, 45), hours=st.integers(0, 23))
    def pass_time(self, days, hours):
        """Nobody works meanwhile."""
        self.portal.CLOCK_OFFSET += timedelta(days=days, hours=hours)
        self.emulator.control.set_offset(self.portal.CLOCK_OFFSET)

    @rule()
    def work(self):
        self.drain()
        lifecycle.catch_up(clock.now())
        self.drain()
        done = lifecycle.catch_up(clock.now())
        assert not lifecycle.catch_up(clock.now()), done

    @rule()
    def clock_goes_back(self):
        self.work()
        before = Charge.objects.count()
        assert not lifecycle.catch_up(clock.now() - timedelta(hours=1))
        assert Charge.objects.count() == before

    @rule(fault=st.sampled_from(MENDED))
    def vendor_stumbles(self, fault):
        more = {"retry_after": 0} if fault == "http-503" else {}
        self.emulator.control.add_fault(fault, subscriber=self.subscription().subscriber_id, **more)

    @rule()
    def vendor_refuses(self):
        subscriber = self.subscription().subscriber_id
        self.emulator.control.add_fault("item-error", subscriber=subscriber, code=601, message="Not allowed.")

    # --- how ---

    steps = 0

    def ask(self, stem, after, *, data, when=None, staff=False, wait=False, until=None):
        """As a page does: quoted, shown, confirmed; then exactly that is charged."""
        subscription, at = self.subscription(), clock.now()
        action = actions.ACTIONS[stem]
        actor, audience = (self.staff, BSS) if staff else (self.owner, STOREFRONT)
        planned = data.draw(st.sampled_from([DISCARD, DISCARD, KEEP, ""]))
        try:
            lifecycle.catch_up(at, only=[self.pk])
            subscription = self.subscription()
            shown = self._quote(action, subscription, after, when, at, audience)
            wish = Wish(
                self.pk, stem, after, when=when, planned=planned, quote=shown, version=subscription.version,
                reason="Asked" if staff else "", then_activate_on=until,
            )  # fmt: skip
            order = lifecycle.place(wish, actor=actor, audience=audience)
        except NotAllowed as refusal:
            note(f"{stem}: {refusal.code}: {refusal.sentence}")
            if refusal.code in ("stale", "stale_quote"):
                raise
            return
        note(f"{stem} {order.after} {order.status}")
        if not wait:
            self.drain()
        order = Order.objects.get(pk=order.pk)
        if order.status == "completed" and shown is not None:
            charged = [one.amount for one in order.charges.order_by("position")]
            assert charged == [line.amount for line in shown.quote.lines]

    def _quote(self, action, subscription, after, when, at, audience):
        on, planned = quotes.takes_effect(action, subscription, when, at, audience)
        if refusal := action.why_not(actions.situation(subscription, actor=None, audience=actions.SYSTEM)):
            raise refusal
        if action is actions.CANCEL and on < self.day(at):
            after = {"Effective": on.isoformat()}
        target = self.skus.get(after.get("SKU", ""))
        prices = quotes.load([subscription], [target] if target else [])
        if action.takes_seats and (refusal := actions.why_not_seats(action, subscription, after["Seats"])):
            raise refusal
        return quotes.price(action, subscription, after, on=on, planned=planned, at=at, prices=prices, target=target)

    def tried(self, do):
        return do()

    def subscription(self):
        return Subscription.objects.select_related("sku__product", "account").get(pk=self.pk)

    def day(self, at):
        return at.astimezone(ZoneInfo(self.account.time_zone)).date()

    def prices_at(self, at):
        return next(lists for since, lists in reversed(self.price_lists) if since <= at)

    # --- what always holds ---

    @invariant()
    def our_record_is_what_the_vendor_confirmed(self):
        if not hasattr(self, "pk"):
            return
        type(self).steps += 1
        subscription = self.subscription()
        if Order.objects.filter(subscription=self.pk, status__in=OPEN_ORDER).exists():
            return
        theirs = self.emulator.control.subscriber(subscription.subscriber_id)
        given_up = Event.objects.filter(subscription=self.pk, kind__endswith=".give_up").exists()
        assert given_up or (theirs and theirs.status) in EXPECTED[subscription.status]
        if theirs and theirs.status == port.VendorStatus.STARTED and not given_up:
            assert (theirs.seats, theirs.product) == (subscription.seats, subscription.sku.vendor_product_id)

    @invariant()
    def one_open_and_one_scheduled_order(self):
        if not hasattr(self, "pk"):
            return
        mine = Order.objects.filter(subscription=self.pk)
        assert mine.filter(status__in=OPEN_ORDER).count() <= 1
        scheduled = list(mine.filter(status="scheduled"))
        assert len(scheduled) <= 1
        ending = self.subscription().status == "ending" and not self.ends_at_vendor
        assert not ending or any(one.action == "cancel" for one in mine.filter(due_at__isnull=False))

    @invariant()
    def no_period_begins_after_the_end(self):
        if not hasattr(self, "pk"):
            return
        subscription = self.subscription()
        if subscription.status not in ("ending", "suspended") or subscription.ends_at is None:
            return
        assert subscription.period_start < self.day(subscription.ends_at)

    @invariant()
    def ledger_equals_the_second_book(self):
        if not hasattr(self, "pk"):
            return
        book = Book(self)
        for event in Event.objects.filter(subscription=self.pk).select_related("order").order_by("pk"):
            book.read(event)
        ledger = defaultdict(list)
        for charge in Charge.objects.filter(subscription=self.pk).order_by("pk"):
            ledger[charge.event_id].append(charge.amount)
        assert dict(ledger) == dict(book.owed)
        assert sum((one for amounts in ledger.values() for one in amounts), D(0)) >= 0
        if book.start:
            subscription = self.subscription()
            assert (subscription.period_start, subscription.period_end) == (book.start, book.end)

    @invariant()
    def every_change_has_its_event(self):
        if not hasattr(self, "pk"):
            return
        seats = None
        for event in Event.objects.filter(subscription=self.pk, kind__endswith=".completed").order_by("pk"):
            seats = event.after.get("Seats", seats)
        subscription = self.subscription()
        assert seats in (None, subscription.seats)
        told = set(Event.objects.filter(subscription=self.pk).values_list("order", "kind"))
        words = {"needs_attention": "held"} | {
            one: one for one in ("completed", "failed", "rejected", "withdrawn", "scheduled", "awaiting_approval")
        }
        for order in Order.objects.filter(subscription=self.pk, status__in=words):
            ended_by_staff = (order.pk, f"{order.action}.give_up") in told
            assert (order.pk, f"{order.action}.{words[order.status]}") in told or ended_by_staff
        nothing = Order.objects.filter(subscription=self.pk, status__in=["failed", "rejected", "withdrawn"])
        assert not Charge.objects.filter(order__in=nothing).exists()


def test_months_of_random_acts_leave_all_books_in_agreement(emulator, drain, settings):
    Histories.emulator, Histories.drain, Histories.portal = emulator, staticmethod(drain), settings
    run_state_machine_as_test(
        Histories,
        settings=hypothesis_settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
