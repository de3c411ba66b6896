"""Sessions under TLS, where a readable socket tells little: they live, die and are cleaned as those without it."""

from __future__ import annotations

import io
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from pgdbpool import DBConnectionError, DBOfflineError, InDoubt, PoolTimeout
from tests.life import Crowd, frozen, full, in_child, outcomes, pids_of, thread_of, ticking, warm
from tests.security.encrypted import EncryptedServer
from tests.security.meddler import LARGE, meddler_before
from tests.servers import eventually
from tests.usage import fresh_table, kill, rows_of

TABLE = "of_tls"
MACHINE = 0.5  # seconds that a loaded machine may add
IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

ENDS: dict[str, Callable[[EncryptedServer], Any]] = {
    "terminated": lambda tls: tls.terminate("pgdbpool:%"),
    "restarted": lambda tls: tls.restart("fast"),
    "crashed": lambda tls: (tls.kill9(), tls.start()),
}


@pytest.mark.contract("4.alive.1", "4.alive.2")
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("end", list(ENDS))
def test_sessions_that_end_while_idle(
    tls: EncryptedServer, make_pool: Callable[..., Any], end: str, version: str
) -> None:
    """A checkout notices an alert, a goodbye, or neither: no request fails, and all capacity is there at once."""
    pool = make_pool(tls.config({"connection_count": 4}, libpq={"ssl_max_protocol_version": version}))
    old = set(warm(pool, 4))
    ENDS[end](tls)
    assert not old & set(warm(pool, 4))
    assert pool.query("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar() == version
    assert full(pool, 4)


@pytest.mark.contract("4.lost.1")
def test_a_session_that_ends_in_use(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """Its user is told that the connection is lost, and the next one gets another."""
    pool = make_pool(tls.config({"connection_count": 1}))
    with pool.handler() as db:
        kill(tls, db.query("SELECT pg_backend_pid()").scalar())
        with pytest.raises(DBConnectionError):
            db.query("SELECT 1")
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("4.lost.1")
def test_restarts_under_load(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """A restart cuts handshakes too, and none of that is taken for a wrong certificate: requests go on soon after."""
    pool = make_pool(tls.config({"connection_count": 4, "timeout": 10}))
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.002)"), 8) as crowd:
        for mode in ("fast", "immediate"):
            tls.restart(mode)
            back = time.monotonic()
            crowd.goes_on()
            assert crowd.first_success_after(back) < 1.0
    assert {type(error) for error in crowd.errors} <= {DBConnectionError}
    assert len(crowd.errors) <= 2 * 4
    assert full(pool, 4)


@pytest.mark.contract("4.no-thread-waits.1", "4.no-thread-waits.2")
def test_a_frozen_server(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """Whoever reads, writes, commits or sends much is told within the limits; whoever waits, at ``timeout``."""
    fresh_table(tls, TABLE, "note text")
    pool = make_pool(tls.config({"connection_count": 4, "timeout": 1, "query_timeout": 800}))

    def commit() -> None:
        with pool.transaction() as db:
            db.query(f"INSERT INTO {TABLE} VALUES ('committed')")
            ready.append(1)
            assert eventually(lambda: len(ready) > 1)

    ready: list[int] = []
    much = "x" * 16_000_000  # more than socket buffers take
    calls = [
        lambda: pool.query("SELECT pg_sleep(60)"),
        lambda: pool.query(f"INSERT INTO {TABLE} VALUES ('not sent again')"),
        lambda: pool.query("SELECT length(%s)", (much,)),
    ]
    warm(pool, 4)
    committing = thread_of(commit)
    assert eventually(lambda: ready)
    with ticking() as gap, frozen(tls):
        since = time.monotonic()
        ready.append(2)
        told = outcomes(3, lambda number: calls[number]())
        waiting = outcomes(2, lambda _: pool.query("SELECT 1"))
        longest = gap()
    told.append(committing.result())
    assert [type(each.error) for each in told] == [DBConnectionError, InDoubt, DBConnectionError, InDoubt]
    assert max(each.at for each in told) - since < 0.8 + 1.0 + MACHINE
    assert {type(each.error) for each in waiting} <= {DBConnectionError, DBOfflineError, PoolTimeout}
    assert max(each.seconds for each in waiting) < 1.0 + 0.8 + 1.0 + MACHINE
    assert longest < 0.3
    assert eventually(lambda: full(pool, 4), 3.0)
    assert len(rows_of(tls, TABLE, "note")) == len(set(rows_of(tls, TABLE, "note")))


@pytest.mark.contract("2.call.close.1")
def test_close_on_a_frozen_server(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """No goodbye of TLS holds up ``close``, and whoever is inside is freed."""
    pool = make_pool(tls.config({"connection_count": 2, "query_timeout": 0}))
    warm(pool, 2)
    asking = thread_of(pool.query, "SELECT pg_sleep(60)")
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 1)
    with frozen(tls):
        since = time.monotonic()
        pool.close(0.2)
        assert time.monotonic() - since < 1.2
        assert isinstance(asking.result(2.0).error, DBConnectionError)


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize("how", ["change", "cut"])
@pytest.mark.parametrize("what", ["request", "answer"])
def test_a_man_in_the_middle(tls: EncryptedServer, make_pool: Callable[..., Any], what: str, how: str) -> None:
    """Who changes or cuts what passes ends the connection: no false and no short answer, and a write is in doubt."""
    fresh_table(tls, TABLE, "note text")
    note = "n" * 2 * LARGE
    calls = {f"SELECT '{note}'": DBConnectionError, f"INSERT INTO {TABLE} VALUES ('{note}') RETURNING note": InDoubt}
    with meddler_before(tls.host, tls.port) as meddler:
        pool = make_pool(tls.config({"connection_count": 1}, port=meddler.port))
        for text, expected in calls.items():
            assert pool.query("SELECT 1").scalar() == 1
            meddler.meddle(what, how)
            with pytest.raises(expected):
                pool.query(text)
        assert pool.query(f"SELECT '{note}'").scalar() == note
        assert rows_of(tls, TABLE, "note") == ([note] if what == "answer" else [])
        pool.close()


@contextmanager
def half_a_handshake(then: Callable[[socket.socket], Any]) -> Iterator[int]:
    """A port where somebody says yes to TLS; ``then`` is what he does after that."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(0.05)
        going = [True]

        def serve() -> None:
            while going:
                with suppress(OSError):  # nobody calls, or hangs up at once
                    caller = stack.enter_context(listener.accept()[0])
                    if caller.recv(8):
                        caller.sendall(b"S")
                        then(caller)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            going.clear()
            thread.join()


@pytest.mark.contract("3.endpoint.connect_timeout.1", "4.no-thread-waits.1")
@pytest.mark.parametrize("then", [lambda caller: None, socket.socket.close], ids=["silence", "hang-up"])
def test_half_a_handshake(tls: EncryptedServer, make_pool: Callable[..., Any], then: Callable[..., Any]) -> None:
    """Who falls silent or hangs up in mid-handshake is down, not wrong: it is waited for, until ``timeout``."""
    with half_a_handshake(then) as port:
        pool = make_pool(tls.config({"timeout": 0.6}, port=port, connect_timeout=1))
        [told] = outcomes(1, lambda _: pool.query("SELECT 1"))
        assert isinstance(told.error, DBOfflineError)
        assert 0.6 <= told.seconds < 1.2
        assert eventually(lambda: pool.stats()["endpoints"]["tls"]["state"] == "down", 3.0)
        pool.close()


@pytest.mark.contract("4.fork.1", "4.fork.2")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """A child has sessions of its own, encrypted as well; it ends, and those of the parent go on, the borrowed one too."""
    pool = make_pool(tls.config({"connection_count": 3}))
    ours = set(warm(pool, 3))

    def child() -> Any:
        theirs, encrypted = set(warm(pool, 3)), pool.query(IS_ENCRYPTED).scalar()
        pool.close()
        return theirs, encrypted

    with pool.handler() as db:
        mine = db.query("SELECT pg_backend_pid()").scalar()
        for _ in range(2):
            theirs, encrypted = in_child(child)
            assert encrypted
            assert len(theirs - ours) == 3
        assert db.query("SELECT pg_backend_pid()").scalar() == mine
    assert set(warm(pool, 3)) == ours
    assert eventually(lambda: set(pids_of(tls)) == ours)


@pytest.mark.contract("4.alive.1")
@pytest.mark.parametrize("count", [1, 3000])
def test_readable_is_not_dead(tls: EncryptedServer, make_pool: Callable[..., Any], count: int) -> None:
    """Notifications and changed settings that arrive while sessions are idle cost neither an error nor a session."""
    pool = make_pool(tls.config({"connection_count": 2, "on_connect": lambda raw: raw.cursor().execute("LISTEN news")}))
    pids, sockets = set(warm(pool, 2)), descriptors(pool, 2)
    for change in ("SET timezone = 'Asia/Kolkata'", "RESET timezone"):
        tls.sql(f"ALTER SYSTEM {change}")
        tls.sql("SELECT pg_reload_conf()")
        tls.sql("SELECT pg_notify('news', n::text) FROM generate_series(1, %s) AS n", (count,))
        assert eventually(lambda: select.select(sockets, [], [], 0)[0] == sockets)
        assert set(warm(pool, 2)) == pids
        zone = tls.sql("SHOW timezone")[0][0]
        assert eventually(lambda zone=zone: pool.query("SHOW timezone").scalar() == zone)
    assert set(warm(pool, 2)) == pids


def descriptors(pool: Any, count: int) -> list[int]:
    """Those of its idle connections."""
    with ExitStack() as stack:
        return sorted(stack.enter_context(pool.connection()).fileno() for _ in range(count))


@pytest.mark.contract("2.call.connection.1", "2.p3.3")
def test_copy_and_stream(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """Megabytes arrive whole, both ways."""
    fresh_table(tls, TABLE, "id int, note text")
    pool = make_pool(tls.config({"connection_count": 1}))
    lines = "".join(f"{n}\t{'note ' * 10}{n}\n" for n in range(60_000))
    back = io.StringIO()
    with pool.connection() as raw, raw.cursor() as cursor:
        cursor.copy_expert(f"COPY {TABLE} FROM STDIN", io.StringIO(lines))
        cursor.copy_expert(f"COPY (SELECT * FROM {TABLE} ORDER BY id) TO STDOUT", back)
    assert back.getvalue() == lines
    with pool.handler() as db:
        streamed = db.stream(f"SELECT id, note FROM {TABLE} ORDER BY id", size=7000)
        assert "".join(f"{id_}\t{note}\n" for id_, note in streamed) == lines


@pytest.mark.contract("4.given-back.1", "4.given-back.2")
def test_a_reset_is_one_message(tls: EncryptedServer, make_pool: Callable[..., Any]) -> None:
    """What left something behind costs one message more, what did not costs none, and TLS adds nothing to that."""
    pool = make_pool(tls.config({"connection_count": 1}))
    pid = pool.query("SELECT pg_backend_pid()").scalar()

    def sent(use: Callable[[Any], Any]) -> list[str]:
        before = len(tls.log(f"{pid} LOG:  statement:"))
        with pool.handler() as db:
            use(db)
        assert pool.query("SELECT pg_backend_pid()").scalar() == pid  # when it has been cleaned
        return [line.partition("statement: ")[2] for line in tls.log(f"{pid} LOG:  statement:")][before:-1]

    assert sent(lambda db: db.query("SELECT 1")) == ["SELECT 1"]
    dirty, reset = sent(lambda db: db.query("SET work_mem = '65kB'"))
    assert dirty == "SET work_mem = '65kB'"
    assert reset.startswith("CLOSE ALL; ")
    assert pool.query("SHOW work_mem").scalar() != "65kB"
