"""What was chosen in BSS and is not confirmed yet: looked at chunk by chunk, and then made a run."""

from datetime import timedelta
from typing import Any

from django.db import transaction

from subscriptions import clock, quotes
from subscriptions.actions import BSS, NotAllowed
from subscriptions.bulk import jobs, runs
from subscriptions.bulk.previews import Preview
from subscriptions.bulk.selection import Line, Selection
from subscriptions.bulk.wanted import CHUNK, Wanted
from subscriptions.models import BulkRow, BulkRun, RunStatus, User

KEPT = timedelta(days=7)
"""How long a draft waits for somebody to confirm it."""
NOT_LOOKED_AT = NotAllowed("not_looked_at", "Not all of them were looked at yet. Wait until they are, then confirm.")
TOO_OLD = NotAllowed("too_old", "These figures were older than 15 minutes. Look at the new ones and confirm again.")


def draft(stem: str, selection: Selection, *, actor: User, given: dict[str, Any] | None) -> BulkRun:
    """Write down what was chosen. A few rows are looked at before it returns, many by a worker; see `preview_of`.

    With `given` None there is nothing to look at until `ask` has said more. Raises NotAllowed (`nothing_chosen`).
    """
    run = BulkRun(
        action=stem, given=given or {}, actor=actor, audience=BSS, selection=selection.words, created_at=clock.now(),
        status=RunStatus.DRAFT, preview=None if given is None else {},
    )  # fmt: skip
    with transaction.atomic(durable=True):
        runs.write(run, selection)
        _owe_a_look(run)
    _look_at_few(run)
    return run


def ask(run: BulkRun, given: dict[str, Any], reason: str) -> None:
    """Want something else of a draft, which is looked at anew. Raises NotAllowed (`confirmed`)."""
    with transaction.atomic(durable=True):
        _lock(run)
        run.given, run.reason, run.preview = given, reason, {}
        run.save(update_fields=["given", "reason", "preview"])
        _owe_a_look(run)
    _look_at_few(run)


def confirm(run: BulkRun, reason: str) -> None:
    """Make a run of a draft that was looked at, and owe the job that places it.

    Raises NotAllowed: `confirmed` when it was before, `not_looked_at`, `too_old`, or `nothing_possible`.
    """
    with transaction.atomic(durable=True):
        seen = preview_of(_lock(run))
        if seen is None or seen.at is None:
            raise NOT_LOOKED_AT
        if abs(clock.now() - seen.at) > quotes.HONOURED:
            raise TOO_OLD
        if not seen.able:
            raise NotAllowed("nothing_possible", "None of them can be done, for the reasons below.")
        run.reason, run.status = reason, RunStatus.RUNNING
        run.save(update_fields=["reason", "status"])
        jobs.owe(jobs.PLACE, run)


def preview_of(run: BulkRun) -> Preview | None:
    """What is known of what would happen: complete when it has its `at`, None before anything was asked."""
    return None if run.preview is None else Preview.from_json(run.preview)


def look(run: BulkRun) -> bool:
    """Look at the next rows of a draft, and keep what was found; is there more to look at?"""
    seen = preview_of(run)
    if run.status != RunStatus.DRAFT or seen is None or seen.at:
        return False
    waiting = BulkRow.objects.filter(run=run, position__gt=seen.rows).order_by("position")
    found = waiting.values_list("position", "subscription_id", "after")[:CHUNK]
    lines = [Line(position, pk or 0, after) for position, pk, after in found]
    seen.take(Wanted.of(run), lines, actor=run.actor, audience=run.audience)
    if seen.rows == run.total:
        seen.at = clock.now()
    with transaction.atomic(durable=True):
        now = BulkRun.objects.select_for_update(no_key=True).filter(pk=run.pk).first()
        if now is None or (now.status, now.given, now.preview) != (run.status, run.given, run.preview):
            # Something else was asked meanwhile, and is looked at by a job of its own.
            return False
        run.preview = seen.to_json()
        run.save(update_fields=["preview"])
    return seen.at is None


def forget(at_most: int = 1) -> int:
    """Delete drafts that nobody has confirmed for a week, the oldest first; returns how many."""
    old = BulkRun.objects.filter(status=RunStatus.DRAFT, created_at__lt=clock.now() - KEPT).order_by("pk")
    with transaction.atomic(durable=True):
        keys = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:at_most])
        for rows in (BulkRow.objects.filter(run__in=keys), BulkRun.objects.filter(pk__in=keys)):
            # Nothing refers to a draft, and nobody needs its rows in memory to delete them.
            rows._raw_delete(rows.db)
    return len(keys)


def _lock(run: BulkRun) -> BulkRun:
    """The draft as it is now, to be changed. Raises NotAllowed (`confirmed`)."""
    run.refresh_from_db(from_queryset=BulkRun.objects.select_for_update(no_key=True))
    if run.status != RunStatus.DRAFT:
        raise NotAllowed("confirmed", "This was confirmed before.")
    return run


def _owe_a_look(run: BulkRun) -> None:
    if run.preview is not None and run.total > CHUNK:
        jobs.owe(jobs.LOOK, run)


def _look_at_few(run: BulkRun) -> None:
    if run.total <= CHUNK:
        look(run)
