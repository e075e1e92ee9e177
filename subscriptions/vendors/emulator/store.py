"""The emulator's memory: one SQLite file that outlives a killed process.

Everything that a request changes and its journal rows are one transaction, committed before an answer leaves. Any
thread may use a store; writers take turns.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from . import moments
from .records import DEFAULT_PROVIDER, JournalItem, JournalRequest, Profile, Provider, Record, Refusal

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE providers (
    user TEXT PRIMARY KEY, password TEXT NOT NULL, products TEXT, refused_items TEXT NOT NULL,
    pool_size INTEGER, issued INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE subscriptions (
    provider TEXT NOT NULL, subscriber TEXT NOT NULL, product TEXT NOT NULL, seats INTEGER NOT NULL,
    status TEXT NOT NULL, status_changed_at TEXT NOT NULL, start TEXT NOT NULL, "end" TEXT,
    activation_code TEXT NOT NULL, activation_type TEXT NOT NULL, first_used_at TEXT,
    PRIMARY KEY (provider, subscriber)
) WITHOUT ROWID;
CREATE TABLE transactions (
    provider TEXT NOT NULL, transaction_id TEXT NOT NULL, digest TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (provider, transaction_id)
) WITHOUT ROWID;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, real_at REAL NOT NULL, source TEXT NOT NULL, provider TEXT,
    transaction_id TEXT, error_code INTEGER, error_message TEXT, http_status INTEGER, fault TEXT
);
CREATE INDEX requests_transaction ON requests (transaction_id);
CREATE TABLE items (
    id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES requests, unit INTEGER, kind TEXT NOT NULL,
    subscriber TEXT, applied INTEGER NOT NULL, error_code INTEGER, error_message TEXT, before TEXT, after TEXT
);
CREATE INDEX items_request ON items (request);
CREATE INDEX items_subscriber ON items (subscriber);
"""
_TRANSACTIONS_ARE_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Entry:
    """An item's line in the journal, before it has a number."""

    kind: str
    subscriber: str | None
    unit: int | None = None
    applied: bool = False
    error_code: int | None = None
    error_message: str | None = None
    before: Record | None = None
    after: Record | None = None


class Store:
    def __init__(self, path: Path, *, seed: int = 0, providers: Sequence[Provider] = (DEFAULT_PROVIDER,)) -> None:
        """Open or create the file. `seed` and `providers` count for a new file and after `reset`."""
        self._lock = threading.RLock()
        self._first_providers = tuple(providers)
        self.generation = 0
        """Grows with each reset; a request that began before a reset must not change anything after it."""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            # A commit must survive `kill -9`, which WAL gives without a sync; only a power cut would need more.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
                with self.transaction():
                    self._set("seed", str(seed))
                    self._set_first_state()
            elif version != SCHEMA_VERSION:
                raise ValueError(f"{path} was written by another version of the emulator: delete it and start again.")
            self.seed = int(self._get("seed") or 0)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone: the other threads wait."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def reset(self) -> None:
        """As on the first day: no subscriptions, no journal, the first providers, the true time. The seed stays."""
        with self.transaction():
            self.generation += 1
            for table in ("subscriptions", "transactions", "items", "requests", "providers"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
            self._db.execute("DELETE FROM settings WHERE name <> 'seed'")
            self._set_first_state()

    def _set_first_state(self) -> None:
        for provider in self._first_providers:
            self.put_provider(provider)

    # --- settings ----------------------------------------------------------------------------------------------------

    def _get(self, name: str) -> str | None:
        with self._lock:
            row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _set(self, name: str, value: str) -> None:
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    @property
    def offset_seconds(self) -> float:
        return float(self._get("offset") or 0)

    @offset_seconds.setter
    def offset_seconds(self, seconds: float) -> None:
        self._set("offset", repr(seconds))

    def now(self) -> datetime:
        return moments.shifted(self.offset_seconds)

    @property
    def refusal(self) -> Refusal:
        return "transaction-error" if self._get("refusal") == "transaction-error" else "http-401"

    @refusal.setter
    def refusal(self, refusal: Refusal) -> None:
        self._set("refusal", refusal)

    def profiles(self) -> tuple[Profile, dict[str, Profile]]:
        """The seat profile for all products, and the products that differ."""
        default: Profile = "strict" if self._get("profile") == "strict" else "in-place"
        return default, json.loads(self._get("profiles") or "{}")

    def set_profile(self, profile: Profile, product: str | None = None) -> None:
        """For one product, or for all: the latter forgets what was said about single products."""
        with self.transaction():
            if product is None:
                self._set("profile", profile)
                self._set("profiles", "{}")
            else:
                self._set("profiles", json.dumps({**self.profiles()[1], product: profile}))

    # --- providers ---------------------------------------------------------------------------------------------------

    def providers(self) -> list[Provider]:
        with self._lock:
            rows = self._db.execute("SELECT * FROM providers ORDER BY user").fetchall()
        return [_provider(row) for row in rows]

    def provider(self, user: str) -> Provider | None:
        with self._lock:
            row = self._db.execute("SELECT * FROM providers WHERE user = ?", (user,)).fetchone()
        return _provider(row) if row else None

    def put_provider(self, provider: Provider) -> None:
        products = None if provider.products is None else json.dumps(provider.products)
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO providers VALUES (?, ?, ?, ?, ?, ?)",
                (
                    provider.user,
                    provider.password,
                    products,
                    json.dumps(provider.refused_items),
                    provider.pool_size,
                    provider.issued,
                ),
            )

    def delete_provider(self, user: str) -> bool:
        with self._lock:
            return self._db.execute("DELETE FROM providers WHERE user = ?", (user,)).rowcount > 0

    def add_issued(self, user: str, codes: int) -> None:
        self._db.execute("UPDATE providers SET issued = issued + ? WHERE user = ?", (codes, user))

    def new_code(self, provider: str, subscriber: str) -> str:
        """The subscriber's activation code: always the same for one seed, and plainly not a real one."""
        digest = hashlib.sha256(f"{self.seed}\0{provider}\0{subscriber}".encode()).digest()
        number, letters = int.from_bytes(digest, "big"), "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
        text = "".join(letters[number >> 5 * place & 31] for place in range(15))
        return f"FAKE0-{text[:5]}-{text[5:10]}-{text[10:]}"

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def records(self, provider: str, subscribers: Iterable[str]) -> dict[str, Record]:
        """The known ones among `subscribers`."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM subscriptions WHERE provider = ? AND subscriber IN (SELECT value FROM json_each(?))",
                (provider, json.dumps(list(subscribers))),
            ).fetchall()
        return {row[1]: Record(*row) for row in rows}

    def records_after(self, provider: str, subscriber: str, limit: int) -> list[Record]:
        """A page of a provider's records, ordered by subscriber, after the one named."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM subscriptions WHERE provider = ? AND subscriber > ? ORDER BY subscriber LIMIT ?",
                (provider, subscriber, limit),
            ).fetchall()
        return [Record(*row) for row in rows]

    def record_before(self, provider: str, subscriber: str, real_at: float, current: Record | None) -> Record | None:
        """The record as it stood at a past moment of real time."""
        with self._lock:
            row = self._db.execute(
                "SELECT items.before FROM items JOIN requests ON requests.id = items.request"
                " WHERE items.subscriber = ? AND requests.provider = ? AND items.applied AND requests.real_at > ?"
                " ORDER BY items.id LIMIT 1",
                (subscriber, provider, real_at),
            ).fetchone()
        if row is None:
            return current
        return Record(**json.loads(row[0])) if row[0] else None

    def save(self, records: Iterable[Record]) -> None:
        # The fields of a record are the columns of its table, in their order.
        self._db.executemany(
            "INSERT OR REPLACE INTO subscriptions VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (astuple(record) for record in records),
        )

    def delete(self, provider: str, subscriber: str) -> None:
        self._db.execute("DELETE FROM subscriptions WHERE provider = ? AND subscriber = ?", (provider, subscriber))

    # --- transaction ids ---------------------------------------------------------------------------------------------

    def digest_of(self, provider: str, transaction_id: str, now: datetime) -> str | None:
        """What a remembered container held; None when the id is free."""
        row = self._db.execute(
            "SELECT digest, at FROM transactions WHERE provider = ? AND transaction_id = ?", (provider, transaction_id)
        ).fetchone()
        if row is None or now - moments.parse(row[1]) >= _TRANSACTIONS_ARE_KEPT:
            return None
        return str(row[0])

    def remember(self, provider: str, transaction_id: str, digest: str, now: datetime) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?)",
            (provider, transaction_id, digest, moments.write(now)),
        )

    # --- the journal -------------------------------------------------------------------------------------------------

    def log(
        self,
        entries: Sequence[Entry] = (),
        *,
        source: str = "service",
        provider: str | None = None,
        transaction_id: str | None = None,
        error_code: int | None = None,
        error_message: str | None = None,
        http_status: int | None = None,
        fault: str | None = None,
    ) -> int:
        """Write a request and its items down; call it inside the transaction that holds their changes."""
        now = self.now()
        with self._lock:
            number = self._db.execute(
                "INSERT INTO requests VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    moments.write(now),
                    moments.real_now().timestamp(),
                    source,
                    provider,
                    transaction_id,
                    error_code,
                    error_message,
                    http_status,
                    fault,
                ),
            ).lastrowid
            self._db.executemany(
                "INSERT INTO items VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        number,
                        entry.unit,
                        entry.kind,
                        entry.subscriber,
                        entry.applied,
                        entry.error_code,
                        entry.error_message,
                        _json(entry.before),
                        _json(entry.after),
                    )
                    for entry in entries
                ),
            )
        return number or 0

    def items(
        self,
        *,
        subscriber: str | None = None,
        kind: str | None = None,
        transaction_id: str | None = None,
        applied: bool | None = None,
        source: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[JournalItem]:
        """Items in the order in which they were dealt with; each filter that is given narrows the list."""
        where, values = _where(
            {
                "items.subscriber": subscriber,
                "items.kind": kind,
                "requests.transaction_id": transaction_id,
                "items.applied": applied,
                "requests.source": source,
            }
        )
        with self._lock:
            rows = self._db.execute(
                "SELECT items.id, items.request, requests.at, requests.real_at,"  # noqa: S608 - names from this module
                " requests.source, requests.provider, requests.transaction_id, items.unit, items.kind,"
                " items.subscriber, items.applied, items.error_code, items.error_message, items.before, items.after,"
                " requests.fault"
                f" FROM items JOIN requests ON requests.id = items.request WHERE items.id > ?{where}"
                " ORDER BY items.id LIMIT ?",
                (after, *values, limit),
            ).fetchall()
        return [_item(row) for row in rows]

    def requests(
        self, *, transaction_id: str | None = None, source: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[JournalRequest]:
        """Requests in order, those without a readable item included."""
        where, values = _where({"transaction_id": transaction_id, "source": source})
        with self._lock:
            rows = self._db.execute(
                f"SELECT * FROM requests WHERE id > ?{where} ORDER BY id LIMIT ?",  # noqa: S608 - names from this module
                (after, *values, limit),
            ).fetchall()
        return [JournalRequest(*row) for row in rows]


def _where(filters: dict[str, Any]) -> tuple[str, list[Any]]:
    given = {column: value for column, value in filters.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in given), list(given.values())


def _json(record: Record | None) -> str | None:
    return None if record is None else json.dumps(record.as_dict(), separators=(",", ":"))


def _item(row: Sequence[Any]) -> JournalItem:
    item = JournalItem(*row)
    return replace(
        item,
        applied=bool(item.applied),
        before=json.loads(row[13]) if row[13] else None,
        after=json.loads(row[14]) if row[14] else None,
    )


def _provider(row: Sequence[Any]) -> Provider:
    provider = Provider(*row)
    return replace(
        provider,
        products=None if row[2] is None else tuple(json.loads(row[2])),
        refused_items=tuple(json.loads(row[3])),
    )
