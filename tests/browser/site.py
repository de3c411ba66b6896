"""A web server of one thread per request, with an application mounted at /pool/."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.util import shift_path_info


class Site:
    """``stop`` and ``start`` again on the same port; ``headers`` is what it answered with, by path."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.headers: dict[str, dict[str, str]] = {}
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/pool/"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Quiet)
        self._server.set_app(self._mounted)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="site")
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _mounted(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if shift_path_info(environ) != "pool":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"only /pool/ is here"]

        def noted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            self.headers[path] = dict(headers)
            return start_response(status, headers, *more)

        return self._app(environ, noted)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False
    block_on_close = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
