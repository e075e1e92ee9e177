"""The words that narrow a list: the same in addresses of BSS, in `--where` of commands and in what a run remembers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Model, OuterRef, Q, QuerySet, Subquery, Value

from subscriptions import actions, clock
from subscriptions.models import (
    SKU,
    TROUBLE,
    Account,
    Charge,
    ChargeKind,
    Drift,
    DriftEnding,
    DriftField,
    Event,
    Order,
    OrderStatus,
    Product,
    Purpose,
    Subscription,
    VendorCall,
    names,
)
from subscriptions.models import SubscriptionStatus as S
from subscriptions.models.subscription import spellings

SUBSCRIPTION_ID = re.compile(r"(?i)(?:SUB[- ]?)?0*(\d{1,18})")
ORDER_NUMBER = re.compile(r"(?i)ORD[- ]?0*(\d{1,18})")


class BadFilter(Exception):  # noqa: N818 - a word that is refused, with a sentence for whoever typed it
    """Why a filter cannot be used: a sentence that names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One word of a list. `condition` takes what was typed and raises BadFilter; `choices` are value -> label."""

    takes: str
    condition: Callable[[str], Q]
    choices: Mapping[str, str] | None = None
    few: type[Model] | None = None
    """Whose rows are the choices instead: few enough to be listed."""
    is_day: bool = False

    def options(self) -> Mapping[str, str] | None:
        """What can be chosen, value -> label, in at most 1 query; None where something is typed."""
        if self.few is None:
            return self.choices
        return {str(row.pk): str(row) for row in self.few._default_manager.all()}


def subscription_id(text: str) -> int | None:
    """The key in SUB-000123, sub 123 or 123; ASCII digits only."""
    found = SUBSCRIPTION_ID.fullmatch(text) if text.isascii() else None
    return int(found[1]) if found else None


def order_id(text: str) -> int | None:
    """The key in ORD-12 or ord 12."""
    found = ORDER_NUMBER.fullmatch(text) if text.isascii() else None
    return int(found[1]) if found else None


def of_companies(account: str, text: str) -> Q:
    """Rows whose company has in its name what was typed into a search box; `account` leads to the company; 1 query."""
    keys, called = names.some(Account.objects.order_by(), text)
    if len(keys) <= names.FEW:
        return Q(**{f"{account}__among": keys})
    # Asked about each row in turn, which no plan can make into something slower.
    own = called.filter(pk=OuterRef(f"{account}_id"))
    return Q(Subquery(own.values(found=Value(True))))


def _one_of(field: str, choices: Mapping[str, str]) -> Filter:
    def condition(typed: str) -> Q:
        values = [one.strip() for one in typed.split(",")]
        if unknown := [one for one in values if one not in choices]:
            raise BadFilter(f"“{unknown[0][:40]}” is none of: {', '.join(choices)}.")
        return Q(**{f"{field}__in": values})

    return Filter(f"one or several of {', '.join(choices)}, with commas between", condition, choices)


def _named(field: str, model: type[Model], called: str) -> Filter:
    """By name, in any case, or by key: a name that nobody has, or that several have, is a mistake.

    Digits are always a key, else the link to a company could lead to another one with that name.
    """

    def condition(typed: str) -> Q:
        name = typed.strip()
        rows = model._default_manager.order_by()
        if name.isascii() and name.isdigit():
            keys = list(rows.filter(pk=int(name)).values_list("pk", flat=True)) if len(name) < 19 else []
        else:
            keys = list(rows.filter(name__iexact=name).values_list("pk", flat=True)[:2])
        if not keys:
            raise BadFilter(f"There is no {called} “{name[:80]}”.")
        if len(keys) > 1:
            raise BadFilter(f"Several are called “{name[:80]}”: write the number of the {called} instead.")
        return Q(**{field: keys[0]})

    return Filter(f"the name or the number of a {called}", condition)


# As keys of SKUs, PostgreSQL can tell how many rows they have; `sku` leads to the SKU.
def _in_skus(sku: str, skus: QuerySet[SKU]) -> Q:
    return Q(**{f"{sku}__in": list(skus.order_by().values_list("pk", flat=True))})


def _product(sku: str) -> Filter:
    named = _named("product", Product, "product")
    return replace(
        named, condition=lambda typed: _in_skus(sku, SKU.objects.filter(named.condition(typed))), few=Product
    )


def _day(lookup: str, takes: str, *, instant: bool = False) -> Filter:
    """By a date, or by the instant at which it begins in UTC."""
    return _by_day(lambda day: Q(**{lookup: _begins(day) if instant else day}), takes)


def _by_day(condition: Callable[[date], Q], takes: str) -> Filter:
    def read(typed: str) -> Q:
        try:
            day = date.fromisoformat(typed.strip())
        except ValueError:
            raise BadFilter(f"“{typed[:40]}” is no date. Write it as 2027-03-01.") from None
        return condition(day)

    return Filter(f"a date such as 2027-03-01: {takes}", read, is_day=True)


def _begins(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _ends_before(day: date) -> Q:
    """What was cancelled for a day, what runs to the end of its term and is not renewed, and trials."""
    cancelled = Q(status__in=[S.ENDING, S.SUSPENDED], ends_at__lt=_begins(day))
    runs = Q(status__in=[S.ACTIVE, S.SUSPENDED])
    return cancelled | (runs & Q(auto_renew=False, term_end__lt=day)) | (runs & Q(trial_ends__lt=day))


_YES_NO = {"1": "Yes", "0": "No"}


def _flag(yes: Callable[[], Q], takes: str = "1 or 0") -> Filter:
    def condition(typed: str) -> Q:
        if typed not in _YES_NO:
            raise BadFilter(f"“{typed[:40]}” is neither 1 nor 0.")
        return yes() if typed == "1" else ~yes()

    return Filter(takes, condition, _YES_NO)


def _text(condition: Callable[[str], Q], takes: str) -> Filter:
    return Filter(takes, lambda typed: condition(typed.strip()))


# An exact ID goes before a company of that name.
def _subscription_like(typed: str) -> Q:
    if (key := order_id(typed)) is not None:
        return Q(pk__in=Order.objects.filter(pk=key).values("subscription_id"))
    key = subscription_id(typed)
    if key is not None and Subscription.objects.filter(pk=key).exists():
        return Q(pk=key)
    return of_companies("account", typed)


def _subscription_of(typed: str) -> Q:
    if (key := subscription_id(typed)) is None:
        raise BadFilter(f"“{typed[:40]}” is no subscription ID. Write it as SUB-000123.")
    return Q(subscription=key)


def _row_like(own: Callable[[str], Q | None], account: str) -> Callable[[str], Q]:
    def condition(typed: str) -> Q:
        if (exact := own(typed)) is not None:
            return exact
        key = subscription_id(typed)
        if key is not None and Subscription.objects.filter(pk=key).exists():
            return Q(subscription=key)
        return of_companies(account, typed)

    return condition


def _order_like(typed: str) -> Q | None:
    return Q(pk=key) if (key := order_id(typed)) is not None else None


def _charge_like(typed: str) -> Q | None:
    if (key := order_id(typed)) is not None:
        return Q(order=key)
    line = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 19 else 0
    return Q(pk=line) if line and Charge.objects.filter(pk=line).exists() else None


# What a customer is told takes longer than usual: it counts from when it was last asked for.
def _is_late() -> Q:
    since = clock.now() - timedelta(seconds=settings.TAKING_LONG)
    return (
        Q(status__in=[OrderStatus.PLACED, OrderStatus.IN_PROGRESS], placed_at__lte=since)
        & (Q(retried_at__isnull=True) | Q(retried_at__lte=since))
        & (Q(due_at__isnull=True) | Q(due_at__lte=since))
    )


def _in_trouble() -> Q:
    return Q(outcome__in=TROUBLE, finished_at__gte=clock.now() - timedelta(days=1))


# What leads to an order; the others are acts upon one, or look.
_PLACED = (
    actions.START, actions.INCREASE, actions.DECREASE, actions.SUSPEND, actions.ACTIVATE, actions.CANCEL,
    actions.RENEW, actions.CONVERT, actions.CHANGE_SKU, actions.AUTO_RENEW, actions.CORRECT, actions.TAKE_THEIRS,
    actions.PUSH_OURS,
)  # fmt: skip
_STEMS = {action.stem: action.label for action in _PLACED}
_SEARCH = "what the search box takes: an ID, an order number or words of a company's name"

SUBSCRIPTIONS: dict[str, Filter] = {
    "status": _one_of("status", dict(S.choices)),
    "product": _product("sku"),
    "account": _named("account", Account, "company"),
    "sku": _text(lambda code: _in_skus("sku", SKU.objects.filter(code__iexact=code)), "the code of a SKU"),
    "renews_before": _day("period_end__lt", "the period ends before it"),
    "ends_before": _by_day(_ends_before, "it runs, and will end before it, UTC"),
    "q": _text(_subscription_like, _SEARCH),
}
ORDERS: dict[str, Filter] = {
    "status": _one_of("status", dict(OrderStatus.choices)),
    "action": _one_of("action", _STEMS),
    "needs_staff": _flag(lambda: Q(needs_staff=True)),
    "late": _flag(_is_late, "1 or 0: asked for more than two minutes ago, and still on its way"),
    "account": _named("subscription__account", Account, "company"),
    "subscription": _text(_subscription_of, "a subscription ID"),
    "placed_from": _day("placed_at__gte", "placed on it or later, UTC", instant=True),
    "placed_before": _day("placed_at__lt", "placed before it, UTC", instant=True),
    "finished_from": _day("finished_at__gte", "finished on it or later, UTC", instant=True),
    "q": _text(_row_like(_order_like, "subscription__account"), _SEARCH),
}
CHARGES: dict[str, Filter] = {
    "kind": _one_of("kind", dict(ChargeKind.choices)),
    "account": _named("account", Account, "company"),
    "subscription": _text(_subscription_of, "a subscription ID"),
    "booked_from": _day("booked_on__gte", "booked on it or later"),
    "booked_before": _day("booked_on__lt", "booked before it"),
    "q": _text(_row_like(_charge_like, "account"), _SEARCH),
}
EVENTS: dict[str, Filter] = {"subscription": _text(_subscription_of, "a subscription ID")}
VENDOR_CALLS: dict[str, Filter] = {
    "purpose": _one_of("purpose", dict(Purpose.choices)),
    "trouble": _flag(_in_trouble, "1 or 0: of the last day, and not reached, not let in or without a clear answer"),
    "subscription": _text(_subscription_of, "a subscription ID"),
}


def _drift_like(typed: str) -> Q:
    key = subscription_id(typed)
    if key is not None and Subscription.objects.filter(pk=key).exists():
        return Q(subscription=key)
    of_subscriber = Q(subscriber_id__in=spellings([typed]))
    if Drift.objects.filter(of_subscriber).exists():
        return of_subscriber
    return of_companies("subscription__account", typed)


DRIFT: dict[str, Filter] = {
    "field": _one_of("field", dict(DriftField.choices)),
    "currency": _text(lambda code: Q(currency=code.upper()), "three letters, such as EUR"),
    "product": _product("subscription__sku"),
    "account": _named("subscription__account", Account, "company"),
    "subscription": _text(_subscription_of, "a subscription ID"),
    "ending": _one_of("ending", dict(DriftEnding.choices)),
    "q": _text(_drift_like, "a subscription ID, the vendor's subscriber ID or words of a company's name"),
}
_OF: dict[type[Model], dict[str, Filter]] = {
    Subscription: SUBSCRIPTIONS,
    Order: ORDERS,
    Charge: CHARGES,
    Event: EVENTS,
    VendorCall: VENDOR_CALLS,
    Drift: DRIFT,
}


def of(model: type[Model]) -> dict[str, Filter]:
    """The words of a list by name; of Subscription, Order, Charge, Event, VendorCall and Drift."""
    return _OF[model]


def narrow(rows: QuerySet[Any], words: Iterable[tuple[str, str]]) -> QuerySet[Any]:
    """Those of `rows` that all of the words find; empty values narrow nothing. Raises BadFilter."""
    known = of(rows.model)
    for name, typed in words:
        if name not in known:
            raise BadFilter(f"There is no filter “{name[:40]}”. There are: {', '.join(known)}.")
        if typed.strip():
            try:
                rows = rows.filter(known[name].condition(typed))
            except BadFilter as bad:
                raise BadFilter(f"{name}: {bad}") from None
    return rows


def parse(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Words such as `status=active`, one to a text, as `narrow` takes them. Raises BadFilter."""
    words = []
    for text in texts:
        name, equals, typed = text.partition("=")
        if not equals or not typed.strip():
            raise BadFilter(f"“{text[:80]}” is no filter. Write it as status=active.")
        words.append((name.strip(), typed.strip()))
    return words
