"""`check --deploy` stops a start that would be unsafe."""

import os
import subprocess
import sys

import pytest
from django.core.cache import caches
from django.core.checks import run_checks


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("DATABASE_URL", None, "seatdesk.E001"),
        ("DEMO", True, "seatdesk.E002"),
        ("OPERATIONS_TOKEN", "x" * 31, "seatdesk.E003"),
        ("ENCRYPTION_KEYS", ["abc"], "seatdesk.E004"),
        ("VENDOR_ATTEMPT_DEADLINE", 0.9, "seatdesk.E005"),
        ("PROCRASTINATE_WORKER_DEFAULTS", {"shutdown_graceful_timeout": 1.1}, "seatdesk.W001"),
    ],
)
def test_unsafe_setting_is_an_error(setting, value, found, settings):
    settings.DATABASE_URL, settings.DEMO = "postgresql://somewhere/seatdesk", False
    settings.OPERATIONS_TOKEN = "x" * 32
    assert not run_checks(tags=["seatdesk"], include_deployment_checks=True)
    setattr(settings, setting, value)
    assert [one.id for one in run_checks(tags=["seatdesk"], include_deployment_checks=True)] == [found]


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("WORKER_CONCURRENCY", "abc", "WORKER_CONCURRENCY must be a whole number of 1 or more, and is “abc”."),
        ("RECONCILE_HOUR", "24", "RECONCILE_HOUR must be a whole number from -1 to 23, and is “24”."),
        ("VENDOR_READ_TIMEOUT", "5s", "VENDOR_READ_TIMEOUT must be a number, such as 30, and is “5s”."),
        ("SECURE_PLAIN_HTTP", "maybe", "SECURE_PLAIN_HTTP must be 1 or 0, and is “maybe”."),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG, INFO"),
        ("EMAIL_URL", "me:secret@mail", "EMAIL_URL must be a mail server's address, such as smtp+tls://"),
        ("DATABASE_URL", "me:secret@server", "DATABASE_URL must be the address of a PostgreSQL, such as postgresql://"),
        ("KASPERSKY_SEAT_CHANGE", "abc", "kaspersky cannot be set up: ValueError: seat_change must be"),
    ],
)
def test_a_mistyped_setting_ends_with_a_sentence(name, typed, sentence):
    told = {"DATABASE_URL": "postgresql:///nothing", "SECRET_KEY": "x" * 50, "SEATDESK_DEMO": "0"}
    result = subprocess.run(
        [sys.executable, "manage.py", "reconcile"],
        env={"PATH": os.environ["PATH"]} | told | {name: typed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(sentence)
    assert "secret" not in line


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


CLIENT = """
import django; django.setup()
from allauth.account.adapter import get_adapter
from django.test import RequestFactory
request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.99, 198.51.100.7")
print(get_adapter().get_client_ip(request))
"""


@pytest.mark.parametrize(("behind", "client"), [("1", "198.51.100.7"), ("", "10.0.0.1")])
def test_rate_limits_count_customers_and_not_their_proxy(behind, client):
    """Behind the proxy the address that the proxy saw; without one a header is anybody's claim."""
    result = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env=os.environ
        | {"BEHIND_PROXY": behind or "0", "SEATDESK_DEMO": "1", "DJANGO_SETTINGS_MODULE": "portal.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == client


def test_the_shared_cache_remembers_as_many_as_there_are_customers():
    """Django's default of 300 entries would let whoever fills it wipe everybody's rate limits."""
    assert caches["default"]._max_entries == 100_000
