"""`check --deploy` stops a start that would be unsafe."""

import os
import subprocess
import sys

import pytest
from django.core.checks import run_checks


@pytest.mark.parametrize(
    ("setting", "value", "found"), [("DATABASE_URL", None, "seatdesk.E001"), ("DEMO", True, "seatdesk.E002")]
)
def test_unsafe_setting_is_an_error(setting, value, found, settings):
    settings.DATABASE_URL, settings.DEMO = "postgresql://somewhere/seatdesk", False
    assert not run_checks(tags=["seatdesk"], include_deployment_checks=True)
    setattr(settings, setting, value)
    assert [one.id for one in run_checks(tags=["seatdesk"], include_deployment_checks=True)] == [found]


@pytest.mark.parametrize(("command", "needs_one"), [("showmigrations", True), ("check", False)])
def test_nothing_runs_on_a_database_without_a_secret_key(command, needs_one):
    names = ("SECRET_KEY", "SEATDESK_DEMO")
    bare = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run(
        [sys.executable, "manage.py", command],
        env=bare | {"DATABASE_URL": "postgresql:///nothing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("Set SECRET_KEY" in result.stderr) == needs_one
    assert (result.returncode != 0) == needs_one
