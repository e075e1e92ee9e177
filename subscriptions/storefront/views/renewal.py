"""The term and its end: keep what is ending, renew what expired, switch the renewal, convert a trial."""

from datetime import date, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.actions import AUTO_RENEW, CONVERT, KEEP, RENEW, STOREFRONT, Action, NotAllowed, Situation
from subscriptions.models import OrderStatus, Subscription, SubscriptionStatus
from subscriptions.quotes import Pinned
from subscriptions.storefront import costs, proposals, quoted
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.costs import Price
from subscriptions.storefront.proposals import Proposal

TEMPLATE = "storefront/renewal_check.html"


def _day(on: date) -> SafeString:
    return format_html('<time datetime="{}">{}</time>', on.isoformat(), actions.date_words(on))


def _months(subscription: Subscription) -> str:
    months = subscription.sku.term_months
    return f"{months} month" if months == 1 else f"{months} months"


def _term(subscription: Subscription, begins: date, ends: date) -> SafeString:
    return format_html("{}, from {} to {}", _months(subscription), _day(begins), _day(ends))


def _seats(subscription: Subscription) -> tuple[str, str]:
    return "Seats and code", f"{actions.seats_words(subscription.seats)}, with the same activation code"


# --- keep ------------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def keep(request: SignedIn, pk: int) -> HttpResponse:
    """Take a planned end back: what that means, and the button. Nothing of either is ever charged."""
    subscription = subscription_or_404(request, pk)
    back = redirect("storefront:subscription", pk)
    if request.method == "POST" and subscription.orders.filter(
        pk__in=_numbers(request.POST.get("order", "")), action=actions.CANCEL.stem, status=OrderStatus.WITHDRAWN
    ):
        # The same page sent twice: the end that it was about is gone.
        return back
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT)
    if refusal := KEEP.why_not(about):
        return refused(request, subscription, KEEP, refusal)
    planned = about.scheduled
    if planned is None or subscription.ends_at is None:
        raise ValueError(f"{subscription.number} ends by nothing that can be undone")
    if request.method == "POST":
        try:
            lifecycle.undo(planned.pk, actor=request.user, audience=STOREFRONT)
        except NotAllowed as refusal:
            return refused(request, subscription, KEEP, refusal)
        messages.success(request, f"{subscription.number} goes on, and nothing was charged for it.")
        return back
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": KEEP,
        "rows": _if_kept(subscription),
        "order": planned,
        "button": KEEP.label,
    }
    return render(request, TEMPLATE, context)


def _numbers(text: str) -> list[int]:
    return [int(text)] if text.isascii() and text.isdigit() and len(text) < 19 else []


def _if_kept(subscription: Subscription) -> list[tuple[str, str]]:
    each = costs.per_period(subscription, quotes.load([subscription]))
    ends_at = subscription.ends_at and actions.local_day(subscription.ends_at, subscription.account)
    rows = [
        ("Without it", format_html("Ends on {}", _day(ends_at)) if ends_at else ""),
        ("If you keep it", f"Goes on with {actions.seats_words(subscription.seats)} and the same activation code"),
    ]
    if subscription.trial_ends:
        return [*rows, ("Trial", format_html("Until {}, unless it is converted", _day(subscription.trial_ends)))]
    period_end, term_end = subscription.period_end, subscription.term_end
    if period_end is None or term_end is None:
        return rows
    rows.append(("Renews automatically", _renews(subscription, term_end)))
    if not subscription.auto_renew and term_end <= period_end:
        return [*rows, ("Money", "Keeping it costs nothing, and nothing more is charged in this term")]
    words = "Keeping it costs nothing. From {} on: {}, excl. VAT"
    return [*rows, ("Money", format_html(words, _day(period_end), each))]


def _renews(subscription: Subscription, term_end: date) -> str:
    words = "Yes, on {}" if subscription.auto_renew else "No, the term ends on {}"
    return format_html(words, _day(term_end))


# --- pages with a check of what was seen -----------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def renew(request: SignedIn, pk: int) -> HttpResponse:
    """Another term for one that expired, from the day on which the old one ended."""

    def show(proposal: Proposal) -> dict[str, Any]:
        subscription, until = proposal.subscription, proposal.subscription.renewable_until
        # Without a gap, whatever day it is by now.
        begins = subscription.term_end or proposal.on
        ends = pricing.add_months(begins, subscription.sku.term_months, subscription.anchor_day or begins.day)
        rows = [
            ("New term", _term(subscription, begins, ends)),
            _seats(subscription),
            ("Renews automatically", _renews(subscription, ends)),
            ("Possible until", _day(until) if until else ""),
        ]
        return {"rows": rows} | _priced(proposal, "Renew")

    return quoted.check(request, pk, quoted.CheckPage(RENEW, TEMPLATE, _asking(RENEW), show))


@require_http_methods(["GET", "HEAD", "POST"])
def convert(request: SignedIn, pk: int) -> HttpResponse:
    """A trial becomes a paid subscription, with a full period and term from today on."""

    def show(proposal: Proposal) -> dict[str, Any]:
        subscription, on = proposal.subscription, proposal.on
        ends = pricing.add_months(on, subscription.sku.term_months, on.day)
        rows = [
            ("Trial", format_html("Free until {}; it ends today", _day(subscription.trial_ends or on))),
            ("Paid term", _term(subscription, on, ends)),
            _seats(subscription),
            ("Renews automatically", _renews(subscription, ends)),
        ]
        return {"rows": rows} | _priced(proposal, "Convert")

    return quoted.check(request, pk, quoted.CheckPage(CONVERT, TEMPLATE, _asking(CONVERT), show))


@require_http_methods(["GET", "HEAD", "POST"])
def auto_renew(request: SignedIn, pk: int) -> HttpResponse:
    """Switch the automatic renewal on or off: the other of what it is; the version in the form says which was seen."""

    def propose(about: Situation, shown: Pinned | None) -> Proposal:
        after = {"Renews automatically": not about.subscription.auto_renew}
        return proposals.propose(AUTO_RENEW, about, after, at=clock.now())

    return quoted.check(request, pk, quoted.CheckPage(AUTO_RENEW, TEMPLATE, propose, _switching))


def _asking(action: Action) -> quoted.Propose:
    return lambda about, shown: proposals.propose(action, about, {}, at=clock.now(), shown=shown)


def _priced(proposal: Proposal, verb: str) -> dict[str, Any]:
    title = f"Price for {actions.seats_words(proposal.subscription.seats)}"
    then = f"Then {proposal.later_words}." if proposal.later_words else ""
    price = Price.of(proposal.quote, title, then=then) if proposal.quote else None
    return {"price": price, "button": f"{verb}{costs.and_pay(proposal.quote)}"}


def _switching(proposal: Proposal) -> dict[str, Any]:
    subscription, on = proposal.subscription, proposal.after["Renews automatically"]
    ends, scheduled = subscription.term_end, proposal.about.scheduled
    if ends is None:
        raise ValueError(f"{subscription.number} has no term yet")
    each = costs.per_period(subscription, proposal.prices)
    renews = format_html("Renewed on {} for {}, at {}, excl. VAT", _day(ends), _months(subscription), each)
    expires = format_html("Ends on {}. Nothing more is charged", _day(ends))
    rows: list[tuple[str, str]] = [
        ("Now", expires if on else renews),
        ("Switched on" if on else "Switched off", renews if on else expires),
    ]
    if not on:
        rows.append(("After the end", _grace(subscription, ends)))
    if scheduled and not on and lifecycle.is_at_renewal(scheduled, subscription):
        planned = lifecycle.planned_words(scheduled, subscription)
        rows.append(("Planned change", f"{planned} It is withdrawn, since there is no renewal."))
    rows.append(("You can switch it back", format_html("Until {}", _day(ends))))
    return {"rows": rows, "button": f"Switch automatic renewal {'on' if on else 'off'}"}


def _grace(subscription: Subscription, ends: date) -> str:
    days = subscription.sku.grace_days
    if subscription.status == SubscriptionStatus.SUSPENDED:
        return "A suspended subscription cannot be renewed after its term"
    if days == 0:
        return "The activation code no longer works, and it cannot be renewed any more"
    # The last day of the grace, as everywhere.
    until = _day(ends + timedelta(days=days - 1))
    return format_html("It can still be renewed until {}. Then the activation code stops working", until)
