"""The Shortcut menu: six actions at the left of a subscription, in the same order on each; below them what applies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse

from subscriptions import actions, reconciliation, viewing
from subscriptions.actions import Action, NotAllowed, Situation
from subscriptions.admin import words
from subscriptions.models import Order, OrderStatus, Subscription, SubscriptionStatus


def subscription_url(pk: int, page: str = "change", *more: str) -> str:
    return reverse(f"admin:subscriptions_subscription_{page}", args=[pk, *more])


def viewing_url(user: Any, subscription: Subscription) -> str:
    """Where to view it as its customer does, for those who may; else an empty text."""
    if viewing.why_not(user):
        return ""
    address = reverse("admin:subscriptions_account_view_as_customer", args=[subscription.account_id])
    return f"{address}?subscription={subscription.pk}"


def order_url(pk: int, page: str = "change") -> str:
    return reverse(f"admin:subscriptions_order_{page}", args=[pk])


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    label: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the menu: a link, or text with the reason and the way out."""

    stem: str
    label: str
    url: str
    reason: str = ""
    way_out: Link | None = None
    current: bool = False


def way_out(refusal: NotAllowed, subscription: Subscription) -> Link | None:
    """Where the reader of a refusal can go, if there is a place."""
    if refusal.order is not None:
        return Link(order_url(refusal.order.pk), f"See {refusal.order.number}")
    if refusal.code in ("at_minimum", "zero"):
        return Link(subscription_url(subscription.pk, "cancel"), "Cancel subscription")
    if refusal.code == "suspended":
        return Link(subscription_url(subscription.pk, "activate"), "Activate")
    if refusal.code == "ending":
        return Link(subscription_url(subscription.pk, "keep"), "Keep subscription")
    if refusal.code == "expired":
        return Link(subscription_url(subscription.pk, "renew"), "Renew")
    if refusal.code == "trial":
        return Link(subscription_url(subscription.pk, "convert"), "Convert to a paid subscription")
    if refusal.code == "no_renewal":
        return Link(subscription_url(subscription.pk, "auto_renew"), "Switch automatic renewal on")
    return None


def menu(about: Situation, current: str = "") -> list[Entry]:
    """The six actions for this subscription and this person; `current` is the stem of the page that is open."""
    return [_entry(offer, about, current) for offer in actions.offers(actions.SHORTCUT_MENU, about)]


def further(about: Situation, current: str = "") -> list[Entry]:
    """Those that apply to this subscription as it is; at most 1 query."""
    offered = actions.offers([action for action, applies in _FURTHER.items() if applies(about.subscription)], about)
    # Where there is nothing else to change to, or no telling now, nothing need be said.
    shown = [one for one in offered if one.action is not actions.CHANGE_SKU or one.refusal is None]
    return [_entry(offer, about, current) for offer in shown]


S = SubscriptionStatus
_FURTHER: dict[Action, Callable[[Subscription], bool]] = {
    actions.KEEP: lambda one: one.status == S.ENDING,
    actions.RENEW: lambda one: one.status == S.EXPIRED,
    actions.CONVERT: lambda one: one.status == S.ACTIVE and one.trial_ends is not None,
    actions.CHANGE_SKU: lambda one: one.status == S.ACTIVE and one.trial_ends is None,
    actions.AUTO_RENEW: lambda one: one.status in (S.ACTIVE, S.SUSPENDED) and one.trial_ends is None,
}


def label(action: Action, subscription: Subscription) -> str:
    """What the menu calls it."""
    if action is actions.AUTO_RENEW:
        return f"Switch automatic renewal {'off' if subscription.auto_renew else 'on'}"
    return action.label


def _entry(offer: actions.Offer, about: Situation, current: str) -> Entry:
    subscription = about.subscription
    return Entry(
        offer.action.stem,
        label(offer.action, subscription),
        subscription_url(subscription.pk, offer.action.stem),
        offer.refusal.sentence if offer.refusal else "",
        # The other ways out are lines of this menu themselves.
        way_out(offer.refusal, subscription) if offer.refusal and offer.refusal.order else None,
        offer.action.stem == current,
    )


def find_subscription(request: HttpRequest, pk: int | str) -> Subscription:
    """The subscription with all that its pages show of it; 404 for none, 403 for whom it is not."""
    if not request.user.has_perm("subscriptions.view_subscription"):
        raise PermissionDenied("Your staff group may not see subscriptions.")
    rows = Subscription.objects.select_related("account", "sku__product", "ordered_by")
    return get_object_or_404(rows, pk=pk)


def situation_from(subscription: Subscription, orders: Sequence[Order], user: Any) -> Situation:
    """A situation without a query of its own: `orders` must hold the open and the scheduled one, if there are any."""
    open_order = next((one for one in orders if one.is_open), None)
    scheduled = next((one for one in orders if one.status == OrderStatus.SCHEDULED), None)
    return Situation(subscription, user, actions.BSS, open_order=open_order, scheduled=scheduled)


@dataclass(frozen=True, slots=True)
class Vendor:
    """In one phrase, how our record and the vendor's last answer go together."""

    shape: str
    words: str
    at: Any = None


def vendor_words(subscription: Subscription, open_order: Order | None) -> Vendor:
    """`same`, `differs` or `not asked`, from the answer that is kept; asks nobody."""
    reading = reconciliation.last_known(subscription, open_order)
    if reading is None:
        return Vendor("placed", "Not asked")
    if reading.drift:
        return Vendor("needs_attention", "Differs", reading.read_at)
    if any(line.differs for line in reading.lines):
        return Vendor("in_progress", "Order under way", reading.read_at)
    return Vendor("completed", "Same", reading.read_at)


def frame(request: HttpRequest, about: Situation, *, title: str, current: str = "", **more: Any) -> dict[str, Any]:
    """The context of every page that has the menu at its left."""
    subscription = about.subscription
    return {
        **admin.site.each_context(request),
        "title": title,
        "frame": "admin/subscriptions/subscription/frame.html",
        "opts": Subscription._meta,
        "subscription": subscription,
        "subscription_url": subscription_url(subscription.pk),
        "menu": menu(about, current),
        "further": further(about, current),
        "view_as_customer": viewing_url(request.user, subscription),
        "open_order": about.open_order,
        "intent": words.intent_words(about.open_order) if about.open_order else "",
        **more,
    }
