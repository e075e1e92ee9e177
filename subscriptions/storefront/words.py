"""What happened and what is planned, in words for customers: orders, and the history of a subscription."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from subscriptions import actions
from subscriptions.models import Event, Order, OrderStatus, Subscription, SubscriptionStatus, User

HISTORY = 20

_LABELS = {
    "start": "Start subscription",
    "suspend": "Suspend subscription",
    "activate": "Activate subscription",
    "take_theirs": "Correct our record",
    "push_ours": "Correct the licence",
    "correct": "Correct a charge",
    "renew": "Renew subscription",
}
_DOING = {
    "start": "starting",
    "suspend": "suspending",
    "activate": "activating",
    "cancel": "cancelling",
    "change_sku": "changing the SKU",
}
_ACTS = {
    "code.shown": "Activation code shown",
    "code.downloaded": "Activation code downloaded",
    "code.mailed": "Activation code sent by email",
    "renewal.renewed": "Renewed for another term",
    "expire.expired": "The term ended without renewal",
    "trial.ended": "The trial ended",
    "takeover.done": "Taken over from {From}",
} | {
    f"{stem}.{act}": words
    for stem in actions.ACTIONS
    for act, words in (
        ("retry", "Your distributor tried again"),
        ("give_up", "Your distributor gave up the order"),
        ("approved", "Your distributor approved the order"),
        ("rejected", "Your distributor did not approve the order"),
        ("withdrawn", "Order withdrawn"),
    )
}


def what(order: Order) -> str:
    """The wish in one line, such as "Increase seats from 20 to 25"."""
    label = _LABELS.get(order.action) or actions.ACTIONS[order.action].label
    match order.action:
        case "start":
            label = "Start a trial" if order.after.get("Trial") else label
            return f"{label} with {actions.seats_words(order.after['Seats'])}"
        case "change_sku":
            return f"{label} from {order.before['SKU']} to {order.after['SKU']}"
        case "auto_renew":
            return f"Switch automatic renewal {'on' if order.after['Renews automatically'] else 'off'}"
    if "Seats" in order.after:
        return f"{label} from {order.before['Seats']:,} to {order.after['Seats']:,}"
    return label


def doing(order: Order) -> str:
    """What is being asked of the licence service, to stand after the status: "increasing to 30"."""
    if order.status == OrderStatus.NEEDS_ATTENTION:
        return "last change needs attention"
    if order.status == OrderStatus.AWAITING_APPROVAL:
        return "a change waits for approval"
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
class Plan:
    """A scheduled order, for a card and for a line in a list."""

    order: Order
    name: str
    """To stand in a sentence: "the decrease to 20 seats"."""
    on: date
    seats: str = ""
    """The new number, where it changes."""
    stands_still: bool = False
    """Waits for the end of a suspension, whatever its day."""

    @property
    def title(self) -> str:
        return f"{self.name[:1].upper()}{self.name[1:]}"


def plan(order: Order | None, subscription: Subscription) -> Plan | None:
    """Needs `account` loaded. None when nothing is planned."""
    if order is None or order.due_at is None:
        return None
    on = actions.local_day(order.due_at, subscription.account)
    seats = f"{order.after['Seats']:,}" if order.action in ("increase", "decrease") else ""
    suspended = subscription.status == SubscriptionStatus.SUSPENDED
    stands_still = suspended and subscription.status not in actions.ACTIONS[order.action].sources
    return Plan(order, name(order), on, seats, stands_still)


def name(order: Order) -> str:
    """The wish as a noun, such as "the decrease to 20 seats"."""
    match order.action:
        case "increase" | "decrease":
            return f"the {order.action} to {actions.seats_words(order.after['Seats'])}"
        case "cancel":
            return "the end of the subscription"
        case "activate":
            return "the activation"
        case "change_sku":
            return f"the change to {order.after['SKU']}"
        case "start":
            return "the start"
    return "the change"


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

    @property
    def planned_for(self) -> datetime | None:
        """When what was ordered for a later day was to take effect; None for anything else."""
        return self.order.due_at if self.order and self.outcome else None

    @property
    def effect_on(self) -> datetime | None:
        """When what was planned took effect, or else was to."""
        done = self.order is not None and self.order.status == OrderStatus.COMPLETED
        return self.order.finished_at if self.order and done else self.planned_for

    @property
    def effect(self) -> str:
        """What to say of `effect_on`, before it."""
        match self.order and self.order.status:
            case OrderStatus.COMPLETED:
                return "took effect on"
            case OrderStatus.SCHEDULED:
                # While the subscription is suspended, its day may pass without it.
                return "planned for"
            case OrderStatus.WITHDRAWN | OrderStatus.REJECTED | OrderStatus.FAILED:
                return "was to take effect on"
        return "to take effect on"


def order_line(order: Order) -> Line:
    """Needs `actor` loaded. The reason is the customer's own, or Seatdesk's; what staff wrote stays with staff."""
    note = "" if order.audience in actions.STAFF else order.reason
    return Line(what(order), who(order.actor, order.audience), order.placed_at, order, note)


def history(subscription: Subscription) -> list[Line]:
    """The newest orders, acts upon them, what time brought, and looks at the code; newest first, in 2 queries."""
    orders = subscription.orders.select_related("actor").order_by("-pk")[:HISTORY]
    acts = (
        Event.objects.filter(kind__in=_ACTS, subscription=subscription)
        # What customers withdrew themselves, the order's own line tells.
        .exclude(kind__endswith=".withdrawn", audience=actions.STOREFRONT)
        .select_related("actor", "order")
        .order_by("-pk")[:HISTORY]
    )
    lines = [order_line(order) for order in orders] + [_act_line(event) for event in acts]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:HISTORY]


def _act_line(event: Event) -> Line:
    by = who(event.actor, event.audience)
    what = _ACTS[event.kind].format_map(event.after)
    return Line(what, by, event.at, event.order, _act_note(event), outcome=False)


def _act_note(event: Event) -> str:
    if event.kind == "code.mailed":
        return str(event.after.get("To", ""))
    if event.kind == "renewal.renewed":
        return f"Until {actions.date_words(date.fromisoformat(event.after['Term ends']))}"
    if event.kind == "takeover.done":
        charged_until = date.fromisoformat(event.after["Charged elsewhere until"])
        return f"It was charged there until {actions.date_words(charged_until - timedelta(days=1))}"
    if event.kind.endswith(".rejected"):
        # Written for the customer to read.
        return event.reason
    if event.kind.endswith(".withdrawn") and event.audience not in actions.STAFF:
        return event.reason
    return ""
