"""The log of what happened, for ever."""

import pgtrigger
from django.db import models

from subscriptions.models.accounts import Account, User
from subscriptions.models.order import Order
from subscriptions.models.subscription import Subscription


class Event(models.Model):
    """One act with its person, reason, and what was before and after; written with the change, never changed.

    `kind` is `<action>.<what>`, such as `increase.completed`. `actor` is None for the system.
    """

    account = models.ForeignKey(Account, models.PROTECT, related_name="events")
    # The first column of the index below.
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="events", db_index=False)
    order = models.ForeignKey(Order, models.PROTECT, null=True, related_name="events")
    kind = models.CharField(max_length=64)
    at = models.DateTimeField()
    actor = models.ForeignKey(User, models.PROTECT, null=True, related_name="events")
    audience = models.CharField(max_length=16, default="system", help_text="Where it was asked for.")
    reason = models.TextField(blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["subscription", "-id"], name="event_history")]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M:%S}"
