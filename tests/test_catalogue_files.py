"""The catalogue in a file: what is read, what is refused and why, what is shown, and that it is saved as a whole."""

import csv
import io
import os
import re
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from types import SimpleNamespace

import psycopg
import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from subscriptions import actions, catalogue_files, quotes
from subscriptions.catalogue_files import BadCatalogue, Outdated
from subscriptions.management.demo_data import catalogue as demo_catalogue
from subscriptions.models import SKU, PriceBand, Product
from tests.factories import ProductFactory, SKUFactory, SubscriptionFactory
from tests.worker_process import database_url

pytestmark = pytest.mark.django_db

NEW = (
    "sku,product,vendor,name,vendor_product_id,seats_min,seats_max,billing_period,currency,seats_from,price\n"
    "N1,New product,kaspersky,New SKU,V-1,5,500,month,EUR,5,3.50\n"
    "N1,,,,,,,,EUR,50,2.95\n"
)


def contents(data):
    return catalogue_files.read(io.BytesIO(data.encode() if isinstance(data, str) else data))


def preview(data):
    return catalogue_files.preview(contents(data))


def save(data, **options):
    return catalogue_files.save(contents(data), **{"actor": None, **options})


def refusal(data):
    with pytest.raises(BadCatalogue) as refused:
        preview(data)
    return refused.value.sentences


def whole():
    return "".join(catalogue_files.lines())


def state():
    """Everything in the catalogue but the keys."""
    products = Product.objects.order_by("name").values()
    skus = SKU.objects.order_by("code").values()
    bands = PriceBand.objects.order_by("sku__code", "currency", "seats_from").values(
        "sku__code", "currency", "seats_from"
    )
    return [list(products), list(skus), list(bands.values("sku__code", "currency", "seats_from", "price", "pk"))]


def told(plan):
    return [(one.kind, one.about, one.values) for one in plan.differences]


@pytest.fixture
def sku():
    return SKUFactory(
        code="KL1", name="Endpoint, monthly", product=ProductFactory(name="Endpoint"), prices={1: "3.50", 50: "2.9988"}
    )


# --- there and back --------------------------------------------------------------------------------------------------


def test_what_is_written_changes_nothing_when_it_is_read_again():
    demo_catalogue.create()
    ProductFactory(name="Without a SKU", description="=1+1\r\nsecond line ", is_sold=False)
    SKUFactory(product__name="+Plus", product__description="'=quoted", code="-1", name="@home", prices={})
    SKUFactory(product__name='Quotes, "and" commas', billing_period="year", term_months=24, is_sold=False)
    before = state()
    plan = preview(whole())
    assert told(plan) == []
    assert plan.unchanged == Product.objects.count() + SKU.objects.count() + PriceBand.objects.count()
    save(whole())
    assert state() == before


def test_what_a_spreadsheet_does_to_lines_changes_nothing():
    demo_catalogue.create()
    header, *lines = csv.reader(io.StringIO(whole().removeprefix("\ufeff"), newline=""))
    assert len(lines) > 5
    for order in (lines[::-1], sorted(lines)):
        out = io.StringIO()
        csv.writer(out).writerows([header, *order])
        assert told(preview(out.getvalue())) == []


def test_an_empty_catalogue_becomes_the_one_that_was_written():
    demo_catalogue.create()
    written, count = whole(), PriceBand.objects.count()
    for model in (PriceBand, SKU, Product):
        model.objects.all().delete()
    plan = save(written)
    assert plan.counts["new"] == 9 + 9 + count
    assert whole() == written


def test_nothing_is_said_twice_and_no_cell_is_a_formula(sku):
    SKUFactory(product=sku.product, code="=KL2")
    rows = list(csv.DictReader(io.StringIO(whole().removeprefix("\ufeff"), newline="")))
    assert [(row["sku"], row["product"], row["seats_min"], row["price"]) for row in rows] == [
        ("'=KL2", "Endpoint", "5", "3.50"), ("KL1", "Endpoint", "5", "3.50"), ("KL1", "", "", "2.9988"),
    ]  # fmt: skip
    assert [row["vendor"] for row in rows] == ["kaspersky", "", ""]
    assert list(rows[0]) == list(catalogue_files.NAMES)


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_any_description_comes_back_the_same(text):
    ProductFactory(description=text)
    assert told(preview(whole())) == []


# --- what is changed -------------------------------------------------------------------------------------------------


def test_a_new_product_with_a_sku_and_its_prices():
    plan = save(NEW)
    assert plan.counts == {"new": 4, "changed": 0, "removed": 0}
    [new] = SKU.objects.all()
    assert (new.code, new.name, new.product.name, new.seats_min, new.seats_max) == (
        "N1",
        "New SKU",
        "New product",
        5,
        500,
    )
    assert new.product.is_sold
    assert list(new.price_bands.values_list("currency", "seats_from", "price")) == [
        ("EUR", 5, Decimal("3.5")), ("EUR", 50, Decimal("2.95")),
    ]  # fmt: skip
    assert told(plan)[0] == ("new", "Product New product", (("vendor", "", "kaspersky"),))
    assert told(plan)[3] == ("new", "Price of N1 in EUR from 50 seats", (("price", "", "2.95"),))


def test_only_what_a_file_says_is_changed(sku):
    other, before = SKUFactory(), state()
    data = (
        "sku,seats_max,can_suspend,currency,seats_from,price\nKL1,300,no,EUR,50,3.10\nKL1,,,GBP,1,2\nKL1,,,EUR,1,3.5\n"
    )
    plan = preview(data)
    assert told(plan) == [
        ("changed", "SKU KL1", (("seats_max", "500", "300"), ("can_suspend", "yes", "no"))),
        ("changed", "Price of KL1 in EUR from 50 seats", (("price", "2.9988", "3.10"),)),
        ("new", "Price of KL1 in GBP from 1 seat", (("price", "", "2.00"),)),
    ]  # fmt: skip
    assert plan.unchanged == 1
    assert state() == before, "shown only"
    save(data)
    sku.refresh_from_db()
    assert (sku.seats_max, sku.can_suspend, sku.name) == (300, False, "Endpoint, monthly")
    prices = {(one.currency, one.seats_from): one.price for one in sku.price_bands.all()}
    assert prices == {("EUR", 1): Decimal("3.5"), ("EUR", 50): Decimal("3.1"), ("GBP", 1): Decimal(2)}
    assert other.price_bands.get().price == Decimal("3.5")


def test_a_price_goes_only_when_the_file_says_so_and_is_gone_the_second_time(sku):
    data = "sku,currency,seats_from,price\nKL1,EUR,50,remove\n"
    assert told(save(data)) == [("removed", "Price of KL1 in EUR from 50 seats", (("price", "2.9988", ""),))]
    assert [one.seats_from for one in sku.price_bands.all()] == [1]
    assert told(save(data)) == []
    save("sku,name\nKL1,Other name\n")
    assert [one.seats_from for one in sku.price_bands.all()] == [1]


def test_a_line_about_a_product_alone(sku):
    save("sku,product,description,product_sold\n,Endpoint,For offices,no\n")
    product = Product.objects.get()
    assert (product.description, product.is_sold) == ("For offices", False)


def test_a_quote_that_was_shown_before_no_longer_holds(sku):
    subscription = SubscriptionFactory(sku=sku, seats=60)

    def quote():
        at = subscription.created_at
        about = SubscriptionFactory._meta.model.objects.select_related("sku", "account").get(pk=subscription.pk)
        return quotes.price(
            actions.INCREASE, about, {"Seats": 70}, on=about.period_start, planned=False, at=at,
            prices=quotes.load([about]),
        )  # fmt: skip

    shown = quote()
    assert quotes.still_holds(shown, quote(), subscription.created_at)
    save("sku,currency,seats_from,price\nKL1,EUR,1,9.99\n")
    assert not quotes.still_holds(shown, quote(), subscription.created_at), "another band of the same price list"
    save("sku,currency,seats_from,price\nKL1,EUR,1,3.50\n")
    assert quotes.still_holds(shown, quote(), subscription.created_at)
    save("sku,increase_policy\nKL1,full_period\n")
    assert not quotes.still_holds(shown, quote(), subscription.created_at)


def test_what_follows_is_noted(sku):
    SubscriptionFactory(sku=sku, seats=400)
    SubscriptionFactory(sku=sku, seats=450, status="cancelled")
    plan = preview("sku,seats_min,seats_max,currency,seats_from,price\nKL1,2,100,GBP,10,2\n")
    assert plan.notes == [
        "KL1: 1 running subscription has seats outside 2 to 100. They go on as they are.",
        "KL1 has no price in GBP for fewer than 10 seats, and can have 2.",
    ]
    assert preview(NEW.split("\n", 1)[0] + "\nN1,P,,N,V,5,9,,,,\n").notes == ["N1 has no price."]


def test_another_product_of_the_vendor_is_none_of_what_was_started_before(sku):
    for status in ("active", "suspended", "cancelled"):
        SubscriptionFactory(sku=sku, status=status)
    other, unsold = SKUFactory(code="KL2"), SKUFactory(code="KL3")
    SubscriptionFactory(sku=other)
    rows = f"KL1,OTHER\nKL2,{other.vendor_product_id}X\nKL3,{unsold.vendor_product_id}X\n"
    assert preview(f"sku,vendor_product_id\n{rows}").notes == [
        "KL1: 2 subscriptions were started before this. The licence service keeps the product that it has of each; "
        "Drift lists those that differ.",
        "KL2: 1 subscription was started before this. The licence service keeps the product that it has of it; "
        "Drift lists it if it differs.",
    ]
    assert not preview("sku,name\nKL1,Another name\n").notes


# --- what is refused -------------------------------------------------------------------------------------------------

WRONG = {
    "no sku column": ("name\nx\n", "Line 1 has no column “sku”. It has: name."),
    "strange column": ("sku,pice\nKL1,3\n", "Line 1 has the column “pice”, which is none of: sku, product,"),
    "semicolons": ("sku;price\nKL1;3\n", "Line 1: the columns are separated by semicolons. Separate them by commas."),
    "repeated column": ("sku,price,Price\n", "Line 1 has the column “price” more than once."),
    "utf-16": ("sku,name\nKL1,x\n".encode("utf-16"), "The file is in UTF-16. Save it as CSV in UTF-8."),
    "latin 1": (b"sku,name\nKL1,B\xfcro\n", "Line 2 is not in UTF-8."),
    "long line": (b"sku,name\nKL1," + b"x" * 10_000_000, "Line 2 is longer than 64 KB."),
    "open quotes": ('sku,name\nKL1,"x\n', "Line 2 cannot be read: a quotation mark is opened there"),
    "cells": ("sku,name\nKL1\n", "Line 2 has 1 cells, and the header has 2."),
    "empty": ("", "The file is empty."),
    "header only": ("sku,name\n", "The file has a header and no lines below it."),
    "no sku": ("sku,name\n,x\n", "Line 2, sku: It is empty."),
    "thousands": ('sku,seats_max\nKL1,"1,000"\n', "Line 2, seats_max: “1,000” is no number. Write digits only"),
    "price with comma": (
        'sku,currency,seats_from,price\nKL1,EUR,1,"3,50"\n',
        "Line 2, price: “3,50” is no price. Write it with a decimal point",
    ),
    "exponent": ("sku,currency,seats_from,price\nKL1,EUR,1,1e3\n", "Line 2, price: “1e3” is no price."),
    "negative": ("sku,currency,seats_from,price\nKL1,EUR,1,-1\n", "Line 2, price: “-1” is no price."),
    "five decimals": ("sku,currency,seats_from,price\nKL1,EUR,1,1.00001\n", "Line 2, price: “1.00001” is no price."),
    "no currency": ("sku,currency,seats_from,price\nKL1,EUX,1,1\n", "Line 2, currency: “EUX” is no currency."),
    "half a price": ("sku,currency,seats_from,price\nKL1,EUR,,1\n", "Line 2, seats_from: It is empty. A price needs"),
    "no seats": ("sku,currency,seats_from,price\nKL1,EUR,0,1\n", "Line 2, seats_from: Ensure this value is greater"),
    "price twice": (
        "sku,currency,seats_from,price\nKL1,EUR,1,1\nKL1,EUR,01,1\n",
        "Line 3, price: Line 2 has a price of KL1 for EUR and 1 seats already.",
    ),
    "two minds": ("sku,seats_max\nKL1,5\nKL1,6\n", "Line 3, seats_max: Line 2 says something else."),
    "two products": (
        "sku,product\nKL1,Endpoint\nKL1,Other\n", "Line 3, product: Line 2 says something else."
    ),
    "flag": ("sku,sold\nKL1,maybe\n", "Line 2, sold: “maybe” is neither yes nor no."),
    "choice": ("sku,billing_period\nKL1,week\n", "Line 2, billing_period: “week” is none of: month, year."),
    "range": (
        "sku,seats_min\nKL1,501\n",
        "Line 2, seats_max: SKU KL1: The largest number of seats must be at least the smallest, both at least 1.",
    ),
    "whole periods": (
        "sku,billing_period,term_months\nKL1,year,18\n",
        "Line 2, term_months: SKU KL1: A SKU that is billed by the year has a term of 12, 24, 36, ... months.",
    ),
    "policies": (
        "sku,increase_policy,decrease_policy\nKL1,high_water,immediate_credit\n",
        "Line 2, decrease_policy: SKU KL1: A period billed at its highest count cannot give a credit for a decrease.",
    ),
    "no term": ("sku,term_months\nKL1,0\n", "Line 2, term_months: SKU KL1: Ensure this value is greater than or equal"),
    "too large": ("sku,trial_days\nKL1,99999\n", "Line 2, trial_days: SKU KL1: Ensure this value is less than"),
    "long name": (f"sku,name\nKL1,{'x' * 201}\n", "Line 2, name: SKU KL1: Ensure this value has at most 200"),
    "other spelling": ("sku,sold\nkl1,no\n", "Line 2, sku: “kl1” is written “KL1” elsewhere. Write it that way."),
    "other spelling of a product": ("sku,product\nKL1,endpoint\n", "Line 2, product: “endpoint” is written “Endpoint”"),
    "another product": (
        "sku,product,vendor\nKL1,Other,kaspersky\n",
        "Line 2, product: KL1 is a SKU of Endpoint, and a file cannot move it to another product.",
    ),
    "another vendor": (
        "sku,product,vendor\nKL1,Endpoint,acme\n",
        "Line 2, vendor: Endpoint is of the vendor kaspersky, and a file cannot change that.",
    ),
    "unknown vendor": ("sku,product,vendor\n,New,acme\n", "Line 2, vendor: Product New: “acme” is no vendor of this"),
    "product of nobody": ("sku,description\nKL1,x\n", "Line 2, description: It is about a product. Name the product"),
    "price of nobody": ("sku,product,price\n,Endpoint,3\n", "Line 2, price: It is about a SKU. Name the SKU"),
    "new without product": ("sku,name\nN1,x\n", "Line 2, product: N1 is new. Say of which product it is."),
    "new without seats": (
        "sku,product,name,vendor_product_id,seats_min\nN1,Endpoint,x,y,1\n",
        "Line 2, seats_max: SKU N1 is new and needs it."
    ),
    "new without name": (
        "sku,product,vendor_product_id,seats_min,seats_max\nN1,Endpoint,y,1,2\n",
        "Line 2, name: SKU N1 is new and needs it."
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_line_and_column(case, sku):
    data, sentence = WRONG[case]
    before = state()
    sentences = refusal(data)
    assert len(sentences) == 1
    assert sentences[0].startswith(sentence)
    with pytest.raises(BadCatalogue):
        save(data)
    assert state() == before


@pytest.mark.parametrize("case", ["range", "thousands", "policies", "two minds"])
def test_one_bad_line_at_the_end_leaves_nothing_behind(case, sku):
    """Neither what came before it in the file, nor what is fine by itself."""
    header, rest = WRONG[case][0].split("\n", 1)
    names = header.split(",")
    good = [{"sku": "KL1", "currency": "GBP", "seats_from": str(n), "price": "1"} for n in range(1, 5)]
    bad = [dict(zip(names, row, strict=True)) for row in csv.reader(io.StringIO(rest))]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["currency", "seats_from", "price", *names])
    writer.writeheader()
    writer.writerows([*good, *bad])
    before = state()
    with pytest.raises(BadCatalogue) as refused:
        save(out.getvalue())
    assert refused.value.sentences[0].startswith(f"Line {len(good) + len(bad) + 1}, ") or case == "range"
    assert state() == before


def test_all_that_is_wrong_is_said_at_once_up_to_twenty(sku):
    lines = [f"KL1,EUR,{n},cheap" for n in range(1, 31)]
    sentences = refusal("sku,currency,seats_from,price\n" + "\n".join(lines))
    assert len(sentences) == 21
    assert sentences[-1] == "And 10 more."
    broken = "sku,seats_max\nKL1,x\nKL2,y\n"
    assert [one[:6] for one in refusal(broken)] == ["Line 2", "Line 3"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: data + b",,,\n\n",
        lambda data: data.replace(b"sku,", b" SKU ,"), lambda data: data.replace(b",no,", b",FALSE,"),
    ],
)  # fmt: skip
def test_harmless_differences_change_nothing(change, sku):
    data = b"sku,sold,currency,seats_from\nKL1,no,,\n"
    assert told(preview(change(data))) == [("changed", "SKU KL1", (("sold", "yes", "no"),))]


# --- saved as a whole ------------------------------------------------------------------------------------------------


def test_what_was_shown_is_what_is_saved_or_it_is_shown_again(sku):
    data = "sku,currency,seats_from,price\nKL1,EUR,50,3.10\n"
    shown = preview(data)
    sku.price_bands.filter(seats_from=50).update(price="2.50")
    before = state()
    with pytest.raises(Outdated) as outdated:
        save(data, expected=shown.fingerprint)
    assert state() == before
    assert told(outdated.value.plan)[0][2] == (("price", "2.50", "3.10"),)
    assert save(data, expected=outdated.value.plan.fingerprint).counts["changed"] == 1


def test_what_somebody_else_changed_elsewhere_does_not_matter(sku):
    data = "sku,currency,seats_from,price\nKL1,EUR,50,3.10\n"
    shown = preview(data)
    SKUFactory()
    sku.price_bands.filter(seats_from=1).update(price="9")
    save(data, expected=shown.fingerprint)
    assert sku.price_bands.get(seats_from=1).price == 9


@pytest.mark.django_db(transaction=True)
def test_nobody_changes_a_price_between_the_look_and_the_writing(sku):
    """The page of a SKU saves the SKU before its prices: whoever is on it waits, or is waited for."""
    with psycopg.connect(database_url()) as other:
        other.execute("UPDATE subscriptions_sku SET name = 'Theirs' WHERE code = 'KL1'")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        try:
            with pytest.raises(Exception, match="lock timeout"):
                save("sku,currency,seats_from,price\nKL1,EUR,1,9\n")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
    assert SKU.objects.get().name == "Theirs"
    assert sku.price_bands.get(seats_from=1).price == Decimal("3.5")


def test_a_person_stands_in_the_histories_of_what_was_changed(sku, cast):
    save(
        "sku,product,description,currency,seats_from,price\nKL1,Endpoint,New,EUR,50,3.10\n",
        actor=cast.catalogue_manager, note="Price list of May.",
    )  # fmt: skip
    entries = {one.object_repr: one for one in LogEntry.objects.all()}
    assert set(entries) == {"Endpoint", "Endpoint, monthly (KL1)"}
    entry = entries["Endpoint, monthly (KL1)"]
    assert entry.user == cast.catalogue_manager
    assert entry.get_edited_object() == sku
    assert entry.change_message == (
        "By a file. Price list of May.\nPrice of KL1 in EUR from 50 seats, changed: price 2.9988 to 3.10"
    )


def test_a_large_file_asks_the_database_as_often_as_a_small_one():
    asked = []
    for count in (2, 60):
        rows = [f"S{count}-{n},P{count}-{n},N,V,1,9,EUR,1,{n}.5" for n in range(count)]
        data = "sku,product,name,vendor_product_id,seats_min,seats_max,currency,seats_from,price\n" + "\n".join(rows)
        with CaptureQueriesContext(connection) as found:
            save(data)
            save(data.replace(".5", ".75").replace(",9,", ",8,"))
        asked.append(len(found))
    assert asked[0] == asked[1]


# --- commands --------------------------------------------------------------------------------------------------------


def run(command, *arguments, stdin=b"", monkeypatch=None):
    out = StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    call_command(command, *map(str, arguments), stdout=out)
    return out.getvalue()


def test_the_command_shows_and_saves_only_when_told(sku, tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("sku,seats_max,currency,seats_from,price\nKL1,40,EUR,50,remove\nKL1,,GBP,5,2\n")
    SubscriptionFactory(sku=sku, seats=45)
    before = state()
    said = run("import_catalogue", file)
    assert said == (
        "changed  SKU KL1 (line 2)\n           seats_max: 500 to 40\n"
        "removed  Price of KL1 in EUR from 50 seats (line 2)\n           price: 2.9988 to nothing\n"
        "new      Price of KL1 in GBP from 5 seats (line 3)\n           price: 2.00\n"
        "note     KL1: 1 running subscription has seats outside 5 to 40. They go on as they are.\n"
        "1 new, 1 changed, 1 removed, 0 unchanged.\nNothing was saved. With --apply, it is.\n"
    )
    assert state() == before
    assert run("import_catalogue", file, "--apply").endswith("0 unchanged.\nSaved.\n")
    assert "0 new, 0 changed, 0 removed, 3 unchanged." in run("import_catalogue", file, "--apply")


def test_a_bad_file_is_refused_with_exit_code_2(sku, tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("sku,seats_max\nKL1,x\nKL1,y\n")
    for arguments in ([file], [file, "--apply"]):
        with pytest.raises(CommandError) as refused:
            run("import_catalogue", *arguments)
        assert refused.value.returncode == 2
        assert str(refused.value) == (
            "Line 2, seats_max: “x” is no number. Write digits only, such as 1000.\n"
            "Line 3, seats_max: “y” is no number. Write digits only, such as 1000.\nNothing was saved."
        )
    file.write_bytes(b"sku\n" * 300_000)
    for path, sentence in ((tmp_path / "none.csv", "cannot be read: No such file"), (file, "is larger than 1 MB.")):
        with pytest.raises(CommandError, match=sentence) as refused:
            run("import_catalogue", path)
        assert refused.value.returncode == 2


def test_the_example_of_the_help_works_as_it_is(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        run("import_catalogue", "--help")
    said = capsys.readouterr().out
    [example] = re.findall(r"Example:\n  (.*)\n", said)
    left, _, right = example.partition(" | uv run manage.py import_catalogue ")
    stdin = subprocess.run(left, shell=True, capture_output=True, check=True).stdout  # noqa: S602 - the help's own
    assert "4 new, 0 changed" in run("import_catalogue", right, stdin=stdin, monkeypatch=monkeypatch)
    assert "4 new" in run("import_catalogue", right, "--apply", stdin=stdin, monkeypatch=monkeypatch)
    assert SKU.objects.get().name == "Example, monthly"
    for name, about in catalogue_files.ABOUT:
        assert re.search(rf"^  {name} +{re.escape(about)}$", said, re.M)
    assert [name for name, _ in catalogue_files.ABOUT] == list(catalogue_files.NAMES)


def test_the_example_of_the_other_help_too(capsys, tmp_path, monkeypatch, sku):
    with pytest.raises(SystemExit):
        run("export_catalogue", "--help")
    [example] = re.findall(r"Example:\n  uv run manage.py export_catalogue (.*)\n", capsys.readouterr().out)
    monkeypatch.chdir(tmp_path)
    assert run("export_catalogue", *example.split()) == "The catalogue is in catalogue.csv.\n"
    assert (tmp_path / "catalogue.csv").read_bytes().decode() == whole()
    assert "0 new, 0 changed, 0 removed, 4 unchanged." in run("import_catalogue", "catalogue.csv")
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=written))
    run("export_catalogue")
    assert written.getvalue().decode() == whole()


def test_a_reader_that_has_had_enough():
    reading, writing = os.pipe()
    os.close(reading)
    told = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    command = [sys.executable, "manage.py", "export_catalogue"]
    with open(writing, "wb") as closed:
        result = subprocess.run(
            command, cwd=settings.BASE_DIR, env=told, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.stderr.strip() == "CommandError: Standard output was closed before the end."
    assert result.returncode == 1
