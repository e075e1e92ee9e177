"""Notices: which email a person gets, for each company that they are a member of."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from subscriptions.models import Account, Member, Role
from subscriptions.models.notice import NoticeKind
from subscriptions.notifications.recipients import can_hear
from subscriptions.storefront.access import SignedIn

K = NoticeKind
GROUPS: tuple[tuple[str, tuple[NoticeKind, ...]], ...] = (
    ("Changes that somebody asked for", (K.DONE, K.FAILED, K.APPROVAL, K.WITHDRAWN)),
    ("Start, stop and end", (K.CODE, K.SUSPENSION, K.ENDING, K.ENDED)),
    ("Terms and trials", (K.REMINDER, K.EXPIRED, K.TRIAL_ENDING, K.TRIAL)),
)
HINTS: dict[NoticeKind, str] = {
    K.DONE: "With what it costs.",
    K.FAILED: "Nothing is charged then.",
    K.APPROVAL: "It waits for your distributor, is approved or rejected.",
    K.WITHDRAWN: "Somebody took it back before it took effect, or it became impossible.",
    K.CODE: "The code itself is never in the email.",
    K.SUSPENSION: "Devices are not protected while it is suspended.",
    K.ENDING: "With the date until which it works and can be kept.",
    K.ENDED: "Its activation code no longer works.",
    K.REMINDER: "30 and 7 days before, with seats, price, date and the last day to reduce.",
    K.EXPIRED: "With the last day on which it can be renewed.",
    K.TRIAL_ENDING: (
        "7 days before, or 1 day before the end of a short one, with seats, price and the last day to convert it."
    ),
    K.TRIAL: "It was not converted to a paid subscription.",
}
ABOUT: dict[Role, str] = {
    Role.OWNER: "As Owner you hear about all subscriptions.",
    Role.MANAGER: "As Manager you hear about all subscriptions.",
    Role.BUYER: "As Buyer you hear about subscriptions and changes that you ordered.",
    Role.BILLING: "As Billing you hear what changes the bill, and what becomes of changes that you ordered.",
    Role.VIEWER: "As Viewer you hear only what becomes of changes that you ordered.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One checkbox."""

    kind: NoticeKind
    hint: str
    on: bool


@dataclass(frozen=True, slots=True)
class Company:
    """What a person can choose for one company."""

    member: Member
    account: Account
    about: str
    groups: list[tuple[str, list[Choice]]]


@require_http_methods(["GET", "HEAD", "POST"])
def notices(request: SignedIn) -> HttpResponse:
    """The page with a checkbox for each kind of email that can reach the person; a POST saves all of them."""
    members = list(Member.objects.filter(user=request.eyes).select_related("account").order_by("account__name"))
    if request.method == "POST":
        for member in members:
            # A company that the page did not show yet must not be read as "nothing ticked".
            if f"{member.pk}-shown" in request.POST:
                _save(member, set(request.POST.getlist(f"{member.pk}-on")))
        messages.success(request, "Saved. From now on you get the emails that are ticked here.")
        return redirect("storefront:notices")
    accounts = [member.account for member in members]
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "companies": [_company(member) for member in members],
    }
    return render(request, "storefront/notices.html", context)


def _company(member: Member) -> Company:
    shown = can_hear(Role(member.role))
    groups = [
        (title, [Choice(kind, HINTS[kind], kind not in member.notices_off) for kind in kinds if kind in shown])
        for title, kinds in GROUPS
    ]
    return Company(member, member.account, ABOUT[Role(member.role)], [one for one in groups if one[1]])


def _save(member: Member, ticked: set[str]) -> None:
    """What the role cannot hear was not on the page, and stays as it was for the role that can."""
    shown = can_hear(Role(member.role))
    kept = {kind for kind in member.notices_off if kind not in shown}
    member.notices_off = sorted(kept | {str(kind) for kind in shown if kind not in ticked})
    member.save(update_fields=["notices_off"])
