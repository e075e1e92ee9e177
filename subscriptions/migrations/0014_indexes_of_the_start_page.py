from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Orders go on being placed while the indexes are made.
    atomic = False

    dependencies = [("subscriptions", "0013_drift")]

    operations = [
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(
                condition=Q(("finished_at__isnull", False)),
                fields=["status", "finished_at", "action"],
                name="order_finished",
            ),
        ),
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(
                condition=Q(("status__in", ["ending", "suspended"])), fields=["ends_at"], name="subscription_ends"
            ),
        ),
    ]
