"""The vendor as a whole, and orders whose job went missing."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction

from subscriptions import clock
from subscriptions.lifecycle import rows
from subscriptions.models import Order, OrderStatus, VendorState


def pause_vendor(vendor: str, reason: str) -> None:
    """Send nothing more to a vendor that does not let us in; running it twice keeps the first instant."""
    with transaction.atomic(durable=True):
        VendorState.objects.get_or_create(vendor=vendor)
        VendorState.objects.filter(vendor=vendor, paused_at__isnull=True).update(paused_at=clock.now(), reason=reason)


def open_vendor(vendor: str) -> None:
    """Let orders flow again; those that waited are picked up by the sweep."""
    with transaction.atomic(durable=True):
        VendorState.objects.filter(vendor=vendor).update(paused_at=None, reason="", checked_at=clock.now())


def due_for_ping() -> list[str]:
    """The paused vendors that it is time to ask again; each is handed to one worker only."""
    at = clock.now()
    before = at - timedelta(seconds=settings.VENDOR_PING_EVERY)
    with transaction.atomic(durable=True):
        due = VendorState.objects.filter(vendor__in=settings.VENDORS, paused_at__lte=before)
        due = due.exclude(checked_at__gt=before)
        vendors = list(due.select_for_update(skip_locked=True).values_list("vendor", flat=True))
        VendorState.objects.filter(vendor__in=vendors).update(checked_at=at)
    return vendors


def sweep(limit: int = 5_000) -> int:
    """Defer jobs for the orders that are due and have none waiting or running; returns how many orders."""
    at = clock.now()
    with transaction.atomic(durable=True):
        due = list(
            Order.objects.filter(status__in=[OrderStatus.PLACED, OrderStatus.IN_PROGRESS], next_attempt_at__lte=at)
            .extra(
                where=[
                    "NOT EXISTS (SELECT 1 FROM procrastinate_jobs j WHERE j.task_name = 'subscriptions.fulfil'"
                    " AND j.status IN ('todo', 'doing') AND j.lock = 'subscription-' || subscription_id)",
                    "subscriptions_order.id NOT IN (SELECT jsonb_array_elements(j.args->'order_ids')::bigint"
                    " FROM procrastinate_jobs j WHERE j.task_name = 'subscriptions.fulfil_many'"
                    " AND j.status IN ('todo', 'doing'))",
                ]
            )
            .only("subscription")
            .order_by("next_attempt_at")[:limit]
        )
        rows.defer(due)
    return len(due)
