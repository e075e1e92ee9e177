"""Read the vendor's record, lay it beside ours, keep the worklist of what differs, and settle it by orders.

Reading changes nothing of ours but the worklist. The rule is `comparison.differing`; nothing is settled without an
order that somebody has placed.
"""

from subscriptions.reconciliation.comparison import Difference, compare
from subscriptions.reconciliation.known import look_for_strangers
from subscriptions.reconciliation.reading import Reading, VendorSilent, last_known, read_many, read_now
from subscriptions.reconciliation.runs import Overtaken, begin, stop, take_up, work
from subscriptions.reconciliation.settling import as_noted, as_read, readings, settle
from subscriptions.reconciliation.wording import GONE_THERE, in_words, shown, shown_in_words
from subscriptions.reconciliation.worklist import Noted, Read, at_stake, note, open_count, open_drift

__all__ = [
    "GONE_THERE", "Difference", "Noted", "Overtaken", "Read", "Reading", "VendorSilent", "as_noted", "as_read",
    "at_stake", "begin", "compare", "in_words", "last_known", "look_for_strangers", "note", "open_count", "open_drift",
    "read_many", "read_now", "readings", "settle", "shown", "shown_in_words", "stop", "take_up", "work",
]  # fmt: skip
