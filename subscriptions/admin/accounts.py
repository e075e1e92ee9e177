"""Customer companies with their members, and people."""

import zoneinfo
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from babel import Locale
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from portal.sign_in_forms import ResetPasswordForm
from subscriptions.admin import statements, view_as_customer, words
from subscriptions.admin.flow import action_urls
from subscriptions.admin.lists import KeyedAdmin, key
from subscriptions.admin.start import StartView
from subscriptions.models import Account, Member, Role, User
from subscriptions.models.catalogue import clean_currency


class AccountForm(forms.ModelForm):
    class Meta:
        model = Account
        fields = ("name", "language", "time_zone", "currency", "discount", "legal_name", "address", "country", "vat_id")

    def clean_currency(self) -> str:
        return clean_currency(self.cleaned_data["currency"])

    def clean_country(self) -> str:
        typed: str = self.cleaned_data["country"]
        code = typed.upper()
        if code and (code not in Locale("en").territories or not code.isalpha() or code == "ZZ"):
            raise ValidationError(f"“{typed}” is no country. Enter an ISO 3166 code such as SI.")
        return code

    def clean_discount(self) -> Decimal:
        discount: Decimal = self.cleaned_data["discount"]
        if not 0 <= discount <= 100:
            raise ValidationError("A discount is from 0 to 100 per cent.")
        return discount

    def clean_time_zone(self) -> str:
        name: str = self.cleaned_data["time_zone"]
        if name not in zoneinfo.available_timezones():
            raise ValidationError(f"“{name}” is no time zone. Enter an IANA name such as Europe/Ljubljana.")
        return name


class PersonByAddress(forms.ModelChoiceField):
    """A person named by their e-mail address: nobody knows numbers, and no list holds everybody."""

    widget = forms.EmailInput

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.strip().lower() if isinstance(value, str) else value)


class MemberForm(forms.ModelForm):
    user = PersonByAddress(
        label="E-mail address",
        queryset=User.objects.all(),
        to_field_name="email",
        error_messages={
            "required": "Enter the person's e-mail address.",
            "invalid_choice": "Nobody has this e-mail address. Add the person first, under People.",
        },
    )

    class Meta:
        model = Member
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["user"] = self.instance.user.email


class MemberFormSet(forms.BaseInlineFormSet):
    """An account that has an Owner keeps one: somebody must be able to look after its people."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        had_owner = any(form.initial.get("role") == Role.OWNER for form in self.initial_forms)
        stays = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        there: dict[int, object] = {}
        if self.instance.pk is not None:
            there = {one.user_id: one.pk for one in self.instance.members.all()}
        for form in stays:
            person, mine = form.cleaned_data["user"], form.instance.pk or form.prefix
            if there.setdefault(person.pk, mine) != mine:
                form.add_error("user", f"{person} is a member already.")
        if had_owner and not any(form.cleaned_data.get("role") == Role.OWNER for form in stays):
            raise ValidationError("The last Owner cannot go: make somebody else Owner first.")


class MemberInline(admin.TabularInline):
    model = Member
    form = MemberForm
    formset = MemberFormSet
    # One empty row, so that a page without scripts can add too.
    extra = 1
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user")


@admin.register(Account)
class AccountAdmin(KeyedAdmin):
    form = AccountForm
    list_display = ("name", "time_zone", "subscriptions_link")
    change_form_template = "admin/subscriptions/account/change_form.html"
    search_fields = ("name",)
    search_help_text = "Words of the company's name; the last one may be cut short."
    inlines = (MemberInline,)
    fieldsets = (
        (None, {"fields": ("name", "language")}),
        ("Company", {"fields": ("legal_name", "address", "country", "vat_id")}),
        (
            "Money",
            {
                "fields": ("currency", "time_zone", "discount"),
                "description": "Currency and time zone stay once it has a subscription or a charge: its periods and "
                "its ledger are kept in them. A discount holds for what is ordered and billed from now on.",
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        kept = obj is not None and (obj.subscriptions.exists() or obj.charges.exists())
        return ("currency", "time_zone") if kept else ()

    def get_urls(self) -> list[URLPattern]:
        start = action_urls("<int:pk>/start", "subscriptions_account_start", StartView)
        return [*start, *statements.urls(), *view_as_customer.urls(), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The account with its members, and below them who of the staff looked with a customer's eyes."""
        account = Account.objects.filter(pk=key(object_id)).first()
        shown = {"viewings": view_as_customer.log(account)} if account else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    @admin.display(description="Subscriptions")
    def subscriptions_link(self, row: Account) -> SafeString:
        address = reverse("admin:subscriptions_subscription_changelist")
        return format_html('<a href="{}?account={}">See its subscriptions</a>', address, row.pk)


class NewPersonForm(forms.ModelForm):
    """A person without a password: they choose it themselves, by a link."""

    class Meta:
        model = User
        fields = ("email", "name")

    def save(self, commit: bool = True) -> Any:
        self.instance.set_unusable_password()
        return super().save(commit)


class PersonForm(UserChangeForm):
    class Meta:
        model = User
        fields = ("email", "name", "password", "is_active", "is_staff", "is_superuser", "groups")


@admin.register(User)
class UserAdmin(KeyedAdmin, DjangoUserAdmin):
    """People. Who may sign in to BSS, and what they may do there, only an administrator decides."""

    form = PersonForm
    add_form = NewPersonForm
    add_form_template = None
    change_form_template = "admin/subscriptions/user/change_form.html"
    list_display = ("name", "email", "active", "staff")
    list_display_links = ("name",)
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    search_help_text = "Words of the name or of the e-mail address; the last one may be cut short."
    ordering = ("-pk",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    add_fieldsets = ((None, {"fields": ("email", "name")}),)
    fieldsets = (
        (None, {"fields": ("email", "name", "password", "is_active")}),
        ("BSS", {"fields": ("is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_urls(self) -> list[URLPattern]:
        link = self.admin_site.admin_view(require_POST(self.send_password_link))
        own = path("<int:pk>/password-link/", link, name="subscriptions_user_password_link")
        return [own, *super().get_urls()]

    @admin.display(description="Active")
    def active(self, row: User) -> str:
        return words.yes_no(row.is_active)

    @admin.display(description="Staff")
    def staff(self, row: User) -> str:
        return words.yes_no(row.is_staff)

    # Whoever sets somebody's password, or holds the mailbox of their address, can act as them.

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        if obj is None or request.user.is_superuser:
            return shown
        return [
            (name, {**given, "fields": [one for one in given["fields"] if one != "password"]}) for name, given in shown
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        if request.user.is_superuser:
            return self.readonly_fields
        # The address of a new person is asked for: it is nobody's yet.
        address = ("email",) if obj else ()
        return (*self.readonly_fields, *address, "is_staff", "is_superuser", "groups")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied("Only administrators set passwords. Send the person a link instead.")
        return super().user_change_password(request, id, form_url)

    def send_password_link(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Mail the person a link with which they choose their password, as if they had asked for it themselves."""
        person = get_object_or_404(User, pk=pk)
        if not self.has_change_permission(request, person):
            raise PermissionDenied
        form = ResetPasswordForm({"email": person.email})
        if not person.is_active:
            messages.error(request, f"{person} is not active: switch that on first.")
        elif not form.is_valid():
            messages.error(request, f"{person.email} is no address that can get mail.")
        else:
            try:
                form.save(request)
            except OSError:
                messages.error(request, "The mail could not be sent. Try again later.")
            else:
                self.log_change(request, person, "Sent a link to set a password.")
                messages.success(request, f"A link to set a password is on its way to {person.email}.")
        return redirect("admin:subscriptions_user_change", pk)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A colleague's name and whether they may sign in are not other staff's business either.
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
