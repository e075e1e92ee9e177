import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


# By hand: Django would drop the unique indexes of the column too, and make its foreign key anew.
def unindexed(model, column, index, field):
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.RunSQL(
                f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
                f"CREATE INDEX CONCURRENTLY {index} ON subscriptions_{model} ({column}_id)",
            )
        ],
        state_operations=[migrations.AlterField(model, column, field)],
    )


def link(to, related_name, **more):
    return models.ForeignKey(
        f"subscriptions.{to}", django.db.models.deletion.PROTECT, related_name=related_name, db_index=False, **more
    )


class Migration(migrations.Migration):
    # Orders go on being placed while the indexes are made.
    atomic = False

    dependencies = [("subscriptions", "0016_words_of_names")]

    operations = [
        AddIndexConcurrently(
            "subscription", models.Index(fields=["account", "status", "-id"], name="subscription_account_status")
        ),
        AddIndexConcurrently(
            "subscription",
            models.Index(fields=["status", "-id"], condition=~Q(status="active"), name="subscription_not_active"),
        ),
        AddIndexConcurrently(
            "order",
            models.Index(
                fields=["status", "-id"],
                condition=Q(status__in=("scheduled", "rejected", "withdrawn")),
                name="order_seldom",
            ),
        ),
        AddIndexConcurrently(
            "order",
            models.Index(
                fields=["action", "-id"],
                condition=~Q(action__in=("start", "increase", "decrease", "suspend", "activate", "cancel")),
                name="order_seldom_action",
            ),
        ),
        AddIndexConcurrently(
            "charge", models.Index(fields=["kind", "-id"], condition=~Q(kind="period"), name="charge_kind")
        ),
        AddIndexConcurrently(
            "vendorcall",
            models.Index(fields=["purpose", "-id"], condition=~Q(purpose="write"), name="vendor_call_reads"),
        ),
        # Other indexes begin with the same columns.
        unindexed(
            "subscription", "account", "subscriptions_subscription_account_id_6d16fe4f",
            link("account", "subscriptions"),
        ),
        unindexed(
            "order", "subscription", "subscriptions_order_subscription_id_d551fe33", link("subscription", "orders")
        ),
        unindexed(
            "event", "subscription", "subscriptions_event_subscription_id_194c91d6", link("subscription", "events")
        ),
        unindexed(
            "vendorcall", "subscription", "subscriptions_vendorcall_subscription_id_7a16337d",
            link("subscription", "vendor_calls", null=True),
        ),
        unindexed(
            "vendorcall", "order", "subscriptions_vendorcall_order_id_19c429c9",
            link("order", "vendor_calls", null=True),
        ),
        # PostgreSQL has not looked yet at what the indexes of names hold.
        migrations.RunSQL("ANALYZE subscriptions_account, subscriptions_user", migrations.RunSQL.noop),
    ]
