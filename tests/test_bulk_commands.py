"""The commands for many subscriptions: shown by default, done with --apply, told row by row, gone on with."""

import csv
import io
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command, execute_from_command_line
from django.db import connection, transaction

from subscriptions import actions, bulk, clock, fulfilment
from subscriptions.models import BulkRun, Charge, Order, PriceBand, Subscription
from tests.factories import (
    AccountFactory,
    ChargeFactory,
    OrderFactory,
    ProductFactory,
    SKUFactory,
    SubscriptionFactory,
)  # fmt: skip
from tests.worker_process import WorkerProcess, database_url, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

COMMANDS = ["bulk_suspend", "bulk_activate", "bulk_cancel", "bulk_set_seats"]


def run(command, *arguments, stdin=b"", monkeypatch=None):
    out = StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    call_command(command, *map(str, arguments), stdout=out)
    return out.getvalue()


def refusal(command, *arguments, code, **more):
    with pytest.raises(CommandError) as refused:
        run(command, *arguments, **more)
    assert refused.value.returncode == code
    return str(refused.value)


def refusal_said(command, *arguments):
    """What it printed, of a command that ends with a refusal."""
    out = StringIO()
    with pytest.raises(CommandError):
        call_command(command, *map(str, arguments), stdout=out)
    return out.getvalue()


def fresh(row):
    return type(row).objects.get(pk=row.pk)


@pytest.fixture
def make():
    account, sku = AccountFactory(name="Acme GmbH"), SKUFactory(product=ProductFactory(name="Endpoint"))

    def rows(count, **details):
        return [SubscriptionFactory(**{"account": account, "sku": sku, **details}) for _ in range(count)]

    return rows


@pytest.fixture
def listed(tmp_path):
    """A file that lists subscriptions, with further cells where wanted."""

    def write(*rows, header="subscription"):
        path = tmp_path / "late.csv"
        path.write_text("\n".join([header, *map(str, rows)]) + "\n")
        return path

    return write


def results(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def carry_out(count=1):
    for _ in range(count):
        fulfilment.fulfil_many.func(list(Order.objects.filter(status="placed").values_list("pk", flat=True)))


# --- shown -----------------------------------------------------------------------------------------------------------


def test_without_apply_it_is_only_shown(make, listed):
    rows = [*make(5), *make(4, status="suspended"), *make(1, status="cancelled")]
    said = run("bulk_suspend", listed(*rows))
    assert "10 rows: file late.csv." in said
    assert re.search(r"^ +5  can be done\n +SUB-\d+: Status: active to suspended$", said, re.M)
    assert re.search(r"^ +5  cannot\n +4  suspended\n +SUB-\d+: Suspended already\.$", said, re.M)
    assert re.search(r"^ +1  cancelled\n", said, re.M)
    assert said.count("...") == 2 + 1, "of the five and the four, and in the hint"
    assert said.endswith('Nothing was done. With --apply --reason "...", what can be done is done.\n')
    assert not Order.objects.exists()
    assert not BulkRun.objects.exists()


def test_costs_and_plans_are_shown(make, listed):
    now, later = make(1)[0], SubscriptionFactory(sku=SKUFactory(decrease_policy="next_period"))
    said = run("bulk_set_seats", listed(f"{now},26", f"{later},20", header="subscription,seats"))
    assert "1  can be done" in said
    assert "1  can be planned for their day" in said
    assert f"{now}: Seats: 25 to 26" in said
    assert re.search(r"Charged with them: EUR \d+\.\d\d", said)


def test_plans_that_would_not_happen_are_shown(make):
    rows = make(5)
    for one in rows[:4]:
        OrderFactory(subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 9})
    due = actions.day(rows[0].orders.get().due_at, rows[0])
    said = run("bulk_cancel", "--status", "active")
    example = rf"\n {{15}}{rows[0]}: A decrease to 9 seats is planned for {due}\."
    assert re.search(rf"^ +4  of them have a planned change, which will not happen{example}$", said, re.M)
    assert re.search(r"SUB-\d+: A decrease .*\n {15}\.\.\.\n", said)
    said = run("bulk_suspend", "--where", f"q={rows[0]}")
    assert re.search(rf"^ +1  of them has a planned change, which stands still meanwhile{example}$", said, re.M)
    assert "planned change" not in run("bulk_suspend", "--where", f"q={rows[4]}")


def test_what_would_become_of_each_row_is_written(make, listed, tmp_path):
    out = tmp_path / "preview.csv"
    rows = [*make(1), *make(1, status="suspended")]
    said = run("bulk_suspend", listed(*rows), "--out", out)
    assert [tuple(row.values()) for row in results(out)] == [
        ("2", f"{rows[0]}", "", "can be done", "", "Status: active to suspended", "", ""),
        ("3", f"{rows[1]}", "", "refused", "suspended", "Suspended already.", "", ""),
    ]
    assert list(results(out)[0]) == list(bulk.COLUMNS)
    assert f"What would become of each row is in {out}." in said
    assert not BulkRun.objects.exists()


def test_more_rows_than_one_look_takes_are_all_written(make, listed, tmp_path, monkeypatch):
    monkeypatch.setattr("subscriptions.bulk.previews.CHUNK", 2)
    out, rows = tmp_path / "preview.csv", make(5)
    out.write_text("old")
    wrong = listed(*rows, "x")
    refusal("bulk_suspend", wrong, "--out", out, code=2)
    assert out.read_text() == "old", "whole or not at all"
    run("bulk_suspend", listed(*rows), "--out", out)
    assert [row["subscription"] for row in results(out)] == [str(one) for one in rows]


def test_a_planned_change_that_must_be_decided_about_names_the_option(make):
    [one] = make(1)
    OrderFactory(subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 9})
    said = run("bulk_set_seats", "--status", "active", "--seats", "30")
    assert "Say what becomes of it." in said
    assert "--planned keep or --planned discard says what becomes of a planned change." in said


def test_rows_come_from_standard_input_too(make, monkeypatch):
    [one] = make(1)
    said = run("bulk_suspend", "-", stdin=f"subscription\n{one}\n".encode(), monkeypatch=monkeypatch)
    assert "1 rows: standard input." in said


def test_filters_find_what_all_of_them_find(make):
    wanted, other = make(2), AccountFactory(name="Globex")
    make(1, status="suspended"), make(1, account=other), make(1, sku=SKUFactory())
    said = run("bulk_suspend", "--account", "acme gmbh", "--product", "Endpoint", "--status", "active")
    assert "2 rows: status active, product Endpoint, account acme gmbh." in said
    assert f"{wanted[0]}: Status" in said
    said = run("bulk_suspend", "--account", "Acme GmbH", "--account", "Globex", "--status", "active")
    assert "4 rows: status active, account Acme GmbH or Globex." in said


def test_the_words_of_the_lists_find_too(make):
    soon, later = make(2, created_at=clock.now() - timedelta(days=20)), make(1, status="suspended")
    make(1, account=AccountFactory(name="Globex")), make(1, status="cancelled")
    said = run("bulk_suspend", "--where", "q=acme", "--where", "status=active,suspended")
    assert f"{len(soon + later)} rows: q acme, status active,suspended." in said
    day = (clock.now() + timedelta(days=20)).date().isoformat()
    narrow = ("--account", "Acme GmbH", "--where", f"renews_before={day}")
    run("bulk_suspend", *narrow, "--apply", "--reason", "late", "--no-wait")
    assert [row.subscription for row in BulkRun.objects.get().rows.order_by("position")] == soon
    assert BulkRun.objects.get().selection == f"account Acme GmbH, renews_before {day}"


def test_columns_that_are_not_looked_at_are_named(make, listed):
    [one] = make(1)
    said = run("bulk_suspend", listed(f"Acme,{one},30", header="company,subscription,seats"))
    assert "Columns that are not looked at: company, seats." in said
    assert "not looked at" not in run("bulk_suspend", listed(f"{one},", header="subscription,"))


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say which subscriptions"),
        (["late.csv", "--status", "active"], "two ways to say which subscriptions: give one of them, and not both."),
        (["nowhere.csv"], "nowhere.csv cannot be read: No such file or directory."),
        (["--account", "Nobody"], "There is no company “Nobody”."),
        (["--product", "Nothing"], "There is no product “Nothing”."),
        (["--where", "active"], "“active” is no filter. Write it as status=active. Nothing was done."),
        (["--where", "colour=red"], "There is no filter “colour”. There are: status,"),
        (["--where", "status=gone"], "status: “gone” is none of: pending,"),
        (["--status", "active", "--apply"], "Say why: --apply needs --reason."),
        (["--status", "active", "--apply", "--reason", "  "], "Say why"),
        (["--status", "pending", "--apply", "--reason", "x"], "No subscription was chosen. Nothing was done."),
        (["--status", "gone"], "invalid choice: 'gone'"),
        (["--resume", "77"], "There is no run 77."),
        (["--resume", "77", "--apply"], "A run knows its rows and its reason"),
        (["--resume", "77", "--status", "active"], "A run knows its rows"),
        (["--resume", "77", "--where", "q=acme"], "A run knows its rows"),
        (["--status", "active", "--out", "/nowhere/out.csv"], "/nowhere/out.csv cannot be written"),
        (["--status", "active", "--out", "tests"], "tests is a folder."),
    ],
)
def test_misuse_is_explained(arguments, sentence, make):
    make(1)
    assert sentence in refusal("bulk_suspend", *arguments, code=1 if "choice" in sentence else 2)
    assert not BulkRun.objects.exists()


def test_two_companies_of_one_name_are_not_guessed_at(make):
    AccountFactory(name="ACME gmbh")
    make(1)
    assert "Several are called “Acme GmbH”" in refusal("bulk_suspend", "--account", "Acme GmbH", code=2)


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("bulk_set_seats", ["--status", "active"], "Say how many seats"),
        ("bulk_set_seats", ["late.csv", "--seats", "5"], "leave --seats out"),
    ],
)
def test_misuse_of_one_command_is_explained(command, arguments, sentence, make):
    assert sentence in refusal(command, *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bulk_suspend", "--resume", "x"], "x cannot be it. Write a whole number from 1 to 2147483647,"),
        (["bulk_suspend", "--status", "active", "--max-failures", "0"], "0 cannot be it. Write a whole"),
        (
            ["bulk_set_seats", "--status", "active", "--seats", "9" * 5000],
            "9 cannot be it. Write a whole number from 1",
        ),
        (["bulk_set_seats", "--status", "active", "--seats", "-3"], "-3 cannot be it."),
        (
            ["bulk_cancel", "--status", "active", "--when", "soon"],
            "soon is no day. Write now, period_end, or",
        ),
        (["bulk_cancel", "--status", "active", "--when", "2027-02-30"], "2027-02-30 is no day"),
        (["import_subscriptions", "--resume", "x"], "x cannot be it."),
    ],
)
def test_a_slip_in_the_shell_is_told_in_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as left:
        execute_from_command_line(["manage.py", *arguments])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert sentence in said
    assert "Traceback" not in said


def test_a_bad_line_leaves_nothing_behind(make, listed):
    rows = make(3)
    file = listed(rows[0], rows[1], "Acme GmbH", rows[2])
    for arguments in ([], ["--apply", "--reason", "late"]):
        said = refusal("bulk_suspend", file, *arguments, code=2)
        assert said == "Line 4: “Acme GmbH” is no subscription. Write its ID, such as SUB-000123. Nothing was done."
    assert not BulkRun.objects.exists()
    assert not Order.objects.exists()


def test_the_file_with_the_rows_is_not_written_over(make, listed):
    file = listed(*make(1))
    before = file.read_text()
    assert "is the file with the rows itself" in refusal("bulk_suspend", file, "--out", file, code=2)
    assert file.read_text() == before
    missing = file.with_name("missing.csv")
    assert "missing.csv cannot be read" in refusal("bulk_suspend", missing, "--out", file, code=2)


# --- done ------------------------------------------------------------------------------------------------------------


def test_each_row_has_its_outcome(make, listed, at_vendor, tmp_path):
    done, suspended, unknown = at_vendor(make(1)[0]), make(1, status="suspended")[0], make(1)[0]
    file, out = listed(done, suspended, unknown, "SUB-999999999"), tmp_path / "out.csv"
    said = refusal("bulk_suspend", file, "--apply", "--reason", "late payers", "--no-wait", "--out", out, code=1)
    assert said == "2 of 4 rows were not done."
    [of] = BulkRun.objects.all()
    assert (of.reason, of.audience, of.actor, of.selection) == ("late payers", "command", None, "file late.csv")
    assert [row["outcome"] for row in results(out)] == ["in progress", "refused", "in progress", "refused"]
    carry_out()
    said = StringIO()
    with pytest.raises(CommandError, match="3 of 4 rows were not done"):
        call_command("bulk_suspend", "--resume", str(of.pk), "--out", str(out), stdout=said)
    assert re.search(r"^ +2  refused$", said.getvalue(), re.M)
    assert re.search(r"^ +1  suspended\n +\S+: Suspended already\.$", said.getvalue(), re.M)
    rows = results(out)
    assert [(row["line"], row["outcome"], row["code"]) for row in rows] == [
        ("2", "done", ""), ("3", "refused", "suspended"), ("4", "failed", "5"), ("5", "refused", "unknown"),
    ]  # fmt: skip
    assert rows[0]["order"] == str(done.orders.get())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[0]["finished"]), "as exports write it"
    assert "(code 5). The licence service does not know" in rows[2]["sentence"]
    assert [row["subscription"] for row in rows] == [str(done), str(suspended), str(unknown), "SUB-999999999"]
    assert fresh(done).status == "suspended"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_interrupted_while_it_tells_it_does_not_deny_what_was_done(make, listed, monkeypatch):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("subscriptions.bulk.reasons", interrupted)
    said = refusal("bulk_suspend", listed(*make(1)), "--apply", "--reason", "late", "--no-wait", code=130)
    again = f"uv run manage.py bulk_suspend --resume {BulkRun.objects.get().pk}"
    assert said == f"All rows are placed, and their orders go on by themselves. Go on with: {again}"


def test_outcomes_that_cannot_be_written_leave_the_old_file(make, listed, tmp_path, monkeypatch):
    def full(run):
        yield ["2"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("subscriptions.bulk.sheet", full)
    file, out = listed(*make(1)), tmp_path / "out.csv"
    out.write_text("old")
    said = refusal("bulk_suspend", file, "--apply", "--reason", "late", "--no-wait", "--out", out, code=1)
    assert "out.csv cannot be written: No space left on device" in said
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_reviewed_file_of_outcomes_can_be_used_again(make, listed, at_vendor, tmp_path):
    """What failed is picked out, and sent back as it is."""
    rows = [at_vendor(one) for one in make(2)]
    out = tmp_path / "out.csv"
    run("bulk_suspend", listed(*rows), "--apply", "--reason", "late", "--no-wait", "--out", out)
    carry_out()
    said = run("bulk_activate", out)
    assert "2  can be done" in said


@pytest.mark.parametrize(
    ("command", "options", "kind"),
    [
        ("bulk_suspend", [], ("suspend", "placed")),
        ("bulk_cancel", [], ("cancel", "placed")),
        ("bulk_cancel", ["--when", "now"], ("cancel", "placed")),
        ("bulk_cancel", ["--when", "period_end"], ("cancel", "scheduled")),
        ("bulk_set_seats", ["--seats", "30"], ("increase", "placed")),
        ("bulk_set_seats", ["--seats", "20"], ("decrease", "placed")),
    ],
)
def test_each_command_places_its_orders(command, options, kind, make):
    make(2)
    run(command, "--status", "active", "--apply", "--reason", "because", "--no-wait", *options)
    assert {(one.action, one.status) for one in Order.objects.all()} == {kind}
    assert {one.reason for one in Order.objects.all()} == {"because"}


def test_what_was_charged_is_said_by_currency(make, at_vendor, listed):
    dollars = SubscriptionFactory(account=AccountFactory(currency="USD"), sku=SKUFactory(prices={}))
    PriceBand.objects.create(sku=dollars.sku, seats_from=1, price="4.00", currency="USD")
    rows = [*make(2), SubscriptionFactory(sku=SKUFactory(decrease_policy="immediate_no_credit"), seats=40), dollars]
    shown = run("bulk_set_seats", listed(*(f"{one},30" for one in rows), header="subscription,seats"))
    assert re.search(r"^ {11}Charged with them: EUR 35\.00\n {11}Charged with them: USD 20\.00$", shown, re.M)
    # A command charges by the prices of the day on which it places.
    PriceBand.objects.filter(sku=rows[0].sku).update(price="4.00")
    for one in rows[:1] + rows[2:]:
        at_vendor(one)
    arguments = ("--where", "status=active", "--seats", "30", "--apply", "--reason", "agreed", "--no-wait")
    said = run("bulk_set_seats", *arguments)
    assert re.search(r"^ {11}Still to be charged: EUR 40\.00\n {11}Still to be charged: USD 20\.00$", said, re.M)
    fulfilment.fulfil_many.func([rows[0].orders.get().pk, dollars.orders.get().pk])
    [of] = BulkRun.objects.all()
    said = run("bulk_set_seats", "--resume", of.pk, "--no-wait")
    charged = [re.findall(r"[A-Z].*", line)[0] for line in said.splitlines() if "harged" in line]
    assert charged == ["Charged: EUR 20.00", "Charged: USD 20.00", "Still to be charged: EUR 20.00"]
    ledger = Charge.objects.values_list("currency", "amount").order_by("currency")
    assert [f"{currency} {amount:.2f}" for currency, amount in ledger] == ["EUR 20.00", "USD 20.00"]
    for status in ("in_progress", "failed"):
        rows[1].orders.update(status=status, finished_at=clock.now())
    said = refusal_said("bulk_set_seats", "--resume", of.pk, "--no-wait")
    assert [line.strip() for line in said.splitlines() if "harged" in line] == charged[:2]


def test_what_was_given_back_is_said(make, listed):
    one = SubscriptionFactory(sku=SKUFactory(cancel_credit="by_days"))
    ChargeFactory(
        subscription=one, kind="period", amount="87.50", covers_from=one.period_start, covers_to=one.period_end
    )
    assert "           Given back with them: EUR 87.50\n" in run("bulk_cancel", listed(one))
    said = run("bulk_cancel", listed(one), "--apply", "--reason", "gone", "--no-wait")
    assert "           Still to be given back: EUR 87.50\n" in said


def test_what_costs_nothing_says_nothing_of_money(make):
    make(2)
    said = run("bulk_suspend", "--status", "active", "--apply", "--reason", "late", "--no-wait")
    assert "harged" not in said


def test_a_cancel_can_be_dated_back(make):
    begun = clock.now() - timedelta(days=10)
    make(1, created_at=begun)
    day = (clock.now() - timedelta(days=3)).date().isoformat()
    run("bulk_cancel", "--status", "active", "--when", day, "--apply", "--reason", "gone", "--no-wait")
    assert Order.objects.get().after["Effective"] == day


@pytest.mark.parametrize(
    ("planned", "statuses"), [("keep", ["placed", "scheduled"]), ("discard", ["placed", "withdrawn"])]
)
def test_activate_says_what_becomes_of_a_plan(planned, statuses, make):
    [one] = make(1, status="suspended")
    OrderFactory(subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 9})
    assert "order_scheduled" in run("bulk_activate", "--status", "suspended")
    run("bulk_activate", "--status", "suspended", "--planned", planned, "--apply", "--reason", "paid", "--no-wait")
    assert sorted(order.status for order in Order.objects.all()) == statuses


def test_so_many_failures_stop_it(make, listed):
    rows = [one for _ in range(4) for one in (*make(1), *make(1, status="suspended"))]
    said = refusal(
        "bulk_suspend", listed(*rows), "--apply", "--reason", "late", "--max-failures", 2, "--no-wait", code=1
    )
    [of] = BulkRun.objects.all()
    assert said.startswith("Stopped: 2 rows were not done, refused or failed. Go on with: ")
    assert said.endswith(f"uv run manage.py bulk_suspend --resume {of.pk}")
    assert (of.placed, of.refused, of.status) == (2, 2, "stopped")
    # The next call counts anew.
    again = refusal("bulk_suspend", "--resume", of.pk, "--no-wait", "--max-failures", 2, code=1)
    assert again == "4 of 8 rows were not done."
    assert (fresh(of).placed, fresh(of).refused, fresh(of).status) == (4, 4, "done")


def test_a_stop_in_bss_ends_the_command_with_the_way_on(make, monkeypatch):
    monkeypatch.setattr(bulk.runs, "CHUNK", 2)
    make(5)

    def stop_after_a_set(execute, sql, *arguments):
        done = execute(sql, *arguments)
        if sql.startswith("UPDATE subscriptions_bulkrow"):
            bulk.stop(BulkRun.objects.get())
        return done

    with connection.execute_wrapper(stop_after_a_set):
        said = refusal("bulk_suspend", "--status", "active", "--apply", "--reason", "late", "--no-wait", code=1)
    [of] = BulkRun.objects.all()
    assert said == (
        "Stopped after 2 of 5 rows; placed orders go on by themselves. It was stopped in BSS. "
        f"Go on with: uv run manage.py bulk_suspend --resume {of.pk}"
    )
    run("bulk_suspend", "--resume", of.pk, "--no-wait")
    assert (fresh(of).status, fresh(of).placed) == ("done", 5)


def test_what_is_not_confirmed_in_bss_is_not_placed_by_a_command(make, cast):
    of = bulk.draft("suspend", bulk.ticked([one.pk for one in make(2)]), actor=cast.operator, given={})
    said = refusal("bulk_suspend", "--resume", of.pk, code=2)
    assert said == f"Run {of.pk} was chosen in BSS, and is not confirmed there yet."
    assert not Order.objects.exists()


def test_a_run_is_resumed_by_its_own_command(make):
    make(1)
    run("bulk_suspend", "--status", "active", "--apply", "--reason", "late", "--no-wait")
    [of] = BulkRun.objects.all()
    said = refusal("bulk_cancel", "--resume", of.pk, code=2)
    assert said == f"Run {of.pk} is of another kind: uv run manage.py bulk_suspend --resume {of.pk}"


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_the_help_works_as_it_is(command, capsys, make, monkeypatch):
    make(1), make(1, status="suspended")
    with pytest.raises(SystemExit):
        run(command, "--help")
    [example] = re.findall(r"Example:\n  (.*)\n", capsys.readouterr().out)
    left, _, right = example.rpartition(" | ")
    stdin = subprocess.run(left, shell=True, capture_output=True, check=True).stdout if left else b""  # noqa: S602 - the help's
    arguments = right.removeprefix(f"uv run manage.py {command} ").split()
    assert "Nothing was done. With --apply" in run(command, *arguments, stdin=stdin, monkeypatch=monkeypatch)


# --- as a process ----------------------------------------------------------------------------------------------------


# What is started in the background ignores Ctrl-C, and so do its children.
_MANAGE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""


def process(*arguments):
    environment = os.environ | {"DATABASE_URL": database_url(), "SEATDESK_DEMO": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", _MANAGE, *map(str, arguments)], cwd=django_settings.BASE_DIR, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_it_waits_until_a_worker_has_carried_out_all(make, listed, at_vendor, emulator, tmp_path):
    rows, out = [at_vendor(one) for one in make(30)], tmp_path / "out.csv"
    worker = WorkerProcess(emulator.url, tmp_path / "worker.log", module="portal.settings")
    try:
        one = process("bulk_suspend", listed(*rows), "--apply", "--reason", "late", "--out", out)
        said, err = one.communicate(timeout=60)
    finally:
        worker.stop()
    assert one.returncode == 0, err
    assert "\x1b" not in said, "no progress bar where nobody looks"
    assert re.search(r"^ +30  done$", said, re.M)
    assert {row["outcome"] for row in results(out)} == {"done"}
    assert {one.status for one in Subscription.objects.all()} == {"suspended"}


@pytest.mark.django_db(transaction=True)
def test_a_terminal_shows_how_far_it_is_and_how_fast(make, listed):
    file, (ours, its) = listed(*make(40)), pty.openpty()
    environment = os.environ | {
        "DATABASE_URL": database_url(), "SEATDESK_DEMO": "1", "TERM": "xterm-256color", "COLUMNS": "120",
    }  # fmt: skip
    one = subprocess.Popen(
        [sys.executable, "manage.py", "bulk_suspend", str(file), "--apply", "--reason", "late", "--no-wait"],
        cwd=django_settings.BASE_DIR, env=environment, stdin=its, stdout=its, stderr=its,
    )  # fmt: skip
    os.close(its)
    said = b""
    # The end of a terminal is an error to whoever reads it.
    with suppress(OSError):
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    assert one.wait(60) == 0, said
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    assert re.search(r"Placing .*40/40 .*\d/s .*\d:\d\d:\d\d", shown), shown


@pytest.mark.django_db(transaction=True)
def test_an_interruption_stops_the_run_and_says_how_to_go_on(make, listed):
    rows = make(5)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE subscriptions_event")
        one = process("bulk_suspend", listed(*rows), "--apply", "--reason", "late")
        wait_until(lambda: _waits_for_the_lock() or one.poll() is not None, seconds=30)
        one.send_signal(signal.SIGINT)
        _, err = one.communicate(timeout=60)
    [of] = BulkRun.objects.all()
    assert one.returncode == 130, err
    assert "Stopped after 0 of 5 rows; placed orders go on by themselves." in err
    assert f"Go on with: uv run manage.py bulk_suspend --resume {of.pk}" in err
    assert (of.status, of.placed, Order.objects.count()) == ("stopped", 0, 0)
    one = process("bulk_suspend", "--resume", of.pk, "--no-wait")
    _, err = one.communicate(timeout=60)
    assert one.returncode == 0, err
    assert (fresh(of).status, fresh(of).placed, Order.objects.count()) == ("done", 5, 5)


@pytest.mark.django_db(transaction=True)
def test_an_interruption_while_it_waits_leaves_the_orders_to_the_worker(make, listed):
    rows = make(3)
    one = process("bulk_suspend", listed(*rows), "--apply", "--reason", "late")
    wait_until(lambda: BulkRun.objects.filter(status="done").exists() or one.poll() is not None, seconds=30)
    one.send_signal(signal.SIGINT)
    _, err = one.communicate(timeout=60)
    assert one.returncode == 130, err
    assert "All rows are placed, and their orders go on by themselves. Go on with: " in err
    assert BulkRun.objects.get().status == "done"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_is_said_with_the_way_on(make, listed):
    rows = make(5)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE subscriptions_event")
        one = process("bulk_suspend", listed(*rows), "--apply", "--reason", "late")
        wait_until(lambda: _waits_for_the_lock() or one.poll() is not None, seconds=30)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE relation = 'subscriptions_event'::regclass AND NOT granted"
            )
        _, err = one.communicate(timeout=60)
    [of] = BulkRun.objects.all()
    assert one.returncode == 1, err
    assert "Traceback" not in err
    assert f"What was done stays done. Go on with: uv run manage.py bulk_suspend --resume {of.pk}" in err
    assert not Order.objects.exists()
    for _ in bulk.place(of):
        pass
    assert Order.objects.count() == 5


def _waits_for_the_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'subscriptions_event'::regclass AND NOT granted")
        return cursor.fetchone()[0] > 0
