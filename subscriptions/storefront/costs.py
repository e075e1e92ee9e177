"""What things cost, as customers' pages show it: a change before it is ordered, and an order.

Every figure comes from `pricing`; nothing here computes one.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from subscriptions import actions, lifecycle, pricing
from subscriptions.models import Order, OrderStatus
from subscriptions.pricing import Period, Quote
from subscriptions.quotes import next_charge, per_period, per_seat, quote_of
from subscriptions.storefront.proposals import Proposal

__all__ = [
    "Price",
    "amount_of",
    "and_pay",
    "next_charge",
    "of_order",
    "of_seats",
    "per_period",
    "per_seat",
    "then_words",
]


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
        """`then` is a sentence about later periods; by default what each of them costs without any plan."""
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
            return "What was charged for this period covers so many seats already."
        return ""
    if proposal.planned:
        return "What you have paid for stays yours until then."
    if sku.decrease_policy == "immediate_credit":
        return "Nothing was charged for the days that are left, so there is nothing to give back."
    return "The current period is paid, and nothing of it is given back."


def then_words(proposal: Proposal) -> str:
    """What each later period costs, and from when, also by a plan that stays; empty when none follows."""
    later, subscription, words = proposal.quote and proposal.quote.later, proposal.subscription, proposal.later_words
    if not later:
        return ""
    if not subscription.auto_renew and subscription.term_end and later.starts >= subscription.term_end:
        ends = actions.date_words(subscription.term_end)
        return f"The term ends on {ends} and is not renewed by itself. If you renew it: {words}."
    if proposal.planned and proposal.action is actions.DECREASE:
        each = f"{pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}"
        until = actions.date_words(proposal.on)
        return f"You pay for {subscription.seats:,} until {until}, then {each} for {later.seats:,}."
    return f"Then {words}."


# --- an order --------------------------------------------------------------------------------------------------------

_IN_VAIN = (OrderStatus.FAILED, OrderStatus.REJECTED, OrderStatus.WITHDRAWN)


def of_order(order: Order) -> Price | None:
    """The receipt: what was quoted, and whether it is charged; None when there is nothing to say of money.

    Needs `subscription__account` loaded; runs at most 1 query.
    """
    currency = order.subscription.currency
    if order.action == actions.CORRECT.stem:
        amount = pricing.money(Decimal(order.after["Amount"]), currency)
        return Price("Price", due_label="Correction", due=amount, why="It is a line of its own in your statement.")
    quote = _as_begun(order)
    if quote is None:
        return None
    due, amount = quote.due_now, pricing.money(abs(quote.due_now), currency)
    if order.status in _IN_VAIN:
        why = f"{amount} {'were' if due > 0 else 'would have been given back; they were'} quoted." if due else ""
        return Price("Price", due_label="Nothing was charged", due=pricing.money(Decimal(), currency), why=why)
    words = lifecycle.later_words(quote, lifecycle.kept_beside(order))
    price = Price.of(quote, "Price", then=f"Then {words}." if words else "")
    if due == 0:
        return replace(price, due_label="For the change itself")
    return replace(price, due_label=_when_charged(order, "credited" if due < 0 else "charged"))


def _as_begun(order: Order) -> Quote | None:
    """What was quoted; of a start that came later than that, for the days of the period that began."""
    quote = quote_of(order)
    if quote is None or order.action != actions.START.stem or order.status != OrderStatus.COMPLETED:
        return quote
    first = order.charges.order_by("position").first()
    return pricing.begun(quote, Period(first.covers_from, first.covers_to)) if first else quote


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
