"""Every URL x person x status: who gets what, and a stranger always a 404.

`TABLE` must name every URL of the portal; a new one without a row fails `test_the_table_is_complete`.
"""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from subscriptions import actions, bulk, reconciliation
from subscriptions.models import VendorState
from tests.factories import (
    ChargeFactory,
    DriftFactory,
    EventFactory,
    OrderFactory,
    SKUFactory,
    SubscriptionFactory,
    TakeoverFactory,
    VendorCallFactory,
)

pytestmark = pytest.mark.django_db

MEMBERS = ("owner", "manager", "buyer", "billing", "viewer")
STAFF = ("support", "operator", "approver", "catalogue_manager", "auditor")
OUTSIDERS = ("stranger", *STAFF)
PEOPLE = ("anonymous", *MEMBERS, *OUTSIDERS)
SEATS = {
    "storefront:increase_check": "30",
    "storefront:increase_price": "30",
    "storefront:decrease_check": "20",
    "storefront:decrease_price": "20",
}
STATUSES = ("pending", "active", "suspended", "failed", "cancelled")

SIGN_IN = 302


def everyone(status: int, anonymous: int = SIGN_IN) -> dict[str, int]:
    return dict.fromkeys(PEOPLE, status) | {"anonymous": anonymous}


def members(*allowed: str, others: int = 403) -> dict[str, int]:
    """A page about something of Acme's: outsiders cannot tell that it exists."""
    return everyone(404) | dict.fromkeys(MEMBERS, others) | dict.fromkeys(allowed, 200)


def staff(*allowed: str, others: int = 403) -> dict[str, int]:
    """A BSS page: customers are led to the staff sign-in, staff without the permission are refused."""
    return everyone(302) | dict.fromkeys(STAFF, others) | dict.fromkeys(allowed, 200)


SEES_ALL = members(*MEMBERS)
CHANGES = members("owner", "manager")
# Whoever may buy in a company of their own, the stranger in theirs.
BUYS = everyone(403) | dict.fromkeys(("owner", "manager", "buyer", "stranger"), 200)
SEES_STATEMENTS = members("owner", "manager", "billing")

ALL_STAFF = staff(*STAFF)
OPERATOR = staff("operator")
NOBODY = staff()


def bss_model(model: str, *adds: str, deletes: tuple[str, ...] = (), history: int = 200) -> dict[str, Any]:
    """The five pages that the admin has for a model; what cannot be edited leads from its history to its page."""
    name = f"admin:subscriptions_{model}"
    return {
        f"{name}_changelist": ("", ALL_STAFF),
        f"{name}_add": ("", staff(*adds)),
        f"{name}_change": (model, ALL_STAFF),
        f"{name}_history": (model, staff(others=history)),
        f"{name}_delete": (model, staff(*deletes)),
    }


def bss_action(stem: str, *allowed: str, on: str = "subscription", about: str = "") -> dict[str, Any]:
    """An action's form, and its check page, which a GET leads back to the form."""
    name = f"admin:subscriptions_{on}_{stem}"
    form = staff(*allowed)
    return {
        name: (about or on, form),
        f"{name}_check": (about or on, form | dict.fromkeys(STAFF, 302)),
    }


# URL name -> (what its arguments name, expected status of a GET by person). 405 stands for "POST only".
TABLE: dict[str, tuple[str, dict[str, int]]] = {
    "livez": ("", everyone(200, 200)),
    # No worker runs here, and there is no token that would open the metrics.
    "readyz": ("", everyone(503, 503)),
    "metrics": ("", everyone(404, 404)),
    "home": ("", everyone(302)),
    "theme": ("", everyone(405, 405)),
    "stop_viewing": ("", everyone(405)),
    "account_login": ("", everyone(302, 200)),
    "account_logout": ("", everyone(200, 302)),
    "account_inactive": ("", everyone(200, 200)),
    "account_signup": ("", everyone(302, 200)),
    "account_reauthenticate": ("", everyone(200)),
    "account_change_password": ("", everyone(200)),
    "account_set_password": ("", everyone(302)),
    "account_reset_password": ("", everyone(200, 200)),
    "account_reset_password_done": ("", everyone(200, 200)),
    "account_reset_password_from_key": ("key", everyone(200, 200)),
    "account_reset_password_from_key_done": ("", everyone(200, 200)),
    "storefront:catalogue": ("", everyone(200)),
    "storefront:product": ("product", everyone(200)),
    "storefront:start": ("sku", BUYS),
    "storefront:start_price": ("sku", everyone(302) | dict.fromkeys(STAFF, 403)),
    "storefront:start_details": ("sku that asks for details", BUYS),
    "storefront:start_check": ("sku", BUYS),
    "storefront:subscriptions": ("", everyone(200)),
    "storefront:subscriptions_csv": ("", everyone(200)),
    "storefront:subscription": ("subscription", SEES_ALL),
    "storefront:increase": ("subscription", CHANGES),
    "storefront:increase_price": ("subscription", everyone(404) | dict.fromkeys(MEMBERS, 302)),
    "storefront:increase_check": ("subscription", CHANGES),
    "storefront:decrease": ("subscription", CHANGES),
    "storefront:decrease_price": ("subscription", everyone(404) | dict.fromkeys(MEMBERS, 302)),
    "storefront:decrease_check": ("subscription", CHANGES),
    "storefront:code": ("subscription", CHANGES),
    "storefront:cancel": ("subscription", CHANGES),
    "storefront:cancel_check": ("subscription", CHANGES),
    "storefront:keep": ("subscription", CHANGES),
    "storefront:renew": ("subscription", CHANGES),
    "storefront:auto_renew": ("subscription", CHANGES),
    "storefront:convert": ("subscription", members("owner", "manager", "buyer")),
    "storefront:change_sku": ("subscription", CHANGES),
    "storefront:change_sku_check": ("subscription", CHANGES),
    "storefront:orders": ("", everyone(200)),
    "storefront:order": ("order", SEES_ALL),
    "storefront:notices": ("", everyone(200)),
    "storefront:order_progress": ("order", everyone(404) | dict.fromkeys(MEMBERS, 302)),
    "storefront:undo": ("order", CHANGES),
    "storefront:viewings": ("", everyone(200)),
    "storefront:statements": ("", everyone(200) | {"buyer": 403, "viewer": 403}),
    "storefront:statement": ("statement", SEES_STATEMENTS),
    "storefront:statement_csv": ("statement", SEES_STATEMENTS),
    "admin:index": ("", ALL_STAFF),
    "admin:login": ("", everyone(403) | dict.fromkeys(STAFF, 302)),
    "admin:logout": ("", everyone(302) | dict.fromkeys(STAFF, 405)),
    "admin:search": ("", everyone(302)),
    "admin:password_change": ("", ALL_STAFF),
    "admin:password_change_done": ("", ALL_STAFF),
    "admin:autocomplete": ("", NOBODY),
    "admin:jsi18n": ("", ALL_STAFF),
    "admin:view_on_site": ("content", staff(others=404)),
    "admin:app_list": ("app", everyone(302)),
    "admin:auth_user_password_change": ("user", NOBODY),
    "admin:subscriptions_user_password_link": ("user", staff(others=405)),
    **bss_model("account", "operator"),
    **bss_model("user", "operator"),
    **bss_model("product", "catalogue_manager", deletes=("catalogue_manager",)),
    **bss_model("sku", "catalogue_manager", deletes=("catalogue_manager",)),
    **bss_model("subscription", history=302),
    **bss_model("order", history=302),
    **bss_model("bulkrun", history=302),
    **bss_model("takeover", history=302),
    "admin:subscriptions_takeover_results": ("takeover", ALL_STAFF),
    **bss_model("drift", history=302),
    "admin:subscriptions_drift_settle": ("", staff(others=405)),
    **bss_model("reconciliationrun", history=302),
    "admin:subscriptions_bulkrun_choose": ("", staff(others=405)),
    **{f"admin:subscriptions_bulkrun_{act}": ("bulkrun", staff(others=405)) for act in ("ask", "stop", "resume")},
    "admin:subscriptions_bulkrun_results": ("bulkrun", ALL_STAFF),
    **bss_model("event", history=302),
    **bss_model("vendorcall", history=302),
    **bss_model("vendorstate", history=302),
    **bss_model("charge", history=302),
    "admin:subscriptions_sku_import": ("", staff("catalogue_manager")),
    "admin:subscriptions_sku_import_save": ("", staff() | {"catalogue_manager": 302}),
    "admin:subscriptions_sku_export": ("", ALL_STAFF),
    "admin:subscriptions_subscription_export": ("format", ALL_STAFF),
    "admin:subscriptions_order_export": ("format", ALL_STAFF),
    "admin:subscriptions_charge_export": ("format", ALL_STAFF),
    "admin:subscriptions_account_statements": ("account", ALL_STAFF),
    "admin:subscriptions_account_view_as_customer": ("account", staff("operator", "support")),
    "admin:subscriptions_account_statement": ("statement", ALL_STAFF),
    "admin:subscriptions_account_statement_csv": ("statement", ALL_STAFF),
    "admin:subscriptions_subscription_start": ("", OPERATOR),
    **bss_action("start", "operator", on="account"),
    **bss_action("increase", "operator"),
    **bss_action("decrease", "operator"),
    **bss_action("suspend", "operator"),
    **bss_action("activate", "operator"),
    **bss_action("cancel", "operator"),
    **bss_action("keep", "operator"),
    **bss_action("renew", "operator"),
    **bss_action("convert", "operator"),
    **bss_action("auto_renew", "operator"),
    **bss_action("change_sku", "operator"),
    "admin:subscriptions_subscription_details": ("subscription", staff("operator", "support")),
    **bss_action("take_theirs", "operator", about="difference"),
    **bss_action("push_ours", "operator", about="difference"),
    "admin:subscriptions_subscription_code": ("subscription", OPERATOR),
    "admin:subscriptions_subscription_code_show": ("subscription", staff(others=405)),
    "admin:subscriptions_subscription_code_download": ("subscription", staff(others=405)),
    "admin:subscriptions_subscription_code_mail": ("subscription", staff(others=405)),
    **bss_action("retry", "operator", "support", on="order"),
    **bss_action("give_up", "operator", on="order"),
    **bss_action("undo", "operator", on="order"),
    **bss_action("approve", "approver", on="order"),
    **bss_action("reject", "approver", on="order"),
    **bss_action("correct", "operator", on="charge"),
}


def urls(resolver: URLResolver | None = None, space: str = "") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            yield from urls(pattern, f"{space}{pattern.namespace}:" if pattern.namespace else space)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield space + pattern.name


@pytest.fixture
def things(cast: Any) -> dict[str, list[Any]]:
    """What the arguments of a URL name, all of it Acme's."""
    subscription = SubscriptionFactory(account=cast.acme)
    order = OrderFactory(subscription=subscription)
    call = VendorCallFactory(order=order)
    charge = ChargeFactory(subscription=subscription)
    late = bulk.Wanted("suspend", "late"), bulk.ticked([subscription.pk])
    run = bulk.begin(*late, actor=cast.operator, audience=actions.BSS)
    drift = DriftFactory(subscription=subscription)
    larger = SKUFactory(product=subscription.sku.product, name="Larger", seats_min=30)
    subscription.sku.targets.create(target=larger)
    return {
        "": [],
        "subscription": [subscription.pk],
        "order": [order.pk],
        "key": ["1a", "abc-def"],
        "account": [cast.acme.pk],
        "user": [cast.viewer.pk],
        "product": [subscription.sku.product_id],
        "sku": [subscription.sku_id],
        "sku that asks for details": [SKUFactory(product__needs_company_details=True).pk],
        "charge": [charge.pk],
        "statement": [cast.acme.pk, f"{charge.booked_on:%Y-%m}"],
        "event": [EventFactory(subscription=subscription).pk],
        "vendorcall": [call.pk],
        "vendorstate": [VendorState.objects.create(vendor="kaspersky").pk],
        "difference": [subscription.pk, "seats"],
        "bulkrun": [run.pk],
        "takeover": [TakeoverFactory().pk],
        "drift": [drift.pk],
        "reconciliationrun": [reconciliation.begin(actor=None, audience=actions.COMMAND).pk],
        "content": [1, 1],
        "format": ["csv"],
        "app": ["subscriptions"],
    }


@pytest.fixture
def visit(cast: Any, signed_in: Any) -> Any:
    clients = {"anonymous": Client()}

    def get(person: str) -> Client:
        if person not in clients:
            clients[person] = signed_in(cast.people[person])
        return clients[person]

    return get


def test_the_table_is_complete():
    assert set(TABLE) == set(urls())


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_url_for_every_person(name, things, visit, emulator):
    kind, expected = TABLE[name]
    address = reverse(name, args=things[kind])
    query = {"seats": SEATS[name]} if name in SEATS else {}
    found = {person: visit(person).get(address, query).status_code for person in PEOPLE}
    assert found == expected


OF_AN_ACCOUNT = sorted(name for name, (kind, _) in TABLE.items() if kind in ("subscription", "order"))


@pytest.mark.parametrize("name", OF_AN_ACCOUNT)
def test_somebody_elses_object_is_404_in_every_status(name, cast, visit):
    """Also by POST with everything that a check page would send, so that nothing is looked up before the account."""
    form = {"seats": "30", "version": "1", "key": str(uuid.uuid4()), "reason": "x", "how": "show", "member": "1"}
    for status in STATUSES:
        subscription = SubscriptionFactory(account=cast.acme, status=status)
        order = OrderFactory(subscription=subscription)
        address = reverse(name, args=[(subscription if TABLE[name][0] == "subscription" else order).pk])
        if name.startswith("admin:"):
            for person in ("anonymous", *MEMBERS, "stranger"):
                assert visit(person).get(address).status_code == 302
                assert visit(person).post(address, form).status_code in (302, 405)
        else:
            for person in OUTSIDERS:
                assert visit(person).get(address).status_code == 404, person
                # A page that is only read says 405 before it looks anything up: that gives nothing away.
                assert visit(person).post(address, form).status_code in (404, 405), person
        assert subscription.orders.count() == 1
        assert not subscription.events.exists()


OF_CUSTOMERS = [name for name in OF_AN_ACCOUNT if name.startswith("storefront:")]
# What a POST of somebody who may do it leads to in each status; whatever is missing here is only read (405).
POSTED = {
    "storefront:increase_check": {"pending": 409, "active": 302, "suspended": 409, "failed": 409, "cancelled": 409},
    "storefront:decrease_check": {"pending": 409, "active": 302, "suspended": 409, "failed": 409, "cancelled": 409},
    # Its page comes by a POST, so this one has seen neither a time nor a price.
    "storefront:cancel_check": {"pending": 409, "active": 422, "suspended": 422, "failed": 409, "cancelled": 409},
    "storefront:auto_renew": {"pending": 409, "active": 302, "suspended": 302, "failed": 409, "cancelled": 409},
    # None of them is ending, expired or on trial, and none has another SKU to change to.
    **{f"storefront:{name}": dict.fromkeys(STATUSES, 409) for name in ("keep", "renew", "convert", "change_sku_check")},
    # The order is done already.
    "storefront:undo": dict.fromkeys(STATUSES, 409),
    "storefront:code": {"pending": 409, "active": 200, "suspended": 409, "failed": 409, "cancelled": 409},
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", OF_CUSTOMERS)
def test_what_members_get_in_every_status(name, status, cast, visit):
    """What may be read may be read in each; a POST is refused by the role first, then by the status."""
    kind, got = TABLE[name]
    query = {"seats": SEATS[name]} if name in SEATS else {}
    read, posted = {}, {}
    for person in MEMBERS:
        # A row for each, since what one of them may do changes it.
        subscription = SubscriptionFactory(account=cast.acme, status=status)
        order = OrderFactory(subscription=subscription)
        address = reverse(name, args=[(subscription if kind == "subscription" else order).pk])
        page = visit(person).get(address, query)
        read[person] = page.status_code
        form = {**query, "version": "1", "key": str(uuid.uuid4()), "reason": "x", "how": "show"}
        # What was shown comes back with it, such as a price.
        form |= re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
        posted[person] = visit(person).post(address, form).status_code
    assert read == {person: got[person] for person in MEMBERS}
    if name in POSTED:
        assert posted == {person: POSTED[name][status] if got[person] == 200 else 403 for person in MEMBERS}
    else:
        assert posted == dict.fromkeys(MEMBERS, 405)


def test_pages_without_a_name_do_not_exist(client):
    """Unnamed patterns would escape the table."""
    unnamed = [
        str(pattern.pattern)
        for pattern in _patterns(get_resolver())
        if not pattern.name and not re.search(r"object_id|\(\?P<url>", str(pattern.pattern))
    ]
    assert unnamed == []


def _patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern)
        else:
            yield pattern
