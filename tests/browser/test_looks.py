"""The page in the dark, on a phone, by keyboard, for those who see little or want nothing to move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import PHONE
from tests.browser.figures import bad_night, quiet
from tests.browser.test_scenes import Look, MakeSite
from tests.servers import eventually

pytestmark = pytest.mark.browser

# Each text that is too pale before what is behind it: WCAG 2 asks for 4.5, and 3 for large letters.
PALE = (Path(__file__).parent / "pale.js").read_text(encoding="utf-8")

# What reaches beyond the window, but for what is cut off by an element around it.
BEYOND = """() => [...document.querySelectorAll("main *, header *")]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 0.5 && !each.closest(".unseen, .plot"))
  .map(each => each.tagName + " " + each.className + " " + each.textContent.slice(0, 40))"""

PAINTED = """name => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const {width, height} = document.querySelector("canvas"), copy = new OffscreenCanvas(width, height);
  const canvas = copy.getContext("2d", {willReadFrequently: true});
  canvas.drawImage(document.querySelector("canvas"), 0, 0);
  const {data} = canvas.getImageData(0, 0, width, height);
  const alike = (_, i) => i % 4 === 0 && data[i + 3] > 200 && wanted.every((part, k) => Math.abs(part - data[i + k]) < 12);
  return data.filter(alike).length;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes(scheme: str, make_site: MakeSite, look: Look) -> None:
    """In light and in dark all text stands out from what is behind it, and the charts are painted in the page's colours."""
    page = look(make_site(), color_scheme=scheme).given(bad_night)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(paper[:3]) < 60) == (scheme == "dark")
    assert page.evaluate(PALE) == []
    for name in ("use", "idle"):
        assert page.evaluate(PAINTED, name) > 50, name


def test_the_scheme_changes(make_site: MakeSite, look: Look) -> None:
    """Charts follow when the system turns dark while the page is open, though no fresh figures come."""
    page = look(make_site()).given(bad_night)
    page.get_by_role("button", name="Pause").click()
    page.emulate_media(color_scheme="dark")
    assert eventually(lambda: page.wait_for_timeout(50) or page.evaluate(PAINTED, "use") > 50)


@pytest.mark.parametrize("figures", [quiet, bad_night])
def test_phone(figures: Any, make_site: MakeSite, look: Look) -> None:
    """360 pixels are enough: nothing of the page has to be scrolled sideways."""
    page = look(make_site(), viewport=PHONE, has_touch=True, is_mobile=True).given(figures)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(BEYOND) == []


def test_keyboard_only(make_site: MakeSite, look: Look) -> None:
    """The tab key leads from the skip link through the sections to the button and the events, each with a visible focus."""
    page = look(make_site()).given(bad_night)
    names = []
    for _ in range(8):
        page.keyboard.press("Tab")
        name, outline, top = page.evaluate("""() => {
          const each = document.activeElement, style = getComputedStyle(each);
          return [each.ariaLabel || each.textContent, style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
                  each.getBoundingClientRect().top];
        }""")
        names.append(name.split(",")[0])
        assert outline >= 2, name
        assert 0 <= top < 900, name
    sections = ["Groups", "Held now", "Servers", "Events", "Workers"]
    assert names == ["Skip to what is going on", *sections, "Pause", "Events"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.locator("#link.paused").wait_for()
    page.keyboard.press("Space")
    page.locator("#link.live").wait_for()


def test_skip(make_site: MakeSite, look: Look) -> None:
    """The first link leads past the head of the page to the headline, a section's link to that section."""
    page = look(make_site(), viewport={"width": 1360, "height": 500}).given(bad_night)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "now"
    page.locator("nav a", has_text="Servers").press("Enter")
    assert page.evaluate("document.activeElement.id") == "servers"
    assert page.locator("#servers h2").bounding_box()["y"] >= page.locator("header").bounding_box()["height"]


def test_tables_are_tables(make_site: MakeSite, look: Look) -> None:
    """Each has a caption, heads of columns and of rows, on the phone too; each chart says in words what it shows."""
    for options in ({}, {"viewport": PHONE}):
        page = look(make_site(), **options).given(bad_night)
        for name in ("Servers", "Connections held now, the longest first", "Workers of this host"):
            table = page.get_by_role("table", name=name)
            assert table.count() == 1, name
            assert table.get_by_role("columnheader").count() == table.locator("thead th[scope=col]").count() > 2
            assert table.get_by_role("rowheader").count() == table.locator("tbody th[scope=row]").count() > 0
        words = page.get_by_role("img").first.get_attribute("aria-label")
        assert "in use 9, at most" in words or "in use 24, at most 24" in words


def test_nothing_moves(make_site: MakeSite, look: Look) -> None:
    """Bars glide to their new length, but not where the system asks for less motion; nothing moves by itself."""
    moving = """[...document.querySelectorAll("*")].filter(each => {
      const {transitionDuration, animationName} = getComputedStyle(each);
      return transitionDuration !== "0s" || animationName !== "none";
    }).map(each => each.parentElement.className)"""
    assert set(look(make_site()).given(quiet).evaluate(moving)) == {"bar"}
    assert look(make_site(), reduced_motion="reduce").given(quiet).evaluate(moving) == []


def test_never_by_colour_alone(make_site: MakeSite, look: Look) -> None:
    """Each state is a word, too, and each line of a chart has a dash or a weight of its own."""
    page = look(make_site()).given(bad_night)
    assert page.locator(".mark").count() > 8
    assert page.locator(".mark").evaluate_all("all => all.every(each => each.textContent.trim())")
    legend = page.locator(".legend").first.locator("li")
    shapes = legend.evaluate_all("""all => all.map(each => {
      const {borderTopStyle, borderTopWidth} = getComputedStyle(each, "::before");
      return borderTopStyle + borderTopWidth;
    })""")
    assert len(set(shapes)) == len(shapes) == 4
