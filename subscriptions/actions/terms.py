"""Terms and periods of a subscription: the dates on its row, and when the next of them falls due.

All of it sets fields in memory; days are days in the account's time zone. Needs `sku` and `account` loaded.
"""

from datetime import date, datetime, timedelta

from subscriptions import pricing
from subscriptions.actions.situation import local_day, midnight
from subscriptions.models import Subscription, SubscriptionStatus
from subscriptions.pricing import Period

S = SubscriptionStatus
REMINDERS = (30, 7)
"""Days before a renewal on which its people are reminded (issue: general life-cycle rules)."""
OF_TRIALS = (7, 1)
"""Days before the end of a trial: it is announced once, on the first of these days that it has after its start."""


def begin(subscription: Subscription, on: date) -> None:
    """A full period and term from `on`, paid; what was a trial is none any more."""
    subscription.trial_ends = None
    subscription.anchor_day = on.day
    _take_period(subscription, pricing.first_period(on, subscription.sku.billing_months))
    subscription.term_end = pricing.add_months(on, subscription.sku.term_months, on.day)
    subscription.reminder_due_on = next_reminder(subscription, on)


def take_up(subscription: Subscription, charged_until: date, anchor_day: int, term_end: date, on: date) -> None:
    """The billing period that ends on `charged_until`, which another system has charged, and the term as of `on`."""
    subscription.anchor_day = anchor_day
    start = pricing.add_months(charged_until, -subscription.sku.billing_months, anchor_day)
    _take_period(subscription, Period(start, charged_until))
    subscription.term_end = term_end
    subscription.reminder_due_on = next_reminder(subscription, on)


def begin_trial(subscription: Subscription, on: date) -> None:
    """One free period of the SKU's trial days, which is the whole term."""
    subscription.anchor_day = on.day
    _take_period(subscription, Period(on, on + timedelta(days=subscription.sku.trial_days)))
    subscription.term_end = subscription.trial_ends = subscription.period_end
    days = [subscription.trial_ends - timedelta(days=before) for before in OF_TRIALS] if subscription.trial_ends else []
    subscription.reminder_due_on = min((one for one in days if one > on), default=None)


def next_period(subscription: Subscription) -> None:
    """The period after the current one; a term that it passes is renewed."""
    current = period(subscription)
    anchor = subscription.anchor_day or current.start.day
    _take_period(subscription, pricing.next_period(current, subscription.sku.billing_months, anchor))
    while subscription.term_end and subscription.period_start and subscription.term_end <= subscription.period_start:
        old = subscription.term_end
        subscription.term_end = pricing.add_months(old, subscription.sku.term_months, anchor)
        subscription.reminder_due_on = next_reminder(subscription, old)


def renew(subscription: Subscription) -> None:
    """After a term that ended without renewal: the next one follows it without a gap."""
    subscription.grace_ends = None
    next_period(subscription)


def period(subscription: Subscription) -> Period:
    """The current billing period. Raises ValueError before the start."""
    if subscription.period_start is None or subscription.period_end is None:
        raise ValueError(f"{subscription.number} has no period yet")
    return Period(subscription.period_start, subscription.period_end)


def _take_period(subscription: Subscription, taken: Period) -> None:
    subscription.period_start, subscription.period_end = taken.start, taken.end
    subscription.peak_seats = subscription.seats


def next_reminder(subscription: Subscription, after: date) -> date | None:
    """The first day later than `after` on which a reminder of the renewal is due, within this term."""
    if subscription.term_end is None:
        return None
    # A term of a month has but begun 30 days before its end.
    known = REMINDERS if subscription.sku.term_months > 1 else REMINDERS[1:]
    days = [subscription.term_end - timedelta(days=before) for before in known]
    return min((one for one in days if one > after), default=None)


def is_last_period(subscription: Subscription) -> bool:
    """Does no period follow the current one, since a known end comes first or on the day on which one would begin?

    A vendor ends at an instant of its own, which may be hours after the midnight with which that day begins here.
    """
    if subscription.ends_at is None or subscription.period_end is None:
        return False
    return local_day(subscription.ends_at, subscription.account) <= subscription.period_end


def next_due(subscription: Subscription) -> datetime | None:
    """When the next thing falls due by itself, apart from scheduled orders; None when nothing will."""
    days: list[date | None] = [subscription.period_end]
    ends_at = None
    match subscription.status:
        case S.ACTIVE:
            days.append(subscription.reminder_due_on)
        case S.SUSPENDED | S.ENDING:
            # A kept end date comes for a suspended one, too.
            ends_at = subscription.ends_at
            if is_last_period(subscription):
                days = []
        case S.EXPIRED:
            days = [subscription.grace_ends]
        case _:
            return None
    first = min((one for one in days if one), default=None)
    instants = [ends_at, midnight(first, subscription.account) if first else None]
    return min((one for one in instants if one), default=None)
