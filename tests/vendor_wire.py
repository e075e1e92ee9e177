"""A third hand at the vendor's wire format, for tests of the emulator: it shares nothing with it or the gateway."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

import httpx
from lxml import etree

from subscriptions.vendors import emulator

ACTION = "http://schemas.kaspersky.com/services/subscription/subscriptionRequest"
NAMES = {
    "soap": "http://schemas.xmlsoap.org/soap/envelope/",
    "s": "http://schemas.kaspersky.com/services/subscription/2.0/",
}
WSDL = Path(emulator.__file__).with_name("subscription.wsdl")
SCHEMA = etree.XMLSchema(etree.parse(WSDL).find(".//{http://www.w3.org/2001/XMLSchema}schema"))

Sent = tuple[str, str | None, dict[str, str]]


def stamp(moment: datetime | None = None) -> str:
    return (moment or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def activate(subscriber: str, seats: int | str | None = None, **more: str) -> Sent:
    given = {"StartTime": stamp(), "EndTime": "indefinite", "ProductId": "KES-1", **more}
    if seats is not None:
        given["LicenseCount"] = str(seats)
    return "Activate", subscriber, given


def info(subscriber: str, section: str = "Subscription") -> Sent:
    return "GetInfo", subscriber, {"InfoSection": section}


def item(kind: str, subscriber: str | None, **attributes: str) -> Sent:
    return kind, subscriber, attributes


@dataclass
class Answer:
    response: httpx.Response
    transaction_id: str = ""
    transaction_error: int | None = None
    parts: dict[int, etree._Element] = field(default_factory=dict)
    fault: str | None = None

    def name(self, unit: int = 0) -> str:
        return etree.QName(self.parts[unit]).localname

    def code(self, unit: int = 0) -> int | None:
        """The error number of an item; None for a success."""
        text = self.parts[unit].get("ErrorCode")
        return None if text is None else int(text)

    def codes(self) -> list[int | None]:
        return [self.code(unit) for unit in sorted(self.parts)]

    def get(self, name: str, unit: int = 0) -> str | None:
        return self.parts[unit].get(name)

    def child(self, name: str, unit: int = 0) -> dict[str, str]:
        found = self.parts[unit].find(f"s:{name}", NAMES)
        assert found is not None
        return dict(found.attrib)


class Wire:
    """Sends what it is told, well-formed or not. Each well-formed container that comes back must fit the schema."""

    headers: ClassVar = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{ACTION}"'}

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.http = httpx.Client(timeout=10, trust_env=False, **options)

    def send(self, *items: Sent, **options: Any) -> Answer:
        """Send one container; the options are those of `body`."""
        return self.read(self.post(self.body(*items, **options)))

    @staticmethod
    def body(
        *items: Sent,
        transaction_id: str | None = None,
        user: str = "seatdesk",
        password: str = "emulator-only",
        units: list[str] | None = None,
        timestamp: str | None = None,
    ) -> bytes:
        lines = []
        for number, (kind, subscriber, attributes) in enumerate(items):
            given = {"UnitId": units[number] if units else str(number), "SubscriberId": subscriber, **attributes}
            text = " ".join(f"{name}={quoteattr(value)}" for name, value in given.items() if value is not None)
            lines.append(f"<s:{kind} {text}/>")
        transaction_id = uuid.uuid4().hex if transaction_id is None else transaction_id
        return (
            f'<soap:Envelope xmlns:soap="{NAMES["soap"]}" xmlns:s="{NAMES["s"]}"><soap:Header><s:AccessInfo>'
            f"<s:UserName>{escape(user)}</s:UserName><s:Password>{escape(password)}</s:Password></s:AccessInfo>"
            "</soap:Header><soap:Body><s:SubscriptionRequestContainer>"
            f"<s:Timestamp>{timestamp or stamp()}</s:Timestamp>"
            f"<s:TransactionId>{escape(transaction_id)}</s:TransactionId><s:SubscriptionRequest>{''.join(lines)}"
            "</s:SubscriptionRequest></s:SubscriptionRequestContainer></soap:Body></soap:Envelope>"
        ).encode()

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post(self.url, content=body, headers=self.headers | headers)

    @staticmethod
    def read(response: httpx.Response) -> Answer:
        answer = Answer(response)
        if not response.headers["Content-Type"].startswith("text/xml"):
            return answer
        root = etree.fromstring(response.content)
        fault = root.find("soap:Body/soap:Fault", NAMES)
        if fault is not None:
            answer.fault = fault.findtext("faultcode", "").rpartition(":")[2]
            return answer
        container = root.find("soap:Body/s:SubscriptionResponseContainer", NAMES)
        assert container is not None
        SCHEMA.assertValid(container)
        answer.transaction_id = container.findtext("s:TransactionId", "", NAMES)
        code = container.findtext("s:TransactionError/s:ErrorCode", None, NAMES)
        answer.transaction_error = None if code is None else int(code)
        for part in container.iterfind("s:SubscriptionResponse/*", NAMES):
            answer.parts[int(part.attrib["UnitId"])] = part
        for part in container.iterfind("s:SubscriptionError/*", NAMES):
            answer.parts[int(part.attrib["UnitId"])] = part
        return answer

    def close(self) -> None:
        self.http.close()
