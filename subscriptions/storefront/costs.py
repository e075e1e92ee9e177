"""What things cost, as pages show it: a change before it is ordered, a period, and what is charged next.

Every figure comes from `pricing`; nothing here computes one.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from subscriptions import actions, pricing
from subscriptions.actions import Situation
from subscriptions.models import Order, OrderStatus, Subscription, SubscriptionStatus
from subscriptions.pricing import NoPrice, Quote
from subscriptions.quotes import Pinned, Prices
from subscriptions.storefront.proposals import Proposal

S = SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Price:
    """What `_price_panel.html` shows: figures with their formula, or a `sentence` instead of them."""

    title: str
    sentence: str = ""
    due_label: str = ""
    due: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    """Words and amount of each."""
    why: str = ""
    """Of an amount that no line explains."""
    then: str = ""
    note: str = "All amounts excl. VAT."

    @property
    def said(self) -> str:
        """For those who hear the page."""
        return f"{self.due_label} {self.due}. {self.then}".strip()

    @classmethod
    def of(cls, quote: Quote, title: str, *, planned: bool = False, why: str = "", then: str | None = None) -> "Price":
        """`then` is a sentence about later periods; by default it says what each of them costs."""
        due = quote.due_now
        when = f"on {actions.date_words(quote.on)}" if planned and due else "now"
        if then is None:
            then = f"Then {quote.later.words}." if quote.later else ""
        return cls(
            title,
            due_label=f"You get back {when}" if due < 0 else f"Due {when}",
            due=pricing.money(abs(due), quote.currency),
            lines=tuple((line.words, pricing.money(line.amount, quote.currency)) for line in quote.lines),
            why="" if quote.lines else why,
            then=then,
        )


def of_seats(proposal: Proposal) -> Price:
    """The panel of Increase and Decrease."""
    quote, seats = proposal.quote, proposal.after["Seats"]
    title = f"Price for {actions.seats_words(seats)}"
    if quote is None:
        return Price(title, sentence="This change costs nothing.")
    price = Price.of(quote, title, planned=proposal.planned, why=_why_nothing(proposal), then=then_words(proposal))
    return replace(price, note=f"{price.note} Nothing is charged before the licence service confirms.")


def and_pay(quote: Quote | None) -> str:
    """The end of a button's words, such as " and pay EUR 41.10"; empty where nothing is due."""
    if quote is None or quote.due_now == 0:
        return ""
    amount = pricing.money(abs(quote.due_now), quote.currency)
    return f" and pay {amount}" if quote.due_now > 0 else f" and get {amount} back"


def _why_nothing(proposal: Proposal) -> str:
    sku = proposal.subscription.sku
    if proposal.action is actions.INCREASE:
        if sku.increase_policy == "high_water":
            return "The period is billed at its highest number of seats, which does not rise by this."
        return ""
    if proposal.planned:
        return "What you have paid for stays yours until then."
    if sku.decrease_policy == "immediate_credit":
        return "Nothing was charged for the days that are left, so there is nothing to give back."
    return "The current period is paid, and nothing of it is given back."


def then_words(proposal: Proposal) -> str:
    """What each later period costs, and from when; empty when none follows."""
    later, subscription = proposal.quote and proposal.quote.later, proposal.subscription
    if not later:
        return ""
    if not subscription.auto_renew and subscription.term_end and later.starts >= subscription.term_end:
        ends = actions.date_words(subscription.term_end)
        return f"The term ends on {ends} and is not renewed by itself. If you renew it: {later.words}."
    if proposal.planned and proposal.action is actions.DECREASE:
        each = f"{pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}"
        until = actions.date_words(proposal.on)
        return f"You pay for {subscription.seats:,} until {until}, then {each} for {later.seats:,}."
    return f"Then {later.words}."


# --- a subscription as it is -----------------------------------------------------------------------------------------


def per_period(subscription: Subscription, prices: Prices, seats: int | None = None) -> str:
    """What a period costs with its seats, or with others, such as "EUR 87.50 a month"."""
    terms_now = prices.terms_of(subscription)
    try:
        amount = terms_now.line(subscription.seats if seats is None else seats)
    except NoPrice:
        return "No price"
    return f"{pricing.money(amount, subscription.currency)} {pricing.every(terms_now.months)}"


def per_seat(subscription: Subscription, prices: Prices) -> str:
    """What one of its seats costs for a period, discount taken off."""
    terms_now = prices.terms_of(subscription)
    try:
        price = terms_now.unit_price(subscription.seats)
    except NoPrice:
        return "No price"
    return f"{pricing.unit_money(price, subscription.currency)} {pricing.every(terms_now.months)}"


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
    if subscription.status == S.SUSPENDED and not subscription.sku.bills_while_suspended:
        return NextCharge(sentence="None while it is suspended")
    boundary = subscription.period_end
    due_on = local_due_day(planned, subscription)
    if planned and due_on and due_on <= boundary and subscription.status != S.SUSPENDED:
        if due := _due_of(planned):
            return NextCharge(pricing.money(due.due_now, due.currency), due_on)
    else:
        planned = None
    ends_on = actions.local_day(subscription.ends_at, subscription.account) if subscription.ends_at else None
    if ends_on and ends_on <= boundary:
        return NextCharge(sentence=f"None: it ends on {actions.date_words(ends_on)}")
    if not subscription.auto_renew and subscription.term_end and subscription.term_end <= boundary:
        return NextCharge(sentence="None, unless it is renewed")
    seats = planned.after.get("Seats", subscription.seats) if planned else subscription.seats
    standing = replace(prices.standing(subscription), seats=seats)
    try:
        quote = pricing.quote(standing, prices.terms_of(subscription), pricing.NextPeriod(), boundary)
    except NoPrice as missing:
        return NextCharge(sentence=missing.sentence)
    return NextCharge(pricing.money(quote.due_now, quote.currency), boundary)


def _due_of(order: Order) -> Quote | None:
    """What a scheduled order costs on its day, if it does."""
    quote = quote_of(order)
    return quote if quote and quote.due_now > 0 else None


def local_due_day(order: Order | None, subscription: Subscription) -> date | None:
    """The day on which a scheduled order takes effect."""
    return actions.local_day(order.due_at, subscription.account) if order and order.due_at else None


# --- an order --------------------------------------------------------------------------------------------------------

_IN_VAIN = (OrderStatus.FAILED, OrderStatus.REJECTED, OrderStatus.WITHDRAWN)


def quote_of(order: Order) -> Quote | None:
    """What the order costs, as it was shown; None when it costs nothing by its nature."""
    return Pinned.from_json(order.quote).quote if order.quote else None


def of_order(order: Order) -> Price | None:
    """The receipt: what was quoted, and whether it is charged; None when there is nothing to say of money.

    Needs `subscription__account` loaded.
    """
    currency = order.subscription.currency
    if order.action == actions.CORRECT.stem:
        amount = pricing.money(Decimal(order.after["Amount"]), currency)
        return Price("Price", due_label="Correction", due=amount, why="It is a line of its own in your statement.")
    quote = quote_of(order)
    if quote is None:
        return None
    due, amount = quote.due_now, pricing.money(abs(quote.due_now), currency)
    if order.status in _IN_VAIN:
        why = f"{amount} {'were' if due > 0 else 'would have been given back; they were'} quoted." if due else ""
        return Price("Price", due_label="Nothing was charged", due=pricing.money(Decimal(), currency), why=why)
    price = Price.of(quote, "Price")
    if due == 0:
        return replace(price, due_label="For the change itself")
    return replace(price, due_label=_when_charged(order, "credited" if due < 0 else "charged"))


def _when_charged(order: Order, charged: str) -> str:
    match order.status:
        case OrderStatus.COMPLETED:
            return charged.capitalize()
        case OrderStatus.AWAITING_APPROVAL:
            return f"Will be {charged} when it is approved and the licence service confirms"
        case OrderStatus.SCHEDULED if order.due_at:
            return f"Will be {charged} on {actions.day(order.due_at, order.subscription)}"
        case OrderStatus.NEEDS_ATTENTION:
            return f"Will be {charged} only if the licence service confirms"
    return f"Will be {charged} when the licence service confirms"


def amount_of(order: Order) -> tuple[str, str]:
    """For a list: the amount, negative if it is given back, and what is to be known about it; empty without one."""
    if order.action == actions.CORRECT.stem:
        return pricing.money(Decimal(order.after["Amount"]), order.subscription.currency), ""
    quote = quote_of(order)
    if quote is None:
        return "", ""
    if order.status in _IN_VAIN:
        return pricing.money(Decimal(), quote.currency), "not charged" if quote.due_now else ""
    note = "" if order.status == OrderStatus.COMPLETED or not quote.due_now else "not charged yet"
    return pricing.money(quote.due_now, quote.currency), note
