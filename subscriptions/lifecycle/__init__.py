"""The only writer of status and seats: places orders, and applies what became of them.

Every function locks the rows in id order (subscription, then order), decides again under the lock, makes the
transitions in memory, and writes one UPDATE for each table, one INSERT of events and one of jobs, in one short durable
transaction. Nothing here talks to a vendor, to mail or to the disk. The single forms are the many forms with one row.
"""

from subscriptions.lifecycle.acts import mail_code, note_details, reveal_code
from subscriptions.lifecycle.attempts import Attempt, Decision, Hold, Result, Verdict, Wait, apply, apply_many, claim
from subscriptions.lifecycle.placing import STALE, Wish, place, place_many, start, why_not_take
from subscriptions.lifecycle.rows import CALL_FIELDS, finish
from subscriptions.lifecycle.settling import give_up, retry
from subscriptions.lifecycle.upkeep import due_for_ping, open_vendor, pause_vendor, sweep

__all__ = [
    "CALL_FIELDS",
    "STALE",
    "Attempt",
    "Decision",
    "Hold",
    "Result",
    "Verdict",
    "Wait",
    "Wish",
    "apply",
    "apply_many",
    "claim",
    "due_for_ping",
    "finish",
    "give_up",
    "mail_code",
    "note_details",
    "open_vendor",
    "pause_vendor",
    "place",
    "place_many",
    "retry",
    "reveal_code",
    "start",
    "sweep",
    "why_not_take",
]
