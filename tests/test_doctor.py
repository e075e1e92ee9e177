"""The doctor finds what is broken for real, says how to mend it, and goes on to the rest."""

import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection

from subscriptions import clock, gateways, lifecycle
from subscriptions.models import Event, Order
from subscriptions.vendors.emulator import process
from tests.factories import OrderFactory
from tests.test_health import missing, waiting_job, worker_alive
from tests.worker_process import WorkerProcess, wait_until

__all__ = ["waiting_job", "worker_alive"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def sound(settings, emulator, worker_alive, mail_server):
    """Everything there is; each test then breaks one thing."""
    # The tests' own key is weak, and their worker shares it; browser tests of the same process allow unsafe calls.
    settings.SILENCED_SYSTEM_CHECKS = ["security.W009", "async.E001"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = mail_server


@pytest.fixture
def mail_server():
    """Greets everybody, lets nobody in who gives a password, and must not be given a mail."""
    answers = {"ehlo": "250-mail.example\r\n250 AUTH PLAIN", "auth": "535 I do not know you", "quit": "221 Bye"}
    said = []

    def serve(listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, client.makefile("rw", newline="") as lines:
                lines.write("220 mail.example\r\n")
                lines.flush()
                for line in lines:
                    said.append(line.split()[0].lower())
                    lines.write(answers.get(said[-1], "502 No") + "\r\n")
                    lines.flush()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
    assert set(said) <= {"ehlo", "auth", "quit"}


@pytest.fixture
def vendor_options(emulator):
    """The vendor's options; changed ones take effect at once, and are forgotten after the test."""
    options = django_settings.VENDORS["kaspersky"]["OPTIONS"]
    before = dict(options)

    def change(**wanted):
        options.update(wanted)
        gateways.gateway.cache_clear()

    yield change
    options.clear()
    options.update(before)
    gateways.gateway.cache_clear()


def doctor():
    """(exit code, {area: [(state, what, mend)]})"""
    said, code = StringIO(), 0
    try:
        call_command("doctor", "--json", stdout=said)
    except CommandError as error:
        code = error.returncode
    return code, _by_area(json.loads(said.getvalue()))


def _by_area(told):
    found = {}
    for one in told["findings"]:
        found.setdefault(one["area"], []).append((one["state"], one["what"], one["mend"]))
    assert told["ok"] == all(state != "problem" for states in found.values() for state, *_ in states)
    return found


def found_in(area):
    """The findings of one area, of which the other areas may have no problem."""
    code, found = doctor()
    here = found.pop(area)
    assert {state for states in found.values() for state, *_ in states} <= {"ok", "warning"}, found
    assert code == (1 if any(state == "problem" for state, *_ in here) else 0)
    assert all(mend for state, _, mend in here if state != "ok")
    return here


# --- whole and broken ------------------------------------------------------------------------------------------------

AREAS = ["settings", "database", "worker", "vendor", "certificate", "clock", "mail"]


@pytest.mark.usefixtures("sound")
def test_a_sound_installation_has_no_problem():
    code, found = doctor()
    assert code == 0
    assert list(found) == AREAS
    # The tests speak plain HTTP, with a role that owns the tables, to a vendor on this machine: all of it is told.
    assert {area for area, states in found.items() if any(state == "warning" for state, *_ in states)} == {
        "settings", "database", "vendor",
    }  # fmt: skip
    assert ("ok", "All migrations are applied.", "") in found["database"]


@pytest.mark.usefixtures("sound", "empty_queue")
def test_it_changes_nothing(subscription, emulator):
    before = emulator.control.subscriber(subscription.subscriber_id)
    doctor()
    assert emulator.control.subscriber(subscription.subscriber_id) == before
    assert not emulator.control.changes()
    assert not Order.objects.exists()
    assert not Event.objects.exists()


def run(*arguments, **environment):
    told = {"SEATDESK_DEMO": "0", "SECRET_KEY": "x" * 10, "KASPERSKY_PASSWORD": "pass-of-vendor", "COLUMNS": "80"}
    result = subprocess.run(
        [sys.executable, "manage.py", "doctor", *arguments],
        cwd=django_settings.BASE_DIR, env=os.environ | told | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    return result


def test_without_a_database_it_says_so_and_goes_on(emulator, tmp_path):
    result = run(
        "--json",
        DATABASE_URL="postgresql://someone:pass-of-database@127.0.0.1:1/nothing",
        EMAIL_URL="smtp://someone:pass-of-mail@127.0.0.1:1",
        KASPERSKY_ENDPOINT=emulator.url,
        OPERATIONS_TOKEN="pass-of-operations",
        STATIC_ROOT=str(tmp_path),
    )
    found = _by_area(json.loads(result.stdout))
    assert result.returncode == 1
    assert list(found) == AREAS
    [(state, what, mend)] = found["database"]
    assert (state, "Connection refused" in what, "DATABASE_URL" in mend) == ("problem", True, True)
    assert found["worker"][0][0] == "warning"
    # That one is asked with a wrong password, so it answers.
    assert "does not let us in" in found["vendor"][0][1]
    words = " ".join(what for _, what, _ in found["settings"])
    assert "SECRET_KEY has less than 50" in words
    assert "ALLOWED_HOSTS must not be empty" in words
    assert "OPERATIONS_TOKEN can be guessed" in words
    assert any("token_urlsafe" in mend for _, what, mend in found["settings"] if "SECRET_KEY" in what)
    assert "No static files" in words
    assert {state for state, *_ in found["settings"]} == {"problem"}
    assert "pass-of" not in result.stdout + result.stderr


def test_it_starts_where_nothing_else_does(emulator, tmp_path):
    """A vendor that cannot be set up ends every other command; so does a key that is not set."""
    broken = {
        "SECRET_KEY": "", "DATABASE_URL": "postgresql://127.0.0.1:1/nothing",
        "KASPERSKY_CLIENT_CERT": str(tmp_path / "lost.pem"),
    }  # fmt: skip
    result = run(**broken)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    [vendor] = [number for number, line in enumerate(lines) if line.startswith("problem  vendor")]
    assert "FileNotFoundError" in lines[vendor]
    assert "lost.pem" in lines[vendor]
    assert lines[vendor + 1].strip().startswith("-> Correct the settings that begin with KASPERSKY_")
    assert any(line.startswith("problem  certificate") and "lost.pem" in line for line in lines)
    assert any(line.startswith("problem  settings") and "SECRET_KEY" in line for line in lines)
    assert result.stderr.strip().endswith("problems.")


# --- database and worker ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("sound")
def test_migrations_that_are_missing():
    with missing("django_migrations"):
        [_, (state, what, mend)] = found_in("database")
    assert (state, mend) == ("problem", "Run uv run manage.py migrate.")
    assert "subscriptions.0" in what


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("sound")
def test_what_nobody_thought_of_is_told_too():
    with missing("procrastinate_workers"):
        [(state, what, _)] = found_in("worker")
    assert (state, "ProgrammingError" in what) == ("problem", True)


@pytest.mark.usefixtures("sound")
def test_codes_of_a_lost_key(settings, subscription):
    first, other = settings.SECRET_KEY, "another secret key"
    settings.SECRET_KEY = other
    [*_, (state, what, mend)] = found_in("database")
    assert (state, "Activation codes cannot be read" in what) == ("problem", True)
    assert "SECRET_KEY_FALLBACKS" in mend
    settings.SECRET_KEY_FALLBACKS = [first]
    assert "problem" not in [state for state, *_ in found_in("database")]


@pytest.mark.usefixtures("sound")
def test_no_database_is_named(settings):
    settings.DATABASE_URL = None
    [(state, _, mend)] = doctor()[1]["database"]
    assert state == "problem"
    assert "manage.py demo" in mend


@pytest.mark.usefixtures("sound")
def test_a_role_for_daily_work_may_not_empty_the_log():
    with connection.cursor() as cursor:
        assert [state for state, *_ in found_in("database")] == ["ok", "ok", "warning"]
        cursor.execute("CREATE ROLE of_doctor_test")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO of_doctor_test")
        cursor.execute("SET LOCAL ROLE of_doctor_test")
        assert [state for state, *_ in found_in("database")] == ["ok", "ok"]
        cursor.execute("RESET ROLE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("sound", "empty_queue")
def test_a_worker_that_was_killed_over_a_job(emulator, subscription, settings, tmp_path):
    """Its job is left `doing`, and nobody is there who would put it back."""
    settings.WORKER_STALLED_AFTER = 2.0
    emulator.control.add_fault("applied-answered-late", seconds=30)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
    worker = WorkerProcess(emulator.url, tmp_path / "log")
    try:
        wish = lifecycle.Wish(subscription.pk, "suspend", reason="late payer")
        lifecycle.place(wish, actor=None, audience="command")
        wait_until(lambda: Order.objects.get().status == "in_progress", seconds=30)
    finally:
        worker.kill()
    wait_until(lambda: found_in("worker")[0][0] == "problem", seconds=10, every=0.5)
    [(_, what, mend), (state, stalled, _)] = found_in("worker")
    assert "No worker is running, the last sign of life is 0:00:0" in what
    assert "procrastinate worker" in mend
    # It may have been at periodic work as well.
    assert (state, stalled.rstrip("0123456789.")) == ("warning", "Jobs whose worker was lost: ")


@pytest.mark.usefixtures("sound")
def test_work_that_nobody_does(waiting_job, settings):
    waiting_job(settings.READY_JOB_AGE + 60)
    waiting_job(100_000, priority=-10)
    waiting_job(settings.READY_ORDER_AGE + 60, queue="bulk", priority=-5)
    OrderFactory(status="placed", next_attempt_at=clock.now() - timedelta(hours=2))
    [(state, what, _), (job, waited, _), (bulk, placing, _), (order, due, _)] = found_in("worker")
    assert (state, job, bulk, order) == ("ok", "problem", "problem", "problem")
    assert "Jobs that wait: 3." in what
    assert "0:11:0" in waited
    assert "bulk work has waited 1:01:0" in placing
    assert "2:00:0" in due


@pytest.mark.usefixtures("sound")
def test_jobs_that_were_given_up(waiting_job):
    for _ in range(2):
        waiting_job(5, status="failed")
    [_, (state, what, mend)] = found_in("worker")
    assert (state, what) == ("warning", "Jobs that were given up: subscriptions.fulfil 2.")
    assert "retry ID" in mend


# --- vendor ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sound")
def test_a_vendor_that_is_down(vendor_options, tmp_path):
    with process.start(tmp_path / "emulator.sqlite") as own:
        vendor_options(endpoint=own.url)
        assert [state for state, *_ in found_in("vendor")] == ["ok", "warning"]
    [(state, what, mend), _] = found_in("vendor")
    assert (state, "cannot be reached: connect" in what, "KASPERSKY_ENDPOINT" in mend) == ("problem", True, True)


@pytest.mark.usefixtures("sound")
def test_a_vendor_that_does_not_know_us(vendor_options):
    vendor_options(password="s3cret-and-wrong")
    [(state, what, mend), _] = found_in("vendor")
    assert (state, "does not let us in" in what, "KASPERSKY_PASSWORD" in mend) == ("problem", True, True)
    assert "s3cret" not in what


@pytest.mark.usefixtures("sound")
def test_something_else_at_the_vendors_address(vendor_options, live_server):
    vendor_options(endpoint=f"{live_server.url}/livez")
    [(state, what, mend), _] = found_in("vendor")
    assert (state, "means nothing to us" in what, "KASPERSKY_ENDPOINT" in mend) == ("problem", True, True)


@pytest.mark.usefixtures("sound")
def test_a_vendor_to_which_nothing_is_sent():
    lifecycle.pause_vendor("kaspersky", "9001 Unknown user, password=s3cret.")
    [*_, (state, what, _)] = found_in("vendor")
    assert (state, what.endswith("UTC: 9001 Unknown user, password=****")) == ("problem", True)


# --- certificate -----------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path, vendor_options):
    """The client certificate, self-signed and valid from and for so many days from now, and its key."""

    def make(begins, ends, mode=0o600):
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "portal.example")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=ends))
            .sign(key, hashes.SHA256())
        )
        cert, private = tmp_path / "client.pem", tmp_path / "client.key"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        private.chmod(mode)
        vendor_options(client_cert=str(cert), client_key=str(private))
        return cert, private

    return make


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("begins", "ends", "state", "words"),
    [
        (-400, 31.5, "ok", "for 31 more days"),
        (-400, 29.5, "warning", "for 29 more days"),
        (-400, 0.5, "warning", "for 0 more days"),
        (-400, -0.1, "problem", "expired on"),
        (2, 400, "problem", "valid from"),
    ],
)
def test_how_long_the_certificate_is_valid(begins, ends, state, words, certificate):
    certificate(begins, ends)
    [(found, what, _)] = found_in("certificate")
    assert (found, words in what) == (state, True)


@pytest.mark.usefixtures("sound")
def test_a_key_that_everybody_can_read(certificate):
    _, key = certificate(-1, 400, mode=0o644)
    [_, (state, what, mend)] = found_in("certificate")
    assert (state, str(key) in what, mend) == ("warning", True, f"chmod o-r {key}")


@pytest.mark.usefixtures("sound")
def test_a_certificate_that_is_none(certificate):
    cert, _ = certificate(-1, 400)
    cert.write_text("no certificate")
    gateways.gateway.cache_clear()
    _, found = doctor()
    [(state, what, _)] = found["certificate"]
    assert (state, "client.pem cannot be read: ValueError" in what) == ("problem", True)
    assert found["vendor"][0][0] == "problem"


@pytest.mark.usefixtures("sound")
def test_no_certificate_for_a_vendor_over_https(vendor_options):
    vendor_options(endpoint="https://127.0.0.1:1/")
    [(state, _, mend)] = doctor()[1]["certificate"]
    assert (state, "KASPERSKY_CLIENT_CERT" in mend) == ("warning", True)


# --- clock and mail --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sound")
def test_clocks_that_differ(emulator):
    assert [state for state, *_ in found_in("clock")] == ["ok", "ok"]
    emulator.control.set_offset(-90)
    try:
        [database, (state, what, mend)] = found_in("clock")
    finally:
        emulator.control.set_offset(0)
    assert database[0] == "ok"
    assert (state, "kaspersky differ by 9" in what or "kaspersky differ by 89" in what) == ("warning", True)
    assert "NTP" in mend


@pytest.mark.usefixtures("sound")
def test_business_time_that_runs_ahead(settings, emulator):
    settings.CLOCK_OFFSET = timedelta(days=2)
    emulator.control.set_offset(timedelta(days=2))
    try:
        [(state, _, mend), *others] = found_in("clock")
    finally:
        emulator.control.set_offset(0)
    assert (state, mend) == ("problem", "Unset CLOCK_OFFSET.")
    assert {state for state, *_ in others} == {"ok"}


@pytest.mark.usefixtures("sound")
def test_a_mail_server_that_is_down(settings):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.EMAIL_PORT = listener.getsockname()[1]
    [(state, what, mend)] = found_in("mail")
    assert (state, "ConnectionRefusedError" in what, "EMAIL_URL" in mend) == ("problem", True, True)


@pytest.mark.usefixtures("sound")
def test_a_mail_server_that_refuses_us(settings):
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "someone", "s3cret"
    _, found = doctor()
    [(state, what, _)] = found["mail"]
    assert (state, "SMTPAuthenticationError: (535" in what) == ("problem", True)
    assert "s3cret" not in what


@pytest.mark.usefixtures("sound")
def test_mails_that_go_nowhere(settings, tmp_path):
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    [(state, what, mend)] = found_in("mail")
    assert (state, str(tmp_path) in what, "EMAIL_URL" in mend) == ("warning", True, True)
