"""What more servers bring: the throughput of three endpoints beside that of one."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import pgdbpool
from benchmarks.crowd import WINDOW, Work, window
from benchmarks.report import Figure, Goal, Row, pairwise
from benchmarks.rounds import in_turns
from benchmarks.server import Server
from benchmarks.several import balanced, three_servers

__all__ = ["measure"]

ROUNDS = 15
_THREADS, _CONNECTIONS = 24, 4
_SQL = "SELECT pg_sleep(0.005)"
_ONE, _THREE = "one endpoint", "three endpoints"


def measure(_: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        nodes = stack.enter_context(three_servers())
        pools = {_ONE: balanced(nodes[:1], _CONNECTIONS), _THREE: balanced(nodes, _CONNECTIONS)}
        works = {name: _work(stack.enter_context(pool)) for name, pool in pools.items()}
        results = in_turns({name: partial(window, work, _THREADS) for name, work in works.items()}, rounds or ROUNDS)
    rates = {name: [each.rate for each in windows] for name, windows in results.items()}
    return Row(
        title=f"{_THREADS} threads, reads of 5 ms, connection_count {_CONNECTIONS}, on three endpoints",
        how=f"{len(rates[_ONE])} rounds of {WINDOW} s each",
        figures=[Figure(f"{name}: queries", values, "/s") for name, values in rates.items()],
        goals=[Goal("× the throughput of one endpoint", pairwise(rates[_THREE], rates[_ONE]), 2.9, True)],
    )


def _work(pool: pgdbpool.Pool) -> Work:
    def call() -> Any:
        return pool.query(_SQL).fetchone()

    return lambda number: call
