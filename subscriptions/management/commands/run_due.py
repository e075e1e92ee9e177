"""`uv run manage.py run_due`: what falls due, shown or done."""

from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.management import CommandError

from portal import demo_clock
from subscriptions import actions, clock, lifecycle, pricing
from subscriptions.lifecycle import Taken
from subscriptions.management.telling import INTERRUPTED, MISUSED, TellingCommand
from subscriptions.models import Subscription

_EXAMPLES = 3
_FARTHEST = timedelta(days=5 * 366)
_LABELS = {
    "billed": "A period begins and is billed",
    "unbilled": "A period begins and is not billed: suspended",
    "no price": "A period waits for a price",
    "renewed": "A term is renewed",
    "reminded": "A reminder of a renewal, or of the end of a trial, is sent",
    "expired": "A term is over and is not renewed",
    "grace": "A grace time is over: a cancel is placed",
    "trial": "A trial is over: a cancel is placed",
    "ended": "An end date has come: a cancel is placed",
    "withdrawn": "A planned order has become impossible: withdrawn",
    "error": "Cannot be done",
}


class Command(TellingCommand):
    help = (
        "Take every step that is due: scheduled orders, periods, terms, trials, grace times, reminders. A worker does "
        "this every few seconds by itself. Without --apply it only shows what would be done; safe to run twice."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--at",
            metavar="DATE",
            type=demo_clock.moment,
            help="until when, such as 2027-03-02 or 2027-03-02T09:30 (UTC); until now without it. A later day shows a "
            "forecast",
        )
        parser.add_argument("--apply", action="store_true", help="do it, and do not only show it")
        parser.epilog = "Example: uv run manage.py run_due --at 2027-03-02"

    def handle(self, *, at: datetime | None, apply: bool, **options: Any) -> None:
        """Exit code 1 when a row could not be done, 2 when asked for the impossible, 130 when interrupted."""
        now = clock.now()
        until = at or now
        if until - now > _FARTHEST:
            raise CommandError("A forecast reaches at most five years ahead.", returncode=MISUSED)
        if apply and until > now:
            raise CommandError(
                f"Business time is {demo_clock.words(now)}: what falls due later cannot be done yet. In a demo, "
                f"`manage.py demo --at {until:%Y-%m-%d}` moves it on.",
                returncode=MISUSED,
            )
        try:
            failed = (self._apply if apply else self._show)(now, until)
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. What was done stays done; run it again for the rest.", returncode=INTERRUPTED
            ) from None
        if failed:
            raise CommandError(f"{failed:,} cannot be done. The rest is not touched by that.")

    # --- showing -----------------------------------------------------------------------------------------------------

    def _show(self, now: datetime, until: datetime) -> int:
        self._say(f"Business time is {demo_clock.words(now)}.")
        failed = self._print(lifecycle.forecast(now, until), until)
        if waiting := lifecycle.held_up(until):
            self._say(f"{waiting:>9,}  Waits for its open order")
        self._say("Nothing was done. With --apply, what is due by now is done.")
        return failed

    def _print(self, steps: Iterable[Taken], until: datetime) -> int:
        """Say how many of each kind there are, with a few of them; returns how many cannot be done."""
        counts: Counter[str] = Counter()
        amounts: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        examples: dict[str, list[str]] = defaultdict(list)
        for one in steps:
            counts[one.kind] += 1
            if one.amount:
                amounts[one.kind][one.subscription.currency] += one.amount
            if len(examples[one.kind]) < _EXAMPLES or one.error:
                examples[one.kind].append(_row(one))
        if not counts:
            self._say(f"Until {demo_clock.words(until)} nothing falls due.")
        else:
            self._say(f"Until {demo_clock.words(until)}, as things stand now:")
        for kind in sorted(counts, key=_place):
            money = ", ".join(pricing.money(amount, currency) for currency, amount in sorted(amounts[kind].items()))
            self._say(f"{counts[kind]:>9,}  {_label(kind)}{f' ({money})' if money else ''}")
            for line in examples[kind]:
                self._say(f"{'':>11}{line}")
            if counts[kind] > len(examples[kind]):
                self._say(f"{'':>11}...")
        return counts["error"]

    # --- doing -------------------------------------------------------------------------------------------------------

    def _apply(self, now: datetime, until: datetime) -> int:
        done: Counter[str] = Counter()
        failed = moved = 0
        owed = len(lifecycle.due_ids(until, limit=None))
        with self._progress("Due", owed) as reached:
            for one in lifecycle.passes(now, until=until):
                done += one.done
                moved += one.moved + len(one.failed)
                # More than one step can be due for a subscription.
                reached(moved, max(owed, moved))
                failed += len(one.failed)
                for pk, error in one.failed.items():
                    self._say(f"{Subscription(pk=pk)}: {_words(error)}")
        if not done:
            self._say(f"Until {demo_clock.words(until)} nothing was due.")
        for kind in sorted(done, key=_place):
            self._say(f"{done[kind]:>9,}  {_label(kind)}")
        return failed


def _place(kind: str) -> tuple[int, str]:
    """Planned orders first, as they fall due, then the rest as in the table of labels."""
    return (list(_LABELS).index(kind), "") if kind in _LABELS else (-1, kind)


def _label(kind: str) -> str:
    stem = kind.removeprefix("due ")
    return f"A planned order falls due: {actions.ACTIONS[stem].label}" if kind != stem else _LABELS[kind]


def _row(one: Taken) -> str:
    subscription = one.subscription
    if one.error:
        return f"{subscription} ({subscription.account}): {_words(one.error)}"
    day = actions.date_words(actions.local_day(one.due, subscription.account))
    money = f", {pricing.money(one.amount, subscription.currency)}" if one.amount else ""
    return f"{subscription} ({subscription.account}) on {day}{money}"


def _words(error: Exception) -> str:
    """The first line of an error with its kind, since some errors have no words of their own."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
