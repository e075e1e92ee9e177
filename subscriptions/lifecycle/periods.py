"""What falls due by itself: scheduled orders, periods, terms, trials, grace times, reminders.

One pass takes one step for each subscription that is due; the next pass takes the next, so a time without a worker is
caught up period by period. A step changes the row so that it is not due any more, under its lock: passes of two
workers, late ones and repeated ones do nothing twice, and the ledger holds one line for a period.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from subscriptions import actions, pricing, quotes
from subscriptions.actions import NotAllowed, Situation, terms
from subscriptions.lifecycle import charges, orders, rows
from subscriptions.lifecycle.orders import Placed, Wish
from subscriptions.models import (
    OPEN_ORDER,
    Charge,
    Event,
    Order,
    OrderStatus,
    Subscription,
    SubscriptionStatus,
)  # fmt: skip
from subscriptions.pricing import NoPrice
from subscriptions.quotes import Prices

S = SubscriptionStatus
BATCH = 500
AGAIN_AFTER = timedelta(days=1)
"""A cancel that the vendor refused is not placed again by itself before."""
FROZEN = Q(subscription__status=S.SUSPENDED) & ~Q(action__in=[actions.CANCEL.stem, actions.ACTIVATE.stem])


def catch_up(at: datetime, *, only: Collection[int] | None = None, batch: int = BATCH) -> Counter[str]:
    """Take every step that is due at `at`, of all subscriptions or of those named; returns how many of each kind.

    What waits for an open order is left for later. Each pass is a transaction of its own.
    """
    done: Counter[str] = Counter()
    while step := one_pass(at, only=only, batch=batch):
        done += step
    return done


def due_ids(at: datetime, *, only: Collection[int] | None = None, limit: int = BATCH) -> list[int]:
    """Subscriptions for which a step is due and possible, those that have waited longest first; 2 queries."""
    ahead = Order.objects.filter(subscription=OuterRef("pk"), status__in=OPEN_ORDER)
    refused = Order.objects.filter(
        subscription=OuterRef("pk"), action=actions.CANCEL.stem, status=OrderStatus.FAILED,
        finished_at__gt=at - AGAIN_AFTER,
    )  # fmt: skip
    free = Subscription.objects.filter(~Exists(ahead), ~Exists(refused))
    planned = Order.objects.filter(status=OrderStatus.SCHEDULED, due_at__lte=at).exclude(FROZEN)
    if only is not None:
        free, planned = free.filter(pk__in=only), planned.filter(subscription__in=only)
    waiting = list(planned.order_by("due_at").values_list("subscription_id", flat=True)[: limit * 2])
    found = list(free.filter(pk__in=waiting).values_list("pk", flat=True)[:limit]) if waiting else []
    due = free.filter(next_due_at__lte=at).order_by("next_due_at", "pk").values_list("pk", flat=True)
    return list(dict.fromkeys([*found, *due[: limit - len(found)]]))


def one_pass(at: datetime, *, only: Collection[int] | None = None, batch: int = BATCH) -> Counter[str]:
    """One step for each of up to `batch` subscriptions that are due; empty when none is."""
    ids = due_ids(at, only=only, limit=batch)
    if not ids:
        return Counter()
    with transaction.atomic(durable=True):
        # A worker leaves to another one what that one has in its hands; who names rows waits for them.
        locked = rows.lock_subscriptions(ids, skip_locked=only is None)
        about = actions.situations(locked.values(), actor=None, audience=actions.SYSTEM)
        step = _Step(at, quotes.load(locked.values()))
        for one in about:
            if one.open_order is None:
                step.take(one)
        step.write()
    return step.done


@dataclass
class _Step:
    """The steps of one pass, gathered in memory and written at once."""

    at: datetime
    prices: Prices
    done: Counter[str] = field(default_factory=Counter)
    changed: list[Subscription] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    lines: list[tuple[Event, list[Charge]]] = field(default_factory=list)

    def take(self, about: Situation) -> None:
        subscription, planned = about.subscription, about.scheduled
        if planned is not None and planned.due_at and planned.due_at <= self.at and not _frozen(planned, subscription):
            self._fall_due(planned, about)
            return
        due = terms.next_due(subscription)
        if due is None or due > self.at:
            return
        today = actions.local_day(self.at, subscription.account)
        if subscription.status == S.EXPIRED:
            self._cancel(subscription, "The grace time is over.", "grace")
        elif subscription.trial_ends and subscription.trial_ends <= today:
            self._tell(subscription, "trial.ended")
            self._cancel(subscription, "The trial is over.", "trial")
        elif subscription.status == S.ENDING and subscription.ends_at and subscription.ends_at <= self.at:
            self._cancel(subscription, "Its end has come.", "ended")
        elif subscription.period_end and subscription.period_end <= today:
            term_over = subscription.term_end is not None and subscription.term_end <= subscription.period_end
            if term_over and not subscription.auto_renew and subscription.status != S.ENDING:
                self._expire(subscription)
            else:
                self._next_period(subscription)
        else:
            self._remind(subscription)

    def write(self) -> None:
        orders.write(self.placed, self.at)
        rows.write_subscriptions(self.changed)
        rows.write_events(self.events)
        charges.write(self.lines)

    def _change(self, subscription: Subscription, kind: str) -> None:
        subscription.version += 1
        self.changed.append(subscription)
        self.done[kind] += 1

    def _tell(self, subscription: Subscription, kind: str, **more: object) -> Event:
        event = rows.event(subscription, kind, self.at, actor=None, audience=actions.SYSTEM, **more)  # type: ignore[arg-type]
        self.events.append(event)
        return event

    def _cancel(self, subscription: Subscription, why: str, kind: str) -> None:
        wish = Wish(subscription.pk, actions.CANCEL.stem, reason=why)
        order = orders.new(actions.CANCEL, wish, subscription, self.at, actor=None, audience=actions.SYSTEM)
        self.placed.append(Placed(order, subscription, actions.CANCEL))
        self.done[kind] += 1

    def _fall_due(self, order: Order, about: Situation) -> None:
        subscription, action = about.subscription, actions.ACTIONS[order.action]
        if refusal := _why_not_now(order, about):
            self.events.extend(orders.withdraw([(order, subscription)], self.at, why=refusal.sentence))
            self._change(subscription, "withdrawn")
            return
        order.before = orders.standing(subscription, order.after)
        rows.update([order], rows.ORDER_FIELDS)
        order.fall_due()
        self.events.append(rows.order_event(order, subscription, "due", self.at))
        events, lines = orders.let_go(order, subscription, self.at)
        self.events.extend(events)
        self.lines.extend(lines)
        self._change(subscription, f"due {action.stem}")

    def _next_period(self, subscription: Subscription) -> None:
        before = {"Period": f"{subscription.period_start}"}
        old_term = subscription.term_end
        words = ""
        try:
            quote = pricing.quote(
                self.prices.standing(subscription), self.prices.terms_of(subscription), pricing.NextPeriod(),
                terms.period(subscription).end,
            )  # fmt: skip
            lines = quote.lines
        except NoPrice as missing:
            lines, words = (), missing.sentence
        terms.next_period(subscription)
        kind = "period.billed" if lines else "period.no_price" if words else "period.unbilled"
        after = {"Period": f"{subscription.period_start}", "Seats": subscription.seats}
        event = self._tell(subscription, kind, before=before, after=after, reason=words)
        booked = [
            charges.of_line(one, subscription, self.at, period_start=one.covers.start, covers=one.covers)
            for one in lines
        ]
        self.lines.append((event, booked))
        self._change(subscription, kind.removeprefix("period."))
        if subscription.term_end != old_term:
            self._tell(
                subscription, "renewal.renewed", before={"Term ends": f"{old_term}"},
                after={"Term ends": f"{subscription.term_end}"},
            )  # fmt: skip
            self.done["renewed"] += 1

    def _expire(self, subscription: Subscription) -> None:
        # What is suspended works no more than after its end: no time is left to anybody.
        days = 0 if subscription.status == S.SUSPENDED else subscription.sku.grace_days
        ended = subscription.term_end or terms.period(subscription).end
        before = {"Status": str(subscription.status)}
        subscription.expire(at=actions.midnight(ended, subscription.account), grace_ends=ended + timedelta(days=days))
        self._tell(
            subscription, "expire.expired", before=before,
            after={"Status": str(subscription.status), "Renewable until": f"{subscription.grace_ends}"},
        )  # fmt: skip
        self._change(subscription, "expired")

    def _remind(self, subscription: Subscription) -> None:
        today = actions.local_day(self.at, subscription.account)
        term_end = subscription.term_end
        subscription.reminder_due_on = terms.next_reminder(subscription, today)
        self._change(subscription, "reminded")
        if term_end is None or today >= term_end:
            return
        try:
            price = self.prices.terms_of(subscription).line(subscription.seats)
        except NoPrice:
            return
        self._tell(
            subscription,
            "renewal.reminder",
            after={
                "Seats": subscription.seats,
                "Price": str(price),
                "Currency": subscription.currency,
                "Months": subscription.sku.billing_months,
                "Date": term_end.isoformat(),
                "Reduce until": (term_end - timedelta(days=1)).isoformat(),
                "Days": (term_end - today).days,
                "Renews": subscription.auto_renew,
            },
        )


def _frozen(order: Order, subscription: Subscription) -> bool:
    return subscription.status == S.SUSPENDED and order.action not in (actions.CANCEL.stem, actions.ACTIVATE.stem)


def _why_not_now(order: Order, about: Situation) -> NotAllowed | None:
    """Why a scheduled order is impossible on its day, after what happened meanwhile."""
    subscription, action = about.subscription, actions.ACTIONS[order.action]
    if refusal := action.why_not(about):
        return refusal
    if action.takes_seats:
        return actions.why_not_seats(action, subscription, order.after["Seats"])
    return None
