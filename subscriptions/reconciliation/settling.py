"""A difference is settled by an order, after another look at the vendor."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import Max, Min

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.lifecycle.drift import SETTLING
from subscriptions.models import Drift, DriftField, Order, Purpose, Subscription, SubscriptionStatus, User
from subscriptions.reconciliation.comparison import (
    UNKNOWN_THERE,
    Difference,
    as_details,
    as_record,
    compare,
    differing,
    of,
)  # fmt: skip
from subscriptions.reconciliation.reading import read_many, read_now
from subscriptions.reconciliation.worklist import Read, note
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Outcome, VendorStatus

S = SubscriptionStatus

_STALE = NotAllowed("other_there", "The licence service says something else now. Look at it again and decide.")
_SETTLED = NotAllowed("settled", "There is no difference any more.")


def settle(
    subscription: Subscription,
    field: str,
    stem: str,
    *,
    shown_theirs: str,
    actor: User | None,
    audience: str,
    reason: str,
    planned: str = "",
    idempotency_key: uuid.UUID | None = None,
) -> Order:
    """Settle one difference by an order: `stem` is `take_theirs` or `push_ours`.

    The vendor is read again first. Raises NotAllowed when it cannot be read, when it now says something other than
    `shown_theirs`, when there is no difference any more, or when this way is not possible. `planned` is as in a Wish:
    where a suspended one is found to go on, a planned change that stood still would go on with it.
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
    # The version from before the read: a change that came meanwhile must not be settled away.
    wish = Wish(
        subscription.pk, stem, reason=reason, version=subscription.version, idempotency_key=idempotency_key,
        planned=planned,
    )  # fmt: skip
    return lifecycle.place(_wish(wish, line, shown_theirs), actor=actor, audience=audience)


def _wish(wish: Wish, line: Difference | None, shown_theirs: str) -> Wish:
    """The wish that settles what was shown, as the line says it now. Raises NotAllowed."""
    if line is None or line.theirs != shown_theirs:
        raise _STALE
    if not line.differs:
        raise _SETTLED
    if wish.stem == actions.TAKE_THEIRS.stem:
        after, before, why_not = line.take, None, line.take_refusal
    else:
        after, before, why_not = line.push, line.push_before, line.push_refusal
    if after is None:
        # Only a line without a difference has neither.
        raise why_not or _SETTLED
    return replace(wish, after=after, before=before)


# --- many at once ----------------------------------------------------------------------------------------------------


def as_noted(wishes: Sequence[Wish]) -> list[Wish | NotAllowed]:
    """To look at only: what each wish leads to as far as the worklist and our own record know.

    Wishes that settle no drift stay. 2 queries, whatever their number.
    """
    if not _settles(wishes):
        return list(wishes)
    ids = {wish.subscription_id for wish in wishes}
    found = _subscriptions(ids)
    noted: dict[int, dict[str, Drift]] = defaultdict(dict)
    for row in Drift.objects.filter(subscription__among=ids, ended_at__isnull=True):
        noted[row.subscription_id or 0][row.field] = row

    def decide(wish: Wish) -> Wish:
        row = noted[wish.subscription_id].get(wish.after["Difference"])
        if row is None:
            raise _SETTLED
        subscription = found[wish.subscription_id]
        return _definite(wish, subscription, _as_it_stands(subscription, row.record, noted[wish.subscription_id]))

    return [_decided(decide, wish, found) for wish in wishes]


def readings(wishes: Sequence[Wish]) -> tuple[datetime, datetime] | None:
    """When the vendor said what `as_noted` goes by, the first and the last time; None where it goes by nothing.

    1 query, and none for wishes that settle no drift.
    """
    if not _settles(wishes):
        return None
    rows = Drift.objects.filter(subscription__among={wish.subscription_id for wish in wishes}, ended_at__isnull=True)
    first, last = rows.aggregate(first=Min("seen_at"), last=Max("seen_at")).values()
    return (first, last) if first else None


def as_read(wishes: Sequence[Wish]) -> list[Wish | NotAllowed]:
    """What each wish leads to by the vendor's record as it is now; refused where it is not what was shown any more.

    Outside any transaction. The worklist learns what was read. The wishes carry the version from before the read.
    Raises VendorSilent, and then nothing is decided about any.
    """
    if not _settles(wishes):
        return list(wishes)
    found = _subscriptions({wish.subscription_id for wish in wishes})
    answers = _answers(found)
    records = {pk: record for pk, answer in answers.items() if (record := _record(answer))}
    note([Read(pk, found[pk].version, record) for pk, record in records.items()])

    def decide(wish: Wish) -> Wish:
        record = records.get(wish.subscription_id)
        if record is None:
            code = answers[wish.subscription_id].code
            raise NotAllowed("vendor_silent", f"The licence service did not say what it has ({code}). Try again.")
        return _definite(wish, found[wish.subscription_id], record)

    return [_decided(decide, wish, found) for wish in wishes]


def _settles(wishes: Sequence[Wish]) -> bool:
    return bool(wishes) and wishes[0].stem in SETTLING and "Difference" in wishes[0].after


def _subscriptions(ids: set[int]) -> dict[int, Subscription]:
    rows = Subscription.objects.filter(pk__among=ids).select_related("sku__product", "account")
    return {row.pk: row for row in rows.defer("activation_code", "vendor_record")}


def _as_it_stands(subscription: Subscription, record: dict[str, Any], noted: dict[str, Drift]) -> dict[str, Any]:
    """What the vendor said, but for what an order of ours has changed since and the vendor has confirmed."""
    details = as_details(record)
    if details is None:
        return record
    known = dict(record)
    seats = noted.get(DriftField.SEATS)
    if seats and seats.ours != str(subscription.seats):
        known["seats"] = subscription.seats
    differs = DriftField.STATUS in differing(of(subscription), details, clock.now())
    if differs and DriftField.STATUS not in noted and subscription.status in _CONFIRMED:
        known["status"] = str(_CONFIRMED[subscription.status])
    return known


_CONFIRMED: dict[str, VendorStatus] = {
    S.ACTIVE: VendorStatus.STARTED,
    S.ENDING: VendorStatus.STARTED,
    S.EXPIRED: VendorStatus.STARTED,
    S.SUSPENDED: VendorStatus.PAUSED,
    S.CANCELLED: VendorStatus.HARD_CANCELLED,
}


def _answers(subscriptions: dict[int, Subscription]) -> dict[int, Answer]:
    by_vendor: dict[str, list[Subscription]] = defaultdict(list)
    for one in subscriptions.values():
        by_vendor[one.sku.product.vendor].append(one)
    answers: dict[int, Answer] = {}
    for vendor, some in by_vendor.items():
        found = read_many(vendor, [one.subscriber_id for one in some], purpose=Purpose.DRIFT)
        answers |= {one.pk: answer for one, answer in zip(some, found, strict=True)}
    return answers


def _record(answer: Answer) -> dict[str, Any] | None:
    if answer.code == port.NOT_FOUND:
        return UNKNOWN_THERE
    return as_record(answer.details) if answer.outcome == Outcome.DONE and answer.details else None


def _definite(wish: Wish, subscription: Subscription, record: dict[str, Any]) -> Wish:
    lines = {line.field: line for line in compare(subscription, record)}
    line = lines.get(wish.after["Difference"])
    # Some lines are there only while they differ.
    if line is None or not line.differs:
        raise _SETTLED
    return replace(_wish(wish, line, wish.after["Theirs"]), version=subscription.version)


def _decided(decide: Callable[[Wish], Wish], wish: Wish, found: dict[int, Subscription]) -> Wish | NotAllowed:
    if wish.subscription_id not in found:
        return NotAllowed("unknown", f"There is no subscription SUB-{wish.subscription_id:06d}.")
    try:
        return decide(wish)
    except NotAllowed as refusal:
        return refusal
