"""Sockets and HTTP of the service: HTTP/1.1 with keep-alive, a thread for each connection, TLS if asked for."""

import logging
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from .service import Reply, Service

log = logging.getLogger("emulator")

WSDL = Path(__file__).with_name("subscription.wsdl")
WSDL_PLACE = "http://127.0.0.1:8041/"
"""The address that stands in the WSDL file; the one that is served names the true address."""

_IDLE_SECONDS = 120
_BIND_PATIENCE = 5.0
_COMING_TO_REST = 0.2
_UNREAD_PATIENCE = 5
_RESET = struct.pack("ii", 1, 0)
_MOST_UNREAD = 64 << 20

# Two sockets of ours share one port (see Listener). Linux allows that under the modest option, which still keeps
# strangers out; elsewhere it takes the other one.
_SHARED = socket.SO_REUSEADDR if sys.platform == "linux" else getattr(socket, "SO_REUSEPORT", socket.SO_REUSEADDR)

_Made = TypeVar("_Made")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "emulator"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _IDLE_SECONDS
    server: "_Server"

    def do_POST(self) -> None:
        began = time.perf_counter()
        with self.server.listener.busy(self):
            body = self._body()
            if body is None:
                return
            reply = self.server.service.answer(
                body,
                soap_action=self.headers.get("SOAPAction", ""),
                content_type=self.headers.get("Content-Type", ""),
            )
            self._send(reply)
        log.info("POST %s bytes -> %s in %.1f ms", len(body), reply.status, 1000 * (time.perf_counter() - began))

    def do_GET(self) -> None:
        with self.server.listener.busy(self):
            if self.path.partition("?")[2].lower() == "wsdl":
                text = WSDL.read_text(encoding="utf-8").replace(WSDL_PLACE, self.server.listener.url)
                self._send(Reply(body=text.encode()))
            else:
                self._send(Reply(405, b"Only POST, and GET /?wsdl.\n", "text/plain", {"Allow": "POST"}))

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        limit = self.server.listener.max_body
        if not length.isdecimal() or int(length) > limit:
            message = f"The request needs a Content-Length of at most {limit} bytes."
            self.close_connection = True
            self._send(self.server.service.malformed(message))
            self.wfile.flush()
            # An answer that overtakes the client's sending is lost in a reset unless the rest is read.
            with suppress(OSError):
                self.connection.settimeout(1)
                unread = _MOST_UNREAD
                while unread > 0 and (piece := self.rfile.read1(1 << 16)):
                    unread -= len(piece)
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _send(self, reply: Reply) -> None:
        if reply.delay:
            self.server.service.faults.wait(reply.delay)
        if reply.close:
            self.close_connection = True
            if reply.close == "reset":
                self.server.listener.reset_at_close(self.connection)
            return
        if not self.server.listener.listening:
            self.close_connection = True
        try:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if reply.cut:
                self.wfile.write(reply.body[: len(reply.body) // 2])
                self.close_connection = True
            elif reply.trickle:
                self._trickle(reply)
            else:
                self.wfile.write(reply.body)
            self.wfile.flush()
        except OSError:
            # The client has gone; what was applied stays applied.
            self.close_connection = True

    def _trickle(self, reply: Reply) -> None:
        pieces = 20
        size = len(reply.body) // pieces + 1
        for start in range(0, len(reply.body), size):
            self.wfile.write(reply.body[start : start + size])
            self.wfile.flush()
            self.server.service.faults.wait(reply.trickle / pieces)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, listener: "Listener", service: Service, address: tuple[str, int]) -> None:
        self.listener = listener
        self.service = service
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The base class asks the resolver for the host's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, _SHARED, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.listener.host, self.listener.port

    def finish_request(self, request: Any, client_address: Any) -> None:
        if rule := self.service.faults.strike_connection():
            self.service.closed_unread(rule)
            # Closed sooner, it would look to some clients as if they had never been connected.
            with suppress(OSError):
                request.settimeout(_UNREAD_PATIENCE)
                request.recv(1, socket.MSG_PEEK)
            self.listener.reset_at_close(request)
            return
        if self.listener.tls is not None:
            request.settimeout(_IDLE_SECONDS)
            try:
                request = self.listener.tls.wrap_socket(request, server_side=True)
            except (OSError, ValueError) as error:
                log.info("TLS refused: %s", error)
                return
        self.listener.opened(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.listener.closed(request)
            if self.listener.tls is not None:
                with suppress(OSError):
                    request.close()

    def shutdown_request(self, request: Any) -> None:
        # The base class says goodbye first, which a reset must not.
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("connection lost", exc_info=True)


class Listener:
    """The service's address. It can be shut for a while, so that connecting is refused, and opened again."""

    def __init__(
        self, service: Service, host: str, port: int, *, tls: ssl.SSLContext | None = None, max_body: int = 8 << 20
    ) -> None:
        """Bind at once; raises OSError if the address stays taken. Nothing is accepted before `open`."""
        self.tls = tls
        self.max_body = max_body
        self._service = service
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._epoch = 0
        self._server: _Server | None = None
        self._reopen: threading.Timer | None = None
        self._connections: dict[int, tuple[socket.socket, bool, int]] = {}
        # This socket never listens. It keeps the port ours while the listening one is closed.
        self._place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._place.setsockopt(socket.SOL_SOCKET, _SHARED, 1)
        _patiently(lambda: self._place.bind((host, port)))
        self.host = host
        self.port = int(self._place.getsockname()[1])

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    @property
    def listening(self) -> bool:
        return self._server is not None

    def open(self) -> None:
        """Listen, if it does not yet."""
        with self._lock:
            if self._reopen is not None:
                self._reopen.cancel()
                self._reopen = None
            if self._server is None:
                server = _patiently(lambda: _Server(self, self._service, (self.host, self.port)))
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True, name="service").start()
                self._server = server

    def shut(self, for_seconds: float | None = None) -> None:
        """Refuse connections; requests that are being dealt with are finished. Opens again by itself if told when."""
        with self._lock:
            if self._reopen is not None:
                self._reopen.cancel()
                self._reopen = None
            server, self._server = self._server, None
            if server is not None:
                server.shutdown()
                server.server_close()
            self.drop_idle()
            if for_seconds is not None:
                self._reopen = threading.Timer(for_seconds, self.open)
                self._reopen.daemon = True
                self._reopen.start()

    def close(self) -> None:
        """Shut for good."""
        self.shut()
        self._place.close()

    def drop_idle(self) -> None:
        """Hang up on kept-alive connections, so that the next request needs a new one; busy ones end after answering.

        A client that holds its answer and calls this meets no connection of its own any more.
        """
        with self._changed:
            self._epoch += 1
            for connection, busy, _ in self._connections.values():
                if not busy:
                    _hang_up(connection)
            # The client may know its answer before the handler's thread has come to rest.
            self._changed.wait_for(
                lambda: not any(busy and epoch < self._epoch for _, busy, epoch in self._connections.values()),
                timeout=_COMING_TO_REST,
            )

    # --- what handlers report ----------------------------------------------------------------------------------------

    def opened(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections[id(connection)] = (connection, False, self._epoch)

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.pop(id(connection), None)
            self._changed.notify_all()

    @contextmanager
    def busy(self, handler: _Handler) -> Iterator[None]:
        """While a request is dealt with, its connection is spared by `drop_idle`."""
        connection = handler.connection
        with self._changed:
            epoch = self._epoch
            self._connections[id(connection)] = (connection, True, epoch)
        try:
            yield
        finally:
            with self._changed:
                self._connections[id(connection)] = (connection, False, self._epoch)
                if epoch != self._epoch:
                    handler.close_connection = True
                    _hang_up(connection)
                self._changed.notify_all()

    @staticmethod
    def reset_at_close(connection: socket.socket) -> None:
        """Let the connection end in a reset instead of an orderly goodbye."""
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _patiently(make: Callable[[], _Made]) -> _Made:
    until = time.monotonic() + _BIND_PATIENCE
    while True:
        try:
            return make()
        except OSError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)
