"""A vendor that was taken out of VENDORS while its products are still there: nothing falls over, and each is told."""

import html
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from subscriptions import bulk, clock, fulfilment, reconciliation
from subscriptions.bulk import Drifting
from subscriptions.models import Drift, ReconciliationRun, Subscription, VendorState
from tests.factories import AccountFactory, DriftFactory, ProductFactory, SKUFactory, SubscriptionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue", "emulator")]

GONE = "“gone” is no vendor of this portal any more."


@pytest.fixture
def orphan(cast):
    sku = SKUFactory(code="OLD", product=ProductFactory(vendor="gone"))
    return SubscriptionFactory(account=cast.acme, sku=sku)


def refused(command, *arguments):
    said = StringIO()
    with pytest.raises(CommandError) as error:
        call_command(command, *map(str, arguments), stdout=said)
    assert error.value.returncode == 1
    return f"{said.getvalue()}{error.value}"


def test_reconcile_passes_over_its_subscriptions_and_says_so(orphan, cast, at_vendor):
    other = at_vendor(SubscriptionFactory(account=cast.acme), seats=30)
    said = refused("reconcile")
    assert f"{GONE} Its subscriptions cannot be read." in said
    assert "1 records could not be read" in said
    run = ReconciliationRun.objects.get()
    assert (run.status, run.compared, run.unanswered) == ("done", 1, 1)
    assert Drift.objects.get().subscription == other


@pytest.mark.parametrize("check", [[], ["--no-vendor-check"]])
def test_nothing_is_taken_over_from_it(check, orphan, tmp_path):
    AccountFactory(name="Initech")
    today = clock.now().date()
    file = tmp_path / "base.csv"
    file.write_text(
        "account,sku,seats,subscriber_id,started_on,period_end\n"
        f"Initech,OLD,25,{'A' * 32},{today - timedelta(200)},{today + timedelta(10)}\n"
    )
    said = StringIO()
    call_command("import_subscriptions", str(file), *check, stdout=said)
    assert f"1  no_vendor\n{'':>15}line 2: {GONE}" in said.getvalue()
    said = refused("import_subscriptions", file, "--apply", "--reason", "x", "--from", "Old", *check)
    assert "1 of 1 rows were not taken over." in said
    assert Subscription.objects.get() == orphan


def test_get_details_and_the_pages_of_its_subscription_say_so(orphan, cast, signed_in):
    page = signed_in(cast.operator).post(f"/bss/subscriptions/subscription/{orphan.pk}/details/")
    assert page.status_code == 200
    assert GONE in html.unescape(page.content.decode())
    seen = signed_in(cast.owner).get(f"/subscriptions/{orphan.pk}/")
    assert seen.status_code == 200
    assert "cannot change the number of seats" in seen.content.decode()


def test_its_drift_is_not_settled(orphan, cast, drain):
    DriftFactory(subscription=orphan)
    run = bulk.draft("take_theirs", Drifting(reconciliation.open_drift(), "all"), actor=cast.operator, given={})
    bulk.confirm(run, "Month's end")
    drain()
    run.refresh_from_db()
    assert (run.status, run.refused) == ("done", 1)
    assert run.rows.get().code == "vendor_silent"


def test_it_keeps_nobody_else_from_being_asked_again(orphan):
    for vendor in ("gone", "kaspersky"):
        VendorState.objects.create(vendor=vendor, paused_at=clock.now() - timedelta(days=1), reason="No")
    fulfilment.ping_vendors.func(0)
    assert VendorState.objects.get(vendor="kaspersky").paused_at is None
    assert VendorState.objects.get(vendor="gone").paused_at is not None
