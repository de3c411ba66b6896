"""The example shop on a primary and two standbys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgdbpool.demo.ports import listen
from pgdbpool.demo.serving import database_for_shop, gunicorn, several_for_shop
from tests.demo.browser import Browser, Seen
from tests.servers import Server, eventually
from tests.several import Replicas

LAMP = 2


@contextmanager
def opened(replicas: Replicas, name: str) -> Iterator[Browser]:
    """A shop on an empty database of its own, which every server has; gunicorn has begun to start."""
    clusters = [server.cluster for server in replicas.servers]  # type: ignore[attr-defined]
    environment = {**database_for_shop(clusters[0], name), **several_for_shop(*clusters)}
    replicas.caught_up()
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with gunicorn(listener, environment) as gunicorns:
            yield Browser(port)
            assert gunicorns.poll() is None


@pytest.fixture(scope="module")
def browser(module_replicas: Replicas) -> Iterator[Browser]:
    """A visitor of a shop that is open, on servers that the tests of this module leave as they were."""
    with opened(module_replicas, "corner") as visitor:
        assert eventually(lambda: knows(visitor, "primary", "standby", "standby"), 15)
        yield visitor


@contextmanager
def paused(standbys: list[Server]) -> Iterator[None]:
    """Standbys that go on answering, and show nothing new."""
    for standby in standbys:
        standby.sql("SELECT pg_wal_replay_pause()")
    try:
        paused = "SELECT pg_get_wal_replay_pause_state()"
        assert eventually(lambda: all(standby.sql(paused) == [("paused",)] for standby in standbys))
        yield
    finally:
        for standby in standbys:
            standby.sql("SELECT pg_wal_replay_resume()")


def read_from(page: Seen) -> str:
    """The server that a page was read from, by role and port."""
    match = re.search(r"Read from (\w+ \d+)\.", page.text)
    return match[1] if match else ""


def knows(visitor: Browser, *roles: str) -> bool:
    """Whether several pages in a row, of either worker, name each server by its role and call it up."""
    pages = [visitor.get("/").text for _ in range(8)]
    return all(re.findall(r"127\.0\.0\.1:\d+ (\w+) up", page) == list(roles) for page in pages)


def standbys_of(replicas: Replicas) -> set[str]:
    return {f"standby {standby.port}" for standby in replicas.standbys}


def test_pages_come_from_the_standbys(browser: Browser, module_replicas: Replicas) -> None:
    """Pages that only look are read from both standbys in turn, and what they order is written on the primary."""
    seen = {read_from(browser.get(path)) for _ in range(10) for path in ("/", f"/product/{LAMP}")}

    assert seen == standbys_of(module_replicas)
    assert browser.order(LAMP).status == 303


def test_what_was_just_written_is_shown(browser: Browser, module_replicas: Replicas) -> None:
    """After an order or a restocking the next page shows it, from the primary, however far the standbys are behind."""
    primary = f"primary {module_replicas.primary.port}"
    with paused(list(module_replicas.standbys)):
        ordered = browser.order(LAMP, customer="Grace Hopper").headers["Location"]
        restocked = browser.post(f"/product/{LAMP}/restock").headers["Location"]
        now = [browser.get(ordered), browser.get(restocked)]
        others = [browser.get("/orders"), browser.get(f"/product/{LAMP}")]
    stocks = [int(re.findall(r"(\d+) in stock", page.text)[0]) for page in (now[1], others[1])]

    assert [read_from(page) for page in now] == [primary, primary]
    assert ["Grace Hopper" in page.text for page in (now[0], others[0])] == [True, False]
    assert stocks[0] == stocks[1] + 4
    module_replicas.caught_up()
    assert "Grace Hopper" in browser.get("/orders").text


def test_lost_standbys_are_not_missed(browser: Browser, module_replicas: Replicas) -> None:
    """With one standby away every page comes from the other, with both away from the primary; back, they serve again."""
    one, other = module_replicas.standbys
    one.kill9()
    assert {read_from(browser.get("/")) for _ in range(8)} == {f"standby {other.port}"}
    other.kill9()
    assert {read_from(browser.get("/")) for _ in range(8)} == {f"primary {module_replicas.primary.port}"}
    one.start()
    other.start()

    assert eventually(lambda: {read_from(browser.get("/")) for _ in range(20)} == standbys_of(module_replicas), 15)


def test_it_opens_when_the_standbys_have_heard_of_its_tables(module_replicas: Replicas) -> None:
    """On an empty database a page that a standby cannot show yet is a 503, and then the shop is open."""
    with opened(module_replicas, "fresh") as visitor:
        with paused(list(module_replicas.standbys)):
            early = eventually(lambda: first_page(visitor), 15)
            assert (early.status, "The shop is just opening" in early.text) == (503, True)
        assert eventually(lambda: [visitor.get("/").status for _ in range(8)] == 8 * [200], 10)


def first_page(visitor: Browser) -> Seen | None:
    """None while gunicorn is still starting."""
    try:
        return visitor.get("/")
    except OSError:
        return None


def test_orders_follow_the_promoted_standby(own_replicas: Replicas) -> None:
    """When the primary is gone and a standby is promoted, orders go there, without a restart of the shop."""
    with opened(own_replicas, "corner") as visitor:
        assert eventually(lambda: knows(visitor, "primary", "standby", "standby"), 15)
        form = visitor.form(LAMP)
        own_replicas.primary.kill9()
        away = visitor.order(LAMP, form=form)
        new, _ = own_replicas.standbys
        new.promote()
        done = eventually(lambda: (seen := visitor.order(LAMP, form=form)).status == 303 and seen, 15)
        page = visitor.get(done.headers["Location"])

    assert away.status == 503
    assert read_from(page) == f"primary {new.port}"
