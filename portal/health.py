"""`/livez` and `/readyz`: is this process alive, and is the whole able to do its work?

Probes come by address, over plain HTTP and without a session, so they are answered before hosts are checked.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import resolve
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from portal import readings

PROBES = frozenset({"/livez", "/readyz", "/metrics"})


class ProbeMiddleware:
    """Answers the probes at once: no check of the host, no session, no cookie, no lines about the request.

    It stands behind SecurityMiddleware, which SECURE_REDIRECT_EXEMPT tells not to send them to https.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in PROBES:
            answer: HttpResponse = resolve(request.path_info).func(request)
            return answer
        return self.get_response(request)


def is_operator(request: HttpRequest) -> bool:
    """Does the request carry OPERATIONS_TOKEN? Where none is set, nobody's does.

    An address would prove nothing: behind a proxy on this machine everybody comes from loopback.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    wanted: str = settings.OPERATIONS_TOKEN
    return bool(wanted) and scheme.lower() == "bearer" and constant_time_compare(token.strip(), wanted)


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; it asks nobody, so that a database that is down restarts no process."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every check holds, else 503. `?exclude=worker` leaves one out; only operators see more than the sum."""
    excluded = set(request.GET.getlist("exclude"))
    found: dict[str, dict[str, Any]] = {}
    for name, check in CHECKS.items():
        if name not in excluded:
            try:
                found[name] = check()
            except Error:
                # Its words name hosts and roles: `doctor` shows them.
                found[name] = {"ok": False}
            if name == "database" and not found[name]["ok"]:
                # Each of the others would wait for it in vain.
                break
    ready = all(one["ok"] for one in found.values())
    told: dict[str, Any] = {"status": "ok" if ready else "not ok"}
    if is_operator(request):
        told["checks"] = found
    return JsonResponse(told, status=200 if ready else 503)


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"ok": True}


def _migrations() -> dict[str, Any]:
    missing = readings.missing_migrations()
    return {"ok": not missing, "missing": missing}


def _worker() -> dict[str, Any]:
    workers = readings.workers()
    return {"ok": workers.alive > 0, "alive": workers.alive, "silent_for": workers.silent_for}


def _jobs() -> dict[str, Any]:
    oldest = max((one.age for one in readings.queues(priority=readings.PEOPLE_WAIT)), default=0.0)
    return {"ok": oldest <= settings.READY_JOB_AGE, "oldest": oldest, "limit": settings.READY_JOB_AGE}


def _bulk() -> dict[str, Any]:
    # It gives way to clicks, and to bulk work that came before it: as patient as for an order of such a run.
    oldest = readings.oldest_bulk_job()
    return {"ok": oldest <= settings.READY_ORDER_AGE, "oldest": oldest, "limit": settings.READY_ORDER_AGE}


def _orders() -> dict[str, Any]:
    oldest = readings.oldest_due_order()
    return {"ok": oldest <= settings.READY_ORDER_AGE, "oldest": oldest, "limit": settings.READY_ORDER_AGE}


# Each is one statement.
CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    "database": _database,
    "migrations": _migrations,
    "worker": _worker,
    "jobs": _jobs,
    "bulk": _bulk,
    "orders": _orders,
}
