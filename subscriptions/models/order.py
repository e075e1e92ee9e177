"""Every wish to change a subscription, and each attempt to carry it to the vendor."""

import uuid
from typing import Any

import pgtrigger
from django.db import models
from django.db.models import Q
from django_fsm import FSMField, transition

from subscriptions.models.accounts import User
from subscriptions.models.subscription import Subscription
from subscriptions.vendors.port import Outcome


class OrderStatus(models.TextChoices):
    SCHEDULED = "scheduled", "Scheduled"
    AWAITING_APPROVAL = "awaiting_approval", "Awaiting approval"
    PLACED = "placed", "Placed"
    IN_PROGRESS = "in_progress", "In progress"
    NEEDS_ATTENTION = "needs_attention", "Needs attention"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    REJECTED = "rejected", "Rejected"
    WITHDRAWN = "withdrawn", "Withdrawn"


S = OrderStatus
OPEN_ORDER = (S.AWAITING_APPROVAL, S.PLACED, S.IN_PROGRESS, S.NEEDS_ATTENTION)
_SELDOM = (S.SCHEDULED, S.REJECTED, S.WITHDRAWN)
_COMMON = ("start", "increase", "decrease", "suspend", "activate", "cancel")

# product.md, section 3, in the same form as the table above the Subscription.
TRANSITIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "approve": ((S.AWAITING_APPROVAL,), (S.PLACED,)),
    "reject": ((S.AWAITING_APPROVAL,), (S.REJECTED,)),
    "schedule": ((S.AWAITING_APPROVAL,), (S.SCHEDULED,)),
    "fall_due": ((S.SCHEDULED,), (S.PLACED,)),
    "withdraw": ((S.SCHEDULED, S.AWAITING_APPROVAL, S.PLACED), (S.WITHDRAWN,)),
    "claim": ((S.PLACED,), (S.IN_PROGRESS,)),
    "release": ((S.IN_PROGRESS,), (S.PLACED,)),
    "complete": ((S.IN_PROGRESS, S.NEEDS_ATTENTION), (S.COMPLETED,)),
    "fail": ((S.IN_PROGRESS, S.NEEDS_ATTENTION), (S.FAILED,)),
    "hold": ((S.IN_PROGRESS,), (S.NEEDS_ATTENTION,)),
    "retry": ((S.NEEDS_ATTENTION, S.FAILED), (S.PLACED,)),
}
PAIRS = sorted({(str(old), str(new)) for olds, news in TRANSITIONS.values() for old in olds for new in news})


def _moves(name: str) -> Any:
    sources, targets = TRANSITIONS[name]
    return transition(field="status", source=list(sources), target=targets[0])


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, user: User) -> "OrderQuerySet":
        """The orders of every account that the person is a member of."""
        return self.filter(subscription__account__members__user=user)

    def open(self) -> "OrderQuerySet":
        return self.filter(status__in=OPEN_ORDER)


class Order(models.Model):
    """One wish with its outcome; only `lifecycle` moves it, and it is never deleted.

    `before` and `after` hold the characteristics by name, such as {"Seats": 25} and {"Seats": 30}. The operation id is
    born with the order and never changes; `generation` grows when staff send it again after an answer.
    """

    # The first column of an index below.
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="orders", db_index=False)
    action = models.CharField(max_length=24, help_text="Stem of the action, such as increase.")
    status = FSMField(choices=OrderStatus.choices, default=OrderStatus.PLACED, protected=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    actor = models.ForeignKey(User, models.PROTECT, null=True, related_name="orders")
    audience = models.CharField(max_length=16, help_text="Where it was placed: storefront, bss, command, system.")
    reason = models.TextField(blank=True)
    operation_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    generation = models.PositiveSmallIntegerField(default=1, editable=False)
    idempotency_key = models.UUIDField(null=True, editable=False)
    quote = models.JSONField(null=True, editable=False, help_text="What it costs, as it was shown; empty: nothing.")
    placed_at = models.DateTimeField(editable=False)
    due_at = models.DateTimeField(null=True, editable=False, help_text="When a scheduled order takes effect.")
    first_sent_at = models.DateTimeField(null=True, editable=False)
    next_attempt_at = models.DateTimeField(null=True, editable=False)
    retried_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    # A start that is given up while the vendor may have it: the worker cancels it there first.
    abandoned = models.BooleanField(default=False, editable=False)
    outcome_code = models.CharField(max_length=64, blank=True, editable=False)
    outcome_message = models.TextField(blank=True, editable=False)
    needs_staff = models.BooleanField(default=False, editable=False)

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="order_status_known"),
            models.UniqueConstraint(
                fields=["subscription"], condition=Q(status__in=OPEN_ORDER), name="one_open_order_for_a_subscription"
            ),
            models.UniqueConstraint(
                fields=["subscription"],
                condition=Q(status=OrderStatus.SCHEDULED),
                name="one_scheduled_order_for_a_subscription",
            ),
            models.CheckConstraint(
                condition=~Q(status=OrderStatus.SCHEDULED) | Q(due_at__isnull=False), name="scheduled_order_has_a_date"
            ),
            models.UniqueConstraint(
                fields=["actor", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="one_order_for_a_key_of_a_person",
            ),
        ]
        indexes = [
            models.Index(fields=["subscription", "-id"], name="order_history"),
            models.Index(fields=["due_at"], condition=Q(status=OrderStatus.SCHEDULED), name="order_due"),
            models.Index(fields=["-id"], condition=Q(status=OrderStatus.AWAITING_APPROVAL), name="order_approvals"),
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(status__in=[OrderStatus.PLACED, OrderStatus.IN_PROGRESS]),
                name="order_sweep",
            ),
            # What staff look for, newest first, among millions that are completed.
            models.Index(fields=["-id"], condition=Q(status=OrderStatus.NEEDS_ATTENTION), name="order_attention"),
            models.Index(fields=["-id"], condition=Q(status=OrderStatus.FAILED), name="order_failed"),
            models.Index(fields=["status", "-id"], condition=Q(needs_staff=True), name="order_needs_staff"),
            models.Index(fields=["status", "-id"], condition=Q(status__in=_SELDOM), name="order_seldom"),
            # What bulk work places is common, and stays out.
            models.Index(fields=["action", "-id"], condition=~Q(action__in=_COMMON), name="order_seldom_action"),
            # What became of the orders of the last days, counted by action without a look at the rows.
            models.Index(
                fields=["status", "finished_at", "action"],
                condition=Q(finished_at__isnull=False),
                name="order_finished",
            ),
        ]
        triggers = [
            pgtrigger.FSM(name="status_moves", field="status", transitions=PAIRS),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(
                name="wish_is_final",
                fields=[
                    "subscription",
                    "action",
                    "after",
                    "actor",
                    "operation_id",
                    "idempotency_key",
                    "quote",
                    "placed_at",
                    "due_at",
                ],
            ),
            # Other changes may come before a scheduled one: it learns what it changes when it falls due.
            pgtrigger.Protect(
                name="before_is_final",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__before__df=pgtrigger.F("new__before"))
                & ~pgtrigger.Q(old__status=S.SCHEDULED),
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def number(self) -> str:
        """The order number that people see and search for, such as ORD-1042."""
        return f"ORD-{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_ORDER

    @_moves("approve")
    def approve(self) -> None: ...

    @_moves("reject")
    def reject(self) -> None: ...

    @_moves("schedule")
    def schedule(self) -> None: ...

    @_moves("fall_due")
    def fall_due(self) -> None: ...

    @_moves("withdraw")
    def withdraw(self) -> None: ...

    @_moves("claim")
    def claim(self) -> None: ...

    @_moves("release")
    def release(self) -> None: ...

    @_moves("complete")
    def complete(self) -> None: ...

    @_moves("fail")
    def fail(self) -> None: ...

    @_moves("hold")
    def hold(self) -> None: ...

    @_moves("retry")
    def retry(self) -> None: ...


class Purpose(models.TextChoices):
    WRITE = "write", "Carry out the order"
    SETTLE = "settle", "Read to settle an order"
    DETAILS = "details", "Get details"
    DRIFT = "drift", "Look for drift"
    TAKEOVER = "takeover", "Take over"


READS_OF_MANY = (Purpose.DRIFT, Purpose.TAKEOVER)
"""Reads on which no order hangs: a container of them has one row, which names no subscription."""
TROUBLE = (Outcome.TRANSIENT, Outcome.UNKNOWN, Outcome.CREDENTIALS)
"""Outcomes of calls in which the vendor was not reached, did not let us in or gave no clear answer."""


class VendorCall(models.Model):
    """One attempt: written before the socket opens, completed once after, kept for ever.

    (`transaction_id`, `unit_id`) maps an item of a container to its order. A read that settles an order names the
    order too; a read for Get details names the subscription only, and a container of `READS_OF_MANY` has one row for
    all of its items, which names neither: nothing of ours waits for one of them. `evidence` is what a settling read
    proved: `target`, `before`, `neither` or `absent`. Secrets are masked before anything is stored here.
    """

    # Each is the first column of an index below.
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, null=True, related_name="vendor_calls", db_index=False
    )
    order = models.ForeignKey(Order, models.PROTECT, null=True, related_name="vendor_calls", db_index=False)
    purpose = models.CharField(max_length=8, choices=Purpose.choices)
    attempt = models.PositiveIntegerField(default=1)
    transaction_id = models.CharField(max_length=64)
    unit_id = models.PositiveIntegerField(default=0)
    asked = models.TextField()
    started_at = models.DateTimeField()
    deadline = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, blank=True)
    code = models.CharField(max_length=64, blank=True)
    message = models.TextField(blank=True)
    answered = models.TextField(blank=True)
    evidence = models.CharField(max_length=8, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(order__isnull=False) | ~Q(purpose__in=[Purpose.WRITE, Purpose.SETTLE]),
                name="vendor_call_names_its_order",
            ),
            models.CheckConstraint(
                condition=Q(subscription__isnull=False) | Q(purpose__in=READS_OF_MANY),
                name="vendor_call_names_its_subscription",
            ),
        ]
        indexes = [
            models.Index(fields=["order", "-id"], name="vendor_call_of_order"),
            models.Index(fields=["subscription", "-id"], name="vendor_call_of_subscription"),
            models.Index(fields=["purpose", "-id"], condition=~Q(purpose=Purpose.WRITE), name="vendor_call_reads"),
            # The calls of a bulk run stay out, unless they went wrong.
            models.Index(fields=["finished_at"], condition=Q(outcome__in=TROUBLE), name="vendor_call_trouble"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Protect(
                name="completed_once", operation=pgtrigger.Update, condition=pgtrigger.Q(old__finished_at__isnull=False)
            ),
            pgtrigger.ReadOnly(
                name="asked_is_final",
                fields=[
                    "subscription", "order", "purpose", "attempt", "transaction_id", "unit_id", "asked", "started_at",
                    "deadline",
                ],
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} {self.transaction_id}"


class VendorState(models.Model):
    """Whether a vendor lets us in; while `paused_at` is set no order is sent to it."""

    vendor = models.CharField(max_length=32, primary_key=True)
    paused_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True)
    checked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.vendor}: {'paused' if self.paused_at else 'open'}"
