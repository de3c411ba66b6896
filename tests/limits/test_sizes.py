"""Statements, rows and configurations far larger than anybody means them to be."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.life import ticking
from tests.servers import ROLE, Server, eventually
from tests.usage import each_call, fresh_table

LETTERS = 10_000_000
FILLING = ['it is " $1 ; ( select '] * (LETTERS // 22) + ["."] * (LETTERS % 22)
COLUMNS = 1600  # the most that a table may have (PostgreSQL manual, appendix K)
PARAMETERS = 65_000
GROUPS = 1000
ENDPOINTS = 200


@contextmanager
def briefly(seconds: float = 10.0, stand_still: float = 1.0) -> Iterator[None]:
    """The block takes no longer, and nothing in it keeps other threads from running for so long."""
    since = time.monotonic()
    with ticking() as gap:
        yield
        assert gap() < stand_still
    assert time.monotonic() - since < seconds


@pytest.mark.parametrize("way", ["query", "handler", "transaction"])
@pytest.mark.parametrize("place", ["literal", "comment", "parameter"])
def test_a_statement_of_10_mb(make_pool: Callable[..., Any], way: str, place: str) -> None:
    """It is sent and answered; the pool looks at it for a moment only, and keeps nothing of it."""
    ask = each_call(make_pool())[way]
    long = "".join(FILLING)
    text, params = {
        "literal": (f"SELECT length('{long}')", None),
        "comment": (f"SELECT {LETTERS} /* {long} */", None),
        "parameter": ("SELECT length(%s)", (long,)),
    }[place]
    large = long if params else text
    references = sys.getrefcount(large)
    with briefly():
        assert ask(text, params).scalar() == LETTERS
    assert sys.getrefcount(large) == references


def test_a_row_of_50_mb(make_pool: Callable[..., Any]) -> None:
    """It comes whole, by a query as by a stream, and the connection serves the next."""
    pool = make_pool(connection_count=1)
    with briefly(20.0):
        assert len(pool.query("SELECT repeat('x', 50000000)").scalar()) == 50_000_000
    with pool.handler() as db:
        rows = db.stream("SELECT repeat('x', 50000000) FROM generate_series(1, 2)", size=1)
        assert [len(row[0]) for row in rows] == [50_000_000] * 2
    assert pool.query("SELECT 1").scalar() == 1


def test_a_row_of_1600_columns(server: Server, make_pool: Callable[..., Any]) -> None:
    """The widest table there can be is written and read, by position and by name."""
    names = [f"column_{number}" for number in range(COLUMNS)]
    fresh_table(server, "of_limits", ", ".join(f"{name} int" for name in names))
    pool = make_pool()
    places = ", ".join(["%s"] * COLUMNS)
    with briefly():
        pool.query(f"INSERT INTO {ROLE}.of_limits VALUES ({places})", range(COLUMNS))
        row = pool.query(f"SELECT * FROM {ROLE}.of_limits").one()
    assert tuple(row) == tuple(range(COLUMNS))
    assert dict(row) == dict(zip(names, range(COLUMNS), strict=True))
    assert row["column_1599"] == row[1599]
    server.sql(f"DROP TABLE {ROLE}.of_limits")


def test_65000_parameters(make_pool: Callable[..., Any]) -> None:
    """So many placeholders in one text, given in a sequence or by name, are all filled in."""
    pool = make_pool()
    text = f"SELECT sum(n) FROM (VALUES {', '.join(['(%s)'] * PARAMETERS)}) AS v (n)"
    named = f"SELECT sum(n) FROM (VALUES {', '.join(f'(%(n{number})s)' for number in range(PARAMETERS))}) AS v (n)"
    with briefly(stand_still=2.0):  # psycopg2 fills them in, and holds the GIL
        assert pool.query(text, list(range(PARAMETERS))).scalar() == sum(range(PARAMETERS))
        assert pool.query(named, {f"n{number}": number for number in range(PARAMETERS)}).scalar() == sum(
            range(PARAMETERS)
        )


@pytest.mark.contract("2.call.stats.1", "2.call.explain.1")
def test_a_thousand_groups(server: Server, make_pool: Callable[..., Any]) -> None:
    """They cost no thread each and next to nothing while idle; each works, and all are in the figures and the plan."""
    groups = {f"group{number}": {"connection_count": 1, "min_connections": 0} for number in range(GROUPS)}
    before = threading.active_count()
    with briefly():
        pool = make_pool({"db": server.endpoint(), "groups": groups})
        for number in range(0, GROUPS, 50):
            assert pool.query("SELECT 1", group=f"group{number}").scalar() == 1
        assert len(pool.stats()["groups"]) == GROUPS
        assert "group999" in pool.explain()
    assert threading.active_count() - before <= 4
    used = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - used < 0.3
    with briefly():
        pool.close()


@pytest.fixture(scope="module")
def roomy_server(module_server: Server) -> Server:
    """One with room for the monitors of so many endpoints."""
    module_server.sql(f"ALTER SYSTEM SET max_connections = {2 * ENDPOINTS + 50}")
    module_server.restart()
    return module_server


@pytest.mark.contract("5.balance.1", "2.call.resize.1")
def test_two_hundred_endpoints(roomy_server: Server, make_pool: Callable[..., Any]) -> None:
    """All are reached, each gets its turn, a drained one gets none; the pool's own work is little and it ends at once."""
    endpoints = [roomy_server.endpoint(label=f"server{number}") for number in range(ENDPOINTS)]
    with briefly(40.0, stand_still=3.0):
        pool = make_pool({"db": endpoints, "groups": {"web": {"connection_count": 1, "target": "any"}}})
        assert pool.query("SELECT 1").scalar() == 1
        assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == ENDPOINTS, 30.0)
        assert {each["state"] for each in pool.stats()["endpoints"].values()} == {"up"}
    pool.drain("server0")
    turns = Counter(pool.query("SELECT pg_backend_pid()").scalar() for _ in range(5 * ENDPOINTS))
    assert len(turns) == ENDPOINTS - 1
    assert max(turns.values()) - min(turns.values()) <= 2
    used = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - used < 0.6
    with briefly():
        pool.close()
