"""1.0's prepared statements: the group key ``sqlprepare`` and ``Handler.query_prepared`` (contract §1 and §3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import DBOfflineError, DBQueryError, PoolTimeout
from tests.dialect.schema import ITEMS, SQLPREPARE
from tests.life import full
from tests.servers import PASSWORD, Server, eventually

NAME = "pgdbpool:web"
PREPARED = "SELECT array_agg(name ORDER BY name) FROM pg_prepared_statements WHERE from_sql"
KNOWN = ["add", "all items", "cheaper"]
CHEAPER = ("S", "cheaper", '{"limit": 10}', "{limit}")


@pytest.fixture(autouse=True)
def schema(server: Server) -> Iterator[None]:
    """The schema ``SQLPrepare``, and the table that its statements are about."""
    server.sql(SQLPREPARE + ITEMS)
    yield
    server.sql('DROP SCHEMA IF EXISTS "SQLPrepare" CASCADE; DROP TABLE public.item')


@pytest.fixture(params=["threaded", "non-threaded"])
def pool(request: pytest.FixtureRequest, server: Server, make_pool: Callable[..., Any]) -> Any:
    """One connection, in either type of pool."""
    return make_pool({**server.config({"connection_count": 1, "sqlprepare": True}), "type": request.param})


@pytest.mark.every_version
@pytest.mark.contract("3.group.sqlprepare.1")
def test_query_prepared(pool: Any) -> None:
    """It answers with the first column of the first row, whatever sequence the parameters come in."""
    with pool.handler() as db:
        assert db.query_prepared(CHEAPER) == [{"id": 1, "name": "apple"}, {"id": 2, "name": "melon"}]
        assert db.query_prepared(["S", "all items", "{}", []]) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert db.query_prepared(("I", "add", '{"i": 4, "p": 2}', ["i", "n", "p"])) == {}
        assert db.query("SELECT count(*) FROM item").scalar() == 4


@pytest.mark.contract("3.group.sqlprepare.1")
def test_query_prepared_where_there_is_no_row(server: Server, pool: Any) -> None:
    """Without a row there is nothing to answer with: None."""
    server.sql(
        'CREATE FUNCTION "SQLPrepare"."ExecuteQuery"() RETURNS SETOF int LANGUAGE sql AS $$ SELECT 1 WHERE false $$'
    )
    with pool.handler() as db:
        assert db.query_prepared(()) is None


@pytest.mark.contract("3.group.sqlprepare.1", "4.given-back.1")
def test_what_it_prepared_survives_a_reset(pool: Any) -> None:
    """The prepared statements are the connection's baseline: a reset comes back to them, and to nothing more."""
    text = f"SELECT pg_backend_pid(), ({PREPARED})"
    with pool.handler() as db:
        before = tuple(db.query(text).one())
        assert before[1] == KNOWN
        db.query("DEALLOCATE ALL")
        db.query("PREPARE theirs AS SELECT 1")
    with pool.handler() as db:
        assert tuple(db.query(text).one()) == before
        assert len(db.query_prepared(CHEAPER)) == 2


@pytest.mark.contract("3.group.sqlprepare.1")
def test_it_is_part_of_the_transaction(server: Server, make_pool: Callable[..., Any]) -> None:
    """With autocommit off, what it executes is kept or undone with the rest of the block."""
    pool = make_pool(connection_count=1, sqlprepare=True, autocommit=False)
    add = ("I", "add", '{"i": 4}', ["i", "n", "p"])
    with pool.handler() as db:
        db.query_prepared(add)
        db.rollback()
    assert server.sql("SELECT count(*) FROM public.item") == [(3,)]
    with pool.handler() as db:
        db.query_prepared(add)
    assert server.sql("SELECT count(*) FROM public.item") == [(4,)]


@pytest.mark.contract("7.p1.4")
def test_what_the_server_rejects(pool: Any) -> None:
    """An error of the function, or of the statement that it executes, is a DBQueryError and of psycopg2's class."""
    with pool.handler() as db:
        for params, kind in (
            (("I", "no such", "{}", "{}"), psycopg2.errors.InvalidSqlStatementName),
            (("S", "cheaper", '{"limit": "ten"}', "{limit}"), psycopg2.errors.InvalidTextRepresentation),
            (("S",), psycopg2.errors.UndefinedFunction),
        ):
            with pytest.raises(kind) as caught:
                db.query_prepared(params)
            assert isinstance(caught.value, DBQueryError)


@pytest.mark.contract("3.group.sqlprepare.1")
def test_once_for_each_new_connection(server: Server, make_pool: Callable[..., Any]) -> None:
    """Not at a checkout, not after a reset; again for the connection that replaces a lost one."""
    server.sql(
        """CREATE SEQUENCE "SQLPrepare".calls; GRANT ALL ON SEQUENCE "SQLPrepare".calls TO PUBLIC;
           DROP FUNCTION "SQLPrepare"."PrepareQueries";
           CREATE FUNCTION "SQLPrepare"."PrepareQueries"() RETURNS bigint LANGUAGE sql
           AS $$ SELECT nextval('"SQLPrepare".calls') $$"""
    )
    pool = make_pool(connection_count=2, min_connections=2, sqlprepare=True, application_name="prepares")

    def called() -> int:
        return int(server.sql('SELECT last_value FROM "SQLPrepare".calls')[0][0])

    assert full(pool, 2)
    with pool.handler() as db:
        db.query("SET work_mem = '65kB'")
    assert full(pool, 2)
    assert called() == 2
    server.terminate("prepares")
    assert full(pool, 2)
    assert called() == 4


@pytest.mark.contract("3.group.sqlprepare.1", "3.group.on_connect.1")
def test_beside_on_connect(server: Server, make_pool: Callable[..., Any]) -> None:
    """Both do their part, ``on_connect`` first: its settings hold for what is prepared, then as after a reset."""

    def choose_schema(raw: Any) -> None:
        raw.cursor().execute("SET search_path = stock; PREPARE ours AS SELECT 1")

    server.sql("CREATE SCHEMA stock; GRANT USAGE ON SCHEMA stock TO PUBLIC; CREATE VIEW stock.item AS SELECT 7 AS id")
    server.sql("GRANT SELECT ON stock.item TO PUBLIC")
    server.sql("""UPDATE "SQLPrepare".known SET body = 'SELECT id FROM item' WHERE name = 'all items'""")
    try:
        pool = make_pool(connection_count=1, sqlprepare=True, on_connect=choose_schema)
        for _ in range(2):
            with pool.handler() as db:
                assert db.query(PREPARED).scalar() == sorted([*KNOWN, "ours"])
                assert db.query_prepared(("S", "all items", "{}", [])) == [{"id": 7}]
                db.query("SET search_path = public")
    finally:
        server.sql("DROP SCHEMA stock CASCADE")


@pytest.mark.contract("4.given-back.1")
def test_its_notices_are_nobodys(pool: Any) -> None:
    """What PrepareQueries says by NOTICE does not reach the first borrower."""
    with pool.handler() as db:
        assert db.connection.notices == []


_BROKEN = {
    "no schema": ('DROP SCHEMA "SQLPrepare" CASCADE', 'schema "SQLPrepare" does not exist'),
    "no function": ('DROP FUNCTION "SQLPrepare"."PrepareQueries"', "PrepareQueries"),
    "no right": ('REVOKE USAGE ON SCHEMA "SQLPrepare" FROM PUBLIC', "permission denied for schema SQLPrepare"),
    "wrong statement": ("""UPDATE "SQLPrepare".known SET body = 'SELECT FROM nowhere'""", "nowhere"),
}


@pytest.mark.contract("3.group.sqlprepare.1", "4.waiting.2")
@pytest.mark.parametrize("case", _BROKEN)
def test_a_prepare_that_fails(
    server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """Nobody gets such a connection; the error and the log say that it was ``sqlprepare`` and what the server said."""
    breaks, words = _BROKEN[case]
    server.sql(breaks)
    with caplog.at_level(logging.WARNING, "pgdbpool"):
        pool = make_pool(connection_count=2, timeout=0.5, sqlprepare=True)
        with pytest.raises((DBOfflineError, PoolTimeout)) as caught:
            pool.query("SELECT 1")
    assert words in str(caught.value.__cause__)
    assert any("sqlprepare" in each.getMessage() and words in each.getMessage() for each in caplog.records)
    assert PASSWORD not in caplog.text + str(caught.value)
    assert eventually(lambda: not server.sessions(NAME))


@pytest.mark.contract("3.group.sqlprepare.1", "4.lost.1")
def test_a_prepare_that_failed_is_found_mended(server: Server, make_pool: Callable[..., Any]) -> None:
    """Soon after the schema is there, requests are served."""
    server.sql('DROP SCHEMA "SQLPrepare" CASCADE')
    pool = make_pool(connection_count=2, timeout=0.5, sqlprepare=True)
    with pytest.raises(pgdbpool.PoolError):
        pool.query("SELECT 1")
    server.sql(SQLPREPARE)

    def served() -> bool:
        try:
            with pool.handler() as db:
                return len(db.query_prepared(CHEAPER)) == 2
        except pgdbpool.PoolError:
            return False

    assert eventually(served, 3.0)
