"""A change before it is ordered: what a check page shows at either door, and why it must come again."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from subscriptions import actions, pricing, quotes
from subscriptions.actions import Action, Situation
from subscriptions.lifecycle.kept import Kept, as_of_now, as_planned, later_words
from subscriptions.lifecycle.orders import KEEP
from subscriptions.lifecycle.placing import STALE_QUOTE, activation_on
from subscriptions.lifecycle.plans import planned_choices, why_not_plan
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
    then_on: date | None = None
    """The day of the activation that is planned together with a suspension; `pinned` is what that costs."""

    @property
    def subscription(self) -> Subscription:
        return self.about.subscription

    @property
    def quote(self) -> Quote | None:
        return self.pinned.quote if self.pinned else None

    @property
    def choices(self) -> tuple[str, ...]:
        """What can become of the order that is scheduled already; empty when it is not touched."""
        planned = self.planned or self.then_on is not None
        return planned_choices(self.about, self.action, planned=planned, after=self.after)

    @property
    def plan(self) -> Order | None:
        """The scheduled order that stays beside this change, unless whoever orders it withdraws that."""
        scheduled, choices = self.about.scheduled, self.choices
        if scheduled is None or self.planned or scheduled.action == actions.ACTIVATE.stem:
            return None
        return scheduled if KEEP in choices or not choices else None

    @property
    def kept(self) -> Kept | None:
        """What `plan` costs, at the prices that hold now."""
        plan = self.plan
        return as_of_now(plan, self.subscription, self.prices, self.about.at) if plan else None

    @property
    def later_words(self) -> str:
        """What each later period costs, in words without a full stop; empty when none follows."""
        return later_words(self.quote, self.kept, open_choice=len(self.choices) > 1) if self.quote else ""

    def needs_approval(self) -> bool:
        """Must staff decide about it first? Runs 1 query."""
        if not self.action.costs:
            return False
        limits = quotes.approval_limits([self.subscription.sku_id])
        return quotes.needs_approval(self.action, self.subscription, self.pinned, self.prices, limits)

    def why_not(self, shown: Pinned | None, at: datetime) -> str:
        """Why what was shown is not what would be ordered, for a check page that comes again; or an empty text."""
        if shown is not None and abs(at - shown.at) > quotes.HONOURED:
            return TOO_OLD
        return "" if shown is not None and shown == self.pinned else STALE_QUOTE


def propose(
    action: Action,
    about: Situation,
    after: dict[str, Any],
    *,
    at: datetime,
    when: When = None,
    target: SKU | None = None,
    shown: Pinned | None = None,
    then_activate_on: date | None = None,
) -> Proposal:
    """The change as it stands at `at`, in 2 queries. Raises NotAllowed (`no_price`, or a day that cannot be chosen).

    With the quote that was `shown`, while that is honoured, as of its instant: midnight alone changes nothing.
    """
    subscription = about.subscription
    if shown is not None and abs(at - shown.at) <= quotes.HONOURED:
        at = shown.at
    on, planned = quotes.takes_effect(action, subscription, when, at, about.audience)
    prices = quotes.load([subscription], [target] if target else [])
    if planned and (refusal := why_not_plan(action, about, on)):
        raise refusal
    if then_activate_on is not None:
        limits = quotes.approval_limits([subscription.sku_id])
        then_on, pinned = activation_on(about, then_activate_on, at, prices, limits)
        return Proposal(about, action, after, on, planned, pinned, prices, then_on)
    pinned = quotes.price(
        action, subscription, after, on=on, planned=planned, at=at, prices=prices, target=target,
        audience=about.audience,
    )  # fmt: skip
    return Proposal(about, action, after, on, planned, pinned, prices)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a page that comes again, as it was seen and as it is now."""

    name: str
    seen: str
    now: str


def figures(shown: Pinned, proposal: Proposal) -> list[Figure]:
    """Old and new side by side, both beside what is planned now, each at its own prices."""
    if proposal.quote is None:
        return []
    plan = proposal.plan
    seen = as_planned(plan, shown.fingerprint) if plan else None
    pairs = zip(_figures(shown.quote, seen), _figures(proposal.quote, proposal.kept), strict=True)
    return [Figure(name, seen, now) for (name, seen), (_, now) in pairs]


def _figures(quote: Quote, kept: Kept | None) -> list[tuple[str, str]]:
    return [
        ("Due", pricing.money(quote.due_now, quote.currency)),
        ("Computed as", "; ".join(line.words for line in quote.lines) or "Nothing is charged"),
        ("Later periods", later_words(quote, kept) or "None"),
        ("Takes effect", actions.date_words(quote.on)),
    ]
