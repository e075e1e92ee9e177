"""What `check` and, before a start, `check --deploy` demand beyond Django's own list."""

from typing import Any

from cryptography.fernet import Fernet
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


@checks.register("seatdesk")
def encryption_keys_are_keys(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    """Else the first activation code could not be kept."""
    for number, key in enumerate(settings.ENCRYPTION_KEYS, 1):
        try:
            Fernet(key)
        except ValueError:
            making = "uv run python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
            which = f"Number {number} of ENCRYPTION_KEYS" if len(settings.ENCRYPTION_KEYS) > 1 else "ENCRYPTION_KEYS"
            return [checks.Error(f"{which} is no Fernet key.", hint=f"Make one: {making}", id="seatdesk.E004")]
    return []


@checks.register("seatdesk")
def waits_are_in_order(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    """An attempt must be over before another worker may look into it."""
    found: list[checks.CheckMessage] = []
    deadline = settings.VENDOR_ATTEMPT_DEADLINE
    for vendor, entry in settings.VENDORS.items():
        longest = entry["OPTIONS"].get("attempt_timeout", 0.0)
        if longest >= deadline:
            found.append(
                checks.Error(
                    f"An attempt at {vendor} may take {longest:g} s, and another worker looks into it after "
                    f"{deadline:g} s.",
                    hint="VENDOR_ATTEMPT_DEADLINE must be more than VENDOR_ATTEMPT_TIMEOUT.",
                    id="seatdesk.E005",
                )
            )
    return found


@checks.register("seatdesk", deploy=True)
def workers_may_end_what_runs(app_configs: object, **kwargs: Any) -> list[checks.CheckMessage]:
    worker: dict[str, Any] = settings.PROCRASTINATE_WORKER_DEFAULTS
    given = worker["shutdown_graceful_timeout"]
    deadline = settings.VENDOR_ATTEMPT_DEADLINE
    if given >= deadline:
        return []
    return [
        checks.Warning(
            f"A worker that is stopped gives running jobs {given:g} s, and an attempt may take {deadline:g} s.",
            hint="WORKER_SHUTDOWN_TIMEOUT should be no less than VENDOR_ATTEMPT_DEADLINE.",
            id="seatdesk.W001",
        )
    ]
