"""The page while the server is away, answers nonsense, or nobody looks."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.browser.figures import bad_night, quiet
from tests.browser.test_scenes import Look, MakeSite
from tests.servers import eventually

pytestmark = pytest.mark.browser
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {configurable: true, value: hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def figures_asked(window: Any) -> int:
    return sum(url.endswith("stats.json") for url in window.asked)


def goes_on(window: Any, more: int = 2) -> bool:
    """Whether the figures are asked for again and again."""
    before = figures_asked(window)
    return bool(eventually(lambda: later(window, 1) or figures_asked(window) >= before + more, 15))


def later(window: Any, seconds: int) -> None:
    """Have the page's clock go faster for so many of its seconds."""
    for _ in range(seconds):
        window.page.clock.run_for(1000)
        window.page.wait_for_timeout(50)  # for answers


def test_the_server_goes_and_comes_back(make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """It says how old the figures are and that it goes on asking; when the server is back it is live, without a reload."""
    site = make_site(make_pool(connection_count=1))
    window = look(site)
    page = window.open()
    page.evaluate("window.neverReloaded = true")
    site.stop()
    later(window, 8)
    page.locator("#alarm", has_text="The server cannot be reached. What you see is").wait_for()
    page.locator("#spoken", has_text="The server cannot be reached").wait_for(state="attached")
    assert "Old" in page.locator("#link").inner_text()
    site.start()
    page.locator("#link.live").wait_for()
    assert page.locator("#alarm").is_hidden()
    assert page.evaluate("window.neverReloaded")
    assert {complaint.rpartition(" ")[2] for complaint in window.complaints} <= {"net::ERR_CONNECTION_REFUSED"}
    window.complaints.clear()


def test_other_answers(make_site: MakeSite, look: Look) -> None:
    """An error, another program's page, nothing and a later format are named, and the page asks on."""
    window = look(make_site())
    page = window.open()
    answers: list[tuple[dict[str, Any], str]] = [
        ({"status": 503, "body": "away"}, "The server answers 503"),
        ({"body": "<p>Please log in</p>"}, "The server answers something else. What"),
        ({"body": "null"}, "The server answers something else: reload this page"),
        ({"json": {"format": 2}}, "The server answers something else: reload this page"),
    ]
    for answer, words in answers:
        page.route("**/stats.json", partial(lambda answer, route: route.fulfill(**answer), answer))
        later(window, 5)
        page.locator("#alarm", has_text=words).wait_for()
        page.unroute("**/stats.json")
    page.locator("#link.live").wait_for()
    assert all("503" in complaint for complaint in window.complaints)
    window.complaints.clear()


def test_no_answer(make_site: MakeSite, look: Look) -> None:
    """A server that takes the question and then is silent is named after three seconds."""
    window = look(make_site())
    page = window.open()
    page.route("**/stats.json", lambda _: None)
    later(window, 5)
    page.locator("#alarm", has_text="The server does not answer. What you see is").wait_for()


def test_figures_that_stand_still(make_site: MakeSite, look: Look) -> None:
    """A server that answers with the same figures each time is not live."""
    stats = quiet()
    window = look(make_site())
    page = window.given(lambda: stats)
    later(window, 6)
    page.locator("#alarm", has_text="The figures stand still. What you see is").wait_for()


def test_nobody_looks(make_site: MakeSite, look: Look) -> None:
    """A hidden tab asks nothing; shown again it is live at once, and raises no alarm over its age."""
    window = look(make_site())
    page = window.open()
    page.evaluate(HIDE, True)
    later(window, 1)  # what was under way has come
    before = figures_asked(window)
    later(window, 10)
    assert figures_asked(window) == before
    page.evaluate("""() => {
      const alarm = document.getElementById("alarm"), look = () => { window.alarmed ||= !alarm.hidden; };
      new MutationObserver(look).observe(alarm, {attributes: true});
    }""")
    page.evaluate(HIDE, False)
    assert goes_on(window)
    assert page.locator("#link.live").count() == 1
    assert not page.evaluate("window.alarmed")


def test_pause(make_site: MakeSite, look: Look) -> None:
    """Whoever reads or copies can have it stand still."""
    window = look(make_site())
    page = window.open()
    page.get_by_role("button", name="Pause").click()
    page.locator("#link.paused", has_text="Paused").wait_for()
    later(window, 1)  # what was under way has come
    before = figures_asked(window)
    later(window, 10)
    assert figures_asked(window) == before
    page.get_by_role("button", name="Go on").click()
    assert goes_on(window)


def test_what_has_not_changed_stays(make_site: MakeSite, look: Look) -> None:
    """Fresh figures neither take the focus nor the selection, nor scroll, nor make anew what is there."""
    stats = bad_night()
    stats["events"] *= 10

    def fresh() -> dict[str, Any]:
        stats["at"] += 1.0
        stats["holders"][0]["seconds"] += 1.0
        return stats

    window = look(make_site(), viewport={"width": 1000, "height": 500})
    page = window.given(fresh)
    page.evaluate("""() => {
      const list = document.querySelector("#events ol");
      list.focus({preventScroll: true}); list.scrollTop = 120; scrollTo(0, 700);
      getSelection().selectAllChildren(document.querySelector("#held tbody td:nth-child(3)"));
      window.kept = [...document.querySelectorAll("tr, li, article, canvas, #held tbody td:nth-child(3) *")];
    }""")
    seen = page.locator("#held tbody th").first.inner_text()
    assert goes_on(window, 3)
    assert page.locator("#held tbody th").first.inner_text() != seen
    assert page.evaluate("document.activeElement.scrollTop") == 120
    assert page.evaluate("scrollY") == 700
    assert page.evaluate("String(getSelection())") == "/srv/app/shop/store.py:42 (order)"
    assert page.evaluate("window.kept.every(each => each.isConnected)")


def test_spoken_is_news_only(make_site: MakeSite, look: Look) -> None:
    """A screen reader is told what begins, not each number that changes; and of the next thing when it comes."""
    stats = bad_night()

    def fresh() -> dict[str, Any]:
        stats["at"] += 1.0
        stats["groups"]["web"]["waiting_for"] += 1.0
        return stats

    window = look(make_site())
    page = window.given(fresh)
    spoken = page.get_by_role("status")
    first = spoken.inner_text()
    assert first.startswith("Trouble: 5 requests wait for a connection of web")
    later(window, 8)
    assert spoken.inner_text() == first
    stats["groups"]["web"].update(waiting=0)
    later(window, 6)
    page.locator("#spoken", has_text="Trouble: db3:5432 is down: connection refused").wait_for(state="attached")
