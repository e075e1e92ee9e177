"""The catalogue: what is sold, with the price for the number of seats that one asks for, and the page of a product."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from subscriptions import actions, lifecycle
from subscriptions.models import SKU, Account, Member, PriceBand, Product, Subscription
from subscriptions.storefront.access import SignedIn, memberships_of
from subscriptions.storefront.purchase import TRIAL, AskForm, member_for
from subscriptions.storefront.sold import Sold, discount_words, sold_to

PAGE = 25


@require_safe
def catalogue(request: SignedIn) -> HttpResponse:
    """All products that the company can buy, by name, pages by key; the number of queries is always the same."""
    memberships = memberships_of(request.eyes)
    member = member_for(memberships, request.GET.get("account", ""))
    form = _ask_form(request, memberships, member)
    sought = request.GET.get("q", "").strip()[:100]
    after = request.GET.get("after", "")[:200]
    context: dict[str, Any] = {
        "accounts": [one.account for one in memberships],
        "account": member.account if member else None,
        "form": form,
        "sought": sought,
        "first": not after,
    }
    if member is not None:
        products, next_key = _page_of(_sold_products(member.account), sought, after)
        asked = _asked(form)
        context |= {
            "rows": _rows(products, member.account, asked),
            "discount": discount_words(member.account.discount),
            "said": f"Prices for {actions.seats_words(asked)}" if asked else "Prices for the smallest numbers of seats",
            "next_key": next_key,
            # A few products are found faster by looking.
            "searchable": bool(sought or after or next_key),
        }
    return render(request, "storefront/catalogue.html", context)


def _ask_form(request: SignedIn, memberships: list[Member], member: Member | None) -> AskForm:
    company = {"account": str(member.account_id)} if member else {}
    if "seats" not in request.GET:
        return AskForm(initial=company, memberships=memberships)
    return AskForm({"seats": request.GET["seats"]} | company, memberships=memberships)


def _asked(form: AskForm) -> int | None:
    """The number of seats that was asked for, if it is one."""
    return form.cleaned_data.get("seats") if form.is_bound and form.is_valid() else None


def _sold_products(account: Account) -> QuerySet[Product]:
    priced = PriceBand.objects.filter(
        sku__product=OuterRef("pk"), sku__is_sold=True, currency=account.currency, seats_from__lte=F("sku__seats_max")
    )
    return Product.objects.filter(Exists(priced), is_sold=True)


def _page_of(rows: QuerySet[Product], sought: str, after: str) -> tuple[list[Product], str]:
    """One page of the products after a name, and the name that the next page comes after, or an empty text."""
    if sought:
        rows = rows.filter(name__icontains=sought)
    if after:
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: PAGE + 1])
    return found[:PAGE], found[PAGE - 1].name if len(found) > PAGE else ""


def _skus(products: list[Product]) -> QuerySet[SKU]:
    rows = SKU.objects.filter(product__in=products, is_sold=True)
    return rows.select_related("product").order_by("seats_min", "code")


def _rows(products: list[Product], account: Account, asked: int | None) -> list[tuple[Product, list[Sold]]]:
    of_product: dict[int, list[Sold]] = defaultdict(list)
    for one in sold_to(account, _skus(products), asked):
        if one.is_priced:
            of_product[one.sku.product_id].append(one)
    return [(product, of_product[product.pk]) for product in products]


@dataclass(frozen=True, slots=True)
class Way:
    """A SKU on the page of its product, with where it is bought and tried; empty where that is not possible."""

    sold: Sold
    buy: str
    trial: str


@require_safe
def product(request: SignedIn, pk: int) -> HttpResponse:
    """One product: what it is, its SKUs with range and prices, what is agreed, and the way to buy it."""
    found = get_object_or_404(Product, pk=pk, is_sold=True)
    memberships = memberships_of(request.eyes)
    member = member_for(memberships, request.GET.get("account", ""))
    form = _ask_form(request, memberships, member)
    context: dict[str, Any] = {
        "product": found,
        "accounts": [one.account for one in memberships],
        "account": member.account if member else None,
        "form": form,
    }
    if member is not None:
        sold = sold_to(member.account, _skus([found]), _asked(form), limits=True)
        about = actions.situation(Subscription(account=member.account), actor=request.eyes, audience=actions.STOREFRONT)
        context["refusal"] = refusal = actions.START.why_not(about)
        trials = not lifecycle.had_trial(member.account, found)
        several = str(member.account_id) if len(memberships) > 1 else ""
        context["ways"] = [_way(one, several, allowed=refusal is None, trials=trials) for one in sold]
    return render(request, "storefront/product.html", context)


def _way(sold: Sold, account: str, *, allowed: bool, trials: bool) -> Way:
    if not allowed or not sold.is_priced:
        return Way(sold, "", "")
    address = reverse("storefront:start", args=[sold.sku.pk])
    asked = {"seats": str(sold.seats)} | ({"account": account} if account else {})
    trial = f"{address}?{urlencode(asked | {'how': TRIAL})}" if trials and sold.sku.trial_days else ""
    return Way(sold, f"{address}?{urlencode(asked)}", trial)
