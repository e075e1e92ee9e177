"""Lists and searches on a small base and on a large one that holds it; printed, never asserted.

LIST_ROWS=1000000 uv run pytest -n 0 -m benchmark -s tests/benchmarks/test_lists.py
"""

import os
import random
import statistics
import time

import pytest

from subscriptions.management import generated
from subscriptions.models import SKU, Account, Order, Subscription, User
from tests.factories import AccountFactory, SubscriptionFactory

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True)]

FEW, MANY = 10_000, int(os.environ.get("LIST_ROWS", "100000"))
ROUNDS = 60
BSS = "/bss/subscriptions"


def owner_of(account):
    return User.objects.get(memberships__account=account)


def pages(operator, few, many):
    """What is measured: name -> (browser, address by round). Each fills its page on the small base, too."""
    dice = random.Random(1)
    newest, newest_order = (model.objects.order_by("-pk")[0].pk for model in (Subscription, Order))

    def any_of(most):
        return dice.randint(most // 10, most)

    return {
        "yardstick: a page of a few rows (products)": (operator, lambda: f"{BSS}/product/"),
        "subscriptions of BSS": (operator, lambda: f"{BSS}/subscription/"),
        "  a page far down": (operator, lambda: f"{BSS}/subscription/?p={any_of(newest)}"),
        "  active": (operator, lambda: f"{BSS}/subscription/?status=active"),
        "  ending (5 in 1,000)": (operator, lambda: f"{BSS}/subscription/?status=ending"),
        "  suspended, of one SKU": (operator, lambda: f"{BSS}/subscription/?status=suspended&sku=KESC"),
        "orders": (operator, lambda: f"{BSS}/order/"),
        "  failed": (operator, lambda: f"{BSS}/order/?status=failed"),
        "charges": (operator, lambda: f"{BSS}/charge/"),
        "events": (operator, lambda: f"{BSS}/event/"),
        "search: subscription ID": (operator, lambda: f"{BSS}/subscription/?q=SUB-{any_of(newest)}"),
        "search: order number": (operator, lambda: f"{BSS}/subscription/?q=ORD-{any_of(newest_order)}"),
        "search: company, one": (operator, lambda: f"{BSS}/subscription/?q=quellwerk"),
        "search: company, a third of all": (operator, lambda: f"{BSS}/subscription/?q=GmbH"),
        "search: company, two words": (operator, lambda: f"{BSS}/subscription/?q=bau+gmbh"),
        "accounts, search": (operator, lambda: f"{BSS}/account/?q=gmbh"),
        "customer with 3": (few, lambda: "/subscriptions/"),
        "customer with 1,000": (many, lambda: "/subscriptions/"),
        "  suspended": (many, lambda: "/subscriptions/?status=suspended"),
        "  search by product": (many, lambda: "/subscriptions/?q=cloud+plus"),
    }


def measured(wanted):
    """Milliseconds of each page, all pages in turn, so that a busy moment of the machine falls on all of them."""
    taken = {name: [] for name in wanted}
    for number in range(ROUNDS + 3):
        for name, (browser, address) in wanted.items():
            where = address()
            begun = time.perf_counter()
            answer = browser.get(where)
            if number >= 3:
                taken[name].append((time.perf_counter() - begun) * 1000)
            assert answer.status_code == 200, where
    return {name: (statistics.median(one), statistics.quantiles(one, n=20)[-1]) for name, one in taken.items()}


def with_so_many(number, first):
    """An account of the small base that has so many subscriptions."""
    for account in Account.objects.filter(pk__gt=first + 20).order_by("pk"):
        if account.subscriptions.count() == number:
            return account
    raise AssertionError("no such account: take another seed")


def test_lists(cast, signed_in):
    generated.fill(FEW, accounts=FEW // 8, seed=0)
    unique = AccountFactory(name="Quellwerk Unikat GmbH")
    for _ in range(8):
        SubscriptionFactory(account=unique, sku=SKU.objects.get(code="KESC"))
    generated.analyse()
    first = Account.objects.filter(subscriptions__isnull=False).order_by("pk")[0]
    browsers = [signed_in(one) for one in (cast.operator, owner_of(with_so_many(3, first.pk)), owner_of(first))]
    small = measured(pages(*browsers))
    begun = time.perf_counter()
    key = generated.fill(MANY - FEW, accounts=(MANY - FEW) // 8, seed=1)
    generated.analyse()
    seconds = time.perf_counter() - begun
    large = measured(pages(*browsers))
    print(f"\n{'':<46}{FEW:>13,} rows{MANY:>13,} rows{'ratio':>9}")
    print(f"{'milliseconds':<46}{'median':>9}{'p95':>9}{'median':>9}{'p95':>9}{'median':>9}{'p95':>7}")
    for name, (median, p95) in small.items():
        median_then, p95_then = large[name]
        ratios = f"{median_then / median:>9.2f}{p95_then / p95:>7.2f}"
        print(f"{name:<46}{median:>9.1f}{p95:>9.1f}{median_then:>9.1f}{p95_then:>9.1f}{ratios}")
    largest = Account.objects.get(pk=Subscription.objects.filter(pk__gte=key).order_by("account_id")[0].account_id)
    browser = signed_in(owner_of(largest))
    alone = measured({"": (browser, lambda: "/subscriptions/"), "s": (browser, lambda: "/subscriptions/?q=cloud+plus")})
    for name, title in (("", "customer with {:,}"), ("s", "  search by product")):
        title = title.format(largest.subscriptions.count())
        print(f"{title:<46}{'':>9}{'':>9}{alone[name][0]:>9.1f}{alone[name][1]:>9.1f}")
    print(f"{(MANY - FEW) / seconds:,.0f} subscriptions were generated in a second, with all that belongs to them")
