"""A base that is taken over from another system: who asked for it and why, and what became of each row of its file."""

import pgtrigger
from django.db import models
from django.db.models import Q

from subscriptions.models.accounts import User
from subscriptions.models.secrets import EncryptedField
from subscriptions.models.subscription import Subscription


class TakeoverStatus(models.TextChoices):
    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Done"


class Takeover(models.Model):
    """A file of subscriptions that run elsewhere, kept for ever; `subscriptions.takeover` works through it.

    Not a BulkRun: its rows have no subscription before they are done and no order after it, and hold a secret until
    then. A takeover whose process was lost stays `running`, and whoever resumes it goes on. `taken` and `refused` count
    the rows that were decided about, with each of its transactions. That it created `companies` is told here alone, by
    whom and why: the admin's log knows persons only, and commands have none. They get its `time_zone` and `language`;
    without a time zone none is created.
    """

    source = models.CharField(max_length=100, editable=False, help_text="Name of the other system.")
    reason = models.TextField(editable=False)
    actor = models.ForeignKey(User, models.PROTECT, null=True, editable=False, related_name="takeovers")
    audience = models.CharField(max_length=16, editable=False, help_text="Where it was asked for.")
    file = models.TextField(editable=False, help_text="Where the rows came from, in words.")
    asks_vendor = models.BooleanField(editable=False, help_text="Is each row read at the vendor before it counts?")
    created_at = models.DateTimeField(editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    status = models.CharField(
        max_length=8, choices=TakeoverStatus.choices, default=TakeoverStatus.RUNNING, editable=False
    )
    total = models.PositiveIntegerField(default=0, editable=False)
    taken = models.PositiveIntegerField(default=0, editable=False)
    refused = models.PositiveIntegerField(default=0, editable=False)
    companies = models.JSONField(
        default=list, db_default=models.Value([], models.JSONField()), editable=False,
        help_text="Keys of the accounts that were created with it.",
    )  # fmt: skip
    time_zone = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    language = models.CharField(max_length=8, blank=True, db_default="", editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=TakeoverStatus.values), name="takeover_status_known"),
            models.CheckConstraint(condition=~Q(reason=""), name="takeover_has_a_reason"),
            models.CheckConstraint(condition=~Q(source=""), name="takeover_has_a_source"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(
                name="asked_is_final",
                fields=[
                    "source",
                    "reason",
                    "actor",
                    "audience",
                    "file",
                    "asks_vendor",
                    "created_at",
                    "time_zone",
                    "language",
                ],
            ),
            pgtrigger.Protect(
                name="companies_only_grow",
                operation=pgtrigger.Update,
                # By their text: to compare arrays takes their length squared.
                condition=pgtrigger.Condition(
                    "OLD.companies IS DISTINCT FROM NEW.companies AND OLD.companies <> '[]'"
                    " AND NOT starts_with(NEW.companies::text, rtrim(OLD.companies::text, ']') || ',')"
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"Takeover {self.pk}"


class TakeoverOutcome(models.TextChoices):
    WAITING = "waiting", "Waiting"
    TAKEN = "taken", "Taken over"
    REFUSED = "refused", "Refused"


class TakeoverRow(models.Model):
    """One row of a takeover: decided about once, together with the subscription that came of it.

    `position` is its line in the file; `told` is what the file says, by name, without the activation code: that is kept
    encrypted, and for as long as the row waits.
    """

    takeover = models.ForeignKey(Takeover, models.PROTECT, related_name="rows", db_index=False)
    position = models.PositiveIntegerField()
    subscriber_id = models.CharField(max_length=32)
    told = models.JSONField(default=dict)
    activation_code = EncryptedField(null=True, editable=False)
    outcome = models.CharField(max_length=8, choices=TakeoverOutcome.choices, default=TakeoverOutcome.WAITING)
    subscription = models.OneToOneField(Subscription, models.PROTECT, null=True, related_name="takeover_row")
    code = models.CharField(max_length=64, blank=True)
    sentence = models.TextField(blank=True)

    class Meta:
        ordering = ["takeover", "position"]
        constraints = [
            models.UniqueConstraint(fields=["takeover", "position"], name="takeover_row_position"),
            models.CheckConstraint(condition=Q(outcome__in=TakeoverOutcome.values), name="takeover_row_outcome_known"),
            models.CheckConstraint(
                condition=Q(outcome=TakeoverOutcome.TAKEN, subscription__isnull=False)
                | (~Q(outcome=TakeoverOutcome.TAKEN) & Q(subscription__isnull=True)),
                name="takeover_row_taken_has_its_subscription",
            ),
            models.CheckConstraint(
                condition=Q(outcome=TakeoverOutcome.WAITING) | Q(activation_code__isnull=True),
                name="takeover_row_keeps_no_code",
            ),
        ]
        indexes = [
            models.Index(
                fields=["takeover", "position"],
                condition=Q(outcome=TakeoverOutcome.WAITING),
                name="takeover_row_waiting",
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Protect(
                name="decided_once",
                operation=pgtrigger.Update,
                condition=~pgtrigger.Q(old__outcome=TakeoverOutcome.WAITING),
            ),
            pgtrigger.ReadOnly(name="asked_is_final", fields=["takeover", "position", "subscriber_id", "told"]),
        ]

    def __str__(self) -> str:
        return f"row {self.position} of takeover {self.takeover_id}"
