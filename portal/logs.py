"""Logging without secrets: the last processor before a line is written."""

import re
from collections.abc import MutableMapping
from typing import Any

# Activation codes are four groups of five; passwords and codes also hide behind these names.
CODE = re.compile(r"\b(?:[0-9A-Z]{5}-){3}([0-9A-Z]{5})\b")
NAMED = re.compile(
    r"(?i)((?:password|activation_?code|authorization|cookie|secret_key)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&<>]+"
)
# Whoever has the link of a reset mail can set the password; the part before the dash only names the person.
RESET_KEY = re.compile(r"(/password/reset/key/[0-9A-Za-z]+-)[^\s\"'<>?&]+")
SECRET_KEYS = ("password", "activation_code", "code_plain", "authorization", "cookie", "secret")


def mask_text(text: str) -> str:
    """The text with activation codes cut to their last group, values of secret names and reset keys replaced."""
    masked = CODE.sub(r"****-****-****-\1", text)
    return RESET_KEY.sub(r"\1****", NAMED.sub(r"\1****", masked))


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {key: "****" if _is_secret(key) else _mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mask(item) for item in value)
    return value


def _is_secret(key: object) -> bool:
    return any(word in str(key).lower() for word in SECRET_KEYS)


def mask_secrets(logger: object, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: masks every value, whatever its depth."""
    for key in list(event_dict):
        if not key.startswith("_"):
            event_dict[key] = "****" if _is_secret(key) else _mask(event_dict[key])
    return event_dict
