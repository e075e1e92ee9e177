"""What staff type into a search box: a subscription ID, an order number, or a part of a company's name."""

import re
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse

from subscriptions.models import Account, Order, Subscription

SUBSCRIPTION_ID = re.compile(r"(?i)(?:SUB[- ]?)?0*(\d{1,18})")
ORDER_NUMBER = re.compile(r"(?i)ORD[- ]?0*(\d{1,18})")


def subscription_id(text: str) -> int | None:
    """The key in SUB-000123, sub 123 or 123; ASCII digits only."""
    found = SUBSCRIPTION_ID.fullmatch(text) if text.isascii() else None
    return int(found[1]) if found else None


def order_id(text: str) -> int | None:
    """The key in ORD-12 or ord 12."""
    found = ORDER_NUMBER.fullmatch(text) if text.isascii() else None
    return int(found[1]) if found else None


def destination(text: str) -> str:
    """The address that answers a search: the page of an exact ID or number, else the list of subscriptions."""
    if (key := order_id(text)) and Order.objects.filter(pk=key).exists():
        return reverse("admin:subscriptions_order_change", args=[key])
    if (key := subscription_id(text)) and Subscription.objects.filter(pk=key).exists():
        return reverse("admin:subscriptions_subscription_change", args=[key])
    return f"{reverse('admin:subscriptions_subscription_changelist')}?{urlencode({'q': text})}"


def matching_subscriptions(rows: QuerySet[Subscription], text: str) -> QuerySet[Subscription]:
    """Narrow `rows` by an exact ID first, then an order number, then a part of the company's name."""
    if (key := order_id(text)) is not None:
        return rows.filter(pk__in=Order.objects.filter(pk=key).values("subscription_id"))
    if (key := subscription_id(text)) is not None:
        exact = rows.filter(pk=key)
        if exact.exists():
            return exact
    return rows.filter(account__in=Account.objects.filter(name__icontains=text))


def matching_orders(rows: QuerySet[Order], text: str) -> QuerySet[Order]:
    """Narrow `rows` by an exact order number first, then a subscription ID, then a part of the company's name."""
    if (key := order_id(text)) is not None:
        return rows.filter(pk=key)
    if (key := subscription_id(text)) is not None:
        exact = rows.filter(subscription=key)
        if exact.exists():
            return exact
    return rows.filter(subscription__account__in=Account.objects.filter(name__icontains=text))
