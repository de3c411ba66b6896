"""The web application of the benchmark, in gunicorn's worker: one primary-key read a request."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import psycopg2

import pgdbpool
from benchmarks.uncounted import make_uncounted

APP, DSN, CONNECTIONS = "PGDBPOOL_BENCH_APP", "PGDBPOOL_BENCH_APP_DSN", 8
POOLED, UNCOUNTED, DEDICATED = "pgdbpool", "pgdbpool without statistics", "a connection per thread"
_SQL = "SELECT id, name, price, stock FROM pgdbpool_bench WHERE id = %s"


def _pooled(dsn: str) -> Callable[[int], Any]:
    pgdbpool.init({"db": {"dsn": dsn}, "groups": {"web": {"connection_count": CONNECTIONS}}})
    return lambda number: pgdbpool.query(_SQL, (number,)).one()


def _uncounted(dsn: str) -> Callable[[int], Any]:
    groups = {"web": {"connection_count": CONNECTIONS, "min_connections": 0}}
    make_uncounted(pgdbpool.init({"db": {"dsn": dsn}, "groups": groups, "stats_dir": None}))
    return lambda number: pgdbpool.query(_SQL, (number,)).one()


def _dedicated(dsn: str) -> Callable[[int], Any]:
    own = threading.local()

    def read(number: int) -> Any:
        if not hasattr(own, "connection"):
            own.connection = psycopg2.connect(dsn)
            own.connection.autocommit = True
        cursor = own.connection.cursor()
        cursor.execute(_SQL, (number,))
        return cursor.fetchone()

    return read


def make() -> Callable[..., Iterable[bytes]]:
    """The WSGI application that the environment asks for."""
    read = {POOLED: _pooled, UNCOUNTED: _uncounted, DEDICATED: _dedicated}[os.environ[APP]](os.environ[DSN])

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _, name, price, stock = read(int(environ["PATH_INFO"].lstrip("/")))
        body = f"{name}: {price}, {stock} left\n".encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return application
