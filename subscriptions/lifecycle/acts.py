"""Acts that change no status and leave an event."""

from typing import Any, cast

from django.db import transaction

from subscriptions import actions, clock
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import rows
from subscriptions.models import Member, Subscription, User
from subscriptions.vendors.port import Secret


def reveal_code(subscription: Subscription, how: str, *, actor: User, audience: str) -> Secret:
    """The activation code, with an event that names the person and `how` (`shown`, `downloaded`).

    Needs `sku__product` and `account` loaded. Raises NotAllowed.
    """
    code = _code_for(subscription, actor=actor, audience=audience)
    with transaction.atomic(durable=True):
        rows.event(subscription, f"code.{how}", clock.now(), actor=actor, audience=audience).save(force_insert=True)
    return code


def mail_code(subscription: Subscription, member: Member, *, actor: User, audience: str) -> None:
    """Owe an e-mail with the code to a member of this account who may see it; a worker reads the code when it sends.

    Raises NotAllowed when the actor may not see the code, or the member may not.
    """
    _code_for(subscription, actor=actor, audience=audience)
    if member.account_id != subscription.account_id:
        raise NotAllowed("member", "Choose a member of this account.")
    about = actions.situation(subscription, actor=member.user, audience=actions.STOREFRONT)
    if not member.user.is_active or actions.CODE.why_not(about):
        raise NotAllowed("member", f"{member.user.name} may not see the activation code of this subscription now.")
    with transaction.atomic(durable=True):
        rows.event(
            subscription, "code.mailed", clock.now(), actor=actor, audience=audience, after={"To": member.user.email}
        ).save(force_insert=True)
        rows.owe_mail("subscriptions.mail_code", subscription_id=subscription.pk, member_id=member.pk)


def _code_for(subscription: Subscription, *, actor: User, audience: str) -> Secret:
    if refusal := actions.CODE.why_not(actions.situation(subscription, actor=actor, audience=audience)):
        raise refusal
    # The action's own conditions have made sure that there is one.
    return cast(Secret, subscription.activation_code)


def note_details(
    subscription: Subscription, record: dict[str, Any] | None, *, actor: User | None, audience: str
) -> None:
    """Keep the vendor's answer to Get details beside our record, with the event of asking; `record` None: no answer.

    An answer that was overtaken by a change of ours since `subscription` was loaded is not kept.
    """
    at = clock.now()
    with transaction.atomic(durable=True):
        if record is not None:
            unchanged = Subscription.objects.filter(pk=subscription.pk, version=subscription.version)
            unchanged.update(vendor_record=record, vendor_read_at=at)
        rows.event(
            subscription, "details.read" if record is not None else "details.unanswered", at,
            actor=actor, audience=audience,
        ).save(force_insert=True)  # fmt: skip
