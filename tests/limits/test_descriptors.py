"""A process without a free file descriptor (EMFILE): nothing breaks, and it is over as soon as there are some again.

Each test runs in a child process, which has its own limit.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import psycopg2
import pytest

import pgdbpool
from tests.life import Crowd, full, in_child, outcome
from tests.servers import Server, eventually

WHY = "Too many open files"

pytestmark = [
    pytest.mark.contract("4.lost.1", "7.p1.2"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc"),
]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def scarcity(spare: int) -> Iterator[None]:
    """This process has so many free descriptors and can have no more, until the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2 + spare, before[1]))
    hoard: list[int] = []
    try:
        while True:
            hoard.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(spare):
            os.close(hoard.pop())
    try:
        yield
    finally:
        for number in hoard:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def connects() -> Iterator[list[float]]:
    """When each connection of a group was tried; all of them are."""
    tried: list[float] = []
    connect = psycopg2.connect

    def noted(*args: Any, **words: Any) -> Any:
        if words["application_name"] == "pgdbpool:web":
            tried.append(time.monotonic())
        return connect(*args, **words)

    with patch.object(psycopg2, "connect", noted):
        yield tried


@contextmanager
def log_lines() -> Iterator[list[str]]:
    lines: list[str] = []

    class Noted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, logger = Noted(), logging.getLogger("pgdbpool")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def connections(pool: Any) -> int:
    (endpoint,) = pool.stats()["endpoints"].values()
    return int(endpoint["connections"])


def two_at_once(pool: Any) -> None:
    with pool.handler(timeout=0.5), pool.handler(timeout=0.5):
        pass


def workers() -> set[str]:
    """What the pool's threads are for."""
    return {thread.name.split("-")[1] for thread in threading.enumerate() if thread.name.startswith("pgdbpool-")}


@pytest.mark.parametrize(
    ("host", "spare", "lasts"), [("localhost", 0, 1.2), ("127.0.0.1", 0, 3.0), ("127.0.0.1", 1, 1.2)]
)
def test_a_pool_goes_on_and_grows_later(server: Server, host: str, spare: int, lasts: float) -> None:
    """What is open serves; growth fails at its deadline and says why, is tried seldom, and follows when it can.

    With one descriptor to spare the server is reached, and what fails is the duplicate of the socket.
    """

    def child() -> None:
        began = descriptors()
        pool = pgdbpool.Pool(server.config({"timeout": 10}, host=host))
        pool.query("SELECT 1")
        assert eventually(lambda: server.sessions("pgdbpool:monitor"))
        threads, sessions = workers(), len(server.sessions())
        with connects() as tried, log_lines() as said:
            none_left = ExitStack()
            none_left.enter_context(scarcity(spare))
            with Crowd(lambda: pool.query("SELECT pg_sleep(0.01)"), 4) as crowd:
                time.sleep(lasts / 2)
                failed = outcome(two_at_once, pool)
                time.sleep(lasts / 2)
                count, back = len(tried), time.monotonic()
                none_left.close()
                assert eventually(lambda: connections(pool) > 1)
                grown = time.monotonic() - back
        assert crowd.errors == []
        assert isinstance(failed.error, pgdbpool.PoolTimeout)
        assert WHY in str(failed.error)
        assert 0.4 < failed.seconds < 1.5
        assert 1 <= count <= 5 * (lasts + 1)
        assert grown < 1.0
        assert len(said) <= 7, said
        assert threads <= workers()
        assert full(pool, 4)
        assert len(server.sessions()) == sessions + 3
        pool.close()
        assert descriptors() == began

    in_child(child)
    assert eventually(lambda: not server.sessions("pgdbpool%"))


def test_no_session_stays_behind_where_nobody_wants_to_grow(server: Server) -> None:
    """A connection whose duplicate socket could not be had is closed at the server too, at once."""

    def child() -> None:
        pool = pgdbpool.Pool(server.config())
        pool.query("SELECT 1")
        assert eventually(lambda: server.sessions("pgdbpool:monitor"))
        sessions, before = server.sessions(), descriptors()
        with scarcity(1), pytest.raises(pgdbpool.PoolTimeout, match=WHY):
            two_at_once(pool)
        assert eventually(lambda: server.sessions() == sessions)
        assert descriptors() == before
        pool.close()

    in_child(child)


def test_a_pool_that_is_made_without_descriptors(server: Server) -> None:
    """Neither its names nor its monitor nor a connection can be had: it says so, and works soon after there are some."""

    def child() -> None:
        began = descriptors()
        with scarcity(0), log_lines() as said:
            pool = pgdbpool.Pool(server.config(host="localhost"))
            with pytest.raises(pgdbpool.DBOfflineError, match=WHY):
                pool.query("SELECT 1", timeout=2)
            assert pool.check()[f"localhost:{server.port}"]["error"].endswith(WHY)
            threads = workers()
        assert outcome(pool.query, "SELECT 1").seconds < 1.0
        assert threads == {"watch", "names", "monitor", "open", "figures"}
        assert threads <= workers()
        assert len(said) <= 7, said
        assert eventually(lambda: server.sessions("pgdbpool:monitor"))
        assert full(pool, 4)
        pool.close()
        assert descriptors() == began

    in_child(child)


def test_without_threads(server: Server) -> None:
    """``non-threaded``: who asks is told at his deadline, attempts are few, and the next request after it is served."""

    def child() -> None:
        began = descriptors()
        pool = pgdbpool.Pool({**server.config(), "type": "non-threaded"})
        with connects() as tried, scarcity(1):
            failed = outcome(two_at_once, pool)
            pool.query("SELECT 1")
            count = len(tried)
        assert WHY in str(failed.error)
        assert 0.4 < failed.seconds < 1.5
        assert 1 <= count <= 5
        assert full(pool, 4)
        pool.close()
        assert descriptors() == began

    in_child(child)


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_a_fork_without_descriptors(server: Server, make_pool: Callable[..., Any]) -> None:
    """The child's own pool says why it cannot connect, its parent's connections are out of reach there, and go on here."""
    pool = make_pool()
    with pool.handler() as db:

        def grandchild() -> list[str]:
            with pytest.raises(pgdbpool.PoolError) as used:
                db.query("SELECT 1")
            with pytest.raises(pgdbpool.DBOfflineError, match=WHY):
                pool.query("SELECT 1", timeout=0.5)
            return [str(used.value)]

        def child() -> Any:
            with scarcity(3):
                return in_child(grandchild)

        assert in_child(child)
        assert db.query("SELECT 1").scalar() == 1
    assert full(pool, 4)
