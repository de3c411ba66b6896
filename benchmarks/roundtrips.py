"""Round trips of a transaction of one write, counted on the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import peers
from benchmarks.report import Figure, Goal, Row
from benchmarks.rounds import in_turns
from benchmarks.server import Server
from benchmarks.wire import Wire, tapped

__all__ = ["measure"]

ROUNDS = 10
_AFTERWARDS = 0.05  # seconds in which a message of the pool's own, off the request path, would show up
_SQL, _PARAMS = "UPDATE pgdbpool_bench SET stock = stock - 1 WHERE id = %s", (42,)

_OURS = "pgdbpool.transaction"


def measure(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        wire = stack.enter_context(tapped(server.dsn))
        calls = _contestants(stack, wire.dsn)
        results = in_turns({name: partial(_trips, wire, call) for name, call in calls.items()}, rounds or ROUNDS)
    during = {name: [float(inside) for inside, _ in counts] for name, counts in results.items()}
    after = sum(later for _, later in results[_OURS])
    return Row(
        title="a transaction of one write",
        how=f"{len(during[_OURS])} rounds of one transaction, through a proxy that counts",
        figures=[Figure(name, values, "round trips") for name, values in during.items()],
        goals=[Goal("round trips on the wire (the most of any round)", [max(during[_OURS])], 2)],
        notes=[f"messages of pgdbpool's own within {_AFTERWARDS} s after its transactions: {after} in all"],
    )


def _trips(wire: Wire, call: Callable[[], None]) -> tuple[int, int]:
    """Round trips until the call returned, and those that followed."""
    before = wire.trips
    call()
    inside = wire.trips
    time.sleep(_AFTERWARDS)
    return inside - before, wire.trips - inside


def _contestants(stack: ExitStack, dsn: str) -> dict[str, Callable[[], None]]:
    ours = stack.enter_context(peers.our_pool(dsn, 1))
    own = stack.enter_context(peers.dedicated(dsn, 1))[0]
    own.autocommit = False
    psycopg3 = stack.enter_context(peers.psycopg3_pool(dsn, 1))

    def by_us() -> None:
        with ours.transaction() as db:
            db.query(_SQL, _PARAMS)

    def by_psycopg2() -> None:
        with own, own.cursor() as cursor:
            cursor.execute(_SQL, _PARAMS)

    def by_psycopg3() -> None:
        with psycopg3.connection() as connection, connection.transaction():
            _execute(connection)

    return {_OURS: by_us, "psycopg2": by_psycopg2, "psycopg_pool": by_psycopg3}


def _execute(connection: Any) -> None:
    connection.execute(_SQL, _PARAMS)
