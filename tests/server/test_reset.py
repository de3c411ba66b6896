"""Given back means clean: nothing of one request is visible to the next (contract §4)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions, extras

from tests.life import full, warm
from tests.servers import DATABASE, ROLE, Server, eventually

NAME = "pgdbpool:web"

# One function that leaves everything behind; it is unknown to the pool, as every function of an application is.
SOIL = """
CREATE FUNCTION web.soil() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('work_mem', '65kB', false);
    PERFORM pg_catalog.set_config('search_path', 'information_schema', false);
    PERFORM pg_catalog.set_config('default_transaction_read_only', 'on', false);
    PERFORM pg_catalog.set_config('custom.secret', 'mine', false);
    PERFORM pg_catalog.pg_advisory_lock(4711);
    PERFORM pg_catalog.nextval('web.numbers');
    EXECUTE 'CREATE TEMPORARY TABLE left_over AS SELECT 1 AS a';
    EXECUTE 'LISTEN news';
    EXECUTE 'PREPARE left_plan AS SELECT 1';
    EXECUTE 'DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1';
    PERFORM pg_catalog.set_config('role', 'clerk', false);
    RETURN 1;
END $$
"""

# What is there of it, as text; every value is the one of a new session.
LEFT = """
SELECT current_user::text, session_user::text, current_setting('work_mem'), current_setting('search_path'),
    current_setting('default_transaction_read_only'), coalesce(current_setting('custom.secret', true), ''),
    current_setting('client_encoding'), current_setting('datestyle'),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())::int,
    (SELECT count(*) FROM pg_class WHERE relname = 'left_over')::int,
    (SELECT count(*) FROM pg_listening_channels())::int,
    (SELECT count(*) FROM pg_prepared_statements)::int,
    (SELECT count(*) FROM pg_cursors WHERE name = 'left_cursor')::int
"""

Way = Callable[[Any], Any]


def by_query(pool: Any) -> Any:
    return pool.query("SELECT pg_backend_pid(), web.soil()").one()[0]


def by_handler(pool: Any) -> Any:
    with pool.handler() as db:
        return db.query("SELECT pg_backend_pid(), web.soil()").one()[0]


def by_transaction_committed(pool: Any) -> Any:
    with pool.transaction() as db:
        return db.query("SELECT pg_backend_pid(), web.soil()").one()[0]


def by_transaction_rolled_back(pool: Any) -> Any:
    with suppress(ZeroDivisionError), pool.transaction() as db:
        pid = db.query("SELECT pg_backend_pid(), web.soil()").one()[0]
        raise ZeroDivisionError
    return pid


def by_failed_transaction(pool: Any) -> Any:
    with suppress(psycopg2.errors.DivisionByZero), pool.transaction() as db:
        pid = db.query("SELECT pg_backend_pid(), web.soil()").one()[0]
        db.query("SELECT 1 / 0")
    return pid


def by_stream_left_early(pool: Any) -> Any:
    with pool.handler() as db:
        rows = db.stream(
            "SELECT pg_backend_pid(), CASE n WHEN 1 THEN web.soil() END FROM generate_series(1, 9) n", size=2
        )
        return next(rows)[0]


def by_executemany(pool: Any) -> Any:
    with pool.handler() as db:
        db.executemany("SELECT web.soil() WHERE %s = 1", [(1,)])
        return db.query("SELECT pg_backend_pid()").scalar()


def by_connection(pool: Any) -> Any:
    with pool.connection() as raw, raw.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), web.soil()")
        return cursor.fetchone()[0]


def by_handlers_connection(pool: Any) -> Any:
    with pool.handler() as db, db.connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), web.soil()")
        return cursor.fetchone()[0]


def by_getconn_committed(pool: Any) -> Any:
    raw = pool.getconn()
    try:
        with raw.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), web.soil()")
            pid = cursor.fetchone()[0]
        raw.commit()
    finally:
        pool.putconn(raw)
    return pid


def by_getconn_uncommitted(pool: Any) -> Any:
    raw = pool.getconn()
    try:
        with raw.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), web.soil()")
            return cursor.fetchone()[0]
    finally:
        pool.putconn(raw)


def by_sql(pool: Any) -> Any:
    with pool.handler() as db:
        for text in (
            "SET work_mem = '65kB'",
            "SET search_path = information_schema",
            "SET default_transaction_read_only = on",
            "SET custom.secret = 'mine'",
            "SET client_encoding = 'LATIN1'",
            "SET DateStyle = 'SQL, DMY'",
            "SELECT pg_advisory_lock(4711)",
            "SELECT pg_advisory_lock_shared(1, 2)",
            "SET default_transaction_read_only = off",
            "CREATE TEMP TABLE left_over (a int)",
            "LISTEN news",
            "PREPARE left_plan AS SELECT 1",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET SESSION AUTHORIZATION web",
            "SET ROLE clerk",
        ):
            db.query(text)
        return db.query("SELECT pg_backend_pid()").scalar()


WAYS: list[Way] = [
    by_query,
    by_handler,
    by_transaction_committed,
    by_transaction_rolled_back,
    by_failed_transaction,
    by_stream_left_early,
    by_executemany,
    by_connection,
    by_handlers_connection,
    by_getconn_committed,
    by_getconn_uncommitted,
    by_sql,
]


@pytest.fixture(scope="module")
def furnished(server: Server) -> Iterator[Server]:
    """The shared server with a role to become, a function that leaves everything behind, and a table."""
    server.sql(f"CREATE ROLE clerk; GRANT clerk TO {ROLE}; GRANT TEMPORARY ON DATABASE {DATABASE} TO {ROLE}")
    for text in ("CREATE SEQUENCE web.numbers", "CREATE TABLE web.kept (a int)", SOIL):
        server.sql(f"SET ROLE {ROLE}; {text}")
    yield server
    server.sql("DROP FUNCTION web.soil(); DROP TABLE web.kept; DROP SEQUENCE web.numbers; DROP ROLE clerk")


@pytest.mark.contract("4.given-back.1", "4.given-back.2")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_next_user_of_the_same_session_sees_nothing(
    furnished: Server, make_pool: Callable[..., Any], way: Way
) -> None:
    """Role, settings, search path, temporary table, advisory lock, LISTEN, PREPARE, cursor: none passes to the next user."""
    pool = make_pool(connection_count=1)
    fresh = tuple(pool.query(LEFT).one())
    assert fresh[0] == fresh[1] == ROLE
    assert fresh[8:] == (0,) * 5
    pid = way(pool)
    assert pool.query("SELECT pg_backend_pid()").scalar() == pid  # reset, not replaced: that would be dear
    assert tuple(pool.query(LEFT).one()) == fresh
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        pool.query("SELECT currval('web.numbers')")
    pool.query("INSERT INTO web.kept VALUES (1)")  # not read only
    furnished.sql("SELECT pg_notify('news', '')")
    with pool.connection() as raw:
        raw.cursor().execute("SELECT 1")
        raw.poll()
        assert raw.notifies == []


@pytest.mark.contract("4.given-back.1")
def test_a_read_only_handler_leaves_no_read_only_session(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """``read_only`` of a handler, a transaction or a connection ends with it."""
    pool = make_pool(connection_count=1)
    for block in (pool.handler, pool.transaction):
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction), block(read_only=True) as db:
            db.query("INSERT INTO web.kept VALUES (1)")
        pool.query("INSERT INTO web.kept VALUES (1)")
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction), pool.connection(read_only=True) as raw:
        raw.cursor().execute("INSERT INTO web.kept VALUES (1)")
    pool.query("INSERT INTO web.kept VALUES (1)")
    with pool.connection(read_only=True):  # nothing was run on it
        pass
    with pool.connection() as raw:
        raw.cursor().execute("INSERT INTO web.kept VALUES (1)")


@pytest.mark.contract("4.given-back.1")
def test_a_query_timeout_of_its_own_ends_with_the_call(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """``query_timeout`` of one call, handler or transaction is not the next one's."""
    pool = make_pool(connection_count=1, query_timeout=4321)
    show = "SHOW statement_timeout"
    assert pool.query(show, query_timeout=1234).scalar() == "1234ms"
    assert pool.query(show).scalar() == "4321ms"
    for block in (pool.handler, pool.transaction):
        with block(query_timeout=1234) as db:
            assert db.query(show).scalar() == "1234ms"
            assert db.query(show, query_timeout=999).scalar() == "999ms"
            assert db.query(show).scalar() == "1234ms"
        assert pool.query(show).scalar() == "4321ms"


def _client_side(raw: Any) -> tuple[Any, ...]:
    figures = (raw.encoding, raw.autocommit, raw.isolation_level, raw.readonly, raw.deferrable, raw.cursor_factory)
    return (*figures, list(raw.notices), list(raw.notifies), dict(raw.string_types), dict(raw.binary_types))


def _soil_client_side(raw: Any) -> None:
    cursor = raw.cursor()
    cursor.execute("LISTEN news; NOTIFY news; DO $$BEGIN RAISE NOTICE 'mine'; END$$")
    raw.commit()
    raw.autocommit = not raw.autocommit
    raw.autocommit = False
    raw.set_session("serializable", readonly=True, deferrable=True)
    raw.autocommit = True
    raw.set_client_encoding("LATIN1")
    raw.cursor_factory = extras.DictCursor
    extensions.register_type(extensions.new_type((23,), "MINE", lambda value, cursor: "mine"), raw)
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == ("mine",)
    assert raw.notices
    assert raw.encoding != "UTF8"


@pytest.mark.contract("4.given-back.1")
@pytest.mark.parametrize("way", ["connection", "getconn", "handler.connection"])
def test_psycopg2s_own_side_is_restored(furnished: Server, make_pool: Callable[..., Any], way: str) -> None:
    """Encoding, autocommit, isolation, readonly, deferrable, cursor factory, notices, notifies and typecasters are as new."""
    pool = make_pool(connection_count=1)

    with pool.connection() as raw:
        fresh, pid = _client_side(raw), raw.info.backend_pid
    if way == "connection":
        with pool.connection() as raw:
            _soil_client_side(raw)
    elif way == "getconn":
        raw = pool.getconn()
        _soil_client_side(raw)
        pool.putconn(raw)
    else:
        with pool.handler() as db:
            _soil_client_side(db.connection)
    with pool.connection() as raw:
        assert raw.info.backend_pid == pid
        assert _client_side(raw) == fresh
        cursor = raw.cursor()
        assert type(cursor).__name__ == "cursor"
        cursor.execute(
            "SELECT 1, 'ä€', current_setting('transaction_isolation'), current_setting('transaction_read_only')"
        )
        assert cursor.fetchone() == (1, "ä€", "read committed", "off")
    assert pool.query("SELECT 'ä€', date '2001-02-03'").one()[0] == "ä€"


@pytest.mark.contract("4.given-back.1")
def test_connection_and_getconn_see_their_own_autocommit_each_time(make_pool: Callable[..., Any]) -> None:
    """Whoever had the session before, and whether or not he used it, the autocommit is the one of the way in."""
    pool = make_pool(connection_count=1)
    for _ in range(2):
        with pool.connection() as raw:
            assert raw.autocommit
        raw = pool.getconn()
        assert not raw.autocommit
        pool.putconn(raw)
    off = make_pool(connection_count=1, autocommit=False)
    for _ in range(2):
        with off.connection() as raw:
            assert not raw.autocommit
        with off.handler() as db:
            db.query("SELECT 1")


CLEAN = [
    "INSERT INTO web.kept (a) VALUES (1)",
    "UPDATE web.kept SET a = a + 1 WHERE a < 0",
    "DELETE FROM web.kept WHERE a < 0",
    "SELECT count(*), now(), coalesce(max(a), 0) FROM web.kept",
    "WITH new AS (INSERT INTO web.kept VALUES (2) RETURNING a) SELECT * FROM new",
]


@pytest.mark.contract("4.given-back.2")
@pytest.mark.parametrize("text", CLEAN)
def test_known_dml_pays_no_reset(furnished: Server, make_pool: Callable[..., Any], text: str) -> None:
    """After a statement that is known to leave nothing behind the server hears nothing more, by whatever way it came."""
    pool = make_pool(connection_count=1)

    def said() -> str:
        with pool.handler():  # whatever cleaning there was has ended
            return furnished.sessions(NAME)[0].query

    pool.query(text)
    assert said() == text
    with pool.handler() as db:
        db.query(text)
    assert said() == text
    with pool.transaction() as db:
        db.query(text)
    assert said() == "COMMIT"
    with pool.connection():  # ran nothing
        pass
    pool.putconn(pool.getconn())
    assert said() == "COMMIT"


@pytest.mark.contract("4.given-back.2")
def test_an_unknown_function_pays_a_reset_in_one_message_off_the_request_path(
    furnished: Server, make_pool: Callable[..., Any]
) -> None:
    """The reset runs on another thread after the request, as one message, while other connections go on serving."""
    pool = make_pool(connection_count=2)
    warm(pool, 2)
    pid = by_query(pool)
    said = lambda: next(each.query for each in furnished.sessions(NAME) if each.pid == pid)  # noqa: E731
    assert eventually(lambda: "RESET ALL" in said())
    assert full(pool, 2)


@pytest.mark.contract("4.given-back.4", "3.group.reset.1")
def test_reset_always_cleans_up_after_triggers(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """State set by a trigger passes to the next user, unless ``reset`` is ``always``."""
    furnished.sql(
        f"""SET ROLE {ROLE}; CREATE TABLE web.tripped (a int);
        CREATE FUNCTION web.trip() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM set_config('custom.secret', 'mine', false); RETURN new; END$$;
        CREATE TRIGGER trip BEFORE INSERT ON web.tripped FOR EACH ROW EXECUTE FUNCTION web.trip()"""
    )
    try:
        seen = {}
        for reset in ("auto", "always"):
            pool = make_pool(connection_count=1, reset=reset)
            pool.query("INSERT INTO web.tripped VALUES (1)")
            seen[reset] = pool.query("SELECT current_setting('custom.secret', true)").scalar()
        assert seen["auto"] == "mine"
        assert not seen["always"]
    finally:
        furnished.sql("DROP TABLE web.tripped; DROP FUNCTION web.trip()")


@pytest.mark.contract("3.group.reset.1")
def test_reset_never_sends_nothing_but_the_rollback(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """With ``reset: never`` session state stays, but a transaction left open is still rolled back."""
    pool = make_pool(connection_count=1, reset="never")
    with pool.handler() as db:
        db.query("SET custom.secret = 'kept'")
    assert pool.query("SELECT current_setting('custom.secret', true)").scalar() == "kept"
    raw = pool.getconn()
    raw.cursor().execute("CREATE TABLE web.undone (a int)")
    pool.putconn(raw)
    assert pool.query("SELECT to_regclass('web.undone')").scalar() is None


def no_longer_restorable(raw: Any) -> None:
    raw.tpc_begin(raw.xid(1, "mine", "x"))
    raw.cursor().execute("SELECT 1")


def mid_copy(raw: Any) -> None:
    class Torn(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, psycopg2.Error)):
        raw.cursor().copy_expert("COPY web.kept FROM STDIN", Torn())


@pytest.mark.contract("4.given-back.3")
@pytest.mark.parametrize("leave", [no_longer_restorable, mid_copy], ids=lambda leave: leave.__name__)
def test_what_cannot_be_cleaned_is_closed(
    furnished: Server, make_pool: Callable[..., Any], leave: Callable[[Any], None]
) -> None:
    """A connection left in the middle of something is cleaned or replaced; the next user has a sound one, no slot is lost."""
    pool = make_pool(connection_count=2)
    raw = pool.getconn()
    leave(raw)
    pool.putconn(raw)
    assert full(pool, 2)
    with pool.connection() as raw:
        assert raw.status == extensions.STATUS_READY


@pytest.mark.contract("4.given-back.1")
def test_a_transaction_left_open_is_rolled_back_at_once(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """What getconn() or an exception left uncommitted is not kept, and its locks do not outlive the return."""
    pool = make_pool(connection_count=2)
    raw = pool.getconn()
    raw.cursor().execute("LOCK TABLE web.kept IN ACCESS EXCLUSIVE MODE; INSERT INTO web.kept VALUES (-7)")
    pool.putconn(raw)
    assert pool.query("SELECT count(*) FROM web.kept WHERE a = -7", query_timeout=1000).scalar() == 0
    assert furnished.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == [(0,)]
