"""A real PostgreSQL, a real emulator over HTTP, and a fixed cast of people."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from procrastinate.contrib.django import app

from subscriptions import gateways, lifecycle
from subscriptions.models import Member, Role, Subscription, User
from subscriptions.vendors.emulator import process
from tests import factories

# How long an example takes says something about the machine, and benchmarks say it better.
hypothesis.settings.register_profile("seatdesk", deadline=None)
hypothesis.settings.load_profile("seatdesk")


@pytest.fixture(autouse=True)
def fast(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Otherwise each new test client looks through all static files at its first request.
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def mail_outbox_only(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


# --- the vendor ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def emulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.EmulatorProcess]:
    with process.start(tmp_path_factory.mktemp("emulator") / "emulator.sqlite") as running:
        yield running


@pytest.fixture
def emulator(emulator_process: process.EmulatorProcess) -> Iterator[process.EmulatorProcess]:
    """An emulator without memory of other tests; this process's gateway talks to it."""
    emulator_process.control.reset()
    options: dict[str, Any] = settings.VENDORS["kaspersky"]["OPTIONS"]
    before = dict(options)
    options["endpoint"] = emulator_process.url
    gateways.gateway.cache_clear()
    yield emulator_process
    emulator_process.control.clear_faults()
    options.clear()
    options.update(before)
    gateways.gateway.cache_clear()


@pytest.fixture
def at_vendor(emulator: process.EmulatorProcess) -> Callable[..., Subscription]:
    """Put a record at the emulator that agrees with a subscription of ours, or differs where told."""
    statuses = {"active": "Started", "ending": "Started", "suspended": "Paused", "cancelled": "HardCancelled"}

    def put(subscription: Subscription, **differences: Any) -> Subscription:
        code = subscription.activation_code
        record = {
            "product": subscription.sku.vendor_product_id,
            "seats": subscription.seats,
            "status": statuses[subscription.status],
            "start": subscription.started_at,
            "activation_code": code.reveal() if code else None,
        }
        emulator.control.put_subscriber(subscription.subscriber_id, **(record | differences))
        return subscription

    return put


# --- the worker ------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_queue(db: None) -> None:
    """procrastinate's tables are unmanaged, so Django's flush leaves them alone."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_periodic_defers; DELETE FROM procrastinate_jobs")


@pytest.fixture
def drain(emulator: process.EmulatorProcess, empty_queue: None) -> Callable[..., int]:
    """Run jobs in this process, in the order a worker would, waiting for those due soon; returns how many ran.

    Mail about events is owed by nearly every order and is left out, unless the test is about it (`notices=True`).
    """

    app.perform_import_paths()

    def run(for_seconds: float = 30.0, *, notices: bool = False) -> int:
        ran, end = 0, time.monotonic() + for_seconds
        while time.monotonic() < end:
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM procrastinate_jobs WHERE id = (SELECT id FROM procrastinate_jobs WHERE status = 'todo'"
                    " ORDER BY scheduled_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
                    " RETURNING task_name, args, scheduled_at"
                )
                job = cursor.fetchone()
            if job is None:
                if lifecycle.sweep():
                    continue
                return ran
            name, arguments, due = job
            if due is not None:
                time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            if name == "subscriptions.notify" and not notices:
                continue
            app.tasks[name].func(**(json.loads(arguments) if isinstance(arguments, str) else arguments))
            ran += 1
        raise AssertionError(f"jobs still waiting after {for_seconds} s")

    return run


# --- the cast --------------------------------------------------------------------------------------------------------


@dataclass
class Cast:
    """Acme with one member in every role, a stranger at Globex, and one person in every staff group."""

    acme: Any
    globex: Any
    people: dict[str, User] = field(default_factory=dict)

    def __getattr__(self, name: str) -> User:
        try:
            return self.__dict__["people"][name]
        except KeyError:
            raise AttributeError(name) from None


@pytest.fixture
def cast(db: None) -> Cast:
    """People by role or group: owner, manager, buyer, billing, viewer, stranger, support, operator, approver, ..."""
    made = Cast(factories.AccountFactory(name="Acme GmbH"), factories.AccountFactory(name="Globex d.o.o."))
    names = {
        "owner": "Ana Kos",
        "manager": "Marko Novak",
        "buyer": "Bea Kralj",
        "billing": "Bill Ender",
        "viewer": "Vera Zupan",
    }
    groups = {group.name.lower().replace(" ", "_"): group for group in Group.objects.all()}
    person = factories.UserFactory.build
    made.people |= {role: person(email=f"{role}@acme.example", name=names[role]) for role in Role.values}
    made.people["stranger"] = person(email="stranger@globex.example", name="Stan Ger")
    for stem, group in groups.items():
        made.people[stem] = person(email=f"{stem}@seatdesk.example", name=group.name, is_staff=True)
    # Nearly every test has them, so they are written together.
    User.objects.bulk_create(made.people.values())
    members = [Member(account=made.acme, user=made.people[role], role=role) for role in Role.values]
    Member.objects.bulk_create([*members, Member(account=made.globex, user=made.stranger, role=Role.OWNER)])
    in_group = User.groups.through
    in_group.objects.bulk_create(in_group(user=made.people[stem], group=group) for stem, group in groups.items())
    return made


@pytest.fixture
def signed_in(client: Client) -> Callable[[User], Client]:
    """A test client with a session of that person, as fresh as a sign-in just now."""

    def sign_in(user: User) -> Client:
        fresh = Client()
        fresh.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
        session = fresh.session
        session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "email": user.email}]
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
        return fresh

    return sign_in


@pytest.fixture
def subscription(cast: Cast, at_vendor: Callable[..., Subscription]) -> Subscription:
    """Acme's active subscription of 25 seats, range 5 to 500, which the emulator knows too."""
    return at_vendor(factories.SubscriptionFactory(account=cast.acme))


@pytest.fixture
def stock(cast: Cast) -> SimpleNamespace:
    """One subscription of Acme in each status, known to us only."""
    sku = factories.SKUFactory()
    return SimpleNamespace(
        **{
            status: factories.SubscriptionFactory(account=cast.acme, sku=sku, status=status)
            for status in ("pending", "active", "suspended", "failed", "cancelled")
        }
    )
