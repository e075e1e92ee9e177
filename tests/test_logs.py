"""What is written to the log holds no secret, wherever it stood."""

import logging
import re

import pytest
from django.core import mail

from portal.logs import mask_text
from tests import factories


@pytest.mark.django_db
def test_a_link_that_resets_a_password_is_not_logged(client, caplog):
    person = factories.UserFactory(email="ana@acme.example", password=factories.PASSWORD)
    client.post("/account/password/reset/", {"email": person.email})
    [(path, key)] = re.findall(r"https?://[^/]+(/account/password/reset/key/[0-9A-Za-z]+-(\S+)/)", mail.outbox[0].body)
    with caplog.at_level(logging.INFO):
        assert client.get(path).status_code == 302
    logged = str([record.msg for record in caplog.records])
    assert "/account/password/reset/key/" in logged
    assert key not in logged


def test_the_key_is_masked_wherever_the_link_stands():
    link = "https://portal.example/account/password/reset/key/1a-abc123-0f9/"
    masked = "https://portal.example/account/password/reset/key/1a-****"
    assert mask_text(f"Internal Server Error: {link}") == f"Internal Server Error: {masked}"
    assert mask_text(f"<Request: GET '{link}'>") == f"<Request: GET '{masked}'>"
    assert mask_text(f"GET {link}?next=/") == f"GET {masked}?next=/"
