"""``init`` again while threads are at work, and the end of a pool of several servers (contract §2)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import pgdbpool
from pgdbpool import PoolClosed, PoolTimeout
from tests.life import Crowd, python, thread_of
from tests.servers import PASSWORD, ROLE, Server, eventually
from tests.several import WHO, Replicas, Several, answering, is_known, writer
from tests.usage import fresh_table

pytestmark = pytest.mark.contract("2.call.init.2")


@pytest.fixture(autouse=True)
def no_default_pool() -> Iterator[None]:
    """Whatever a test made the default pool is closed at its end, and no thread of it is left."""
    before = set(threading.enumerate())
    yield
    pgdbpool.close()
    ours = lambda: {each.name for each in threading.enumerate() if each not in before and "pgdbpool-" in each.name}  # noqa: E731
    eventually(lambda: not ours(), 8.0)
    assert ours() == set()


def ask() -> str:
    return str(pgdbpool.query(WHO).scalar())


def in_handler() -> str:
    with pgdbpool.Handler() as db:
        db.query("SELECT 1")
        return str(db.query(WHO).scalar())


def in_transaction() -> str:
    """A block with a one-shot query and a savepoint in it, which both have to be in the same transaction."""
    with pgdbpool.transaction() as db:
        xid = db.query("SELECT pg_current_xact_id()::text").scalar()
        with pgdbpool.transaction() as inner:
            assert inner.query("SELECT pg_current_xact_id()::text").scalar() == xid
        assert pgdbpool.query("SELECT pg_current_xact_id()::text").scalar() == xid
        return str(db.query(WHO).scalar())


def in_connection() -> str:
    with pgdbpool.connection() as raw, raw.cursor() as cursor:
        cursor.execute(WHO)
        return str(cursor.fetchone()[0])


def by_run() -> str:
    return str(pgdbpool.run(lambda db: db.query(WHO).scalar()))


def by_getconn() -> str:
    raw = pgdbpool.getconn()
    try:
        with raw.cursor() as cursor:
            cursor.execute(f"{WHO} FROM pg_sleep(0.01)")
            return str(cursor.fetchone()[0])
    finally:
        pgdbpool.putconn(raw)


WAYS = {each.__name__: each for each in (ask, in_handler, in_transaction, in_connection, by_run, by_getconn)}


@pytest.mark.parametrize("way", list(WAYS))
def test_init_under_load(three_servers: Several, way: str) -> None:
    """16 threads at work, ``init`` five times: no error by any way in, and nothing of the old pools is left afterwards."""
    pgdbpool.init(three_servers.config({"target": "any", "application_name": "pgdbpool:0"}))
    with Crowd(WAYS[way]) as crowd:
        crowd.goes_on()
        for number in range(1, 6):
            pgdbpool.init(three_servers.config({"target": "any", "application_name": f"pgdbpool:{number}"}))
            time.sleep(0.3)
            crowd.goes_on()
    assert crowd.errors == []
    assert {each.value for each in crowd.all} == {"one", "two", "three"}
    assert eventually(lambda: left(three_servers) == {"pgdbpool:5", "pgdbpool:monitor"}, 8.0), left(three_servers)
    assert eventually(lambda: [len(each.sessions("pgdbpool:monitor")) for each in three_servers.servers] == [1, 1, 1])


def left(several: Several) -> set[str]:
    return {each.application_name for server in several.servers for each in server.sessions("pgdbpool:%")}


def test_no_write_is_lost_or_done_twice(replicas: Replicas) -> None:
    """Writes while the pool is replaced: each is there exactly once."""
    fresh_table(replicas.primary, "of_init", "id bigserial")
    pgdbpool.init(replicas.config())
    with Crowd(lambda: pgdbpool.query(f"INSERT INTO {ROLE}.of_init DEFAULT VALUES"), 8) as crowd:
        for _ in range(4):
            crowd.goes_on()
            pgdbpool.init(replicas.config())
        crowd.goes_on()
    assert crowd.errors == []
    assert replicas.primary.sql(f"SELECT count(*) FROM {ROLE}.of_init") == [(len(crowd.all),)]


def test_other_servers_and_another_group(three_servers: Several) -> None:
    """The new configuration counts from ``init`` on: other servers, other names of groups."""
    config = three_servers.config({"target": "any"})
    pgdbpool.init(config, wait=5)
    assert eventually(lambda: {ask() for _ in range(12)} == {"one", "two", "three"})
    fewer = {"db": config["db"][2], "groups": {"other": {"connection_count": 1}}}
    pgdbpool.init(fewer, wait=5)
    assert {ask() for _ in range(6)} == {"three"}
    with pytest.raises(pgdbpool.UnconfiguredGroupError, match="'other'"):
        pgdbpool.query("SELECT 1", group="web")
    assert eventually(lambda: three_servers.by_label["one"].sessions("pgdbpool:%") == [], 8.0)


def test_what_is_borrowed_from_the_old_pool_comes_back_to_it(three_servers: Several) -> None:
    """A handler, a loan and a transaction that are open while ``init`` is called end as if nothing had happened."""
    config = three_servers.config({"target": "any"})
    pgdbpool.init(config, wait=5)
    raw = pgdbpool.getconn()
    with pgdbpool.Handler() as db, pgdbpool.connection() as connection:
        pgdbpool.init(config, wait=5)
        assert db.query("SELECT 1").scalar() == 1
        connection.cursor().execute("SELECT 1")
        raw.cursor().execute("SELECT 1")
        pgdbpool.putconn(raw)
    assert pgdbpool.query("SELECT 1").scalar() == 1
    assert eventually(
        lambda: [len(each.sessions("pgdbpool:monitor")) for each in three_servers.servers] == [1, 1, 1], 8.0
    )


@pytest.mark.contract("2.call.init.3")
def test_wait_for_several_servers(three_servers: Several) -> None:
    """``wait``: the minimum of every group to each server that its target prefers is open when ``init`` returns."""
    config = three_servers.config({"target": "any", "min_connections": 2})
    config["groups"]["none"] = {"connection_count": 2, "min_connections": 0, "target": "any"}
    pgdbpool.init(config, wait=10)
    assert [len(each.sessions("pgdbpool:web")) for each in three_servers.servers] == [2, 2, 2]
    assert sum(len(each.sessions("pgdbpool:none")) for each in three_servers.servers) >= 1


@pytest.mark.contract("2.call.init.3", "3.group.min_connections.1")
def test_wait_by_role(replicas: Replicas) -> None:
    """A group of a role has its minimum where that role is, and is not kept waiting by the other servers."""
    config = replicas.config({"target": "standby", "min_connections": 2})
    config["groups"]["writers"] = {"connection_count": 3, "min_connections": 3, "target": "primary"}
    config["groups"]["both"] = {"connection_count": 2, "min_connections": 2}
    pgdbpool.init(config, wait=10)
    sessions = {
        (label, name): len(server.sessions(f"pgdbpool:{name}"))
        for label, server in replicas.by_label.items()
        for name in ("web", "writers", "both")
    }
    assert [sessions["standby1", "web"], sessions["standby2", "web"]] == [2, 2]
    assert sessions["primary", "writers"] == 3
    assert [sessions[label, "both"] for label in replicas.by_label] == [2, 2, 2]
    assert sessions["primary", "web"] <= 2  # what was opened before its role was known


@pytest.mark.contract("2.call.init.3")
def test_wait_in_vain(replicas: Replicas) -> None:
    """No server of the group's target: PoolTimeout in time, with each server's state, and the pool before stays."""
    old = pgdbpool.init(replicas.config(), wait=5)
    config = replicas.config({"target": "standby", "application_name": "pgdbpool:vain"})
    del config["db"][1:]
    config["db"].append({**config["db"][0], "label": "nowhere", "name": "nowhere"})
    since = time.monotonic()
    with pytest.raises(PoolTimeout, match=r"primary up \(primary\).*nowhere failed.*does not exist") as caught:
        pgdbpool.init(config, wait=0.8)
    assert time.monotonic() - since < 2.0
    assert PASSWORD not in str(caught.value)
    assert writer(old) == "primary"
    assert not old.stats()["closed"]
    assert eventually(lambda: "pgdbpool:vain" not in left(replicas))


# -- the end


@pytest.mark.contract("2.call.close.1")
def test_close_with_borrowed_connections_on_every_server(
    three_servers: Several, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits is told at once; what comes back in time does; the rest is cut, on each server, and named in the log."""
    pool = pgdbpool.init(three_servers.config({"target": "any", "connection_count": 1, "timeout": 20}), wait=5)
    lent = threading.Semaphore(0)

    def hold(seconds: float) -> Any:
        with pool.handler() as db:
            label = db.query(WHO).scalar()
            lent.release()
            time.sleep(seconds)
            return label, db.query("SELECT 1").scalar()

    holders = [thread_of(hold, seconds) for seconds in (0.2, 0.2, 2.0)]
    assert all(lent.acquire(timeout=5) for _ in holders)
    waiting = [thread_of(pool.query, "SELECT 1") for _ in range(2)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["waiting"] == 2)
    since = time.monotonic()
    with caplog.at_level(logging.WARNING):
        pool.close(timeout=0.8)
    assert time.monotonic() - since < 1.5
    told = [each.result() for each in waiting]
    assert {type(each.error) for each in told} == {PoolClosed}
    assert max(each.at for each in told) - since < 0.3
    ended = [each.result() for each in holders]
    assert [each.value[1] for each in ended[:2]] == [1, 1]
    assert isinstance(ended[2].error, pgdbpool.PoolError)
    assert "test_init_again.py" in caplog.text
    assert eventually(lambda: left(three_servers) == set())
    for call in (ask, in_handler, in_transaction, in_connection, by_run, pgdbpool.getconn):
        with pytest.raises(PoolClosed):
            call()


@pytest.mark.contract("2.call.close.1", "4.no-thread-waits.1")
def test_close_with_one_server_frozen(three_servers: Several) -> None:
    """A frozen server holds up neither ``close`` nor whoever is waiting for its answer."""
    pool = pgdbpool.init(three_servers.config({"target": "any", "connection_count": 1, "query_timeout": 0}), wait=5)
    three_servers.by_label["two"].freeze()
    asking = [thread_of(pool.query, "SELECT 1") for _ in range(3)]
    assert eventually(lambda: sum(each.outcome is not None for each in asking) == 2)
    since = time.monotonic()
    pool.close(timeout=0.2)
    assert time.monotonic() - since < 1.2
    [told] = [each for each in (thread.result(2.0) for thread in asking) if each.error is not None]
    assert isinstance(told.error, pgdbpool.PoolError)


EXIT = """
import contextlib, sys, threading, pgdbpool
pool = pgdbpool.init(eval(sys.stdin.readline()), wait=5)
def ask():
    with contextlib.suppress(pgdbpool.PoolError):
        pool.query("SELECT pg_sleep(60)")
threading.Thread(target=ask, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.contract("2.call.close.2")
@pytest.mark.parametrize("frozen", [False, True])
def test_the_interpreter_ends_within_a_second(three_servers: Several, frozen: bool) -> None:
    """With three servers, one of them frozen, and a statement under way."""
    child = python(EXIT)
    assert child.stdin is not None
    assert child.stdout is not None
    print(repr(three_servers.config({"target": "any", "query_timeout": 0})), file=child.stdin, flush=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    if frozen:
        three_servers.by_label["two"].freeze()
    since = time.monotonic()
    _, errors = child.communicate("go\n", timeout=20)
    assert time.monotonic() - since < 1.5
    assert (child.returncode, "Traceback" in errors) == (0, False), errors


def test_a_pool_replaced_while_a_server_is_away(three_servers: Several) -> None:
    """``init`` again with one of three down, under load: no error, and it is used by the new pool when it comes back."""
    config = three_servers.config({"target": "any"})
    pgdbpool.init(config, wait=5)
    three_servers.by_label["one"].stop()
    assert eventually(lambda: pgdbpool.stats()["endpoints"]["one"]["state"] == "down")
    with Crowd(ask, 8) as crowd:
        for _ in range(3):
            pool = pgdbpool.init(config)
            crowd.goes_on()
        three_servers.by_label["one"].start()
        assert eventually(lambda: is_known(pool), 4.0)
        crowd.goes_on()
    assert crowd.errors == []
    assert eventually(lambda: answering(pool) == {"one", "two", "three"})


def test_many_pools_over_the_same_servers(three_servers: Several, server: Server) -> None:
    """A pool on other servers beside the default one is not touched by ``init``."""
    with pgdbpool.Pool(server.config({"application_name": "pgdbpool:beside"})) as beside:
        for _ in range(3):
            pgdbpool.init(three_servers.config({"target": "any"}))
            assert beside.query("SELECT current_database()").scalar()
            assert ask() in three_servers.by_label
