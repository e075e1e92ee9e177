"""Trouble on order: which faults there are, the rules that call for them, and when a rule strikes.

Rules live in memory: a restarted emulator is a healthy one.
"""

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .records import KINDS
from .wire import Item

Scope = Literal["connection", "request", "item", "delay", "read"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble.

    `applied` says what became of the changes in the request: True, they were made as the rules allow; False, surely
    not; None, the fault does not touch that question (the answer is late or old, but an honest one).
    """

    name: str
    applied: bool | None
    scope: Scope
    meaning: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Names and defaults."""


_ALL = (
    Fault("refused", False, "connection", "The listening socket is closed for a while; by time window only."),
    Fault(
        "closed-before-reading", False, "connection", "The n-th new connection is reset; what was sent stays unread."
    ),
    # --- an honest answer, late or old
    Fault("latency-fixed", None, "delay", "The answer comes `seconds` later.", {"seconds": 1.0}),
    Fault(
        "latency-long-tail",
        None,
        "delay",
        "The answer comes later by a random time: half of them within `median`, few near `longest`.",
        {"median": 0.05, "longest": 5.0},
    ),
    Fault("slow-body", None, "delay", "The answer's body trickles for `seconds`.", {"seconds": 2.0}),
    Fault("stale-read", None, "read", "GetInfo tells how things stood `seconds` ago.", {"seconds": 5.0}),
    # --- surely not applied
    Fault("closed-after-reading", False, "request", "Read, not applied, no answer.", {"reset": False}),
    Fault("http-503", False, "request", "503 with Retry-After.", {"retry_after": 2}),
    Fault("http-429", False, "request", "429 with Retry-After.", {"retry_after": 2}),
    Fault("credentials-refused", False, "request", "401 or 403, whatever the password.", {"status": 401}),
    Fault("html-500", False, "request", "An HTML error page; the client cannot know.", {"status": 500}),
    Fault("soap-fault-client", False, "request", "A SOAP fault that blames the client."),
    Fault("soap-fault-server", False, "request", "A SOAP fault that blames the server; the client cannot know."),
    Fault(
        "transaction-error", False, "request", "The container is refused.", {"code": 99, "message": "Unknown error."}
    ),
    Fault("item-error", False, "item", "The matching items are refused.", {"code": 99, "message": "Unknown error."}),
    # --- applied, and the answer is lost or cannot be trusted
    Fault("applied-closed", True, "request", "Applied, then closed without an answer.", {"reset": False}),
    Fault("applied-answered-late", True, "request", "Applied at once, answered after `seconds`.", {"seconds": 35.0}),
    Fault("applied-late", True, "request", "Applied and answered only after `seconds`.", {"seconds": 35.0}),
    Fault("applied-html-500", True, "request", "Applied, then an HTML error page.", {"status": 500}),
    Fault("applied-soap-fault", True, "request", "Applied, then a SOAP fault that blames the server."),
    Fault("applied-truncated-xml", True, "request", "Applied; the XML ends in its middle, the HTTP is complete."),
    Fault("applied-cut-body", True, "request", "Applied; the connection ends in the middle of the body."),
    Fault("applied-empty-body", True, "request", "Applied; 200 with nothing in it."),
    Fault("applied-wrong-echo", True, "request", "Applied; the answer carries another TransactionId."),
    Fault("applied-missing-item", True, "item", "Applied; the first matching item has no answer."),
    Fault("applied-item-twice", True, "item", "Applied; the first matching item is answered twice."),
    Fault("applied-unknown-unit", True, "item", "Applied; the first matching item is answered under a foreign UnitId."),
    Fault("applied-wrong-subscriber", True, "item", "Applied; the first matching item names another SubscriberId."),
    Fault("applied-item-error", True, "item", "Applied, and answered as failed.", {"code": 99, "message": ""}),
    Fault("wrong-content-type", True, "request", "Applied; the answer is labelled `type`.", {"type": "text/html"}),
    Fault("huge-body", True, "request", "Applied; the answer is padded to `megabytes`.", {"megabytes": 6}),
    Fault(
        "entity-bomb",
        True,
        "request",
        "Applied; the echo is an entity that grows tenfold `levels` times.",
        {"levels": 9},
    ),
)
FAULTS: Final[dict[str, Fault]] = {fault.name: fault for fault in _ALL}
"""Every fault by name. Each may be used with its defaults alone."""

REFUSED_BY_DEFAULT: Final = 1.0
"""Seconds for which `refused` closes the socket unless told otherwise."""


@dataclass(slots=True)
class Rule:
    """When a fault strikes: from the `nth` matching request on, `count` times (None: no end), a `share` of them, and
    only until `for_seconds` of real time have passed since the rule was added.

    A request matches if one of its items is of one of the `kinds` (none given: any kind) and belongs to `subscriber`
    (None: anyone). For faults of connections every new connection matches.
    """

    id: int
    fault: str
    kinds: tuple[str, ...] = ()
    subscriber: str | None = None
    nth: int = 1
    count: int | None = 1
    share: float = 1.0
    for_seconds: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0
    ends_at: float | None = None
    """On the monotonic clock of the emulator's process."""

    def over(self) -> bool:
        spent = self.count is not None and self.fired >= self.count
        return spent or (self.ends_at is not None and time.monotonic() >= self.ends_at)

    def matches(self, item: Item) -> bool:
        return (not self.kinds or item.kind in self.kinds) and self.subscriber in (None, item.subscriber)


@dataclass(frozen=True, slots=True)
class Struck:
    """The rules that strike one request: at most one that decides about it, and any number that slow it or age it."""

    main: Rule | None = None
    delays: tuple[Rule, ...] = ()
    reads: tuple[Rule, ...] = ()

    @property
    def names(self) -> str | None:
        rules = (*self.delays, *self.reads, *([self.main] if self.main else []))
        return "+".join(rule.fault for rule in rules) or None


class Faults:
    """The rules in force. Safe to share between threads."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._last_id = 0
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._awake = threading.Event()

    def add(
        self,
        fault: str,
        *,
        kinds: Iterable[str] = (),
        subscriber: str | None = None,
        nth: int = 1,
        count: int | None = None,
        share: float = 1.0,
        for_seconds: float | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Rule:
        """Put a rule in force. `count` is 1 unless a count, a window or a share is given. Raises ValueError."""
        known = FAULTS.get(fault)
        if known is None:
            raise ValueError(f"No fault is called {fault!r}.")
        given = parameters or {}
        if unknown := given.keys() - known.parameters.keys():
            raise ValueError(f"{fault} has no parameter {min(unknown)!r}.")
        kinds = tuple(kinds)
        if strangers := set(kinds) - set(KINDS):
            raise ValueError(f"No item is called {min(strangers)!r}.")
        if known.scope == "connection" and (kinds or subscriber):
            raise ValueError(f"{fault} strikes before anything is read: neither kinds nor a subscriber can be told.")
        if nth < 1 or (count is not None and count < 1) or not 0 <= share <= 1:
            raise ValueError("nth and count start at 1, and share lies between 0 and 1.")
        if fault == "refused" and for_seconds is None:
            for_seconds = REFUSED_BY_DEFAULT
        if count is None and for_seconds is None and share == 1.0:
            count = 1
        ends_at = None if for_seconds is None else time.monotonic() + for_seconds
        with self._lock:
            self._last_id += 1
            rule = Rule(
                self._last_id,
                fault,
                kinds,
                subscriber,
                nth,
                count,
                share,
                for_seconds,
                {**known.parameters, **given},
                ends_at=ends_at,
            )
            self._rules.append(rule)
        return rule

    def all(self) -> list[Rule]:
        """Every rule that was added, those that are over included."""
        with self._lock:
            return list(self._rules)

    def clear(self, rule_id: int | None = None) -> None:
        """Drop one rule or all; clearing all also ends the waits of requests that are being delayed."""
        with self._lock:
            if rule_id is not None:
                self._rules = [rule for rule in self._rules if rule.id != rule_id]
                return
            self._rules = []
            self._awake.set()
            self._awake = threading.Event()

    def reseed(self, seed: int) -> None:
        with self._lock:
            self._random.seed(seed)

    def wait(self, seconds: float) -> None:
        """Sleep, but not past a `clear`."""
        self._awake.wait(seconds)

    def strike_connection(self) -> Rule | None:
        """To be asked once for each new connection."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.fault == "closed-before-reading" and self._fires(rule):
                    return rule
        return None

    def strike(self, items: list[Item]) -> Struck:
        """To be asked once for each request that was understood and let in. The oldest deciding rule wins."""
        if not self._rules:
            return Struck()
        main: Rule | None = None
        others: dict[str, list[Rule]] = {"delay": [], "read": []}
        with self._lock:
            for rule in self._rules:
                scope = FAULTS[rule.fault].scope
                if scope == "connection" or (main and scope in ("request", "item")):
                    continue
                anyone = not rule.kinds and rule.subscriber is None
                if not anyone and not any(rule.matches(item) for item in items):
                    continue
                if not self._fires(rule):
                    continue
                if scope in others:
                    others[scope].append(rule)
                else:
                    main = rule
        return Struck(main, tuple(others["delay"]), tuple(others["read"]))

    def long_tail(self, median: float, longest: float) -> float:
        """A waiting time drawn from a log-normal curve, cut at `longest`."""
        with self._lock:
            return min(longest, median * self._random.lognormvariate(0, 1.2))

    def _fires(self, rule: Rule) -> bool:
        if rule.over():
            return False
        rule.seen += 1
        if rule.seen < rule.nth or (rule.share < 1 and self._random.random() >= rule.share):
            return False
        rule.fired += 1
        return True
