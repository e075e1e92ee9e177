"""What a decision looks at, and the words of refusals."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from subscriptions import clock, gateways
from subscriptions.models import OPEN_ORDER, Account, Member, Order, OrderStatus, Role, Subscription, User
from subscriptions.vendors import port

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
    """The order that Retry, Give up, Undo, Approve and Reject are about."""
    whom_to_ask: str = ""
    scheduled: Order | None = None
    at: datetime = field(default_factory=clock.now)

    @property
    def capabilities(self) -> port.Capabilities:
        return gateways.capabilities(self.subscription.sku)


def situations(
    subscriptions: Iterable[Subscription], *, actor: User | None, audience: str, order: Order | None = None
) -> list[Situation]:
    """The situation of each subscription, in 1 query for its orders and at most 2 for roles, whatever their number.

    Needs `sku__product` and `account` loaded. In the Storefront a person without a role in the account is a stranger.
    """
    rows = list(subscriptions)
    open_orders: dict[int, Order] = {}
    scheduled: dict[int, Order] = {}
    ahead = Order.objects.filter(
        subscription__among=[row.pk for row in rows], status__in=[*OPEN_ORDER, OrderStatus.SCHEDULED]
    )
    for one in ahead:
        (scheduled if one.status == OrderStatus.SCHEDULED else open_orders)[one.subscription_id] = one
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
            scheduled.get(row.pk),
        )
        for row in rows
    ]


def situation(
    subscription: Subscription, *, actor: User | None, audience: str, order: Order | None = None
) -> Situation:
    """`situations` for one."""
    return situations([subscription], actor=actor, audience=audience, order=order)[0]


# --- words -----------------------------------------------------------------------------------------------------------


def date_words(on: date) -> str:
    """A date such as 3 January 2027."""
    return f"{on.day} {on:%B %Y}"


def day(at: datetime, subscription: Subscription) -> str:
    """The date of an instant, in words, in the account's time zone."""
    return date_words(local_day(at, subscription.account))


def local_day(at: datetime, account: Account) -> date:
    """The date that an instant has in the account's time zone."""
    return at.astimezone(ZoneInfo(account.time_zone)).date()


def midnight(on: date, account: Account) -> datetime:
    """The instant (UTC) at which a day begins in the account's time zone."""
    return datetime.combine(on, time(), ZoneInfo(account.time_zone)).astimezone(UTC)


def clock_time(at: datetime, subscription: Subscription) -> str:
    return f"{at.astimezone(ZoneInfo(subscription.account.time_zone)):%H:%M}"


def seats_words(count: int) -> str:
    return f"{count:,} seat" if count == 1 else f"{count:,} seats"
