"""The list of subscriptions, and the page of one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from subscriptions import actions, lifecycle, quotes
from subscriptions.models import OPEN_ORDER, Account, Order, OrderStatus, Subscription, SubscriptionStatus
from subscriptions.quotes import Prices
from subscriptions.storefront import costs, listed, progress, words
from subscriptions.storefront.access import SignedIn, buys, memberships_of, subscription_or_404, url_of, way_out

S = SubscriptionStatus


@require_safe
def subscriptions(request: SignedIn) -> HttpResponse:
    """All subscriptions of the person's accounts: what needs attention first, what is over last, pages by key."""
    memberships = memberships_of(request.eyes)
    accounts = [one.account for one in memberships]
    asked = narrowed(request, accounts)
    counts = listed.counts_of(asked.of_any_status, request.eyes)
    rows, next_key = listed.page_of(asked.of_any_status, asked.status, request.GET.get("after", ""))
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "buys": any(buys(one) for one in memberships),
        "rows": _rows(rows),
        "filters": [(value, label, counts[value]) for value, label in S.choices if counts[value]],
        "total": listed.total(counts),
        "status": asked.status,
        "sought": asked.sought,
        "next_key": next_key,
        "first": "after" not in request.GET,
    }
    return render(request, "storefront/subscriptions.html", context)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What the address of the list asks for, and what is found: with that status, and with any."""

    sought: str
    status: str
    found: QuerySet[Subscription]
    of_any_status: QuerySet[Subscription]


def narrowed(request: SignedIn, accounts: list[Account]) -> Narrowed:
    """The subscriptions of the person's accounts, by search and status of the address."""
    sought, status = request.GET.get("q", "").strip()[:100], request.GET.get("status", "")
    keys = [one.pk for one in accounts]
    # Said by keys, not by who asks: else no index gives the order of a page.
    found = listed.matching(Subscription.objects.filter(account__in=keys), sought, keys)
    if status not in S.values:
        return Narrowed(sought, "", found, found)
    return Narrowed(sought, status, found.filter(status=status), found)


@dataclass(frozen=True, slots=True)
class Row:
    """A subscription as the list shows it."""

    subscription: Subscription
    doing: str
    plan: words.Plan | None
    each: str
    renewal: "Renewal"


def _rows(found: list[Subscription]) -> list[Row]:
    """In 2 queries: one for what is open or planned, one for the prices."""
    ahead = Order.objects.filter(
        subscription__in=[row.pk for row in found], status__in=[*OPEN_ORDER, OrderStatus.SCHEDULED]
    )
    open_orders: dict[int, Order] = {}
    planned: dict[int, Order] = {}
    for order in ahead:
        (planned if order.status == OrderStatus.SCHEDULED else open_orders)[order.subscription_id] = order
    prices = quotes.load([], {row.sku_id: row.sku for row in found}.values())
    return [
        Row(
            row,
            _doing(open_orders.get(row.pk)),
            words.plan(planned.get(row.pk), row),
            _each(row, prices),
            renewal(row),
        )
        for row in found
    ]


def _doing(order: Order | None) -> str:
    return words.doing(order) if order else ""


def _each(subscription: Subscription, prices: Prices) -> str:
    """What a period costs; empty for what costs nothing any more."""
    if subscription.status in (S.FAILED, S.CANCELLED):
        return ""
    return "Free trial" if subscription.trial_ends else costs.per_period(subscription, prices)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What becomes of the term: words, with the date where there is one."""

    words: str
    on: date | None = None


def renewal(subscription: Subscription) -> Renewal:
    """Needs `account` loaded."""
    ends = actions.local_day(subscription.ends_at, subscription.account) if subscription.ends_at else None
    match subscription.status:
        case S.PENDING:
            return Renewal("Not started yet")
        case S.FAILED | S.CANCELLED:
            return Renewal("None")
        case S.EXPIRED if subscription.suspended_at:
            return Renewal("Over")
        case S.EXPIRED:
            return Renewal("Can be renewed until", subscription.renewable_until)
    if ends is not None:
        return Renewal("Ends on", ends)
    if subscription.trial_ends:
        return Renewal("Trial until", subscription.trial_ends)
    if subscription.term_end is None:
        return Renewal("None")
    return Renewal("" if subscription.auto_renew else "Not renewed, ends on", subscription.term_end)


@require_safe
def subscription(request: SignedIn, pk: int) -> HttpResponse:
    """One subscription: what it is and costs, what can be done with it and why not, what is planned, what happened."""
    found = subscription_or_404(request, pk)
    about = actions.situation(found, actor=request.eyes, audience=actions.STOREFRONT)
    lines = words.history(found)
    prices = quotes.load([found])
    further = _further(actions.offers(FURTHER, about), found)
    undo_url = _undo_url(about)
    ways = {"keep": undo_url} | {one.action.stem: one.url for one in further}
    panel = attention(about, lines, ways)
    context = {
        "subscription": found,
        "account": found.account,
        "doing": _doing(about.open_order),
        "entries": [_entry(offer, found) for offer in actions.offers(actions.STOREFRONT_MENU, about)],
        # The panel's own way out is not repeated below.
        "further": [one for one in further if panel is None or one.url != panel.url],
        "attention": panel,
        "plan": words.plan(about.scheduled, found),
        "undo_url": undo_url,
        "prices": _has_terms(found)
        and {
            "each": costs.per_period(found, prices),
            "seat": costs.per_seat(found, prices),
            "next": costs.next_charge(about, prices),
        },
        "renewal": renewal(found),
        "history": lines,
        "gauge": _gauge(found),
    }
    return render(request, "storefront/subscription.html", context)


def _has_terms(subscription: Subscription) -> bool:
    return subscription.status not in (S.FAILED, S.CANCELLED)


def _undo_url(about: actions.Situation) -> str:
    """Where the planned change is undone; empty when there is none, or not by this person."""
    order = about.scheduled
    if order is None or lifecycle.why_not_undo(replace(about, order=order)):
        return ""
    return (order.action == "cancel" and url_of("keep", about.subscription.pk)) or reverse(
        "storefront:undo", args=[order.pk]
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """An action as the page draws it: with its address, or with its reason and the way out."""

    action: actions.Action
    url: str
    reason: str = ""
    way_out: str = ""
    way_out_label: str = ""

    @property
    def label(self) -> str:
        return self.action.label


def _entry(offer: actions.Offer, subscription: Subscription) -> Entry:
    if offer.refusal is None:
        return Entry(offer.action, reverse(f"storefront:{offer.action.stem}", args=[subscription.pk]))
    url, label = way_out(offer.refusal, subscription)
    return Entry(offer.action, "", offer.refusal.sentence, url, label)


# What is offered below the menu, where it applies.
FURTHER = (actions.KEEP, actions.RENEW, actions.CONVERT, actions.CHANGE_SKU, actions.AUTO_RENEW)


def _further(offered: Iterable[actions.Offer], subscription: Subscription) -> list[Entry]:
    possible = [Entry(one.action, url_of(one.action.stem, subscription.pk)) for one in offered if one.refusal is None]
    return [one for one in possible if one.url]


@dataclass(frozen=True, slots=True)
class Attention:
    """The one thing that the reader should know first."""

    tone: str
    title: str
    text: str
    url: str = ""
    link: str = ""


def attention(about: actions.Situation, lines: list[words.Line], ways: dict[str, str]) -> Attention | None:
    """At most one panel: what is open comes before how things stand, and that before how the last change ended.

    `ways` are the addresses of further actions that are possible, by stem.
    """
    subscription, order = about.subscription, about.open_order
    if order is not None:
        url, link = reverse("storefront:order", args=[order.pk]), f"See {order.number}"
        if order.status == OrderStatus.NEEDS_ATTENTION:
            return Attention("warn", "The last change needs attention", progress.FINDING_OUT, url, link)
        if ended := progress.ended_by_staff(order, progress.given_up(order)):
            return Attention("warn", words.what(order), ended, url, link)
        if trouble := progress.obstacle(order, progress.last_sending(order)):
            text = f"{order.number} is not done yet. {trouble.name}. {trouble.text}"
            return Attention("warn", words.what(order), text, url, link)
        if order.status == OrderStatus.AWAITING_APPROVAL:
            text = f"{order.number} waits for your distributor's approval. Until then nothing changes or is charged."
            return Attention("info", words.what(order), text, url, link)
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
        case S.ENDING if subscription.ends_at:
            day = actions.day(subscription.ends_at, subscription)
            text = "It works as before until then. After that its activation code stops working."
            return Attention("warn", f"Ends on {day}", text, ways.get("keep", ""), actions.KEEP.label)
        case S.EXPIRED if subscription.term_end and subscription.renewable_until:
            title = f"The term ended on {actions.date_words(subscription.term_end)}"
            if subscription.suspended_at:
                return Attention("warn", title, "It was suspended then, and is over now.")
            until = actions.date_words(subscription.renewable_until)
            text = f"It can be renewed until {until}. After that it is over, and its activation code stops working."
            return Attention("warn", title, text, ways.get("renew", ""), actions.RENEW.label)
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
    if failure.ended:
        return failure.ended
    if not failure.url:
        return _trial(subscription, ways) or _rejected(lines)
    text = "The licence service refused it. Everything is as before, and nothing was charged."
    return Attention("danger", "The last change was not done", text, failure.url, failure.link)


def _trial(subscription: Subscription, ways: dict[str, str]) -> Attention | None:
    if subscription.trial_ends is None:
        return None
    until = actions.date_words(subscription.trial_ends)
    text = "It costs nothing, and ends by itself on that day unless it is converted."
    return Attention("info", f"Trial until {until}", text, ways.get("convert", ""), actions.CONVERT.label)


def _rejected(lines: list[words.Line]) -> Attention | None:
    """The newest order, when staff did not approve it."""
    last = _last_order(lines)
    if last is None or last.status != OrderStatus.REJECTED:
        return None
    text = f"{words.what(last)}: {last.outcome_message} Everything is as before, and nothing was charged."
    url = reverse("storefront:order", args=[last.pk])
    return Attention("info", "Your distributor did not approve the last change", text, url, f"See {last.number}")


def _last_order(lines: list[words.Line]) -> Order | None:
    return max((line.order for line in lines if line.order is not None), key=lambda order: order.pk, default=None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Where the newest order is told about if it failed, and the panel about it if staff ended it."""

    url: str = ""
    link: str = ""
    by: str = ""
    ended: Attention | None = None


def _failure(lines: list[words.Line], subscription: Subscription) -> Failure:
    last = _last_order(lines)
    if last is None or last.status != OrderStatus.FAILED:
        return Failure()
    url, link = reverse("storefront:order", args=[last.pk]), f"See {last.number}"
    act = progress.given_up(last)
    text = progress.ended_by_staff(last, act)
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
