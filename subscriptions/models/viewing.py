"""Who of the staff looked at the Storefront with a customer's eyes."""

import pgtrigger
from django.db import models
from django.db.models import Q

from subscriptions.models.accounts import Account, Role, User
from subscriptions.models.subscription import Subscription


class Ending(models.TextChoices):
    STOPPED = "stopped", "Stopped"
    SIGNED_OUT = "signed_out", "Signed out"
    LIMIT = "limit", "The time was over"
    REPLACED = "replaced", "Went on as another member"
    NOT_PERMITTED = "not_permitted", "The permission was taken away"
    MEMBER_GONE = "member_gone", "The member was removed or switched off"


class Viewing(models.Model):
    """One time that staff viewed as a customer, kept for ever: begun once, ended once.

    It is over at `until` at the latest, whether or not anybody came back to note it.
    """

    account = models.ForeignKey(Account, models.PROTECT, related_name="viewings", db_index=False)
    person = models.ForeignKey(User, models.PROTECT, related_name="+", help_text="Whose eyes were used.")
    role = models.CharField(max_length=16, choices=Role.choices, help_text="What the person was in the account then.")
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, null=True, related_name="+", help_text="On whose page it was asked for."
    )
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", help_text="Who of the staff looked.")
    reason = models.TextField()
    started_at = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ending = models.CharField(max_length=16, choices=Ending.choices, blank=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ()
        permissions = [("view_as_customer", "Can view the Storefront as a customer")]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="viewing_role_known"),
            models.CheckConstraint(condition=~Q(reason=""), name="viewing_has_a_reason"),
            models.CheckConstraint(
                condition=Q(ended_at=None, ending="") | Q(ended_at__isnull=False, ending__in=Ending.values),
                name="viewing_ended_somehow",
            ),
        ]
        indexes = [models.Index(fields=["account", "-id"], name="viewing_of_account")]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Protect(
                name="ended_once", operation=pgtrigger.Update, condition=pgtrigger.Q(old__ended_at__isnull=False)
            ),
            pgtrigger.ReadOnly(
                name="begun_is_final",
                fields=["account", "person", "role", "subscription", "actor", "reason", "started_at", "until"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor} as {self.person}"
