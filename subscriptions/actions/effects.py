"""What a change asks of the vendor, and what it does to our record."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

from subscriptions.actions import terms
from subscriptions.actions.situation import local_day, midnight
from subscriptions.models import SKU, Order, Subscription, SubscriptionStatus
from subscriptions.vendors import port

S = SubscriptionStatus
# vendor-protocol.md, code 304, less a day for the time until it is sent.
OLDEST = timedelta(days=13)


def asked_at(order: Order) -> datetime:
    """The instant that a sending names: that of the first one, so that a repetition says exactly the same.

    A new generation has its own. None lies as far back as the order itself may: a vendor refuses such dates, and an
    order may have waited for its day, for approval or for a worker.
    """
    if order.generation > 1 and order.retried_at:
        return order.retried_at
    return order.first_sent_at or order.placed_at


def start_call(order: Order, subscription: Subscription) -> port.Command:
    return port.Provision(
        subscription.subscriber_id, subscription.sku.vendor_product_id, order.after["Seats"], asked_at(order)
    )


def seats_call(order: Order, subscription: Subscription) -> port.Command:
    return port.SetSeats(
        subscription.subscriber_id,
        subscription.sku.vendor_product_id,
        order.after["Seats"],
        # Not the subscription's start: a vendor refuses dates that lie far back, and takes no new start from this.
        asked_at(order),
    )


def status_call(order: Order, subscription: Subscription) -> port.Command:
    match order.after["Status"]:
        case S.SUSPENDED:
            return port.Suspend(subscription.subscriber_id, asked_at(order))
        case S.CANCELLED:
            return port.Cancel(subscription.subscriber_id, "now", _ends_at_vendor(order, subscription))
        case _:
            return port.Activate(subscription.subscriber_id)


def _ends_at_vendor(order: Order, subscription: Subscription) -> datetime:
    """A back-dated end, as far back as a vendor takes it: it refuses what is older than 14 days."""
    asked = asked_at(order)
    if "Effective" not in order.after:
        return asked
    return max(midnight(date.fromisoformat(order.after["Effective"]), subscription.account), asked - OLDEST)


def change_sku_call(order: Order, subscription: Subscription) -> port.Command:
    product = order.after["Product"]
    say = port.SetSeats if product == subscription.sku.vendor_product_id else port.ChangeProduct
    return say(subscription.subscriber_id, product, order.after["Seats"], asked_at(order))


def settle_call(order: Order, subscription: Subscription) -> port.Command:
    return seats_call(order, subscription) if "Seats" in order.after else status_call(order, subscription)


def provision(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    # The start that the vendor was told, so that both records name the same instant.
    subscription.provision(at=asked_at(order), code=code)
    today = local_day(asked_at(order), subscription.account)
    if subscription.trial_of_id:
        terms.begin_trial(subscription, today)
    else:
        terms.begin(subscription, today)


def set_seats(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    subscription.seats = order.after["Seats"]
    subscription.peak_seats = max(subscription.peak_seats, subscription.seats)


def _quoted_day(order: Order, subscription: Subscription, at: datetime) -> date:
    """The day that was quoted, so that the period is the one that was paid for."""
    return date.fromisoformat(order.quote["on"]) if order.quote else local_day(at, subscription.account)


def change_sku(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    subscription.sku = SKU.objects.select_related("product").get(code=order.after["SKU"])
    subscription.seats = order.after["Seats"]
    terms.begin(subscription, _quoted_day(order, subscription, at))


def set_status(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    match order.after["Status"]:
        case S.SUSPENDED:
            subscription.suspend(at=at)
        case S.CANCELLED:
            since = order.after.get("Effective")
            ends_at = midnight(date.fromisoformat(since), subscription.account) if since else at
            subscription.cancel(at=at, ends_at=ends_at)
        case S.ENDING if order.after.get("Ends") and subscription.status == S.SUSPENDED:
            subscription.ends_at = datetime.fromisoformat(order.after["Ends"])
            subscription.activate(at=at)
        case S.ENDING if order.after.get("Ends"):
            subscription.schedule_end(ends_at=datetime.fromisoformat(order.after["Ends"]))
        case S.ACTIVE if subscription.status == S.ENDING:
            subscription.keep()
        case S.ACTIVE | S.ENDING:
            subscription.activate(at=at)


def renew(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    subscription.renew()
    terms.renew(subscription)


def convert(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    terms.begin(subscription, _quoted_day(order, subscription, at))


def auto_renew(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    subscription.auto_renew = order.after["Renews automatically"]


def take(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    (set_seats if "Seats" in order.after else set_status)(subscription, order, at, code)


def nothing(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    """Our record is the one that was right."""


Call = Callable[[Order, Subscription], port.Command]
Effect = Callable[[Subscription, Order, datetime, port.Secret | None], None]
