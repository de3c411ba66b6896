"""503 in place of a stack trace where the database is exhausted or away, the two told apart (contract §6)."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import psycopg2
import pytest

import pgdbpool
from pgdbpool.wsgi import Middleware
from tests.gunicorn.test_gunicorn import Gunicorn
from tests.life import thread_of
from tests.servers import DATABASE, Server, _free_port, eventually
from tests.usage import kill
from tests.web.test_deadline import all_taken
from tests.web.test_middleware import HEADERS, Answer, App, Body, around, ask, responding

HANG_UP = "SELECT pg_terminate_backend(pg_backend_pid())"
STATUS = "503 Service Unavailable"


def refused() -> dict[str, Any]:
    """Where nobody listens."""
    endpoint = {"host": "127.0.0.1", "port": _free_port(), "name": "shop", "user": "web", "pass": "secret"}
    return {"db": [endpoint], "groups": {"web": {"connection_count": 1, "timeout": 0.2}}}


def hang_up(pool: Any, _: Any = None) -> None:
    with pool.transaction(timeout=10) as db:
        db.query(HANG_UP)


def lost_before_commit(pool: Any, server: Server) -> None:
    with pool.transaction(timeout=10) as db:
        kill(server, db.query("SELECT pg_backend_pid()").scalar())


def after_close(pool: Any) -> None:
    pool.close()
    pool.query("SELECT 1")


AWAY: dict[str, Callable[[Any], Any]] = {"DBConnectionError": hang_up, "PoolClosed": after_close}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "answered 503" in each.getMessage()]


def is_503(answer: Answer, kind: str) -> bool:
    """All that a client may see of it."""
    found, text = dict(answer.headers), answer.body.decode()
    words = {"exhausted": ("is busy", "1"), "away": ("cannot be reached", "5")}[kind]
    assert (answer.status, len(found)) == (STATUS, len(answer.headers))
    assert words[0] in text
    assert text.count("\n") == 1
    assert len(text) < 150
    assert found == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(answer.body)),
        "Retry-After": words[1],
        "Cache-Control": "no-store",
    }
    return True


# -- what it is for -----------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.middleware.1")
def test_exhausted(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No connection in time, and too many who wait: 503, to be tried again in a second; the log says what it was."""
    pool = make_pool(connection_count=1, timeout=0.1)
    app = around(responding(lambda: pool.query("SELECT 'private'")), secret=None)
    with all_taken(pool):
        assert is_503(ask(app), "exhausted")
    [message] = warnings_of(caplog)
    assert message.startswith("GET /: answered 503 (exhausted) after 0.")
    assert "group 'web': no connection within 0.1" in message
    assert "life.py" in message
    full = make_pool(connection_count=1, timeout=5, max_waiting=1)
    with all_taken(full), ExitStack() as stack:
        stack.enter_context(suppress(pgdbpool.PoolError))
        waiting = thread_of(lambda: full.query("SELECT 1", timeout=1))
        assert eventually(lambda: full.stats()["groups"]["web"]["waiting"] == 1)
        assert is_503(ask(around(responding(lambda: full.query("SELECT 1")), secret=None)), "exhausted")
    waiting.result()
    assert "max_waiting is reached" in warnings_of(caplog)[1]


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("kind", AWAY)
def test_away(make_pool: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """A connection that was lost, a pool that is closed: 503, to be tried again a little later."""
    pool = make_pool(connection_count=1)
    assert is_503(ask(around(responding(lambda: AWAY[kind](pool)), secret=None)), "away")
    assert [message.startswith("GET /: answered 503 (away) after ") for message in warnings_of(caplog)] == [True]


@pytest.mark.contract("6.middleware.1")
def test_nobody_there(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No server: the client sees neither its name nor its port, the log has one line with both and no password."""
    config = refused()
    pool = make_pool(config)
    assert is_503(ask(around(responding(lambda: pool.query("SELECT 1")), secret=None)), "away")
    [message] = warnings_of(caplog)
    assert "no server is usable" in message
    assert str(config["db"][0]["port"]) in message
    assert "secret" not in message
    assert "\n" not in message


def test_no_pool() -> None:
    """An application whose pool was never made."""
    assert is_503(ask(around(responding(lambda: pgdbpool.query("SELECT 1")), secret=None)), "away")


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("sleeps", [False, True])
def test_the_deadline(make_pool: Any, sleeps: bool) -> None:
    """Over before the statement, or while it ran: the same answer."""
    pool = make_pool(connection_count=1)

    def work() -> None:
        if sleeps:
            time.sleep(0.2)
        pool.query("SELECT pg_sleep(10)")

    assert is_503(ask(around(responding(work), secret=None, deadline=0.2)), "exhausted")


def test_an_error_that_wraps_it(make_pool: Any) -> None:
    """An ORM's error whose cause it is counts as well; what merely came after it does not."""
    pool = make_pool(connection_count=1, timeout=0.1)

    def wrapping(explicit: bool) -> None:
        try:
            pool.query("SELECT 1")
        except pgdbpool.PoolTimeout as error:
            if explicit:
                raise RuntimeError("of the ORM") from error
            raise ZeroDivisionError from None

    with all_taken(pool):
        assert is_503(ask(around(responding(lambda: wrapping(True)), secret=None)), "exhausted")
        with pytest.raises(ZeroDivisionError):
            ask(around(responding(lambda: wrapping(False)), secret=None))


def nested(pool: Any) -> None:
    with pool.handler(), pool.handler():
        pass


def doubt(_: Any) -> None:
    raise pgdbpool.InDoubt from pgdbpool.PoolTimeout()


OTHERS: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    "InDoubt": (lambda pool: pool.query(HANG_UP), pgdbpool.InDoubt),
    "InDoubt, and why": (doubt, pgdbpool.InDoubt),
    "NestedCheckout": (nested, pgdbpool.NestedCheckout),
    "UnconfiguredGroupError": (lambda pool: pool.query("SELECT 1", group="no"), pgdbpool.UnconfiguredGroupError),
    "query error": (lambda pool: pool.query("SELECT 1/0"), psycopg2.errors.DivisionByZero),
    "query_timeout": (lambda pool: pool.query("SELECT pg_sleep(9)", query_timeout=50), psycopg2.errors.QueryCanceled),
    "bug": (lambda pool: 1 / 0, ZeroDivisionError),
}


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("other", OTHERS)
def test_what_it_is_not_for(make_pool: Any, caplog: pytest.LogCaptureFixture, other: str) -> None:
    """What a retry could do twice, and the application's own mistakes, reach the server as they are; so behind a framework."""
    work, error = OTHERS[other]
    pool = make_pool(connection_count=1)
    with pytest.raises(error):
        ask(around(responding(lambda: work(pool)), secret=None, deadline=10))
    assert ask(around(framework(lambda: work(pool)), secret=None, deadline=10)).status == "500 INTERNAL SERVER ERROR"
    assert warnings_of(caplog) == []


@pytest.mark.contract("6.middleware.1")
def test_a_doubt_stays_one(make_pool: Any) -> None:
    """Whatever happens before and after it: it is never answered as something to try again."""
    pool, closed = make_pool(connection_count=1), make_pool(connection_count=1)
    closed.close()

    def work() -> None:
        for call in (lambda: closed.query("SELECT 1"), lambda: pool.query(HANG_UP)):
            with suppress(pgdbpool.PoolError):
                call()
        closed.query("SELECT 1")

    with pytest.raises(pgdbpool.PoolClosed):
        ask(around(responding(work), secret=None))
    assert ask(around(framework(work), secret=None)).status.startswith("500")


# -- frameworks -----------------------------------------------------------------------------------------------------------


def framework(work: Callable[[], Any], handle: type[Exception] | None = None) -> App:
    """A Flask application of one view; ``handle``: it has a handler of its own for this error."""
    import flask

    app = flask.Flask("of_the_tests")
    app.add_url_rule("/", view_func=lambda: repr(work()))
    app.logger.setLevel(logging.CRITICAL)
    if handle is not None:
        app.register_error_handler(handle, lambda error: ("handled", 418))
    return app


@pytest.mark.contract("6.middleware.1")
def test_flask(make_pool: Any, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """It turns exceptions into a page of its own: in its place comes 503; what it answers itself is left alone."""
    pool = make_pool(connection_count=1, timeout=0.1)
    query = lambda: pool.query("SELECT 1").scalar()  # noqa: E731
    app = around(framework(query), secret=None)
    with all_taken(pool):
        answer = ask(app)
        assert is_503(answer, "exhausted")
        handled = ask(around(framework(query, pgdbpool.PoolTimeout), secret=None))
    assert (handled.status, handled.body) == ("418 I'M A TEAPOT", b"handled")
    assert len(warnings_of(caplog)) == 1
    good = ask(app)
    assert (good.status, good.body) == ("200 OK", b"1")
    for lose in (hang_up, lost_before_commit):
        assert is_503(ask(around(framework(lambda lose=lose: lose(pool, server)), secret=None)), "away")
    assert is_503(
        ask(around(framework(lambda: pool.query("SELECT pg_sleep(9)")), secret=None, deadline=0.2)), "exhausted"
    )


def test_what_was_dealt_with(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A wait that failed, after which another one succeeded, is not why a later mistake is answered by 500."""
    pool = make_pool(connection_count=1, timeout=0.1)

    def work() -> None:
        with all_taken(pool), suppress(pgdbpool.PoolTimeout):
            pool.query("SELECT 1")
        pool.query("SELECT 1", timeout=10)
        raise ZeroDivisionError

    assert ask(around(around(framework(work), secret=None), secret=None)).status.startswith("500")
    assert warnings_of(caplog) == []


# -- every way to answer --------------------------------------------------------------------------------------------------


def starting(work: Callable[[], Any], when: str, bodies: list[Body]) -> App:
    """An application that fails at some time."""

    def parts(*first: bytes) -> Iterator[bytes]:
        yield from first
        work()
        yield b"never"

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if when != "before":
            write = start_response("200 OK", [*HEADERS])
        if when in ("before", "after"):
            work()
        if when == "wrote":
            write(b"sent")
            work()
        bodies.append(Body(parts(*{"empty": [b""], "late": [b"sent"]}.get(when, []))))
        return bodies[0]

    return app


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("when", ["before", "after", "iterated", "empty", "late", "wrote"])
def test_when_it_fails(make_pool: Any, caplog: pytest.LogCaptureFixture, when: str) -> None:
    """Until the first part has left it is 503, whatever was started; later the error reaches the server, which closes."""
    pool = make_pool(connection_count=1, timeout=0.1)
    bodies: list[Body] = []
    app = around(starting(lambda: pool.query("SELECT 1"), when, bodies), secret=None)
    with all_taken(pool):
        if when in ("late", "wrote"):
            with pytest.raises(pgdbpool.PoolTimeout):
                ask(app)
        else:
            assert is_503(ask(app), "exhausted")
    assert [body.closed for body in bodies] == [1] * (when in ("iterated", "empty", "late"))
    assert len(warnings_of(caplog)) == (0 if when in ("late", "wrote") else 1)


def answering_500(work: Callable[[], Any], how: str, bodies: list[Any]) -> App:
    """An application that makes its own page of an error."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with suppress(pgdbpool.PoolError):
            work()
        write = start_response(
            "500 Oh no", [("Content-Type", "text/html"), ("Content-Length", "8"), ("Set-Cookie", "a=b")]
        )
        if how == "write":
            write(b"<title")
            write(b"/>")
            return []
        page = [b"<title", b"/>"]
        bodies.append({"list": page, "file": FileWrapper(Body(page)), "body": Body(page)}[how])  # type: ignore[arg-type]
        return bodies[0]

    return app


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("how", ["list", "body", "write"])
def test_a_page_of_its_own(make_pool: Any, how: str) -> None:
    """Whatever a 500 is made of, none of it is sent, and its body is closed."""
    pool = make_pool(connection_count=1, timeout=0.1)
    bodies: list[Any] = []
    app = around(answering_500(lambda: pool.query("SELECT 1"), how, bodies), secret=None)
    with all_taken(pool):
        assert is_503(ask(app), "exhausted")
    if how == "body":
        assert bodies[0].closed == 1
    bodies.clear()
    answer = ask(app)
    assert (answer.status, answer.body, len(answer.headers)) == ("500 Oh no", b"<title/>", 3)


def test_a_file_of_its_own(make_pool: Any) -> None:
    """The same of a page from a file, which is closed."""
    pool = make_pool(connection_count=1, timeout=0.1)
    closed: list[bool] = []

    class File:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("nobody wants it")

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with suppress(pgdbpool.PoolError):
            pool.query("SELECT 1")
        start_response("500 Oh no", [*HEADERS])
        return FileWrapper(File())  # type: ignore[arg-type]

    with all_taken(pool):
        assert is_503(ask(Middleware(app)), "exhausted")
    assert closed == [True]


def test_head(make_pool: Any) -> None:
    """HEAD gets the headers and no body."""
    pool = make_pool(connection_count=1, timeout=0.1)
    sent: list[Any] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": "HEAD", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    app = validator(Middleware(responding(lambda: pool.query("SELECT 1"))))
    with all_taken(pool):
        body = app(environ, lambda *said: sent.append(said))  # type: ignore[arg-type, func-returns-value]
        assert list(body) == []
        body.close()  # type: ignore[attr-defined]
    assert sent[0][0] == STATUS
    assert int(dict(sent[0][1])["Content-Length"]) > 0


def test_what_was_written_before_is_in_the_cookie(server: Server) -> None:
    """A request that wrote and then failed carries its cookie all the same."""

    def work() -> None:
        pgdbpool.query("CREATE TABLE IF NOT EXISTS web.of_unavailable ()")
        pgdbpool.query("SELECT 1", group="small", timeout=0.1)

    config = server.config()
    config["groups"]["small"] = {"connection_count": 1}
    with pgdbpool.init(config) as pool:

        class Small:
            handler = staticmethod(lambda timeout: pool.handler("small", timeout=timeout))

        with all_taken(Small):
            answer = ask(around(responding(work)))
    assert (answer.status, answer.cookie is not None) == (STATUS, True)


def test_nested_middlewares(make_pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The inner one answers, the outer one passes that on."""
    pool = make_pool(connection_count=1, timeout=0.1)
    with all_taken(pool):
        assert is_503(
            ask(around(around(responding(lambda: pool.query("SELECT 1")), secret=None), secret=None)), "exhausted"
        )
    assert len(warnings_of(caplog)) == 1


# -- in gunicorn ----------------------------------------------------------------------------------------------------------

APP = """
import json, os, flask, pgdbpool
from pgdbpool.wsgi import Middleware
config = json.load(open(os.path.join(os.path.dirname(__file__), "config.json")))
pgdbpool.init(config["pool"])
shop = flask.Flask("shop")
shop.logger.disabled = True


@shop.get("/flask")
def page():
    return str(pgdbpool.query("SELECT 1").scalar())


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/flask":
        return shop(environ, start_response)
    if path == "/forget":
        pgdbpool.getconn().cursor().execute("CREATE TEMP TABLE mine ()")
        start_response("200 OK", [("Content-Length", "1")])
        return [b"f"]
    if path == "/slow":
        pgdbpool.query("SELECT pg_sleep(30)")
    if path == "/late":
        return late(start_response)
    number = str(pgdbpool.query("SELECT 1").scalar()).encode()
    start_response("200 OK", [("Content-Length", "1")])
    return [number]


def late(start_response):
    start_response("200 OK", [("Content-Length", "10")])
    yield b"sent"
    pgdbpool.query("SELECT pg_sleep(30)")
    yield b"never."


within = Middleware(application, deadline=0.7)


def application(environ, start_response):
    if environ["PATH_INFO"] != "/hold":
        return within(environ, start_response)
    pgdbpool.query("SELECT pg_advisory_lock(4711)")
    start_response("200 OK", [("Content-Length", "1")])
    return [b"h"]
"""


def get(port: int, path: str) -> tuple[int, str, bytes]:
    """Status, Retry-After and body; 0 where the answer was cut off."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=15) as answer:
            return answer.status, "", answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Retry-After"], error.read()
    except (http.client.HTTPException, OSError) as error:
        return 0, "", repr(error).encode()


WORKERS = {
    "sync": ["-k", "sync"],
    "gthread": ["-k", "gthread", "--threads", "4"],
    "gevent": ["-k", "gevent"],
}


@pytest.mark.contract("6.middleware.1", "6.gunicorn-sync-gthread.1")
@pytest.mark.parametrize("worker", WORKERS)
def test_gunicorn(server: Server, tmp_path: Path, worker: str) -> None:
    """One connection: busy, forgotten, too slow, cut off in the middle of the response; and no stack trace but of the last."""
    group = {"connection_count": 1, "timeout": 0.1, "application_name": f"unavailable-{worker}"}
    gunicorn = Gunicorn(tmp_path, {"pool": server.config(group)}, *WORKERS[worker], app=APP)
    try:
        assert eventually(lambda: get(gunicorn.port, "/") == (200, "", b"1"), 10)
        if worker != "sync":
            while_it_is_held(server, gunicorn.port, group["application_name"])
        for _ in range(2):
            assert get(gunicorn.port, "/forget")[0] == 200
            assert eventually(lambda: get(gunicorn.port, "/flask") == (200, "", b"1"))
        assert get(gunicorn.port, "/slow")[:2] == (503, "1")
        assert "Traceback" not in gunicorn.log()
        assert gunicorn.log().count("taken back: its request has ended; borrowed at") == 2
        if worker == "gthread":
            assert get(gunicorn.port, "/late")[0] == 0
            assert "QueryCanceled" in gunicorn.log()
        states = [each.state for each in server.sessions(group["application_name"])]
        assert [state for state in states if state != "idle"] == []
    finally:
        gunicorn.close()


def while_it_is_held(server: Server, port: int, name: str) -> None:
    """One request has the only connection, as long as we like."""
    with closing(server.admin(dbname=DATABASE)) as admin, admin.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(4711)")
        holder = thread_of(get, port, "/hold")
        assert eventually(lambda: any("4711" in each.query for each in server.sessions(name)))
        for path in ("/", "/flask"):
            assert get(port, path)[:2] == (503, "1")
        cursor.execute("SELECT pg_advisory_unlock(4711)")
    assert holder.result().value[0] == 200
