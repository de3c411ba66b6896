"""What counting costs: checkout and release, and a request to gunicorn, with the statistics and without them."""

from __future__ import annotations

import timeit
from contextlib import ExitStack
from functools import partial

from benchmarks import app, peers
from benchmarks.checkout import GROUPS_OWN
from benchmarks.report import Figure, Goal, Row, pairwise
from benchmarks.rounds import in_turns, microseconds
from benchmarks.server import Server
from benchmarks.uncounted import make_uncounted
from benchmarks.web import drive, gunicorn
from pgdbpool.engine.owners import present_owner

__all__ = ["MEASURES"]

ROUNDS = 100
_PAIRS = 20_000
_WEB_ROUNDS = 25
_CONNECTIONS = 8
_WITH, _WITHOUT = "with statistics", "without"


def measure_checkout(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        contestants = {}
        for name in (_WITH, _WITHOUT):
            pool = stack.enter_context(peers.our_pool(server.dsn, _CONNECTIONS))
            pool.query("SELECT 1")
            if name == _WITHOUT:
                make_uncounted(pool)
            names = {"group": pool.desk(None).group, "present_owner": present_owner}
            timer = timeit.Timer(GROUPS_OWN, "import gc; gc.enable()", globals=names)
            contestants[name] = partial(microseconds, timer, _PAIRS)
        results = in_turns(contestants, rounds or ROUNDS)
    return Row(
        title="checkout + liveness + release, with and without the statistics",
        how=f"{len(results[_WITH])} rounds of {_PAIRS:,} pairs, one thread; what is noted is counted beside it, by the Watch",
        figures=[Figure(name, values, "µs") for name, values in results.items()],
        goals=[Goal("× without the statistics", pairwise(results[_WITH], results[_WITHOUT]), 1.05)],
        notes=[],
    )


def measure_request(server: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        ports = {}
        for name, kind in ((_WITH, app.POOLED), (_WITHOUT, app.UNCOUNTED)):
            environment = {app.APP: kind, app.DSN: server.dsn}
            ports[name] = stack.enter_context(gunicorn("benchmarks.app:make()", environment, threads=16))
        results = in_turns({name: partial(drive, port) for name, port in ports.items()}, rounds or _WEB_ROUNDS)
    rates = {name: [each["rate"] for each in found] for name, found in results.items()}
    return Row(
        title="a request to gunicorn, with and without the statistics",
        how=f"{len(rates[_WITH])} rounds of 1 s, 16 keep-alive clients in a process of their own, one read a request",
        figures=[Figure(name, values, "/s") for name, values in rates.items()],
        goals=[Goal("requests × without the statistics", pairwise(rates[_WITH], rates[_WITHOUT]), 0.99, True)],
        notes=["with them: a file for the other workers every five seconds, too"],
    )


MEASURES = {"statistics": measure_checkout, "statistics-web": measure_request}
