"""What staff do with an order that went wrong."""

from collections.abc import Callable
from datetime import datetime

from django.db import IntegrityError, transaction

from subscriptions import actions, clock
from subscriptions.actions import Action
from subscriptions.lifecycle import rows
from subscriptions.lifecycle.attempts import fail_in_memory
from subscriptions.lifecycle.orders import withdraw_activations
from subscriptions.lifecycle.placing import trial_used
from subscriptions.models import Order, OrderStatus, Purpose, Subscription, User
from subscriptions.vendors.port import Outcome


def retry(order_id: int, *, actor: User | None, audience: str, reason: str) -> Order:
    """Send the same order again: `needs_attention`, or a failed start, becomes `placed`. Raises NotAllowed.

    The operation id stays. When the vendor has answered the last sending, the new one counts as a new generation,
    since a repeated TransactionId would be refused as a duplicate. A trial that failed is not tried again once the
    company had another one.
    """
    return _settle_order(actions.RETRY, order_id, _retry, actor=actor, audience=audience, reason=reason)


def give_up(order_id: int, *, actor: User | None, audience: str, reason: str) -> Order:
    """End an order that needs attention as `failed`, or a failed start's subscription as `cancelled`.

    A start that the vendor may have is cancelled there first: the order is `placed` once more, as abandoned, and
    fails when the vendor has confirmed. Raises NotAllowed.
    """
    return _settle_order(actions.GIVE_UP, order_id, _give_up, actor=actor, audience=audience, reason=reason)


def _settle_order(
    action: Action,
    order_id: int,
    move: Callable[[Order, Subscription, datetime], bool],
    *,
    actor: User | None,
    audience: str,
    reason: str,
) -> Order:
    at = clock.now()
    try:
        with transaction.atomic(durable=True):
            ids = Order.objects.filter(pk=order_id).values_list("subscription_id", flat=True)
            subscription = rows.lock_subscriptions(ids)[ids[0]]
            order = rows.lock_orders([order_id])[order_id]
            refusal = action.why_not(actions.situation(subscription, actor=actor, audience=audience, order=order))
            if refusal:
                raise refusal
            owed = move(order, subscription, at)
            subscription.version += 1
            withdrawn = withdraw_activations([(order, subscription)], at)
            rows.write_subscriptions([subscription])
            rows.update([order], rows.ORDER_FIELDS)
            event = rows.event(
                subscription, f"{order.action}.{action.stem}", at,
                order=order, actor=actor, audience=audience, reason=reason, before=order.before, after=order.after,
            )  # fmt: skip
            rows.write_events([event, *withdrawn])
            if owed:
                rows.defer([order])
    except IntegrityError as clash:
        if "one_trial" in str(clash):
            raise trial_used(subscription) from clash
        raise
    return order


def _retry(order: Order, subscription: Subscription, at: datetime) -> bool:
    if order.status == OrderStatus.FAILED:
        subscription.retry()
    last = order.vendor_calls.filter(purpose=Purpose.WRITE).order_by("-pk").first()
    read = order.vendor_calls.filter(purpose=Purpose.SETTLE).exclude(evidence="").order_by("-pk").first()
    # A new generation names a new instant, too: the vendor finds old ones too old. The same one is kept only while
    # the vendor may have had it, so that it would know a repetition.
    settled = last is not None and last.outcome not in ("", Outcome.UNKNOWN)
    # A record that is neither what was ordered nor what was before was changed by others: the repetition is meant.
    overtaken = read is not None and read.evidence == actions.NEITHER
    # A start that was given up and is wanted after all says something else than the cancel before it.
    if settled or overtaken or order.abandoned:
        order.generation += 1
    order.retry()
    order.retried_at = order.next_attempt_at = at
    order.finished_at, order.needs_staff, order.abandoned = None, False, False
    return True


def _give_up(order: Order, subscription: Subscription, at: datetime) -> bool:
    order.needs_staff = False
    if order.status == OrderStatus.FAILED:
        subscription.give_up(at=at)
        subscription.trial_of = None
        return False
    if order.action == "start" and order.vendor_calls.filter(purpose="write").exists():
        order.generation += 1
        order.retry()
        order.abandoned = True
        order.retried_at = order.next_attempt_at = at
        return True
    fail_in_memory(order, subscription, at)
    return False
