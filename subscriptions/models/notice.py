"""Who is told by mail of what happened: the kinds of notice, and each notice that is owed or was sent."""

from django.db import models

from subscriptions.models.accounts import User
from subscriptions.models.event import Event


class NoticeKind(models.TextChoices):
    """What a person can decline; staff's two kinds come with their work and cannot be."""

    DONE = "done", "A change is done"
    FAILED = "failed", "A change was not done"
    APPROVAL = "approval", "A change waits for approval, is approved or rejected"
    WITHDRAWN = "withdrawn", "A change was withdrawn before it took effect"
    CODE = "code", "An activation code is ready"
    SUSPENSION = "suspension", "A subscription is suspended or active again"
    REMINDER = "reminder", "A subscription renews soon"
    ENDING = "ending", "A subscription will end"
    ENDED = "ended", "A subscription has ended"
    TRIAL = "trial", "A trial has ended"
    EXPIRED = "expired", "A subscription expired and can still be renewed"
    DECIDE = "decide", "An order waits for your approval"
    ATTENTION = "attention", "An order needs attention"


K = NoticeKind
STAFF_KINDS = (K.DECIDE, K.ATTENTION)

# What is told of an order when this happened to it, whatever it asks for.
_OF_ANY_ORDER = {
    "awaiting_approval": (K.APPROVAL, K.DECIDE),
    "approved": (K.APPROVAL,),
    "rejected": (K.APPROVAL,),
    "withdrawn": (K.WITHDRAWN,),
    "failed": (K.FAILED,),
    "give_up": (K.FAILED,),
    "held": (K.ATTENTION,),
}
# What is told of these kinds of event alone. A planned change is told when it is done, but for one that ends it all.
_OF_ONE = {
    "start.completed": (K.CODE, K.DONE),
    "increase.completed": (K.DONE,),
    "decrease.completed": (K.DONE,),
    "change_sku.completed": (K.DONE,),
    "convert.completed": (K.DONE,),
    "renew.completed": (K.DONE,),
    "auto_renew.completed": (K.DONE,),
    "take_theirs.completed": (K.DONE,),
    "suspend.completed": (K.SUSPENSION,),
    "activate.completed": (K.SUSPENSION,),
    "cancel.scheduled": (K.ENDING,),
    "cancel.completed": (K.ENDED,),
    "renewal.reminder": (K.REMINDER,),
    "trial.ended": (K.TRIAL,),
    "expire.expired": (K.EXPIRED,),
}


def kinds_of(event_kind: str) -> tuple[NoticeKind, ...]:
    """The kinds of notice that may be made of an event, most wanted first: a person gets at most one of them."""
    return _OF_ONE.get(event_kind) or _OF_ANY_ORDER.get(event_kind.rpartition(".")[2], ())


def told(event_kind: str) -> bool:
    """Is anybody ever told of such an event? Whoever writes one then owes a `subscriptions.notify`."""
    return bool(kinds_of(event_kind))


class Notice(models.Model):
    """One event told to one person, once; `sent_at` is empty until the mail server has taken it.

    A member is told as one of the event's account, staff as such: `kind` says which.
    """

    event = models.ForeignKey(Event, models.PROTECT, related_name="notices")
    user = models.ForeignKey(User, models.PROTECT, related_name="notices")
    kind = models.CharField(max_length=32, choices=NoticeKind.choices)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "user"], name="one_notice_of_an_event_for_a_person"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.user}"
