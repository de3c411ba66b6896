"""Checkout, liveness and release by one thread, with nobody waiting and nothing run on the connection."""

from __future__ import annotations

import timeit
from contextlib import ExitStack
from functools import partial

from benchmarks import peers
from benchmarks.report import Figure, Goal, Row, pairwise
from benchmarks.rounds import in_turns, microseconds
from benchmarks.server import Server
from pgdbpool.engine.owners import present_owner

__all__ = ["GROUPS_OWN", "measure"]

ROUNDS = 100
_PAIRS = 2000
_CONNECTIONS = 8

_GROUP, _SEMAPHORE = "pgdbpool, the group's checkout and release", "psycopg2.pool + semaphore"
_PSYCOPG3, _PSYCOPG3_BLOCK = "psycopg_pool, getconn() and putconn()", "psycopg_pool, with connection()"

# Written out, so that no function call is measured that a user would not make.
GROUPS_OWN = "owner = present_owner(); slot = group.checkout(owner, 5.0); group.release(slot, owner)"
_TEXTS = {
    _GROUP: GROUPS_OWN,
    "pgdbpool, getconn() and putconn()": "connection = ours.getconn(); ours.putconn(connection)",
    "pgdbpool, with connection()": "with ours.connection(): pass",
    "pgdbpool, with handler()": "with ours.handler(): pass",
    _SEMAPHORE: "with semaphore: connection = theirs.getconn(); theirs.putconn(connection)",
    _PSYCOPG3: "connection = psycopg3.getconn(); psycopg3.putconn(connection)",
    _PSYCOPG3_BLOCK: "with psycopg3.connection(): pass",
    "SQLAlchemy QueuePool": "connection = queue.connect(); connection.close()",
}


def measure(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        ours = stack.enter_context(peers.our_pool(server.dsn, _CONNECTIONS))
        theirs, semaphore = stack.enter_context(peers.psycopg2_pool(server.dsn, _CONNECTIONS))
        names = {
            "ours": ours,
            "group": ours.desk(None).group,
            "present_owner": present_owner,
            "theirs": theirs,
            "semaphore": semaphore,
            "psycopg3": stack.enter_context(peers.psycopg3_pool(server.dsn, _CONNECTIONS)),
            "queue": stack.enter_context(peers.sqlalchemy_pool(server.dsn, _CONNECTIONS)),
        }
        # timeit switches the collector off, which nobody does whose pool it is
        timers = {name: timeit.Timer(text, "import gc; gc.enable()", globals=names) for name, text in _TEXTS.items()}
        contestants = {name: partial(microseconds, timer, _PAIRS) for name, timer in timers.items()}
        return _row(in_turns(contestants, rounds or ROUNDS))


def _row(results: dict[str, list[float]]) -> Row:
    ours = results[_GROUP]
    return Row(
        title="checkout + liveness + release, uncontended",
        how=f"{len(ours)} rounds of {_PAIRS:,} pairs, one thread",
        figures=[Figure(name, values, "µs") for name, values in results.items()],
        goals=[
            Goal("× psycopg2.pool with a semaphore around it", pairwise(ours, results[_SEMAPHORE]), 0.6),
            Goal("× psycopg_pool's getconn and putconn", pairwise(ours, results[_PSYCOPG3]), 0.3),
            Goal("× psycopg_pool's with connection()", pairwise(ours, results[_PSYCOPG3_BLOCK]), 0.3),
        ],
        notes=[
            "the verdict is of the group's own pair, which proves liveness as every checkout does; the public pairs on "
            "top of it are shown beside it. None of the peers proves anything."
        ],
    )
