"""A real Chromium, and windows of it that remember what it complained of and what it asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# No sandbox, because CI is root; the others keep Chromium from asking anybody but the page's server.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-dev-shm-usage"
).split()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESK = {"width": 1360, "height": 900}
PHONE = {"width": 360, "height": 740}


def missing() -> str | None:
    """What is not here, and how to get it."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "Playwright is not installed here: make browser brings it"
    return None if _program() else "no Chromium in PATH: apt-get install chromium"


def _program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=FLAGS)
        yield browser
        browser.close()


class Window:
    """A window of its own, without cookies and cache of others."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESK, "color_scheme": "light", **options})
        self.context.set_default_timeout(15_000)
        self.url = url
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.clock.install()  # goes as clocks go, but tests can have it go faster
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self) -> Page:
        self.page.goto(self.url)
        self.page.locator("#link.live").wait_for()
        return self.page

    def given(self, stats: Callable[[], dict[str, Any]]) -> Page:
        """Opened with these figures in place of the server's, asked for anew each time."""
        self.page.route("**/stats.json", lambda route: route.fulfill(json=stats()))
        return self.open()

    def close(self) -> None:
        self.context.close()
