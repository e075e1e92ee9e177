"""Exports: what stands in each cell, what never does, and files that are whole or not there."""

import csv
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from types import SimpleNamespace
from xml.etree import ElementTree

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import example, given
from hypothesis import strategies as st

from subscriptions import exports, filters, pricing, sheets
from subscriptions.exports import cells, writing
from subscriptions.models import Charge, Order, Subscription
from subscriptions.vendors.port import Secret
from tests import many
from tests.factories import (
    AccountFactory,
    ChargeFactory,
    OrderFactory,
    ProductFactory,
    SKUFactory,
    SubscriptionFactory,
    UserFactory,
)
from tests.worker_process import database_url, wait_until

pytestmark = pytest.mark.django_db

COMMANDS = {"export_subscriptions": Subscription, "export_orders": Order, "export_charges": Charge}
MODELS = pytest.mark.parametrize("model", [Subscription, Order, Charge])


def run(command, *arguments):
    out = StringIO()
    call_command(command, *map(str, arguments), stdout=out)
    return out.getvalue()


def refusal(command, *arguments, code=2):
    with pytest.raises(CommandError) as refused:
        run(command, *arguments)
    assert refused.value.returncode == code
    return str(refused.value)


def as_csv(model, words=()):
    rows = filters.narrow(model.objects.all(), words)
    data = b"".join(exports.csv_pieces(rows, exports.TABLES[model]))
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


SPREADSHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def as_workbook(model, path, words=()):
    """Sheets by name, each a list of rows; a cell is its type ("n" for a number) and its text."""
    with path.open("wb") as stream:
        exports.write_xlsx(filters.narrow(model.objects.all(), words), exports.TABLES[model], stream)
    return workbook(path)


def workbook(path):
    with zipfile.ZipFile(path) as archive:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 - ours - we have just written it
        names = [sheet.get("name") for sheet in book.iter(f"{SPREADSHEET}sheet")]
        found = {}
        for position, name in enumerate(names, 1):
            sheet = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{position}.xml"))  # noqa: S314 - ours
            assert not list(sheet.iter(f"{SPREADSHEET}f")), "a formula"
            found[name] = [
                {
                    re.sub(r"\d", "", cell.get("r")): (cell.get("t", "n"), "".join(cell.itertext()))
                    for cell in row.iter(f"{SPREADSHEET}c")
                }
                for row in sheet.iter(f"{SPREADSHEET}row")
            ]
    return found


@pytest.fixture
def acme():
    return AccountFactory(name="Acme GmbH", time_zone="Europe/Ljubljana")


# --- cells -----------------------------------------------------------------------------------------------------------


def test_a_subscription(acme):
    sku = SKUFactory(product=ProductFactory(name="Endpoint"), code="KL1", seats_max=2000)
    row = SubscriptionFactory(
        account=acme, sku=sku, seats=1250, created_at=datetime(2026, 11, 1, 23, 30, 15, 999, tzinfo=UTC)
    )
    [found] = as_csv(Subscription)
    assert found["subscription"] == row.number
    assert found["account"] == str(acme.pk)
    assert [found[name] for name in ("company", "product", "sku", "status", "seats", "currency", "auto_renew")] == [
        "Acme GmbH", "Endpoint", "KL1", "active", "1250", "EUR", "yes",
    ]  # fmt: skip
    assert found["created_at"] == "2026-11-01T23:30:15Z"
    # Already the next day where the company is.
    assert (found["period_start"], found["period_end"]) == ("2026-11-02", "2026-12-02")
    assert found["suspended_at"] == found["ends_at"] == found["trial_ends"] == ""
    assert found["subscriber_id"] == row.subscriber_id


def test_a_large_id_is_whole():
    SubscriptionFactory(pk=123_456_789_012)
    assert as_csv(Subscription)[0]["subscription"] == "SUB-123456789012"


def test_an_order(acme):
    subscription = SubscriptionFactory(account=acme)
    quote = {"currency": "EUR", "lines": [{"amount": "17.50"}, {"amount": "-2.25"}]}
    order = OrderFactory(
        subscription=subscription, actor=UserFactory(name="Ana Kos"), quote=quote, status="failed",
        reason="asked by phone", outcome_code="5", outcome_message="Unknown, they say.", needs_staff=True,
    )  # fmt: skip
    correction = OrderFactory(
        subscription=subscription, action="correct", before={}, after={"Line": 1, "Amount": "-3.5"}, audience="bss"
    )
    nothing = OrderFactory(
        subscription=subscription, action="suspend", before={"Status": "active"}, after={"Status": "suspended"}
    )
    first, second, third = as_csv(Order)
    assert first["order"] == order.number
    assert first["subscription"] == subscription.number
    given = ("seats_before", "seats_after", "amount", "currency", "placed_by", "reason", "needs_staff", "outcome")
    assert [first[name] for name in given] == [
        "20", "25", "15.25", "EUR", "Ana Kos", "asked by phone", "yes", "Unknown, they say.",
    ]  # fmt: skip
    assert (second["order"], second["amount"], second["seats_after"]) == (correction.number, "-3.50", "")
    assert (third["order"], third["amount"], third["after"]) == (nothing.number, "", '{"Status": "suspended"}')


def test_a_charge(acme):
    order = OrderFactory(subscription=SubscriptionFactory(account=acme))
    line = ChargeFactory(
        subscription=order.subscription, order=order, booked_at=datetime(2026, 11, 30, 23, 30, tzinfo=UTC),
        unit_price=Decimal("3.4987"), covers_from=date(2026, 12, 1), covers_to=date(2027, 1, 1),
    )  # fmt: skip
    credit = ChargeFactory(subscription=order.subscription, amount=Decimal("-1234567.8"))
    correction = ChargeFactory(subscription=order.subscription, amount=Decimal("2"), corrects=credit)
    first, second, third = as_csv(Charge)
    assert first["line"] == str(line.pk)
    assert [first[name] for name in ("order", "kind", "what", "seats", "unit_price", "currency", "amount")] == [
        order.number, "change", "5 seats added", "5", "3.4987", "EUR", "17.50",
    ]  # fmt: skip
    assert first["booked_at"] == "2026-11-30T23:30:00Z"
    assert [first[name] for name in ("booked_on", "covers_from", "covers_to")] == [
        "2026-12-01", "2026-12-01", "2027-01-01",
    ]  # fmt: skip
    assert (second["amount"], second["order"], second["unit_price"]) == ("-1234567.80", "", "3.50")
    assert (third["kind"], third["corrects"]) == ("correction", str(credit.pk))
    assert correction.pk == int(third["line"])


@given(
    amount=st.integers(-(10**13), 10**13),
    currency=st.sampled_from(["EUR", "JPY", "KWD", "ALL", "IQD", "CLP", "UGX", "USD"]),
)
def test_an_amount_has_the_decimals_of_its_currency(amount, currency):
    stored = pricing.rounded(Decimal(amount).scaleb(-3), currency)
    sql = f"round(a, {cells._decimals()})".replace("{1}", "c")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({sql})::text FROM (VALUES (%s::numeric(14, 3), %s)) AS x (a, c)", [stored, currency])
        assert cursor.fetchone()[0] == f"{stored:f}"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
@example("=1+1")
@example("\u3000=1")
@example("\x1f+1")
@example("\tx")
@example("\u20281")
@example("'=1")
@example("e\u0301=")
def test_postgresql_guards_cells_by_the_same_rule(text):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {cells.SAFE.format('x')} FROM (VALUES (%s::text)) AS v (x)", [text])
        assert cursor.fetchone()[0] == sheets.safe(text)


@given(
    st.text(st.sampled_from([*sheets.BLANKS, *sheets.SIGNS, "a", "1", "'"]), max_size=5),
)
def test_postgresql_guards_what_is_mostly_signs_too(text):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {cells.SAFE.format('x')} FROM (VALUES (%s::text)) AS v (x)", [text])
        assert cursor.fetchone()[0] == sheets.safe(text)


EVIL = '=HYPERLINK("http://evil.example","Acme")'


@MODELS
def test_no_cell_is_a_formula(model, tmp_path):
    product = ProductFactory(name=f"{EVIL}p")
    subscription = SubscriptionFactory(
        account=AccountFactory(name=EVIL), sku=SKUFactory(product=product, code="+1", name="-x")
    )
    OrderFactory(subscription=subscription, actor=UserFactory(name="@SUM(A1)"), reason="-2+3", outcome_message="\t=1")
    ChargeFactory(subscription=subscription, words="=1+1", amount=Decimal(-5))
    [row] = as_csv(model)
    assert row["company"] == f"'{EVIL}"
    money = {"amount", "unit_price"}
    assert all(not cell.startswith(tuple("=+-@\t\r\n")) for name, cell in row.items() if name not in money)
    if model is Charge:
        assert row["amount"] == "-5.00"
    [[_, written]] = as_workbook(model, tmp_path / "x.xlsx").values()
    assert ("inlineStr", f"'{EVIL}") in written.values()


@MODELS
def test_a_full_export_holds_the_code_of_no_row(model, tmp_path):
    codes = [f"ABC{n}0-ZYXW{n}-QQQQQ-7777{n}" for n in range(5)]
    for code in codes:
        subscription = SubscriptionFactory(activation_code=Secret(code))
        said = f"The customer's code is {code}, says Ana"
        OrderFactory(subscription=subscription, reason=said, outcome_message=code, before={"Note": code})
        ChargeFactory(subscription=subscription, words=said)
    encrypted = [bytes(one) for one in _encrypted()]
    assert len(set(encrypted)) == len(codes)
    data = b"".join(exports.csv_pieces(model.objects.all(), exports.TABLES[model]))
    cells_of_book = str(as_workbook(model, tmp_path / "x.xlsx"))
    for code, hidden in zip(codes, encrypted, strict=True):
        for held in (data.decode(), cells_of_book):
            assert code not in held
            assert code[:17] not in held
        assert hidden not in data
        assert hidden.hex() not in data.decode()
    if model is not Subscription:
        assert "The customer's code is ****-****-****-7777" in data.decode()
    assert not {"code", "password", "token"} & {part for column in as_csv(model)[0] for part in column.split("_")[:1]}


def _encrypted():
    with connection.cursor() as cursor:
        cursor.execute("SELECT activation_code FROM subscriptions_subscription")
        return [row[0] for row in cursor.fetchall()]


# --- workbooks -------------------------------------------------------------------------------------------------------


def test_numbers_and_days_are_such_in_a_workbook(tmp_path, acme):
    subscription = SubscriptionFactory(account=acme, created_at=datetime(2026, 11, 24, 9, tzinfo=UTC))
    ChargeFactory(subscription=subscription, amount=Decimal("-1234.5"), booked_at=datetime(2026, 11, 24, tzinfo=UTC))
    [[header, row]] = as_workbook(Charge, tmp_path / "x.xlsx").values()
    place = {name: column for column, (_, name) in header.items()}
    assert row[place["amount"]] == ("n", "-1234.50")
    assert row[place["seats"]] == ("n", "5")
    # The 46,350th day of its calendar.
    assert row[place["booked_on"]] == ("n", "46350")
    assert row[place["booked_at"]] == ("inlineStr", "2026-11-24T00:00:00Z")
    assert row[place["subscription"]][1] == subscription.number
    assert place["order"] not in row
    [[header, row]] = as_workbook(Subscription, tmp_path / "y.xlsx").values()
    assert [name for _, name in header.values()] == exports.SUBSCRIPTIONS.header


def test_a_number_with_more_digits_than_a_spreadsheet_keeps_is_a_text(tmp_path):
    ChargeFactory(unit_price=Decimal("123456789012.12345678"))
    [[header, row]] = as_workbook(Charge, tmp_path / "x.xlsx").values()
    place = {name: column for column, (_, name) in header.items()}
    assert row[place["unit_price"]] == ("inlineStr", "123456789012.12345678")


def test_a_cell_longer_than_a_spreadsheet_takes_is_cut(tmp_path):
    OrderFactory(reason="x" * 40_000)
    [[_, row]] = as_workbook(Order, tmp_path / "x.xlsx").values()
    assert max(len(text) for _, text in row.values()) == 32_767


def test_what_a_sheet_does_not_hold_goes_on_in_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SHEET_ROWS", 4)
    rows = [SubscriptionFactory() for _ in range(7)]
    found = as_workbook(Subscription, tmp_path / "x.xlsx")
    assert [(name, len(held)) for name, held in found.items()] == [
        ("Subscriptions", 4), ("Subscriptions 2", 4), ("Subscriptions 3", 2),
    ]  # fmt: skip
    assert {held[0]["A"][1] for held in found.values()} == {"subscription"}
    assert [row["A"][1] for held in found.values() for row in held[1:]] == [one.number for one in rows]


@MODELS
def test_nothing_found_is_a_file_with_a_header(model, tmp_path):
    assert as_csv(model) == []
    [[header]] = as_workbook(model, tmp_path / "x.xlsx").values()
    assert len(header) == len(exports.TABLES[model].columns)
    assert b"".join(exports.csv_pieces(model.objects.none(), exports.TABLES[model])).decode().strip() == ",".join(
        exports.TABLES[model].header
    )


# --- filters ---------------------------------------------------------------------------------------------------------


@MODELS
def test_every_word_of_the_lists_narrows_an_export(model):
    """The parameters of each are written into the statement by the driver."""
    typed = {
        "status": ("active", "failed"), "product": ("Endpoint",), "account": ("Acme's 100% GmbH",), "sku": ("KL1",),
        "q": ("Acme's 100%", "SUB-000001", "ORD-1"), "action": ("increase",), "needs_staff": ("0",),
        "kind": ("change",),
    }  # fmt: skip
    sku = SKUFactory(product=ProductFactory(name="Endpoint"), code="KL1")
    subscription = SubscriptionFactory(account=AccountFactory(name="Acme's 100% GmbH"), sku=sku)
    OrderFactory(subscription=subscription, status="failed"), OrderFactory()
    ChargeFactory(subscription=subscription), ChargeFactory()
    rows = model.objects.all()
    fits = set()
    for name in filters.of(model):
        for value in typed.get(name, ("2026-11-24", "1", "active", "Endpoint")):
            try:
                expected = filters.narrow(rows, [(name, value)]).count()
            except filters.BadFilter:
                continue
            assert len(as_csv(model, [(name, value)])) == expected, (name, value)
            fits.add(name)
    assert fits == set(filters.of(model))


def test_a_row_is_by_id_and_stands_once(acme):
    for _ in range(3):
        SubscriptionFactory(account=acme)
    SubscriptionFactory()
    found = as_csv(Subscription, filters.parse(["account=acme gmbh", "status=active"]))
    assert [row["subscription"] for row in found] == [one.number for one in acme.subscriptions.order_by("pk")]


def test_two_rows_or_two_hundred_ask_the_database_once(django_assert_num_queries, tmp_path):
    many.subscriptions(2, ended_ago=-20)
    for _ in range(2):
        with django_assert_num_queries(1):
            as_csv(Subscription)
        # Its transaction is a savepoint here.
        with django_assert_num_queries(3):
            as_workbook(Subscription, tmp_path / "x.xlsx")
        many.subscriptions(200, ended_ago=-20)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_the_help_works_as_it_is(command, capsys, tmp_path, monkeypatch, acme):
    order = OrderFactory(subscription=SubscriptionFactory(account=acme), status="failed")
    ChargeFactory(subscription=order.subscription, amount=Decimal(-5))
    with pytest.raises(SystemExit):
        run(command, "--help")
    said = capsys.readouterr().out
    [example] = re.findall(r"Example:\n  (.*)\n", said)
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(example.removeprefix(f"uv run manage.py {command} "))
    assert re.fullmatch(r"1 rows are in \w+\.(csv|xlsx)\.\n", run(command, *arguments))
    [written] = tmp_path.iterdir()
    assert b"Acme GmbH" in written.read_bytes() or any(
        cell[1] == "Acme GmbH" for row in workbook(written)["Orders"] for cell in row.values()
    )
    for column in exports.TABLES[COMMANDS[command]].columns:
        assert re.search(rf"^  {column.name} +{re.escape(column.about)}$", said, re.M)
    for word in filters.of(COMMANDS[command]):
        assert re.search(rf"^  {word} ", said, re.M)


def test_standard_output_gets_the_rows_and_nothing_else(monkeypatch, acme):
    subscription = SubscriptionFactory(account=acme)
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=written))
    assert run("export_subscriptions", "--where", "status=active") == ""
    header, row = written.getvalue().decode().splitlines()
    assert header.split(",") == exports.SUBSCRIPTIONS.header
    assert row.startswith(f"{subscription.number},{acme.pk},Acme GmbH,")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--where", "colour=red"], "There is no filter “colour”. There are: status, product"),
        (["--where", "status=asleep"], "status: “asleep” is none of"),
        (["--where", "status"], "“status” is no filter. Write it as status=active."),
        (["--format", "xlsx"], "A workbook needs a file: --out FILE."),
        (["--out", "rows.ods"], "rows.ods ends neither in .csv nor in .xlsx"),
        (["--out", "/nowhere/rows.csv"], "/nowhere/rows.csv cannot be written: No such file or directory."),
        (["--out", "tests", "--format", "csv"], "tests is no file."),
        (["--out", "/dev/null", "--format", "csv"], "/dev/null is no file."),
    ],
)
def test_misuse_is_explained(arguments, sentence):
    assert sentence in refusal("export_subscriptions", *arguments)


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path, acme, monkeypatch):
    out = tmp_path / "rows.csv"
    out.write_text("old")
    out.chmod(0o640)
    SubscriptionFactory(account=acme)

    def fails(rows, table, stream, told):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setitem(exports.WRITERS, "csv", fails)
        said = refusal("export_subscriptions", "--out", out, code=1)
    assert said == f"{out} cannot be written: No space left on device. Nothing was written."
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
    run("export_subscriptions", "--out", out)
    assert "Acme GmbH" in out.read_text()
    assert out.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_is_as_readable_as_others(tmp_path, mask, mode):
    out, before = tmp_path / "new.csv", os.umask(mask)
    try:
        run("export_subscriptions", "--out", out)
    finally:
        assert os.umask(before) == mask
    assert out.stat().st_mode & 0o777 == mode


def test_a_link_stays_one(tmp_path):
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "rows.csv", tmp_path / "rows.csv"
    target.write_text("old")
    link.symlink_to(target)
    run("export_subscriptions", "--out", link)
    assert link.is_symlink()
    assert target.read_text().startswith("subscription,")


# What is started in the background ignores Ctrl-C, and so do its children.
_MANAGE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""


def beside():
    """How a process is started that sees the rows of the test."""
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return {"cwd": django_settings.BASE_DIR, "env": environment, **pipes}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["rows.csv", "rows.xlsx"])
def test_ctrl_c_leaves_what_was_there(name, tmp_path):
    many.subscriptions(6_000, ended_ago=-20)
    out = tmp_path / name
    out.write_text("old")
    with psycopg.connect(database_url()) as other:
        if name == "rows.csv":
            # It would be written before anybody could interrupt it.
            other.execute("LOCK TABLE subscriptions_sku")
        running = subprocess.Popen([sys.executable, "-c", _MANAGE, "export_subscriptions", "--out", out], **beside())
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, seconds=30, every=0.002)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "Interrupted. Nothing was written." in said
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.django_db(transaction=True)
def test_a_download_that_is_broken_off_leaves_the_connection_as_good_as_it_was():
    many.subscriptions(5_000, ended_ago=-20)
    for _ in range(2):
        pieces = exports.csv_pieces(Subscription.objects.all(), exports.SUBSCRIPTIONS)
        assert next(pieces).startswith(b"subscription,")
        assert next(pieces).startswith(b"SUB-")
        pieces.close()
        assert Subscription.objects.count() == 5_000


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_has_had_enough():
    many.subscriptions(20_000, ended_ago=-20)
    running = subprocess.Popen([sys.executable, "manage.py", "export_subscriptions"], **beside())
    assert running.stdout.readline().startswith("subscription,")
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    assert running.wait(30) == 1
    assert said.strip() == "CommandError: Standard output was closed before the end."
