"""How far an attempt got before it failed, how long it may take, and who lets whom in."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from subscriptions.vendors.kaspersky import KasperskyGateway
from subscriptions.vendors.port import Outcome, Provision, Read
from tests.hostile_vendor import PASSWORD, USERNAME, Stage, http, take_request

SUBSCRIBER = "0123456789ABCDEF0123456789ABCDEF"
PROVISION = Provision(SUBSCRIBER, "PRODUCT", 5, datetime(2031, 5, 6, 12, 0, tzinfo=UTC))
UNKNOWN, TRANSIENT, CREDENTIALS = Outcome.UNKNOWN, Outcome.TRANSIENT, Outcome.CREDENTIALS


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def nothing(connection: socket.socket) -> None:
    pass


def answer_503(connection: socket.socket) -> None:
    take_request(connection)
    connection.sendall(http(status=503))


def abort(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.recv(1)  # any earlier, and the reset may hit a connection that is still being made
    abort(connection)


def verdict(gateway: KasperskyGateway, within: float | None = None) -> tuple[Outcome, str]:
    (answer,) = gateway.send(gateway.prepare("T1", [PROVISION]), within=within)
    return answer.outcome, answer.code


# --- nothing was sent ------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_refused_connection_sent_nothing(stage):
    assert verdict(stage.connect(f"http://127.0.0.1:{free_port()}/")) == (TRANSIENT, "connect")


def black_hole(stage: Stage, host: str, port: int = 0) -> int:
    """A port on which connections stay unanswered: the system drops them while the queue is full."""
    listener = stage.enter_context(socket.socket())
    listener.bind((host, port))
    listener.listen(0)
    for _ in range(3):
        waiting = stage.enter_context(socket.socket())
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(listener.getsockname())
    return listener.getsockname()[1]


def test_a_connect_timeout_sent_nothing(stage):
    url = f"http://127.0.0.1:{black_hole(stage, '127.0.0.1')}/"
    assert verdict(stage.connect(url, connect_timeout=0.2)) == (TRANSIENT, "connect-timeout")
    started = time.monotonic()
    assert verdict(stage.connect(url), within=0.2) == (TRANSIENT, "attempt-timeout")
    assert time.monotonic() - started < 2


def test_an_unknown_host_sent_nothing(stage, monkeypatch):
    def look_up(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert verdict(stage.connect("https://vendor.invalid/")) == (TRANSIENT, "dns")


def test_a_name_without_addresses_sent_nothing(stage, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
    assert verdict(stage.connect("https://vendor.invalid/")) == (TRANSIENT, "dns")


def test_a_slow_name_lookup_is_not_waited_for(stage, monkeypatch):
    release = threading.Event()
    stage.callback(release.set)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(5) and [])
    started = time.monotonic()
    assert verdict(stage.connect("https://vendor.invalid/", connect_timeout=0.1)) == (TRANSIENT, "connect-timeout")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("dead", ["refusing", "silent"])
def test_a_dead_address_does_not_hide_a_living_one(stage, monkeypatch, dead):
    vendor = stage.start(answer_503)
    if dead == "silent":
        black_hole(stage, "127.0.0.2", vendor.port)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, vendor.port)) for host in ("127.0.0.2", "127.0.0.1")]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *args, **more: found if host == "localhost" else real(host, *args, **more)
    )
    gateway = stage.connect(f"http://localhost:{vendor.port}/", connect_timeout=0.6)
    assert verdict(gateway) == (TRANSIENT, "http-503")
    assert vendor.connections == 1


@pytest.mark.parametrize("within", [0, -1])
def test_without_time_no_socket_is_opened(stage, within):
    vendor = stage.start(nothing)
    assert verdict(stage.connect(vendor.url), within=within) == (TRANSIENT, "attempt-timeout")
    assert vendor.connections == 0


# --- something was sent ----------------------------------------------------------------------------------------------


def close_after_reading(connection: socket.socket) -> None:
    take_request(connection)


def reset_after_reading(connection: socket.socket) -> None:
    take_request(connection)
    abort(connection)


def reset_in_the_body(connection: socket.socket) -> None:
    take_request(connection)
    connection.sendall(http(b"x" * 100)[:-50])
    time.sleep(0.05)
    abort(connection)


def stay_silent(connection: socket.socket) -> None:
    take_request(connection)
    connection.recv(1)


def stay_silent_in_the_body(connection: socket.socket) -> None:
    take_request(connection)
    connection.sendall(http(b"x" * 100)[:-50])
    connection.recv(1)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (nothing, "reset"),
        (reset, "reset"),
        (close_after_reading, "reset"),
        (reset_after_reading, "reset"),
        (reset_in_the_body, "reset"),
        (stay_silent, "read-timeout"),
        (stay_silent_in_the_body, "read-timeout"),
    ],
)
def test_an_accepted_connection_may_have_delivered(stage, script, code):
    vendor = stage.start(script)
    assert verdict(stage.connect(vendor.url, read_timeout=0.2)) == (UNKNOWN, code)
    assert vendor.connections == 1


def drip(prefix: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        take_request(connection)
        connection.sendall(prefix)
        for _ in range(60):
            connection.sendall(drop)
            time.sleep(0.03)

    return script


@pytest.mark.parametrize(
    "script",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        drip(b"", b"HTTP/1.1 102 Wait\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status", "headers", "informational", "body", "chunks"],
)
@pytest.mark.parametrize("bound", ["attempt_timeout", "within"])
def test_an_answer_that_drips_is_cut_off(stage, script, bound):
    gateway = stage.connect(stage.start(script).url, **({"attempt_timeout": 0.2} if bound == "attempt_timeout" else {}))
    started = time.monotonic()
    assert verdict(gateway, within=0.2 if bound == "within" else None) == (UNKNOWN, "attempt-timeout")
    assert time.monotonic() - started < 1


def test_a_refusal_at_the_door_does_not_need_its_body(stage):
    gateway = stage.connect(stage.start(drip(http(b"x" * 10_000, 503)[:-10_000], b"x")).url)
    assert verdict(gateway, within=0.2) == (TRANSIENT, "http-503")


def test_a_request_that_is_not_taken_is_cut_off(stage):
    vendor = stage.start(lambda connection: time.sleep(0.6))
    gateway = stage.connect(vendor.url)
    answers = gateway.get_details_many("T1", [SUBSCRIBER] * 60_000, within=0.3)
    # Had it waited, the vendor would have closed the connection.
    assert {(answer.outcome, answer.code) for answer in answers} == {(UNKNOWN, "attempt-timeout")}


def test_within_only_shortens(stage):
    gateway = stage.connect(stage.start(stay_silent).url, attempt_timeout=0.2)
    started = time.monotonic()
    assert verdict(gateway, within=60) == (UNKNOWN, "attempt-timeout")
    assert time.monotonic() - started < 30


def test_every_attempt_has_a_connection_of_its_own(stage):
    def script(connection):
        assert b"Connection: close" in take_request(connection)
        connection.sendall(http(status=503, Connection="keep-alive", Set_Cookie="a=b; Path=/"))

    vendor = stage.start(script)
    gateway = stage.connect(vendor.url)
    assert [verdict(gateway) for _ in range(3)] == [(TRANSIENT, "http-503")] * 3
    assert vendor.connections == 3


def test_neither_cookies_nor_proxies_nor_redirects_are_followed(stage, monkeypatch):
    elsewhere = stage.start(nothing)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
    seen = []

    def script(connection):
        seen.append(take_request(connection))
        connection.sendall(http(status=307, Location=elsewhere.url, Set_Cookie="a=b; Path=/"))

    gateway = stage.connect(stage.start(script).url)
    assert [verdict(gateway) for _ in range(2)] == [(UNKNOWN, "http-307")] * 2
    assert elsewhere.connections == 0
    assert b"cookie" not in b"".join(seen).lower()


def test_threads_share_a_gateway(stage):
    gateway = stage.connect(stage.start(answer_503).url)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(verdict(gateway))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(TRANSIENT, "http-503")] * 8


# --- TLS -------------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of the test, and its certificates as PEM files that hold their key too."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, address: str = "127.0.0.1", passphrase: bytes | None = None) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]))
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return str(file)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "stranger")


def server_tls(
    authority: Authority, *, address: str = "127.0.0.1", newest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", address))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = newest or ssl.TLSVersion.MAXIMUM_SUPPORTED
    return context


VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name
)


@VERSIONS
def test_both_sides_show_their_certificates(stage, authority, version):
    vendor = stage.start(answer_503, server_tls(authority, newest=version))
    gateway = stage.connect(vendor.url, ca_file=str(authority.file), client_cert=authority.issue("client"))
    assert verdict(gateway) == (TRANSIENT, "http-503")


@VERSIONS
@pytest.mark.parametrize("shown", ["none", "a stranger's"])
def test_a_refused_client_certificate_is_a_matter_of_credentials(stage, authority, stranger, version, shown):
    vendor = stage.start(answer_503, server_tls(authority, newest=version))
    ours = {} if shown == "none" else {"client_cert": stranger.issue("client")}
    gateway = stage.connect(vendor.url, ca_file=str(authority.file), **ours)
    (answer,) = gateway.send(gateway.prepare("T1", [PROVISION]))
    assert (answer.outcome, answer.code, answer.alert) == (CREDENTIALS, "client-certificate", True)
    assert gateway.ping().outcome is CREDENTIALS


def test_a_server_that_nobody_vouches_for_gets_nothing(stage, authority):
    gateway = stage.connect(stage.start(answer_503, server_tls(authority)).url)
    (answer,) = gateway.send(gateway.prepare("T1", [PROVISION]))
    assert (answer.outcome, answer.code, answer.alert) == (TRANSIENT, "tls", True)


def test_a_server_of_another_name_gets_nothing(stage, authority):
    vendor = stage.start(answer_503, server_tls(authority, address="127.0.0.9"))
    gateway = stage.connect(vendor.url, ca_file=str(authority.file), client_cert=authority.issue("client"))
    assert verdict(gateway) == (TRANSIENT, "tls")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (lambda connection: connection.recv(1), "tls"),
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Speak HTTP\r\n\r\n"), "tls"),
        (reset, "tls"),
        (lambda connection: time.sleep(0.4), "connect-timeout"),
    ],
    ids=["closed", "plain", "reset", "silent"],
)
def test_a_handshake_that_fails_sent_nothing(stage, script, code):
    url = stage.start(script).url.replace("http:", "https:")
    assert verdict(stage.connect(url, connect_timeout=0.2)) == (TRANSIENT, code)


# --- options ---------------------------------------------------------------------------------------------------------


def build(**options: object) -> KasperskyGateway:
    return KasperskyGateway(**{"endpoint": "http://127.0.0.1/", "username": USERNAME, "password": PASSWORD} | options)


@pytest.mark.parametrize(
    "endpoint",
    ["http://vendor.example/", "http://127.0.0.1.vendor.example/", "http://10.0.0.1/", "http://[::2]/", "ftp://127.0.0.1/",
     "127.0.0.1", "", "https://", "https://user:word@vendor.example/", "http://127.0.0.1@vendor.example/", "http://\x00/"],
)  # fmt: skip
def test_plain_http_is_for_loopback_only(endpoint):
    with pytest.raises(ValueError, match="endpoint"):
        build(endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8/", "http://[::1]/", "http://localhost/", "https://vendor.example/"]
)
def test_loopback_and_https_are_fine(endpoint):
    gateway = build(endpoint=endpoint)
    assert repr(gateway) == f"KasperskyGateway({endpoint!r})"
    gateway.close()


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match="retries, verify"):
        build(verify=False, retries=3)
    with pytest.raises(TypeError, match="password"):
        KasperskyGateway(endpoint="http://127.0.0.1/", username=USERNAME)


@pytest.mark.parametrize(
    "options",
    [
        *({name: 0} for name in ("connect_timeout", "read_timeout", "attempt_timeout", "max_answer_bytes")),
        {"attempt_timeout": -1},
        {"attempt_timeout": float("nan")},
        {"read_timeout": float("inf")},
        {"seat_change": "maybe"},
        {"client_key": "key.pem"},
        {"password": "a\x00b"},
    ],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=r".+"):
        build(**options)


def test_a_key_with_a_passphrase_is_refused_without_asking(authority):
    with pytest.raises(ValueError, match="passphrase"):
        build(client_cert=authority.issue("locked", passphrase=b"secret"))
    with pytest.raises(FileNotFoundError):
        build(ca_file="/missing/authority.pem")


def test_the_password_is_in_no_repr():
    gateway = build()
    held = [repr(value) for value in vars(gateway).values()]
    assert PASSWORD not in "".join(
        [repr(gateway), str(gateway), *held, repr(gateway.prepare("T1", [Read(SUBSCRIBER)]))]
    )
    gateway.close()
