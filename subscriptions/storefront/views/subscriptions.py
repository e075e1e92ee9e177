"""The list of subscriptions, and the page of one."""

import re
from dataclasses import dataclass

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Value, When
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from subscriptions import actions
from subscriptions.models import Order, OrderStatus, Subscription, SubscriptionStatus
from subscriptions.storefront import words
from subscriptions.storefront.access import SignedIn, accounts_of, subscription_or_404, way_out

PAGE = 25
S = SubscriptionStatus


@require_safe
def subscriptions(request: SignedIn) -> HttpResponse:
    """All subscriptions of the person's accounts: what needs attention first, what is over last, pages by key."""
    accounts = accounts_of(request.user)
    sought = request.GET.get("q", "").strip()[:100]
    status = request.GET.get("status", "")
    found = matching(Subscription.objects.visible_to(request.user), sought)
    counts = dict(found.order_by().values_list("status").annotate(Count("pk")))
    if status in S.values:
        found = found.filter(status=status)
    rows, next_key = page_of(found, request.GET.get("after", ""))
    open_orders = {
        one.subscription_id: one for one in Order.objects.open().filter(subscription__in=[row.pk for row in rows])
    }
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "rows": [(row, _doing(open_orders.get(row.pk))) for row in rows],
        "filters": [(value, label, counts[value]) for value, label in S.choices if counts.get(value)],
        "total": sum(counts.values()),
        "status": status,
        "sought": sought,
        "next_key": next_key,
        "first": "after" not in request.GET,
    }
    return render(request, "storefront/subscriptions.html", context)


def _doing(order: Order | None) -> str:
    return words.doing(order) if order else ""


def matching(rows: QuerySet[Subscription], sought: str) -> QuerySet[Subscription]:
    """Those whose ID, order number, product or company is `sought`; all of them when it is empty."""
    if not sought:
        return rows
    if number := re.fullmatch(r"(sub|ord)?-?0*([0-9]{1,18})", sought, re.IGNORECASE):
        kind, digits = (number[1] or "").lower(), int(number[2])
        of_order = Q(pk__in=Order.objects.filter(pk=digits).values("subscription"))
        return rows.filter({"sub": Q(pk=digits), "ord": of_order}.get(kind, Q(pk=digits) | of_order))
    return rows.filter(
        Q(sku__product__name__icontains=sought) | Q(sku__name__icontains=sought) | Q(account__name__icontains=sought)
    )


def page_of(rows: QuerySet[Subscription], after: str) -> tuple[list[Subscription], str]:
    """One page after the key `<rank>-<id>`, and the key of the next page or an empty text."""
    waiting = Exists(Order.objects.filter(subscription=OuterRef("pk"), status=OrderStatus.NEEDS_ATTENTION))
    ranked = rows.annotate(
        rank=Case(
            When(Q(status__in=[S.FAILED, S.SUSPENDED]) | Q(waiting), then=Value(0)),
            When(status=S.CANCELLED, then=Value(2)),
            default=Value(1),
        )
    ).order_by("rank", "-pk")
    if key := re.fullmatch(r"([0-2])-([0-9]{1,18})", after):
        rank, pk = int(key[1]), int(key[2])
        ranked = ranked.filter(Q(rank__gt=rank) | Q(rank=rank, pk__lt=pk))
    found = list(ranked.select_related("sku__product", "account").defer("activation_code")[: PAGE + 1])
    page: list[Subscription] = [*found[:PAGE]]
    if len(found) <= PAGE:
        return page, ""
    last = found[PAGE - 1]
    return page, f"{last.rank}-{last.pk}"


@require_safe
def subscription(request: SignedIn, pk: int) -> HttpResponse:
    """One subscription: what it is, what can be done with it and why not, what happened."""
    found = subscription_or_404(request, pk)
    about = actions.situation(found, actor=request.user, audience=actions.STOREFRONT)
    lines = words.history(found)
    context = {
        "subscription": found,
        "account": found.account,
        "doing": _doing(about.open_order),
        "entries": [_entry(offer, found) for offer in actions.offers(actions.STOREFRONT_MENU, about)],
        "attention": attention(about, lines),
        "history": lines,
        "gauge": _gauge(found),
    }
    return render(request, "storefront/subscription.html", context)


@dataclass(frozen=True, slots=True)
class Entry:
    """An action as the page draws it: with its address, or with its reason and the way out."""

    action: actions.Action
    url: str
    reason: str
    way_out: str
    way_out_label: str


def _entry(offer: actions.Offer, subscription: Subscription) -> Entry:
    if offer.refusal is None:
        return Entry(offer.action, reverse(f"storefront:{offer.action.stem}", args=[subscription.pk]), "", "", "")
    url, label = way_out(offer.refusal, subscription)
    return Entry(offer.action, "", offer.refusal.sentence, url, label)


@dataclass(frozen=True, slots=True)
class Attention:
    """The one thing that the reader should know first."""

    tone: str
    title: str
    text: str
    url: str = ""
    link: str = ""


def attention(about: actions.Situation, lines: list[words.Line]) -> Attention | None:
    """At most one panel: what is open comes before how things stand, and that before how the last change ended."""
    subscription, order = about.subscription, about.open_order
    if order is not None:
        url, link = reverse("storefront:order", args=[order.pk]), f"See {order.number}"
        if order.status == OrderStatus.NEEDS_ATTENTION:
            return Attention("warn", "The last change needs attention", words.FINDING_OUT, url, link)
        if ended := words.ended_by_staff(order, words.given_up(order)):
            return Attention("warn", words.what(order), ended, url, link)
        if trouble := words.obstacle(order, words.last_sending(order)):
            text = f"{order.number} is not done yet. {trouble.name}. {trouble.text}"
            return Attention("warn", words.what(order), text, url, link)
        since = actions.clock_time(order.placed_at, subscription)
        return Attention("info", words.what(order), f"{order.number} is being applied since {since}.", url, link)
    match subscription.status:
        case S.SUSPENDED:
            text = "Devices are not protected while it is suspended. Your distributor can activate it again."
            return Attention("warn", "This subscription is suspended", text)
        case S.FAILED:
            text = "The licence service refused to start it, and nothing was charged. Ask your distributor."
            failure = _failure(lines, subscription)
            return failure.ended or Attention(
                "danger", "This subscription could not be started", text, failure.url, failure.link
            )
        case S.CANCELLED if subscription.cancelled_at:
            when = actions.day(subscription.cancelled_at, subscription)
            text = (
                "It is over for good, and its activation code no longer works."
                if subscription.started_at
                else "It was never started, and nothing was charged."
            )
            failure = _failure(lines, subscription)
            return Attention("info", f"Cancelled on {when}", f"{text}{failure.by}", failure.url, failure.link)
    failure = _failure(lines, subscription)
    if failure.ended or not failure.url:
        return failure.ended
    text = "The licence service refused it. Everything is as before, and nothing was charged."
    return Attention("danger", "The last change was not done", text, failure.url, failure.link)


@dataclass(frozen=True, slots=True)
class Failure:
    """Where the newest order is told about if it failed, and the panel about it if staff ended it."""

    url: str = ""
    link: str = ""
    by: str = ""
    ended: Attention | None = None


def _failure(lines: list[words.Line], subscription: Subscription) -> Failure:
    last = max((line.order for line in lines if line.order is not None), key=lambda order: order.pk, default=None)
    if last is None or last.status != OrderStatus.FAILED:
        return Failure()
    url, link = reverse("storefront:order", args=[last.pk]), f"See {last.number}"
    act = words.given_up(last)
    text = words.ended_by_staff(last, act)
    if act is None:
        return Failure(url, link)
    when = words.moment(act.at, subscription)
    panel = Attention("danger", f"The last order was ended on {when}", f"{text} Nothing was charged.", url, link)
    return Failure(url, link, f" Your distributor ended it on {when}.", panel if text else None)


def _gauge(subscription: Subscription) -> str:
    """How far the seats have come between the SKU's smallest and largest number, in per cent of a bar."""
    sku = subscription.sku
    share = (subscription.seats - sku.seats_min) / max(sku.seats_max - sku.seats_min, 1)
    return f"{min(max(share, 0), 1) * 100:.1f}"
