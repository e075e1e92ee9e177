"""The emulator as a process: how it starts, speaks TLS, ends, and what it remembers when it is killed."""

import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from subscriptions.vendors.emulator import process
from subscriptions.vendors.emulator.control import Control
from tests.vendor_wire import Wire, activate, info

ROOT = Path(__file__).resolve().parents[1]


# --- the process -----------------------------------------------------------------------------------------------------


def test_a_killed_emulator_remembers_what_it_applied(tmp_path: Path) -> None:
    first = process.start(tmp_path / "vendor.sqlite", seed=7)
    wire, sent = Wire(first.url), activate("A", 5)
    try:
        first.control.add_fault("applied-answered-late", seconds=30)
        first.control.set_offset(3600)
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(wire.send, sent, transaction_id="T")
            wait_for(lambda: first.control.changes("A"))
            first.kill()
            assert lost.exception(timeout=5) is not None
        with first.start_again() as second:
            assert second.url == first.url
            assert wire.send(sent, transaction_id="T").code() == 6
            assert len(second.control.changes("A")) == 1
            assert second.control.clock().offset_seconds == 3600
            assert second.control.faults() == []
    finally:
        wire.close()
        first.kill()


def test_equal_seeds_make_equal_codes(tmp_path: Path) -> None:
    codes = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        with process.start(tmp_path / f"{name}.sqlite", seed=seed) as running:
            wire = Wire(running.url)
            codes.append(wire.send(activate("A")).get("ActivationCode"))
            wire.close()
    assert codes[0] == codes[1] != codes[2]


def test_it_says_one_line_and_ends_at_once(tmp_path: Path) -> None:
    providers = tmp_path / "providers.json"
    providers.write_text(json.dumps([{"user": "u", "password": "p", "products": ["X"]}]))
    options = ["--port", "0", "--control-port", "0", "--data", str(tmp_path / "v.sqlite")]
    command = [sys.executable, "-m", "subscriptions.vendors.emulator", *options, "--provider-file", str(providers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        ready = json.loads(running.stdout.readline())
        wire = Wire(ready["url"])
        access = {"user": "u", "password": "p"}
        assert wire.send(activate("A"), activate("B", ProductId="X"), **access).codes() == [9, None]
        with Control(ready["control"]) as control:
            control.add_fault("applied-answered-late", seconds=30)
            with ThreadPoolExecutor(1) as pool:
                hanging = pool.submit(wire.send, info("B"), **access)
                wait_for(lambda: control.journal("B", kind="GetInfo"))
                began = time.monotonic()
                running.send_signal(signal.SIGTERM)
                rest, errors = running.communicate(timeout=5)
                assert time.monotonic() - began < 1
                assert hanging.exception(timeout=5) is not None
        wire.close()
    assert (running.returncode, rest, errors) == (0, "", "")


def test_it_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from subscriptions.vendors.emulator import process\n"
        "print(process.start(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "v.sqlite")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for(lambda: gone(pid))


def test_a_bad_start_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v.sqlite").write_text("this is no database, whatever its name may say to you" * 100)
    with pytest.raises(process.StartError, match="exit code 1"):
        process.start(tmp_path / "v.sqlite")
    assert "not a database" in capfd.readouterr().err


def test_it_needs_neither_django_nor_the_portal() -> None:
    script = (
        "import sys; import subscriptions.vendors.emulator.__main__, subscriptions.vendors.emulator.process\n"
        "ours = {name.split('.')[1] for name in sys.modules if name.startswith('subscriptions.')}\n"
        "assert 'django' not in sys.modules and ours == {'vendors'}, ours"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# --- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for this machine that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    server, server_key = certificate(tmp_path, "server")
    client, client_key = certificate(tmp_path, "client")
    stranger, stranger_key = certificate(tmp_path, "stranger")
    options = {"tls_cert": server, "tls_key": server_key, "client_ca": client}
    with process.start(tmp_path / "v.sqlite", **options) as running:
        assert running.url.startswith("https://127.0.0.1:")
        for cert, key in ((None, None), (stranger, stranger_key)):
            wire = Wire(running.url, verify=context(server, cert, key))
            with pytest.raises(httpx.TransportError):
                wire.send(activate("A"))
            wire.close()
        wire = Wire(running.url, verify=context(server, client, client_key))
        assert wire.send(activate("A")).code() is None
        running.control.add_fault("closed-before-reading")
        for fault in ("applied-closed", "closed-after-reading"):
            with pytest.raises(httpx.TransportError):
                wire.send(info("A"))
            running.control.add_fault(fault, reset=True)
        with pytest.raises(httpx.TransportError):
            wire.send(info("A"))
        running.control.add_fault("refused", for_seconds=30)
        with pytest.raises(httpx.ConnectError):
            wire.send(info("A"))
        running.control.clear_faults()
        assert wire.send(info("A")).code() is None
        wire.close()


def context(authority: Path, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority))
    if cert:
        made.load_cert_chain(cert, key)
    return made


def wait_for(true: Callable[[], object], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended, or ended and not yet collected by its new parent."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
