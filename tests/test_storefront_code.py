"""Get activation code in the Storefront: masked until asked for, each look an event, never kept by a cache."""

import re
from urllib.parse import unquote

import pytest
from django.core import mail

from subscriptions.models import Event
from tests import factories


@pytest.fixture
def door(signed_in, cast):
    return signed_in(cast.manager)


def url(subscription) -> str:
    return f"/subscriptions/{subscription.pk}/code/"


def looks() -> list[tuple[str, object]]:
    return [(event.kind, event.actor) for event in Event.objects.filter(kind__startswith="code.").order_by("pk")]


def test_it_is_masked_until_asked_for(door, cast, subscription):
    code = subscription.activation_code.reveal()
    masked = door.get(url(subscription))
    assert code not in masked.content.decode()
    assert "no-store" in masked["Cache-Control"]
    assert looks() == []
    shown = door.post(url(subscription), {"how": "show"})
    assert f'value="{code}"' in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    assert looks() == [("code.shown", cast.manager)]


def test_the_qr_code_is_drawn_without_styles(door, subscription):
    page = door.post(url(subscription), {"how": "show"}).content.decode()
    drawing = re.search(r'<div role="img".*?(<svg.*?</svg>)', page, re.DOTALL)[1]
    assert "<path" in drawing
    assert "style" not in drawing


def test_the_page_has_no_inline_style_or_script(door, subscription):
    page = door.post(url(subscription), {"how": "show"}).content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page)


def test_download_is_a_text_file_and_an_event(door, cast, subscription):
    answer = door.post(url(subscription), {"how": "download"})
    assert subscription.activation_code.reveal() in answer.content.decode()
    assert answer["Content-Disposition"] == f'attachment; filename="{subscription.number}-activation-code.txt"'
    assert answer["Content-Type"].startswith("text/plain")
    assert "no-store" in answer["Cache-Control"]
    assert looks() == [("code.downloaded", cast.manager)]


def test_mail_goes_to_a_member_by_the_worker(door, cast, subscription, drain):
    owner = cast.owner.memberships.get()
    answer = door.post(url(subscription), {"how": "mail", "member": owner.pk}, follow=True)
    page = answer.content.decode()
    assert "The code is on its way to Ana Kos (owner@acme.example)." in page
    assert subscription.activation_code.reveal() not in page
    assert mail.outbox == []
    drain()
    [message] = mail.outbox
    assert message.to == ["owner@acme.example"]
    assert subscription.activation_code.reveal() in message.body
    assert subscription.activation_code.reveal() not in message.subject
    assert looks() == [("code.mailed", cast.manager)]


def test_mail_never_leaves_the_account_or_reaches_who_may_not_see(door, cast, subscription):
    for person in (cast.stranger, cast.viewer):
        answer = door.post(url(subscription), {"how": "mail", "member": person.memberships.get().pk})
        assert answer.status_code == 422
        assert "Choose a person from the list." in answer.content.decode()
    assert looks() == []


@pytest.mark.parametrize("status", ["pending", "suspended", "failed", "cancelled"])
def test_it_is_not_shown_while_it_does_not_work(door, stock, status):
    subscription = getattr(stock, status)
    code = subscription.activation_code.reveal() if subscription.activation_code else "FAKE0"
    for answer in (door.get(url(subscription)), door.post(url(subscription), {"how": "show"})):
        assert answer.status_code in (200, 409)
        assert code not in answer.content.decode()
        assert ("no longer possible" if status == "cancelled" else "not possible now") in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
    assert looks() == []


def test_a_buyer_sees_the_codes_of_what_they_ordered(signed_in, cast, subscription):
    client = signed_in(cast.buyer)
    own = factories.SubscriptionFactory(account=cast.acme, sku=subscription.sku, ordered_by=cast.buyer)
    assert client.get(url(own)).status_code == 200
    assert client.get(url(subscription)).status_code == 403


def test_an_old_sign_in_must_be_confirmed_first(signed_in, cast, subscription):
    cast.manager.set_password(factories.PASSWORD)
    cast.manager.save()
    client = signed_in(cast.manager)
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": 1.0}]
    session.save()
    for answer in (client.get(url(subscription)), client.post(url(subscription), {"how": "show"})):
        assert unquote(answer["Location"]) == f"/account/reauthenticate/?next={url(subscription)}"
    assert looks() == []
    back = client.post(answer["Location"], {"password": factories.PASSWORD, "next": url(subscription)})
    assert back["Location"] == url(subscription)
    assert client.get(url(subscription)).status_code == 200


def test_a_real_sign_in_counts_as_recent(client, cast, subscription):
    cast.manager.set_password(factories.PASSWORD)
    cast.manager.save()
    client.post("/account/login/", {"login": cast.manager.email, "password": factories.PASSWORD})
    assert client.get(url(subscription)).status_code == 200
