"""The web application of ``failover``, in gunicorn's workers: a read or a write a request, over a primary and its standbys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import pgdbpool

DSNS, CONNECTIONS = "PGDBPOOL_BENCH_DSNS", 8  # to each server, of each worker
TABLE = "CREATE TABLE IF NOT EXISTS placed (key text)"
_READ = "SELECT current_setting('port'), count(*) FROM placed WHERE key = %s"
_WRITE = "INSERT INTO placed VALUES (%s)"


def make() -> Callable[..., Iterable[bytes]]:
    """The WSGI application; a failed request says why in a 503."""
    servers = [{"dsn": dsn} for dsn in os.environ[DSNS].split("|")]
    pgdbpool.init({"db": servers, "groups": {"web": {"connection_count": CONNECTIONS}}}, wait=10)

    def answer(method: str, key: str) -> Any:
        if method == "GET":
            return list(pgdbpool.query(_READ, (key,)).one())
        with pgdbpool.transaction() as db:
            db.query(_WRITE, (key,))
        return key

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            status, found = "200 OK", answer(environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/"))
        except Exception as error:
            status, found = "503 Service Unavailable", [type(error).__name__, str(error)]
        body = json.dumps(found).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application
