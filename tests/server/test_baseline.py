"""What ``settings`` and ``on_connect`` set on a connection, and that a reset comes back to it (contract §3 and §4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg2 import extensions

from pgdbpool import PoolError
from tests.life import full, warm
from tests.servers import ROLE, Server

BASELINE = """SELECT pg_backend_pid()::text, current_user, current_setting('custom.tenant'), current_setting('work_mem'),
    current_setting('search_path'), current_setting('timezone'), current_setting('custom.note'), 23,
    (SELECT string_agg(name, ',') FROM pg_prepared_statements),
    (SELECT string_agg(c, ',') FROM pg_listening_channels() c)"""


@pytest.fixture(scope="module")
def scribe(server: Server) -> Iterator[str]:
    """A role that the tests' role may become."""
    server.sql(f"CREATE ROLE scribe; GRANT scribe TO {ROLE}")
    yield "scribe"
    server.sql("DROP ROLE scribe")


@pytest.mark.contract("3.group.settings.1", "3.group.on_connect.1", "4.given-back.1")
def test_a_reset_restores_what_settings_and_on_connect_set(scribe: str, make_pool: Callable[..., Any]) -> None:
    """A reset comes back to the baseline of ``settings`` and ``on_connect``: it never falls below, and keeps nothing above."""
    calls = []

    def prepare(raw: Any) -> None:
        calls.append(raw)
        cursor = raw.cursor()
        cursor.execute("SET custom.tenant = 'acme'; SET work_mem = '128kB'; SET ROLE scribe")
        cursor.execute("PREPARE ours AS SELECT 'ours'; LISTEN ours")
        raw.set_client_encoding("LATIN1")
        extensions.register_type(extensions.new_type((23,), "OURS", lambda value, cursor: f"#{value}"), raw)

    settings = {"search_path": "web, public", "timezone": "Asia/Kolkata", "custom.note": "it's a \\ b"}
    pool = make_pool(connection_count=1, settings=settings, on_connect=prepare)
    before = tuple(pool.query(BASELINE).one())
    assert before[1:] == (
        *("scribe", "acme", "128kB", "web, public", "Asia/Kolkata", "it's a \\ b", "#23", "ours", "ours"),
    )
    with pool.handler() as db:
        db.query("RESET ROLE")
        for change in (
            "RESET ALL",
            "DEALLOCATE ALL",
            "UNLISTEN *",
            "SET timezone = 'UTC'",
            "SET custom.tenant = 'evil'",
        ):
            db.query(change)
        db.query("PREPARE theirs AS SELECT 1")
        db.connection.set_client_encoding("UTF8")
        extensions.register_type(extensions.new_type((23,), "THEIRS", lambda value, cursor: "theirs"), db.connection)
    assert tuple(pool.query(BASELINE).one()) == before
    with pool.connection() as raw:
        assert raw.encoding in ("LATIN1", "ISO88591", "ISO_8859_1")
        cursor = raw.cursor()
        cursor.execute("EXECUTE ours")
        assert cursor.fetchone() == ("ours",)
    assert len(calls) == 1


@pytest.mark.contract("3.group.on_connect.1", "4.given-back.3")
@pytest.mark.parametrize(
    "leave",
    [
        "CREATE TEMP TABLE ours (a int)",
        "SELECT pg_advisory_lock_shared(99)",
        "DECLARE ours CURSOR WITH HOLD FOR SELECT 1",
    ],
)
def test_a_baseline_that_no_statement_restores_means_a_new_session(make_pool: Callable[..., Any], leave: str) -> None:
    """Temporary tables, locks and cursors of ``on_connect`` are there for every user: a soiled session is replaced."""
    calls = []

    def prepare(raw: Any) -> None:
        calls.append(1)
        raw.cursor().execute(leave)

    pool = make_pool(connection_count=1, on_connect=prepare)
    text = """SELECT pg_backend_pid(), (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_cursors WHERE is_holdable)"""
    first = tuple(pool.query(text).one())
    assert any(first[1:])
    assert tuple(pool.query(text).one()) == first  # a clean one is kept
    with pool.handler() as db:
        db.query("DISCARD ALL")
    second = tuple(pool.query(text).one())
    assert (second[1:], second[0] != first[0], len(calls)) == (first[1:], True, 2)


@pytest.mark.contract("3.group.on_connect.1")
def test_on_connect_is_called_once_for_each_new_connection(server: Server, make_pool: Callable[..., Any]) -> None:
    """Not at a checkout, not after a reset; again for the connection that replaces a lost one."""
    pids: list[int] = []
    pool = make_pool(
        connection_count=2, on_connect=lambda raw: pids.append(raw.info.backend_pid), application_name="reset-once"
    )
    assert sorted(warm(pool, 2)) == sorted(pids)
    with pool.handler() as db:
        db.query("SET work_mem = '65kB'")
    assert full(pool, 2)
    assert len(pids) == 2
    server.terminate("reset-once")
    assert full(pool, 2)
    assert len(pids) == len(set(pids)) == 4


@pytest.mark.contract("3.group.on_connect.1")
def test_on_connects_connection_is_of_no_use_afterwards(make_pool: Callable[..., Any]) -> None:
    """A connection that ``on_connect`` kept cannot be used behind the pool's back."""
    kept: list[Any] = []
    pool = make_pool(connection_count=1, on_connect=kept.append)
    pool.query("SELECT 1")
    with pytest.raises(PoolError):
        kept[0].cursor().execute("SELECT 1")
    with pool.handler(), pytest.raises(PoolError):
        kept[0].commit()
