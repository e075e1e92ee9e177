"""Subscriptions that began before there were periods get the one that holds today; nothing is charged for it."""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db import migrations, transaction

from subscriptions import clock

CHUNK = 1000
NEVER_BEGAN = ("pending", "failed")
COLUMNS = (
    "currency", "anchor_day", "period_start", "period_end", "term_end", "peak_seats", "reminder_due_on", "next_due_at",
)
UPDATE = """
    UPDATE subscriptions_subscription AS s
    SET currency = v.currency, anchor_day = v.anchor_day, period_start = v.period_start, period_end = v.period_end,
        term_end = v.term_end, peak_seats = v.peak_seats, reminder_due_on = v.reminder_due_on,
        next_due_at = v.next_due_at
    FROM unnest(
        %s::bigint[], %s::varchar[], %s::smallint[], %s::date[], %s::date[], %s::date[], %s::integer[], %s::date[],
        %s::timestamptz[]
    ) AS v(
        id, currency, anchor_day, period_start, period_end, term_end, peak_seats, reminder_due_on, next_due_at
    )
    WHERE s.id = v.id
"""


def give_periods(apps, schema_editor):
    """In short transactions, since orders go on being placed; running it again changes nothing."""
    subscriptions = apps.get_model("subscriptions", "Subscription").objects.filter(period_start=None)
    last = 0
    while True:
        with transaction.atomic(using=schema_editor.connection.alias):
            found = list(
                subscriptions.filter(pk__gt=last)
                .select_related("account", "sku")
                .defer("activation_code", "vendor_record")
                .select_for_update(of=("self",), no_key=True)
                .order_by("pk")[:CHUNK]
            )
            if not found:
                return
            rows = [_values(one) for one in found]
            with schema_editor.connection.cursor() as cursor:
                cursor.execute(UPDATE, [[one.pk for one in found], *([row[name] for row in rows] for name in COLUMNS)])
        last = found[-1].pk


def _values(subscription):
    values = dict.fromkeys(COLUMNS) | {"currency": subscription.account.currency, "peak_seats": 0}
    if subscription.started_at is None or subscription.status in NEVER_BEGAN:
        return values
    zone, sku = ZoneInfo(subscription.account.time_zone), subscription.sku
    begun = subscription.started_at.astimezone(zone).date()
    over = subscription.status == "cancelled"
    until = (subscription.ends_at or subscription.cancelled_at or clock.now()) if over else clock.now()
    today = max(begun, until.astimezone(zone).date())
    start, end = _around(begun, 12 if sku.billing_period == "year" else 1, today)
    term_end = _around(begun, sku.term_months, today)[1]
    reminders = [term_end - timedelta(days=days) for days in ((30, 7) if sku.term_months > 1 else (7,))]
    reminder = min((day for day in reminders if day > today), default=None)
    values |= {
        "anchor_day": begun.day,
        "period_start": start,
        "period_end": end,
        "term_end": term_end,
        "peak_seats": subscription.seats,
    }
    if over:
        return values
    due = [datetime.combine(end, time(), zone).astimezone(UTC)]
    if subscription.status == "active" and reminder:
        due.append(datetime.combine(reminder, time(), zone).astimezone(UTC))
    if subscription.status in ("ending", "suspended") and subscription.ends_at:
        due.append(subscription.ends_at)
    return values | {"reminder_due_on": reminder, "next_due_at": min(due)}


def _around(begun: date, months: int, day: date):
    """The range of so many months, counted from the beginning, that holds a day."""
    number = ((day.year - begun.year) * 12 + day.month - begun.month) // months
    if _after(begun, number * months) > day:
        number -= 1
    return _after(begun, number * months), _after(begun, (number + 1) * months)


def _after(begun: date, months: int) -> date:
    """So many months later, on the same day or the last one of a shorter month."""
    years, month = divmod(begun.year * 12 + begun.month - 1 + months, 12)
    return date(years, month + 1, min(begun.day, calendar.monthrange(years, month + 1)[1]))


class Migration(migrations.Migration):
    # Chunk by chunk: one transaction over all subscriptions would hold up every order.
    atomic = False

    dependencies = [("subscriptions", "0005_indexes_of_what_falls_due")]

    operations = [migrations.RunPython(give_periods, migrations.RunPython.noop)]
