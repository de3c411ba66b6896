"""The answer in place of a stack trace where the database is exhausted or away."""

from __future__ import annotations

from typing import Any, NamedTuple

from pgdbpool.access.request import UNAVAILABLE
from pgdbpool.errors import DBConnectionError, DBQueryError, InDoubt, PoolClosed

STATUS = "503 Service Unavailable"


class Unavailable(NamedTuple):
    """What a client is told: nothing of what is behind."""

    kind: str
    retry_after: int  # seconds
    text: str


_EXHAUSTED = Unavailable(
    "exhausted", 1, "The service is busy: its database cannot serve this request in time. Please try again in a moment."
)
_AWAY = Unavailable(
    "away", 5, "The service is unavailable: its database cannot be reached at present. Please try again later."
)


def culprit(error: BaseException | None, of_request: BaseException | None) -> BaseException | None:
    """What says, of an error and its causes, that the database is exhausted or away; None where a retry may do harm.

    ``of_request``: what its request has taken down.
    """
    while error is not None and not isinstance(of_request, InDoubt):
        if isinstance(error, InDoubt):
            return None
        if isinstance(error, UNAVAILABLE) or error is of_request:
            return error
        error = error.__cause__
    return None


def told(culprit: BaseException) -> Unavailable:
    if isinstance(culprit, DBQueryError):  # a statement that ran into the request's deadline
        return _EXHAUSTED._replace(kind="deadline")
    return _AWAY if isinstance(culprit, (DBConnectionError, PoolClosed)) else _EXHAUSTED


def response(said: Unavailable, environ: dict[str, Any]) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Headers and body."""
    body = f"{said.text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(said.retry_after)),
        ("Cache-Control", "no-store"),
    ]
    return headers, [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
