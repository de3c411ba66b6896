"""The application that gunicorn serves: the pool and its ``Setting`` are named in the environment, by ``serving``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from tests.faults.client.peers import Setting, made

__all__ = ["application"]

# Made when the application is loaded, as a module-level pool is: with --preload that is before the fork.
_peer = made(os.environ["FAULTS_PEER"], Setting(**json.loads(os.environ["FAULTS_SETTING"])))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/<seconds>/<key>``: the key, by way of the database, after so long."""
    _, seconds, key = environ["PATH_INFO"].split("/")
    nap = ", pg_sleep(%s)" if float(seconds) else ""
    found = _peer.query(f"SELECT %s{nap}", (key, seconds) if nap else (key,))
    body = str(found[0][0]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
