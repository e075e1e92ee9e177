"""Who is told by mail of what happened: the kinds of notice, and each notice that is owed or was sent."""

from django.db import models

from subscriptions.models.accounts import User
from subscriptions.models.event import Event


class NoticeKind(models.TextChoices):
    """What a person can decline; staff's two kinds come with their work and cannot be."""

    DONE = "done", "A change is done"
    FAILED = "failed", "A change was not done"
    APPROVAL = "approval", "Approval of a change"
    WITHDRAWN = "withdrawn", "A change was withdrawn"
    CODE = "code", "An activation code is ready"
    SUSPENSION = "suspension", "A subscription is suspended, or active again"
    ENDING = "ending", "A subscription will end"
    ENDED = "ended", "A subscription has ended"
    REMINDER = "reminder", "A subscription renews soon"
    EXPIRED = "expired", "A term is over and was not renewed"
    TRIAL_ENDING = "trial_ending", "A trial ends soon"
    TRIAL = "trial", "A trial is over"
    DECIDE = "decide", "An order waits for approval"
    ATTENTION = "attention", "An order needs attention"


K = NoticeKind
STAFF_KINDS = (K.DECIDE, K.ATTENTION)
REMINDERS = (K.REMINDER, K.TRIAL_ENDING)

# Orders that customers can place too: they wait for the outcome, whoever placed it. What staff alone do to a
# subscription is news once it is done.
_ASKED_FOR = ("start", "increase", "decrease", "change_sku", "convert", "renew", "auto_renew", "cancel")
_OUTCOMES = {
    "awaiting_approval": (K.APPROVAL, K.DECIDE),
    "approved": (K.APPROVAL,),
    "rejected": (K.APPROVAL,),
    "withdrawn": (K.WITHDRAWN,),
    "failed": (K.FAILED,),
    "give_up": (K.FAILED,),
    "completed": (K.DONE,),
}
# Event kind -> the kinds of notice that may be made of it. What is placed or planned is told when it is done, but for
# an end; nobody is told that time goes by (periods, terms that renew as announced).
_TOLD: dict[str, tuple[NoticeKind, ...]] = {
    f"{stem}.{what}": kinds for stem in _ASKED_FOR for what, kinds in _OUTCOMES.items()
} | {
    "start.completed": (K.CODE, K.DONE),
    "suspend.completed": (K.SUSPENSION,),
    "activate.completed": (K.SUSPENSION,),
    "activate.withdrawn": (K.WITHDRAWN,),
    "take_theirs.completed": (K.DONE,),
    "cancel.scheduled": (K.ENDING,),
    "cancel.completed": (K.ENDED,),
    "renewal.reminder": (K.REMINDER,),
    "trial.reminder": (K.TRIAL_ENDING,),
    "trial.ended": (K.TRIAL,),
    "expire.expired": (K.EXPIRED,),
    "period.no_price": (K.ATTENTION,),
}


def kinds_of(event_kind: str) -> tuple[NoticeKind, ...]:
    """The kinds of notice that may be made of an event, most wanted first: a person gets at most one of them."""
    if event_kind.endswith(".held"):
        return (K.ATTENTION,)
    return _TOLD.get(event_kind, ())


def told(event_kind: str) -> bool:
    """Is anybody ever told of such an event? Whoever writes one then owes a `subscriptions.notify`."""
    return bool(kinds_of(event_kind))


class Notice(models.Model):
    """One event told to one person, once; `sent_at` is empty until the mail server has taken it.

    A member is told as one of the event's account, staff as such: `kind` says which. What comes in the hundreds is
    `gathered`: it waits for others of its kind, and goes with them as the `letter` that has the number of the first.
    """

    event = models.ForeignKey(Event, models.PROTECT, related_name="notices")
    user = models.ForeignKey(User, models.PROTECT, related_name="notices")
    kind = models.CharField(max_length=32)
    sent_at = models.DateTimeField(null=True)
    gathered = models.BooleanField(default=False, db_default=False)
    letter = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=NoticeKind.values), name="notice_kind_known"),
            models.UniqueConstraint(fields=["event", "user"], name="one_notice_of_an_event_for_a_person"),
        ]
        # How many are owed is asked by every scrape of the metrics; nearly all were sent long ago.
        indexes = [
            models.Index(fields=["id"], condition=models.Q(sent_at__isnull=True), name="notice_owed"),
            models.Index(
                fields=["id"], condition=models.Q(gathered=True, letter__isnull=True), name="notice_to_gather"
            ),
            models.Index(
                fields=["letter", "id"],
                condition=models.Q(letter__isnull=False, sent_at__isnull=True),
                name="notice_of_a_letter",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.user}"
