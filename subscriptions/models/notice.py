"""Mail that tells a member what happened."""

from django.db import models

from subscriptions.models.accounts import Member
from subscriptions.models.event import Event


class Notice(models.Model):
    """One event told to one member, once; `sent_at` is empty until the mail server has taken it."""

    event = models.ForeignKey(Event, models.PROTECT, related_name="notices")
    member = models.ForeignKey(Member, models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=32)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "member"], name="one_notice_of_an_event_for_a_member"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.member}"
