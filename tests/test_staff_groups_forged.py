"""Every staff group x action x status by a forged POST: done as product.md allows it, or refused and nothing changed.

The tables below were written by hand from product.md, sections 2 to 4 and 6, and know nothing of `actions`: a mistake
there is found here. Each POST carries all that the page of somebody who may do it sends: reason, version, key, the
quote that was shown. Rights come before states: who may not is refused with 403 whatever the status is.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse

from subscriptions import actions, clock
from subscriptions.models import Charge, Event, Order, Subscription
from tests.factories import ChargeFactory, OrderFactory, SKUFactory, SubscriptionFactory, UserFactory

pytestmark = pytest.mark.django_db

# --- product.md, section 6 -------------------------------------------------------------------------------------------

OPERATOR = {"operator", "administrator"}
APPROVER = {"approver", "administrator"}
WHO: dict[str, set[str]] = {
    "start": OPERATOR,
    "increase": OPERATOR,
    "decrease": OPERATOR,
    "code": OPERATOR,
    "cancel": OPERATOR,
    "suspend": OPERATOR,
    "activate": OPERATOR,
    "keep": OPERATOR,
    "renew": OPERATOR,
    "auto_renew": OPERATOR,
    "convert": OPERATOR,
    "change_sku": OPERATOR,
    "details": OPERATOR | {"support"},
    "retry": OPERATOR | {"support"},
    "give_up": OPERATOR,
    "undo": OPERATOR,
    "approve": APPROVER,
    "reject": APPROVER,
    "correct": OPERATOR,
    "take_theirs": OPERATOR,
    "push_ours": OPERATOR,
}

# --- sections 2 to 4 -------------------------------------------------------------------------------------------------

STATUSES = ("pending", "active", "suspended", "ending", "expired", "failed", "cancelled")
ORDERS = (
    "scheduled", "awaiting_approval", "placed", "in_progress", "needs_attention", "failed", "completed", "rejected",
    "withdrawn",
)  # fmt: skip
FROM: dict[str, set[str]] = {
    "increase": {"active"},
    "decrease": {"active"},
    "cancel": {"active", "suspended", "ending"},
    "suspend": {"active", "ending"},
    "activate": {"suspended"},
    "keep": {"ending"},
    "renew": {"expired"},
    "auto_renew": {"active", "suspended"},
    "change_sku": {"active"},
    # Any with a code, which stays with staff to the end.
    "code": {"active", "suspended", "ending", "expired", "cancelled"},
    # It only asks, and a correction is about a line that is there whatever has become of the subscription.
    "details": set(STATUSES),
    "correct": set(STATUSES),
}
FROM_ORDER: dict[str, set[str]] = {
    # And failed starts, which are tried with the others below.
    "retry": {"needs_attention"},
    "give_up": {"needs_attention"},
    "undo": {"scheduled", "awaiting_approval"},
    "approve": {"awaiting_approval"},
    "reject": {"awaiting_approval"},
}
# What the new order asks for, and the status that it leaves behind at once: the vendor comes first.
ASKS: dict[str, tuple[Any, str]] = {
    "increase": ({"Seats": 30}, ""),
    "decrease": ({"Seats": 20}, ""),
    "cancel": ({"Status": "cancelled"}, ""),
    "suspend": ({"Status": "suspended"}, ""),
    "activate": ({"Status": "active"}, ""),
    "renew": ({"Status": "active"}, "active"),
    "auto_renew": ({"Renews automatically": False}, ""),
    "convert": ({}, "active"),
    "change_sku": ({"Seats": 30}, ""),
    "take_theirs": ({"Seats": 40}, ""),
    "push_ours": ({"Seats": 25}, ""),
}
BECOMES = {"retry": "placed", "give_up": "failed", "undo": "withdrawn", "approve": "placed", "reject": "rejected"}


def test_the_tables_name_every_action():
    assert set(WHO) == set(actions.ACTIONS)


WRITES = re.compile(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|TRUNCATE) "?(\w+)', re.IGNORECASE)


# --- what is posted --------------------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """One forged POST: `possible` is what the state allows, `done` looks at what came of it."""

    stem: str
    subject: str
    address: str
    form: dict[str, str]
    possible: bool
    done: Callable[[Any], bool]
    succeeds: int = 302
    check: bool = True
    """Has it a check page, whose hidden fields are sent?"""


@pytest.fixture
def stock(cast: Any, at_vendor: Any) -> dict[str, Subscription]:
    """One subscription of Acme in each status, of a SKU that can change to another one."""
    sku = SKUFactory(product__name="Sold")
    sku.targets.create(target=SKUFactory(product=sku.product, name="Larger", vendor_product_id=sku.vendor_product_id))
    made = {}
    for status in STATUSES:
        more: dict[str, Any] = {}
        if status == "ending":
            more = {"ends_at": clock.now() + timedelta(days=20)}
        if status == "expired":
            more = {"grace_ends": clock.now() + timedelta(days=20)}
        made[status] = SubscriptionFactory(account=cast.acme, sku=sku, status=status, **more)
    OrderFactory(
        subscription=made["ending"], action="cancel", status="scheduled", before={"Status": "active"},
        after={"Status": "cancelled"}, due_at=made["ending"].ends_at, actor=cast.owner,
    )  # fmt: skip
    return made


def page(on: str, stem: str, pk: int, *more: str) -> str:
    return reverse(f"admin:subscriptions_{on}_{stem}", args=[pk, *more])


def answers(subscription: Subscription, **more: str) -> dict[str, str]:
    return {"reason": "Ticket 4711", "version": str(subscription.version), "idempotency_key": str(uuid.uuid4()), **more}


def last(subscription: Subscription) -> Order:
    return subscription.orders.latest("pk")


def placed(stem: str, subscription: Subscription) -> Callable[[Any], bool]:
    """Exactly one new order, of this action, asking for this, by this person; and the status is the vendor's still."""
    before, (after, becomes) = subscription.orders.count(), ASKS[stem]

    def look(person: Any) -> bool:
        order = last(subscription)
        status = Subscription.objects.get(pk=subscription.pk).status
        return (
            subscription.orders.count() == before + 1
            and (order.action, order.actor, order.audience, order.reason) == (stem, person, "bss", "Ticket 4711")
            and after.items() <= order.after.items()
            and status == (becomes or subscription.status)
        )

    return look


def of_subscriptions(stock: dict[str, Subscription]) -> Iterator[Attempt]:
    for status, one in stock.items():
        given = {
            "increase": {"seats": "30"},
            "decrease": {"seats": "20"},
            "cancel": {"ends": "now", "typed": one.number},
            "change_sku": {"to": f"{one.sku.targets.get().target_id}-now", "seats": "30"},
        }
        for stem in ("increase", "decrease", "cancel", "suspend", "activate", "renew", "auto_renew", "change_sku"):
            form = answers(one, **given.get(stem, {}))
            address = page("subscription", stem, one.pk)
            yield Attempt(stem, status, address, form, status in FROM[stem], placed(stem, one))
        yield Attempt(
            "keep", status, page("subscription", "keep", one.pk), answers(one), status in FROM["keep"], _kept(one)
        )
        yield Attempt(
            "details",
            status,
            page("subscription", "details", one.pk),
            {},
            True,
            _acted(one, "details.read"),
            200,
            False,
        )
        for how, kind in (("show", "code.shown"), ("download", "code.downloaded")):
            yield Attempt(
                "code", status, page("subscription", f"code_{how}", one.pk), {}, status in FROM["code"],
                _acted(one, kind), 200, False,
            )  # fmt: skip
        member = one.account.members.get(role="owner")
        yield Attempt(
            "code", status, page("subscription", "code_mail", one.pk), {"member": str(member.pk)},
            # Customers do not get what they may not see.
            status in FROM["code"] - {"suspended", "cancelled"}, _acted(one, "code.mailed"), 302, False,
        )  # fmt: skip
        charge = ChargeFactory(subscription=one)
        correction = answers(one, version="0", amount="-5.00")
        yield Attempt("correct", status, page("charge", "correct", charge.pk), correction, True, _corrected(charge))


def _kept(one: Subscription) -> Callable[[Any], bool]:
    def look(person: Any) -> bool:
        found = Subscription.objects.get(pk=one.pk)
        return (found.status, last(found).status, found.events.latest("pk").actor) == ("active", "withdrawn", person)

    return look


def _acted(one: Subscription, kind: str) -> Callable[[Any], bool]:
    return lambda person: (
        one.events.filter(kind=kind, actor=person).count() == 1 and not one.orders.filter(actor=person)
    )


def _corrected(charge: Charge) -> Callable[[Any], bool]:
    def look(person: Any) -> bool:
        made = [(one.amount, last(charge.subscription).actor) for one in charge.corrections.all()]
        return made == [(Decimal("-5.00"), person)]

    return look


def of_trials(cast: Any) -> Iterator[Attempt]:
    """Only what is on trial is converted, and its seats stay."""
    trial = SubscriptionFactory(account=cast.acme)
    trial = SubscriptionFactory(account=cast.acme, trial_ends=trial.period_end, trial_of=trial.sku.product)
    for stem, given in (("convert", {}), ("increase", {"seats": "30"}), ("decrease", {"seats": "20"})):
        form = answers(trial, **given)
        address = page("subscription", stem, trial.pk)
        yield Attempt(stem, "trial", address, form, stem == "convert", placed(stem, trial))
    for status in STATUSES:
        one = SubscriptionFactory(account=cast.acme, status=status)
        address = page("subscription", "convert", one.pk)
        yield Attempt("convert", status, address, answers(one), False, placed("convert", one))


def of_orders(cast: Any) -> Iterator[Attempt]:
    for status in ORDERS:
        for stem in FROM_ORDER:
            one = SubscriptionFactory(account=cast.acme)
            order = OrderFactory(
                subscription=one, status=status, actor=cast.owner, before={"Seats": 25}, after={"Seats": 30}
            )
            possible = status in FROM_ORDER[stem]
            yield Attempt(stem, status, page("order", stem, order.pk), answers(one), possible, _became(stem, order))
    for stem in ("retry", "give_up"):
        one = SubscriptionFactory(account=cast.acme, status="failed")
        order = OrderFactory(subscription=one, action="start", status="failed", actor=cast.owner, after={"Seats": 25})
        yield Attempt(stem, "failed start", page("order", stem, order.pk), answers(one), True, _settled(stem, order))


def _became(stem: str, order: Order) -> Callable[[Any], bool]:
    def look(person: Any) -> bool:
        found = Order.objects.get(pk=order.pk)
        return found.status == BECOMES[stem] and found.events.latest("pk").actor == person

    return look


def _settled(stem: str, order: Order) -> Callable[[Any], bool]:
    """Retry carries the same order again; Give up ends the subscription, for nothing exists at the vendor."""

    def look(person: Any) -> bool:
        found = Order.objects.get(pk=order.pk)
        stands = (found.status, found.subscription.status)
        wanted = {"retry": ("placed", "pending"), "give_up": ("failed", "cancelled")}[stem]
        return stands == wanted and found.events.filter(actor=person).exists()

    return look


def of_differences(cast: Any, at_vendor: Any, ask: Any) -> Iterator[Attempt]:
    """Seats differ: ours are sent while the licence runs there, theirs taken; and nothing comes out of `cancelled`."""
    for status in ("active", "suspended", "ending", "cancelled"):
        one = at_vendor(SubscriptionFactory(account=cast.acme, status=status), seats=40)
        ask(one)
        for stem in ("take_theirs", "push_ours"):
            form = answers(one, shown_theirs="40")
            address = page("subscription", stem, one.pk, "seats")
            possible = status in ({"active", "ending"} if stem == "push_ours" else {"active", "ending", "suspended"})
            yield Attempt(stem, status, address, form, possible, placed(stem, one))
    over = at_vendor(SubscriptionFactory(account=cast.acme, status="cancelled"), status="Started")
    ask(over)
    form = answers(over, shown_theirs="Started")
    address = page("subscription", "take_theirs", over.pk, "status")
    yield Attempt("take_theirs", "cancelled, runs there", address, form, False, placed("take_theirs", over))


def of_accounts(cast: Any) -> Iterator[Attempt]:
    sku = SKUFactory()
    form = {"reason": "Ticket 4711", "idempotency_key": str(uuid.uuid4()), "sku": str(sku.pk), "seats": "10"}

    def started(person: Any) -> bool:
        order = Order.objects.filter(action="start", actor=person).last()
        return order is not None and (order.subscription.status, order.after["Seats"]) == ("pending", 10)

    yield Attempt("start", "account", page("account", "start", cast.acme.pk), form, True, started)


# --- the walk --------------------------------------------------------------------------------------------------------


@contextmanager
def undone() -> Iterator[None]:
    """Everything as before afterwards. Not `atomic()`: an order is placed in a durable block of its own."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


@contextmanager
def nothing_written() -> Iterator[list[str]]:
    """The statements that would write anything but a session."""
    said: list[str] = []

    def watch(execute: Any, sql: str, *arguments: Any) -> Any:
        found = WRITES.match(sql)
        if found and found[1] != "django_session":
            said.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(watch):
        yield said


@pytest.fixture
def attempts(cast: Any, stock: Any, at_vendor: Any, signed_in: Any) -> list[Attempt]:
    """All of them, each with what the check page showed to an administrator, where it can be seen."""
    cast.people["administrator"] = UserFactory(is_staff=True, is_superuser=True, name="Administrator")
    cast.people["nobody"] = UserFactory(is_staff=True, name="Without a group")
    administrator = signed_in(cast.administrator)
    made = [
        *of_subscriptions(stock),
        *of_trials(cast),
        *of_orders(cast),
        *of_differences(cast, at_vendor, lambda one: administrator.post(page("subscription", "details", one.pk))),
        *of_accounts(cast),
    ]
    for one in made:
        if one.check and one.possible:
            shown = administrator.post(f"{one.address}check/", one.form)
            assert shown.status_code == 200, (one.stem, one.subject)
            one.form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.content.decode()))
    return made


# Two, so that two processes can share the work.
@pytest.mark.parametrize(
    "names", [("support", "operator", "nobody"), ("approver", "catalogue_manager", "auditor", "administrator")]
)
def test_forged_posts(names, cast, attempts, signed_in):
    assert {one.stem for one in attempts} == set(WHO)
    for table, subjects in ((FROM, STATUSES), (FROM_ORDER, ORDERS)):
        for stem in table:
            assert {one.subject for one in attempts if one.stem == stem} >= set(subjects), stem
    wrong, before = [], (Event.objects.count(), Order.objects.count(), Charge.objects.count())
    for name in names:
        person = cast.people[name]
        browser = signed_in(person)
        for one in attempts:
            expected = 403 if name not in WHO[one.stem] else one.succeeds if one.possible else 409
            with undone(), nothing_written() as written:
                got = browser.post(one.address, one.form).status_code
                case = f"{name}, {one.stem} of {one.subject}"
                if got != expected:
                    wrong.append(f"{case}: {got} instead of {expected}")
                elif expected in (403, 409):
                    wrong += [f"{case}: refused, and wrote {sql}" for sql in written[:1]]
                elif not one.done(person):
                    wrong.append(f"{case}: {got}, but not what product.md says")
    assert wrong == []
    assert (Event.objects.count(), Order.objects.count(), Charge.objects.count()) == before
