"""The vendor's error numbers as data, closed by default: what is not listed is refused loudly or left unknown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from subscriptions.vendors.kaspersky.assumptions import AUTHENTICATION_ERRORS, TRANSACTION_ERRORS
from subscriptions.vendors.port import NOT_FOUND, Ask, Cancel, Outcome, Read


@dataclass(frozen=True, slots=True)
class VendorError:
    outcome: Outcome
    meaning: str
    alert: bool = False
    """A person must act: our configuration is wrong, or the vendor ran out of something."""
    instead: Mapping[type[Ask], Outcome] = field(default_factory=dict)
    """Commands to which the number means something else."""


_DONE, _NO = Outcome.ALREADY_DONE, Outcome.REJECTED

ERRORS: Final[Mapping[int, VendorError]] = MappingProxyType(
    {
        1: VendorError(_DONE, "subscriber already activated"),
        2: VendorError(_NO, "not activated yet"),
        3: VendorError(_NO, "renew end earlier than the current end"),
        4: VendorError(_NO, "already hard-cancelled", instead={Cancel: _DONE}),
        5: VendorError(_NO, "subscriber unknown"),
        6: VendorError(_DONE, "duplicated order"),
        8: VendorError(Outcome.TRANSIENT, "the provider's pool of activation codes is empty", alert=True),
        9: VendorError(_NO, "unknown product", alert=True),
        99: VendorError(Outcome.UNKNOWN, "unknown error"),
        101: VendorError(_NO, "fixed term shorter than 28 days"),
        103: VendorError(_NO, "start in the future"),
        105: VendorError(_NO, "soft-cancelled, cannot be activated"),
        202: VendorError(_NO, "renew of an open-ended subscription"),
        204: VendorError(_NO, "renew while paused"),
        303: VendorError(_NO, "soft cancel while paused"),
        304: VendorError(_NO, "date more than 14 days back"),
        401: VendorError(_NO, "only open-ended subscriptions can be paused"),
        402: VendorError(_DONE, "already paused"),
        501: VendorError(_DONE, "not paused"),
        601: VendorError(_NO, "command not allowed for this provider", alert=True),
        602: VendorError(_NO, "bad attribute or date"),
    }
)

_UNLISTED_ITEM: Final = VendorError(Outcome.REJECTED, "a number that nobody has classified", alert=True)
_UNLISTED_TRANSACTION: Final = VendorError(Outcome.UNKNOWN, "a number that nobody has classified", alert=True)
_AUTHENTICATION: Final = VendorError(Outcome.CREDENTIALS, "the provider's credentials are refused", alert=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    code: str
    alert: bool = False


def item_verdict(code: str, ask: Ask) -> Verdict:
    """What an item's ErrorCode means to the ask that it answers."""
    number = _number(code)
    if isinstance(ask, Read) and number == 5:
        return Verdict(Outcome.REJECTED, NOT_FOUND)
    error = ERRORS.get(number, _UNLISTED_ITEM)
    outcome = error.instead.get(type(ask), error.outcome)
    if isinstance(ask, Read) and outcome is Outcome.ALREADY_DONE:
        # A read has no target that could be reached already: the vendor contradicts what we know of it.
        return Verdict(Outcome.REJECTED, code, alert=True)
    return Verdict(outcome, code, error.alert)


def transaction_verdict(code: str, ask: Ask) -> Verdict:
    """What a TransactionError means to one ask of the container that it answers."""
    number = _number(code)
    if number in AUTHENTICATION_ERRORS:
        return Verdict(_AUTHENTICATION.outcome, code, _AUTHENTICATION.alert)
    error = ERRORS[number] if number in TRANSACTION_ERRORS else _UNLISTED_TRANSACTION
    if isinstance(ask, Read) and error.outcome is Outcome.ALREADY_DONE:
        return Verdict(Outcome.UNKNOWN, code)
    # 99 is listed, as unknown, so it needs nobody; the rest of what ends here does.
    return Verdict(error.outcome, code, error.alert and number != 99)


def _number(code: str) -> int:
    return int(code) if code.isascii() and code.isdigit() and len(code) <= 9 else -1
