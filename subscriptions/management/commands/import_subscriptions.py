"""`uv run manage.py import_subscriptions`: take over subscriptions that run in another system."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from django.core.management import CommandError
from django.db import Error, InterfaceError, OperationalError

from subscriptions import actions, clock, lifecycle, pricing, takeover
from subscriptions.actions import NotAllowed
from subscriptions.bulk import Reason
from subscriptions.management.outfile import whole
from subscriptions.management.rows_command import RowsCommand, check_writable, not_done, opened, whole_number
from subscriptions.management.telling import INTERRUPTED, MISUSED
from subscriptions.models import Language, Takeover, TakeoverStatus
from subscriptions.reconciliation import VendorSilent
from subscriptions.sheets import BadSheet, Sheet, written
from subscriptions.takeover import Base, NewCompanies

_CALL = 'uv run manage.py import_subscriptions base.csv --from "Old portal" --create-companies Europe/Berlin'


class Command(RowsCommand):
    help = (
        "Take over subscriptions that run in another system, without provisioning or billing them again. Their "
        "licences stay as they are: each is read at the vendor, and one that is not as the file says is refused. "
        "The period that was charged elsewhere is not charged here, and the next one is. Without --apply it is only "
        "shown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("file", nargs="?", help="CSV file in UTF-8 with commas; - reads standard input")
        parser.add_argument(
            "--from", dest="source", metavar="NAME", help="name of the other system, which customers read in histories"
        )
        parser.add_argument(
            "--create-companies", metavar="TIME_ZONE",
            help="create companies that nobody here has, such as with Europe/Ljubljana, each with the first "
            "subscription that is taken over for it. Currency and time zone stay: the ledger is kept in them",
        )  # fmt: skip
        parser.add_argument(
            "--language", choices=Language.values, default=Language.ENGLISH, help="of companies that are created"
        )
        parser.add_argument(
            "--no-vendor-check", action="store_true",
            help="do not read them at the vendor; what differs is found by reconcile later",
        )  # fmt: skip
        doing = parser.add_argument_group("doing it")
        doing.add_argument("--apply", action="store_true", help="do it, and do not only show it")
        doing.add_argument("--reason", default="", help="why; kept with every subscription")
        doing.add_argument(
            "--max-failures",
            type=whole_number,
            metavar="N",
            help="stop when N rows were refused, counted from this call on",
        )
        doing.add_argument(
            "--out", type=Path, metavar="FILE",
            help="write a CSV file with the outcome of each row, or, without --apply, what would become of it",
        )  # fmt: skip
        doing.add_argument("--resume", type=whole_number, metavar="RUN", help="go on with one that was interrupted")
        columns = [f"  {name:<16} {about}" for name, about in takeover.COLUMNS.items()]
        parser.epilog = "\n".join(
            [
                f"Columns, in any order. Needed: {', '.join(takeover.NEEDED)}.",
                *columns,
                "",
                "A file with a line that is wrong is refused with its number, and nothing of it is used. What is here",
                "already is never taken over again: the same file twice is harmless.",
                "",
                "Example, as base.csv:",
                *(f"  {line}" for line in _example(clock.now().date())),
                "",
                "Look at it, and then take over what can be. Licences that the vendor does not know, such as these,",
                "are refused, unless --no-vendor-check is given:",
                f"  {_CALL}",
                f'  {_CALL} --apply --reason "We move" --out outcomes.csv',
            ]
        )

    def handle(self, *, file: str | None, resume: int | None, apply: bool, **options: Any) -> None:
        """Exit code 1 when a row was refused or the vendor fell silent, 2 when asked for the impossible, 130 when
        interrupted."""
        if options["out"]:
            check_writable(options["out"], file)
        run: Takeover | None = None
        try:
            if resume is not None:
                self._check_alone(file, apply, options)
                run = _found(resume)
                self._work(run, options)
                return
            new = _new_companies(options)
            with _base(file) as base:
                if not apply:
                    self._show(base, new, options)
                    return
                run = self._begun(base, new, options)
                self._work(run, options)
        except (BadSheet, NotAllowed) as refused:
            said = refused.sentence if isinstance(refused, NotAllowed) else refused
            raise CommandError(f"{said} Nothing was done.", returncode=MISUSED) from None
        except KeyboardInterrupt:
            said = "Interrupted. Nothing was done." if run is None else f"{_how_far(run)} Go on with: {_again(run)}"
            raise CommandError(said, returncode=INTERRUPTED) from None

    # --- showing -----------------------------------------------------------------------------------------------------

    def _show(self, base: Base, new: NewCompanies | None, options: dict[str, Any]) -> None:
        found = takeover.Preview()
        asks = not options["no_vendor_check"]
        out: Path | None = options["out"]
        try:
            with self._progress("Looking", None) as reached, whole(out) if out else nullcontext() as stream:
                if stream:
                    stream.writelines(row.encode() for row in written([takeover.OUTCOMES]))
                for found in takeover.preview(base, asks_vendor=asks, new=new):
                    reached(found.rows)
                    if stream:
                        stream.writelines(row.encode() for row in written(found.chunk, mark=""))
        except VendorSilent as silent:
            raise CommandError(f"{silent.sentence} Nothing was done. Look again later.") from None
        self._say(f"{found.rows:,} rows: {base.words}. {'Each was read' if asks else 'None was read'} at the vendor.")
        for status, reason in found.can.items():
            self._say(f"{reason.count:>9,}  can be taken over as {status}")
            self._examples([f"{named}: {words}" for named, words in reason.examples], reason.count)
        for currency, amount in sorted(found.each_period.items()):
            self._say(f"{'':>11}A period of those that are billed next costs {pricing.money(amount, currency)} here")
        if found.companies:
            self._say(f"{'':>11}Companies that are created: {len(found.companies):,}")
        if found.without_code:
            self._say(f"{'':>11}Without an activation code: {found.without_code:,}")
        self._already_here(found.cannot)
        if found.cannot:
            self._say(f"{sum(one.count for one in found.cannot.values()):>9,}  cannot")
            self._reasons(dict(sorted(found.cannot.items(), key=lambda one: -one[1].count)))
        if out:
            self._say(f"What would become of each row is in {out}.")
        self._say('Nothing was done. With --from NAME --apply --reason "...", those that can are taken over.')

    # --- doing -------------------------------------------------------------------------------------------------------

    def _begun(self, base: Base, new: NewCompanies | None, options: dict[str, Any]) -> Takeover:
        source, reason = (options["source"] or "").strip(), options["reason"].strip()
        if not reason:
            raise CommandError("Say why: --apply needs --reason.", returncode=MISUSED)
        if not 0 < len(source) <= 100:
            raise CommandError("Say where they come from: --apply needs --from NAME.", returncode=MISUSED)
        return takeover.begin(
            base, source=source, reason=reason, actor=None, audience=actions.COMMAND,
            asks_vendor=not options["no_vendor_check"], new=new,
        )  # fmt: skip

    def _check_alone(self, file: str | None, apply: bool, options: dict[str, Any]) -> None:
        told = (file, apply, *(options[name] for name in ("source", "reason", "create_companies", "no_vendor_check")))
        if any(told):
            raise CommandError(
                "A takeover knows its rows and its reason: --resume goes with --max-failures and --out only.",
                returncode=MISUSED,
            )

    def _work(self, run: Takeover, options: dict[str, Any]) -> None:
        again = _again(run)
        self._say(f"Run {run.pk}: {run.total:,} rows, {run.file}.")
        try:
            with self._progress("Taking over", run.total) as reached:
                reached(run.taken + run.refused)
                for one in takeover.take(run, allow=options["max_failures"]):
                    reached(one.taken + one.refused)
        except KeyboardInterrupt:
            with suppress(Error):
                run.refresh_from_db()
                if run.status == TakeoverStatus.RUNNING:
                    takeover.stop(run)
            raise CommandError(f"{_how_far(run)} Go on with: {again}", returncode=INTERRUPTED) from None
        except VendorSilent as silent:
            raise CommandError(f"{silent.sentence} {_how_far(run)} Go on with: {again}") from None
        except (OperationalError, InterfaceError) as error:
            said = str(error).strip().partition("\n")[0]
            raise CommandError(f"The database failed: {said}. What was done stays done. Go on with: {again}") from None
        failed = self._tell(run, options["out"])
        if run.status == TakeoverStatus.STOPPED:
            raise CommandError(f"Stopped: {not_done(options['max_failures'])} Go on with: {again}")
        if failed:
            raise CommandError(f"{failed:,} of {run.total:,} rows were not taken over.")

    def _tell(self, run: Takeover, out: Path | None) -> int:
        """Returns how many rows have failed."""
        if run.taken:
            self._say(f"{run.taken:>9,}  taken over")
        reasons = takeover.reasons(run)
        failed = run.refused - self._already_here(reasons)
        if failed:
            self._say(f"{failed:>9,}  refused")
            self._reasons(reasons)
        if out:
            with whole(out) as stream:
                stream.writelines(row.encode() for row in written(takeover.sheet(run)))
            self._say(f"The outcome of each row is in {out}.")
        return failed

    def _already_here(self, reasons: dict[str, Reason]) -> int:
        """Takes what is no failure out of the reasons, and returns how many rows that are."""
        here = reasons.pop(lifecycle.ALREADY_HERE, None)
        if here is None:
            return 0
        self._say(f"{here.count:>9,}  already here, just as the file says")
        return here.count


def _example(today: date) -> list[str]:
    """Rows that can be taken over today."""
    next_charge = today + timedelta(days=10)
    began, late = (pricing.add_months(next_charge, months, next_charge.day) for months in (-7, -1))
    known = "0A1B2C3D4E5F60718293A4B5C6D7E8F9", "00112233445566778899AABBCCDDEEFF"
    return [
        "account,sku,seats,subscriber_id,started_on,period_end,status,suspended_on,currency,activation_code",
        f"Example GmbH,KESC,25,{known[0]},{began},{next_charge},,,EUR,",
        f"Example d.o.o.,KESC,10,{known[1]},{began},{next_charge},suspended,{late},EUR,",
    ]


def _found(number: int) -> Takeover:
    run = Takeover.objects.filter(pk=number).first()
    if run is None:
        raise CommandError(f"There is no run {number}.", returncode=MISUSED)
    return run


def _again(run: Takeover) -> str:
    return f"uv run manage.py import_subscriptions --resume {run.pk}"


def _how_far(run: Takeover) -> str:
    return f"Stopped after {run.taken + run.refused:,} of {run.total:,} rows."


def _new_companies(options: dict[str, Any]) -> NewCompanies | None:
    zone = options["create_companies"]
    if zone is None:
        return None
    if zone not in available_timezones():
        raise CommandError(f"{zone} is no time zone. Write one such as Europe/Ljubljana.", returncode=MISUSED)
    return NewCompanies(zone, options["language"])


@contextmanager
def _base(file: str | None) -> Iterator[Base]:
    if not file:
        raise CommandError("Say what to take over: a CSV file (- for standard input).", returncode=MISUSED)
    with opened(file) as stream:
        sheet = Sheet(stream, needed=takeover.NEEDED)
        yield Base(sheet, "standard input" if file == "-" else f"file {Path(file).name}")
