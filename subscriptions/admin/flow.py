"""Form page, check page, placing: the three steps that every action of BSS takes, whatever it is about.

The views stand beside the add and change views, never inside them: those open a transaction, and placing an order
opens a durable one.
"""

import uuid
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views import View

from subscriptions import clock, lifecycle
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import quoted
from subscriptions.admin.quoted import ConfirmForm, Price
from subscriptions.admin.shortcut import Link, order_url
from subscriptions.lifecycle import STALE, Proposal
from subscriptions.models import Order
from subscriptions.quotes import Pinned

AGAIN = ("stale", "stale_quote", "order_scheduled", "cannot_keep")
"""Refusals after which the check page comes again, with what holds now."""


class ActionView(View):
    """One action on one subject.

    GET shows the form. POST to the same address places the order; POST to `check/` shows the check page first, and
    nothing has happened until its button is pressed. Nothing is placed at a price that was not shown. Without the
    permission the answer is 403, when the action is not possible or the page is stale 409, when the input is wrong
    422; the sentence and the input are shown each time.
    """

    http_method_names = ("get", "post", "head")
    action: Action
    checking = False
    proposal: Proposal | None = None
    """The change as it was asked for, once the form is valid; None for what costs nothing and touches no plan."""
    confirm: ConfirmForm | None = None
    """What the check page sent of its figures, when the order is placed."""

    # What a subclass says about its subject.

    def find(self, **kwargs: Any) -> None:
        """Fetch what the address names, or raise Http404 or PermissionDenied."""
        raise NotImplementedError

    def address(self) -> str:
        """Where the form is."""
        raise NotImplementedError

    def subject_address(self) -> str:
        """Where "Go back" leads."""
        raise NotImplementedError

    def result_address(self, order: Order) -> str:
        """Where what came of it is shown."""
        return order_url(order.pk)

    def why_not(self) -> NotAllowed | None:
        raise NotImplementedError

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> Form:
        raise NotImplementedError

    def propose(self, form: Form, shown: Pinned | None) -> Proposal | None:
        """What is asked for, with its price, as of the quote that was shown. Raises NotAllowed."""
        return None

    def form_price(self) -> Price | None:
        """The price that the form page can say before anything is entered."""
        return None

    def place(self, form: Form) -> Order:
        """Do it. Raises NotAllowed."""
        raise NotImplementedError

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        raise NotImplementedError

    def title(self) -> str:
        return self.action.label

    def consequence(self) -> str:
        """What it means for people, in a sentence or two."""
        return ""

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        """What the check page lays side by side: name, now, after."""
        return []

    def next_steps(self, form: Form) -> list[str]:
        return []

    def button(self, form: Form) -> str:
        return self.title()

    def danger(self) -> bool:
        """Does it take something away for good? Its button is red then."""
        return False

    def way_out(self, refusal: NotAllowed) -> Link | None:
        return Link(order_url(refusal.order.pk), f"See {refusal.order.number}") if refusal.order else None

    # The steps.

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.find(**kwargs)

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if self.checking:
            return redirect(self.address())
        if refusal := self.why_not():
            return self.refuse(refusal)
        return self.show_form(self.make_form())

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        form = self.make_form(request.POST)
        if not self.checking and (known := self.known(request.POST.get("idempotency_key", ""))):
            return redirect(self.result_address(known))
        if refusal := self.why_not():
            return self.refuse(refusal, form)
        if "change" in request.POST:
            return self.show_form(self.make_form(initial=request.POST.dict()))
        if not form.is_valid():
            stale = getattr(form, "stale", False)
            return self.show_form(self.fresh(form) if stale else form, STALE if stale else "", 409 if stale else 422)
        if getattr(form, "stale", False):
            return self.refuse(NotAllowed("stale", STALE), form)
        shown = Pinned.from_token(request.POST.get("quote", ""))
        try:
            self.proposal = self.propose(form, shown)
            if self.checking:
                return self.show_check(form)
            if self.proposal:
                self.confirm = self.as_shown(self.proposal, shown)
                if not self.confirm.is_valid():
                    return self.show_check(form, status=422)
            order = self.place(form)
        except NotAllowed as refusal:
            return self.refuse(refusal, form)
        return redirect(self.result_address(order))

    def as_shown(self, proposal: Proposal, shown: Pinned | None) -> ConfirmForm:
        """What the check page sent. Raises NotAllowed when it did not show what would be ordered now."""
        if proposal.pinned and (why := proposal.why_not(shown, clock.now())):
            raise NotAllowed("stale_quote", why)
        return ConfirmForm(self.request.POST, touched=quoted.touched(proposal))

    def known(self, key: str) -> Order | None:
        """The order that this check page has led to before."""
        try:
            wanted = uuid.UUID(key)
        except ValueError:
            return None
        user: Any = self.request.user
        return Order.objects.filter(actor=user, idempotency_key=wanted).first()

    def fresh(self, form: Form) -> Form:
        """The same input on today's figures."""
        data = QueryDict(mutable=True)
        data.update(form.data)
        if "version" in form.fields:
            data["version"] = str(form.fields["version"].initial)
        return self.make_form(data)

    def refuse(self, refusal: NotAllowed, form: Form | None = None) -> HttpResponse:
        # A page that only explains is no failed request.
        possible = 409 if self.request.method == "POST" else 200
        status = 403 if refusal.code in ("permission", "audience") else possible
        if form is None or status == 403:
            return render(
                self.request,
                "admin/subscriptions/refused.html",
                self.context(self.title(), refusal=refusal, way_out=self.way_out(refusal), back=self.subject_address()),
                status=status,
            )
        if refusal.code in AGAIN and ("version" in form.fields or self.proposal):
            self.find(**self.kwargs)
            again = self.fresh(form)
            if again.is_valid() and not self.why_not():
                try:
                    self.proposal, self.confirm = self.propose(again, None), None
                except NotAllowed as other:
                    return self.blame(again, other)
                return self.show_check(again, refusal.sentence, status)
            form = again
        return self.blame(form, refusal)

    def blame(self, form: Form, refusal: NotAllowed) -> HttpResponse:
        """The form with what was entered: the sentence beside the field that it is about, or above all of them."""
        field = getattr(form, "blames", {}).get(refusal.code, "")
        if field in form.fields and form.is_bound and form.is_valid():
            form.add_error(field, ValidationError(refusal.sentence, code=refusal.code))
            return self.show_form(form, status=422, way_out=self.way_out(refusal))
        status = 409 if self.request.method == "POST" else 200
        return self.show_form(form, refusal.sentence, status, self.way_out(refusal))

    def show_form(self, form: Form, failed: str = "", status: int = 200, way_out: Link | None = None) -> HttpResponse:
        context = self.context(
            self.title(),
            form=form,
            failed=failed,
            way_out=way_out or self.field_way_out(form),
            consequence=self.consequence(),
            danger=self.danger(),
            price=self.form_price(),
            check_url=f"{self.address()}check/",
            back=self.subject_address(),
        )
        return render(self.request, "admin/subscriptions/form.html", context, status=status)

    def field_way_out(self, form: Form) -> Link | None:
        """The way out of an input error that leads to another action."""
        for errors in form.errors.as_data().values() if form.is_bound else ():
            for error in errors:
                if link := self.way_out(NotAllowed(error.code or "", "")):
                    return link
        return None

    def show_check(self, form: Form, failed: str = "", status: int = 200) -> HttpResponse:
        """The page with the button, and with what was seen before when it comes again."""
        context = self.context(
            f"Check: {self.title()}",
            form=form,
            failed=failed,
            consequence=self.consequence(),
            changes=self.changes(form),
            next_steps=self.next_steps(form),
            reason=form.cleaned_data["reason"],
            reason_label=form.fields["reason"].label,
            button=self.button(form),
            danger=self.danger(),
            place_url=self.address(),
            check_url=f"{self.address()}check/",
            back=self.subject_address(),
            **(self.figures(self.proposal, failed) if self.proposal else {"price": self.form_price()}),
        )
        return render(self.request, "admin/subscriptions/check.html", context, status=status)

    def figures(self, proposal: Proposal, failed: str) -> dict[str, Any]:
        """The money, whether somebody else must approve it, and the planned change that it touches."""
        shown = Pinned.from_token(self.request.POST.get("quote", "")) if failed else None
        touched = quoted.touched(proposal)
        quote = proposal.pinned.token() if proposal.pinned else ""
        chosen = {"quote": quote, "planned": self.request.POST.get("planned", "") if failed else ""}
        if touched and touched.note:
            del chosen["planned"]
        confirm = self.confirm or ConfirmForm(initial=chosen, touched=touched)
        return {
            "price": quoted.of_proposal(proposal),
            "seen": lifecycle.figures(shown, proposal) if shown else [],
            "touched": touched,
            "confirm": confirm,
            "approval": proposal.needs_approval(),
        }


def action_urls(route: str, name: str, view: type[ActionView], **initial: Any) -> list[URLPattern]:
    """The two addresses of an action: its form, where it is placed too, and its check page."""
    wrap = admin.site.admin_view
    return [
        path(f"{route}/", wrap(view.as_view(**initial)), name=name),
        path(f"{route}/check/", wrap(view.as_view(checking=True, **initial)), name=f"{name}_check"),
    ]
