"""What was chosen in BSS and is not confirmed yet: written down and looked at step by step, and then made a run."""

from datetime import timedelta
from typing import Any

from django.db import transaction

from subscriptions import clock, quotes
from subscriptions.actions import BSS, NotAllowed
from subscriptions.bulk import jobs, runs
from subscriptions.bulk.previews import Preview
from subscriptions.bulk.selection import Line, Narrowed, Selection, write_next
from subscriptions.bulk.wanted import CHUNK, Wanted
from subscriptions.filters import BadFilter
from subscriptions.models import BulkRow, BulkRun, RunStatus, User

CHOSEN_TOGETHER = 20_000
"""How many rows of a draft are written in one transaction, while others are chosen later."""
KEPT = timedelta(days=7)
"""How long a draft waits for somebody to confirm it."""
FORGOTTEN = NotAllowed("forgotten", "Nobody confirmed this for a week, and it was deleted. Choose them again.")
NOT_CHOSEN = NotAllowed("not_chosen", "Not all of them are chosen yet. Wait until they are, then confirm.")
NOT_LOOKED_AT = NotAllowed("not_looked_at", "Not all of them were looked at yet. Wait until they are, then confirm.")
CHANGED = NotAllowed("changed", "Something else was asked for meanwhile, in another tab. Look at it, then confirm.")
TOO_OLD = NotAllowed("too_old", "These figures were older than 15 minutes. Look at the new ones and confirm again.")


def draft(stem: str, selection: Selection, *, actor: User, given: dict[str, Any] | None) -> BulkRun:
    """Write down what was chosen. A few rows are looked at before it returns, many by a worker; see `preview_of`.

    Of many that words find the words alone are written down: the draft is `choosing` until a worker has written its
    rows. With `given` None there is nothing to look at until `ask` has said more. Raises NotAllowed (`nothing_chosen`).
    """
    run = BulkRun(
        action=stem, given=given or {}, actor=actor, audience=BSS, selection=selection.words, created_at=clock.now(),
        status=RunStatus.DRAFT, preview=None if given is None else {},
    )  # fmt: skip
    few: Selection | None = selection
    if isinstance(selection, Narrowed) and (few := selection.few(CHUNK)) is None:
        run.choosing = selection.later()
    with transaction.atomic(durable=True):
        if few is None:
            run.save(force_insert=True)
        else:
            runs.write(run, few)
        _owe_a_look(run)
    _look_at_few(run)
    return run


def ask(run: BulkRun, given: dict[str, Any], reason: str) -> None:
    """Want something else of a draft, which is looked at anew, once all of it are chosen.

    Raises NotAllowed: `confirmed`, `forgotten`, or `not_chosen` when its words find nothing any more.
    """
    with transaction.atomic(durable=True):
        _lock(run)
        if run.stopped_because:
            raise NotAllowed(NOT_CHOSEN.code, run.stopped_because)
        run.given, run.reason, run.preview = given, reason, {}
        run.save(update_fields=["given", "reason", "preview"])
        _owe_a_look(run)
    _look_at_few(run)


def confirm(run: BulkRun, reason: str) -> None:
    """Make a run of a draft that was looked at, and owe the job that places it.

    Raises NotAllowed: `confirmed` when it was before, `forgotten`, `changed` when something else than `run.given` is
    wanted of it by now, `not_chosen`, `not_looked_at`, `too_old`, or `nothing_possible`.
    """
    meant = run.given
    with transaction.atomic(durable=True):
        seen = preview_of(_lock(run))
        if run.given != meant:
            raise CHANGED
        if run.choosing is not None:
            raise NotAllowed(NOT_CHOSEN.code, run.stopped_because) if run.stopped_because else NOT_CHOSEN
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
    """Write the next rows of a draft, or look at the next ones and keep what was found; is there more to do?"""
    if run.choosing is not None:
        return _choose(run)
    seen = preview_of(run)
    if run.status != RunStatus.DRAFT or seen is None or seen.at:
        return False
    waiting = BulkRow.objects.filter(run=run, position__gt=seen.rows).order_by("position")
    found = list(waiting.values_list("position", "subscription_id", "after", "shown")[:CHUNK])
    lines = [Line(position, pk or 0, after) for position, pk, after, _ in found]
    dues = seen.take(Wanted.of(run), lines, actor=run.actor, audience=run.audience)
    if seen.rows == run.total:
        seen.at = clock.now()
    with transaction.atomic(durable=True):
        now = BulkRun.objects.select_for_update(no_key=True).filter(pk=run.pk).first()
        if now is None or (now.status, now.given, now.preview) != (run.status, run.given, run.preview):
            # Something else was asked meanwhile, and is looked at by a job of its own.
            return False
        run.preview = seen.to_json()
        run.save(update_fields=["preview"])
        # Also where an earlier look was at something else, which had another price.
        runs.keep_shown(run, [(row[0], due) for row, due in zip(found, dues, strict=True) if due != row[3]])
    return seen.at is None


def _choose(run: BulkRun) -> bool:
    with transaction.atomic(durable=True):
        try:
            _lock(run)
        except NotAllowed:
            return False
        if run.stopped_because:
            return False
        if run.choosing is not None:
            try:
                write_next(run, CHOSEN_TOGETHER)
                if run.choosing is None and run.preview:
                    # A worker of the version before took it for a draft of no rows.
                    run.preview = {}
                    run.save(update_fields=["preview"])
            except BadFilter as bad:
                # Such as a company that has another name by now.
                run.stopped_because = f"The others cannot be chosen any more. {bad} Choose them in the list again."
                run.save(update_fields=["stopped_because"])
                return False
    return run.choosing is not None or run.preview is not None


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
    """The draft as it is now, to be changed. Raises NotAllowed (`confirmed`, `forgotten`)."""
    try:
        run.refresh_from_db(from_queryset=BulkRun.objects.select_for_update(no_key=True))
    except BulkRun.DoesNotExist:
        raise FORGOTTEN from None
    if run.status != RunStatus.DRAFT:
        raise NotAllowed("confirmed", "This was confirmed before.")
    return run


def _owe_a_look(run: BulkRun) -> None:
    if run.choosing is not None or (run.preview is not None and run.total > CHUNK):
        jobs.owe(jobs.LOOK, run)


def _look_at_few(run: BulkRun) -> None:
    if run.choosing is None and run.total <= CHUNK:
        look(run)
