"""View as customer: choose with whose eyes to look, and why; afterwards the Storefront is open, read-only."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from subscriptions import viewing
from subscriptions.actions import NotAllowed
from subscriptions.admin.forms import MemberChoice
from subscriptions.admin.lists import key
from subscriptions.admin.shortcut import subscription_url
from subscriptions.models import Account, Ending, Member, Subscription, User

LOG_SHOWN = 10


class ViewForm(forms.Form):
    """With whose eyes, and why."""

    member = MemberChoice(
        label="View as",
        queryset=Member.objects.none(),
        empty_label=None,
        help_text="You see all that they see, also of other companies that they belong to.",
        error_messages={
            "required": "Choose a member.",
            "invalid_choice": "Choose a member of this account who may sign in.",
        },
    )
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="Who asked for it, with the ticket number if there is one. Customers see that somebody looked, and "
        "when, but not this.",
        error_messages={"required": "Enter a reason.", "max_length": "Shorten the reason to 500 characters."},
    )

    def __init__(self, *args: Any, account: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["member"]
        field.queryset = viewing.members_of(account).select_related("account")
        field.initial = field.queryset.first()


@require_http_methods(["GET", "HEAD", "POST"])
def view_as_customer(request: HttpRequest, pk: int) -> HttpResponse:
    """The page that asks; its POST leads to the Storefront, with `subscription` to that one, and at the end back."""
    user: Any = request.user
    if not user.has_perm("subscriptions.view_account"):
        raise PermissionDenied("Your staff group may not see accounts.")
    account = get_object_or_404(Account, pk=pk)
    subscription = _subscription(account, request.GET.get("subscription", ""))
    refusal = viewing.why_not(user)
    form = ViewForm(request.POST if request.method == "POST" else None, account=account)
    if refusal is None and request.method == "POST" and form.is_valid():
        try:
            return _begin(request, user, form, subscription)
        except NotAllowed as late:
            refusal = late
    if refusal is None and not viewing.members_of(account).exists():
        refusal = NotAllowed("nobody", f"Nobody of {account} may sign in, so there is nothing to be seen.")
    context = {
        **admin.site.each_context(request),
        "title": "View as customer",
        "opts": Account._meta,
        "frame": "admin/subscriptions/account/frame.html",
        "account": account,
        "account_url": reverse("admin:subscriptions_account_change", args=[pk]),
        "back": subscription_url(subscription.pk) if subscription else None,
        "form": form,
        "refusal": refusal,
    }
    status = 200
    if refusal and refusal.code == "permission":
        status = 403
    elif form.is_bound:
        status = 409 if refusal else 422
    return render(request, "admin/subscriptions/account/view_as_customer.html", context, status=status)


def _subscription(account: Account, named: str) -> Subscription | None:
    """The account's subscription that was asked from; 404 for another one."""
    return get_object_or_404(account.subscriptions.defer("activation_code"), pk=key(named)) if named else None


def _begin(request: HttpRequest, user: User, form: ViewForm, subscription: Subscription | None) -> HttpResponse:
    begun = viewing.start(
        form.cleaned_data["member"], actor=user, reason=form.cleaned_data["reason"], subscription=subscription
    )
    if (before := request.session.get(viewing.KEY)) is not None:
        viewing.end(before, Ending.REPLACED)
    request.session[viewing.KEY] = begun.pk
    if subscription is None:
        return redirect("storefront:subscriptions")
    return redirect("storefront:subscription", subscription.pk)


def urls() -> list[URLPattern]:
    wrap = admin.site.admin_view
    return [path("<int:pk>/view_as_customer/", wrap(view_as_customer), name="subscriptions_account_view_as_customer")]


def log(account: Account) -> list[dict[str, Any]]:
    """The newest looks into an account, for its page."""
    return [{"viewing": one, "ended": viewing.ended_words(one)} for one in viewing.log(account, newest=LOG_SHOWN)]
