"""An application's response, held back until its body begins."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from pgdbpool.access.request import Request
from pgdbpool.web.unavailable import STATUS, culprit, response, told

log = logging.getLogger("pgdbpool.wsgi")

Headers = list[tuple[str, str]]

_FAILED = "500"  # what frameworks make of an exception


class Response:
    """One response: only when its body begins it is known what was written, and whether the database has failed it.

    ``more()`` are headers that are added then. ``instead`` is the body to be sent in place of the application's, or None.
    """

    def __init__(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        request: Request,
        more: Callable[[], Headers],
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._request = request
        self._more = more
        self._said: tuple[str, Headers, Any] | None = None
        self._write: Callable[[bytes], Any] | None = None
        self.instead: list[bytes] | None = None

    @property
    def is_ready(self) -> bool:
        return self._said is not None

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], Any]:
        """What the application calls as ``start_response`` (PEP 3333)."""
        if self.instead is None:
            self._said = status, headers, exc_info
            if self._write is not None:  # too late, as the server will say if anything was sent
                self._send(*self._said)
        return self.write

    def write(self, data: bytes) -> Any:
        self.begin()
        if self.instead is None and self._write is not None:
            return self._write(data)
        return None

    def begin(self) -> None:
        """The first part of the body is there."""
        if self._write is None and self._said is not None:
            self._send(*self._said)

    def fail(self, error: Exception) -> None:
        """The application has raised this, which is being handled: 503 if the database is the cause, else it goes on."""
        cause = culprit(error, self._request.error)
        if cause is None:
            raise error
        self._refuse(cause, sys.exc_info())

    def _send(self, status: str, headers: Headers, exc_info: Any) -> None:
        failure = self._request.error if status.startswith(_FAILED) else None
        if (cause := culprit(exc_info[1] if failure and exc_info else failure, failure)) is not None:
            self._refuse(cause, exc_info)
        else:
            self._pass(status, headers, exc_info)

    def _refuse(self, cause: BaseException, exc_info: Any) -> None:
        said = told(cause)
        headers, body = response(said, self._environ)
        self._pass(STATUS, headers, exc_info)
        self.instead = body
        after, message = self._request.age, " ".join(str(cause).split())
        what = f"{self._environ.get('REQUEST_METHOD', '')} {quote(self._environ.get('PATH_INFO', ''))}"
        log.warning("%s: answered 503 (%s) after %.2f s: %s", what, said.kind, after, message)

    def _pass(self, status: str, headers: Headers, exc_info: Any) -> None:
        self._said = status, headers, None  # it would keep all frames of an exception, in a circle
        said = status, [*headers, *self._more()]
        self._write = self._start_response(*said) if exc_info is None else self._start_response(*said, exc_info)


class Body:
    """The parts of a body, each made as a part of its request, which ends when it is closed."""

    def __init__(self, parts: Iterable[bytes], response: Response, request: Request) -> None:
        self._parts = parts
        self._response = response
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        response = self._response
        for part in self._sent():
            if response.instead is not None:
                break
            yield part
        yield from response.instead or ()

    def _sent(self) -> Iterator[bytes]:
        """What the application gives, until it fails."""
        parts, end = None, object()
        while True:
            with self._request.under_way():
                try:
                    parts = iter(self._parts) if parts is None else parts
                    part: Any = next(parts, end)
                except Exception as error:
                    self._response.fail(error)
                    return
                self._response.begin()
            if part is end:
                return
            yield part

    def close(self) -> None:
        """As PEP 3333 has it; what the request has not given back until now is taken back."""
        try:
            with self._request.under_way():
                if hasattr(self._parts, "close"):
                    self._parts.close()
        finally:
            self._request.end()
