"""No password, and no part of a DSN, in any message, repr, log line or page (contract §3): planted, and searched for."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

import pgdbpool
from pgdbpool.config import parse
from pgdbpool.demo.ports import listen
from pgdbpool.demo.serving import database_for_shop, gunicorn, wait_until_it_answers
from tests.demo.browser import Browser
from tests.life import thread_of
from tests.security.planted import (
    LOGIN,
    MARK,
    OTHER,
    PASSWORD,
    SAID,
    SETTING,
    Ears,
    config_of,
    locals_of,
    place,
    tell_all,
)
from tests.servers import EmbeddedServer, Server, eventually
from tests.usage import Wire, kill

pytestmark = pytest.mark.contract("3.p1.5")
each_way = pytest.mark.parametrize("said", SAID)

# --- while it works ---


@each_way
def test_nothing_shows_while_it_works(
    vault: Server, make_pool: Callable[..., Any], ears: Ears, tmp_path: Path, said: str
) -> None:
    """A pool that answers, fails, times out, loses a connection and is closed shows no secret anywhere."""
    config = config_of(SAID[said](vault, PASSWORD, tmp_path), max_waiting=1)
    ears.tell(parse(config), *parse(config).endpoints, *parse(config).groups.values())
    pool = make_pool(config)
    result = pool.query("SELECT current_user, current_setting('app.jwt_secret')")
    assert result.one() == (LOGIN, SETTING)
    ears.tell(result.description, result.columns, result)
    ears.raised(lambda: pool.query("SELECT 1/0"), psycopg2.errors.DivisionByZero)
    ears.raised(lambda: pool.query("SELECT * FROM nowhere"), pgdbpool.DBQueryError)
    ears.raised(lambda: pool.query("SET work_mem = '1MB'"), pgdbpool.DBQueryError)
    ears.raised(lambda: pool.query("SELECT 1", group="other"), pgdbpool.UnconfiguredGroupError)
    ears.raised(lambda: pool.drain("other"), pgdbpool.ConfigError)
    with pool.handler() as db, pool.connection() as raw:
        ears.tell(db, raw, raw.info, raw.cursor(), db.connection)
        with pytest.raises(TypeError):
            pickle.dumps(raw)
        ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.NestedCheckout)
        told = thread_of(lambda: pool.query("SELECT 1", timeout=0.05)).result().error
        assert isinstance(told, pgdbpool.PoolTimeout)
        ears.tell(told)
        tell_all(ears, pool)
        kill(vault, raw.info.backend_pid)
        ears.raised(lambda: raw.cursor().execute("SELECT 1"), psycopg2.OperationalError)
    ears.raised(lambda: raw.cursor(), pgdbpool.PoolError)
    kept = pool.getconn()
    ears.tell(*vault.sql("SELECT application_name, query, s::text FROM pg_stat_activity AS s"))
    pool.close(timeout=0)
    ears.raised(lambda: kept.cursor().execute("SELECT 1"), psycopg2.Error)
    ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.PoolClosed)


def test_nothing_shows_in_doubt(vault: Server, wire: Wire, make_pool: Callable[..., Any], ears: Ears) -> None:
    """Errors of a connection that is lost in the middle of a write, or of a read, show no secret."""
    pool = make_pool(config_of(place(vault, port=wire.port, ssl="disable", **{"pass": PASSWORD})))
    wire.lose_answer("CREATE TEMPORARY")
    with pool.handler() as db:
        ears.raised(lambda: db.query("CREATE TEMPORARY TABLE t ()"), pgdbpool.InDoubt)
    wire.lose("SELECT 42")
    ears.raised(lambda: pool.query("SELECT 42"), pgdbpool.DBConnectionError)
    tell_all(ears, pool)


def test_psycopg2_shows_no_secret_of_ours(vault: Server, make_pool: Callable[..., Any], ears: Ears) -> None:
    """``dsn`` of the real connection hides what is secret in it; the password was good, so it was sent."""
    pool = make_pool(config_of(place(vault, **{"pass": PASSWORD})))
    with pool.connection() as raw:
        assert raw.info.password == PASSWORD
        assert f"host={vault.host}" in raw.dsn
        ears.tell(raw.dsn)


# --- while it fails ---


@contextmanager
def speaks_tls() -> Iterator[int]:
    """A port that agrees to TLS and then says nothing that is TLS: libpq reads certificate and key before it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        going = [True]

        def serve() -> None:
            while going:
                with suppress(OSError):
                    caller = listener.accept()[0]
                    with caller:
                        caller.settimeout(1)
                        caller.recv(8)
                        caller.sendall(b"S")
                        caller.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        going.clear()
        thread.join(5)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


FAILURES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "refused": (lambda: {"port": unused_port()}, "Connection refused"),
    "no such host": (lambda: {"host": "db.invalid"}, "could not translate host name"),
    "no such database": (lambda: {"name": "nowhere"}, 'database "nowhere" does not exist'),
    "no TLS": (lambda: {"ssl": "require"}, "does not support SSL"),
    "wrong": (dict, "authentication failed"),
}


@each_way
@pytest.mark.parametrize("failure", FAILURES)
def test_nothing_shows_when_it_fails(
    vault: Server, make_pool: Callable[..., Any], ears: Ears, tmp_path: Path, said: str, failure: str
) -> None:
    """A server that cannot be reached, or refuses, is told in words that hold no secret."""
    other, words = FAILURES[failure]
    if failure == "no TLS" and vault.sql("SHOW ssl") == [("on",)]:
        pytest.skip("this server has TLS; the wheels' servers have none")
    password = OTHER if failure == "wrong" else PASSWORD
    pool = make_pool(config_of(SAID[said](vault, password, tmp_path, **other()), timeout=0.2))
    ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.DBOfflineError)
    assert eventually(lambda: words in str(pool.stats()))
    tell_all(ears, pool)
    assert words in str(pool.check())


@each_way
@pytest.mark.parametrize("kind", ["threaded", "non-threaded"])
def test_no_local_variable_shows_when_it_fails(
    vault: Server, make_pool: Callable[..., Any], ears: Ears, tmp_path: Path, said: str, kind: str
) -> None:
    """What an error tracker records of the pool's frames, up to the connect error, holds no password."""
    pool = make_pool({"type": kind, **config_of(SAID[said](vault, OTHER, tmp_path), timeout=0.2)})
    error = ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.DBOfflineError)
    found = list(locals_of(error))
    assert any(text.startswith("query: ") for text in found)
    ears.said += found


def test_nothing_shows_of_a_key(vault: Server, make_pool: Callable[..., Any], ears: Ears, tmp_path: Path) -> None:
    """A client certificate and key that libpq cannot read are named by their paths; nothing of them is shown."""
    paths = {word: tmp_path / word for word in ("sslcert", "sslkey")}
    for path in paths.values():
        path.write_text(f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n")
        path.chmod(0o600)
    with speaks_tls() as port:
        place_of_it = place(vault, port=port, ssl="require", **{"pass": PASSWORD}, **paths)
        pool = make_pool(config_of(place_of_it, timeout=0.2))
        ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.DBOfflineError)
        assert eventually(lambda: str(paths["sslcert"]) in str(pool.stats()))
        tell_all(ears, pool)
        pool.close()


# --- the callable ---

ANSWERS: dict[str, tuple[Any, str]] = {
    "raises": (RuntimeError(MARK), "raised RuntimeError"),
    "exits": (SystemExit(MARK), "raised SystemExit"),
    "bytes": (MARK.encode(), "returned bytes"),
    "list": ([MARK], "returned list"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_nothing_shows_of_a_callable_that_fails(
    vault: Server, make_pool: Callable[..., Any], ears: Ears, answer: str
) -> None:
    """What it raises or returns is named by its class alone; what it says stays in the cause, which only a traceback prints."""
    value, words = ANSWERS[answer]

    def password() -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    pool = make_pool(config_of(place(vault, **{"pass": password}), timeout=0.2))
    with pytest.raises(pgdbpool.DBOfflineError, match=words) as caught:
        pool.query("SELECT 1")
    ears.said += [str(caught.value), repr(caught.value), str(caught.value.__cause__), repr(pickle.dumps(caught.value))]
    tell_all(ears, pool)


def test_nothing_shows_of_on_connect(vault: Server, make_pool: Callable[..., Any], ears: Ears) -> None:
    """The statement on which ``on_connect`` fails is not logged: it may set a key."""
    pool = make_pool(
        config_of(
            place(vault, **{"pass": PASSWORD}),
            timeout=0.2,
            on_connect=lambda raw: raw.cursor().execute(f"SET app.user = '{MARK}'"),  # `user` is a reserved word
        )
    )
    with pytest.raises(pgdbpool.DBOfflineError) as caught:
        pool.query("SELECT 1")
    ears.said.append(str(caught.value))
    tell_all(ears, pool)


# --- the demo ---


def test_the_demos_pages_show_no_password(server: Server) -> None:
    """The password of the demo's shop is on none of its pages, also when it is refused, and in no command line."""
    if not isinstance(server, EmbeddedServer):
        pytest.skip("the demo makes the role of its shop on an embedded server")
    with listen(0) as listener:
        port, environment = listener.getsockname()[1], database_for_shop(server.cluster, "counter")
        with gunicorn(listener, environment) as process:
            wait_until_it_answers(process, port)
            browser, pages = Browser(port), ["/", "/product/1", "/orders", "/nowhere"]
            seen = [browser.get(page) for page in pages]
            server.sql("ALTER ROLE counter NOLOGIN")
            server.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'counter'")
            seen += [browser.get(page) for page in pages]
            master = psutil.Process(process.pid)
            commands = [" ".join(each.cmdline()) for each in (master, *master.children(recursive=True))]
    server.sql("DROP DATABASE counter WITH (FORCE)", dbname="postgres")
    server.sql("DROP ROLE counter")
    assert {each.status for each in seen} >= {200, 404, 503}
    assert len(commands) >= 3
    assert [text for text in [*(each.text for each in seen), *commands] if environment["PGPASSWORD"] in text] == []
