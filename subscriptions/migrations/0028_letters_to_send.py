from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Notices go on being written meanwhile.
    atomic = False

    dependencies = [("subscriptions", "0027_notices_in_one_letter")]

    operations = [
        AddIndexConcurrently(
            "notice",
            models.Index(
                fields=["id"], condition=models.Q(gathered=True, letter__isnull=True), name="notice_to_gather"
            ),
        ),
        AddIndexConcurrently(
            "notice",
            models.Index(
                fields=["letter", "id"],
                condition=models.Q(letter__isnull=False, sent_at__isnull=True),
                name="notice_of_a_letter",
            ),
        ),
    ]
