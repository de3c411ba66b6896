"""Chromium, the status page of a pool in it, and the proof that nobody else was asked and nothing was refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pgdbpool.wsgi import status_app
from tests.browser.chromium import Window, chromium, missing
from tests.browser.site import Site


@pytest.fixture(scope="session", name="chromium")
def running_chromium(nothing_is_left: None) -> Iterator[Any]:
    lacking = missing()
    if lacking and os.environ.get("PGDBPOOL_TEST_BROWSER") == "required":
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    with chromium() as browser:
        yield browser


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """``make_site(pool)`` serves the pool's status page."""
    sites: list[Site] = []

    def make(pool: Any = None) -> Site:
        sites.append(Site(status_app(pool)))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Window]]:
    """``look(site)`` is a window on a site's page, yet to be opened. At the end none may have complained or strayed."""
    windows: list[Window] = []

    def make(site: Site, **options: Any) -> Window:
        windows.append(Window(chromium, site.url, **options))
        return windows[-1]

    yield make
    for window in windows:
        window.close()
    assert [complaint for window in windows for complaint in window.complaints] == []
    assert [url for window in windows for url in window.asked if not url.startswith(window.url)] == []
