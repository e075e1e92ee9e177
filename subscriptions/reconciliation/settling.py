"""A difference is settled by an order, after another look at the vendor."""

import uuid

from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription, User
from subscriptions.reconciliation.reading import read_now


def settle(
    subscription: Subscription,
    field: str,
    stem: str,
    *,
    shown_theirs: str,
    actor: User | None,
    audience: str,
    reason: str,
    idempotency_key: uuid.UUID | None = None,
) -> Order:
    """Settle one difference by an order: `stem` is `take_theirs` or `push_ours`.

    The vendor is read again first. Raises NotAllowed when it cannot be read, when it now says something other than
    `shown_theirs`, when there is no difference any more, or when this way is not possible.
    """
    known = Order.objects.filter(actor=actor, idempotency_key=idempotency_key).first() if idempotency_key else None
    if known:
        return known
    if refusal := actions.ACTIONS[stem].why_not(actions.situation(subscription, actor=actor, audience=audience)):
        raise refusal
    reading = read_now(subscription, actor=actor, audience=audience)
    if not reading.fresh:
        raise NotAllowed("vendor_silent", f"{reading.problem} Nothing was changed. Try again.")
    line = next((one for one in reading.lines if one.field == field), None)
    if line is None or line.theirs != shown_theirs:
        raise NotAllowed("stale", "The licence service says something else now. Look at it again and decide.")
    if not line.differs:
        raise NotAllowed("settled", "There is no difference any more.")
    after, why_not = (
        (line.take, line.take_refusal) if stem == actions.TAKE_THEIRS.stem else (line.push, line.push_refusal)
    )
    if after is None:
        raise NotAllowed("not_possible", why_not)
    before = line.push_before if stem == actions.PUSH_OURS.stem else None
    # The version from before the read: a change that came meanwhile must not be settled away.
    wish = Wish(subscription.pk, stem, after, before, reason, subscription.version, idempotency_key)
    return lifecycle.place(wish, actor=actor, audience=audience)
