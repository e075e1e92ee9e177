"""Mail that is owed: the task reads what it needs when it sends; job arguments hold ids only."""

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from subscriptions import actions
from subscriptions.models import Member, Subscription

log = structlog.get_logger(__name__)


@app.task(
    name="subscriptions.mail_code",
    queue="mail",
    # The last try comes about six hours after the first: a code that is mailed later surprises more than it helps.
    retry=RetryStrategy(max_attempts=8, exponential_wait=4),
)
def mail_code(subscription_id: int, member_id: int) -> None:
    """Send the activation code to a member, in the body only; nothing is sent when they may not see it any more."""
    subscription = Subscription.objects.select_related("sku__product", "account").get(pk=subscription_id)
    member = Member.objects.select_related("user").filter(pk=member_id, account=subscription.account_id).first()
    code = subscription.activation_code
    if (
        code is None
        or member is None
        or not member.user.is_active
        or actions.CODE.why_not(actions.situation(subscription, actor=member.user, audience=actions.STOREFRONT))
    ):
        log.warning("code not mailed: the member may not see it now", subscription_id=subscription_id)
        return
    about = {
        "subscription": subscription,
        "member": member,
        "code": code.reveal(),
        "base_url": settings.BASE_URL,
    }
    mail = EmailMultiAlternatives(
        # A subject is one line, whatever the product is called.
        " ".join(f"Activation code for {subscription.sku.product.name} ({subscription.number})".split()),
        render_to_string("email/activation_code.txt", about),
        to=[member.user.email],
    )
    mail.attach_alternative(render_to_string("email/activation_code.html", about), "text/html")
    mail.send()
