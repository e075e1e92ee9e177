"""Migrations can run beside the version before them: nothing locks or breaks what is being used."""

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django_migration_linter import MigrationLinter


# Not in a transaction: indexes that are made concurrently refuse to be written down in one.
@pytest.mark.django_db(transaction=True)
def test_migrations_are_safe_to_deploy(tmp_path):
    linter = MigrationLinter(path=str(settings.BASE_DIR), include_apps=["subscriptions"], no_cache=True, no_output=True)
    linter.lint_all_migrations()
    assert linter.nb_total > 0
    assert not linter.has_errors


@pytest.mark.django_db(transaction=True)
def test_no_foreign_key_is_made_anew():
    """To alter its field drops it and adds it again: writers of both tables wait while every row is looked up."""
    executor = MigrationExecutor(connection)
    state, looked_at, dropped = ProjectState(), 0, []
    for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes("subscriptions"), clean_start=True):
        with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
            state = migration.apply(state, editor, collect_sql=True)
        if migration.app_label == "subscriptions":
            looked_at += 1
            lines = "\n".join(editor.collected_sql).splitlines()
            dropped += [(migration.name, one) for one in lines if "DROP CONSTRAINT" in one and "_fk_" in one]
    assert looked_at > 20
    assert dropped == []
