"""Takeovers in BSS: which base came from where, who asked for it and why, and what became of its rows. To read only."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from subscriptions import lifecycle, takeover
from subscriptions.admin import downloads, words
from subscriptions.admin.lists import ReadOnlyAdmin, key
from subscriptions.models import Account, Takeover, TakeoverStatus

_COMPANIES = 10
_SHAPES = {
    TakeoverStatus.RUNNING: "in_progress",
    TakeoverStatus.STOPPED: "suspended",
    TakeoverStatus.DONE: "completed",
}


@admin.register(Takeover)
class TakeoverAdmin(ReadOnlyAdmin):
    list_display = ("number", "base", "state", "counts", "who", "reason", "asked")
    list_display_links = ("number",)
    list_select_related = ("actor",)

    def get_urls(self) -> list[URLPattern]:
        name = "subscriptions_takeover_results"
        own = path("<int:pk>/results/", self.admin_site.admin_view(require_safe(results)), name=name)
        return [own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Takeover]:
        # The keys of thousands, which the list shows nothing of.
        return super().get_queryset(request).defer("companies")

    @admin.display(description="Takeover")
    def number(self, row: Takeover) -> str:
        return f"{row.pk:,}"

    @admin.display(description="From")
    def base(self, row: Takeover) -> SafeString:
        return format_html("{}<small>{}</small>", row.source, row.file)

    @admin.display(description="Status")
    def state(self, row: Takeover) -> SafeString:
        return _status(row)

    @admin.display(description="Taken over")
    def counts(self, row: Takeover) -> SafeString:
        # How many were refused is on its page: those that were here already are among `refused`, and are no failure.
        return format_html('<span class="figure">{} of {}</span>', f"{row.taken:,}", f"{row.total:,}")

    @admin.display(description="By")
    def who(self, row: Takeover) -> str:
        return words.who(row.actor, row.audience)

    @admin.display(description="Asked for")
    def asked(self, row: Takeover) -> SafeString:
        return words.moment(row.created_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one takeover; 8 queries, whatever its number of rows and companies."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        run = _find(request, key(object_id))
        context = {**self.admin_site.each_context(request), "opts": self.opts, **_shown(run)}
        return render(request, "admin/subscriptions/takeover/page.html", context)


def results(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The outcome of each row as CSV, as the command writes it."""
    run = _find(request, pk)
    return downloads.outcomes(takeover.sheet(run), f"takeover-{run.pk}")


def _find(request: HttpRequest, pk: int) -> Takeover:
    if not request.user.has_perm("subscriptions.view_takeover"):
        raise PermissionDenied("Your staff group may not see takeovers.")
    return get_object_or_404(Takeover.objects.select_related("actor"), pk=pk)


def _shown(run: Takeover) -> dict[str, Any]:
    reasons = takeover.reasons(run)
    here = reasons.pop(lifecycle.ALREADY_HERE, None)
    already, decided = here.count if here else 0, run.taken + run.refused
    outcomes = (
        ("completed", "Taken over", run.taken),
        ("cancelled", "Already here, just as the file says", already),
        ("failed", "Refused", run.refused - already),
        ("pending", "Waiting", run.total - decided),
    )
    created = Account.objects.filter(pk__in=run.companies[:_COMPANIES]).order_by("pk")
    return {
        "title": f"Takeover from {run.source}",
        "run": run,
        "state": _status(run),
        "who": words.who(run.actor, run.audience),
        "decided": decided,
        "how_far": f"{decided:,} of {run.total:,} rows decided.",
        "outcomes": [{"state": words.status(*one), "count": f"{count:,}"} for *one, count in outcomes if count],
        "by_command": ""
        if run.status == TakeoverStatus.DONE
        else f"A command goes on with it: uv run manage.py import_subscriptions --resume {run.pk}",
        "why_not": [
            {"count": f"{one.count:,}", "examples": [(one.sentence, [(named, "") for named, _ in one.examples])]}
            for one in reasons.values()
        ],
        "companies": f"{len(run.companies):,}" if run.companies else "",
        "created": [(one, reverse("admin:subscriptions_account_change", args=[one.pk])) for one in created],
        "more": len(run.companies) > _COMPANIES,
    }


def _status(run: Takeover) -> SafeString:
    return words.status(_SHAPES[TakeoverStatus(run.status)], run.get_status_display())
