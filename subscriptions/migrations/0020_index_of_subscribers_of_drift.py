from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Drift goes on being written while the index is made.
    atomic = False

    dependencies = [("subscriptions", "0019_index_of_what_is_not_renewed")]

    operations = [
        AddIndexConcurrently(
            model_name="drift", index=models.Index(fields=["subscriber_id"], name="drift_of_subscriber")
        ),
    ]
