"""Customer companies with their members, and people."""

import zoneinfo
from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions.admin.flow import action_urls
from subscriptions.admin.lists import KeyedAdmin
from subscriptions.admin.start import StartView
from subscriptions.models import Account, Member, Role, User


class AccountForm(forms.ModelForm):
    class Meta:
        model = Account
        fields = ("name", "time_zone")

    def clean_time_zone(self) -> str:
        name: str = self.cleaned_data["time_zone"]
        if name not in zoneinfo.available_timezones():
            raise ValidationError(f"“{name}” is no time zone. Enter an IANA name such as Europe/Ljubljana.")
        return name


class MemberFormSet(forms.BaseInlineFormSet):
    """An account that has an Owner keeps one: somebody must be able to look after its people."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        had_owner = any(form.initial.get("role") == Role.OWNER for form in self.initial_forms)
        stays = (form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE"))
        if had_owner and not any(form.cleaned_data.get("role") == Role.OWNER for form in stays):
            raise ValidationError("The last Owner cannot go: make somebody else Owner first.")


class MemberInline(admin.TabularInline):
    model = Member
    formset = MemberFormSet
    # One empty row, so that a page without scripts can add too.
    extra = 1
    raw_id_fields = ("user",)
    verbose_name_plural = "members"

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["label"] = "Person"
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(Account)
class AccountAdmin(KeyedAdmin):
    form = AccountForm
    list_display = ("name", "time_zone", "subscriptions_link")
    change_form_template = "admin/subscriptions/account/change_form.html"
    search_fields = ("name",)
    search_help_text = "A part of the company's name."
    inlines = (MemberInline,)
    fields = ("name", "time_zone")

    def get_urls(self) -> list[URLPattern]:
        return [*action_urls("<int:pk>/start", "subscriptions_account_start", StartView), *super().get_urls()]

    @admin.display(description="Subscriptions")
    def subscriptions_link(self, row: Account) -> SafeString:
        address = reverse("admin:subscriptions_subscription_changelist")
        return format_html('<a href="{}?account__id__exact={}">See its subscriptions</a>', address, row.pk)


class NewPersonForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usable = self.fields["usable_password"]
        usable.help_text = "Disabled: nobody can sign in as this person until a password is set here."


class PersonForm(UserChangeForm):
    class Meta:
        model = User
        fields = ("email", "name", "password", "is_active", "is_staff", "is_superuser", "groups")


@admin.register(User)
class UserAdmin(KeyedAdmin, DjangoUserAdmin):
    """People. Who may sign in to BSS, and what they may do there, only an administrator decides."""

    form = PersonForm
    add_form = NewPersonForm
    add_form_template = "admin/subscriptions/user/add_form.html"
    list_display = ("name", "email", "is_active", "is_staff")
    list_display_links = ("name",)
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    search_help_text = "A part of the name or of the e-mail address."
    ordering = ("-pk",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    fieldsets = (
        (None, {"fields": ("email", "name", "password", "is_active")}),
        ("BSS", {"fields": ("is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        if request.user.is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, "is_staff", "is_superuser", "groups")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever could change a colleague's address or password could sign in as that colleague.
        if obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs["widget"] = forms.CheckboxSelectMultiple
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.email = obj.email.lower()
        super().save_model(request, obj, form, change)
        if "email" in form.changed_data:
            # The former address must not sign in or reset the password any more.
            EmailAddress.objects.filter(user=obj).exclude(email__iexact=obj.email).delete()
