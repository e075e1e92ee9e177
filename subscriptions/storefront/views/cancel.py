"""Cancel: when and what it means, the check page, and the order behind its button."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.actions import CANCEL, STOREFRONT, Situation
from subscriptions.models import Subscription
from subscriptions.quotes import Pinned
from subscriptions.storefront import proposals, quoted
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.forms import CancelForm, as_choice, plain_lines
from subscriptions.storefront.proposals import Proposal


@require_safe
def field(request: SignedIn, pk: int) -> HttpResponse:
    """Page 1: when it ends, what that costs, what ends and what stays, and why one cancels.

    The reason travels in POSTs alone: addresses end up in logs and histories.
    """
    subscription = subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT)
    if refusal := CANCEL.why_not(about):
        return refused(request, subscription, CANCEL, refusal)
    return _field_page(request, about)


def _whens(subscription: Subscription) -> list[str]:
    """What ends already can only end sooner."""
    return [quotes.NOW] if subscription.ends_at else [quotes.PERIOD_END, quotes.NOW]


def _propose(about: Situation, when: str, shown: Pinned | None = None) -> Proposal:
    return proposals.propose(CANCEL, about, {}, at=clock.now(), when=when, shown=shown)


def _field_page(
    request: SignedIn, about: Situation, data: Any = None, initial: dict[str, str] | None = None, *, status: int = 200
) -> HttpResponse:
    subscription = about.subscription
    offered = [(when, _propose(about, when)) for when in _whens(subscription)]
    choices = [(when, as_choice(*_words(one))) for when, one in offered]
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "form": CancelForm(data, initial=initial, choices=choices),
        "only": offered[0][1] if len(offered) == 1 else None,
        "only_words": " ".join(_words(offered[0][1])[1:]),
        "planned_end": next((one.on for when, one in offered if when == quotes.PERIOD_END), None),
        "fewer": actions.DECREASE.why_not(about) is None,
        "falls_away": _falls_away(about),
    }
    return render(request, "storefront/cancel_field.html", context, status=status)


def _words(proposal: Proposal) -> tuple[str, str]:
    """When, and what it does to the money and to the chance of coming back."""
    if not proposal.planned:
        return "Now", f"{money_words(proposal)} This cannot be undone."
    what = "trial" if proposal.subscription.trial_ends else "period"
    title = f"At the end of the {what}, on {actions.date_words(proposal.on)}"
    return title, f"{money_words(proposal)} You can undo it until then."


def money_words(proposal: Proposal) -> str:
    """What is given back or stays paid, in a sentence or two."""
    subscription, quote = proposal.subscription, proposal.quote
    if subscription.trial_ends:
        return "A trial costs nothing, and ends by itself unless it is converted."
    if quote and quote.due_now < 0:
        back = pricing.money(-quote.due_now, quote.currency)
        return f"You get {back} back: {'; '.join(line.words for line in quote.lines)}."
    charged = sum(paid.amount for paid in proposal.prices.paid.get(subscription.pk, ()))
    if charged <= 0 or subscription.period_end is None:
        return "Nothing was charged for this period, and nothing more will be."
    until = actions.date_words(subscription.period_end)
    if proposal.planned:
        return "You have paid until then, and nothing more is charged."
    return f"You have paid until {until}, and nothing of it is given back."


def _falls_away(about: Situation) -> str:
    """The planned change that an end leaves nothing of, in a sentence; empty without one."""
    scheduled = about.scheduled
    if scheduled is None or scheduled.action == CANCEL.stem:
        return ""
    return f"{lifecycle.planned_words(scheduled, about.subscription)} It falls away."


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int) -> HttpResponse:
    """Page 2: the button that cancels; a second sending leads to the same receipt.

    A GET, and a POST with `back`, is page 1; the latter keeps what was chosen and typed.
    """
    if request.method != "POST":
        return field(request, pk)
    kept = {"when": request.POST.get("when", ""), "reason": request.POST.get("reason", ""), "back": "1"}

    def propose(about: Situation, shown: Pinned | None) -> Proposal | HttpResponse:
        if "back" in request.POST:
            return _field_page(request, about, initial=kept)
        form = CancelForm(request.POST, choices=[(when, when) for when in _whens(about.subscription)])
        if not form.is_valid():
            return _field_page(request, about, request.POST, status=422)
        return _propose(about, form.cleaned_data["when"], shown)

    def show(proposal: Proposal) -> dict[str, Any]:
        return {
            "when": kept["when"],
            "reason": plain_lines(kept["reason"]),
            "money": money_words(proposal),
            "falls_away": _falls_away(proposal.about),
            "button": f"Cancel on {actions.date_words(proposal.on)}" if proposal.planned else "Cancel now",
        }

    page = quoted.CheckPage(
        CANCEL,
        "storefront/cancel_check.html",
        propose,
        show,
        when=kept["when"],
        reason=plain_lines(kept["reason"]),
        kept={"again": request.path, "kept": kept},
    )
    return quoted.check(request, pk, page)
