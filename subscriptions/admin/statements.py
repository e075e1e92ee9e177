"""Money in BSS: the ledger, to read only; statements of an account; and Correct, which adds a line."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from subscriptions import actions, lifecycle, pricing
from subscriptions import statements as ledger
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin import shortcut, words
from subscriptions.admin.flow import ActionView, action_urls
from subscriptions.admin.forms import ReasonForm
from subscriptions.admin.lists import NarrowedAdmin, key
from subscriptions.admin.shortcut import Link
from subscriptions.lifecycle import charges
from subscriptions.models import Account, Charge, ChargeKind, Order
from subscriptions.pricing import money
from subscriptions.statements import Month


def charge_url(pk: int, page: str = "change") -> str:
    return reverse(f"admin:subscriptions_charge_{page}", args=[pk])


def statement_url(charge: Charge) -> str:
    """The statement that holds the line, at that line."""
    month = Month.of(charge.booked_on).address
    address = reverse("admin:subscriptions_account_statement", args=[charge.account_id, month])
    return f"{address}?all=1#line-{charge.pk}"


# --- the ledger ------------------------------------------------------------------------------------------------------


@admin.register(Charge)
class ChargeAdmin(NarrowedAdmin):
    list_display = ("line", "booked", "subscription_link", "order_link", "what", "amount_text")
    list_display_links = ("line",)
    list_select_related = ("account", "subscription")
    search_fields = ("pk",)
    search_help_text = "Line number, subscription ID (SUB-000123), order number (ORD-12) or company."

    def get_urls(self) -> list[URLPattern]:
        return [*action_urls("<int:pk>/correct", "subscriptions_charge_correct", CorrectView), *super().get_urls()]

    # The list.

    @admin.display(description="Line")
    def line(self, row: Charge) -> int:
        return row.pk

    @admin.display(description="Booked")
    def booked(self, row: Charge) -> SafeString:
        on = row.booked_on
        return format_html('<time datetime="{}">{}</time>', on.isoformat(), f"{on.day} {on:%b %Y}")

    @admin.display(description="Subscription")
    def subscription_link(self, row: Charge) -> SafeString:
        url = shortcut.subscription_url(row.subscription_id)
        company = row.account.name
        return format_html('<a href="{}">{}</a><small>{}</small>', url, row.subscription.number, company)

    @admin.display(description="Order")
    def order_link(self, row: Charge) -> SafeString | str:
        if row.order_id is None:
            return words.NOTHING
        return format_html('<a href="{}">ORD-{}</a>', shortcut.order_url(row.order_id), row.order_id)

    @admin.display(description="What")
    def what(self, row: Charge) -> str:
        return row.words

    @admin.display(description="Amount")
    def amount_text(self, row: Charge) -> SafeString:
        return format_html('<span class="figure">{}</span>', money(row.amount, row.currency))

    # The page.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one line with all that corrected it."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        charge, about = find_charge(request, key(object_id))
        corrections = list(charge.corrections.select_related("order__actor", "event__actor").order_by("pk"))
        stands = charge.amount + sum(one.amount for one in corrections)
        context = shortcut.frame(
            request,
            about,
            title=f"Line {charge.pk}",
            charge=charge,
            line=ledger.Line(charge),
            month=Month.of(charge.booked_on),
            statement_url=statement_url(charge),
            unit_price=pricing.unit_money(charge.unit_price, charge.currency),
            what_happened=words.event_words(charge.event.kind),
            **_wish(charge),
            corrections=[{"charge": one, "month": Month.of(one.booked_on), **_wish(one)} for one in corrections],
            stands=stands,
            refusal=why_not_correct(charge, about),
        )
        return render(request, "admin/subscriptions/charge/page.html", context)


def find_charge(request: HttpRequest, pk: int) -> tuple[Charge, Situation]:
    """The line with all that its page names, and the situation in which Correct decides."""
    if not request.user.has_perm("subscriptions.view_charge"):
        raise PermissionDenied("Your staff group may not see charges.")
    rows = Charge.objects.select_related(
        "subscription__account", "subscription__sku__product", "order__actor", "event__actor"
    )
    charge = get_object_or_404(rows, pk=pk)
    return charge, actions.situation(charge.subscription, actor=_user(request), audience=actions.BSS)


def _wish(charge: Charge) -> dict[str, str]:
    """Who wanted what the line is charged for, and why: its order says, or the event where there is no order."""
    source = charge.order or charge.event
    return {"who": words.who(source.actor, source.audience), "reason": source.reason}


def _user(request: HttpRequest) -> Any:
    return request.user


# --- statements ------------------------------------------------------------------------------------------------------


def urls() -> list[URLPattern]:
    """Statements stand below the page of their account."""
    wrap, name = admin.site.admin_view, "subscriptions_account_statement"
    return [
        path("<int:pk>/statements/", wrap(require_safe(months)), name=f"{name}s"),
        path("<int:pk>/statements/<str:month>/", wrap(require_safe(statement)), name=name),
        path("<int:pk>/statements/<str:month>/csv/", wrap(require_safe(statement_csv)), name=f"{name}_csv"),
    ]


def months(request: HttpRequest, pk: int) -> HttpResponse:
    """The months in which the account was charged, newest first, pages by key."""
    account = _account(request, pk)
    after = request.GET.get("after", "")
    rows, next_key = ledger.months([account], after)
    context = _frame(request, account, f"Statements of {account}", rows=rows, next_key=next_key, first=not after)
    return render(request, "admin/subscriptions/account/statements.html", context)


def statement(request: HttpRequest, pk: int, month: str) -> HttpResponse:
    """One month as the customer sees it, with the way to correct each line."""
    account, shown = _account(request, pk), _month(month)
    after, for_print = request.GET.get("after", ""), "all" in request.GET
    found = ledger.statement(account, shown, after=after, size=ledger.LINES_FOR_PRINT if for_print else ledger.LINES)
    title = f"Statement for {shown}{' so far' if found.so_far else ''}"
    context = _frame(
        request,
        account,
        title,
        statement=found,
        first=not after,
        paged=not for_print,
        today=ledger.today(account),
        subscription_page="admin:subscriptions_subscription_change",
        order_page="admin:subscriptions_order_change",
        charge_page="admin:subscriptions_charge_change",
        correct_page="admin:subscriptions_charge_correct" if request.user.has_perm(actions.CORRECT.permission) else "",
    )
    return render(request, "admin/subscriptions/account/statement.html", context)


def statement_csv(request: HttpRequest, pk: int, month: str) -> HttpResponseBase:
    """The same file that the customer gets."""
    return ledger.csv_response(_account(request, pk), _month(month))


def _account(request: HttpRequest, pk: int) -> Account:
    if not request.user.has_perm("subscriptions.view_charge"):
        raise PermissionDenied("Your staff group may not see statements.")
    return get_object_or_404(Account, pk=pk)


def _month(address: str) -> Month:
    if (found := Month.at(address)) is None:
        raise Http404
    return found


def _frame(request: HttpRequest, account: Account, title: str, **more: Any) -> dict[str, Any]:
    return {
        **admin.site.each_context(request),
        "title": title,
        "account": account,
        "account_url": reverse("admin:subscriptions_account_change", args=[account.pk]),
        "statements_url": reverse("admin:subscriptions_account_statements", args=[account.pk]),
        "statement_page": "admin:subscriptions_account_statement",
        **more,
    }


# --- Correct ---------------------------------------------------------------------------------------------------------


def why_not_correct(charge: Charge, about: Situation) -> NotAllowed | None:
    """Why this person cannot correct this line, whatever the amount."""
    if charge.kind == ChargeKind.CORRECTION:
        sentence = f"This line is a correction itself. Correct line {charge.corrects_id}, which it names."
        return NotAllowed("correction", sentence)
    return actions.CORRECT.why_not(about)


class CorrectForm(ReasonForm):
    """By how much, and why; `version` counts the corrections that the person has seen."""

    # Not a DecimalField: it would take 1e3 and round nothing, and say less about what is wrong.
    amount = forms.CharField(
        label="Amount of the correction",
        widget=forms.TextInput(attrs={"autocomplete": "off", "class": "short"}),
    )
    version = forms.IntegerField(widget=forms.HiddenInput)
    field_order = ["amount", "reason"]

    def __init__(self, *args: Any, charge: Charge, seen: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.charge = charge
        self.fields["version"].initial = seen
        more = f"{Decimal('12.50'):.{pricing.minor_units(charge.currency)}f}"
        self.example = less = f"-{more}"
        amount = self.fields["amount"]
        amount.help_text = (
            f"The line to add, in {charge.currency}: {less} takes off what was charged, {more} charges more."
        )
        amount.error_messages["required"] = f"Enter the amount to add or to take off, such as {less}."

    @property
    def stale(self) -> bool:
        """Has somebody corrected the line since the page was made?"""
        return self.is_bound and self["version"].data != str(self.fields["version"].initial)

    def clean_amount(self) -> Decimal:
        typed: str = self.cleaned_data["amount"]
        # What is copied from a page has a minus sign where keyboards have a hyphen.
        amount = re.fullmatch(r"([+-]?[0-9]{1,11}(?:\.[0-9]+)?)", typed.replace(pricing.MINUS, "-"))
        if amount is None:
            how = f"Enter it with a point and without separators, such as {self.example}."
            raise forms.ValidationError(f"“{typed[:20]}” is not an amount. {how}")
        after = {"Line": self.charge.pk, "Amount": amount[1]}
        if refusal := charges.why_not_correct(self.charge.subscription, after):
            raise forms.ValidationError(refusal.sentence, code=refusal.code)
        return Decimal(amount[1])


class CorrectView(ActionView):
    """Add a line that corrects another one."""

    action = actions.CORRECT

    def find(self, **kwargs: Any) -> None:
        self.charge, self.about = find_charge(self.request, kwargs["pk"])
        sums = self.charge.corrections.values_list("amount", flat=True)
        self.seen, self.stands = len(sums), sum(sums, self.charge.amount)

    def address(self) -> str:
        return charge_url(self.charge.pk, "correct")

    def subject_address(self) -> str:
        return charge_url(self.charge.pk)

    def result_address(self, order: Order) -> str:
        made = order.charges.first()
        return statement_url(made) if made else super().result_address(order)

    def why_not(self) -> NotAllowed | None:
        return why_not_correct(self.charge, self.about)

    def way_out(self, refusal: NotAllowed) -> Link | None:
        if refusal.code == "correction" and self.charge.corrects_id:
            return Link(charge_url(self.charge.corrects_id, "correct"), f"Correct line {self.charge.corrects_id}")
        return super().way_out(refusal)

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> CorrectForm:
        return CorrectForm(data, charge=self.charge, seen=self.seen, **kwargs)

    def place(self, form: Form) -> Order:
        given = form.cleaned_data
        made = lifecycle.correct(
            self.charge.pk,
            given["amount"],
            given["reason"],
            actor=_user(self.request),
            audience=actions.BSS,
            idempotency_key=given["idempotency_key"],
        )
        return Order.objects.get(charges=made)

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, **more)

    def title(self) -> str:
        return f"Correct line {self.charge.pk}"

    def consequence(self) -> str:
        charge = self.charge
        line = f"Line {charge.pk} of {Month.of(charge.booked_on)}: {charge.words}, {self._money(charge.amount)}."
        if not self.seen:
            return line
        return f"{line} With its corrections so far it stands at {self._money(self.stands)}."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        after = self.stands + form.cleaned_data["amount"]
        return [(f"Line {self.charge.pk} with its corrections", self._money(self.stands), self._money(after))]

    def next_steps(self, form: Form) -> list[str]:
        month = Month.of(ledger.today(self.charge.subscription.account))
        return [
            f"A line of {self._money(form.cleaned_data['amount'])} is added to the statement of {month}. It names line "
            f"{self.charge.pk}, which stays as it is.",
            "The customer sees the line and its amount, never the reason.",
        ]

    def button(self, form: Form) -> str:
        amount, account = form.cleaned_data["amount"], self.charge.subscription.account
        return f"{'Charge' if amount > 0 else 'Credit'} {self._money(abs(amount))} to {account}"

    def _money(self, amount: Decimal) -> str:
        return money(amount, self.charge.currency)
