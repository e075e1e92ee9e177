"""Increase and Decrease: the field, the check page, and the order behind its button."""

import uuid
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, lifecycle
from subscriptions.actions import ACTIONS, STOREFRONT, Action, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.forms import ConfirmForm, SeatsForm


@require_safe
def field(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 1: the new total. Minus and plus come back here; what was typed is kept."""
    action, subscription = ACTIONS[stem], subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := action.why_not(about):
        return refused(request, subscription, action, refusal)
    form = SeatsForm(action=action, subscription=subscription)
    nearest = form.low if action is actions.INCREASE else form.high
    typed = request.GET.get("seats", str(nearest))
    by = {"plus": 1, "minus": -1}.get(request.GET.get("step", ""), 0)
    form.initial["seats"] = form.stepped(typed, by) if by else typed
    return _field_page(request, action, subscription, form)


def _field_page(
    request: SignedIn,
    action: Action,
    subscription: Subscription,
    form: SeatsForm,
    *,
    status: int = 200,
    failed: str = "",
) -> HttpResponse:
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "form": form,
        "failed": failed,
        "zero": form.has_error("seats", "zero"),
        "field_url": reverse(f"storefront:{action.stem}", args=[subscription.pk]),
        "check_url": reverse(f"storefront:{action.stem}_check", args=[subscription.pk]),
    }
    return render(request, "storefront/seats_field.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int, stem: str) -> HttpResponse:
    """Page 2: now and after, with the button that places the order; a second sending leads to the same receipt."""
    action, subscription = ACTIONS[stem], subscription_or_404(request, pk)
    sent = request.method == "POST"
    data = request.POST if sent else request.GET
    confirm = ConfirmForm(data) if sent else None
    if confirm and confirm.is_valid():
        known = Order.objects.filter(actor=request.user, idempotency_key=confirm.cleaned_data["key"]).first()
        if known:
            return redirect("storefront:order", known.pk)
    typed = data.get("seats", "")
    again = f"{reverse(f'storefront:{stem}', args=[pk])}?{urlencode({'seats': typed})}"
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := action.why_not(about):
        return refused(request, subscription, action, refusal, asked=typed, again=again)
    stale = bool(confirm and (not confirm.is_valid() or confirm.cleaned_data["version"] != subscription.version))
    form = SeatsForm(data, action=action, subscription=subscription)
    if not form.is_valid():
        status, failed = (409, lifecycle.STALE) if stale else (422 if sent else 200, "")
        return _field_page(request, action, subscription, form, status=status, failed=failed)
    if confirm is None:
        return _check_page(request, action, subscription, form)
    if stale:
        return _check_page(request, action, subscription, form, confirm, status=409, failed=lifecycle.STALE)
    wish = Wish(
        subscription.pk,
        action.stem,
        {"Seats": form.cleaned_data["seats"]},
        version=confirm.cleaned_data["version"],
        idempotency_key=confirm.cleaned_data["key"],
    )
    try:
        order = lifecycle.place(wish, actor=request.user, audience=STOREFRONT)
    except NotAllowed as refusal:
        # Somebody was quicker between the look above and the lock.
        return refused(request, subscription, action, refusal, asked=typed, again=again)
    return redirect("storefront:order", order.pk)


def _check_page(
    request: SignedIn,
    action: Action,
    subscription: Subscription,
    form: SeatsForm,
    confirm: ConfirmForm | None = None,
    *,
    status: int = 200,
    failed: str = "",
) -> HttpResponse:
    seats = form.cleaned_data["seats"]
    key = confirm.cleaned_data["key"] if confirm and confirm.is_valid() else uuid.uuid4()
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "failed": failed,
        "seats": seats,
        "difference": actions.seats_words(abs(seats - subscription.seats)),
        "confirm": ConfirmForm(initial={"version": subscription.version, "key": key}),
        "back_url": f"{reverse(f'storefront:{action.stem}', args=[subscription.pk])}?{urlencode({'seats': seats})}",
    }
    return render(request, "storefront/seats_check.html", context, status=status)
