"""The steps that fall due by themselves, taken in memory for many subscriptions and written at once."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from subscriptions import actions, pricing, quotes
from subscriptions.actions import Action, NotAllowed, Situation, terms
from subscriptions.lifecycle import charges, orders, rows
from subscriptions.lifecycle.orders import Placed, Wish
from subscriptions.models import (
    SKU,
    Charge,
    Event,
    Order,
    OrderStatus,
    Subscription,
    SubscriptionStatus,
)  # fmt: skip
from subscriptions.pricing import Line, NoPrice
from subscriptions.quotes import Pinned

S = SubscriptionStatus
AGAIN_AFTER = timedelta(days=1)
"""What could not be done on its day, for want of a price or of the vendor's consent, is tried again after this."""
FROZEN_STEMS = sorted(stem for stem, action in actions.ACTIONS.items() if S.SUSPENDED not in action.sources)
"""Scheduled orders of these actions stand still while their subscription is suspended."""
NO_PRICE = "period.no_price"


@dataclass(frozen=True, slots=True)
class Taken:
    """One step: its kind, whose it was, when it was due, and what it charged; or, of a forecast, why it cannot be."""

    kind: str
    subscription: Subscription
    due: datetime
    amount: Decimal = Decimal()
    error: Exception | None = None


class Steps:
    """At most one step for each subscription of a pass; nothing is stored before `write`.

    What is due at `until` is taken, earliest first, and written as of `at`; a later `until` is for a forecast. Needs
    the situations of the system, with `sku` and `account` loaded; at most 3 queries more.
    """

    def __init__(self, about: Collection[Situation], at: datetime, until: datetime) -> None:
        self.at, self.until = at, until
        self.taken: list[Taken] = []
        self._subscriptions = [one.subscription for one in about]
        self._prices = quotes.load((), {one.sku for one in self._subscriptions})
        self._renewals: dict[tuple[object, ...], tuple[Line, ...]] = {}
        self._changed: list[Subscription] = []
        self._put_off: list[Subscription] = []
        self._placed: list[Placed] = []
        self._fallen: list[tuple[Order, Subscription]] = []
        self._impossible: list[tuple[Order, Subscription, str]] = []
        self._events: list[Event] = []
        self._lines: list[tuple[Event, list[Charge]]] = []

    @property
    def done(self) -> Counter[str]:
        """How many steps of each kind were taken."""
        return Counter(one.kind for one in self.taken)

    @property
    def moved(self) -> int:
        """How many subscriptions are not due any more as they were."""
        return len(self._changed) + len(self._placed) + len(self._put_off)

    def take(self, about: Situation) -> bool:
        """Take the step that is due first; False when there is none to take now.

        A planned order comes before a period that begins at the same instant, and everything waits for an open order.
        """
        if about.open_order is not None:
            return False
        planned, due = self._planned(about), self._due(about.subscription)
        if planned is not None and planned.due_at and (due is None or planned.due_at <= due):
            self._fall_due(planned, about, planned.due_at)
            return True
        if due is None:
            return False
        self._by_itself(about, due)
        return True

    def assume(self, about: Situation) -> Situation:
        """The situation after the step just taken, as if the vendor had confirmed it; for a forecast, never written."""
        for order, subscription in [*self._fallen, *((one.order, one.subscription) for one in self._placed)]:
            order.claim()
            orders.complete(order, subscription, self.at)
        if not self._put_off:
            about.subscription.next_due_at = terms.next_due(about.subscription)
        if self._fallen or self._placed or self._impossible:
            about = replace(about, scheduled=None)
        self.forget()
        return about

    def forget(self) -> None:
        """Drop what would be written."""
        self._changed, self._put_off, self._placed, self._fallen, self._impossible = [], [], [], [], []
        self._events, self._lines = [], []

    def write(self) -> None:
        """Store the steps, in the caller's transaction and under its locks."""
        for order, subscription, why in self._impossible:
            self._events.extend(orders.withdraw([(order, subscription)], self.at, why=why))
        events, lines = orders.let_go(self._fallen, self.at)
        orders.write(self._placed, self.at)
        carried_out = {subscription.pk for _, subscription in self._fallen}
        rows.write_subscriptions(one for one in self._changed if one.pk in carried_out)
        rows.write_subscriptions((one for one in self._changed if one.pk not in carried_out), rows.DATE_FIELDS)
        rows.update(self._put_off, ["next_due_at"])
        rows.write_events([*self._events, *events])
        charges.write([*self._lines, *lines])

    # --- what is due -------------------------------------------------------------------------------------------------

    def _planned(self, about: Situation) -> Order | None:
        """The scheduled order, if its date has come and it is not frozen."""
        order = about.scheduled
        if order is None or order.due_at is None or order.due_at > self.until:
            return None
        frozen = about.subscription.status == S.SUSPENDED and order.action in FROZEN_STEMS
        return None if frozen else order

    def _due(self, subscription: Subscription) -> datetime | None:
        """When what is due next fell due; None when nothing is, or when it was put off."""
        if subscription.next_due_at is None or subscription.next_due_at > self.until:
            return None
        due = terms.next_due(subscription)
        if due is None or due > self.until:
            # The row said otherwise: left as it is, it would be found for ever, before those that are due.
            self._wait(subscription, due)
            return None
        return due

    def _by_itself(self, about: Situation, due: datetime) -> None:
        subscription = about.subscription
        if subscription.status == S.EXPIRED:
            self._end(about, "grace", "The grace time is over.", due)
        elif subscription.status in (S.ENDING, S.SUSPENDED) and subscription.ends_at and subscription.ends_at <= due:
            self._end(about, "ended", "Its end has come.", due)
        elif _has_come(subscription.period_end, subscription, due):
            self._period_over(about, due)
        elif _has_come(subscription.reminder_due_on, subscription, due):
            self._remind(about, due)
        else:
            # To leave it would be to find it again at once, for ever.
            raise ValueError(f"{subscription} is due at {due}, and nobody knows for what")

    def _period_over(self, about: Situation, due: datetime) -> None:
        subscription = about.subscription
        if subscription.trial_ends:
            self._end(about, "trial", "The trial is over.", due)
        elif _term_over(subscription) and not subscription.auto_renew and subscription.status != S.ENDING:
            self._expire(subscription, due)
        else:
            self._next_period(subscription, due)

    # --- the steps ---------------------------------------------------------------------------------------------------

    def _now(self, subscription: Subscription) -> datetime:
        """The present, or in a forecast the future instant at which this is looked at."""
        return max(self.at, subscription.next_due_at or self.at)

    def _note(self, kind: str, subscription: Subscription, due: datetime, amount: Decimal = Decimal()) -> None:
        self.taken.append(Taken(kind, subscription, due, amount))

    def _change(self, subscription: Subscription, kind: str, due: datetime, amount: Decimal = Decimal()) -> None:
        subscription.version += 1
        self._changed.append(subscription)
        self._note(kind, subscription, due, amount)

    def _wait(self, subscription: Subscription, until: datetime | None) -> None:
        subscription.next_due_at = until
        self._put_off.append(subscription)

    def _tell(self, subscription: Subscription, kind: str, **more: Any) -> Event:
        event = rows.event(subscription, kind, self.at, actor=None, audience=actions.SYSTEM, **more)
        self._events.append(event)
        return event

    def _fall_due(self, order: Order, about: Situation, due: datetime) -> None:
        subscription, action = about.subscription, actions.ACTIONS[order.action]
        if refusal := why_not_now(order, action, about):
            self._impossible.append((order, subscription, refusal.sentence))
            self._change(subscription, "withdrawn", due)
            return
        order.before = orders.standing(subscription, order.after)
        order.fall_due()
        self._events.append(rows.order_event(order, subscription, "due", self.at))
        self._fallen.append((order, subscription))
        self._change(subscription, f"due {action.stem}", due)

    def _end(self, about: Situation, kind: str, why: str, due: datetime) -> None:
        """Ask the vendor to cancel."""
        subscription = about.subscription
        refused = self._refused[subscription.pk]
        if refused and max(refused)[0] + AGAIN_AFTER > self._now(subscription):
            self._wait(subscription, max(refused)[0] + AGAIN_AFTER)
            return
        if kind == "trial" and not any(audience == actions.SYSTEM for _, audience in refused):
            self._tell(subscription, "trial.ended")
        wish = Wish(subscription.pk, actions.CANCEL.stem, reason=why)
        order = orders.new(actions.CANCEL, wish, subscription, self.at, actor=None, audience=actions.SYSTEM)
        self._placed.append(Placed(order, subscription, actions.CANCEL))
        self._note(kind, subscription, due)

    @cached_property
    def _refused(self) -> dict[int, list[tuple[datetime, str]]]:
        """When cancels failed at the vendor, and who had asked for them."""
        found: dict[int, list[tuple[datetime, str]]] = defaultdict(list)
        failed = Order.objects.filter(
            subscription__in=self._subscriptions, action=actions.CANCEL.stem, status=OrderStatus.FAILED
        )
        for pk, at, audience in failed.values_list("subscription_id", "finished_at", "audience"):
            if at is not None:
                found[pk].append((at, audience))
        return found

    def _expire(self, subscription: Subscription, due: datetime) -> None:
        # What is suspended works no more than after its end: no time is left to anybody.
        days = 0 if subscription.status == S.SUSPENDED else subscription.sku.grace_days
        ended = terms.period(subscription).end
        before = {"Status": str(subscription.status)}
        subscription.expire(at=actions.midnight(ended, subscription.account), grace_ends=ended + timedelta(days=days))
        self._tell(
            subscription, "expire.expired", before=before,
            after={"Status": str(subscription.status), "Renewable until": f"{subscription.renewable_until}"},
        )  # fmt: skip
        self._change(subscription, "expired", due)

    def _next_period(self, subscription: Subscription, due: datetime) -> None:
        try:
            lines = self._lines_of_renewal(subscription)
        except NoPrice:
            self._wait_for_price(subscription, due)
            return
        before, old_term = {"Period": f"{subscription.period_start}"}, subscription.term_end
        terms.next_period(subscription)
        kind = "billed" if lines else "unbilled"
        after = {"Period": f"{subscription.period_start}", "Seats": subscription.seats}
        event = self._tell(subscription, f"period.{kind}", before=before, after=after)
        booked = [
            charges.of_line(one, subscription, self.at, period_start=one.covers.start, covers=one.covers)
            for one in lines
        ]
        self._lines.append((event, booked))
        self._change(subscription, kind, due, sum((one.amount for one in lines), Decimal()))
        if subscription.term_end != old_term:
            self._tell(
                subscription, "renewal.renewed", before={"Term ends": f"{old_term}"},
                after={"Term ends": f"{subscription.term_end}"},
            )  # fmt: skip
            self._note("renewed", subscription, due)

    def _lines_of_renewal(self, subscription: Subscription) -> tuple[Line, ...]:
        """What the next period costs. Raises NoPrice."""
        standing, mine = self._prices.standing(subscription), self._prices.terms_of(subscription)
        # Most of those that renew on one day are alike.
        alike = (subscription.sku_id, mine.currency, mine.discount, standing)
        if alike not in self._renewals:
            self._renewals[alike] = pricing.quote(standing, mine, pricing.NextPeriod(), standing.period.end).lines
        return self._renewals[alike]

    def _wait_for_price(self, subscription: Subscription, due: datetime) -> None:
        """The period is not lost: it begins, and is billed, when the price list has a price for it."""
        begins = terms.period(subscription).end
        if (subscription.pk, f"{begins}") not in self._without_price:
            words = f"{actions.seats_words(subscription.seats)} of {subscription.sku} in {subscription.currency}"
            self._tell(
                subscription, NO_PRICE, after={"Period": f"{begins}", "Seats": subscription.seats},
                reason=f"The price list has no price for {words}. The period from {actions.date_words(begins)} on "
                "is billed when it has one.",
            )  # fmt: skip
        self._wait(subscription, max(self.at, self.until) + AGAIN_AFTER)
        self._note("no price", subscription, due)

    @cached_property
    def _without_price(self) -> set[tuple[int, str]]:
        """The periods about which staff were told already that they have no price."""
        told = Event.objects.filter(subscription__in=self._subscriptions, kind=NO_PRICE)
        return set(told.values_list("subscription_id", "after__Period"))

    def _remind(self, about: Situation, due: datetime) -> None:
        """Tell of the renewal what will be charged as things stand now; too late is never.

        Of a trial, which ends by itself, what it costs once it is converted.
        """
        subscription, term_end = about.subscription, about.subscription.term_end
        today = actions.local_day(self._now(subscription), subscription.account)
        on_trial = subscription.trial_ends is not None
        subscription.reminder_due_on = None if on_trial else terms.next_reminder(subscription, today)
        # No new version: what people see of the subscription is as it was.
        self._changed.append(subscription)
        if term_end is None or today >= term_end:
            return
        last_day = (term_end - timedelta(days=1)).isoformat()
        after = {"Seats": subscription.seats, "Date": term_end.isoformat(), "Days": (term_end - today).days}
        try:
            seats, price, months = self._renewal(about, term_end)
        except NoPrice:
            if not on_trial:
                return
        else:
            after |= {"Seats": seats, "Price": str(price), "Currency": subscription.currency, "Months": months}
        if on_trial:
            self._tell(subscription, "trial.reminder", after=after | {"Convert until": last_day})
        else:
            # A decrease that is ordered on the last day of the term is applied before the renewal bills.
            more = {"Reduce until": last_day, "Renews": subscription.auto_renew}
            self._tell(subscription, "renewal.reminder", after=after | more)
        self._note("reminded", subscription, due)

    def _renewal(self, about: Situation, term_end: date) -> tuple[int, Decimal, int]:
        """Seats, price and months of the period with which the next term begins, after what is planned until then."""
        subscription, planned = about.subscription, about.scheduled
        seats = subscription.seats
        if (
            planned is not None
            and planned.due_at
            and planned.due_at <= actions.midnight(term_end, subscription.account)
        ):
            later = Pinned.from_json(planned.quote).quote.later if planned.quote else None
            if planned.action == actions.CHANGE_SKU.stem and later is not None:
                return later.seats, later.amount, later.months
            seats = planned.after.get("Seats", seats)
        return seats, self._prices.terms_of(subscription).line(seats), subscription.sku.billing_months


def _has_come(day: date | None, subscription: Subscription, at: datetime) -> bool:
    return day is not None and actions.midnight(day, subscription.account) <= at


def _term_over(subscription: Subscription) -> bool:
    """Does the term end with the period?"""
    term_end, period_end = subscription.term_end, subscription.period_end
    return term_end is not None and period_end is not None and term_end <= period_end


def why_not_now(order: Order, action: Action, about: Situation) -> NotAllowed | None:
    """Why an order that has waited is impossible by now, after what happened meanwhile; at most 2 queries."""
    if refusal := action.why_not(about):
        return refusal
    if action.takes_seats:
        return actions.why_not_seats(action, about.subscription, order.after["Seats"])
    if action is actions.CHANGE_SKU:
        return actions.why_not_sku(about.subscription, SKU.objects.get(code=order.after["SKU"]), order.after["Seats"])
    return None
