"""Cancel: what it means, the check page, and the order behind its button."""

import uuid

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import CANCEL, STOREFRONT, NotAllowed
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.forms import CancelForm, ConfirmForm


@require_safe
def field(request: SignedIn, pk: int) -> HttpResponse:
    """Page 1: what ends and what stays, and why one cancels.

    The reason travels in POSTs alone: addresses end up in logs and histories.
    """
    subscription = subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := CANCEL.why_not(about):
        return refused(request, subscription, CANCEL, refusal)
    return _field_page(request, subscription, CancelForm(), fewer=actions.DECREASE.why_not(about) is None)


def _field_page(
    request: SignedIn, subscription: Subscription, form: CancelForm, *, fewer: bool = False, status: int = 200
) -> HttpResponse:
    context = {"subscription": subscription, "account": subscription.account, "form": form, "fewer": fewer}
    return render(request, "storefront/cancel_field.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int) -> HttpResponse:
    """Page 2: the button that cancels; a second sending leads to the same receipt.

    A GET, and a POST with `back`, is page 1; the latter keeps the reason.
    """
    if request.method != "POST":
        return field(request, pk)
    subscription = subscription_or_404(request, pk)
    confirm = ConfirmForm(request.POST) if "key" in request.POST else None
    if confirm and confirm.is_valid():
        known = Order.objects.filter(actor=request.user, idempotency_key=confirm.cleaned_data["key"]).first()
        if known:
            return redirect("storefront:order", known.pk)
    again, kept = request.path, {"reason": request.POST.get("reason", ""), "back": "1"}
    about = actions.situation(subscription, actor=request.user, audience=STOREFRONT)
    if refusal := CANCEL.why_not(about):
        return refused(request, subscription, CANCEL, refusal, again=again, kept=kept)
    if "back" in request.POST:
        fewer = actions.DECREASE.why_not(about) is None
        return _field_page(request, subscription, CancelForm(initial=kept), fewer=fewer)
    form = CancelForm(request.POST)
    if not form.is_valid():
        return _field_page(request, subscription, form, status=422)
    if confirm is None:
        return _check_page(request, subscription, form)
    if not confirm.is_valid() or confirm.cleaned_data["version"] != subscription.version:
        return _check_page(request, subscription, form, confirm, status=409, failed=lifecycle.STALE)
    wish = Wish(
        subscription.pk,
        CANCEL.stem,
        reason=form.cleaned_data["reason"],
        version=confirm.cleaned_data["version"],
        idempotency_key=confirm.cleaned_data["key"],
    )
    try:
        order = lifecycle.place(wish, actor=request.user, audience=STOREFRONT)
    except NotAllowed as refusal:
        # Somebody was quicker between the look above and the lock.
        return refused(request, subscription, CANCEL, refusal, again=again, kept=kept)
    return redirect("storefront:order", order.pk)


def _check_page(
    request: SignedIn,
    subscription: Subscription,
    form: CancelForm,
    confirm: ConfirmForm | None = None,
    *,
    status: int = 200,
    failed: str = "",
) -> HttpResponse:
    key = confirm.cleaned_data["key"] if confirm and confirm.is_valid() else uuid.uuid4()
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "failed": failed,
        "reason": form.cleaned_data["reason"],
        "today": actions.day(clock.now(), subscription),
        "confirm": ConfirmForm(initial={"version": subscription.version, "key": key}),
    }
    return render(request, "storefront/cancel_check.html", context, status=status)
