"""What would happen, and a takeover that makes it happen set by set."""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

import structlog
from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.db.models import F, Func, Value

from subscriptions import clock, lifecycle, quotes
from subscriptions.actions import NotAllowed
from subscriptions.bulk import Reason
from subscriptions.lifecycle import Running, TakenOver
from subscriptions.models import Account, Subscription, Takeover, TakeoverOutcome, TakeoverRow, TakeoverStatus, User
from subscriptions.models.secrets import EncryptedField
from subscriptions.reconciliation import VendorSilent
from subscriptions.takeover.companies import Companies, NewCompanies
from subscriptions.takeover.lines import Base, Line
from subscriptions.takeover.looking import Desk, Found, Pending
from subscriptions.takeover.results import CAN, NO_CODE, NO_CODE_WORDS, as_cells
from subscriptions.vendors.port import Secret

log = structlog.get_logger(__name__)

CHUNK = 1_000
"""How many rows one transaction decides about."""
_AHEAD = 3
"""How many chunks are read at the vendor while one is written."""
_STORED = 10_000


# --- what would happen -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Preview:
    """How many rows can be taken over and how many cannot, as far as they were looked at, with a few examples."""

    rows: int = 0
    can: dict[str, Reason] = field(default_factory=dict)
    """By status."""
    cannot: dict[str, Reason] = field(default_factory=dict)
    """By the code of the refusal."""
    companies: set[str] = field(default_factory=set)
    """Those that would be created: each of them gets a subscription."""
    without_code: int = 0
    each_period: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """What their next periods are billed here, by currency; one that is not billed then counts for nothing."""
    chunk: list[tuple[object, ...]] = field(default_factory=list)
    """The rows that were looked at last, as lines of a CSV file under `results.OUTCOMES`."""


def preview(base: Base, *, asks_vendor: bool, new: NewCompanies | None = None) -> Iterator[Preview]:
    """Look at all rows, a chunk at a time, and write nothing; the same Preview comes again with each chunk.

    Raises BadSheet, and VendorSilent.
    """
    found = Preview()
    lines = iter(base)
    with closing(Desk(Companies(new), asks_vendor=asks_vendor)) as desk:
        ahead: deque[tuple[list[Line], Pending]] = deque()
        while True:
            while len(ahead) < _AHEAD and (chunk := list(islice(lines, CHUNK))):
                ahead.append((chunk, desk.look(chunk)))
            if not ahead:
                break
            _add(found, *ahead.popleft())
            yield found
    if not found.rows:
        yield found


def _add(found: Preview, lines: Sequence[Line], pending: Pending) -> None:
    settled = pending.settled()
    prices = quotes.load((), {one.sku for one in settled if isinstance(one, Running)})
    found.chunk = []
    for line, one, ours in zip(lines, settled, pending.ours, strict=True):
        found.rows += 1
        named = f"line {line.position}"
        if isinstance(one, NotAllowed):
            Reason.add(found.cannot, one.code, named, one.sentence)
            refused = TakeoverOutcome.REFUSED
            found.chunk.append(as_cells(line.position, line.subscriber_id, line.told, refused, one.code, one.sentence))
        elif isinstance(ours, Subscription):
            words = f"{one.account}, {one.seats:,} seats of {one.sku.code}"
            Reason.add(found.can, one.status, named, words)
            found.chunk.append(as_cells(line.position, line.subscriber_id, line.told, CAN, "", f"As {one.status}."))
            found.without_code += one.code is None
            if one.account.pk is None:
                found.companies.add(one.account.name)
            if quotes.is_billed_next(ours):
                found.each_period[ours.currency] += prices.terms_of(ours).line(one.seats)


# --- a takeover ------------------------------------------------------------------------------------------------------


def begin(
    base: Base,
    *,
    source: str,
    reason: str,
    actor: User | None,
    audience: str,
    asks_vendor: bool,
    new: NewCompanies | None = None,
) -> Takeover:
    """Write a takeover down with all its rows; `take` creates the `new` companies that they name.

    No subscription is written yet, and no company. A line that is wrong leaves nothing behind. Raises BadSheet, and
    NotAllowed (`nothing_chosen`).
    """
    with transaction.atomic(durable=True):
        takeover = Takeover.objects.create(
            source=source, reason=reason, actor=actor, audience=audience, file=base.words, asks_vendor=asks_vendor,
            created_at=clock.now(), time_zone=new.time_zone if new else "", language=new.language if new else "",
        )  # fmt: skip
        lines = iter(base)
        while some := list(islice(lines, _STORED)):
            _store(takeover, some)
            takeover.total += len(some)
        if not takeover.total:
            raise NotAllowed("nothing_chosen", "The file has no rows.")
        takeover.save(update_fields=["total"])
    return takeover


def _store(takeover: Takeover, lines: Sequence[Line]) -> None:
    seal = EncryptedField().get_prep_value
    cells = [
        (one.position, one.subscriber_id, one.told, seal(one.code).decode() if one.code else None) for one in lines
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO subscriptions_takeoverrow (takeover_id, position, subscriber_id, told, activation_code,"
            " outcome, code, sentence) SELECT %s, (e->>0)::integer, e->>1, e->2, convert_to(e->>3, 'UTF8'),"
            " 'waiting', '', '' FROM jsonb_array_elements(%s) AS e",
            [takeover.pk, json.dumps(cells)],
        )


def take(takeover: Takeover, *, allow: int | None = None) -> Iterator[Takeover]:
    """Take over what waits, set by set; the takeover comes back with its counts after each set.

    A new company is created with the first subscription that it gets, in the same transaction, and by nobody twice.
    Once `allow` rows have failed since this call, nothing more is taken over and it is `stopped`; what is here already
    is no failure. It may be called again, after a crash too, and by two processes at once: each row is decided about
    once. Raises VendorSilent when the vendor does not answer; it is `stopped` then, too.
    """
    _update(takeover, status=TakeoverStatus.RUNNING, finished_at=None)
    companies = Companies(NewCompanies(takeover.time_zone, takeover.language) if takeover.time_zone else None)
    with closing(Desk(companies, asks_vendor=takeover.asks_vendor)) as desk:
        try:
            for rows, found in _looked_at(takeover, desk, decide=allow is not None):
                failed = [n for n, one in enumerate(found, 1) if _is_failure(one)]
                enough = allow is not None and len(failed) >= allow
                until = failed[allow - 1] if allow is not None and enough else len(rows)
                _write(takeover, companies, rows[:until], found[:until])
                takeover.refresh_from_db(fields=["taken", "refused"])
                if enough:
                    stop(takeover)
                    yield takeover
                    return
                allow = None if allow is None else allow - len(failed)
                yield takeover
        except VendorSilent:
            stop(takeover)
            raise
    _update(takeover, status=TakeoverStatus.DONE, finished_at=clock.now())


def stop(takeover: Takeover) -> None:
    """Say that nobody works on it for now; the rest can be resumed."""
    _update(takeover, status=TakeoverStatus.STOPPED)


def _update(takeover: Takeover, **values: Any) -> None:
    Takeover.objects.filter(pk=takeover.pk).update(**values)
    for name, value in values.items():
        setattr(takeover, name, value)


class _Waiting(NamedTuple):
    """A row that waits; a model's instance would take longer than all else that is done to read it."""

    pk: int
    position: int
    subscriber_id: str
    told: dict[str, Any]
    code: Secret | None


def _looked_at(takeover: Takeover, desk: Desk, *, decide: bool) -> Iterator[tuple[list[_Waiting], Found]]:
    """The rows that wait, a chunk at a time; the vendor is asked about the next ones while one is worked on."""
    ahead: deque[tuple[list[_Waiting], Pending]] = deque()
    since, many = 0, _AHEAD if takeover.asks_vendor else 1
    while True:
        while len(ahead) < many and (rows := _waiting(takeover, since)):
            since = rows[-1].position
            ahead.append((rows, desk.look(rows, decide=decide)))
        if ahead:
            rows, pending = ahead.popleft()
            yield rows, pending.settled()
        elif _waiting(takeover, 0):
            # From the beginning in the end: what another process gave up lies behind.
            since = 0
        else:
            return


def _waiting(takeover: Takeover, since: int) -> list[_Waiting]:
    waiting = TakeoverRow.objects.filter(
        takeover=takeover, outcome=TakeoverOutcome.WAITING, position__gt=since
    ).order_by("position")
    values = waiting.values_list("pk", "position", "subscriber_id", "told", "activation_code")[:CHUNK]
    return [_Waiting(*row) for row in values]


def _is_failure(one: Running | NotAllowed) -> bool:
    return isinstance(one, NotAllowed) and one.code != lifecycle.ALREADY_HERE


class _TakenByAnother(Exception):  # noqa: N818 - leaves a transaction
    """Another process has decided about some of these rows meanwhile."""


def _write(takeover: Takeover, companies: Companies, rows: Sequence[_Waiting], found: Found) -> None:
    good = [one for one in found if isinstance(one, Running)]
    nobodys: list[Account] = []

    def first() -> None:
        nobodys[:] = companies.nobodys(one.account for one in good)

    def mark(results: TakenOver) -> None:
        decided = iter(results)
        _mark(takeover, rows, [next(decided) if isinstance(one, Running) else one for one in found])
        if created := [one.pk for one in nobodys if one.pk is not None]:
            more = Func("companies", Value(created, models.JSONField()), template="%(expressions)s", arg_joiner=" || ")
            Takeover.objects.filter(pk=takeover.pk).update(companies=more)

    try:
        lifecycle.take_over(
            good, source=takeover.source, reason=takeover.reason, actor=takeover.actor, audience=takeover.audience,
            first=first, then=mark,
        )  # fmt: skip
    except _TakenByAnother:
        log.info("rows were taken over by another process", takeover=takeover.pk)
    except (OperationalError, InterfaceError):
        # The database is in trouble, and not a row.
        raise
    except Exception as error:
        if len(rows) == 1:
            log.exception("row cannot be taken over", takeover=takeover.pk, row=rows[0].pk)
            said = f"This row cannot be taken over: {type(error).__name__}. See the log."
            with suppress(_TakenByAnother), transaction.atomic(durable=True):
                _mark(takeover, rows, [NotAllowed("error", said)])
            return
        # Whatever is wrong with one row must not stop the others: halves, until it stands alone.
        half = len(rows) // 2
        _write(takeover, companies, rows[:half], found[:half])
        _write(takeover, companies, rows[half:], found[half:])


def _mark(takeover: Takeover, rows: Sequence[_Waiting], results: TakenOver) -> None:
    said = [_said(one) for one in results]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_takeoverrow AS r SET subscription_id = v.subscription_id, code = v.code,"
            " sentence = v.sentence, activation_code = NULL,"
            " outcome = CASE WHEN v.subscription_id IS NULL THEN 'refused' ELSE 'taken' END"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::varchar[], %s::text[])"
            " AS v(id, subscription_id, code, sentence) WHERE r.id = v.id AND r.outcome = 'waiting'",
            [
                [row.pk for row in rows], [None if isinstance(one, NotAllowed) else one.pk for one in results],
                [code for code, _ in said], [sentence for _, sentence in said],
            ],
        )  # fmt: skip
        if cursor.rowcount != len(rows):
            raise _TakenByAnother
    taken = sum(isinstance(one, Subscription) for one in results)
    Takeover.objects.filter(pk=takeover.pk).update(taken=F("taken") + taken, refused=F("refused") + len(rows) - taken)


def _said(one: Subscription | NotAllowed) -> tuple[str, str]:
    if isinstance(one, NotAllowed):
        return one.code, one.sentence
    return ("", "") if one.activation_code else (NO_CODE, NO_CODE_WORDS)
