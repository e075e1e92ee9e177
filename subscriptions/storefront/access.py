"""What a customer may reach, and the page that says why something is not possible."""

from urllib.parse import urlencode

from django.db.models import F, FilteredRelation, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import NoReverseMatch, reverse
from django_htmx.middleware import HtmxDetails

from subscriptions import actions
from subscriptions.actions import STOREFRONT, Action, NotAllowed, Situation
from subscriptions.models import Account, Member, Order, OrderStatus, Role, Subscription, User
from subscriptions.storefront import targets
from subscriptions.viewing import Sight


class SignedIn(HttpRequest):
    """A request behind LoginRequiredMiddleware and ViewingMiddleware.

    `eyes` is whom a page is made for, and `user` who acts. Both are the same person but while staff view as a customer,
    which is `viewing`; nothing but GET gets here then.
    """

    user: User
    eyes: User
    viewing: Sight | None
    htmx: HtmxDetails


def subscription_or_404(request: SignedIn, pk: int) -> Subscription:
    """The subscription with its SKU, product and account; somebody else's is a 404."""
    rows = Subscription.objects.visible_to(request.eyes).select_related("sku__product", "account")
    return get_object_or_404(rows, pk=pk)


def situation_or_404(request: SignedIn, pk: int) -> Situation:
    """The subscription with its terms, the person's role and what is planned, in 1 query: for prices and no more."""
    rows = Subscription.objects.visible_to(request.eyes).select_related("sku__product", "account")
    rows = rows.annotate(
        role=F("account__members__role"),
        planned=FilteredRelation("orders", condition=Q(orders__status=OrderStatus.SCHEDULED)),
        planned_action=F("planned__action"),
        planned_after=F("planned__after"),
        planned_quote=F("planned__quote"),
        planned_due_at=F("planned__due_at"),
    )
    found = rows.filter(pk=pk).first()
    if found is None:
        raise Http404
    planned = Order(
        action=found.planned_action, after=found.planned_after, quote=found.planned_quote, due_at=found.planned_due_at
    )
    scheduled = planned if planned.action else None
    return Situation(found, request.eyes, STOREFRONT, Role(found.role), scheduled=scheduled)


def order_or_404(request: SignedIn, pk: int) -> Order:
    """The order with all that its page names; somebody else's is a 404."""
    rows = Order.objects.visible_to(request.eyes).select_related(
        "subscription__sku__product", "subscription__account", "actor"
    )
    return get_object_or_404(rows, pk=pk)


def accounts_of(user: User) -> list[Account]:
    """The accounts that the person is a member of, by name."""
    return list(Account.objects.filter(members__user=user).order_by("name"))


def memberships_of(user: User) -> list[Member]:
    """The person's accounts by name, with their role in each."""
    return list(Member.objects.filter(user=user).select_related("account").order_by("account__name", "account"))


def buys(member: Member) -> bool:
    """May the person buy for that account?"""
    return Role(member.role) in actions.START.roles


def url_of(name: str, *args: int) -> str:
    """The address of a page of the Storefront; empty while there is none of that name."""
    try:
        return reverse(f"storefront:{name}", args=args)
    except NoReverseMatch:
        return ""


# Code of a refusal -> the action that leads out of it.
_WAYS = {
    "at_minimum": actions.CANCEL,
    "zero": actions.CANCEL,
    "ending": actions.KEEP,
    "expired": actions.RENEW,
    "trial": actions.CONVERT,
}


def way_out(refusal: NotAllowed, subscription: Subscription, *, seats: int | None = None) -> tuple[str, str]:
    """Where a refusal leads, and the words of that link; two empty texts when nothing can be done.

    `seats` are those that were wanted. At most 1 query, and only where the SKU's range is in the way.
    """
    if refusal.order is not None:
        return reverse("storefront:order", args=[refusal.order.pk]), f"See {refusal.order.number}"
    beyond = _beyond(refusal, subscription, seats)
    if beyond and (sku := targets.holding(subscription, beyond)):
        query = urlencode({"sku": sku.code, "seats": beyond})
        return f"{url_of('change_sku', subscription.pk)}?{query}", f"Change to {sku.name}"
    action = _WAYS.get(refusal.code)
    if action is not None and (url := url_of(action.stem, subscription.pk)):
        return url, action.label
    if refusal.code == "cancelled" and (url := url_of("catalogue")):
        return url, "Buy a subscription"
    return "", ""


def _beyond(refusal: NotAllowed, subscription: Subscription, seats: int | None) -> int:
    """The seats that the SKU does not allow: those wanted, or one more or fewer than it or the subscription has."""
    sku, have = subscription.sku, subscription.seats
    match refusal.code:
        case "at_maximum" | "above_maximum":
            return seats or max(have, sku.seats_max) + 1
        case "at_minimum" | "below_minimum":
            return seats or min(have, sku.seats_min) - 1
    return 0


# What a person lacks, or what is over, does not come by waiting.
_FOR_GOOD = {
    "role": "not within your role",
    "audience": "not possible",
    "cancelled": "no longer possible",
    "order_status": "no longer possible",
    "too_late": "no longer possible",
    "vendor_cannot": "not possible",
}


def refused(
    request: HttpRequest,
    subscription: Subscription,
    action: Action,
    refusal: NotAllowed,
    *,
    asked: str = "",
    again: str = "",
    kept: dict[str, str] | None = None,
) -> HttpResponse:
    """The page that says why `action` is not possible: 403 for want of a role, 409 for a refused POST.

    `asked` repeats what the person wanted, `again` is the address that still holds their input, or that
    takes it as the POST `kept`.
    """
    url, link = way_out(refusal, subscription)
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": action,
        "refusal": refusal,
        "how": _FOR_GOOD.get(refusal.code, "not possible now"),
        "for_good": refusal.code in _FOR_GOOD,
        "way_out": url,
        "way_out_label": link,
        "asked": asked,
        "again": again,
        "kept": kept,
    }
    status = 403 if refusal.code == "role" else 409 if request.method == "POST" else 200
    return render(request, "storefront/refused.html", context, status=status)
