"""Many threads on few connections, each running a one-row SELECT as fast as it can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import peers
from benchmarks.crowd import WINDOW, Window, Work, window
from benchmarks.report import Figure, Goal, Row, pairwise
from benchmarks.rounds import in_turns
from benchmarks.server import Server

__all__ = ["measure_16", "measure_64"]

ROUNDS = 15
_CONNECTIONS = 8
_SQL = "SELECT 1"

OURS, DEDICATED, SEMAPHORE = "pgdbpool.query", "dedicated connections", "psycopg2.pool + semaphore"
PSYCOPG3, SQLALCHEMY = "psycopg_pool", "SQLAlchemy QueuePool"


def _contestants(stack: ExitStack, dsn: str, threads: int) -> dict[str, Work]:
    """Everyone's way to run one statement, as their users write it."""
    ours = stack.enter_context(peers.our_pool(dsn, _CONNECTIONS))
    own = stack.enter_context(peers.dedicated(dsn, threads))
    theirs, semaphore = stack.enter_context(peers.psycopg2_pool(dsn, _CONNECTIONS))
    psycopg3 = stack.enter_context(peers.psycopg3_pool(dsn, _CONNECTIONS))
    queue = stack.enter_context(peers.sqlalchemy_pool(dsn, _CONNECTIONS))

    def by_us() -> Any:
        return ours.query(_SQL).fetchone()

    def by_semaphore() -> Any:
        with semaphore:
            connection = theirs.getconn()
            try:
                return _fetched(connection)
            finally:
                theirs.putconn(connection)

    def by_psycopg3() -> Any:
        with psycopg3.connection() as connection:
            return connection.execute(_SQL).fetchone()

    def by_sqlalchemy() -> Any:
        connection = queue.connect()
        try:
            return _fetched(connection)
        finally:
            connection.close()

    shared = {OURS: by_us, PSYCOPG3: by_psycopg3, SEMAPHORE: by_semaphore, SQLALCHEMY: by_sqlalchemy}
    works: dict[str, Work] = {name: partial(_same, call) for name, call in shared.items()}
    works[DEDICATED] = lambda number: partial(_fetched, own[number])
    return works


def _same(call: Callable[[], Any], number: int) -> Callable[[], Any]:
    return call


def _fetched(connection: Any) -> Any:
    cursor = connection.cursor()
    cursor.execute(_SQL)
    return cursor.fetchone()


def _results(server: Server, threads: int, rounds: int | None) -> dict[str, list[Window]]:
    with ExitStack() as stack:
        works = _contestants(stack, server.dsn, threads)
        return in_turns({name: partial(window, work, threads) for name, work in works.items()}, rounds or ROUNDS)


def _row(results: Mapping[str, list[Window]], threads: int, goals: list[Goal]) -> Row:
    figures = []
    for name, windows in results.items():
        figures += [
            Figure(f"{name}: queries", [each.rate for each in windows], "/s"),
            Figure(f"{name}: slowest/fastest thread", [each.fairness for each in windows], ""),
            Figure(f"{name}: longest call", [each.worst for each in windows], "ms"),
        ]
    return Row(
        title=f"{threads} threads on {_CONNECTIONS} connections, one-row SELECT",
        how=f"{len(results[OURS])} rounds of {WINDOW} s each; {DEDICATED}: {threads}",
        figures=figures,
        goals=goals,
        notes=["the longest call is checkout, round trip and release together, the longest of all threads in a round"],
    )


def _rates(results: Mapping[str, list[Window]], name: str) -> list[float]:
    return [each.rate for each in results[name]]


def _fairness(results: Mapping[str, list[Window]]) -> Goal:
    return Goal("slowest thread's count over the fastest's", [each.fairness for each in results[OURS]], 0.95, True)


def measure_16(server: Server, rounds: int | None) -> Row:
    results = _results(server, 16, rounds)
    ours = _rates(results, OURS)
    waits = pairwise((each.worst for each in results[OURS]), (each.worst for each in results[PSYCOPG3]))
    goals = [
        Goal("× sixteen dedicated connections", pairwise(ours, _rates(results, DEDICATED)), 0.85, True),
        Goal("× psycopg_pool", pairwise(ours, _rates(results, PSYCOPG3)), 4, True),
        _fairness(results),
        Goal("longest call × psycopg_pool's", waits, 1),
    ]
    return _row(results, 16, goals)


def measure_64(server: Server, rounds: int | None) -> Row:
    results = _results(server, 64, rounds)
    goals = [
        Goal("× psycopg_pool", pairwise(_rates(results, OURS), _rates(results, PSYCOPG3)), 2.5, True),
        _fairness(results),
    ]
    return _row(results, 64, goals)
