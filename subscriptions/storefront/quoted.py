"""A check page and what its button sends: ordered as it was shown, or shown again with old and new figures."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import STOREFRONT, Action, NotAllowed, Situation
from subscriptions.lifecycle import Wish
from subscriptions.models import Order
from subscriptions.quotes import Pinned, When
from subscriptions.storefront import proposals
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.forms import ConfirmForm, PlannedForm, QuotedForm
from subscriptions.storefront.proposals import Proposal

AGAIN = ("stale", "stale_quote", "order_scheduled", "cannot_keep")
"""Refusals for which the check page comes again, rather than a page that says why not."""

Propose = Callable[[Situation, Pinned | None], Proposal | HttpResponse]
"""What is asked for now, as of the quote that was shown, if one was; or the page on which the input is mended."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the button sent of that which was shown; what is missing or forged is None."""

    version: int | None = None
    key: uuid.UUID | None = None
    quote: Pinned | None = None


@dataclass(frozen=True, slots=True)
class CheckPage:
    """How a check page of one action asks, orders and looks.

    `show` gives what its template needs besides; `when`, `reason` go into the order, `kept` to the page of a refusal.
    """

    action: Action
    template: str
    propose: Propose
    show: Callable[[Proposal], dict[str, Any]]
    when: When = None
    reason: str = ""
    kept: dict[str, Any] | None = None


def check(request: SignedIn, pk: int, page: CheckPage) -> HttpResponse:
    """Show the page, or order what it showed; a second sending leads to the same receipt.

    Nothing is ordered that was not shown: what has changed since makes the page come again (409).
    """
    subscription_or_404(request, pk)
    sent = _read(request)
    if sent and sent.key and (known := Order.objects.filter(actor=request.user, idempotency_key=sent.key).first()):
        return redirect("storefront:order", known.pk)
    found = _ask(request, pk, page, sent.quote if sent else None)
    if isinstance(found, HttpResponse):
        return found
    if sent is None:
        return _render(request, page, found)
    form = _planned_form(found, request.POST)
    try:
        _must_be_as_shown(found, sent)
        if form and not form.is_valid():
            return _render(request, page, found, sent, form, status=422)
        order = _place(request, page, found, sent, form)
    except NotAllowed as refusal:
        if refusal.code not in AGAIN:
            return refused(request, found.subscription, page.action, refusal, **(page.kept or {}))
        found = _ask(request, pk, page)
        if isinstance(found, HttpResponse):
            return found
        return _render(request, page, found, sent, status=409, failed=refusal.sentence)
    return redirect("storefront:order", order.pk)


def _read(request: SignedIn) -> Sent | None:
    """None when the page has not been shown yet."""
    if request.method != "POST" or "key" not in request.POST:
        return None
    form = QuotedForm(request.POST)
    form.is_valid()
    return Sent(**form.cleaned_data)


def _ask(request: SignedIn, pk: int, page: CheckPage, shown: Pinned | None = None) -> Proposal | HttpResponse:
    about = actions.situation(subscription_or_404(request, pk), actor=request.eyes, audience=STOREFRONT)
    try:
        if refusal := page.action.why_not(about):
            raise refusal
        return page.propose(about, shown)
    except NotAllowed as refusal:
        return refused(request, about.subscription, page.action, refusal, **(page.kept or {}))


def _must_be_as_shown(proposal: Proposal, sent: Sent) -> None:
    """Raises NotAllowed with a code of AGAIN."""
    if sent.key is None or sent.version != proposal.subscription.version:
        raise NotAllowed("stale", lifecycle.STALE)
    if proposal.pinned and (why := proposal.why_not(sent.quote, clock.now())):
        raise NotAllowed("stale_quote", why)


def _place(request: SignedIn, page: CheckPage, proposal: Proposal, sent: Sent, form: PlannedForm | None) -> Order:
    wish = Wish(
        proposal.subscription.pk,
        page.action.stem,
        proposal.after,
        reason=page.reason,
        version=sent.version,
        idempotency_key=sent.key,
        when=page.when,
        planned=form.cleaned_data["planned"] if form else "",
        quote=sent.quote if proposal.pinned else None,
    )
    return lifecycle.place(wish, actor=request.user, audience=STOREFRONT)


def _planned_form(proposal: Proposal, data: Any = None) -> PlannedForm | None:
    planned = proposals.planned(proposal)
    return PlannedForm(data, choices=planned.choices) if planned else None


def _render(
    request: SignedIn,
    page: CheckPage,
    proposal: Proposal,
    sent: Sent | None = None,
    form: PlannedForm | None = None,
    *,
    status: int = 200,
    failed: str = "",
) -> HttpResponse:
    subscription, pinned = proposal.subscription, proposal.pinned
    approval = proposal.needs_approval()
    if form is None and (form := _planned_form(proposal)) and len(proposal.choices) > 1:
        form.initial = {"planned": request.POST.get("planned")}
    hidden = {"version": subscription.version, "key": (sent and sent.key) or uuid.uuid4()}
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": page.action,
        "proposal": proposal,
        "failed": failed,
        "form": form,
        "planned_form": form,
        "planned": proposals.planned(proposal, needs_approval=approval),
        "approval": approval,
        "figures": proposals.figures(sent.quote, proposal) if failed and sent and sent.quote else [],
        "confirm": QuotedForm(initial=hidden | {"quote": pinned.token()}) if pinned else ConfirmForm(initial=hidden),
    }
    return render(request, page.template, context | page.show(proposal), status=status)
