import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Calls go on being written while the old ones are checked.
    atomic = False

    dependencies = [("subscriptions", "0009_viewings")]

    operations = [
        migrations.AlterField(
            model_name="vendorcall",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("write", "Carry out the order"),
                    ("settle", "Read to settle an order"),
                    ("details", "Get details"),
                    ("drift", "Look for drift"),
                    ("takeover", "Take over"),
                ],
                max_length=8,
            ),
        ),
        # By hand: Django would make the foreign key anew, and look every call up while nothing can be written.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE subscriptions_vendorcall ALTER COLUMN subscription_id DROP NOT NULL",
                    "ALTER TABLE subscriptions_vendorcall ALTER COLUMN subscription_id SET NOT NULL",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="vendorcall",
                    name="subscription",
                    field=models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="vendor_calls",
                        to="subscriptions.subscription",
                    ),
                )
            ],
        ),
        AddConstraintNotValid(
            model_name="vendorcall",
            constraint=models.CheckConstraint(
                condition=Q(("subscription__isnull", False), ("purpose__in", ("drift", "takeover")), _connector="OR"),
                name="vendor_call_names_its_subscription",
            ),
        ),
        ValidateConstraint(model_name="vendorcall", name="vendor_call_names_its_subscription"),
    ]
