"""From what a row calls its company to the account."""

from collections import defaultdict
from dataclasses import dataclass, field

from django.db import connection

from subscriptions.actions import NotAllowed
from subscriptions.models import Account, Language

_LOCK = 7_041_913
"""Key of the advisory lock under which companies are created by name."""


@dataclass(frozen=True, slots=True)
class NewCompanies:
    """What those are given that are created: which time zone decides when their days begin, for good."""

    time_zone: str
    language: str = Language.ENGLISH


@dataclass(slots=True)
class Companies:
    """All accounts by name and number, read once; with `new`, those that a row names and nobody has are made up."""

    new: NewCompanies | None = None
    created: list[Account] = field(default_factory=list)
    """Not saved before `save`."""
    _by_name: dict[str, list[int | Account]] = field(default_factory=lambda: defaultdict(list))
    _numbers: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for pk, name in Account.objects.order_by("pk").values_list("pk", "name").iterator(chunk_size=10_000):
            self._numbers.add(pk)
            self._by_name[name.casefold()].append(pk)

    def find(self, called: str, currency: str = "") -> int | Account:
        """The account's key, or the unsaved account. Raises NotAllowed."""
        found = self._by_name.get(called.casefold(), [])
        if len(found) == 1:
            return found[0]
        if found:
            words = f"{len(found)} companies are called “{called}”. Write the number of the one that is meant."
            raise NotAllowed("many_companies", words)
        if called.isascii() and called.isdigit() and len(called) < 19 and int(called) in self._numbers:
            return int(called)
        if self.new is None:
            raise NotAllowed("no_company", f"There is no company “{called}”.")
        if not currency:
            raise NotAllowed("no_currency", f"“{called}” is a new company, and the row does not say its currency.")
        made = Account(name=called, currency=currency, time_zone=self.new.time_zone, language=self.new.language)
        self.created.append(made)
        self._by_name[called.casefold()].append(made)
        return made

    @classmethod
    def locked(cls, new: NewCompanies | None) -> "Companies":
        """As the constructor; until the caller's transaction ends nobody else creates companies by name."""
        if new is not None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        return cls(new)

    def save(self) -> list[int]:
        """Write those that are new; returns their keys, by which the caller remembers whom it has created."""
        return [one.pk for one in Account.objects.bulk_create(self.created, batch_size=1_000)]
