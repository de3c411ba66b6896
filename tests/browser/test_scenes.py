"""What the page shows of real pools on real servers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.browser.chromium import Window
from tests.browser.site import Site
from tests.life import thread_of, warm
from tests.servers import ROLE, Server, eventually
from tests.several import Replicas, is_known, state
from tests.usage import TABLE

pytestmark = pytest.mark.browser
Look = Callable[..., Window]
MakeSite = Callable[..., Site]
ODD = """<img src="x" onerror="document.title='owned'"> & 'quoted'"""


def headline(page: Any, pattern: str, seconds: float = 15.0) -> None:
    """Wait until the page's headline is this."""
    page.locator("#now .first", has_text=re.compile(pattern)).wait_for(timeout=seconds * 1000)


def tile(page: Any, group: str, name: str) -> str:
    """One of the large figures of a group, without what is below it."""
    tiles = page.get_by_role("article", name=f"group {group}").locator(".tiles > div")
    return str(tiles.filter(has=page.get_by_text(name, exact=True)).locator("dd").first.inner_text())


def row(page: Any, section: str, text: str) -> str:
    """The table row of a section that contains the text."""
    return str(page.locator(f"#{section} tbody tr", has_text=text).first.inner_text())


@contextmanager
def holding(pool: Any, count: int, sql: str = "SELECT 1") -> Iterator[None]:
    """So many threads that have a connection, and each has run ``sql`` on it in a transaction that is still open."""
    release, ready = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        with pool.transaction() as db:
            db.query(sql)
            ready.release()
            release.wait(60)

    threads = [thread_of(hold) for _ in range(count)]
    try:
        assert all(ready.acquire(timeout=10) for _ in threads)
        yield
    finally:
        release.set()
        for thread in threads:
            assert thread.result().error is None


def test_calm(make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """Where nobody waits and the server answers, the page says so, with the pool's own numbers."""
    pool = make_pool(connection_count=3)
    warm(pool, 2)
    page = look(make_site(pool)).open()
    headline(page, "^Calm")
    assert page.title().startswith("Calm")
    assert (tile(page, "web", "in use"), tile(page, "web", "idle"), tile(page, "web", "waiting")) == ("0", "2", "0")
    [label] = pool.stats()["endpoints"]
    assert "up" in row(page, "servers", label)
    assert page.locator("#workers tbody tr").count() == 1


def test_no_pool_yet(make_site: MakeSite, look: Look) -> None:
    """Before ``init`` the page says that there is no pool."""
    headline(look(make_site()).open(), "Trouble No pool has been made yet")


def test_closed(make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """A pool that is closed while somebody looks."""
    pool = make_pool(connection_count=1)
    page = look(make_site(pool)).open()
    headline(page, "^Calm")
    pool.close()
    headline(page, "Trouble The pool is closed")


def test_saturated(make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """Who waits, for how long, why, and which line of code has the connections: one sentence; and then it is over."""
    pool = make_pool(connection_count=2, timeout=60)
    page = look(make_site(pool)).open()
    with ExitStack() as waiting:
        with holding(pool, 2):
            crowd = [thread_of(pool.query, "SELECT 1") for _ in range(3)]
            waiting.callback(lambda: [each.result() for each in crowd])
            words = r"3 requests wait for a connection of web, the first for .*: all 2 are in use; longest held .* at"
            headline(page, rf"^Trouble {words} test_scenes\.py:\d+ \(hold\)$")
            assert page.title().startswith("Trouble")
            assert (tile(page, "web", "in use"), tile(page, "web", "waiting")) == ("2", "3")
            held = row(page, "held", "test_scenes.py")
            assert "Event.wait" in held or "threading.py" in held or "(hold)" in held
            page.locator("#held .mark", has_text="idle in transaction").first.wait_for()
        headline(page, "^Calm")
    assert page.locator("#held tbody tr").count() == 0


@pytest.mark.usefixtures("table")
def test_who_blocks_whom(server: Server, make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """Of two that want one row, the page names the one that has it, by its line of code, beside the one that waits."""
    server.sql(f"INSERT INTO {ROLE}.{TABLE} VALUES (1, '')")
    pool = make_pool(connection_count=2)
    page = look(make_site(pool)).open()
    change = f"UPDATE {TABLE} SET note = note || 'x' WHERE id = 1"
    with ExitStack() as waiting:
        with holding(pool, 1, change):
            waiter = thread_of(pool.query, change)
            waiting.callback(waiter.result)
            page.locator("#held .mark", has_text="blocks 1 other").wait_for()
            blocked = row(page, "held", "blocked by")
            assert re.search(r"active.* waits for Lock: transactionid blocked by pgdbpool:web \(pid \d+\) at", blocked)
            assert "test_scenes.py" in blocked.partition("blocked by")[2]
            headline(page, "^Attention 1 connection to .* waits for a lock of pgdbpool:web")
        headline(page, "^Calm")


def test_failover(own_replicas: Replicas, make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """The primary dies, a standby is promoted: the headline, the roles and the time line tell it without a reload."""
    pool = make_pool(own_replicas.config({"timeout": 30}))
    assert eventually(lambda: is_known(pool), 15)
    page = look(make_site(pool)).open()
    headline(page, "^Calm")
    page.evaluate("window.neverReloaded = true")
    own_replicas.primary.kill9()
    headline(page, r"^Trouble primary is down: connection refused")
    page.locator("#now li", has_text="No primary is up: nothing can be written").wait_for()
    own_replicas.standbys[0].sql("SELECT pg_promote()")
    assert eventually(lambda: state(pool, "standby1", "role") == "primary", 15)
    page.locator("#events li.good", has_text="promotion").wait_for()
    page.locator("#servers tr", has_text="standby1").locator("td", has_text="primary").wait_for()
    page.locator("#now li", has_text="No primary").wait_for(state="detached")
    assert page.evaluate("window.neverReloaded")


def test_names_are_text(server: Server, make_pool: Any, make_site: MakeSite, look: Look) -> None:
    """Labels and names of groups with HTML and quotes in them show as they are, wherever they stand."""
    config = {"db": server.endpoint(label=f"db {ODD}"), "groups": {f"web {ODD}": {"connection_count": 1}}}
    pool = make_pool(config)
    page = look(make_site(pool)).open()
    with ExitStack() as waiting, holding(pool, 1):
        waiting.callback(thread_of(pool.query, "SELECT 1").thread.join, 20)
        headline(page, re.escape(f"1 request waits for a connection of web {ODD}"))
        page.locator("#held tbody tr").wait_for()
        for section, text in (("groups", f"web {ODD}"), ("servers", f"db {ODD}"), ("held", f"web {ODD} db {ODD}")):
            assert text in page.locator(f"#{section}").inner_text(), section
    assert page.locator("img").count() == 0
    assert "owned" not in page.title()
