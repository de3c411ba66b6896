"""``connection()``: the real psycopg2 connection for a block."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import io
import select
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras
import pytest
from psycopg2 import sql

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import BOTH, TABLE, Wire, kill, rows_of

INSERT = f"INSERT INTO {TABLE} (id) VALUES (%s)"

pytestmark = pytest.mark.usefixtures("table")


@pytest.mark.contract("2.call.connection.1", "4.protected.3")
@BOTH
def test_it_is_a_psycopg2_connection(make_pool: Any, autocommit: bool) -> None:
    """The block gets an instance of psycopg2's connection, whose autocommit is the group's."""
    with make_pool(autocommit=autocommit).connection() as conn:
        assert isinstance(conn, psycopg2.extensions.connection)
        assert (conn.autocommit, conn.closed, conn.status) == (autocommit, 0, psycopg2.extensions.STATUS_READY)
        with conn.cursor() as cursor:
            cursor.execute("SELECT 1, %s", ("x",))
            assert cursor.fetchall() == [(1, "x")]
            assert cursor.connection is conn


# -- transactions ------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.connection.1", "3.group.autocommit.1")
def test_commit_on_a_clean_exit(make_pool: Any, server: Server) -> None:
    """With autocommit off nothing is committed before the clean exit, and all of it then."""
    with make_pool(autocommit=False).connection() as conn:
        conn.cursor().execute(INSERT, (1,))
        assert rows_of(server, TABLE) == []
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.connection.1")
@BOTH
def test_an_exception(make_pool: Any, server: Server, autocommit: bool) -> None:
    """An exception undoes what is open with autocommit off, nothing with autocommit on, and passes as it is."""
    error = ValueError("mine")
    with pytest.raises(ValueError) as caught, make_pool(autocommit=autocommit).connection() as conn:
        conn.cursor().execute(INSERT, (1,))
        raise error
    assert caught.value is error
    assert rows_of(server, TABLE) == ([1] if autocommit else [])


@pytest.mark.contract("2.call.connection.1")
def test_explicit_commit_and_rollback(make_pool: Any, server: Server) -> None:
    """``commit``, ``rollback`` and ``with conn`` are psycopg2's own."""
    with make_pool(autocommit=False).connection() as conn:
        conn.cursor().execute(INSERT, (1,))
        conn.commit()
        conn.cursor().execute(INSERT, (2,))
        conn.rollback()
        with conn, conn.cursor() as cursor:
            cursor.execute(INSERT, (3,))
        assert rows_of(server, TABLE) == [1, 3]


@pytest.mark.contract("4.commit-of-a.1", "2.call.connection.1")
def test_a_swallowed_error_surfaces_at_the_end(make_pool: Any, server: Server) -> None:
    """The clean exit after a swallowed error raises, with the first error as its cause; nothing was kept."""
    pool = make_pool(autocommit=False, connection_count=1)
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught, pool.connection() as conn:
        conn.cursor().execute(INSERT, (1,))
        with pytest.raises(psycopg2.errors.DivisionByZero) as first:
            conn.cursor().execute("SELECT 1/0")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            conn.cursor().execute("SELECT 1")
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert caught.value.__cause__ is first.value
    assert rows_of(server, TABLE) == []
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.call.connection.1")
def test_an_error_that_was_rolled_back(make_pool: Any, server: Server) -> None:
    """After the user's own ``rollback`` the clean exit commits what came then."""
    with make_pool(autocommit=False).connection() as conn:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            conn.cursor().execute("SELECT 1/0")
        conn.rollback()
        conn.cursor().execute(INSERT, (1,))
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.connection.1")
@BOTH
def test_autocommit_may_be_changed(make_pool: Any, server: Server, autocommit: bool) -> None:
    """The user may switch autocommit; the exit goes by how it is then, and the next user has the group's again."""
    pool = make_pool(connection_count=1, autocommit=autocommit)
    with pool.connection() as conn:
        conn.autocommit = not autocommit
        conn.cursor().execute(INSERT, (1,))
        assert rows_of(server, TABLE) == ([] if autocommit else [1])
    assert rows_of(server, TABLE) == [1]
    with pool.connection() as conn:
        assert conn.autocommit is autocommit


@pytest.mark.contract("2.call.connection.1", "4.commit-of-a.1")
def test_a_deferred_constraint(make_pool: Any, server: Server) -> None:
    """What only COMMIT finds is raised by the clean exit as psycopg2's own error."""
    server.sql(f"ALTER TABLE web.{TABLE} ADD UNIQUE (note) DEFERRABLE INITIALLY DEFERRED")
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught, make_pool(autocommit=False).connection() as conn:
        conn.cursor().execute(f"INSERT INTO {TABLE} VALUES (1, 'x'), (2, 'x')")
    assert type(caught.value) is psycopg2.errors.UniqueViolation
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.call.connection.1")
@BOTH
def test_the_server_refuses_writes_when_read_only(make_pool: Any, server: Server, autocommit: bool) -> None:
    """``read_only=True`` is enforced by the server, and not left behind."""
    pool = make_pool(connection_count=1, autocommit=autocommit)
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction), pool.connection(read_only=True) as conn:
        conn.cursor().execute(INSERT, (1,))
    with pool.connection() as conn:
        conn.cursor().execute(INSERT, (2,))
    pool.query(INSERT, (3,))
    assert rows_of(server, TABLE) == [2, 3]


# -- what it is for ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.connection.1")
def test_copy(make_pool: Any, server: Server) -> None:
    """COPY in both directions works."""
    with make_pool().connection() as conn, conn.cursor() as cursor:
        cursor.copy_expert(f"COPY {TABLE} (id, note) FROM STDIN", io.StringIO("1\tone\n2\ttwo\n"))
        out = io.StringIO()
        cursor.copy_expert(f"COPY (SELECT note FROM {TABLE} ORDER BY id) TO STDOUT", out)
        assert out.getvalue() == "one\ntwo\n"
        cursor.copy_from(io.StringIO("3\tthree\n"), TABLE, columns=("id", "note"))
    assert rows_of(server, TABLE) == [1, 2, 3]


@pytest.mark.contract("2.call.connection.1")
def test_listen_and_notify(make_pool: Any, server: Server) -> None:
    """LISTEN works with ``select`` and ``poll``, as in psycopg2's manual."""
    pool = make_pool()
    with pool.connection() as conn:
        conn.cursor().execute("LISTEN of_connection")
        pool.query("NOTIFY of_connection, 'hello'")
        assert select.select([conn], [], [], 5) == ([conn], [], [])
        conn.poll()
        assert [(each.channel, each.payload) for each in conn.notifies] == [("of_connection", "hello")]
    with pool.connection() as conn:
        assert conn.notifies == []


@pytest.mark.contract("2.call.connection.1")
def test_named_cursors(make_pool: Any) -> None:
    """A named cursor of psycopg2 works with autocommit off."""
    with make_pool(autocommit=False).connection() as conn, conn.cursor("mine") as cursor:
        cursor.itersize = 10
        cursor.execute("SELECT generate_series(1, 35)")
        assert [row[0] for row in cursor] == list(range(1, 36))


@pytest.mark.contract("2.call.connection.1", "4.protected.3")
def test_cursor_factories(make_pool: Any) -> None:
    """The cursors of ``psycopg2.extras`` work, by ``cursor_factory`` and as the connection's own, and are not left behind."""
    extras, pool = psycopg2.extras, make_pool(connection_count=1)
    with pool.connection() as conn:
        for factory in (extras.DictCursor, extras.NamedTupleCursor, extras.RealDictCursor):
            conn.cursor_factory = factory
            for cursor in (conn.cursor(), conn.cursor(cursor_factory=factory)):
                assert isinstance(cursor, factory)
                cursor.execute("SELECT 1 AS a")
                row = cursor.fetchone()
                assert (row.a if factory is extras.NamedTupleCursor else row["a"]) == 1
    with pool.connection() as conn:
        assert conn.cursor_factory is None


@pytest.mark.contract("2.call.connection.1")
def test_psycopg2s_helpers(make_pool: Any, server: Server) -> None:
    """``execute_values``, ``execute_batch``, ``sql.as_string`` and large objects take the connection for one of theirs."""
    with make_pool(autocommit=False).connection() as conn, conn.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, f"INSERT INTO {TABLE} (id) VALUES %s", [(1,), (2,)])
        psycopg2.extras.execute_batch(cursor, INSERT, [(3,), (4,)])
        assert sql.Identifier("a").as_string(conn) == '"a"'
        large = conn.lobject()
        assert large.write(b"abc") == 3
        large.unlink()
    assert rows_of(server, TABLE) == [1, 2, 3, 4]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("7.p1.6")
@BOTH
def test_psycopg2s_errors_pass_untouched(make_pool: Any, autocommit: bool) -> None:
    """What psycopg2 raises inside the block is what leaves it: its class, its cursor and its diagnostics."""
    pool = make_pool(autocommit=autocommit)
    for text, params, kind in (
        ("selec", None, psycopg2.errors.SyntaxError),
        ("SELECT %s, %s", (1,), IndexError),
        ("SELECT %s", (object(),), psycopg2.ProgrammingError),
    ):
        with pytest.raises(kind) as caught, pool.connection() as conn:
            cursor = conn.cursor()
            cursor.execute(text, params)
        assert type(caught.value) is kind
        assert not isinstance(caught.value, pgdbpool.DBQueryError)
    with pool.connection() as conn, pytest.raises(psycopg2.ProgrammingError, match="no results to fetch"):
        cursor = conn.cursor()
        cursor.execute("DO $$ BEGIN END $$")
        cursor.fetchone()


@pytest.mark.contract("7.p1.6", "4.lost.1")
def test_a_killed_backend(make_pool: Any, server: Server) -> None:
    """A lost connection is psycopg2's OperationalError inside the block, and the pool goes on with another one."""
    pool = make_pool(connection_count=1)
    with pytest.raises(psycopg2.OperationalError) as caught, pool.connection() as conn:
        kill(server, conn.info.backend_pid)
        conn.cursor().execute("SELECT 1")
    assert not isinstance(caught.value, pgdbpool.PoolError)
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.a-write-that.3")
def test_a_lost_commit_is_in_doubt(make_pool: Any, server: Server, wire: Wire) -> None:
    """The answer to the clean exit's COMMIT is lost: InDoubt."""
    wire.lose_answer("COMMIT")
    with pytest.raises(pgdbpool.InDoubt), make_pool(wire.config({"autocommit": False})).connection() as conn:
        conn.cursor().execute(INSERT, (1,))
    assert eventually(lambda: rows_of(server, TABLE) == [1])


@pytest.mark.contract("4.a-write-that.5")
def test_a_swallowed_loss(make_pool: Any, server: Server) -> None:
    """With autocommit off the exit never passes for success when the connection was lost: nothing was committed."""
    with pytest.raises(psycopg2.OperationalError) as caught, make_pool(autocommit=False).connection() as conn:
        conn.cursor().execute(INSERT, (1,))
        kill(server, conn.info.backend_pid)
        with pytest.raises(psycopg2.OperationalError):
            conn.cursor().execute(INSERT, (2,))
    assert not isinstance(caught.value, pgdbpool.InDoubt)
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("4.given-back.3", "2.call.connection.1")
def test_the_user_closes_it(make_pool: Any) -> None:
    """A connection that its user closed is replaced, and condemns no other."""
    pool = make_pool(connection_count=2)
    with pool.connection() as other:
        pid = other.info.backend_pid
        with pool.connection() as conn:
            conn.close()
    assert pid in {pool.query("SELECT pg_backend_pid()").scalar() for _ in range(4)}


# -- misuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.protected.2", "4.protected.3")
def test_use_after_the_block(make_pool: Any, wire: Wire) -> None:
    """After the block the connection and its cursors raise, and nothing reaches the server, also when it is lent anew."""
    pool = make_pool(wire.config({"connection_count": 1}))
    with pool.connection() as conn:
        cursor = conn.cursor()
        cursor.execute("SELECT 1")
    uses = (lambda: cursor.execute("SELECT 42"), cursor.fetchone, conn.commit, conn.rollback, conn.close, conn.cursor,
            lambda: setattr(conn, "autocommit", False), conn.reset)  # fmt: skip
    for use in uses:
        with pytest.raises(pgdbpool.PoolError, match="given back"):
            use()
    with pool.connection() as again:
        assert again is conn
        with pytest.raises(pgdbpool.PoolError, match="earlier"):
            cursor.execute("SELECT 42")
    assert not [text for text in wire.queries() if "42" in text]


@pytest.mark.contract("4.protected.2")
def test_entered_twice(make_pool: Any) -> None:
    """Entering the same ``connection()`` twice raises; the block goes on."""
    pool = make_pool()
    block = pool.connection()
    with block as conn:
        with pytest.raises(pgdbpool.PoolError, match="twice"), block:
            pass
        conn.cursor().execute("SELECT 1")
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)
