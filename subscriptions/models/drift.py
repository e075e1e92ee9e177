"""Where our record and the vendor's differ, as reading found it, and the runs that read."""

import pgtrigger
from django.db import models
from django.db.models import Q

from subscriptions.models.accounts import User
from subscriptions.models.order import Order
from subscriptions.models.subscription import Subscription


class ReconciliationStatus(models.TextChoices):
    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Done"


class ReconciliationRun(models.Model):
    """One walk over our subscriptions, by ID, each compared with the vendor's record of it.

    All up to `position` are done with, and those up to `last` belong to it, so whoever goes on after a crash goes on
    there. A run whose process was lost stays `running` and its `moved_at` grows old. The counts are kept with each
    batch: `compared` is all that could be laid side by side, `explained` what an open order or a change meanwhile
    stands for, and `unanswered` what the vendor said nothing about that can be used.
    """

    words = models.JSONField(default=list, editable=False, help_text="What narrowed it, as filters take it.")
    actor = models.ForeignKey(User, models.PROTECT, null=True, editable=False, related_name="+")
    audience = models.CharField(max_length=16, editable=False, help_text="Where it was asked for.")
    started_at = models.DateTimeField(editable=False)
    moved_at = models.DateTimeField(editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    status = models.CharField(
        max_length=8, choices=ReconciliationStatus.choices, default=ReconciliationStatus.RUNNING, editable=False
    )
    position = models.PositiveBigIntegerField(default=0, editable=False)
    last = models.PositiveBigIntegerField(default=0, editable=False)
    compared = models.PositiveIntegerField(default=0, editable=False)
    explained = models.PositiveIntegerField(default=0, editable=False)
    unanswered = models.PositiveIntegerField(default=0, editable=False)
    found = models.PositiveIntegerField(default=0, editable=False)
    again = models.PositiveIntegerField(default=0, editable=False)
    gone = models.PositiveIntegerField(default=0, editable=False)
    said = models.TextField(blank=True, editable=False, help_text="Why it stopped.")
    report = models.CharField(
        max_length=64, blank=True, db_default="", editable=False,
        help_text="Vendor whose billing report is still to be looked through.",
    )  # fmt: skip

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=ReconciliationStatus.values), name="reconciliation_run_status_known"
            ),
            models.UniqueConstraint(
                fields=["status"], condition=Q(status=ReconciliationStatus.RUNNING), name="one_reconciliation_at_a_time"
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="asked_is_final", fields=["words", "actor", "audience", "started_at", "last"]),
        ]

    def __str__(self) -> str:
        return f"Reconciliation {self.pk}"

    @property
    def read(self) -> int:
        """How many subscriptions it is done with."""
        return self.compared + self.explained + self.unanswered


class DriftField(models.TextChoices):
    STATUS = "status", "Status"
    SEATS = "seats", "Seats"
    PRODUCT = "product", "Product"
    TERM = "term", "End"
    EXISTENCE = "existence", "Unknown there"
    UNKNOWN_HERE = "unknown_here", "Unknown here"


class DriftEnding(models.TextChoices):
    GONE = "gone", "Gone by itself"
    CHANGED = "changed", "Something else differs now"
    SETTLED = "settled", "Settled by an order"


class Drift(models.Model):
    """One difference, open until a later read finds it gone or changed, or an order has settled it; kept for ever.

    `amount` is the money at stake for a month in `currency`, by our price list; without a price both are empty or 0.
    `record` is the vendor's whole record at that reading, without the code. One that is unknown here has no
    subscription, and `vendor` says who knows it. Whoever writes one holds the lock of its subscription.
    """

    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, related_name="drift", db_index=False)
    vendor = models.CharField(max_length=32, blank=True)
    subscriber_id = models.CharField(max_length=64)
    field = models.CharField(max_length=16, choices=DriftField.choices)
    ours = models.CharField(max_length=100)
    theirs = models.CharField(max_length=200)
    record = models.JSONField(default=dict)
    currency = models.CharField(max_length=3, blank=True)
    amount = models.DecimalField(max_digits=14, decimal_places=3, default=0)
    run = models.ForeignKey(ReconciliationRun, models.PROTECT, null=True, related_name="drift", db_index=False)
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ending = models.CharField(max_length=8, blank=True, choices=DriftEnding.choices)
    order = models.ForeignKey(Order, models.PROTECT, null=True, related_name="drift", db_index=False)

    class Meta:
        ordering = ["currency", "-amount", "id"]
        verbose_name_plural = "drift"
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "field"],
                condition=Q(ended_at__isnull=True, subscription__isnull=False),
                name="one_open_drift_of_a_field",
            ),
            models.UniqueConstraint(
                fields=["vendor", "subscriber_id"],
                condition=Q(ended_at__isnull=True, subscription__isnull=True),
                name="one_open_drift_of_a_stranger",
            ),
            models.CheckConstraint(condition=Q(field__in=DriftField.values), name="drift_field_known"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ending="")
                | Q(ended_at__isnull=False, ending__in=DriftEnding.values),
                name="drift_says_how_it_ended",
            ),
            models.CheckConstraint(
                condition=Q(subscription__isnull=False) ^ Q(field=DriftField.UNKNOWN_HERE),
                name="drift_of_ours_or_of_a_stranger",
            ),
        ]
        indexes = [
            models.Index(
                fields=["currency", "-amount", "id"], condition=Q(ended_at__isnull=True), name="drift_worklist"
            ),
            models.Index(fields=["subscription", "-id"], name="drift_of_subscription"),
            # Searched for by the vendor's name, also of those that are unknown here.
            models.Index(fields=["subscriber_id"], name="drift_of_subscriber"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Protect(
                name="ends_once", operation=pgtrigger.Update, condition=pgtrigger.Q(old__ended_at__isnull=False)
            ),
            pgtrigger.ReadOnly(
                name="found_is_final",
                fields=[
                    "subscription", "vendor", "subscriber_id", "field", "ours", "theirs", "record", "currency",
                    "amount", "run", "found_at",
                ],
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        named = str(self.subscription) if self.subscription_id else self.subscriber_id
        return f"{named}: {self.get_field_display().lower()}"
