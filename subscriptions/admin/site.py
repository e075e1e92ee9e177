"""The BSS site; imports no models, since Django builds it before they are loaded."""

from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, URLResolver, path

# The way around the site, in the order of the work; the registry itself is sorted by name.
MODELS = (
    "Subscription", "Order", "Drift", "BulkRun", "Takeover", "Account", "User", "Product", "SKU", "Charge", "Event",
    "VendorCall", "ReconciliationRun", "VendorState",
)  # fmt: skip


class BssSite(AdminSite):
    site_header = site_title = "Seatdesk BSS"
    index_title = "Work"
    site_url = None
    # The menu at the left belongs to the subscription; the way around the site stands in the header.
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.disable_action("delete_selected")

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Ours alone: what other apps offer is not staff work, and some of their pages break the page policy."""
        models: Any = [model_or_iterable] if isinstance(model_or_iterable, type) else model_or_iterable
        ours = [model for model in models if model._meta.app_label == "subscriptions"]
        super().register(ours, admin_class, **options)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """What staff may not see or what is not there is said in BSS, not in the words for customers."""
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def explained(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                return inner(request, *args, **kwargs)
            except PermissionDenied as refusal:
                sentence = str(refusal) or "Your staff group may not do this."
                context = {"title": "You may not do this", "sentence": f"{sentence} Ask an administrator of BSS."}
                status = 403
            except Http404:
                context = {
                    "title": "Nothing here",
                    "sentence": "There is nothing at this address. Try the search above.",
                }
                status = 404
            return render(request, "admin/refused.html", {**self.each_context(request), **context}, status=status)

        return explained

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [path("search/", self.admin_view(self.search), name="search"), *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """What this person may see, in the order of `MODELS`."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda model: MODELS.index(model["object_name"]))
        return apps

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The start page: the work first, then a few numbers, then the way to everything."""
        from subscriptions.admin import dashboard

        return super().index(request, {**(extra_context or {}), **dashboard.context(request.user)})

    def app_index(self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None) -> Any:
        """There is one app, so its page is the start page."""
        return redirect("admin:index")

    def search(self, request: HttpRequest) -> HttpResponse:
        """The box in the header: straight to an exact subscription ID or order number, else the list."""
        from subscriptions.admin.search import destination

        return redirect(destination(request.GET.get("q", "").strip()))
