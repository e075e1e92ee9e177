"""The activation code in BSS: masked until asked for; each way is a POST with an event and its person."""

import time
from urllib.parse import unquote

import pytest
from django.core import mail
from django.urls import reverse

from subscriptions import staff_groups
from subscriptions.models import Event
from tests.factories import PASSWORD, SubscriptionFactory

pytestmark = pytest.mark.django_db

CODE = "FAKE0-AAAAA-BBBBB-CCCCC"
WAYS = ("show", "download", "mail")


def url(subscription, way=""):
    return reverse(f"admin:subscriptions_subscription_code{'_' + way if way else ''}", args=[subscription.pk])


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def ours(cast):
    return SubscriptionFactory(account=cast.acme)


def test_masked_until_asked_for(operator, ours):
    for address in (url(ours), reverse("admin:subscriptions_subscription_change", args=[ours.pk])):
        page = operator.get(address).content.decode()
        assert CODE not in page
        assert "....-CCCCC" in page
    assert not Event.objects.exists()


def test_reveal(operator, ours, cast):
    answer = operator.post(url(ours, "show"))
    page = answer.content.decode()
    assert f'value="{CODE}"' in page
    assert "<svg" in page[page.index("qr-figure") :]
    assert "style=" not in page
    assert "no-store" in answer["Cache-Control"]
    event = Event.objects.get()
    assert (event.kind, event.actor, event.audience) == ("code.shown", cast.operator, "bss")
    assert CODE not in str(event.__dict__)


def test_download(operator, ours, cast):
    answer = operator.post(url(ours, "download"))
    assert answer.content.decode() == f"{CODE}\n"
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="{ours.number}-activation-code.txt"'
    assert "no-store" in answer["Cache-Control"]
    assert Event.objects.get().kind == "code.downloaded"


def test_mail_to_a_member(operator, ours, cast, drain):
    member = cast.acme.members.get(user=cast.manager)
    answer = operator.post(url(ours, "mail"), {"member": member.pk})
    assert answer.status_code == 302
    assert CODE not in answer.url
    drain()
    [sent] = mail.outbox
    assert sent.to == [cast.manager.email]
    assert CODE in sent.body
    assert CODE not in sent.subject
    event = Event.objects.get()
    assert (event.kind, event.actor, event.after) == ("code.mailed", cast.operator, {"To": cast.manager.email})


def test_mail_only_to_who_may_see_it(operator, ours, cast):
    viewer = cast.acme.members.get(user=cast.viewer)
    answer = operator.post(url(ours, "mail"), {"member": viewer.pk})
    assert answer.status_code == 409
    assert "Vera Zupan may not see the activation code" in answer.content.decode()
    stranger = cast.globex.members.get()
    for wrong in (stranger.pk, "", "x"):
        assert operator.post(url(ours, "mail"), {"member": wrong}).status_code == 422
    assert not Event.objects.exists()


@pytest.mark.parametrize("group", staff_groups.STAFF_GROUPS)
def test_its_own_permission(group, cast, signed_in, ours):
    browser = signed_in(cast.people[group.lower().replace(" ", "_")])
    may = "code_subscription" in staff_groups.STAFF_GROUPS[group]
    member = cast.acme.members.get(user=cast.manager)
    assert browser.get(url(ours)).status_code == (200 if may else 403)
    page = browser.get(reverse("admin:subscriptions_subscription_change", args=[ours.pk])).content.decode()
    assert ("Reveal" in page) == may
    assert may or "Your staff group may not see activation codes." in page
    for way in WAYS:
        answer = browser.post(url(ours, way), {"member": member.pk})
        assert answer.status_code == ((302 if way == "mail" else 200) if may else 403)
        assert may or CODE not in answer.content.decode()
    assert Event.objects.count() == (3 if may else 0)


@pytest.mark.parametrize("way", WAYS)
def test_get_reveals_nothing(way, operator, ours):
    assert operator.get(url(ours, way)).status_code == 405
    assert not Event.objects.exists()


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_not_ready(status, operator, cast):
    subscription = SubscriptionFactory(account=cast.acme, status=status)
    assert "The activation code is not ready yet." in operator.get(url(subscription)).content.decode()
    answer = operator.post(url(subscription, "show"))
    assert answer.status_code == 409
    assert not Event.objects.exists()


@pytest.mark.parametrize("status", ["suspended", "cancelled"])
def test_staff_see_what_customers_do_not(status, operator, cast):
    subscription = SubscriptionFactory(account=cast.acme, status=status)
    assert CODE in operator.post(url(subscription, "show")).content.decode()


def test_an_old_sign_in_must_be_confirmed_first(ours, cast, signed_in):
    cast.operator.set_password(PASSWORD)
    cast.operator.save()
    operator = signed_in(cast.operator)
    session = operator.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time() - 15 * 60 - 1}]
    session.save()
    member = cast.acme.members.get(user=cast.manager)
    for answer in (operator.get(url(ours)), *(operator.post(url(ours, way), {"member": member.pk}) for way in WAYS)):
        assert unquote(answer["Location"]) == f"/account/reauthenticate/?next={url(ours)}"
        assert "no-store" in answer["Cache-Control"]
    assert not Event.objects.exists()
    back = operator.post(answer["Location"], {"password": PASSWORD, "next": url(ours)})
    assert back["Location"] == url(ours)
    assert CODE in operator.post(url(ours, "show")).content.decode()


def test_who_may_not_see_it_is_not_asked_to_confirm(ours, cast, signed_in):
    support = signed_in(cast.support)
    session = support.session
    session["account_authentication_methods"] = [{"method": "password", "at": 1.0}]
    session.save()
    assert support.get(url(ours)).status_code == 403


def test_mail_goes_to_active_people_only(operator, ours, cast):
    gone = cast.acme.members.get(user=cast.manager)
    cast.manager.is_active = False
    cast.manager.save()
    assert cast.manager.email not in operator.get(url(ours)).content.decode()
    assert operator.post(url(ours, "mail"), {"member": gone.pk}).status_code == 422
    assert not Event.objects.exists()
