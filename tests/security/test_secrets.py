"""No password, and no part of a DSN, in any message, repr, log line or page (contract §3): planted, and searched for."""

from __future__ import annotations

import json
import logging
import pickle
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg2
import pytest
from psycopg2 import extensions

import pgdbpool
from pgdbpool.command.main import main
from pgdbpool.config import parse
from pgdbpool.demo.ports import listen
from pgdbpool.demo.serving import database_for_shop, gunicorn, wait_until_it_answers
from tests.demo.browser import Browser
from tests.life import thread_of
from tests.servers import DATABASE, EmbeddedServer, Server, eventually
from tests.usage import Wire, kill

pytestmark = pytest.mark.contract("3.p1.5")

MARK = "zQ7x"  # each secret holds it, whatever is quoted or encoded around it
PASSWORD, OTHER, KEY_WORD, SETTING = f"{MARK} p'w/d@:%", f"{MARK}-wrong", f"{MARK}-sslpassword", f"{MARK}-setting"
LOGIN = "keeper"


@pytest.fixture(scope="module")
def vault(server: Server) -> Iterator[Server]:
    """The shared server, and a role whose password is a secret of this module."""
    connection = server.admin(dbname="postgres")
    connection.cursor().execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD %s", (PASSWORD,))
    connection.close()
    yield server
    server.sql(f"DROP ROLE {LOGIN}")


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def place(server: Server, **other: Any) -> dict[str, Any]:
    return {"host": server.host, "port": server.port, "name": DATABASE, "user": LOGIN, "label": "db", **other}


def keywords(server: Server, **other: Any) -> dict[str, Any]:
    words = {"host": server.host, "port": server.port, "dbname": DATABASE, "user": LOGIN}
    return {**words, "options": f"-c app.words={MARK}", "application_name": MARK, **other}


def dsn_of(server: Server, password: str, **other: Any) -> str:
    words = keywords(server, password=password, **other)
    return " ".join(f"{word}={quoted(str(value))}" for word, value in words.items())


def uri_of(server: Server, password: str, **other: Any) -> str:
    words = keywords(server, password=password, **other)
    query = "&".join(f"{word}={quote(str(value), safe='')}" for word, value in words.items())
    return f"postgresql:///?{query}"


def by_passfile(server: Server, password: str, folder: Path, **other: Any) -> dict[str, Any]:
    file = folder / "pgpass"
    file.write_text("*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:"))
    file.chmod(0o600)
    return place(server, libpq={"passfile": str(file)}, **other)


def renamed(other: dict[str, Any]) -> dict[str, Any]:
    return {{"name": "dbname", "ssl": "sslmode"}.get(key, key): value for key, value in other.items()}


# How the password is said: what a server, a password and other keys make an endpoint.
SAID: dict[str, Callable[..., dict[str, Any]]] = {
    "str": lambda server, password, folder, **other: place(server, **{"pass": password}, **other),
    "callable": lambda server, password, folder, **other: place(server, **{"pass": lambda: password}, **other),
    "keyword string": lambda server, password, folder, **other: {
        "dsn": dsn_of(server, password, **renamed(other)),
        "label": "db",
    },
    "URI": lambda server, password, folder, **other: {"dsn": uri_of(server, password, **renamed(other)), "label": "db"},
    "passfile": by_passfile,
}
each_way = pytest.mark.parametrize("said", SAID)


def config_of(endpoint: dict[str, Any], **group: Any) -> dict[str, Any]:
    """With further secrets in the endpoint's ``libpq`` and in the group's ``settings``."""
    libpq = {"sslpassword": KEY_WORD, **endpoint.get("libpq", {})}
    settings = {"app.jwt_secret": SETTING}
    return {
        "db": {**endpoint, "libpq": libpq},
        "groups": {"web": {"connection_count": 2, "timeout": 2, "settings": settings, **group}},
    }


class Ears:
    """Everything that was said: by the log at DEBUG and by whatever is told or handed in."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tell(self, *things: Any) -> None:
        """What a thing shows of itself; of an error also what a traceback prints, and what its pickle holds."""
        for thing in things:
            self.said += [f"{thing}", f"{thing!r}"]
            if isinstance(thing, BaseException):
                self.said += [*traceback.format_exception(thing), repr(pickle.dumps(thing))]

    def raised(self, call: Callable[[], Any], kind: type[BaseException] = Exception) -> Any:
        """The error that the call raises, once it is told."""
        with pytest.raises(kind) as caught:
            call()
        self.tell(caught.value, caught.value.__cause__)
        return caught.value

    def found(self) -> set[str]:
        """Each place where a secret stands, with what is around it."""
        return {found for text in self.said for found in re.findall(rf".{{0,80}}{MARK}.{{0,20}}", text)}


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Ears]]:
    """What is said from now on; the log's records are added at the end of the test, and nothing may be found."""
    caplog.set_level(logging.DEBUG)
    heard = Ears()
    yield heard
    records = caplog.get_records("setup") + caplog.get_records("call")
    heard.said += [f"{vars(each)} {each.getMessage()} {each.exc_text}" for each in records]
    assert heard.said
    assert heard.found() == set()


def tell_all(ears: Ears, pool: Any) -> None:
    """What a pool tells of itself, in every way in which it does."""
    ears.tell(pool, pool.handler(), pool.transaction(), pool.connection())
    ears.tell(pool.stats(), pool.explain(), pool.explain(workers=4), pool.check())
    ears.tell([thread.name for thread in threading.enumerate()], psutil.Process().cmdline())


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
    if failure == "no TLS" and vault.admin().info.ssl_in_use:
        pytest.skip("this server has TLS; the wheels' servers have none")
    password = OTHER if failure == "wrong" else PASSWORD
    pool = make_pool(config_of(SAID[said](vault, password, tmp_path, **other()), timeout=0.2))
    ears.raised(lambda: pool.query("SELECT 1"), pgdbpool.DBOfflineError)
    assert eventually(lambda: words in str(pool.stats()))
    tell_all(ears, pool)
    assert words in str(pool.check())


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


# --- configurations that are wrong ---


class Chatty:
    def __repr__(self) -> str:
        return MARK


WRONG: list[Any] = [MARK.encode(), [MARK], (MARK,), {MARK}, Chatty(), [[MARK]], lambda: MARK]
SECRET_KEYS: list[tuple[str, ...]] = [
    ("db", "pass"),
    ("db", "dsn"),
    ("db", "libpq", "sslpassword"),
    ("db", "libpq", "options"),
    ("db", "libpq", "password"),
    ("groups", "web", "settings", "app.jwt_secret"),
]


def broken(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A configuration full of secrets, with one value replaced."""
    endpoint = {"host": "db1", "pass": PASSWORD, "libpq": {"sslpassword": KEY_WORD}}
    config: dict[str, Any] = config_of(endpoint)
    *parents, key = path
    inner = config
    for name in parents:
        inner = inner[name]
    inner[key] = value
    return config


def test_no_config_error_shows_a_secret(ears: Ears) -> None:
    """Whatever is wrong in a configuration, and wherever: its secrets are not in the message."""
    keys = [
        *(("db", key) for key in "host port name user pass dsn ssl sslkey label libpq pooler role weight".split()),
        *(("groups", "web", key) for key in "connection_count target settings application_name on_connect".split()),
        ("type",),
        ("db",),
        ("groups",),
        *SECRET_KEYS,
    ]
    told = 0
    for path, value in product(keys, WRONG):
        try:
            ears.tell(parse(broken(path, value)))
        except pgdbpool.ConfigError as error:
            told += 1
            ears.tell(error)
    assert told > len(keys) * len(WRONG) * 0.8
    for path in SECRET_KEYS:
        ears.raised(lambda path=path: parse(broken(path, f"{MARK}\0")), pgdbpool.ConfigError)


FORMS = [
    "postgresql://u:{}@h/db",
    "postgres://u:{}@h:1/db?sslmode=require",
    "postgresql:///db?host=h&password={}&port=1",
    "postgresql://u@h/db?sslpassword={}",
    "host=h password={} dbname=d",
    "host=h dbname=d password='{}'",
    "host=h password='{} dbname=d",
    "postgresql:/u:{}@h/db",
    " postgresql://u:{}@h/db",
    "host=h,h2 password={}",
]
SPECIAL = ["", *"@/?#:%&= '\\,"]


def test_no_misread_dsn_shows_a_secret(ears: Ears) -> None:
    """Special characters that are not escaped: the DSN is refused without a part of it, or read as it was meant."""
    read = refused = 0
    for form, one, other in product(FORMS, SPECIAL, SPECIAL):
        dsn = form.format(f"{MARK}{one}{MARK}{other}{MARK}")
        try:
            options = parse({"db": {"dsn": dsn}, "groups": {"web": {"connection_count": 1}}})
        except pgdbpool.ConfigError as error:
            refused += 1
            ears.said.append(f"{error} {error!r}")
            continue
        read += 1
        words = extensions.parse_dsn(dsn)
        ears.said += [repr(options), options.endpoints[0].label]
        ears.said += [f"{dsn}: {word}" for word in words.keys() - {"password", "sslpassword"} if MARK in words[word]]
    assert min(read, refused) > 100


# --- other programs ---


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command ``pgdbpool`` in a folder of its own; gives all that it prints, a traceback included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*arguments: str) -> str:
        try:
            main(arguments)
        except Exception:
            traceback.print_exc()
        return "".join(capfd.readouterr())

    return run


BROKEN_FILES = {
    "open.json": f'{{"db": {{"pass": "{MARK}"',
    "wrong.json": json.dumps({"db": {"pass": [MARK], "dsn": f"host=h {MARK}"}, "groups": {}}),
    "open.toml": f'[db]\npass = "{MARK}\n',
    "syntax.py": f'DB = {{"pass": "{MARK}", }}}}\n',
    "missing.py": f'import os\nDB = {{"db": {{"host": os.environ["NO_SUCH_HOST"], "pass": "{MARK}"}}}}\n',
    "raises.py": f'raise RuntimeError("the vault refuses {MARK}")\n',
    "text.py": f'DB = "postgresql://web:{MARK}@db1/shop"\n',
}


@pytest.mark.parametrize("file", BROKEN_FILES)
def test_the_command_line_shows_nothing_of_a_broken_file(
    ears: Ears, command: Callable[..., str], tmp_path: Path, file: str
) -> None:
    """A CONFIG that cannot be read is told by name and place, and without a line of it."""
    (tmp_path / file).write_text(BROKEN_FILES[file])
    source = f"{file.removesuffix('.py')}:DB" if file.endswith(".py") else file
    said = command("explain", source)
    assert "pgdbpool: " in said
    ears.said.append(said)


@pytest.mark.parametrize("source", [f"postgresql://web:{MARK}@db1/shop", f"host=db1 password={MARK}"])
def test_the_command_line_does_not_repeat_a_dsn(ears: Ears, command: Callable[..., str], source: str) -> None:
    """A DSN in place of CONFIG is refused and not printed."""
    ears.said.append(command("check", source))


def test_the_command_line_shows_nothing_of_a_good_file(
    vault: Server, ears: Ears, command: Callable[..., str], tmp_path: Path
) -> None:
    """``check`` and ``explain`` of a configuration full of secrets, of a server that answers and of one that refuses."""
    for name, password, words in (("good", PASSWORD, "ok  primary"), ("bad", OTHER, "FAILED")):
        config = config_of(place(vault, **{"pass": password}))
        config["db"] = [config["db"], {"dsn": uri_of(vault, password), "label": "dsn"}]
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        said = command("check", f"{name}.json")
        assert said.count(words) == 2
        ears.said += [said, command("check", f"{name}.json", "--json"), command("explain", f"{name}.json")]


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
