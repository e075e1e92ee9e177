"""Lists that stay fast on large tables, and pages on which nothing can be edited."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.text import capfirst


def key(text: str) -> int:
    """The key that an address names; 0, which no row has, for what cannot be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


class KeyedChangeList(ChangeList):
    """Pages by key, newest first: `p` is the last key of the page before. Nothing is counted, nothing is re-sorted."""

    keyed = True
    next_url = ""
    first_url = ""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["-pk"]

    def after(self, rows: Any, last: int) -> Any:
        """The rows that come after one."""
        return rows.filter(pk__lt=last)

    def get_results(self, request: HttpRequest) -> None:
        rows = self.queryset
        if last := key(request.GET.get(PAGE_VAR, "")):
            rows = self.after(rows, last)
            self.first_url = self.get_query_string(remove=[PAGE_VAR])
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        if len(found) > self.list_per_page:
            self.next_url = self.get_query_string({PAGE_VAR: self.result_list[-1].pk})
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False


class OldestFirst(KeyedChangeList):
    """The same the other way round, for what waits in a queue."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["pk"]

    def after(self, rows: Any, last: int) -> Any:
        return rows.filter(pk__gt=last)


class KeyedAdmin(admin.ModelAdmin):
    """An admin whose list pages by key."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyedChangeList


class ReadOnlyAdmin(KeyedAdmin):
    """Whoever has the view permission reads; add, change and delete are refused to everybody."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The admin's own log is empty here: what happened stands on the page itself."""
        return redirect(f"admin:subscriptions_{self.opts.model_name}_change", object_id)
