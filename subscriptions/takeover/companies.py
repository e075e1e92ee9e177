"""From what a row calls its company to the account."""

from collections import defaultdict
from collections.abc import Iterable
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
    _by_name: dict[str, list[int | Account]] = field(default_factory=lambda: defaultdict(list))
    _numbers: set[int] = field(default_factory=set)
    _last: int = 0

    def __post_init__(self) -> None:
        self._read()

    def _read(self) -> None:
        """All those that are newer than the last one; one that was made up here is the one of its name from now on."""
        newer = Account.objects.filter(pk__gt=self._last).order_by("pk").values_list("pk", "name")
        for pk, name in newer.iterator(chunk_size=10_000):
            self._last = pk
            self._numbers.add(pk)
            called = self._by_name[name.casefold()]
            made = next((one for one in called if isinstance(one, Account)), None)
            if made is None:
                called.append(pk)
            elif made.pk is None:
                made.pk = pk
                made.refresh_from_db()
            elif made.pk != pk:
                called.append(pk)

    def find(self, called: str, currency: str = "") -> int | Account:
        """The account's key, or the unsaved account, the same each time. Raises NotAllowed."""
        found = self._by_name.get(called.casefold(), [])
        if len(found) == 1:
            [one] = found
            return one.pk if isinstance(one, Account) and one.pk is not None else one
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
        self._by_name[called.casefold()].append(made)
        return made

    def nobodys(self, accounts: Iterable[Account]) -> list[Account]:
        """Which of these, each once, nobody has saved by now, by name; those that somebody has are saved ones then.

        Until the caller's transaction ends nobody else creates companies by name.
        """
        unsaved = {id(one): one for one in accounts if one.pk is None}
        if unsaved:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            self._read()
        return [one for one in unsaved.values() if one.pk is None]
