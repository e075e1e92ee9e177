"""Subscriptions that run already, in another system, become ours as they stand: nothing is provisioned or billed."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from subscriptions import actions, clock, gateways, pricing, quotes
from subscriptions.actions import NotAllowed, terms
from subscriptions.lifecycle import charges, orders, rows
from subscriptions.lifecycle.orders import Wish
from subscriptions.models import (
    SKU,
    Account,
    Charge,
    ChargeKind,
    Event,
    Order,
    OrderStatus,
    Subscription,
    SubscriptionStatus,
    User,
)  # fmt: skip
from subscriptions.models.subscription import spellings
from subscriptions.pricing import Line, NoPrice
from subscriptions.quotes import Prices
from subscriptions.vendors.port import Secret

S = SubscriptionStatus
TAKEN_OVER = "takeover.done"
ALREADY_HERE = "already_here"
"""Code of the refusal of what is here already, just as it was told."""
STATUSES = (S.ACTIVE, S.SUSPENDED, S.ENDING, S.EXPIRED)


@dataclass(frozen=True, slots=True)
class Running:
    """A subscription as another system has it, with the licence that the vendor knows by `subscriber_id`.

    Days are those of the account. `next_charge_on` is the first one that is not paid for: with it the next period
    begins, or has ended what is `expired`. `term_ends_on` is the first day after the term; without it the term is
    counted from `started_on`. `ends_on` is the day on which an end comes that is planned; `vendor_ends_at` is its
    instant where the vendor knows of it. `anchor_day` is the day of the month on which periods begin, where
    `next_charge_on` falls in a month that lacks it. Needs `sku.product` loaded.
    """

    subscriber_id: str
    account: Account
    sku: SKU
    seats: int
    started_on: date
    next_charge_on: date
    status: str = S.ACTIVE
    term_ends_on: date | None = None
    anchor_day: int | None = None
    auto_renew: bool = True
    ends_on: date | None = None
    suspended_on: date | None = None
    currency: str = ""
    code: Secret | None = None
    reference: str = ""
    vendor_ends_at: datetime | None = None
    vendor_record: dict[str, Any] | None = None
    """The vendor's answer to a read just now."""


TakenOver = list[Subscription | NotAllowed]


def would_take_over(running: Sequence[Running]) -> TakenOver:
    """What `take_over` would lead to as things stand: unsaved subscriptions and refusals, in order. Nothing is written.

    At most 2 queries.
    """
    return _decide_many(running, clock.now())[0]


def take_over(
    running: Sequence[Running],
    *,
    source: str,
    reason: str,
    actor: User | None,
    audience: str,
    first: Callable[[], None] | None = None,
    then: Callable[[TakenOver], None] | None = None,
) -> TakenOver:
    """Write each subscription that can be taken over from `source`, in one transaction; one entry for each, in order.

    It is as one that was started here: its status, the period that runs with a line of 0 in the ledger, so that nobody
    bills it again, its term, and a planned end as a scheduled order. Nobody is told by mail. A subscriber that is here
    already is refused, also when another process was first by an instant. An account that is not saved is saved with
    the first of its subscriptions, and not without one; the caller sees to it that nobody else saves it too, at the
    latest in `first`, which is called inside the transaction before anything is decided. `then` is told the results
    inside the transaction, to write beside them; by raising it leaves nothing behind.
    """
    act = _Act(source, reason, actor, audience)
    try:
        return act.write(running, first, then)
    except IntegrityError as clash:
        if "subscriber_id" not in str(clash):
            raise
        # Somebody was first with one of them: by now they are seen.
        return act.write(running, first, then)


# --- deciding --------------------------------------------------------------------------------------------------------


class _Book:
    """The price of a seat by the price list, computed once for all that are alike. Needs `sku` and `account` loaded."""

    def __init__(self, running: Collection[Running]) -> None:
        self.prices = quotes.load((), {one.sku for one in running})
        self._known: dict[tuple[object, ...], Decimal] = {}

    def unit_price(self, new: Subscription) -> Decimal:
        """Raises NoPrice."""
        alike = (new.sku_id, new.currency, new.account.discount, new.seats)
        if alike not in self._known:
            self._known[alike] = self.prices.terms_of(new).unit_price(new.seats)
        return self._known[alike]


def _decide_many(running: Sequence[Running], at: datetime) -> tuple[TakenOver, _Book]:
    here = _here(running)
    book = _Book(running)
    results: TakenOver = []
    for one in running:
        try:
            if ours := here.get(one.subscriber_id.upper()):
                raise _why_here(one, ours)
            results.append(_as_ours(one, at, book))
        except NotAllowed as refusal:
            results.append(refusal)
    return results, book


def _here(running: Collection[Running]) -> dict[str, Subscription]:
    """By subscriber in capitals."""
    found = Subscription.objects.filter(subscriber_id__in=spellings(one.subscriber_id for one in running))
    loaded = found.select_related("account", "sku").only(
        "subscriber_id", "status", "seats", "account__name", "sku__code"
    )
    return {one.subscriber_id.upper(): one for one in loaded}


def _why_here(one: Running, ours: Subscription) -> NotAllowed:
    pairs = (
        ("company", ours.account.name, one.account.name, ours.account_id == one.account.pk),
        ("SKU", ours.sku.code, one.sku.code, ours.sku_id == one.sku.pk),
        ("seats", ours.seats, one.seats, ours.seats == one.seats),
        ("status", ours.status, one.status, ours.status == one.status),
    )
    differing = [f"{name} {here} and not {there}" for name, here, there, alike in pairs if not alike]
    if not differing:
        return NotAllowed(ALREADY_HERE, f"It is {ours.number} here already, just as the file says.")
    return NotAllowed("here_otherwise", f"It is {ours.number} here already, but with {', '.join(differing)}.")


def _as_ours(one: Running, at: datetime, book: _Book) -> Subscription:
    """The subscription, unsaved. Raises NotAllowed."""
    account, sku = one.account, one.sku
    if sentence := gateways.missing(sku.product.vendor):
        raise NotAllowed("no_vendor", sentence)
    subscription = Subscription(
        account=account, sku=sku, status=one.status, seats=one.seats, subscriber_id=one.subscriber_id,
        activation_code=one.code, created_at=at, currency=account.currency, auto_renew=one.auto_renew,
        started_at=actions.midnight(one.started_on, account),
    )  # fmt: skip
    if refusal := actions.why_not_seats(actions.START, subscription, one.seats):
        raise refusal
    today = actions.local_day(at, account)
    _check(one, today)
    anchor_day = _anchor_day(one)
    if pricing.add_months(one.next_charge_on, -sku.billing_months, anchor_day) > today:
        every = pricing.every(sku.billing_months)
        raise NotAllowed("paid_ahead", f"{_day(one.next_charge_on)} is more than a period ahead: it is billed {every}.")
    terms.take_up(subscription, one.next_charge_on, anchor_day, _term_end(one, anchor_day), today)
    match one.status:
        case S.SUSPENDED if one.suspended_on:
            subscription.suspended_at = actions.midnight(one.suspended_on, account)
        case S.EXPIRED:
            subscription.auto_renew = False
            subscription.ends_at = actions.midnight(one.next_charge_on, account)
            subscription.grace_ends = one.next_charge_on + timedelta(days=sku.grace_days)
    if one.ends_on:
        subscription.ends_at = one.vendor_ends_at or actions.midnight(one.ends_on, account)
    subscription.next_due_at = terms.next_due(subscription)
    if one.vendor_record is not None:
        subscription.vendor_record, subscription.vendor_read_at = one.vendor_record, at
    try:
        book.unit_price(subscription)
    except NoPrice as missing:
        raise NotAllowed("no_price", f"{missing.sentence[:-1]}: its next period could not be billed.") from None
    return subscription


def _check(one: Running, today: date) -> None:
    """What can be seen from the days alone. Raises NotAllowed."""
    if one.status not in STATUSES:
        raise NotAllowed("status", f"What is {one.status} does not run, and is not taken over.")
    if one.currency and one.currency != one.account.currency:
        raise NotAllowed("currency", f"{one.account} is billed in {one.account.currency}, and not in {one.currency}.")
    if one.started_on > today:
        raise NotAllowed("not_started", f"It starts on {_day(one.started_on)}: what does not run yet is started here.")
    if (one.status == S.SUSPENDED) != (one.suspended_on is not None):
        raise NotAllowed("suspended_on", "A suspended one, and no other, has the day since which it is suspended.")
    if one.suspended_on and not one.started_on <= one.suspended_on <= today:
        raise NotAllowed("suspended_on", f"It cannot be suspended since {_day(one.suspended_on)}.")
    if (one.status == S.ENDING and not one.ends_on) or (one.ends_on and one.status not in (S.ENDING, S.SUSPENDED)):
        raise NotAllowed(
            "ends_on", "One that is ending has the day on which it ends; only it and a suspended one have."
        )
    if one.ends_on and one.ends_on <= today:
        raise NotAllowed("over", f"It ended on {_day(one.ends_on)}: there is nothing to take over.")
    if one.status == S.EXPIRED:
        _check_expired(one, today)
    elif one.next_charge_on <= today and (one.status != S.SUSPENDED or one.sku.bills_while_suspended):
        raise NotAllowed(
            "not_paid",
            f"Its period from {_day(one.next_charge_on)} on has begun and is not paid for. Bill it where those before "
            "were billed.",
        )


def _check_expired(one: Running, today: date) -> None:
    if one.next_charge_on > today:
        raise NotAllowed("not_expired", f"Its term is not over before {_day(one.next_charge_on)}.")
    if one.next_charge_on + timedelta(days=one.sku.grace_days) <= today:
        raise NotAllowed("over", f"Its term ended on {_day(one.next_charge_on)}, and the time to renew it is over.")


def _anchor_day(one: Running) -> int:
    """The day of the month on which its periods begin. Raises NotAllowed."""
    if one.anchor_day is not None:
        if not _fits(one.anchor_day, one.next_charge_on):
            words = f"Periods that begin on day {one.anchor_day} of a month do not begin on {_day(one.next_charge_on)}."
            raise NotAllowed("anchor_day", words)
        return one.anchor_day
    # At the end of a short month the day of the start tells more.
    return one.started_on.day if _fits(one.started_on.day, one.next_charge_on) else one.next_charge_on.day


def _fits(anchor_day: int, on: date) -> bool:
    return pricing.add_months(on, 0, anchor_day) == on


def _term_end(one: Running, anchor_day: int) -> date:
    """The first day after its term, with which a period ends. Raises NotAllowed."""
    if one.status == S.EXPIRED:
        return one.next_charge_on
    sku, begins = one.sku, one.next_charge_on
    if one.term_ends_on is None:
        had = _months_between(one.started_on, begins)
        months = -had % sku.term_months if had else sku.term_months
        if months % sku.billing_months:
            words = f"Its terms, counted from {_day(one.started_on)}, do not end with a period. Say when its term ends."
            raise NotAllowed("term", words)
        return pricing.add_months(begins, months, anchor_day)
    months = _months_between(begins, one.term_ends_on)
    ends = pricing.add_months(begins, months, anchor_day)
    if months < 0 or months % sku.billing_months or ends != one.term_ends_on:
        every = pricing.every(sku.billing_months)
        words = f"A term ends with a period: on {_day(begins)} or later, by periods charged {every}."
        raise NotAllowed("term", words)
    return ends


def _months_between(first: date, second: date) -> int:
    return (second.year - first.year) * 12 + second.month - first.month


_day = actions.date_words


# --- what is written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Act:
    """Who takes over, from where and why."""

    source: str
    reason: str
    actor: User | None
    audience: str

    def write(
        self, running: Sequence[Running], first: Callable[[], None] | None, then: Callable[[TakenOver], None] | None
    ) -> TakenOver:
        at = clock.now()
        with _unsaved_again() as opened, transaction.atomic(durable=True):
            if first is not None:
                first()
            results, book = _decide_many(running, at)
            taken = [(one, new) for one, new in zip(running, results, strict=True) if isinstance(new, Subscription)]
            opened += {id(new.account): new.account for _, new in taken if new.account.pk is None}.values()
            Account.objects.bulk_create(opened, batch_size=1_000)
            rows.insert([new for _, new in taken])
            ends = [
                (self._end(new, book.prices, at), new) for one, new in taken if one.ends_on and not one.vendor_ends_at
            ]
            rows.insert([order for order, _ in ends])
            told = [self._event(one, new, at) for one, new in taken]
            # The end that is planned was agreed where they come from: no mail tells of it now.
            rows.insert([*told, *(rows.order_event(order, new, "scheduled", at) for order, new in ends)])
            charges.write(
                (event, [_charged_elsewhere(new, book, at)]) for event, (_, new) in zip(told, taken, strict=True)
            )
            if then is not None:
                then(results)
        return results

    def _end(self, new: Subscription, prices: Prices, at: datetime) -> Order:
        """The scheduled order behind a planned end, unsaved: with it the subscription can be kept."""
        if new.ends_at is None:
            raise ValueError(f"{new} does not end")
        on = actions.local_day(new.ends_at, new.account)
        pinned = quotes.price(actions.CANCEL, new, {}, on=on, planned=True, at=at, prices=prices)
        wish = Wish(new.pk, actions.CANCEL.stem, before={"Status": str(S.ACTIVE)}, reason=self.reason)
        return orders.new(
            actions.CANCEL, wish, new, at, actor=self.actor, audience=self.audience, pinned=pinned,
            status=OrderStatus.SCHEDULED, due_at=new.ends_at,
        )  # fmt: skip

    def _event(self, one: Running, new: Subscription, at: datetime) -> Event:
        after = {
            "Status": str(new.status), "Seats": new.seats, "SKU": one.sku.code, "Period": f"{new.period_start}",
            "Charged elsewhere until": f"{new.period_end}", "From": self.source,
        }  # fmt: skip
        if one.reference:
            after["Reference"] = one.reference
        return rows.event(
            new, TAKEN_OVER, at, actor=self.actor, audience=self.audience, reason=self.reason, after=after
        )


@contextmanager
def _unsaved_again() -> Iterator[list[Account]]:
    """Accounts put into the list have no key any more when it fails: they were rolled back with all else."""
    opened: list[Account] = []
    try:
        yield opened
    except BaseException:
        for account in opened:
            account.pk, account._state.adding = None, True
        raise


def _charged_elsewhere(new: Subscription, book: _Book, at: datetime) -> Charge:
    """With a line of its own the period cannot be billed again, and is known to be paid."""
    period, price = terms.period(new), book.unit_price(new)
    words = f"{actions.seats_words(new.seats)}, {pricing.days_words(period)}: charged before the takeover"
    line = Line(ChargeKind.PERIOD, words, Decimal(), new.seats, price, period)
    return charges.of_line(line, new, at, period_start=period.start, covers=period)
