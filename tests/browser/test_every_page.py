"""Every page of the permission table that somebody may see: axe in light and dark, and a silent console."""

from typing import Any

import pytest
from django.urls import reverse

from tests.test_permissions import OF_AN_ACCOUNT, SEATS, TABLE, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db(transaction=True)

# Answers that are no pages: a probe, a file, a fragment, a script.
NO_PAGES = {
    "livez",
    "admin:jsi18n",
    "admin:autocomplete",
    "storefront:statement_csv",
    "storefront:subscriptions_csv",
    "admin:subscriptions_account_statement_csv",
    "admin:subscriptions_bulkrun_results",
    "admin:subscriptions_takeover_results",
    "admin:subscriptions_sku_export",
    "admin:subscriptions_subscription_export",
    "admin:subscriptions_order_export",
    "admin:subscriptions_charge_export",
}


def reader(expected: dict[str, int]) -> str | None:
    """Somebody who gets the page, the people with most rights first."""
    order = ("owner", "operator", "catalogue_manager", "anonymous")
    return next((person for person in order if expected[person] == 200), None)


PAGES = {name: reader(expected) for name, (_, expected) in TABLE.items() if name not in NO_PAGES}
BY_PERSON: dict[str, list[str]] = {}
for _name, _person in PAGES.items():
    if _person:
        BY_PERSON.setdefault(_person, []).append(_name)


def test_every_page_has_a_reader():
    without = {name for name, person in PAGES.items() if person is None}
    # Redirects, POST-only addresses, and forms that the admin has for every model and nobody may use.
    of_customers = {name for name in without if name in OF_AN_ACCOUNT and name.startswith("storefront:")}
    # Parts of a page, which lead everybody but htmx to the whole one.
    assert not {name for name in of_customers if not name.endswith(("_progress", "_price"))}


@pytest.mark.parametrize(
    ("person", "part"), [(person, part) for person, names in BY_PERSON.items() for part in range(0, len(names), 12)]
)
def test_axe_finds_nothing_on_any_page(person, part, cast, things, open_page, accessible, emulator):
    page = open_page(None if person == "anonymous" else cast.people[person])
    problems: list[Any] = []
    for name in BY_PERSON[person][part : part + 12]:
        query = f"?seats={SEATS[name]}" if name in SEATS else ""
        answer = page.goto(reverse(name, args=things[TABLE[name][0]]) + query)
        assert answer is not None, name
        assert answer.status == 200, name
        assert page.locator("h1").count() == 1, name
        try:
            accessible(page)
        except AssertionError as found:
            problems.append(f"{name}: {found}")
    assert not problems, "\n".join(problems)
