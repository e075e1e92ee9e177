"""The gateway: options in, port commands out on the wire, one outcome for each of them back."""

import ipaddress
import math
import ssl
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Literal

import httpx

from subscriptions.vendors.kaspersky import codec
from subscriptions.vendors.kaspersky.assumptions import (
    PRODUCT_BY_REPEATED_ACTIVATE,
    SEATS_BY_REPEATED_ACTIVATE,
    UNKNOWN_SUBSCRIBER,
)
from subscriptions.vendors.kaspersky.items import to_item
from subscriptions.vendors.kaspersky.judgement import judge, judge_silence
from subscriptions.vendors.kaspersky.masking import mask, mask_codes
from subscriptions.vendors.kaspersky.transport import Attempt, AttemptTransport, NoReply, exchange
from subscriptions.vendors.port import (
    NOT_FOUND,
    Answer,
    Ask,
    Capabilities,
    ChangeProduct,
    Container,
    Gateway,
    Outcome,
    Read,
    Secret,
    SetSeats,
)

SEAT_CHANGE_UNSUPPORTED: Final = "seat-change"
"""`Answer.code` of a `SetSeats` that was not sent because the option `seat_change` says so."""
PRODUCT_CHANGE_UNSUPPORTED: Final = "product-change"
"""The same of a `ChangeProduct` and the option `product_change`."""


class KasperskyGateway(Gateway):
    """Kaspersky Subscription Service v2.0.

    `endpoint` is https, or http to loopback only. The server's certificate is always verified; `ca_file` adds trust to
    the public authorities and never takes any away. `client_cert` and `client_key` are PEM files without a passphrase;
    the certificate's file may hold the key too.

    `connect_timeout` bounds name lookup, TCP and TLS together, `read_timeout` each wait for the vendor, and
    `attempt_timeout` all of it from the call of `send` to the last byte.

    Nothing is retried, redirected or sent through a proxy of the environment.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        username: str,
        password: str,
        client_cert: str | None = None,
        client_key: str | None = None,
        ca_file: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        attempt_timeout: float = 45.0,
        seat_change: Literal["in_place", "unsupported"] = "in_place",
        product_change: Literal["in_place", "unsupported"] = "in_place",
        max_answer_bytes: int = 4 * 1024 * 1024,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(f"Unknown options of KasperskyGateway: {', '.join(sorted(unknown))}")
        for name, limit in {
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
            "attempt_timeout": attempt_timeout,
            "max_answer_bytes": max_answer_bytes,
        }.items():
            if not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{name} must be more than 0")
        for name, way in {"seat_change": seat_change, "product_change": product_change}.items():
            if way not in ("in_place", "unsupported"):
                raise ValueError(f"{name} must be in_place or unsupported")
        self._endpoint = _checked_endpoint(endpoint)
        self._username = username
        self._password = Secret(password)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._attempt_timeout = attempt_timeout
        self._seat_change: Literal["in_place", "unsupported"] = (
            seat_change if SEATS_BY_REPEATED_ACTIVATE else "unsupported"
        )
        self._product_change: Literal["in_place", "unsupported"] = (
            product_change if PRODUCT_BY_REPEATED_ACTIVATE else "unsupported"
        )
        self._max_answer_bytes = max_answer_bytes
        # Reading the public authorities takes longer than a whole exchange over loopback, which has no use for them.
        wants_tls = self._endpoint.scheme == "https" or client_cert or client_key or ca_file
        tls = _tls_context(client_cert, client_key, ca_file) if wants_tls else None
        self._client = httpx.Client(
            transport=AttemptTransport(tls),
            trust_env=False,
            follow_redirects=False,
            # One vendor's answers must not change what the next request carries.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        # Fails now, and not at the first order, when the credentials cannot be written in XML.
        self.prepare("start", [Read(UNKNOWN_SUBSCRIBER)])

    def __repr__(self) -> str:
        return f"KasperskyGateway({str(self._endpoint)!r})"

    def close(self) -> None:
        """Let go of the HTTP client; the gateway cannot send afterwards."""
        self._client.close()

    def capabilities(self, product_id: str) -> Capabilities:
        return Capabilities(seat_change=self._seat_change, product_change=self._product_change)

    def prepare(self, transaction_id: str, asks: Sequence[Ask]) -> Container:
        """Build the container. An ask that the gateway cannot do has an empty text in `asked` and is left out."""
        items = {unit: to_item(unit, ask) for unit, ask in enumerate(asks) if not self._cannot(ask)}
        return Container(
            transaction_id=transaction_id,
            asks=tuple(asks),
            asked=tuple(
                mask_codes(codec.write_item(items[unit])) if unit in items else "" for unit in range(len(asks))
            ),
            body=codec.write_request(
                items.values(),
                transaction_id=transaction_id,
                timestamp=datetime.now(UTC),
                username=self._username,
                password=self._password.reveal(),
            ),
        )

    def send(self, container: Container, *, within: float | None = None) -> list[Answer]:
        """Send once. An empty container, and one that holds only what is unsupported, opens no socket."""
        unsupported = {
            unit: Answer(Outcome.UNSUPPORTED, code)
            for unit, ask in enumerate(container.asks)
            if (code := self._cannot(ask))
        }
        wanted = {unit: ask for unit, ask in enumerate(container.asks) if unit not in unsupported}
        answers = unsupported | (self._exchange(container, wanted, within) if wanted else {})
        return [answers[unit] for unit in range(len(container.asks))]

    def ping(self) -> Answer:
        """Read a subscriber that cannot exist: DONE when the vendor says that it knows none."""
        answer = self.get_details(uuid.uuid4().hex.upper(), UNKNOWN_SUBSCRIBER)
        if answer.code == NOT_FOUND:
            return replace(answer, outcome=Outcome.DONE)
        if answer.outcome in (Outcome.TRANSIENT, Outcome.CREDENTIALS):
            return answer
        return replace(answer, outcome=Outcome.UNKNOWN)

    def _cannot(self, ask: Ask) -> str:
        """The code of what an option rules out; empty for what can be sent."""
        match ask:
            case SetSeats() if self._seat_change == "unsupported":
                return SEAT_CHANGE_UNSUPPORTED
            case ChangeProduct() if self._product_change == "unsupported":
                return PRODUCT_CHANGE_UNSUPPORTED
        return ""

    def _exchange(self, container: Container, wanted: dict[int, Ask], within: float | None) -> dict[int, Answer]:
        started = time.monotonic()
        attempt = Attempt(
            whole=self._attempt_timeout if within is None else min(within, self._attempt_timeout),
            connect=self._connect_timeout,
            read=self._read_timeout,
        )
        headers = {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{codec.SOAP_ACTION}"',
            "Accept": "text/xml",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "Seatdesk",
        }
        reply = exchange(
            self._client, self._endpoint, container.body, headers, attempt, max_bytes=self._max_answer_bytes
        )
        latency = round((time.monotonic() - started) * 1000)
        if isinstance(reply, NoReply):
            silence = replace(judge_silence(reply, self._mask), latency_ms=latency)
            return dict.fromkeys(wanted, silence)
        answers = judge(reply, wanted, transaction_id=container.transaction_id, mask=self._mask)
        return {unit: replace(answer, http_status=reply.status, latency_ms=latency) for unit, answer in answers.items()}

    def _mask(self, text: str) -> str:
        return mask(text, username=self._username, password=self._password.reveal())


def _checked_endpoint(endpoint: str) -> httpx.URL:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise ValueError(f"endpoint is not a URL: {error}") from None
    if url.userinfo or url.fragment or not url.host or url.scheme not in ("https", "http"):
        # The value is left out, because somebody may have written a password into it.
        raise ValueError("endpoint must be an https URL without user name and fragment")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ValueError(f"endpoint must be https, or http to loopback: {url.host} is not")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(client_cert: str | None, client_key: str | None, ca_file: str | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    if client_cert:
        context.load_cert_chain(client_cert, client_key, password=_no_passphrase)
    elif client_key:
        raise ValueError("client_key needs client_cert")
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal, which a server does not have.
    raise ValueError("client_key must not have a passphrase")
