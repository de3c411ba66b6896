"""``max_lifetime``: connections are replaced one after the other, the new one before the old one goes (contract §3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.life import Crowd, full, pids_of
from tests.servers import PASSWORD, ROLE, Server, eventually
from tests.several import Several, is_known, who

pytestmark = pytest.mark.contract("3.group.max_idle.1")

NAME = "pgdbpool:web"
SEEN = (
    "SELECT pid, extract(epoch FROM clock_timestamp() - backend_start)::float8 FROM pg_stat_activity"
    " WHERE application_name = %s"
)


class Observer:
    """Looks at a server's sessions again and again: how many there were, which, and how old each became."""

    def __init__(self, server: Server) -> None:
        self._admin = server.admin()
        self.counts: list[int] = []
        self.ages: dict[int, float] = {}
        self.last_seen: dict[int, float] = {}
        self._going = True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        cursor = self._admin.cursor()
        while self._going:
            cursor.execute(SEEN, (NAME,))
            rows = cursor.fetchall()
            self.counts.append(len(rows))
            for pid, age in rows:
                self.ages[pid] = age
                self.last_seen[pid] = time.monotonic()
            time.sleep(0.005)

    def stop(self) -> None:
        self._going = False
        self._thread.join(5)
        self._admin.close()


@contextmanager
def observed(*servers: Server) -> Iterator[list[Observer]]:
    observers = [Observer(server) for server in servers]
    try:
        yield observers
    finally:
        for each in observers:
            each.stop()


def test_the_working_set_never_dips(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """With room for one more, each server has its ``min_connections`` all the time, while every session is replaced."""
    group = {"target": "any", "connection_count": 4, "min_connections": 3, "max_lifetime": 2, "max_idle": 0}
    pool = make_pool(three_servers.config(group))
    assert eventually(lambda: all(len(pids_of(server)) >= 3 for server in three_servers.servers))
    with Crowd(lambda: (who(pool), time.sleep(0.002)), 3) as crowd, observed(*three_servers.servers) as observers:
        assert eventually(lambda: all(len(each.ages) >= 9 for each in observers), 8.0)
    assert crowd.errors == []
    for observer in observers:
        assert min(observer.counts) >= 3
        assert max(observer.counts) <= 4
        assert max(observer.ages.values()) < 4.5
    assert max(each.seconds for each in crowd.all) < 0.5


def test_without_traffic_too(server: Server, make_pool: Callable[..., Any]) -> None:
    """An idle pool renews its connections as well, the new one first."""
    pool = make_pool(connection_count=4, min_connections=3, max_lifetime=2, max_idle=0)
    assert eventually(lambda: len(pids_of(server)) == 3)
    first = set(pids_of(server))
    with observed(server) as [observer]:
        assert eventually(lambda: len(observer.ages) >= 6 and not first & set(pids_of(server)), 7.0)
    assert min(observer.counts) >= 3
    assert max(observer.counts) <= 4
    assert max(observer.ages.values()) < 5.0
    assert pool.stats()["groups"]["web"]["errors"] == 0


def test_a_group_at_its_limit_loses_one_at_a_time(server: Server, make_pool: Callable[..., Any]) -> None:
    """Where every connection that it may have is open, one is missing at most; one that leaves may still be seen."""
    pool = make_pool(connection_count=4, min_connections=4, max_lifetime=2, max_idle=0)
    assert full(pool, 4)
    with Crowd(lambda: (pool.query("SELECT 1"), time.sleep(0.002)), 3) as crowd, observed(server) as [observer]:
        assert eventually(lambda: len(observer.ages) >= 8, 6.0)
    assert crowd.errors == []
    assert min(observer.counts) >= 3
    assert max(observer.counts) <= 4
    assert max(each.seconds for each in crowd.all) < 0.5


def test_the_only_connection(server: Server, make_pool: Callable[..., Any]) -> None:
    """``connection_count`` 1: it is renewed too; whoever comes in that moment waits for the new one, and none fails."""
    pool = make_pool(connection_count=1, max_lifetime=1)
    assert full(pool, 1)
    with Crowd(lambda: (pool.query("SELECT 1"), time.sleep(0.002)), 3) as crowd, observed(server) as [observer]:
        assert eventually(lambda: len(observer.ages) >= 3, 4.5)
    assert crowd.errors == []
    assert max(observer.counts) == 1
    assert max(each.seconds for each in crowd.all) < 0.5


def test_lifetimes_are_spread(server: Server, make_pool: Callable[..., Any]) -> None:
    """Connections that were opened together do not end together: no wave of reconnects."""
    pool = make_pool(connection_count=10, min_connections=8, max_lifetime=10, max_idle=0)
    assert eventually(lambda: len(pids_of(server)) == 8)
    first = set(pids_of(server))
    with Crowd(lambda: (pool.query("SELECT 1"), time.sleep(0.002)), 2), observed(server) as [observer]:
        assert eventually(lambda: not first & set(pids_of(server)), 13.0)
    ends = sorted(observer.last_seen[pid] for pid in first)
    assert ends[-1] - ends[0] > 0.8
    assert max(sum(start <= end < start + 0.4 for end in ends) for start in ends) <= 6
    assert min(observer.counts) >= 8


def test_what_is_borrowed_is_left_alone(server: Server, make_pool: Callable[..., Any]) -> None:
    """A connection past its lifetime is not taken from whoever has it; it goes when it comes back."""
    pool = make_pool(connection_count=2, max_lifetime=0.5)
    with pool.transaction() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        time.sleep(1.8)
        assert db.query("SELECT pg_backend_pid()").scalar() == pid
    assert eventually(lambda: pid not in pids_of(server), 3.0)
    assert full(pool, 2)


@contextmanager
def nobody_may_connect(server: Server) -> Iterator[None]:
    server.sql(f"ALTER ROLE {ROLE} PASSWORD 'another one'")
    try:
        yield
    finally:
        server.sql(f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_no_replacement_no_retirement(module_server: Server, make_pool: Callable[..., Any], count: int) -> None:
    """While the server lets nobody in, what is open goes on serving, past its lifetime."""
    group = {"connection_count": count, "min_connections": max(1, count - 1), "max_lifetime": 1, "timeout": 0.5}
    pool = make_pool(module_server.config(group))
    assert eventually(lambda: len(pids_of(module_server)) >= max(1, count - 1))
    with nobody_may_connect(module_server), Crowd(lambda: (pool.query("SELECT 1"), time.sleep(0.002)), 2) as crowd:
        time.sleep(2.5)
    if count > 1:
        assert crowd.errors == []
    assert eventually(lambda: answers(pool), 3.0)


def answers(pool: Any) -> bool:
    try:
        return bool(pool.query("SELECT 1").scalar())
    except Exception:
        return False


def test_a_replacement_that_hangs_costs_nobody_a_connection(server: Server, make_pool: Callable[..., Any]) -> None:
    """While the attempt to replace the first one hangs, the others stay, past their lifetimes."""
    hangs, hung = threading.Event(), threading.Event()

    def password() -> str:
        if hangs.is_set():
            hung.set()
            while hangs.is_set():
                time.sleep(0.02)
        return PASSWORD

    config = server.config({"connection_count": 2, "min_connections": 2, "max_lifetime": 1.5}, **{"pass": password})
    pool = make_pool(config)
    assert full(pool, 2)
    hangs.set()
    try:
        with Crowd(lambda: (pool.query("SELECT 1", timeout=0.5), time.sleep(0.002)), 2) as crowd:
            assert hung.wait(5)
            time.sleep(1.5)
    finally:
        hangs.clear()
    assert crowd.errors == []
    assert eventually(lambda: full(pool, 2))


@pytest.mark.contract("2.call.resize.1")
def test_lifetimes_under_several_servers_and_changes(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Short lifetimes, drains and resizes at once: no error, and the numbers are right at the end."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 3, "max_lifetime": 0.5, "timeout": 10}))
    assert eventually(lambda: is_known(pool))
    with Crowd(lambda: who(pool), 8) as crowd:
        for count in (2, 4, 1, 3):
            pool.drain("two")
            pool.resize("web", count)
            time.sleep(0.4)
            pool.resume("two")
            crowd.goes_on()
    assert crowd.errors == []
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)
    assert all(len(pids_of(server)) <= 3 for server in three_servers.servers)
