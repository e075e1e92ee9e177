"""The worklist of drift in BSS: its order, its pages and filters, and the way from it to settling one or many."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions import clock, filters, reconciliation
from subscriptions.actions import COMMAND
from subscriptions.models import BulkRun, Drift, Order, ReconciliationRun, Subscription
from tests.factories import AccountFactory, DriftFactory, OrderFactory, ProductFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

LIST = "/bss/subscriptions/drift/"
SETTLE = f"{LIST}settle/"


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


def reconcile():
    run = reconciliation.begin(actor=None, audience=COMMAND)
    for _ in reconciliation.work(run):
        pass
    return run


def stranger():
    return DriftFactory(
        subscription=None, subscriber_id="LEGACY-1", field="unknown_here", ours="No", theirs="Started, 40 of OLD",
        record={}, currency="", amount=0,
    )  # fmt: skip


@pytest.fixture
def rows(cast):
    """Open drift of five subscriptions of Acme and Globex, in the order of the worklist."""
    sku = SKUFactory()
    some = [SubscriptionFactory(account=account, sku=sku) for account in [cast.acme] * 4 + [cast.globex]]
    in_usd, small, large, old, other = some
    made = {
        "usd": DriftFactory(subscription=in_usd, amount="900.00", currency="USD"),
        "small": DriftFactory(subscription=small, amount="1.00"),
        "large": DriftFactory(subscription=large, amount="50.00", field="status", ours="Active", theirs="Paused"),
        "large, later": DriftFactory(subscription=old, amount="50.00"),
        "product": DriftFactory(subscription=other, amount="20.00", field="product", ours="A", theirs="B"),
        "stranger": stranger(),
    }
    return [made[name] for name in ("stranger", "large", "large, later", "product", "small", "usd")]


def test_the_name_at_the_vendor_is_found_in_any_letters_and_by_its_index(rows, operator):
    ours = rows[1]
    for typed in (ours.subscriber_id, ours.subscriber_id.lower(), f" {ours.subscriber_id} "):
        assert listed(operator, q=typed) == [ours.pk]
    assert listed(operator, q="legacy-1") == [rows[0].pk]
    # Words of a company's name are looked for where there is no such subscriber.
    assert listed(operator, q="LEGACY-2") == []
    Drift.objects.bulk_create(
        Drift(
            vendor="kaspersky", subscriber_id=f"{number:032X}", field="unknown_here", ours="No", theirs="Started",
            found_at=ours.found_at, seen_at=ours.found_at,
        )
        for number in range(2_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE subscriptions_drift")
    found = filters.narrow(reconciliation.open_drift(), [("q", ours.subscriber_id.lower())])
    assert "drift_of_subscriber" in found[:51].explain()


def listed(browser, **query):
    answer = browser.get(LIST, query)
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


def test_most_money_first_in_each_currency_then_the_oldest(rows, operator):
    assert listed(operator) == [row.pk for row in rows]


def test_pages_by_key(rows, operator, monkeypatch):
    from subscriptions.admin.drift import DriftAdmin

    monkeypatch.setattr(DriftAdmin, "list_per_page", 2)
    seen, address = [], LIST
    while address:
        answer = operator.get(address)
        changes = answer.context["cl"]
        seen += [row.pk for row in changes.result_list]
        address = f"{LIST}{changes.next_url}" if changes.next_url else ""
    assert seen == [row.pk for row in rows]


def test_filters(rows, operator):
    keys = {row.field + row.currency: row.pk for row in rows}
    assert listed(operator, field="product") == [keys["productEUR"]]
    assert listed(operator, field="product,status") == [keys["statusEUR"], keys["productEUR"]]
    assert listed(operator, currency="usd") == [keys["seatsUSD"]]
    assert listed(operator, q="globex") == [keys["productEUR"]]
    assert listed(operator, q="legacy-1") == [keys["unknown_here"]]
    assert listed(operator, q=rows[1].subscription.number) == [rows[1].pk]
    assert listed(operator, product=rows[1].subscription.sku.product_id) == [row.pk for row in rows[1:]]
    assert listed(operator, ending="gone") == []


def test_what_has_ended_is_listed_when_asked_for(rows, operator):
    for row, ending in ((rows[4], "gone"), (rows[1], "settled")):
        Drift.objects.filter(pk=row.pk).update(ended_at=clock.now(), ending=ending)
    assert rows[4].pk not in listed(operator)
    assert listed(operator, ending="gone,settled") == sorted([rows[4].pk, rows[1].pk], reverse=True)
    page = operator.get(LIST, {"ending": "gone"}).content.decode()
    assert 'name="ticked"' not in page
    assert 'id="settle"' not in page


def test_a_row_says_what_differs_and_leads_to_get_details(rows, operator):
    page = operator.get(LIST).content.decode()
    subscription = rows[1].subscription
    assert f'<a href="/bss/subscriptions/subscription/{subscription.pk}/details/">{subscription.number}</a>' in page
    assert "Paused" in page
    assert "EUR 50.00" in page
    assert "At stake each month, by our price list: EUR 121.00, USD 900.00." in " ".join(page.split())
    assert "No price" in page
    assert f'value="{rows[0].pk}"' not in page
    assert "Nothing was compared with the licence service yet" in page


@pytest.mark.parametrize(
    ("field", "noted", "said"),
    [
        ("status", "NotStarted", "Not started"),
        ("status", "Started", "Running"),
        ("status", "Paused", "Paused"),
        ("status", "SoftCancelled", "Set to end"),
        ("status", "HardCancelled", "Ended for good"),
        ("status", "Whatever", "Whatever"),
        ("existence", "No", "Not known"),
        ("existence", "Yes", "Known"),
        ("unknown_here", "Started, 40 of OLD", "Running, 40 of OLD"),
        ("unknown_here", "Could not be read", "Could not be read"),
        ("product", "Started", "Started"),
        ("seats", "30", "30"),
    ],
)
def test_what_differs_is_said_as_people_say_it(field, noted, said):
    assert reconciliation.in_words(field, noted) == said


def test_the_list_says_what_the_vendor_says_in_words(subscription, operator):
    DriftFactory(subscription=subscription, field="status", ours="Active", theirs="HardCancelled")
    stranger()
    page = operator.get(LIST).content.decode()
    for said in ("Active", "Ended for good", "Not known", "Running, 40 of OLD"):
        assert f">{said}</td>" in page
    assert "HardCancelled" not in page


def test_the_list_says_what_taking_an_unknown_licence_does_and_separates_thousands(subscription, operator):
    DriftFactory(subscription=subscription, field="existence", ours="Yes", theirs="No")
    DriftFactory(subscription=subscription, field="seats", ours="25", theirs="9000")
    page = operator.get(LIST).content.decode()
    assert "Not known<small>Take theirs cancels it here, for good.</small>" in page
    assert ">9,000</td>" in page
    Drift.objects.filter(field="existence").update(ended_at=clock.now(), ending="gone")
    assert "for good" not in operator.get(LIST, {"ending": "gone"}).content.decode()


def test_the_page_says_when_all_was_compared(subscription, operator):
    run = reconcile()
    page = " ".join(operator.get(LIST).content.decode().split())
    assert f">run {run.pk}</a>" in page
    assert "Last compared by" in page
    ReconciliationRun.objects.update(status="stopped", said="The licence service did not answer.")
    assert "has stopped before its end: The licence service did not answer." in operator.get(LIST).content.decode()
    assert (
        "The licence service did not answer." in operator.get("/bss/subscriptions/reconciliationrun/").content.decode()
    )


def test_queries_do_not_grow_with_rows(operator):
    account, sku = AccountFactory(), SKUFactory()

    def queries(many):
        for _ in range(many):
            DriftFactory(subscription__account=account, subscription__sku=sku)
        with CaptureQueriesContext(connection) as captured:
            operator.get(LIST)
        return len(captured)

    assert queries(2) == queries(20)


# --- settling --------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(cast, at_vendor):
    sku = SKUFactory()
    made = [at_vendor(SubscriptionFactory(account=cast.acme, sku=sku), seats=30 + more) for more in range(3)]
    reconcile()
    return made


def keys(subscriptions):
    return list(Drift.objects.filter(subscription__in=subscriptions, ended_at=None).values_list("pk", flat=True))


def seats(subscriptions):
    return [Subscription.objects.get(pk=one.pk).seats for one in subscriptions]


def test_one_is_settled_from_its_page(three, operator):
    page = operator.get(f"/bss/subscriptions/subscription/{three[0].pk}/details/").content.decode()
    assert f"/bss/subscriptions/subscription/{three[0].pk}/take_theirs/seats/" in page


def test_many_are_previewed_confirmed_and_settled(three, operator, drain):
    asked = operator.post(SETTLE, {"which": "ticked", "ticked": keys(three[:2]), "action": "take_theirs"})
    run = BulkRun.objects.get()
    assert asked.url == f"/bss/subscriptions/bulkrun/{run.pk}/change/"
    page = operator.get(asked.url).content.decode()
    assert "2 selected: all can take theirs." in page
    assert "<h1>Take theirs: 2 differences</h1>" in page
    assert "Take theirs for 2 differences</button>" in page
    assert f'<a class="go-back" href="{LIST}">Go back</a>' in page
    assert seats(three) == [25, 25, 25]
    operator.post(f"/bss/subscriptions/bulkrun/{run.pk}/ask/", {"reason": "Month's end", "confirm": "1"})
    drain()
    assert seats(three) == [30, 31, 25]
    assert set(Order.objects.values_list("action", "reason")) == {("take_theirs", "Month's end")}
    assert listed(operator) == keys(three[2:])


@pytest.mark.parametrize(("chosen", "status"), [("keep", "scheduled"), ("discard", "withdrawn")])
def test_many_that_run_there_are_asked_what_becomes_of_plans_that_stood_still(
    chosen, status, cast, at_vendor, operator, drain
):
    one = at_vendor(SubscriptionFactory(account=cast.acme, status="suspended"), status="Started")
    planned = OrderFactory(
        subscription=one, status="scheduled", action="decrease", before={"Seats": 25}, after={"Seats": 20}
    )
    reconcile()
    asked = operator.post(SETTLE, {"which": "ticked", "ticked": keys([one]), "action": "take_theirs"})
    page = operator.get(asked.url).content.decode()
    assert "1 selected: none can take theirs." in page
    assert "A decrease to 20 seats is planned for" in page
    run = BulkRun.objects.get()
    entered = {"planned": chosen, "reason": "It runs"}
    page = operator.post(f"/bss/subscriptions/bulkrun/{run.pk}/ask/", {"look": "1", **entered}, follow=True)
    assert "1 selected: all can take theirs." in page.content.decode()
    assert ("which will not happen" in page.content.decode()) == (chosen == "discard")
    operator.post(f"/bss/subscriptions/bulkrun/{run.pk}/ask/", {"confirm": "1", **entered})
    drain()
    assert Subscription.objects.get(pk=one.pk).status == "active"
    assert Order.objects.get(pk=planned.pk).status == status


def test_where_none_can_there_are_no_others(cast, at_vendor, operator):
    of_another_product = at_vendor(SubscriptionFactory(account=cast.acme), product="OTHER")
    reconcile()
    asked = operator.post(SETTLE, {"which": "ticked", "ticked": keys([of_another_product]), "action": "take_theirs"})
    page = operator.get(asked.url).content.decode()
    assert "1 selected: none can take theirs." in page
    assert "<h3>Why none can</h3>" in page
    assert "told by mail" not in page


def test_nobody_is_told_of_what_is_sent(three, operator):
    said = "Customers are told by mail, as with one subscription; whoever would get many gets one letter."
    for action, told in (("take_theirs", True), ("push_ours", False)):
        asked = operator.post(SETTLE, {"which": "ticked", "ticked": keys(three), "action": action})
        assert (said in operator.get(asked.url).content.decode()) == told


@pytest.mark.parametrize(("which", "many"), [("page", 3), ("matching", 2)])
def test_a_page_or_all_that_match(which, many, three, cast, at_vendor, operator):
    elsewhere = at_vendor(SubscriptionFactory(account=cast.globex), seats=30)
    Drift.objects.filter(subscription=three[0]).update(ended_at=clock.now(), ending="gone")
    reconcile()
    chosen = [*three[1:], elsewhere] if which == "page" else three[1:]
    query = "q=acme&p=1" if which == "matching" else ""
    if which == "matching":
        Drift.objects.filter(subscription=three[0], ended_at=None).update(ended_at=clock.now(), ending="gone")
    posted = {"which": which, "list": query, "on_page": ",".join(map(str, keys(chosen))), "action": "push_ours"}
    operator.post(SETTLE, posted)
    run = BulkRun.objects.get()
    assert (run.action, run.total) == ("push_ours", many)
    assert set(run.rows.values_list("subscription", flat=True)) == {one.pk for one in chosen}


@pytest.mark.parametrize(
    ("posted", "said"),
    [
        ({"action": ""}, "Choose whether to take theirs or push ours."),
        ({"action": "suspend"}, "Choose whether to take theirs or push ours."),
        ({"action": "take_theirs"}, "Tick the differences in the list first"),
        ({"action": "take_theirs", "ticked": ["x", "7" * 30]}, "Tick the differences in the list first"),
        ({"action": "take_theirs", "which": "matching", "list": "field=nose"}, "is none of: status, seats"),
        ({"action": "take_theirs", "which": "matching", "list": "subscription__id=5"}, "There is no filter"),
        ({"action": "take_theirs", "which": "matching", "list": "product=Unsold"}, "Tick the differences in the list"),
    ],
)
def test_what_cannot_be_is_said_on_the_list(posted, said, three, operator):
    ProductFactory(name="Unsold")
    answer = operator.post(SETTLE, posted, follow=True)
    assert said in answer.content.decode()
    assert not BulkRun.objects.exists()


def test_the_list_of_subscriptions_settles_nothing(three, operator):
    posted = {"ticked": [three[0].pk], "action": "take_theirs"}
    operator.post("/bss/subscriptions/bulkrun/choose/", posted)
    assert not BulkRun.objects.exists()


@pytest.mark.parametrize("person", ["support", "operator", "approver", "catalogue_manager", "auditor", "owner", None])
def test_a_forged_post_settles_for_operators_alone(person, three, cast, signed_in, client, drain):
    browser = signed_in(cast.people[person]) if person else client
    answer = browser.post(SETTLE, {"ticked": keys(three), "action": "take_theirs"})
    staff = person in ("support", "approver", "catalogue_manager", "auditor")
    assert answer.status_code == (403 if staff else 302)
    assert BulkRun.objects.exists() == (person == "operator")
    if staff:
        page = browser.get(LIST).content.decode()
        assert three[0].number in page
        assert 'name="ticked"' not in page
    drain()
    assert seats(three) == [25, 25, 25]
