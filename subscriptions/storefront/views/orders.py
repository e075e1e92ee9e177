"""The list of orders, the page of one (which is its receipt), and its progress."""

import re

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from subscriptions.models import Order
from subscriptions.storefront import words
from subscriptions.storefront.access import SignedIn, accounts_of, order_or_404

PAGE = 25


@require_safe
def orders(request: SignedIn) -> HttpResponse:
    """All orders of the person's accounts, newest first, pages by key; `subscription` narrows them to one."""
    accounts = accounts_of(request.user)
    narrowed = Q()
    of = request.GET.get("subscription", "")
    if re.fullmatch(r"[0-9]{1,18}", of):
        narrowed &= Q(subscription=int(of))
    after = request.GET.get("after", "")
    if re.fullmatch(r"[0-9]{1,18}", after):
        narrowed &= Q(pk__lt=int(after))
    rows = (
        Order.objects.visible_to(request.user)
        .filter(narrowed)
        .select_related("subscription__sku__product", "subscription__account", "actor")
        .defer("subscription__activation_code")
        .order_by("-pk")[: PAGE + 1]
    )
    found = list(rows)
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "lines": [words.order_line(one) for one in found[:PAGE]],
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
    context = {
        "order": found,
        "line": words.order_line(found),
        "subscription": found.subscription,
        "account": found.subscription.account,
        "progress": words.progress(found),
    }
    return render(request, "storefront/order.html", context)


@never_cache
@require_safe
def progress(request: SignedIn, pk: int) -> HttpResponse:
    """The part of the order's page that changes, for htmx; everybody else gets the page."""
    found = order_or_404(request, pk)
    if not request.htmx:
        return redirect("storefront:order", pk)
    context = {"order": found, "account": found.subscription.account, "progress": words.progress(found)}
    return render(request, "storefront/_progress.html", context)
