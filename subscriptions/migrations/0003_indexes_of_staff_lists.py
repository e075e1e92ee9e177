from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Orders go on being placed while the indexes are made.
    atomic = False

    dependencies = [("subscriptions", "0002_shared_cache")]

    operations = [
        RemoveIndexConcurrently(model_name="account", name="account_search_by_name"),
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(fields=["-id"], condition=models.Q(status="failed"), name="order_failed"),
        ),
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(
                fields=["status", "-id"], condition=models.Q(needs_staff=True), name="order_needs_staff"
            ),
        ),
    ]
