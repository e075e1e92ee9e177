"""A wish becomes an order: decided under the lock, written with its event and its job."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django_fsm import can_proceed

from subscriptions import actions, clock, pricing, quotes
from subscriptions.actions import BSS, STOREFRONT, Action, NotAllowed, Situation
from subscriptions.lifecycle import charges, drift, orders, periods, plans, rows
from subscriptions.lifecycle.orders import Placed, Wish
from subscriptions.models import (
    SKU,
    Account,
    ApprovalLimit,
    ChangeTarget,
    Charge,
    Order,
    OrderStatus,
    Product,
    Subscription,
    SubscriptionStatus,
    User,
)  # fmt: skip
from subscriptions.quotes import Pinned, Prices

STALE = "Somebody changed this subscription while the page was open. Look at the new figures and confirm again."
STALE_QUOTE = "The price has changed since the page was opened. Look at the new figures and confirm again."
SET_SEATS = "set_seats"
"""Stem of a wish for so many seats, whether that is more or fewer."""
S = SubscriptionStatus
Results = list[Order | NotAllowed]


def place(wish: Wish, *, actor: User | None, audience: str) -> Order:
    """Place one order. Raises NotAllowed (code `stale` when `version` has grown) and then leaves nothing behind."""
    [result] = place_many([wish], actor=actor, audience=audience)
    if isinstance(result, NotAllowed):
        raise result
    return result


def place_many(
    wishes: Sequence[Wish], *, actor: User | None, audience: str, then: Callable[[Results], None] | None = None
) -> Results:
    """Place an order for each wish that is allowed, each row on its own merits; one entry for each wish, in order.

    At most one wish for a subscription; a second one is refused. An order without a vendor call completes at once; one
    for a later day is scheduled; one that staff must decide about awaits approval. What fell due before comes first.
    `then` is told the results inside the transaction, to write beside them; by raising it leaves nothing behind.
    """
    at = clock.now()
    ids = {wish.subscription_id for wish in wishes}
    periods.catch_up(at, only=ids)
    with transaction.atomic(durable=True):
        found = rows.lock_subscriptions(ids)
        known = _orders_by_key(actor, [wish.idempotency_key for wish in wishes])
        new = [wish for wish in wishes if wish.idempotency_key not in known]
        decided = _decide_many(new, found, at, actor=actor, audience=audience)
        orders.write([one for one in decided if isinstance(one, Placed)], at)
        rest = iter(decided)
        results = [known.get(wish.idempotency_key) or _order_or_refusal(next(rest)) for wish in wishes]
        if then is not None:
            then(results)
    return results


def would_place(wishes: Sequence[Wish], *, actor: User | None, audience: str) -> list[Placed | NotAllowed]:
    """What `place_many` would lead to as things stand: unsaved orders, each with what it touches, and refusals.

    Nothing is locked or written.
    """
    found = rows.subscriptions({wish.subscription_id for wish in wishes})
    return _decide_many(wishes, found, clock.now(), actor=actor, audience=audience)


def _order_or_refusal(decided: Placed | NotAllowed) -> Order | NotAllowed:
    return decided.order if isinstance(decided, Placed) else decided


def _decide_many(
    wishes: Sequence[Wish], found: dict[int, Subscription], at: datetime, *, actor: User | None, audience: str
) -> list[Placed | NotAllowed]:
    wishes = [_named(wish, found.get(wish.subscription_id)) for wish in wishes]
    about = {one.subscription.pk: one for one in actions.situations(found.values(), actor=actor, audience=audience)}
    books = _Books.of([wish for wish in wishes if wish.subscription_id in found], found.values())
    decided: list[Placed | NotAllowed] = []
    taken: set[int] = set()
    for wish in wishes:
        if wish.subscription_id not in found:
            decided.append(NotAllowed("unknown", f"There is no subscription SUB-{wish.subscription_id:06d}."))
        elif wish.subscription_id in taken:
            decided.append(_why_not_again(wish, found[wish.subscription_id]))
        else:
            try:
                decided.append(_decide(wish, about[wish.subscription_id], books, at))
            except NotAllowed as refusal:
                decided.append(refusal)
                continue
            taken.add(wish.subscription_id)
    return decided


def _why_not_again(wish: Wish, subscription: Subscription) -> NotAllowed:
    if wish.stem in drift.SETTLING:
        words = f"This run settles another difference of {subscription}. Settle this one when that is done."
        return NotAllowed("other_difference", words)
    return NotAllowed("repeated", "Named twice: only the first line was used.")


def _named(wish: Wish, subscription: Subscription | None) -> Wish:
    """A number of seats is an increase or a decrease by what there is at the moment of the decision."""
    if wish.stem != SET_SEATS or subscription is None:
        return wish
    action = actions.DECREASE if wish.after["Seats"] < subscription.seats else actions.INCREASE
    return replace(wish, stem=action.stem)


@dataclass(frozen=True, slots=True)
class _Books:
    """What a decision about money looks at, fetched before it for all rows at once."""

    prices: Prices = field(default_factory=Prices)
    limits: dict[tuple[int, str], ApprovalLimit] = field(default_factory=dict)
    targets: dict[str, SKU] = field(default_factory=dict)

    @classmethod
    def of(cls, wishes: Iterable[Wish], subscriptions: Iterable[Subscription]) -> "_Books":
        if not any(actions.ACTIONS[wish.stem].costs or wish.then_activate_on for wish in wishes):
            return cls()
        found = list(subscriptions)
        codes = {wish.after["SKU"] for wish in wishes if wish.stem == actions.CHANGE_SKU.stem}
        targets = {}
        if codes:
            targets = {one.code: one for one in SKU.objects.select_related("product").filter(code__in=codes)}
        prices = quotes.load(found, targets.values())
        return cls(prices, quotes.approval_limits(one.sku_id for one in found), targets)


def _orders_by_key(actor: User | None, keys: Iterable[uuid.UUID | None]) -> dict[uuid.UUID | None, Order]:
    wanted = {key for key in keys if key is not None}
    if not wanted:
        return {}
    return {one.idempotency_key: one for one in Order.objects.filter(actor=actor, idempotency_key__in=wanted)}


def _decide(wish: Wish, about: Situation, books: _Books, at: datetime) -> Placed:
    """The order that the wish leads to. Raises NotAllowed."""
    subscription, action = about.subscription, actions.ACTIONS[wish.stem]
    target = books.targets.get(wish.after.get("SKU", ""))
    if refusal := _why_not(action, wish, about, target):
        raise refusal
    # As of the instant at which the quote was made, so that midnight alone does not make it another one.
    seen_at = wish.quote.at if wish.quote and abs(at - wish.quote.at) <= quotes.HONOURED else at
    on, planned = quotes.takes_effect(action, subscription, wish.when, seen_at, about.audience)
    if planned and (refusal := plans.why_not_plan(action, about, on)):
        raise refusal
    if action is actions.CHANGE_SKU and target is not None:
        characteristics = {"Product": target.vendor_product_id, "Seats": subscription.seats}
        wish = replace(wish, after=characteristics | wish.after)
    elif action is actions.CANCEL and on < actions.local_day(seen_at, subscription.account):
        wish = replace(wish, after={"Effective": on.isoformat()})
    pinned = quotes.price(
        action, subscription, wish.after, on=on, planned=planned, at=seen_at, prices=books.prices, target=target,
        audience=about.audience,
    )  # fmt: skip
    then, after_it = _activation_after(wish, about, books, at, seen_at) if wish.then_activate_on else (None, None)
    if wish.quote is not None and not quotes.still_holds(wish.quote, after_it or pinned, at):
        raise NotAllowed("stale_quote", STALE_QUOTE)
    withdrawn = plans.take_place_of(about.scheduled, action, wish, about, planned=planned or then is not None)
    # Last, since a row that was refused when it was looked at was shown no price.
    if wish.at_most is not None and (refusal := _why_dearer(wish.at_most, subscription, pinned, after_it)):
        raise refusal
    waits = about.audience in (STOREFRONT, BSS) and quotes.needs_approval(
        action, subscription, pinned, books.prices, books.limits
    )
    status = OrderStatus.AWAITING_APPROVAL if waits else OrderStatus.SCHEDULED if planned else OrderStatus.PLACED
    order = orders.new(
        action, wish, subscription, at, actor=about.actor, audience=about.audience, pinned=pinned, status=status,
        due_at=actions.midnight(on, subscription.account) if planned else None,
    )  # fmt: skip
    return Placed(order, subscription, action, about.scheduled, withdrawn, then)


def _why_dearer(at_most: Decimal, subscription: Subscription, *charged: Pinned | None) -> NotAllowed | None:
    """Why an order is refused that comes to more than was shown, or gives back less; at any later time, too."""
    due = sum((one.quote.due_now for one in charged if one), Decimal())
    if due <= at_most:
        return None
    money = pricing.money(abs(due), subscription.currency)
    if at_most >= 0:
        seen = f"{pricing.money(at_most, subscription.currency)} was" if at_most else "No charge was"
        now = f"{money} would be charged now"
    else:
        seen = f"A credit of {pricing.money(-at_most, subscription.currency)} was"
        now = f"{money} would be charged now" if due > 0 else f"only {money} would be given back now"
        now = now if due else "none would be given now"
    words = f"{seen} shown and {now}, so nothing was done. Choose it again to see the new figures."
    return NotAllowed("price_changed", words)


def _activation_after(
    wish: Wish, about: Situation, books: _Books, at: datetime, seen_at: datetime
) -> tuple[Order, Pinned | None]:
    """The activation that is planned together with a suspension, and its cost. Raises NotAllowed."""
    subscription = about.subscription
    on, pinned = activation_on(about, wish.then_activate_on, seen_at, books.prices, books.limits)
    after_it = Wish(subscription.pk, actions.ACTIVATE.stem, before={"Status": str(S.SUSPENDED)}, reason=wish.reason)
    order = orders.new(
        actions.ACTIVATE, after_it, subscription, at, actor=about.actor, audience=about.audience, pinned=pinned,
        status=OrderStatus.SCHEDULED, due_at=actions.midnight(on, subscription.account),
    )  # fmt: skip
    return order, pinned


def activation_on(
    about: Situation, when: date | None, at: datetime, prices: Prices, limits: dict[tuple[int, str], ApprovalLimit]
) -> tuple[date, Pinned | None]:
    """The day and the cost of an activation that is planned together with a suspension. Raises NotAllowed."""
    subscription = about.subscription
    on, planned = quotes.takes_effect(actions.ACTIVATE, subscription, when, at, about.audience)
    if not planned:
        raise NotAllowed("not_later", "Choose a later day than today, or none.")
    if refusal := plans.why_not_plan(actions.ACTIVATE, about, on):
        raise refusal
    pinned = quotes.price(actions.ACTIVATE, subscription, {}, on=on, planned=True, at=at, prices=prices)
    if about.audience == BSS and quotes.needs_approval(actions.ACTIVATE, subscription, pinned, prices, limits):
        # One order of a subscription is open at a time, and the suspension is it.
        words = "That activation would cost so much that it needs approval. Plan it when it is suspended."
        raise NotAllowed("needs_approval", words)
    return on, pinned


def _why_not(action: Action, wish: Wish, about: Situation, target: SKU | None) -> NotAllowed | None:
    subscription = about.subscription
    if refusal := action.why_not(about):
        return refusal
    if wish.version is not None and wish.version != subscription.version:
        return NotAllowed("stale", STALE)
    if action.takes_seats:
        return actions.why_not_seats(action, subscription, wish.after["Seats"], about.audience)
    match action.stem:
        case "take_theirs":
            return why_not_take(subscription, wish.after)
        case "change_sku":
            return why_not_target(subscription, target, wish.after.get("Seats", subscription.seats), wish.when)
        case "auto_renew" if wish.after["Renews automatically"] == subscription.auto_renew:
            return NotAllowed("same", "That is how it is already.")
        case "correct":
            return charges.why_not_correct(subscription, wish.after)
    return None


def why_not_target(
    subscription: Subscription, target: SKU | None, seats: int, when: quotes.When = None
) -> NotAllowed | None:
    """Why the subscription cannot change to another SKU with so many seats; at most 1 query. Needs `sku__product`."""
    for declared in subscription.sku.sold_targets():
        if target is not None and declared.target_id == target.pk:
            return why_not_change(subscription, declared, seats, when)
    return NotAllowed("not_a_target", "This subscription cannot change to that SKU.")


def why_not_change(
    subscription: Subscription, declared: ChangeTarget, seats: int, when: quotes.When = None
) -> NotAllowed | None:
    """The same for a target that is declared and sold; no query. Needs `sku__product` and the target loaded."""
    target, timing = declared.target, declared.timing
    if timing == "now" and when not in (None, quotes.NOW):
        return NotAllowed("only_now", f"A change to {target.name} is possible at once only.")
    if timing == "renewal" and when != quotes.RENEWAL:
        return NotAllowed("only_at_renewal", f"A change to {target.name} is possible at the renewal only.")
    if when == quotes.RENEWAL and subscription.term_end and not subscription.auto_renew:
        ends = actions.date_words(subscription.term_end)
        return NotAllowed(
            "no_renewal", f"The term ends on {ends} without renewal. Switch the automatic renewal on first."
        )
    return actions.why_not_sku(subscription, target, seats)


def why_not_take(subscription: Subscription, theirs: dict[str, Any]) -> NotAllowed | None:
    """Why the vendor's value cannot become ours: outside the SKU's range, or no such move in the life cycle."""
    if subscription.status in (SubscriptionStatus.PENDING, SubscriptionStatus.FAILED):
        return NotAllowed("not_started", "Our record is not started. Retry or Give up its order first.")
    if "Seats" in theirs:
        return actions.why_not_seats(actions.TAKE_THEIRS, subscription, theirs["Seats"])
    moves = {
        SubscriptionStatus.SUSPENDED: (subscription.suspend,),
        SubscriptionStatus.CANCELLED: (subscription.cancel,),
        SubscriptionStatus.ENDING: (subscription.schedule_end, subscription.activate),
        SubscriptionStatus.ACTIVE: (subscription.activate, subscription.keep),
    }.get(theirs["Status"], ())
    if any(can_proceed(move) for move in moves):
        return None
    ours = subscription.get_status_display().lower()
    return NotAllowed("no_such_move", f"Our record is {ours} and cannot become {theirs['Status']}.")


def correct(
    charge_id: int,
    amount: Decimal,
    reason: str,
    *,
    actor: User | None,
    audience: str,
    idempotency_key: uuid.UUID | None = None,
) -> Charge:
    """Add a line of `amount` (signed, in the line's currency) that corrects another one. Raises NotAllowed."""
    found = Charge.objects.filter(pk=charge_id).values_list("subscription_id", flat=True).first()
    if found is None:
        raise NotAllowed("no_line", f"There is no line {charge_id} in the ledger.")
    wish = Wish(
        found, actions.CORRECT.stem, {"Line": charge_id, "Amount": str(amount)}, reason=reason,
        idempotency_key=idempotency_key,
    )  # fmt: skip
    return place(wish, actor=actor, audience=audience).charges.get()


def start(
    account: Account,
    sku: SKU,
    seats: int,
    *,
    actor: User | None,
    audience: str,
    reason: str = "",
    ordered_by: User | None = None,
    idempotency_key: uuid.UUID | None = None,
    trial: bool = False,
    quote: Pinned | None = None,
) -> Order:
    """Create a pending subscription and the order that provisions it; a `trial` costs nothing and ends by itself.

    Needs `sku.product` loaded. Raises NotAllowed for seats outside the SKU's range, a SKU that is not sold or has no
    price, a second trial of a product, or a `quote` that no longer holds. The same key of the same person leads to the
    same order.
    """
    at = clock.now()
    known = _orders_by_key(actor, [idempotency_key])
    if known:
        return known[idempotency_key]
    subscription = new_subscription(account, sku, seats, at, ordered_by=ordered_by, trial=trial)
    if refusal := why_not_start(subscription, actor=actor, audience=audience):
        raise refusal
    prices, limits = quotes.load([subscription]), quotes.approval_limits([sku.pk])
    pinned = price_start(subscription, prices, quote.at if quote else at)
    if quote is not None and not quotes.still_holds(quote, pinned, at):
        raise NotAllowed("stale_quote", STALE_QUOTE)
    waits = audience in (STOREFRONT, BSS) and quotes.needs_approval(actions.START, subscription, pinned, prices, limits)
    wish = Wish(
        0, "start", {"Seats": seats, "SKU": sku.code} | ({"Trial": True} if trial else {}), {"Seats": 0}, reason, None,
        idempotency_key,
    )  # fmt: skip
    try:
        with transaction.atomic(durable=True):
            subscription.save(force_insert=True)
            order = orders.new(
                actions.START, wish, subscription, at, actor=actor, audience=audience, pinned=pinned,
                status=OrderStatus.AWAITING_APPROVAL if waits else OrderStatus.PLACED,
            )  # fmt: skip
            orders.write([Placed(order, subscription, actions.START)], at)
    except IntegrityError as clash:
        # Two sendings of one page at the same instant: the other one was first.
        known = _orders_by_key(actor, [idempotency_key])
        if known:
            return known[idempotency_key]
        if "one_trial" in str(clash):
            raise trial_used(subscription) from clash
        raise
    return order


def had_trial(account: Account, product: Product) -> bool:
    """Has the company had its one trial of a product? One that never began does not count."""
    return Subscription.objects.filter(account=account, trial_of=product).exclude(status=S.FAILED).exists()


def trial_used(subscription: Subscription) -> NotAllowed:
    """There is one trial for an account and product."""
    words = f"{subscription.account} had a trial of {subscription.sku.product} already, and there is one for a company."
    return NotAllowed("trial_used", words)


def new_subscription(
    account: Account, sku: SKU, seats: int, at: datetime, *, ordered_by: User | None = None, trial: bool = False
) -> Subscription:
    """A subscription that is not saved, for `why_not_start`, `price_start` and `start`."""
    return Subscription(
        account=account, sku=sku, seats=seats, ordered_by=ordered_by, created_at=at, currency=account.currency,
        trial_of=sku.product if trial else None,
    )  # fmt: skip


def why_not_start(subscription: Subscription, *, actor: User | None, audience: str) -> NotAllowed | None:
    """Why this subscription cannot be started; at most 2 queries."""
    account, sku = subscription.account, subscription.sku
    if refusal := actions.START.why_not(actions.situation(subscription, actor=actor, audience=audience)):
        return refusal
    if not (sku.is_sold and sku.product.is_sold):
        return NotAllowed("not_sold", f"{sku.name} is not sold any more.")
    if subscription.trial_of_id:
        if not sku.trial_days:
            return NotAllowed("no_trial", f"There is no trial of {sku.name}.")
        if had_trial(account, sku.product):
            return trial_used(subscription)
    if sku.product.needs_company_details and not account.has_details:
        words = f"The legal name, address and country of {account} are needed for this product."
        return NotAllowed("company_details", words)
    return actions.why_not_seats(actions.START, subscription, subscription.seats)


def price_start(subscription: Subscription, prices: Prices, at: datetime) -> Pinned | None:
    """What starting it costs; None for a trial. Raises NotAllowed (`no_price`)."""
    on: date = actions.local_day(at, subscription.account)
    after = {"Seats": subscription.seats}
    return quotes.price(actions.START, subscription, after, on=on, planned=False, at=at, prices=prices)
