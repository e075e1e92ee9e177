"""The base of the commands that do one thing to many subscriptions: shown first, done with --apply, told row by row."""

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import reduce
from itertools import chain
from operator import or_
from pathlib import Path
from typing import Any

from django.core.management import CommandError
from django.db import Error, InterfaceError, OperationalError

from subscriptions import actions, bulk, filters
from subscriptions.actions import NotAllowed
from subscriptions.bulk import Filtered, Listed, Reason, Selection, Wanted
from subscriptions.filters import BadFilter
from subscriptions.management.outfile import whole
from subscriptions.management.rows_command import RowsCommand, check_writable, not_done, opened, whole_number
from subscriptions.management.telling import INTERRUPTED, MISUSED
from subscriptions.models import BulkRun, OrderStatus, RunStatus, Subscription, SubscriptionStatus
from subscriptions.sheets import BadSheet, Sheet, written

_SHORTCUTS = ("status", "product", "account")
"""Options of the name of a filter; given twice they mean any of them."""
_QUIET = 30.0
"""Seconds without any progress after which somebody should look whether a worker runs."""
_WILL = {
    OrderStatus.PLACED: "can be done",
    OrderStatus.SCHEDULED: "can be planned for their day",
    OrderStatus.AWAITING_APPROVAL: "would wait for approval",
}


class BulkCommand(RowsCommand):
    """A thin file for each: `stem`, `help`, `example`, and the options of its own."""

    stem: str
    example: str
    seats = False
    """Does a row say a number of seats?"""
    asks_about_plans = False
    """Has it --planned?"""

    def given(self, options: dict[str, Any]) -> dict[str, str]:
        """What the options say that holds for all rows, as `Wanted.given`."""
        return {}

    @property
    def name(self) -> str:
        return f"bulk_{self.stem}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        column = "columns subscription and seats (the new total)" if self.seats else "a column subscription"
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("file", nargs="?", help=f"CSV file in UTF-8 with {column}; - reads standard input")
        chosen = parser.add_argument_group("or those that all of these find; each may be repeated")
        chosen.add_argument("--account", action="append", default=[], metavar="NAME", help="of this company")
        chosen.add_argument("--product", action="append", default=[], metavar="NAME", help="of this product")
        statuses = SubscriptionStatus.values
        chosen.add_argument(
            "--status", action="append", default=[], choices=statuses, metavar="STATUS", help=", ".join(statuses)
        )
        chosen.add_argument(
            "--where", action="append", default=[], metavar="WORD=VALUE",
            help=f"as BSS narrows its list, such as renews_before=2027-03-01: {', '.join(filters.of(Subscription))}",
        )  # fmt: skip
        if self.seats:
            chosen.add_argument("--seats", type=whole_number, metavar="N", help="the new total of each")
        doing = parser.add_argument_group("doing it")
        doing.add_argument(
            "--apply",
            action="store_true",
            help="do it, and do not only show it; priced as it is placed, and not held for an approval",
        )
        doing.add_argument("--reason", default="", help="why; kept with every order")
        doing.add_argument(
            "--max-failures",
            type=whole_number,
            metavar="N",
            help="stop placing when N rows were refused or have failed, counted from this call on",
        )
        doing.add_argument("--no-wait", action="store_true", help="do not wait until the orders are carried out")
        doing.add_argument(
            "--out", type=Path, metavar="FILE",
            help="write a CSV file with the outcome of each row, or, without --apply, what would become of it",
        )  # fmt: skip
        doing.add_argument(
            "--resume",
            type=whole_number,
            metavar="RUN",
            help="go on with a run that was interrupted, or wait for its orders and write its outcomes",
        )
        parser.epilog = f"Example:\n  {self.example}"

    def handle(self, *, file: str | None, resume: int | None, apply: bool, **options: Any) -> None:
        """Exit code 1 when a row was refused or failed, 2 when asked for the impossible, 130 when interrupted."""
        if options["out"]:
            check_writable(options["out"], file)
        run: BulkRun | None = None
        try:
            if resume is not None:
                self._check_alone(file, apply, options)
                run = self._found(resume)
                bulk.go_on(run)
                self._work(run, options)
                return
            wanted = Wanted(self.stem, options["reason"].strip(), self.given(options))
            with self._selection(file, options) as selection:
                if not apply:
                    self._show(wanted, selection, options["out"])
                    return
                if not wanted.reason:
                    raise CommandError("Say why: --apply needs --reason.", returncode=MISUSED)
                run = bulk.begin(wanted, selection, actor=None, audience=actions.COMMAND)
            self._work(run, options)
        except (BadSheet, BadFilter, NotAllowed) as refused:
            raise CommandError(f"{_sentence(refused)} Nothing was done.", returncode=MISUSED) from None
        except KeyboardInterrupt:
            said = (
                "Interrupted. Nothing was done." if run is None else f"{_how_far(run)} Go on with: {self._again(run)}"
            )
            raise CommandError(said, returncode=INTERRUPTED) from None

    # --- choosing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _selection(self, file: str | None, options: dict[str, Any]) -> Iterator[Selection]:
        filtered = any(options[name] for name in (*_SHORTCUTS, "where"))
        if file and filtered:
            raise CommandError(
                "A file and --account, --product, --status or --where are two ways to say which subscriptions: give "
                "one of them, and not both.",
                returncode=MISUSED,
            )
        if not (file or filtered):
            raise CommandError(
                "Say which subscriptions: a CSV file (- for standard input), or --account, --product, --status, "
                "--where.",
                returncode=MISUSED,
            )
        if not file:
            yield self._filtered(options)
            return
        if options.get("seats") is not None:
            raise CommandError("A file says the seats of each row itself: leave --seats out.", returncode=MISUSED)
        with opened(file) as stream:
            needed = ["subscription", "seats"] if self.seats else ["subscription"]
            sheet = Sheet(stream, needed=needed)
            if ignored := [name for name in sheet.columns if name and name not in needed]:
                self._say(f"Columns that are not looked at: {', '.join(ignored)}.")
            yield Listed(sheet, "standard input" if file == "-" else f"file {Path(file).name}", seats=self.seats)

    def _filtered(self, options: dict[str, Any]) -> Filtered:
        wanted = [(name, options[name]) for name in _SHORTCUTS if options[name]]
        wanted += [(name, [typed]) for name, typed in filters.parse(options["where"])]
        everything = Subscription.objects.all()
        found = everything
        for name, values in wanted:
            found &= reduce(or_, (filters.narrow(everything, [(name, typed)]) for typed in values))
        after = {}
        if self.seats:
            if options["seats"] is None:
                raise CommandError("Say how many seats each is to have: --seats N.", returncode=MISUSED)
            after = {"Seats": options["seats"]}
        return Filtered(found, ", ".join(f"{name} {' or '.join(values)}" for name, values in wanted), after)

    # --- showing -----------------------------------------------------------------------------------------------------

    def _show(self, wanted: Wanted, selection: Selection, out: Path | None) -> None:
        found = bulk.Preview()
        with self._progress("Looking", None) as reached, whole(out) if out else nullcontext() as stream:
            if stream:
                stream.writelines(row.encode() for row in written([bulk.COLUMNS]))
            for found in bulk.preview(wanted, selection, actor=None, audience=actions.COMMAND):
                reached(found.rows)
                if stream:
                    stream.writelines(row.encode() for row in written(found.chunk, mark=""))
        self._say(f"{found.rows:,} rows: {selection.words}.")
        for status, reason in found.can.items():
            self._say(f"{reason.count:>9,}  {_WILL[OrderStatus(status)]}")
            self._examples([f"{named}: {change}" for named, change in reason.examples], reason.count)
        for what, reason in found.touched:
            self._say(f"{reason.count:>13,}  {what}")
            self._examples([f"{named}: {words}" for named, words in reason.examples], reason.count)
        for what, money in found.money:
            self._say(f"{'':>11}{what}: {money}")
        if found.cannot:
            self._say(f"{sum(one.count for one in found.cannot.values()):>9,}  cannot")
            self._reasons(dict(sorted(found.cannot.items(), key=lambda one: -one[1].count)))
        if out:
            self._say(f"What would become of each row is in {out}.")
        self._say('Nothing was done. With --apply --reason "...", what can be done is done.')

    def _reasons(self, reasons: dict[str, Reason]) -> None:
        super()._reasons(reasons)
        if self.asks_about_plans and reasons.keys() & {"order_scheduled", "cannot_keep"}:
            self._say(f"{'':>15}--planned keep or --planned discard says what becomes of a planned change.")

    # --- doing -------------------------------------------------------------------------------------------------------

    def _check_alone(self, file: str | None, apply: bool, options: dict[str, Any]) -> None:
        told = (file, apply, options["reason"], options["where"], *(options[name] for name in _SHORTCUTS))
        if any(told) or options.get("seats") is not None or self.given(options):
            raise CommandError(
                "A run knows its rows and its reason: --resume goes with --max-failures, --no-wait and --out only.",
                returncode=MISUSED,
            )

    def _found(self, number: int) -> BulkRun:
        run = BulkRun.objects.filter(pk=number).first()
        if run is None:
            raise CommandError(f"There is no run {number}.", returncode=MISUSED)
        if run.action != self.stem:
            raise CommandError(
                f"Run {number} is of another kind: uv run manage.py bulk_{run.action} --resume {number}",
                returncode=MISUSED,
            )
        if run.status == RunStatus.DRAFT:
            raise CommandError(f"Run {number} was chosen in BSS, and is not confirmed there yet.", returncode=MISUSED)
        return run

    def _work(self, run: BulkRun, options: dict[str, Any]) -> None:
        again = self._again(run)
        self._say(f"Run {run.pk}: {run.total:,} rows, {run.selection}.")
        enough = False
        try:
            enough = not self._place(run, options["max_failures"])
            if not options["no_wait"]:
                self._wait(run)
        except KeyboardInterrupt:
            with suppress(Error):
                run.refresh_from_db()
                bulk.stop(run)
            raise CommandError(f"{_how_far(run)} Go on with: {again}", returncode=INTERRUPTED) from None
        except (OperationalError, InterfaceError) as error:
            said = str(error).strip().partition("\n")[0]
            raise CommandError(f"The database failed: {said}. What was done stays done. Go on with: {again}") from None
        counts = bulk.tally(run)
        for outcome, count in sorted(counts.items(), key=lambda one: -one[1]):
            self._say(f"{count:>9,}  {outcome}")
        for what, money in bulk.money(run):
            self._say(f"{'':>11}{what}: {money}")
        self._reasons(bulk.reasons(run))
        if options["out"]:
            with whole(options["out"]) as stream:
                stream.writelines(row.encode() for row in written(chain([bulk.COLUMNS], bulk.sheet(run))))
            self._say(f"The outcome of each row is in {options['out']}.")
        if enough:
            raise CommandError(f"Stopped: {not_done(options['max_failures'])} Go on with: {again}")
        if run.status == RunStatus.STOPPED:
            raise CommandError(f"{_how_far(run)} It was stopped in BSS. Go on with: {again}")
        if failed := sum(counts.get(outcome, 0) for outcome in bulk.FAILURES):
            raise CommandError(f"{failed:,} of {run.total:,} rows were not done.")

    def _again(self, run: BulkRun) -> str:
        return f"uv run manage.py {self.name} --resume {run.pk}"

    def _place(self, run: BulkRun, max_failures: int | None) -> bool:
        """Did fewer rows fail than end it?"""
        with self._progress("Placing", run.total) as reached:
            reached(run.placed + run.refused)
            try:
                for one in bulk.place(run, allow=max_failures):
                    reached(one.placed + one.refused)
            except bulk.TooManyFailed:
                return False
        return True

    def _wait(self, run: BulkRun) -> None:
        """Until no order of the run is under way; looks seldom enough not to be in the way of the work itself."""
        since, quiet, left_before = 0, time.monotonic(), run.placed
        with self._progress("Carried out", run.placed) as reached:
            while True:
                begun = time.monotonic()
                left, first = bulk.under_way(run, since)
                reached(run.placed - left)
                if first is None:
                    return
                now, since = time.monotonic(), first
                if left != left_before:
                    left_before, quiet = left, now
                elif now - quiet > _QUIET:
                    self._say(f"Nothing was carried out for {now - quiet:.0f} s. Is a worker running?")
                    quiet = now
                time.sleep(max(0.2, 20 * (now - begun)))


def _how_far(run: BulkRun) -> str:
    decided = run.placed + run.refused
    if decided < run.total:
        return f"Stopped after {decided:,} of {run.total:,} rows; placed orders go on by themselves."
    return "All rows are placed, and their orders go on by themselves."


def _sentence(refused: BadSheet | BadFilter | NotAllowed) -> str:
    return refused.sentence if isinstance(refused, NotAllowed) else str(refused)
