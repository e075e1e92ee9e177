"""Mail that is owed: tasks read what they need when they send; job arguments hold ids only.

`lifecycle` owes one `notify` for the events of each write that somebody is told about; it makes a Notice for each
person and owes a `send_notice` for each, but for what comes in the hundreds, which is `gathering`'s. Mail goes out at
least once, and never while a row is locked.
"""

from collections import Counter

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import actions, clock
from subscriptions.models import Event, Member, Notice, Subscription
from subscriptions.models.notice import REMINDERS
from subscriptions.notifications import letters
from subscriptions.notifications.recipients import recipients

log = structlog.get_logger(__name__)
FEW = 3
"""So many notices of a kind are sent to a person one by one, when they come at once."""
# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())


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
    language = subscription.account.language
    subject = _CODE_SUBJECTS[language].format(subscription.sku.product.name, subscription.number)
    mail = EmailMultiAlternatives(
        # A subject is one line, whatever the product is called.
        " ".join(subject.split()),
        render_to_string(f"email/{language}/activation_code.txt", about),
        to=[member.user.email],
    )
    mail.attach_alternative(render_to_string(f"email/{language}/activation_code.html", about), "text/html")
    mail.send()


_CODE_SUBJECTS = {"en": "Activation code for {} ({})", "de": "Aktivierungscode für {} ({})"}


@app.task(name="subscriptions.notify", queue="mail", retry=RetryStrategy(max_attempts=9, exponential_wait=4))
def notify(event_ids: list[int]) -> None:
    """Owe a mail to everybody who is told of these events, once for each event and person, however often it runs."""
    with transaction.atomic(durable=True):
        # Two runs about one event come one after the other; the second finds what the first has made.
        events = list(
            Event.objects.select_for_update(of=("self",), no_key=True)
            .select_related("order__bulk_row", "subscription")
            .defer("subscription__activation_code")
            .filter(pk__in=event_ids)
            .order_by("pk")
        )
        known = set(Notice.objects.filter(event__in=events).values_list("event", "user"))
        account_of = {event.pk: event.account_id for event in events}
        of_many = {event.pk for event in events if event.order and hasattr(event.order, "bulk_row")}
        told = recipients(events)
        # What falls due in one night comes in the hundreds too, and so do plans that a bulk run withdraws.
        together = Counter((user, kind, account_of[event]) for (event, user), kind in told.items())
        owed = Notice.objects.bulk_create(
            Notice(
                event_id=event, user_id=user, kind=kind,
                gathered=event in of_many or kind in REMINDERS or together[user, kind, account_of[event]] > FEW,
            )
            for (event, user), kind in told.items()
            if (event, user) not in known
        )  # fmt: skip
        if alone := [_sending(notice) for notice in owed if not notice.gathered]:
            _queue.batch_defer_jobs(alone)


def _sending(notice: Notice) -> Job:
    return Job(
        task_name="subscriptions.send_notice",
        queue="mail",
        # Thousands of reminders fall due in one night; what people wait for overtakes them.
        priority=-10,
        # Two workers never send one notice at the same time.
        lock=f"notice-{notice.pk}",
        queueing_lock=None,
        task_kwargs={"notice_id": notice.pk},
    )


@app.task(
    name="subscriptions.send_notice",
    queue="mail",
    # The last try comes about a day after the first.
    retry=RetryStrategy(max_attempts=9, exponential_wait=4),
)
def send_notice(notice_id: int) -> None:
    """Send a notice that was not sent; it is dropped when its person is not to be told any more."""
    unsent = Notice.objects.filter(pk=notice_id, sent_at=None).defer("event__subscription__activation_code")
    notice = unsent.select_related(
        "user", "event__account", "event__order__actor", "event__subscription__sku__product"
    ).first()
    if notice is None:
        return
    if recipients([notice.event]).get((notice.event_id, notice.user_id)) != notice.kind:
        log.info("notice dropped: the person is not to be told now", notice_id=notice_id)
        notice.delete()
        return
    letters.letter(notice).send()
    Notice.objects.filter(pk=notice_id).update(sent_at=clock.now())
