"""Session state of one request is invisible to the next: every kind, by every way in, however it ended (contract §4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions, extras, sql

from tests.servers import ROLE, Server

# Kind: the statement that leaves it behind, and the expression that shows it.
STATES = {
    "search_path": ("SET search_path = information_schema", "current_setting('search_path')"),
    "setting": ("SET work_mem = '65kB'", "current_setting('work_mem')"),
    "own setting": ("SET app.tenant = 'acme'", "coalesce(current_setting('app.tenant', true), '')"),
    "isolation": ("SET default_transaction_isolation = serializable", "current_setting('transaction_isolation')"),
    "temporary table": ("CREATE TEMPORARY TABLE mine AS SELECT 1 AS a", "to_regclass('pg_temp.mine') IS NOT NULL"),
    "advisory lock": (
        "SELECT pg_advisory_lock(4711)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    "LISTEN": ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
    "prepared statement": ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements"),
    "cursor": ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors WHERE is_holdable"),
    "read only": ("SET default_transaction_read_only = on", "current_setting('default_transaction_read_only')"),
    "role": ("SET ROLE bookkeeper", "current_user"),
}
PROBE = "SELECT " + ", ".join(f'({shown})::text AS "{kind}"' for kind, (_, shown) in STATES.items())

# How it is said.
AS_IT_IS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "among others": lambda text: f"SELECT 1; {text}; SELECT 2",
}
HIDDEN: dict[str, Callable[[str], str]] = {
    "by a function": lambda text: f"SELECT web.act($act${text}$act$)",
    "by a procedure": lambda text: f"CALL web.perform($act${text}$act$)",
    "by a DO block": lambda text: f"DO $do$BEGIN EXECUTE $act${text}$act$; END$do$",
    "in a text too long to be read": lambda text: f"SELECT 1{', 1' * 70} /*{'.' * 17_000}*/; {text}",
}
FORMS = {**AS_IT_IS, **HIDDEN}

FURNITURE = """
CREATE FUNCTION web.act(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE $1; RETURN 1; END$$;
CREATE PROCEDURE web.perform(text) LANGUAGE plpgsql AS $$BEGIN EXECUTE $1; END$$;
"""


@pytest.fixture(scope="module")
def furnished(server: Server) -> Iterator[Server]:
    """The shared server with a role to become, and a function and a procedure that do what they are told."""
    server.sql(f"CREATE ROLE bookkeeper; GRANT bookkeeper TO {ROLE}; SET ROLE {ROLE}; {FURNITURE}")
    yield server
    server.sql("DROP FUNCTION web.act; DROP PROCEDURE web.perform; DROP ROLE bookkeeper")


def seen(db: Any) -> dict[str, Any]:
    """What there is of each kind, in the eyes of ``db``."""
    return dict(db.query(PROBE).one())


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [kind for kind in before if now[kind] != before[kind]]


# --- how it ends ---


class Boom(Exception):
    """What a request raises."""


def boom(*_: Any) -> None:
    raise Boom


ENDS: dict[str, Callable[[Any, Any], Any]] = {
    "committed": lambda say, db: db.commit(),
    "rolled back": lambda say, db: db.rollback(),
    "left": lambda say, db: None,
    "exception": boom,
    "failed statement": lambda say, db: say("SELECT 1/0"),
}
BLOCK = SimpleNamespace(commit=lambda: None, rollback=boom)  # a transaction() ends by itself, or by an exception

# --- by which way: each takes a pool, the text, and how it ends ---

Way = Callable[[Any, str, Callable[[Any, Any], Any]], Any]


def by_handler(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db:
        db.query(text)
        end(db.query, db)


def by_savepoint(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db, db.transaction(), db.transaction():
        db.query(text)
        end(db.query, BLOCK)


def by_transaction(pool: Any, text: str, end: Any) -> None:
    with pool.transaction() as db:
        db.query(text)
        end(db.query, BLOCK)


def by_query_in_transaction(pool: Any, text: str, end: Any) -> None:
    with pool.transaction():
        pool.query(text)
        end(pool.query, BLOCK)


def by_run(pool: Any, text: str, end: Any) -> None:
    def work(db: Any) -> None:
        db.query(text)
        end(db.query, BLOCK)

    pool.run(work)


def by_connection(pool: Any, text: str, end: Any) -> None:
    with pool.connection() as raw:
        raw.cursor().execute(text)
        end(raw.cursor().execute, raw)


def by_handlers_connection(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db:
        raw = db.connection
        raw.cursor().execute(text)
        end(raw.cursor().execute, db)


def by_getconn(pool: Any, text: str, end: Any) -> None:
    raw = pool.getconn()
    try:
        raw.cursor().execute(text)
        end(raw.cursor().execute, raw)
    finally:
        pool.putconn(raw)


def by_getconn_with_a_key(pool: Any, text: str, end: Any) -> None:
    pool.getconn("mine")
    raw = pool.getconn("mine")
    try:
        raw.cursor().execute(text)
        end(raw.cursor().execute, raw)
    finally:
        pool.putconn(raw, "mine")


def by_executemany(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db:
        db.executemany("SELECT web.act(%s)", [(text,)])
        end(db.query, db)


def by_stream(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db, db.transaction():
        rows = db.stream("SELECT CASE n WHEN 1 THEN web.act(%s) END FROM generate_series(1, 5) n", (text,), size=2)
        next(rows)
        end(db.query, BLOCK)


def by_stream_alone(pool: Any, text: str, end: Any) -> None:
    with pool.handler() as db:
        rows = db.stream("SELECT CASE n WHEN 1 THEN web.act(%s) END FROM generate_series(1, 5) n", (text,), size=2)
        next(rows)
        rows.close()
        end(db.query, db)


TEXTS: list[Way] = [
    by_handler,
    by_savepoint,
    by_transaction,
    by_query_in_transaction,
    by_run,
    by_connection,
    by_handlers_connection,
    by_getconn,
    by_getconn_with_a_key,
]
PARAMETERS: list[Way] = [by_executemany, by_stream, by_stream_alone]  # they take one statement, which calls a function


def leaks(pool: Any, way: Way, forms: dict[str, Callable[[str], str]]) -> list[tuple[str, ...]]:
    """What the next user of the pool sees of each kind, said in each form, and ended in each way."""
    fresh, found = seen(pool), []
    for kind, (text, _) in STATES.items():
        for form, said in forms.items():
            for end, finish in ENDS.items():
                with suppress(Boom, psycopg2.errors.DivisionByZero):
                    way(pool, said(text), finish)
                found += [(kind, form, end, leaked) for leaked in changed(fresh, seen(pool))]
    return found


@pytest.mark.contract("4.given-back.1")
def test_the_probe_sees_every_kind(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """As long as the connection is not given back, each kind of state is there, in whatever form it was said."""
    pool = make_pool(connection_count=1)
    fresh = seen(pool)
    for kind, (text, _) in STATES.items():
        for form, said in FORMS.items():
            with pool.handler() as db:
                db.query(said(text))
                assert changed(fresh, seen(db)) == [kind], form


@pytest.mark.contract("3.group.reset.1")
def test_the_probe_sees_every_leak(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """With ``reset: never`` each kind of state passes to the next user, by each way."""
    for way in TEXTS:
        with make_pool(connection_count=1, reset="never") as pool:
            fresh = seen(pool)
            for text, _ in STATES.values():
                way(pool, HIDDEN["by a function"](text), ENDS["committed"])
            assert changed(fresh, seen(pool)) == list(STATES), way.__name__


# --- blocks ---


@pytest.mark.contract("4.given-back.1")
@pytest.mark.parametrize("way", TEXTS, ids=lambda way: way.__name__)
def test_no_block_leaves_anything(furnished: Server, make_pool: Callable[..., Any], way: Way) -> None:
    """Said in any form, by any way, and however it ended: the next user of the same backend sees nothing of it."""
    pool = make_pool(connection_count=1)
    assert leaks(pool, way, FORMS) == []
    assert connects(pool) == 1


@pytest.mark.contract("4.given-back.1")
@pytest.mark.parametrize("way", PARAMETERS, ids=lambda way: way.__name__)
def test_no_parameter_leaves_anything(furnished: Server, make_pool: Callable[..., Any], way: Way) -> None:
    """The same of many statements at once, and of a stream that is left in the middle."""
    pool = make_pool(connection_count=1)
    assert leaks(pool, way, {"as it is": str}) == []
    assert connects(pool) == 1


def prepare(raw: Any) -> None:
    raw.cursor().execute("SET app.note = 'prepared'; PREPARE ours AS SELECT 'ours'; LISTEN ours")


KINDS_OF_POOL: dict[str, dict[str, Any]] = {
    "autocommit off": {"autocommit": False},
    "reset always": {"reset": "always"},
    "settings and on_connect": {
        "settings": {"app.tenant": "its own", "search_path": "web", "work_mem": "128kB"},
        "on_connect": prepare,
    },
    "non-threaded": {},
}
SOME = {form: FORMS[form] for form in ("as it is", "by a function")}


@pytest.mark.contract("4.given-back.1", "3.group.settings.1", "3.group.on_connect.1")
@pytest.mark.parametrize("kind", KINDS_OF_POOL)
def test_no_pool_leaves_anything(furnished: Server, make_pool: Callable[..., Any], kind: str) -> None:
    """The same whatever the group's autocommit and the pool's type; what the group itself sets is still there."""
    config = furnished.config({"connection_count": 1, **KINDS_OF_POOL[kind]})
    pool = make_pool({**config, "type": "non-threaded"} if kind == "non-threaded" else config)
    found = {way.__name__: leaks(pool, way, SOME if way in TEXTS else {"as it is": str}) for way in TEXTS + PARAMETERS}
    assert found == {way: [] for way in found}
    assert connects(pool) == 1
    if kind == "settings and on_connect":
        assert seen(pool).items() >= {"own setting": "its own", "search_path": "web", "setting": "128kB"}.items()
        assert pool.query("SHOW app.note").scalar() == "prepared"
        assert pool.query("SELECT name FROM pg_prepared_statements").scalar() == "ours"
        assert pool.query("SELECT pg_listening_channels()").scalar() == "ours"


def connects(pool: Any) -> int:
    """How many sessions there were: a reset is meant to keep it."""
    return sum(each["connects"] for each in pool.stats()["endpoints"].values())


# --- one-shot queries ---

INSTEAD = {"SET": "`settings`", "CREATE": r"transaction\(\)", "LISTEN": r"connection\(\)", "PREPARE": r"Handler\(\)"}
INSTEAD["DECLARE"] = r"stream\(\)"


@pytest.mark.contract("2.call.query.2")
def test_query_refuses_what_it_can_read(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """Each statement that leaves something is refused by name, alone or among others, and says what to use."""
    pool = make_pool(connection_count=1)
    fresh = seen(pool)
    refused = [text for kind, (text, _) in STATES.items() if kind != "advisory lock"]
    assert len(refused) == 10
    for text in refused:
        keyword = text.split()[0]
        for said in (text, f"SELECT 1; {text}; SELECT 2", f"/* a -- */ {text.lower()}", text.encode(), sql.SQL(text)):
            with pytest.raises(psycopg2.ProgrammingError, match=f"{keyword}.* only makes sense .*{INSTEAD[keyword]}"):
                pool.query(said)
    assert changed(fresh, seen(pool)) == []


ONE_SHOT: dict[str, Callable[[Any, str], Any]] = {
    "str": lambda pool, text: pool.query(text),
    "bytes": lambda pool, text: pool.query(text.encode()),
    "Composable": lambda pool, text: pool.query(sql.SQL(text)),
    "limit of its own": lambda pool, text: pool.query(text, query_timeout=4321),
    "read_only": lambda pool, text: pool.query(text, read_only=True),
    "failing": lambda pool, text: pool.query(f"{text}; SELECT 1/0"),
}


@pytest.mark.contract("4.given-back.1")
@pytest.mark.parametrize("way", ONE_SHOT)
def test_no_query_leaves_anything(furnished: Server, make_pool: Callable[..., Any], way: str) -> None:
    """What cannot be seen in a text, because a function, a DO block or its mere length hides it, is cleaned up after it."""
    pool = make_pool(connection_count=1)
    call, forms, fresh = ONE_SHOT[way], dict(HIDDEN), seen(pool)
    forms["by a parameter that is SQL"] = lambda text: text
    found = []
    for kind, (text, _) in STATES.items():
        for form, said in forms.items():
            with suppress(psycopg2.errors.DivisionByZero):
                if form in HIDDEN:
                    call(pool, said(text))
                else:
                    pool.query("SELECT %s", (extensions.AsIs(f"web.act($act${text}$act$)"),))
            found += [(kind, form, leaked) for leaked in changed(fresh, seen(pool))]
    assert found == []
    assert connects(pool) == 1


# --- psycopg2's own side ---


def its_own(value: Any, cursor: Any) -> str:
    return "mine"


CLIENT_SIDE: dict[str, Callable[[Any], Any]] = {
    "encoding": lambda raw: raw.set_client_encoding("LATIN1"),
    "autocommit": lambda raw: setattr(raw, "autocommit", not raw.autocommit),
    "isolation_level": lambda raw: setattr(raw, "isolation_level", "SERIALIZABLE"),
    "readonly": lambda raw: setattr(raw, "readonly", True),
    "deferrable": lambda raw: setattr(raw, "deferrable", True),
    "cursor_factory": lambda raw: setattr(raw, "cursor_factory", extras.DictCursor),
    "notices": lambda raw: raw.cursor().execute("DO $$BEGIN RAISE NOTICE 'mine'; END$$"),
    "notifies": lambda raw: raw.cursor().execute("LISTEN news; NOTIFY news"),
    "string_types": lambda raw: extensions.register_type(extensions.new_type((23,), "MINE", its_own), raw),
    "binary_types": lambda raw: raw.binary_types.update({17: its_own}),
}


def client_side(raw: Any) -> dict[str, Any]:
    raw.poll() if raw.autocommit else raw.commit()  # so that a notification that is there would show
    return {name: repr(getattr(raw, name)) for name in CLIENT_SIDE}


def connection_of(pool: Any) -> Any:
    return pool.connection()


@contextmanager
def getconn_of(pool: Any) -> Iterator[Any]:
    raw = pool.getconn()
    try:
        yield raw
    finally:
        pool.putconn(raw)


@contextmanager
def handlers_connection_of(pool: Any) -> Iterator[Any]:
    with pool.handler() as db:
        yield db.connection


@pytest.mark.contract("4.given-back.1")
@pytest.mark.parametrize("way", [connection_of, getconn_of, handlers_connection_of], ids=lambda way: way.__name__)
def test_psycopg2s_side_leaves_nothing(furnished: Server, make_pool: Callable[..., Any], way: Any) -> None:
    """Each thing that psycopg2 keeps on a connection is as new for the next user; it had been changed before."""
    pool = make_pool(connection_count=1)
    with way(pool) as raw:
        fresh = client_side(raw)
    found = []
    for name, change in CLIENT_SIDE.items():
        for end, finish in ENDS.items():
            with suppress(Boom, psycopg2.errors.DivisionByZero), way(pool) as raw:
                change(raw)
                if end == "committed":
                    assert name in changed(fresh, client_side(raw))
                finish(raw.cursor().execute, raw)
            with way(pool) as raw:
                found += [(name, end, leaked) for leaked in changed(fresh, client_side(raw))]
            assert pool.query("SELECT 1, 'ä'").one() == (1, "ä")
    assert found == []
    assert connects(pool) == 1
