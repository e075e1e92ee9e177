"""What happened before the demo was opened: a fixed list of special cases, and dice with a fixed seed for the rest."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from subscriptions.lifecycle import DISCARD, KEEP
from subscriptions.management.demo_data.cast import ACCOUNTS
from subscriptions.management.demo_data.catalogue import ROWS, Row
from subscriptions.models import Role
from subscriptions.quotes import PERIOD_END, RENEWAL

SEED = 2026
ORDINARY = 32
OPERATOR, SUPPORT, APPROVER = "Operator", "Support", "Approver"


@dataclass(frozen=True)
class Step:
    """One act: `days_ago`, and what.

    That is the stem of an action, `start`, `trial` (a start that is one), `approve`, `reject` or `undo` (of the order
    before), `correct` (of the newest period's line), or a change that the vendor's staff make.
    """

    days_ago: float
    stem: str
    by: str = ""
    """A role in the account, which acts in the Storefront, or a staff group, which acts in BSS."""
    seats: int | None = None
    reason: str = ""
    trouble: str = ""
    """A key of `history.TROUBLES`: what goes wrong at the vendor with this one."""
    when: str | int | None = None
    """A word of `quotes`, or a number of days later; else what the SKU's rules say."""
    planned: str = ""
    """What becomes of the order that is scheduled already."""
    sku: str = ""
    amount: str = ""


@dataclass(frozen=True)
class Line:
    """One subscription and everything that happens to it, oldest first."""

    account: str
    sku: str
    steps: tuple[Step, ...]
    ordered_by: str | None = Role.BUYER


BRIGHTWATER, LIPA, NORTHGATE, BERGMANN, KVADRAT = ACCOUNTS

# Days are chosen so that, whatever the date, what is planned now lies in one period with its end still ahead: months
# are 28 to 31 days, and a step may move to the Friday before it.
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
    # Ending; was to end and is kept.
    Line(BRIGHTWATER, "KESC", (
        Step(130, "start", Role.BUYER, 25), Step(58, "increase", Role.MANAGER, 32),
        Step(1.5, "cancel", Role.OWNER, reason="Branch closed", when=PERIOD_END),
    )),
    Line(LIPA, "KESC-PLUS", (
        Step(108, "start", Role.MANAGER, 22), Step(12, "cancel", Role.MANAGER, when=PERIOD_END),
        Step(9, "undo", Role.OWNER),
    )),
    # Not renewed: in its grace; renewed in it; over.
    Line(BRIGHTWATER, "KHCS-SERVER", (
        Step(192, "start", OPERATOR, 6), Step(40, "auto_renew", Role.MANAGER),
    )),
    Line(NORTHGATE, "KHCS-SERVER", (
        Step(215, "start", OPERATOR, 3), Step(60, "auto_renew", Role.OWNER), Step(19, "renew", Role.OWNER),
    )),
    Line(BERGMANN, "KHCS-SERVER", (
        Step(262, "start", OPERATOR, 2), Step(100, "auto_renew", Role.OWNER),
    ), None),
    # Will not be renewed.
    Line(BERGMANN, "KSOS", (Step(80, "start", Role.OWNER, 12), Step(20, "auto_renew", Role.OWNER)), Role.OWNER),
    # Trials: under way; converted; left to end.
    Line(LIPA, "KNEXT-EDRO", (Step(8, "trial", Role.BUYER, 15),)),
    Line(KVADRAT, "KESC", (Step(4, "trial", Role.OWNER, 8),), Role.OWNER),
    Line(NORTHGATE, "KESC", (
        Step(84, "trial", Role.BUYER, 20), Step(66, "convert", Role.BUYER), Step(28, "increase", Role.OWNER, 26),
    )),
    Line(BERGMANN, "KS-M365", (Step(50, "trial", Role.OWNER, 10),), Role.OWNER),
    # A decrease is planned; was undone; was replaced; goes with an increase; stands still while suspended.
    Line(NORTHGATE, "KESC-PLUS", (
        Step(72, "start", OPERATOR, 60), Step(1.6, "decrease", Role.MANAGER, 45),
    )),
    Line(BRIGHTWATER, "KESC", (
        Step(104, "start", OPERATOR, 40), Step(7, "decrease", Role.OWNER, 30), Step(4, "undo", Role.OWNER),
    )),
    Line(LIPA, "KESB-SELECT", (
        Step(74, "start", OPERATOR, 80), Step(6, "decrease", Role.MANAGER, 60),
        Step(3, "decrease", Role.MANAGER, 50, planned=DISCARD),
    )),
    Line(BERGMANN, "KESC-PLUS", (
        Step(104, "start", OPERATOR, 20), Step(6, "decrease", Role.OWNER, 15),
        Step(3, "increase", Role.OWNER, 24, planned=KEEP),
    ), None),
    Line(LIPA, "KESC", (
        Step(106, "start", OPERATOR, 35), Step(9, "decrease", Role.OWNER, 28),
        Step(5, "suspend", OPERATOR, reason="Invoice overdue"),
    )),
    # Suspended until a date; over a renewal, and still; over a renewal, and billed for what was left of the period.
    Line(BRIGHTWATER, "KESB-SELECT", (
        Step(110, "start", OPERATOR, 40), Step(5, "suspend", OPERATOR, reason="Asked by the customer during a move"),
        Step(5, "activate", OPERATOR, reason="Asked by the customer during a move", when=16),
    )),
    Line(LIPA, "KESC", (
        Step(150, "start", OPERATOR, 18), Step(50, "suspend", OPERATOR, reason="Invoice overdue"),
    )),
    Line(NORTHGATE, "KS-M365", (
        Step(142, "start", OPERATOR, 80), Step(75, "suspend", OPERATOR, reason="Invoice overdue"),
        Step(34, "activate", OPERATOR, reason="Paid"),
    )),
    # Waits for approval: a cancel, and a large increase. Approved with a credit, and for its end; rejected; not wanted.
    Line(NORTHGATE, "KESB-ADVANCED", (
        Step(160, "start", OPERATOR, 40), Step(1.2, "cancel", Role.OWNER, reason="We change to another product"),
    )),
    Line(LIPA, "KESB-SELECT", (
        Step(124, "start", OPERATOR, 50), Step(0.4, "increase", Role.MANAGER, 800, reason="New branches"),
    )),
    Line(BERGMANN, "KESB-ADVANCED", (
        Step(150, "start", OPERATOR, 25), Step(35, "cancel", Role.OWNER, reason="Replaced by another product"),
        Step(33, "approve", APPROVER, reason="Agreed with sales"),
    ), None),
    Line(BRIGHTWATER, "KESB-ADVANCED", (
        Step(240, "start", OPERATOR, 25), Step(20, "cancel", Role.OWNER, when=PERIOD_END),
        Step(19, "approve", APPROVER, reason="As agreed"),
    )),
    Line(LIPA, "KESB-ADVANCED", (
        Step(200, "start", OPERATOR, 30), Step(30, "cancel", Role.MANAGER, reason="Fewer devices than expected"),
        Step(29, "reject", APPROVER, reason="The year is agreed until its end. Please call us about fewer seats."),
    )),
    Line(NORTHGATE, "KESB-ADVANCED", (
        Step(120, "start", OPERATOR, 28), Step(17, "cancel", Role.OWNER, reason="Budget"), Step(16, "undo", Role.OWNER),
    )),
    # To another SKU: done, and planned for the renewal.
    Line(BRIGHTWATER, "KESC", (
        Step(140, "start", OPERATOR, 30), Step(33, "change_sku", Role.OWNER, sku="KESC-PLUS"),
    )),
    Line(LIPA, "KESC-PRO", (
        Step(125, "start", OPERATOR, 24), Step(5, "change_sku", Role.OWNER, sku="KESC-PLUS", when=RENEWAL),
    )),
    # Billed by the year, and renewed soon.
    Line(BRIGHTWATER, "KESB-ADVANCED", (Step(342, "start", OPERATOR, 110),)),
    # A line of the ledger was corrected.
    Line(NORTHGATE, "KESC-PRO", (
        Step(118, "start", OPERATOR, 20),
        Step(10, "correct", OPERATOR, amount="-3.96", reason="Agreed by phone: one seat was never used"),
    )),
)  # fmt: skip
SUBSCRIPTIONS = len(SPECIAL) + ORDINARY

# How the ordinary lines end.
ENDINGS = {"active": ORDINARY - 12, "suspended": 5, "cancelled": 7}

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
# Longer than any, with the days by which a step may move to a working day.
A_MONTH = 35


def lines() -> list[Line]:
    """All of them, the same at every call."""
    dice = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    endings = [ending for ending, count in ENDINGS.items() for _ in range(count)]
    dice.shuffle(endings)
    return [*SPECIAL, *(_ordinary(ending, dice) for ending in endings)]


def _ordinary(ending: str, dice: random.Random) -> Line:
    account = dice.choices(list(ACCOUNTS), weights=[5, 4, 4, 1, 1])[0]
    row = dice.choice([one for one in ROWS if _fits(one, account, ending)])
    roles = ACCOUNTS[account].people
    least, most = row.seats
    seats = min(most, least + round(dice.expovariate(1 / 25)))
    day = dice.uniform(40, 270)
    steps = [Step(day, "start", OPERATOR, seats, trouble=_trouble(dice, mended=0.1))]
    if row.can_change_seats:
        for change in _changes(day, seats, row, roles, dice):
            steps.append(change)
            day = change.days_ago
    if ending == "active" and row.can_suspend and dice.random() < 0.2:
        suspended = dice.uniform(0.4, 0.9) * day
        steps.append(Step(suspended, "suspend", OPERATOR, reason=dice.choice(SUSPENDED_BECAUSE)))
        steps.append(Step(suspended * 0.8, "activate", OPERATOR, reason="Paid", planned=KEEP))
    if ending == "suspended":
        reason = dice.choice(SUSPENDED_BECAUSE)
        steps.append(Step(dice.uniform(0.1, 0.8) * day, "suspend", OPERATOR, reason=reason))
    if ending == "cancelled":
        steps.append(_cancel(dice.uniform(0.1, 0.8) * day, dice))
    if not any(step.stem in ("suspend", "cancel") for step in steps) and dice.random() < 0.4:
        steps.append(Step(dice.uniform(0.1, 0.9) * day, "code", Role.OWNER))
    if dice.random() < 0.15:
        steps.append(Step(dice.uniform(0.05, 0.09) * day, "details", SUPPORT))
    steps.sort(key=lambda step: -step.days_ago)
    # Some are nobody's, so that a Buyer sees the codes of their own ones only.
    return Line(account, row.sku, tuple(steps), Role.BUYER if Role.BUYER in roles and len(steps) % 2 else None)


def _fits(row: Row, account: str, ending: str) -> bool:
    if ending == "suspended" and not row.can_suspend:
        return False
    # Those wait for approval.
    if ending == "cancelled" and row.limits:
        return False
    return not row.needs_details or bool(ACCOUNTS[account].more)


def _cancel(day: float, dice: random.Random) -> Step:
    by = dice.choice([Role.OWNER, OPERATOR])
    reason = dice.choice(CANCELLED_BECAUSE) or ("Asked by phone" if by == OPERATOR else "")
    # Long enough ago that the period's end has come since.
    when = PERIOD_END if day > A_MONTH and dice.random() < 0.6 else None
    return Step(day, "cancel", by, reason=reason, trouble=_trouble(dice, mended=0.2), when=when)


def _changes(day: float, seats: int, row: Row, roles: dict[str, str], dice: random.Random) -> Iterator[Step]:
    least, most = row.seats
    planned_on, planned = float("inf"), seats
    for _ in range(dice.choice([0, 1, 2, 2, 3, 4, 6])):
        day *= dice.uniform(0.5, 0.92)
        # What comes with the next period gives way to an increase before that.
        replaces = planned_on - day < A_MONTH
        if planned_on > day + A_MONTH:
            seats = planned
        up = dice.random() < 0.7 or row.is_yearly or replaces
        wanted = seats + dice.randint(1, 12) if up else seats - dice.randint(1, 5)
        wanted = max(least, min(most, wanted))
        if wanted == seats:
            continue
        by = dice.choice([role for role in (Role.OWNER, Role.MANAGER, OPERATOR) if role in roles or role == OPERATOR])
        later = not up and row.plans_decreases
        trouble = "" if later or replaces else _trouble(dice, mended=0.12, fatal=0.06)
        yield Step(
            day, "increase" if up else "decrease", by, wanted,
            dice.choice(STAFF_REASONS) if by == OPERATOR else "", trouble, planned=DISCARD if replaces else "",
        )  # fmt: skip
        if later:
            planned_on, planned = day, wanted
        elif trouble not in FATAL:
            planned_on, seats = float("inf"), wanted
            planned = wanted


def _trouble(dice: random.Random, *, mended: float, fatal: float = 0.0) -> str:
    thrown = dice.random()
    if thrown < fatal:
        return dice.choice(FATAL)
    return dice.choice(MENDED) if thrown < fatal + mended else ""
