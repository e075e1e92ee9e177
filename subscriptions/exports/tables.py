"""What an export holds: the columns of each, in their order, as `--help` tells them."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from subscriptions.exports.cells import (
    Column,
    amount,
    code,
    day,
    decimal,
    flag,
    instant,
    integer,
    named,
    number,
    text,
    unit_price,
    words,
    writing,
)
from subscriptions.models import Charge, Order, Subscription


@dataclass(frozen=True, slots=True)
class Table:
    """An export: `stem` names command and file, `title` the sheet of a workbook."""

    stem: str
    title: str
    model: type[Model]
    columns: tuple[Column, ...]

    def only(self, *names: str) -> "Table":
        """The same with some of its columns, in that order."""
        by_name = {column.name: column for column in self.columns}
        return Table(self.stem, self.title, self.model, tuple(by_name[name] for name in names))

    @property
    def header(self) -> list[str]:
        return [column.name for column in self.columns]


def _company(path: str) -> tuple[Column, ...]:
    return (
        number("account", f"{path}account_id", "number of the company"),
        text("company", f"{path}account__name", "its name"),
    )


def _sold(path: str) -> tuple[Column, ...]:
    return (
        text("product", f"{path}sku__product__name", "name of the product"),
        text("sku", f"{path}sku__code", "code of the SKU"),
    )


SUBSCRIPTIONS = Table(
    "subscriptions",
    "Subscriptions",
    Subscription,
    (
        named("subscription", "pk", "SUB-", "ID, such as SUB-000123", digits=6),
        *_company(""),
        *_sold(""),
        code("status", "status", "what the vendor has confirmed, such as active"),
        number("seats", "seats", "seats now"),
        code("currency", "currency", "ISO 4217 code of what it is billed in"),
        flag("auto_renew", "auto_renew", "renews by itself"),
        instant("created_at", "created_at", "when it was ordered"),
        instant("started_at", "started_at", "when the vendor had provisioned it"),
        instant("suspended_at", "suspended_at", "since when it is suspended"),
        instant("ends_at", "ends_at", "when it ends or ended"),
        instant("cancelled_at", "cancelled_at", "when it was cancelled"),
        day("period_start", "period_start", "first day of the billing period"),
        day("period_end", "period_end", "the day after its last day"),
        day("term_end", "term_end", "the day after the last day of the term"),
        day("trial_ends", "trial_ends", "the day on which a trial ends"),
        day("grace_ends", "grace_ends", "the day after the last day on which it can be renewed"),
        code("subscriber_id", "subscriber_id", "our name for it at the vendor"),
    ),
)

ORDERS = Table(
    "orders",
    "Orders",
    Order,
    (
        named("order", "pk", "ORD-", "number, such as ORD-12"),
        named("subscription", "subscription_id", "SUB-", "ID of its subscription", digits=6),
        *_company("subscription__"),
        *_sold("subscription__"),
        code("action", "action", "what was wanted, such as increase"),
        code("status", "status", "what became of it, such as completed"),
        number("seats_before", integer("({0}->>'Seats')::integer", "before"), "seats before, where it changes them"),
        number("seats_after", integer("({0}->>'Seats')::integer", "after"), "seats wanted"),
        words("before", writing("{0}::text", "before"), "all characteristics before, as JSON"),
        words("after", writing("{0}::text", "after"), "all characteristics wanted, as JSON"),
        amount(
            "amount",
            decimal(
                "coalesce((SELECT sum((line->>'amount')::numeric) FROM jsonb_array_elements({0}->'lines') AS line),"
                " ({1}->>'Amount')::numeric)",
                "quote",
                "after",
            ),
            "subscription__currency",
            "what it costs when it takes effect, negative for what is given back; empty: nothing",
        ),
        code("currency", "subscription__currency", "ISO 4217 code of that amount"),
        text("placed_by", "actor__name", "the person; empty: the system or a command"),
        code("audience", "audience", "where: storefront, bss, command or system"),
        words("reason", "reason", "the reason that was given"),
        instant("placed_at", "placed_at", "when it was placed"),
        instant("due_at", "due_at", "when a planned one takes effect"),
        instant("first_sent_at", "first_sent_at", "when it was first sent to the vendor"),
        instant("finished_at", "finished_at", "when it was over"),
        flag("needs_staff", "needs_staff", "for staff to look at"),
        words("outcome_code", "outcome_code", "the vendor's code, where it ended badly"),
        words("outcome", "outcome_message", "what was said about the outcome"),
    ),
)

CHARGES = Table(
    "charges",
    "Charges",
    Charge,
    (
        number("line", "pk", "number of the line of the ledger"),
        *_company(""),
        named("subscription", "subscription_id", "SUB-", "ID of its subscription", digits=6),
        *_sold("subscription__"),
        named("order", "order_id", "ORD-", "number of its order; empty: a period that began by itself"),
        code("kind", "kind", "period, change, credit or correction"),
        words("what", "words", "the words of the quote"),
        number("seats", "seats", "seats that it is about"),
        unit_price("unit_price", "unit_price", "currency", "of a seat for a whole period, less discount"),
        code("currency", "currency", "ISO 4217 code of both amounts"),
        amount("amount", "amount", "currency", "net of tax, negative for what is given back"),
        day("period_start", "period_start", "first day of the billing period that it belongs to"),
        day("covers_from", "covers_from", "first day that it covers"),
        day("covers_to", "covers_to", "the day after the last one that it covers"),
        instant("booked_at", "booked_at", "when it was booked"),
        day("booked_on", "booked_on", "the day whose statement holds it, in the company's time zone"),
        number("corrects", "corrects_id", "the line that a correction corrects"),
    ),
)

TABLES: dict[Any, Table] = {table.model: table for table in (SUBSCRIPTIONS, ORDERS, CHARGES)}
"""By model."""
