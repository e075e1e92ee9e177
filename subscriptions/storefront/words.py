"""What happened, in words for customers: orders, their steps, and the history of a subscription."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from subscriptions import actions, clock, fulfilment
from subscriptions.models import Event, Order, OrderStatus, Purpose, Subscription, User, VendorCall
from subscriptions.vendors.port import Outcome

HISTORY = 20

_LABELS = {
    "start": "Start subscription",
    "suspend": "Suspend subscription",
    "activate": "Activate subscription",
    "take_theirs": "Correct our record",
    "push_ours": "Correct the licence",
}
_DOING = {"start": "starting", "suspend": "suspending", "activate": "activating", "cancel": "cancelling"}
_CODE = {
    "code.shown": "Activation code shown",
    "code.downloaded": "Activation code downloaded",
    "code.mailed": "Activation code sent by email",
}
_UPON_ORDER = {
    f"{stem}.{act}": words
    for stem in actions.ACTIONS
    for act, words in (("retry", "Your distributor tried again"), ("give_up", "Your distributor gave up the order"))
}
_ACTS = _CODE | _UPON_ORDER


def what(order: Order) -> str:
    """The wish in one line, such as "Increase seats from 20 to 25"."""
    label = _LABELS.get(order.action) or actions.ACTIONS[order.action].label
    if order.action == "start":
        return f"{label} with {actions.seats_words(order.after['Seats'])}"
    if "Seats" in order.after:
        return f"{label} from {order.before['Seats']:,} to {order.after['Seats']:,}"
    return label


def doing(order: Order) -> str:
    """What is being asked of the licence service, to stand after the status: "increasing to 30"."""
    if order.status == OrderStatus.NEEDS_ATTENTION:
        return "last change needs attention"
    if order.abandoned:
        return "being ended"
    if order.action in ("increase", "decrease"):
        return f"{'increasing' if order.action == 'increase' else 'decreasing'} to {order.after['Seats']:,}"
    return _DOING.get(order.action, "being corrected")


def who(actor: User | None, audience: str) -> str:
    """Customers by name; staff as the distributor; the rest is Seatdesk itself."""
    if audience in actions.STAFF:
        return "Your distributor"
    return actor.name if actor else "Seatdesk"


def moment(at: datetime, subscription: Subscription) -> str:
    """A day with its time, in the account's time zone."""
    return f"{actions.day(at, subscription)}, {actions.clock_time(at, subscription)}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a history or of a list of orders."""

    what: str
    who: str
    at: datetime
    order: Order | None = None
    note: str = ""
    outcome: bool = True
    """Tells how the order stands, which an act upon it leaves to the order's own line."""


def order_line(order: Order) -> Line:
    """Needs `actor` loaded. The reason is the customer's own; what staff wrote stays with staff."""
    note = order.reason if order.audience == actions.STOREFRONT else ""
    return Line(what(order), who(order.actor, order.audience), order.placed_at, order, note)


def history(subscription: Subscription) -> list[Line]:
    """The newest orders, acts of staff upon them and looks at the code, newest first, in 2 queries."""
    orders = subscription.orders.select_related("actor").order_by("-pk")[:HISTORY]
    acts = (
        Event.objects.filter(kind__in=_ACTS, subscription=subscription)
        .select_related("actor", "order")
        .order_by("-pk")[:HISTORY]
    )
    lines = [order_line(order) for order in orders] + [_act_line(event) for event in acts]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:HISTORY]


def _act_line(event: Event) -> Line:
    by = who(event.actor, event.audience)
    return Line(_ACTS[event.kind], by, event.at, event.order, event.after.get("To", ""), outcome=False)


# --- progress of one order -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an order: `state` is done, now, todo, warn or failed."""

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


def given_up(order: Order) -> Event | None:
    """The act of staff that ended a failed order, or that is ending a start; at most 1 query."""
    if order.status != OrderStatus.FAILED and not order.abandoned:
        return None
    kinds = [f"{order.action}.{one.stem}" for one in (actions.GIVE_UP, actions.RETRY)]
    last = Event.objects.filter(order=order, kind__in=kinds).order_by("-pk").first()
    return last if last is not None and last.kind == kinds[0] else None


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
    """Needs `subscription__account` and `actor` loaded; runs at most 2 queries."""
    sending, act = last_sending(order), given_up(order)
    waiting = fulfilment.waiting(order)
    trouble = obstacle(order, sending)
    ended = ended_by_staff(order, act)
    steps = [Step("done", "Received", order.placed_at, f"From {who(order.actor, order.audience)}.")]
    steps.extend(_sent_steps(order, sending, trouble))
    if not ended or order.status != OrderStatus.FAILED:
        steps.extend(_last_step(order, actions.ACTIONS[order.action].call is None))
    if act is not None:
        steps.insert(1 if order.is_open else len(steps), Step("failed", "Ended by your distributor", act.at))
    title, text, tone = _ended(order, ended) if ended else _what_next(order, trouble)
    return Progress(steps, title, text, tone, waiting, _again_in(order) if waiting else 0)


def _ended(order: Order, ended: str) -> tuple[str, str, str]:
    if order.action in ("increase", "decrease"):
        meanwhile = f"Until that is known, you have {actions.seats_words(order.before['Seats'])} here as before."
        return "Ended by your distributor", f"{ended} {meanwhile} Nothing was charged.", "danger"
    return "Ended by your distributor", f"{ended} Nothing was charged.", "danger"


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


def _last_step(order: Order, ours_alone: bool) -> list[Step]:
    match order.status:
        case OrderStatus.COMPLETED:
            name = "Done" if ours_alone else "Confirmed by the licence service"
            return [Step("done", name, order.finished_at)]
        case OrderStatus.FAILED:
            return [Step("failed", "Not done", order.finished_at, "The licence service refused this change.")]
        case OrderStatus.NEEDS_ATTENTION:
            return [Step("warn", "Needs attention", None, "It is on our staff's list.")]
        case OrderStatus.WITHDRAWN:
            return [Step("failed", "Withdrawn", order.finished_at)]
        case OrderStatus.REJECTED:
            return [Step("failed", "Rejected by your distributor", order.finished_at)]
        case _:
            return [Step("todo", "Confirmed by the licence service")]


def _what_next(order: Order, trouble: Step | None) -> tuple[str, str, str]:
    seats = order.after.get("Seats")
    match order.status:
        case OrderStatus.COMPLETED if order.action == "start":
            return "It works", "The activation code is ready.", "good"
        case OrderStatus.COMPLETED if seats is not None:
            words = actions.seats_words(seats)
            return "Done", f"The subscription has {words} now. The activation code is the same as before.", "good"
        case OrderStatus.COMPLETED if order.action == "cancel":
            return "Cancelled", "The subscription is over. Its activation code no longer works.", "good"
        case OrderStatus.COMPLETED:
            return "Done", "The licence service has confirmed it.", "good"
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


def _age(order: Order) -> float:
    return (clock.now() - (order.retried_at or order.placed_at)).total_seconds()


def _again_in(order: Order) -> int:
    """2 seconds at first, then 5, then 15; after 15 minutes the reader asks again when they like."""
    age = _age(order)
    for until, seconds in ((20, 2), (settings.TAKING_LONG, 5), (15 * 60, 15)):
        if age < until:
            return seconds
    return 0
