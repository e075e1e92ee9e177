"""From rows to a pinned quote: what a change costs, when it takes effect, and whether staff must approve it.

`load` fetches what prices depend on for any number of subscriptions in 2 queries; everything after it is computed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core import signing
from django.db.models import F

from subscriptions import actions, pricing
from subscriptions.actions import Action, NotAllowed, Situation, terms
from subscriptions.models import (
    SKU,
    Account,
    ApprovalLimit,
    Charge,
    ChargeKind,
    Order,
    PriceBand,
    Subscription,
    SubscriptionStatus,
)  # fmt: skip
from subscriptions.models.catalogue import DecreasePolicy
from subscriptions.pricing import Band, NoPrice, Paid, Period, Quote, Standing, Terms

HONOURED = timedelta(minutes=15)
"""How long a quote is honoured after it was shown (product.md, section 5)."""
BACK_DATED = timedelta(days=14)
"""How far back staff may date a cancel (product.md, section 4); a vendor takes no older date (code 304)."""
AHEAD = timedelta(days=366)
NOW, PERIOD_END, RENEWAL = "now", "period_end", "renewal"
When = date | str | None
"""A chosen day, NOW, PERIOD_END, RENEWAL, or None for what the SKU's policy says."""

_SALT = "subscriptions.quote"
S = SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Pinned:
    """A quote with the instant and the versions that it was computed from."""

    quote: Quote
    at: datetime
    version: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        pins = {"at": self.at.isoformat(), "version": self.version, "fingerprint": self.fingerprint}
        return self.quote.to_json() | pins

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Pinned":
        return cls(Quote.from_json(data), datetime.fromisoformat(data["at"]), data["version"], data["fingerprint"])

    def token(self) -> str:
        """Signed, for a form: what was shown cannot be changed on the way back."""
        return signing.dumps(self.to_json(), salt=_SALT, compress=True)

    @classmethod
    def from_token(cls, token: str) -> "Pinned | None":
        """None for what we have not signed."""
        try:
            return cls.from_json(signing.loads(token, salt=_SALT))
        except (signing.BadSignature, KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Prices:
    """Price bands of the SKUs, and the ledger lines of each subscription's current period."""

    bands: dict[tuple[int, str], tuple[Band, ...]] = field(default_factory=dict)
    paid: dict[int, tuple[Paid, ...]] = field(default_factory=dict)

    def terms(self, sku: SKU, currency: str, account: Account) -> Terms:
        return Terms(
            sku=sku.code,
            currency=currency,
            bands=self.bands.get((sku.pk, currency), ()),
            discount=account.discount,
            months=sku.billing_months,
            term_months=sku.term_months,
            increase=sku.increase_policy,
            decrease=sku.decrease_policy,
            cancel_credit=sku.cancel_credit,
            bills_while_suspended=sku.bills_while_suspended,
        )

    def terms_of(self, subscription: Subscription) -> Terms:
        return self.terms(subscription.sku, subscription.currency, subscription.account)

    def standing(self, subscription: Subscription) -> Standing:
        period = terms.period(subscription)
        return Standing(
            seats=subscription.seats,
            peak_seats=subscription.peak_seats,
            period=period,
            anchor_day=subscription.anchor_day or period.start.day,
            paid=self.paid.get(subscription.pk, ()),
            trial=subscription.trial_ends is not None,
            suspended=subscription.status == "suspended",
        )


def load(subscriptions: Collection[Subscription], skus: Iterable[SKU] = ()) -> Prices:
    """Everything that prices of these subscriptions, and of further SKUs, depend on; 2 queries."""
    bands: dict[tuple[int, str], list[Band]] = defaultdict(list)
    wanted = {one.sku_id for one in subscriptions} | {sku.pk for sku in skus}
    for one in PriceBand.objects.filter(sku__in=wanted).order_by("seats_from"):
        bands[one.sku_id, one.currency].append(Band(one.seats_from, one.price))
    paid: dict[int, list[Paid]] = defaultdict(list)
    saved = [one.pk for one in subscriptions if one.pk and one.period_start]
    if saved:
        lines = Charge.objects.filter(
            subscription__among=saved,
            period_start=F("subscription__period_start"),
            currency=F("subscription__currency"),
        )
        rows = lines.order_by("pk").values_list(
            "subscription_id", "amount", "covers_from", "covers_to", "kind", "seats", "unit_price", "currency",
            "order__action",
        )  # fmt: skip
        for pk, amount, start, end, kind, seats, unit_price, currency, action in rows:
            if action == actions.CHANGE_SKU.stem:
                # What was charged elsewhere was for the SKU before.
                paid[pk] = [replace(one, elsewhere=Decimal()) for one in paid[pk]]
            elsewhere = _elsewhere(amount, kind, seats, unit_price, currency)
            paid[pk].append(Paid(amount, Period(start, end), elsewhere))
    return Prices({key: tuple(found) for key, found in bands.items()}, {pk: tuple(found) for pk, found in paid.items()})


def _elsewhere(amount: Decimal, kind: str, seats: int, unit_price: Decimal, currency: str) -> Decimal:
    """What another system charged for a period that it billed before the takeover: its line here has a price and 0."""
    taken_over = kind == ChargeKind.PERIOD and not amount
    return pricing.rounded(seats * unit_price, currency) if taken_over else Decimal()


# --- when ------------------------------------------------------------------------------------------------------------


def takes_effect(
    action: Action, subscription: Subscription, when: When, at: datetime, audience: str
) -> tuple[date, bool]:
    """The day on which a change takes effect, and whether it is planned until then. Raises NotAllowed.

    Needs `sku` and `account` loaded.
    """
    today = actions.local_day(at, subscription.account)
    if subscription.period_start is not None:
        # After a clock was put back, a period has begun that by the clock is still to come.
        today = max(today, subscription.period_start)
    if action is actions.DECREASE and subscription.sku.decrease_policy == DecreasePolicy.NEXT_PERIOD:
        current = terms.period(subscription)
        if not isinstance(when, date) or when <= current.end:
            return current.end, True
        anchor = subscription.anchor_day or current.start.day
        chosen = pricing.period_at(current, subscription.sku.billing_months, anchor, _ahead(when, today))
        return (when if when == chosen.start else chosen.end), True
    if when == PERIOD_END:
        return terms.period(subscription).end, True
    if when == RENEWAL and subscription.term_end:
        return subscription.term_end, True
    if not isinstance(when, date) or when == today:
        return today, False
    if when > today:
        return _ahead(when, today), True
    return _back_dated(action, subscription, when, today, audience), False


def _ahead(when: date, today: date) -> date:
    if when - today > AHEAD:
        last = actions.date_words(today + AHEAD)
        raise NotAllowed("too_far_ahead", f"A change can be planned for at most a year. Choose a day until {last}.")
    return when


def _back_dated(action: Action, subscription: Subscription, when: date, today: date, audience: str) -> date:
    if action is not actions.CANCEL or audience not in actions.STAFF:
        raise NotAllowed("past", f"{actions.date_words(when)} is over. Choose today or a later day.")
    first = max(today - BACK_DATED, terms.period(subscription).start)
    if when < first:
        words = actions.date_words(first)
        raise NotAllowed("too_far_back", f"Choose a day from {words} on: within this period, and at most 14 days back.")
    return when


# --- how much --------------------------------------------------------------------------------------------------------


def price(
    action: Action,
    subscription: Subscription,
    after: dict[str, Any],
    *,
    on: date,
    planned: bool,
    at: datetime,
    prices: Prices,
    target: SKU | None = None,
    audience: str = actions.STOREFRONT,
) -> Pinned | None:
    """What a change costs that takes effect on a day; None when it costs nothing by its nature.

    `target` is the SKU that Change the SKU leads to. Raises NotAllowed (`no_price`). For a start the subscription need
    not be saved.
    """
    if not action.costs or (action is actions.START and subscription.trial_of_id):
        return None
    mine = prices.terms_of(subscription)
    change = _change(action, subscription, after, planned, prices, target)
    standing = None if action is actions.START else prices.standing(subscription)
    if standing and action is actions.ACTIVATE:
        # Planned with the suspension it is priced before that has come.
        standing = replace(standing, suspended=True)
    # While an end is waited for, no period begins. Activated over it, the next one is billed whole, from its first day.
    if action is actions.ACTIVATE and not planned and subscription.period_end:
        on = min(on, subscription.period_end)
    try:
        quote = pricing.quote(standing, mine, change, on)
    except NoPrice as missing:
        if action is actions.ACTIVATE:
            return None
        words = f"{missing.fact} Add one to the price list." if audience in actions.STAFF else missing.sentence
        raise NotAllowed("no_price", words) from missing
    if subscription.ends_at and subscription.ends_at > at and terms.is_last_period(subscription):
        quote = replace(quote, later=None)
    fingerprint = mine.fingerprint
    if isinstance(change, pricing.ChangeSKU):
        fingerprint += change.terms.fingerprint
    return Pinned(quote, at, subscription.version, fingerprint)


def _change(
    action: Action,
    subscription: Subscription,
    after: dict[str, Any],
    planned: bool,
    prices: Prices,
    target: SKU | None,
) -> pricing.Change:
    match action.stem:
        case "start":
            return pricing.Start(after["Seats"])
        case "increase" | "decrease":
            return pricing.SetSeats(after["Seats"])
        case "cancel":
            return pricing.EndOfPeriod() if planned else pricing.Cancel()
        case "activate":
            return pricing.Activate()
        case "renew":
            return pricing.NextPeriod()
        case "convert":
            return pricing.Convert()
        case "change_sku" if target is not None:
            new = prices.terms(target, subscription.currency, subscription.account)
            return pricing.ChangeSKU(new, after["Seats"])
    raise ValueError(f"{action.stem} has no price")


def still_holds(shown: Pinned, now: Pinned | None, at: datetime) -> bool:
    """Is what was shown what would be shown now, and not older than it is honoured?

    `now` must be computed at the instant of `shown`, so that midnight alone changes nothing.
    """
    return abs(at - shown.at) <= HONOURED and now == shown


# --- a subscription as it is -----------------------------------------------------------------------------------------


def per_period(subscription: Subscription, prices: Prices, seats: int | None = None) -> str:
    """What a period costs with its seats, or with others, such as "EUR 87.50 a month"."""
    mine = prices.terms_of(subscription)
    try:
        amount = mine.line(subscription.seats if seats is None else seats)
    except NoPrice:
        return "No price"
    return f"{pricing.money(amount, subscription.currency)} {pricing.every(mine.months)}"


def per_seat(subscription: Subscription, prices: Prices) -> str:
    """What one of its seats costs for a period, discount taken off."""
    mine = prices.terms_of(subscription)
    try:
        price = mine.unit_price(subscription.seats)
    except NoPrice:
        return "No price"
    return f"{pricing.unit_money(price, subscription.currency)} {pricing.every(mine.months)}"


@dataclass(frozen=True, slots=True)
class NextCharge:
    """What is charged next and when, or a sentence that says why nothing is."""

    amount: str = ""
    on: date | None = None
    sentence: str = ""


def next_charge(about: Situation, prices: Prices) -> NextCharge:
    """Computed as the period's end would do it, with what is planned until then."""
    subscription, planned = about.subscription, about.scheduled
    if subscription.period_end is None:
        return NextCharge(sentence="With the start")
    if subscription.trial_ends:
        return NextCharge(sentence="None: a trial is free")
    if subscription.status in (S.EXPIRED, S.CANCELLED, S.FAILED):
        return NextCharge(sentence="None")
    due_on = actions.local_day(planned.due_at, subscription.account) if planned and planned.due_at else None
    if subscription.status == S.SUSPENDED and not subscription.sku.bills_while_suspended:
        if planned and planned.action == actions.ACTIVATE.stem and (due := _due_of(planned)):
            return NextCharge(pricing.money(due.due_now, due.currency), due_on)
        return NextCharge(sentence="None while it is suspended")
    boundary = subscription.period_end
    if about.open_order is not None and boundary <= actions.local_day(about.at, subscription.account):
        return NextCharge(sentence=f"When {about.open_order.number} is over: periods wait for it")
    if planned and due_on and due_on <= boundary and subscription.status != S.SUSPENDED:
        if due := _due_of(planned):
            return NextCharge(pricing.money(due.due_now, due.currency), due_on)
    else:
        planned = None
    if subscription.ends_at and terms.is_last_period(subscription):
        return NextCharge(sentence=f"None: it ends on {actions.day(subscription.ends_at, subscription)}")
    if not subscription.auto_renew and subscription.term_end and subscription.term_end <= boundary:
        return NextCharge(sentence="None, unless it is renewed")
    seats = planned.after.get("Seats", subscription.seats) if planned else subscription.seats
    standing = replace(prices.standing(subscription), seats=seats)
    try:
        quote = pricing.quote(standing, prices.terms_of(subscription), pricing.NextPeriod(), boundary)
    except NoPrice as missing:
        return NextCharge(sentence=missing.sentence)
    return NextCharge(pricing.money(quote.due_now, quote.currency), boundary)


def is_billed_next(subscription: Subscription) -> bool:
    """Does its next period begin by itself, and is it billed, if nobody orders anything? Needs `sku` and `account`."""
    if subscription.status not in (S.ACTIVE, S.ENDING, S.SUSPENDED) or subscription.trial_ends:
        return False
    if subscription.status == S.SUSPENDED and not subscription.sku.bills_while_suspended:
        return False
    boundary = subscription.period_end
    ends_on = actions.local_day(subscription.ends_at, subscription.account) if subscription.ends_at else None
    over = subscription.term_end if not subscription.auto_renew else None
    return boundary is not None and not any(one and one <= boundary for one in (ends_on, over))


def quote_of(order: Order) -> Quote | None:
    """What the order costs, as it was shown; None when it costs nothing by its nature."""
    return Pinned.from_json(order.quote).quote if order.quote else None


def _due_of(order: Order) -> Quote | None:
    """What a scheduled order costs on its day, if it does."""
    quote = quote_of(order)
    return quote if quote and quote.due_now > 0 else None


# --- approval --------------------------------------------------------------------------------------------------------


def approval_limits(skus: Iterable[int]) -> dict[tuple[int, str], ApprovalLimit]:
    """The limits of SKUs by (SKU, currency); 1 query."""
    return {(one.sku_id, one.currency): one for one in ApprovalLimit.objects.filter(sku__in=set(skus))}


def needs_approval(
    action: Action,
    subscription: Subscription,
    pinned: Pinned | None,
    prices: Prices,
    limits: dict[tuple[int, str], ApprovalLimit],
) -> bool:
    """Must staff decide about it first? Cancels by the SKU, other orders by what is due now."""
    limit = limits.get((subscription.sku_id, subscription.currency))
    if action is actions.CANCEL:
        return subscription.sku.cancel_needs_approval and not _small(subscription, prices, limit)
    return bool(
        pinned is not None
        and limit is not None
        and limit.orders_from is not None
        and pinned.quote.due_now > 0
        and pinned.quote.due_now >= limit.orders_from
    )


def _small(subscription: Subscription, prices: Prices, limit: ApprovalLimit | None) -> bool:
    if limit is None or limit.cancels_under is None:
        return False
    if subscription.trial_ends is not None:
        return True
    try:
        period: Decimal = prices.terms_of(subscription).line(subscription.seats)
    except NoPrice:
        return False
    return period < limit.cancels_under
