"""What each later period costs when a change that was planned before is kept beside another one."""

from subscriptions import actions, pricing, quotes
from subscriptions.models import Order
from subscriptions.pricing import Later, Quote

# The changes beside which a planned one can stay, and after which periods are billed.
_BESIDE = (actions.INCREASE.stem, actions.DECREASE.stem, actions.ACTIVATE.stem, actions.RENEW.stem)


def kept_beside(order: Order) -> Order | None:
    """What was planned when the order was placed, and not withdrawn for it; at most 1 query.

    Whatever became of either since: a receipt stays as it was.
    """
    if order.due_at is not None or order.action not in _BESIDE:
        return None
    planned = Order.objects.filter(subscription=order.subscription_id, pk__lt=order.pk, due_at__isnull=False)
    # One that fell due, was undone or made way is over by the instant of the new one.
    return planned.exclude(finished_at__lte=order.placed_at).order_by("-pk").first()


def laters(quote: Quote, kept: Order | None) -> tuple[Later, ...]:
    """What each later period costs, the earliest first; two where a kept plan changes it once more."""
    return pricing.with_plan(quote.later, quotes.quote_of(kept) if kept else None)


def later_words(quote: Quote, kept: Order | None, *, open_choice: bool = False) -> str:
    """`laters` in words, without a full stop; empty when none follows.

    With `open_choice` also what they cost if the plan is withdrawn with the order, which is still to be said.
    """
    found = laters(quote, kept)
    words = ", and ".join(one.words for one in found)
    if quote.later is None or found == (quote.later,):
        return words
    words = f"{words}, as planned" if words else "nothing, as planned"
    return f"{words}. If you withdraw that plan: {quote.later.words}" if open_choice else words
