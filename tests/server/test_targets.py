"""Which server answers: ``target``, ``role`` and ``read_only`` over a primary and two standbys (contract §3 and §5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBOfflineError, DBQueryError
from tests.life import thread_of
from tests.servers import ROLE, Server, eventually
from tests.several import WHO, Replicas, Several, answering, is_known, state, who, writer, writers

STANDBYS = {"standby1", "standby2"}
ALL = {"primary", *STANDBYS}

# What may answer: what may write, and what is known to read only.
SERVED: dict[str, tuple[set[str], set[str]]] = {
    "auto": ({"primary"}, STANDBYS),
    "any": (ALL, ALL),
    "read-write": ({"primary"}, {"primary"}),
    "read-only": (STANDBYS, STANDBYS),
    "primary": ({"primary"}, {"primary"}),
    "standby": (STANDBYS, STANDBYS),
    "prefer-standby": (STANDBYS, STANDBYS),
}
TARGETS = pytest.mark.parametrize("target", list(SERVED))
READ_ONLY = "SELECT current_setting('transaction_read_only')"


def blocks(pool: Any) -> dict[str, Callable[..., Any]]:
    """Every way but ``query`` that takes ``read_only``: each sends one statement and returns its value."""

    def by_handler(text: str, read_only: bool) -> Any:
        with pool.handler(read_only=read_only) as db:
            return db.query(text).scalar()

    def by_transaction(text: str, read_only: bool) -> Any:
        with pool.transaction(read_only=read_only) as db:
            return db.query(text).scalar()

    def by_handlers_transaction(text: str, read_only: bool) -> Any:
        with pool.handler(read_only=read_only) as db, db.transaction():
            return db.query(text).scalar()

    def by_handlers_connection(text: str, read_only: bool) -> Any:
        with pool.handler(read_only=read_only) as db:
            return _fetched(db.connection, text)

    def by_connection(text: str, read_only: bool) -> Any:
        with pool.connection(read_only=read_only) as raw:
            return _fetched(raw, text)

    def by_run(text: str, read_only: bool) -> Any:
        return pool.run(lambda db: db.query(text).scalar(), read_only=read_only)

    return {
        "handler": by_handler,
        "transaction": by_transaction,
        "handler.transaction": by_handlers_transaction,
        "handler.connection": by_handlers_connection,
        "connection": by_connection,
        "run": by_run,
    }


def _fetched(raw: Any, text: str) -> Any:
    with raw.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchone()[0] if cursor.description else None


def by_getconn(pool: Any) -> Any:
    raw = pool.getconn()
    try:
        return _fetched(raw, WHO)
    finally:
        pool.putconn(raw)


def all_of(labels: set[str], ask: Callable[[], str]) -> bool:
    """Whether all of these answer, and no other, in a thread that has written nothing it would have to see."""

    def asked() -> set[str]:
        answered = [ask() for _ in range(12)]
        eventually(lambda: answered.append(ask()) or set(answered) >= labels)
        return set(answered)

    return bool(thread_of(asked).result().value == labels)


@pytest.mark.contract("5.target-auto.1", "5.target-auto.4", "5.target-auto.5", "3.group.target.1")
@TARGETS
def test_who_answers(replicas: Replicas, make_pool: Callable[..., Any], target: str) -> None:
    """By every way in, each server that the target allows answers in its turn, and no other."""
    pool = make_pool(replicas.config({"target": target}))
    assert eventually(lambda: is_known(pool))
    writing, reading = SERVED[target]
    assert eventually(lambda: answering(pool) == reading)  # as soon as the names in the text are known
    assert all_of(reading, lambda: who(pool))
    assert all_of(reading, lambda: who(pool, read_only=True))
    assert all_of(writing, lambda: writer(pool))
    for name, way in blocks(pool).items():
        assert all_of(writing, partial(way, WHO, False)), name
        assert all_of(reading, partial(way, WHO, True)), name
    assert all_of(writing, lambda: by_getconn(pool))


@pytest.mark.contract("5.p1.1", "3.group.target.1")
@TARGETS
def test_the_first_answer_of_a_new_pool_is_right(
    replicas: Replicas, make_pool: Callable[..., Any], target: str
) -> None:
    """A pool that knows nothing yet asks no server that the target excludes; reads may go to the primary meanwhile."""
    writing, reading = SERVED[target]
    if target in ("auto", "prefer-standby"):
        reading = reading | {"primary"}
    for read_only in (False, True) * 3:
        pool = make_pool(replicas.config({"target": target, "min_connections": 0}))
        allowed = reading if read_only or target == "prefer-standby" else writing
        assert who(pool, read_only=read_only) in allowed
        pool.close()


@pytest.mark.contract("5.p1.1", "5.p1.3", "2.call.stats.1")
def test_roles_are_found_out(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``stats()`` and ``check()`` name each server's role, whatever the order of the list; the role has LOGIN and no more."""
    config = replicas.config()
    config["db"] = config["db"][::-1]
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    roles = {"primary": "primary", "standby1": "standby", "standby2": "standby"}
    assert {label: state(pool, label, "role") for label in ALL} == roles
    assert {label: answer["role"] for label, answer in pool.check().items()} == roles
    assert writer(pool) == "primary"


@pytest.mark.contract("5.target-auto.4")
@pytest.mark.parametrize("target", ["auto", "any", "primary", "standby"])
@pytest.mark.parametrize("autocommit", [True, False])
def test_read_only_blocks_are_read_only(
    replicas: Replicas, make_pool: Callable[..., Any], target: str, autocommit: bool
) -> None:
    """With ``read_only=True`` a block's transactions are READ ONLY, also on a primary; afterwards nothing of it is left."""
    pool = make_pool(replicas.config({"target": target, "autocommit": autocommit}))
    for name, way in blocks(pool).items():
        assert (way(READ_ONLY, True), name) == ("on", name)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            way(f"CREATE TABLE {ROLE}.never (a int)", True)
    if target in ("auto", "primary"):
        for name, way in blocks(pool).items():
            assert (way(READ_ONLY, False), name) == ("off", name)
        assert {pool.query(READ_ONLY, read_only=False).scalar() for _ in range(12)} == {"off"}


@pytest.mark.contract("5.target-auto.4")
def test_a_query_joins_the_transaction_that_is_open(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Inside ``transaction()`` also ``read_only=True`` stays where the transaction is, and sees what it wrote."""
    pool = make_pool(replicas.config())
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS)
    with pool.transaction() as db:
        db.query("SET LOCAL custom.mark = 'here'")
        assert pool.query("SELECT current_setting('custom.mark', true)", read_only=True).scalar() == "here"
        assert who(pool, read_only=True) == "primary"
    with pool.transaction(read_only=True):
        assert {who(pool) for _ in range(3)} <= STANDBYS


@pytest.mark.contract("3.endpoint.role.1", "3.group.target.1")
def test_a_configured_role_is_believed(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``role`` takes the place of what the server tells: a logical replica may serve as a standby."""
    each = {"one": {"role": "standby"}, "two": {"role": "primary"}, "three": {"role": "standby"}}
    expected = {
        "auto": ({"two"}, {"one", "three"}),
        "primary": ({"two"}, {"two"}),
        "read-write": ({"two"}, {"two"}),
        "standby": ({"one", "three"}, {"one", "three"}),
        "prefer-standby": ({"one", "three"}, {"one", "three"}),
        "any": ({"one", "two", "three"}, {"one", "two", "three"}),
    }
    for target, (writing, reading) in expected.items():
        pool = make_pool(three_servers.config({"target": target}, each=each))
        assert eventually(lambda pool=pool: is_known(pool))
        # First, because nobody can tell whether such a standby shows what this thread has written.
        assert eventually(lambda pool=pool, goal=reading: answering(pool, read_only=True) == goal), target
        assert eventually(lambda pool=pool, goal=writing: writers(pool) == goal), target
        assert {label: state(pool, label, "role") for label in each} == {k: v["role"] for k, v in each.items()}
        pool.close()


@contextmanager
def read_only_by_default(server: Server, how: str) -> Iterator[None]:
    """A primary whose sessions refuse writes unless they say otherwise."""
    texts = {
        "the server": ("ALTER SYSTEM {} default_transaction_read_only {}", "SELECT pg_reload_conf()"),
        "the role": (f"ALTER ROLE {ROLE} {{}} default_transaction_read_only {{}}",),
    }[how]

    def say(verb: str, value: str) -> None:
        for text in texts:
            server.sql(text.format(verb, value))

    say("SET", "= on")
    try:
        yield
    finally:
        say("RESET", "")


@pytest.mark.contract("3.group.target.1")
@pytest.mark.parametrize("how", ["the server", "the role"])
def test_a_server_that_is_read_only_by_default(
    three_primaries: Several, make_pool: Callable[..., Any], how: str
) -> None:
    """As for libpq: it is ``read-only`` and not ``read-write``, but still a ``primary``."""
    with read_only_by_default(three_primaries.by_label["one"], how):
        expected = {"read-only": {"one"}, "read-write": {"two"}, "primary": {"one"}, "any": {"one", "two", "three"}}
        for target, labels in expected.items():
            pool = make_pool(three_primaries.config({"target": target}))
            assert eventually(lambda pool=pool: is_known(pool))
            assert eventually(lambda pool=pool, goal=labels: answering(pool) == goal), target
            for _ in range(10):
                assert answering(pool, 6) == labels, target
            pool.close()


@pytest.mark.contract("3.group.target.1")
def test_a_server_becomes_read_only_while_it_is_used(three_primaries: Several, make_pool: Callable[..., Any]) -> None:
    """Within about a second ``read-write`` leaves a server whose default has changed, and comes back to it afterwards."""
    pool = make_pool(three_primaries.config({"target": "read-write"}))
    assert eventually(lambda: is_known(pool))
    assert answering(pool) == {"one"}
    with read_only_by_default(three_primaries.by_label["one"], "the server"):
        assert eventually(lambda: who(pool) == "two", 2.5)
    assert eventually(lambda: who(pool) == "one", 2.5)


@pytest.mark.contract("3.group.settings.1", "3.group.target.1")
@pytest.mark.parametrize("by", ["settings", "on_connect"])
def test_a_group_read_only_by_its_own_wish_says_nothing_of_the_server(
    replicas: Replicas, make_pool: Callable[..., Any], by: str
) -> None:
    """Sessions that one group makes read-only do not take the server away from another group's ``read-write``."""
    config = replicas.config({"target": "read-write", "timeout": 0})
    own: dict[str, Any] = {"settings": {"default_transaction_read_only": "on"}}
    if by == "on_connect":
        own = {"on_connect": lambda raw: raw.set_session(readonly=True, autocommit=True)}
    config["groups"]["reports"] = {"connection_count": 2, "target": "primary", **own}
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: pool.stats()["groups"]["web"]["idle"])
    for _ in range(5):
        replicas.primary.terminate("pgdbpool:reports")
        assert pool.query(READ_ONLY, group="reports", timeout=5).scalar() == "on"
        assert {who(pool) for _ in range(20)} == {"primary"}


@pytest.mark.contract("3.group.target.1", "4.waiting.2")
def test_a_target_that_nobody_fits(three_primaries: Several, make_pool: Callable[..., Any]) -> None:
    """Three primaries and ``target: standby``: the wait ends at ``timeout`` by DBOfflineError, which names what was sought."""
    pool = make_pool(three_primaries.config({"target": "standby", "timeout": 0.4}))
    assert eventually(lambda: is_known(pool))
    with pytest.raises(DBOfflineError, match=r"standby.*one up \(primary\).*two up \(primary\).*three up \(primary\)"):
        pool.query("SELECT 1")
    with pytest.raises(DBOfflineError):
        pool.query("SELECT 1", read_only=True)


@pytest.mark.contract("5.target-auto.4")
def test_groups_have_targets_of_their_own(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Two groups over the same servers with different targets do not get into each other's way."""
    config = replicas.config()
    config["groups"]["reports"] = {"connection_count": 2, "target": "prefer-standby"}
    config["groups"]["everywhere"] = {"connection_count": 1, "target": "any"}
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: answering(pool, group="everywhere") == ALL)
    assert eventually(lambda: answering(pool, group="reports") == STANDBYS)
    assert writers(pool) == {"primary"}


@pytest.mark.contract("5.target-auto.4")
def test_writes_on_a_standby_fail_as_the_server_says(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``target: standby`` means it: a write raises the server's own error, and the connection stays sound."""
    pool = make_pool(replicas.config({"target": "standby", "connection_count": 1}))
    for _ in range(6):
        with pytest.raises(DBQueryError) as caught:
            pool.query(f"CREATE TABLE {ROLE}.never (a int)")
        assert caught.value.pgcode == "25006"
    assert eventually(lambda: answering(pool) == STANDBYS)  # one may just be with the cleaner
    assert sum(each["connects"] for each in pool.stats()["endpoints"].values()) <= 3


@pytest.mark.contract("3.endpoint.query_timeout.1")
def test_each_endpoint_has_its_own_limit(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``query_timeout`` is the endpoint's that answers, on the server's side and on the pool's, also by an argument."""
    standbys = {label: {"query_timeout": 20000} for label in STANDBYS}
    pool = make_pool(replicas.config(each={**standbys, "primary": {"query_timeout": 400}}))
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS)
    assert pool.query("SELECT pg_sleep(1.8), 7", read_only=True).one()[1] == 7
    with pytest.raises(psycopg2.errors.QueryCanceled):
        pool.query("SELECT pg_sleep(5)", read_only=False)
    with pytest.raises(psycopg2.errors.QueryCanceled):
        pool.query("SELECT pg_sleep(5)", read_only=True, query_timeout=400)
    with pool.handler(read_only=True) as db:
        assert db.query("SELECT pg_sleep(1.8), 7").one()[1] == 7
        assert db.query("SHOW statement_timeout").scalar() == "20s"
    with pool.connection(read_only=True) as raw:
        assert _fetched(raw, "SELECT pg_sleep(1.8)::text") == ""


@pytest.mark.contract("5.target-auto.3")
def test_serializable_reads_go_to_the_primary(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A standby refuses SERIALIZABLE for being one (0A000), so under ``auto`` such a transaction is the primary's."""
    pool = make_pool(replicas.config())
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS)
    for _ in range(4):
        with pool.transaction(read_only=True, isolation="serializable") as db:
            assert db.query(WHO).scalar() == "primary"
        run = pool.run(lambda db: db.query(WHO).scalar(), read_only=True, isolation="serializable")
        assert run == "primary"
    with pool.transaction(read_only=True, isolation="repeatable read") as db:
        assert db.query(WHO).scalar() in STANDBYS
