"""Migrations can run beside the version before them: nothing locks or breaks what is being used."""

from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django_migration_linter import MigrationLinter

MIGRATIONS = sorted(path.stem for path in Path(settings.BASE_DIR, "subscriptions", "migrations").glob("0*.py"))


# Not in a transaction: indexes that are made concurrently refuse to be written down in one.
@pytest.mark.django_db(transaction=True)
def test_migrations_are_safe_to_deploy(tmp_path):
    linter = MigrationLinter(path=str(settings.BASE_DIR), include_apps=["subscriptions"], no_cache=True, no_output=True)
    linter.lint_all_migrations()
    assert linter.nb_total > 0
    assert not linter.has_errors


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", MIGRATIONS)
def test_no_foreign_key_is_made_anew(name):
    """To alter its field drops it and adds it again: writers of both tables wait while every row is looked up."""
    sql = StringIO()
    call_command("sqlmigrate", "subscriptions", name, stdout=sql)
    assert [line for line in sql.getvalue().splitlines() if "DROP CONSTRAINT" in line and "_fk_" in line] == []
