"""Bulk runs in BSS: who did what to many and why, the preview before it, how far it is, and what became of each row."""

from itertools import chain
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from subscriptions import actions, bulk, pricing
from subscriptions.actions import NotAllowed
from subscriptions.admin import downloads, shortcut, words
from subscriptions.admin.bulk import EVERY, Act, choose
from subscriptions.admin.bulk_forms import BulkForm
from subscriptions.admin.lists import ReadOnlyAdmin, key
from subscriptions.bulk import Preview, Reason
from subscriptions.filters import subscription_id
from subscriptions.models import BulkRun, OrderStatus, RunStatus

# Seconds between two looks of an open page; it stops after the last one and leaves the link.
LOOKS = (1, 2, 5, *[10] * 60)
CHANGED = "What you entered changes what would happen. Look at the new figures, and confirm again."
_NOTES = 10
_SHAPES = {
    RunStatus.DRAFT: "pending",
    RunStatus.RUNNING: "in_progress",
    RunStatus.STOPPED: "suspended",
    RunStatus.DONE: "in_progress",
}
_WILL = {
    OrderStatus.SCHEDULED: "would be planned for a later day",
    OrderStatus.AWAITING_APPROVAL: "would wait for approval",
}
# The words of results, with their shapes and as a page says them; in this order.
_OUTCOMES = {
    "done": ("completed", "Done"),
    "in progress": ("in_progress", "Being carried out"),
    "scheduled": ("scheduled", "Planned for a later day"),
    "awaiting approval": ("awaiting_approval", "Waiting for approval"),
    "waiting": ("pending", "Not placed yet"),
    "needs attention": ("needs_attention", "Needs attention"),
    "failed": ("failed", "Failed"),
    "refused": ("cancelled", "Refused, nothing was placed"),
    "rejected": ("rejected", "Rejected"),
    "withdrawn": ("withdrawn", "Withdrawn"),
}
# Outcomes after which nothing more happens to a row.
_OVER = ("done", "refused", "failed", "rejected", "withdrawn")


@admin.register(BulkRun)
class BulkRunAdmin(ReadOnlyAdmin):
    list_display = ("number", "what", "state", "counts", "who", "reason_given", "asked")
    list_display_links = ("number",)
    list_select_related = ("actor",)

    def get_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, "subscriptions_bulkrun"
        return [
            path("choose/", wrap(require_POST(choose)), name=f"{name}_choose"),
            path("<int:pk>/ask/", wrap(require_POST(ask)), name=f"{name}_ask"),
            path("<int:pk>/stop/", wrap(require_POST(stop)), name=f"{name}_stop"),
            path("<int:pk>/resume/", wrap(require_POST(resume)), name=f"{name}_resume"),
            path("<int:pk>/results/", wrap(require_safe(results)), name=f"{name}_results"),
            *super().get_urls(),
        ]

    # The list.

    @admin.display(description="Run")
    def number(self, row: BulkRun) -> str:
        return f"{row.pk:,}"

    @admin.display(description="What")
    def what(self, row: BulkRun) -> SafeString:
        return format_html("{}<small>{}</small>", _title(row), row.selection)

    @admin.display(description="Status")
    def state(self, row: BulkRun) -> SafeString:
        return _status(row)

    @admin.display(description="Placed")
    def counts(self, row: BulkRun) -> str | SafeString:
        if row.status == RunStatus.DRAFT:
            return words.NOTHING
        refused = format_html("<small>{} refused</small>", f"{row.refused:,}") if row.refused else ""
        return format_html('<span class="figure">{} of {}</span>{}', f"{row.placed:,}", f"{row.total:,}", refused)

    @admin.display(description="By")
    def who(self, row: BulkRun) -> str:
        return words.who(row.actor, row.audience)

    @admin.display(description="Reason")
    def reason_given(self, row: BulkRun) -> str:
        return row.reason or words.NOTHING

    @admin.display(description="Asked for")
    def asked(self, row: BulkRun) -> SafeString:
        return words.moment(row.created_at)

    # The page.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one run, from its preview to the outcome of its last row."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return page(request, _find(request, key(object_id)))


def _find(request: HttpRequest, pk: int) -> BulkRun:
    if not request.user.has_perm("subscriptions.view_bulkrun"):
        raise PermissionDenied("Your staff group may not see bulk runs.")
    return get_object_or_404(BulkRun.objects.select_related("actor"), pk=pk)


def _find_to_act(request: HttpRequest, pk: int) -> tuple[BulkRun, Act]:
    run = _find(request, pk)
    act = EVERY[run.action]
    if not act.allowed(request.user):
        raise PermissionDenied(f"Your staff group may not {act.actions[0].verb}.")
    return run, act


def _title(run: BulkRun) -> str:
    return EVERY[run.action].title(run)


def _status(run: BulkRun) -> SafeString:
    """As the list of runs says it, which may be some seconds behind the orders."""
    return _in_words(run, run.not_done if run.open_from is None else None)


def _status_by(run: BulkRun, counts: dict[str, int]) -> SafeString:
    """The same to the moment, by the outcomes of the rows."""
    over = sum(counts.get(outcome, 0) for outcome in _OVER)
    return _in_words(run, run.total - counts.get("done", 0) if over == run.total else None)


def _in_words(run: BulkRun, not_done: int | None) -> SafeString:
    if run.status != RunStatus.DONE or not_done is None:
        return words.status(_SHAPES[RunStatus(run.status)], run.get_status_display())
    if not_done == run.total:
        return words.status("failed", "None done")
    return words.status("completed", f"Done, {not_done:,} not" if not_done else "Done")


# --- what is done with a run -----------------------------------------------------------------------------------------


def ask(request: HttpRequest, pk: int) -> HttpResponse:
    """Look at something else, or confirm what was looked at. A run that was confirmed before is only shown."""
    run, act = _find_to_act(request, pk)
    if run.status != RunStatus.DRAFT:
        return _back(run)
    if run.actor_id != request.user.pk:
        raise PermissionDenied(f"Only {run.actor}, who chose them, can go on with them.")
    confirming = "confirm" in request.POST
    form = act.form(request.POST, run=run, confirming=confirming)
    if not form.is_valid():
        return page(request, run, form, status=422)
    try:
        _go_on(request, run, form, confirming=confirming)
    except NotAllowed as refusal:
        # Somebody, or the same person in another tab, was faster.
        if refusal.code != "confirmed":
            messages.warning(request, refusal.sentence)
        if refusal.code == "forgotten":
            return redirect("admin:subscriptions_bulkrun_changelist")
    return _back(run)


def _go_on(request: HttpRequest, run: BulkRun, form: BulkForm, *, confirming: bool) -> None:
    reason = form.cleaned_data["reason"]
    if not confirming or form.given != run.given:
        bulk.ask(run, form.given, reason)
        if confirming:
            messages.warning(request, CHANGED)
        return
    try:
        bulk.confirm(run, reason)
    except NotAllowed as refusal:
        if refusal.code != "too_old":
            raise
        bulk.ask(run, form.given, reason)
        messages.warning(request, refusal.sentence)
    else:
        _note(request, run, "Confirmed")


def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Place no more of it; what is placed goes on."""
    run, _ = _find_to_act(request, pk)
    if run.status == RunStatus.RUNNING:
        bulk.stop(run)
        _note(request, run, "Stopped")
    return _back(run)


def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Go on with it, in the name and with the rights of whoever confirmed it."""
    run, _ = _find_to_act(request, pk)
    if run.audience != actions.BSS:
        messages.error(request, _by_command(run))
    elif run.status == RunStatus.STOPPED:
        bulk.resume(run)
        _note(request, run, "Resumed")
    return _back(run)


def results(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The outcome of each row as CSV, as the commands write it."""
    run = _find(request, pk)
    if run.status == RunStatus.DRAFT:
        messages.error(request, "Nothing was done yet, so there are no results.")
        return _back(run)
    return downloads.outcomes(chain([bulk.COLUMNS], bulk.sheet(run)), f"bulk-run-{run.pk}")


def _back(run: BulkRun) -> HttpResponse:
    return redirect("admin:subscriptions_bulkrun_change", run.pk)


def _note(request: HttpRequest, run: BulkRun, what: str) -> None:
    user: Any = request.user
    LogEntry.objects.log_actions(user.pk, [run], CHANGE, what, single_object=True)


def _by_command(run: BulkRun) -> str:
    return f"It was begun by a command, and goes on by one: uv run manage.py bulk_{run.action} --resume {run.pk}"


# --- the page --------------------------------------------------------------------------------------------------------


def page(request: HttpRequest, run: BulkRun, form: BulkForm | None = None, status: int = 200) -> HttpResponse:
    """What a run is, in any status; `form` is one with errors."""
    draft = run.status == RunStatus.DRAFT
    act = EVERY[run.action]
    may_act = act.allowed(request.user)
    shown = _before(request, run, act, form) if draft else _since(run)
    user: Any = request.user
    context = {
        **admin.site.each_context(request),
        "opts": BulkRun._meta,
        "title": _title(run),
        "frame": "admin/subscriptions/bulkrun/frame.html",
        "run": run,
        "state": _status(run),
        "who": words.who(run.actor, run.audience),
        "draft": draft,
        "danger": act.danger,
        "list_address": act.list_address,
        "may_act": may_act,
        "may_resume": may_act and run.status == RunStatus.STOPPED and run.audience == actions.BSS,
        "by_command": _by_command(run)
        if run.audience == actions.COMMAND and run.status in (RunStatus.STOPPED, RunStatus.RUNNING)
        else "",
        "mine": may_act and run.actor_id == user.pk,
        "notes": _notes(run),
        **shown,
        **_looking(request, waiting=shown["waiting"]),
    }
    return render(request, "admin/subscriptions/bulkrun/page.html", context, status=status)


def _before(request: HttpRequest, run: BulkRun, act: Act, form: BulkForm | None) -> dict[str, Any]:
    seen = bulk.preview_of(run)
    shown: dict[str, Any] = {"seen": seen, "form": form or act.form(run=run), "waiting": bool(seen and not seen.at)}
    if run.choosing is not None:
        return shown | {"sum": f"{run.total:,} chosen so far.", "waiting": not run.stopped_because}
    if seen is None:
        return shown
    complete = bool(seen.at)
    button = f"{act.button(act.many(seen.able), run.given)}{_and_money(seen)}" if complete and seen.able else ""
    return shown | {
        "complete": complete,
        "told": act.told and seen.able > 0,
        "looked_at": f"{seen.rows:,}",
        "sum": _sum(run, act, seen),
        "can": [
            {"count": f"{one.count:,}", "what": _WILL.get(OrderStatus(will), act.can), "examples": _examples(one)}
            for will, one in sorted(seen.can.items(), key=_most)
        ],
        "planned": [
            {"count": f"{one.count:,}", "what": f"{what}:", "examples": _examples(one)} for what, one in seen.touched
        ],
        "cannot": _why_not(seen.cannot),
        "danger": act.danger or bool(seen.gone),
        "button": button,
    }


def _sum(run: BulkRun, act: Act, seen: Preview) -> str:
    """In one sentence, such as "12 selected: 9 can be suspended, 3 cannot."."""
    if seen.at and not (seen.able and seen.unable):
        return f"{run.total:,} selected: {'all' if seen.able else 'none'} {act.can}."
    looked_at = "" if seen.at else f", {seen.rows:,} looked at"
    return f"{run.total:,} selected{looked_at}: {seen.able:,} {act.can}, {seen.unable:,} cannot."


def _and_money(seen: Preview) -> str:
    """What is charged, for a button that names the day of what is planned."""
    words = ""
    for amounts, when in ((seen.due, ""), (seen.later, " on that day")):
        if charged := [pricing.money(amount, currency) for currency, amount in sorted(amounts.items()) if amount > 0]:
            words += f" and charge {' and '.join(charged)}{when}"
    return words


def _since(run: BulkRun) -> dict[str, Any]:
    counts = bulk.tally(run)
    decided, carried_out = run.placed + run.refused, counts.get("in progress", 0)
    badly = any(counts.get(outcome) for outcome in bulk.FAILURES)
    waiting = run.status == RunStatus.RUNNING or carried_out > 0
    return {
        "state": _status_by(run, counts),
        "waiting": waiting,
        # It goes through all orders, which a page that looks again every few seconds must not.
        "money": [] if waiting else bulk.money(run),
        "decided": decided,
        "how_far": f"{decided:,} of {run.total:,} rows decided: {run.placed:,} placed, {run.refused:,} refused.",
        "outcomes": [
            {"state": words.status(*_OUTCOMES[outcome]), "count": f"{counts[outcome]:,}"}
            for outcome in _OUTCOMES
            if counts.get(outcome)
        ],
        "why_not": _why_not(bulk.reasons(run)) if badly else [],
    }


def _most(one: tuple[str, Reason]) -> int:
    return -one[1].count


def _why_not(reasons: dict[str, Reason]) -> list[dict[str, Any]]:
    return [
        # There is no page of a subscription that is not there.
        {"count": f"{reason.count:,}", "examples": _examples(reason, linked=code != "unknown")}
        for code, reason in sorted(reasons.items(), key=_most)
    ]


def _examples(reason: Reason, *, linked: bool = True) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each sentence with those of whom it is said: names with their addresses, which may be empty."""
    said: dict[str, list[tuple[str, str]]] = {}
    for named, sentence in reason.examples:
        pk = subscription_id(named) if linked else None
        said.setdefault(sentence, []).append((named, shortcut.subscription_url(pk) if pk else ""))
    return list(said.items())


def _notes(run: BulkRun) -> list[tuple[str, Any, str]]:
    """Who confirmed, stopped and resumed it, the newest first."""
    model = ContentType.objects.get_for_model(BulkRun)
    entries = LogEntry.objects.filter(content_type=model, object_id=str(run.pk)).select_related("user")
    return [(one.change_message, one.action_time, str(one.user)) for one in entries.order_by("-pk")[:_NOTES]]


def _looking(request: HttpRequest, *, waiting: bool) -> dict[str, Any]:
    """Whether and when the page looks again by itself."""
    look = min(key(request.GET.get("look", "")), len(LOOKS))
    return {"look_in": LOOKS[look] if waiting and look < len(LOOKS) else None, "look": look + 1}
