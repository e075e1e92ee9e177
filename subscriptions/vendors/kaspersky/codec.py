"""The UPI v2.0 wire format: requests out, answers in, nothing about what they mean.

Writing refuses with ValueError what the format cannot say. Reading trusts nobody: no DTD, no entity, no network,
only UTF-8, and every value is checked before it leaves this module.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from lxml import etree

from subscriptions.vendors.kaspersky.assumptions import ZONE_OF_BARE_TIMES
from subscriptions.vendors.port import OPEN_ENDED, OpenEnded, VendorStatus

NAMESPACE: Final = "http://schemas.kaspersky.com/services/subscription/2.0/"
SOAP_ACTION: Final = "http://schemas.kaspersky.com/services/subscription/subscriptionRequest"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
INDEFINITE: Final = "indefinite"
# lxml wants None for the namespace without a prefix; its stubs do not know that.
_DEFAULT_NAMESPACE: Final[Any] = {None: NAMESPACE}


# --- what we write ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request item; the element is named like the class."""

    unit_id: int
    subscriber_id: str

    def attributes(self) -> Iterator[tuple[str, str]]:
        """The attributes after UnitId and SubscriberId, in the order of the format."""
        yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate(Item):
    start_time: datetime
    end_time: datetime | OpenEnded
    product_id: str
    license_count: int = 1
    activation_type: Literal["Standard", "Secondary"] = "Standard"

    def attributes(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.license_count, bool) or self.license_count < 1:
            raise ValueError("LicenseCount must be at least 1")
        yield "StartTime", write_time(self.start_time)
        yield "EndTime", write_end(self.end_time)
        yield "ProductId", _required("ProductId", self.product_id)
        yield "LicenseCount", str(self.license_count)
        yield "ActivationType", self.activation_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew(Item):
    end_time: datetime | OpenEnded

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "EndTime", write_end(self.end_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Item):
    pause_time: datetime

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "PauseTime", write_time(self.pause_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Item):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftCancel(Item):
    end_time: datetime

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "EndTime", write_time(self.end_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardCancel(Item):
    end_time: datetime

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "EndTime", write_time(self.end_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetInfo(Item):
    info_section: str = "Subscription,SubscriptionUsage"

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "InfoSection", self.info_section


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDownloadLinks(Item):
    language: str
    platform: Literal["Windows", "macOS", "Android", "iOS"]

    def attributes(self) -> Iterator[tuple[str, str]]:
        yield "Language", _required("Language", self.language)
        yield "Platform", self.platform


ITEM_NAMES: Final = frozenset(kind.__name__ for kind in Item.__subclasses__())


def write_time(moment: datetime) -> str:
    """xs:dateTime in UTC; a naive datetime raises ValueError, because it names no instant."""
    if moment.utcoffset() is None:
        raise ValueError(f"A datetime without a time zone: {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def write_end(end: datetime | OpenEnded) -> str:
    return INDEFINITE if end is OPEN_ENDED else write_time(end)


def write_item(item: Item) -> str:
    """The item's own XML text, as it stands in the container."""
    return etree.tostring(_item_element(item), encoding="unicode")


def write_request(
    items: Iterable[Item], *, transaction_id: str, timestamp: datetime, username: str, password: str
) -> bytes:
    """The whole SOAP envelope, with the credentials in its header."""
    envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soap": SOAP})
    access = _child(etree.SubElement(envelope, f"{{{SOAP}}}Header"), "AccessInfo")
    _child(access, "UserName").text = username
    _child(access, "Password").text = password
    container = _child(etree.SubElement(envelope, f"{{{SOAP}}}Body"), "SubscriptionRequestContainer")
    _child(container, "Timestamp").text = write_time(timestamp)
    _child(container, "TransactionId").text = _required("TransactionId", transaction_id)
    _child(container, "SubscriptionRequest").extend([_item_element(item) for item in items])
    return etree.tostring(envelope, encoding="utf-8", xml_declaration=True)


def _child(parent: etree._Element, name: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{NAMESPACE}}}{name}", nsmap=_DEFAULT_NAMESPACE)


def _item_element(item: Item) -> etree._Element:
    element = etree.Element(f"{{{NAMESPACE}}}{type(item).__name__}", nsmap=_DEFAULT_NAMESPACE)
    if item.unit_id < 0:
        raise ValueError("UnitId must not be negative")
    element.set("UnitId", str(item.unit_id))
    element.set("SubscriberId", _required("SubscriberId", item.subscriber_id))
    for name, text in item.attributes():
        element.set(name, text)
    return element


def _required(name: str, text: str) -> str:
    if not text.strip():
        raise ValueError(f"{name} must not be empty")
    return text


# --- what we read ----------------------------------------------------------------------------------------------------


class ForeignAnswerError(ValueError):
    """The body is not an answer of this format; `code` says which check it failed."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Subscription:
    status: VendorStatus
    license_count: int
    product_id: str
    activation_code: str = field(repr=False)
    status_change_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | OpenEnded | None = None
    """`OPEN_ENDED` when the vendor says so, None when it says nothing."""


@dataclass(frozen=True, slots=True)
class DownloadLink:
    url: str
    language: str
    application_name: str


@dataclass(frozen=True, slots=True)
class Success:
    name: str
    unit_id: int
    subscriber_id: str
    xml: str = field(repr=False, default="")
    activation_code: str | None = field(repr=False, default=None)
    subscription: Subscription | None = None
    first_activation_time: datetime | None = None
    download_links: tuple[DownloadLink, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """`name` is the request item's name, without the suffix `Error`."""

    name: str
    unit_id: int
    subscriber_id: str | None
    error_code: str
    error_message: str = ""
    xml: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that breaks the format; `unit_id` is None when it does not even say whose it is."""

    unit_id: int | None
    reason: str
    xml: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class TransactionError:
    error_code: str
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class ContainerAnswer:
    transaction_id: str
    error: TransactionError | None = None
    items: tuple[Success | Failure | Unreadable, ...] = ()
    xml: str = field(repr=False, default="")
    """The TransactionError's own text; empty when there is none."""
    timestamp: datetime | None = None
    """None when it is missing or cannot be read, which spoils nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    code: str
    """Local part of a SOAP 1.1 code (`Client`, `Server.Busy`); empty for a code that is not SOAP's."""
    message: str = ""
    xml: str = field(repr=False, default="")


def read_answer(body: bytes) -> ContainerAnswer | Fault:
    """What the vendor said, or ForeignAnswerError. A broken item does not spoil the container around it."""
    envelope = _parse(body)
    if envelope.tag != f"{{{SOAP}}}Envelope":
        raise ForeignAnswerError("foreign", f"The document is {envelope.tag}, not a SOAP 1.1 envelope")
    bodies = envelope.findall(f"{{{SOAP}}}Body")
    if len(bodies) != 1 or len(bodies[0]) != 1:
        raise ForeignAnswerError("foreign", "The envelope must have one body with one element")
    content = bodies[0][0]
    if content.tag == f"{{{SOAP}}}Fault":
        return _read_fault(content)
    if content.tag != f"{{{NAMESPACE}}}SubscriptionResponseContainer":
        raise ForeignAnswerError("foreign", f"The body holds {content.tag}")
    return _read_container(content)


def read_time(text: str) -> datetime:
    """An aware UTC datetime from an xs:dateTime, or ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"Not a dateTime: {text[:40]!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZONE_OF_BARE_TIMES)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"Out of range: {text[:40]!r}") from error


# datetime.fromisoformat also reads week dates and other ISO forms that are no xs:dateTime.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_CONTAINER_PARTS: Final = frozenset(
    {"Timestamp", "TransactionId", "TransactionError", "SubscriptionResponse", "SubscriptionError"}
)


def _parse(body: bytes) -> etree._Element:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ForeignAnswerError("not-xml", "The body is not UTF-8") from error
    # Looked for before parsing, because libxml2 expands entities in attributes even when told not to resolve any.
    if "<!DOCTYPE" in text:
        raise ForeignAnswerError("dtd", "The body has a document type")
    parser = etree.XMLParser(
        # Overrides the declaration, so that the bytes cannot mean something else to libxml2 than to the check above.
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ForeignAnswerError("not-xml", f"The body is not XML: {error}") from error


def _read_fault(element: etree._Element) -> Fault:
    text = (element.findtext("faultcode") or "").strip()
    prefix, _, local = text.rpartition(":")
    code_element = element.find("faultcode")
    scope = code_element.nsmap if code_element is not None else {}
    # Many servers leave the prefix away; a prefix of another namespace is another vocabulary.
    known = not prefix or scope.get(prefix) == SOAP
    return Fault(local if known else "", (element.findtext("faultstring") or "").strip(), _text(element))


def _read_container(container: etree._Element) -> ContainerAnswer:
    parts: dict[str, etree._Element] = {}
    for child in container:
        name = _local_name(child)
        if name not in _CONTAINER_PARTS or name in parts:
            raise ForeignAnswerError("foreign", f"The container holds an unexpected {child.tag}")
        parts[name] = child
    transaction_id = _leaf(parts.get("TransactionId"))
    if transaction_id is None:
        raise ForeignAnswerError("foreign", "The container has no TransactionId")
    if "TransactionError" in parts:
        if "SubscriptionResponse" in parts or "SubscriptionError" in parts:
            raise ForeignAnswerError("foreign", "The container both failed and answered")
        return ContainerAnswer(
            transaction_id,
            error=_read_transaction_error(parts["TransactionError"]),
            xml=_text(parts["TransactionError"]),
        )
    items = [
        *(_read_item(item, _read_success) for item in parts.get("SubscriptionResponse", ())),
        *(_read_item(item, _read_failure) for item in parts.get("SubscriptionError", ())),
    ]
    return ContainerAnswer(transaction_id, items=tuple(items), timestamp=_read_timestamp(parts.get("Timestamp")))


def _read_timestamp(element: etree._Element | None) -> datetime | None:
    try:
        return read_time(_leaf(element) or "")
    except ValueError:
        return None


def _read_transaction_error(element: etree._Element) -> TransactionError:
    code = _leaf(element.find(f"{{{NAMESPACE}}}ErrorCode"))
    if not code:
        raise ForeignAnswerError("foreign", "The TransactionError has no ErrorCode")
    return TransactionError(code, element.findtext(f"{{{NAMESPACE}}}ErrorMessage") or "")


def _read_item(
    element: etree._Element, read: Callable[[etree._Element, int, str], Success | Failure]
) -> Success | Failure | Unreadable:
    text = _text(element)
    unit_text = element.get("UnitId") or ""
    if not _COUNT.fullmatch(unit_text):
        return Unreadable(None, f"UnitId {unit_text[:40]!r}", text)
    try:
        return read(element, int(unit_text), text)
    except ValueError as error:
        return Unreadable(int(unit_text), str(error), text)


def _read_success(element: etree._Element, unit_id: int, text: str) -> Success:
    name = _local_name(element)
    if name not in ITEM_NAMES:
        raise ValueError(f"Unknown item {element.tag}")
    subscription = usage = None
    if name == "GetInfo":
        subscription = _only_child(element, "Subscription")
        usage = _only_child(element, "SubscriptionUsage")
    return Success(
        name,
        unit_id,
        _attribute(element, "SubscriberId"),
        text,
        activation_code=element.get("ActivationCode"),
        subscription=None if subscription is None else _read_subscription(subscription),
        first_activation_time=None if usage is None else _optional_time(usage, "FirstActivationTime"),
        download_links=tuple(
            DownloadLink(_attribute(link, "Url"), _attribute(link, "Language"), _attribute(link, "ApplicationName"))
            for link in element.findall(f"{{{NAMESPACE}}}DownloadLink")
        ),
    )


def _read_failure(element: etree._Element, unit_id: int, text: str) -> Failure:
    name = _local_name(element)
    if not name.endswith("Error") or name.removesuffix("Error") not in ITEM_NAMES:
        raise ValueError(f"Unknown item {element.tag}")
    return Failure(
        name.removesuffix("Error"),
        unit_id,
        element.get("SubscriberId"),
        _attribute(element, "ErrorCode"),
        element.get("ErrorMessage") or "",
        text,
    )


def _read_subscription(element: etree._Element) -> Subscription:
    count = _attribute(element, "LicenseCount")
    if not _COUNT.fullmatch(count):
        raise ValueError(f"LicenseCount {count[:40]!r}")
    end = element.get("EndTime")
    return Subscription(
        status=VendorStatus(_attribute(element, "Status")),
        license_count=int(count),
        product_id=_attribute(element, "ProductId"),
        activation_code=_attribute(element, "ActivationCode"),
        status_change_time=_optional_time(element, "StatusChangeTime"),
        start_time=_optional_time(element, "StartTime"),
        end_time=OPEN_ENDED if end == INDEFINITE else _optional_time(element, "EndTime"),
    )


def _attribute(element: etree._Element, name: str) -> str:
    text = element.get(name)
    if not text or not text.strip():
        raise ValueError(f"{name} is missing")
    return text


def _optional_time(element: etree._Element, name: str) -> datetime | None:
    text = element.get(name)
    return None if text is None else read_time(text)


def _only_child(element: etree._Element, name: str) -> etree._Element | None:
    found = element.findall(f"{{{NAMESPACE}}}{name}")
    if len(found) > 1:
        raise ValueError(f"More than one {name}")
    return found[0] if found else None


def _leaf(element: etree._Element | None) -> str | None:
    return None if element is None or len(element) else element.text


def _local_name(element: etree._Element) -> str:
    """The name within the format's namespace; empty for any other."""
    tag = str(element.tag)
    return tag.removeprefix(f"{{{NAMESPACE}}}") if tag.startswith(f"{{{NAMESPACE}}}") else ""


def _text(element: etree._Element) -> str:
    alone = deepcopy(element)
    etree.cleanup_namespaces(alone)
    return etree.tostring(alone, encoding="unicode", with_tail=False)
