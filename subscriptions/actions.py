"""The table of actions: who may, when, the sentence that says why not, what the vendor is asked, and the effect.

Both doors, commands and `lifecycle` draw from `ACTIONS`. `Action.why_not` is asked once to draw a page and again under
the row's lock; it reads a `Situation` and runs no query.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from subscriptions import clock, gateways
from subscriptions.models import OPEN_ORDER, Member, Order, OrderStatus, Role, Subscription, SubscriptionStatus, User
from subscriptions.vendors import port

S = SubscriptionStatus
STOREFRONT, BSS, COMMAND, SYSTEM = "storefront", "bss", "command", "system"
STAFF = frozenset({BSS, COMMAND})
BOTH = frozenset({STOREFRONT, BSS, COMMAND})


class NotAllowed(Exception):  # noqa: N818 - the name that the design gives it; a refusal is no error
    """A refusal that the reader can act on: `code` for the way out, `sentence` for the page."""

    def __init__(self, code: str, sentence: str, *, order: Order | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.order = order


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision looks at, fetched before it: who asks, from where, and how things stand."""

    subscription: Subscription
    actor: User | None
    audience: str
    role: Role | None = None
    open_order: Order | None = None
    order: Order | None = None
    """The order that Retry and Give up are about."""
    whom_to_ask: str = ""

    @property
    def capabilities(self) -> port.Capabilities:
        return gateways.capabilities(self.subscription.sku)


def situations(
    subscriptions: Iterable[Subscription], *, actor: User | None, audience: str, order: Order | None = None
) -> list[Situation]:
    """The situation of each subscription, in 1 query for open orders and at most 2 for roles, whatever their number.

    Needs `sku__product` and `account` loaded. In the Storefront a person without a role in the account is a stranger.
    """
    rows = list(subscriptions)
    open_orders = {
        one.subscription_id: one
        for one in Order.objects.filter(subscription__in=[row.pk for row in rows], status__in=OPEN_ORDER)
    }
    roles: dict[int, Role] = {}
    whom: dict[int, str] = {}
    if audience == STOREFRONT and actor is not None:
        members = Member.objects.filter(account__in={row.account_id for row in rows}).select_related("user")
        for member in members.order_by("role", "-pk"):
            if member.user_id == actor.pk:
                roles[member.account_id] = Role(member.role)
            if member.role in (Role.OWNER, Role.MANAGER) and member.user.is_active:
                # By name of role the Owner comes last, and so wins over a Manager.
                whom[member.account_id] = member.user.name
    return [
        Situation(
            row,
            actor,
            audience,
            roles.get(row.account_id),
            open_orders.get(row.pk),
            order,
            whom.get(row.account_id, ""),
        )
        for row in rows
    ]


def situation(
    subscription: Subscription, *, actor: User | None, audience: str, order: Order | None = None
) -> Situation:
    """`situations` for one."""
    return situations([subscription], actor=actor, audience=audience, order=order)[0]


# --- words -----------------------------------------------------------------------------------------------------------


def day(at: datetime, subscription: Subscription) -> str:
    """A date such as 3 January 2027, in the account's time zone."""
    local = at.astimezone(ZoneInfo(subscription.account.time_zone))
    return f"{local.day} {local:%B %Y}"


def clock_time(at: datetime, subscription: Subscription) -> str:
    return f"{at.astimezone(ZoneInfo(subscription.account.time_zone)):%H:%M}"


def seats_words(count: int) -> str:
    return f"{count:,} seat" if count == 1 else f"{count:,} seats"


# --- conditions: each says why not, or None --------------------------------------------------------------------------

Condition = Callable[["Action", Situation], NotAllowed | None]


def _permitted(action: "Action", about: Situation) -> NotAllowed | None:
    """A customer by role, staff by one permission for each action; the system and the console may."""
    if about.audience not in action.audiences and about.audience != SYSTEM:
        return NotAllowed("audience", f"{action.label} is not offered here.")
    if about.audience == STOREFRONT:
        if about.role in action.roles:
            return None
        mine = about.actor is not None and about.subscription.ordered_by_id == about.actor.pk
        if action.buyer_of_it and about.role is Role.BUYER and mine:
            return None
        ask = f" Ask {about.whom_to_ask}." if about.whom_to_ask else ""
        return NotAllowed("role", f"Only people with the Owner or Manager role can {action.verb}.{ask}")
    if about.audience == BSS and not (about.actor and about.actor.has_perm(action.permission)):
        return NotAllowed("permission", f"Your staff group may not {action.verb}. Ask an administrator of BSS.")
    return None


def _status(action: "Action", about: Situation) -> NotAllowed | None:
    subscription = about.subscription
    if subscription.status in action.sources:
        return None
    match subscription.status:
        case S.PENDING:
            return NotAllowed("not_provisioned", "Not started yet: the licence service has not confirmed it.")
        case S.FAILED:
            return NotAllowed("failed", "The licence service refused to start this subscription.")
        case S.SUSPENDED if about.audience == STOREFRONT:
            return NotAllowed("suspended", "This subscription is suspended. Your distributor can activate it again.")
        case S.SUSPENDED if action.stem == "suspend":
            return NotAllowed("suspended", "Suspended already.")
        case S.SUSPENDED:
            return NotAllowed("suspended", "Suspended. Activate it first.")
        case S.CANCELLED:
            when = f" on {day(subscription.cancelled_at, subscription)}" if subscription.cancelled_at else ""
            return NotAllowed("cancelled", f"Cancelled{when}.")
        case S.ENDING if subscription.ends_at:
            return NotAllowed("ending", f"Ends on {day(subscription.ends_at, subscription)}.")
        case S.EXPIRED:
            return NotAllowed("expired", "The term is over and was not renewed.")
        case S.ACTIVE if action.stem == "activate":
            return NotAllowed("not_suspended", "Not suspended.")
        case _:
            return NotAllowed("status", f"Not possible while {subscription.get_status_display().lower()}.")


def _no_open_order(action: "Action", about: Situation) -> NotAllowed | None:
    order = about.open_order
    if order is None:
        return None
    if order.status == OrderStatus.NEEDS_ATTENTION:
        if about.audience == STOREFRONT:
            sentence = "The last change did not reach the licence service. We are working on it; nothing was charged."
        else:
            sentence = f"{order.number} needs attention. Settle it first: Retry or Give up."
        return NotAllowed("needs_attention", sentence, order=order)
    # Pages of BSS say all times in UTC, since one person there looks after accounts in many time zones.
    own = about.audience == STOREFRONT
    since = clock_time(order.placed_at, about.subscription) if own else f"{order.placed_at:%H:%M} UTC"
    return NotAllowed(
        "order_open",
        f"{order.number} is being applied since {since}. You can make another change when it is done.",
        order=order,
    )


def _seats_can_change(action: "Action", about: Situation) -> NotAllowed | None:
    if about.capabilities.seat_change == "in_place":
        return None
    return NotAllowed("vendor_cannot", "The licence service cannot change the number of seats of this product.")


def _room_above(action: "Action", about: Situation) -> NotAllowed | None:
    most = about.subscription.sku.seats_max
    if about.subscription.seats < most:
        return None
    return NotAllowed("at_maximum", f"This product allows at most {seats_words(most)}.")


def _room_below(action: "Action", about: Situation) -> NotAllowed | None:
    least, have = about.subscription.sku.seats_min, about.subscription.seats
    if have > least:
        return None
    return NotAllowed(
        "at_minimum", f"You have {seats_words(have)}, and {least:,} is the smallest number for this product."
    )


def _can_suspend(action: "Action", about: Situation) -> NotAllowed | None:
    if about.capabilities.suspend:
        return None
    return NotAllowed("vendor_cannot", "The licence service cannot suspend this product.")


def _has_code(action: "Action", about: Situation) -> NotAllowed | None:
    if about.subscription.activation_code:
        return None
    return NotAllowed("not_provisioned", "The activation code is not ready yet.")


def _code_shown_to_customers(action: "Action", about: Situation) -> NotAllowed | None:
    """Customers lose sight of the code while it does not work; staff may look it up at any time."""
    if about.audience != STOREFRONT:
        return None
    if about.subscription.status == S.SUSPENDED:
        return NotAllowed("suspended", "This subscription is suspended. Your distributor can activate it again.")
    if about.subscription.status == S.CANCELLED:
        return _status(CANCEL, about)
    return None


def _order_can_retry(action: "Action", about: Situation) -> NotAllowed | None:
    order = about.order
    if order is None or order.status == OrderStatus.NEEDS_ATTENTION:
        return None
    if order.action == "start" and order.status == OrderStatus.FAILED and about.subscription.status == S.FAILED:
        return None if about.open_order is None else _no_open_order(action, about)
    return NotAllowed("order_status", f"{order.number} is {order.get_status_display().lower()}: nothing to settle.")


# --- what a change asks of the vendor, and what it does to our record ------------------------------------------------


def asked_at(order: Order) -> datetime:
    """The instant that a sending names: the order's own, so that a second sending says exactly the same as the first.

    A new generation has its own, since a vendor refuses dates that lie far back and staff may retry weeks later.
    """
    return order.retried_at if order.generation > 1 and order.retried_at else order.placed_at


def _start_call(order: Order, subscription: Subscription) -> port.Command:
    return port.Provision(
        subscription.subscriber_id, subscription.sku.vendor_product_id, order.after["Seats"], asked_at(order)
    )


def _seats_call(order: Order, subscription: Subscription) -> port.Command:
    return port.SetSeats(
        subscription.subscriber_id,
        subscription.sku.vendor_product_id,
        order.after["Seats"],
        # Not the subscription's start: a vendor refuses dates that lie far back, and takes no new start from this.
        asked_at(order),
    )


def _status_call(order: Order, subscription: Subscription) -> port.Command:
    match order.after["Status"]:
        case S.SUSPENDED:
            return port.Suspend(subscription.subscriber_id, asked_at(order))
        case S.CANCELLED:
            return port.Cancel(subscription.subscriber_id, "now", asked_at(order))
        case _:
            return port.Activate(subscription.subscriber_id)


def _settle_call(order: Order, subscription: Subscription) -> port.Command:
    return _seats_call(order, subscription) if "Seats" in order.after else _status_call(order, subscription)


def _provision(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    # The start that the vendor was told, so that both records name the same instant.
    subscription.provision(at=asked_at(order), code=code)


def _set_seats(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    subscription.seats = order.after["Seats"]


def _set_status(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    match order.after["Status"]:
        case S.SUSPENDED:
            subscription.suspend(at=at)
        case S.CANCELLED:
            subscription.cancel(at=at)
        case S.ENDING if order.after.get("Ends") and subscription.status == S.SUSPENDED:
            subscription.ends_at = datetime.fromisoformat(order.after["Ends"])
            subscription.activate(at=at)
        case S.ENDING if order.after.get("Ends"):
            subscription.schedule_end(ends_at=datetime.fromisoformat(order.after["Ends"]))
        case S.ACTIVE if subscription.status == S.ENDING:
            subscription.keep()
        case S.ACTIVE | S.ENDING:
            subscription.activate(at=at)


def _take(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    (_set_seats if "Seats" in order.after else _set_status)(subscription, order, at, code)


def _nothing(subscription: Subscription, order: Order, at: datetime, code: port.Secret | None) -> None:
    """Our record is the one that was right."""


Call = Callable[[Order, Subscription], port.Command]
Effect = Callable[[Subscription, Order, datetime, port.Secret | None], None]


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the table. `stem` is its name in URLs, forms, templates, events, permissions and commands."""

    stem: str
    label: str
    verb: str
    """What a person may or may not do, for sentences: "change seats"."""
    audiences: frozenset[str]
    conditions: tuple[Condition, ...]
    sources: frozenset[str] = frozenset(S.values)
    roles: frozenset[Role] = frozenset()
    buyer_of_it: bool = False
    """A Buyer may do it with subscriptions that they ordered."""
    call: Call | None = None
    effect: Effect = _nothing
    takes_seats: bool = False

    @property
    def permission(self) -> str:
        """The one permission that staff need, checked wherever this action is decided."""
        return f"subscriptions.{self.stem}_subscription"

    def why_not(self, about: Situation) -> NotAllowed | None:
        """The first reason that stands in the way, or None when the action is possible now."""
        for condition in self.conditions:
            if refusal := condition(self, about):
                return refusal
        return None


CHANGES_SEATS = frozenset({Role.OWNER, Role.MANAGER})

START = Action(
    "start", "Start a subscription", "start subscriptions", STAFF, (_permitted,), frozenset({S.PENDING}),
    call=_start_call, effect=_provision, takes_seats=True,
)  # fmt: skip
INCREASE = Action(
    "increase", "Increase seats", "change seats", BOTH,
    (_permitted, _status, _no_open_order, _seats_can_change, _room_above),
    frozenset({S.ACTIVE}), CHANGES_SEATS, call=_seats_call, effect=_set_seats, takes_seats=True,
)  # fmt: skip
DECREASE = Action(
    "decrease", "Decrease seats", "change seats", BOTH,
    (_permitted, _status, _no_open_order, _seats_can_change, _room_below),
    frozenset({S.ACTIVE}), CHANGES_SEATS, call=_seats_call, effect=_set_seats, takes_seats=True,
)  # fmt: skip
CODE = Action(
    "code", "Get activation code", "see activation codes", BOTH, (_permitted, _code_shown_to_customers, _has_code),
    roles=CHANGES_SEATS, buyer_of_it=True,
)  # fmt: skip
CANCEL = Action(
    "cancel", "Cancel subscription", "cancel subscriptions", BOTH, (_permitted, _status, _no_open_order),
    frozenset({S.ACTIVE, S.SUSPENDED, S.ENDING}), CHANGES_SEATS, call=_status_call, effect=_set_status,
)  # fmt: skip
SUSPEND = Action(
    "suspend", "Suspend", "suspend subscriptions", STAFF, (_permitted, _status, _no_open_order, _can_suspend),
    frozenset({S.ACTIVE, S.ENDING}), call=_status_call, effect=_set_status,
)  # fmt: skip
ACTIVATE = Action(
    "activate", "Activate", "activate subscriptions", STAFF, (_permitted, _status, _no_open_order),
    frozenset({S.SUSPENDED}), call=_status_call, effect=_set_status,
)  # fmt: skip
DETAILS = Action("details", "Get details", "ask the licence service", STAFF, (_permitted,))
RETRY = Action("retry", "Retry", "retry orders", STAFF, (_permitted, _order_can_retry))
GIVE_UP = Action("give_up", "Give up", "give up orders", STAFF, (_permitted, _order_can_retry))
TAKE_THEIRS = Action(
    "take_theirs", "Take theirs", "settle differences", STAFF, (_permitted, _no_open_order), effect=_take,
)  # fmt: skip
PUSH_OURS = Action(
    "push_ours", "Push ours", "settle differences", STAFF, (_permitted, _no_open_order), call=_settle_call,
)  # fmt: skip

ACTIONS: dict[str, Action] = {
    one.stem: one
    for one in (
        START, INCREASE, DECREASE, CODE, CANCEL, SUSPEND, ACTIVATE, DETAILS, RETRY, GIVE_UP, TAKE_THEIRS, PUSH_OURS,
    )
}  # fmt: skip
# The fixed order of the two menus (screens.md).
STOREFRONT_MENU = (INCREASE, DECREASE, CODE, CANCEL)
SHORTCUT_MENU = (INCREASE, DECREASE, SUSPEND, ACTIVATE, CANCEL, DETAILS)


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry of a menu: the action, and the reason that stands in the way, if any."""

    action: Action
    refusal: NotAllowed | None = field(default=None)


def offers(menu: Iterable[Action], about: Situation) -> list[Offer]:
    """The menu in its fixed order, each action with its reason; only what this audience can never have is left out."""
    return [Offer(action, action.why_not(about)) for action in menu if about.audience in action.audiences]


# --- seats as people type them ---------------------------------------------------------------------------------------


def seat_range(action: Action, subscription: Subscription) -> tuple[int, int]:
    """The smallest and the largest new total that `action` can ask for; empty when the first is the larger one.

    Every sentence and every form draws on it. Seats beyond a narrowed SKU can only go down into its range.
    """
    least, most, have = subscription.sku.seats_min, subscription.sku.seats_max, subscription.seats
    if action is INCREASE:
        return max(have + 1, least), most
    if action is DECREASE:
        return least, min(have - 1, most)
    return least, most


def _allowed(action: Action, subscription: Subscription) -> str:
    low, high = seat_range(action, subscription)
    return f"Enter a whole number from {low:,} to {high:,}." if low < high else f"The only possible number is {low:,}."


def read_seats(action: Action, subscription: Subscription, text: str) -> int:
    """The new total from what was typed. Raises NotAllowed whose sentence names the allowed range.

    Plain ASCII digits only: `1e3`, `1,000` and digits of other scripts are refused rather than guessed.
    """
    typed = text.strip()
    if not typed:
        raise NotAllowed("seats_missing", f"Enter the new number of seats. {_allowed(action, subscription)}")
    if not (typed.isascii() and typed.isdigit()):
        sentence = f"“{typed[:20]}” is not a number of seats. {_allowed(action, subscription)}"
        raise NotAllowed("seats_not_a_number", sentence)
    # Longer than any seat limit: int() would accept it and PostgreSQL would not.
    seats = int(typed) if len(typed.lstrip("0")) <= 9 else 10**9
    if refusal := why_not_seats(action, subscription, seats):
        raise refusal
    return seats


def why_not_seats(action: Action, subscription: Subscription, seats: int) -> NotAllowed | None:
    """Why `seats` cannot be the new total, or None. The database refuses what is outside the range as well."""
    least, most, have = subscription.sku.seats_min, subscription.sku.seats_max, subscription.seats
    allowed = _allowed(action, subscription)
    if action is DECREASE and seats == 0:
        return NotAllowed("zero", f"Zero seats is not a decrease: cancel the subscription instead. {allowed}")
    if action in (INCREASE, DECREASE) and seats == have:
        return NotAllowed("same", f"You have {seats_words(have)} already. {allowed}")
    if action is INCREASE and seats < have:
        return NotAllowed("not_more", f"That is fewer than the {have:,} you have. {allowed}")
    if action is DECREASE and seats > have:
        return NotAllowed("not_fewer", f"That is more than the {have:,} you have. {allowed}")
    if seats < least:
        return NotAllowed("below_minimum", f"This product starts at {seats_words(least)}. {allowed}")
    if seats > most:
        return NotAllowed("above_maximum", f"This product allows at most {seats_words(most)}. {allowed}")
    return None


# --- the vendor's record against ours --------------------------------------------------------------------------------

V = port.VendorStatus


def expected_at_vendor(status: str, details: port.Details, at: datetime) -> bool:
    """Does the vendor's status say what product.md, section 2, expects beside `status`?"""
    over = isinstance(details.ends_at, datetime) and details.ends_at <= at
    match status:
        case S.PENDING:
            return details.status == V.NOT_STARTED
        case S.ACTIVE | S.EXPIRED:
            return details.status == V.STARTED
        case S.ENDING:
            return details.status == V.STARTED or (details.status == V.SOFT_CANCELLED and not over)
        case S.SUSPENDED:
            return details.status == V.PAUSED
        case S.CANCELLED:
            return details.status == V.HARD_CANCELLED or (details.status == V.SOFT_CANCELLED and over)
        case _:
            return False


TARGET, BEFORE, NEITHER, ABSENT = "target", "before", "neither", "absent"


def evidence(order: Order, subscription: Subscription, details: port.Details) -> str:
    """What a read proves about an order: `target`, `before` or `neither`. Needs `sku` loaded."""
    if order.abandoned:
        return TARGET if expected_at_vendor(S.CANCELLED, details, clock.now()) else BEFORE
    if details.product_id != subscription.sku.vendor_product_id:
        return NEITHER
    if "Seats" in order.after:
        running = details.status == V.STARTED
        if details.seats == order.after["Seats"] and (running or order.action != "start"):
            return TARGET
        return BEFORE if details.seats == order.before.get("Seats") else NEITHER
    if expected_at_vendor(order.after["Status"], details, clock.now()):
        return TARGET
    return BEFORE if expected_at_vendor(order.before["Status"], details, clock.now()) else NEITHER
