"""``query``: one statement, in autocommit, in one round trip."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import sql

import pgdbpool
from tests.servers import Server, eventually
from tests.usage import Wire, each_call, fresh_table, kill, rows_of

TABLE = "of_query"
WAYS = ["query", "handler", "transaction"]


@pytest.fixture
def table(server: Server) -> str:
    fresh_table(server, TABLE)
    return TABLE


@pytest.fixture(params=WAYS)
def call(request: pytest.FixtureRequest, make_pool: Any) -> Any:
    """One statement by the pool, by a handler and in a transaction."""
    return each_call(make_pool())[request.param]


# -- one round trip ---------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.query.1")
@pytest.mark.parametrize("text", ["SELECT %s::int", f"INSERT INTO {TABLE} (id) VALUES (%s)"])
def test_one_round_trip(make_pool: Any, wire: Wire, table: str, text: str) -> None:
    """A query and a write each cost one message to the server, and nothing follows it."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    for number in range(10):
        pool.query(text, (number,))
    assert wire.queries() == [text % number for number in range(10)]


@pytest.mark.contract("2.call.query.1")
def test_a_limit_of_its_own_costs_no_round_trip(make_pool: Any, wire: Wire) -> None:
    """``query_timeout`` travels with the statement."""
    pool = make_pool(wire.config({"connection_count": 1}))
    pool.query("SELECT 1")
    wire.queries()
    assert pool.query("SELECT 2", query_timeout=1234).scalar() == 2
    assert "SELECT 2" in wire.queries()[0]


@pytest.mark.contract("2.call.query.1")
def test_the_connection_is_back_before_query_returns(make_pool: Any) -> None:
    """After ``query``, also one that fails, nothing is in use, and a pool of one serves the next at once."""
    pool = make_pool(connection_count=1)
    for _ in range(50):
        pool.query("SELECT 1", timeout=0.5)
        assert pool.stats()["groups"]["web"]["in_use"] == 0
        with pytest.raises(psycopg2.errors.DivisionByZero):
            pool.query("SELECT 1/0")
        assert pool.stats()["groups"]["web"]["in_use"] == 0


@pytest.mark.contract("2.call.query.1")
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_write_is_committed_at_once(make_pool: Any, server: Server, table: str, autocommit: bool) -> None:
    """``query`` is in autocommit, whatever the group's autocommit."""
    make_pool(autocommit=autocommit).query(f"INSERT INTO {TABLE} (id) VALUES (1)")
    assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("2.call.query.1")
@pytest.mark.parametrize("autocommit", [True, False])
def test_what_must_run_outside_a_transaction_runs(make_pool: Any, table: str, autocommit: bool) -> None:
    """VACUUM and CREATE INDEX CONCURRENTLY are sent as they are, also with a ``query_timeout`` of their own."""
    pool = make_pool(autocommit=autocommit)
    for limit in (None, 4000):
        pool.query(f"VACUUM {TABLE}", query_timeout=limit)
        pool.query(f"CREATE INDEX CONCURRENTLY ON {TABLE} (note)", query_timeout=limit)


# -- statements of a session ------------------------------------------------------------------------------------------

SESSION = {
    "BEGIN": "transaction()",
    "start transaction": "transaction()",
    "COMMIT": "transaction()",
    "end": "transaction()",
    "ROLLBACK": "transaction()",
    "abort": "transaction()",
    "SAVEPOINT a": "transaction()",
    "RELEASE a": "transaction()",
    "ROLLBACK TO SAVEPOINT a": "transaction()",
    "LOCK TABLE x": "transaction()",
    "SET work_mem = '1MB'": "settings",
    "SET LOCAL work_mem = '1MB'": "transaction()",
    "set role web": "Handler()",
    "RESET ALL": "settings",
    "PREPARE p AS SELECT 1": "Handler()",
    "EXECUTE p": "Handler()",
    "DEALLOCATE p": "Handler()",
    "PREPARE TRANSACTION 'x'": "connection()",
    "LISTEN a": "connection()",
    "UNLISTEN *": "connection()",
    "DECLARE c CURSOR FOR SELECT 1": "stream()",
    "FETCH ALL FROM c": "stream()",
    "MOVE c": "stream()",
    "CLOSE c": "stream()",
    "CREATE TEMP TABLE x (a int)": "Handler()",
    "CREATE TEMPORARY VIEW x AS SELECT 1": "Handler()",
    "CREATE TABLE pg_temp.x (a int)": "Handler()",
    "SELECT 1 INTO TEMP x": "Handler()",
    "COPY x FROM STDIN": "copy_expert()",
    "COPY x TO STDOUT": "copy_expert()",
    "DISCARD ALL": "the pool",
}


@pytest.mark.contract("2.call.query.2")
@pytest.mark.parametrize("text", SESSION)
def test_a_statement_of_a_session_is_refused(make_pool: Any, text: str) -> None:
    """Session statements raise a DBQueryError that is psycopg2's ProgrammingError and names what to use."""
    pool = make_pool(connection_count=1)
    for form in (text, text.encode(), sql.SQL(text), f"/* a */ -- b\n ; {text}", f"SELECT 1; {text}"):
        with pytest.raises(pgdbpool.DBQueryError) as caught:
            pool.query(form)
        assert isinstance(caught.value, psycopg2.ProgrammingError)
        assert SESSION[text] in str(caught.value)
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("2.call.query.2")
def test_what_only_looks_like_a_session_statement_runs(make_pool: Any, table: str) -> None:
    """SHOW, NOTIFY, DO, words in strings and names, and UNLOGGED tables are not refused."""
    pool = make_pool()
    for text in ("SHOW work_mem", "NOTIFY a", "DO $$ BEGIN END $$", "SELECT 'BEGIN; SET x'", 'SELECT 1 AS "LISTEN"'):
        pool.query(text)
    pool.query(f"CREATE UNLOGGED TABLE {TABLE}_2 (temp int); DROP TABLE {TABLE}_2")


# -- texts and parameters ---------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p2.3")
@pytest.mark.parametrize("form", [str, str.encode, sql.SQL])
def test_forms_of_text(call: Any, form: Any) -> None:
    """A text may be str, bytes or Composable."""
    assert call(form("SELECT 'grün ' || %s AS a"), ("é",)).one()["a"] == "grün é"


@pytest.mark.contract("2.p2.3")
def test_a_composed_text(call: Any) -> None:
    """Identifiers and literals of ``psycopg2.sql`` are quoted for the connection."""
    text = sql.SQL("SELECT {} AS {}, %s").format(sql.Literal("it's"), sql.Identifier('a"b'))
    assert dict(call(text, (2,)).one()) == {'a"b': "it's", "?column?": 2}


@pytest.mark.contract("2.p2.3")
def test_percent(call: Any) -> None:
    """Without ``params`` a ``%`` is a ``%``, with them ``%%`` is one, as in psycopg2."""
    assert call("SELECT 'a' LIKE '%a%', 7 % 4, '%%', '%s'").one() == (True, 3, "%%", "%s")
    assert call("SELECT '50%%', 7 %% %s", (4,)).one() == ("50%", 3)


@pytest.mark.contract("2.call.query.1")
@pytest.mark.parametrize("params", [("x", 2), ["x", 2], {"a": "x", "b": 2, "more": object()}])
def test_forms_of_parameters(call: Any, params: Any) -> None:
    """Parameters are a sequence or a mapping."""
    text = "SELECT %(a)s, %(b)s" if isinstance(params, dict) else "SELECT %s, %s"
    assert call(text, params).one() == ("x", 2)


@pytest.mark.contract("2.call.query.1")
def test_a_mapping_by_subscription_only(call: Any) -> None:
    """Whatever psycopg2 takes as named parameters is taken, also an object that only has ``__getitem__``."""

    class Record:
        def __getitem__(self, name: str) -> int:
            return {"a": 1}[name]

    assert call("SELECT %(a)s", Record()).scalar() == 1


@pytest.mark.contract("2.p2.4")
def test_several_statements_give_the_last_result(call: Any, table: str) -> None:
    """Of several statements in one text the result is the last one's."""
    assert call("SELECT 1; SELECT 2 AS b; ").one() == (2,)
    result = call(f"SELECT 1; INSERT INTO {TABLE} (id) VALUES (1), (2)")
    assert (result.rowcount, result.statusmessage, result.description) == (2, "INSERT 0 2", None)


@pytest.mark.contract("2.p2.4")
def test_several_statements_are_all_or_nothing(make_pool: Any, server: Server, table: str) -> None:
    """Several statements in one text of ``query`` are one transaction, as PostgreSQL has it."""
    pool = make_pool()
    with pytest.raises(psycopg2.errors.UniqueViolation):
        pool.query(f"INSERT INTO {TABLE} (id) VALUES (1); INSERT INTO {TABLE} (id) VALUES (1)")
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("2.p2.1")
@pytest.mark.parametrize(("names", "chosen"), [(["b", "a"], "b"), (["b", "default", "a"], "default")])
def test_which_group_none_means(make_pool: Any, server: Server, names: list[str], chosen: str) -> None:
    """Without ``group`` it is the group called ``default``, or else the first one declared."""
    pool = make_pool({**server.config(), "groups": {name: {"connection_count": 1} for name in names}})
    shown = each_call(pool)
    assert {way: shown[way]("SHOW application_name").scalar() for way in WAYS} == dict.fromkeys(
        WAYS, f"pgdbpool:{chosen}"
    )


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.p2.2", "3.endpoint.query_timeout.1", "3.group.query_timeout.1")
@pytest.mark.parametrize("way", WAYS)
def test_query_timeout_in_milliseconds(make_pool: Any, way: str) -> None:
    """A statement's own limit is in milliseconds, may be shorter or longer than the group's, and is gone afterwards."""
    call = each_call(make_pool(connection_count=1, query_timeout=400))[way]
    began = time.monotonic()
    with pytest.raises(psycopg2.errors.QueryCanceled) as caught:
        call("SELECT pg_sleep(5)", query_timeout=100)
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert 0.09 < time.monotonic() - began < 0.39
    assert call("SELECT pg_sleep(0.6), 1", query_timeout=3000).one()[1] == 1
    with pytest.raises(psycopg2.errors.QueryCanceled):
        call("SELECT pg_sleep(5)")
    assert time.monotonic() - began < 3.0


@pytest.mark.contract("2.p2.2", "3.endpoint.query_timeout.1")
def test_no_query_timeout(call: Any) -> None:
    """``query_timeout=0`` is no limit at all, and the next statement has the group's again."""
    assert call("SHOW statement_timeout", query_timeout=0).scalar() == "0"
    assert call("SHOW statement_timeout").scalar() == "5s"


@pytest.mark.contract("2.p2.2", "3.group.timeout.1")
def test_timeout_in_seconds(make_pool: Any) -> None:
    """``timeout`` is the wait for a connection in seconds; the group's where the call names none."""
    pool = make_pool(connection_count=1, timeout=0.3)
    hold, held = threading.Event(), threading.Event()

    def holder() -> None:
        with pool.handler():
            held.set()
            hold.wait(10)

    thread = threading.Thread(target=holder)
    thread.start()
    try:
        assert held.wait(5)
        for timeout, least, most in ((None, 0.29, 0.6), (0.1, 0.09, 0.28), (0.7, 0.69, 1.2)):
            began = time.monotonic()
            with pytest.raises(pgdbpool.PoolTimeout):
                pool.query("SELECT 1", timeout=timeout)
            assert least < time.monotonic() - began < most
    finally:
        hold.set()
        thread.join()


# -- a lost connection ------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.a-write-that.1", "4.a-write-that.3")
def test_a_write_whose_answer_is_lost_is_in_doubt(make_pool: Any, server: Server, wire: Wire, table: str) -> None:
    """An autocommit write whose answer is lost raises InDoubt, has been sent once, and is not sent again."""
    pool = make_pool(wire.config())
    wire.lose_answer("INSERT")
    with pytest.raises(pgdbpool.InDoubt) as caught:
        pool.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
    assert (caught.value.outcome, caught.value.retry_safe) == ("unknown", False)
    assert isinstance(caught.value.__cause__, psycopg2.Error)
    assert len([text for text in wire.queries() if "INSERT" in text]) == 1
    assert eventually(lambda: rows_of(server, TABLE) == [1])


@pytest.mark.contract("4.a-write-that.1", "4.a-write-that.3")
def test_a_write_whose_backend_is_killed_is_in_doubt(make_pool: Any, server: Server, table: str) -> None:
    """An autocommit write whose backend is killed while it works raises InDoubt."""
    pool = make_pool()
    caught: list[BaseException] = []

    def write() -> None:
        try:
            pool.query(f"INSERT INTO {TABLE} (id) SELECT 1 FROM pg_sleep(30)", query_timeout=20000)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    found = eventually(lambda: [each for each in server.sessions("pgdbpool:web") if "pg_sleep(30)" in each.query])
    kill(server, found[0].pid)
    thread.join(5)
    assert [type(error) for error in caught] == [pgdbpool.InDoubt]
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.a-write-that.3", "4.a-write-that.4")
@pytest.mark.parametrize("read_only", [None, False])
@pytest.mark.parametrize("text", ["SELECT web_writes()", "DO $$ BEGIN END $$", f"DELETE FROM {TABLE}"])
def test_what_is_not_known_to_read_is_a_write(
    make_pool: Any, server: Server, wire: Wire, table: str, text: str, read_only: bool | None
) -> None:
    """Whatever is not known to only read is in doubt when its answer is lost; ``read_only=False`` says that it writes."""
    server.sql(
        f"CREATE OR REPLACE FUNCTION web.web_writes() RETURNS int LANGUAGE sql AS 'DELETE FROM web.{TABLE}; SELECT 1'"
    )
    pool = make_pool(wire.config())
    wire.lose_answer(text)
    with pytest.raises(pgdbpool.InDoubt):
        pool.query(text, read_only=read_only)
    server.sql("DROP FUNCTION web.web_writes()")


@pytest.mark.contract("4.a-write-that.3", "2.call.query.1")
def test_a_promised_write_is_in_doubt(make_pool: Any, wire: Wire) -> None:
    """``read_only=False`` overrides the guess that a SELECT only reads."""
    pool = make_pool(wire.config())
    wire.lose_answer("SELECT 42")
    with pytest.raises(pgdbpool.InDoubt):
        pool.query("SELECT 42", read_only=False)


@pytest.mark.contract("4.a-write-that.2")
def test_a_promised_read_is_run_again_once(make_pool: Any, wire: Wire) -> None:
    """``read_only=True`` runs again on another connection, and a second loss raises DBConnectionError."""
    pool = make_pool(wire.config())
    wire.lose_answer("SELECT 42")
    assert pool.query("SELECT 42", read_only=True).scalar() == 42
    assert wire.queries().count("SELECT 42") == 2
    wire.lose_answer("SELECT 42", times=2)
    with pytest.raises(pgdbpool.DBConnectionError):
        pool.query("SELECT 42", read_only=True)
    assert wire.queries().count("SELECT 42") == 2


@pytest.mark.contract("4.a-write-that.2")
def test_a_read_without_a_promise_is_not_run_again(make_pool: Any, wire: Wire) -> None:
    """A SELECT on one server whose answer is lost raises DBConnectionError, and was sent once."""
    pool = make_pool(wire.config())
    wire.lose_answer("SELECT 42")
    with pytest.raises(pgdbpool.DBConnectionError) as caught:
        pool.query("SELECT 42")
    assert not isinstance(caught.value, pgdbpool.InDoubt)
    assert wire.queries().count("SELECT 42") == 1
