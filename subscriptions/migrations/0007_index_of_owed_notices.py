from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Notices go on being sent while the index is made.
    atomic = False

    dependencies = [("subscriptions", "0006_periods_of_what_runs")]

    operations = [
        AddIndexConcurrently(
            model_name="notice",
            index=models.Index(condition=Q(("sent_at__isnull", True)), fields=["id"], name="notice_owed"),
        ),
    ]
