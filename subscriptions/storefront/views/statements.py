"""Statements: the months with charges, and one month as a page that prints well and as CSV."""

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from subscriptions import statements as ledger
from subscriptions.models import Account, Member, Role
from subscriptions.storefront.access import SignedIn


@never_cache
@require_safe
def statements(request: SignedIn) -> HttpResponse:
    """The months of every account whose statements the person may see, newest first, pages by key."""
    memberships = list(Member.objects.filter(user=request.eyes).select_related("account").order_by("account__name"))
    accounts = [one.account for one in memberships if one.role in ledger.SEES_STATEMENTS]
    if memberships and not accounts:
        return refused(request, memberships[0].account)
    after = request.GET.get("after", "")
    rows, next_key = ledger.months(accounts, after)
    context = {
        "accounts": accounts,
        "account": accounts[0] if len(accounts) == 1 else None,
        "rows": rows,
        "next_key": next_key,
        "first": not after,
        "statement_page": "storefront:statement",
    }
    return render(request, "storefront/statements.html", context)


@never_cache
@require_safe
def statement(request: SignedIn, pk: int, month: str) -> HttpResponse:
    """One month of an account; `after` is the key of a page, `all` shows all lines at once, for print."""
    account, refusal = _account(request, pk)
    shown = ledger.Month.at(month)
    if shown is None:
        raise Http404
    if refusal:
        return refusal
    size = ledger.LINES_FOR_PRINT if "all" in request.GET else ledger.LINES
    after = request.GET.get("after", "")
    context = {
        "account": account,
        "statement": ledger.statement(account, shown, after=after, size=size),
        "first": not after,
        "paged": size == ledger.LINES,
        "today": ledger.today(account),
        "statement_page": "storefront:statement",
        "subscription_page": "storefront:subscription",
        "order_page": "storefront:order",
    }
    return render(request, "storefront/statement.html", context)


@require_safe
def statement_csv(request: SignedIn, pk: int, month: str) -> HttpResponseBase:
    """All lines of a month as a file; never kept by a cache (`no-store`)."""
    account, refusal = _account(request, pk)
    shown = ledger.Month.at(month)
    if shown is None:
        raise Http404
    return refusal or ledger.csv_response(account, shown)


def _account(request: SignedIn, pk: int) -> tuple[Account, HttpResponse | None]:
    """The account, and the page of refusal when the person's role does not see its statements; 404 for strangers."""
    member = get_object_or_404(Member.objects.select_related("account"), user=request.eyes, account=pk)
    if member.role in ledger.SEES_STATEMENTS:
        return member.account, None
    return member.account, refused(request, member.account)


def refused(request: SignedIn, account: Account) -> HttpResponse:
    """The page that says who sees statements, and whom to ask."""
    looks_after = account.members.filter(role__in=(Role.OWNER, Role.MANAGER), user__is_active=True)
    # By name of role, backwards, the Owner comes before a Manager.
    someone = looks_after.select_related("user").order_by("-role", "pk").first()
    ask = someone.user.name if someone else "your distributor"
    sentence = f"Only people with the Owner, Manager or Billing role can see statements. Ask {ask}."
    context = {"account": account, "sentence": sentence}
    return render(request, "storefront/statements_refused.html", context, status=403)
