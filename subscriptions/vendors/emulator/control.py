"""The client of the emulator's control interface: for tests, the demo and staff tools."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

import httpx

from .faults import Rule
from .moments import parse, write
from .records import JournalItem, JournalRequest, Profile, Provider, Record, Refusal, Status

_USER = "seatdesk"
_PAGE = 1000


class ControlError(Exception):
    """The emulator refused a control request; the text says why."""


@dataclass(frozen=True, slots=True)
class Clock:
    now: datetime
    offset_seconds: float


class Control:
    """Steers and questions a running emulator. Safe to share between threads; close it when done.

    Methods raise ControlError for a request that the emulator refuses, and httpx errors if it cannot be reached.
    `provider` is the user name whose subscriptions are meant.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url
        # A proxy set in the environment must not come between two processes of one machine.
        self._http = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the whole ---------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """`ok`, `listening` (is the service's socket open), `url`, `now`, `pid`."""
        return dict(self._call("GET", "health"))

    def reset(self) -> None:
        """As on the first day: no subscriptions, journal, transactions or faults; first providers and profile; true
        time; the socket open. A request still under way changes nothing any more."""
        self._call("POST", "reset")

    # --- the clock ---------------------------------------------------------------------------------------------------

    def clock(self) -> Clock:
        return _clock(self._call("GET", "clock"))

    def set_offset(self, offset: float | timedelta) -> Clock:
        """Let the emulator's time differ from the true time by so much (seconds)."""
        return _clock(self._call("PUT", "clock", {"offset_seconds": _seconds(offset)}))

    def set_now(self, now: datetime) -> Clock:
        return _clock(self._call("PUT", "clock", {"now": write(now)}))

    def advance(self, by: float | timedelta) -> Clock:
        """Move on by so many seconds."""
        return _clock(self._call("POST", "clock/advance", {"seconds": _seconds(by)}))

    # --- faults ------------------------------------------------------------------------------------------------------

    def add_fault(
        self,
        fault: str,
        *,
        kinds: Sequence[str] = (),
        subscriber: str | None = None,
        nth: int = 1,
        count: int | None = None,
        share: float = 1.0,
        for_seconds: float | None = None,
        **parameters: Any,
    ) -> Rule:
        """Put a rule in force: see `faults.Rule` for when it strikes, `faults.FAULTS` for names and parameters.

        `count` is 1 unless a count, a window or a share is given; then there is no end but the window's.
        """
        wanted = {
            "fault": fault,
            "kinds": list(kinds),
            "subscriber": subscriber,
            "nth": nth,
            "count": count,
            "share": share,
            "for_seconds": for_seconds,
            "parameters": parameters,
        }
        return _rule(self._call("POST", "faults", wanted))

    def faults(self) -> list[Rule]:
        """Every rule added since the last clear, with `seen` and `fired` counted so far."""
        return [_rule(rule) for rule in self._call("GET", "faults")]

    def clear_faults(self, rule_id: int | None = None) -> None:
        """Drop one rule, or all: the latter also opens the socket and ends the waits of requests being delayed."""
        self._call("DELETE", "faults" if rule_id is None else f"faults/{rule_id}")

    def reseed(self, seed: int) -> None:
        """Begin the dice of `share` and of long tails anew."""
        self._call("PUT", "faults/seed", {"seed": seed})

    # --- subscribers, and changes from outside -----------------------------------------------------------------------

    def subscribers(self, provider: str = _USER) -> Iterator[Record]:
        """All records of a provider, ordered by subscriber."""
        after = ""
        while page := self._call("GET", "subscribers", provider=provider, after=after, limit=_PAGE):
            yield from (Record(**record) for record in page)
            after = page[-1]["subscriber"]

    def subscriber(self, subscriber: str, provider: str = _USER) -> Record | None:
        """The record as it stands; None if the vendor does not know the subscriber. Touches no journal."""
        found = self._call("GET", f"subscribers/{subscriber}", provider=provider)
        return None if found is None else Record(**found)

    def put_subscriber(
        self,
        subscriber: str,
        *,
        product: str,
        seats: int = 1,
        status: Status = "Started",
        start: datetime | None = None,
        end: datetime | Literal["indefinite"] | None = "indefinite",
        activation_code: str | None = None,
        first_used_at: datetime | None = None,
        provider: str = _USER,
    ) -> Record:
        """Create or replace a record without asking the rules: for drift and for taking over existing ones.

        `start` is now unless given; `end=None` is a record that says nothing about its end.
        """
        wanted = {
            "product": product,
            "seats": seats,
            "status": status,
            "start": write(start) if start else None,
            "end": write(end) if isinstance(end, datetime) else end,
            "activation_code": activation_code,
            "first_used_at": write(first_used_at) if first_used_at else None,
        }
        return Record(**self._call("PUT", f"subscribers/{subscriber}", wanted, provider=provider))

    def pause(self, subscriber: str, provider: str = _USER) -> Record:
        return self._outside(subscriber, "pause", {}, provider)

    def resume(self, subscriber: str, provider: str = _USER) -> Record:
        return self._outside(subscriber, "resume", {}, provider)

    def cancel(
        self,
        subscriber: str,
        mode: Literal["hard", "soft"] = "hard",
        end: datetime | None = None,
        provider: str = _USER,
    ) -> Record:
        """`end` is now unless given."""
        return self._outside(subscriber, "cancel", {"mode": mode, "end": write(end) if end else None}, provider)

    def set_seats(self, subscriber: str, seats: int, provider: str = _USER) -> Record:
        return self._outside(subscriber, "seats", {"seats": seats}, provider)

    def set_product(self, subscriber: str, product: str, provider: str = _USER) -> Record:
        return self._outside(subscriber, "product", {"product": product}, provider)

    def delete(self, subscriber: str, provider: str = _USER) -> None:
        """Let the vendor forget the subscriber."""
        self._call("DELETE", f"subscribers/{subscriber}", provider=provider)

    def _outside(self, subscriber: str, change: str, wanted: dict[str, Any], provider: str) -> Record:
        return Record(**self._call("POST", f"subscribers/{subscriber}/{change}", wanted, provider=provider))

    # --- the journal -------------------------------------------------------------------------------------------------

    def journal(
        self,
        subscriber: str | None = None,
        *,
        kind: str | None = None,
        transaction_id: str | None = None,
        applied: bool | None = None,
        source: Literal["service", "control"] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JournalItem]:
        """Items in the order in which they were dealt with, after the one numbered `after`; filters narrow the list."""
        wanted = {
            "subscriber": subscriber,
            "kind": kind,
            "transaction_id": transaction_id,
            "applied": None if applied is None else int(applied),
            "source": source,
        }
        return [JournalItem(**item) for item in self._pages("journal", wanted, after, limit)]

    def changes(self, subscriber: str | None = None) -> list[JournalItem]:
        """What the service applied: one element means that the vendor applied exactly one change."""
        return self.journal(subscriber, applied=True, source="service")

    def requests(
        self,
        *,
        transaction_id: str | None = None,
        source: Literal["service", "control"] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JournalRequest]:
        """Requests in order, also those that were not understood, not let in or closed unread."""
        wanted = {"transaction_id": transaction_id, "source": source}
        return [JournalRequest(**request) for request in self._pages("requests", wanted, after, limit)]

    def _pages(self, path: str, wanted: dict[str, Any], after: int, limit: int | None) -> Iterator[dict[str, Any]]:
        left = limit
        while left is None or left > 0:
            page = self._call("GET", path, after=after, limit=_PAGE if left is None else min(left, _PAGE), **wanted)
            if not page:
                return
            yield from page
            after = page[-1]["id"]
            left = None if left is None else left - len(page)

    # --- providers, profiles, refusal --------------------------------------------------------------------------------

    def providers(self) -> list[Provider]:
        return [_provider(provider) for provider in self._call("GET", "providers")]

    def put_provider(self, provider: Provider) -> Provider:
        """Create or replace; `issued` counts from what is given."""
        return _provider(self._call("PUT", f"providers/{provider.user}", asdict(provider)))

    def delete_provider(self, user: str) -> None:
        self._call("DELETE", f"providers/{user}")

    def profile(self) -> tuple[Profile, dict[str, Profile]]:
        """The seat profile for all products, and the products that differ."""
        found = self._call("GET", "profile")
        return found["profile"], found["products"]

    def set_profile(self, profile: Profile, product: str | None = None) -> None:
        """For one product, or for all: the latter forgets what was said about single products."""
        self._call("PUT", "profile", {"profile": profile, "product": product})

    def set_refusal(self, refusal: Refusal) -> None:
        """How a wrong user or password is answered: `http-401` (default) or `transaction-error` (9001)."""
        self._call("PUT", "refusal", {"refusal": refusal})

    # --- the wire ----------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        response = self._http.request(method, path, json=body, params=given)
        if response.status_code >= 400:
            raise ControlError(f"{method} {path}: {response.status_code} {response.text.strip()}")
        return response.json()


def _seconds(of: float | timedelta) -> float:
    return of.total_seconds() if isinstance(of, timedelta) else of


def _clock(found: dict[str, Any]) -> Clock:
    return Clock(parse(found["now"]), found["offset_seconds"])


def _rule(found: dict[str, Any]) -> Rule:
    return Rule(**{**found, "kinds": tuple(found["kinds"])})


def _provider(found: dict[str, Any]) -> Provider:
    products = found["products"]
    return Provider(
        **{
            **found,
            "products": None if products is None else tuple(products),
            "refused_items": tuple(found["refused_items"]),
        }
    )
