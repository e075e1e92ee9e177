"""What is written to the log holds no secret, wherever it stood, and says whose request or job it belongs to."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from django.conf import settings as django_settings
from django.core import mail
from procrastinate.contrib.django import app

from portal.logs import mask_text
from subscriptions import lifecycle
from subscriptions.lifecycle import Wish
from subscriptions.models import Order
from tests import factories
from tests.worker_process import database_url, wait_until


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
    assert mask_text("Authorization: Bearer abc.def") == "Authorization: Bearer ****"
    assert mask_text("OPERATIONS_TOKEN=abc.def") == "OPERATIONS_TOKEN=****"


def test_a_code_in_a_query_is_masked_and_a_refusal_is_not():
    assert mask_text("GET /x/?code=ABCDE-1&page=2") == "GET /x/?code=****&page=2"
    assert mask_text("GET /x/?page=2&promo_code=ABC") == "GET /x/?page=2&promo_code=****"
    assert mask_text("refused, code=602") == "refused, code=602"


# --- real lines of real processes ------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path):
    """`running(*command, **environment)` is a process with the settings of production, and the lines that it logs."""

    @contextmanager
    def run(*command, **environment):
        log = tmp_path / "log"
        # Whatever the demo and the tests are lenient about is off; the key is ours, so that our sessions count.
        bare = {name: value for name, value in os.environ.items() if name != "SEATDESK_DEMO"}
        told = {
            "DATABASE_URL": database_url(), "SECRET_KEY": django_settings.SECRET_KEY, "SECURE_PLAIN_HTTP": "1",
            "ALLOWED_HOSTS": "127.0.0.1", "UPKEEP_CRON": "0 0 1 1 *",
        }  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=django_settings.BASE_DIR, env=bare | told | environment, stdin=subprocess.DEVNULL, stderr=out,
            )  # fmt: skip
        try:
            yield lambda: [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    return run


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def served(running, **environment):
    port = free_port()
    web = (
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "portal.wsgi:application",
    )
    with running(*web, **environment) as lines, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def up():
            try:
                return client.get("/livez").is_success
            except httpx.TransportError:
                return False

        wait_until(up, seconds=30)
        yield client, lines


@pytest.fixture
def collected(tmp_path):
    """Files as `collectstatic` leaves them: without them no page of production can be rendered, not even a refusal."""
    environment = os.environ | {"STATIC_ROOT": str(tmp_path / "static"), "SECRET_KEY": "x" * 50, "SEATDESK_DEMO": "0"}
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput"],
        cwd=django_settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return tmp_path / "static"


MIDDLEWARE = "django_structlog.middlewares.request"
FORGED = {"X-Forwarded-For": "192.0.2.99", "X-Real-IP": "192.0.2.98", "Forwarded": "for=192.0.2.97"}


@pytest.mark.django_db(transaction=True)
def test_each_line_of_a_request_names_it_and_its_person(running, collected, cast, signed_in):
    cookie = signed_in(cast.owner).cookies[django_settings.SESSION_COOKIE_NAME].value
    with served(running, STATIC_ROOT=str(collected)) as (client, lines):
        ours = {"Cookie": f"{django_settings.SESSION_COOKIE_NAME}={cookie}", **FORGED}
        # Django's own line, about a form without its token.
        assert client.post("/theme/", headers=ours).status_code == 403
        assert client.get("/", headers=ours).status_code == 302
        # Refused before anybody asks who it is.
        assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
        wait_until(lambda: sum(one["event"] == "request_finished" for one in lines()) == 3, seconds=10)
        found = lines()
    requests = {}
    for one in found:
        requests.setdefault(one["request_id"], []).append(one)
    forbidden, sent, refused = requests.values()
    assert [one["logger"] for one in forbidden if one["level"] == "warning"] == ["django.security.csrf", MIDDLEWARE]
    assert [one["event"] for one in sent] == ["request_started", "request_finished"]
    assert [one["logger"] for one in refused] == [MIDDLEWARE, "django.security.DisallowedHost", MIDDLEWARE]
    assert {one["user_id"] for one in [*forbidden[1:], *sent[1:]]} == {cast.owner.pk}
    # Nobody said that there is a proxy, so a header is anybody's claim.
    assert {one["ip"] for one in found} == {"127.0.0.1"}
    assert cookie not in str(found)


@pytest.mark.django_db(transaction=True)
def test_behind_the_proxy_the_logged_address_is_the_one_that_the_proxy_saw(running):
    with served(running, BEHIND_PROXY="1") as (client, lines):
        client.get("/", headers={"X-Forwarded-For": "192.0.2.99, 198.51.100.7"})
        client.get("/", headers={"X-Forwarded-For": "rubbish"})
        wait_until(lambda: sum(one["event"] == "request_finished" for one in lines()) == 2, seconds=10)
        addresses = [one["ip"] for one in lines() if one["event"] == "request_finished"]
    assert addresses == ["198.51.100.7", None]


@pytest.mark.django_db(transaction=True)
def test_each_line_of_a_job_names_it_and_its_order(running, subscription, emulator, empty_queue):
    wish = Wish(subscription.pk, "increase", {"Seats": 30}, reason="test")
    order = lifecycle.place(wish, actor=None, audience="command")
    wrong = app.configure_task("subscriptions.fulfil", lock="wrong", queue="orders").defer(order_id="no number")
    with running("manage.py", "procrastinate", "worker", KASPERSKY_ENDPOINT=emulator.url) as lines:
        wait_until(
            lambda: any("order_id" in one and one["logger"] == "procrastinate.worker" for one in lines()), seconds=30
        )
        wait_until(lambda: Order.objects.get(pk=order.pk).status == "completed", seconds=30)
        found = lines()
    [attempt] = [one for one in found if one["event"] == "attempt"]
    assert attempt["order_id"] == order.pk
    assert attempt["task"] == "subscriptions.fulfil"
    assert attempt["job_id"] < wrong
    # The line that procrastinate itself writes when the job is over.
    [failed] = [one for one in found if one["logger"] == "procrastinate.worker"]
    assert (failed["job_id"], failed["order_id"]) == (wrong, "no number")
    assert "DataError" in failed["exception"]
