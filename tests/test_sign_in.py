"""Sign in, sign out, reset the password; nobody signs up alone."""

import re

import pytest
from django.core import mail

from tests import factories


@pytest.fixture
def ana(db):
    return factories.UserFactory(email="ana@acme.example", name="Ana Kos", password=factories.PASSWORD)


def test_signing_in_leads_to_where_one_wanted_to_go(client, ana):
    assert client.get("/orders/")["Location"] == "/account/login/?next=/orders/"
    answer = client.post(
        "/account/login/?next=/orders/", {"login": ana.email, "password": factories.PASSWORD, "next": "/orders/"}
    )
    assert (answer.status_code, answer["Location"]) == (302, "/orders/")
    page = client.get("/orders/").content.decode()
    assert "Ana Kos" in page
    assert client.post("/account/logout/")["Location"] == "/account/login/"
    assert client.get("/orders/").status_code == 302


def test_a_wrong_password_is_said_above_the_heading_and_in_the_title(client, ana):
    page = client.post("/account/login/", {"login": ana.email, "password": "wrong"}).content.decode()
    assert "<title>Error: Sign in - Seatdesk</title>" in page
    assert page.index("There is a problem") < page.index("<h1>")
    assert "The email address or the password is not right." in page


def test_the_page_that_asks_once_more_names_no_time_that_the_settings_may_differ_from(client, ana, settings):
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 60
    client.force_login(ana, backend=settings.AUTHENTICATION_BACKENDS[0])
    page = client.get("/account/reauthenticate/").content.decode()
    assert "minutes" not in page
    assert "Your sign-in was some time ago." in page


def test_a_missing_field_links_the_summary_to_the_field(client, db):
    page = client.post("/account/login/", {"login": "", "password": ""}).content.decode()
    assert '<a href="#id_login">' in page
    assert 'aria-invalid="true"' in page


def test_a_password_is_reset_by_the_link_in_the_mail(client, ana):
    client.post("/account/password/reset/", {"email": ana.email})
    [message] = mail.outbox
    assert message.subject == "Seatdesk: Reset your password"
    [path] = re.findall(r"https?://[^/]+(/account/password/reset/key/\S+)", message.body)
    form = client.get(path, follow=True)
    assert "Choose a new password" in form.content.decode()
    new = "another good passphrase"
    done = client.post(form.redirect_chain[-1][0], {"password1": new, "password2": new}, follow=True)
    assert "Your password is changed" in done.content.decode()
    assert client.login(email=ana.email, password=new)


def test_an_unknown_address_gets_the_same_page_and_a_mail_without_a_link(client, db):
    answer = client.post("/account/password/reset/", {"email": "nobody@nowhere.example"}, follow=True)
    assert "Check your email" in answer.content.decode()
    assert "/password/reset/key/" not in mail.outbox[0].body


def test_nobody_signs_up_alone(client, db):
    assert "by invitation" in client.get("/account/signup/").content.decode()


PAGES = [
    "/account/login/",
    "/account/signup/",
    "/account/inactive/",
    "/account/password/reset/",
    "/account/password/reset/done/",
    "/account/password/reset/key/done/",
    "/account/password/reset/key/1-bad/",
    "/no-such-page/",
]
SIGNED_IN_PAGES = [
    "/account/logout/",
    "/account/password/change/",
    "/account/reauthenticate/",
    "/no-such-page/",
]


def titles(page: str) -> tuple[str, str]:
    """The title without its prefix, and the only h1."""
    [title] = re.findall(r"<title>(?:Error: )?(.*?) - Seatdesk</title>", page, re.DOTALL)
    [heading] = re.findall(r"<h1>(.*?)</h1>", page, re.DOTALL)
    return title.strip(), heading.strip()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_one_heading_that_is_its_title(client, db, path):
    title, heading = titles(client.get(path).content.decode())
    assert title == heading


@pytest.mark.parametrize("path", SIGNED_IN_PAGES)
def test_every_page_of_a_person_has_one_heading_that_is_its_title(signed_in, ana, path):
    title, heading = titles(signed_in(ana).get(path).content.decode())
    assert title == heading


@pytest.mark.parametrize("name", ["400.html", "403.html", "403_csrf.html", "404.html", "500.html"])
def test_error_pages_need_no_context(name):
    from django.template.loader import render_to_string

    title, heading = titles(render_to_string(name))
    assert title == heading
