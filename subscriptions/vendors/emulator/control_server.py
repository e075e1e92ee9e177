"""The control interface: JSON over HTTP on a loopback socket of its own, alive while the service's socket is shut."""

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from . import moments
from .faults import FAULTS
from .records import PROFILES, REFUSALS, STATUSES, Provider, Record
from .server import Listener
from .service import Service
from .store import Entry

log = logging.getLogger("emulator")

_LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}
_MOST_BODY = 1 << 20


class _NotFoundError(Exception):
    pass


class Desk:
    """What each control request does. ValueError, KeyError and TypeError become 400, `_NotFoundError` becomes 404."""

    def __init__(self, service: Service, listener: Listener) -> None:
        self._faults = service.faults
        self._store = service.store
        self._listener = listener
        self.routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            (method, re.compile(pattern), do)
            for method, pattern, do in (
                ("GET", "", self._offers),
                ("GET", "health", self._health),
                ("POST", "reset", self._reset),
                ("GET", "clock", self._clock),
                ("PUT", "clock", self._set_clock),
                ("POST", "clock/advance", self._advance),
                ("GET", "faults", self._list_faults),
                ("GET", "faults/known", self._known_faults),
                ("POST", "faults", self._add_fault),
                ("PUT", "faults/seed", self._reseed),
                ("DELETE", "faults", self._clear_faults),
                ("DELETE", r"faults/(\d+)", self._clear_fault),
                ("GET", "subscribers", self._subscribers),
                ("GET", "subscribers/([^/]+)", self._subscriber),
                ("PUT", "subscribers/([^/]+)", self._put_subscriber),
                ("DELETE", "subscribers/([^/]+)", self._delete_subscriber),
                ("POST", "subscribers/([^/]+)/(pause|resume|cancel|seats|product)", self._change),
                ("GET", "journal", self._journal),
                ("GET", "requests", self._requests),
                ("GET", "providers", self._providers),
                ("PUT", "providers/([^/]+)", self._put_provider),
                ("DELETE", "providers/([^/]+)", self._delete_provider),
                ("GET", "profile", self._profile),
                ("PUT", "profile", self._set_profile),
                ("PUT", "refusal", self._set_refusal),
            )
        ]

    # --- the whole, the clock ----------------------------------------------------------------------------------------

    def _offers(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        return {
            "offers": [
                f"{method} /{pattern.pattern.replace('([^/]+)', 'NAME')}".replace(r"(\d+)", "NUMBER")
                for method, pattern, _ in self.routes
            ],
            "example": 'POST /subscribers/NAME/seats with {"seats": 12}; GET /subscribers has the names',
            "more": "subscriptions/vendors/emulator/control.py says what each takes",
        }

    def _health(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "listening": self._listener.listening,
            "url": self._listener.url,
            "now": moments.write(self._store.now()),
            "pid": os.getpid(),
        }

    def _reset(self, query: dict[str, str], body: dict[str, Any]) -> None:
        self._store.reset()
        self._faults.clear()
        self._faults.reseed(self._store.seed)
        self._listener.open()

    def _clock(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        return {"now": moments.write(self._store.now()), "offset_seconds": self._store.offset_seconds}

    def _set_clock(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if "now" in body:
            offset = (moments.parse(body["now"]) - moments.real_now()).total_seconds()
        else:
            offset = float(body["offset_seconds"])
        self._store.offset_seconds = offset
        return self._clock(query, body)

    def _advance(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        with self._store.transaction():
            self._store.offset_seconds += float(body["seconds"])
        return self._clock(query, body)

    # --- faults ------------------------------------------------------------------------------------------------------

    def _list_faults(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        return [asdict(rule) for rule in self._faults.all()]

    def _known_faults(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in FAULTS.values()]

    def _add_fault(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        rule = self._faults.add(body.pop("fault"), **body)
        if rule.fault == "refused":
            self._listener.shut(rule.for_seconds)
        elif rule.fault == "closed-before-reading":
            # The rule counts new connections, so that the kept-alive ones must not carry on.
            self._listener.drop_idle()
        return asdict(rule)

    def _reseed(self, query: dict[str, str], body: dict[str, Any]) -> None:
        self._faults.reseed(int(body["seed"]))

    def _clear_faults(self, query: dict[str, str], body: dict[str, Any]) -> None:
        self._faults.clear()
        self._listener.open()

    def _clear_fault(self, query: dict[str, str], body: dict[str, Any], number: str) -> None:
        refused = any(rule.id == int(number) and rule.fault == "refused" for rule in self._faults.all())
        self._faults.clear(int(number))
        if refused:
            self._listener.open()

    # --- subscribers -------------------------------------------------------------------------------------------------

    def _subscribers(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        page = self._store.records_after(_user(query), query.get("after", ""), int(query.get("limit", "1000")))
        return [record.as_dict() for record in page]

    def _subscriber(self, query: dict[str, str], body: dict[str, Any], subscriber: str) -> dict[str, Any] | None:
        record = self._store.records(_user(query), [subscriber]).get(subscriber)
        return None if record is None else record.as_dict()

    def _put_subscriber(self, query: dict[str, str], body: dict[str, Any], subscriber: str) -> dict[str, Any]:
        user = _user(query)
        if self._store.provider(user) is None:
            raise ValueError(f"There is no provider {user!r}.")
        now = moments.write(self._store.now())
        end = body.get("end", moments.INDEFINITE)
        record = Record(
            provider=user,
            subscriber=subscriber,
            product=str(body["product"]),
            seats=_seats(body),
            status=cast(Any, _one_of(STATUSES, body.get("status", "Started"))),
            status_changed_at=now,
            start=_moment(body.get("start")) or now,
            end=end if end == moments.INDEFINITE else _moment(end),
            activation_code=body.get("activation_code") or self._store.new_code(user, subscriber),
            first_used_at=_moment(body.get("first_used_at")),
        )
        with self._store.transaction():
            before = self._store.records(user, [subscriber]).get(subscriber)
            self._store.save([record])
            self._log_outside("put", before, record)
        return record.as_dict()

    def _delete_subscriber(self, query: dict[str, str], body: dict[str, Any], subscriber: str) -> None:
        with self._store.transaction():
            before = self._known(_user(query), subscriber)
            self._store.delete(before.provider, subscriber)
            self._log_outside("delete", before, None)

    def _change(self, query: dict[str, str], body: dict[str, Any], subscriber: str, change: str) -> dict[str, Any]:
        with self._store.transaction():
            before = self._known(_user(query), subscriber)
            now = moments.write(self._store.now())
            match change:
                case "pause":
                    after = replace(before, status="Paused", status_changed_at=now)
                case "resume":
                    after = replace(before, status="Started", status_changed_at=now)
                case "cancel":
                    soft = _one_of(("hard", "soft"), body.get("mode", "hard")) == "soft"
                    status: Any = "SoftCancelled" if soft else "HardCancelled"
                    after = replace(before, status=status, status_changed_at=now, end=_moment(body.get("end")) or now)
                case "seats":
                    after = replace(before, seats=_seats(body))
                case _:
                    after = replace(before, product=str(body["product"]))
            self._store.save([after])
            self._log_outside(change, before, after)
        return after.as_dict()

    def _known(self, user: str, subscriber: str) -> Record:
        record = self._store.records(user, [subscriber]).get(subscriber)
        if record is None:
            raise _NotFoundError(f"{user} has no subscriber {subscriber!r}.")
        return record

    def _log_outside(self, kind: str, before: Record | None, after: Record | None) -> None:
        record = after or before
        if record is not None:
            entry = Entry(kind, record.subscriber, applied=before != after, before=before, after=after)
            self._store.log([entry], source="control", provider=record.provider)

    # --- the journal -------------------------------------------------------------------------------------------------

    def _journal(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        applied = query.pop("applied", None)
        items = self._store.items(applied=None if applied is None else applied == "1", **_paged(query))
        return [asdict(item) for item in items]

    def _requests(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        return [asdict(request) for request in self._store.requests(**_paged(query))]

    # --- providers, profiles, refusal --------------------------------------------------------------------------------

    def _providers(self, query: dict[str, str], body: dict[str, Any]) -> list[dict[str, Any]]:
        return [asdict(provider) for provider in self._store.providers()]

    def _put_provider(self, query: dict[str, str], body: dict[str, Any], user: str) -> dict[str, Any]:
        provider = provider_from({**body, "user": user})
        self._store.put_provider(provider)
        return asdict(provider)

    def _delete_provider(self, query: dict[str, str], body: dict[str, Any], user: str) -> None:
        if not self._store.delete_provider(user):
            raise _NotFoundError(f"There is no provider {user!r}.")

    def _profile(self, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        default, products = self._store.profiles()
        return {"profile": default, "products": products}

    def _set_profile(self, query: dict[str, str], body: dict[str, Any]) -> None:
        self._store.set_profile(cast(Any, _one_of(PROFILES, body["profile"])), body.get("product"))

    def _set_refusal(self, query: dict[str, str], body: dict[str, Any]) -> None:
        self._store.refusal = cast(Any, _one_of(REFUSALS, body["refusal"]))


def provider_from(given: dict[str, Any]) -> Provider:
    """A provider from JSON. Raises TypeError or ValueError for what is no provider."""
    provider = Provider(**given)
    products = provider.products
    return replace(
        provider,
        products=None if products is None else tuple(map(str, products)),
        refused_items=tuple(map(str, provider.refused_items)),
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120
    server: "ControlServer"

    def _deal(self) -> None:
        url = urlsplit(self.path)
        status, answer = self._outcome(url.path.strip("/"), dict(parse_qsl(url.query)))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _deal  # noqa: N815 - the base class calls them so

    def _outcome(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MOST_BODY:
            self.close_connection = True
            return 413, "too much"
        text = self.rfile.read(length)
        # A page in somebody's browser must not steer the emulator through a name that points to this machine.
        if self.headers.get("Host", "").rpartition(":")[0] not in _LOOPBACK_NAMES or self.headers.get("Origin"):
            return 403, "loopback only"
        try:
            body = json.loads(text) if text else {}
            if not isinstance(body, dict):
                raise ValueError("The body must be a JSON object.")
            for method, pattern, do in self.server.desk.routes:
                if method == self.command and (match := pattern.fullmatch(path)):
                    return 200, do(query, body, *map(unquote, match.groups()))
        except _NotFoundError as error:
            return 404, str(error)
        except (ValueError, KeyError, TypeError) as error:
            return 400, f"{type(error).__name__}: {error}"
        return 404, f"no {self.command} /{path}"

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class ControlServer(ThreadingHTTPServer):
    """Listens on loopback only, from `start` to `close`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, service: Service, listener: Listener, port: int) -> None:
        self.desk = Desk(service, listener)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="control").start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("control connection lost", exc_info=True)


def _user(query: dict[str, str]) -> str:
    return query.get("provider", "seatdesk")


def _paged(query: dict[str, str]) -> dict[str, Any]:
    return {name: int(value) if name in ("after", "limit") else value for name, value in query.items()}


def _seats(body: dict[str, Any]) -> int:
    seats = int(body.get("seats", 1))
    if seats < 1:
        raise ValueError("seats start at 1")
    return seats


def _moment(text: str | None) -> str | None:
    return None if text is None else moments.write(moments.parse(text))


def _one_of(allowed: tuple[str, ...], text: str) -> str:
    if text not in allowed:
        raise ValueError(f"{text!r} is none of {', '.join(allowed)}.")
    return text
