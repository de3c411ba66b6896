"""Opening a connection: what is set on it, and what its failures mean (contract §3 and §4)."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import DBOfflineError, PoolTimeout
from tests.life import full, outcomes, warm
from tests.servers import DATABASE, PASSWORD, ROLE, Server, eventually

NAME = "pgdbpool:web"


@pytest.mark.contract("3.p3.2")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP options as Linux calls them")
def test_tcp_options(server: Server, make_pool: Callable[..., Any]) -> None:
    """keepalives 15 s, 5 s, 3 times, and a user timeout of 15 s, unless ``libpq`` says otherwise."""

    def seen(pool: Any) -> list[int]:
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        with pool.connection() as raw, socket.socket(fileno=raw.fileno()) as tcp:
            try:
                assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                return [tcp.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            finally:
                tcp.detach()

    idle, interval, count, user_timeout = seen(make_pool())
    assert (idle, interval, count) == (15, 5, 3)
    assert abs(user_timeout - 15_000) <= 1
    own = make_pool(server.config(libpq={"keepalives_idle": 7, "tcp_user_timeout": 4000}))
    assert seen(own) == [7, 5, 3, 4000]


@pytest.mark.contract(
    "3.p3.2",
    "3.group.settings.1",
    "3.group.query_timeout.1",
    "3.endpoint.query_timeout.1",
    "3.group.idle_in_transaction_timeout.1",
    "3.group.application_name.1",
    "3.endpoint.session_tmp_buffer.1",
)
def test_settings_of_a_session(server: Server, make_pool: Callable[..., Any]) -> None:
    """Each option arrives on the server, with its default or its value, whatever characters it has."""

    def shown(pool: Any, *names: str) -> list[str]:
        return [pool.query("SELECT current_setting(%s)", (name,)).scalar() for name in names]

    names: tuple[str, ...] = (
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "client_connection_check_interval",
    )
    assert shown(make_pool(), *names, "application_name") == ["5s", "1min", "2s", NAME]
    settings = {
        "search_path": 'web, "odd schema"',
        "TimeZone": "Asia/Kolkata",
        "custom.text": "it's \\ 50 % -c x=y",
        "work_mem": 65,
        "enable_seqscan": False,
        "default_transaction_isolation": "repeatable read",
    }
    group = {
        "settings": settings,
        "query_timeout": 0,
        "idle_in_transaction_timeout": 1.5,
        "application_name": "shop ' \\ x",
    }
    pool = make_pool(server.config(group, session_tmp_buffer=9, query_timeout=1234))
    names = (*names, "application_name", "temp_buffers", "custom.text", "work_mem", "enable_seqscan", "timezone")
    assert shown(pool, *names) == [
        *("0", "1500ms", "2s", "shop ' \\ x", "9MB", settings["custom.text"], "65kB", "off", "Asia/Kolkata")
    ]
    assert shown(pool, "search_path", "default_transaction_isolation") == [settings["search_path"], "repeatable read"]
    assert shown(make_pool(server.config(query_timeout=1234)), "statement_timeout") == ["1234ms"]


@pytest.mark.contract("3.group.idle_in_transaction_timeout.1")
def test_idle_in_transaction_is_ended_by_the_server(server: Server, make_pool: Callable[..., Any]) -> None:
    """A transaction left open for longer than ``idle_in_transaction_timeout`` is ended; its block is told, no slot is lost."""
    pool = make_pool(connection_count=1, idle_in_transaction_timeout=0.2)

    def dawdle() -> None:
        with pool.transaction() as db:
            db.query("SELECT 1")
            assert eventually(lambda: not server.sessions(NAME))
            db.query("SELECT 1")

    with pytest.raises(pgdbpool.DBConnectionError):
        dawdle()
    assert full(pool, 1)


@pytest.mark.contract("3.endpoint.dsn.1", "3.endpoint.host.1", "3.endpoint.libpq.1")
def test_a_dsn_in_place_of_host_and_port(server: Server, make_pool: Callable[..., Any]) -> None:
    """A URI or a keyword string connects as well; options of the DSN and of ``libpq`` join the pool's own."""
    uri = f"postgresql://{ROLE}@{server.host}:{server.port}/{DATABASE}?options=-c%20work_mem%3D65kB"
    words = f"host={server.host} port={server.port} dbname={DATABASE} user={ROLE} password='{PASSWORD}'"
    for endpoint in ({"dsn": uri, "pass": PASSWORD}, {"dsn": words, "libpq": {"options": "-c work_mem=65kB"}}):
        pool = make_pool({"db": endpoint, "groups": {"web": {"connection_count": 1}}})
        row = pool.query("SELECT current_database(), current_user, current_setting('work_mem')").one()
        assert tuple(row) == (DATABASE, ROLE, "65kB")
        assert pool.query("SHOW statement_timeout").scalar() == "5s"


@pytest.mark.contract("3.endpoint.pass.1")
def test_a_password_callable_is_asked_at_each_connect(server: Server, make_pool: Callable[..., Any]) -> None:
    """Rotating credentials: every new connection asks again; a wrong answer is told at once, a right one mends it."""
    asked: list[str] = []
    answer = [PASSWORD]

    def password() -> str:
        asked.append(answer[0])
        return answer[0]

    pool = make_pool(server.config({"connection_count": 3, "timeout": 3}, **{"pass": password}))
    warm(pool, 3)
    assert len(asked) >= 3
    answer[0] = "rotated away"
    before = len(asked)
    server.terminate(NAME)
    with pytest.raises(DBOfflineError, match="authentication failed") as caught:
        pool.query("SELECT 1")
    assert "rotated away" not in str(caught.value) + repr(caught.value.__cause__)
    assert len(asked) > before
    answer[0] = PASSWORD
    assert eventually(lambda: not _fails(pool), 4.0)
    assert full(pool, 3)


def _fails(pool: Any) -> bool:
    try:
        pool.query("SELECT 1")
    except DBOfflineError:
        return True
    return False


@pytest.mark.contract("3.endpoint.pass.1")
def test_a_password_callable_that_raises(server: Server, make_pool: Callable[..., Any]) -> None:
    """What the callable raises is behind the error that ends the wait, and in no message; the pool goes on asking."""
    broken = [True]

    def password() -> str:
        if broken:
            raise RuntimeError("the vault is sealed")
        return PASSWORD

    pool = make_pool(server.config({"connection_count": 1, "timeout": 0.5}, **{"pass": password}))
    with pytest.raises(DBOfflineError) as caught:
        pool.query("SELECT 1")
    assert "RuntimeError" in str(caught.value)
    assert "the vault is sealed" not in f"{caught.value} {caught.value.__cause__}"
    assert "the vault is sealed" in str(caught.value.__cause__.__cause__)
    broken.clear()
    assert eventually(lambda: not _fails(pool))


PERMANENT: dict[str, tuple[dict[str, Any], str]] = {
    "password": ({"pass": "quite wrong"}, "password authentication failed"),
    "no password": ({"pass": None}, "no password supplied"),
    "database": ({"name": "nowhere"}, 'database "nowhere" does not exist'),
    "role": ({"user": "nobody_at_all"}, "nobody_at_all"),
    "host": ({"host": "does-not-exist.invalid"}, "could not translate host name"),
    "TLS": ({"ssl": "require"}, "does not support SSL"),
    "certificate": ({"ssl": "verify-full", "sslrootcert": "/nonexistent/ca.pem"}, "SSL"),
    "setting": ({"libpq": {"options": "-c no_such_setting=1"}}, "no_such_setting"),
}


@pytest.mark.contract("4.waiting.2", "3.p1.5")
@pytest.mark.parametrize("wrong", list(PERMANENT))
def test_a_permanent_error_is_told_at_once(
    server: Server, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """Wrong password, database, role, host, TLS: DBOfflineError at once, not at ``timeout``, in the server's words."""
    endpoint, words = PERMANENT[wrong]
    config = server.config({"connection_count": 4, "timeout": 20}, **endpoint)
    config["db"] = {key: value for key, value in config["db"].items() if value is not None}
    with caplog.at_level(logging.DEBUG):
        pool = make_pool(config)
        told = outcomes(6, lambda _: pool.query("SELECT 1"), limit=6.0)
        again = outcomes(2, lambda _: pool.query("SELECT 1"), limit=3.0)
    assert {type(each.error) for each in told + again} == {DBOfflineError}
    assert max(each.seconds for each in told) < 3.0
    for error in [each.error for each in told + again]:
        assert isinstance(error, DBOfflineError)
        assert words in str(error)
        assert words in str(error.__cause__)
        shown = f"{error} {error!r} {error.__cause__!r} {pool!r} {pool.stats()} {pool.explain()}"
        assert PASSWORD not in shown
        assert "quite wrong" not in shown
    assert PASSWORD not in caplog.text
    assert "quite wrong" not in caplog.text
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1
    answer = next(iter(pool.check().values()))
    assert not answer["ok"]
    assert words in answer["error"]


@pytest.mark.contract("4.waiting.2", "4.lost.1")
def test_a_permanent_error_is_not_retried_hot_and_is_found_mended(
    server: Server, make_pool: Callable[..., Any]
) -> None:
    """However many ask, at most about one attempt a second; soon after it is mended, requests are served."""
    asked: list[float] = []

    def password() -> str:
        asked.append(time.monotonic())
        return "quite wrong" if wrong else PASSWORD

    wrong = [True]
    pool = make_pool(server.config({"connection_count": 4, "timeout": 20}, **{"pass": password}))
    end = time.monotonic() + 2.0
    told = 0
    while time.monotonic() < end:
        assert _fails(pool)
        told += 1
    assert len(asked) <= 5
    assert told > 20  # each of them at once
    wrong.clear()
    assert eventually(lambda: not _fails(pool), 2.5)
    assert full(pool, 4)


@contextmanager
def deaf() -> Iterator[tuple[int, list[float]]]:
    """A port that accepts connections and hangs up; the times of the calls."""
    calls: list[float] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.settimeout(0.05)
        going = [True]

        def serve() -> None:
            while going:
                with suppress(TimeoutError):
                    caller, _ = listener.accept()
                    calls.append(time.monotonic())
                    caller.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], calls
        going.clear()
        thread.join(5)


@pytest.mark.contract("4.lost.1")
def test_attempts_back_off(server: Server, make_pool: Callable[..., Any]) -> None:
    """A server that hangs up on everybody is called ever less often, up to about every 1.4 s, however many wait."""
    with deaf() as (port, calls):
        pool = make_pool(server.config({"connection_count": 8, "timeout": 2.8}, port=port))
        told = outcomes(12, lambda _: pool.query("SELECT 1"))
        assert {type(each.error) for each in told} == {DBOfflineError}
        pool.close()
    assert 3 <= len(calls) <= 16, len(calls)  # libpq calls twice for an attempt: `prefer` tries with and without TLS
    attempts = [each for each, before in zip(calls[1:], calls, strict=False) if each - before > 0.05]
    gaps = [late - early for early, late in zip(attempts, attempts[1:], strict=False)]
    assert max(gaps) <= 1.6
    assert gaps[-1] > gaps[0]


@pytest.mark.contract("3.endpoint.connect_timeout.1", "4.no-thread-waits.1")
def test_a_server_that_accepts_and_says_nothing(server: Server, make_pool: Callable[..., Any]) -> None:
    """Nobody waits longer than ``timeout`` for a server that accepts and is silent; the attempt ends at connect_timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        config = server.config({"timeout": 0.4}, port=listener.getsockname()[1], connect_timeout=2, label="silent")
        pool = make_pool(config)
        since = time.monotonic()
        with pytest.raises(DBOfflineError):
            pool.query("SELECT 1")
        assert time.monotonic() - since < 0.8
        assert eventually(lambda: pool.stats()["endpoints"]["silent"]["state"] == "down", 4.0)
        assert time.monotonic() - since < 3.5
        assert "timeout expired" in pool.stats()["endpoints"]["silent"]["last_error"]


@pytest.mark.contract("3.group.connection_count.1", "3.group.min_connections.1")
def test_growth_is_lazy_and_bounded(server: Server, make_pool: Callable[..., Any]) -> None:
    """It starts with the minimum, grows with the need, and never holds more than ``connection_count`` per group."""
    config = server.config({"connection_count": 5, "min_connections": 2})
    config["groups"]["other"] = {"connection_count": 3, "min_connections": 0}
    pool = make_pool(config)
    assert eventually(lambda: len(server.sessions(NAME)) == 2)
    for _ in range(20):
        pool.query("SELECT 1")
    assert len(server.sessions(NAME)) == 2
    told = outcomes(16, lambda _: pool.query("SELECT pg_sleep(0.05)"))
    assert [each.error for each in told] == [None] * 16
    assert 3 <= len(server.sessions(NAME)) <= 5
    assert server.sessions("pgdbpool:other") == []
    pool.query("SELECT 1", group="other")
    assert len(server.sessions("pgdbpool:other")) == 1


@pytest.mark.contract("3.group.on_connect.1")
def test_an_on_connect_that_raises(server: Server, make_pool: Callable[..., Any]) -> None:
    """An ``on_connect`` that raises: nobody gets such a connection, its error is the cause, and nothing is left behind."""
    broken = [True]

    def prepare(raw: Any) -> None:
        if broken:
            raise RuntimeError("not today")
        raw.cursor().execute("SET custom.prepared = 'yes'")

    pool = make_pool(connection_count=2, timeout=0.5, on_connect=prepare)
    with pytest.raises((DBOfflineError, PoolTimeout)) as caught:
        pool.query("SELECT 1")
    assert "not today" in str(caught.value.__cause__)
    assert eventually(lambda: len(server.sessions(NAME)) == 0)
    broken.clear()
    assert eventually(lambda: not _fails(pool), 3.0)
    assert pool.query("SELECT current_setting('custom.prepared')").scalar() == "yes"


@pytest.mark.contract("3.group.on_connect.1")
def test_an_on_connect_that_leaves_a_failed_transaction(make_pool: Callable[..., Any]) -> None:
    """A failed statement that ``on_connect`` caught itself, in a transaction of its own, leaves a sound connection."""

    def prepare(raw: Any) -> None:
        raw.autocommit = False
        with suppress(psycopg2.Error):
            raw.cursor().execute("SELECT 1/0")

    pool = make_pool(connection_count=1, on_connect=prepare)
    assert pool.query("SELECT 1").scalar() == 1
    with pool.connection() as raw:
        assert raw.autocommit


@pytest.mark.contract("2.call.init.3")
def test_wait_returns_when_every_group_is_ready(server: Server) -> None:
    """``wait``: back when the minimum of every group is open; PoolTimeout with the reason where that does not happen."""
    config = server.config({"connection_count": 4, "min_connections": 3, "application_name": "opening-wait"})
    with pgdbpool.Pool(config, wait=5):
        assert len(server.sessions("opening-wait")) == 3
    config = server.config({"application_name": "opening-wait"}, name="nowhere")
    since = time.monotonic()
    with pytest.raises(PoolTimeout, match="nowhere"):
        pgdbpool.Pool(config, wait=0.5)
    assert time.monotonic() - since < 1.5
    assert eventually(lambda: not server.sessions("opening-wait"))
