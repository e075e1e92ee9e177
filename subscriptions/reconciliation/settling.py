"""A difference is settled by an order, after another look at the vendor."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.lifecycle.drift import SETTLING
from subscriptions.models import Drift, Order, Purpose, Subscription, User
from subscriptions.reconciliation.comparison import UNKNOWN_THERE, Difference, as_record, compare
from subscriptions.reconciliation.reading import read_many, read_now
from subscriptions.reconciliation.worklist import Read, note
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Outcome

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
    # The version from before the read: a change that came meanwhile must not be settled away.
    wish = Wish(
        subscription.pk, stem, reason=reason, version=subscription.version, idempotency_key=idempotency_key
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
    """To look at only: what each wish leads to as far as the worklist knows. Wishes that settle no drift stay.

    2 queries, whatever their number.
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
        return _definite(wish, found[wish.subscription_id], row.record)

    return [_decided(decide, wish, found) for wish in wishes]


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
