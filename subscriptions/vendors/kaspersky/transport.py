"""One HTTP attempt: bounded from the name lookup to the last byte, and always able to say how far it got.

httpx's timeouts bound single socket calls, so a peer that drips a byte at a time, or a name with many dead addresses,
outlives them. Here an `Attempt` owns the deadline and every wait on the socket asks it how long may be left.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

_WRITE_SIZE: Final = 64 * 1024

_CERTIFICATE_ALERTS: Final = frozenset(
    {
        "CERTIFICATE_REQUIRED",
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "ACCESS_DENIED",
    }
)
# Before TLS 1.3 a server that misses our certificate says no more than this.
_HANDSHAKE_ALERTS: Final = _CERTIFICATE_ALERTS | {"HANDSHAKE_FAILURE"}


class NameLookupError(httpcore.ConnectError):
    """The host name has no address, or none could be learnt."""


class Attempt:
    """The time that is left, and how far the exchange got. One per request, used by one thread."""

    def __init__(self, *, whole: float, connect: float, read: float) -> None:
        now = time.monotonic()
        self.deadline = now + whole
        self.connect_deadline = min(self.deadline, now + connect)
        self.read_timeout = read
        self.connected = False
        self.sent = False
        """Whether a byte of the request may have left; before that, nothing can have been applied."""
        self.received = False

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline

    def connect_wait(self) -> float:
        """Seconds that name lookup, TCP and TLS may still take in all; ConnectTimeout when none are left."""
        left = self.connect_deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ConnectTimeout("No time left to connect")
        return left

    def wait(self) -> float:
        """Seconds that one read or write may take; ReadTimeout when the attempt is over."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("The attempt is over")
        return min(left, self.read_timeout)


class AttemptTransport(httpx.BaseTransport):
    """Opens a connection for each request and closes it after the answer.

    Kept-alive connections are not reused: when the server closes one at the moment we write, nobody can tell whether
    the request was read, and a lost race would cost an outcome that is unknown. A fresh connection makes "not
    connected" mean "not sent".

    A request carries its `Attempt` in `extensions["attempt"]`; httpcore's exceptions pass through unchanged.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        connection = httpcore.HTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=_Network(request.extensions["attempt"])
        )
        try:
            answer = connection.handle_request(
                httpcore.Request(request.method, url, headers=request.headers.raw, content=request.read())
            )
        except BaseException:
            connection.close()
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer, connection))


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, connection: httpcore.HTTPConnection) -> None:
        self._answer = answer
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._connection.close()


class _Network(httpcore.NetworkBackend):
    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = NameLookupError(f"{host} has no address")
        addresses = _addresses(host, port, self._attempt.connect_wait())
        for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # An equal share for each, so that one dead address cannot use up the time of a living one.
            wait = self._attempt.connect_wait() / untried
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, wait, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._attempt.connected = True
                return _Stream(stream, self._attempt)
        raise failure


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            wait = self._attempt.connect_wait()
        except httpcore.ConnectTimeout:
            self.close()
            raise
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, wait), self._attempt)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_SIZE):
            wait = self._attempt.wait()
            self._attempt.sent = True
            self._stream.write(buffer[start : start + _WRITE_SIZE], wait)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received = self._stream.read(max_bytes, self._attempt.wait())
        self._attempt.received = self._attempt.received or bool(received)
        return received

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int, seconds: float) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    # The resolver cannot be interrupted, so it is waited for rather than called; a late answer is dropped.
    found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, found), daemon=True, name="name-lookup").start()
    try:
        answer = found.get(timeout=seconds)
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"No answer about {host} in time") from None
    if isinstance(answer, Exception):
        raise NameLookupError(str(answer)) from answer
    return answer


def _look_up(host: str, port: int, found: "queue.SimpleQueue[list[str] | Exception]") -> None:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.put(list(dict.fromkeys(str(address[0]) for *_, address in rows)))
    except (OSError, UnicodeError) as error:
        found.put(error)


# --- the exchange ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoReply:
    """The attempt ended without an HTTP status; `code` is the phase in a word."""

    code: str
    message: str
    sent: bool
    certificate_refused: bool = False
    """The vendor refuses our client certificate, which it checks before it reads a request."""
    certificate_distrusted: bool = False
    """We refuse the vendor's."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: httpx.Headers
    body: bytes
    trouble: str = ""
    """Why `body` is not all that was sent (`too-large`, `truncated`, a timeout); empty when it is."""


def exchange(
    client: httpx.Client, url: httpx.URL, body: bytes, headers: dict[str, str], attempt: Attempt, *, max_bytes: int
) -> Reply | NoReply:
    """Send once and read at most `max_bytes`; what goes wrong on the way is in the result."""
    try:
        request = client.build_request("POST", url, content=body, headers=headers, extensions={"attempt": attempt})
        response = client.send(request, stream=True)
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        return _no_reply(error, attempt)
    try:
        content, trouble = _read_body(response, attempt, max_bytes)
    finally:
        response.close()
    return Reply(response.status_code, response.headers, content, trouble)


def _read_body(response: httpx.Response, attempt: Attempt, max_bytes: int) -> tuple[bytes, str]:
    content = bytearray()
    try:
        # Raw, because a compressed body can be small on the wire and huge in memory; none was asked for.
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > max_bytes:
                return bytes(content[:max_bytes]), "too-large"
    except httpcore.TimeoutException:
        return bytes(content), "attempt-timeout" if attempt.expired else "read-timeout"
    except httpcore.ProtocolError:
        return bytes(content), "truncated"
    except (httpcore.NetworkError, OSError):
        return bytes(content), "reset"
    return bytes(content), ""


def _no_reply(error: Exception, attempt: Attempt) -> NoReply:
    reason = _tls_reason(error)
    alert = reason.partition("ALERT_")[2]
    if not attempt.sent:
        if isinstance(error, NameLookupError):
            code = "dns"
        elif attempt.expired:
            code = "attempt-timeout"
        elif isinstance(error, httpcore.TimeoutException):
            code = "connect-timeout"
        else:
            code = "tls" if attempt.connected else "connect"
        if alert in _HANDSHAKE_ALERTS:
            return NoReply("client-certificate", str(error), sent=False, certificate_refused=True)
        return NoReply(code, str(error), sent=False, certificate_distrusted=reason == "CERTIFICATE_VERIFY_FAILED")
    # With TLS 1.3 our side of the handshake ends before the server has looked at the certificate.
    if alert in _CERTIFICATE_ALERTS and not attempt.received:
        return NoReply("client-certificate", str(error), sent=True, certificate_refused=True)
    if isinstance(error, httpcore.TimeoutException):
        code = "attempt-timeout" if attempt.expired else "read-timeout"
    elif isinstance(error, httpcore.ProtocolError) and attempt.received:
        code = "not-http"
    else:
        code = "reset"
    return NoReply(code, str(error), sent=True)


def _tls_reason(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error.reason or ""
        error = error.__cause__ or error.__context__
    return ""
