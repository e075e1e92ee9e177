"""One request in, one reply out: reading, letting in, faults, rules, the record of it all.

The reply is decided, and every change committed, before a byte of it leaves.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from . import moments, rules, wire
from .faults import FAULTS, Faults, Rule, Struck
from .records import CHANGING, Provider, Record
from .store import Entry, Store
from .wire import Failed, Item, Part

Close = Literal["fin", "reset"]

_HTML = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"
_XML = "text/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over the socket, and how. With `close`, nothing does."""

    status: int = 200
    body: bytes = b""
    content_type: str = _XML
    headers: dict[str, str] = field(default_factory=dict)
    close: Close | None = None
    delay: float = 0.0
    trickle: float = 0.0
    """Seconds over which the body is spread."""
    cut: bool = False
    """Only half of the body is sent before the connection ends."""


class Service:
    """The vendor's desk. Safe to share between threads."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults

    def answer(self, body: bytes, *, soap_action: str, content_type: str) -> Reply:
        """Deal with one POST."""
        generation = self.store.generation
        try:
            if content_type.partition(";")[0].strip().lower() != "text/xml":
                raise wire.MalformedError("The content type must be text/xml.")
            if soap_action.strip().strip('"') != wire.ACTION:
                raise wire.MalformedError("Unknown SOAPAction.")
            envelope = wire.read(body)
        except wire.MalformedError as error:
            return self.malformed(str(error))
        provider = self.store.provider(envelope.user)
        if provider is None or provider.password != envelope.password:
            return self._not_let_in(envelope)
        try:
            items = self._checked(envelope)
        except wire.ContainerError as error:
            return self._container_error(envelope, provider.user, error.code, error.message)
        struck = self.faults.strike(items)
        main = struck.main
        if main and FAULTS[main.fault].scope == "request" and FAULTS[main.fault].applied is False:
            return self._not_applied(main, struck, envelope, provider, items)
        if main and main.fault == "applied-late":
            self.faults.wait(main.parameters["seconds"])
        return self._carry_out(generation, struck, envelope, provider, items)

    def malformed(self, message: str, status: int = 500) -> Reply:
        """Refuse something that is no request of this service; SOAP 1.1 sends faults with status 500."""
        with self.store.transaction():
            self.store.log(error_message=message, http_status=status)
        return Reply(status, wire.write_fault("Client", message))

    def closed_unread(self, rule: Rule) -> None:
        """Write down that a connection was closed before anything was read."""
        with self.store.transaction():
            self.store.log(fault=rule.fault)

    # --- before the rules --------------------------------------------------------------------------------------------

    def _checked(self, envelope: wire.Envelope) -> list[Item]:
        if not envelope.transaction_id:
            raise wire.ContainerError(602, "TransactionId is empty.")
        try:
            moments.parse(envelope.timestamp)
        except ValueError as error:
            raise wire.ContainerError(602, "Timestamp must be a dateTime with a zone.") from error
        return envelope.items()

    def _not_let_in(self, envelope: wire.Envelope) -> Reply:
        if self.store.refusal == "transaction-error":
            code = rules.WRONG_PASSWORD
            return self._container_error(envelope, envelope.user, code, rules.MESSAGES[code])
        with self.store.transaction():
            self.store.log(provider=envelope.user, transaction_id=envelope.transaction_id, http_status=401)
        return Reply(401, _HTML, "text/html", {"WWW-Authenticate": 'Basic realm="subscriptions"'})

    def _container_error(self, envelope: wire.Envelope, user: str, code: int, message: str) -> Reply:
        with self.store.transaction():
            self.store.log(
                provider=user,
                transaction_id=envelope.transaction_id,
                error_code=code,
                error_message=message,
                http_status=200,
            )
        return Reply(body=wire.write_transaction_error(self._stamp(), envelope.transaction_id, code, message))

    def _not_applied(
        self, main: Rule, struck: Struck, envelope: wire.Envelope, provider: Provider, items: list[Item]
    ) -> Reply:
        told = main.parameters
        reply = Reply()
        code = None
        match main.fault:
            case "closed-after-reading":
                reply = Reply(close="reset" if told["reset"] else "fin")
            case "http-503" | "http-429":
                status = int(main.fault.removeprefix("http-"))
                reply = Reply(status, _HTML, "text/html", {"Retry-After": str(told["retry_after"])})
            case "credentials-refused" | "html-500":
                reply = Reply(told["status"], _HTML, "text/html")
            case "soap-fault-client" | "soap-fault-server":
                side = main.fault.rpartition("-")[2].capitalize()
                reply = Reply(500, wire.write_fault(side, "The request was not carried out."))
            case "transaction-error":
                code = told["code"]
                body = wire.write_transaction_error(self._stamp(), envelope.transaction_id, code, told["message"])
                reply = Reply(body=body)
            case _:
                raise AssertionError(main.fault)
        with self.store.transaction():
            self.store.log(
                [Entry(item.kind, item.subscriber, item.unit) for item in items],
                provider=provider.user,
                transaction_id=envelope.transaction_id,
                error_code=code,
                http_status=None if reply.close else reply.status,
                fault=struck.names,
            )
        return self._slowed(reply, struck)

    # --- the rules, and what is written down -------------------------------------------------------------------------

    def _carry_out(
        self, generation: int, struck: Struck, envelope: wire.Envelope, provider: Provider, items: list[Item]
    ) -> Reply:
        store, main = self.store, struck.main
        transaction_id = envelope.transaction_id
        digest = wire.digest(items)
        # A fault that closes the connection has nothing to say about status; all others are built after the commit.
        status = _status_under(main)
        with store.transaction():
            if store.generation != generation:
                return Reply(close="fin")
            # Read again under the lock: two threads must not draw the pool's last code twice.
            provider = store.provider(provider.user) or provider
            now = store.now()
            changing = any(item.kind in CHANGING for item in items)
            known = store.digest_of(provider.user, transaction_id, now) if changing else None
            if known not in (None, digest):
                code = rules.REUSED_TRANSACTION
                store.log(
                    [Entry(item.kind, item.subscriber, item.unit) for item in items],
                    provider=provider.user,
                    transaction_id=transaction_id,
                    error_code=code,
                    http_status=200,
                )
                stamp, message = moments.write(now), rules.MESSAGES[code]
                return Reply(body=wire.write_transaction_error(stamp, transaction_id, code, message))
            profile, of_product = store.profiles()
            desk = rules.Desk(
                provider,
                now,
                profile_of=lambda product: of_product.get(product, profile),
                new_code=lambda subscriber: store.new_code(provider.user, subscriber),
            )
            parts, entries, changed = self._decide(items, desk, struck, repeated=known is not None)
            store.save(changed.values())
            if desk.issued:
                store.add_issued(provider.user, desk.issued)
            if changed:
                store.remember(provider.user, transaction_id, digest, now)
            store.log(
                entries,
                provider=provider.user,
                transaction_id=transaction_id,
                http_status=status,
                fault=struck.names,
            )
        return self._slowed(_dressed(moments.write(now), transaction_id, parts, items, main), struck)

    def _decide(
        self, items: list[Item], desk: rules.Desk, struck: Struck, *, repeated: bool
    ) -> tuple[list[Part], list[Entry], dict[str, Record]]:
        user, main = desk.provider.user, struck.main
        records: dict[str, Record | None] = {}
        records.update(self.store.records(user, {item.subscriber for item in items}))
        parts: list[Part] = []
        entries: list[Entry] = []
        changed: dict[str, Record] = {}
        for item in items:
            before = records.get(item.subscriber)
            seen = before
            for rule in struck.reads:
                if item.kind == "GetInfo" and rule.matches(item):
                    since = moments.real_now().timestamp() - rule.parameters["seconds"]
                    seen = self.store.record_before(user, item.subscriber, since, before)
            if main and main.fault == "item-error" and main.matches(item):
                told = main.parameters
                decision = rules.Decision(rules.refusal(item, told["code"], told["message"]), before)
            elif repeated and item.kind in CHANGING:
                decision = rules.Decision(rules.refusal(item, 6), before)
            else:
                decision = rules.decide(item, seen, desk)
            part, after = decision.part, decision.record
            applied = item.kind in CHANGING and after is not None and after != before
            if applied and after is not None:
                records[item.subscriber] = changed[item.subscriber] = after
            if main and main.fault == "applied-item-error" and main.matches(item):
                part = rules.refusal(item, main.parameters["code"], main.parameters["message"])
            parts.append(part)
            entries.append(
                Entry(
                    item.kind,
                    item.subscriber,
                    item.unit,
                    applied,
                    part.code if isinstance(part, Failed) else None,
                    part.message if isinstance(part, Failed) else None,
                    before if applied else None,
                    after if applied else None,
                )
            )
        return parts, entries, changed

    # --- the way out -------------------------------------------------------------------------------------------------

    def _slowed(self, reply: Reply, struck: Struck) -> Reply:
        delay = trickle = 0.0
        for rule in struck.delays:
            told = rule.parameters
            match rule.fault:
                case "latency-fixed":
                    delay += told["seconds"]
                case "latency-long-tail":
                    delay += self.faults.long_tail(told["median"], told["longest"])
                case "slow-body":
                    trickle += told["seconds"]
        return replace(reply, delay=reply.delay + delay, trickle=trickle)

    def _stamp(self) -> str:
        return moments.write(self.store.now())


def _status_under(main: Rule | None) -> int | None:
    match main.fault if main else None:
        case "applied-closed":
            return None
        case "applied-soap-fault":
            return 500
        case "applied-html-500":
            return int(main.parameters["status"]) if main else 500
        case _:
            return 200


def _dressed(stamp: str, transaction_id: str, parts: list[Part], items: list[Item], main: Rule | None) -> Reply:
    """The answer to a request that was carried out, spoilt as the fault demands."""
    if main is None:
        return Reply(body=wire.write_answer(stamp, transaction_id, parts))
    told = main.parameters
    index = next((n for n, item in enumerate(items) if main.matches(item)), None)
    if index is not None:
        part = parts[index]
        match main.fault:
            case "applied-missing-item":
                del parts[index]
            case "applied-item-twice":
                parts.insert(index, part)
            case "applied-unknown-unit":
                parts[index] = replace(part, unit=1 + max(item.unit for item in items))
            case "applied-wrong-subscriber":
                parts[index] = replace(part, subscriber=f"NOT-{part.subscriber}")
    body = wire.write_answer(stamp, transaction_id, parts)
    match main.fault:
        case "applied-closed":
            return Reply(close="reset" if told["reset"] else "fin")
        case "applied-answered-late":
            return Reply(body=body, delay=told["seconds"])
        case "applied-html-500":
            return Reply(told["status"], _HTML, "text/html")
        case "applied-soap-fault":
            return Reply(500, wire.write_fault("Server", "The answer could not be written."))
        case "applied-truncated-xml":
            return Reply(body=body[: len(body) * 2 // 3])
        case "applied-cut-body":
            return Reply(body=body, cut=True)
        case "applied-empty-body":
            return Reply(body=b"")
        case "applied-wrong-echo":
            return Reply(body=wire.write_answer(stamp, f"not-{transaction_id}", parts))
        case "wrong-content-type":
            return Reply(body=body, content_type=told["type"])
        case "huge-body":
            padding = b"<!--" + b" " * int(told["megabytes"] * 1024 * 1024) + b"-->"
            return Reply(body=body + padding)
        case "entity-bomb":
            return Reply(body=_with_bomb(body, told["levels"]))
    return Reply(body=body)


def _with_bomb(body: bytes, levels: int) -> bytes:
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, levels + 1))
    declaration, _, rest = body.decode().partition("?>")
    exploding = re.sub(r"(<sub:TransactionId>)", rf"\1&a{levels};", rest, count=1)
    return f"{declaration}?><!DOCTYPE bomb [<!ENTITY a0 'ha'>{entities}]>{exploding}".encode()
