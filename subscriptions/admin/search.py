"""Where the search box in the header of BSS leads."""

from urllib.parse import urlencode

from django.urls import reverse

from subscriptions.filters import order_id, subscription_id
from subscriptions.models import Order, Subscription


def destination(text: str) -> str:
    """The address that answers a search: the page of an exact ID or number, else the list of subscriptions."""
    if (key := order_id(text)) and Order.objects.filter(pk=key).exists():
        return reverse("admin:subscriptions_order_change", args=[key])
    if (key := subscription_id(text)) and Subscription.objects.filter(pk=key).exists():
        return reverse("admin:subscriptions_subscription_change", args=[key])
    return f"{reverse('admin:subscriptions_subscription_changelist')}?{urlencode({'q': text})}"
