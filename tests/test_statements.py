"""Statements: figures to the cent, months by the account's time zone, pages by key, CSV, and who may see them."""

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from subscriptions import actions, lifecycle, statements
from subscriptions.models import Charge, Member
from subscriptions.pricing import BY, MINUS, TIMES
from subscriptions.statements import Month
from tests.factories import (
    AccountFactory,
    ChargeFactory,
    EventFactory,
    MemberFactory,
    OrderFactory,
    SubscriptionFactory,
)

pytestmark = pytest.mark.django_db

NOVEMBER = Month.at("2026-11")


@pytest.fixture
def acme(cast):
    return cast.acme


@pytest.fixture
def ours(acme):
    """A subscription that was there before every month of these tests."""
    return SubscriptionFactory(account=acme, created_at=datetime(2026, 1, 5, tzinfo=UTC))


@pytest.fixture
def billing(cast, signed_in):
    return signed_in(cast.billing)


@pytest.fixture(autouse=True)
def at(settings):
    """It is February 2027 in these tests; call it to let business time be another instant from now on."""

    def set_clock(*parts: int) -> None:
        settings.CLOCK_OFFSET = datetime(*parts, tzinfo=UTC) - datetime.now(UTC)

    set_clock(2027, 2, 10, 12)
    return set_clock


def charge(subscription, on: str, amount: str = "17.50", **more) -> Charge:
    day = date.fromisoformat(on)
    more.setdefault("booked_at", datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
    return ChargeFactory(subscription=subscription, booked_on=day, amount=Decimal(amount), **more)


def fill(subscription, count: int, on: str = "2026-11-05", **more) -> list[Charge]:
    event = EventFactory(subscription=subscription)
    day = date.fromisoformat(on)
    fields = {"subscription": subscription, "account": subscription.account, "event": event, "booked_on": day} | more
    return Charge.objects.bulk_create(ChargeFactory.build(**fields) for _ in range(count))


def see(client, address: str, status: int = 200) -> str:
    """The page as a reader has it: without tags, in single spaces."""
    answer = client.get(address)
    assert answer.status_code == status
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def november(account) -> str:
    return f"/statements/{account.pk}/2026-11/"


# --- figures ---------------------------------------------------------------------------------------------------------


def test_opening_total_and_closing_to_the_cent(ours, billing, acme):
    charge(ours, "2026-09-30", "0.10")
    charge(ours, "2026-10-31", "87.50")
    charge(ours, "2026-11-01", "41.10")
    charge(ours, "2026-11-30", "-0.03")
    charge(ours, "2026-12-01", "1000.00")
    page = see(billing, november(acme))
    assert "Statement for November 2026" in page
    assert "Opening balance, 1 November 2026 EUR 87.60" in page
    assert "Charged in November 2026 EUR 41.07" in page
    assert "Closing balance, 30 November 2026 EUR 128.67" in page
    assert "1,000.00" not in page
    assert page.count("excl. VAT") == 1
    assert "payments are not kept here" in page


MONTHS_OF_LEDGER = [Month.at(f"{2026 + number // 12}-{number % 12 + 1:02}") for number in range(9, 15)]
DAYS = st.dates(date(2026, 10, 1), date(2027, 3, 31))
LEDGERS = st.lists(
    st.tuples(
        DAYS, st.integers(-99_999, 99_999), st.sampled_from([("EUR", 2), ("JPY", 0), ("KWD", 3)]), st.integers(0, 2)
    ),
    max_size=25,
)


def test_every_line_of_a_random_ledger_stands_in_one_month_and_the_balances_meet(acme):
    """Against a second book that is kept by adding up in Python; small pages, so that groups are cut anywhere."""
    subscriptions = [SubscriptionFactory(account=acme) for _ in range(3)]
    foreign = SubscriptionFactory()
    events = {one: EventFactory(subscription=one) for one in [*subscriptions, foreign]}

    def book(subscription, day, amount, currency) -> None:
        ChargeFactory(
            subscription=subscription, event=events[subscription], booked_on=day, amount=amount, currency=currency
        )

    @hypothesis_settings(deadline=None, max_examples=30)
    @given(LEDGERS)
    def holds(rows):
        with transaction.atomic():
            second: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
            for day, units, (currency, places), which in rows:
                amount = Decimal(units).scaleb(-places)
                book(subscriptions[which], day, amount, currency)
                book(foreign, day, Decimal(7), currency)
                second[currency, f"{day:%Y-%m}"] += amount
            _compare(acme, second)
            transaction.set_rollback(True)

    holds()


def _compare(account, second) -> None:
    seen: list[int] = []
    closed: dict[str, Decimal] = defaultdict(Decimal)
    for month in MONTHS_OF_LEDGER:
        whole = statements.statement(account, month, size=1000)
        for section in whole.sections:
            assert section.opening == closed[section.currency]
            assert section.total == second.get((section.currency, month.address), 0)
            assert section.closing == section.opening + section.total
            assert section.total == sum(group.total for group in section.groups)
            for group in section.groups:
                assert group.total == sum(line.charge.amount for line in group.lines)
            closed[section.currency] = section.closing
        seen += (shown := _numbers(whole))
        assert shown == _by_pages(account, month)
        assert shown == [int(row.split(",")[0]) for row in list(statements.csv_rows(account, month))[1:]]
    assert sorted(seen) == sorted(account.charges.values_list("pk", flat=True))
    totals = {(row.currency, row.month.address): row.total for row in statements.months([account])[0]}
    assert totals == second


def _numbers(statement) -> list[int]:
    return [line.charge.pk for section in statement.sections for group in section.groups for line in group.lines]


def _by_pages(account, month) -> list[int]:
    found, key = [], ""
    while True:
        page = statements.statement(account, month, after=key, size=2)
        found += _numbers(page)
        key = page.next_key
        if not key:
            return found


def test_lines_stand_by_subscription_with_their_sums(ours, billing, acme):
    second = SubscriptionFactory(account=acme, sku=ours.sku)
    charge(second, "2026-11-02", "10.00")
    charge(ours, "2026-11-03", "1.00")
    charge(second, "2026-11-04", "20.00")
    charge(second, "2026-11-05", "-5.00")
    page = see(billing, november(acme))
    assert page.index(ours.number) < page.index("EUR 1.00") < page.index(second.number) < page.index("EUR 10.00")
    assert f"{second.number} in November 2026 EUR 25.00" in page
    # A sum of one line would only repeat it.
    assert f"{ours.number} in November 2026" not in page
    assert "Total of November 2026, 4 lines EUR 26.00" in page


def test_a_line_says_when_what_for_which_days_and_seats_and_how_much(ours, billing, acme):
    order = OrderFactory(subscription=ours)
    words = f"5 seats {TIMES} EUR 10.30 {BY} 30 days {TIMES} 21 days left"
    line = charge(
        ours,
        "2026-11-10",
        "41.10",
        order=order,
        words=words,
        seats=30,
        covers_from=date(2026, 11, 10),
        covers_to=date(2026, 12, 1),
    )
    page = see(billing, november(acme))
    assert f"Line {line.pk} 10 Nov 2026 {words} {order.number} 10 Nov 2026 to 30 Nov 2026 30 EUR 41.10" in page
    html = billing.get(november(acme)).content.decode()
    assert f'href="/subscriptions/{ours.pk}/"' in html
    assert f'href="/orders/{order.pk}/"' in html
    assert f'<tr role="row" id="line-{line.pk}">' in html


def test_a_line_for_one_day_names_it_once(ours, billing, acme):
    charge(ours, "2026-11-30", covers_from=date(2026, 11, 30), covers_to=date(2026, 12, 1))
    assert "5 seats added 30 Nov 2026 5 EUR 17.50" in see(billing, november(acme))


def test_each_currency_has_its_own_figures(ours, billing, acme):
    charge(ours, "2026-10-01", "5", currency="JPY")
    charge(ours, "2026-11-02", "41.10")
    charge(ours, "2026-11-02", "0.250", currency="KWD")
    page = see(billing, november(acme))
    assert page.index("In EUR") < page.index("In JPY") < page.index("In KWD")
    assert "Opening balance, 1 November 2026 JPY 5 " in page
    assert "Nothing was charged in November 2026." in page
    assert "Closing balance, 30 November 2026 KWD 0.250 " in page
    assert "Total of November 2026, 1 line EUR 41.10" in page


# --- months ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "utc", "month"),
    [
        ("Europe/Vienna", (2026, 10, 31, 22, 59), "2026-10"),
        ("Europe/Vienna", (2026, 10, 31, 23, 1), "2026-11"),
        ("Pacific/Auckland", (2026, 10, 31, 11, 1), "2026-11"),
        ("Pacific/Auckland", (2026, 10, 31, 10, 59), "2026-10"),
        ("America/New_York", (2026, 11, 1, 3, 59), "2026-10"),
        ("America/New_York", (2026, 11, 1, 4, 1), "2026-11"),
        # The clocks go back at that hour, so that it comes twice.
        ("Europe/Vienna", (2026, 10, 25, 0, 59), "2026-10"),
        ("UTC", (2028, 2, 29, 23, 59), "2028-02"),
    ],
)
def test_the_month_of_a_line_is_that_of_its_account(zone, utc, month, at, cast, emulator, empty_queue, signed_in):
    account = AccountFactory(time_zone=zone)
    MemberFactory(account=account, user=cast.owner)
    subscription = SubscriptionFactory(account=account, created_at=datetime(2026, 1, 5, tzinfo=UTC))
    first = charge(subscription, "2026-02-01")
    at(*utc)
    made = lifecycle.correct(first.pk, Decimal("-1.25"), "Ticket 1", actor=cast.operator, audience=actions.BSS)
    assert [row.month.address for row in statements.months([account])[0]] == [month, "2026-02"]
    page = see(signed_in(cast.owner), f"/statements/{account.pk}/{month}/")
    assert f"Line {made.pk}" in page
    assert f"{MINUS}EUR 1.25" in page
    # The clock stands in that month, wherever the reader of this test is.
    assert "so far" in page


def test_a_month_that_is_not_over_says_so(ours, billing, acme, at):
    charge(ours, "2026-11-02")
    at(2026, 11, 30, 23, 59)
    page = see(billing, november(acme))
    assert "Statement for November 2026 so far" in page
    assert "November 2026 is not over: these are its figures so far, on 30 November 2026" in page
    assert "Balance today, 30 November 2026 EUR 17.50" in page
    assert "Closing balance" not in page
    assert "November 2026 so far: the month is not over" in see(billing, "/statements/")
    at(2026, 12, 1, 0, 1)
    assert "Closing balance, 30 November 2026 EUR 17.50" in (page := see(billing, november(acme)))
    assert "2026 so far" not in page
    assert "the month is not over" not in see(billing, "/statements/")


def test_the_last_day_is_judged_where_the_account_is(acme, ours, billing, at):
    acme.time_zone = "Pacific/Auckland"
    acme.save()
    charge(ours, "2026-11-02")
    at(2026, 11, 30, 12, 0)
    assert "Closing balance, 30 November 2026" in see(billing, november(acme))


def test_months_are_listed_newest_first_with_their_totals(ours, billing, acme, cast):
    charge(ours, "2026-09-30", "0.10")
    charge(ours, "2026-11-01", "41.10")
    charge(ours, "2026-11-30", "-1.10")
    charge(SubscriptionFactory(account=cast.globex), "2026-11-30", "77.77")
    page = see(billing, "/statements/")
    assert page.index("November 2026") < page.index("September 2026")
    assert "October 2026" not in page
    assert "November 2026 2 EUR 40.00" in page
    assert "September 2026 1 EUR 0.10" in page
    assert "77.77" not in page
    assert f'href="{november(acme)}"' in billing.get("/statements/").content.decode()


def test_months_of_several_accounts_come_page_by_page_and_each_once(acme, ours, cast, signed_in):
    second = SubscriptionFactory(account=AccountFactory(name="Acme Zwei"))
    MemberFactory(account=second.account, user=cast.billing, role="manager")
    days = [date(2021, 1, 1) + timedelta(days=31 * number) for number in range(40)]
    for day in days:
        charge(ours, f"{day}")
        charge(second, f"{day}", currency="USD" if day.month % 2 else "EUR")
    charge(ours, f"{days[3]}", currency="USD")
    client, found, query = signed_in(cast.billing), [], ""
    for _ in range(9):
        html = client.get(f"/statements/{query}").content.decode()
        found += re.findall(r'href="/statements/(\d+)/(\d{4}-\d\d)/"', html)
        following = re.search(r'href="(\?[^"]*)"\s+rel="next"', html)
        if following is None:
            break
        query = following[1].replace("&amp;", "&")
    months = [f"{day:%Y-%m}" for day in days]
    expected = [(str(ours.account_id), month) for month in [*months, months[3]]]
    expected += [(str(second.account_id), month) for month in months]
    assert sorted(found) == sorted(expected)
    assert [month for _, month in found] == sorted((month for _, month in found), reverse=True)


def test_a_page_of_months_may_end_between_two_currencies(acme, ours):
    for number in range(statements.MONTHS):
        day = date(2022, 1, 1) + timedelta(days=31 * number)
        charge(ours, f"{day}")
    charge(ours, "2022-01-05", currency="USD")
    first, key = statements.months([acme])
    assert (first[-1].month.address, first[-1].currency) == ("2022-01", "EUR")
    [last], end = statements.months([acme], key)
    assert (last.month.address, last.currency, end) == ("2022-01", "USD", "")


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-00", "2026-1", "1999-12", "20261-1", "2026-11-01", "\uff12\uff10\uff12\uff16-11", "x"]
)
def test_what_is_no_month_is_not_found(month, ours, billing, acme):
    charge(ours, "2026-11-02")
    for address in (f"/statements/{acme.pk}/{month}/", f"/statements/{acme.pk}/{month}/csv/"):
        assert billing.get(address).status_code == 404


@pytest.mark.parametrize(
    "key", ["x", "EUR", "EUR-1", "EUR-1-2-3", "eur-1-1", "EUR-1-" + "9" * 40, "2026-13-1-EUR", "'"]
)
def test_a_key_that_is_none_shows_the_first_page(key, ours, billing, acme):
    line = charge(ours, "2026-11-02")
    assert f"Line {line.pk}" in see(billing, f"{november(acme)}?after={key}")
    assert "November 2026" in see(billing, f"/statements/?after={key}")


# --- corrections -----------------------------------------------------------------------------------------------------


def test_a_correction_names_its_line_and_is_named_beside_it(ours, billing, acme):
    line = charge(ours, "2026-10-12", "41.10")
    fix = charge(ours, "2026-11-03", "-1.10", corrects=line, words=f"Correction of line {line.pk}: 5 seats added")
    page = see(billing, november(acme))
    assert f"Corrects line {line.pk} of October 2026" in page
    assert "Opening balance, 1 November 2026 EUR 41.10" in page
    assert f"Charged in November 2026 {MINUS}EUR 1.10" in page
    before = billing.get(f"/statements/{acme.pk}/2026-10/").content.decode()
    # On paper October stays as it was.
    beside = re.search(r'<small class="no-print">(.*?)</small>', before, re.DOTALL)[1]
    assert re.sub(r"<[^>]+>", "", beside) == f"Corrected by line {fix.pk} of November 2026: {MINUS}EUR 1.10"
    assert f'href="/statements/{acme.pk}/2026-11/?all=1#line-{fix.pk}"' in beside
    assert "Closing balance, 31 October 2026 EUR 41.10" in see(billing, f"/statements/{acme.pk}/2026-10/")


# --- pages of lines --------------------------------------------------------------------------------------------------


def test_lines_come_page_by_page_and_all_at_once_for_print(ours, billing, acme):
    second = SubscriptionFactory(account=acme, sku=ours.sku)
    lines = [*fill(ours, 130), *fill(second, 120)]
    found, query, pages = [], "", 0
    while query is not None:
        html = billing.get(november(acme) + query).content.decode()
        found += [int(number) for number in re.findall(r'id="line-(\d+)"', html)]
        assert "a part of 250 lines" in html
        following = re.search(r'href="(\?[^"]*)"\s+rel="next"', html)
        query = following[1].replace("&amp;", "&") if following else None
        pages += 1
    assert found == [one.pk for one in lines]
    assert pages == 3
    second_page = see(billing, f"{november(acme)}?after=EUR-{ours.pk}-{lines[99].pk}")
    # The sums are those of the month, on each page.
    assert f"{ours.number} in November 2026, with its lines on other pages EUR 2,275.00" in second_page
    assert "Total of November 2026" in second_page
    everything = billing.get(f"{november(acme)}?all=1").content.decode()
    assert len(re.findall(r'id="line-(\d+)"', everything)) == 250
    assert "a part of" not in everything
    assert 'rel="next"' not in everything


def test_a_section_whose_lines_are_elsewhere_says_so(ours, billing, acme):
    fill(ours, 100, currency="CHF")
    charge(ours, "2026-11-05")
    assert "In EUR" in (page := see(billing, november(acme)))
    assert "Its 1 line stands on another page." in page


@pytest.mark.parametrize("address", ["/statements/", "/statements/{}/2026-11/", "/statements/{}/2026-11/?all=1"])
def test_2_lines_or_200_ask_the_database_as_often(address, ours, billing, acme):
    counts = []
    for size in (2, 200):
        for line in fill(ours, size):
            charge(ours, "2026-11-06", "-1.00", corrects=line)
        with CaptureQueriesContext(connection) as ran:
            assert billing.get(address.format(acme.pk)).status_code == 200
        counts.append(len(ran))
    assert counts[0] == counts[1] <= 8


def test_a_page_reads_no_more_lines_than_it_shows(ours, billing, acme):
    fill(ours, 1000)
    with CaptureQueriesContext(connection) as ran:
        html = billing.get(november(acme)).content.decode()
    assert html.count('id="line-') == statements.LINES
    [lines] = [
        one["sql"] for one in ran if "ORDER BY" in one["sql"] and '"words"' in one["sql"] and "LIMIT" in one["sql"]
    ]
    assert f"LIMIT {statements.LINES + 1}" in lines


def test_a_look_at_one_ledger_does_not_read_all_of_them(ours, billing, acme):
    other = SubscriptionFactory()
    for month in range(1, 13):
        fill(ours, 100, f"2026-{month:02}-05")
        fill(other, 400, f"2026-{month:02}-05")
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Charge._meta.db_table}")
    with CaptureQueriesContext(connection) as ran:
        billing.get("/statements/")
        billing.get(november(acme))
    looks = [one["sql"] for one in ran if "booked_on" in one["sql"] and '"corrects_id" IN' not in one["sql"]]
    assert len(looks) == 4
    with connection.cursor() as cursor:
        # Whether an index can be used at all is asked here, and not what is cheapest for so few rows.
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in looks:
            cursor.execute(f"EXPLAIN {sql}")
            assert "Seq Scan on subscriptions_charge" not in str(cursor.fetchall()), sql


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_the_file_byte_by_byte(ours, billing, acme):
    acme.name = "Žito & sinovi, d.o.o."
    acme.save()
    ours.sku.product.name = "Größe; “XL”"
    ours.sku.product.save()
    order = OrderFactory(subscription=ours)
    covers = {"covers_from": date(2026, 11, 10), "covers_to": date(2026, 12, 1)}
    old = charge(ours, "2026-10-31", "1.00")
    one = charge(ours, "2026-11-10", "1234.5", order=order, words='5 seats, "added"', seats=1500, **covers)
    two = charge(ours, "2026-11-11", "-0.05", corrects=old, words="Correction,\nof a line", **covers)
    yen = charge(ours, "2026-11-12", "900", currency="JPY", words="=1+1", **covers)
    answer = billing.get(f"{november(acme)}csv/")
    head = "Line,Booked,Subscription,Product,Order,What,First day,Last day,Seats,Currency,Amount,Corrects line"
    days, product = "2026-11-10,2026-11-30", "Größe; “XL”"
    expected = [
        head,
        f'{one.pk},2026-11-10,{ours.number},{product},{order.number},"5 seats, ""added""",{days},1500,EUR,1234.50,',
        f'{two.pk},2026-11-11,{ours.number},{product},,"Correction,\nof a line",{days},5,EUR,-0.05,{old.pk}',
        f"{yen.pk},2026-11-12,{ours.number},{product},,'=1+1,{days},5,JPY,900,",
    ]
    assert answer.streaming
    assert b"".join(answer.streaming_content) == b"\xef\xbb\xbf" + "".join(f"{row}\r\n" for row in expected).encode()
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="statement-zito-sinovi-doo-2026-11.csv"'
    assert answer["Cache-Control"] == "no-store"


def test_a_name_without_latin_letters_gives_a_number_for_the_file(acme):
    acme.name = "Компания"
    assert statements.csv_name(acme, NOVEMBER) == f"statement-{acme.pk}-2026-11.csv"


def test_the_file_of_a_long_month_is_made_while_it_is_sent(ours, billing, acme):
    fill(ours, 2500)
    with CaptureQueriesContext(connection) as ran:
        answer = billing.get(f"{november(acme)}csv/")
        assert not [one for one in ran if "subscriptions_charge" in one["sql"]]
        rows = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
    assert len(rows) == 2501


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["buyer", "viewer"])
def test_who_may_not_is_told_whom_to_ask(role, ours, acme, cast, signed_in):
    charge(ours, "2026-11-02", "41.10")
    client = signed_in(cast.people[role])
    for address in ("/statements/", november(acme), f"{november(acme)}csv/"):
        page = see(client, address, status=403)
        assert "Only people with the Owner, Manager or Billing role can see statements. Ask Ana Kos." in page
        assert "41.10" not in page


def test_without_an_active_owner_a_manager_is_asked_and_without_both_the_distributor(cast, acme, signed_in):
    client = signed_in(cast.viewer)
    cast.owner.is_active = False
    cast.owner.save()
    assert "Ask Marko Novak." in see(client, "/statements/", status=403)
    Member.objects.filter(account=acme, role="manager").delete()
    assert "Ask your distributor." in see(client, "/statements/", status=403)


def test_the_list_holds_only_accounts_whose_statements_the_role_sees(ours, cast, signed_in):
    other = SubscriptionFactory(account=AccountFactory(name="Novo d.o.o."))
    MemberFactory(account=other.account, user=cast.viewer, role="billing")
    charge(ours, "2026-11-02", "41.10")
    charge(other, "2026-11-02", "5.55")
    page = see(signed_in(cast.viewer), "/statements/")
    assert "EUR 5.55" in page
    assert "41.10" not in page


def test_strangers_cannot_tell_that_there_is_an_account(ours, cast, signed_in, acme):
    charge(ours, "2026-11-02")
    for person in (cast.stranger, cast.operator):
        client = signed_in(person)
        for address in (november(acme), f"{november(acme)}csv/", "/statements/999999999/2026-11/"):
            assert client.get(address).status_code == 404
    assert "EUR" not in see(signed_in(cast.stranger), "/statements/")


@pytest.mark.parametrize("person", ["owner", "manager", "billing", "buyer", "viewer", "operator"])
def test_the_way_there_is_shown_to_those_who_may(person, cast, signed_in):
    html = signed_in(cast.people[person]).get("/subscriptions/").content.decode()
    assert ('href="/statements/"' in html) == (person in ("owner", "manager", "billing"))


def test_pages_are_not_kept_by_a_cache(ours, billing, acme):
    charge(ours, "2026-11-02")
    for address in ("/statements/", november(acme)):
        assert "no-store" in billing.get(address)["Cache-Control"]


# --- nothing to show -------------------------------------------------------------------------------------------------


def test_three_ways_to_be_empty(billing, ours, acme, cast, signed_in):
    assert "No statements yet" in see(billing, "/statements/")
    charge(ours, "2026-12-01")
    page = see(billing, november(acme))
    assert "Nothing was charged" in page
    assert "Download CSV" not in page
    nobody = AccountFactory()
    loner = MemberFactory(account=nobody).user
    Member.objects.filter(user=loner).delete()
    assert "You are in no account yet" in see(signed_in(loner), "/statements/")


def test_a_month_without_lines_carries_the_balance_over(billing, ours, acme):
    charge(ours, "2026-09-30", "3.33")
    page = see(billing, november(acme))
    assert "Opening balance, 1 November 2026 EUR 3.33" in page
    assert "Closing balance, 30 November 2026 EUR 3.33" in page
    assert "Nothing was charged in November 2026" in page


def test_the_page_after_the_last_month_leads_back(billing, ours):
    charge(ours, "2026-11-02")
    page = see(billing, f"/statements/?after=2020-01-{ours.account_id}-EUR")
    assert "Nothing before that" in page
