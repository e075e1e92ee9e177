"""`check --deploy` stops a start that would be unsafe."""

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
