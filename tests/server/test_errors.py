"""What errors are, say and carry, on a real server."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import sql

import pgdbpool
from tests.servers import PASSWORD, Server, eventually
from tests.usage import each_call, fresh_table

TABLE = "of_errors"
WAYS = ["query", "handler", "transaction"]
POOL_ERRORS = [
    pgdbpool.PoolTimeout,
    pgdbpool.TooManyRequests,
    pgdbpool.PoolClosed,
    pgdbpool.NestedCheckout,
    pgdbpool.DBOfflineError,
    pgdbpool.DBConnectionError,
    pgdbpool.InDoubt,
]


@pytest.fixture(autouse=True, scope="module")
def table(server: Server) -> None:
    fresh_table(server, TABLE)


@pytest.fixture(params=WAYS)
def call(request: pytest.FixtureRequest, make_pool: Any) -> Any:
    """One statement by the pool, by a handler and in a transaction."""
    return each_call(make_pool())[request.param]


def raised(call: Any, *args: Any, **kwargs: Any) -> Any:
    with pytest.raises(pgdbpool.DBQueryError) as caught:
        call(*args, **kwargs)
    return caught.value


# -- the classes -------------------------------------------------------------------------------------------------------


@pytest.mark.contract("7.p1.1")
@pytest.mark.parametrize("kind", POOL_ERRORS)
def test_pool_errors(kind: type[Exception]) -> None:
    """Every error of the pool itself is a PoolError, and that is a psycopg2.OperationalError."""
    assert issubclass(kind, pgdbpool.PoolError)
    assert issubclass(pgdbpool.PoolError, psycopg2.OperationalError)
    assert not issubclass(kind, pgdbpool.DBQueryError)


@pytest.mark.contract("7.p1.1")
def test_in_doubt() -> None:
    """An InDoubt has an ``outcome`` and is never safe to retry."""
    error = pgdbpool.InDoubt("what")
    assert (str(error), error.outcome, error.retry_safe) == ("what", "unknown", False)


@pytest.mark.contract("7.p1.3", "2.p3.1")
def test_further_classes() -> None:
    """ConfigError is a ValueError, NoRow and TooManyRows are LookupErrors, UnconfiguredGroupError is both of its kind."""
    assert issubclass(pgdbpool.ConfigError, ValueError)
    assert issubclass(pgdbpool.NoRow, LookupError)
    assert issubclass(pgdbpool.TooManyRows, LookupError)
    assert issubclass(pgdbpool.UnconfiguredGroupError, pgdbpool.PoolError)
    assert issubclass(pgdbpool.UnconfiguredGroupError, KeyError)


@pytest.mark.contract("7.p1.4")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("selec", "SyntaxError"),
        ("TABLE no_such_table", "UndefinedTable"),
        (f"INSERT INTO {TABLE} (id) VALUES (1), (1)", "UniqueViolation"),
        ("SELECT 1/0", "DivisionByZero"),
        (f"INSERT INTO {TABLE} (id) VALUES (NULL)", "NotNullViolation"),
        ("SELECT * FROM pg_authid", "InsufficientPrivilege"),
        ("DO $$ BEGIN RAISE EXCEPTION USING errcode = '40001'; END $$", "SerializationFailure"),
        ("DO $$ BEGIN RAISE 'mine' USING errcode = 'XX999'; END $$", None),
    ],
)
def test_psycopg2s_class(call: Any, text: str, name: str | None) -> None:
    """A failed statement is a DBQueryError and an instance of psycopg2's class, which is its cause; no PoolError."""
    error = raised(call, text)
    cause = error.__cause__
    assert isinstance(error, type(cause))
    assert not isinstance(cause, pgdbpool.DBQueryError)
    assert type(cause).__module__ in ("psycopg2.errors", "psycopg2")
    if name is not None:
        assert type(cause) is getattr(psycopg2.errors, name)
    assert not isinstance(error, pgdbpool.PoolError)
    assert (error.pgcode, str(error).splitlines()[0]) == (cause.pgcode, str(cause).splitlines()[0])
    assert isinstance(error, psycopg2.Error)


@pytest.mark.contract("7.p1.4")
def test_code_and_diagnostics(call: Any, server: Server) -> None:
    """``pgcode``, ``pgerror`` and every field of ``diag`` are psycopg2's."""
    server.sql(f"INSERT INTO web.{TABLE} VALUES (1) ON CONFLICT DO NOTHING")
    error = raised(call, f"INSERT INTO {TABLE} (id) VALUES (1)")
    assert error.pgcode == "23505"
    assert error.pgerror.startswith("ERROR:  duplicate key")
    assert (error.diag.schema_name, error.diag.table_name, error.diag.constraint_name) == (
        "web",
        TABLE,
        f"{TABLE}_pkey",
    )
    assert error.diag.message_detail == "Key (id)=(1) already exists."
    fields = [name for name in dir(psycopg2.extensions.Diagnostics) if not name.startswith("_")]
    assert {name: getattr(error.diag, name) for name in fields} == {
        name: getattr(error.__cause__.diag, name) for name in fields
    }


@pytest.mark.contract("7.p1.5")
@pytest.mark.parametrize(
    ("text", "params", "kind"),
    [
        ("SELECT %s, %s", (1,), IndexError),
        ("SELECT %(a)s", {"b": 1}, KeyError),
        ("SELECT %s", (1, 2), TypeError),
        ("SELECT %s", 42, TypeError),
        ("SELECT %d", (1,), ValueError),
        ("SELECT %s", (object(),), psycopg2.ProgrammingError),
        ("SELECT %s", ("a\0b",), ValueError),
        ("SELECT %s", ("\ud800",), UnicodeEncodeError),
        ("SELECT 'a\0b'", None, ValueError),
        (b"SELECT '\xff'", None, UnicodeDecodeError),
        ("", None, psycopg2.ProgrammingError),
        ("  -- nothing\n", None, psycopg2.ProgrammingError),
        (42, None, TypeError),
        (None, None, TypeError),
        (sql.SQL("SELECT {}").format(sql.Literal(object())), None, psycopg2.ProgrammingError),
    ],
)
def test_errors_before_sending(call: Any, text: Any, params: Any, kind: type[Exception]) -> None:
    """What cannot be sent raises a DBQueryError of the class that psycopg2 raises, without a code, and can be pickled."""
    error = raised(call, text, params)
    assert isinstance(error, kind)
    assert error.pgcode is None
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, kind)
    assert isinstance(again, pgdbpool.DBQueryError)
    assert str(again) == str(error)
    assert call("SELECT 1").scalar() == 1


# -- positions ---------------------------------------------------------------------------------------------------------

TEXTS = [  # a text, and the line and word where its error is
    ("SELECT no_such", 1, "no_such"),
    ("SELECT 1,\n  2,\n  no_such", 3, "no_such"),
    ("SELECT 1;\nSELECT no_such", 2, "no_such"),
    ("SELECT %s,\n no_such", 2, "no_such"),
    ("SELECT 'äöü',\n 'grün', no_such", 2, "no_such"),
    ("SELECT 'LINE 7: x',\n no_such", 2, "no_such"),
    ("selec", 1, "selec"),
    ("SELECT 1,\n", 2, ""),
]


@pytest.fixture
def plain(server: Server) -> Iterator[Any]:
    """A connection of psycopg2's own, in autocommit."""
    conn = psycopg2.connect(**server.dsn())
    conn.autocommit = True
    yield conn
    conn.close()


@pytest.mark.contract("2.p2.3")
@pytest.mark.parametrize("query_timeout", [None, 1234])
@pytest.mark.parametrize("way", [*WAYS, "off"])
def test_positions_refer_to_the_users_text(make_pool: Any, plain: Any, way: str, query_timeout: int | None) -> None:
    """Position, LINE and the marker below are those that plain psycopg2 shows, whatever travels in front of the text."""
    call = each_call(make_pool(autocommit=way != "off"))["handler" if way == "off" else way]
    for text, line, word in TEXTS:
        params = ("x",) if "%s" in text else None
        error = raised(call, text, params, query_timeout=query_timeout)
        with pytest.raises(psycopg2.Error) as caught:
            plain.cursor().execute(text, params)
        assert (str(error), error.pgerror) == (str(caught.value), caught.value.pgerror)
        assert error.diag.statement_position == caught.value.diag.statement_position
        sent = text if params is None else text.replace("%s", "'x'")
        assert f"LINE {line}: " in str(error)
        assert sent[int(error.diag.statement_position) - 1 :].startswith(word)


# -- what the messages say ---------------------------------------------------------------------------------------------


@pytest.mark.contract("7.p1.2")
@pytest.mark.parametrize("way", ["handler", "transaction", "connection", "getconn"])
def test_a_timeout_says_who_holds_what(make_pool: Any, way: str) -> None:
    """A PoolTimeout names the group, the seconds waited, who holds the connections since when, and the server's state."""
    pool, held, end, lines = make_pool(connection_count=1), threading.Event(), threading.Event(), []

    def hold() -> None:
        if way == "getconn":
            lines.append(inspect.currentframe().f_lineno + 1)  # type: ignore[union-attr]
            conn = pool.getconn()
            held.set()
            end.wait(10)
            pool.putconn(conn)
            return
        lines.append(inspect.currentframe().f_lineno + 1)  # type: ignore[union-attr]
        with getattr(pool, way)():
            held.set()
            end.wait(10)

    thread = threading.Thread(target=hold, name="the-holder")
    thread.start()
    try:
        assert held.wait(5)
        with pytest.raises(pgdbpool.PoolTimeout) as caught:
            pool.query("SELECT 1", timeout=0.25)
    finally:
        end.set()
        thread.join()
    message = str(caught.value)
    assert "'web'" in message
    assert re.search(r"within 0\.(2[5-9]|[34])\d* s", message), message
    assert f"{__file__}:{lines[0]} (hold)" in message
    assert re.search(r"for 0\.[2-9] s by", message), message
    assert "the-holder" in message
    assert re.search(r"127\.0\.0\.1:\d+\S* (is )?up", message), message


@pytest.mark.contract("7.p1.2", "2.call.query.1")
def test_a_timeout_says_where_a_query_is(make_pool: Any) -> None:
    """A connection that a ``query`` holds is named with the place in the user's code where its thread is."""
    pool = make_pool(connection_count=1)
    thread = threading.Thread(target=lambda: pool.query("SELECT pg_sleep(0.6)"))
    thread.start()
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 1)
    with pytest.raises(pgdbpool.PoolTimeout) as caught:
        pool.query("SELECT 1", timeout=0.1)
    thread.join()
    assert f"{__file__}:" in str(caught.value)


@pytest.mark.contract("7.p1.2")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"pass": "wrong one"}, "password authentication failed"), ({"name": "no_such_db"}, "does not exist")],
)
def test_an_offline_error_says_why(make_pool: Any, server: Server, wrong: dict[str, str], words: str) -> None:
    """A DBOfflineError carries the server's words of the last connect, as its cause too, and never a password."""
    pool = make_pool(server.config(**wrong))
    with pytest.raises(pgdbpool.DBOfflineError) as caught:
        pool.query("SELECT 1")
    assert words in str(caught.value)
    assert words in str(caught.value.__cause__)
    assert f"127.0.0.1:{server.port}" in str(caught.value)
    for text in (str(caught.value), repr(caught.value), str(caught.value.__cause__), repr(caught.value.__cause__)):
        assert "wrong one" not in text
        assert PASSWORD not in text


@pytest.mark.contract("7.p1.3")
@pytest.mark.parametrize("name", ["wbe", "", 42, ("a",), ["a"]])
def test_an_unknown_group(make_pool: Any, server: Server, name: Any) -> None:
    """An unknown group raises at once, whatever asks for it; the message names it and those that there are."""
    pool = make_pool({**server.config(), "groups": {"a": {"connection_count": 1}, "b": {"connection_count": 1}}})
    asks = [lambda: pool.query("SELECT 1", group=name), lambda: pool.handler(name), lambda: pool.transaction(name),
            lambda: pool.connection(name), lambda: pool.getconn(group=name), lambda: pool.run(print, group=name)]  # fmt: skip
    for ask in asks:
        with pytest.raises(pgdbpool.UnconfiguredGroupError) as caught:
            ask()
        assert isinstance(caught.value, KeyError)
        assert all(word in str(caught.value) for word in (repr(name), "'a'", "'b'"))


# -- pickling ----------------------------------------------------------------------------------------------------------

EVERY = [
    *(kind("what happened") for kind in [*POOL_ERRORS, pgdbpool.PoolError, pgdbpool.NoRow, pgdbpool.TooManyRows]),
    pgdbpool.UnconfiguredGroupError("there is no group 'x'"),
    pgdbpool.ConfigError("db: missing", "groups: missing"),
    pgdbpool.InDoubt("what", "committed"),
    pgdbpool.DBQueryError("mine"),
]


@pytest.mark.contract("7.p1.7")
@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_every_error_can_be_pickled(error: Exception) -> None:
    """Every error keeps its class, message, arguments and attributes through pickle, copy and deepcopy."""
    ways = [lambda protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)]
    for way in (*ways, lambda: copy.copy(error), lambda: copy.deepcopy(error)):
        again = way()
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
        assert {name: getattr(again, name) for name in vars(error)} == vars(error)
        assert getattr(again, "outcome", None) == getattr(error, "outcome", None)


@pytest.mark.contract("7.p1.7", "7.p1.4")
def test_a_query_error_can_be_pickled(call: Any, server: Server) -> None:
    """A DBQueryError keeps class, message, code and diagnostics through pickle."""
    server.sql(f"INSERT INTO web.{TABLE} VALUES (1) ON CONFLICT DO NOTHING")
    error = raised(call, f"INSERT INTO {TABLE} (id) VALUES (1)")
    for protocol in range(6):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert isinstance(again, psycopg2.errors.UniqueViolation)
        assert (str(again), again.args, again.pgcode, again.pgerror) == (
            str(error),
            error.args,
            error.pgcode,
            error.pgerror,
        )
        assert vars(again.diag) == vars(error.diag)
        assert again.diag.constraint_name == f"{TABLE}_pkey"


@pytest.mark.contract("7.p1.7")
def test_pickled_into_a_process_that_never_saw_it(call: Any) -> None:
    """A fresh interpreter reads a pickled DBQueryError, as a Celery worker does."""
    error = raised(call, "SELECT\n no_such_column")
    script = (
        "import pickle, sys; error = pickle.load(sys.stdin.buffer); import psycopg2.errors, pgdbpool;"
        "assert isinstance(error, psycopg2.errors.UndefinedColumn) and isinstance(error, pgdbpool.DBQueryError);"
        "print(error.pgcode, error.diag.statement_position)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(error), capture_output=True, check=False)
    assert (done.stdout.split(), done.stderr) == ([b"42703", b"9"], b"")


@pytest.mark.contract("7.p1.7")
def test_raised_pool_errors_can_be_pickled(make_pool: Any, server: Server) -> None:
    """Errors as they are raised, with causes and all, are pickled, also by multiprocessing's own pickler."""
    pool = make_pool(connection_count=1)
    errors = []
    with pool.handler() as db:
        for provoke in (lambda: pool.query("SELECT 1", timeout=0.1), lambda: pool.handler("x"), db.__enter__):
            with pytest.raises(pgdbpool.PoolError) as caught:
                provoke()
            errors.append(caught.value)
    pool.close()
    with pytest.raises(pgdbpool.PoolClosed) as closed:
        pool.query("SELECT 1")
    with pytest.raises(pgdbpool.DBOfflineError) as offline:
        make_pool(server.config(name="no_such_db")).query("SELECT 1")
    for error in (*errors, closed.value, offline.value):
        again = multiprocessing.reduction.ForkingPickler.loads(multiprocessing.reduction.ForkingPickler.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
