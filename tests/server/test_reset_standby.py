"""Given back means clean, also on a standby, where much that leaves state is forbidden and some is not (contract §4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
import pytest

from tests.servers import ROLE, eventually
from tests.several import Replicas, answering, is_known, state

pytestmark = [pytest.mark.contract("4.given-back.1", "4.given-back.2", "4.given-back.3"), pytest.mark.every_version]

# What a session may leave behind on a standby: no temporary tables, no LISTEN, no sequences there.
SOIL = (
    "SET work_mem = '65kB'",
    "SET search_path = information_schema",
    "SELECT set_config('custom.secret', 'mine', false)",
    "SET default_transaction_isolation = 'repeatable read'",
    "SELECT pg_advisory_lock(4711)",
    "PREPARE left_plan AS SELECT 1",
    "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1",
    f"SET ROLE {ROLE}_clerk",
)
LEFT = """
SELECT current_user::text, current_setting('work_mem'), current_setting('search_path'),
    coalesce(current_setting('custom.secret', true), ''), current_setting('default_transaction_isolation'),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())::int,
    (SELECT count(*) FROM pg_prepared_statements)::int, (SELECT count(*) FROM pg_cursors WHERE is_holdable)::int,
    current_setting('transaction_read_only'), current_setting('client_encoding')
"""
PID = "SELECT pg_backend_pid()"

WAYS = ("handler", "transaction", "transaction rolled back", "failed transaction", "connection", "getconn", "stream")


@pytest.fixture
def clerk(replicas: Replicas) -> Any:
    """A role that the tests' role may change to."""
    name = f"{ROLE}_clerk"
    replicas.primary.sql(f"CREATE ROLE {name}")
    replicas.primary.sql(f"GRANT {name} TO {ROLE}")
    replicas.caught_up()
    yield
    replicas.primary.sql(f"DROP ROLE {name}")


def on_a_standby(replicas: Replicas, **group: Any) -> dict[str, Any]:
    """One standby of two servers, with one connection, so that the next request meets what the one before has left."""
    config = replicas.config({"target": "standby", "connection_count": 1, "autocommit": True, **group})
    del config["db"][2]
    return config


def soil(pool: Any, way: str) -> int:
    """Leave all behind that can be left; the backend in which it was done."""
    if way == "connection":
        with pool.connection(read_only=True) as raw:
            raw.set_client_encoding("LATIN1")
            return said(raw)
    if way == "getconn":
        raw = pool.getconn()
        try:
            raw.set_session(readonly=True, isolation_level="REPEATABLE READ")
            return said(raw)
        finally:
            pool.putconn(raw)
    if way == "stream":
        with pool.handler() as db:
            rows = db.stream("SELECT pg_backend_pid(), pg_advisory_lock(4711), set_config('work_mem', '65kB', false)")
            return int(next(rows)[0])
    block = pool.handler(read_only=True) if way == "handler" else pool.transaction(read_only=True)
    with suppress(ZeroDivisionError, psycopg2.errors.DivisionByZero), block as db:
        for text in SOIL:
            db.query(text)
        pid = int(db.query(PID).scalar())
        if way == "failed transaction":
            db.query("SELECT 1 / 0")
        if way == "transaction rolled back":
            raise ZeroDivisionError
    return pid


def said(raw: Any) -> int:
    with raw.cursor() as cursor:
        for text in SOIL:
            cursor.execute(text)
        cursor.execute(PID)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("reset", ["auto", "always"])
def test_nothing_is_left_on_a_standby(
    replicas: Replicas, clerk: None, make_pool: Callable[..., Any], reset: str
) -> None:
    """Whatever is left behind by whichever way in, the next request finds a clean session; and it is the same session."""
    pool = make_pool(on_a_standby(replicas, reset=reset))
    assert eventually(lambda: is_known(pool))
    clean = tuple(pool.query(LEFT).one())
    for way in WAYS:
        pid = soil(pool, way)
        row = pool.query(f"SELECT pg_backend_pid(), left_.* FROM ({LEFT}) AS left_").one()
        assert (way, tuple(row)[1:]) == (way, clean)
        assert (way, row[0]) == (way, pid), "it was thrown away, not cleaned"
    assert state(pool, "standby1", "connects") <= 2


def test_what_on_connect_left_is_restored_on_a_standby(
    replicas: Replicas, clerk: None, make_pool: Callable[..., Any]
) -> None:
    """The baseline is the one that ``settings`` and ``on_connect`` made, on a standby as on a primary."""

    def prepare(raw: Any) -> None:
        raw.cursor().execute(f"SET work_mem = '70kB'; SET custom.tenant = 'seven'; SET ROLE {ROLE}_clerk")
        raw.cursor().execute("PREPARE ours AS SELECT 7")

    pool = make_pool(on_a_standby(replicas, on_connect=prepare, settings={"TimeZone": "Asia/Kolkata"}))
    text = (
        "SELECT pg_backend_pid(), current_user::text, current_setting('work_mem'), current_setting('custom.tenant'),"
        " current_setting('TimeZone'), (SELECT string_agg(name, ' ') FROM pg_prepared_statements)"
    )
    fresh = tuple(pool.query(text).one())
    with pool.handler() as db:
        db.query("RESET ROLE")
        db.query("SET work_mem = '99kB'")
        db.query("SET TimeZone = 'UTC'")
        db.query("DEALLOCATE ALL")
        db.query("RESET custom.tenant")
    assert tuple(pool.query(text).one()) == fresh


def test_a_session_cleaned_after_its_servers_promotion(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """What was left behind on a standby is gone after it has become the primary, and its sessions take writes."""
    pool = make_pool(own_replicas.config({"target": "prefer-standby", "connection_count": 1}))
    assert eventually(lambda: answering(pool) == {"standby1", "standby2"})
    with pool.handler() as db:
        label = db.query("SELECT current_setting('cluster_name')").scalar()
        pid = db.query(PID).scalar()
        db.query("SELECT pg_advisory_lock(4711)")
        db.query("SET work_mem = '65kB'")
        own_replicas.by_label[label].promote()
    config = own_replicas.by_label[label].config()
    assert eventually(lambda: state(pool, label, "role") == "primary")
    assert eventually(lambda: locks(own_replicas, label, pid) == 0, 3.0)
    with make_pool(config).transaction() as db:
        db.query(f"CREATE TABLE {ROLE}.after_promotion (a int)")


def locks(replicas: Replicas, label: str, pid: int) -> int:
    text = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    return int(replicas.by_label[label].sql(text, (pid,))[0][0])


def test_reads_on_a_standby_pay_no_reset(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Plain reads leave nothing, so the connection is idle at once, and the server has seen no other statement."""
    pool = make_pool(on_a_standby(replicas))
    assert eventually(lambda: is_known(pool))
    for _ in range(5):
        pool.query("SELECT count(*) FROM pg_class WHERE relname = %s", ("x",))
        assert pool.stats()["groups"]["web"]["idle"] >= 1
    time.sleep(0.05)
    last = [each.query for each in replicas.standbys[0].sessions("pgdbpool:web")]
    assert last == ["SELECT count(*) FROM pg_class WHERE relname = 'x'"]
