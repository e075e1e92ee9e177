"""What a customer may reach, and the page that says why something is not possible."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django_htmx.middleware import HtmxDetails

from subscriptions.actions import CANCEL, Action, NotAllowed
from subscriptions.models import Account, Order, Subscription, User


class SignedIn(HttpRequest):
    """A request behind LoginRequiredMiddleware."""

    user: User
    htmx: HtmxDetails


def subscription_or_404(request: SignedIn, pk: int) -> Subscription:
    """The subscription with its SKU, product and account; somebody else's is a 404."""
    rows = Subscription.objects.visible_to(request.user).select_related("sku__product", "account")
    return get_object_or_404(rows, pk=pk)


def order_or_404(request: SignedIn, pk: int) -> Order:
    """The order with all that its page names; somebody else's is a 404."""
    rows = Order.objects.visible_to(request.user).select_related(
        "subscription__sku__product", "subscription__account", "actor"
    )
    return get_object_or_404(rows, pk=pk)


def accounts_of(user: User) -> list[Account]:
    """The accounts that the person is a member of, by name."""
    return list(Account.objects.filter(members__user=user).order_by("name"))


def way_out(refusal: NotAllowed, subscription: Subscription) -> tuple[str, str]:
    """Where a refusal leads, and the words of that link; two empty texts when nothing can be done."""
    if refusal.order is not None:
        return reverse("storefront:order", args=[refusal.order.pk]), f"See {refusal.order.number}"
    if refusal.code in ("at_minimum", "zero"):
        return reverse("storefront:cancel", args=[subscription.pk]), CANCEL.label
    return "", ""


# What a person lacks, or what is over, does not come by waiting.
_FOR_GOOD = {"role": "not within your role", "cancelled": "no longer possible", "vendor_cannot": "not possible"}


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
