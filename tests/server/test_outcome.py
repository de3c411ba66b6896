"""What became of a transaction whose COMMIT was not answered: asked of the server, and never answered wrong (contract §4)."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBConnectionError, InDoubt
from tests.faults.proxy import Proxy
from tests.life import thread_of
from tests.servers import ROLE, Server, eventually
from tests.several import Replicas, Several, is_known
from tests.usage import fresh_table, rows_of

pytestmark = [pytest.mark.contract("4.a-write-that.3"), pytest.mark.contract("2.call.transaction.1")]

TABLE = "outcome"
INSERT = f"INSERT INTO {ROLE}.{TABLE} VALUES (%s)"
numbers = itertools.count(1)
LOST = [(when, how) for when in ("before", "after") for how in ("rst", "fin")]
TOLD = {"before": "aborted", "after": "committed"}


@pytest.fixture
def proxy(module_server: Server) -> Iterator[Proxy]:
    """In front of the module's server, which has the table of these tests."""
    fresh_table(module_server, TABLE, "id int PRIMARY KEY")
    with Proxy(module_server.host, module_server.port) as made:
        yield made


def through(proxy: Proxy) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": proxy.port, "ssl": "disable"}


@pytest.fixture
def pool(module_server: Server, proxy: Proxy, make_pool: Callable[..., Any]) -> Any:
    made = make_pool(module_server.config({"connection_count": 3, "timeout": 15}, **through(proxy)))
    made.query("SELECT 1")
    return made


def doubt_of(work: Callable[..., Any], *args: Any, **kwargs: Any) -> InDoubt:
    with pytest.raises(InDoubt) as caught:
        work(*args, **kwargs)
    assert caught.value.retry_safe is False
    return caught.value


def write(pool: Any, number: int, **options: Any) -> None:
    with pool.transaction(**options) as db:
        db.query(INSERT, (number,))


def tracked(pool: Any, number: int) -> None:
    write(pool, number, track=True)


def by_run(pool: Any, number: int) -> None:
    calls = []

    def work(db: Any) -> None:
        calls.append(number)
        db.query(INSERT, (number,))

    try:
        pool.run(work)
    finally:
        assert calls == [number]


def later(pool: Any, number: int) -> None:
    """Reads first, then what fails in a savepoint, and then the write, in another one."""
    with pool.transaction(track=True) as db:
        db.query("SELECT 1")
        with pytest.raises(psycopg2.errors.NotNullViolation), db.transaction():
            db.query(INSERT, (None,))
        with pytest.raises(psycopg2.errors.SyntaxError), db.transaction():
            db.query("INSERT INTO")
        with db.transaction():
            pool.query(INSERT, (number,))
        db.query("SELECT 1")


def many(pool: Any, number: int) -> None:
    with pool.transaction(track=True) as db:
        db.executemany(INSERT, [(number,)])


def serializable(pool: Any, number: int) -> None:
    write(pool, number, track=True, isolation="serializable")


WAYS = {"transaction": tracked, "run": by_run, "later": later, "executemany": many, "serializable": serializable}


# -- the server goes on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "when", "how"),
    [(way, *lost) for way in WAYS for lost in (LOST if way == "transaction" else [LOST[1], LOST[2]])],
)
def test_the_server_goes_on(pool: Any, proxy: Proxy, module_server: Server, way: str, when: Any, how: Any) -> None:
    """COMMIT lost: "aborted", and it was. Its answer lost: "committed", and it was. Nothing is done twice."""
    proxy.on("COMMIT", when, how)
    assert doubt_of(WAYS[way], pool, number := next(numbers)).outcome == TOLD[when]
    assert rows_of(module_server, TABLE) == ([number] if when == "after" else [])


@pytest.mark.every_version
@pytest.mark.parametrize("when", ["before", "after"])
def test_on_each_version(server: Server, make_pool: Callable[..., Any], when: Any) -> None:
    """The same on every major version: how a number comes back, and what is asked for, is the same on all of them."""
    fresh_table(server, TABLE, "id int PRIMARY KEY")
    with Proxy(server.host, server.port) as proxy:
        pool = make_pool(server.config({"connection_count": 2}, **through(proxy)))
        proxy.on("COMMIT", when, "rst")
        assert doubt_of(tracked, pool, 1).outcome == TOLD[when]
        assert rows_of(server, TABLE) == ([1] if when == "after" else [])


def untracked(pool: Any, number: int) -> None:
    write(pool, number)


def run_untracked(pool: Any, number: int) -> None:
    pool.run(lambda db: db.query(INSERT, (number,)), track=False)


def by_raw(pool: Any, number: int) -> None:
    """The pool does not see what is written."""
    with pool.transaction(track=True) as db:
        db.connection.cursor().execute(INSERT, (number,))


def by_handler(pool: Any, number: int) -> None:
    with pool.handler() as db, db.transaction():
        db.query(INSERT, (number,))


UNTRACKED = {"transaction": untracked, "run": run_untracked, "raw": by_raw, "handler": by_handler}


@pytest.mark.parametrize("way", list(UNTRACKED))
@pytest.mark.parametrize("when", ["before", "after"])
def test_not_tracked(pool: Any, proxy: Proxy, way: str, when: Any) -> None:
    """Without ``track``, and of writes that the pool does not see, nobody knows: "unknown"."""
    proxy.on("COMMIT", when, "rst")
    assert doubt_of(UNTRACKED[way], pool, next(numbers)).outcome == "unknown"


def test_nothing_written_is_no_doubt(pool: Any, proxy: Proxy) -> None:
    """A COMMIT of reads that is lost is a lost connection."""
    proxy.on("COMMIT", "after", "rst")
    with pytest.raises(DBConnectionError), pool.transaction(track=True) as db:
        db.query("SELECT 1")


def test_a_commit_that_stays_on_its_way(module_server: Server, proxy: Proxy, make_pool: Callable[..., Any]) -> None:
    """As long as the server has it in progress it may yet be committed: "unknown" when the group's timeout is over."""
    pool = make_pool(module_server.config({"timeout": 1, "query_timeout": 300}, **through(proxy)))
    proxy.on("COMMIT", "before", "hang")
    began = time.monotonic()
    assert doubt_of(tracked, pool, next(numbers)).outcome == "unknown"
    assert 1.0 < time.monotonic() - began < 5.0
    proxy.end_all("rst")


def test_a_commit_whose_answer_stays_on_its_way(
    module_server: Server, proxy: Proxy, make_pool: Callable[..., Any]
) -> None:
    """Nobody answers within the limit, but it was done: "committed"."""
    pool = make_pool(module_server.config({"query_timeout": 300}, **through(proxy)))
    proxy.on("COMMIT", "after", "hang")
    assert doubt_of(tracked, pool, number := next(numbers)).outcome == "committed"
    assert rows_of(module_server, TABLE) == [number]
    proxy.end_all("rst")


def test_with_one_connection_and_the_longest_name(
    module_server: Server, proxy: Proxy, make_pool: Callable[..., Any]
) -> None:
    """A group of one connection can ask; a name of 63 bytes makes room for the number, and comes back afterwards."""
    name = "n" * 63
    pool = make_pool(module_server.config({"connection_count": 1, "application_name": name}, **through(proxy)))
    tracked(pool, next(numbers))
    assert pool.query("SHOW application_name").scalar() == name
    with pytest.raises(psycopg2.errors.DivisionByZero):
        pool.run(lambda db: [db.query(INSERT, (next(numbers),)), db.query("SELECT 1/0")])
    assert pool.query("SHOW application_name").scalar() == name
    proxy.on("COMMIT", "after", "fin")
    assert doubt_of(tracked, pool, next(numbers)).outcome == "committed"


@pytest.mark.parametrize("when", ["before", "after"])
def test_where_nobody_may_ask(module_server: Server, pool: Any, proxy: Proxy, when: Any) -> None:
    """A server that will not answer the question has said nothing: "unknown"."""
    module_server.sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_xact_status(xid8) FROM PUBLIC")
    try:
        proxy.on("COMMIT", when, "rst")
        assert doubt_of(tracked, pool, next(numbers)).outcome == "unknown"
    finally:
        module_server.sql("GRANT EXECUTE ON FUNCTION pg_catalog.pg_xact_status(xid8) TO PUBLIC")


@pytest.mark.parametrize("when", ["before", "after"])
def test_independent_servers(three_servers: Several, make_pool: Callable[..., Any], when: Any) -> None:
    """``target: any`` over servers that count by themselves: the one that was asked counts, or it is "unknown"."""
    for server in three_servers.servers:
        fresh_table(server, TABLE, "id int PRIMARY KEY")
    one = three_servers.servers[0]
    with Proxy(one.host, one.port) as proxy:
        pool = make_pool(three_servers.config({"target": "any"}, each={"one": through(proxy)}))
        assert eventually(lambda: is_known(pool))
        for _ in range(3):
            proxy.on("COMMIT", when, "rst")
            assert doubt_of(_until_struck, pool).outcome in (TOLD[when], "unknown")


def _until_struck(pool: Any) -> None:
    for _ in range(100):
        tracked(pool, next(numbers))


# -- the server crashes -----------------------------------------------------------------------------------------------


class Doubt:
    """A tracked transaction whose COMMIT hangs: before it has reached the server, or after it was done there."""

    def __init__(self, pool: Any, proxy: Proxy, server: Server, when: Any) -> None:
        self.number = next(numbers)
        self.when = when
        self._proxy = proxy
        before = proxy.seen()["struck"]
        proxy.on("COMMIT", when, "hang")
        self._thread = thread_of(tracked, pool, self.number)
        assert eventually(lambda: proxy.seen()["struck"] > before)
        if when == "after":
            assert eventually(lambda: self.number in rows_of(server, TABLE))

    def outcome(self) -> str:
        """Lose it now."""
        self._proxy.end_all("rst")
        found = self._thread.result(30.0).error
        assert isinstance(found, InDoubt), found
        return found.outcome


def crashes(server: Server) -> None:
    server.kill9()
    server.start()


def loses_a_backend(server: Server) -> None:
    """One process is killed: the postmaster stays, but all sessions end and the WAL is replayed."""
    [(victim,)] = server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: not _has(server, victim), 15.0)


def _has(server: Server, pid: int) -> bool:
    try:
        return bool(server.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)))
    except psycopg2.OperationalError:
        return True  # it does not accept sessions yet


def is_shut_down(server: Server) -> None:
    server.restart("fast")


ENDS = {"kill -9": crashes, "a process killed": loses_a_backend, "restart": is_shut_down}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", list(ENDS))
def test_it_crashes_and_comes_back(pool: Any, proxy: Proxy, module_server: Server, end: str, when: Any) -> None:
    """A server that came back with its WAL can still tell."""
    fresh_table(module_server, TABLE, "id int PRIMARY KEY")
    doubt = Doubt(pool, proxy, module_server, when)
    ENDS[end](module_server)
    assert doubt.outcome() == TOLD[when]
    assert rows_of(module_server, TABLE) == ([doubt.number] if when == "after" else [])


def test_it_crashes_and_stays_away(module_server: Server, proxy: Proxy, make_pool: Callable[..., Any]) -> None:
    """Nobody to ask within the group's timeout: "unknown", and not later than that."""
    pool = make_pool(module_server.config({"timeout": 1}, **through(proxy)))
    doubt = Doubt(pool, proxy, module_server, "after")
    module_server.kill9()
    began = time.monotonic()
    try:
        assert doubt.outcome() == "unknown"
        assert time.monotonic() - began < 3.0
    finally:
        module_server.start()


@pytest.fixture
def unwritten(module_server: Server) -> Iterator[None]:
    """The WAL of what is not committed stays in memory for long."""
    module_server.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
    module_server.restart()
    module_server.sql("CHECKPOINT")
    yield
    module_server.sql("ALTER SYSTEM RESET wal_writer_delay")
    module_server.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize("then", ["", "CHECKPOINT", "restart"])
@pytest.mark.parametrize("end", ["kill -9", "a process killed"])
def test_the_number_is_given_out_again(
    unwritten: None, pool: Any, proxy: Proxy, module_server: Server, end: str, then: str
) -> None:
    """What was in no WAL when the server crashed is forgotten, its number too: another's "committed" is not taken for ours."""
    doubt = Doubt(pool, proxy, module_server, "before")
    [(ours,)] = module_server.sql(
        "SELECT backend_xid::text::bigint FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
    )
    proxy.refuse()
    ENDS[end](module_server)
    given = [module_server.sql("SELECT pg_current_xact_id()::text::bigint")[0][0] for _ in range(3)]
    assert ours in given
    if then == "CHECKPOINT":
        module_server.sql("CHECKPOINT")
    elif then == "restart":
        module_server.restart()
    proxy.heal()
    assert eventually(lambda: probed(module_server), 15.0)
    assert doubt.outcome() in ("aborted", "unknown")
    assert doubt.number not in rows_of(module_server, TABLE)


def probed(server: Server) -> bool:
    """Whether a pool's probe was answered, since the server is back."""
    return bool(
        server.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgdbpool:monitor' AND state = 'idle'")
    )


# -- another takes over -----------------------------------------------------------------------------------------------


class Failover:
    """A primary behind a proxy with two standbys, and a pool over them."""

    def __init__(self, replicas: Replicas, proxy: Proxy, make_pool: Callable[..., Any], *, synchronous: bool) -> None:
        self.replicas = replicas
        self.proxy = proxy
        if synchronous:
            replicas.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 2 (*)'")
            replicas.primary.sql("SELECT pg_reload_conf()")
            # for as long as the standbys have no name of their own each counts as walreceiver
            assert eventually(lambda: self._synchronous_standbys() == 2)
        fresh_table(replicas.primary, TABLE, "id int PRIMARY KEY")
        replicas.caught_up()
        self.pool = make_pool(replicas.config({"timeout": 20}, each={"primary": through(proxy)}))
        assert eventually(lambda: is_known(self.pool))

    def _synchronous_standbys(self) -> int:
        return int(
            self.replicas.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")[0][0]
        )

    def doubt(self, when: Any) -> Doubt:
        return Doubt(self.pool, self.proxy, self.replicas.primary, when)

    def fail_over(self) -> Server:
        """The primary dies, the pool goes on asking the standbys, one of them is promoted."""
        new = self.replicas.standbys[0]
        self.replicas.primary.kill9()
        for _ in range(2):  # one that was asked before the last was answered
            wait_for_probe(new)
        new.promote()
        return new


def wait_for_probe(server: Server) -> None:
    [(since,)] = server.sql("SELECT clock_timestamp()")
    probes = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgdbpool:monitor'"
    assert eventually(lambda: server.sql(f"{probes} AND state = 'idle' AND query_start > %s", (since,)), 10.0)


@pytest.fixture
def failover(own_replicas: Replicas, make_pool: Callable[..., Any]) -> Iterator[Callable[..., Failover]]:
    primary = own_replicas.primary
    with Proxy(primary.host, primary.port) as proxy:
        yield lambda **options: Failover(own_replicas, proxy, make_pool, **options)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_synchronous_standby_takes_over(failover: Callable[..., Failover], when: Any) -> None:
    """It has whatever was acknowledged, so it can tell: "committed" if it has the transaction, else "aborted"."""
    scene = failover(synchronous=True)
    doubt = scene.doubt(when)
    new = scene.fail_over()
    assert doubt.outcome() == TOLD[when]
    assert rows_of(new, TABLE) == ([doubt.number] if when == "after" else [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_asynchronous_standby_takes_over(failover: Callable[..., Failover], when: Any) -> None:
    """What it has is one thing, what was committed another: "unknown"."""
    scene = failover(synchronous=False)
    doubt = scene.doubt(when)
    scene.fail_over()
    assert doubt.outcome() == "unknown"


def test_the_number_is_given_out_again_by_the_next_primary(failover: Callable[..., Failover]) -> None:
    """A synchronous standby that never heard of the transaction gives its number to another: "committed" is not ours."""
    scene = failover(synchronous=True)
    doubt = scene.doubt("before")
    new = scene.fail_over()
    for _ in range(3):
        new.sql("SELECT pg_current_xact_id()")
    new.sql("CHECKPOINT")
    for _ in range(2):
        wait_for_probe(new)
    assert doubt.outcome() in ("aborted", "unknown")
    assert rows_of(new, TABLE) == []
