"""What is sold: products, and SKUs with their prices, limits and what they can change to."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.text import capfirst

from subscriptions.admin import catalogue_import, words
from subscriptions.admin.forms import SKUChoice
from subscriptions.admin.shortcut import subscription_url
from subscriptions.models import SKU, ApprovalLimit, ChangeTarget, PriceBand, Product
from subscriptions.models.catalogue import BESIDE, clean_currency, clean_vendor

OUTSIDE_SHOWN = 20


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ("vendor", "name", "description", "is_sold", "needs_company_details")

    def clean_vendor(self) -> str:
        return clean_vendor(self.cleaned_data["vendor"])


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    form = ProductForm
    actions = None
    list_display = ("name", "vendor", "sold")
    list_filter = ("is_sold",)
    search_fields = ("name",)
    show_facets = admin.ShowFacets.NEVER

    @admin.display(description="Sold", ordering="is_sold")
    def sold(self, row: Product) -> str:
        return words.yes_no(row.is_sold)


class MoneyForm(forms.ModelForm):
    """A row with amounts in one currency."""

    def clean_currency(self) -> str:
        return clean_currency(self.cleaned_data["currency"])

    def clean_price(self) -> Decimal:
        price: Decimal = self.cleaned_data["price"]
        if price < 0:
            raise ValidationError("A price is at least 0.")
        return price


class TargetForm(forms.ModelForm):
    """Another SKU of the same vendor, which is asked for the change."""

    target = SKUChoice(
        queryset=SKU.objects.select_related("product").order_by("code"),
        empty_label="Choose a SKU",
        error_messages={"required": "Choose a SKU."},
    )

    def clean_target(self) -> SKU:
        target: SKU = self.cleaned_data["target"]
        sku = self.instance.sku
        if target.pk == sku.pk:
            raise ValidationError("A SKU does not change to itself.")
        if sku.product_id and target.product.vendor != sku.product.vendor:
            raise ValidationError(f"{target} is of another vendor ({target.product.vendor}).")
        return target


class DistinctFormSet(forms.BaseInlineFormSet):
    """Says in a sentence that two rows are for the same."""

    def get_unique_error_message(self, unique_check: Any) -> str:
        model: Any = self.model
        ours = [name for name in unique_check if name != self.fk.name]
        names = [str(model._meta.get_field(name).verbose_name) for name in ours]
        return f"Two rows have the same {' and '.join(names)}. Keep one of them."

    def get_form_error(self) -> str:
        return "Another row is for the same."


class RowInline(admin.TabularInline):
    formset = DistinctFormSet
    # One empty row, so that a page without scripts can add too.
    extra = 1


class PriceBandInline(RowInline):
    model = PriceBand
    form = MoneyForm


class ApprovalLimitInline(RowInline):
    model = ApprovalLimit
    form = MoneyForm


class TargetInline(RowInline):
    model = ChangeTarget
    form = TargetForm
    fk_name = "sku"
    fields = ("target", "timing")
    verbose_name_plural = "change targets"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("target__product")


class SKUForm(forms.ModelForm):
    def add_error(self, field: str | None, error: Any) -> None:
        """What a rule of the database says stands beside the field that it is about."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            sentences = {
                str(rule.violation_error_message): BESIDE[rule.name]
                for rule in SKU._meta.constraints
                if rule.name in BESIDE
            }
            for one in error.error_dict.pop(NON_FIELD_ERRORS, []):
                name = sentences.get(str(one.message), NON_FIELD_ERRORS)
                error.error_dict.setdefault(name, []).append(one)
        super().add_error(field, error)


@admin.register(SKU)
class SKUAdmin(admin.ModelAdmin):
    """Narrowing the range leaves running subscriptions alone; the page lists those that it no longer holds."""

    actions = None
    change_form_template = "admin/subscriptions/sku/change_form.html"
    list_display = ("code", "name", "product", "seats_min", "seats_max", "sold")
    list_select_related = ("product",)
    list_filter = ("product", "is_sold")
    search_fields = ("code", "name")
    show_facets = admin.ShowFacets.NEVER
    form = SKUForm
    inlines = (PriceBandInline, ApprovalLimitInline, TargetInline)
    fieldsets = (
        (None, {"fields": ("product", "code", "name", "vendor_product_id", "is_sold")}),
        (
            "Seats and term",
            {"fields": (("seats_min", "seats_max"), ("term_months", "billing_period"), ("trial_days", "grace_days"))},
        ),
        ("What can be done", {"fields": ("seat_change", "can_suspend", "cancel_needs_approval")}),
        (
            "Money",
            {
                "fields": ("increase_policy", "decrease_policy", "cancel_credit", "bills_while_suspended"),
                "description": "Changes hold for what is ordered and billed from now on.",
            },
        ),
    )

    @admin.display(description="Sold", ordering="is_sold")
    def sold(self, row: SKU) -> str:
        return words.yes_no(row.is_sold)

    def get_urls(self) -> list[URLPattern]:
        return [*catalogue_import.urls(), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        more = {"title": "SKUs", "may_import": catalogue_import.may_import(request.user)}
        return super().changelist_view(request, {**(extra_context or {}), **more})

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if product := form.base_fields.get("product"):
            # Products have pages of their own.
            product.widget.can_add_related = product.widget.can_change_related = False
            product.widget.can_delete_related = False
        return form

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        sku = self.get_object(request, object_id)
        rows = list(sku.outside_range().select_related("account")[: OUTSIDE_SHOWN + 1]) if sku else []
        outside = [(row, subscription_url(row.pk)) for row in rows[:OUTSIDE_SHOWN]]
        more = {"outside": outside, "outside_more": len(rows) > OUTSIDE_SHOWN}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        sku: SKU = form.instance
        if change and {"seats_min", "seats_max"} & set(form.changed_data) and (count := sku.outside_range().count()):
            running = "1 running subscription has" if count == 1 else f"{count:,} running subscriptions have"
            messages.warning(
                request,
                f"{capfirst(running)} a number of seats outside {sku.seats_min:,} to {sku.seats_max:,}. "
                "They go on as they are; the page of the SKU lists them.",
            )
