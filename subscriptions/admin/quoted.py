"""Money and plans as staff see them: before an order is placed, and on its page."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

from django import forms

from subscriptions import actions, lifecycle, pricing
from subscriptions.lifecycle import DISCARD, KEEP, Proposal
from subscriptions.models import Order, OrderStatus, Subscription
from subscriptions.pricing import Quote
from subscriptions.quotes import Pinned, quote_of

NOT_BEFORE = "All amounts excl. VAT. Nothing is charged before the licence service confirms."


@dataclass(frozen=True, slots=True)
class Price:
    """What `price.html` shows: an amount with its formula, or a `sentence` instead of them."""

    title: str
    sentence: str = ""
    due_label: str = ""
    due: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    """Words and amount of each."""
    then: str = ""
    note: str = "All amounts excl. VAT."

    @classmethod
    def of(cls, quote: Quote, later: str, *, planned: bool = False, title: str = "What it costs") -> "Price":
        """`later` is what each later period costs, in words; empty when none follows."""
        due = quote.due_now
        when = f"on {actions.date_words(quote.on)}" if planned else "now"
        label = f"{'Given back' if due < 0 else 'Due'} {when}"
        return cls(
            title,
            due_label="For the change itself" if planned and due == 0 else label,
            due=pricing.money(abs(due), quote.currency),
            lines=tuple((line.words, pricing.money(line.amount, quote.currency)) for line in quote.lines),
            then=f"Then {later}." if later else "Nothing is charged after it.",
        )


def of_proposal(proposal: Proposal) -> Price | None:
    """The panel of a check page; None for what costs nothing by its nature."""
    quote = proposal.quote
    if quote is None:
        return None
    if proposal.then_on:
        price = Price.of(
            quote,
            proposal.later_words,
            planned=True,
            title=f"What the activation on {actions.date_words(quote.on)} costs",
        )
    else:
        price = Price.of(quote, proposal.later_words, planned=proposal.planned)
    if proposal.action.call is None:
        return price
    if not quote.lines and quote.later is None and proposal.action in (actions.ACTIVATE, actions.SUSPEND):
        price = replace(price, then=_nothing_later(proposal.subscription))
    elif not quote.lines and proposal.action is actions.CANCEL:
        price = replace(price, then="The period that has begun stays charged. Nothing is charged after it.")
    return replace(price, note=NOT_BEFORE)


def _nothing_later(subscription: Subscription) -> str:
    if subscription.trial_ends:
        return "A trial is free."
    seats = actions.seats_words(subscription.seats)
    return f"The price list has no price for {seats}: nothing is charged until it has one."


def of_order(order: Order) -> Price | None:
    """What was quoted, and whether it is charged; None for one that costs nothing by its nature. At most 1 query."""
    quote = quote_of(order)
    if quote is None:
        return None
    price = Price.of(quote, lifecycle.later_words(quote, lifecycle.kept_beside(order)), title="Quoted")
    if quote.due_now == 0:
        return replace(price, due_label="For the change itself")
    charged = "given back" if quote.due_now < 0 else "charged"
    return replace(price, due_label=_when(order, charged))


def _when(order: Order, charged: str) -> str:
    match order.status:
        case OrderStatus.COMPLETED:
            return charged.capitalize()
        case OrderStatus.FAILED | OrderStatus.REJECTED | OrderStatus.WITHDRAWN:
            return f"Not {charged}"
        case OrderStatus.AWAITING_APPROVAL:
            return f"Will be {charged} when it is approved and the licence service confirms"
        case OrderStatus.SCHEDULED if order.due_at:
            return f"Will be {charged} on {actions.day(order.due_at, order.subscription)}"
        case OrderStatus.NEEDS_ATTENTION:
            return f"Will be {charged} only if the licence service confirms"
    return f"Will be {charged} when the licence service confirms"


def amount_of(order: Order) -> str:
    """For a list: what an order costs, negative if it is given back; empty when nothing. Needs `subscription`."""
    if order.action == actions.CORRECT.stem:
        return pricing.money(Decimal(order.after["Amount"]), order.subscription.currency)
    quote = quote_of(order)
    return pricing.money(quote.due_now, quote.currency) if quote and quote.due_now else ""


def and_money(quote: Quote | None, how: str = "charge") -> str:
    """The end of a button's words, such as " and charge EUR 41.10"; empty where nothing is due."""
    if quote is None or quote.due_now == 0:
        return ""
    amount = pricing.money(abs(quote.due_now), quote.currency)
    return f" and {how} {amount}" if quote.due_now > 0 else f" and give back {amount}"


# --- what is planned already -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Touched:
    """The scheduled order that a proposal touches: in words, with what can become of it."""

    order: Order
    sentence: str
    choices: list[tuple[str, str]]
    note: str = ""
    """Said where there is one choice only."""


def touched(proposal: Proposal) -> Touched | None:
    """None when no scheduled order is touched."""
    scheduled, choices = proposal.about.scheduled, proposal.choices
    if scheduled is None or not choices:
        return None
    labels = {KEEP: _keep(proposal, scheduled), DISCARD: "Withdraw it: it does not happen."}
    return Touched(
        scheduled,
        lifecycle.planned_words(scheduled, proposal.subscription),
        [(choice, labels[choice]) for choice in choices],
        _why_only(proposal) if len(choices) == 1 else "",
    )


def _keep(proposal: Proposal, scheduled: Order) -> str:
    if "Seats" not in scheduled.after or scheduled.due_at is None:
        return "Keep it: it happens on its day as planned."
    seats = actions.seats_words(proposal.after.get("Seats", proposal.subscription.seats))
    until = actions.day(scheduled.due_at, proposal.subscription)
    return f"Keep it: {seats} until {until}, then {scheduled.after['Seats']:,}."


def _why_only(proposal: Proposal) -> str:
    if proposal.planned or proposal.then_on:
        return "One change can be planned at a time: the new one takes its place. To keep it, go back."
    return "It cannot be kept beside this change, and is withdrawn with your order. To keep it, go back."


def frozen_words(scheduled: Order | None, subscription: Subscription) -> str:
    """What becomes of a planned change while the subscription is suspended; empty without one."""
    if scheduled is None:
        return ""
    words = lifecycle.planned_words(scheduled, subscription)
    if scheduled.action == actions.CANCEL.stem:
        return f"{words} That day comes all the same."
    return (
        f"{words} It stands still until the subscription is activated; whoever does that is asked what becomes of it."
    )


class ConfirmForm(forms.Form):
    """What a check page sends of what it showed: the quote, signed, and what becomes of the planned change."""

    quote = forms.CharField(required=False, widget=forms.HiddenInput)
    planned = forms.ChoiceField(
        label="What becomes of it?",
        widget=forms.RadioSelect,
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose what becomes of the planned change."),
    )

    def __init__(self, *args: Any, touched: Touched | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if touched is None:
            del self.fields["planned"]
            return
        field = cast(forms.ChoiceField, self.fields["planned"])
        field.choices = touched.choices
        if touched.note:
            # Nothing to choose: the page says it, and the button means it.
            field.widget = forms.HiddenInput()
            field.initial = touched.choices[0][0]

    def clean_quote(self) -> Pinned | None:
        """None for one that we have not signed."""
        return Pinned.from_token(self.cleaned_data["quote"])
