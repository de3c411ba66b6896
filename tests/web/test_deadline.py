"""A request's deadline as the limit for waiting and for statements, on the server's side too (contract §6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool.wsgi import Middleware
from tests.life import elsewhere, frozen, thread_of
from tests.servers import Server, eventually
from tests.usage import TABLE, Wire, each_call, insert, kill, rows_of
from tests.web.test_middleware import HEADERS, App, ask, responding

SHOW = "SELECT current_setting('statement_timeout')"
SLEEP = "SELECT pg_sleep(30)"
QUICK = 1.0  # seconds that a loaded machine may be late


def within(deadline: float | None, work: Callable[[], Any]) -> Any:
    """What ``work`` returns or raises in a request with that deadline."""
    found: list[Any] = []

    def kept() -> str:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)
        return "done"

    assert ask(Middleware(responding(kept), deadline=deadline)).status == "200 OK"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def milliseconds(shown: str) -> int:
    """Of ``SHOW statement_timeout``."""
    if shown.endswith("ms"):
        return int(shown[:-2])
    return int(shown.removesuffix("s")) * 1000


def ways(pool: Any) -> dict[str, Callable[[str], Any]]:
    """The ways to send one statement and read one value."""

    def raw(text: str) -> Any:
        with pool.connection() as conn, conn.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()[0]

    def lent(text: str) -> Any:
        conn = pool.getconn()
        try:
            with conn.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetchone()[0]
        finally:
            pool.putconn(conn)

    def stream(text: str) -> Any:
        with pool.handler() as db:
            return next(iter(db.stream(text)))[0]

    def of_handler(text: str) -> Any:
        with pool.handler() as db, db.connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()[0]

    said = {name: (lambda text, call=call: call(text).scalar()) for name, call in each_call(pool).items()}
    return {**said, "stream": stream, "connection": raw, "getconn": lent, "handler.connection": of_handler}


WAYS = ["query", "handler", "transaction", "stream", "connection", "getconn", "handler.connection"]
each_way = pytest.mark.parametrize("way", WAYS)


def all_taken(pool: Any, count: int = 1) -> AbstractContextManager[None]:
    """All connections are in another thread's hands."""
    return elsewhere(lambda: pool.handler(timeout=10), count)


def is_quiet(server: Server) -> bool:
    """Whether the server runs nothing for any pool, and no transaction is open."""
    return all(each.state == "idle" for each in server.sessions("pgdbpool:web"))


# -- waiting ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("way", ["query", "transaction", "connection"])
def test_waiting_ends_at_the_deadline(make_pool: Any, way: str) -> None:
    """A checkout waits for what is left of the request, and not for the group's ``timeout``."""
    pool = make_pool(connection_count=1, timeout=20)
    with all_taken(pool):
        began = time.monotonic()
        with pytest.raises(pgdbpool.PoolTimeout, match=r"no connection within 0\.[12]"):
            within(0.2, lambda: ways(pool)[way]("SELECT 1"))
        assert 0.15 < time.monotonic() - began < 0.2 + QUICK


def test_the_shorter_limit_counts(make_pool: Any) -> None:
    """A ``timeout`` that ends before the deadline ends the wait."""
    pool = make_pool(connection_count=1, timeout=0.1)
    with all_taken(pool):
        began = time.monotonic()
        with pytest.raises(pgdbpool.PoolTimeout):
            within(20, lambda: pool.query("SELECT 1"))
        with pytest.raises(pgdbpool.PoolTimeout):
            within(20, lambda: pool.query("SELECT 1", timeout=0.1))
        assert time.monotonic() - began < 0.2 + QUICK


@pytest.mark.contract("6.middleware.1")
@each_way
def test_the_deadline_is_over(make_pool: Any, wire: Wire, way: str) -> None:
    """Nothing is sent any more; the error says what the deadline was and when the request began."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()

    def late() -> None:
        time.sleep(0.1)
        ways(pool)[way]("SELECT 2")

    with pytest.raises(pgdbpool.PoolTimeout, match=r"the request's deadline of 0.1 s is over: it began 0\.\d\d s ago"):
        within(0.1, late)
    assert wire.queries() == []
    assert within(None, lambda: ways(pool)[way]("SELECT 3")) == 3


# -- statements ---------------------------------------------------------------------------------------------------------


def unused(pool: Any) -> None:
    with pool.connection():
        pass


@pytest.mark.contract("6.middleware.1")
@each_way
def test_a_statement_ends_at_the_deadline(make_pool: Any, server: Server, way: str) -> None:
    """The server itself cancels it, the session is kept, and outside of the request its limit is the group's."""
    pool = make_pool(connection_count=1, query_timeout=20000)
    call = ways(pool)[way]
    pid = call("SELECT pg_backend_pid()")
    began = time.monotonic()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        within(0.3, lambda: call(SLEEP))
    assert 0.25 < time.monotonic() - began < 0.3 + QUICK
    assert eventually(lambda: is_quiet(server), QUICK)
    assert milliseconds(within(3, lambda: call(SHOW))) <= 3000
    within(3, lambda: unused(pool))
    assert call(SHOW) == "20s"
    assert call("SELECT pg_backend_pid()") == pid


@pytest.mark.contract("6.middleware.1")
def test_each_statement_has_what_is_left(make_pool: Any) -> None:
    """The second one has less than the first one, in a transaction, a handler and a stream as well."""
    pool = make_pool(connection_count=1)

    def shown(say: Callable[[str], Any]) -> list[int]:
        found = []
        for _ in range(2):
            found.append(milliseconds(say(SHOW)))
            time.sleep(0.03)
        return found

    def streamed() -> list[int]:
        with pool.transaction() as db:
            rows = []
            for row in db.stream(SHOW + " FROM generate_series(1, 2)", size=1):
                rows.append(milliseconds(row[0]))
                time.sleep(0.03)
            return rows

    def in_block(block: Any) -> list[int]:
        with block() as db:
            return shown(lambda text: db.query(text).scalar())

    for work in (
        lambda: shown(lambda text: pool.query(text).scalar()),
        lambda: in_block(pool.transaction),
        lambda: in_block(pool.handler),
        streamed,
    ):
        first, second = within(2, work)
        assert 2000 >= first >= second + 30


def test_the_shorter_limit_of_a_statement_counts(make_pool: Any) -> None:
    """``query_timeout`` where it is shorter than what is left; what is left where that is shorter, or there is no limit."""
    pool = make_pool(connection_count=1, query_timeout=1234)
    show = lambda **options: milliseconds(pool.query(SHOW, **options).scalar())  # noqa: E731
    assert within(30, show) == 1234
    assert within(30, lambda: show(query_timeout=777)) == 777
    assert 900 < within(1, lambda: show(query_timeout=60000)) <= 1000
    assert 900 < within(1, lambda: show(query_timeout=0)) <= 1000


def test_what_it_costs(make_pool: Any, wire: Wire) -> None:
    """No message more, before or afterwards; and where the deadline is far away nothing at all."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    within(60, lambda: [pool.query("SELECT 1"), each_call(pool)["transaction"]("SELECT 2")])
    assert wire.queries() == ["SELECT 1", "BEGIN;\nSELECT 2", "COMMIT"]
    within(1, lambda: [each_call(pool)[way]("SELECT 1") for way in ("query", "handler")])
    pool.query("SELECT 3")
    pool.close()
    first, second, third = wire.queries()
    assert third == "SELECT 3"
    for text in (first, second):
        assert text.startswith("SET LOCAL statement_timeout = ")
        assert text.endswith(";\nSELECT 1")


@pytest.mark.every_version
def test_a_limit_of_its_own_leaves_nothing_behind(make_pool: Any, wire: Wire) -> None:
    """It ends with its message, also when the statement fails or is cancelled, and nothing has to be reset."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    assert pool.query("SHOW statement_timeout", query_timeout=1234).scalar() == "1234ms"
    assert pool.query("SHOW statement_timeout").scalar() == "5s"
    for text, error in (("SELECT 1/0", "DivisionByZero"), (SLEEP, "QueryCanceled")):
        with pytest.raises(getattr(psycopg2.errors, error)):
            pool.query(text, query_timeout=50)
        assert pool.query("SHOW statement_timeout").scalar() == "5s"
    with pool.handler() as db:
        db.query("SELECT 1", query_timeout=50)
    pool.close()
    sent = wire.queries()
    assert [text for text in sent if "RESET" in text or "DISCARD" in text] == []
    assert len(sent) == 7


@pytest.mark.contract("6.middleware.1")
def test_a_server_that_does_not_answer(make_pool: Any, module_server: Server) -> None:
    """The pool's own limit is there a second later at most."""
    pool = make_pool(module_server.config({"connection_count": 1}, query_timeout=20000))
    pool.query("SELECT 1")
    for way in ("query", "connection"):
        call = ways(pool)[way]
        call("SELECT 1")
        assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == 1)
        with frozen(module_server):
            began = time.monotonic()
            with pytest.raises(pgdbpool.DBConnectionError, match="no answer within its limit"):
                within(0.2, lambda call=call: call("SELECT 1"))
            assert time.monotonic() - began < 1.2 + QUICK


# -- transactions -------------------------------------------------------------------------------------------------------


def transaction(pool: Any, *works: Callable[[Any], Any]) -> None:
    with pool.transaction() as db:
        for work in works:
            work(db)


def ready(pool: Any) -> Any:
    """Connected: no deadline ends before that."""
    pool.query("SELECT 1")
    return pool


def pause(_: Any) -> None:
    time.sleep(0.35)


@pytest.mark.contract("6.middleware.1")
def test_the_deadline_in_the_middle_of_a_transaction(make_pool: Any, server: Server, table: None) -> None:
    """The next statement is refused, and the block rolls back; swallowed errors do not have half of it committed."""
    pool = ready(make_pool(connection_count=1))

    def swallowing(db: Any) -> None:
        with suppress(psycopg2.Error):
            insert(db, 2)

    for last in (lambda db: insert(db, 2), swallowing):
        with pytest.raises(pgdbpool.PoolTimeout, match="deadline"):
            within(0.3, lambda last=last: transaction(pool, lambda db: insert(db, 1), pause, last))
        assert rows_of(server, TABLE) == []
        assert is_quiet(server)
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("6.middleware.1")
def test_a_commit_that_comes_too_late(make_pool: Any, server: Server, table: None) -> None:
    """What wrote is rolled back and raises; what only read may end."""
    pool = ready(make_pool(connection_count=1))

    def raw(_: Any = None) -> None:
        with pool.connection() as conn:
            conn.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (3)")
            pause(None)

    def handler() -> None:
        with pool.handler() as db:
            insert(db, 4)
            pause(db)
            db.commit()

    pool_without = ready(make_pool(connection_count=1, autocommit=False))
    works = [lambda: transaction(pool, lambda db: insert(db, 1), pause)]
    for work in works:
        with pytest.raises(pgdbpool.PoolTimeout, match="deadline"):
            within(0.3, work)
    pool = pool_without
    for work in (raw, handler):
        with pytest.raises(pgdbpool.PoolTimeout, match="deadline"):
            within(0.3, work)
        assert is_quiet(server)
    assert rows_of(server, TABLE) == []
    within(0.3, lambda: transaction(pool, lambda db: db.query("SELECT 1"), pause))


def test_a_rollback_is_never_too_late(make_pool: Any, server: Server, table: None) -> None:
    """By exception, by ``rollback()``, as a text, to a savepoint, and on psycopg2's own connection."""
    pool = ready(make_pool(connection_count=1, autocommit=False))

    def by_text(db: Any) -> None:
        db.query("ROLLBACK")

    def to_savepoint(db: Any) -> None:
        with suppress(ZeroDivisionError), db.transaction():
            raise ZeroDivisionError
        db.rollback()

    def handler(end: Callable[[Any], Any]) -> None:
        with pool.handler() as db:
            insert(db, 1)
            pause(db)
            end(db)

    def raw() -> None:
        with pool.connection() as conn:
            conn.cursor().execute(f"INSERT INTO {TABLE} (id) VALUES (3)")
            pause(None)
            conn.rollback()

    for end in (lambda db: db.rollback(), by_text):
        within(0.3, lambda end=end: handler(end))
    with pytest.raises(pgdbpool.PoolTimeout):  # of the SAVEPOINT
        within(0.3, lambda: handler(to_savepoint))
    within(0.3, raw)
    assert is_quiet(server)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("6.middleware.1")
def test_a_commit_that_was_sent_is_waited_for(make_pool: Any, server: Server, table: None) -> None:
    """It may outlast the deadline: cut short it would be in doubt."""
    pool = ready(make_pool(connection_count=1))
    server.sql(
        f"CREATE OR REPLACE FUNCTION web.slowly() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';"
        f" CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON web.{TABLE} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION web.slowly()"
    )
    within(0.3, lambda: transaction(pool, lambda db: insert(db, 1)))
    assert rows_of(server, TABLE) == [1]


def test_a_savepoint_ends_with_its_transaction(make_pool: Any, server: Server, table: None) -> None:
    """The deadline within an inner block undoes the outer one too."""
    pool = ready(make_pool(connection_count=1))

    def inner(db: Any) -> None:
        with pool.transaction() as inner:
            insert(inner, 2)
            pause(db)

    with pytest.raises(pgdbpool.PoolTimeout):
        within(0.3, lambda: transaction(pool, lambda db: insert(db, 1), inner))
    assert rows_of(server, TABLE) == []


# -- whose deadline -----------------------------------------------------------------------------------------------------


def test_nested_middlewares(make_pool: Any) -> None:
    """The one that ends first counts, whichever is outside; after the inner one's end the outer one's is there again."""
    pool = make_pool(connection_count=1, query_timeout=0)
    found: list[int] = []
    show = lambda: found.append(milliseconds(pool.query(SHOW).scalar()))  # noqa: E731

    def chain(inner: float | None, outer: float | None) -> list[int]:
        found.clear()

        def between(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            body = Middleware(responding(show), deadline=inner)(environ, start_response)
            show()
            return body

        ask(Middleware(between, deadline=outer))
        return [round(each / 1000) for each in found]

    assert chain(5, 50) == [5, 50]
    assert chain(50, 5) == [5, 5]
    assert chain(None, 5) == [5, 5]
    assert chain(5, None) == [5, 0]


def streaming(work: Callable[[], Any], parts: int) -> App:
    """An application that does its work for each part."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [*HEADERS])
        for _ in range(parts):
            yield repr(work()).encode()

    return app


def test_a_thread_that_serves_two_by_turns(make_pool: Any) -> None:
    """Each part of a body is made under its own request's deadline, and between the parts there is none."""
    pool = ready(make_pool(connection_count=1))
    show = lambda: milliseconds(pool.query(SHOW).scalar())  # noqa: E731

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info is not None:
            raise exc_info[1]

    def serve() -> None:
        bodies = [Middleware(streaming(show, 3), deadline=each)({}, start) for each in (0.9, 3, None)]
        for _ in range(2):
            first, second, third = (int(next(iter(each))) for each in bodies)
            assert 0 < first <= 900 < second <= 3000 < third == 5000
            assert show() == 5000
        time.sleep(0.9)
        with pytest.raises(pgdbpool.PoolTimeout):
            next(iter(bodies[0]))
        assert [int(next(iter(each))) > 0 for each in bodies[1:]] == [True, True]
        for body in bodies:
            body.close()  # type: ignore[attr-defined]

    assert thread_of(serve).result().error is None


def test_a_body_that_takes_too_long(make_pool: Any) -> None:
    """The deadline lasts as long as the body is made: too late for another answer, its error reaches the server."""
    pool = ready(make_pool(connection_count=1))

    def slow() -> Any:
        time.sleep(0.15)
        return pool.query("SELECT 1").scalar()

    with pytest.raises(pgdbpool.PoolTimeout, match=r"deadline of 0\.2 s"):
        ask(Middleware(streaming(slow, 5), deadline=0.2))
    assert pool.query(SHOW).scalar() == "5s"


def test_threads_of_its_own_have_no_deadline(make_pool: Any) -> None:
    """It holds for the thread that serves the request."""
    pool = ready(make_pool(connection_count=1))
    elsewhere = within(0.5, lambda: thread_of(lambda: pool.query(SHOW).scalar()).result().value)
    assert elsewhere == "5s"


def test_a_lost_session_is_no_matter_of_the_deadline(make_pool: Any, server: Server) -> None:
    """A read that is run again has what is left."""
    pool = ready(make_pool(connection_count=1))
    pid = pool.query("SELECT pg_backend_pid()").scalar()

    def reads() -> int:
        kill(server, pid)
        return milliseconds(pool.query(SHOW, read_only=True).scalar())

    assert 0 < within(2, reads) <= 2000


@pytest.mark.parametrize("deadline", [0, -1, "5", [5], float("nan")])
def test_what_is_no_deadline(deadline: Any) -> None:
    """It is refused when the application is made."""
    with pytest.raises(ValueError, match=r"deadline is .*; it must be a number of seconds above 0, or None"):
        Middleware(responding(lambda: None), deadline=deadline)
