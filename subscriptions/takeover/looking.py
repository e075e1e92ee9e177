"""What is known of rows before they are written: company, SKU, whether they can be taken over, what the vendor says."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Protocol

from django.conf import settings
from django.db import connection

from subscriptions import actions, clock, lifecycle, reconciliation
from subscriptions.actions import NotAllowed
from subscriptions.lifecycle import Running, TakenOver
from subscriptions.models import SKU, Account, DriftField, Purpose, Subscription
from subscriptions.models import SubscriptionStatus as S
from subscriptions.reconciliation import VendorSilent
from subscriptions.reconciliation.comparison import Difference, as_record, differing, of
from subscriptions.takeover.companies import Companies
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Details, Outcome, Secret, VendorStatus

READERS = 4
"""How many containers are on their way to the vendor at once."""
_TRIES = 3
Found = list[Running | NotAllowed]
Answers = list[tuple[str, Answer]]
"""With the name by which the vendor knows the subscriber."""


class Told(Protocol):
    """A row of a file, or of a takeover."""

    @property
    def subscriber_id(self) -> str: ...

    @property
    def told(self) -> dict[str, Any]: ...

    @property
    def code(self) -> Secret | None: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """Some rows, and the answers about them that are on their way."""

    running: Found
    ours: TakenOver
    """What would come of them; empty where nobody asked."""
    _answers: list[tuple[list[int], "Future[Answers]"]] = field(default_factory=list)

    def settled(self) -> Found:
        """The rows with what the vendor says of each, and refusals. Waits; raises VendorSilent."""
        found = list(self.running)
        for number, decided in enumerate(self.ours):
            if isinstance(decided, NotAllowed):
                found[number] = decided
        for numbers, answers in self._answers:
            for number, (name, answer) in zip(numbers, answers.result(), strict=True):
                one, ours = found[number], self.ours[number]
                if isinstance(one, Running) and isinstance(ours, Subscription):
                    found[number] = _compared(replace(one, subscriber_id=name), ours, answer)
        return found


class Desk:
    """Looks at rows, a chunk at a time; with `asks_vendor` their vendor is asked meanwhile, from threads.

    Close it when done: it waits for the requests that are under way, and for nothing else.
    """

    def __init__(self, companies: Companies, *, asks_vendor: bool) -> None:
        self._companies = companies
        self._readers = ThreadPoolExecutor(READERS, "takeover") if asks_vendor else None
        self._over = threading.Event()

    def close(self) -> None:
        self._over.set()
        if self._readers is not None:
            self._readers.shutdown(cancel_futures=True)

    def look(self, rows: Sequence[Told], *, decide: bool = True) -> Pending:
        """Begin with some rows; 4 queries whatever their number. Without `decide` only company and SKU are looked up.

        The vendor is asked about those that could be taken over as far as we know.
        """
        running = self._running(rows)
        if self._readers is None and not decide:
            return Pending(running, [])
        good = [one for one in running if isinstance(one, Running)]
        decided = iter(lifecycle.would_take_over(good))
        ours = [next(decided) if isinstance(one, Running) else one for one in running]
        return Pending(running, ours, self._ask(running, ours))

    def _running(self, rows: Sequence[Told]) -> Found:
        called: list[int | Account | NotAllowed] = []
        for row in rows:
            try:
                called.append(self._companies.find(row.told["account"], row.told.get("currency", "")))
            except NotAllowed as refusal:
                called.append(refusal)
        accounts = {one.pk: one for one in Account.objects.filter(pk__among={k for k in called if isinstance(k, int)})}
        named = SKU.objects.filter(code__in={row.told["sku"] for row in rows}).select_related("product")
        skus = {one.code: one for one in named}
        found: Found = []
        for row, company in zip(rows, called, strict=True):
            account = accounts.get(company) if isinstance(company, int) else company
            sku = skus.get(row.told["sku"])
            if isinstance(account, NotAllowed):
                found.append(account)
            elif account is None:
                found.append(NotAllowed("no_company", f"There is no company “{row.told['account']}” any more."))
            elif sku is None:
                found.append(NotAllowed("no_sku", f"There is no SKU “{row.told['sku']}”."))
            else:
                found.append(_running(row, account, sku))
        return found

    def _ask(self, running: Found, ours: TakenOver) -> list[tuple[list[int], "Future[Answers]"]]:
        if self._readers is None:
            return []
        by_vendor: dict[str, list[int]] = defaultdict(list)
        for number, (one, decided) in enumerate(zip(running, ours, strict=True)):
            if isinstance(one, Running) and isinstance(decided, Subscription):
                by_vendor[one.sku.product.vendor].append(number)
        together = settings.VENDOR_READ_TOGETHER
        asked = []
        for vendor, numbers in by_vendor.items():
            for start in range(0, len(numbers), together):
                some = numbers[start : start + together]
                names = [one.subscriber_id for n in some if isinstance(one := running[n], Running)]
                asked.append((some, self._readers.submit(_read, vendor, names, self._over)))
        return asked


def _running(row: Told, account: Account, sku: SKU) -> Running:
    told = row.told
    return Running(
        subscriber_id=row.subscriber_id, account=account, sku=sku, seats=told["seats"],
        started_on=date.fromisoformat(told["started_on"]), next_charge_on=date.fromisoformat(told["period_end"]),
        status=told.get("status", S.ACTIVE), term_ends_on=_day(told, "term_end"),
        anchor_day=told.get("anchor_day"), auto_renew=told.get("auto_renew", True), ends_on=_day(told, "ends_on"),
        suspended_on=_day(told, "suspended_on"), currency=told.get("currency", ""), code=row.code,
        reference=told.get("reference", ""),
    )  # fmt: skip


def _day(told: dict[str, Any], name: str) -> date | None:
    return date.fromisoformat(told[name]) if name in told else None


# --- the vendor ------------------------------------------------------------------------------------------------------


def _read(vendor: str, subscriber_ids: list[str], over: threading.Event) -> Answers:
    """In a thread of its own; a file may write in small letters what the vendor knows in capitals."""
    try:
        found = dict(zip(subscriber_ids, _patiently(vendor, subscriber_ids, over), strict=True))
        small = {one.upper(): one for one, answer in found.items() if answer.code == port.NOT_FOUND}
        names = {one: one for one in subscriber_ids}
        if other := [one for one, written in small.items() if one != written]:
            for one, answer in zip(other, _patiently(vendor, other, over), strict=True):
                if answer.code != port.NOT_FOUND:
                    names[small[one]], found[small[one]] = one, answer
        return [(names[one], found[one]) for one in subscriber_ids]
    finally:
        connection.close()


def _patiently(vendor: str, subscriber_ids: list[str], over: threading.Event) -> list[Answer]:
    """A vendor that stumbles once must not stop a long run."""
    for attempt in range(_TRIES - 1):
        try:
            return reconciliation.read_many(vendor, subscriber_ids, purpose=Purpose.TAKEOVER)
        except VendorSilent:
            if over.wait(settings.VENDOR_READ_DELAYS[attempt]):
                raise
    return reconciliation.read_many(vendor, subscriber_ids, purpose=Purpose.TAKEOVER)


def _compared(one: Running, ours: Subscription, answer: Answer) -> Running | NotAllowed:
    """The row with what the vendor alone knows of it, or why it is not what the vendor has."""
    if answer.code == port.NOT_FOUND:
        return NotAllowed("vendor_unknown", "The licence service does not know this subscriber.")
    details = answer.details
    if answer.outcome != Outcome.DONE or details is None:
        said = answer.message or answer.code or answer.outcome
        return NotAllowed("vendor_silent", f"The licence service does not say what it has of it: {said}.")
    ends_at = _ends_there(one, ours, details)
    if ends_at is not None:
        ours.ends_at = ends_at
    record = as_record(details)
    if differing(of(ours), details, clock.now()):
        lines = [line for line in reconciliation.compare(ours, record) if line.differs]
        words = ", ".join(_told(line, ours) for line in lines)
        return NotAllowed(f"vendor_{lines[0].field}", f"The licence service says otherwise: {words}.")
    if one.code and details.activation_code and one.code != details.activation_code:
        return NotAllowed("vendor_code", "The licence service has another activation code for it.")
    return replace(one, code=one.code or details.activation_code, vendor_ends_at=ends_at, vendor_record=record)


def _told(line: Difference, ours: Subscription) -> str:
    if line.field != DriftField.TERM:
        return f"{line.label.lower()} {line.theirs} and not {line.ours}"
    return f"its end is {line.theirs}, and {f'not {line.ours}' if ours.ends_at else 'the file has none'}"


def _ends_there(one: Running, ours: Subscription, details: Details) -> datetime | None:
    """The instant at which the vendor ends it by itself, if that is on the day that the file says."""
    if details.status != VendorStatus.SOFT_CANCELLED or not isinstance(details.ends_at, datetime):
        return None
    return details.ends_at if actions.local_day(details.ends_at, ours.account) == one.ends_on else None
