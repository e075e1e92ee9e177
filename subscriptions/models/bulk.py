"""One act on many subscriptions: who asked for it and why, and what became of each row."""

import pgtrigger
from django.db import models
from django.db.models import Q

from subscriptions.models.accounts import User
from subscriptions.models.order import Order
from subscriptions.models.subscription import Subscription


class RunStatus(models.TextChoices):
    DRAFT = "draft", "Not confirmed"
    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Placed"


class StaysOnceConfirmed(pgtrigger.Trigger):
    """Refuses to delete the rows of a run, but for those of a draft, of which nothing came."""

    when = pgtrigger.Before
    operation = pgtrigger.Delete
    func = pgtrigger.Func(
        """
        IF EXISTS (SELECT FROM subscriptions_bulkrun WHERE id = OLD.run_id AND status <> 'draft') THEN
            RAISE EXCEPTION 'pgtrigger: Cannot delete rows from % table', TG_TABLE_NAME;
        END IF;
        RETURN OLD;
        """
    )


class ShownIsFinal(pgtrigger.Trigger):
    """Refuses another figure than the one that was confirmed."""

    when = pgtrigger.Before
    operation = pgtrigger.UpdateOf("shown")
    func = pgtrigger.Func(
        """
        IF EXISTS (SELECT FROM subscriptions_bulkrun WHERE id = OLD.run_id AND status <> 'draft') THEN
            RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;
        END IF;
        RETURN NEW;
        """
    )


class BulkRun(models.Model):
    """A list of subscriptions with what is wanted of each, kept for ever; `subscriptions.bulk` works through it.

    `status` is that of placing: a run whose process was lost stays `running`, and whoever resumes it goes on. `placed`
    and `refused` count the rows that were decided about, with each of its transactions; what became of placed ones is
    told by their orders. A `draft` was chosen in BSS and is not confirmed: `given` and `reason` can still change,
    `preview` keeps what would happen, and it is deleted when nobody confirms it. While `choosing` is not null, more
    rows are still to be written of those that its words find, and `total` counts those that are there.
    `stopped_because` is a sentence where no person stopped it. From `open_from` on orders of a placed run may not be
    over yet, none is when it is null; `not_done` counts the rows before it that came to nothing, as they ended first.
    """

    action = models.CharField(max_length=24, editable=False, help_text="Stem of the action, such as suspend.")
    given = models.JSONField(default=dict, editable=False, help_text="What holds for all rows, such as a date.")
    reason = models.TextField(editable=False)
    actor = models.ForeignKey(User, models.PROTECT, null=True, editable=False, related_name="bulk_runs")
    audience = models.CharField(max_length=16, editable=False, help_text="Where it was asked for.")
    selection = models.TextField(editable=False, help_text="How the rows were chosen, in words.")
    created_at = models.DateTimeField(editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    status = models.CharField(max_length=8, choices=RunStatus.choices, default=RunStatus.RUNNING, editable=False)
    total = models.PositiveIntegerField(default=0, editable=False)
    placed = models.PositiveIntegerField(default=0, editable=False)
    refused = models.PositiveIntegerField(default=0, editable=False)
    preview = models.JSONField(null=True, editable=False)
    choosing = models.JSONField(
        null=True, editable=False, help_text="Filter words, and the keys between which they are still to be asked."
    )
    open_from = models.PositiveIntegerField(null=True, default=0, db_default=0, editable=False)
    not_done = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    stopped_because = models.TextField(blank=True, default="", db_default="", editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="bulk_run_status_known"),
            models.CheckConstraint(condition=~Q(reason="") | Q(status=RunStatus.DRAFT), name="bulk_run_has_a_reason"),
            models.CheckConstraint(
                condition=Q(choosing__isnull=True) | Q(status=RunStatus.DRAFT), name="bulk_run_is_chosen_when_confirmed"
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="never_deleted", operation=pgtrigger.Delete, condition=~pgtrigger.Q(old__status=RunStatus.DRAFT)
            ),
            pgtrigger.ReadOnly(
                name="chosen_is_final", fields=["action", "actor", "audience", "selection", "created_at"]
            ),
            pgtrigger.Protect(
                name="asked_is_final",
                operation=pgtrigger.Update,
                condition=~pgtrigger.Q(old__status=RunStatus.DRAFT)
                & (
                    pgtrigger.Q(new__status=RunStatus.DRAFT)
                    | pgtrigger.Q(old__given__df=pgtrigger.F("new__given"))
                    | pgtrigger.Q(old__reason__df=pgtrigger.F("new__reason"))
                    | pgtrigger.Q(old__preview__df=pgtrigger.F("new__preview"))
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"


class RowOutcome(models.TextChoices):
    WAITING = "waiting", "Waiting"
    PLACED = "placed", "Placed"
    REFUSED = "refused", "Refused"


class BulkRow(models.Model):
    """One row of a run: decided about once, together with the order that came of it.

    `position` is its line in a file, or its place in what was chosen by filters; `text` is how the file named the
    subscription, and `subscription` is empty where there is none of that name. `shown` is what the preview showed as
    due for this row, on whatever day, in the subscription's currency and less than 0 for a credit; empty for nothing.
    """

    run = models.ForeignKey(BulkRun, models.PROTECT, related_name="rows", db_index=False)
    position = models.PositiveIntegerField()
    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, related_name="+", db_index=False)
    text = models.TextField(blank=True)
    after = models.JSONField(default=dict)
    shown = models.DecimalField(max_digits=14, decimal_places=3, null=True)
    outcome = models.CharField(max_length=8, choices=RowOutcome.choices, default=RowOutcome.WAITING)
    order = models.OneToOneField(Order, models.PROTECT, null=True, related_name="bulk_row")
    code = models.CharField(max_length=64, blank=True)
    sentence = models.TextField(blank=True)

    class Meta:
        ordering = ["run", "position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="bulk_row_position"),
            models.CheckConstraint(condition=Q(outcome__in=RowOutcome.values), name="bulk_row_outcome_known"),
            models.CheckConstraint(
                condition=Q(outcome=RowOutcome.PLACED, order__isnull=False)
                | (~Q(outcome=RowOutcome.PLACED) & Q(order__isnull=True)),
                name="bulk_row_placed_has_its_order",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "position"], condition=Q(outcome=RowOutcome.WAITING), name="bulk_row_waiting"),
        ]
        triggers = [
            StaysOnceConfirmed(name="never_deleted"),
            ShownIsFinal(name="shown_is_final"),
            pgtrigger.Protect(
                name="decided_once",
                operation=pgtrigger.Update,
                condition=~pgtrigger.Q(old__outcome=RowOutcome.WAITING),
            ),
            pgtrigger.ReadOnly(name="asked_is_final", fields=["run", "position", "subscription", "text", "after"]),
        ]

    def __str__(self) -> str:
        return f"row {self.position} of run {self.run_id}"
