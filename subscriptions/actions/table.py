"""The table itself: one row for each action."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from subscriptions.actions import conditions as _if
from subscriptions.actions import effects as _do
from subscriptions.actions.situation import BOTH, STAFF, NotAllowed, Situation
from subscriptions.models import Order, Role, SubscriptionStatus

S = SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the table. `stem` is its name in URLs, forms, templates, events, permissions and commands."""

    stem: str
    label: str
    verb: str
    """What a person may or may not do, for sentences: "change seats"."""
    audiences: frozenset[str]
    conditions: tuple[_if.Condition, ...]
    sources: frozenset[str] = frozenset(S.values)
    roles: frozenset[Role] = frozenset()
    buyer_of_it: bool = False
    """A Buyer may do it with subscriptions that they ordered."""
    call: _do.Call | None = None
    effect: _do.Effect = _do.nothing
    takes_seats: bool = False
    costs: bool = False
    """Can lead to lines in the ledger, so it is quoted before it is placed."""
    by_itself: frozenset[str] = frozenset()
    """Further sources for the system alone."""

    @property
    def permission(self) -> str:
        """The one permission that staff need, checked wherever this action is decided."""
        return f"subscriptions.{self.stem}_subscription"

    def asks(self, order: Order) -> bool:
        """Does the vendor hear of this order? Not of a change that it would not notice."""
        if self.call is None:
            return False
        unseen = order.after.get("Product") == order.before.get("Product") and (
            order.after.get("Seats") == order.before.get("Seats")
        )
        return self.stem != "change_sku" or not unseen

    def why_not(self, about: Situation) -> NotAllowed | None:
        """The first reason that stands in the way, or None when the action is possible now."""
        for condition in self.conditions:
            if refusal := condition(self, about):
                return refusal
        return None


CHANGES_SEATS = frozenset({Role.OWNER, Role.MANAGER})

BUYS = CHANGES_SEATS | {Role.BUYER}

START = Action(
    "start", "Start a subscription", "buy subscriptions", BOTH, (_if.permitted,), frozenset({S.PENDING}), BUYS,
    call=_do.start_call, effect=_do.provision, takes_seats=True, costs=True,
)  # fmt: skip
INCREASE = Action(
    "increase", "Increase seats", "change seats", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.seats_can_change, _if.not_on_trial, _if.room_above),
    frozenset({S.ACTIVE}), CHANGES_SEATS, call=_do.seats_call, effect=_do.set_seats, takes_seats=True, costs=True,
)  # fmt: skip
DECREASE = Action(
    "decrease", "Decrease seats", "change seats", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.seats_can_change, _if.not_on_trial, _if.room_below),
    frozenset({S.ACTIVE}), CHANGES_SEATS, call=_do.seats_call, effect=_do.set_seats, takes_seats=True, costs=True,
)  # fmt: skip
CODE = Action(
    "code", "Get activation code", "see activation codes", BOTH,
    (_if.permitted, _if.code_shown_to_customers, _if.has_code), roles=CHANGES_SEATS, buyer_of_it=True,
)  # fmt: skip
CANCEL = Action(
    "cancel", "Cancel subscription", "cancel subscriptions", BOTH, (_if.permitted, _if.status, _if.no_open_order),
    frozenset({S.ACTIVE, S.SUSPENDED, S.ENDING}), CHANGES_SEATS, call=_do.status_call, effect=_do.set_status,
    costs=True, by_itself=frozenset({S.EXPIRED}),
)  # fmt: skip
SUSPEND = Action(
    "suspend", "Suspend", "suspend subscriptions", STAFF,
    (_if.permitted, _if.status, _if.no_open_order, _if.can_suspend),
    frozenset({S.ACTIVE, S.ENDING}), call=_do.status_call, effect=_do.set_status,
)  # fmt: skip
ACTIVATE = Action(
    "activate", "Activate", "activate subscriptions", STAFF, (_if.permitted, _if.status, _if.no_open_order),
    frozenset({S.SUSPENDED}), call=_do.status_call, effect=_do.set_status, costs=True,
)  # fmt: skip
KEEP = Action(
    "keep", "Keep subscription", "keep subscriptions", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.ends_by_an_order), frozenset({S.ENDING}), CHANGES_SEATS,
)  # fmt: skip
RENEW = Action(
    "renew", "Renew", "renew subscriptions", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.expired_while_working), frozenset({S.EXPIRED}), CHANGES_SEATS,
    effect=_do.renew, costs=True,
)  # fmt: skip
AUTO_RENEW = Action(
    "auto_renew", "Automatic renewal", "switch the automatic renewal", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.not_on_trial), frozenset({S.ACTIVE, S.SUSPENDED}),
    CHANGES_SEATS, effect=_do.auto_renew,
)  # fmt: skip
CONVERT = Action(
    "convert", "Convert to a paid subscription", "convert trials", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.on_trial), frozenset({S.ACTIVE}), BUYS,
    effect=_do.convert, costs=True,
)  # fmt: skip
CHANGE_SKU = Action(
    "change_sku", "Change the SKU", "change the SKU", BOTH,
    (_if.permitted, _if.status, _if.no_open_order, _if.not_on_trial, _if.has_target), frozenset({S.ACTIVE}),
    CHANGES_SEATS, call=_do.change_sku_call, effect=_do.change_sku, costs=True,
)  # fmt: skip
DETAILS = Action("details", "Get details", "ask the licence service", STAFF, (_if.permitted,))
RETRY = Action("retry", "Retry", "retry orders", STAFF, (_if.permitted, _if.order_can_retry))
GIVE_UP = Action("give_up", "Give up", "give up orders", STAFF, (_if.permitted, _if.order_can_retry))
UNDO = Action(
    "undo", "Undo", "undo planned changes", BOTH, (_if.permitted, _if.order_can_be_undone), roles=CHANGES_SEATS
)
APPROVE = Action("approve", "Approve", "approve orders", STAFF, (_if.permitted, _if.order_awaits_approval))
REJECT = Action("reject", "Reject", "reject orders", STAFF, (_if.permitted, _if.order_awaits_approval))
CORRECT = Action("correct", "Correct a line", "correct the ledger", STAFF, (_if.permitted,))
TAKE_THEIRS = Action(
    "take_theirs", "Take theirs", "settle differences", STAFF, (_if.permitted, _if.no_open_order), effect=_do.take,
)  # fmt: skip
PUSH_OURS = Action(
    "push_ours", "Push ours", "settle differences", STAFF, (_if.permitted, _if.no_open_order), call=_do.settle_call,
)  # fmt: skip

ACTIONS: dict[str, Action] = {
    one.stem: one
    for one in (
        START, INCREASE, DECREASE, CODE, CANCEL, SUSPEND, ACTIVATE, KEEP, RENEW, AUTO_RENEW, CONVERT, CHANGE_SKU,
        DETAILS, RETRY, GIVE_UP, UNDO, APPROVE, REJECT, CORRECT, TAKE_THEIRS, PUSH_OURS,
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
