"""A change before it is ordered: what a check page shows, and why it must come again."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from subscriptions import actions, lifecycle, pricing, quotes
from subscriptions.actions import Action, Situation
from subscriptions.models import SKU, Order, Subscription
from subscriptions.pricing import Quote
from subscriptions.quotes import Pinned, Prices, When

TOO_OLD = "This page was open for more than 15 minutes. Look at the figures and confirm again."


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change as it would be ordered now: when it takes effect, what it costs, what else it touches."""

    about: Situation
    action: Action
    after: dict[str, Any]
    on: date
    planned: bool
    """Takes effect on a later day."""
    pinned: Pinned | None
    prices: Prices

    @property
    def subscription(self) -> Subscription:
        return self.about.subscription

    @property
    def quote(self) -> Quote | None:
        return self.pinned.quote if self.pinned else None

    @property
    def choices(self) -> tuple[str, ...]:
        """What can become of the order that is scheduled already; empty when it is not touched."""
        return lifecycle.planned_choices(self.about, self.action, planned=self.planned, after=self.after)

    def needs_approval(self) -> bool:
        """Must staff decide about it first? Runs 1 query."""
        limits = quotes.approval_limits([self.subscription.sku_id])
        return quotes.needs_approval(self.action, self.subscription, self.pinned, self.prices, limits)

    def why_not(self, shown: Pinned | None, at: datetime) -> str:
        """Why what was shown is not what would be ordered, for a check page that comes again; or an empty text."""
        if shown is not None and abs(at - shown.at) > quotes.HONOURED:
            return TOO_OLD
        return "" if shown is not None and shown == self.pinned else lifecycle.STALE_QUOTE


def propose(
    action: Action,
    about: Situation,
    after: dict[str, Any],
    *,
    at: datetime,
    when: When = None,
    target: SKU | None = None,
    shown: Pinned | None = None,
) -> Proposal:
    """The change as it stands at `at`, in 2 queries. Raises NotAllowed (`no_price`, or a day that cannot be chosen).

    With the quote that was `shown`, while that is honoured, as of its instant: midnight alone changes nothing.
    """
    subscription = about.subscription
    if shown is not None and abs(at - shown.at) <= quotes.HONOURED:
        at = shown.at
    on, planned = quotes.takes_effect(action, subscription, when, at, about.audience)
    prices = quotes.load([subscription], [target] if target else [])
    pinned = quotes.price(
        action, subscription, after, on=on, planned=planned, at=at, prices=prices, target=target
    )  # fmt: skip
    return Proposal(about, action, after, on, planned, pinned, prices)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a page that comes again, as it was seen and as it is now."""

    name: str
    seen: str
    now: str


def figures(shown: Pinned, proposal: Proposal) -> list[Figure]:
    """Old and new side by side."""
    if proposal.quote is None:
        return []
    pairs = zip(_figures(shown.quote), _figures(proposal.quote), strict=True)
    return [Figure(name, seen, now) for (name, seen), (_, now) in pairs]


def _figures(quote: Quote) -> list[tuple[str, str]]:
    return [
        ("Due", pricing.money(quote.due_now, quote.currency)),
        ("Computed as", "; ".join(line.words for line in quote.lines) or "Nothing is charged"),
        ("Later periods", quote.later.words if quote.later else "None"),
        ("Takes effect", actions.date_words(quote.on)),
    ]


# --- what is planned already -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planned:
    """The scheduled order that a proposal touches, in words, with what can become of it."""

    sentence: str
    choices: list[tuple[str, str]]
    note: str = ""
    """Said where there is one choice only."""
    at_once: str = ""


def planned(proposal: Proposal, *, needs_approval: bool = False) -> Planned | None:
    """None when no scheduled order is touched."""
    scheduled = proposal.about.scheduled
    if scheduled is None or not proposal.choices:
        return None
    labels = {lifecycle.KEEP: _keep(proposal, scheduled), lifecycle.DISCARD: _discard(proposal, scheduled)}
    only = len(proposal.choices) == 1
    return Planned(
        sentence=lifecycle.planned_words(scheduled, proposal.subscription),
        choices=[(choice, labels[choice]) for choice in proposal.choices],
        note=_why_only_this(proposal, scheduled) if only else "",
        at_once="It is withdrawn when you order, also if your distributor does not approve." if needs_approval else "",
    )


def _keep(proposal: Proposal, scheduled: Order) -> str:
    subscription = proposal.subscription
    if not _is_of_seats(scheduled) or scheduled.due_at is None:
        return "Keep it: it happens on its day as planned."
    words = f"Keep it: {_seats_after(proposal)} until {actions.day(scheduled.due_at, subscription)}"
    words += f", then {scheduled.after['Seats']:,}"
    later = Pinned.from_json(scheduled.quote).quote.later if scheduled.quote else None
    if later is None:
        return f"{words}."
    return f"{words} for {pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}."


def _discard(proposal: Proposal, scheduled: Order) -> str:
    if not _is_of_seats(scheduled):
        return "Withdraw it: it does not happen."
    return f"Withdraw it: {_seats_after(proposal)} from now on, and no change to {scheduled.after['Seats']:,}."


def _why_only_this(proposal: Proposal, scheduled: Order) -> str:
    if proposal.planned:
        return "Your new plan takes its place. To keep the old one, go back."
    if _is_of_seats(scheduled) and "Seats" in proposal.after:
        costs = bool(scheduled.quote and scheduled.quote["lines"])
        why = "Its price was agreed for other seats" if costs else "Your change leaves nothing of it to do"
        return f"{why}, so it is withdrawn with your order. To keep it, go back."
    return "It is withdrawn with your order. To keep it, go back."


def _is_of_seats(order: Order) -> bool:
    return order.action in (actions.INCREASE.stem, actions.DECREASE.stem)


def _seats_after(proposal: Proposal) -> str:
    return actions.seats_words(proposal.after.get("Seats", proposal.subscription.seats))
