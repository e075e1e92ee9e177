"""The lists of BSS as files: what the list finds, all of it, by the same address."""

import tempfile
from collections.abc import Iterable
from typing import Any

import structlog
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_safe

from subscriptions import clock, exports
from subscriptions.exports import Table
from subscriptions.sheets import BYTE_ORDER_MARK, written

MOST_IN_A_WORKBOOK = 50_000
"""A workbook is sent when all of it is written, at some thousand rows a second: more would keep its reader waiting."""

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_log = structlog.get_logger(__name__)


def urls(admin: ModelAdmin) -> list[URLPattern]:
    """`export/csv/` and `export/xlsx/` below a list that has an export."""
    if admin.model not in exports.TABLES:
        return []

    def export(request: HttpRequest, format: str) -> HttpResponseBase:
        return _export(admin, request, format)

    name = f"subscriptions_{admin.opts.model_name}_export"
    return [path("export/<str:format>/", admin.admin_site.admin_view(require_safe(export)), name=name)]


def _export(admin: ModelAdmin, request: HttpRequest, format: str) -> HttpResponseBase:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    if format not in exports.WRITERS:
        raise Http404
    table = exports.TABLES[admin.model]
    found: Any = admin.get_changelist_instance(request)
    if found.refusal:
        return _refused(admin, request, "This filter cannot be used", found.refusal, status=400)
    if format == "xlsx" and found.queryset[: MOST_IN_A_WORKBOOK + 1].count() > MOST_IN_A_WORKBOOK:
        sentence = (
            f"These are more than {MOST_IN_A_WORKBOOK:,} rows, and a workbook of them takes too long. Download CSV, "
            f"narrow the list, or run: uv run manage.py export_{table.stem} --out {table.stem}.xlsx"
        )
        return _refused(admin, request, "Too many rows for a workbook", sentence, status=409)
    _log.info("list exported", user_id=request.user.pk, table=table.stem, format=format, words=dict(found.words))
    return workbook(found.queryset, table) if format == "xlsx" else _csv(found.queryset, table)


def _csv(rows: Any, table: Table) -> StreamingHttpResponse:
    def pieces() -> Any:
        yield BYTE_ORDER_MARK.encode()
        yield from exports.csv_pieces(rows, table)

    response = StreamingHttpResponse(pieces(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_name(table)}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def outcomes(rows: Iterable[Iterable[object]], name: str) -> StreamingHttpResponse:
    """The outcome of each row, their header first, as commands write it; read while it is sent, whatever its length."""
    return StreamingHttpResponse(
        written(rows),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}.csv"',
            "Cache-Control": "private, no-store",
        },
    )


def workbook(rows: Any, table: Table) -> FileResponse:
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the response
    exports.write_xlsx(rows, table, stream)
    stream.seek(0)
    response = FileResponse(stream, as_attachment=True, filename=f"{_name(table)}.xlsx", content_type=_XLSX)
    response["Cache-Control"] = "no-store"
    return response


def _name(table: Table) -> str:
    return f"{table.stem}-{clock.now():%Y-%m-%d}"


def _refused(admin: ModelAdmin, request: HttpRequest, title: str, sentence: str, *, status: int) -> HttpResponseBase:
    context = {**admin.admin_site.each_context(request), "title": title, "sentence": sentence}
    return render(request, "admin/refused.html", context, status=status)
