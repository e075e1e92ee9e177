"""The start page of BSS in a browser: a full desk and an empty one, in every light, narrow, and without scripts."""

from datetime import timedelta

import pytest

from subscriptions import clock, figures
from subscriptions.models import VendorState
from tests.factories import DriftFactory, OrderFactory, SubscriptionFactory, VendorCallFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full_desk(cast):
    now = clock.now()
    paid = SubscriptionFactory(account=cast.acme, seats=1_000_000, sku__seats_max=2_000_000)
    SubscriptionFactory(status="ending", ends_at=now + timedelta(days=3))
    held = OrderFactory(subscription=paid, status="needs_attention", needs_staff=True, outcome_message="Two records.")
    OrderFactory(status="failed", needs_staff=True, outcome_message="Product is not in the contract." * 9)
    OrderFactory(status="awaiting_approval", actor=cast.owner)
    OrderFactory(status="placed", placed_at=now - timedelta(minutes=9))
    for ago in range(12):
        OrderFactory.create_batch(1 + ago % 4, finished_at=now - timedelta(days=ago), subscription=paid)
    VendorCallFactory(order=held, outcome="unknown", finished_at=now, latency_ms=1900)
    VendorState.objects.create(vendor="kaspersky", paused_at=now, reason="Wrong user or password")
    DriftFactory(subscription=paid)
    figures.refresh()


def test_axe_finds_nothing(full_desk, cast, open_page, accessible):
    page = open_page(cast.operator)
    page.goto("/bss/")
    page.get_by_text("Each day as a table").click()
    assert page.get_by_role("row").filter(has_text="Increase seats 4").first.is_visible()
    accessible(page)


def test_a_new_installation(cast, open_page, accessible):
    page = open_page(cast.auditor)
    page.goto("/bss/")
    assert page.get_by_text("Nothing needs a person now.").is_visible()
    accessible(page)


def test_it_fits_a_narrow_screen(full_desk, cast, open_page):
    page = open_page(cast.operator, viewport={"width": 320, "height": 700})
    page.goto("/bss/")
    page.get_by_text("Each day as a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_without_javascript_it_is_the_same_page(full_desk, cast, open_page):
    texts = []
    for javascript in (True, False):
        page = open_page(cast.operator, javascript=javascript)
        page.goto("/bss/")
        texts.append(page.locator("main").inner_text())
        page.get_by_role("link", name="Drift differences").click()
        assert page.locator("h1").inner_text() == "Drift"
    assert texts[0] == texts[1]


def test_bars_are_seen_where_a_person_has_chosen_the_colours(full_desk, cast, open_page):
    page = open_page(cast.operator, forced_colors="active")
    page.goto("/bss/")
    bar, ground = page.evaluate(
        "[getComputedStyle(document.querySelector('.bars rect')).fill, getComputedStyle(document.body).backgroundColor]"
    )
    assert bar != ground
    assert page.locator(".bars rect").count() == 12
