from django.core.management import call_command
from django.db import migrations


def create(apps, schema_editor):
    """The cache that rate limits share over all web processes (settings.CACHES)."""
    call_command("createcachetable", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0001_initial")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
