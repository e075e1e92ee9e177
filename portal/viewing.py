"""Whose eyes a page of the Storefront is made for: one's own, or, while viewing as a customer, that member's."""

from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_POST

from subscriptions import viewing
from subscriptions.models import Ending, Viewing
from subscriptions.viewing import KEY, Over

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ViewingMiddleware:
    """Sets `eyes`, the person whom pages are made for, and `viewing`, which is None but while viewing as a customer.

    Only the Storefront is seen with other eyes, and only read: whatever else is asked of it is refused with 403. The
    person of the request never changes, so BSS and the pages of sign-in stay one's own.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        request.eyes, request.viewing = request.user, None
        key = request.session.get(KEY)
        if key is None:
            return self.get_response(request)
        if not request.user.is_authenticated:
            # Switched off meanwhile: it must not go on once they are let in again.
            del request.session[KEY]
            viewing.end(key, Ending.NOT_PERMITTED)
            return self.get_response(request)
        response = self.get_response(request)
        if request.method not in ("GET", "HEAD") and request.session.get(KEY) != key:
            viewing.end(key, Ending.SIGNED_OUT)
        if request.viewing is not None:
            # Back must not bring the page of somebody else again once it has ended.
            add_never_cache_headers(response)
        return response

    def process_view(self, request: Any, view: Any, *arguments: Any) -> HttpResponse | None:
        key = request.session.get(KEY)
        if key is None or request.resolver_match.app_name != "storefront":
            return None
        found = viewing.seen_by(request.user, key)
        if found is None or isinstance(found, Over):
            del request.session[KEY]
            return None if found is None else _over(request, found)
        request.viewing, request.eyes = found, found.eyes
        structlog.contextvars.bind_contextvars(viewing=key, viewing_as=found.eyes.pk)
        if request.method in ("GET", "HEAD"):
            return None
        return render(request, "viewing/refused.html", {"account": found.member.account}, status=403)


def _over(request: HttpRequest, found: Over) -> HttpResponse:
    context = {"over": found, "back": way_back(found.viewing)}
    return render(request, "viewing/over.html", context, status=403)


def whose_eyes(request: Any) -> dict[str, Any]:
    """Context processor: `eyes`, as `user` would be for the one who sees the page, and `viewing`."""
    eyes = getattr(request, "eyes", None) or getattr(request, "user", None)
    return {"eyes": eyes, "viewing": getattr(request, "viewing", None)}


@require_POST
def stop(request: HttpRequest) -> HttpResponse:
    """See with one's own eyes again, and go back to where it was asked for; twice is no mistake."""
    key = request.session.pop(KEY, None)
    if key is None:
        return redirect("home")
    viewing.end(key, Ending.STOPPED)
    return redirect(way_back(Viewing.objects.only("account", "subscription").get(pk=key)))


def way_back(of: Viewing) -> str:
    """The page of BSS on which it was asked for."""
    if of.subscription_id:
        return reverse("admin:subscriptions_subscription_change", args=[of.subscription_id])
    return reverse("admin:subscriptions_account_change", args=[of.account_id])
