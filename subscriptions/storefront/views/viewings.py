"""Looks by the distributor: when somebody of the staff saw these pages with a customer's eyes."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from subscriptions import viewing
from subscriptions.storefront.access import SignedIn, accounts_of

SHOWN = 50


@require_safe
def viewings(request: SignedIn) -> HttpResponse:
    """The newest looks with one's own eyes; an Owner reads of those of the other members too."""
    accounts = accounts_of(request.eyes)
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "viewings": viewing.about(request.eyes, newest=SHOWN),
    }
    return render(request, "storefront/viewings.html", context)
