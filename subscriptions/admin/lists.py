"""Lists that stay fast on large tables, and pages on which nothing can be edited."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.text import capfirst

from subscriptions import exports, filters
from subscriptions.admin import downloads, words
from subscriptions.filters import BadFilter, Filter
from subscriptions.models import names

LABELS = {"account": "Company", "sku": "SKU", "needs_staff": "For staff to look at"}


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
            self.first_url = self.get_query_string()
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        if len(found) > self.list_per_page:
            self.next_url = self.get_query_string({PAGE_VAR: self.result_list[-1].pk})
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False


class NarrowedChangeList(KeyedChangeList):
    """The same, narrowed by the words of `filters` in the address; `refusal` says which of them cannot be used."""

    refusal = ""

    def get_filters_params(self, params: Any = None) -> Any:
        """Nothing is left to the stock admin, which would show every row for what it does not know."""
        return {}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        narrowing = super().get_filters_params().keys() | {SEARCH_VAR}
        self.words = {name: typed for name, typed in self.params.items() if name in narrowing and typed.strip()}
        rows = super().get_queryset(request, exclude_parameters)
        try:
            return filters.narrow(rows, self.words.items())
        except BadFilter as bad:
            self.refusal = str(bad)
            return rows.none()

    @property
    def has_export(self) -> bool:
        return self.model in exports.TABLES

    @property
    def narrowed(self) -> bool:
        """By anything but the search box."""
        return bool(self.words.keys() - {SEARCH_VAR})

    def without_words(self) -> str:
        """The address of the list with nothing but what was searched for."""
        return self.get_query_string(dict.fromkeys(self.words.keys() - {SEARCH_VAR}))

    def choices(self) -> Iterator[dict[str, Any]]:
        """Words with a few values, each value a link."""
        for name, word in self._words():
            options = word.options()
            if options is None:
                continue
            chosen = self.words.get(name, "").split(",")
            links = [("All", self.get_query_string({name: None}), name not in self.words)]
            for value, label in options.items():
                links.append((label, self.get_query_string({name: value}), value in chosen))
            yield {"label": self._label(name), "links": links}

    def fields(self) -> list[dict[str, Any]]:
        """Words for which something is typed."""
        return [
            {
                "name": name,
                "label": self._label(name),
                "type": "date" if word.is_day else "text",
                "value": self.words.get(name, ""),
            }
            for name, word in self._words()
            if word.choices is None and word.few is None
        ]

    def kept(self) -> list[tuple[str, str]]:
        """What the form of the fields carries along."""
        typed = {field["name"] for field in self.fields()}
        return [(name, value) for name, value in self.params.items() if name not in typed]

    def _words(self) -> Iterator[tuple[str, Filter]]:
        yield from ((name, word) for name, word in filters.of(self.model).items() if name != SEARCH_VAR)

    @staticmethod
    def _label(name: str) -> str:
        return LABELS.get(name) or name.replace("_", " ").capitalize()


class OldestFirst(NarrowedChangeList):
    """The same the other way round, for what waits in a queue."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["pk"]

    def after(self, rows: Any, last: int) -> Any:
        return rows.filter(pk__gt=last)


class KeyedAdmin(admin.ModelAdmin):
    """An admin whose list pages by key."""

    actions = None
    empty_value_display = words.NOTHING
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyedChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By the words of a name, where the model has those."""
        if search_term and hasattr(self.model, "name_words"):
            return names.called(queryset, search_term), False
        return super().get_search_results(request, queryset, search_term)


class ReadOnlyAdmin(KeyedAdmin):
    """Whoever has the view permission reads; add, change and delete are refused to everybody."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return super().render_change_form(request, {**context, "no_history": True}, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The admin's own log is empty here: what happened stands on the page itself."""
        return redirect(f"admin:subscriptions_{self.opts.model_name}_change", object_id)


class NarrowedAdmin(ReadOnlyAdmin):
    """The same, with a list narrowed by the words of `filters`, among them what is typed into its search box.

    What it finds can be downloaded where there is an export of such rows.
    """

    def get_urls(self) -> list[URLPattern]:
        return [*downloads.urls(self), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return NarrowedChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        # `q` is one of the words.
        return queryset, False
