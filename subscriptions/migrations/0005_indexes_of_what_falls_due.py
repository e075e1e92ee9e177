from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

ONE_TRIAL = models.UniqueConstraint(
    condition=Q(("trial_of__isnull", False), Q(("status__in", ["failed"]), _negated=True)),
    fields=("account", "trial_of"),
    name="one_trial_for_an_account_and_product",
)


class Migration(migrations.Migration):
    # Orders go on being placed while the indexes are made.
    atomic = False

    dependencies = [("subscriptions", "0004_periods_and_ledger")]

    operations = [
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(condition=Q(("status", "scheduled")), fields=["due_at"], name="order_due"),
        ),
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(condition=Q(("status", "awaiting_approval")), fields=["-id"], name="order_approvals"),
        ),
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(
                condition=Q(("next_due_at__isnull", False)), fields=["next_due_at"], name="subscription_due"
            ),
        ),
        # A partial unique constraint is an index to PostgreSQL, and as one it is made without a lock.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY one_trial_for_an_account_and_product "
                    "ON subscriptions_subscription (account_id, trial_of_id) "
                    "WHERE trial_of_id IS NOT NULL AND NOT (status IN ('failed'))",
                    "DROP INDEX one_trial_for_an_account_and_product",
                )
            ],
            state_operations=[migrations.AddConstraint(model_name="subscription", constraint=ONE_TRIAL)],
        ),
    ]
