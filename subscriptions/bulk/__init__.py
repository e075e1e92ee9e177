"""Many subscriptions at once: chosen, previewed, placed set by set, reported row by row; for commands and for BSS.

The rules are those of one order at a time: each set goes through `lifecycle.place_many`, whose transaction also marks
the rows. So a run that was interrupted at any instant goes on with the rows that wait, and does none of them twice.
A command works on its run itself; a run of BSS is a draft until it is confirmed, and then the worker's.
"""

from subscriptions.bulk.drafts import ask, confirm, draft, preview_of
from subscriptions.bulk.drifting import Drifting
from subscriptions.bulk.jobs import resume
from subscriptions.bulk.previews import Preview, preview
from subscriptions.bulk.results import COLUMNS, FAILURES, Reason, Row, money, reasons, results, sheet, tally, under_way
from subscriptions.bulk.runs import TooManyFailed, begin, go_on, place, stop
from subscriptions.bulk.selection import Filtered, Line, Listed, Selection, narrowed, ticked
from subscriptions.bulk.wanted import CHUNK, Wanted

__all__ = [
    "CHUNK", "COLUMNS", "FAILURES", "Drifting", "Filtered", "Line", "Listed", "Preview", "Reason", "Row", "Selection",
    "TooManyFailed", "Wanted", "ask", "begin", "confirm", "draft", "go_on", "money", "narrowed", "place", "preview",
    "preview_of", "reasons", "results", "resume", "sheet", "stop", "tally", "ticked", "under_way",
]  # fmt: skip
