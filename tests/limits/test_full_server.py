"""A server that takes no more than so many sessions (SQLSTATE 53300), fewer than the pool may hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg2
import pytest

from benchmarks.attempts import Attempts, attempts
from tests.life import Crowd, outcome, python
from tests.servers import DATABASE, ROLE, Server, eventually

MOST, SESSIONS = 6, 3  # connections that the pool may hold, and that the server has room for

pytestmark = pytest.mark.contract("4.waiting.1", "4.lost.1")


@contextmanager
def limit_of_role(server: Server, count: int) -> Iterator[None]:
    server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT {count}")
    try:
        yield
    finally:
        server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@contextmanager
def limit_of_database(server: Server, count: int) -> Iterator[None]:
    server.sql(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT {count}", dbname="postgres")
    try:
        yield
    finally:
        server.sql(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT -1", dbname="postgres")


@contextmanager
def limit_of_server(server: Server, count: int) -> Iterator[None]:
    """``max_connections``: others have taken all but so many."""
    others = []
    with suppress(psycopg2.OperationalError):
        while True:
            others.append(psycopg2.connect(**server.dsn()))
    for each in [others.pop() for _ in range(count)]:
        each.close()
    assert eventually(lambda: len(server.sessions()) == len(others))
    try:
        yield
    finally:
        for each in others:
            each.close()


def open_(pool: Any) -> int:
    (endpoint,) = pool.stats()["endpoints"].values()
    return int(endpoint["connections"])


def failed(seen: Attempts, server: Server) -> int:
    return len(seen.failed.get(server.port, []))


@pytest.mark.parametrize(("limit", "lasts"), [(limit_of_role, 3.0), (limit_of_database, 1.0), (limit_of_server, 1.0)])
def test_what_can_be_had_serves_all(
    server: Server, make_pool: Callable[..., Any], limit: Callable[..., Any], lasts: float
) -> None:
    """Three sessions serve eight threads without an error, more are seldom tried for, and come when there is room."""
    with ExitStack() as full:
        full.enter_context(limit(server, SESSIONS))
        pool = make_pool(connection_count=MOST, timeout=5)
        with attempts() as seen, Crowd(lambda: pool.query("SELECT pg_sleep(0.01)"), 8) as crowd:
            assert eventually(lambda: len(server.sessions("pgdbpool:%")) == SESSIONS)
            began, before = time.monotonic(), failed(seen, server)
            time.sleep(lasts)
            had, more = open_(pool), failed(seen, server) - before
            rate = more / (time.monotonic() - began)
            full.close()
            since = time.monotonic()
            assert eventually(lambda: open_(pool) > had)
            grown = time.monotonic() - since
            assert eventually(lambda: open_(pool) == MOST)
    assert crowd.errors == []
    assert max(each.seconds for each in crowd.all) < 1.0
    assert had >= SESSIONS - 1  # one may be the monitor's
    assert more >= 1
    assert rate <= 5
    assert grown < 1.0


def test_the_last_session_is_for_requests(server: Server, make_pool: Callable[..., Any]) -> None:
    """A server with room for one session: it does not go to the monitor while a request waits, whoever had it before."""
    with limit_of_role(server, 1):
        pool = make_pool(connection_count=2, min_connections=0, max_idle=0.2, timeout=5)
        for _ in range(2):
            assert outcome(pool.query, "SELECT 1").error is None
            assert eventually(lambda: [each.application_name for each in server.sessions()] == ["pgdbpool:monitor"])


SHARED = 1.0  # seconds of load on what two processes share
OTHER = """
import json, sys, time
from benchmarks.attempts import attempts
from pgdbpool import Pool
from tests.life import Crowd

config, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
with attempts() as seen, Pool(config) as pool:
    pool.query("SELECT 1")
    print(flush=True)
    sys.stdin.readline()
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.01)"), 4) as crowd:
        time.sleep(seconds)
    print(json.dumps([[str(error) for error in crowd.errors], len(seen.failed.get(config["db"]["port"], []))]), flush=True)
    sys.stdin.readline()
"""


def test_two_processes_share_what_there_is(server: Server, make_pool: Callable[..., Any]) -> None:
    """Each of two pools wants more than the server has for both: all requests are served, and who stays gets the rest."""
    config = server.config({"connection_count": MOST, "timeout": 5})
    pool = make_pool(config)
    pool.query("SELECT 1")
    with python(OTHER, json.dumps(config), str(SHARED)) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        assert eventually(lambda: len(server.sessions("pgdbpool:monitor")) == 2)
        with (
            limit_of_role(server, MOST),
            attempts() as seen,
            Crowd(lambda: pool.query("SELECT pg_sleep(0.01)"), 4) as crowd,
        ):
            print(file=other.stdin, flush=True)
            time.sleep(SHARED)
            sessions = len(server.sessions())
            errors, theirs = json.loads(other.stdout.readline())
            ours = failed(seen, server)
            print(file=other.stdin, flush=True)
            assert other.wait(10) == 0
            assert eventually(lambda: open_(pool) == 4)  # as many as ask at once
    assert (crowd.errors, errors) == ([], [])
    assert sessions == MOST
    assert ours + theirs >= 1
    assert max(ours, theirs) <= 5 * (SHARED + 2)
