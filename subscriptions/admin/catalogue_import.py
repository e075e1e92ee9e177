"""The catalogue by file: uploaded, compared, saved after what would change was seen; and downloaded."""

import io
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import catalogue_files, clock
from subscriptions.catalogue_files import CHANGED, LARGEST, NEW, REMOVED, BadCatalogue, Outdated, Plan
from subscriptions.models import SKU

NEEDED = tuple(
    f"subscriptions.{verb}_{model}" for model in ("product", "sku", "priceband") for verb in ("add", "change")
)
SHOWN = 1_000
"""Differences that a page shows; a command shows them all."""
KEPT = 3600
"""Seconds for which what was uploaded can be saved."""

_SALT = "subscriptions.catalogue"
_LIST = "admin:subscriptions_sku_changelist"


def urls() -> list[URLPattern]:
    """Below the list of SKUs."""
    wrap, name = admin.site.admin_view, "subscriptions_sku"
    return [
        path("import/", wrap(upload), name=f"{name}_import"),
        path("import/save/", wrap(save), name=f"{name}_import_save"),
        path("export/", wrap(download), name=f"{name}_export"),
    ]


def may_import(user: Any) -> bool:
    """Adding and changing products, SKUs and prices in one; a file that takes a price away needs no more."""
    return bool(user.has_perms(NEEDED))


class UploadForm(forms.Form):
    """A file that can be saved as it is: `plan` says what would change."""

    note = forms.CharField(
        max_length=200,
        required=False,
        help_text="Kept in the history of what is changed, such as which price list this is.",
    )
    file = forms.FileField(
        label="CSV file",
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
        help_text=f"In UTF-8, with commas and a header, at most {LARGEST // 1_000_000} MB.",
        error_messages={"required": "Choose a file.", "empty": "The file is empty. Its first line names the columns."},
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > LARGEST:
            size = (file.size or 0) / 1_000_000
            raise ValidationError(f"The file has {size:.1f} MB. At most {LARGEST // 1_000_000} MB can be uploaded.")
        self.data_of_file = file.read()
        try:
            self.plan = catalogue_files.preview(catalogue_files.read(io.BytesIO(self.data_of_file)))
        except BadCatalogue as bad:
            raise ValidationError(bad.sentences) from None
        return file


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """The form; after it what would change, with the button that saves it. Nothing has changed until then."""
    _check(request)
    if request.method != "POST":
        return _form(request, UploadForm())
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return _form(request, form, status=422)
    kept = {
        "text": form.data_of_file.decode(),
        "name": str(form.cleaned_data["file"].name)[:100],
        "note": form.cleaned_data["note"],
        "user": request.user.pk,
    }
    return _differences(request, form.plan, kept)


@require_http_methods(["GET", "HEAD", "POST"])
def save(request: HttpRequest) -> HttpResponse:
    """Save what was shown, or show what holds now (409) when the catalogue has changed meanwhile.

    When the catalogue is as the file says by now, such as after a second press, there is nothing left to be shown.
    """
    _check(request)
    if request.method != "POST":
        return redirect("admin:subscriptions_sku_import")
    try:
        kept = signing.loads(request.POST.get("kept", ""), salt=_SALT, max_age=KEPT)
    except signing.BadSignature:
        kept = {}
    if kept.get("user") != request.user.pk:
        sentence = "What you have uploaded is kept for an hour, and for you alone. Upload the file again."
        return _form(request, UploadForm(), failed=sentence, status=422)
    try:
        contents = catalogue_files.read(io.BytesIO(kept["text"].encode()))
        user: Any = request.user
        plan = catalogue_files.save(contents, actor=user, expected=kept["shown"], note=kept["note"])
    except BadCatalogue as bad:
        sentence = f"The catalogue has changed meanwhile, and the file no longer fits. {' '.join(bad.sentences)}"
        return _form(request, UploadForm(initial={"note": kept["note"]}), failed=sentence, status=422)
    except Outdated as outdated:
        if outdated.plan.differences:
            return _differences(request, outdated.plan, kept, again=True)
        messages.success(request, f"The catalogue is as {kept['name']} says. Nothing was left to save.")
        return redirect(_LIST)
    messages.success(request, f"Saved from {kept['name']}: {_counted(plan)}.")
    return redirect(_LIST)


@require_safe
def download(request: HttpRequest) -> StreamingHttpResponse:
    """The whole catalogue, for a spreadsheet and for the upload."""
    if not request.user.has_perms(["subscriptions.view_sku", "subscriptions.view_product"]):
        raise PermissionDenied
    response = StreamingHttpResponse(catalogue_files.lines(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="catalogue-{clock.now():%Y-%m-%d}.csv"'
    return response


def _check(request: HttpRequest) -> None:
    if not may_import(request.user):
        raise PermissionDenied("Only people who may change the catalogue can bring in a file.")


def _form(request: HttpRequest, form: UploadForm, *, failed: str = "", status: int = 200) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "opts": SKU._meta,
        "title": "Import products, SKUs and prices",
        "form": form,
        "failed": failed,
        "columns": catalogue_files.ABOUT,
        "remove": catalogue_files.REMOVE,
    }
    return render(request, "admin/subscriptions/sku/import.html", context, status=status)


def _differences(request: HttpRequest, plan: Plan, kept: dict[str, Any], *, again: bool = False) -> HttpResponse:
    kept = kept | {"shown": plan.fingerprint}
    context = {
        **admin.site.each_context(request),
        "opts": SKU._meta,
        "title": f"Check: {kept['name']}",
        "plan": plan,
        "shown": plan.differences[:SHOWN],
        "more": len(plan.differences) - SHOWN,
        "again": again,
        "note": kept["note"],
        "kept": signing.dumps(kept, salt=_SALT, compress=True),
        "button": f"Save {_counted(plan)}",
    }
    return render(request, "admin/subscriptions/sku/import_check.html", context, status=409 if again else 200)


def _counted(plan: Plan) -> str:
    """Such as "3 new and 1 removed"."""
    words = {NEW: "new", CHANGED: "changed", REMOVED: "removed"}
    counted = [f"{plan.counts[kind]:,} {word}" for kind, word in words.items() if plan.counts[kind]]
    return " and ".join([", ".join(counted[:-1]), counted[-1]] if len(counted) > 1 else counted) or "no difference"
