from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Subscriptions go on being changed while the index is made.
    atomic = False

    dependencies = [("subscriptions", "0018_why_a_run_has_stopped")]

    operations = [
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(
                condition=Q(("auto_renew", False), ("status__in", ["active", "suspended"])),
                fields=["term_end"],
                name="subscription_not_renewed",
            ),
        ),
    ]
