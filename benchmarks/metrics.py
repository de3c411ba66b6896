"""What a scrape costs: ``/metrics`` of eight gunicorn workers with four groups of connections to three servers."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pgdbpool
from benchmarks.report import Figure, Goal, Row
from benchmarks.rounds import in_turns
from benchmarks.server import Server
from benchmarks.several import three_servers
from benchmarks.web import gunicorn
from pgdbpool.wsgi import status_app

__all__ = ["make", "measure"]

ROUNDS = 50
_WORKERS, _THREADS = 8, 4
_GROUPS = ("web", "jobs", "reports", "admin")
_CONNECTIONS = 2
_STATEMENTS = 200  # of each group in each worker
_PATIENCE = 60.0  # seconds
_PATHS = ("/metrics", "/stats.json", "/healthz")
_SERVERS = "PGDBPOOL_BENCH_SERVERS"


def measure(_: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        servers = json.dumps([{"dsn": node.dsn, "label": node.label} for node in stack.enter_context(three_servers())])
        port = stack.enter_context(
            gunicorn("benchmarks.metrics:make()", {_SERVERS: servers}, workers=_WORKERS, threads=_THREADS)
        )
        _wait(port)
        took = in_turns({path: partial(_milliseconds, port, path) for path in _PATHS}, rounds or ROUNDS)
        sizes = [f"{path}: {len(_get(port, path)) / 1024:.0f} KiB" for path in _PATHS]
    return Row(
        title=f"/metrics of {_WORKERS} workers × {len(_GROUPS)} groups × 3 endpoints",
        how=f"{len(took[_PATHS[0]])} rounds of one request on a new connection, answered by whichever worker takes it",
        figures=[Figure(path, values, "ms") for path, values in took.items()],
        goals=[Goal("ms for a scrape", took["/metrics"], 20)],
        notes=["; ".join(sizes)],
    )


def make() -> Callable[..., Any]:
    """What each worker serves when its groups have been in use for a while."""
    group = {"connection_count": _CONNECTIONS, "target": "any", "timeout": 30}
    pool = pgdbpool.init({"db": json.loads(os.environ[_SERVERS]), "groups": dict.fromkeys(_GROUPS, group)}, wait=30)
    # Durations from a tenth of a millisecond to a tenth of a second: these fill as many buckets as a shop's do.
    seconds = [10 ** random.uniform(-4, -1) for _ in range(_STATEMENTS * len(_GROUPS))]
    with ThreadPoolExecutor(4 * _CONNECTIONS * len(_GROUPS)) as threads:
        list(threads.map(lambda each: _use(pool, *each), enumerate(seconds)))
    shown = status_app(pool)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/1":  # whoever starts it asks for this
            environ["PATH_INFO"] = "/healthz"
        return shown(environ, start_response)

    return application


def _use(pool: pgdbpool.Pool, number: int, seconds: float) -> None:
    pool.query("SELECT pg_sleep(%s)", (seconds,), group=_GROUPS[number % len(_GROUPS)])


def _wait(port: int) -> None:
    """Until every worker has done its part, and whoever answers knows of all."""
    limit = time.monotonic() + _PATIENCE
    while time.monotonic() < limit:
        seen = json.loads(_get(port, "/stats.json"))
        done = sum(group["checkouts"] for group in seen["groups"].values())
        if len(seen["workers"]) == _WORKERS and done >= _WORKERS * _STATEMENTS * len(_GROUPS):
            return
        time.sleep(0.1)
    raise RuntimeError(f"after {_PATIENCE:g} s the figures are not those of {_WORKERS} workers: {seen['alone']}")


def _milliseconds(port: int, path: str) -> float:
    began = time.perf_counter()
    _get(port, path)
    return (time.perf_counter() - began) * 1e3


def _get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body!r}")
    return body
