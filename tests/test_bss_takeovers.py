"""Takeovers in BSS: what each brought, what it refused and why, whom it created, and the result of every row."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock
from subscriptions.models import Account, Takeover
from tests.factories import AccountFactory, SKUFactory

pytestmark = pytest.mark.django_db

LIST = "/bss/subscriptions/takeover/"


def words(answer):
    page = answer.content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<main") :]).split())


def page_of(run, browser):
    answer = browser.get(f"{LIST}{run.pk}/change/")
    assert answer.status_code == 200
    return answer


@pytest.fixture
def take(tmp_path):
    """Takes over so many rows of new companies, one of 3 seats too few, and one of Initech."""
    SKUFactory(code="KES")
    AccountFactory(name="Initech")
    today = clock.now().date()
    days = f"{today - timedelta(200)},{today + timedelta(10)}"

    def run(many, first=1):
        rows = [f"<New {n}>,KES,25,{n:032X},{days},EUR" for n in range(first, first + many)]
        rows += [f"Initech,KES,25,{'A' * 32},{days},EUR", f"Initech,KES,2,{'B' * 32},{days},EUR"]
        file = tmp_path / "base.csv"
        header = "account,sku,seats,subscriber_id,started_on,period_end,currency"
        file.write_text("\n".join([header, *rows]) + "\n")
        with pytest.raises(CommandError, match="rows were not taken over"):
            call_command(
                "import_subscriptions", str(file), "--apply", "--reason", "We move", "--from", "Old portal",
                "--no-vendor-check", "--create-companies", "Europe/Berlin",
            )  # fmt: skip
        return Takeover.objects.latest("pk")

    return run


def test_what_a_takeover_brought_and_what_it_refused(take, cast, signed_in):
    first, again = take(12), take(2, first=20)
    browser = signed_in(cast.auditor)
    listed = words(browser.get(LIST))
    assert "Old portal file base.csv" in listed
    assert "13 of 14 Seatdesk" in listed
    assert "2 of 4 Seatdesk" in listed, "one of the others was here already"
    page = words(page_of(first, browser))
    assert "Takeover from Old portal Done file base.csv Seatdesk, command line" in page
    assert "14 of 14 rows decided. Taken over 13 Refused 1 Download" in page
    assert "Reason We move Read at the vendor None" in page
    assert "Why some were refused 1 This product starts at 5 seats." in page
    assert "line 15" in page
    new = Account.objects.get(name="<New 1>")
    assert "Companies created 12: &lt;New 1&gt;" in page
    assert "&lt;New 10&gt; and others" in page
    assert f'href="/bss/subscriptions/account/{new.pk}/change/"' in page_of(first, browser).content.decode()
    assert "Taken over 2 Already here, just as the file says 1 Refused 1" in words(page_of(again, browser))


def test_one_that_was_interrupted_says_how_it_goes_on(cast, signed_in, take):
    run = take(1)
    Takeover.objects.update(status="stopped", taken=0)
    page = words(page_of(run, signed_in(cast.support)))
    assert "Stopped" in page
    assert "Waiting 2" in page
    assert f"A command goes on with it: uv run manage.py import_subscriptions --resume {run.pk}" in page


def test_the_result_of_each_row_as_the_command_writes_it(take, cast, signed_in):
    run = take(2)
    browser = signed_in(cast.operator)
    answer = browser.get(f"{LIST}{run.pk}/results/")
    assert answer["Content-Disposition"] == f'attachment; filename="takeover-{run.pk}.csv"'
    assert "no-store" in answer["Cache-Control"]
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    assert [(row["line"], row["outcome"], row["code"]) for row in rows] == [
        ("2", "taken over", "no_code"), ("3", "taken over", "no_code"), ("4", "taken over", "no_code"),
        ("5", "refused", "below_minimum"),
    ]  # fmt: skip
    assert browser.get(f"{LIST}999999/results/").status_code == 404
    assert browser.post(f"{LIST}{run.pk}/results/").status_code == 405


def test_nothing_is_done_there(take, cast, signed_in):
    assert signed_in(cast.operator).post(f"{LIST}{take(1).pk}/change/").status_code == 405


def test_the_pages_ask_the_same_for_few_rows_and_for_many(take, cast, signed_in):
    browser = signed_in(cast.support)

    def asked(*addresses):
        with CaptureQueriesContext(connection) as captured:
            for where in addresses:
                assert browser.get(where).status_code == 200
        return len(captured)

    few = take(1)
    with CaptureQueriesContext(connection) as listing:
        browser.get(LIST)
    assert not [one["sql"] for one in listing if '"companies"' in one["sql"]], "which are many"
    one = asked(LIST, f"{LIST}{few.pk}/change/")
    many = take(15, first=2)
    assert asked(LIST, f"{LIST}{many.pk}/change/") == one
