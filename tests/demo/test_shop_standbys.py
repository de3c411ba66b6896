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
WORKERS = 2


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
def shop(module_replicas: Replicas) -> Iterator[Browser]:
    """A visitor of a shop that is open, on servers that the tests of this module leave as they were."""
    with opened(module_replicas, "corner") as visitor:
        assert eventually(lambda: knows(visitor, "primary", "standby", "standby"), 15)
        yield visitor


@pytest.fixture
def visitor(shop: Browser, module_replicas: Replicas) -> Browser:
    """Somebody who has never been there; every worker reads from both standbys, which show all that there is."""
    module_replicas.caught_up()
    assert eventually(lambda: sources(shop.other()) == standbys_of(module_replicas), 15)
    return shop.other()


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


def by_each_worker(visitor: Browser, path: str) -> list[Seen]:
    """The page as each of the workers makes it, several times."""
    pages: list[Seen] = []

    def complete() -> bool:
        pages.append(visitor.get(path))
        workers = [re.findall(r"Worker (\d+)", page.text)[0] for page in pages]
        return len(set(workers)) == WORKERS and min(map(workers.count, workers)) >= 4

    assert eventually(complete, 15)
    return pages


def sources(visitor: Browser, path: str = "/") -> set[str]:
    """The servers that the page is read from; it is there each time."""
    pages = by_each_worker(visitor, path)
    assert {page.status for page in pages} == {200}
    return {read_from(page) for page in pages}


def knows(visitor: Browser, *roles: str) -> bool:
    """Whether both workers name each server by its role and call it up."""
    pages = by_each_worker(visitor, "/")
    return all(re.findall(r"127\.0\.0\.1:\d+ (\w+) up", page.text) == list(roles) for page in pages)


def standbys_of(replicas: Replicas) -> set[str]:
    return {f"standby {standby.port}" for standby in replicas.standbys}


def test_pages_come_from_the_standbys(visitor: Browser, module_replicas: Replicas) -> None:
    """Every page is read from both standbys in turn, once its query is known, and the foot tells how far each is behind."""
    assert visitor.other().order(LAMP).status == 303

    for path in ("/", "/orders", f"/product/{LAMP}"):
        assert eventually(lambda path=path: sources(visitor, path) == standbys_of(module_replicas), 15)
    assert eventually(lambda: len(re.findall(r"standby up, \d+\.\d s behind", visitor.get("/").text)) == 2)


@pytest.mark.contract("5.read-your-own.2")
def test_a_visitor_sees_what_is_on_no_standby_yet(visitor: Browser, module_replicas: Replicas) -> None:
    """With the standbys held back an order is on its visitor's next pages, by any worker, and not on anybody else's."""
    other = visitor.other()
    with paused(list(module_replicas.standbys)):
        ordered = visitor.order(LAMP, customer="Grace Hopper").headers["Location"]
        theirs = [on_a_standby(other, path, module_replicas) for path in ("/orders", f"/product/{LAMP}")]
        orders = by_each_worker(visitor, ordered)
        restocked = visitor.post(f"/product/{LAMP}/restock").headers["Location"]
        lamps = by_each_worker(visitor, restocked)

    primary = f"primary {module_replicas.primary.port}"
    assert [{read_from(page) for page in pages} for pages in (orders, lamps)] == [{primary}, {primary}]
    assert "Grace Hopper" not in theirs[0].text
    assert all("Grace Hopper" in page.text for page in orders)
    assert {in_stock(page) for page in lamps} == {in_stock(theirs[1]) + 4}


def on_a_standby(visitor: Browser, path: str, replicas: Replicas) -> Seen:
    """The page as a standby shows it."""
    return eventually(lambda: read_from(seen := visitor.get(path)) in standbys_of(replicas) and seen)


def in_stock(page: Seen) -> int:
    return int(re.findall(r"(\d+) in stock", page.text)[0])


@pytest.mark.contract("5.read-your-own.2")
def test_the_standbys_serve_when_they_have_caught_up(visitor: Browser, module_replicas: Replicas) -> None:
    """Who has just ordered is soon served by the standbys again, and no page on the way lacks the order."""
    ordered = visitor.order(LAMP, customer="Barbara Liskov").headers["Location"]

    def on_standbys() -> bool:
        pages = by_each_worker(visitor, ordered)
        assert all("Barbara Liskov" in page.text for page in pages)
        return {read_from(page) for page in pages} == standbys_of(module_replicas)

    assert "pgdbpool" in visitor.cookies
    assert eventually(on_standbys, 15)


def test_lost_standbys_are_not_missed(visitor: Browser, module_replicas: Replicas) -> None:
    """With one standby away every page comes from the other, with both away from the primary; back, they serve again."""
    one, other = module_replicas.standbys
    one.kill9()
    assert eventually(lambda: sources(visitor) == {f"standby {other.port}"})
    other.kill9()
    assert sources(visitor) == {f"primary {module_replicas.primary.port}"}
    one.start()
    other.start()

    assert eventually(lambda: sources(visitor) == standbys_of(module_replicas), 15)


def test_it_opens_before_the_standbys_have_heard_of_its_tables(module_replicas: Replicas) -> None:
    """On an empty database every page is there at once, though no standby has its tables yet."""
    with opened(module_replicas, "fresh") as visitor:
        with paused(list(module_replicas.standbys)):
            first = eventually(lambda: first_page(visitor), 15)
            seen = [first, *(page for _ in range(4) for page in by_each_worker(visitor.other(), "/"))]
        assert [page.status for page in seen] == [200] * len(seen)
        assert {page.text.count('<article class="card">') for page in seen} == {6}
        assert eventually(lambda: sources(visitor.other()) == standbys_of(module_replicas), 15)


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
