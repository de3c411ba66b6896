"""One of three servers lost under load, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from psycopg2.extensions import make_dsn, parse_dsn

from benchmarks import peers
from benchmarks.faults import FAULTS, prepared, unreported
from benchmarks.report import Figure, Goal, Row
from benchmarks.server import Server
from benchmarks.several import Node, balanced, three_servers
from benchmarks.story import LASTS, PATIENCE, WHOLE, Story, Take, observe, of_pool

__all__ = ["MEASURES"]

ROUNDS = 2
_THREADS, _CONNECTIONS = 12, 8  # the two servers that are left have more connections than there are threads
_SQL = "SELECT pg_sleep(0.01)"
_OURS, _PSYCOPG3 = "pgdbpool", "psycopg_pool"
_WORDS = {
    "in_flight": ("most requests at once on it", ""),
    "errors": ("errors", ""),
    "last": ("last request sent to it after", "s"),
    "wait": ("longest wait for a connection", "ms"),
    "answer": ("longest wait for an answer", "ms"),
    "lull": ("longest time without an answer of the others", "ms"),
    "back": ("its share is back after", "s"),
}


def _measure(name: str, _: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        stack.enter_context(unreported())
        first, *others = stack.enter_context(three_servers())
        node, fault = stack.enter_context(prepared(name, first))
        nodes = [node, *others]
        watch = partial(observe, threads=_THREADS, fault=fault, lost=node.label)
        with balanced(nodes, _CONNECTIONS) as pool:
            ours = [watch(of_pool(pool, _SQL)) for _ in range(rounds or ROUNDS)]
        with _by_psycopg3(nodes) as take:
            theirs = [watch(take)]
    return _row(name, {_OURS: ours, _PSYCOPG3: theirs})


MEASURES = {f"lost-{name}": partial(_measure, name) for name in FAULTS}


@contextmanager
def _by_psycopg3(nodes: Sequence[Node]) -> Iterator[Take]:
    """libpq's own way to several servers: all of them in one DSN, and one drawn for each new connection."""
    ports = [parse_dsn(node.dsn)["port"] for node in nodes]
    labels = {int(port): node.label for port, node in zip(ports, nodes, strict=True)}
    hosts = ",".join(["127.0.0.1"] * len(nodes))
    dsn = make_dsn(nodes[0].dsn, host=hosts, port=",".join(ports), load_balance_hosts="random", connect_timeout=3)
    with peers.psycopg3_pool(dsn, _CONNECTIONS * len(nodes), check=True) as pool:

        @contextmanager
        def take() -> Iterator[tuple[str, Callable[[], Any]]]:
            with pool.connection() as connection:
                yield labels[connection.info.port], partial(connection.execute, _SQL)

        yield take


def _row(name: str, stories: dict[str, list[Story]]) -> Row:
    ours = stories[_OURS]
    figures = [
        Figure(f"{who}: {words}", [float(getattr(each, field)) for each in found], unit)
        for who, found in stories.items()
        for field, (words, unit) in _WORDS.items()
    ]
    worst = "(the most of any round)"
    errors = max(each.errors / max(1, each.in_flight) for each in ours)
    return Row(
        title=f"one of three servers {name}",
        how=f"{FAULTS[name]}; {len(ours)} rounds of {LASTS:g} s each, {_THREADS} threads, reads of 10 ms, "
        f"{_CONNECTIONS} connections to each server; {_PSYCOPG3}: one round",
        figures=figures,
        goals=[
            Goal(f"s until the last request is sent to it {worst}", [max(each.last for each in ours)], 1),
            Goal(f"errors for each request in flight on it {worst}", [errors], 1),
            Goal(f"ms of waiting for a connection while others have some {worst}", [max(x.wait for x in ours)], 100),
        ],
        notes=[
            f"its share is back at {WHOLE:.0%} of what it was, counted over half a second; {PATIENCE:g} s: it is not. "
            f"{_PSYCOPG3} has all servers in one DSN, with load_balance_hosts=random, and checks at each checkout."
        ],
    )
