"""What each later period costs when a change that was planned before is kept beside another one."""

from dataclasses import dataclass
from datetime import datetime

from subscriptions import actions, pricing, quotes
from subscriptions.actions import NotAllowed, terms
from subscriptions.models import Order, Subscription
from subscriptions.pricing import Later, Quote
from subscriptions.quotes import Pinned, Prices

# The changes beside which a planned one can stay, and after which periods are billed.
_BESIDE = (actions.INCREASE.stem, actions.DECREASE.stem, actions.ACTIVATE.stem, actions.RENEW.stem)
_OF_SEATS = (actions.INCREASE.stem, actions.DECREASE.stem)


@dataclass(frozen=True, slots=True)
class Kept:
    """A planned change that stays beside another one."""

    quote: Quote
    priced: bool = True
    """Are the later periods of `quote` at the prices that the other change was quoted at? Else no amount is to be said:
    the periods after a planned change of seats are billed at the prices of their day, whatever was shown of it."""


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What follows from a day on; what each period costs only where that is `priced`."""

    later: Later
    priced: bool

    @property
    def words(self) -> str:
        if self.priced:
            return self.later.words
        return f"{actions.seats_words(self.later.seats)} from {actions.date_words(self.later.starts)}"


def kept_beside(order: Order) -> Kept | None:
    """What was planned when the order was placed, and not withdrawn for it; at most 1 query.

    Whatever became of either since: a receipt stays as it was.
    """
    if order.due_at is not None or order.action not in _BESIDE or not order.quote:
        return None
    planned = Order.objects.filter(subscription=order.subscription_id, pk__lt=order.pk, due_at__isnull=False)
    # One that fell due, was undone or made way is over by the instant of the new one.
    found = planned.exclude(finished_at__lte=order.placed_at).order_by("-pk").first()
    return as_planned(found, order.quote["fingerprint"]) if found else None


def as_planned(planned: Order, fingerprint: str) -> Kept | None:
    """As it was shown when it was planned, beside a change at the prices of this fingerprint; None if it costs nothing.

    A change of SKU is billed as it was shown, so its own prices hold.
    """
    if not planned.quote:
        return None
    pinned = Pinned.from_json(planned.quote)
    return Kept(pinned.quote, planned.action not in _OF_SEATS or pinned.fingerprint == fingerprint)


def as_of_now(planned: Order, subscription: Subscription, prices: Prices, at: datetime) -> Kept | None:
    """At the prices that hold now, without a query; None if it costs nothing. Needs `sku` and `account` loaded."""
    if planned.action not in _OF_SEATS or planned.due_at is None:
        return as_planned(planned, "")
    # One that stood still may be of a period that is over.
    on = max(actions.local_day(planned.due_at, subscription.account), terms.period(subscription).start)
    action = actions.ACTIONS[planned.action]
    try:
        pinned = quotes.price(action, subscription, planned.after, on=on, planned=True, at=at, prices=prices)
    except NotAllowed:
        return as_planned(planned, "")
    return Kept(pinned.quote) if pinned else None


def laters(quote: Quote, kept: Kept | None) -> tuple[Afterwards, ...]:
    """What each later period costs, the earliest first; two where a kept plan changes it once more."""
    found = pricing.with_plan(quote.later, kept.quote if kept else None)
    return tuple(Afterwards(one, kept is None or kept.priced or one == quote.later) for one in found)


def later_words(quote: Quote, kept: Kept | None, *, open_choice: bool = False) -> str:
    """`laters` in words, without a full stop; empty when none follows.

    With `open_choice` also what they cost if the plan is withdrawn with the order, which is still to be said.
    """
    found = laters(quote, kept)
    words = ", and ".join(one.words for one in found)
    if quote.later is None or [one.later for one in found] == [quote.later]:
        return words
    words = f"{words}, as planned" if words else "nothing, as planned"
    return f"{words}. If you withdraw that plan: {quote.later.words}" if open_choice else words
