"""Encryption at rest for activation codes."""

import base64
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.db import models

from subscriptions.vendors.port import Secret


@lru_cache
def _fernet(keys: tuple[str, ...], secret_keys: tuple[str, ...]) -> MultiFernet:
    """The listed keys first; those derived from the secret keys, old ones too, go on to decrypt what they encrypted."""
    derived = [
        base64.urlsafe_b64encode(hashlib.sha256(b"activation codes:" + one.encode()).digest()) for one in secret_keys
    ]
    return MultiFernet([*map(Fernet, keys), *map(Fernet, derived)])


def _keys() -> MultiFernet:
    return _fernet(tuple(settings.ENCRYPTION_KEYS), (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


if TYPE_CHECKING:
    _Base = models.Field[Secret | None, Secret | None]
else:
    _Base = models.BinaryField


class EncryptedField(_Base):
    """Holds a `Secret`, encrypted with the first of `ENCRYPTION_KEYS`, or with a key derived from `SECRET_KEY`.

    Every listed key, and those derived from `SECRET_KEY` and its fallbacks, can decrypt.

    A value reads back as a `Secret`, whose repr and str are masked. Nothing can be looked up by it.
    """

    description = "An encrypted text"

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return _keys().encrypt(value.reveal().encode())
        if value is None:
            return None
        raise TypeError("An encrypted field takes a Secret, so that a plain text is never stored by accident.")

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return super().get_db_prep_value(value if prepared else self.get_prep_value(value), connection, True)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Secret | None:
        if value is None:
            return None
        return Secret(_keys().decrypt(bytes(value)).decode())

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return ""
