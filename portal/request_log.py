"""Which request a line of the log belongs to, who made it, and from where."""

from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django_structlog import middlewares


class RequestMiddleware(middlewares.RequestMiddleware):
    """Binds `request_id`, `user_id` and `ip` to every line of a request.

    It stands before the middleware that may refuse a request, so that a refusal has its `request_id` too; the person
    is known later, and bound before the view begins.
    """

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        self.bind_user_id(request)

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        # The address that rate limits count: X-Forwarded-For is believed behind our proxy only.
        try:
            ip = get_adapter().get_client_ip(request)
        except PermissionDenied:
            ip = None
        structlog.contextvars.bind_contextvars(ip=ip)
