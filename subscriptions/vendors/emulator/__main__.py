"""Start the emulator: `python -m subscriptions.vendors.emulator --data FILE.sqlite`."""

import argparse
import json
import logging
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

from .control_server import ControlServer, provider_from
from .faults import Faults
from .records import DEFAULT_PROVIDER, Provider
from .server import Listener
from .service import Service
from .store import Store


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m subscriptions.vendors.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address of the service (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8041, help="port of the service; 0 takes a free one")
    parser.add_argument("--control-port", type=int, default=8042, help="port of the control interface on loopback")
    parser.add_argument("--data", type=Path, required=True, help="SQLite file that holds everything")
    parser.add_argument("--seed", type=int, default=0, help="of activation codes and dice; counts for a new file")
    parser.add_argument("--provider-file", type=Path, help="JSON list of providers; counts for a new file and resets")
    parser.add_argument("--max-body", type=int, default=8 << 20, help="bytes that a request may have")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate chain: the service speaks TLS")
    parser.add_argument("--tls-key", type=Path, help="PEM key of the certificate")
    parser.add_argument("--client-ca", type=Path, help="PEM authorities: a client certificate becomes a must")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input ends")
    parser.add_argument("--verbose", action="store_true", help="log requests to standard error")
    options = parser.parse_args()
    if bool(options.tls_cert) != bool(options.tls_key) or (options.client_ca and not options.tls_cert):
        parser.error("--tls-cert and --tls-key go together, and --client-ca needs both.")
    return options


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.client_ca:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _providers(path: Path | None) -> list[Provider]:
    if path is None:
        return [DEFAULT_PROVIDER]
    return [provider_from(one) for one in json.loads(path.read_text(encoding="utf-8"))]


def _wait_for_end_of_input(stop: threading.Event) -> None:
    # Not sys.stdin: its lock would still be held by this thread when the interpreter ends.
    while os.read(0, 1024):
        pass
    stop.set()


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    options = _options()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if options.verbose else logging.WARNING)
    store = Store(options.data, seed=options.seed, providers=_providers(options.provider_file))
    service = Service(store, Faults(store.seed))
    listener = Listener(service, options.host, options.port, tls=_tls(options), max_body=options.max_body)
    control = ControlServer(service, listener, options.control_port)
    listener.open()
    control.start()
    sys.stdout.write(json.dumps({"url": listener.url, "control": control.url}) + "\n")
    sys.stdout.flush()
    if options.stop_with_stdin:
        threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    stop.wait()
    listener.close()
    control.close()
    store.close()


if __name__ == "__main__":
    main()
