"""Keeps secrets out of everything that is stored or shown as evidence."""

import re
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape

_CODE: Final = re.compile(r"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{5}-){3}([A-Za-z0-9]{5})(?![A-Za-z0-9])")
# An unclosed value is masked too: a truncated body may end inside a code.
_CODE_ATTRIBUTE: Final = re.compile(r"""(ActivationCode\s*=\s*)(?:"([^"]*)|'([^']*))""")
_CREDENTIAL_ELEMENT: Final = re.compile(r"(<(?:[\w.-]+:)?(UserName|Password)\b[^>]*>)[^<]*")


def mask_codes(text: str) -> str:
    """Every activation code cut down to its last group, also one that the text ends in the middle of."""
    return _CODE.sub(r"****-****-****-\1", _CODE_ATTRIBUTE.sub(_masked_attribute, text))


def mask(text: str, *, username: str, password: str) -> str:
    """Activation codes and the credentials made unreadable, whichever way XML spells them."""
    masked = _CREDENTIAL_ELEMENT.sub(r"\1****", text)
    for spelling in _spellings(password):
        masked = masked.replace(spelling, "****")
    for spelling in _spellings(username):
        if spelling in masked:
            # As a word only: a short name inside other words gives nothing away, and masking it would ruin evidence.
            masked = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", "****", masked)
    return mask_codes(masked)


# Each item of each answer is masked, always for the same few secrets.
@lru_cache(maxsize=16)
def _spellings(secret: str) -> tuple[str, ...]:
    found = {secret, escape(secret), escape(secret, {'"': "&quot;"}), escape(secret, {'"': "&quot;", "'": "&apos;"})}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _masked_attribute(match: re.Match[str]) -> str:
    value = match[2] if match[2] is not None else match[3]
    quote = '"' if match[2] is not None else "'"
    return f"{match[1]}{quote}{value if _CODE.fullmatch(value) else '****'}"
