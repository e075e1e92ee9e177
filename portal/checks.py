"""What `check --deploy` demands beyond Django's own list."""

from typing import Any

from django.conf import settings
from django.core import checks


@checks.register("seatdesk", deploy=True)
def database_is_named(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    if settings.DATABASE_URL:
        return []
    return [checks.Error("DATABASE_URL is not set.", hint="Name a PostgreSQL 15 or newer.", id="seatdesk.E001")]


@checks.register("seatdesk", deploy=True)
def demo_is_off(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    if not settings.DEMO:
        return []
    return [checks.Error("SEATDESK_DEMO is on: its secrets are public.", id="seatdesk.E002")]


@checks.register("seatdesk", deploy=True)
def operations_token_is_long(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    if not settings.OPERATIONS_TOKEN or len(settings.OPERATIONS_TOKEN) >= 32:
        return []
    hint = "Set it to at least 32 random characters."
    return [checks.Error("OPERATIONS_TOKEN can be guessed.", hint=hint, id="seatdesk.E003")]
