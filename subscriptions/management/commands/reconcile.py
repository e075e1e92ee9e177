"""`uv run manage.py reconcile`: our subscriptions against the vendor's records, and the worklist of what differs."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.db import Error, InterfaceError, OperationalError

from subscriptions import actions, filters, gateways, pricing, reconciliation
from subscriptions.actions import NotAllowed
from subscriptions.filters import BadFilter
from subscriptions.management.outfile import whole
from subscriptions.management.rows_command import check_writable, whole_number
from subscriptions.management.telling import INTERRUPTED, MISUSED, TellingCommand
from subscriptions.models import DriftField, Product, ReconciliationRun, Subscription
from subscriptions.reconciliation import Overtaken, VendorSilent, in_words
from subscriptions.reconciliation.known import LONGEST
from subscriptions.sheets import BadSheet, Sheet, instant, safe, written

_SHOWN = 10
_COLUMNS = (
    "subscription", "subscriber_id", "company", "product", "field", "ours", "theirs", "currency", "at_stake_a_month",
    "since", "last_seen",
)  # fmt: skip


class Command(TellingCommand):
    help = (
        "Compare our subscriptions with the vendor's records, and keep the worklist of what differs, with the money at "
        "stake. Reading changes nothing but that worklist, so there is no --apply; each difference is settled in BSS, "
        "by an order. A worker does this every night by itself. One run at a time; one that was interrupted goes on "
        "with --resume."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument(
            "--where", action="append", default=[], metavar="WORD=VALUE",
            help=f"only those that all of these find, as BSS narrows its list: {', '.join(filters.of(Subscription))}",
        )  # fmt: skip
        parser.add_argument("--resume", type=whole_number, metavar="RUN", help="go on with a run that was interrupted")
        parser.add_argument(
            "--known", type=Path, metavar="FILE",
            help="the vendor's whole billing report: a CSV file in UTF-8 with a column subscriber_id. Those that we do "
            "not have are listed as unknown here; the protocol has no list of them",
        )  # fmt: skip
        parser.add_argument(
            "--vendor", choices=list(settings.VENDORS), default=next(iter(settings.VENDORS)), help="whose report it is"
        )
        parser.add_argument("--out", type=Path, metavar="FILE", help="write the whole worklist to a CSV file")
        parser.epilog = "Example:\n  uv run manage.py reconcile --where status=active --out drift.csv"

    def handle(
        self, *, where: list[str], resume: int | None, known: Path | None, vendor: str, out: Path | None, **options: Any
    ) -> None:
        """Exit code 1 when a record could not be read or the vendor fell silent, 2 when asked for the impossible, 130
        when interrupted."""
        if resume is not None and where:
            raise CommandError("A run knows what it is about: --resume goes without --where.", returncode=MISUSED)
        if out:
            check_writable(out, str(known) if known else None)
        try:
            # A file that is wrong is found out before anything is read, and not after an hour.
            total = sum(1 for _ in _ids(known)) if known else 0
            run = self._run(where, resume, vendor if known else "")
        except (BadFilter, BadSheet, NotAllowed) as refused:
            raise CommandError(str(getattr(refused, "sentence", refused)), returncode=MISUSED) from None
        self._say(f"Run {run.pk}{' goes on' if resume else ''}.")
        for one in Product.objects.order_by("vendor").values_list("vendor", flat=True).distinct():
            if sentence := gateways.missing(one):
                self._say(f"{sentence} Its subscriptions cannot be read.")
        self._guarded(run, known, total, vendor)
        self._tell(run)
        if out:
            with whole(out) as stream:
                stream.writelines(row.encode() for row in written(chain([_COLUMNS], _worklist())))
            self._say(f"The worklist is in {out}.")
        if run.unanswered:
            raise CommandError(f"{run.unanswered:,} records could not be read. See the log.")

    def _run(self, where: list[str], resume: int | None, report: str) -> ReconciliationRun:
        if resume is None:
            return reconciliation.begin(words=filters.parse(where), actor=None, audience=actions.COMMAND, report=report)
        run = ReconciliationRun.objects.filter(pk=resume).first()
        if run is None:
            raise CommandError(f"There is no run {resume}.", returncode=MISUSED)
        if run.report and run.report != report:
            raise CommandError(
                f"Run {run.pk} has not read the report of {run.report} to its end: give it again, with --known FILE "
                f"--vendor {run.report}.",
                returncode=MISUSED,
            )
        reconciliation.take_up(run)
        return run

    def _guarded(self, run: ReconciliationRun, known: Path | None, total: int, vendor: str) -> None:
        """The work itself; whatever ends it early leaves a run that can be taken up, and says how."""
        report = f" --known {known} --vendor {vendor}" if known else ""
        again = f"uv run manage.py reconcile --resume {run.pk}{report}"
        try:
            if known:
                with self._progress("Unknown here", total) as reached:
                    for looked_at in reconciliation.look_for_strangers(vendor, _ids(known), run):
                        reached(looked_at)
            with self._progress("Compared", _left(run)) as reached:
                before = run.read
                for one in reconciliation.work(run):
                    reached(one.read - before)
        except VendorSilent as silent:
            reconciliation.stop(run, silent.sentence)
            raise CommandError(f"{silent.sentence} Stopped after {run.read:,}. Go on with: {again}") from None
        except Overtaken as overtaken:
            raise CommandError(overtaken.sentence) from None
        except KeyboardInterrupt:
            with suppress(Error):
                reconciliation.stop(run, "It was interrupted.")
            raise CommandError(f"Interrupted. Go on with: {again}", returncode=INTERRUPTED) from None
        except (OperationalError, InterfaceError) as error:
            said = str(error).strip().partition("\n")[0]
            raise CommandError(f"The database failed: {said}. Go on with: {again}") from None

    def _tell(self, run: ReconciliationRun) -> None:
        for count, words in (
            (run.compared, "compared with the vendor's record"),
            (run.explained, "passed over: an open order, or a change meanwhile"),
            (run.unanswered, "could not be read"),
            (run.found, "differences found"),
            (run.again, "differences seen again"),
            (run.gone, "differences gone by themselves"),
        ):
            if count or words.startswith("compared"):
                self._say(f"{count:>9,}  {words}")
        count, more = reconciliation.open_count()
        if not count:
            self._say("Nothing differs.")
            return
        if count == 1 and not more:
            self._say("1 difference is open:")
        else:
            self._say(f"{'More than ' if more else ''}{count:,} differences are open. Most is at stake with:")
        for row in reconciliation.open_drift().select_related("subscription__account")[:_SHOWN]:
            named = f"{row.subscription} ({row.subscription.account})" if row.subscription else row.subscriber_id
            money = pricing.money(row.amount, row.currency) + " a month" if row.currency else "no price"
            ours, theirs = in_words(row.field, row.ours), in_words(row.field, row.theirs)
            self._say(f"{'':>11}{named}: {row.get_field_display().lower()}, {ours} / {theirs}, {money}")


def _left(run: ReconciliationRun) -> int:
    chosen = filters.narrow(Subscription.objects.order_by(), [(name, typed) for name, typed in run.words])
    return chosen.filter(pk__gt=run.position, pk__lte=run.last).count()


def _ids(file: Path) -> Iterator[str]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=MISUSED) from None
    with stream:
        for line, cells in Sheet(stream, needed=["subscriber_id"]):
            subscriber_id = cells["subscriber_id"]
            if not 0 < len(subscriber_id) <= LONGEST:
                raise BadSheet(f"Line {line}: “{subscriber_id[:40]}” is no subscriber's id.")
            yield subscriber_id


def _worklist() -> Iterator[tuple[object, ...]]:
    drift = reconciliation.open_drift().values_list(
        "subscription", "subscriber_id", "subscription__account__name", "subscription__sku__product__name", "field",
        "ours", "theirs", "currency", "amount", "found_at", "seen_at",
    )  # fmt: skip
    for pk, subscriber_id, company, product, field, ours, theirs, currency, amount, found, seen in drift.iterator():
        yield (
            f"SUB-{pk:06d}" if pk else "", safe(subscriber_id), safe(company or ""), safe(product or ""),
            DriftField(field).label, safe(in_words(field, ours)), safe(in_words(field, theirs)), currency,
            pricing.rounded(amount, currency) if currency else "",
            instant(found), instant(seen),
        )  # fmt: skip
