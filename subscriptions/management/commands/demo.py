"""`uv run manage.py demo`: the whole portal on one machine, with a vendor that is an emulator."""

import fcntl
import os
import shlex
import shutil
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import httpx
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F, QuerySet
from django_rich.management import RichCommand
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from portal import demo_clock, demo_processes, embedded_postgres
from subscriptions import actions, clock
from subscriptions.management import demo_data
from subscriptions.management.demo_data import State
from subscriptions.models import OPEN_ORDER, Order, OrderStatus, Subscription, User
from subscriptions.vendors.emulator import process
from subscriptions.vendors.emulator.process import EmulatorProcess

_FIRST_PAGE_SECONDS = 60.0


class Command(RichCommand):
    help = (
        "Start everything on this machine for trying it out: PostgreSQL (embedded, unless DATABASE_URL is set), demo "
        "data, an emulator of the vendor, a worker and the web server. Ctrl-C ends it; the next start keeps the data."
    )
    # Its own checks run in `migrate`; the database may not even hold our tables yet.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        demo_processes.add_arguments(parser)

    def handle(self, *, port: int, emulator_port: int, fresh: bool, at: datetime | None, **options: Any) -> None:
        """Runs until Ctrl-C, SIGTERM or the death of a process that it started; the latter is a CommandError.

        A worker that has ended, as with a database that restarts, is started again, unless it ends again and again.
        """
        self.began = time.monotonic()
        embedded = not os.environ.get("DATABASE_URL")
        data = demo_processes.data_folder(sys.argv)
        # SIGINT too: a shell that starts this in the background lets it ignore Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with ExitStack() as stack:
            # Innermost, so that it runs first: a second Ctrl-C must not cut the clearing up short.
            try:
                stack.enter_context(_alone_in(data))
                demo_processes.keep_ports(data, port, emulator_port)
                self._say(_which_database(embedded, data))
                self._refuse_foreign_data(embedded=embedded, fresh=fresh)
                self._say("Starting the vendor's emulator")
                emulator = stack.enter_context(
                    process.start(data / "emulator.sqlite", port=emulator_port, control_port=emulator_port + 1)
                )
                self._fill(emulator, data, fresh=fresh)
                emulator.control.set_offset(settings.CLOCK_OFFSET)
                if at is not None and at > clock.now():
                    self._move(emulator, data, at)
                demo_data.keep_busy(emulator.control)
                family = demo_processes.Family()
                stack.callback(family.end)
                self._start_portal(family, port)
                self._introduce(port, emulator, data)
                self._watch(family, emulator)
            except KeyboardInterrupt:
                self._say("Ending every process that was started")
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
        self._say("Ended.")

    # --- starting ----------------------------------------------------------------------------------------------------

    def _refuse_foreign_data(self, *, embedded: bool, fresh: bool) -> None:
        if embedded:
            return
        name = settings.DATABASES["default"]["NAME"]
        match demo_data.state():
            case State.FOREIGN:
                raise CommandError(
                    f"The database {name!r} (DATABASE_URL) holds people or accounts that the demo did not make. It was "
                    "left as it is. Name an empty database, or unset DATABASE_URL for an embedded one."
                )
            case State.UNFINISHED:
                raise CommandError(
                    f"Filling the database {name!r} (DATABASE_URL) was interrupted. Give the demo an empty database."
                )
            case State.COMPLETE if fresh:
                raise CommandError(
                    f"--fresh empties embedded databases only. Empty {name!r} (DATABASE_URL) by your own means."
                )

    def _fill(self, emulator: EmulatorProcess, data: Path, *, fresh: bool) -> None:
        found = demo_data.state()
        if found is not State.EMPTY and (fresh or found is State.UNFINISHED):
            self._say("Forgetting the data of before" if fresh else "The last start was interrupted: beginning anew")
            demo_data.forget(emulator.control)
            shutil.rmtree(data / "mail", ignore_errors=True)
            found = State.EMPTY
        if found is State.FOREIGN:
            raise CommandError("This folder's database was not filled by the demo. Choose another --data, or --fresh.")
        self._say("Bringing the database to the newest schema")
        call_command("migrate", verbosity=0, interactive=False)
        if found is State.COMPLETE:
            self._say("Keeping the data of the last start (--fresh begins anew)")
            return
        settings.CLOCK_OFFSET = timedelta()
        demo_clock.keep(data, settings.CLOCK_OFFSET)
        self._say("Placing the orders of the past months, which run through the emulator")
        with self._bar() as show:
            demo_data.load(emulator.control, show)

    def _move(self, emulator: EmulatorProcess, data: Path, at: datetime) -> None:
        since = clock.now()
        self._say(f"Moving business time from {demo_clock.words(since)} to {demo_clock.words(at)}")
        with self._bar() as show:
            demo_data.move(
                emulator.control,
                at,
                keep=lambda offset: demo_clock.keep(data, offset),
                progress=lambda reached: show((reached - since).days, (at - since).days),
            )

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, int], None]]:
        with Progress(
            TextColumn("         "),
            BarColumn(),
            MofNCompleteColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            task = progress.add_task("")
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _start_portal(self, family: demo_processes.Family, port: int) -> None:
        self._say("Starting a worker and the web server")
        connection.close()
        environment = {
            "DATABASE_URL": settings.DATABASE_URL or "",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "CLOCK_OFFSET": repr(settings.CLOCK_OFFSET.total_seconds()),
        }
        worker = [sys.executable, "manage.py", "procrastinate", "worker"]
        family.start("the worker", worker, environment, again=True)
        web = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
        web += ["--blocking-threads", "4", "--log-level", "warning", "portal.wsgi:application"]
        family.start("the web server", web, environment)
        until = time.monotonic() + _FIRST_PAGE_SECONDS
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while time.monotonic() < until:
                if name := family.dead():
                    raise CommandError(f"Ended by itself: {name}. Its own words stand above.")
                try:
                    if client.get(f"http://127.0.0.1:{port}/account/login/").is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        raise CommandError(f"The web server gave no page within {_FIRST_PAGE_SECONDS:.0f} s.")

    def _watch(self, family: demo_processes.Family, emulator: EmulatorProcess) -> None:
        while True:
            if name := family.revive():
                self._say(f"Ended by itself: {name}. It is started again.")
            name = family.dead() or (None if emulator.running else "the vendor's emulator")
            if name:
                raise CommandError(f"Ended by itself: {name}. Everything else is ended too.")
            time.sleep(0.3)

    # --- words -------------------------------------------------------------------------------------------------------

    def _say(self, what: str) -> None:
        # Not wrapped and not marked up: paths and addresses must survive being copied.
        elapsed = time.monotonic() - self.began
        self.console.print(f"[{elapsed:5.1f} s] {what}", markup=False, highlight=False, soft_wrap=True)

    def _print(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _introduce(self, port: int, emulator: EmulatorProcess, data: Path) -> None:
        base = f"http://127.0.0.1:{port}"
        self._say("Ready")
        self._print(
            "",
            f"  Storefront (customers)   {base}/",
            f"  BSS (staff)              {base}/bss/",
            f"  Vendor's emulator        {emulator.url} (control: {emulator.control.url})",
            f"  Mails are written to     {data / 'mail'}",
            f"  Commands beside it       {_command(data)} (in another terminal)",
            f"  Business time            {demo_clock.words(clock.now())} (--at DATE moves it on at the next start)",
            "",
            f"  Sign in as one of these; the password of all is: {demo_data.PASSWORD}",
            "",
        )
        self._print(*_people())
        self._print("", "  What to try")
        self._print(*(f"  - {line}" for line in _what_to_try(emulator)))
        self._print(
            "",
            "  All prices, seat ranges and product ids are examples.",
            "  Ctrl-C ends everything; the next start keeps the data.",
            "",
        )


def _which_database(embedded: bool, data: Path) -> str:
    if embedded:
        return f"PostgreSQL runs, with its data in {data / 'postgres'}"
    entry = settings.DATABASES["default"]
    return f"Using the database {entry['NAME']!r} at {entry['HOST'] or 'the default host'} (DATABASE_URL)"


def _command(data: Path) -> str:
    """How a command is called that works on this demo; with a DATABASE_URL it must have the same one."""
    given = {"SEATDESK_DEMO_DATA": str(data)} if data != embedded_postgres.home() / "demo" else {}
    if os.environ.get("DATABASE_URL"):
        given = {name: os.environ[name] for name in ("SEATDESK_DEMO", "KASPERSKY_ENDPOINT")}
        given["CLOCK_OFFSET"] = repr(settings.CLOCK_OFFSET.total_seconds())
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in given.items()), "uv run manage.py reconcile"])


def _people() -> Iterator[str]:
    people = User.objects.filter(is_active=True).prefetch_related("memberships__account", "groups").order_by("pk")
    where_before = ""
    for user in people:
        roles = [(member.account.name, member.get_role_display()) for member in user.memberships.all()]
        if user.is_staff:
            groups = ", ".join(group.name for group in user.groups.all())
            roles.append(("Staff (BSS)", groups or "Superuser"))
        for where, role in roles:
            if where != where_before:
                yield f"  {where}"
            yield f"    {role:<18} {user.email:<32} {user.name}"
            where_before = where


def _what_to_try(emulator: EmulatorProcess) -> Iterator[str]:
    """Lines that name rows as they are now: the data may have been changed since they were made."""
    yield "Buy as Owner, Manager or Buyer: see the price of your seats, and the activation code once it runs."
    yield "Increase seats as Owner or Manager, see the receipt complete, and find the order and its call in BSS."
    ours = Subscription.objects.select_related("account", "sku__product").order_by("pk")
    running = ours.filter(status="active")
    at_rest = running.exclude(orders__status__in=[*OPEN_ORDER, OrderStatus.SCHEDULED])
    shrinks = at_rest.filter(trial_ends=None, seats__gt=F("sku__seats_min"))
    if found := shrinks.filter(sku__decrease_policy="next_period", sku__billing_period="month").first():
        yield f"Plan to shrink {_of(found)}: Decrease takes effect with the next period. Undo it before."
    if order := _scheduled("decrease", "active"):
        yield f"{_of(order.subscription)} shrinks on {_due(order)}: undo that, or change the seats and choose."
    if order := _scheduled("cancel", "ending"):
        yield f"{_of(order.subscription)} ends on {_due(order)}: Keep subscription until then. Cancel another one."
    for order in _orders().filter(status="awaiting_approval"):
        yield f"{order} of {_of(order.subscription)} waits: as Approver, accept or reject it with a comment."
    if found := running.filter(trial_ends__isnull=False).first():
        yield f"{_of(found)} is a trial: convert it, or let it end."
    if found := ours.filter(status="expired").first():
        yield f"{_of(found)} was not renewed: Renew is possible in its grace time."
    if order := _scheduled("activate", "suspended"):
        yield f"{_of(order.subscription)} is suspended until {_due(order)}."
    yield "Read the statements as Owner or Billing: page, print, CSV. As Operator, correct a line in BSS."
    if found := running.filter(seats=F("sku__seats_min")).first():
        yield f"{_of(found)} has its product's smallest number of seats: Decrease says why not."
    if found := running.filter(seats=F("sku__seats_max")).first():
        yield f"{_of(found)} has the largest number: Increase says why not."
    if order := _orders().filter(status="needs_attention").first():
        yield f"{order} of {order.subscription} needs attention: as Operator, look at its vendor calls, then settle it."
    for order in _orders().filter(status="placed", outcome_code="http-503"):
        yield f"{order} of {_of(order.subscription)} is under way: the vendor is busy for it."
    theirs = {one.subscriber: one.seats for one in emulator.control.subscribers() if one.status == "Started"}
    for found in running.exclude(orders__status__in=OPEN_ORDER):
        if found.subscriber_id in theirs and found.seats != theirs[found.subscriber_id]:
            yield f"The vendor's staff changed the seats of {found}: as Operator, Get details shows it and settles it."
    later = clock.now() + timedelta(days=90)
    yield f"See what the next months bring: Ctrl-C, then the same command with --at {later:%Y-%m-%d}."


def _orders() -> QuerySet[Order]:
    return Order.objects.select_related("subscription__account").order_by("pk")


def _scheduled(stem: str, status: str) -> Order | None:
    planned = _orders().filter(status=OrderStatus.SCHEDULED, action=stem, subscription__status=status)
    return planned.order_by("due_at").first()


def _of(subscription: Subscription) -> str:
    return f"{subscription} ({subscription.account})"


def _due(order: Order) -> str:
    return actions.day(order.due_at, order.subscription) if order.due_at else ""


@contextmanager
def _alone_in(data: Path) -> Iterator[TextIO]:
    """Only one demo at a time may use a folder; the lock goes with the process, however it ends."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "demo.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"Another demo is running with the data in {data}. Choose another --data.") from None
        yield lock
