"""The catalogue in a file: read, compared with what there is, saved as a whole; and written for a spreadsheet.

One line for each price. It may also say something about its SKU and the SKU's product: once is enough, on any line.
What a file leaves out or empty stays as it is.
"""

from subscriptions.catalogue_files.columns import ABOUT, NAMES, REMOVE
from subscriptions.catalogue_files.differences import CHANGED, NEW, REMOVED, Difference, Plan
from subscriptions.catalogue_files.reading import LARGEST, BadCatalogue, Contents, read
from subscriptions.catalogue_files.saving import Outdated, preview, save
from subscriptions.catalogue_files.writing import lines

__all__ = [
    "ABOUT", "CHANGED", "LARGEST", "NAMES", "NEW", "REMOVE", "REMOVED", "BadCatalogue", "Contents", "Difference",
    "Outdated", "Plan", "lines", "preview", "read", "save",
]  # fmt: skip
