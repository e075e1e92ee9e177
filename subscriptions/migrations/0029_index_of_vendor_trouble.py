from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Calls go on being written while the index is made.
    atomic = False

    dependencies = [("subscriptions", "0028_letters_to_send")]

    operations = [
        AddIndexConcurrently(
            "vendorcall",
            models.Index(
                fields=["finished_at"],
                condition=models.Q(outcome__in=("transient", "unknown", "credentials")),
                name="vendor_call_trouble",
            ),
        )
    ]
