"""Seats as people type them, and as another SKU would hold them."""

from subscriptions import gateways
from subscriptions.actions import conditions
from subscriptions.actions.situation import STAFF, STOREFRONT, NotAllowed, seats_words
from subscriptions.actions.table import DECREASE, INCREASE, Action
from subscriptions.models import SKU, Subscription


def seat_range(action: Action, subscription: Subscription) -> tuple[int, int]:
    """The smallest and the largest new total that `action` can ask for; empty when the first is the larger one.

    Every sentence and every form draws on it. Seats beyond a narrowed SKU can only go down into its range.
    """
    least, most, have = subscription.sku.seats_min, subscription.sku.seats_max, subscription.seats
    if action is INCREASE:
        return max(have + 1, least), most
    if action is DECREASE:
        return least, min(have - 1, most)
    return least, most


def _allowed(action: Action, subscription: Subscription) -> str:
    low, high = seat_range(action, subscription)
    return f"Enter a whole number from {low:,} to {high:,}." if low < high else f"The only possible number is {low:,}."


def read_seats(action: Action, subscription: Subscription, text: str, audience: str = STOREFRONT) -> int:
    """The new total from what was typed. Raises NotAllowed whose sentence names the allowed range to `audience`.

    Plain ASCII digits only: `1e3`, `1,000` and digits of other scripts are refused rather than guessed.
    """
    typed = text.strip()
    if not typed:
        raise NotAllowed("seats_missing", f"Enter the new number of seats. {_allowed(action, subscription)}")
    if not (typed.isascii() and typed.isdigit()):
        sentence = f"“{typed[:20]}” is not a number of seats. {_allowed(action, subscription)}"
        raise NotAllowed("seats_not_a_number", sentence)
    # Longer than any seat limit: int() would accept it and PostgreSQL would not.
    seats = int(typed) if len(typed.lstrip("0")) <= 9 else 10**9
    if refusal := why_not_seats(action, subscription, seats, audience):
        raise refusal
    return seats


def why_not_seats(
    action: Action, subscription: Subscription, seats: int, audience: str = STOREFRONT
) -> NotAllowed | None:
    """Why `seats` cannot be the new total, or None. The database refuses what is outside the range as well."""
    least, most, have = subscription.sku.seats_min, subscription.sku.seats_max, subscription.seats
    allowed = _allowed(action, subscription)
    in_all, of_them = ("It has", "it has") if audience in STAFF else ("You have", "you have")
    if action is DECREASE and seats == 0:
        return NotAllowed("zero", f"Zero seats is not a decrease: cancel the subscription instead. {allowed}")
    if action in (INCREASE, DECREASE) and seats == have:
        return NotAllowed("same", f"{in_all} {seats_words(have)} already. {allowed}")
    if action is INCREASE and seats < have:
        return NotAllowed("not_more", f"That is fewer than the {have:,} {of_them}. {allowed}")
    if action is DECREASE and seats > have:
        return NotAllowed("not_fewer", f"That is more than the {have:,} {of_them}. {allowed}")
    if seats < least:
        return NotAllowed("below_minimum", f"This product starts at {seats_words(least)}. {allowed}")
    if seats > most:
        return NotAllowed("above_maximum", f"This product allows at most {seats_words(most)}. {allowed}")
    return None


def why_not_sku(subscription: Subscription, target: SKU, seats: int) -> NotAllowed | None:
    """Why the licence service or the target's range does not allow the subscription so many seats of another SKU.

    Needs `sku__product` loaded.
    """
    offered = gateways.capabilities(subscription.sku)
    refusal = None
    if target.vendor_product_id != subscription.sku.vendor_product_id:
        refusal = conditions.why_product_stays(offered)
    elif seats != subscription.seats:
        refusal = conditions.why_seats_stay(offered)
    if refusal is None and not target.seats_min <= seats <= target.seats_max:
        words = f"{target.seats_min:,} to {target.seats_max:,} seats"
        refusal = NotAllowed("outside_range", f"{target.name} allows {words}, and not {seats:,}.")
    return refusal
