"""How one order stands: its steps in words, and what comes next."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from subscriptions import actions, clock, fulfilment, lifecycle
from subscriptions.models import Event, Order, OrderStatus, Purpose, SubscriptionStatus, VendorCall
from subscriptions.storefront.words import who
from subscriptions.vendors.port import Outcome


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an order: `state` is done, now, waits, todo, warn or failed."""

    state: str
    name: str
    at: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How an order stands: its steps, what comes next, and in how many seconds to look again (0: no more)."""

    steps: list[Step]
    title: str
    text: str
    tone: str
    waiting: bool
    again_in: int


FINDING_OUT = "We are finding out what became of it; nothing was charged."
_BUSY = ("http-429", "http-503", "8")
_NOT_SENT = (Outcome.TRANSIENT, Outcome.CREDENTIALS, Outcome.UNSUPPORTED)


def last_sending(order: Order) -> VendorCall | None:
    """The newest attempt to carry the order to the licence service, in 1 query."""
    sendings = order.vendor_calls.filter(purpose=Purpose.WRITE).order_by("-pk")
    return sendings.only("order", "started_at", "deadline", "finished_at", "outcome", "code").first()


def obstacle(order: Order, sending: VendorCall | None) -> Step | None:
    """What keeps an order that is on its way from being done; None while all goes as usual.

    Needs `subscription__account` loaded.
    """
    if sending is None or not fulfilment.waiting(order) or _again_by_a_person(order, sending):
        return None
    if sending.outcome in _NOT_SENT:
        return Step("warn", _why_not_sent(sending), None, _next_try(order))
    if sending.finished_at is None and clock.now() < sending.deadline:
        return None
    name = "Sent; no clear answer came back" if sending.finished_at else "No clear answer came back"
    return Step("warn", name, None, "We are finding out what became of it.")


def _again_by_a_person(order: Order, sending: VendorCall) -> bool:
    """Placed once more since, so that the earlier sending no longer says how it stands."""
    return order.status == OrderStatus.PLACED and order.retried_at is not None and order.retried_at > sending.started_at


def _why_not_sent(sending: VendorCall) -> str:
    if sending.outcome == Outcome.CREDENTIALS:
        return "We cannot reach the licence service just now; our staff see it"
    if sending.code in _BUSY:
        return "The licence service is busy"
    return "Not sent yet" if sending.code == "not-sent" else "The licence service cannot be reached"


def _next_try(order: Order) -> str:
    at = order.next_attempt_at
    if at is None or at <= clock.now():
        return "We are about to try again."
    return f"We try again at {actions.clock_time(at, order.subscription)}."


def acts(order: Order) -> dict[str, Event]:
    """The newest event of each thing that people did about an order, such as `approved`; 1 query."""
    kinds = [f"{order.action}.{act}" for act in ("give_up", "retry", "approved", "withdrawn")]
    found = Event.objects.filter(order=order, kind__in=kinds).select_related("actor").order_by("kind", "-pk")
    return {one.kind.partition(".")[2]: one for one in found.distinct("kind")}


def given_up(order: Order, done: dict[str, Event] | None = None) -> Event | None:
    """The act of staff that ended a failed order, or that is ending a start; at most 1 query, none with its `acts`."""
    if order.status != OrderStatus.FAILED and not order.abandoned:
        return None
    done = acts(order) if done is None else done
    ended, again = done.get("give_up"), done.get("retry")
    return ended if ended is not None and (again is None or again.pk < ended.pk) else None


def ended_by_staff(order: Order, act: Event | None) -> str:
    """What customers read about an order that staff ended; empty when the licence service had refused it before."""
    if act is None or (order.finished_at is not None and order.finished_at < act.at):
        return ""
    if order.action != actions.START.stem:
        return (
            "Your distributor ended this order; whether the licence service made the change is being checked with them."
        )
    if order.status == OrderStatus.FAILED:
        return "Your distributor ended this order, and nothing is left of it at the licence service."
    return "Your distributor ended this order. What the licence service may have started is being cancelled there."


def progress(order: Order) -> Progress:
    """Needs `subscription__account` and `actor` loaded; runs 2 queries."""
    sending, done = last_sending(order), acts(order)
    act = given_up(order, done)
    waiting = fulfilment.waiting(order)
    trouble = obstacle(order, sending)
    ended = ended_by_staff(order, act)
    steps = [Step("done", "Received", order.placed_at, f"From {who(order.actor, order.audience)}.")]
    steps.extend(_steps_before(order, done))
    steps.extend(_sent_steps(order, sending, trouble))
    if not ended or order.status != OrderStatus.FAILED:
        steps.extend(_last_step(order, done))
    if act is not None:
        steps.insert(1 if order.is_open else len(steps), Step("failed", "Ended by your distributor", act.at))
    title, text, tone = _ended(order, ended) if ended else _what_next(order, trouble)
    return Progress(steps, title, text, tone, waiting, _again_in(order) if waiting else 0)


def _ended(order: Order, ended: str) -> tuple[str, str, str]:
    if order.action in ("increase", "decrease"):
        meanwhile = f"Until that is known, you have {actions.seats_words(order.before['Seats'])} here as before."
        return "Ended by your distributor", f"{ended} {meanwhile} Nothing was charged.", "danger"
    return "Ended by your distributor", f"{ended} Nothing was charged.", "danger"


def _steps_before(order: Order, done: dict[str, Event]) -> list[Step]:
    """What an order waits for before it is sent: approval, and its day."""
    steps = []
    if approved := done.get("approved"):
        steps.append(Step("done", "Approved by your distributor", approved.at))
    if order.status == OrderStatus.AWAITING_APPROVAL:
        steps.append(Step("waits", "Waiting for your distributor's approval"))
    if order.due_at is None or order.status in (OrderStatus.WITHDRAWN, OrderStatus.REJECTED):
        return steps
    day = actions.day(order.due_at, order.subscription)
    if order.status == OrderStatus.SCHEDULED:
        return [*steps, Step("waits", f"Planned for {day}")]
    if order.status == OrderStatus.AWAITING_APPROVAL:
        return [*steps, Step("todo", f"Takes effect on {day}")]
    return [*steps, Step("done", "Its day came", order.due_at)]


def _sent_steps(order: Order, sending: VendorCall | None, trouble: Step | None) -> list[Step]:
    """Ticked as sent is only what surely left for the licence service."""
    sent = []
    if sending is not None and sending.outcome not in _NOT_SENT:
        if sending.finished_at is not None:
            sent.append(Step("done", "Sent to the licence service", sending.started_at))
        elif trouble is None and order.status == OrderStatus.IN_PROGRESS:
            return [Step("now", "Being sent to the licence service", sending.started_at, "Waiting for its answer.")]
    if trouble is not None:
        return [*sent, trouble]
    if order.status == OrderStatus.IN_PROGRESS and sending is None:
        return [Step("now", "Being sent to the licence service")]
    if order.status == OrderStatus.PLACED:
        again = "again " if sending is not None else ""
        return [*sent, Step("now", f"Waiting to be sent {again}to the licence service")]
    return sent


def _last_step(order: Order, done: dict[str, Event]) -> list[Step]:
    confirmed = "Confirmed by the licence service" if actions.ACTIONS[order.action].asks(order) else "Done"
    match order.status:
        case OrderStatus.COMPLETED:
            return [Step("done", confirmed, order.finished_at)]
        case OrderStatus.FAILED:
            return [Step("failed", "Not done", order.finished_at, "The licence service refused this change.")]
        case OrderStatus.NEEDS_ATTENTION:
            return [Step("warn", "Needs attention", None, "It is on our staff's list.")]
        case OrderStatus.WITHDRAWN:
            return [Step("failed", "Withdrawn", order.finished_at, _why_withdrawn(order, done.get("withdrawn")))]
        case OrderStatus.REJECTED:
            return [Step("failed", "Rejected by your distributor", order.finished_at, order.outcome_message)]
        case _:
            return [Step("todo", confirmed)]


def _why_withdrawn(order: Order, event: Event | None) -> str:
    """Who, and why unless staff wrote it: that stays with staff."""
    if event is None or event.audience == actions.SYSTEM:
        return order.outcome_message
    return f"By {who(event.actor, event.audience)}."


def _what_next(order: Order, trouble: Step | None) -> tuple[str, str, str]:
    match order.status:
        case OrderStatus.COMPLETED:
            return _completed(order)
        case OrderStatus.FAILED:
            still = (
                f"You still have {actions.seats_words(order.before['Seats'])}"
                if order.action in ("increase", "decrease")
                else "Nothing exists at the licence service yet"
                if order.action == "start"
                else "The subscription is as it was before"
            )
            return "Not done", f"{still}, and nothing was charged. Ask your distributor.", "danger"
        case OrderStatus.NEEDS_ATTENTION:
            text = f"{FINDING_OUT} We are working on it, and there is nothing that you have to do."
            return "Needs attention", text, "warn"
        case OrderStatus.WITHDRAWN | OrderStatus.REJECTED:
            return "Nothing was changed", "The order is over, and nothing was charged.", "info"
        case OrderStatus.AWAITING_APPROVAL:
            text = "Nothing changes and nothing is charged until your distributor has decided. You can close this page."
            return "Waiting for approval", text, "info"
        case OrderStatus.SCHEDULED if _stands_still(order):
            text = "What becomes of it is decided when your distributor activates the subscription. It can be undone."
            return "Waits while the subscription is suspended", text, "info"
        case OrderStatus.SCHEDULED if order.due_at:
            text = "Until then everything stays as it is, and it can be undone without a trace in your statements."
            return f"Planned for {actions.day(order.due_at, order.subscription)}", text, "info"
    if trouble is not None:
        text = f"{trouble.text} Nothing is lost and nothing is done twice. You can close this page."
        return trouble.name, text, "warn"
    if _age(order) > settings.TAKING_LONG:
        text = (
            "The licence service has not confirmed it yet. We go on trying; nothing is lost and nothing is done twice. "
            "You can close this page."
        )
        return "Taking longer than usual", text, "warn"
    return "In progress", "Usually done within a minute. You can close this page: the order goes on by itself.", "info"


def _stands_still(order: Order) -> bool:
    return order.subscription.status == SubscriptionStatus.SUSPENDED and order.action in lifecycle.FROZEN_STEMS


def _completed(order: Order) -> tuple[str, str, str]:
    seats = order.after.get("Seats")
    words = actions.seats_words(seats) if seats is not None else ""
    match order.action:
        case "start":
            return "It works", "The activation code is ready.", "good"
        case "cancel":
            return "Cancelled", "The subscription is over. Its activation code no longer works.", "good"
        case "convert":
            return "Done", "It is a paid subscription now. The activation code is the same as before.", "good"
        case "renew":
            return "Renewed", "It goes on without a gap. The activation code is the same as before.", "good"
        case "auto_renew" if order.after["Renews automatically"]:
            return "Done", "It renews by itself at the end of its term.", "good"
        case "auto_renew":
            return "Done", "It ends with its term, unless somebody renews it.", "good"
        case "change_sku":
            text = f"The subscription is {order.after['SKU']} with {words} now."
            return "Done", f"{text} The activation code is the same as before.", "good"
        case "correct":
            return "Done", "Your statement holds a line of its own for it.", "good"
    if words:
        return "Done", f"The subscription has {words} now. The activation code is the same as before.", "good"
    return "Done", "The licence service has confirmed it.", "good"


def _age(order: Order) -> float:
    began = max(one for one in (order.placed_at, order.retried_at, order.due_at) if one is not None)
    return (clock.now() - began).total_seconds()


def _again_in(order: Order) -> int:
    """2 seconds at first, then 5, then 15; after 15 minutes the reader asks again when they like."""
    age = _age(order)
    for until, seconds in ((20, 2), (settings.TAKING_LONG, 5), (15 * 60, 15)):
        if age < until:
            return seconds
    return 0
