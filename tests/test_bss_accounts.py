"""Accounts, their members, and people: who may be changed by whom."""

import re
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core import mail
from django.urls import reverse

from subscriptions.models import Account, User
from tests.factories import AccountFactory, ChargeFactory, MemberFactory, SubscriptionFactory, UserFactory

pytestmark = pytest.mark.django_db


def url(model, page, *arguments):
    return reverse(f"admin:subscriptions_{model}_{page}", args=arguments)


@pytest.fixture
def operator(cast, signed_in):
    return signed_in(cast.operator)


@pytest.fixture
def administrator(signed_in):
    return signed_in(UserFactory(is_staff=True, is_superuser=True))


def members(account, *rows, **more):
    """The inline's part of the form: (member or None, person, role, delete)."""
    existing = [row for row in rows if row[0]]
    given = {"members-TOTAL_FORMS": len(rows), "members-INITIAL_FORMS": len(existing)}
    for number, (member, person, role, *delete) in enumerate([*existing, *(row for row in rows if not row[0])]):
        given |= {f"members-{number}-user": person.email, f"members-{number}-role": role}
        given |= {f"members-{number}-account": account.pk or ""} | (
            {f"members-{number}-id": member.pk} if member else {}
        )
        given |= {f"members-{number}-DELETE": "on"} if delete else {}
    kept = {name: getattr(account, name) for name in ("name", "time_zone", "language", "currency", "discount")}
    return {**kept, **given, **more}


def test_an_account_with_its_members(operator):
    person = UserFactory()
    operator.post(url("account", "add"), members(Account(name="Initech", time_zone="UTC"), (None, person, "owner")))
    account = Account.objects.get(name="Initech")
    assert account.members.get().user == person


def test_a_member_is_named_by_the_address_and_only_once(operator, cast):
    address = url("account", "change", cast.globex.pk)
    rows = members(cast.globex, (cast.stranger.memberships.get(), cast.stranger, "owner"), (None, cast.viewer, "buyer"))
    page = operator.get(address).content.decode()
    assert 'value="stranger@globex.example"' in page
    wrong = operator.post(address, rows | {"members-1-user": "nobody@globex.example"}).content.decode()
    assert "Nobody has this e-mail address" in wrong
    assert 'value="nobody@globex.example"' in wrong
    operator.post(address, rows | {"members-1-user": " Viewer@ACME.example "})
    assert cast.globex.members.get(user=cast.viewer).role == "buyer"
    again = members(
        cast.globex, (cast.stranger.memberships.get(), cast.stranger, "owner"), (None, cast.viewer, "owner")
    )
    assert "Vera Zupan is a member already." in operator.post(address, again).content.decode()
    twice = members(cast.acme, (None, cast.support, "viewer"), (None, cast.support, "buyer"))
    answer = operator.post(url("account", "change", cast.acme.pk), twice)
    assert "There is a problem" in answer.content.decode()
    assert not cast.support.memberships.exists()
    assert cast.globex.members.count() == 2


def test_the_time_zone_must_exist(operator, cast):
    answer = operator.post(url("account", "change", cast.globex.pk), members(cast.globex, time_zone="Mars/Base"))
    assert "is no time zone" in answer.content.decode()


def test_what_a_company_has_besides(operator, cast):
    new = {
        "language": "de", "currency": "usd", "discount": "12.5", "legal_name": "Globex d.o.o.", "address": "Cesta 1",
        "country": "si", "vat_id": "SI12345678", "time_zone": "Europe/Ljubljana",
    }  # fmt: skip
    rows = members(cast.globex, (cast.stranger.memberships.get(), cast.stranger, "owner"))
    operator.post(url("account", "change", cast.globex.pk), rows | new)
    saved = Account.objects.get(pk=cast.globex.pk)
    assert (saved.language, saved.currency, saved.discount, saved.country) == ("de", "USD", Decimal("12.50"), "SI")
    assert saved.has_details
    assert (saved.time_zone, saved.vat_id) == ("Europe/Ljubljana", "SI12345678")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"currency": "EUX"}, "“EUX” is no currency. Enter an ISO 4217 code such as EUR."),
        ({"country": "XQ"}, "“XQ” is no country. Enter an ISO 3166 code such as SI."),
        ({"country": "ZZ"}, "is no country"),
        ({"discount": "100.01"}, "A discount is from 0 to 100 per cent."),
        ({"discount": "-1"}, "A discount is from 0 to 100 per cent."),
        ({"time_zone": "Mars/Base"}, "is no time zone"),
    ],
)
def test_what_cannot_be_is_a_sentence_beside_its_field(wrong, sentence, operator, cast):
    rows = members(cast.globex, (cast.stranger.memberships.get(), cast.stranger, "owner"))
    page = operator.post(url("account", "change", cast.globex.pk), rows | wrong).content.decode()
    [field] = wrong
    beside = page[page.index(f"form-row errors field-{field}") :]
    assert sentence in beside[: beside.index(f'name="{field}"')]
    assert Account.objects.get(pk=cast.globex.pk).currency == "EUR"


@pytest.mark.parametrize("what", ["subscription", "charge"])
def test_currency_and_time_zone_stay_once_the_ledger_is_kept_in_them(what, operator, cast):
    if what == "charge":
        ChargeFactory(account=cast.acme, subscription=SubscriptionFactory(account=cast.globex))
    else:
        SubscriptionFactory(account=cast.acme)
    address = url("account", "change", cast.acme.pk)
    page = operator.get(address).content.decode()
    assert 'name="currency"' not in page
    assert 'name="time_zone"' not in page
    owners = [(one, one.user, one.role) for one in cast.acme.members.order_by("pk")]
    forged = {"currency": "USD", "time_zone": "Asia/Tokyo", "discount": "5"}
    assert operator.post(address, members(cast.acme, *owners) | forged).status_code == 302
    saved = Account.objects.get(pk=cast.acme.pk)
    assert (saved.currency, saved.time_zone, saved.discount) == ("EUR", "UTC", 5)


def test_the_last_owner_cannot_go(operator):
    owner = MemberFactory(role="owner")
    other = UserFactory()
    for row in ((owner, owner.user, "viewer"), (owner, owner.user, "owner", True)):
        answer = operator.post(url("account", "change", owner.account_id), members(owner.account, row))
        assert "The last Owner cannot go" in answer.content.decode()
    assert owner.account.members.get().role == "owner"
    operator.post(
        url("account", "change", owner.account_id),
        members(owner.account, (owner, owner.user, "viewer"), (None, other, "owner")),
    )
    assert owner.account.members.get(role="owner").user == other


def test_an_account_with_subscriptions_is_not_deleted(administrator, operator):
    subscription = SubscriptionFactory()
    account = subscription.account
    page = administrator.get(url("account", "delete", account.pk))
    assert "has a history and stays" in page.content.decode()
    assert subscription.number in page.content.decode()
    administrator.post(url("account", "delete", account.pk), {"post": "yes"})
    assert Account.objects.filter(pk=account.pk).exists()
    assert operator.post(url("account", "delete", account.pk), {"post": "yes"}).status_code == 403
    empty = AccountFactory()
    administrator.post(url("account", "delete", empty.pk), {"post": "yes"})
    assert not Account.objects.filter(pk=empty.pk).exists()


def test_the_account_page_leads_to_its_subscriptions_and_to_start(operator, cast):
    page = operator.get(url("account", "change", cast.acme.pk)).content.decode()
    assert url("account", "start", cast.acme.pk) in page
    assert f"{url('subscription', 'changelist')}?account={cast.acme.pk}" in page


# --- people ----------------------------------------------------------------------------------------------------------

PASSWORD = "a long enough password"


def person(user, **more):
    given = {"email": user.email, "name": user.name, "is_active": "on"}
    return {**given, **more}


def test_a_new_person_is_invited_and_nobody_else_knows_the_password(operator, client):
    given = {"email": "New@Acme.example", "name": "Nela New"}
    forged = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    page = operator.post(url("user", "add"), {**given, **forged}, follow=True).content.decode()
    user = User.objects.get(name="Nela New")
    assert user.email == "new@acme.example"
    assert not user.has_usable_password()
    assert not user.is_staff
    assert f'action="{url("user", "password_link", user.pk)}"' in page
    told = operator.post(url("user", "password_link", user.pk), follow=True).content.decode()
    assert "A link to set a password is on its way to new@acme.example." in told
    [message] = mail.outbox
    assert message.to == ["new@acme.example"]
    assert message.subject == "Seatdesk: Choose your password"
    assert "You can sign in to Seatdesk" in message.body
    [path] = re.findall(r"https?://[^/]+(/account/password/reset/key/\S+)", message.body)
    assert path not in told
    form = client.get(path, follow=True)
    client.post(form.redirect_chain[-1][0], {"password1": PASSWORD, "password2": PASSWORD})
    assert client.login(email=user.email, password=PASSWORD)


def test_who_may_not_sign_in_gets_no_link(operator, cast):
    person = UserFactory(is_active=False)
    assert "Send a link" not in operator.get(url("user", "change", person.pk)).content.decode()
    told = operator.post(url("user", "password_link", person.pk), follow=True).content.decode()
    assert "is not active" in told
    assert not mail.outbox


def test_a_link_to_set_a_password_is_sent_by_who_may_change_the_person(operator, cast, signed_in):
    address = url("user", "password_link", cast.owner.pk)
    assert operator.get(address).status_code == 405
    assert signed_in(cast.support).post(address).status_code == 403
    assert signed_in(cast.owner).post(address).status_code == 302
    assert operator.post(url("user", "password_link", cast.auditor.pk)).status_code == 403
    assert operator.post(url("user", "password_link", 10**9)).status_code == 404
    assert not mail.outbox
    operator.post(address)
    assert [one.subject for one in mail.outbox] == ["Seatdesk: Reset your password"]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (cast.operator, str(cast.owner.pk))
    assert "link to set a password" in entry.get_change_message()


def test_a_mail_server_that_is_away_is_said(operator, cast, monkeypatch):
    def away(*arguments, **more):
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", away)
    told = operator.post(url("user", "password_link", cast.owner.pk), follow=True).content.decode()
    assert "The mail could not be sent. Try again later." in told
    assert not LogEntry.objects.exists()


def test_operators_cannot_make_staff(operator, cast):
    """Nobody but an administrator gives or takes what somebody may do in BSS."""
    group = Group.objects.get(name="Operator")
    forged = person(cast.owner, is_staff="on", is_superuser="on", groups=[group.pk], name="Ana Nova")
    operator.post(url("user", "change", cast.owner.pk), forged)
    user = User.objects.get(pk=cast.owner.pk)
    assert user.name == "Ana Nova"
    assert not user.is_staff
    assert not user.is_superuser
    assert not user.groups.exists()


def test_operators_cannot_become_a_colleague(operator, cast):
    """Whoever could change a colleague's address or password could sign in as that colleague."""
    boss = UserFactory(is_staff=True, is_superuser=True)
    for other in (cast.auditor, boss, cast.operator):
        assert operator.get(url("user", "change", other.pk)).status_code == 200
        assert operator.post(url("user", "change", other.pk), person(other, email="x@x.example")).status_code == 403
        new = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true", "set-password": "1"}
        assert operator.post(reverse("admin:auth_user_password_change", args=[other.pk]), new).status_code == 403
        assert not User.objects.get(pk=other.pk).check_password(PASSWORD)


def test_an_administrator_makes_staff(administrator, cast):
    group = Group.objects.get(name="Support")
    administrator.post(url("user", "change", cast.owner.pk), person(cast.owner, is_staff="on", groups=[group.pk]))
    user = User.objects.get(pk=cast.owner.pk)
    assert user.is_staff
    assert user.groups.get() == group


def test_only_an_administrator_sets_a_password(operator, administrator, cast):
    """Operators could else sign in as any customer."""
    address = reverse("admin:auth_user_password_change", args=[cast.owner.pk])
    new = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true", "set-password": "1"}
    assert operator.get(address).status_code == 403
    assert operator.post(address, new).status_code == 403
    page = operator.get(url("user", "change", cast.owner.pk)).content.decode()
    assert "/password/" not in page
    assert "id_password" not in page
    assert administrator.get(address).status_code == 200
    assert administrator.post(address, new).status_code == 302
    assert User.objects.get(pk=cast.owner.pk).check_password(PASSWORD)
    assert "/password/" in administrator.get(url("user", "change", cast.owner.pk)).content.decode()


def test_only_an_administrator_changes_an_address(operator, administrator, cast):
    """Whoever holds the mailbox can set the password."""
    former = cast.owner.email
    EmailAddress.objects.create(user=cast.owner, email=former, primary=True, verified=True)
    operator.post(url("user", "change", cast.owner.pk), person(cast.owner, email="x@x.example", name="Ana Nova"))
    user = User.objects.get(pk=cast.owner.pk)
    assert (user.email, user.name) == (former, "Ana Nova")
    administrator.post(url("user", "change", cast.owner.pk), person(cast.owner, email="Ana@New.example"))
    assert User.objects.get(pk=cast.owner.pk).email == "ana@new.example"
    # The former address does not sign in any more.
    assert not EmailAddress.objects.filter(user=cast.owner).exists()


def test_people_are_switched_off_not_deleted(administrator, cast):
    assert administrator.post(url("user", "delete", cast.viewer.pk), {"post": "yes"}).status_code == 403
    given = person(cast.viewer)
    del given["is_active"]
    administrator.post(url("user", "change", cast.viewer.pk), given)
    assert not User.objects.get(pk=cast.viewer.pk).is_active
