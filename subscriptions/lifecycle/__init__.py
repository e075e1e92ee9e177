"""The only writer of status, seats and charges: places orders, and applies what became of them.

Every function locks the rows in id order (subscription, then order), decides again under the lock, makes the
transitions in memory, and writes one UPDATE for each table, one INSERT of events, of charges and of jobs, in one short
durable transaction. Nothing here talks to a vendor, to mail or to the disk. The single forms are the many forms with
one row.
"""

from subscriptions.lifecycle.acts import keep_company_details, mail_code, note_details, reveal_code
from subscriptions.lifecycle.attempts import (
    Attempt,
    Case,
    Decision,
    Hold,
    Result,
    Verdict,
    Wait,
    apply,
    apply_many,
    claim_many,
)  # fmt: skip
from subscriptions.lifecycle.kept import kept_beside, later_words, laters
from subscriptions.lifecycle.orders import DISCARD, KEEP, Placed, Wish
from subscriptions.lifecycle.periods import Pass, Taken, catch_up, due_ids, forecast, held_up, passes
from subscriptions.lifecycle.placing import (
    SET_SEATS,
    STALE,
    STALE_QUOTE,
    Results,
    correct,
    had_trial,
    new_subscription,
    place,
    place_many,
    price_start,
    start,
    why_not_change,
    why_not_start,
    why_not_take,
    why_not_target,
    would_place,
)  # fmt: skip
from subscriptions.lifecycle.planning import approve, reject, undo, why_not_undo
from subscriptions.lifecycle.plans import (
    STANDS_STILL,
    WITHDRAWN,
    becomes_of_planned,
    is_at_renewal,
    planned_choices,
    planned_words,
)  # fmt: skip
from subscriptions.lifecycle.proposals import TOO_OLD, Figure, Proposal, figures, propose
from subscriptions.lifecycle.rows import AFTER_CLICKS, CALL_FIELDS, finish
from subscriptions.lifecycle.settling import give_up, retry
from subscriptions.lifecycle.steps import FROZEN_STEMS
from subscriptions.lifecycle.takeovers import ALREADY_HERE, Running, TakenOver, take_over, would_take_over
from subscriptions.lifecycle.upkeep import due_for_ping, open_vendor, pause_vendor, sweep

__all__ = [
    "AFTER_CLICKS", "ALREADY_HERE", "CALL_FIELDS", "DISCARD", "FROZEN_STEMS", "KEEP", "SET_SEATS", "STALE",
    "STALE_QUOTE", "STANDS_STILL", "TOO_OLD", "WITHDRAWN", "Attempt", "Case", "Decision", "Figure", "Hold", "Pass",
    "Placed", "Proposal", "Result", "Results", "Running", "Taken", "TakenOver", "Verdict", "Wait", "Wish", "apply",
    "apply_many", "approve", "becomes_of_planned", "catch_up", "claim_many", "correct", "due_for_ping", "due_ids",
    "figures", "finish", "forecast", "give_up", "had_trial", "held_up", "is_at_renewal", "keep_company_details",
    "kept_beside", "later_words", "laters", "mail_code", "new_subscription", "note_details", "open_vendor", "passes",
    "pause_vendor", "place", "place_many", "planned_choices", "planned_words", "price_start", "propose", "reject",
    "retry", "reveal_code", "start", "sweep", "take_over", "undo", "why_not_change", "why_not_start", "why_not_take",
    "why_not_target", "why_not_undo", "would_place", "would_take_over",
]  # fmt: skip
