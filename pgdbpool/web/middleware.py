"""Read your own writes from one request of a client to the next, through any worker on any host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pgdbpool.access.tokens import Visit
from pgdbpool.engine.current import default_pool
from pgdbpool.errors import PoolClosed
from pgdbpool.web import cookies

log = logging.getLogger("pgdbpool.wsgi")


class Middleware:
    """A WSGI application around ``app``, whose default pool's reads show what the same client has written before.

    After a request that wrote, the client gets a cookie that says how far the WAL was; its next requests' reads go to
    standbys that have replayed it, else to the primary. ``secret`` signs the cookie, by itsdangerous (extra ``wsgi``); a
    list may have older ones behind the newest, which are still taken. Without it no cookie is set, and that is logged.

    The headers leave with the first part of the body: what an application writes after that is in no cookie.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        cookie: str = "pgdbpool",
    ) -> None:
        self._app = app
        self._cookie = cookie
        self._signer = None if secret is None else cookies.signer(secret)
        if secret is None:
            log.warning(
                "Middleware without secret: a client may not see in its next request what it wrote in its last one"
            )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        desk = None
        with suppress(PoolClosed):  # not made yet, perhaps by the application itself
            desk = default_pool().writing_desk()
        if desk is None or self._signer is None:
            return self._app(environ, start_response)
        visit = Visit(desk, cookies.found(environ.get("HTTP_COOKIE", ""), self._cookie, self._signer))
        response = _Response(start_response, lambda: self._headers(visit, environ))
        body = self._app(environ, response.start)
        wrapper = environ.get("wsgi.file_wrapper")
        is_whole = isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper))
        if is_whole and response.is_ready:
            response.begin()
            return body  # as it is: the server may know what to do with a file
        return _Rest(body, response)

    def _headers(self, visit: Visit, environ: dict[str, Any]) -> list[tuple[str, str]]:
        token = visit.token()
        if token is None:
            return []
        secure = environ.get("wsgi.url_scheme") == "https"
        return [cookies.header(self._cookie, token, self._signer, visit.life, secure=secure)]


class _Response:
    """The headers, held back until the body begins: only then it is known what was written."""

    def __init__(self, start_response: Callable[..., Any], more: Callable[[], list[tuple[str, str]]]) -> None:
        self._start_response = start_response
        self._more = more
        self._said: tuple[str, list[tuple[str, str]], Any] | None = None
        self._write: Callable[[bytes], Any] | None = None

    @property
    def is_ready(self) -> bool:
        return self._said is not None

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        """What the application calls as ``start_response`` (PEP 3333)."""
        if self._write is not None:  # too late, as the server will say
            return self._start_response(status, headers, exc_info)  # type: ignore[no-any-return]
        self._said = status, headers, exc_info
        return self.begin_and_write

    def begin_and_write(self, data: bytes) -> Any:
        self.begin()
        assert self._write is not None
        return self._write(data)

    def begin(self) -> None:
        if self._write is None and self._said is not None:
            status, headers, exc_info = self._said
            more = self._more()
            arguments = (status, [*headers, *more]) if exc_info is None else (status, [*headers, *more], exc_info)
            self._write = self._start_response(*arguments)


class _Rest:
    """The body of an application that starts its response when it is iterated."""

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self._body = body
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:
            self._response.begin()
            yield part
        self._response.begin()

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()
