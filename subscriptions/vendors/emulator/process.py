"""Start and end an emulator process: for tests and for the demo."""

import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .control import Control

_ROOT = Path(__file__).resolve().parents[3]
_READY_SECONDS = 15.0
_STOP_SECONDS = 5.0


class StartError(Exception):
    """The emulator did not come up; its own words stand on standard error."""


@dataclass(slots=True)
class EmulatorProcess:
    """A running emulator. It ends with `stop` or `kill`, at the latest when the process that started it ends."""

    url: str
    """Address of the service."""
    control: Control
    _process: subprocess.Popen[bytes] = field(repr=False)
    _started_with: dict[str, Any] = field(repr=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """End it in an orderly way and wait for it; returns its exit code (0 if all was well). May be repeated."""
        if self.running:
            self._process.terminate()
        return self._buried()

    def kill(self) -> None:
        """End it like a power cut would (SIGKILL) and wait for it; committed data stay in the file."""
        if self.running:
            self._process.kill()
        self._buried()

    def start_again(self) -> "EmulatorProcess":
        """A new process with the same data and the same addresses; the old one must have ended."""
        return start(**self._started_with)

    def _buried(self) -> int:
        self.control.close()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdin:
                self._process.stdin.close()

    def __enter__(self) -> "EmulatorProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    data: Path,
    *,
    port: int = 0,
    control_port: int = 0,
    host: str = "127.0.0.1",
    seed: int = 0,
    provider_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    max_body: int | None = None,
    verbose: bool = False,
) -> EmulatorProcess:
    """Start an emulator and wait until it answers. Port 0 takes a free one. Raises StartError."""
    options: dict[str, Any] = {
        "--host": host,
        "--port": port,
        "--control-port": control_port,
        "--data": data.resolve(),
        "--seed": seed,
        "--provider-file": provider_file and provider_file.resolve(),
        "--tls-cert": tls_cert and tls_cert.resolve(),
        "--tls-key": tls_key and tls_key.resolve(),
        "--client-ca": client_ca and client_ca.resolve(),
        "--max-body": max_body,
    }
    command = [sys.executable, "-m", "subscriptions.vendors.emulator", "--stop-with-stdin"]
    for name, value in options.items():
        if value is not None:
            command += [name, str(value)]
    if verbose:
        command.append("--verbose")
    process = subprocess.Popen(  # noqa: S603 - our own module with our own options
        command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        ready = _ready_line(process)
    except BaseException:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
        raise
    finally:
        if process.stdout:
            process.stdout.close()
    started_with = {
        "data": data,
        "port": int(ready["url"].rstrip("/").rpartition(":")[2]),
        "control_port": int(ready["control"].rstrip("/").rpartition(":")[2]),
        "host": host,
        "seed": seed,
        "provider_file": provider_file,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "client_ca": client_ca,
        "max_body": max_body,
        "verbose": verbose,
    }
    return EmulatorProcess(ready["url"], Control(ready["control"]), process, started_with)


def _ready_line(process: subprocess.Popen[bytes]) -> dict[str, str]:
    if process.stdout is None:
        raise StartError("There is no pipe to read from.")
    until, text = time.monotonic() + _READY_SECONDS, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not text.endswith(b"\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                raise StartError(f"The emulator said nothing for {_READY_SECONDS:.0f} s.")
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                raise StartError(f"The emulator ended at once with exit code {process.wait()}.")
            text += piece
    return dict(json.loads(text))
