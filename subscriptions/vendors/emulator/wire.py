"""The emulator's own reading of requests and writing of answers. The gateway has another; neither knows the other."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from .records import KINDS

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SERVICE: Final = "http://schemas.kaspersky.com/services/subscription/2.0/"
ACTION: Final = "http://schemas.kaspersky.com/services/subscription/subscriptionRequest"

_SOAP = f"{{{ENVELOPE}}}"
_SVC = f"{{{SERVICE}}}"
_KIND_OF_TAG = {_SVC + kind: kind for kind in KINDS}
_NUMBER = re.compile(r"[0-9]{1,18}")


class MalformedError(Exception):
    """The request is no request of this service; the text says why, and answers as a SOAP fault of the client's."""


class ContainerError(Exception):
    """The container as a whole cannot be dealt with; answers as a TransactionError."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Item:
    """One item as it was sent; `attributes` are those besides UnitId and SubscriberId, unchecked."""

    kind: str
    unit: int
    subscriber: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request whose shape is right; what the container holds is read by `items`."""

    user: str
    password: str = field(repr=False)
    timestamp: str
    transaction_id: str
    _item_elements: tuple[etree._Element, ...] = field(repr=False)

    def items(self) -> list[Item]:
        """The container's items. Raises ContainerError where answers could not be told apart."""
        items, seen = [], set()
        for element in self._item_elements:
            attributes = {str(name): str(value) for name, value in element.attrib.items()}
            unit_text = attributes.pop("UnitId", "")
            if not _NUMBER.fullmatch(unit_text):
                raise ContainerError(602, "Each item needs a UnitId, a non-negative integer.")
            unit = int(unit_text)
            if unit in seen:
                raise ContainerError(602, f"UnitId {unit} stands twice.")
            seen.add(unit)
            subscriber = attributes.pop("SubscriberId", "").strip()
            items.append(Item(_KIND_OF_TAG[str(element.tag)], unit, subscriber, attributes))
        return items


@dataclass(frozen=True, slots=True)
class Done:
    """A success: the item's own name, its attributes and its children."""

    kind: str
    unit: int
    subscriber: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[tuple[str, dict[str, str]], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure of one item."""

    kind: str
    unit: int
    subscriber: str
    code: int
    message: str = ""


Part = Done | Failed


def read(body: bytes) -> Envelope:
    """Take a request apart. Raises MalformedError for anything that is not one."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedError(f"Not well-formed XML: {error}") from error
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # the stubs lack it
        raise MalformedError("A document type is not allowed.")
    if root.tag != _SOAP + "Envelope":
        raise MalformedError("Not a SOAP 1.1 envelope.")
    access = root.find(f"{_SOAP}Header/{_SVC}AccessInfo")
    if access is None:
        raise MalformedError("The header lacks AccessInfo.")
    body_element = root.find(f"{_SOAP}Body")
    if body_element is None or len(body_element) != 1 or body_element[0].tag != _SVC + "SubscriptionRequestContainer":
        raise MalformedError("The body must hold one SubscriptionRequestContainer.")
    container = body_element[0]
    expected = [_SVC + name for name in ("Timestamp", "TransactionId", "SubscriptionRequest")]
    if [child.tag for child in container] != expected:
        raise MalformedError("The container must hold Timestamp, TransactionId and SubscriptionRequest, in this order.")
    elements = tuple(container[2])
    for element in elements:
        if element.tag not in _KIND_OF_TAG:
            raise MalformedError(f"Unknown item {element.tag}.")
        if len(element):
            raise MalformedError(f"{element.tag} must be empty.")
    return Envelope(
        user=_text(access.find(f"{_SVC}UserName")),
        password=_text(access.find(f"{_SVC}Password")),
        timestamp=_text(container[0]),
        transaction_id=_text(container[1]),
        _item_elements=elements,
    )


def digest(items: Iterable[Item]) -> str:
    """Equal for equal items in equal order; the time of sending does not count."""
    content = [(item.kind, item.unit, item.subscriber, sorted(item.attributes.items())) for item in items]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def write_answer(timestamp: str, transaction_id: str, parts: Iterable[Part]) -> bytes:
    """The answer with successes first and failures after them, each in the order given."""
    envelope, container = _container(timestamp, transaction_id)
    parts = list(parts)
    done = [part for part in parts if isinstance(part, Done)]
    failed = [part for part in parts if isinstance(part, Failed)]
    if done:
        response = etree.SubElement(container, _SVC + "SubscriptionResponse")
        for part in done:
            element = etree.SubElement(response, _SVC + part.kind, _ids(part) | part.attributes)
            for name, attributes in part.children:
                etree.SubElement(element, _SVC + name, attributes)
    if failed:
        errors = etree.SubElement(container, _SVC + "SubscriptionError")
        for failure in failed:
            attributes = _ids(failure) | {"ErrorCode": str(failure.code)}
            if failure.message:
                attributes["ErrorMessage"] = failure.message
            etree.SubElement(errors, f"{_SVC}{failure.kind}Error", attributes)
    return _bytes(envelope)


def write_transaction_error(timestamp: str, transaction_id: str, code: int, message: str) -> bytes:
    envelope, container = _container(timestamp, transaction_id)
    error = etree.SubElement(container, _SVC + "TransactionError")
    etree.SubElement(error, _SVC + "ErrorCode").text = str(code)
    if message:
        etree.SubElement(error, _SVC + "ErrorMessage").text = message
    return _bytes(envelope)


def write_fault(side: str, message: str) -> bytes:
    """A SOAP 1.1 fault; `side` is `Client` or `Server`."""
    envelope = etree.Element(_SOAP + "Envelope", nsmap={"soap": ENVELOPE})
    fault = etree.SubElement(etree.SubElement(envelope, _SOAP + "Body"), _SOAP + "Fault")
    etree.SubElement(fault, "faultcode").text = f"soap:{side}"
    etree.SubElement(fault, "faultstring").text = "".join(c if c.isprintable() else " " for c in message)
    return _bytes(envelope)


def _container(timestamp: str, transaction_id: str) -> tuple[etree._Element, etree._Element]:
    envelope = etree.Element(_SOAP + "Envelope", nsmap={"soap": ENVELOPE, "sub": SERVICE})
    body = etree.SubElement(envelope, _SOAP + "Body")
    container = etree.SubElement(body, _SVC + "SubscriptionResponseContainer")
    etree.SubElement(container, _SVC + "Timestamp").text = timestamp
    etree.SubElement(container, _SVC + "TransactionId").text = transaction_id
    return envelope, container


def _ids(part: Part) -> dict[str, str]:
    ids = {"UnitId": str(part.unit)}
    if part.subscriber:
        ids["SubscriberId"] = part.subscriber
    return ids


def _text(element: etree._Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _bytes(envelope: etree._Element) -> bytes:
    return etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
