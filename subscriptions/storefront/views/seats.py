"""Increase and Decrease: the field with its price, the check page, and the order behind its button."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import ACTIONS, STOREFRONT, Action, NotAllowed, Situation
from subscriptions.quotes import Pinned
from subscriptions.storefront import costs, proposals, quoted
from subscriptions.storefront.access import (
    SignedIn,
    refused,
    situation_or_404,
    subscription_or_404,
    way_out,
)  # fmt: skip
from subscriptions.storefront.costs import Price
from subscriptions.storefront.forms import SeatsForm, whole_number
from subscriptions.storefront.proposals import Proposal
from subscriptions.storefront.quoted import CheckPage

NO_NUMBER = Price("Price", sentence="You see the price here once the number is possible.")


@require_safe
def field(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 1: the new total, and what it costs. Minus, plus and Calculate price come back here; the input is kept."""
    action, subscription = ACTIONS[stem], subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT)
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
    page = _field_url(action, pk, request.GET.get("seats", ""))
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
    typed = whole_number(form.data.get("seats", ""))
    way, label = way_out(NotAllowed(error.code or "", ""), subscription, seats=typed) if error else ("", "")
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "form": form,
        "failed": failed,
        # What is wrong with the number stands beside its field.
        "price": NO_NUMBER if error else _price(about, action, form),
        "way_out": way,
        "way_out_label": label,
        "planned": lifecycle.planned_words(about.scheduled, subscription) if about.scheduled else "",
        "field_url": reverse(f"storefront:{action.stem}", args=[subscription.pk]),
        "price_url": reverse(f"storefront:{action.stem}_price", args=[subscription.pk]),
        "check_url": reverse(f"storefront:{action.stem}_check", args=[subscription.pk]),
    }
    return render(request, "storefront/seats_field.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 2: now and after, with the button that places the order."""
    action = ACTIONS[stem]
    typed = _sent(request).get("seats", "")
    page = CheckPage(
        action,
        "storefront/seats_check.html",
        propose=partial(_propose, request, action),
        show=_shown,
        kept={"asked": typed, "again": _field_url(action, pk, typed)},
    )
    return quoted.check(request, pk, page)


def _sent(request: SignedIn) -> QueryDict:
    return request.POST if request.method == "POST" else request.GET


def _field_url(action: Action, pk: int, seats: object) -> str:
    """Page 1 with this number in its field."""
    return f"{reverse(f'storefront:{action.stem}', args=[pk])}?{urlencode({'seats': seats})}"


def _propose(request: SignedIn, action: Action, about: Situation, shown: Pinned | None) -> Proposal | HttpResponse:
    """The change that was asked for, or page 1 with what is wrong with the number."""
    form = SeatsForm(_sent(request), action=action, subscription=about.subscription)
    if form.is_valid():
        after = {"Seats": form.cleaned_data["seats"]}
        try:
            return proposals.propose(action, about, after, at=clock.now(), shown=shown)
        except NotAllowed as refusal:
            form.add_error("seats", refusal.sentence)
    if request.method != "POST":
        return _field_page(request, about, action, form)
    if request.POST.get("version") != str(about.subscription.version):
        return _field_page(request, about, action, form, status=409, failed=lifecycle.STALE)
    return _field_page(request, about, action, form, status=422)


def _shown(proposal: Proposal) -> dict[str, Any]:
    subscription, seats = proposal.subscription, proposal.after["Seats"]
    return {
        "price": costs.of_seats(proposal),
        "each_now": costs.per_period(subscription, proposal.prices),
        "each_after": costs.per_period(subscription, proposal.prices, seats),
        "seats": seats,
        "difference": actions.seats_words(abs(seats - subscription.seats)),
        "button": _button(proposal),
        "back_url": _field_url(proposal.action, subscription.pk, seats),
    }


def _button(proposal: Proposal) -> str:
    """It names what it does: what, how many, and how much."""
    seats, have = proposal.after["Seats"], proposal.subscription.seats
    if proposal.planned:
        return f"Plan {actions.seats_words(seats)} from {actions.date_words(proposal.on)}"
    words = f"{'Add' if seats > have else 'Remove'} {actions.seats_words(abs(seats - have))}"
    return f"{words}{costs.and_pay(proposal.quote)}"
