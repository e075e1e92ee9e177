"""Who is told what of an event, in one place."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from subscriptions import actions
from subscriptions.models import Event, Member, Order, OrderStatus, Role, Subscription, SubscriptionStatus, User
from subscriptions.models.notice import STAFF_KINDS, NoticeKind, kinds_of

K = NoticeKind
ALL = frozenset(set(K) - set(STAFF_KINDS))
# What may become of an order that somebody placed; of a start, who may not see codes hears that it is done.
OUTCOMES = frozenset({K.DONE, K.FAILED, K.APPROVAL, K.WITHDRAWN, K.ENDING, K.ENDED})

# Role -> what it is told about every subscription of its account. Whoever placed an order hears its outcome whatever
# their role has become since, and a Buyer everything about what they bought.
HEARS: dict[Role, frozenset[NoticeKind]] = {
    # They answer for all of it.
    Role.OWNER: ALL,
    Role.MANAGER: ALL,
    # What others buy is none of their work.
    Role.BUYER: frozenset(),
    # What changes the bill: of what is done, only that which has a price.
    Role.BILLING: frozenset({K.DONE, K.ENDING, K.ENDED, K.REMINDER, K.EXPIRED}),
    # They look when they want to know.
    Role.VIEWER: frozenset(),
}
# Kind -> the group of BSS whose work it is. They cannot decline it; who is in no such group is not told.
STAFF_GROUP = {K.DECIDE: "Approver", K.ATTENTION: "Operator"}


def can_hear(role: Role) -> frozenset[NoticeKind]:
    """Every kind that can ever reach somebody with this role, so that they can decline it."""
    return ALL if role is Role.BUYER else HEARS[role] | OUTCOMES


def recipients(events: Collection[Event]) -> dict[tuple[int, int], NoticeKind]:
    """(event, person) -> what to tell, as things stand now; at most 3 queries.

    Needs `order` and `subscription` of the events loaded.
    """
    news = [event for event in events if _is_news(event)]
    if not news:
        return {}
    members = defaultdict(list)
    for member in Member.objects.filter(
        account__in={one.account_id for one in news}, user__is_active=True
    ).select_related("user"):
        members[member.account_id].append(member)
    replaced_by = replacing(news)
    found: dict[tuple[int, int], NoticeKind] = {}
    for event in news:
        by = replaced_by.get(event.pk)
        knows = {event.actor_id, by.actor_id if by else None}
        for member in members[event.account_id]:
            kind = _kind_for(member, event, knows)
            if kind is not None and kind not in member.notices_off:
                found[event.pk, member.user_id] = kind
    return found | _staff(news)


def _is_news(event: Event) -> bool:
    """Is it, as things stand now, worth a mail to anybody?"""
    order = event.order
    match event.kind.rpartition(".")[2]:
        case "awaiting_approval":
            return order is not None and order.status == OrderStatus.AWAITING_APPROVAL
        case "held":
            return order is not None and order.status == OrderStatus.NEEDS_ATTENTION
        case "give_up":
            # A start that is being cancelled at the vendor fails later; one that was refused has been told about.
            return order is not None and order.status == OrderStatus.FAILED and order.finished_at == event.at
        case "no_price":
            # Otherwise it has been billed meanwhile.
            return event.after.get("Period") == f"{event.subscription.period_end}"
        case "failed":
            # What nobody asked for is tried again without a word.
            return order is not None and order.audience != actions.SYSTEM
        case "withdrawn" if event.actor_id is None:
            # That the subscription is over says the same of everything that was planned for it.
            return event.subscription.status != SubscriptionStatus.CANCELLED
        case "reminder" if event.kind == "trial.reminder":
            # Otherwise it was converted or cancelled meanwhile.
            running = event.subscription.status == SubscriptionStatus.ACTIVE
            return running and f"{event.subscription.trial_ends}" == event.after.get("Date")
        case "completed" if event.kind == "cancel.completed":
            return not _ends_a_trial(event.subscription, order)
    return bool(kinds_of(event.kind))


def _ends_a_trial(subscription: Subscription, order: Order | None) -> bool:
    """`trial.ended` has said it already."""
    return order is not None and order.audience == actions.SYSTEM and subscription.trial_ends is not None


def _kind_for(member: Member, event: Event, knows: Collection[int | None]) -> NoticeKind | None:
    role, subscription, order = Role(member.role), event.subscription, event.order
    bought = subscription.ordered_by_id == member.user_id
    placed = order is not None and order.actor_id == member.user_id
    for kind in kinds_of(event.kind):
        if kind in STAFF_KINDS or (kind is K.CODE and not _sees_code(role, bought=bought)):
            continue
        if kind is K.WITHDRAWN and member.user_id in knows:
            return None
        if kind is K.DONE and order is not None and not order.quote:
            # The page said so when they pressed the button.
            if placed and order.finished_at == order.placed_at:
                return None
            if role is Role.BILLING and not placed:
                return None
        if kind in HEARS[role] or placed or (bought and role is Role.BUYER):
            return kind
        return None
    return None


def _sees_code(role: Role, *, bought: bool) -> bool:
    return role in actions.CODE.roles or (role is Role.BUYER and bought)


def replacing(events: Collection[Event]) -> dict[int, Order]:
    """Of those that withdrew an order by itself: the order that took its place, if one did; at most 1 query."""
    withdrawn = [one for one in events if one.kind.endswith(".withdrawn") and one.actor_id is None]
    if not withdrawn:
        return {}
    placed = {
        (one.subscription_id, one.placed_at): one
        for one in Order.objects.filter(
            subscription__in={one.subscription_id for one in withdrawn}, placed_at__in={one.at for one in withdrawn}
        ).exclude(audience=actions.SYSTEM)
    }
    found = {one.pk: placed.get((one.subscription_id, one.at)) for one in withdrawn}
    return {pk: order for pk, order in found.items() if order is not None}


def _staff(events: Sequence[Event]) -> dict[tuple[int, int], NoticeKind]:
    # One price is missing for all subscriptions alike that renew in one night: once is enough.
    alike = {_one_for_all(event): event for event in reversed(events)}.values()
    wanted = [(event, kind) for event in alike for kind in kinds_of(event.kind) if kind in STAFF_KINDS]
    if not wanted:
        return {}
    groups = defaultdict(list)
    people = User.objects.filter(is_active=True, is_staff=True, groups__name__in=STAFF_GROUP.values())
    for user, group in people.values_list("pk", "groups__name"):
        groups[group].append(user)
    return {
        (event.pk, user): kind
        for event, kind in wanted
        for user in groups[STAFF_GROUP[kind]]
        # Nobody decides about their own order.
        if kind is not K.DECIDE or event.order is None or event.order.actor_id != user
    }


def _one_for_all(event: Event) -> tuple[object, ...]:
    if event.kind == "period.no_price":
        return event.kind, event.subscription.sku_id, event.subscription.currency
    return (event.pk,)
