"""A vendor at the level of sockets, for tests of everything that an honest one would never do."""

import gc
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from subscriptions.vendors.kaspersky import KasperskyGateway
from subscriptions.vendors.port import Answer, Ask

USERNAME, PASSWORD = "distributor", "s3cret&word"

Script = Callable[[socket.socket], None]


class Vendor:
    """A listening socket; each connection is given to `script`, one after another, and closed afterwards."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.connections = 0
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/subscription"

    def _serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            with connection:
                if self.closing.is_set():
                    return
                self.connections += 1
                connection.settimeout(3)
                with suppress(OSError):
                    if self.tls is None:
                        self.script(connection)
                    else:
                        self._serve_tls(connection)

    def _serve_tls(self, connection: socket.socket) -> None:
        assert self.tls is not None
        raw = connection.dup()
        with raw:
            try:
                with self.tls.wrap_socket(connection, server_side=True) as secure:
                    self.script(secure)
            except ssl.SSLError:
                # Lets the alert arrive: closing on unread data would send a reset that may overtake it.
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass

    def close(self) -> None:
        self.closing.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.listener.close()


class Stage(ExitStack):
    """Vendors and gateways of one test; all of them are closed with it."""

    def start(self, script: Script, tls: ssl.SSLContext | None = None) -> Vendor:
        vendor = Vendor(script, tls)
        self.callback(vendor.close)
        return vendor

    def connect(self, endpoint: str, **options: object) -> KasperskyGateway:
        gateway = KasperskyGateway(endpoint=endpoint, username=USERNAME, password=PASSWORD, **options)
        self.callback(gateway.close)
        return gateway

    def ask(self, script: Script | bytes, *asks: Ask, within: float | None = None, **options: object) -> list[Answer]:
        """Send `asks` to a vendor that runs `script`, or that gives a ready answer."""
        vendor = self.start(answering(script) if isinstance(script, bytes) else script)
        gateway = self.connect(vendor.url, **options)
        return gateway.send(gateway.prepare("T1", asks), within=within)

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        gc.collect()  # a socket that nobody closed warns here, in the test that left it open


def take_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or exit_early()
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    while len(body) < length:
        body += connection.recv(65536) or exit_early()
    return head + b"\r\n\r\n" + body


def exit_early() -> bytes:
    raise ConnectionError


def answering(response: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(response)

    return script


def http(
    body: str | bytes = b"", status: int = 200, media_type: str = "text/xml; charset=utf-8", **headers: str
) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {media_type}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content
