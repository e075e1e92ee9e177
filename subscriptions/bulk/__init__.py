"""Many subscriptions at once: chosen, previewed, placed set by set, reported row by row; for commands and for BSS.

The rules are those of one order at a time: each set goes through `lifecycle.place_many`, whose transaction also marks
the rows. So a run that was interrupted at any instant goes on with the rows that wait, and does none of them twice.
"""

from subscriptions.bulk.results import FAILURES, Reason, Row, reasons, results, tally, under_way
from subscriptions.bulk.runs import CHUNK, Preview, Wanted, begin, place, preview, stop
from subscriptions.bulk.selection import Filtered, Line, Listed, Selection

__all__ = [
    "CHUNK", "FAILURES", "Filtered", "Line", "Listed", "Preview", "Reason", "Row", "Selection", "Wanted",
    "begin", "place", "preview", "reasons", "results", "stop", "tally", "under_way",
]  # fmt: skip
