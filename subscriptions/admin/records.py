"""What is written down for ever: events, vendor calls and the state of each vendor. To read only."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions.admin import shortcut, words
from subscriptions.admin.lists import NarrowedAdmin, ReadOnlyAdmin
from subscriptions.models import Event, VendorCall, VendorState


def _moment(at: Any) -> SafeString | str:
    if at is None:
        return words.NOTHING
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at.day} {at:%b %Y, %H:%M:%S}")


def _subscription(row: Any) -> SafeString | str:
    if row.subscription_id is None:
        return words.NOTHING
    return format_html('<a href="{}">{}</a>', shortcut.subscription_url(row.subscription_id), row.subscription.number)


def _order(row: Any) -> SafeString | str:
    if row.order_id is None:
        return words.NOTHING
    return format_html('<a href="{}">ORD-{}</a>', shortcut.order_url(row.order_id), row.order_id)


@admin.register(Event)
class EventAdmin(NarrowedAdmin):
    list_display = ("when_and_who", "what", "subscription_link", "change", "reason")
    list_display_links = None
    list_select_related = ("subscription", "actor")
    fields = ("when", "what", "subscription_link", "order_link", "change", "who", "reason")
    readonly_fields = fields

    @admin.display(description="When")
    def when(self, row: Event) -> SafeString | str:
        return _moment(row.at)

    @admin.display(description="When")
    def when_and_who(self, row: Event) -> SafeString:
        url = reverse("admin:subscriptions_event_change", args=[row.pk])
        return format_html('<a href="{}">{}</a><small>{}</small>', url, _moment(row.at), self.who(row))

    @admin.display(description="What")
    def what(self, row: Event) -> str:
        return words.event_words(row.kind)

    @admin.display(description="Subscription")
    def subscription_link(self, row: Event) -> SafeString | str:
        return _subscription(row)

    @admin.display(description="Order")
    def order_link(self, row: Event) -> SafeString | str:
        return _order(row)

    @admin.display(description="Before and after")
    def change(self, row: Event) -> str:
        return words.change_words(row.before, row.after) or words.NOTHING

    @admin.display(description="Who")
    def who(self, row: Event) -> str:
        return words.who(row.actor, row.audience)


@admin.register(VendorCall)
class VendorCallAdmin(NarrowedAdmin):
    list_display = ("when", "subscription_link", "order_link", "purpose", "result", "code", "latency")
    list_display_links = ("when",)
    list_select_related = ("subscription",)
    fields = (
        "when", "finished", "subscription_link", "order_link", "purpose", "attempt", "transaction_id", "result", "code",
        "message", "http_status", "latency", "asked_text", "answered_text",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description="Started")
    def when(self, row: VendorCall) -> SafeString | str:
        return _moment(row.started_at)

    @admin.display(description="Finished")
    def finished(self, row: VendorCall) -> SafeString | str:
        return _moment(row.finished_at)

    @admin.display(description="Subscription")
    def subscription_link(self, row: VendorCall) -> SafeString | str:
        return _subscription(row)

    @admin.display(description="Order")
    def order_link(self, row: VendorCall) -> SafeString | str:
        return _order(row)

    @admin.display(description="Result")
    def result(self, row: VendorCall) -> SafeString:
        return words.status(*words.OUTCOMES[row.outcome])

    @admin.display(description="Latency")
    def latency(self, row: VendorCall) -> str:
        return words.NOTHING if row.latency_ms is None else f"{row.latency_ms:,} ms"

    @admin.display(description="Asked")
    def asked_text(self, row: VendorCall) -> SafeString:
        return format_html("<pre>{}</pre>", row.asked)

    @admin.display(description="Answered")
    def answered_text(self, row: VendorCall) -> SafeString | str:
        return format_html("<pre>{}</pre>", row.answered) if row.answered else words.NOTHING


@admin.register(VendorState)
class VendorStateAdmin(ReadOnlyAdmin):
    list_display = ("vendor", "state", "paused", "reason")
    fields = ("vendor", "state", "paused", "reason")
    readonly_fields = fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        # A handful of rows with a text for a key: the stock list fits.
        return ChangeList

    @admin.display(description="State")
    def state(self, row: VendorState) -> SafeString:
        if row.paused_at:
            return words.status("suspended", "Paused: it does not let us in")
        return words.status("active", "Open")

    @admin.display(description="Since")
    def paused(self, row: VendorState) -> SafeString | str:
        return _moment(row.paused_at)
