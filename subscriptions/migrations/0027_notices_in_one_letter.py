from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0026_how_runs_ended")]

    operations = [
        migrations.AddField(
            "notice", "gathered", models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField("notice", "letter", models.BigIntegerField(null=True)),
    ]  # fmt: skip
