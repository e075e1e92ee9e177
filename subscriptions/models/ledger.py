"""What accounts owe: one line for each thing charged, for ever."""

import pgtrigger
from django.db import models
from django.db.models import F, Q

from subscriptions.models.accounts import Account
from subscriptions.models.event import Event
from subscriptions.models.order import Order
from subscriptions.models.subscription import Subscription


class ChargeKind(models.TextChoices):
    PERIOD = "period", "Period"
    CHANGE = "change", "Change"
    CREDIT = "credit", "Credit"
    CORRECTION = "correction", "Correction"


class Charge(models.Model):
    """One line of the ledger: written when the vendor has confirmed, or when a period begins; never changed.

    `words` are those of the quote. `amount` is in `currency`, rounded to its minor unit, net of tax, negative for
    credits. [`covers_from`, `covers_to`) are days in the account's time zone, and so is `booked_on`, the day whose
    statement holds the line. `event` is the one that tells who and why. A correction names the line that it corrects.
    A period that another system billed, before the subscription was taken over from it, has a line of 0 with its price.
    """

    # Each is the first column of an index below.
    account = models.ForeignKey(Account, models.PROTECT, related_name="charges", db_index=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="charges", db_index=False)
    order = models.ForeignKey(Order, models.PROTECT, null=True, related_name="charges")
    event = models.ForeignKey(Event, models.PROTECT, related_name="charges")
    position = models.PositiveSmallIntegerField(default=0, help_text="Place among the lines of its order.")
    kind = models.CharField(max_length=12, choices=ChargeKind.choices)
    words = models.CharField(max_length=500)
    seats = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=20, decimal_places=8, help_text="Of a seat and period, less discount.")
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=14, decimal_places=3)
    period_start = models.DateField(help_text="The billing period of the subscription that it belongs to.")
    covers_from = models.DateField()
    covers_to = models.DateField()
    booked_at = models.DateTimeField()
    booked_on = models.DateField()
    corrects = models.ForeignKey("self", models.PROTECT, null=True, related_name="corrections")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ChargeKind.values), name="charge_kind_known"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="charge_currency_iso"),
            models.CheckConstraint(condition=Q(covers_to__gt=F("covers_from")), name="charge_covers_days"),
            models.CheckConstraint(
                condition=Q(kind=ChargeKind.CORRECTION)
                | Q(kind=ChargeKind.CREDIT, amount__lte=0)
                | Q(kind__in=[ChargeKind.PERIOD, ChargeKind.CHANGE], amount__gte=0),
                name="charge_sign_by_kind",
            ),
            models.CheckConstraint(
                condition=~Q(kind=ChargeKind.CORRECTION) | Q(corrects__isnull=False), name="correction_names_its_line"
            ),
            models.UniqueConstraint(
                fields=["order", "position"], condition=Q(order__isnull=False), name="one_charge_for_a_line_of_an_order"
            ),
            models.UniqueConstraint(
                fields=["subscription", "period_start"],
                condition=Q(kind=ChargeKind.PERIOD),
                name="one_period_charge",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "booked_on", "id"], name="charge_statement"),
            models.Index(fields=["subscription", "-id"], name="charge_of_subscription"),
            models.Index(fields=["kind", "-id"], condition=~Q(kind=ChargeKind.PERIOD), name="charge_kind"),
        ]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.words}: {self.currency} {self.amount}"
