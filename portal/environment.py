"""Settings from the environment; a mistyped one is named, with what is expected of it."""

import math
import os
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

MAKE_A_KEY = "Make one: uv run python -c 'import secrets; print(secrets.token_urlsafe(50))'"
_FLAGS = {"1": True, "on": True, "true": True, "yes": True, "0": False, "off": False, "false": False, "no": False}


class Environment(environ.Env):
    """Raises ImproperlyConfigured with a sentence for whoever set it; one that is set to nothing counts as not set."""

    def whole(self, name: str, *, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
        typed = _typed(name)
        if not typed:
            return default
        try:
            found = int(typed)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            beyond = f"from {least} to {most}" if most < 2**31 - 1 else f"of {least} or more"
            raise ImproperlyConfigured(f"{name} must be a whole number {beyond}, and is “{typed}”.")
        return found

    def number(self, name: str, *, default: float) -> float:
        typed = _typed(name)
        if not typed:
            return default
        try:
            found = float(typed)
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise ImproperlyConfigured(f"{name} must be a number, such as {default:g}, and is “{typed}”.")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        typed = _typed(name)
        if typed and typed.lower() not in _FLAGS:
            raise ImproperlyConfigured(f"{name} must be 1 or 0, and is “{typed}”.")
        return _FLAGS[typed.lower()] if typed else default

    def one_of(self, name: str, *names: str, default: str) -> str:
        typed = _typed(name) or default
        if typed not in names:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(names)}, and is “{typed}”.")
        return typed

    def mail_server(self, name: str, *, default: str) -> dict[str, Any]:
        """The settings that a mail server's address stands for."""
        try:
            found: dict[str, Any] = self.email_url(name, default=default)
        except (ImproperlyConfigured, ValueError):
            # It may hold a password, and is not told.
            expected = "smtp+tls://user:password@host:587"
            raise ImproperlyConfigured(f"{name} must be a mail server's address, such as {expected}.") from None
        return found


def _typed(name: str) -> str:
    return os.environ.get(name, "").strip()
