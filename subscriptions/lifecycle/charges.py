"""From what was quoted to the lines of the ledger."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Sum

from subscriptions import actions, pricing
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import rows
from subscriptions.models import Charge, ChargeKind, Event, Order, Subscription
from subscriptions.pricing import Line, Period
from subscriptions.quotes import Pinned


def of_order(order: Order, subscription: Subscription, period_before: date | None, at: datetime) -> list[Charge]:
    """The unsaved lines of a completed order, exactly as quoted; `subscription` as the order has left it.

    `period_before` is the start of the period in which the order found it.
    """
    if order.action == actions.CORRECT.stem:
        return [_correction(order, subscription, at)]
    if order.quote is None:
        return []
    quote = Pinned.from_json(order.quote).quote
    if order.action == actions.START.stem and subscription.period_start and subscription.period_end:
        # Quoted from the day of the order; a start that was tried again or approved later begins later.
        quote = pricing.begun(quote, Period(subscription.period_start, subscription.period_end))
    charges = []
    for position, line in enumerate(quote.lines):
        # A new period that the change begins, rather than a part of the one in which it came.
        begins = line.kind == ChargeKind.PERIOD or (
            order.action == actions.CHANGE_SKU.stem and line.kind == ChargeKind.CHANGE
        )
        period_start = line.covers.start if begins else period_before or line.covers.start
        charge = of_line(line, subscription, at, period_start=period_start, covers=line.covers)
        charge.order, charge.position = order, position
        charges.append(charge)
    return charges


def of_line(line: Line, subscription: Subscription, at: datetime, *, period_start: date, covers: Period) -> Charge:
    """One unsaved line. Needs `account` loaded."""
    return Charge(
        account_id=subscription.account_id,
        subscription=subscription,
        kind=line.kind,
        words=line.words,
        seats=line.seats,
        unit_price=round(line.unit_price, 8),
        currency=subscription.currency,
        amount=line.amount,
        period_start=period_start,
        covers_from=covers.start,
        covers_to=covers.end,
        booked_at=at,
        booked_on=actions.local_day(at, subscription.account),
    )


def write(charges: Iterable[tuple[Event, list[Charge]]]) -> None:
    """Insert the lines of events that were written before; a line that is there already raises IntegrityError."""
    found = []
    for event, lines in charges:
        for line in lines:
            line.event = event
            found.append(line)
    if found:
        rows.insert(found)


# --- corrections -----------------------------------------------------------------------------------------------------


def why_not_correct(subscription: Subscription, after: dict[str, str | int]) -> NotAllowed | None:
    """Why a line of the ledger cannot be corrected by this amount; `after` is {"Line": id, "Amount": text}."""
    line = Charge.objects.filter(pk=after["Line"], subscription=subscription).first()
    if line is None:
        return NotAllowed("no_line", "There is no such line in the ledger of this subscription.")
    if line.kind == ChargeKind.CORRECTION:
        return NotAllowed("correction", "This line is a correction. Correct the line that it names.")
    amount = Decimal(after["Amount"])
    if amount == 0:
        return NotAllowed("zero", "Enter an amount other than 0.")
    if amount != pricing.rounded(amount, line.currency):
        return NotAllowed("too_exact", f"{line.currency} has {pricing.minor_units(line.currency)} decimals.")
    stands = line.amount + (line.corrections.aggregate(sum=Sum("amount"))["sum"] or 0)
    if (stands + amount) * (1 if line.amount >= 0 else -1) < 0:
        words = pricing.money(stands, line.currency)
        return NotAllowed("beyond_zero", f"The line stands at {words}: no correction may turn its sign.")
    return None


def _correction(order: Order, subscription: Subscription, at: datetime) -> Charge:
    line = Charge.objects.get(pk=order.after["Line"], subscription=subscription)
    return Charge(
        account_id=subscription.account_id,
        subscription=subscription,
        order=order,
        kind=ChargeKind.CORRECTION,
        words=f"Correction of line {line.pk}: {line.words}"[:500],
        seats=line.seats,
        unit_price=line.unit_price,
        currency=line.currency,
        amount=Decimal(order.after["Amount"]),
        period_start=line.period_start,
        covers_from=line.covers_from,
        covers_to=line.covers_to,
        booked_at=at,
        booked_on=actions.local_day(at, subscription.account),
        corrects=line,
    )
