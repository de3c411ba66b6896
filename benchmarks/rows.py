"""A query of 100 rows of four columns, every column read of every row."""

from __future__ import annotations

import timeit
from contextlib import ExitStack
from functools import partial
from typing import Any

from psycopg2.extras import DictCursor, NamedTupleCursor

from benchmarks import peers
from benchmarks.report import Figure, Goal, Row, pairwise
from benchmarks.rounds import in_turns, microseconds
from benchmarks.server import ROWS, Server

__all__ = ["measure"]

ROUNDS = 100
_QUERIES = 40
_SQL = "SELECT id, name, price, stock FROM pgdbpool_bench"

_OURS, _TUPLES, _DICTS = "pgdbpool.query, by name", "plain cursor, by index", "DictCursor, by name"

_BY_NAME = "for row in rows: row['id']; row['name']; row['price']; row['stock']"
_BY_INDEX = "for row in rows: row[0]; row[1]; row[2]; row[3]"
_BY_ATTRIBUTE = "for row in rows: row.id; row.name; row.price; row.stock"
_FETCHED = "cursor.execute(sql); rows = cursor.fetchall()"

_TEXTS = {
    _OURS: f"rows = ours.query(sql)\n{_BY_NAME}",
    "pgdbpool.query, by index": f"rows = ours.query(sql)\n{_BY_INDEX}",
    _TUPLES: f"cursor = own.cursor(); {_FETCHED}\n{_BY_INDEX}",
    _DICTS: f"cursor = own.cursor(cursor_factory=DictCursor); {_FETCHED}\n{_BY_NAME}",
    "NamedTupleCursor, by attribute": (
        f"cursor = own.cursor(cursor_factory=NamedTupleCursor); {_FETCHED}\n{_BY_ATTRIBUTE}"
    ),
}


def measure(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        names: dict[str, Any] = {
            "ours": stack.enter_context(peers.our_pool(server.dsn, 1)),
            "own": stack.enter_context(peers.dedicated(server.dsn, 1))[0],
            "sql": _SQL,
            "DictCursor": DictCursor,
            "NamedTupleCursor": NamedTupleCursor,
        }
        timers = {name: timeit.Timer(text, "import gc; gc.enable()", globals=names) for name, text in _TEXTS.items()}
        contestants = {name: partial(microseconds, timer, _QUERIES) for name, timer in timers.items()}
        return _row(in_turns(contestants, rounds or ROUNDS))


def _row(results: dict[str, list[float]]) -> Row:
    ours = results[_OURS]
    return Row(
        title=f"query of {ROWS} rows × 4 columns, read by name",
        how=f"{len(ours)} rounds of {_QUERIES} queries, one thread; the whole call, server included",
        figures=[Figure(name, values, "µs") for name, values in results.items()],
        goals=[
            Goal("× psycopg2's plain tuple cursor, read by index", pairwise(ours, results[_TUPLES]), 1.25),
            Goal("× DictCursor, read by name", pairwise(ours, results[_DICTS]), 0.5),
        ],
    )
