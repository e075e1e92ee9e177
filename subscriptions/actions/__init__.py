"""The table of actions: who may, when, the sentence that says why not, what the vendor is asked, and the effect.

Both doors, commands and `lifecycle` draw from `ACTIONS`. `Action.why_not` is asked once to draw a page and again under
the row's lock; it reads a `Situation` and runs no query.
"""

from subscriptions.actions.effects import asked_at
from subscriptions.actions.evidence import ABSENT, BEFORE, NEITHER, TARGET, evidence, expected_at_vendor
from subscriptions.actions.seats import read_seats, seat_range, why_not_seats, why_not_sku
from subscriptions.actions.situation import (
    BOTH,
    BSS,
    COMMAND,
    STAFF,
    STOREFRONT,
    SYSTEM,
    NotAllowed,
    Situation,
    clock_time,
    date_words,
    day,
    local_day,
    midnight,
    seats_words,
    situation,
    situations,
)  # fmt: skip
from subscriptions.actions.table import (
    ACTIONS,
    ACTIVATE,
    APPROVE,
    AUTO_RENEW,
    CANCEL,
    CHANGE_SKU,
    CODE,
    CONVERT,
    CORRECT,
    DECREASE,
    DETAILS,
    GIVE_UP,
    INCREASE,
    KEEP,
    PUSH_OURS,
    REJECT,
    RENEW,
    RETRY,
    SHORTCUT_MENU,
    START,
    STOREFRONT_MENU,
    SUSPEND,
    TAKE_THEIRS,
    UNDO,
    Action,
    Offer,
    offers,
)  # fmt: skip

__all__ = [
    "ABSENT", "ACTIONS", "ACTIVATE", "APPROVE", "AUTO_RENEW", "BEFORE", "BOTH", "BSS", "CANCEL", "CHANGE_SKU", "CODE",
    "COMMAND", "CONVERT", "CORRECT", "DECREASE", "DETAILS", "GIVE_UP", "INCREASE", "KEEP", "NEITHER", "PUSH_OURS",
    "REJECT", "RENEW", "RETRY", "SHORTCUT_MENU", "STAFF", "START", "STOREFRONT", "STOREFRONT_MENU", "SUSPEND", "SYSTEM",
    "TAKE_THEIRS", "TARGET", "UNDO", "Action", "NotAllowed", "Offer", "Situation", "asked_at", "clock_time",
    "date_words", "day", "evidence", "expected_at_vendor", "local_day", "midnight", "offers", "read_seats",
    "seat_range", "seats_words", "situation", "situations", "why_not_seats", "why_not_sku",
]  # fmt: skip
