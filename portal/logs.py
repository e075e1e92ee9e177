"""Logging without secrets, and each line of a job with the job's name on it.

Settings import this module, so it must not import anything that reads them.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from procrastinate import JobContext

# Activation codes are four groups of five; passwords and codes also hide behind these names.
CODE = re.compile(r"\b(?:[0-9A-Z]{5}-){3}([0-9A-Z]{5})\b")
NAMED = re.compile(
    r"(?i)((?:password|activation_?code|authorization|cookie|secret_key|token)[\"']?\s*[=:]\s*[\"']?"
    r"(?:(?:bearer|basic)\s+)?)[^\s\"'&<>]+"
)
# Whoever has the link of a reset mail can set the password; the part before the dash only names the person.
RESET_KEY = re.compile(r"(/password/reset/key/[0-9A-Za-z]+-)[^\s\"'<>?&]+")
# In a query only: elsewhere a code is the number of a refusal, or of an exit.
QUERY_CODE = re.compile(r"(?i)([?&](?:\w+_)?code=)[^\s\"'<>&#]+")
SECRET_KEYS = ("password", "activation_code", "code_plain", "authorization", "cookie", "secret", "token")


def mask_text(text: str) -> str:
    """The text with activation codes cut to their last group, values of secret names and reset keys replaced."""
    masked = CODE.sub(r"****-****-****-\1", text)
    for secret in (NAMED, RESET_KEY, QUERY_CODE):
        masked = secret.sub(r"\1****", masked)
    return masked


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


async def bind_job(call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: object) -> Any:
    """Worker middleware: every line of a job names the job, its task, and the rows that its arguments name."""
    about = {name: value for name, value in context.job.task_kwargs.items() if name.endswith("_id")}
    # Not taken away at the end: procrastinate's own line about the outcome comes after this, and each job runs in a
    # context of its own.
    structlog.contextvars.bind_contextvars(job_id=context.job.id, task=context.job.task_name, **about)
    return await call_next()
