"""Buying a subscription: seats with their price, company details where they are needed, the check page, the order."""

import uuid
from typing import Any

from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from subscriptions import actions, clock, lifecycle
from subscriptions.actions import STOREFRONT, NotAllowed
from subscriptions.models import SKU, Order
from subscriptions.storefront import costs, proposals, purchase
from subscriptions.storefront.access import SignedIn, buys, memberships_of
from subscriptions.storefront.costs import Price
from subscriptions.storefront.proposals import Proposal
from subscriptions.storefront.purchase import CompanyForm, PaidForm, StartForm, TrialForm, Wanted
from subscriptions.storefront.sold import sold_to

APPROVAL = "Until they do, nothing starts and nothing is charged, and you can withdraw the order."
ENDS_LATER = "The trial would end on another day than the page said. Look at the new date and confirm again."


def _wanted(request: SignedIn, pk: int, asked: QueryDict) -> Wanted | HttpResponse:
    """What the person wants to buy, in 2 queries; a 404 for somebody else's company."""
    sku = get_object_or_404(SKU.objects.select_related("product"), pk=pk)
    found = purchase.wanted(request.eyes, sku, asked, memberships_of(request.eyes))
    if found is not None:
        return found
    nobody = NotAllowed("role", "You are in no account yet. Ask the person who invited you, or your distributor.")
    return render(request, "storefront/purchase_refused.html", {"sku": sku, "refusal": nobody}, status=403)


def _form(wish: Wanted, data: dict[str, str]) -> StartForm:
    trial = bool(wish.sku.trial_days) and not lifecycle.had_trial(wish.account, wish.sku.product)
    return StartForm(data, subscription=wish.subscription, memberships=wish.memberships, trial=trial)


def _address(page: str, wish: Wanted) -> str:
    return f"{reverse(f'storefront:{page}', args=[wish.sku.pk])}?{wish.query}"


# --- 1: seats --------------------------------------------------------------------------------------------------------


@require_safe
def field(request: SignedIn, pk: int) -> HttpResponse:
    """Page 1: how many seats, and what they cost. Minus, plus and Calculate price come back here; the input is kept."""
    wish = _wanted(request, pk, request.GET)
    if isinstance(wish, HttpResponse):
        return wish
    if refusal := wish.why_not():
        return _refused(request, wish, refusal)
    asked = wish.asked
    if by := {"plus": 1, "minus": -1}.get(request.GET.get("step", "")):
        asked["seats"] = str(purchase.stepped(wish.subscription, wish.typed, by))
    return _field_page(request, wish, _form(wish, asked))


@never_cache
@require_safe
def price(request: SignedIn, pk: int) -> HttpResponse:
    """The price panel alone, for htmx, in 3 queries; everybody else gets the page."""
    wish = _wanted(request, pk, request.GET)
    if isinstance(wish, HttpResponse):
        return wish
    page = _address("start", wish)
    if not request.htmx:
        return redirect(page)
    if not buys(wish.member):
        # The page says why, and whom to ask.
        return HttpResponse(headers={"HX-Redirect": page})
    form = StartForm(wish.asked, subscription=wish.subscription, memberships=wish.memberships, trial=wish.trial)
    answer = render(request, "storefront/_price_panel.html", {"price": _price(wish, form)})
    answer["HX-Replace-Url"] = page
    return answer


def _price(wish: Wanted, form: StartForm) -> Price:
    if not form.is_valid():
        return Price("Price", sentence=" ".join(map(str, form.errors.get("seats", []))))
    try:
        proposal = wish.propose(form.cleaned_data["seats"])
    except NotAllowed as refusal:
        return Price("Price", sentence=refusal.sentence)
    return purchase.price(proposal, wish.trial_ends)


def _field_page(
    request: SignedIn, wish: Wanted, form: StartForm, *, status: int = 200, failed: str = ""
) -> HttpResponse:
    context = {
        "wish": wish,
        "sku": wish.sku,
        "account": wish.account,
        "form": form,
        "failed": failed,
        "price": _price(wish, form),
        "field_url": reverse("storefront:start", args=[wish.sku.pk]),
        "price_url": reverse("storefront:start_price", args=[wish.sku.pk]),
        "check_url": reverse("storefront:start_check", args=[wish.sku.pk]),
        "back_url": _product(wish),
    }
    return render(request, "storefront/purchase_field.html", context, status=status)


def _product(wish: Wanted) -> str:
    return f"{reverse('storefront:product', args=[wish.sku.product_id])}?{wish.query}"


# --- 2: the company --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def details(request: SignedIn, pk: int) -> HttpResponse:
    """What the product asks of a company, once; afterwards, and for those that have given it, the check page."""
    wish = _wanted(request, pk, request.GET)
    if isinstance(wish, HttpResponse):
        return wish
    if refusal := wish.why_not():
        return _refused(request, wish, refusal)
    if not wish.needs_details():
        return redirect(_address("start_check", wish))
    sent = request.method == "POST"
    known = {name: getattr(wish.account, name) for name in CompanyForm.base_fields}
    form = CompanyForm(request.POST) if sent else CompanyForm(initial=known)
    if sent and form.is_valid():
        lifecycle.keep_company_details(wish.account, form.cleaned_data, actor=request.user)
        return redirect(_address("start_check", wish))
    context = {
        "wish": wish,
        "sku": wish.sku,
        "account": wish.account,
        "form": form,
        "back_url": _address("start", wish),
    }
    return render(request, "storefront/purchase_details.html", context, status=422 if sent else 200)


# --- 3: check, and the order -----------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedIn, pk: int) -> HttpResponse:
    """Page 3: all that is agreed, with the button that orders it; a second sending leads to the same receipt.

    Nothing is ordered that was not shown: what has changed since makes the page come again, with old and new figures.
    """
    posted = request.method == "POST"
    wish = _wanted(request, pk, request.POST if posted else request.GET)
    if isinstance(wish, HttpResponse):
        return wish
    sent: dict[str, Any] = {}
    if posted:
        confirm = (TrialForm if wish.trial else PaidForm)(request.POST)
        confirm.is_valid()
        sent = confirm.cleaned_data
        key = sent.get("key")
        if key and (known := Order.objects.filter(actor=request.user, idempotency_key=key).first()):
            return redirect("storefront:order", known.pk)
    proposal = _propose(request, wish, shown=sent.get("quote"))
    if isinstance(proposal, HttpResponse):
        return proposal
    if not posted:
        return _check_page(request, wish, proposal)
    if failed := _why_again(wish, proposal, sent):
        return _again(request, wish, sent, failed)
    try:
        order = lifecycle.start(
            wish.account,
            wish.sku,
            proposal.after["Seats"],
            actor=request.user,
            audience=STOREFRONT,
            ordered_by=request.user,
            idempotency_key=sent["key"],
            trial=wish.trial,
            quote=sent.get("quote"),
        )
    except NotAllowed as refusal:
        # Somebody was quicker between the look above and the order.
        if refusal.code == "stale_quote":
            return _again(request, wish, sent, refusal.sentence)
        if refusal.code == "company_details":
            return redirect(_address("start_details", wish))
        return _refused(request, wish, refusal)
    return redirect("storefront:order", order.pk)


def _propose(request: SignedIn, wish: Wanted, *, shown: Any = None, failed: str = "") -> Proposal | HttpResponse:
    """The purchase as it stands, or the page that comes before it or says why it is not possible."""
    form = _form(wish, wish.asked)
    valid = form.is_valid()
    if valid:
        wish.subscription.seats = form.cleaned_data["seats"]
    if refusal := wish.why_not():
        return _refused(request, wish, refusal)
    if valid and wish.needs_details():
        return redirect(_address("start_details", wish))
    if valid:
        try:
            return wish.propose(form.cleaned_data["seats"], shown=shown)
        except NotAllowed as refusal:
            form.add_error("seats", refusal.sentence)
    status = 200 if request.method != "POST" else 409 if failed else 422
    return _field_page(request, wish, form, status=status, failed=failed)


def _why_again(wish: Wanted, proposal: Proposal, sent: dict[str, Any]) -> str:
    if "key" not in sent:
        return lifecycle.STALE_QUOTE
    if wish.trial:
        return "" if sent.get("ends") == wish.trial_ends else ENDS_LATER
    return proposal.why_not(sent.get("quote"), clock.now())


def _again(request: SignedIn, wish: Wanted, sent: dict[str, Any], failed: str) -> HttpResponse:
    """Page 3 once more: the figures of now, beside those that were seen."""
    proposal = _propose(request, wish, failed=failed)
    if isinstance(proposal, HttpResponse):
        return proposal
    return _check_page(request, wish, proposal, sent, failed=failed)


def _check_page(
    request: SignedIn, wish: Wanted, proposal: Proposal, sent: dict[str, Any] | None = None, *, failed: str = ""
) -> HttpResponse:
    sent = sent or {}
    [sold] = sold_to(wish.account, [wish.sku], limits=True)
    seats = actions.seats_words(proposal.after["Seats"])
    key = {"key": sent.get("key") or uuid.uuid4()}
    if wish.trial:
        button = f"Start the trial with {seats}"
        confirm: Any = TrialForm(initial=key | {"ends": wish.trial_ends})
    else:
        button = f"Buy {seats}{costs.and_pay(proposal.quote)}"
        confirm = PaidForm(initial=key | {"quote": proposal.pinned.token() if proposal.pinned else ""})
    context = {
        "wish": wish,
        "sku": wish.sku,
        "account": wish.account,
        "failed": failed,
        "seats": seats,
        "sold": sold,
        "price": purchase.price(proposal, wish.trial_ends),
        "approval": APPROVAL if proposal.needs_approval() else "",
        "figures": proposals.figures(sent["quote"], proposal) if failed and sent.get("quote") else [],
        "button": button,
        "confirm": confirm,
        "check_url": reverse("storefront:start_check", args=[wish.sku.pk]),
        "back_url": _address("start", wish),
    }
    return render(request, "storefront/purchase_check.html", context, status=409 if failed else 200)


# --- not possible ----------------------------------------------------------------------------------------------------


def _refused(request: SignedIn, wish: Wanted, refusal: NotAllowed) -> HttpResponse:
    """The page that says why not: 403 for want of a role, 409 for a refused POST, else a page that only explains."""
    url, link = reverse("storefront:catalogue"), "See what else is sold"
    if refusal.code in ("trial_used", "no_trial"):
        paid = QueryDict(wish.query, mutable=True)
        paid.pop("how")
        url, link = f"{reverse('storefront:start', args=[wish.sku.pk])}?{paid.urlencode()}", "Buy it instead"
    context = {
        "wish": wish,
        "sku": wish.sku,
        "account": wish.account,
        "refusal": refusal,
        "way_out": "" if refusal.code == "role" else url,
        "way_out_label": link,
    }
    status = 403 if refusal.code == "role" else 409 if request.method == "POST" else 200
    return render(request, "storefront/purchase_refused.html", context, status=status)
