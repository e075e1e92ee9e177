"""No text of a request reaches PostgreSQL with a NUL in it, which PostgreSQL cannot store and refuses with an error."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict


class NulMiddleware:
    """400 for a NUL in the path, the query or a form: nobody can type one, so it is no input to explain."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        # Behind the CSRF check, which knows what to do with a form that breaks off while it is read.
        if "\0" in request.path_info or _has_nul(request.GET) or _has_nul(request.POST):
            raise BadRequest("NUL in a request")


def _has_nul(given: QueryDict) -> bool:
    return any("\0" in text for name, values in given.lists() for text in (name, *values))
