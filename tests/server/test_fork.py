"""fork: a child never touches its parent's connections, and starts with an empty pool of its own (contract §4)."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import PoolError
from tests.life import Crowd, full, in_child, outcome, outcomes, pids_of, python, thread_of, warm
from tests.servers import Server, eventually

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

NAME = "pgdbpool:web"


def sockets(pid: int | str = "self") -> set[str]:
    """The sockets among a process's open files (Linux)."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return {each for each in found if each.startswith("socket:")}


@pytest.mark.contract("4.fork.1", "4.fork.2", "1.p1.2")
def test_a_child_has_an_empty_pool_that_works(server: Server, make_pool: Callable[..., Any]) -> None:
    """The child opens sessions of its own; the parent's are all there afterwards, and none was used by the child."""
    pool = make_pool(connection_count=3)
    ours = set(warm(pool, 3))

    def child() -> Any:
        figures = pool.stats()["groups"]["web"]
        theirs = warm(pool, 3)
        pool.close()
        return figures["idle"], figures["in_use"], figures["connection_count"], theirs

    idle, in_use, count, theirs = in_child(child)
    assert (idle, in_use, count) == (0, 0, 3)
    assert len(set(theirs)) == 3
    assert not ours & set(theirs)
    assert set(warm(pool, 3)) == ours
    assert eventually(lambda: set(pids_of(server, NAME)) == ours)


@pytest.mark.contract("4.fork.1")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_child_keeps_no_socket_of_its_parent(make_pool: Callable[..., Any]) -> None:
    """Idle, borrowed, the monitor's, and the duplicates: none of the parent's sockets is open in the child."""
    before = sockets()
    pool = make_pool(connection_count=3)
    warm(pool, 3)
    with pool.handler() as db:
        db.query("SELECT 1")
        assert eventually(lambda: len(sockets() - before) == 4)  # the monitor connects within a second
        ours = sockets() - before
        assert in_child(lambda: sockets() & ours) == set()
        assert db.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_what_was_borrowed_before_the_fork_raises_in_the_child(make_pool: Callable[..., Any]) -> None:
    """Handler, transaction, connection, getconn, stream: the child gets an error, the parent's go on where they were."""
    pool = make_pool(connection_count=5)

    def errors() -> list[str]:
        found = []
        for call in calls:
            error = outcome(call).error
            found.append("" if isinstance(error, psycopg2.Error) else f"{call.__name__}: {error!r}")
        return [each for each in found if each]

    with pool.handler() as db, pool.transaction() as tx, pool.connection() as raw, pool.handler() as other:
        cursor = raw.cursor()
        cursor.execute("SELECT generate_series(1, 10)")
        lent = pool.getconn()
        lent.cursor().execute("SELECT 1")
        rows = other.stream("SELECT generate_series(1, 10)", size=2)
        assert next(rows)[0] == 1
        tx.query("SET LOCAL custom.mine = 'yes'")
        calls: list[Callable[[], Any]] = [
            lambda: db.query("SELECT 1"),
            db.commit,
            lambda: tx.query("SELECT 1"),
            lambda: cursor.execute("SELECT 1"),
            raw.commit,
            lambda: raw.cursor().execute("SELECT 1"),
            lent.rollback,
            lambda: pool.putconn(lent),
            lambda: list(rows),
            lambda: db.connection,
            lambda: pool.query("SELECT 1"),  # in this thread it would join the parent's transaction
        ]
        assert in_child(errors) == []
        assert db.query("SELECT 1").scalar() == 1
        assert tx.query("SELECT current_setting('custom.mine')").scalar() == "yes"
        assert [row[0] for row in cursor.fetchall()] == list(range(1, 11))
        assert [row[0] for row in rows] == list(range(2, 11))
        lent.commit()
        pool.putconn(lent)


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_a_child_that_leaves_the_parents_blocks_harms_nobody(make_pool: Callable[..., Any]) -> None:
    """A child that runs out of its parent's ``with`` blocks, closes the pool and collects garbage: the parent goes on."""
    import gc

    pool = make_pool(connection_count=3)
    pids = warm(pool, 3)

    def leave() -> list[str]:
        names = []
        for block in (handler, transaction, borrowed):
            names.append(type(outcome(block.__exit__, None, None, None).error).__name__)
        pool.close()
        gc.collect()
        return names

    handler, transaction, borrowed = pool.handler(), pool.transaction(), pool.connection()
    with handler as db, transaction as tx, borrowed as raw:
        tx.query("CREATE TEMPORARY TABLE undecided (a int)")
        raw.cursor().execute("SELECT 1")
        assert in_child(leave) == ["PoolError"] * 3
        assert tx.query("SELECT count(*) FROM undecided").scalar() == 0
        assert db.query("SELECT 1").scalar() == 1
        raw.cursor().execute("SELECT 1")
    assert set(warm(pool, 3)) == set(pids)


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_parent_and_children_at_once_get_their_own_rows(server: Server, make_pool: Callable[..., Any]) -> None:
    """The parent and three children, four threads each, query at once: every row is the asker's own."""
    pool = make_pool(connection_count=3)
    warm(pool, 3)

    def ask(number: int) -> int:
        wrong = 0
        for step in range(60):
            mine = f"{os.getpid()} {number} {step}"
            wrong += pool.query("SELECT %s", (mine,)).scalar() != mine
        return wrong

    def many() -> list[Any]:
        results = outcomes(4, ask, 15.0)
        pool.close()
        return [each.error or each.value for each in results]

    children = [thread_of(in_child, many) for _ in range(3)]
    here = outcomes(4, ask, 15.0)
    assert [each.error or each.value for each in here] == [0] * 4
    assert [child.result(15.0)[:2] for child in children] == [([0] * 4, None)] * 3
    assert full(pool, 3)


@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_forks_under_load_harm_nobody(server: Server, make_pool: Callable[..., Any]) -> None:
    """Forking while threads query, wait and connect: each child works at once, no request of the parent fails."""
    pool = make_pool(connection_count=3, max_lifetime=1)

    def ask() -> None:
        with pool.transaction() as db:
            assert db.query("SELECT 42").scalar() == 42

    def child() -> Any:
        value = pool.query("SELECT 7").scalar()
        pool.close()
        return value

    with Crowd(ask, threads=6) as crowd:
        for _ in range(8):
            since = time.monotonic()
            assert in_child(child) == 7
            assert time.monotonic() - since < 2.0
    assert crowd.errors == []
    assert full(pool, 3)


@pytest.fixture
def connecting(module_server: Server, make_pool: Callable[..., Any]) -> Iterator[Any]:
    """A pool whose first connect hangs, because its server stands still."""
    module_server.freeze()
    try:
        pool = make_pool(module_server.config({"connection_count": 1, "timeout": 0.2}, connect_timeout=4))
        with pytest.raises(PoolError):
            pool.query("SELECT 1")
        yield pool
    finally:
        module_server.thaw()
    assert eventually(lambda: full(pool, 1))


@pytest.mark.contract("4.fork.1")
def test_a_fork_does_not_wait_long_for_a_connect_that_hangs(connecting: Any) -> None:
    """A fork while a connect hangs is held up for about a second at most."""
    since = time.monotonic()
    assert in_child(lambda: "there") == "there"
    assert time.monotonic() - since < 1.6


@pytest.mark.contract("4.fork.1")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_child_keeps_no_socket_of_a_connect_that_hangs(connecting: Any) -> None:
    """A child forked while a connect hangs does not keep the socket that is just being connected."""
    peer = f":{int(connecting._options.endpoints[0].port):04X} "

    def connecting_sockets() -> int:
        with open("/proc/net/tcp") as table:
            inodes = {line.split()[9] for line in table if peer in line.split()[2] + " "}
        return len({f"socket:[{inode}]" for inode in inodes} & sockets())

    assert connecting_sockets() == 1
    assert in_child(connecting_sockets) == 0


@pytest.mark.contract("4.fork.1")
def test_a_grandchild_works(make_pool: Callable[..., Any]) -> None:
    """The child of a child has a working pool too, and each generation's sessions are its own."""
    pool = make_pool(connection_count=1)

    def pid() -> int:
        return int(pool.query("SELECT pg_backend_pid()").scalar())

    def child() -> tuple[int, int, int]:
        mine = pid()
        theirs = in_child(lambda: (pid(), pool.close())[0])
        again = pid()
        pool.close()
        return mine, theirs, again

    ours = pid()
    mine, theirs, again = in_child(child)
    assert mine == again
    assert len({ours, mine, theirs}) == 3
    assert pid() == ours


@pytest.fixture
def default(server: Server, make_pool: Callable[..., Any]) -> Iterator[None]:
    """The default pool, for children that cannot be given one."""
    pgdbpool.init(server.config({"connection_count": 2, "application_name": "fork-default"}))
    yield
    pgdbpool.close()
    assert eventually(lambda: not server.sessions("fork-default"))


def work(number: int) -> tuple[int, int]:
    return pgdbpool.query("SELECT %s::int, pg_backend_pid()", (number,)).one()


@pytest.mark.contract("4.fork.1", "4.fork.2", "2.p1.1")
def test_multiprocessing_workers_share_nothing(server: Server, default: None) -> None:
    """ProcessPoolExecutor with fork: workers answer by the module's functions, on sessions of their own."""
    ours = pgdbpool.query("SELECT pg_backend_pid()").scalar()
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as workers:
        rows = list(workers.map(work, range(30)))
    assert [row[0] for row in rows] == list(range(30))
    assert ours not in {row[1] for row in rows}
    assert pgdbpool.query("SELECT pg_backend_pid()").scalar() == ours
    assert eventually(lambda: pids_of(server, "fork-default") == [ours])


@pytest.mark.contract("4.fork.1")
def test_a_child_that_exits_normally_ends_its_sessions_only(server: Server, make_pool: Callable[..., Any]) -> None:
    """A forked child that exits by sys.exit, with its atexit handlers, leaves no session and takes none of the parent's."""
    script = """
import os, sys, pgdbpool, json
config = json.loads(sys.argv[1])
pgdbpool.init(config)
ours = pgdbpool.query("SELECT pg_backend_pid()").scalar()
borrowed = pgdbpool.Handler(); borrowed.__enter__().query("SELECT 1")
child = os.fork()
if child == 0:
    assert pgdbpool.query("SELECT pg_backend_pid()").scalar() != ours
    sys.exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
assert borrowed.query("SELECT pg_backend_pid()").scalar() == ours
borrowed.__exit__(None, None, None)
print("good")
"""
    import json

    config = json.dumps(server.config({"connection_count": 2, "application_name": "fork-exit"}))
    with warnings.catch_warnings():
        process = python(script, config)
        out, error = process.communicate(timeout=20)
    assert (out, process.returncode) == ("good\n", 0), error
    assert "Traceback" not in error
    assert eventually(lambda: not server.sessions("fork-exit"), 2.0)
