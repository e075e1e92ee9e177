"""Get activation code: masked until asked for; each look is a POST and an event."""

import segno
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from portal.sign_in import confirm_first
from subscriptions import actions, lifecycle
from subscriptions.actions import CODE, STOREFRONT, NotAllowed, Situation
from subscriptions.models import Member, Role, Subscription
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.forms import MailCodeForm


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def code(request: SignedIn, pk: int) -> HttpResponse:
    """The page of the code; `how` in a POST is show, download or mail. Never kept by a cache (`no-store`).

    Staff who view as a customer see nothing of it, not even its end.
    """
    subscription = subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT)
    if refusal := CODE.why_not(about):
        return refused(request, subscription, CODE, refusal)
    if request.viewing:
        context = {"subscription": subscription, "account": subscription.account}
        return render(request, "storefront/code_unseen.html", context)
    return confirm_first(request, request.path) or _answer(request, subscription)


def _answer(request: SignedIn, subscription: Subscription) -> HttpResponse:
    members = _may_see(subscription)
    form = MailCodeForm(members=members, initial={"member": _own(members, request)})
    try:
        match request.POST.get("how") if request.method == "POST" else None:
            case "show":
                shown = lifecycle.reveal_code(subscription, "shown", actor=request.user, audience=STOREFRONT)
                return _page(request, subscription, form, shown=shown.reveal())
            case "download":
                shown = lifecycle.reveal_code(subscription, "downloaded", actor=request.user, audience=STOREFRONT)
                return _download(subscription, shown.reveal())
            case "mail":
                form = MailCodeForm(request.POST, members=members)
                if not form.is_valid():
                    return _page(request, subscription, form, status=422)
                member = form.cleaned_data["member"]
                lifecycle.mail_code(subscription, member, actor=request.user, audience=STOREFRONT)
                messages.success(request, f"The code is on its way to {member.user.name} ({member.user.email}).")
                return redirect("storefront:code", subscription.pk)
    except NotAllowed as refusal:
        return refused(request, subscription, CODE, refusal)
    return _page(request, subscription, form)


def _may_see(subscription: Subscription) -> list[Member]:
    """The members who may be sent the code, by the same rule as for the page, in 1 query."""
    members = subscription.account.members.filter(user__is_active=True).select_related("user").order_by("user__name")
    return [
        one
        for one in members
        if CODE.why_not(Situation(subscription, one.user, STOREFRONT, role=Role(one.role))) is None
    ]


def _own(members: list[Member], request: SignedIn) -> int | None:
    return next((one.pk for one in members if one.user_id == request.eyes.pk), None)


@sensitive_variables("shown")
def _page(
    request: SignedIn, subscription: Subscription, form: MailCodeForm, *, shown: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "form": form,
        "shown": shown,
        "qr": qr(shown) if shown else "",
    }
    return render(request, "storefront/code.html", context, status=status)


@sensitive_variables("text")
def qr(text: str) -> str:
    """The text as inline SVG with attributes only, since the page policy allows no styles inside."""
    drawing = segno.make(text, error="m", micro=False).svg_inline(
        scale=6, border=4, dark="#000", light="#fff", svgclass=None, lineclass=None, omitsize=True
    )
    return mark_safe(drawing)  # noqa: S308 - drawn from numbers


@sensitive_variables("shown")
def _download(subscription: Subscription, shown: str) -> HttpResponse:
    lines = (
        f"{subscription.sku.product.name}",
        f"Subscription {subscription.number}, {subscription.account.name}",
        f"Seats {subscription.seats:,}",
        "",
        "Activation code",
        shown,
        "",
    )
    response = HttpResponse("\r\n".join(lines), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{subscription.number}-activation-code.txt"'
    return response
