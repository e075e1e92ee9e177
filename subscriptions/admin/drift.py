"""Drift in BSS: the worklist of what differs from the vendor's records, to be settled one by one or many at once."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST

from subscriptions import bulk, filters, pricing, reconciliation
from subscriptions.actions import NotAllowed
from subscriptions.admin import shortcut, words
from subscriptions.admin.bulk import SETTLING, Act
from subscriptions.admin.lists import NarrowedAdmin, NarrowedChangeList, ReadOnlyAdmin, key
from subscriptions.bulk import Drifting
from subscriptions.filters import BadFilter
from subscriptions.models import Drift, DriftField, ReconciliationRun, ReconciliationStatus

_SHAPES = {
    ReconciliationStatus.RUNNING: "in_progress",
    ReconciliationStatus.STOPPED: "suspended",
    ReconciliationStatus.DONE: "completed",
}


class Worklist(NarrowedChangeList):
    """What is open, by currency and money at stake, then by age; what has ended when it is asked for, newest first."""

    @property
    def ended(self) -> bool:
        return "ending" in self.words

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        return rows.order_by("-pk") if self.ended else rows.filter(ended_at__isnull=True)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["currency", "-amount", "pk"]

    def after(self, rows: Any, last: int) -> Any:
        if self.ended:
            return rows.filter(pk__lt=last)
        seen = Drift.objects.filter(pk=last).first()
        if seen is None:
            return rows.none()
        less = Q(amount__lt=seen.amount) | Q(amount=seen.amount, pk__gt=seen.pk)
        # The first condition alone can be looked up in the index of the worklist.
        return rows.filter(currency__gte=seen.currency).filter(Q(currency__gt=seen.currency) | less)

    def choices(self) -> Iterator[dict[str, Any]]:
        for word in super().choices():
            if word["label"] == self._label("ending"):
                (_, *rest), *others = word["links"]
                word["links"] = [("Still open", *rest), *others]
            yield word

    @staticmethod
    def _label(name: str) -> str:
        return {"field": "What differs", "ending": "Ended"}.get(name) or NarrowedChangeList._label(name)


@admin.display(description=mark_safe('<span class="visually-hidden">Choose</span>'))
def tick(row: Drift) -> SafeString:
    """The first column: a box that belongs to the form above the list; nothing settles what is unknown here."""
    if row.subscription_id is None or row.ended_at:
        return format_html('<span class="visually-hidden">{}</span>', "Cannot be chosen")
    return format_html(
        '<input type="checkbox" form="settle" name="ticked" value="{}" aria-label="Choose {}">', row.pk, row
    )


def _said(field: str, noted: str) -> str:
    """As a person reads it; a file has the same number without a separator."""
    if field == DriftField.SEATS and noted.isdecimal():
        return f"{int(noted):,}"
    return reconciliation.in_words(field, noted)


@admin.register(Drift)
class DriftAdmin(NarrowedAdmin):
    list_display = ("where", "what", "here", "there", "stake_since")
    list_display_links = None
    list_select_related = ("subscription__account", "subscription__sku__product")
    search_fields = ("pk",)
    search_help_text = "Subscription ID (SUB-000123), the vendor's subscriber ID or company."
    fields = ("where", "what", "here", "there", "stake", "since", "seen", "ended", "order_link")
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = path("settle/", wrap(require_POST(settle)), name="subscriptions_drift_settle")
        return [own, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NarrowedChangeList]:
        return Worklist

    def get_list_display(self, request: HttpRequest) -> Any:
        return (tick, *self.list_display) if offered(request.user) else self.list_display

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        money = reconciliation.at_stake()
        more = {
            "acts": offered(request.user),
            "at_stake": [pricing.money(amount, currency) for currency, amount in sorted(money.items())],
            "newest": ReconciliationRun.objects.order_by("-pk").first(),
        }
        return super().changelist_view(request, {**(extra_context or {}), **more})

    @admin.display(description="Subscription")
    def where(self, row: Drift) -> SafeString:
        if row.subscription is None:
            return format_html("{}<small>{}</small>", row.subscriber_id, "The vendor's subscriber ID")
        url = shortcut.subscription_url(row.subscription.pk, "details")
        about = (row.subscription.number, row.subscription.account, row.subscription.sku.product)
        return format_html('<a href="{}">{}</a> {}<small>{}</small>', url, *about)

    @admin.display(description="What differs")
    def what(self, row: Drift) -> str:
        return row.get_field_display()

    @admin.display(description="Ours")
    def here(self, row: Drift) -> str:
        return _said(row.field, row.ours)

    @admin.display(description="Theirs")
    def there(self, row: Drift) -> str | SafeString:
        said = _said(row.field, row.theirs)
        if row.field == DriftField.EXISTENCE and row.ended_at is None:
            return format_html("{}<small>{}</small>", said, "Take theirs cancels it here, for good.")
        return said

    @admin.display(description="At stake a month")
    def stake_since(self, row: Drift) -> SafeString:
        return format_html("{}<small>since {}</small>", self.stake(row), self.since(row))

    @admin.display(description="At stake a month")
    def stake(self, row: Drift) -> SafeString:
        money = pricing.money(row.amount, row.currency) if row.currency else "No price"
        return format_html('<span class="figure">{}</span>', money)

    @admin.display(description="Since")
    def since(self, row: Drift) -> SafeString:
        return words.moment(row.found_at)

    @admin.display(description="Last seen")
    def seen(self, row: Drift) -> SafeString:
        return words.moment(row.seen_at)

    @admin.display(description="Ended")
    def ended(self, row: Drift) -> SafeString | str:
        if row.ended_at is None:
            return words.NOTHING
        return format_html("{}, {}", row.get_ending_display(), words.moment(row.ended_at))

    @admin.display(description="Order")
    def order_link(self, row: Drift) -> SafeString | str:
        if row.order_id is None:
            return words.NOTHING
        return format_html('<a href="{}">ORD-{}</a>', shortcut.order_url(row.order_id), row.order_id)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    list_display = ("number", "state", "read_words", "found_words", "unanswered", "who", "started")
    list_display_links = ("number",)
    list_select_related = ("actor",)
    fields = (
        "number", "state", "selection", "who", "started", "finished", "compared", "explained", "unanswered", "found",
        "again", "gone",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description="Run")
    def number(self, row: ReconciliationRun) -> str:
        return f"{row.pk:,}"

    @admin.display(description="Status")
    def state(self, row: ReconciliationRun) -> SafeString:
        shown = words.status(_SHAPES[ReconciliationStatus(row.status)], row.get_status_display())
        return format_html("{}<small>{}</small>", shown, row.said) if row.said else shown

    @admin.display(description="Read")
    def read_words(self, row: ReconciliationRun) -> SafeString:
        return format_html('<span class="figure">{}</span>', f"{row.read:,}")

    @admin.display(description="Found, seen again, gone")
    def found_words(self, row: ReconciliationRun) -> SafeString:
        return format_html('<span class="figure">{}, {}, {}</span>', row.found, row.again, row.gone)

    @admin.display(description="Which")
    def selection(self, row: ReconciliationRun) -> str:
        return ", ".join(f"{name} {typed}" for name, typed in row.words) or "All subscriptions"

    @admin.display(description="By")
    def who(self, row: ReconciliationRun) -> str:
        return words.who(row.actor, row.audience)

    @admin.display(description="Started")
    def started(self, row: ReconciliationRun) -> SafeString:
        return words.moment(row.started_at)

    @admin.display(description="Finished")
    def finished(self, row: ReconciliationRun) -> SafeString | str:
        return words.moment(row.finished_at) if row.finished_at else words.NOTHING


# --- many at once ----------------------------------------------------------------------------------------------------


def offered(user: Any) -> list[Act]:
    """The ways of settling many that this person may take; nobody else sees a box to tick."""
    return [act for act in SETTLING.values() if act.allowed(user)]


def settle(request: HttpRequest) -> HttpResponse:
    """The differences that were chosen become the draft of a bulk run, whose page shows what would happen.

    Nothing is done by it, and confirming it reads each again first.
    """
    address = QueryDict(request.POST.get("list", ""))
    back = f"{reverse('admin:subscriptions_drift_changelist')}?{address.urlencode()}".rstrip("?")
    act = SETTLING.get(request.POST.get("action", ""))
    user: Any = request.user
    if not offered(user) or (act and not act.allowed(user)):
        raise PermissionDenied("Your staff group may not settle differences.")
    if act is None:
        messages.error(request, "Choose whether to take theirs or push ours.")
        return redirect(back)
    try:
        run = bulk.draft(act.stem, _chosen(request.POST, address), actor=user, given={})
    except BadFilter as bad:
        messages.error(request, str(bad))
    except NotAllowed as refusal:
        chosen = NOTHING_CHOSEN if refusal.code == NOTHING_CHOSEN.code else refusal
        messages.error(request, chosen.sentence)
    else:
        return redirect("admin:subscriptions_bulkrun_change", run.pk)
    return redirect(back)


NOTHING_CHOSEN = NotAllowed("nothing_chosen", "Tick the differences in the list first, or choose all of them.")


def _chosen(posted: QueryDict, address: QueryDict) -> Drifting:
    """Raises BadFilter, also for an address that narrows the list by anything but its words, and NotAllowed."""
    drift: QuerySet[Drift] = reconciliation.open_drift()
    match posted.get("which"):
        case "matching":
            # The page of the list that was open, and how it was shown, narrow nothing.
            typed = [(name, str(text).strip()) for name, text in address.items() if name not in ("p", "o", "e")]
            narrowing = [(name, text) for name, text in typed if text]
            said = ", ".join(f"{name} {text}" for name, text in narrowing)
            return Drifting(filters.narrow(drift, narrowing), f"drift: {said}" if said else "all drift")
        case "page":
            keys = posted.get("on_page", "").split(",")
        case _:
            keys = posted.getlist("ticked")
    if found := {pk for text in keys if (pk := key(text))}:
        return Drifting(drift.filter(pk__in=found), "ticked in the list of drift")
    raise NOTHING_CHOSEN
