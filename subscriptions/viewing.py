"""View as customer: staff see the Storefront as a member of an account sees it, read-only, for a while, and logged.

Nobody is signed in as somebody else: the session keeps the key of a Viewing, and each request asks `seen_by` anew
whose eyes it uses. The person of the request stays the member of staff, for everything that is written or logged.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When

from subscriptions import clock, statements
from subscriptions.actions import NotAllowed
from subscriptions.models import Account, Ending, Member, Role, Subscription, User, Viewing

PERMISSION = "subscriptions.view_as_customer"
KEY = "viewing"
"""Where a session keeps the key of its Viewing."""

_WHY_OVER: dict[str, str] = {
    Ending.LIMIT: "The time for it was over.",
    Ending.NOT_PERMITTED: "Your staff group may not view as a customer any more.",
    Ending.MEMBER_GONE: "The member was removed from the account, or may not sign in any more.",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """A viewing that goes on. `eyes` knows what the person of a request knows, such as `sees_statements`."""

    viewing: Viewing
    member: Member
    eyes: User


@dataclass(frozen=True, slots=True)
class Over:
    """A viewing that is over, and the sentence that says why."""

    viewing: Viewing
    sentence: str


def why_not(actor: Any) -> NotAllowed | None:
    """Why this person may not view as a customer at all, or None."""
    if actor.is_active and actor.is_staff and actor.has_perm(PERMISSION):
        return None
    return NotAllowed("permission", "Your staff group may not view as a customer.")


def members_of(account: Account) -> QuerySet[Member]:
    """The members with whose eyes one can look: those who may sign in, an Owner first."""
    place = Case(*(When(role=role, then=Value(n)) for n, role in enumerate(Role.values)), output_field=IntegerField())
    able = account.members.filter(user__is_active=True).select_related("user")
    return able.order_by(place, "user__name", "pk")


def start(member: Member, *, actor: User, reason: str, subscription: Subscription | None = None) -> Viewing:
    """Begin to look with the member's eyes, for VIEWING_LIMIT seconds. Raises NotAllowed.

    Needs `user` and `account` loaded. The caller keeps the key in the actor's session, and in no other one.
    """
    if refusal := why_not(actor):
        raise refusal
    if not member.user.is_active:
        raise NotAllowed("inactive", f"{member.user} may not sign in, so there is nothing that they see.")
    at = clock.now()
    # What was over by itself is noted by whoever looks the next time, and until then told by its `until`.
    outlived = Viewing.objects.filter(actor=actor, ended_at=None, until__lte=at)
    outlived.update(ended_at=F("until"), ending=Ending.LIMIT)
    return Viewing.objects.create(
        account=member.account,
        person=member.user,
        role=member.role,
        subscription=subscription,
        actor=actor,
        reason=reason,
        started_at=at,
        until=at + timedelta(seconds=settings.VIEWING_LIMIT),
    )


def seen_by(actor: Any, key: int) -> Sight | Over | None:
    """What the viewing of that key comes to for this person now; None for one that is not theirs or ended before.

    Everything is looked at anew, so that whatever is taken away counts at once. That is the end of it, and is noted: it
    must not go on when it is given back. One whose time is over is left as it is.
    """
    found = Viewing.objects.filter(pk=key, actor=actor.pk, ended_at=None).select_related("account", "actor").first()
    if found is None:
        return None
    member = (
        Member.objects.filter(account=found.account_id, user=found.person_id, user__is_active=True)
        .select_related("account")
        .first()
    )
    if clock.now() >= found.until:
        return Over(found, _WHY_OVER[Ending.LIMIT])
    if why_not(actor):
        return _over(found, Ending.NOT_PERMITTED)
    if member is None:
        return _over(found, Ending.MEMBER_GONE)
    return Sight(found, member, statements.with_sight(User.objects.all()).get(pk=found.person_id))


def _over(found: Viewing, ending: Ending) -> Over:
    end(found.pk, ending)
    return Over(found, _WHY_OVER[ending])


def end(key: int, ending: Ending) -> None:
    """Note that it is over, and why; once it has ended nothing changes any more."""
    at = clock.now()
    going_on = Viewing.objects.filter(pk=key, ended_at=None)
    # What was over by itself before anybody came back did not last until now.
    for one in going_on.only("until"):
        late = at >= one.until
        going_on.update(ended_at=one.until if late else at, ending=Ending.LIMIT if late else ending)


def log(account: Account, *, newest: int) -> list[Viewing]:
    """The newest looks into an account, also those with the eyes of somebody who is its member beside others."""
    people = account.members.values("user")
    rows = Viewing.objects.filter(Q(account=account) | Q(person__in=people))
    rows = rows.select_related("account", "person", "actor", "subscription").defer("subscription__activation_code")
    return list(rows[:newest])


def about(person: User, *, newest: int) -> list[Viewing]:
    """The newest looks that a customer may know of: those with their own eyes, and into accounts that they own."""
    owned = Member.objects.filter(user=person, role=Role.OWNER).values("account")
    rows = Viewing.objects.filter(Q(person=person) | Q(account__in=owned))
    return list(rows.select_related("account", "person")[:newest])


def ended_words(viewing: Viewing) -> str:
    """How it ended, or that it still goes on."""
    if viewing.ended_at is not None:
        return viewing.get_ending_display()
    return Ending.LIMIT.label if clock.now() >= viewing.until else "Goes on"


__all__ = [
    "KEY", "PERMISSION", "Over", "Sight", "about", "end", "ended_words", "log", "members_of", "seen_by", "start",
    "why_not",
]  # fmt: skip
