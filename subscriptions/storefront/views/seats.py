"""Increase and Decrease: the field with its price, the check page, and the order behind its button."""

import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import ACTIONS, STOREFRONT, Action, NotAllowed, Situation
from subscriptions.lifecycle import Wish
from subscriptions.models import Order
from subscriptions.quotes import Pinned
from subscriptions.storefront import costs, proposals
from subscriptions.storefront.access import (
    SignedIn,
    refused,
    situation_or_404,
    subscription_or_404,
    way_out,
)  # fmt: skip
from subscriptions.storefront.costs import Price
from subscriptions.storefront.forms import PlannedForm, QuotedForm, SeatsForm
from subscriptions.storefront.proposals import Proposal

# What lets the check page come again, rather than a page that says why not.
_AGAIN = ("stale", "stale_quote", "order_scheduled", "cannot_keep")


@require_safe
def field(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 1: the new total, and what it costs. Minus, plus and Calculate price come back here; the input is kept."""
    action, subscription = ACTIONS[stem], subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := action.why_not(about):
        return refused(request, subscription, action, refusal)
    form = SeatsForm(action=action, subscription=subscription)
    nearest = form.low if action is actions.INCREASE else form.high
    typed = request.GET.get("seats", str(nearest))
    by = {"plus": 1, "minus": -1}.get(request.GET.get("step", ""), 0)
    asked = {"seats": str(form.stepped(typed, by)) if by else typed}
    return _field_page(request, about, action, SeatsForm(asked, action=action, subscription=subscription))


@never_cache
@require_safe
def price(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """The price panel alone, for htmx, in 3 queries; everybody else gets the page."""
    action, about = ACTIONS[stem], situation_or_404(request, pk)
    page = f"{reverse(f'storefront:{stem}', args=[pk])}?{urlencode({'seats': request.GET.get('seats', '')})}"
    if not request.htmx:
        return redirect(page)
    if action.why_not(about):
        # The page says why, and whom to ask.
        return HttpResponse(headers={"HX-Redirect": page})
    form = SeatsForm(request.GET, action=action, subscription=about.subscription)
    answer = render(request, "storefront/_price_panel.html", {"price": _price(about, action, form)})
    answer["HX-Replace-Url"] = page
    return answer


def _price(about: Situation, action: Action, form: SeatsForm) -> Price:
    if not form.is_valid():
        return Price("Price", sentence=" ".join(map(str, form.errors["seats"])))
    try:
        proposal = proposals.propose(action, about, {"Seats": form.cleaned_data["seats"]}, at=clock.now())
    except NotAllowed as refusal:
        return Price("Price", sentence=refusal.sentence)
    return costs.of_seats(proposal)


def _field_page(
    request: SignedIn, about: Situation, action: Action, form: SeatsForm, *, status: int = 200, failed: str = ""
) -> HttpResponse:
    subscription = about.subscription
    error = next(iter(form.errors.as_data().get("seats", [])), None)
    way, label = way_out(NotAllowed(error.code or "", ""), subscription) if error else ("", "")
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "form": form,
        "failed": failed,
        "price": _price(about, action, form),
        "way_out": way,
        "way_out_label": label,
        "planned": lifecycle.planned_words(about.scheduled, subscription) if about.scheduled else "",
        "field_url": reverse(f"storefront:{action.stem}", args=[subscription.pk]),
        "price_url": reverse(f"storefront:{action.stem}_price", args=[subscription.pk]),
        "check_url": reverse(f"storefront:{action.stem}_check", args=[subscription.pk]),
    }
    return render(request, "storefront/seats_field.html", context, status=status)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A change that can be ordered as it was asked for."""

    form: SeatsForm
    proposal: Proposal


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 2: now and after, with the button that places the order; a second sending leads to the same receipt.

    Nothing is ordered that was not shown: what has changed since makes the page come again, with old and new figures.
    """
    action = ACTIONS[stem]
    if request.method != "POST":
        asked = _ask(request, pk, action, request.GET)
        return _check_page(request, asked.proposal) if isinstance(asked, _Asked) else asked
    subscription_or_404(request, pk)
    confirm = QuotedForm(request.POST)
    complete = confirm.is_valid()
    sent: dict[str, Any] = confirm.cleaned_data
    key = sent.get("key")
    if key and (known := Order.objects.filter(actor=request.user, idempotency_key=key).first()):
        return redirect("storefront:order", known.pk)
    asked = _ask(request, pk, action, request.POST, shown=sent.get("quote"), version=sent.get("version"))
    if isinstance(asked, HttpResponse):
        return asked
    proposal = asked.proposal
    if not complete or sent["version"] != proposal.subscription.version:
        return _again(request, pk, action, sent, lifecycle.STALE)
    if failed := proposal.why_not(sent["quote"], clock.now()):
        return _again(request, pk, action, sent, failed)
    planned_form = _planned_form(proposal, request.POST)
    if planned_form and not planned_form.is_valid():
        return _check_page(request, proposal, sent, planned_form, status=422)
    wish = Wish(
        pk,
        action.stem,
        proposal.after,
        version=sent["version"],
        idempotency_key=sent["key"],
        planned=planned_form.cleaned_data["planned"] if planned_form else "",
        quote=sent["quote"],
    )
    try:
        order = lifecycle.place(wish, actor=request.user, audience=STOREFRONT)
    except NotAllowed as refusal:
        # Somebody was quicker between the look above and the lock.
        if refusal.code in _AGAIN:
            return _again(request, pk, action, sent, refusal.sentence)
        return _refused(request, proposal.about, action, refusal)
    return redirect("storefront:order", order.pk)


def _ask(
    request: SignedIn,
    pk: int,
    action: Action,
    data: Any,
    *,
    shown: Pinned | None = None,
    version: int | None = None,
    failed: str = "",
) -> _Asked | HttpResponse:
    """What is asked for, or the page that says why it is not possible. `version` is the one that the person saw."""
    subscription = subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := action.why_not(about):
        return _refused(request, about, action, refusal)
    form = SeatsForm(data, action=action, subscription=subscription)
    if form.is_valid():
        try:
            after = {"Seats": form.cleaned_data["seats"]}
            return _Asked(form, proposals.propose(action, about, after, at=clock.now(), shown=shown))
        except NotAllowed as refusal:
            form.add_error("seats", refusal.sentence)
    if request.method != "POST":
        return _field_page(request, about, action, form)
    if failed or version != subscription.version:
        return _field_page(request, about, action, form, status=409, failed=failed or lifecycle.STALE)
    return _field_page(request, about, action, form, status=422)


def _refused(request: SignedIn, about: Situation, action: Action, refusal: NotAllowed) -> HttpResponse:
    typed = request.POST.get("seats", request.GET.get("seats", ""))
    again = f"{reverse(f'storefront:{action.stem}', args=[about.subscription.pk])}?{urlencode({'seats': typed})}"
    return refused(request, about.subscription, action, refusal, asked=typed, again=again)


def _again(request: SignedIn, pk: int, action: Action, sent: dict[str, Any], failed: str) -> HttpResponse:
    """Page 2 once more: the figures of now, beside those that were seen, and all that was typed."""
    asked = _ask(request, pk, action, request.POST, version=sent.get("version"), failed=failed)
    if isinstance(asked, HttpResponse):
        return asked
    return _check_page(request, asked.proposal, sent, status=409, failed=failed)


def _planned_form(proposal: Proposal, data: Any = None) -> PlannedForm | None:
    planned = proposals.planned(proposal)
    return PlannedForm(data, choices=planned.choices) if planned else None


def _check_page(
    request: SignedIn,
    proposal: Proposal,
    sent: dict[str, Any] | None = None,
    planned_form: PlannedForm | None = None,
    *,
    status: int = 200,
    failed: str = "",
) -> HttpResponse:
    sent = sent or {}
    subscription, action, seats = proposal.subscription, proposal.action, proposal.after["Seats"]
    approval = proposal.needs_approval()
    if planned_form is None and (planned_form := _planned_form(proposal)):
        planned_form.initial = {"planned": request.POST.get("planned")} if status == 409 else {}
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "failed": failed,
        "form": planned_form,
        "planned_form": planned_form,
        "planned": proposals.planned(proposal, needs_approval=approval),
        "proposal": proposal,
        "price": costs.of_seats(proposal),
        "each_now": costs.per_period(subscription, proposal.prices),
        "each_after": costs.per_period(subscription, proposal.prices, seats),
        "seats": seats,
        "difference": actions.seats_words(abs(seats - subscription.seats)),
        "approval": approval,
        "figures": proposals.figures(sent["quote"], proposal) if failed and sent.get("quote") else [],
        "button": _button(proposal),
        "confirm": QuotedForm(
            initial={
                "version": subscription.version,
                "key": sent.get("key") or uuid.uuid4(),
                "quote": proposal.pinned.token() if proposal.pinned else "",
            }
        ),
        "back_url": f"{reverse(f'storefront:{action.stem}', args=[subscription.pk])}?{urlencode({'seats': seats})}",
    }
    return render(request, "storefront/seats_check.html", context, status=status)


def _button(proposal: Proposal) -> str:
    """It names what it does: what, how many, and how much."""
    seats, have = proposal.after["Seats"], proposal.subscription.seats
    if proposal.planned:
        return f"Plan {actions.seats_words(seats)} from {actions.date_words(proposal.on)}"
    words = f"{'Add' if seats > have else 'Remove'} {actions.seats_words(abs(seats - have))}"
    return f"{words}{costs.and_pay(proposal.quote)}"
