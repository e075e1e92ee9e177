"""Change of the SKU: what it can change to, seats and time of one of them, the check page, and the order."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.actions import CHANGE_SKU, STOREFRONT, NotAllowed, Situation
from subscriptions.models import SKU, ChangeTarget, Subscription
from subscriptions.pricing import NoPrice
from subscriptions.quotes import Pinned, Prices
from subscriptions.storefront import costs, proposals, quoted
from subscriptions.storefront.access import SignedIn, refused, subscription_or_404
from subscriptions.storefront.costs import Price
from subscriptions.storefront.forms import SkuForm, as_choice
from subscriptions.storefront.proposals import Proposal
from subscriptions.storefront.targets import nearest, whens


@require_safe
def field(request: SignedIn, pk: int) -> HttpResponse:
    """Page 1: what it can change to; and, with `sku`, how many seats of that one, when, and what it costs."""
    subscription = subscription_or_404(request, pk)
    about = actions.situation(subscription, actor=request.eyes, audience=STOREFRONT)
    if refusal := CHANGE_SKU.why_not(about):
        return refused(request, subscription, CHANGE_SKU, refusal)
    declared = subscription.sku.sold_targets()
    chosen = next((one for one in declared if one.target.code == request.GET.get("sku")), None)
    if chosen is None or not whens(subscription, chosen):
        return _targets_page(request, about, declared)
    asked = QueryDict(mutable=True)
    asked.update({"seats": str(nearest(chosen.target, subscription.seats)), "when": whens(subscription, chosen)[0]})
    for name in ("sku", "seats", "when"):
        if name in request.GET:
            asked[name] = request.GET[name]
    return _field_page(request, about, chosen, _form(asked, subscription, chosen))


# --- the list --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A SKU as the list shows it: what it costs with seats that it allows, or why it is not possible."""

    sku: SKU
    seats: int
    price: str
    when: str
    why_not: str
    url: str


def _targets_page(request: SignedIn, about: Situation, declared: list[ChangeTarget]) -> HttpResponse:
    subscription = about.subscription
    prices = quotes.load([subscription], [one.target for one in declared])
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": CHANGE_SKU,
        "targets": [_target(subscription, one, prices) for one in declared],
        "each": costs.per_period(subscription, prices),
        "planned": lifecycle.planned_words(about.scheduled, subscription) if about.scheduled else "",
    }
    return render(request, "storefront/sku_targets.html", context)


def _target(subscription: Subscription, declared: ChangeTarget, prices: Prices) -> Target:
    sku = declared.target
    seats = nearest(sku, subscription.seats)
    times = whens(subscription, declared)
    why_not = ""
    if not times:
        only = quotes.RENEWAL if declared.timing == quotes.RENEWAL else quotes.NOW
        refusal = lifecycle.why_not_change(subscription, declared, seats, only)
        why_not = refusal.sentence if refusal else ""
    terms = prices.terms(sku, subscription.currency, subscription.account)
    try:
        each = pricing.money(terms.line(seats), terms.currency)
        price = f"{each} {pricing.every(terms.months)} for {actions.seats_words(seats)}"
    except NoPrice as missing:
        price, why_not = "", missing.sentence
    url = f"{reverse('storefront:change_sku', args=[subscription.pk])}?{urlencode({'sku': sku.code})}"
    return Target(sku, seats, price, _when_words(subscription, times), why_not, "" if why_not else url)


def _when_words(subscription: Subscription, times: list[str]) -> str:
    renewal = actions.date_words(subscription.term_end) if subscription.term_end else ""
    match times:
        case [quotes.NOW, quotes.RENEWAL]:
            return f"Now, or at the renewal on {renewal}"
        case [quotes.RENEWAL]:
            return f"At the renewal, on {renewal}"
    return "Now"


# --- one of them -----------------------------------------------------------------------------------------------------


def _form(data: Any, subscription: Subscription, declared: ChangeTarget) -> SkuForm:
    words = {
        quotes.NOW: ("Now", "A new period and term begin today. What you have paid for later days is given back."),
        quotes.RENEWAL: (
            f"At the renewal, on {actions.date_words(subscription.term_end)}" if subscription.term_end else "",
            "Until then everything stays as it is, and you can undo it.",
        ),
    }
    choices = [(when, as_choice(*words[when])) for when in whens(subscription, declared)]
    return SkuForm(data, target=declared.target, subscription=subscription, choices=choices)


def _propose(about: Situation, sku: SKU, form: SkuForm, shown: Pinned | None = None) -> Proposal:
    after = {"SKU": sku.code, "Seats": form.cleaned_data["seats"]}
    when = form.cleaned_data["when"]
    return proposals.propose(CHANGE_SKU, about, after, at=clock.now(), when=when, target=sku, shown=shown)


def _price(proposal: Proposal) -> Price:
    title = f"Price for {actions.seats_words(proposal.after['Seats'])}"
    if proposal.quote is None:
        return Price(title, sentence="This change costs nothing.")
    note = "All amounts excl. VAT. Nothing is charged before the change is done."
    return replace(Price.of(proposal.quote, title, planned=proposal.planned), note=note)


def _field_page(
    request: SignedIn, about: Situation, declared: ChangeTarget, form: SkuForm, *, status: int = 200
) -> HttpResponse:
    subscription, sku = about.subscription, declared.target
    try:
        price = _price(_propose(about, sku, form)) if form.is_valid() else None
    except NotAllowed as refusal:
        price = Price("Price", sentence=refusal.sentence)
    if price is None:
        price = Price("Price", sentence=" ".join(str(error) for errors in form.errors.values() for error in errors))
    field_url = reverse("storefront:change_sku", args=[subscription.pk])
    context = {
        "subscription": subscription,
        "account": subscription.account,
        "action": CHANGE_SKU,
        "sku": sku,
        "form": form,
        "price": price,
        "planned": lifecycle.planned_words(about.scheduled, subscription) if about.scheduled else "",
        "field_url": field_url,
        "check_url": reverse("storefront:change_sku_check", args=[subscription.pk]),
    }
    return render(request, "storefront/sku_field.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int) -> HttpResponse:
    """Page 2: now and after, with the button that places the order; a second sending leads to the same receipt."""
    asked = request.POST if request.method == "POST" else request.GET

    def propose(about: Situation, shown: Pinned | None) -> Proposal | HttpResponse:
        subscription, targets = about.subscription, about.subscription.sku.sold_targets()
        declared = next((one for one in targets if one.target.code == asked.get("sku")), None)
        if declared is None or not whens(subscription, declared):
            if request.method != "POST":
                return _targets_page(request, about, targets)
            raise NotAllowed("not_a_target", "This subscription cannot change to that SKU any more. Choose another.")
        form = _form(asked, subscription, declared)
        if not form.is_valid():
            return _field_page(request, about, declared, form, status=422 if request.method == "POST" else 200)
        return _propose(about, declared.target, form, shown)

    def show(proposal: Proposal) -> dict[str, Any]:
        subscription, seats = proposal.subscription, proposal.after["Seats"]
        sku = SKU.objects.select_related("product").get(code=proposal.after["SKU"])
        later = proposal.quote and proposal.quote.later
        return {
            "sku": sku,
            "seats": seats,
            "when": asked.get("when", ""),
            "price": _price(proposal),
            "each_now": costs.per_period(subscription, proposal.prices),
            "each_after": later
            and f"{pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}",
            "renews_on": pricing.add_months(proposal.on, sku.term_months, proposal.on.day),
            "asks_vendor": (sku.vendor_product_id, seats) != (subscription.sku.vendor_product_id, subscription.seats),
            "button": _button(proposal, sku),
            "back_url": again,
        }

    query = urlencode({name: asked[name] for name in ("sku", "seats", "when") if name in asked})
    again = f"{reverse('storefront:change_sku', args=[pk])}?{query}"
    page = quoted.CheckPage(
        CHANGE_SKU, "storefront/sku_check.html", propose, show, when=asked.get("when", ""), kept={"again": again}
    )
    return quoted.check(request, pk, page)


def _button(proposal: Proposal, sku: SKU) -> str:
    if proposal.planned:
        return f"Plan the change to {sku.name} for {actions.date_words(proposal.on)}"
    return f"Change to {sku.name}{costs.and_pay(proposal.quote)}"
