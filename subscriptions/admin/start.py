"""Start: provision a new subscription for an account; first the account, then what it gets and costs."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin import quoted
from subscriptions.admin.flow import ActionView
from subscriptions.admin.forms import MemberChoice, ReasonForm, SKUChoice
from subscriptions.lifecycle import Proposal
from subscriptions.models import SKU, Account, Member, Order, Subscription, names
from subscriptions.quotes import Pinned

ACCOUNTS_SHOWN = 20


def choose_account(request: HttpRequest) -> HttpResponse:
    """For which account? A search, since a list of all of them would not fit a page."""
    user: Any = request.user
    refusal = actions.START.why_not(Situation(Subscription(), user, actions.BSS))
    text = request.GET.get("q", "").strip()
    found = list(names.called(Account.objects.order_by("-pk"), text)[: ACCOUNTS_SHOWN + 1]) if text else []
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


class StartForm(ReasonForm):
    """What an account gets: a SKU, a number of seats, as a trial or paid, and the member who wished for it.

    When it is valid, `wanted` is the subscription, not saved.
    """

    blames = {"no_price": "seats"}

    sku = SKUChoice(
        label="SKU",
        queryset=SKU.objects.none(),
        empty_label="Choose what is sold",
        error_messages={"required": "Choose a SKU.", "invalid_choice": "Choose a SKU that is sold."},
    )
    seats = forms.CharField(
        label="Seats",
        strip=False,
        help_text="A whole number within the range of the SKU.",
        error_messages={"required": "Enter the number of seats."},
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )
    trial = forms.BooleanField(
        label="As a trial: free, ends by itself, once for a company and product",
        required=False,
    )
    ordered_by = MemberChoice(
        label="Ordered by",
        queryset=Member.objects.none(),
        required=False,
        empty_label="Nobody in particular",
        help_text="A Buyer sees the activation codes of subscriptions that they ordered.",
    )
    field_order = ["sku", "seats", "trial", "ordered_by", "reason"]

    def __init__(self, *args: Any, account: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        sold = SKU.objects.filter(is_sold=True, product__is_sold=True).select_related("product")
        skus: Any = self.fields["sku"]
        skus.queryset = sold.order_by("product__name", "code")
        members: Any = self.fields["ordered_by"]
        members.queryset = account.members.select_related("user").order_by("user__name")

    def clean(self) -> dict[str, Any]:
        """Seats are read against the chosen SKU; without one only what is no number at all can be refused."""
        cleaned = super().clean() or {}
        sku = cleaned.get("sku")
        if sku is None or "seats" not in cleaned:
            return cleaned
        try:
            cleaned["seats"] = actions.read_seats(actions.START, self._wanted(sku, 0), cleaned["seats"])
            self.wanted = self._wanted(sku, cleaned["seats"], trial=cleaned["trial"])
            # Who may is decided elsewhere.
            if refusal := lifecycle.why_not_start(self.wanted, actor=None, audience=actions.SYSTEM):
                raise refusal
        except NotAllowed as refusal:
            self.add_error(_FIELD_OF.get(refusal.code, "seats"), forms.ValidationError(refusal.sentence, refusal.code))
        return cleaned

    def _wanted(self, sku: SKU, seats: int, *, trial: bool = False) -> Subscription:
        return lifecycle.new_subscription(self.account, sku, seats, clock.now(), trial=trial)


_FIELD_OF = {"trial_used": "trial", "no_trial": "trial", "company_details": "sku", "not_sold": "sku"}


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
        if given := kwargs.get("initial"):
            # As the check page sent it back, where a box that is not ticked is a word.
            kwargs["initial"] = {**given, "trial": given.get("trial") == "True"}
        return StartForm(data, account=self.account, **kwargs)

    def propose(self, form: Any, shown: Pinned | None) -> Proposal:
        user: Any = self.request.user
        about = Situation(form.wanted, user, actions.BSS)
        return lifecycle.propose(actions.START, about, {"Seats": form.wanted.seats}, at=clock.now(), shown=shown)

    def place(self, form: forms.Form) -> Order:
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
            trial=given["trial"],
            quote=self.confirm.cleaned_data["quote"] if self.confirm and not given["trial"] else None,
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

    def changes(self, form: forms.Form) -> list[tuple[str, str, str]]:
        given = form.cleaned_data
        person = given["ordered_by"].user.name if given["ordered_by"] else "Nobody in particular"
        return [
            ("Product", "", given["sku"].product.name),
            ("SKU", "", str(given["sku"])),
            ("Seats", "", f"{given['seats']:,}"),
            *self._trial(form),
            ("Ordered by", "", person),
        ]

    def _trial(self, form: Any) -> list[tuple[str, str, str]]:
        if not form.cleaned_data["trial"]:
            return []
        ends = actions.local_day(clock.now(), self.account) + timedelta(days=form.wanted.sku.trial_days)
        return [("Price", "", f"Free: a trial that ends by itself on {actions.date_words(ends)}")]

    def next_steps(self, form: Any) -> list[str]:
        waits = self.proposal is not None and self.proposal.needs_approval()
        created = "A pending subscription is created, and "
        created += "somebody else must approve its order." if waits else "the licence service is asked to provision it."
        charged = "" if form.cleaned_data["trial"] else ", and the first period is charged"
        return [
            created,
            *(["Then the licence service is asked to provision it."] if waits else []),
            f"It becomes active, its activation code appears{charged}, when the licence service has confirmed.",
        ]

    def button(self, form: Any) -> str:
        seats = actions.seats_words(form.cleaned_data["seats"])
        if form.cleaned_data["trial"]:
            return f"Start a trial of {seats} for {self.account}"
        return f"Start {seats} for {self.account}{quoted.and_money(self.proposal.quote if self.proposal else None)}"
