from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0029_index_of_vendor_trouble")]

    operations = [
        migrations.AddField(
            "reconciliationrun",
            "report",
            models.CharField(
                blank=True,
                db_default="",
                editable=False,
                help_text="Vendor whose billing report is still to be looked through.",
                max_length=64,
            ),
        ),
    ]
