"""Demo data that came about as in the field: by orders that ran through the emulator, its faults and outside changes.

A comment on a table of ours says that the demo filled this database, and whether it came to the end; without it a
database that holds people or accounts is somebody else's and is left alone.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

from django.core.management import call_command
from django.db import connection

from subscriptions import clock
from subscriptions.management.demo_data import cast, catalogue, history
from subscriptions.management.demo_data.cast import PASSWORD
from subscriptions.management.demo_data.history import Progress, keep_busy
from subscriptions.management.demo_data.stage import Stage
from subscriptions.models import Account, User
from subscriptions.vendors.emulator.control import Control

__all__ = ["PASSWORD", "State", "forget", "keep_busy", "load", "move", "state"]
_TABLE = Account._meta.db_table


class State(Enum):
    """What a database holds."""

    EMPTY = ""
    UNFINISHED = "Demo data, not finished"
    COMPLETE = "Demo data"
    FOREIGN = "not of the demo"


def state() -> State:
    """What the database holds; works before the first migration too and changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", [_TABLE])
        [mark] = cursor.fetchone()
    if mark in (State.UNFINISHED.value, State.COMPLETE.value):
        return State(mark)
    tables = connection.introspection.table_names()
    if not tables:
        return State.EMPTY
    if _TABLE not in tables or Account.objects.exists() or User.objects.exists():
        return State.FOREIGN
    return State.EMPTY


def forget(vendor: Control) -> None:
    """Drop everything in the database, migrate it anew, and let the emulator forget everything too."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    # Statements that were prepared on this connection name tables that are gone.
    connection.close()
    vendor.reset()
    call_command("migrate", verbosity=0, interactive=False)


def load(vendor: Control, progress: Progress) -> None:
    """Fill an empty, migrated database and the emulator; takes some seconds. No worker may be running."""
    _mark(State.UNFINISHED)
    vendor.reset()
    with connection.cursor() as cursor:
        # Hundreds of short transactions; a power cut would at worst leave data that are marked as unfinished.
        cursor.execute("SET synchronous_commit = off")
    stage, now = Stage(vendor), clock.now()
    with stage.for_a_while():
        stage.begin_at(history.earliest(now))
        cast.create()
        catalogue.create()
        history.play(stage, now, progress)
    with connection.cursor() as cursor:
        cursor.execute("RESET synchronous_commit")
    _mark(State.COMPLETE)


def move(
    vendor: Control, at: datetime, *, keep: Callable[[timedelta], None], progress: Callable[[datetime], None]
) -> None:
    """Let business time pass until `at`, as if a worker had run meanwhile; no worker may be running.

    `keep` hears how far time runs ahead before anything happens at it: an interrupted move goes on from there.
    """
    # The vendor is not busy for months.
    vendor.clear_faults()
    stage = Stage(vendor, keep=keep)
    stage.work()
    stage.play_until(at, progress)


def _mark(mark: State) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE {connection.ops.quote_name(_TABLE)} IS '{mark.value}'")
