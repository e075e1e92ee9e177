"""The words and shapes of BSS for what is stored: changes, events, people, statuses."""

from datetime import date, datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import actions
from subscriptions.models import Order, OrderStatus, SubscriptionStatus, User

NOTHING = "\N{EN DASH}"
DOORS = {
    actions.STOREFRONT: "Storefront",
    actions.BSS: "BSS",
    actions.COMMAND: "command line",
    actions.SYSTEM: "system",
}
# Events that no order stands behind; the others are named by their action.
ACTS = {
    "code.shown": "Activation code shown",
    "code.downloaded": "Activation code downloaded",
    "code.mailed": "Activation code sent by e-mail",
    "details.read": "Details read from the licence service",
    "details.unanswered": "Details asked for, the licence service did not answer",
    "period.billed": "Period billed",
    "period.unbilled": "Period begun, not billed",
    "period.no_price": "Period waits for a price",
    "renewal.renewed": "Term renewed",
    "renewal.reminder": "Reminder of the renewal sent",
    "expire.expired": "Term over, expired",
    "trial.ended": "Trial over",
    "takeover.done": "Taken over from another system",
}
WHAT = {
    "placed": "placed",
    "completed": "completed",
    "failed": "failed",
    "held": "needs attention",
    "released": "will be tried again",
    "retry": "retried",
    "give_up": "given up",
    "scheduled": "planned",
    "due": "fell due",
    "awaiting_approval": "waits for approval",
    "approved": "approved",
    "rejected": "rejected",
    "withdrawn": "withdrawn",
}
OUTCOMES = {
    "done": ("completed", "Done"),
    "transient": ("pending", "Not reached"),
    "rejected": ("failed", "Refused"),
    "already_done": ("needs_attention", "Already done"),
    "unknown": ("needs_attention", "No clear answer"),
    "credentials": ("failed", "Not let in"),
    "unsupported": ("failed", "Not supported"),
    "": ("in_progress", "Under way"),
}
EVIDENCE = {
    actions.TARGET: "It shows what was ordered.",
    actions.BEFORE: "It shows the state before.",
    actions.NEITHER: "It shows neither what was ordered nor the state before.",
    actions.ABSENT: "The subscription is not known there.",
}


def status(value: str, label: str) -> SafeString:
    """A status as a word with a shape."""
    return format_html(
        '<span class="status status-{}"><svg viewBox="0 0 16 16" aria-hidden="true"><use href="#icon-{}"></use></svg>'
        "{}</span>",
        value, value, label,
    )  # fmt: skip


def yes_no(value: bool) -> str:
    return "Yes" if value else "No"


def moment(at: datetime) -> SafeString:
    """An instant in a list, in UTC."""
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at.day} {at:%b %Y, %H:%M}")


_DAYS = ("Effective", "Period", "Term ends", "Renewable until", "Charged elsewhere until")


def value_words(name: str, value: Any) -> str:
    """One characteristic's value: a status by its word, a number with separators."""
    if name == "Status" and value in SubscriptionStatus.values:
        return str(SubscriptionStatus(value).label)
    if isinstance(value, bool):
        return yes_no(value)
    if name in _DAYS and value != NOTHING:
        return actions.date_words(date.fromisoformat(value))
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) or NOTHING


def change_words(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Characteristics before and after, such as `Seats 20 → 25`."""
    parts = []
    for name, value in after.items():
        if name in before and before[name] == value:
            continue
        new = value_words(name, value)
        had = before.get(name)
        old = value_words(name, had) if had or had is False else ""
        parts.append(f"{name} {old} → {new}" if old else f"{name} {new}")
    return ", ".join(parts)


def action_label(stem: str) -> str:
    action = actions.ACTIONS.get(stem)
    return action.label if action else stem.capitalize()


def order_words(order: Order) -> str:
    """What an order wants, such as `Increase seats: Seats 20 → 25`."""
    return f"{action_label(order.action)}: {change_words(order.before, order.after)}"


def intent_words(order: Order) -> str:
    """What is being asked of the vendor, or of staff, to stand beside a status: `increasing to 30`."""
    if order.status == OrderStatus.AWAITING_APPROVAL:
        return f"{action_label(order.action).lower()} waits for approval"
    if order.action in ("increase", "decrease"):
        return f"{order.action[:-1]}ing to {order.after['Seats']:,}"
    return {
        "start": "starting",
        "suspend": "suspending",
        "activate": "activating",
        "cancel": "cancelling",
        "push_ours": "sending our values",
        "change_sku": "changing the SKU",
    }.get(order.action, action_label(order.action).lower())


def event_words(kind: str) -> str:
    if kind in ACTS:
        return ACTS[kind]
    stem, _, what = kind.partition(".")
    return f"{action_label(stem)} {WHAT.get(what, what)}"


def who(actor: User | None, audience: str) -> str:
    """The person and the door they came through; Seatdesk itself when nobody asked."""
    door = DOORS.get(audience, audience)
    return f"{actor}, {door}" if actor else "Seatdesk" if audience == actions.SYSTEM else f"Seatdesk, {door}"
