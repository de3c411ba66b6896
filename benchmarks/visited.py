"""The web application behind the middleware: ``/write/N`` in one request, ``/N`` reads it in the next."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import pgdbpool
from pgdbpool.wsgi import Middleware

CONFIG, TABLE = "PGDBPOOL_BENCH_CONFIG", "pgdbpool_bench_pairs"
READ = f"SELECT count(*), current_setting('cluster_name') FROM {TABLE} WHERE id = %s"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    *writes, number = environ["PATH_INFO"].strip("/").split("/")
    found: list[Any] = []
    if writes:
        with pgdbpool.transaction() as db:
            db.query(f"INSERT INTO {TABLE} VALUES (%s)", (int(number),))
    else:
        found = list(pgdbpool.query(READ, (int(number),)).one())
    body = json.dumps([os.getpid(), *found]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def make() -> Callable[..., Iterable[bytes]]:
    """The WSGI application, on a pool of its worker's own."""
    pgdbpool.init(json.loads(os.environ[CONFIG]), wait=30)
    return Middleware(application, secret="the same in all workers")
