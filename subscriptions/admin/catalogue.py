"""What is sold: products, and SKUs with their price bands."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from subscriptions.admin.shortcut import subscription_url
from subscriptions.models import SKU, PriceBand, Product

OUTSIDE_SHOWN = 20


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ("vendor", "name", "description", "is_sold")

    def clean_vendor(self) -> str:
        vendor: str = self.cleaned_data["vendor"]
        if vendor not in settings.VENDORS:
            known = ", ".join(sorted(settings.VENDORS))
            raise ValidationError(f"“{vendor}” is no vendor of this portal. Known: {known}.")
        return vendor


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    form = ProductForm
    actions = None
    list_display = ("name", "vendor", "is_sold")
    list_filter = ("is_sold",)
    search_fields = ("name",)
    show_facets = admin.ShowFacets.NEVER


class PriceBandInline(admin.TabularInline):
    model = PriceBand
    # One empty row, so that a page without scripts can add too.
    extra = 1


@admin.register(SKU)
class SKUAdmin(admin.ModelAdmin):
    """Narrowing the range leaves running subscriptions alone; the page lists those that it no longer holds."""

    actions = None
    change_form_template = "admin/subscriptions/sku/change_form.html"
    list_display = ("code", "name", "product", "seats_min", "seats_max", "is_sold")
    list_select_related = ("product",)
    list_filter = ("product", "is_sold")
    search_fields = ("code", "name")
    show_facets = admin.ShowFacets.NEVER
    inlines = (PriceBandInline,)
    fieldsets = (
        (None, {"fields": ("product", "code", "name", "vendor_product_id", "is_sold")}),
        ("Seats and term", {"fields": (("seats_min", "seats_max"), ("term_months", "billing_period"))}),
        ("What can be done", {"fields": ("seat_change", "can_suspend", "cancel_needs_approval")}),
        (
            "Money",
            {"fields": ("increase_policy", "decrease_policy", "bills_while_suspended", "cancel_credit")},
        ),
    )

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
