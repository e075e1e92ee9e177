"""Migrations can run beside the version before them: nothing locks or breaks what is being used."""

import pytest
from django.conf import settings
from django_migration_linter import MigrationLinter


# Not in a transaction: indexes that are made concurrently refuse to be written down in one.
@pytest.mark.django_db(transaction=True)
def test_migrations_are_safe_to_deploy(tmp_path):
    linter = MigrationLinter(path=str(settings.BASE_DIR), include_apps=["subscriptions"], no_cache=True, no_output=True)
    linter.lint_all_migrations()
    assert linter.nb_total > 0
    assert not linter.has_errors
