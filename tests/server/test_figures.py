"""What an operator sees of one process: who holds what, who blocks whom, what has happened."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool.report.summing import present
from tests.life import frozen, in_child, thread_of, warm
from tests.servers import DATABASE, PASSWORD, ROLE, Server, eventually
from tests.several import Replicas, is_known
from tests.usage import fresh_table, rows_of

TABLE = "figures"


def shown(pool: Any) -> dict[str, Any]:
    """What the page would show now."""
    return present(pool.host_figures())


def holders(pool: Any) -> list[dict[str, Any]]:
    return shown(pool)["holders"]  # type: ignore[no-any-return]


def test_who_holds_and_who_is_blocked_by_whom(server: Server, make_pool: Callable[..., Any]) -> None:
    """Of each connection that is held: the place that took it, where its thread is, and what PostgreSQL says of both sides."""
    fresh_table(server, TABLE, "id int")
    server.sql(f"INSERT INTO {ROLE}.{TABLE} VALUES (1)")
    pool = make_pool(connection_count=2)
    update = f"UPDATE {ROLE}.{TABLE} SET id = id + 1"
    with pool.transaction() as db:
        db.query(update)
        other = thread_of(pool.query, update)
        assert eventually(lambda: any(each["blocked_by"] for each in holders(pool)))
        first, second = holders(pool)
        assert first["seconds"] >= second["seconds"] >= 0.2
        assert (first["state"], first["waits_for"], first["blocked_by"]) == ("idle in transaction", None, [])
        assert "test_figures.py" in first["taken"]
        assert "test_figures.py" in first["now"]
        assert (second["taken"], second["state"], second["waits_for"]) == (None, "active", "Lock: transactionid")
        assert "life.py" in second["now"]
        blocker = {"pid": first["backend_pid"], "who": "pgdbpool:web", "place": first["taken"]}
        assert second["blocked_by"] == [blocker]
    assert other.result().error is None
    assert eventually(lambda: holders(pool) == [])
    assert rows_of(server, TABLE) == [3]


def test_who_blocks_may_be_somebody_else(server: Server, make_pool: Callable[..., Any]) -> None:
    """A session that is none of ours is named by its application, which any role may see."""
    fresh_table(server, TABLE, "id int")
    pool, psql = make_pool(), server.admin(dbname=DATABASE, application_name="psql of the tests")
    psql.autocommit = False
    psql.cursor().execute(f"LOCK TABLE {ROLE}.{TABLE}")
    waiting = thread_of(pool.query, f"SELECT count(*) FROM {ROLE}.{TABLE}")
    assert eventually(lambda: [each["blocked_by"] for each in holders(pool) if each["blocked_by"]])
    (holder,) = holders(pool)
    assert holder["blocked_by"] == [{"pid": psql.info.backend_pid, "who": "psql of the tests", "place": None}]
    psql.close()
    assert waiting.result().error is None


def test_nobody_is_asked_while_nobody_looks(server: Server, make_pool: Callable[..., Any]) -> None:
    """Without a look at the figures the server is not asked what its sessions do."""
    pool = make_pool()
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgdbpool:monitor' AND query LIKE '%blocked_by%'"
    with pool.handler() as db:
        backend = db.query("SELECT pg_backend_pid()").scalar()
        assert not eventually(lambda: server.sql(asked) != [(0,)], 2.5)
        assert eventually(
            lambda: [each["state"] for each in holders(pool) if each["backend_pid"] == backend] == ["idle"]
        )


def test_a_server_that_does_not_answer_holds_up_no_figures(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """The figures of a frozen server's pool are there at once, and what it said before counts no more."""
    pool = make_pool(own_server.config({"query_timeout": 0, "connection_count": 1}))
    waiting = thread_of(pool.query, "SELECT pg_sleep(5)")
    assert eventually(lambda: [each["state"] for each in holders(pool)] == ["active"])
    with frozen(own_server):
        assert eventually(lambda: holders(pool) == [] or holders(pool)[0]["state"] is None, 5.0)
        assert thread_of(shown, pool).result(1.0).error is None
    waiting.result(15.0)


def test_events(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """Drain and resume, another size, a server that goes and comes back: each is told once, in order, with its time."""
    pool = make_pool(own_server.config({}))
    pool.query("SELECT 1")
    (label,) = pool.stats()["endpoints"]
    pool.drain(label)
    pool.resume(label)
    pool.query("SELECT 1")
    pool.resize("web", 3)
    own_server.stop("immediate")
    assert eventually(lambda: pool.stats()["endpoints"][label]["state"] == "down")
    own_server.start()
    assert eventually(lambda: pool.stats()["endpoints"][label]["state"] == "up")
    pool.query("SELECT 1")
    events = [each for each in shown(pool)["events"] if each["kind"] != "role"]
    told = [(each["kind"], each["about"]) for each in events]
    assert (
        told == [("drain", label), ("drain", label), ("size", "web"), ("down", label), ("back", label)]
        or (
            "silent",
            label,
        )
        in told
    )
    assert [each["at"] for each in events] == sorted(each["at"] for each in events)
    assert PASSWORD not in json.dumps(events)


def test_a_promotion_is_an_event(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """The promotion of a standby is on the time line, and the new roles are in the figures."""
    pool = make_pool(own_replicas.config({"connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    own_replicas.primary.stop("immediate")
    own_replicas.standbys[0].promote()
    assert eventually(lambda: any(each["kind"] == "promotion" for each in shown(pool)["events"]), 10.0)
    assert eventually(lambda: "primary" in [each["role"] for each in shown(pool)["endpoints"].values()])


@pytest.mark.contract("3.group.hold_warning.1")
def test_a_long_hold_is_logged_with_the_holders_stack(
    make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """``hold_warning`` tells where the connection was taken and, line by line, where its thread is now."""
    pool = make_pool(connection_count=1, hold_warning=0.3)

    def deep(count: int) -> None:
        if count:
            deep(count - 1)
        else:
            assert eventually(lambda: caplog.records, 5.0)

    with caplog.at_level(logging.WARNING, "pgdbpool"), pool.handler():
        deep(3)
    (record,) = caplog.records
    assert record.getMessage().count("(deep)") == 4
    assert "test_figures.py" in record.getMessage().splitlines()[0]
    assert [(each["kind"], each["about"]) for each in shown(pool)["events"] if each["kind"] != "role"] == [
        ("hold", "web")
    ]


def test_the_figures_are_those_of_the_server(server: Server, make_pool: Callable[..., Any]) -> None:
    """Connections, in use and idle, are what ``pg_stat_activity`` says at that moment."""
    pool = make_pool(connection_count=5)
    warm(pool, 4)
    with pool.transaction() as db, pool.handler():
        db.query("SELECT 1")
        group = shown(pool)["groups"]["web"]
        (endpoint,) = shown(pool)["endpoints"].values()
        sessions = [each for each in server.sessions("pgdbpool:%") if each.application_name != "pgdbpool:monitor"]
    assert (group["in_use"], group["idle"], endpoint["connections"]) == (2, 2, len(sessions))
    assert sum(each.state == "idle in transaction" for each in sessions) == 1


def test_statements_and_connects_are_timed(make_pool: Callable[..., Any]) -> None:
    """A statement's time counts in its group, and a connect's at its server; what fails counts, too."""
    pool = make_pool(connection_count=1)
    pool.query("SELECT pg_sleep(0.2)")
    with pytest.raises(pgdbpool.DBQueryError):
        pool.query("SELECT 1/0")
    with pool.handler() as db:
        db.query("SELECT pg_sleep(0.1)")
    group = pool.stats()["groups"]["web"]
    (endpoint,) = pool.stats()["endpoints"].values()
    assert (group["statement"]["count"], group["hold"]["count"]) == (3, 3)
    assert 0.3 < group["statement"]["seconds"] <= group["hold"]["seconds"] + 0.01
    assert group["statement"]["p99"] == pytest.approx(0.2, rel=0.3)
    assert 0.0 < endpoint["connect"]["longest"] < 5.0
    assert endpoint["connect"]["count"] == endpoint["connects"]


def test_how_many_connections_a_role_may_have(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """The server's limit less what is reserved, or the role's own."""
    own_server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT 17")
    (limited,) = make_pool(own_server.config({}))._engine.endpoints
    assert eventually(lambda: limited.capacity) == 17
    own_server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    most, kept = (
        int(own_server.sql(f"SHOW {each}")[0][0]) for each in ("max_connections", "superuser_reserved_connections")
    )
    (endpoint,) = make_pool(own_server.config({}))._engine.endpoints
    assert eventually(lambda: endpoint.capacity) == most - kept


def test_more_connections_than_the_server_gives(
    own_server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers × connections that cannot fit are a WARNING, once, and a line of advice; what fits is not."""
    own_server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT 12")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    with caplog.at_level(logging.WARNING, "pgdbpool"):
        make_pool(own_server.config({"connection_count": 3}))
        pool = make_pool(own_server.config({"connection_count": 4}))
        assert eventually(lambda: shown(pool)["advice"], 15.0)
        assert eventually(lambda: caplog.records)
    ((line,), (label,)) = shown(pool)["advice"], pool.stats()["endpoints"]
    assert line.startswith(
        f"{label}: 3 workers × 5 = 15 connections do not fit into the 12 that this server gives to our role"
    )
    assert [each.getMessage() for each in caplog.records] == [line]
    assert [each["kind"] for each in shown(pool)["events"] if each["kind"] != "role"] == ["advice"]


def test_limits_that_never_fire_are_advice(make_pool: Callable[..., Any]) -> None:
    """What ``explain()`` says of them is on the page, too."""
    (line,) = shown(make_pool(max_idle=600, max_lifetime=300))["advice"]
    assert line == "group 'web': max_idle 600 s never fires: max_lifetime 300 s comes first"


def test_a_pool_that_is_closed(make_pool: Callable[..., Any]) -> None:
    """Its figures say so, and its counters stay."""
    pool = make_pool()
    pool.query("SELECT 1")
    pool.close()
    figures = shown(pool)
    assert (figures["pool"], figures["groups"]["web"]["checkouts"] >= 1) == ("closed", True)
    assert pool.unserved() == {"web": "the pool is closed"}


def test_what_cannot_be_served(server: Server, make_pool: Callable[..., Any]) -> None:
    """A group whose server refuses it says why; one that nobody has tried yet is as good as served."""
    bad = make_pool(server.config({}, **{"pass": "wrong"}))
    assert eventually(lambda: "authentication" in (bad.unserved()["web"] or ""))
    assert shown(bad)["pool"] == "not ready"
    lazy = make_pool(server.config({"min_connections": 0}) | {"type": "non-threaded"})
    assert (lazy.unserved(), shown(lazy)["pool"]) == ({"web": None}, "ready")
    with pytest.raises(psycopg2.OperationalError):
        bad.query("SELECT 1", timeout=0.1)


def test_what_reads_can_be_served_without_a_primary(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """While only the primary is away its standbys serve reads, and the group counts as served."""
    pool = make_pool(own_replicas.config({"connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    own_replicas.primary.stop("immediate")
    assert eventually(lambda: shown(pool)["endpoints"]["primary"]["state"] == "down")
    assert pool.query("SELECT 1", read_only=True).scalar() == 1
    assert (pool.unserved(), shown(pool)["pool"]) == ({"web": None}, "ready")


def test_a_preloaded_pool_is_ready_before_its_first_request(make_pool: Callable[..., Any]) -> None:
    """In the child of a fork nobody has asked the pool yet; whoever asks whether it is ready has it begin."""
    pool = make_pool()
    pool.query("SELECT 1")

    def ready() -> Any:
        is_ready = eventually(lambda: pool.unserved() == {"web": None})
        (endpoint,) = pool.stats()["endpoints"].values()
        pool.close()
        return is_ready, endpoint["connects"] >= 1, endpoint["connect"]["count"] == endpoint["connects"]

    assert in_child(ready) == (True, True, True)


def test_without_threads_the_next_request_may_find_it(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """``non-threaded``: a server that was away counts as ready again when it may be dialled, for nobody else will try."""
    pool = make_pool(own_server.config({"timeout": 0.1}) | {"type": "non-threaded"})
    own_server.stop("immediate")
    with pytest.raises(psycopg2.OperationalError):
        pool.query("SELECT 1")
    with pytest.raises(psycopg2.OperationalError):
        pool.query("SELECT 1")
    own_server.start()
    assert eventually(lambda: pool.unserved() == {"web": None}, 30.0)
    assert pool.query("SELECT 1", timeout=5).scalar() == 1
