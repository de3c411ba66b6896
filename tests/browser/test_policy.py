"""What the page may do, what it weighs, and whom it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

import pgdbpool.web
from tests.browser.figures import bad_night
from tests.browser.test_scenes import Look, MakeSite

pytestmark = pytest.mark.browser
PAGE = Path(pgdbpool.web.__file__).parent / "page"
STRICT = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
}


def test_the_policy_is_strict(make_site: MakeSite, look: Look) -> None:
    """Every file comes under the policy; the page keeps it (else ``look`` fails); and Chromium would tell of a breach."""
    site = make_site()
    window = look(site)
    page = window.given(bad_night)
    page.mouse.move(900, 400)
    assert window.complaints == []
    for path, headers in site.headers.items():
        assert set(headers["Content-Security-Policy"].split("; ")) >= STRICT, path
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.owned = true";
      document.body.append(script);
      document.body.setAttribute("style", "color: red");
    }""")
    page.wait_for_timeout(200)
    assert not page.evaluate("window.owned")
    assert len(window.complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in window.complaints)
    window.complaints.clear()


def test_nobody_else_is_asked(make_site: MakeSite, look: Look) -> None:
    """The page asks for its own files and figures only, by addresses relative to its own."""
    window = look(make_site())
    page = window.open()
    page.wait_for_timeout(1200)
    names = {url.removeprefix(window.url) for url in window.asked}
    assert names <= {"", "stats.json", *(path.name for path in PAGE.iterdir())}
    assert {"page.js", "page.css", "uPlot.iife.min.js", "stats.json"} <= names


def test_it_is_small() -> None:
    """All of the page's files together are at most 300 KiB."""
    assert sum(path.stat().st_size for path in PAGE.iterdir()) <= 300 * 1024


def test_the_library_is_as_it_was_published() -> None:
    """The charts' library is named with its version, and comes with its licence."""
    assert "uPlot (v1.6.32)" in (PAGE / "uPlot.iife.min.js").read_text(encoding="utf-8")[:100]
    assert "Copyright (c) 2022 Leon Sorokin" in (PAGE / "uPlot.LICENSE.txt").read_text(encoding="utf-8")


def test_modules_are_short() -> None:
    """No module of the page has more than 150 lines, and no line of it more than 120 characters."""
    for path in (path for path in PAGE.glob("*.js") if not path.name.startswith("uPlot")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 150, path.name
        assert max(map(len, lines)) <= 120, path.name
