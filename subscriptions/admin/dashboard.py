"""The start page of BSS: the work that waits, then what runs, and how well it runs; 7 queries."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from portal import readings
from subscriptions import clock, figures, pricing
from subscriptions.admin import attention, words
from subscriptions.models import TROUBLE, VendorState
from subscriptions.vendors.port import Outcome

HOUR, DAY = 3600.0, 86_400.0
# A count comes every five minutes; one that is older than this says that no worker counts.
STALE = timedelta(minutes=20)


def context(user: Any) -> dict[str, Any]:
    """What the template shows to this person: each part is there for those who may view what it tells of."""

    def sees(*models: str) -> bool:
        return user.has_perms([f"subscriptions.view_{model}" for model in models])

    piles = attention.piles(user)
    shown: dict[str, Any] = {}
    if sees("vendorstate"):
        shown["vendors"] = list(VendorState.objects.filter(paused_at__isnull=False).order_by("paused_at"))
    if sees("vendorcall"):
        shown["vendor"] = [lately("Last hour", HOUR), lately("Last 24 hours", DAY)]
        workers, queues = readings.workers_and_queues()
        shown["queue"], shown["no_worker"] = queue(queues), no_worker(workers)
    if sees("subscription") or sees("order"):
        counted = figures.read()
        shown["runs"] = what_runs(counted) if sees("subscription") else None
        shown["shows_revenue"] = sees("charge", "priceband")
        shown["chart"] = chart(counted.days) if sees("order") else None
    if piles:
        shown["piles"] = piles
        shown["tops"] = attention.first_orders(piles)
        shown["calm"] = not shown.get("vendors") and not any(pile.number for pile in piles if pile.waits)
    return shown


# --- what runs -------------------------------------------------------------------------------------------------------


def what_runs(counted: figures.Figures) -> dict[str, Any]:
    """The last count in words; `stale` when it is too old to be trusted, nothing but `None` before the first."""
    last = counted.last
    if last is None:
        return {"last": None}
    revenue = last.revenue or {}
    return {
        "last": last,
        "revenue": [pricing.money(Decimal(amount), currency) for currency, amount in sorted(revenue.items())],
        "stale": clock.now() - last.counted_at > STALE if last.counted_at else True,
    }


# --- changes per day -------------------------------------------------------------------------------------------------

# Of the drawing, in units that the page stretches.
WIDE, HIGH, GAP = 20, 100, 3


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the chart and of its table: a bar of whole units, and what it stands for."""

    day: date
    total: int
    kinds: str
    x: int
    y: int
    height: int


def chart(days: Iterable[tuple[date, Counter[str]]]) -> dict[str, Any]:
    """Bars from 0 to a round number, and the same in words."""
    days = list(days)
    most = max(changes.total() for _, changes in days)
    top = _round_up(most)
    bars = []
    for place, (day, changes) in enumerate(days):
        total = changes.total()
        # One change among thousands is still seen.
        height = max(HIGH * total // top, 1) if total else 0
        bars.append(Day(day, total, _kinds(changes), place * WIDE + GAP, HIGH - height, height))
    everything = sum((changes for _, changes in days), Counter[str]())
    return {
        "days": bars,
        "total": everything.total(),
        "kinds": _kinds(everything),
        "busiest": max(bars, key=lambda one: (one.total, one.day)),
        "top": top,
        "half": f"{top / 2:,.0f}" if top > 1 else "",
        "width": len(days) * WIDE,
        "bar": WIDE - 2 * GAP,
    }


def _round_up(number: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100, ...: half of it is whole too."""
    step = 1
    while True:
        for top in (2 * step, 4 * step, 10 * step):
            if number <= top:
                return top
        step *= 10


def _kinds(changes: Counter[str]) -> str:
    return ", ".join(f"{words.action_label(stem)} {many:,}" for stem, many in changes.most_common())


# --- how it runs -----------------------------------------------------------------------------------------------------


def queue(found: Sequence[readings.Queue]) -> dict[str, Any]:
    """Depth and age of the queues: what may run now, and how long the oldest of it has waited."""
    waiting = sum(one.waiting for one in found)
    oldest = max((one.age for one in found), default=0.0)
    return {"waiting": waiting, "oldest": duration(oldest) if waiting else "", "later": sum(one.later for one in found)}


@dataclass(frozen=True, slots=True)
class NoWorker:
    """Nothing is carried out, `since` the last sign of life; None when no worker is known that left one."""

    since: datetime | None

    @property
    def today(self) -> bool:
        return self.since is not None and self.since.date() == clock.now().date()


def no_worker(workers: readings.Workers) -> NoWorker | None:
    """None while a worker runs."""
    if workers.alive:
        return None
    silent = workers.silent_for
    return NoWorker(None if silent is None else clock.now() - timedelta(seconds=silent))


@dataclass(frozen=True, slots=True)
class Lately:
    """The answers of vendors within a time, which may be shorter than wanted: only so many of the newest are read."""

    label: str
    reach: str
    """How far back they reach, where that is less than the label says."""
    many: int
    half: str
    most: str
    unclear: int
    refused: int

    @property
    def unclear_share(self) -> str:
        return _share(self.unclear, self.many)

    @property
    def refused_share(self) -> str:
        return _share(self.refused, self.many)


def lately(label: str, seconds: float) -> Lately:
    """How fast vendors answered and how often not; 1 query."""
    calls = readings.vendor_calls(seconds)
    asked = [one for one in calls.answered if one.outcome != Outcome.UNSUPPORTED]
    many = sum(one.many for one in asked)
    within = [sum(buckets) for buckets in zip(*(one.within for one in asked), strict=True)]

    def of(*outcomes: str) -> int:
        return sum(one.many for one in asked if one.outcome in outcomes)

    return Lately(
        label,
        duration(calls.seconds) if calls.seconds < seconds else "",
        many,
        _within(within, many, 50),
        _within(within, many, 95),
        of(*TROUBLE),
        of(Outcome.REJECTED),
    )


def _within(within: list[int], many: int, percent: int) -> str:
    """The shortest of the measured times in which so many of a hundred calls were answered."""
    if not many:
        return words.NOTHING
    for limit, fast in zip(readings.BUCKETS_MS, within, strict=True):
        if fast * 100 >= many * percent:
            return f"{limit} ms" if limit < 1000 else f"{limit / 1000:g} s"
    return f"over {readings.BUCKETS_MS[-1] // 1000} s"


def _share(part: int, many: int) -> str:
    if not many:
        return words.NOTHING
    if not part:
        return "none"
    return "under 0.1 %" if part * 1000 < many else f"{round(part / many * 100, 1):g} %"


def duration(seconds: float) -> str:
    """A time span for readers, in its one or two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"
