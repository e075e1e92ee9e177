"""Acts that change no status and leave a trace of who did it."""

from collections.abc import Mapping
from typing import Any, cast

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction

from subscriptions import actions, clock
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import rows
from subscriptions.models import Account, Member, Subscription, User
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


def keep_company_details(account: Account, details: Mapping[str, str], *, actor: User) -> None:
    """Keep `legal_name`, `address`, `country` and `vat_id` of a company that wants to buy; the account's history in
    BSS names the person.

    What is complete already stays, also when somebody else was first. Raises NotAllowed for people who may not buy.
    """
    # An event is about a subscription, and there is none yet.
    about = actions.situation(Subscription(account=account), actor=actor, audience=actions.STOREFRONT)
    if refusal := actions.START.why_not(about):
        raise refusal
    with transaction.atomic(durable=True):
        locked = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        if locked.has_details:
            return
        for name in COMPANY_DETAILS:
            setattr(locked, name, details[name])
        locked.save(update_fields=COMPANY_DETAILS)
        words = "Gave the company's details in the Storefront."
        LogEntry.objects.log_actions(actor.pk, [locked], CHANGE, words, single_object=True)


COMPANY_DETAILS = ("legal_name", "address", "country", "vat_id")
