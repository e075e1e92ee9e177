from datetime import UTC, timedelta

from django.contrib.postgres.operations import AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models

from subscriptions import clock

# Not on a day that has come: a worker of the version before would take it for the reminder of a renewal.
ANNOUNCE = """
    UPDATE subscriptions_subscription AS s
    SET reminder_due_on = v.day, next_due_at = least(s.next_due_at, v.day::timestamp AT TIME ZONE v.time_zone)
    FROM (
        SELECT t.id, a.time_zone, greatest(t.trial_ends - 7, %s::date) AS day
        FROM subscriptions_subscription AS t JOIN subscriptions_account AS a ON a.id = t.account_id
        WHERE t.trial_ends IS NOT NULL AND t.status = 'active' AND t.reminder_due_on IS NULL
        ORDER BY t.id FOR NO KEY UPDATE OF t
    ) AS v
    WHERE s.id = v.id AND v.day < s.trial_ends
"""


def announce_running_trials(apps, schema_editor):
    """Running it again on the same day changes nothing."""
    tomorrow = clock.now().astimezone(UTC).date() + timedelta(days=1)
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(ANNOUNCE, [tomorrow])


class Migration(migrations.Migration):
    # Notices and subscriptions go on being written meanwhile.
    atomic = False

    dependencies = [("subscriptions", "0024_notices_before_trials_end")]

    operations = [
        ValidateConstraint("notice", "notice_kind_known"),
        # Before the index, which a second run would find there.
        migrations.RunPython(announce_running_trials, migrations.RunPython.noop),
        AddIndexConcurrently(
            "subscription",
            models.Index(
                fields=["trial_ends"],
                condition=models.Q(("status__in", ["active", "suspended"]), ("trial_ends__isnull", False)),
                name="subscription_trials",
            ),
        ),
    ]
