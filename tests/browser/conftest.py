"""A real browser on a real server: what the console complains about fails the test."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page

from subscriptions.models import User

# Playwright keeps an event loop in this thread, which Django takes for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # One browser and one live server are enough for two cores.
            item.add_marker(pytest.mark.xdist_group("browser"))
            if not CHROMIUM:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine: apt-get install chromium"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    flags = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    flags += ["--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    return {"executable_path": CHROMIUM, "args": flags}


@pytest.fixture
def server(live_server: Any, emulator: Any, empty_queue: None) -> str:
    """The address of the portal; its gateway talks to the emulator."""
    return str(live_server.url)


@pytest.fixture
def open_context(browser: Browser, server: str) -> Iterator[Callable[..., BrowserContext]]:
    """A browser context for a person (or nobody); at the end nothing may have been said on any console."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def listen(page: Page) -> None:
        # A page that is left while a fragment is on its way takes the request with it, and htmx says so.
        left = ("htmx:sendAbort", "htmx:afterRequest")
        page.on(
            "console",
            lambda line: (
                said.append(f"{page.url}: {line.text}")
                if line.type == "error" and not line.text.startswith(left)
                else None
            ),
        )
        page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))

    def open_as(user: User | None = None, *, javascript: bool = True, **options: Any) -> BrowserContext:
        context = browser.new_context(java_script_enabled=javascript, base_url=server, **options)
        context.set_default_timeout(10_000)
        context.on("page", listen)
        if user is not None:
            client = Client()
            client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
            session = client.session
            session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "email": user.email}]
            session["account_authentication_methods_user"] = str(user.pk)
            session.save()
            context.add_cookies(
                [{"name": settings.SESSION_COOKIE_NAME, "value": str(session.session_key), "url": server}]
            )
        contexts.append(context)
        return context

    yield open_as
    for context in contexts:
        context.close()
    # A refusal is a page with status 409 or 422, and browsers report the status of every failed request.
    serious = [line for line in said if "the server responded with a status of" not in line]
    assert not serious, "\n".join(serious)


@pytest.fixture
def open_page(open_context: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """`open_page(user, javascript=True, color_scheme="dark", ...)` is a new page in a context of its own."""

    def open_as(user: User | None = None, **options: Any) -> Page:
        return open_context(user, **options).new_page()

    return open_as


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """Fail with axe's own report when a page breaks one of its default rules, whatever the impact.

    Everything is looked at in the light scheme, and colours again in the dark one; the page is left in the light one.
    """

    def look(page: Page, scheme: Literal["light", "dark"], **options: Any) -> str:
        # Colours that fade would be measured half-way.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # Reading the style sheets by itself, axe would write them into the page, which the page policy reports; of
        # the default rules none needs them.
        results = Axe().run(page, options={"preload": {"assets": ["media"], "timeout": 5000}, **options})
        return f"{page.url} ({scheme})\n{results.generate_report()}" if results.violations_count else ""

    def check(page: Page) -> None:
        found = [look(page, "dark", runOnly=["color-contrast", "link-in-text-block"]), look(page, "light")]
        assert not any(found), "\n".join(found)

    return check
