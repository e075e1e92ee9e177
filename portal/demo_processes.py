"""What `manage.py demo` decides before Django is there, and the processes that it starts and ends."""

import argparse
import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from portal import demo_clock, embedded_postgres

ROOT = Path(__file__).resolve().parent.parent
PORT, EMULATOR_PORT = 8000, 8010
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=PORT, help="port of the portal (default: %(default)s)")
    parser.add_argument(
        "--emulator-port",
        type=int,
        default=EMULATOR_PORT,
        help="port of the vendor's emulator; its control interface takes the next one (default: %(default)s)",
    )
    parser.add_argument("--data", metavar="DIR", help="folder for the database, the emulator's file and mails")
    parser.add_argument("--fresh", action="store_true", help="forget everything and begin anew")
    parser.add_argument(
        "--at",
        metavar="DATE",
        type=demo_clock.moment,
        help="move business time on to DATE, such as 2027-03-02 or 2027-03-02T09:30 (UTC); what falls due until then "
        "happens first",
    )


def data_folder(argv: list[str]) -> Path:
    """The folder that is named; else one of its own for the embedded database and for each database of yours."""
    given = embedded_postgres.demo_data(argv)
    url = os.environ.get("DATABASE_URL")
    if url and given == embedded_postgres.home() / "demo":
        name = str(embedded_postgres.settings_from(url)["NAME"])
        return embedded_postgres.home() / f"demo-{name}"
    return given


def prepare(argv: list[str]) -> None:
    """Stop with a sentence when a port is taken or the clock would go back; else make the environment that all share.

    Whatever the environment said before, nothing of a demo leaves this machine: the vendor is the emulator, mails go
    to a folder, and only loopback is served.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    options, _ = parser.parse_known_args(argv[2:])
    for name, port, option in (
        ("The portal", options.port, "--port"),
        ("The vendor's emulator", options.emulator_port, "--emulator-port"),
        ("The control interface of the emulator", options.emulator_port + 1, "--emulator-port"),
    ):
        if reason := _why_not_listen(port):
            sys.exit(f"{name} cannot use port {port}: {reason}. Nothing was started. Choose another one with {option}.")
    if options.port in (options.emulator_port, options.emulator_port + 1):
        sys.exit("--port and --emulator-port (and the port after it) must differ. Nothing was started.")
    offset = timedelta() if options.fresh else demo_clock.kept(data_folder(argv))
    if options.at and (reason := demo_clock.why_not(options.at, datetime.now(UTC) + offset)):
        sys.exit(f"{reason} Nothing was started.")
    if not os.environ.get("DATABASE_URL"):
        sys.stdout.write(f"Starting PostgreSQL with its data in {data_folder(argv) / 'postgres'}\n")
        sys.stdout.flush()
    os.environ["CLOCK_OFFSET"] = repr(offset.total_seconds())
    _share(data_folder(argv), options.port, options.emulator_port)


def join(argv: list[str]) -> None:
    """Give a command beside a running demo that demo's environment: it must meet the same emulator and no vendor."""
    data = embedded_postgres.demo_data(argv)
    if not os.environ.get("DATABASE_URL") and embedded_postgres.is_running(data):
        _share(data, *kept_ports(data))


def keep_ports(data: Path, port: int, emulator_port: int) -> None:
    """Let commands beside this demo know its ports; only the one demo that has the folder to itself calls it."""
    new = (data / "ports").with_suffix(".new")
    new.write_text(f"{port} {emulator_port}")
    new.replace(data / "ports")


def kept_ports(data: Path) -> tuple[int, int]:
    """The ports of the portal and of the emulator in the demo with this data folder, as it was started last."""
    try:
        port, emulator_port = map(int, (data / "ports").read_text().split())
    except FileNotFoundError:
        return PORT, EMULATOR_PORT
    return port, emulator_port


def _share(data: Path, port: int, emulator_port: int) -> None:
    """Make the environment of a demo, whatever it said before."""
    os.environ.update(
        SEATDESK_DEMO="1",
        SECURE_PLAIN_HTTP="1",
        ALLOWED_HOSTS="127.0.0.1,localhost,[::1]",
        BASE_URL=f"http://127.0.0.1:{port}",
        MAIL_FOLDER=str(data / "mail"),
        KASPERSKY_ENDPOINT=f"http://127.0.0.1:{emulator_port}/",
        KASPERSKY_USERNAME="seatdesk",
        KASPERSKY_PASSWORD="emulator-only",  # noqa: S106 - the emulator's own, public
        WORKER_SHUTDOWN_TIMEOUT="5",
    )
    for name in ("KASPERSKY_CLIENT_CERT", "KASPERSKY_CLIENT_KEY", "KASPERSKY_CA_FILE", "WAIT_SCALE"):
        os.environ.pop(name, None)


def _why_not_listen(port: int) -> str:
    if not 1 <= port <= 65535:
        return "ports go from 1 to 65535"
    with socket.socket() as probe:
        # As servers do, so that a port whose last connection is only just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "something else is listening there, perhaps a demo in another terminal"
            return (error.strerror or str(error)).lower()
    return ""


def _end_with_parent() -> None:
    """In the child: be told to stop when the demo is gone, also when it was killed without a chance to say so."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


AGAIN_A_MINUTE = 10
_AGAIN_AFTER = 1.0


@dataclass
class Family:
    """Child processes by name, each a group of its own, so that what they start themselves ends with them."""

    _members: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _again: dict[str, tuple[Sequence[str], dict[str, str], list[float]]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], environment: dict[str, str], *, again: bool = False) -> None:
        """`again` is for what may end by itself and is then to be started anew, by `revive`."""
        self._members[name] = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        if again:
            self._again.setdefault(name, (command, environment, []))

    def revive(self) -> str | None:
        """Start one that has ended once more, but not for ever; its name and exit code."""
        for name, (command, environment, starts) in self._again.items():
            process = self._members[name]
            lately = [at for at in starts if at > time.monotonic() - 60]
            if process.poll() is None or len(lately) >= AGAIN_A_MINUTE:
                continue
            _signal_group(process, signal.SIGKILL)
            # A database that restarts needs a moment.
            time.sleep(_AGAIN_AFTER)
            starts[:] = [*lately, time.monotonic()]
            self.start(name, command, environment)
            return f"{name} (exit code {process.returncode})"
        return None

    def dead(self) -> str | None:
        """The name and exit code of one that has ended by itself."""
        for name, process in self._members.items():
            if process.poll() is not None:
                return f"{name} (exit code {process.returncode})"
        return None

    def end(self) -> None:
        """Ask all to stop, the last started first, and kill what does not within some seconds."""
        for process in reversed(self._members.values()):
            _signal_group(process, signal.SIGTERM)
        until = time.monotonic() + _STOP_SECONDS
        for process in self._members.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            # Also when the first of the group has ended: what it left behind would keep the port.
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._members.clear()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
