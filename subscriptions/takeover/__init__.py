"""A base that runs in another system is taken over: looked at, checked at the vendor, taken row by row.

Nothing is provisioned and nothing is billed again: `lifecycle.take_over` writes each as it stands, set by set, and
marks its row in the same transaction. So a takeover that was interrupted at any instant goes on with the rows that
wait, and what is here already is never taken over a second time.
"""

from subscriptions.takeover.companies import NewCompanies
from subscriptions.takeover.lines import COLUMNS, NEEDED, Base, Line
from subscriptions.takeover.results import OUTCOMES, reasons, sheet
from subscriptions.takeover.runs import CHUNK, Preview, begin, preview, stop, take

__all__ = [
    "CHUNK", "COLUMNS", "NEEDED", "OUTCOMES", "Base", "Line", "NewCompanies", "Preview", "begin", "preview", "reasons",
    "sheet", "stop", "take",
]  # fmt: skip
