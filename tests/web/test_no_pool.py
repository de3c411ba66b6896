"""The middleware where there is no pool, or none yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

import pgdbpool
from pgdbpool.wsgi import Middleware
from tests.servers import Server
from tests.web.test_middleware import HEADERS, around, ask


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [*HEADERS])
    return [b"hello"]


@pytest.mark.contract("6.middleware.1")
def test_no_pool() -> None:
    """An application that does not use it, or has closed it, answers as ever."""
    assert ask(around(hello)).body == b"hello"
    assert ask(around(hello), "pgdbpool=nonsense").set == {}


def test_a_pool_that_is_closed(server: Server) -> None:
    """The same after ``close()``."""
    pgdbpool.init(server.config()).close()
    answer = ask(around(hello))
    assert (answer.body, answer.set) == (b"hello", {})


def test_an_application_that_makes_the_pool_when_it_is_first_asked(server: Server) -> None:
    """Its first request is served, and from then on the middleware knows the pool."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not made:
            made.append(pgdbpool.init(server.config()))
        pgdbpool.query("CREATE TABLE IF NOT EXISTS web.of_first_request ()")
        return hello(environ, start_response)

    made: list[Any] = []
    try:
        served = around(app)
        assert ask(served).body == b"hello"
        assert ask(served).cookie is not None
    finally:
        made[0].close()


def test_one_server_alone(server: Server) -> None:
    """A pool of one server sets the cookie too: other workers may have standbys."""
    with pgdbpool.init(server.config()):
        work = lambda: pgdbpool.query("CREATE TABLE IF NOT EXISTS web.of_one_server ()")  # noqa: E731

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            work()
            return hello(environ, start_response)

        assert ask(Middleware(app, secret="x")).cookie is not None
