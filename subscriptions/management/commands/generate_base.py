"""`uv run manage.py generate_base`: a large base of invented subscriptions, for measuring."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import CommandError
from django.db import connection

from subscriptions import figures
from subscriptions.management import generated
from subscriptions.management.telling import MISUSED, TellingCommand
from subscriptions.models import Account

_MOST = 10_000_000


class Command(TellingCommand):
    help = (
        "Fill a database with invented accounts and subscriptions, each with its orders, events, charge and vendor "
        "call, to measure with. It refuses a database that holds accounts, unless told to add to them. The same seed "
        "makes the same base, with dates counted back from today."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--subscriptions", metavar="N", type=int, default=100_000, help="how many; 100,000 if not said"
        )
        parser.add_argument("--accounts", metavar="N", type=int, help="of how many companies; an eighth if not said")
        parser.add_argument("--seed", metavar="N", type=int, default=0, help="for another base of the same size")
        parser.add_argument("--add", action="store_true", help="write into a database that holds accounts already")
        parser.add_argument(
            "--emulator",
            metavar="FILE",
            type=Path,
            help="let the emulator's file know them too, as if each had been provisioned, also while it runs; that of "
            "the demo is emulator.sqlite in its data folder",
        )
        parser.epilog = "Example: uv run manage.py generate_base --subscriptions 1000000 --emulator emulator.sqlite"

    def handle(
        self,
        *,
        subscriptions: int,
        accounts: int | None,
        seed: int,
        add: bool,
        emulator: Path | None,
        **options: Any,
    ) -> None:
        """Exit code 2 when asked for the impossible. Interrupted, it leaves what is written, in whole batches."""
        accounts = max(subscriptions // 8, generated.FEWEST_ACCOUNTS) if accounts is None else accounts
        if not 1 <= subscriptions <= _MOST:
            raise CommandError(f"--subscriptions takes 1 to {_MOST:,}.", returncode=MISUSED)
        if not generated.FEWEST_ACCOUNTS <= accounts <= _MOST:
            raise CommandError(f"--accounts takes {generated.FEWEST_ACCOUNTS} to {_MOST:,}.", returncode=MISUSED)
        if not 0 <= seed < 2**31:
            raise CommandError("--seed takes 0 to 2147483647.", returncode=MISUSED)
        if not add and Account.objects.exists():
            name = connection.settings_dict["NAME"]
            raise CommandError(
                f"The database {name!r} holds accounts. It was left as it is. Name an empty one in DATABASE_URL, or "
                "give --add.",
                returncode=MISUSED,
            )
        began = time.monotonic()
        with self._progress("Subscriptions", subscriptions) as done:
            first = generated.fill(subscriptions, accounts=accounts, seed=seed, progress=done)
        self._say("Clearing up")
        generated.analyse()
        # The worker would count the last days alone.
        figures.refresh(anew=True)
        if emulator is not None:
            with self._progress("At the emulator", subscriptions) as done:
                known = generated.fill_emulator(emulator, first=first, progress=done)
            self._say(f"The emulator's file knows {known:,} of them; the others were never provisioned.")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
            [size] = cursor.fetchone()
        seconds = time.monotonic() - began
        self._say(
            f"{subscriptions:,} subscriptions of {accounts:,} accounts in {seconds:,.0f} s; the database has {size}."
        )
