"""Between the server and the application: read your own writes, the deadline, 503, and what a request forgets to give back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from pgdbpool.access.request import Request
from pgdbpool.access.tokens import Visit
from pgdbpool.engine.current import default_pool
from pgdbpool.errors import PoolClosed
from pgdbpool.web import cookies
from pgdbpool.web.response import Body, Response

log = logging.getLogger("pgdbpool.wsgi")


class Middleware:
    """A WSGI application around ``app``, for what a request may ask of the pool (see ``doc/middleware.md``).

    *Read your own writes*: after a request that wrote, the client gets a cookie that says how far the WAL was; its next
    requests' reads of the default pool go to standbys that have replayed it, else to the primary. ``secret`` signs the
    cookie, by itsdangerous (extra ``wsgi``); a list may have older ones behind the newest, which are still taken. Without
    it no cookie is set, and that is logged. The headers leave with the first part of the body: what an application
    writes after that is in no cookie.

    *A deadline*: no wait and no statement lasts longer than ``deadline`` seconds after the request began.

    *503*, with ``Retry-After``, where the database is exhausted or away, in place of the application's exception or 500.

    *Forgotten connections* are taken back when the response is over.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        cookie: str = "pgdbpool",
        deadline: float | None = None,
    ) -> None:
        if deadline is not None and not (isinstance(deadline, (int, float)) and deadline > 0):
            raise ValueError(f"deadline is {deadline!r}; it must be a number of seconds above 0, or None")
        self._app = app
        self._cookie = cookie
        self._deadline = deadline
        self._signer = None if secret is None else cookies.signer(secret)
        if secret is None:
            log.warning(
                "Middleware without secret: a client may not see in its next request what it wrote in its last one"
            )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request, visit = Request(self._deadline), self._visit(environ)
        response = Response(environ, start_response, request, lambda: self._headers(visit, environ))
        body: Iterable[bytes] | None = None
        try:
            with request.under_way():
                body = self._run(environ, response, request)
            return body
        finally:
            if not isinstance(body, Body):
                request.end()

    def _visit(self, environ: dict[str, Any]) -> Visit | None:
        if self._signer is None:
            return None
        token = cookies.found(environ.get("HTTP_COOKIE", ""), self._cookie, self._signer)
        with suppress(PoolClosed):  # not made yet, perhaps by the application itself
            return Visit(default_pool().writing_desk(), token)
        return None

    def _run(self, environ: dict[str, Any], response: Response, request: Request) -> Iterable[bytes]:
        try:
            body = self._app(environ, response.start)
        except Exception as error:
            response.fail(error)
            return response.instead or ()
        wrapper = environ.get("wsgi.file_wrapper")
        is_whole = isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper))
        if not (is_whole and response.is_ready):
            return Body(body, response, request)
        response.begin()
        if response.instead is None:
            return body  # as it is: the server may know what to do with a file
        if hasattr(body, "close"):
            body.close()
        return response.instead

    def _headers(self, visit: Visit | None, environ: dict[str, Any]) -> list[tuple[str, str]]:
        token = None if visit is None else visit.token()
        if visit is None or token is None:
            return []
        secure = environ.get("wsgi.url_scheme") == "https"
        return [cookies.header(self._cookie, token, self._signer, visit.life, secure=secure)]
