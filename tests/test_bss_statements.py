"""Money in BSS: the ledger, statements of an account, and lines that correct lines."""

import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.urls import reverse

from subscriptions import actions, lifecycle
from subscriptions.models import Charge, Order
from subscriptions.pricing import MINUS
from tests.factories import AccountFactory, ChargeFactory, EventFactory, OrderFactory, SubscriptionFactory

pytestmark = pytest.mark.django_db

CHARGES = "/bss/subscriptions/charge/"


@pytest.fixture(autouse=True)
def in_december(settings):
    settings.CLOCK_OFFSET = datetime(2026, 12, 10, 12, tzinfo=UTC) - datetime.now(UTC)


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def ours(cast):
    return SubscriptionFactory(account=cast.acme, created_at=datetime(2026, 1, 5, tzinfo=UTC))


@pytest.fixture
def line(ours):
    """41.10 in October."""
    return booked(ours, "2026-10-12", amount=Decimal("41.10"))


def booked(subscription, on: str, **more) -> Charge:
    day = date.fromisoformat(on)
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return ChargeFactory(subscription=subscription, booked_at=at, **more)


def words_of(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def see(client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return words_of(answer)


# --- statements ------------------------------------------------------------------------------------------------------


def test_from_the_account_to_a_line(operator, ours, line, cast):
    account = reverse("admin:subscriptions_account_change", args=[cast.acme.pk])
    months = reverse("admin:subscriptions_account_statements", args=[cast.acme.pk])
    assert f'href="{months}"' in operator.get(account).content.decode()
    assert "October 2026 1 EUR 41.10" in see(operator, months)
    october = f"{months}2026-10/"
    assert f'href="{october}"' in operator.get(months).content.decode()
    page = see(operator, october)
    assert "Closing balance, 31 October 2026 EUR 41.10" in page
    assert f"Correct line {line.pk}" in page
    html = operator.get(october).content.decode()
    assert f'href="{CHARGES}{line.pk}/change/"' in html
    assert f'href="{CHARGES}{line.pk}/correct/"' in html
    assert f'href="/bss/subscriptions/subscription/{ours.pk}/change/"' in html


def test_staff_get_the_file_that_customers_get(operator, line, cast, signed_in):
    theirs = signed_in(cast.owner).get(f"/statements/{cast.acme.pk}/2026-10/csv/")
    ours = operator.get(reverse("admin:subscriptions_account_statement_csv", args=[cast.acme.pk, "2026-10"]))
    assert b"".join(ours.streaming_content) == b"".join(theirs.streaming_content)
    assert "no-store" in ours["Cache-Control"]
    assert ours["Content-Disposition"] == theirs["Content-Disposition"]


def test_a_correction_cannot_be_corrected_from_the_statement(operator, ours, line):
    fix = booked(ours, "2026-11-03", amount=Decimal("-1.10"), corrects=line)
    page = see(operator, f"/bss/subscriptions/account/{ours.account_id}/statements/2026-11/")
    assert f"Corrects line {line.pk} of October 2026" in page
    assert f"Correct line {fix.pk}" not in page


def test_who_may_not_correct_sees_no_link(cast, signed_in, line):
    for person in ("support", "approver", "catalogue_manager", "auditor"):
        page = see(signed_in(cast.people[person]), f"/bss/subscriptions/account/{line.account_id}/statements/2026-10/")
        assert f"Line {line.pk}" in page
        assert "Correct line" not in page


def test_empty_statements_say_so(operator, cast, line):
    other = AccountFactory()
    assert "No statements yet" in see(operator, f"/bss/subscriptions/account/{other.pk}/statements/")
    assert "Nothing was charged" in see(operator, f"/bss/subscriptions/account/{other.pk}/statements/2026-10/")
    later = f"/bss/subscriptions/account/{line.account_id}/statements/?after=2020-01-1-EUR"
    assert "Nothing before that" in see(operator, later)


@pytest.mark.parametrize("below", ["", "2026-10/", "2026-10/csv/"])
def test_without_the_view_permission_nothing_of_the_ledger_is_shown(below, cast, signed_in, line):
    cast.auditor.groups.clear()
    client = signed_in(cast.auditor)
    for address in (
        f"/bss/subscriptions/account/{line.account_id}/statements/{below}",
        CHARGES,
        f"{CHARGES}{line.pk}/change/",
    ):
        assert "41.10" not in see(client, address, status=403)


@pytest.mark.parametrize(
    "address", ["account/999999/statements/", "account/{}/statements/2026-13/", "charge/999999/change/"]
)
def test_what_is_not_there_is_not_found(address, operator, line):
    assert "Nothing here" in see(operator, f"/bss/subscriptions/{address.format(line.account_id)}", status=404)


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_the_ledger_of_one_subscription_newest_first(operator, ours, line, cast):
    newer = booked(ours, "2026-11-01", amount=Decimal("-2.00"), words="Credit for 2 seats")
    foreign = booked(SubscriptionFactory(account=cast.globex), "2026-11-01")
    page = operator.get(f"{CHARGES}?subscription={ours.pk}").content.decode()
    found = re.findall(rf"{CHARGES}(\d+)/change/", page)
    assert [int(pk) for pk in found] == [newer.pk, line.pk]
    assert f"{MINUS}EUR 2.00" in page
    assert f"{CHARGES}{foreign.pk}/change/" in operator.get(CHARGES).content.decode()


@pytest.mark.parametrize("by", ["line", "order", "subscription", "company"])
def test_lines_are_found_by_what_people_have_at_hand(by, operator, ours, cast):
    order = OrderFactory(subscription=ours)
    line = booked(ours, "2026-10-12", order=order)
    booked(SubscriptionFactory(account=cast.globex), "2026-11-01")
    sought = {"line": line.pk, "order": order.number, "subscription": ours.number, "company": "acme"}[by]
    page = operator.get(f"{CHARGES}?q={sought}").content.decode()
    assert re.findall(rf"{CHARGES}(\d+)/change/", page) == [str(line.pk)]


def test_the_ledger_asks_for_2_lines_as_often_as_for_200_and_counts_none(operator, ours, django_assert_num_queries):
    event = EventFactory(subscription=ours)

    def fill(count: int) -> None:
        made = [ChargeFactory.build(subscription=ours, account=ours.account, event=event) for _ in range(count)]
        Charge.objects.bulk_create(made)

    fill(2)
    with django_assert_num_queries(5):
        operator.get(CHARGES)
    fill(200)
    with django_assert_num_queries(5) as asked:
        page = operator.get(CHARGES).content.decode()
    sql = " ".join(one["sql"].upper() for one in asked.captured_queries)
    assert "COUNT(" not in sql
    assert "OFFSET" not in sql
    second = re.search(r'href="(\?p=\d+)"\s+rel="next"', page)[1]
    numbers = re.findall(rf"{CHARGES}(\d+)/change/", page)
    again = re.findall(rf"{CHARGES}(\d+)/change/", operator.get(CHARGES + second).content.decode())
    assert len(numbers) == len(again) == 50
    assert int(numbers[-1]) - 1 == int(again[0])


def test_nobody_adds_changes_or_deletes_lines(cast, signed_in, line):
    cast.auditor.is_superuser = True
    cast.auditor.save()
    client = signed_in(cast.auditor)
    form = {"amount": "1", "words": "x", "post": "yes"}
    assert client.get(f"{CHARGES}add/").status_code == client.post(f"{CHARGES}add/", form).status_code == 403
    assert client.post(f"{CHARGES}{line.pk}/change/", form).status_code == 405
    for _ in range(2):
        assert client.post(f"{CHARGES}{line.pk}/delete/", form).status_code == 403
    assert Charge.objects.get() == line


def test_the_page_of_a_line_tells_what_why_and_what_corrected_it(operator, cast, ours, line):
    event = EventFactory(
        subscription=ours, kind="correct.completed", actor=cast.operator, audience="bss", reason="Ticket 77"
    )
    fix = booked(ours, "2026-11-03", amount=Decimal("-1.10"), corrects=line, event=event)
    page = see(operator, f"{CHARGES}{line.pk}/change/")
    assert f"Line {line.pk}" in page
    assert "Amount EUR 41.10 excl. VAT" in page
    assert "Booked 12 October 2026 , in the statement for October 2026" in page
    assert f"3 Nov 2026 {MINUS}EUR 1.10 line {fix.pk} of November 2026 Operator, BSS Ticket 77" in page
    assert "With its corrections the line stands at EUR 40.00 ." in page
    assert f'href="{CHARGES}{line.pk}/correct/"' in operator.get(f"{CHARGES}{line.pk}/change/").content.decode()
    assert f"Correct line {line.pk}, which it names" in see(operator, f"{CHARGES}{fix.pk}/change/")


# --- Correct ---------------------------------------------------------------------------------------------------------


def answers(line: Charge, **more) -> dict[str, str]:
    """What a browser sends from the check page."""
    fields = {"amount": "-1.10", "reason": "Ticket 4711", "version": "0", "idempotency_key": str(uuid.uuid4())}
    return fields | more


def place(client, line, **more):
    return client.post(f"{CHARGES}{line.pk}/correct/", answers(line, **more))


def check(client, line, **more):
    return client.post(f"{CHARGES}{line.pk}/correct/check/", answers(line, **more))


def test_form_check_and_the_new_line(operator, cast, ours, line, empty_queue):
    form = see(operator, f"{CHARGES}{line.pk}/correct/")
    assert f"Line {line.pk} of October 2026: 5 seats added, EUR 41.10." in form
    assert "in EUR: -12.50 takes off what was charged, 12.50 charges more" in form
    checked = check(operator, line)
    assert checked.status_code == 200
    page = words_of(checked)
    assert f"Line {line.pk} with its corrections EUR 41.10 EUR 40.00" in page
    assert f"A line of {MINUS}EUR 1.10 is added to the statement of December 2026" in page
    assert "Credit EUR 1.10 to Acme GmbH" in page
    assert Charge.objects.count() == 1
    done = place(operator, line)
    made = line.corrections.get()
    address = f"/bss/subscriptions/account/{cast.acme.pk}/statements/2026-12/"
    assert done.url == f"{address}?all=1#line-{made.pk}"
    assert (made.amount, made.currency, made.kind) == (Decimal("-1.10"), "EUR", "correction")
    assert made.booked_on == date(2026, 12, 10)
    assert (made.order.actor, made.order.reason, made.order.audience) == (cast.operator, "Ticket 4711", "bss")
    assert "Operator, BSS Ticket 4711" in see(operator, f"{CHARGES}{line.pk}/change/")
    assert f"Corrects line {line.pk} of October 2026" in see(operator, f"{address}?all=1")
    # What was said in October is not touched.
    october = see(operator, f"/bss/subscriptions/account/{cast.acme.pk}/statements/2026-10/")
    assert "Closing balance, 31 October 2026 EUR 41.10" in october


def test_the_customer_sees_the_line_and_not_the_reason(operator, cast, signed_in, line, empty_queue):
    place(operator, line, reason="He shouted at us")
    owner = signed_in(cast.owner)
    for address in (f"/statements/{cast.acme.pk}/2026-12/", f"/statements/{cast.acme.pk}/2026-10/"):
        page = see(owner, address)
        assert f"{MINUS}EUR 1.10" in page
        assert "shouted" not in page
    assert b"shouted" not in b"".join(owner.get(f"/statements/{cast.acme.pk}/2026-12/csv/").streaming_content)


def test_more_can_be_charged_too(operator, line, empty_queue):
    assert "Charge EUR 0.90 to Acme GmbH" in words_of(check(operator, line, amount="0.9"))
    place(operator, line, amount="+0.9")
    assert line.corrections.get().amount == Decimal("0.90")


def test_the_check_page_sent_twice_makes_one_line(operator, line, empty_queue):
    sent = answers(line)
    first, second = (operator.post(f"{CHARGES}{line.pk}/correct/", sent) for _ in range(2))
    assert first.status_code == second.status_code == 302
    assert first.url == second.url
    assert line.corrections.count() == 1


@pytest.mark.parametrize(
    ("amount", "sentence"),
    [
        ("", "Enter the amount to add or to take off, such as -12.50."),
        ("12,50", "“12,50” is not an amount."),
        ("1,000.00", "“1,000.00” is not an amount."),
        ("1e3", "“1e3” is not an amount."),
        ("- 5", "“- 5” is not an amount."),
        ("NaN", "“NaN” is not an amount."),
        ("\u0665", "“\u0665” is not an amount."),
        ("999999999999", "“999999999999” is not an amount."),
        ("5.", "“5.” is not an amount."),
        ("0", "Enter an amount other than 0."),
        ("-0.00", "Enter an amount other than 0."),
        ("-1.105", "EUR has 2 decimals."),
        ("-41.11", "The line stands at EUR 41.10: no correction may turn its sign."),
    ],
)
def test_an_amount_that_cannot_be_is_explained(amount, sentence, operator, line, empty_queue):
    for answer in (check(operator, line, amount=amount), place(operator, line, amount=amount)):
        assert answer.status_code == 422
        page = words_of(answer)
        assert "There is a problem" in page
        # In the summary and beside the field.
        assert page.count(sentence) == 2
    assert Charge.objects.count() == 1


def test_a_minus_copied_from_a_page_is_a_minus(operator, line, empty_queue):
    place(operator, line, amount=f"{MINUS}1.10")
    assert line.corrections.get().amount == Decimal("-1.10")


def test_a_reason_is_needed(operator, line):
    answer = check(operator, line, reason=" ")
    assert answer.status_code == 422
    assert "Enter a reason." in words_of(answer)


@pytest.mark.parametrize(("currency", "right", "wrong"), [("JPY", "-12", "-12.5"), ("KWD", "-12.505", "-12.5005")])
def test_each_currency_has_its_decimals(currency, right, wrong, operator, ours, empty_queue):
    line = booked(ours, "2026-10-12", amount=Decimal(900), currency=currency)
    example = {"JPY": "-12 ", "KWD": "-12.500 "}[currency]
    assert f"in {currency}: {example}" in see(operator, f"{CHARGES}{line.pk}/correct/")
    assert check(operator, line, amount=wrong).status_code == 422
    assert place(operator, line, amount=right).status_code == 302
    assert line.corrections.get().amount == Decimal(right)
    assert line.corrections.get().currency == currency


def test_who_comes_second_is_shown_the_new_sum_first(operator, line, cast, empty_queue):
    lifecycle.correct(line.pk, Decimal("-40.00"), "Ticket 1", actor=cast.operator, audience=actions.BSS)
    answer = place(operator, line)
    assert answer.status_code == 409
    assert f"Line {line.pk} with its corrections EUR 1.10 EUR 0.00" in words_of(answer)
    assert line.corrections.count() == 1
    assert place(operator, line, version="1").status_code == 302
    assert sum(line.corrections.values_list("amount", flat=True)) == Decimal("-41.10")


def test_a_correction_leads_to_the_line_it_names(operator, ours, line):
    fix = booked(ours, "2026-11-03", amount=Decimal("-1.10"), corrects=line)
    assert f"Correct line {line.pk}, which it names" in see(operator, f"{CHARGES}{fix.pk}/correct/")
    assert place(operator, fix).status_code == 409
    assert f'href="{CHARGES}{line.pk}/correct/"' in operator.get(f"{CHARGES}{fix.pk}/correct/").content.decode()
    assert Charge.objects.count() == 2


@pytest.mark.parametrize("person", ["support", "approver", "catalogue_manager", "auditor"])
def test_others_cannot_correct_by_a_forged_post(person, cast, signed_in, line):
    client = signed_in(cast.people[person])
    for answer in (check(client, line), place(client, line)):
        assert answer.status_code == 403
        assert "Your staff group may not correct the ledger" in words_of(answer)
    assert "Your staff group may not correct the ledger" in see(client, f"{CHARGES}{line.pk}/change/")
    assert not Order.objects.exists()
    assert Charge.objects.get() == line


def test_customers_are_led_away(cast, signed_in, line):
    for person in ("owner", "stranger"):
        assert place(signed_in(cast.people[person]), line).status_code == 302
    assert Charge.objects.get() == line


def test_what_was_typed_comes_back_to_the_form(operator, line):
    back = check(operator, line, change="yes").content.decode()
    assert 'value="-1.10"' in back
    assert "Ticket 4711" in back
