"""What was counted, day by day: numbers that a page could only have by reading whole tables."""

from django.db import models


class DailyFigures(models.Model):
    """One day (UTC) in figures. Only `subscriptions.figures` writes it, again and again until the day is over.

    `changes` are the orders completed on it, by action. The rest is what ran when it was counted last on that day, and
    is empty for a day on which nothing was: `revenue` is that of a month, by currency, its amounts as text.
    """

    day = models.DateField(primary_key=True)
    changes = models.JSONField(default=dict)
    counted_at = models.DateTimeField(null=True)
    running = models.PositiveIntegerField(null=True, help_text="Subscriptions that work: active or ending.")
    seats = models.PositiveBigIntegerField(null=True, help_text="Of these.")
    unpriced = models.PositiveIntegerField(null=True, help_text="Billed subscriptions that the price list forgot.")
    revenue = models.JSONField(null=True)

    class Meta:
        ordering = ["-day"]
        verbose_name_plural = "daily figures"

    def __str__(self) -> str:
        return f"figures of {self.day}"
