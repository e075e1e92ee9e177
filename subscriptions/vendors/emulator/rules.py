"""What the vendor allows: one decision for each item, without a database and without a clock of its own.

Error numbers up to 999 come from public clients of the vendor's service; how they are used here, and everything below,
is this emulator's reading where the vendor has published nothing:

* An `Activate` of a known subscriber changes seats if the state allows it and the profile is `in-place`; its dates are
  checked but change nothing. For another product of the contract it changes that as well, if the subscriber runs and
  both products are `in-place`; the code stays. A repeat that would change nothing, a repeat for a paused one, and any
  repeat under `strict` answers 1.
* A renew to the end that already stands succeeds and changes nothing.
* A soft cancel of a soft-cancelled one moves its end; it cannot go past the end of a fixed term (602).
* A hard cancel works from every state but its own and takes effect at once: a date in the future answers 602, and so
  does a pause in the future.
* `SubscriberId` belongs to the provider: another provider's subscriber is unknown (5).
* The client's clock may run ahead by `CLOCK_TOLERANCE`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from . import moments
from .records import Profile, Provider, Record, Status
from .wire import Done, Failed, Item, Part

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
SHORTEST_TERM: Final = timedelta(days=28)
FARTHEST_BACK: Final = timedelta(days=14)

WRONG_PASSWORD: Final = 9001
"""Invented, of a container: user or password are wrong."""
SOFT_CANCELLED: Final = 9002
"""Invented, of an item: a soft-cancelled subscription cannot be renewed."""
REUSED_TRANSACTION: Final = 9010
"""Invented, of a container: the transaction id was used for other content."""

MESSAGES: Final = {
    1: "The subscriber is already activated.",
    2: "The subscription has not started yet.",
    3: "The new end is earlier than the current end.",
    4: "The subscription is already hard-cancelled.",
    5: "The subscriber is unknown.",
    6: "This order was already carried out.",
    8: "The pool of activation codes is empty.",
    9: "The product is unknown.",
    99: "Unknown error.",
    101: "A fixed term cannot be shorter than 28 days.",
    103: "The start lies in the future.",
    105: "The subscription is soft-cancelled and cannot be activated.",
    202: "An open-ended subscription cannot be renewed.",
    204: "A paused subscription cannot be renewed.",
    303: "A paused subscription cannot be soft-cancelled.",
    304: "The date lies more than 14 days back.",
    401: "Only open-ended subscriptions can be paused.",
    402: "The subscription is already paused.",
    501: "The subscription is not paused.",
    601: "This command is not allowed for this provider.",
    602: "An attribute is missing or wrong.",
    WRONG_PASSWORD: "Wrong user name or password.",
    SOFT_CANCELLED: "A soft-cancelled subscription cannot be renewed.",
    REUSED_TRANSACTION: "This transaction id was used for other content.",
}

_COUNT = re.compile(r"[0-9]{1,9}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PLATFORMS = {"Windows": ("exe",), "macOS": ("dmg",), "Android": ("apk",), "iOS": ("ipa",)}
_SECTIONS = {"Subscription", "SubscriptionUsage"}


@dataclass(slots=True)
class Desk:
    """What a decision depends on besides the item and the record."""

    provider: Provider
    now: datetime
    profile_of: Callable[[str], Profile]
    new_code: Callable[[str], str]
    issued: int = 0
    """Codes that this container has drawn from the pool so far."""

    @property
    def stamp(self) -> str:
        return moments.write(self.now)


@dataclass(frozen=True, slots=True)
class Decision:
    """`record` is the subscriber's record afterwards; the item was applied if it differs from the one before."""

    part: Part
    record: Record | None


class _RefusedError(Exception):
    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or MESSAGES[code]


def refusal(item: Item, code: int, message: str = "") -> Failed:
    return Failed(item.kind, item.unit, item.subscriber, code, message or MESSAGES.get(code, ""))


def decide(item: Item, record: Record | None, desk: Desk) -> Decision:
    """Deal with one item. Never raises for what a client may send."""
    rule, required, optional = _RULES[item.kind]
    try:
        if not item.subscriber:
            raise _RefusedError(602, "SubscriberId is missing.")
        if missing := required - item.attributes.keys():
            raise _RefusedError(602, f"{min(missing)} is missing.")
        if unknown := item.attributes.keys() - required - optional:
            raise _RefusedError(602, f"{item.kind} has no attribute {min(unknown)}.")
        if item.kind in desk.provider.refused_items:
            raise _RefusedError(601)
        return rule(item, record, desk)
    except _RefusedError as error:
        return Decision(refusal(item, error.code, error.message), record)


def status_at(record: Record, now: datetime) -> Status:
    """A subscription with a start ahead has not started, whatever else was written down."""
    if record.status in ("NotStarted", "Started"):
        return "NotStarted" if moments.parse(record.start) > now + CLOCK_TOLERANCE else "Started"
    return record.status


# --- items that change -----------------------------------------------------------------------------------------------


def _activate(item: Item, record: Record | None, desk: Desk) -> Decision:
    start = _moment(item, "StartTime")
    end = _end(item, "EndTime")
    seats = _seats(item)
    product = item.attributes["ProductId"].strip()
    kind = item.attributes.get("ActivationType", "Standard")
    if not product:
        raise _RefusedError(602, "ProductId is empty.")
    if kind not in ("Standard", "Secondary"):
        raise _RefusedError(602, "ActivationType must be Standard or Secondary.")
    if end and end <= start:
        raise _RefusedError(602, "EndTime must be later than StartTime.")
    if desk.provider.products is not None and product not in desk.provider.products:
        raise _RefusedError(9)
    _not_too_far_back(start, desk)
    if _in_future(start, desk):
        raise _RefusedError(103)
    if record is not None:
        return _activate_again(item, record, product, seats, desk)
    if end and end - start < SHORTEST_TERM:
        raise _RefusedError(101)
    pool = desk.provider.pool_size
    if pool is not None and desk.provider.issued + desk.issued >= pool:
        raise _RefusedError(8)
    desk.issued += 1
    new = Record(
        provider=desk.provider.user,
        subscriber=item.subscriber,
        product=product,
        seats=seats,
        status="Started",
        status_changed_at=desk.stamp,
        start=moments.write(start),
        end=moments.write(end) if end else moments.INDEFINITE,
        activation_code=desk.new_code(item.subscriber),
        activation_type=kind,
    )
    return _done(item, new, {"ActivationCode": new.activation_code})


def _activate_again(item: Item, record: Record, product: str, seats: int, desk: Desk) -> Decision:
    status = status_at(record, desk.now)
    if status == "HardCancelled":
        raise _RefusedError(4)
    if status == "SoftCancelled":
        raise _RefusedError(105)
    in_place = {desk.profile_of(one) for one in (record.product, product)} == {"in-place"}
    changeable = in_place and (status == "Started" or (status == "NotStarted" and product == record.product))
    if not changeable or (product, seats) == (record.product, record.seats):
        raise _RefusedError(1)
    return _done(item, replace(record, product=product, seats=seats), {"ActivationCode": record.activation_code})


def _renew(item: Item, record: Record | None, desk: Desk) -> Decision:
    end = _end(item, "EndTime")
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    if status == "NotStarted":
        raise _RefusedError(2)
    if status == "Paused":
        raise _RefusedError(204)
    if status == "SoftCancelled":
        raise _RefusedError(SOFT_CANCELLED)
    if record.end == moments.INDEFINITE:
        raise _RefusedError(202)
    if end is None:
        return _done(item, replace(record, end=moments.INDEFINITE))
    _not_too_far_back(end, desk)
    if record.end and end < moments.parse(record.end):
        raise _RefusedError(3)
    return _done(item, replace(record, end=moments.write(end)))


def _pause(item: Item, record: Record | None, desk: Desk) -> Decision:
    at = _moment(item, "PauseTime")
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    if status == "NotStarted":
        raise _RefusedError(2)
    if status == "Paused":
        raise _RefusedError(402)
    if record.end != moments.INDEFINITE:
        raise _RefusedError(401)
    _not_too_far_back(at, desk)
    _not_ahead("PauseTime", at, desk)
    return _done(item, replace(record, status="Paused", status_changed_at=desk.stamp))


def _resume(item: Item, record: Record | None, desk: Desk) -> Decision:
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    if status == "NotStarted":
        raise _RefusedError(2)
    if status != "Paused":
        raise _RefusedError(501)
    return _done(item, replace(record, status="Started", status_changed_at=desk.stamp))


def _soft_cancel(item: Item, record: Record | None, desk: Desk) -> Decision:
    end = _moment(item, "EndTime")
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    if status == "NotStarted":
        raise _RefusedError(2)
    if status == "Paused":
        raise _RefusedError(303)
    _not_too_far_back(end, desk)
    fixed = status == "Started" and record.end not in (None, moments.INDEFINITE)
    if fixed and end > moments.parse(record.end or ""):
        raise _RefusedError(602, "EndTime lies after the end of the term.")
    text = moments.write(end)
    if status == "SoftCancelled":
        return _done(item, replace(record, end=text))
    return _done(item, replace(record, status="SoftCancelled", status_changed_at=desk.stamp, end=text))


def _hard_cancel(item: Item, record: Record | None, desk: Desk) -> Decision:
    end = _moment(item, "EndTime")
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    _not_too_far_back(end, desk)
    _not_ahead("EndTime", end, desk)
    return _done(item, replace(record, status="HardCancelled", status_changed_at=desk.stamp, end=moments.write(end)))


# --- items that read -------------------------------------------------------------------------------------------------


def _get_info(item: Item, record: Record | None, desk: Desk) -> Decision:
    sections = {section.strip() for section in item.attributes["InfoSection"].split(",")}
    if not sections <= _SECTIONS:
        raise _RefusedError(602, "InfoSection must name Subscription, SubscriptionUsage or both.")
    record, status = _known(record, desk)
    children = []
    if "Subscription" in sections:
        values: dict[str, str | None] = {
            "Status": status,
            "StatusChangeTime": record.status_changed_at,
            "StartTime": record.start,
            "EndTime": record.end,
            "LicenseCount": str(record.seats),
            "ProductId": record.product,
            "ActivationCode": record.activation_code,
        }
        children.append(("Subscription", _present(values)))
    if "SubscriptionUsage" in sections:
        children.append(("SubscriptionUsage", _present({"FirstActivationTime": record.first_used_at})))
    return Decision(Done(item.kind, item.unit, item.subscriber, children=tuple(children)), record)


def _get_download_links(item: Item, record: Record | None, desk: Desk) -> Decision:
    language, platform = item.attributes["Language"].strip(), item.attributes["Platform"].strip()
    if not _LANGUAGE.fullmatch(language):
        raise _RefusedError(602, "Language must be a code such as en or pt-BR.")
    if platform not in _PLATFORMS:
        raise _RefusedError(602, f"Platform must be one of {', '.join(_PLATFORMS)}.")
    record, status = _known(record, desk)
    if status == "HardCancelled":
        raise _RefusedError(4)
    links = tuple(
        (
            "DownloadLink",
            {
                "Url": f"https://downloads.invalid/{language.lower()}/{platform.lower()}/protection.{suffix}",
                "Language": language,
                "ApplicationName": f"Endpoint protection for {platform}",
            },
        )
        for suffix in _PLATFORMS[platform]
    )
    return Decision(Done(item.kind, item.unit, item.subscriber, children=links), record)


# --- attributes ------------------------------------------------------------------------------------------------------


def _moment(item: Item, name: str) -> datetime:
    try:
        return moments.parse(item.attributes[name].strip())
    except ValueError as error:
        raise _RefusedError(602, f"{name} must be a dateTime with a zone.") from error


def _end(item: Item, name: str) -> datetime | None:
    """None stands for the word `indefinite`; a missing end was refused before."""
    return None if item.attributes[name].strip() == moments.INDEFINITE else _moment(item, name)


def _seats(item: Item) -> int:
    text = item.attributes.get("LicenseCount", "1").strip()
    if not _COUNT.fullmatch(text) or int(text) < 1:
        raise _RefusedError(602, "LicenseCount must be a positive integer.")
    return int(text)


def _not_too_far_back(moment: datetime, desk: Desk) -> None:
    if moment < desk.now - FARTHEST_BACK:
        raise _RefusedError(304)


def _in_future(moment: datetime, desk: Desk) -> bool:
    return moment > desk.now + CLOCK_TOLERANCE


def _not_ahead(name: str, moment: datetime, desk: Desk) -> None:
    if _in_future(moment, desk):
        raise _RefusedError(602, f"{name} lies in the future.")


def _known(record: Record | None, desk: Desk) -> tuple[Record, Status]:
    if record is None:
        raise _RefusedError(5)
    return record, status_at(record, desk.now)


def _present(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _done(item: Item, record: Record, attributes: dict[str, str] | None = None) -> Decision:
    return Decision(Done(item.kind, item.unit, item.subscriber, attributes or {}), record)


_Rule = Callable[[Item, Record | None, Desk], Decision]
_RULES: Final[dict[str, tuple[_Rule, set[str], set[str]]]] = {
    "Activate": (_activate, {"StartTime", "EndTime", "ProductId"}, {"LicenseCount", "ActivationType"}),
    "Renew": (_renew, {"EndTime"}, set()),
    "Pause": (_pause, {"PauseTime"}, set()),
    "Resume": (_resume, set(), set()),
    "SoftCancel": (_soft_cancel, {"EndTime"}, set()),
    "HardCancel": (_hard_cancel, {"EndTime"}, set()),
    "GetInfo": (_get_info, {"InfoSection"}, set()),
    "GetDownloadLinks": (_get_download_links, {"Language", "Platform"}, set()),
}
