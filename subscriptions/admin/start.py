"""Start: provision a new subscription for an account; first the account, then what it gets."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin.flow import ActionView
from subscriptions.admin.forms import StartForm
from subscriptions.models import Account, Order, Subscription

ACCOUNTS_SHOWN = 20


def choose_account(request: HttpRequest) -> HttpResponse:
    """For which account? A search, since a list of all of them would not fit a page."""
    user: Any = request.user
    refusal = actions.START.why_not(Situation(Subscription(), user, actions.BSS))
    text = request.GET.get("q", "").strip()
    found = list(Account.objects.filter(name__icontains=text)[: ACCOUNTS_SHOWN + 1]) if text else []
    context = {
        **admin.site.each_context(request),
        "title": actions.START.label,
        "refusal": refusal,
        "query": text,
        "accounts": found[:ACCOUNTS_SHOWN],
        "more": len(found) > ACCOUNTS_SHOWN,
        "back": reverse("admin:subscriptions_subscription_changelist"),
    }
    template = "admin/subscriptions/refused.html" if refusal else "admin/subscriptions/account/choose.html"
    return render(
        request, template, {**context, "frame": "admin/subscriptions/plain.html"}, status=403 if refusal else 200
    )


class StartView(ActionView):
    """Start a subscription for one account."""

    action = actions.START

    def find(self, **kwargs: Any) -> None:
        if not self.request.user.has_perm("subscriptions.view_account"):
            raise PermissionDenied("Your staff group may not see accounts.")
        self.account = get_object_or_404(Account, pk=kwargs["pk"])

    def address(self) -> str:
        return reverse("admin:subscriptions_account_start", args=[self.account.pk])

    def subject_address(self) -> str:
        return reverse("admin:subscriptions_account_change", args=[self.account.pk])

    def why_not(self) -> NotAllowed | None:
        user: Any = self.request.user
        return actions.START.why_not(Situation(Subscription(account=self.account), user, actions.BSS))

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> StartForm:
        return StartForm(data, account=self.account, **kwargs)

    def place(self, form: Form) -> Order:
        given = form.cleaned_data
        user: Any = self.request.user
        return lifecycle.start(
            self.account,
            given["sku"],
            given["seats"],
            actor=user,
            audience=actions.BSS,
            reason=given["reason"],
            ordered_by=given["ordered_by"].user if given["ordered_by"] else None,
            idempotency_key=given["idempotency_key"],
        )

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return {
            **admin.site.each_context(self.request),
            "title": title,
            "frame": "admin/subscriptions/account/frame.html",
            "account": self.account,
            "account_url": self.subject_address(),
            **more,
        }

    def title(self) -> str:
        return f"Start a subscription for {self.account}"

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        given = form.cleaned_data
        person = given["ordered_by"].user.name if given["ordered_by"] else "Nobody in particular"
        return [
            ("Product", "", given["sku"].product.name),
            ("SKU", "", str(given["sku"])),
            ("Seats", "", f"{given['seats']:,}"),
            ("Ordered by", "", person),
        ]

    def next_steps(self, form: Form) -> list[str]:
        return [
            "A pending subscription is created, and the licence service is asked to provision it.",
            "It becomes active, and its activation code appears, when the licence service has confirmed.",
        ]

    def button(self, form: Form) -> str:
        return f"Start {actions.seats_words(form.cleaned_data['seats'])} for {self.account}"
