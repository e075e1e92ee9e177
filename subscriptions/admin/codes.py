"""The activation code in BSS: masked until asked for; each way of getting it is a POST, logged with its person."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import segno
from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST, require_safe

from portal.sign_in import confirm_first
from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin import shortcut
from subscriptions.admin.forms import MemberChoice
from subscriptions.models import Member, Subscription
from subscriptions.vendors.port import Secret


class MailForm(forms.Form):
    """Which member gets the code by e-mail."""

    member = MemberChoice(
        label="Send it to",
        queryset=Member.objects.none(),
        empty_label="Choose a member",
        error_messages={"required": "Choose a member.", "invalid_choice": "Choose a member of this account."},
    )

    def __init__(self, *args: Any, subscription: Subscription, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        member: Any = self.fields["member"]
        active = subscription.account.members.filter(user__is_active=True)
        member.queryset = active.select_related("user").order_by("user__name")


def why_hidden(about: Situation) -> NotAllowed | None:
    """Why this person cannot reveal the code, or None."""
    return actions.CODE.why_not(about)


def qr(code: Secret) -> SafeString:
    """The code as an inline SVG without style attributes."""
    drawing = segno.make(code.reveal(), micro=False)
    return mark_safe(  # noqa: S308 - drawn by segno from a code, nothing in it is anybody's input
        drawing.svg_inline(omitsize=True, border=3, dark="#11201c", light="#ffffff", svgclass="qr", lineclass=None)
    )


def _page(
    request: HttpRequest,
    about: Situation,
    *,
    status: int = 200,
    code: Secret | None = None,
    refusal: NotAllowed | None = None,
    **more: Any,
) -> HttpResponse:
    subscription = about.subscription
    context = shortcut.frame(
        request,
        about,
        title=f"Activation code of {subscription}",
        refusal=refusal,
        back=shortcut.subscription_url(subscription.pk),
        code=code.reveal() if code else "",
        qr=qr(code) if code else "",
        **{"form": MailForm(subscription=subscription), **more},
    )
    template = "admin/subscriptions/refused.html" if refusal else "admin/subscriptions/subscription/code.html"
    if refusal:
        # A page that only explains is no failed request.
        possible = 409 if request.method == "POST" else 200
        status = 403 if refusal.code == "permission" else possible
    return render(request, template, context, status=status)


CodeView = Callable[[HttpRequest, Situation], HttpResponse]


def _about_code(view: CodeView) -> Callable[[HttpRequest, int], HttpResponse]:
    """Fetch the subscription, refuse, and ask after an old sign-in who it is.

    What comes out is never kept by a browser or a proxy.
    """

    @wraps(view)
    def inner(request: HttpRequest, pk: int) -> HttpResponse:
        subscription = shortcut.find_subscription(request, pk)
        user: Any = request.user
        about = actions.situation(subscription, actor=user, audience=actions.BSS)
        refusal = why_hidden(about)
        page = shortcut.subscription_url(pk, "code")
        try:
            if refusal:
                response = _page(request, about, refusal=refusal)
            else:
                # Already before the masked code, so that nobody is asked between filling in a form and sending it.
                response = confirm_first(request, page) or view(request, about)
        except NotAllowed as changed_meanwhile:
            response = _page(request, about, refusal=changed_meanwhile)
        response["Cache-Control"] = "no-store"
        return response

    return inner


def _reveal(request: HttpRequest, about: Situation, how: str) -> Secret:
    user: Any = request.user
    return lifecycle.reveal_code(about.subscription, how, actor=user, audience=actions.BSS)


@require_safe
@_about_code
def masked(request: HttpRequest, about: Situation) -> HttpResponse:
    """The masked code, and the ways to get it."""
    return _page(request, about)


@require_POST
@_about_code
def show(request: HttpRequest, about: Situation) -> HttpResponse:
    """The code on the page, with its QR."""
    return _page(request, about, code=_reveal(request, about, "shown"))


@require_POST
@_about_code
def download(request: HttpRequest, about: Situation) -> HttpResponse:
    """The code as a text file."""
    code = _reveal(request, about, "downloaded")
    name = f"{about.subscription.number}-activation-code.txt"
    return HttpResponse(
        f"{code.reveal()}\n",
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_POST
@_about_code
def mail(request: HttpRequest, about: Situation) -> HttpResponse:
    """Owe an e-mail with the code to a member who may see it."""
    subscription = about.subscription
    form = MailForm(request.POST, subscription=subscription)
    user: Any = request.user
    if not form.is_valid():
        return _page(request, about, form=form, status=422)
    member = form.cleaned_data["member"]
    try:
        lifecycle.mail_code(subscription, member, actor=user, audience=actions.BSS)
    except NotAllowed as refusal:
        form.add_error("member", refusal.sentence)
        return _page(request, about, form=form, status=409)
    messages.success(request, f"The activation code of {subscription} goes to {member.user.name} by e-mail.")
    return redirect(shortcut.subscription_url(subscription.pk))


def urls() -> list[URLPattern]:
    """The addresses of the activation code."""
    wrap = admin.site.admin_view
    name = "subscriptions_subscription_code"
    return [
        path("<int:pk>/code/", wrap(masked), name=name),
        path("<int:pk>/code/show/", wrap(show), name=f"{name}_show"),
        path("<int:pk>/code/download/", wrap(download), name=f"{name}_download"),
        path("<int:pk>/code/mail/", wrap(mail), name=f"{name}_mail"),
    ]
