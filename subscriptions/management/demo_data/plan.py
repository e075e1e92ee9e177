"""What happened before the demo was opened: a fixed list of special cases, and dice with a fixed seed for the rest."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from subscriptions.management.demo_data.cast import ACCOUNTS
from subscriptions.management.demo_data.catalogue import ROWS
from subscriptions.models import Role

SEED = 2026
SUBSCRIPTIONS = 60
OPERATOR, SUPPORT = "Operator", "Support"


@dataclass(frozen=True)
class Step:
    """One act: `days_ago`, what (`start` or another action's stem, or a change that the vendor's staff make)."""

    days_ago: float
    stem: str
    by: str = ""
    """A role in the account, which acts in the Storefront, or a staff group, which acts in BSS."""
    seats: int | None = None
    reason: str = ""
    trouble: str = ""
    """A key of `history.TROUBLES`: what goes wrong at the vendor with this one."""


@dataclass(frozen=True)
class Line:
    """One subscription and everything that happens to it, oldest first."""

    account: str
    sku: str
    steps: tuple[Step, ...]
    ordered_by: str | None = Role.BUYER


BRIGHTWATER, LIPA, NORTHGATE, KVADRAT = ACCOUNTS

SPECIAL = (
    # At its minimum, and at its maximum.
    Line(BRIGHTWATER, "KSOS", (
        Step(214, "start", OPERATOR, 8), Step(120, "decrease", Role.OWNER, 5),
    )),
    Line(LIPA, "KSOS", (
        Step(190, "start", OPERATOR, 20), Step(101, "increase", Role.MANAGER, 35),
        Step(33, "increase", Role.OWNER, 50, trouble="closed after applying"),
    )),
    # Changed from outside: Get details shows the difference.
    Line(NORTHGATE, "KESC-PLUS", (
        Step(151, "start", OPERATOR, 60), Step(87, "increase", Role.MANAGER, 75),
        Step(3, "seats from outside", seats=70),
    )),
    # Needs attention: the answer was lost, and what is there now is neither the old nor the new number.
    Line(BRIGHTWATER, "KESC-PRO", (
        Step(133, "start", OPERATOR, 40), Step(0.3, "increase", Role.MANAGER, 55, trouble="torn"),
    )),
    # Under way, and pending: the vendor is busy for these and says when to come back.
    Line(LIPA, "KESB-SELECT", (
        Step(176, "start", OPERATOR, 30), Step(60, "decrease", Role.OWNER, 25),
        Step(0.012, "increase", Role.MANAGER, 32, trouble="busy for long"),
    )),
    Line(NORTHGATE, "KESC", (Step(0.02, "start", OPERATOR, 25, trouble="busy for long"),)),
    # Refused at the start: still failed; retried with success; given up.
    Line(LIPA, "KHCS-SERVER", (Step(26, "start", OPERATOR, 4, trouble="unknown product"),)),
    Line(KVADRAT, "KS-M365", (Step(12, "start", OPERATOR, 12, trouble="refused"),), None),
    Line(BRIGHTWATER, "KNEXT-EDRO", (Step(5, "start", OPERATOR, 20, trouble="unlisted number"),)),
    Line(NORTHGATE, "KS-M365", (
        Step(95, "start", OPERATOR, 120, trouble="unknown product"),
        Step(94, "retry", OPERATOR, reason="The product was added to our contract"),
        Step(40, "increase", Role.OWNER, 150),
    )),
    Line(BRIGHTWATER, "KESB-ADVANCED", (
        Step(81, "start", OPERATOR, 15, trouble="unknown product"),
        Step(80, "give_up", OPERATOR, reason="The customer chose another product"),
    )),
    # A refused suspend and a refused cancel: both run on, since the vendor comes first.
    Line(LIPA, "KESC", (
        Step(160, "start", OPERATOR, 45), Step(20, "suspend", OPERATOR, reason="Invoice overdue", trouble="refused"),
    )),
    Line(NORTHGATE, "KSOS", (
        Step(140, "start", OPERATOR, 18),
        Step(15, "cancel", Role.OWNER, reason="Moving to one product", trouble="refused"),
    )),
)  # fmt: skip

# How the ordinary lines end; with the special ones they make SUBSCRIPTIONS.
ENDINGS = {"active": SUBSCRIPTIONS - len(SPECIAL) - 15, "suspended": 6, "cancelled": 9}

SUSPENDED_BECAUSE = ("Invoice overdue", "Asked by the customer during a move", "Suspected misuse of the code")
CANCELLED_BECAUSE = ("", "Branch closed", "Replaced by another product", "Fewer devices than expected")
STAFF_REASONS = ("Asked by phone", "Asked by e-mail", "Ticket from the customer portal")
MENDED = (
    "busy",
    "overloaded",
    "closed after applying",
    "error page",
    "cut answer",
    "wrong echo",
    "lost before applying",
)
FATAL = ("refused", "unlisted number")


def lines() -> list[Line]:
    """All of them, the same at every call."""
    dice = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    endings = [ending for ending, count in ENDINGS.items() for _ in range(count)]
    dice.shuffle(endings)
    return [*SPECIAL, *(_ordinary(ending, dice) for ending in endings)]


def _ordinary(ending: str, dice: random.Random) -> Line:
    account = dice.choices(list(ACCOUNTS), weights=[5, 4, 4, 1])[0]
    row = dice.choice([one for one in ROWS if one.can_suspend or ending != "suspended"])
    roles = ACCOUNTS[account][2]
    least, most = row.seats
    seats = min(most, least + round(dice.expovariate(1 / 25)))
    day = dice.uniform(40, 270)
    steps = [Step(day, "start", OPERATOR, seats, trouble=_trouble(dice, mended=0.1))]
    if row.can_change_seats:
        for change in _changes(day, seats, row.seats, roles, dice):
            steps.append(change)
            day = change.days_ago
    if ending == "active" and row.can_suspend and dice.random() < 0.2:
        suspended = dice.uniform(0.4, 0.9) * day
        steps.append(Step(suspended, "suspend", OPERATOR, reason=dice.choice(SUSPENDED_BECAUSE)))
        steps.append(Step(suspended * 0.8, "activate", OPERATOR, reason="Paid"))
    if ending == "suspended":
        reason = dice.choice(SUSPENDED_BECAUSE)
        steps.append(Step(dice.uniform(0.1, 0.8) * day, "suspend", OPERATOR, reason=reason))
    if ending == "cancelled":
        by = dice.choice([Role.OWNER, OPERATOR])
        reason = dice.choice(CANCELLED_BECAUSE) or ("Asked by phone" if by == OPERATOR else "")
        steps.append(
            Step(dice.uniform(0.1, 0.8) * day, "cancel", by, reason=reason, trouble=_trouble(dice, mended=0.2))
        )
    if not any(step.stem in ("suspend", "cancel") for step in steps) and dice.random() < 0.4:
        steps.append(Step(dice.uniform(0.1, 0.9) * day, "code", Role.OWNER))
    if dice.random() < 0.15:
        steps.append(Step(dice.uniform(0.05, 0.09) * day, "details", SUPPORT))
    steps.sort(key=lambda step: -step.days_ago)
    # Some are nobody's, so that a Buyer sees the codes of their own ones only.
    return Line(account, row.sku, tuple(steps), Role.BUYER if Role.BUYER in roles and len(steps) % 2 else None)


def _changes(
    day: float, seats: int, seat_range: tuple[int, int], roles: dict[str, str], dice: random.Random
) -> Iterator[Step]:
    least, most = seat_range
    for _ in range(dice.choice([0, 1, 2, 2, 3, 4, 6])):
        day *= dice.uniform(0.5, 0.92)
        up = dice.random() < 0.7
        wanted = seats + dice.randint(1, 12) if up else seats - dice.randint(1, 5)
        wanted = max(least, min(most, wanted))
        if wanted == seats:
            continue
        by = dice.choice([role for role in (Role.OWNER, Role.MANAGER, OPERATOR) if role in roles or role == OPERATOR])
        trouble = _trouble(dice, mended=0.12, fatal=0.06)
        yield Step(
            day, "increase" if wanted > seats else "decrease", by, wanted,
            dice.choice(STAFF_REASONS) if by == OPERATOR else "", trouble,
        )  # fmt: skip
        if trouble not in FATAL:
            seats = wanted


def _trouble(dice: random.Random, *, mended: float, fatal: float = 0.0) -> str:
    thrown = dice.random()
    if thrown < fatal:
        return dice.choice(FATAL)
    return dice.choice(MENDED) if thrown < fatal + mended else ""
