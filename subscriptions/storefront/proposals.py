"""What a change touches that is planned already, in words for customers."""

from dataclasses import dataclass

from subscriptions import actions, lifecycle, pricing
from subscriptions.lifecycle import Proposal, figures, propose
from subscriptions.models import Order

__all__ = ["Planned", "Proposal", "figures", "planned", "propose"]

_AT_ONCE = "A plan is withdrawn when you order, even if your distributor then does not approve the order."


@dataclass(frozen=True, slots=True)
class Planned:
    """The scheduled order that a proposal touches, in words, with what can become of it."""

    sentence: str
    choices: list[tuple[str, str]]
    note: str = ""
    """Said where there is one choice only."""
    at_once: str = ""


def planned(proposal: Proposal, *, needs_approval: bool = False) -> Planned | None:
    """None when no scheduled order is touched."""
    scheduled = proposal.about.scheduled
    if scheduled is None or not proposal.choices:
        return None
    labels = {lifecycle.KEEP: _keep(proposal, scheduled), lifecycle.DISCARD: _discard(proposal, scheduled)}
    only = len(proposal.choices) == 1
    return Planned(
        sentence=lifecycle.planned_words(scheduled, proposal.subscription),
        choices=[(choice, labels[choice]) for choice in proposal.choices],
        note=_why_only_this(proposal, scheduled) if only else "",
        at_once=_AT_ONCE if needs_approval else "",
    )


def _keep(proposal: Proposal, scheduled: Order) -> str:
    subscription = proposal.subscription
    if not _is_of_seats(scheduled) or scheduled.due_at is None:
        return "Keep it: it happens on its day as planned."
    words = f"Keep it: {_seats_after(proposal)} until {actions.day(scheduled.due_at, subscription)}"
    words += f", then {scheduled.after['Seats']:,}"
    kept = proposal.kept
    later = kept.quote.later if kept and kept.priced else None
    if later is None:
        return f"{words}."
    return f"{words} for {pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}."


def _discard(proposal: Proposal, scheduled: Order) -> str:
    if not _is_of_seats(scheduled):
        return "Withdraw it: it does not happen."
    return f"Withdraw it: {_seats_after(proposal)} from now on, and no change to {scheduled.after['Seats']:,}."


def _why_only_this(proposal: Proposal, scheduled: Order) -> str:
    if proposal.planned:
        return "Your new plan takes its place. To keep the old one, go back."
    if proposal.action is actions.CHANGE_SKU:
        return "It was planned for the SKU that you have, so it is withdrawn with your order. To keep it, go back."
    if _is_of_seats(scheduled) and "Seats" in proposal.after:
        costs = bool(scheduled.quote and scheduled.quote["lines"])
        why = "Its price was agreed for other seats" if costs else "Your change leaves nothing of it to do"
        return f"{why}, so it is withdrawn with your order. To keep it, go back."
    return "It is withdrawn with your order. To keep it, go back."


def _is_of_seats(order: Order) -> bool:
    return order.action in (actions.INCREASE.stem, actions.DECREASE.stem)


def _seats_after(proposal: Proposal) -> str:
    return actions.seats_words(proposal.after.get("Seats", proposal.subscription.seats))
