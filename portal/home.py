"""Where a person starts: customers in the Storefront, staff in BSS."""

from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect


def home(request: HttpRequest) -> HttpResponseRedirect:
    """Staff who are members of no account have nothing to see in the Storefront."""
    user = request.user
    if user.is_staff and not user.memberships.exists():
        return redirect("admin:index")
    return redirect("storefront:subscriptions")
