"""What is sold: products and their SKUs."""

from typing import TYPE_CHECKING

from babel import Locale
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

if TYPE_CHECKING:
    from subscriptions.models.subscription import Subscription


def clean_vendor(vendor: str) -> str:
    """A key of the VENDORS setting. Raises ValidationError with the sentence for whoever typed it."""
    if vendor not in settings.VENDORS:
        known = ", ".join(sorted(settings.VENDORS))
        raise ValidationError(f"“{vendor}” is no vendor of this portal. Known: {known}.")
    return vendor


def clean_currency(typed: str) -> str:
    """The ISO 4217 code in upper case. Raises ValidationError with the sentence for whoever typed it."""
    code = typed.strip().upper()
    if code not in Locale("en").currencies or len(code) != 3:
        raise ValidationError(f"“{typed}” is no currency. Enter an ISO 4217 code such as EUR.")
    return code


class Product(models.Model):
    vendor = models.CharField(max_length=32, default="kaspersky", help_text="A key of the VENDORS setting.")
    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)
    is_sold = models.BooleanField("sold", default=True, help_text="Off: no new subscriptions; running ones go on.")
    needs_company_details = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Sold only to companies whose legal name, address and country are known.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SeatChange(models.TextChoices):
    IN_PLACE = "in_place", "In place, the code stays"
    UNSUPPORTED = "unsupported", "Not possible"


class IncreasePolicy(models.TextChoices):
    PRORATE_DAYS = "prorate_days", "Added seats, by days left in the period"
    FULL_PERIOD = "full_period", "Added seats, the full period"
    HIGH_WATER = "high_water", "The period at its highest count"


class DecreasePolicy(models.TextChoices):
    NEXT_PERIOD = "next_period", "From the next period, no credit"
    IMMEDIATE_CREDIT = "immediate_credit", "At once, with a credit"
    IMMEDIATE_NO_CREDIT = "immediate_no_credit", "At once, no credit"


class CancelCredit(models.TextChoices):
    NONE = "none", "No credit for the started period"
    BY_DAYS = "by_days", "Credit by days"


class BillingPeriod(models.TextChoices):
    MONTH = "month", "Month"
    YEAR = "year", "Year"


class SKU(models.Model):
    """The sellable variant of a product: seat range, term, billing, and what can be done with it.

    Both seat limits count, and PostgreSQL refuses seats outside them on a subscription. Narrowing the range leaves
    running subscriptions alone; `outside_range` lists them.
    """

    product = models.ForeignKey(Product, models.PROTECT, related_name="skus")
    code = models.CharField("SKU", max_length=64, unique=True)
    name = models.CharField(max_length=200)
    vendor_product_id = models.CharField(max_length=100, help_text="Opaque text from the contract with the vendor.")
    seats_min = models.PositiveIntegerField("smallest number of seats", validators=[MinValueValidator(1)])
    seats_max = models.PositiveIntegerField("largest number of seats", validators=[MinValueValidator(1)])
    term_months = models.PositiveSmallIntegerField("term in months", default=12, validators=[MinValueValidator(1)])
    billing_period = models.CharField(max_length=8, choices=BillingPeriod.choices, default=BillingPeriod.MONTH)
    seat_change = models.CharField(max_length=16, choices=SeatChange.choices, default=SeatChange.IN_PLACE)
    can_suspend = models.BooleanField("can be suspended", default=True)
    increase_policy = models.CharField(
        max_length=24, choices=IncreasePolicy.choices, default=IncreasePolicy.PRORATE_DAYS
    )
    decrease_policy = models.CharField(
        max_length=24, choices=DecreasePolicy.choices, default=DecreasePolicy.NEXT_PERIOD
    )
    bills_while_suspended = models.BooleanField(default=False)
    cancel_credit = models.CharField(max_length=8, choices=CancelCredit.choices, default=CancelCredit.NONE)
    cancel_needs_approval = models.BooleanField(default=False)
    trial_days = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="0: there is no trial.")
    grace_days = models.PositiveSmallIntegerField(
        default=14, db_default=14, help_text="Days in which an expired subscription can still be renewed."
    )
    change_targets = models.ManyToManyField(
        "self", through="ChangeTarget", symmetrical=False, related_name="change_sources"
    )
    is_sold = models.BooleanField("sold", default=True)

    class Meta:
        ordering = ["code"]
        verbose_name = "SKU"
        verbose_name_plural = "SKUs"
        constraints = [
            models.CheckConstraint(
                condition=Q(seats_min__gte=1, seats_max__gte=F("seats_min")),
                name="sku_seat_range",
                violation_error_message="The largest number of seats must be at least the smallest, both at least 1.",
            ),
            models.CheckConstraint(condition=Q(term_months__gte=1), name="sku_term_positive"),
            models.CheckConstraint(
                condition=~Q(billing_period=BillingPeriod.YEAR) | Q(term_months__in=range(12, 121, 12)),
                name="sku_term_holds_whole_periods",
                violation_error_message="A SKU that is billed by the year has a term of 12, 24, 36, ... months.",
            ),
            models.CheckConstraint(
                condition=~Q(
                    increase_policy=IncreasePolicy.HIGH_WATER, decrease_policy=DecreasePolicy.IMMEDIATE_CREDIT
                ),
                name="sku_policies_agree",
                violation_error_message="A period billed at its highest count cannot give a credit for a decrease.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"

    @property
    def billing_months(self) -> int:
        """Length of a billing period in months."""
        return 12 if self.billing_period == BillingPeriod.YEAR else 1

    def sold_targets(self) -> "list[ChangeTarget]":
        """What its subscriptions can change to, with those SKUs and their products; 1 query."""
        sold = self.targets.filter(target__is_sold=True, target__product__is_sold=True)
        return list(sold.select_related("target__product").order_by("target__code"))

    def outside_range(self) -> "models.QuerySet[Subscription]":
        """Subscriptions of this SKU, not yet cancelled, whose seats its range no longer holds."""
        return self.subscriptions.exclude(status="cancelled").exclude(
            seats__gte=self.seats_min, seats__lte=self.seats_max
        )


BESIDE = {
    "sku_seat_range": "seats_max",
    "sku_term_holds_whole_periods": "term_months",
    "sku_policies_agree": "decrease_policy",
}
"""The field that a rule of the database is about; its sentence stands beside it."""


class Timing(models.TextChoices):
    NOW = "now", "Now"
    RENEWAL = "renewal", "At the renewal"
    EITHER = "either", "Now or at the renewal"


class ChangeTarget(models.Model):
    """A SKU that subscriptions of another one can change to (upgrade, downgrade), and when."""

    sku = models.ForeignKey(SKU, models.CASCADE, related_name="targets", verbose_name="SKU")
    target = models.ForeignKey(SKU, models.CASCADE, related_name="+")
    timing = models.CharField(max_length=8, choices=Timing.choices, default=Timing.EITHER)

    class Meta:
        ordering = ["sku", "target"]
        constraints = [
            models.UniqueConstraint(fields=["sku", "target"], name="one_target_of_a_sku"),
            models.CheckConstraint(condition=~Q(sku=F("target")), name="target_is_another_sku"),
        ]

    def __str__(self) -> str:
        return f"to {self.target}"


class ApprovalLimit(models.Model):
    """From which amounts staff must approve an order for a SKU, in one currency; empty means no limit of that kind."""

    sku = models.ForeignKey(SKU, models.CASCADE, related_name="approval_limits", verbose_name="SKU")
    currency = models.CharField(max_length=3, default="EUR", help_text="ISO 4217 code.")
    orders_from = models.DecimalField(
        max_digits=12, decimal_places=3, null=True, blank=True, validators=[MinValueValidator(0)],
        help_text="Orders that cost at least this much now wait for approval.",
    )  # fmt: skip
    cancels_under = models.DecimalField(
        max_digits=12, decimal_places=3, null=True, blank=True, validators=[MinValueValidator(0)],
        help_text="Where cancels need approval: those whose period costs less than this are automatic.",
    )  # fmt: skip

    class Meta:
        ordering = ["sku", "currency"]
        constraints = [models.UniqueConstraint(fields=["sku", "currency"], name="one_approval_limit_for_a_currency")]

    def __str__(self) -> str:
        return f"{self.currency}: orders from {self.orders_from}, cancels under {self.cancels_under}"


class PriceBand(models.Model):
    """Price of one seat for one billing period, from a number of seats on; the whole line is billed at it."""

    sku = models.ForeignKey(SKU, models.CASCADE, related_name="price_bands")
    currency = models.CharField(max_length=3, default="EUR", help_text="ISO 4217 code.")
    seats_from = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    price = models.DecimalField(max_digits=12, decimal_places=4)

    class Meta:
        ordering = ["sku", "currency", "seats_from"]
        constraints = [
            models.UniqueConstraint(fields=["sku", "currency", "seats_from"], name="one_price_for_a_band"),
            models.CheckConstraint(condition=Q(price__gte=0), name="price_not_negative"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="price_currency_iso"),
        ]

    def __str__(self) -> str:
        return f"from {self.seats_from} seats: {self.currency} {self.price}"
