"""A base from another system: looked at, checked at the vendor, taken over once, told row by row."""

import csv
import io
import re
import shlex
import time
import tracemalloc
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from subscriptions import actions, clock, gateways, pricing, quotes, takeover
from subscriptions.management.commands import import_subscriptions
from subscriptions.models import Account, Event, Subscription, Takeover, TakeoverRow, VendorCall
from subscriptions.sheets import Sheet
from subscriptions.takeover import Base
from subscriptions.takeover.companies import Companies
from subscriptions.takeover.looking import Desk
from tests.factories import AccountFactory, SKUFactory
from tests.test_concurrency import together
from tests.worker_process import wait_until

pytestmark = pytest.mark.django_db

CODE = "FAKE0-AAAAA-BBBBB-CCCCC"
DOING = ("--apply", "--reason", "We move", "--from", "Old portal")
UNCHECKED = (*DOING, "--no-vendor-check")
HEADER = ["account", "sku", "seats", "subscriber_id", "started_on", "period_end"]


def name(number):
    return f"{number:032X}"


def day(days):
    return f"{clock.now().date() + timedelta(days)}"


@pytest.fixture
def sku():
    return SKUFactory(code="KES")


@pytest.fixture
def acme(sku):
    return AccountFactory(name="Acme GmbH")


@pytest.fixture
def base(tmp_path, acme):
    """A file of so many rows, or of these; a row is told what differs from an active one of 25 seats."""

    def write(*rows, path=None):
        rows = [{}] * rows[0] if rows and isinstance(rows[0], int) else rows
        columns = [*HEADER, *dict.fromkeys(column for row in rows for column in row if column not in HEADER)]
        lines = [",".join(columns)]
        for number, row in enumerate(rows, 1):
            values = {
                "account": "Acme GmbH", "sku": "KES", "seats": 25, "subscriber_id": name(number),
                "started_on": day(-200), "period_end": day(10),
            } | row  # fmt: skip
            lines.append(",".join(str(values.get(column, "")) for column in columns))
        path = path or tmp_path / "base.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def run(*arguments):
    out = StringIO()
    call_command("import_subscriptions", *map(str, arguments), stdout=out)
    return out.getvalue()


def refusal(*arguments, code):
    out = StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("import_subscriptions", *map(str, arguments), stdout=out)
    assert refused.value.returncode == code
    return f"{refused.value}\n{out.getvalue()}"


def outcomes(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def refuse_to_write(sku):
    with connection.cursor() as cursor:
        # As if its range had been narrowed by an instant after the decision.
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.sku_id = {sku.pk} THEN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END IF;"
            " RETURN NEW; END $$; CREATE TRIGGER refuse BEFORE INSERT ON subscriptions_subscription"
            " FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()"
        )


def nothing_happened():
    return not (Takeover.objects.exists() or Subscription.objects.exists() or Event.objects.exists())


# --- shown -----------------------------------------------------------------------------------------------------------


def test_without_apply_it_is_only_shown(base):
    file = base(
        *[{}] * 4, {"status": "suspended", "suspended_on": day(-5)}, {"seats": 4}, {"seats": 3}, {"sku": "NONE"},
        {"account": "Nobody"},
    )  # fmt: skip
    said = run(file, "--no-vendor-check")
    assert said.startswith("9 rows: file base.csv. None was read at the vendor.\n")
    assert re.search(r"^ +4  can be taken over as active\n +line 2: Acme GmbH, 25 seats of KES\n", said, re.M)
    assert re.search(r"^ +1  can be taken over as suspended$", said, re.M)
    assert "A period of those that are billed next costs EUR 350.00 here" in said
    assert "Without an activation code: 5" in said
    assert re.search(r"^ +4  cannot\n +2  below_minimum\n +line 7: This product starts at 5 seats", said, re.M)
    assert "There is no SKU “NONE”." in said
    assert "There is no company “Nobody”." in said
    assert said.endswith('With --from NAME --apply --reason "...", those that can are taken over.\n')
    assert nothing_happened()


def test_what_a_period_costs_counts_what_is_billed_next(base):
    today, over = clock.now().date(), clock.now().date() + timedelta(10)
    SKUFactory(code="ALWAYS", bills_while_suspended=True)
    suspended = {"status": "suspended", "suspended_on": day(-5)}
    file = base(
        {"seats": 10}, {"seats": 11, "auto_renew": "no", "term_end": over},
        {"seats": 12, "auto_renew": "no", "term_end": pricing.add_months(over, 1, over.day), "anchor_day": over.day},
        {"seats": 13, "status": "ending", "ends_on": over}, {"seats": 14, "status": "ending", "ends_on": day(11)},
        {"seats": 15} | suspended, {"seats": 16, "sku": "ALWAYS"} | suspended,
        {"seats": 17, "status": "expired", "period_end": today},
    )  # fmt: skip
    shown = run(file, "--no-vendor-check")
    run(file, *UNCHECKED)
    taken = Subscription.objects.select_related("sku__product", "account")
    about = actions.situations(taken, actor=None, audience=actions.SYSTEM)
    prices = quotes.load(taken)
    billed = {one.subscription.seats for one in about if quotes.next_charge(one, prices).amount}
    assert billed == {10, 12, 14, 16}
    assert f"A period of those that are billed next costs EUR {sum(billed) * Decimal('3.5'):.2f} here" in shown


def test_rows_come_from_standard_input_too(base, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(base(2).read_bytes())))
    assert run("-", "--no-vendor-check").startswith("2 rows: standard input.")


def test_what_would_become_of_each_row_is_written(base, tmp_path):
    out = tmp_path / "preview.csv"
    said = run(base({}, {"seats": 4}), "--no-vendor-check", "--out", out)
    assert [tuple(row.values()) for row in outcomes(out)] == [
        ("2", name(1), "Acme GmbH", "KES", "25", "can be taken over", "", "As active.", ""),
        ("3", name(2), "Acme GmbH", "KES", "4", "refused", "below_minimum",
         "This product starts at 5 seats. Enter a whole number from 5 to 500.", ""),
    ]  # fmt: skip
    assert f"What would become of each row is in {out}." in said
    assert nothing_happened()


# --- done ------------------------------------------------------------------------------------------------------------


def test_each_row_has_its_outcome(base, tmp_path):
    out = tmp_path / "out.csv"
    file = base({"activation_code": CODE}, {"seats": 4}, {}, {"account": "=Nobody"})
    said = refusal(file, *UNCHECKED, "--out", out, code=1)
    first, third = Subscription.objects.order_by("pk")
    assert [tuple(row.values()) for row in outcomes(out)] == [
        ("2", name(1), "Acme GmbH", "KES", "25", "taken over", "", "", f"{first}"),
        ("3", name(2), "Acme GmbH", "KES", "4", "refused", "below_minimum",
         "This product starts at 5 seats. Enter a whole number from 5 to 500.", ""),
        ("4", name(3), "Acme GmbH", "KES", "25", "taken over", "no_code",
         "Taken over without an activation code: neither the file nor the licence service says it.", f"{third}"),
        ("5", name(4), "'=Nobody", "KES", "25", "refused", "no_company", "There is no company “=Nobody”.", ""),
    ]  # fmt: skip
    assert said.startswith("2 of 4 rows were not taken over.")
    assert re.search(r"^ +2  taken over\n +2  refused\n", said, re.M)
    assert first.activation_code.reveal() == CODE
    kept = Takeover.objects.get()
    assert (kept.taken, kept.refused, kept.total, kept.status) == (2, 2, 4, "done")
    event = first.events.get()
    assert (event.reason, event.audience, event.after["From"]) == ("We move", "command", "Old portal")


def test_all_that_a_row_can_say_arrives(base):
    ends = pricing.add_months(clock.now().date() + timedelta(10), 2, (clock.now().date() + timedelta(10)).day)
    run(base(
        {"status": "SUSPENDED", "suspended_on": day(-3), "ends_on": day(40), "term_end": ends, "auto_renew": "no",
         "currency": "eur", "reference": "C-77", "anchor_day": ends.day, "activation_code": CODE},
    ), *UNCHECKED)  # fmt: skip
    [one] = Subscription.objects.all()
    assert (one.status, one.auto_renew, one.term_end, one.anchor_day) == ("suspended", False, ends, ends.day)
    assert [f"{at:%Y-%m-%d}" for at in (one.started_at, one.suspended_at, one.ends_at)] == [day(-200), day(-3), day(40)]
    assert one.events.get(kind="takeover.done").after["Reference"] == "C-77"


def test_the_same_file_twice_takes_over_nothing_new(base, tmp_path):
    file, out = base(3), tmp_path / "out.csv"
    run(file, *UNCHECKED)
    before = list(Subscription.objects.order_by("pk").values())
    for said in (run(file, *UNCHECKED, "--out", out), run(file, "--no-vendor-check")):
        assert re.search(r"^ +3  already here, just as the file says$", said, re.M)
        assert "refused" not in said
        assert "cannot" not in said
    first = Subscription.objects.earliest("pk")
    assert (outcomes(out)[0]["outcome"], outcomes(out)[0]["sentence"]) == (
        "already here", f"It is {first} here already, just as the file says.",
    )  # fmt: skip
    changed = base({}, {"seats": 30}, {})
    said = refusal(changed, *UNCHECKED, "--out", out, code=1)
    assert "1 of 3 rows were not taken over." in said
    assert re.search(r"^ +2  already here, just as the file says\n +1  refused\n +1  here_otherwise$", said, re.M)
    assert [row["code"] for row in outcomes(out)] == ["already_here", "here_otherwise", "already_here"]
    assert list(Subscription.objects.order_by("pk").values()) == before


def test_interrupted_while_it_tells_it_does_not_deny_what_was_done(base, monkeypatch):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("subscriptions.takeover.reasons", interrupted)
    said = refusal(base(1), *UNCHECKED, code=130)
    again = f"uv run manage.py import_subscriptions --resume {Takeover.objects.get().pk}"
    assert f"Stopped after 1 of 1 rows. Go on with: {again}" in said


def test_after_so_many_failures_it_stops_and_can_be_gone_on_with(base, monkeypatch):
    monkeypatch.setattr("subscriptions.takeover.runs.CHUNK", 3)
    run(base({}), *UNCHECKED)
    file = base({}, {"seats": 1}, {}, {"seats": 2}, {}, {"seats": 3}, {})
    said = refusal(file, *UNCHECKED, "--max-failures", 2, code=1)
    again = Takeover.objects.latest("pk")
    assert "Stopped: 2 rows were not done, refused or failed. Go on with: " in said
    assert f"import_subscriptions --resume {again.pk}" in said
    assert (again.status, again.taken, again.refused) == ("stopped", 1, 3)
    assert "3 of 7 rows were not taken over." in refusal("--resume", again.pk, code=1)
    assert Subscription.objects.count() == 4


def test_a_row_that_cannot_be_written_leaves_the_others_alone(base, sku):
    other = SKUFactory(code="SMALL")
    file = base({}, {"sku": "SMALL"}, {})
    refuse_to_write(other)
    said = refusal(file, *UNCHECKED, code=1)
    assert "This row cannot be taken over: IntegrityError. See the log." in said
    assert set(Subscription.objects.values_list("subscriber_id", flat=True)) == {name(1), name(3)}


# --- companies -------------------------------------------------------------------------------------------------------


def test_a_company_is_named_or_numbered(base, acme):
    numbered = AccountFactory(name="Globex")
    run(base({"account": "ACME gmbh"}, {"account": numbered.pk}), *UNCHECKED)
    assert list(Subscription.objects.order_by("pk").values_list("account", flat=True)) == [acme.pk, numbered.pk]


def test_two_companies_of_one_name_are_not_guessed_at(base, acme):
    AccountFactory(name="acme GmbH")
    said = refusal(base({}, {"account": acme.pk}), *UNCHECKED, code=1)
    assert "2 companies are called “Acme GmbH”. Write the number of the one that is meant." in said
    assert Subscription.objects.get().account == acme


def test_companies_are_created_when_that_is_asked_for(base):
    rows = [{"account": "New AG", "currency": "eur"}, {"account": "NEW ag", "currency": "EUR"}, {"account": "None"}, {}]
    file = base(*rows)
    asked = ("--create-companies", "Europe/Zurich", "--language", "de")
    said = run(file, "--no-vendor-check", *asked)
    assert "Companies that are created: 1" in said
    assert "“None” is a new company, and the row does not say its currency." in said
    assert Account.objects.count() == 1
    assert "1 of 4 rows were not taken over." in refusal(file, *UNCHECKED, *asked, code=1)
    new = Account.objects.get(name="New AG")
    assert (new.time_zone, new.currency, new.language, new.subscriptions.count()) == ("Europe/Zurich", "EUR", "de", 2)
    kept = Takeover.objects.get()
    assert (kept.companies, kept.reason, kept.audience) == ([new.pk], "We move", "command")
    for other in ([], [new.pk * 10], [new.pk + 1, new.pk]):
        with pytest.raises(DatabaseError), transaction.atomic():
            Takeover.objects.update(companies=other)
    assert Account.objects.count() == 2


CREATING = ("--create-companies", "Europe/Zurich")


def test_no_company_is_created_of_whom_nothing_is_taken_over(base, monkeypatch):
    monkeypatch.setattr("subscriptions.takeover.runs.CHUNK", 2)
    few = {"currency": "EUR", "seats": 1}
    file = base(
        {"account": "Few AG"} | few, {"account": "Late AG"} | few, {"account": "Few AG"} | few,
        {"account": "Late AG", "currency": "EUR"}, {"account": "late ag", "currency": "EUR"},
    )  # fmt: skip
    assert "Companies that are created: 1\n" in run(file, "--no-vendor-check", *CREATING)
    refusal(file, *UNCHECKED, *CREATING, code=1)
    new = Account.objects.exclude(name="Acme GmbH").get()
    assert (new.name, new.subscriptions.count(), Takeover.objects.get().companies) == ("Late AG", 2, [new.pk])


def test_a_takeover_that_is_gone_on_with_creates_companies_too(base, monkeypatch):
    monkeypatch.setattr("subscriptions.takeover.runs.CHUNK", 1)
    rows = [{"account": f"New {n}", "currency": "EUR"} for n in range(3)]
    file = base(rows[0], rows[1] | {"seats": 1}, *rows[1:], rows[1])
    refusal(file, *UNCHECKED, *CREATING, "--language", "de", "--max-failures", 1, code=1)
    assert set(Account.objects.values_list("name", flat=True)) == {"Acme GmbH", "New 0"}
    refusal("--resume", Takeover.objects.get().pk, code=1)
    new = Account.objects.exclude(name="Acme GmbH")
    assert Takeover.objects.get().companies == list(new.order_by("pk").values_list("pk", flat=True))
    assert set(new.values_list("name", "time_zone", "language")) == {
        (f"New {n}", "Europe/Zurich", "de") for n in range(3)
    }
    taken = Subscription.objects.order_by("pk").values_list("account__name", flat=True)
    assert list(taken) == ["New 0", "New 1", "New 2", "New 1"]


def test_a_company_whose_row_cannot_be_written_is_not_created_and_its_neighbour_is(base):
    bad = SKUFactory(code="SMALL")
    one = {"currency": "EUR"}
    file = base({"account": "Bad AG", "sku": "SMALL"} | one, {"account": "Good AG"} | one)
    refuse_to_write(bad)
    refusal(file, *UNCHECKED, *CREATING, code=1)
    assert set(Account.objects.values_list("name", flat=True)) == {"Acme GmbH", "Good AG"}


@pytest.mark.django_db(transaction=True)
def test_takeovers_at_once_create_each_company_once(base, monkeypatch):
    monkeypatch.setattr("subscriptions.takeover.runs.CHUNK", 5)
    begun = []
    for first in (1, 1001):
        file = base(*({"account": f"New {n // 4}", "subscriber_id": name(first + n), "currency": "EUR"}
                      for n in range(60)))  # fmt: skip
        rows = Base(Sheet(io.BytesIO(file.read_bytes()), needed=takeover.NEEDED), "x")
        about = {"source": "Old", "reason": "x", "actor": None, "audience": "command", "asks_vendor": False}
        begun += [takeover.begin(rows, new=takeover.NewCompanies("Europe/Zurich"), **about).pk] * 2
    together(*(lambda pk=pk: list(takeover.take(Takeover.objects.get(pk=pk))) for pk in begun))
    new = Account.objects.exclude(name="Acme GmbH")
    assert sorted(new.values_list("name", flat=True)) == sorted(f"New {n}" for n in range(15))
    assert {one.subscriptions.count() for one in new} == {8}
    created = [pk for one in Takeover.objects.all() for pk in one.companies]
    assert sorted(created) == sorted(new.values_list("pk", flat=True))


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to take over: a CSV file"),
        (["nowhere.csv"], "nowhere.csv cannot be read: No such file or directory."),
        (["FILE", "--apply", "--from", "Old"], "Say why: --apply needs --reason."),
        (["FILE", "--apply", "--reason", " ", "--from", "Old"], "Say why"),
        (["FILE", "--apply", "--reason", "x"], "Say where they come from: --apply needs --from NAME."),
        (["FILE", "--create-companies", "Berlin"], "Berlin is no time zone."),
        (["--resume", "77"], "There is no run 77."),
        (["--resume", "77", "--apply"], "A takeover knows its rows and its reason"),
        (["FILE", "--out", "/nowhere/out.csv"], "/nowhere/out.csv cannot be written"),
        (["FILE", "--out", "FILE"], "is the file with the rows itself."),
    ],
)
def test_misuse_is_explained(arguments, sentence, base):
    file = base(1)
    assert sentence in refusal(*[file if one == "FILE" else one for one in arguments], code=2)
    assert nothing_happened()


# --- bad files -------------------------------------------------------------------------------------------------------

GOOD = "account,sku,seats,subscriber_id,started_on,period_end"
ROW = f"Acme GmbH,KES,25,{name(1)},2026-01-31,2099-12-31"


def with_column(column, cell, row=ROW):
    return f"{GOOD},{column}\n{ROW},\n{row.replace(name(1), name(2))},{cell}\n".encode()


def instead(old, new):
    return f"{GOOD}\n{ROW}\n{ROW.replace(name(1), name(2)).replace(old, new)}\n".encode()


WRONG = {
    "empty": (b"", "The file is empty."),
    "no rows": (f"{GOOD}\n".encode(), "The file has no rows."),
    "semicolons": (f"{GOOD}\n{ROW}\n".replace(",", ";").encode(), "Line 1: the columns are separated by semicolons."),
    "tabs": (f"{GOOD}\n{ROW}\n".replace(",", "\t").encode(), "separated by tabs."),
    "utf-16": (f"{GOOD}\n{ROW}\n".encode("utf-16"), "The file is in UTF-16. Save it as CSV in UTF-8."),
    "latin 1": (instead("Acme", "Kr\N{LATIN SMALL LETTER A WITH DIAERESIS}mer").decode().encode("latin-1"),
                "Line 3 is not in UTF-8."),
    "column missing": (f"{GOOD[:-11]}\n{ROW[:-11]}\n".encode(), "Line 1 has no column “period_end”."),
    "column repeated": (f"{GOOD},Seats\n{ROW},30\n".encode(), "Line 1 has the column “seats” more than once."),
    "column unknown": (with_column("autorenew", "no"), "Line 1: the column “autorenew” is not known. Leave it out"),
    "column without a name": (with_column("", ""), "Line 1: a column has no name. Leave it out, or call it one of"),
    "old line ends": (f"{GOOD}\n{ROW}\n".replace("\n", "\r").encode(), "carriage return without a line feed."),
    "too many cells": (instead(",25,", ",1,000,"), "Line 3 has 7 cells, and the header has 6."),
    "quotes open": (instead("KES", '"KES'), "Line 3 cannot be read: a quotation mark is opened there"),
    "quotes inside": (instead("KES", '"K"ES'), "Line 3 cannot be read: a quotation mark stands inside a cell."),
    "long line": (instead("Acme", "A" * 10_000_000), "Line 3 is longer than 64 KB."),
    "twice": (f"{GOOD}\n{ROW}\n{ROW.replace('25', '30')}\n".encode(), f"Line 3 names the subscriber {name(1)}"),
    "twice in small": (
        f"{GOOD}\n{ROW.replace(name(1), 'A' * 32)}\n{ROW.replace(name(1), 'a' * 32)}\n".encode(), "a second time",
    ),
    "thousands": (instead(",25,", ',"1,000",'), "Line 3, seats: “1,000” is no number of seats. Write digits only"),
    "float": (instead(",25,", ",25.0,"), "“25.0” is no number of seats."),
    "no seats": (instead(",25,", ",,"), "Line 3, seats: “” is no number"),
    "no company": (instead("Acme GmbH", " "), "Line 3 says no account."),
    "long company": (instead("Acme GmbH", "A" * 201), "is longer than 200 characters."),
    "no sku": (instead("KES", ""), "Line 3 says no sku."),
    "no subscriber": (instead(name(2), ""), "Line 3, subscriber_id: “” is no subscriber of the vendor: 32 digits"),
    "short subscriber": (instead(name(2), name(2)[1:]), "is no subscriber of the vendor"),
    "german day": (instead("2026-01-31", "31.01.2026"), "started_on: “31.01.2026” is no day. Write it like 2026-12-31"),
    "no such day": (instead("2026-01-31", "2026-02-30"), "“2026-02-30” is no day"),
    "week": (instead("2026-01-31", "2026-W05-1"), "“2026-W05-1” is no day"),
    "far day": (instead("2099-12-31", "9999-12-31"), "period_end: “9999-12-31” is no day"),
    "no day": (instead("2099-12-31", ""), "period_end: “” is no day"),
    "status": (with_column("status", "running"), "status: “running” is no status. Write active, suspended"),
    "anchor": (with_column("anchor_day", "32"), "anchor_day: “32” is no day of a month."),
    "renew": (with_column("auto_renew", "maybe"), "auto_renew: “maybe” is neither yes nor no."),
    "currency": (with_column("currency", "Euro"), "currency: “Euro” is no currency."),
    "code with spaces": (with_column("activation_code", "FAKE0 AAAAA"), "Line 3: what stands in “activation_code” is"),
    "code as reference": (with_column("reference", CODE), "reference: what stands there looks like an activation"),
    "code as day": (instead("2026-01-31", CODE), "Line 3, started_on: what stands there is no day."),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_line_and_nothing_is_used(case, tmp_path, acme):
    data, sentence = WRONG[case]
    file = tmp_path / "base.csv"
    file.write_bytes(data)
    for arguments in (["--no-vendor-check"], UNCHECKED):
        if case == "no rows" and arguments is not UNCHECKED:
            continue
        said = refusal(file, *arguments, code=2)
        assert sentence in said
        assert "Nothing was done." in said
        assert CODE not in said
    assert nothing_happened()


@pytest.mark.parametrize("change", [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n")])
def test_harmless_differences_change_nothing(change, base):
    file = base(2)
    file.write_bytes(change(file.read_bytes()))
    run(file, *UNCHECKED)
    assert Subscription.objects.count() == 2


def test_memory_does_not_grow_with_the_file(acme):
    def held(rows):
        data = GOOD + "\n" + "".join(ROW.replace(name(1), name(n)) + "\n" for n in range(rows))
        stream = io.BytesIO(data.encode())
        tracemalloc.start()
        try:
            assert sum(1 for _ in Base(Sheet(stream, needed=takeover.NEEDED), "x")) == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Of each row its subscriber is remembered, as a number.
    assert held(20_000) - held(2_000) < 18_000 * 250


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_code_is_kept_encrypted_while_its_row_waits_and_not_afterwards(base, tmp_path):
    file, out = base({"activation_code": CODE}, {"activation_code": CODE, "seats": 1}), tmp_path / "out.csv"
    rows = Base(Sheet(io.BytesIO(file.read_bytes()), needed=takeover.NEEDED), "x")
    about = {"source": "Old", "reason": "x", "actor": None, "audience": "command", "asks_vendor": False}
    begun = takeover.begin(rows, **about)

    def stored():
        with connection.cursor() as cursor:
            cursor.execute("SELECT activation_code, r::text FROM subscriptions_takeoverrow r ORDER BY position")
            return cursor.fetchall()

    assert all(code and CODE not in row and CODE.encode().hex() not in row for code, row in stored())
    assert TakeoverRow.objects.first().activation_code.reveal() == CODE
    said = refusal("--resume", begun.pk, "--out", out, code=1)
    assert [code for code, _ in stored()] == [None, None]
    assert Subscription.objects.get().activation_code.reveal() == CODE
    assert CODE not in said + out.read_text()


# --- at the vendor ---------------------------------------------------------------------------------------------------

at_the_vendor = pytest.mark.django_db(transaction=True)


@pytest.fixture
def licence(emulator, sku):
    """Put the licence of a row at the vendor: as the row says, or otherwise."""

    def put(number, **differs):
        record = {
            "product": sku.vendor_product_id, "seats": 25, "status": "Started",
            "start": clock.now() - timedelta(days=200), "activation_code": CODE,
        }  # fmt: skip
        emulator.control.put_subscriber(name(number), **record | differs)

    return put


@at_the_vendor
def test_what_the_vendor_has_otherwise_is_refused(base, licence, tmp_path):
    out, now = tmp_path / "out.csv", clock.now()
    differing = [
        ({}, {}, "", ""),
        ({}, None, "vendor_unknown", "The licence service does not know this subscriber."),
        ({}, {"seats": 30}, "vendor_seats", "The licence service says otherwise: seats 30 and not 25."),
        ({}, {"status": "Paused"}, "vendor_status", "status Paused and not Active."),
        ({}, {"product": "OTHER", "seats": 7}, "vendor_seats", "seats 7 and not 25, product OTHER and not"),
        (
            {},
            {"end": now + timedelta(days=50)},
            "vendor_term",
            f"says otherwise: its end is {actions.date_words(now.date() + timedelta(50))}, and the file has none.",
        ),
        ({"activation_code": CODE.replace("A", "B")}, {}, "vendor_code", "has another activation code for it."),
        ({"status": "suspended", "suspended_on": day(-3)}, {"status": "Paused"}, "", ""),
        ({"seats": 3}, {}, "below_minimum", "at 5 seats"),
        ({"status": "ending", "ends_on": day(30)}, {}, "", ""),
    ]
    file = base(*[row for row, *_ in differing])
    for number, (_, there, *_) in enumerate(differing, 1):
        if there is not None:
            licence(number, **there)
    shown = refused = run(file)
    assert "Each was read at the vendor." in shown
    assert re.search(r"^ +7  cannot$", shown, re.M)
    assert not Subscription.objects.exists()
    refused = refusal(file, *DOING, "--out", out, code=1)
    assert "7 of 10 rows were not taken over." in refused
    for found, (_, _, code, sentence) in zip(outcomes(out), differing, strict=True):
        assert found["code"] == code
        assert sentence in found["sentence"]
    assert CODE not in shown + refused + out.read_text()
    taken = Subscription.objects.earliest("pk")
    assert taken.activation_code.reveal() == CODE, "read there"
    assert taken.vendor_record["seats"] == 25
    assert taken.vendor_read_at


@at_the_vendor
def test_no_company_is_created_whose_licences_the_vendor_does_not_know(base, licence):
    licence(3)
    file = base(*({"account": f"New {n}", "currency": "EUR"} for n in (1, 2, 3, 3)))
    assert "Companies that are created: 1\n" in run(file, *CREATING)
    assert "3 of 4 rows were not taken over." in refusal(file, *DOING, *CREATING, code=1)
    assert set(Account.objects.values_list("name", flat=True)) == {"Acme GmbH", "New 3"}


@at_the_vendor
def test_a_subscriber_in_small_letters_is_found_and_named_as_the_vendor_does(base, sku, emulator):
    capitals, small = "0A1B2C3D" * 4, "0a1b2c3e" * 4
    record = {"seats": 25, "status": "Started", "start": clock.now() - timedelta(days=200), "activation_code": CODE}
    for one in (capitals, small):
        emulator.control.put_subscriber(one, product=sku.vendor_product_id, **record)
    nobody = "0a1b2c3f" * 4
    file = base({"subscriber_id": capitals.lower()}, {"subscriber_id": small}, {"subscriber_id": nobody})
    assert "1 of 3 rows were not taken over." in refusal(file, *DOING, code=1)
    assert set(Subscription.objects.values_list("subscriber_id", flat=True)) == {capitals, small}


@at_the_vendor
def test_an_end_that_the_vendor_knows_of_is_taken_with_its_instant(base, licence):
    ends = (clock.now() + timedelta(days=30)).replace(microsecond=0)
    licence(1, status="SoftCancelled", end=ends)
    licence(2, status="SoftCancelled", end=ends)
    file = base({"status": "ending", "ends_on": f"{ends.date()}"}, {"status": "ending", "ends_on": day(20)})
    assert "vendor_term" in refusal(file, *DOING, code=1)
    [one] = Subscription.objects.all()
    assert one.ends_at == ends
    assert not one.orders.exists()


@at_the_vendor
def test_it_only_reads_and_says_what_it_reads_for(base, licence, emulator, settings):
    settings.VENDOR_READ_TOGETHER = 2
    for number in range(1, 6):
        licence(number)
    refusal(base({}, {}, {"seats": 1}, {}, {}), *DOING, code=1)
    assert {entry.kind for entry in emulator.control.journal(source="service")} == {"GetInfo"}
    calls = VendorCall.objects.all()
    assert [(one.purpose, one.outcome, one.subscription, one.order) for one in calls] == [
        ("takeover", "done", None, None)
    ] * 2


@at_the_vendor
def test_a_vendor_that_stumbles_stops_nothing(base, licence, emulator):
    licence(1)
    emulator.control.add_fault("http-503", count=2, retry_after=0)
    run(base(1), *DOING)
    assert Subscription.objects.count() == 1


@at_the_vendor
def test_a_vendor_that_is_silent_stops_it_and_it_can_be_gone_on_with(base, licence, emulator, monkeypatch):
    monkeypatch.setattr("subscriptions.takeover.runs.CHUNK", 2)
    for number in range(1, 4):
        licence(number)
    file = base(3)
    emulator.control.add_fault("http-503", count=99, retry_after=0)
    assert "Nothing was done. Look again later." in refusal(file, code=1)
    said = refusal(file, *DOING, code=1)
    again = Takeover.objects.get()
    assert "The licence service did not answer (http-503). Stopped after 0 of 3 rows. Go on with: " in said
    assert f"--resume {again.pk}" in said
    assert again.status == "stopped"
    emulator.control.clear_faults()
    run("--resume", again.pk)
    again.refresh_from_db()
    assert (again.taken, again.status) == (3, "done")


@at_the_vendor
def test_whoever_gives_up_does_not_wait_for_a_silent_vendor(base, licence, emulator, settings):
    licence(1)
    settings.VENDOR_READ_DELAYS = [60, 60]
    emulator.control.add_fault("http-503", count=99, retry_after=0)
    [line] = Base(Sheet(io.BytesIO(base(1).read_bytes()), needed=takeover.NEEDED), "x")
    desk = Desk(Companies(), asks_vendor=True)
    desk.look([line])
    wait_until(lambda: VendorCall.objects.filter(outcome="transient").exists(), seconds=20)
    begun = time.monotonic()
    desk.close()
    assert time.monotonic() - begun < 20


# --- documented ------------------------------------------------------------------------------------------------------


@at_the_vendor
def test_the_example_of_the_help_works_as_it_is(emulator, tmp_path, monkeypatch):
    sku = SKUFactory(code="KESC", seats_min=5)
    parser = import_subscriptions.Command().create_parser("manage.py", "import_subscriptions")
    lines = [line.strip() for line in parser.epilog.splitlines()]
    begins = lines.index("Example, as base.csv:") + 1
    rows = lines[begins : lines.index("", begins)]
    for row in csv.DictReader(rows):
        emulator.control.put_subscriber(
            row["subscriber_id"], product=sku.vendor_product_id, seats=int(row["seats"]), start=clock.now(),
            status="Paused" if row["status"] else "Started", activation_code=CODE,
        )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.csv").write_text("\n".join(rows) + "\n")
    looked, done = [
        run(*shlex.split(line)[4:])
        for line in lines
        if line.startswith("uv run manage.py import_subscriptions base.csv")
    ]
    assert "1  can be taken over as active" in looked
    assert "1  can be taken over as suspended" in looked
    assert "cannot" not in looked
    assert "2  taken over" in done
    assert set(Subscription.objects.values_list("account__name", "status")) == {
        ("Example GmbH", "active"), ("Example d.o.o.", "suspended")
    }  # fmt: skip
    assert {row["outcome"] for row in outcomes(tmp_path / "outcomes.csv")} == {"taken over"}
    gateways.gateway.cache_clear()
