"""A web server that answers as a status page does, or otherwise."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

NO_TIME = {"count": 0, "seconds": 0.0, "longest": 0.0, "p50": None, "p95": None, "p99": None, "rate": 0.0}


def lasted(p50: float, p95: float, p99: float) -> dict[str, Any]:
    return {"count": 900, "seconds": 9.0, "longest": p99, "p50": p50, "p95": p95, "p99": p99, "rate": 15.0}


def server_of_group(in_use: int = 0, idle: int = 4) -> dict[str, Any]:
    counted = {"connection_count": 4, "in_use": in_use, "idle": idle, "cleaning": 0, "opening": 0}
    return {**counted, "checkouts": 900, "reads": 0, "hold": NO_TIME, "statement": NO_TIME}


def group(**changes: Any) -> dict[str, Any]:
    """A group of a status page that has nothing to do, but for the changes."""
    calm = {"connection_count": 4, "in_use": 0, "idle": 4, "cleaning": 0, "opening": 0, "checkouts": 900, "reads": 0}
    servers = {"db1:5432": server_of_group()}
    counted = {"waiting": 0, "waiting_for": 0.0, "timeouts": 0, "errors": 0, "unserved": None}
    times = {"wait": {**lasted(0.0, 0.0, 0.001), "rate": 0.2}, "hold": lasted(0.004, 0.02, 0.3), "statement": NO_TIME}
    return {**calm, **counted, **times, "servers": servers, **changes}


def endpoint(**changes: Any) -> dict[str, Any]:
    """A primary that is well, but for the changes."""
    known = {"role": "primary", "state": "up", "lag_seconds": 0.0, "lag_bytes": 0, "timeline": 1, "last_error": None}
    return {**known, "connections": 4, "share": 0.0, "connects": 4, "connect_errors": 0, "connect": NO_TIME, **changes}


def holder(**changes: Any) -> dict[str, Any]:
    """A connection in use for a moment, but for the changes."""
    whose = {"worker": 4711, "group": "web", "server": "db1:5432", "backend_pid": 4242, "thread": "Thread-7"}
    where = {"taken": "/app/shop/store.py:42 (order)", "now": "/app/shop/mail.py:17 (send)", "seconds": 0.2}
    says = {"state": "active", "state_seconds": 0.1, "waits_for": None, "blocked_by": []}
    return {**whose, **where, **says, **changes}


def figures(**changes: Any) -> dict[str, Any]:
    """What ``/stats.json`` says of a pool with nothing to do, but for the changes."""
    worker = {"id": "1", "pid": 4711, "started": 1732220400.0, "at": 1732224000.0}
    calm = {"format": 1, "at": 1732224000.0, "pool": "ready", "alone": None, "workers": [worker], "holders": []}
    known = {"groups": {"web": group()}, "endpoints": {"db1:5432": endpoint()}, "events": [], "advice": []}
    return {**calm, **known, "history": {"step": 5, "end": 1732224000, "groups": {}}, **changes}


class Site:
    """What it answers can be changed while it serves. ``asked``: how often it was asked for the figures."""

    def __init__(self, port: int = 0, tls: SSLContext | None = None) -> None:
        self.status, self.kind, self.headers = 200, "application/json", {}
        self.body = b""
        self.asked = 0
        self.password = ""
        self.silent = threading.Event()
        self.silent.set()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.handle_error = lambda request, address: None  # who asked did not wait for the answer
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/pool/"

    def show(self, document: Any) -> None:
        self.body = json.dumps(document).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.silent.wait()
        status, kind, body = self.status, self.kind, self.body
        wanted = f"Basic {b64encode(self.password.encode()).decode()}"
        if self.password and request.headers["Authorization"] != wanted:
            status, kind, body = 401, "text/plain", b"who are you?"
        elif request.path.partition("?")[0] != "/pool/stats.json":
            status, kind, body = 404, "text/html", b"<h1>Not here</h1>"
        else:
            self.asked += 1
        request.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **self.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def close(self) -> None:
        self.silent.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def site(document: Any = None, port: int = 0, tls: SSLContext | None = None) -> Iterator[Site]:
    """A page with these figures."""
    made = Site(port, tls)
    made.show(figures() if document is None else document)
    try:
        yield made
    finally:
        made.close()
