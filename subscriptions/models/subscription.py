"""The running service of one account for one SKU, and its life cycle."""

import secrets
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django_fsm import RETURN_VALUE, FSMField, transition

from subscriptions.models.accounts import Account, Role, User
from subscriptions.models.catalogue import SKU, Product
from subscriptions.models.secrets import EncryptedField
from subscriptions.vendors.port import Secret


class SubscriptionStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    ENDING = "ending", "Ending"
    EXPIRED = "expired", "Expired"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


S = SubscriptionStatus

# The life cycle: transition -> (sources, targets). @transition, PostgreSQL's trigger and the README's diagram are all
# made from this table (product.md, section 2).
TRANSITIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "provision": ((S.PENDING,), (S.ACTIVE,)),
    "refuse": ((S.PENDING,), (S.FAILED,)),
    "retry": ((S.FAILED,), (S.PENDING,)),
    "give_up": ((S.FAILED,), (S.CANCELLED,)),
    "suspend": ((S.ACTIVE, S.ENDING), (S.SUSPENDED,)),
    "activate": ((S.SUSPENDED,), (S.ACTIVE, S.ENDING)),
    "schedule_end": ((S.ACTIVE,), (S.ENDING,)),
    "keep": ((S.ENDING,), (S.ACTIVE,)),
    "cancel": ((S.ACTIVE, S.SUSPENDED, S.ENDING, S.EXPIRED), (S.CANCELLED,)),
    "expire": ((S.ACTIVE, S.SUSPENDED), (S.EXPIRED,)),
    "renew": ((S.EXPIRED,), (S.ACTIVE,)),
}
PAIRS = sorted({(str(old), str(new)) for olds, news in TRANSITIONS.values() for old in olds for new in news})


def _moves(name: str) -> Any:
    sources, targets = TRANSITIONS[name]
    target = targets[0] if len(targets) == 1 else RETURN_VALUE(*targets)
    return transition(field="status", source=list(sources), target=target)


def new_subscriber_id() -> str:
    """Our name for the licence at the vendor: 32 upper-case hex characters, made before the first call."""
    return secrets.token_hex(16).upper()


def spellings(subscriber_ids: Iterable[str]) -> set[str]:
    """How these subscribers may be written. Hex digits mean the same in small letters, and other systems write them so:
    look for one by all of them, and compare in capitals.
    """
    return {written for one in subscriber_ids for written in (one, one.upper(), one.lower())}


class SeatsWithinRange(pgtrigger.Trigger):
    """Refuses seats outside the SKU's range when seats or SKU are written; a narrowed SKU leaves rows alone."""

    when = pgtrigger.Before
    operation = pgtrigger.Insert | pgtrigger.UpdateOf("seats", "sku_id")
    declare = [("allowed", "RECORD")]
    func = pgtrigger.Func(
        """
        IF TG_OP = 'UPDATE' THEN
            IF NEW.seats = OLD.seats AND NEW.sku_id = OLD.sku_id THEN
                RETURN NEW;
            END IF;
        END IF;
        SELECT seats_min, seats_max INTO allowed FROM subscriptions_sku WHERE id = NEW.sku_id;
        IF NEW.seats < allowed.seats_min OR NEW.seats > allowed.seats_max THEN
            RAISE EXCEPTION 'seats_within_range: % seats are outside % to %',
                NEW.seats, allowed.seats_min, allowed.seats_max USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
        """
    )


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def visible_to(self, user: User) -> "SubscriptionQuerySet":
        """The subscriptions of every account that the person is a member of; staff rights play no part here."""
        return self.filter(account__members__user=user)


class Subscription(models.Model):
    """Its status is what the vendor has confirmed; only `lifecycle` writes status, seats, code and version.

    The transition methods set fields and nothing else. A subscription is never deleted.
    """

    # The first column of an index below.
    account = models.ForeignKey(Account, models.PROTECT, related_name="subscriptions", db_index=False)
    sku = models.ForeignKey(SKU, models.PROTECT, related_name="subscriptions", verbose_name="SKU")
    status = FSMField(choices=SubscriptionStatus.choices, default=SubscriptionStatus.PENDING, protected=True)
    seats = models.PositiveIntegerField()
    subscriber_id = models.CharField(max_length=32, unique=True, default=new_subscriber_id, editable=False)
    activation_code = EncryptedField(null=True, editable=False)
    ordered_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    suspended_at = models.DateTimeField(null=True, editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, editable=False)
    # Dates are days in the account's time zone, ranges half-open; all empty before the start.
    currency = models.CharField(max_length=3, default="EUR", db_default="EUR", editable=False)
    auto_renew = models.BooleanField("renews automatically", default=True, db_default=True, editable=False)
    anchor_day = models.PositiveSmallIntegerField(null=True, editable=False)
    period_start = models.DateField(null=True, editable=False)
    period_end = models.DateField(null=True, editable=False)
    term_end = models.DateField(null=True, editable=False)
    trial_ends = models.DateField(null=True, editable=False)
    grace_ends = models.DateField(null=True, editable=False)
    reminder_due_on = models.DateField(null=True, editable=False)
    peak_seats = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # A trial stays known after it was converted or ended: there is one for an account and product.
    trial_of = models.ForeignKey(Product, models.PROTECT, null=True, editable=False, related_name="+")
    next_due_at = models.DateTimeField(null=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    # The vendor's last answer, for Get details when the vendor cannot be reached; never a source of our record.
    vendor_record = models.JSONField(null=True, editable=False)
    vendor_read_at = models.DateTimeField(null=True, editable=False)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=SubscriptionStatus.values), name="subscription_status_known"),
            models.CheckConstraint(condition=Q(seats__gte=1), name="subscription_seats_positive"),
            models.CheckConstraint(
                condition=Q(period_start__isnull=True) | Q(period_end__gt=F("period_start")),
                name="subscription_period_in_order",
            ),
            models.UniqueConstraint(
                fields=["account", "trial_of"],
                condition=Q(trial_of__isnull=False) & ~Q(status__in=[S.FAILED]),
                name="one_trial_for_an_account_and_product",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="subscription_of_account"),
            # Pages and counts of a customer's list.
            models.Index(fields=["account", "status", "-id"], name="subscription_account_status"),
            # Pages of staff's list: nearly all are active, and found without an index.
            models.Index(fields=["status", "-id"], condition=~Q(status=S.ACTIVE), name="subscription_not_active"),
            models.Index(fields=["next_due_at"], condition=Q(next_due_at__isnull=False), name="subscription_due"),
            # Those that will end: for staff who look at what ends soon.
            models.Index(fields=["ends_at"], condition=Q(status__in=[S.ENDING, S.SUSPENDED]), name="subscription_ends"),
            models.Index(
                fields=["term_end"],
                condition=Q(status__in=[S.ACTIVE, S.SUSPENDED], auto_renew=False),
                name="subscription_not_renewed",
            ),
            models.Index(
                fields=["trial_ends"],
                condition=Q(status__in=[S.ACTIVE, S.SUSPENDED], trial_ends__isnull=False),
                name="subscription_trials",
            ),
        ]
        triggers = [
            pgtrigger.FSM(name="status_moves", field="status", transitions=PAIRS),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            SeatsWithinRange(name="seats_within_range"),
        ]
        permissions = [
            ("start_subscription", "Can start a subscription"),
            ("increase_subscription", "Can increase seats"),
            ("decrease_subscription", "Can decrease seats"),
            ("suspend_subscription", "Can suspend a subscription"),
            ("activate_subscription", "Can activate a suspended subscription"),
            ("cancel_subscription", "Can cancel a subscription"),
            ("details_subscription", "Can get details from the vendor"),
            ("code_subscription", "Can reveal the activation code"),
            ("retry_subscription", "Can retry an order"),
            ("give_up_subscription", "Can give up an order"),
            ("take_theirs_subscription", "Can settle a difference by taking the vendor's value"),
            ("push_ours_subscription", "Can settle a difference by sending our value"),
            ("keep_subscription", "Can keep a subscription that is ending"),
            ("undo_subscription", "Can undo a scheduled order"),
            ("renew_subscription", "Can renew an expired subscription"),
            ("auto_renew_subscription", "Can switch the automatic renewal"),
            ("convert_subscription", "Can convert a trial"),
            ("change_sku_subscription", "Can change the SKU"),
            ("approve_subscription", "Can approve an order"),
            ("reject_subscription", "Can reject an order"),
            ("correct_subscription", "Can correct the ledger by a line"),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def number(self) -> str:
        """The subscription ID that people see and search for, such as SUB-000123."""
        return f"SUB-{self.pk:06d}"

    @property
    def renewable_until(self) -> date | None:
        """The last day on which an expired subscription can be renewed."""
        return self.grace_ends - timedelta(days=1) if self.grace_ends else None

    @property
    def masked_code(self) -> str:
        """The last group of the activation code behind dots, or an empty text."""
        return f"....-{self.activation_code.reveal()[-5:]}" if self.activation_code else ""

    def role_of(self, user: User) -> Role | None:
        """The person's role in this subscription's account, None for a stranger."""
        member = self.account.members.filter(user=user).first()
        return Role(member.role) if member else None

    @_moves("provision")
    def provision(self, *, at: datetime, code: Secret | None) -> None:
        self.started_at = at
        self.activation_code = code

    @_moves("refuse")
    def refuse(self) -> None:
        """The vendor refused to provision; nothing exists there."""

    @_moves("retry")
    def retry(self) -> None:
        """Provisioning is tried again."""

    @_moves("give_up")
    def give_up(self, *, at: datetime) -> None:
        self.cancelled_at = at

    @_moves("suspend")
    def suspend(self, *, at: datetime) -> None:
        self.suspended_at = at

    @_moves("activate")
    def activate(self, *, at: datetime) -> str:
        self.suspended_at = None
        if self.ends_at and self.ends_at > at:
            return S.ENDING
        self.ends_at = None
        return S.ACTIVE

    @_moves("schedule_end")
    def schedule_end(self, *, ends_at: datetime) -> None:
        self.ends_at = ends_at

    @_moves("keep")
    def keep(self) -> None:
        self.ends_at = None

    @_moves("cancel")
    def cancel(self, *, at: datetime, ends_at: datetime | None = None) -> None:
        """`ends_at` is an earlier instant for a cancel that staff date back."""
        self.cancelled_at = at
        self.ends_at = ends_at or at

    @_moves("expire")
    def expire(self, *, at: datetime, grace_ends: date) -> None:
        self.ends_at = at
        self.grace_ends = grace_ends

    @_moves("renew")
    def renew(self) -> None:
        self.ends_at = None
