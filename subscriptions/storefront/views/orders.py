"""The list of orders, the page of one (which is its receipt), and its progress."""

import re
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, lifecycle
from subscriptions.actions import CODE, STOREFRONT, UNDO, NotAllowed
from subscriptions.models import Order, OrderStatus
from subscriptions.storefront import costs, words
from subscriptions.storefront.access import SignedIn, accounts_of, order_or_404, refused
from subscriptions.storefront.progress import progress as progress_of

PAGE = 25


@require_safe
def orders(request: SignedIn) -> HttpResponse:
    """All orders of the person's accounts, newest first, pages by key; `subscription` narrows them to one."""
    accounts = accounts_of(request.eyes)
    narrowed = Q()
    of = request.GET.get("subscription", "")
    if re.fullmatch(r"[0-9]{1,18}", of):
        narrowed &= Q(subscription=int(of))
    after = request.GET.get("after", "")
    if re.fullmatch(r"[0-9]{1,18}", after):
        narrowed &= Q(pk__lt=int(after))
    rows = (
        Order.objects.visible_to(request.eyes)
        .filter(narrowed)
        .select_related("subscription__sku__product", "subscription__account", "actor")
        .defer("subscription__activation_code")
        .order_by("-pk")[: PAGE + 1]
    )
    found = list(rows)
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "lines": [(words.order_line(one), *costs.amount_of(one)) for one in found[:PAGE]],
        "next_key": found[PAGE - 1].pk if len(found) > PAGE else "",
        "first": not after,
        "one": found[0].subscription if of and found else None,
    }
    return render(request, "storefront/orders.html", context)


@never_cache
@require_safe
def order(request: SignedIn, pk: int) -> HttpResponse:
    """An order at its permanent address: the receipt, its progress, and what happens next."""
    found = order_or_404(request, pk)
    context = _standing(request, found) | {"line": words.order_line(found), "subscription": found.subscription}
    return render(request, "storefront/order.html", context)


@never_cache
@require_safe
def progress(request: SignedIn, pk: int) -> HttpResponse:
    """The part of the order's page that changes, for htmx; everybody else gets the page."""
    found = order_or_404(request, pk)
    if not request.htmx:
        return redirect("storefront:order", pk)
    return render(request, "storefront/_progress.html", _standing(request, found))


def _standing(request: SignedIn, order: Order) -> dict[str, Any]:
    """How an order stands, and what it costs."""
    return {
        "order": order,
        "account": order.subscription.account,
        "progress": progress_of(order),
        "price": costs.of_order(order),
        "undo": undo_words(order) if _why_not_undo(request, order) is None else "",
        "sees_code": _leads_to_code(request, order),
    }


def _leads_to_code(request: SignedIn, order: Order) -> bool:
    """Is the activation code what the order was for, ready, and for this person? At most 2 queries."""
    if order.action != actions.START.stem or order.status != OrderStatus.COMPLETED:
        return False
    return CODE.why_not(actions.situation(order.subscription, actor=request.eyes, audience=STOREFRONT)) is None


def undo_words(order: Order) -> str:
    """What the button of an order that waits says."""
    if order.status == OrderStatus.AWAITING_APPROVAL:
        return f"Withdraw {order.number}"
    return "Keep subscription" if order.action == "cancel" else f"Undo {words.name(order)}"


def _why_not_undo(request: SignedIn, order: Order) -> NotAllowed | None:
    """At most 2 queries, and none for an order that does not wait."""
    if order.status not in (OrderStatus.SCHEDULED, OrderStatus.AWAITING_APPROVAL):
        return NotAllowed("order_status", f"{order.number} no longer waits.")
    about = actions.situation(order.subscription, actor=request.eyes, audience=STOREFRONT, order=order)
    return lifecycle.why_not_undo(about)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def undo(request: SignedIn, pk: int) -> HttpResponse:
    """Withdraw an order that waits: what that means, and the button; sent twice, it leads to the same receipt."""
    found = order_or_404(request, pk)
    subscription = found.subscription
    if request.method == "POST":
        if found.status == OrderStatus.WITHDRAWN:
            return redirect("storefront:order", pk)
        try:
            lifecycle.undo(pk, actor=request.user, audience=STOREFRONT)
        except NotAllowed as refusal:
            return refused(request, subscription, UNDO, refusal)
        return redirect("storefront:order", pk)
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT, order=found)
    if why_not := lifecycle.why_not_undo(about):
        return refused(request, subscription, UNDO, why_not)
    context = {
        "order": found,
        "subscription": subscription,
        "account": subscription.account,
        "plan": words.plan(found, subscription),
        "what": words.what(found),
        "button": undo_words(found),
    }
    return render(request, "storefront/undo.html", context)
