"""What `manage.py doctor` looks at: everything that the portal needs, one finding after the other.

Nothing is changed and no order is sent. A part that is down is a finding, and the next one is looked at.
"""

import smtplib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, staticfiles_storage
from django.core import checks, mail
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection

from portal import embedded_postgres, readings
from portal.environment import MAKE_A_KEY
from portal.logs import mask_text
from subscriptions import clock, gateways
from subscriptions.models import Subscription, VendorState
from subscriptions.vendors.port import Answer, Outcome

OLDEST_POSTGRES = 15
CERTIFICATE_DAYS = 30
CLOCK_SECONDS = 5.0


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was found, and how it is mended; nothing is to be mended when it is OK."""

    area: str
    state: State
    what: str
    mend: str = ""


Found = Iterator[tuple[State, str, str]]


@dataclass(slots=True)
class _Seen:
    """What earlier parts found out for later ones."""

    database: bool = False
    answers: dict[str, Answer] = field(default_factory=dict)


def examine() -> Iterator[Finding]:
    """Every finding, as soon as it is made; a vendor or a server that does not answer takes up to a minute."""
    seen = _Seen()
    for area, look in _AREAS.items():
        try:
            for state, what, mend in look(seen):
                yield Finding(area, state, mask_text(what), mend)
        except Exception as error:
            # A doctor that dies of what it should find would be of no use; whatever it is, it is told.
            mend = "Mend what stands above; when that does not help, this is a bug."
            yield Finding(area, State.PROBLEM, mask_text(f"Looking at it failed: {_words(error)}"), mend)


def _words(error: BaseException) -> str:
    """The first line of an error, with its kind, since some have no words of their own."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


# --- settings --------------------------------------------------------------------------------------------------------

# Django calls them warnings: a key that is weak or missing, and no host, with which every page is refused.
_GRAVE = ("security.W009", "security.W020")


def _settings(seen: _Seen) -> Found:
    found = [one for one in checks.run_checks(include_deployment_checks=not settings.DEMO) if not one.is_silenced()]
    for one in found:
        state = State.PROBLEM if one.level >= checks.ERROR or one.id in _GRAVE else State.WARNING
        if one.level >= checks.WARNING:
            mend = MAKE_A_KEY if one.id == "security.W009" else "See `Settings` in the README."
            yield state, " ".join(one.msg.split()), one.hint or mend
    if settings.DEMO:
        yield State.WARNING, "This is a demo: plain HTTP, and secrets that everybody knows.", "Unset SEATDESK_DEMO."
    if isinstance(staticfiles_storage, ManifestStaticFilesStorage) and not staticfiles_storage.hashed_files:
        yield (
            State.PROBLEM,
            "No static files were collected: no page can be shown.",
            "Run uv run manage.py collectstatic.",
        )
    if not found and not settings.DEMO:
        yield State.OK, "The deployment checks find no fault.", ""


# --- database --------------------------------------------------------------------------------------------------------


def _database(seen: _Seen) -> Found:
    if not settings.DATABASE_URL:
        yield State.PROBLEM, "No database is named, and no demo is running.", embedded_postgres.NO_DATABASE
        return
    try:
        connection.ensure_connection()
    except Error as error:
        mend = "Start PostgreSQL, or correct DATABASE_URL; orders and pages wait for it."
        yield State.PROBLEM, f"It cannot be reached: {_words(error)}", mend
        return
    seen.database = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int")
        [version] = cursor.fetchone()
    place = f"{settings.DATABASES['default']['NAME']} at {settings.DATABASES['default']['HOST'] or 'the local socket'}"
    what = f"PostgreSQL {version // 10_000}.{version % 10_000} answers ({place})."
    if version < OLDEST_POSTGRES * 10_000:
        yield State.PROBLEM, what, f"Move to PostgreSQL {OLDEST_POSTGRES} or newer."
    else:
        yield State.OK, what, ""
    yield from _schema()


def _schema() -> Found:
    missing = readings.missing_migrations()
    if missing:
        yield State.PROBLEM, f"Migrations are missing: {', '.join(missing)}.", "Run uv run manage.py migrate."
        return
    yield State.OK, "All migrations are applied.", ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('subscriptions_event', 'TRUNCATE')")
        [may_truncate] = cursor.fetchone()
        cursor.execute("SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity")
        used, most = cursor.fetchone()
    if may_truncate and not settings.DEMO:
        yield (
            State.WARNING,
            "This role may empty the log of events, which no trigger would notice.",
            "Give web and workers a role of their own, see `Running it for real` in the README.",
        )
    if used > 0.8 * most:
        mend = "Raise max_connections, or run fewer processes; each thread keeps a connection for CONN_MAX_AGE."
        yield State.WARNING, f"{used} of {most} connections are in use.", mend
    yield from _codes()


def _codes() -> Found:
    # The oldest was encrypted with the oldest key, which is the one that gets lost.
    codes = Subscription.objects.filter(activation_code__isnull=False).values_list("activation_code", flat=True)
    try:
        codes.order_by("pk").first()
    except InvalidToken:
        mend = (
            "Put the key that they were encrypted with back, behind the new one: an earlier SECRET_KEY into "
            "SECRET_KEY_FALLBACKS, an earlier Fernet key at the end of ENCRYPTION_KEYS. Restart web and workers."
        )
        yield State.PROBLEM, "Activation codes cannot be read with these keys; their pages fail.", mend


# --- worker ----------------------------------------------------------------------------------------------------------

# Their worker was killed; the next one puts them back.
_STALLED = """
    SELECT count(*) FROM procrastinate_jobs AS job LEFT JOIN procrastinate_workers AS worker ON worker.id = worker_id
    WHERE status = 'doing' AND coalesce(last_heartbeat < now() - %s * interval '1 second', true)
"""
_FAILED = "SELECT task_name, count(*) FROM procrastinate_jobs WHERE status = 'failed' GROUP BY 1 ORDER BY 1"


def _worker(seen: _Seen) -> Found:
    if not seen.database:
        yield State.WARNING, "Not looked at, since the database does not answer.", "Mend the database first."
        return
    workers = readings.workers()
    queues = readings.queues()
    waiting = sum(one.waiting for one in queues)
    if workers.alive:
        yield State.OK, f"Workers with a heartbeat: {workers.alive}. Jobs that wait: {waiting:,}.", ""
    else:
        since = "" if workers.silent_for is None else f", the last sign of life is {_duration(workers.silent_for)} old"
        mend = "Start one: uv run manage.py procrastinate worker. Nothing is lost meanwhile."
        yield State.PROBLEM, f"No worker is running{since}. Jobs that wait: {waiting:,}.", mend
    oldest = max((one.age for one in readings.queues(priority=readings.PEOPLE_WAIT)), default=0.0)
    if oldest > settings.READY_JOB_AGE:
        mend = "Look at the worker's log; start more workers, or raise WORKER_CONCURRENCY."
        yield State.PROBLEM, f"A job that people wait for has waited {_duration(oldest)}.", mend
    bulk = readings.oldest_bulk_job()
    if bulk > settings.READY_ORDER_AGE:
        mend = "Look at the worker's log; start more workers, or raise WORKER_CONCURRENCY."
        yield State.PROBLEM, f"A job of bulk work has waited {_duration(bulk)}.", mend
    due = readings.oldest_due_order()
    if due > settings.READY_ORDER_AGE:
        mend = "Look at the worker's log, and at the order that was placed first, in BSS."
        yield State.PROBLEM, f"An order has been due for {_duration(due)}, and nobody tries it.", mend
    with connection.cursor() as cursor:
        cursor.execute(_STALLED, [settings.WORKER_STALLED_AFTER])
        [stalled] = cursor.fetchone()
        cursor.execute(_FAILED)
        failed = dict(cursor.fetchall())
    if stalled:
        mend = "A worker puts them back within a minute; start one if none is running."
        yield State.WARNING, f"Jobs whose worker was lost: {stalled}.", mend
    if failed:
        names = ", ".join(f"{name} {many:,}" for name, many in failed.items())
        mend = (
            "Find out why in the worker's log. Orders are put back by themselves; a mail is tried again by `retry ID` "
            "in uv run manage.py procrastinate shell (`list_jobs status=failed` lists them)."
        )
        yield State.WARNING, f"Jobs that were given up: {names}.", mend


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


# --- vendor ----------------------------------------------------------------------------------------------------------


def _options(vendor: str) -> dict[str, Any]:
    options: dict[str, Any] = settings.VENDORS[vendor]["OPTIONS"]
    return options


def _vendors(seen: _Seen) -> Found:
    for vendor in settings.VENDORS:
        yield from _gateway(vendor, seen)
    for one in VendorState.objects.filter(paused_at__isnull=False) if seen.database else ():
        what = f"Nothing is sent to {one.vendor} since {one.paused_at:%Y-%m-%d %H:%M} UTC: {one.reason}"
        yield State.PROBLEM, what, "It opens by itself within a minute after the vendor lets a worker in again."


def _gateway(vendor: str, seen: _Seen) -> Found:
    prefix = vendor.upper()
    try:
        gateway = gateways.gateway(vendor)
    except (TypeError, ValueError, OSError, ImportError) as error:
        # The files are named, since an error of OpenSSL names none.
        files = [str(path) for name in ("client_cert", "client_key", "ca_file") if (path := _options(vendor).get(name))]
        about = f" (files: {', '.join(files)})" if files else ""
        mend = f"Correct the settings that begin with {prefix}_. Neither web nor workers start like this."
        yield State.PROBLEM, f"{vendor} cannot be set up: {_words(error)}{about}", mend
        return
    answer = seen.answers[vendor] = gateway.ping()
    said = f"{answer.code} {answer.message}".strip()
    mends = {
        Outcome.CREDENTIALS: f"Mend {prefix}_USERNAME, {prefix}_PASSWORD or the client certificate, and restart web "
        "and workers; orders flow again by themselves.",
        Outcome.TRANSIENT: f"Check {prefix}_ENDPOINT and the network, or wait for the vendor; orders are tried again.",
    }
    if answer.outcome == Outcome.DONE:
        yield State.OK, f"{vendor} answers in {answer.latency_ms} ms, and lets us in.", ""
    else:
        verb = {Outcome.CREDENTIALS: "does not let us in", Outcome.TRANSIENT: "cannot be reached"}.get(
            answer.outcome, "gave an answer that means nothing to us"
        )
        mend = mends.get(answer.outcome, f"Does {prefix}_ENDPOINT name the vendor's service? Else ask the vendor.")
        yield State.PROBLEM, f"{vendor} {verb}: {said}", mend
    endpoint = str(_options(vendor).get("endpoint", ""))
    if urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1") and not settings.DEMO:
        yield State.WARNING, f"{vendor} is looked for on this machine: {endpoint}", f"Set {prefix}_ENDPOINT."


# --- certificate -----------------------------------------------------------------------------------------------------


def _certificates(seen: _Seen) -> Found:
    for vendor in settings.VENDORS:
        options = _options(vendor)
        path, key = options.get("client_cert"), options.get("client_key")
        if not path:
            if str(options.get("endpoint", "")).startswith("https"):
                mend = f"Set {vendor.upper()}_CLIENT_CERT and {vendor.upper()}_CLIENT_KEY, if the vendor asks for one."
                yield State.WARNING, f"No client certificate for {vendor} is named.", mend
            else:
                yield State.OK, f"{vendor} is asked over plain HTTP on this machine, without a certificate.", ""
            continue
        try:
            chain = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            yield State.PROBLEM, f"{path} cannot be read: {_words(error)}", "Put the certificate there, as PEM."
            continue
        yield _validity(path, chain)
        # A file that holds both is named once.
        if Path(key or path).stat().st_mode & 0o004:
            yield State.WARNING, f"Everybody on this machine can read {key or path}.", f"chmod o-r {key or path}"


def _validity(path: str, chain: list[x509.Certificate]) -> tuple[State, str, str]:
    now = datetime.now(UTC)
    ends = min(one.not_valid_after_utc for one in chain)
    days = (ends - now).days
    mend = "Get a new one from the vendor, and restart web and workers with it."
    if ends <= now:
        return State.PROBLEM, f"{path} expired on {ends:%Y-%m-%d}.", mend
    if (begins := max(one.not_valid_before_utc for one in chain)) > now:
        return State.PROBLEM, f"{path} is valid from {begins:%Y-%m-%d} only.", "Check this machine's clock."
    what = f"{path} is valid until {ends:%Y-%m-%d}, for {days} more days."
    return (State.WARNING, what, mend) if days < CERTIFICATE_DAYS else (State.OK, what, "")


# --- clock -----------------------------------------------------------------------------------------------------------


def _clock(seen: _Seen) -> Found:
    if settings.CLOCK_OFFSET and not settings.DEMO:
        what = f"Business time runs {settings.CLOCK_OFFSET} ahead: everything falls due too early."
        yield State.PROBLEM, what, "Unset CLOCK_OFFSET."
    behind: dict[str, float] = {}
    if seen.database:
        began = datetime.now(UTC)
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            [theirs] = cursor.fetchone()
        behind["the database"] = (theirs - began).total_seconds()
    for vendor, answer in seen.answers.items():
        if answer.vendor_time is not None:
            behind[vendor] = (answer.vendor_time - clock.now()).total_seconds()
    if not behind:
        yield State.WARNING, "There is no other clock to compare with.", "Mend the database or the vendor first."
    for whose, seconds in behind.items():
        what = f"This machine and {whose} differ by {abs(seconds):.1f} s."
        if abs(seconds) > CLOCK_SECONDS:
            yield State.WARNING, what, "Let both keep time by NTP; dates and waits depend on it."
        else:
            yield State.OK, what, ""


# --- mail ------------------------------------------------------------------------------------------------------------


def _mail(seen: _Seen) -> Found:
    name = settings.EMAIL_BACKEND.split(".")[-2]
    if name != "smtp":
        state = State.OK if settings.DEMO else State.WARNING
        mend = "" if settings.DEMO else "Set EMAIL_URL, and unset MAIL_FOLDER."
        place = f" to {settings.EMAIL_FILE_PATH}" if name == "filebased" else ""
        yield state, f"Mails are written{place} and not sent (backend {name}).", mend
        return
    place = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    began = monotonic()
    try:
        with closing(mail.get_connection()) as server:
            server.open()
    except (OSError, smtplib.SMTPException, ImproperlyConfigured) as error:
        mend = "Correct EMAIL_URL, or start the server; mails are tried again for a day."
        yield State.PROBLEM, f"The server {place} does not take mails: {_words(error)}", mend
    else:
        yield State.OK, f"The server {place} answers in {1000 * (monotonic() - began):.0f} ms (backend smtp).", ""


_AREAS: dict[str, Callable[[_Seen], Found]] = {
    "settings": _settings,
    "database": _database,
    "worker": _worker,
    "vendor": _vendors,
    "certificate": _certificates,
    "clock": _clock,
    "mail": _mail,
}
