"""Read your own writes: whatever way a thread wrote, and whatever way it reads then, it sees that (contract §5)."""

from __future__ import annotations

import gc
import io
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import AsIs

import pgdbpool
from tests.life import outcomes, thread_of
from tests.servers import ROLE, Server, eventually
from tests.several import Replicas, answering, is_known
from tests.usage import Wire, fresh_table, rows_of, wire_to

TABLE = "causal"
INSERT = f"INSERT INTO {ROLE}.{TABLE} VALUES (%s)"
READ = f"SELECT max(id), current_setting('cluster_name') FROM {ROLE}.{TABLE}"
STANDBYS = {"standby1", "standby2"}
numbers = itertools.count(1)


def furnish(replicas: Replicas) -> Replicas:
    """A table, a function that writes into it, and a table whose constraint is looked at by COMMIT alone."""
    primary = replicas.primary
    fresh_table(primary, TABLE, "id int PRIMARY KEY")
    body = f"INSERT INTO {ROLE}.{TABLE} VALUES (n) RETURNING id"
    primary.sql(f"CREATE FUNCTION {ROLE}.put(n int) RETURNS int LANGUAGE sql AS '{body}'")
    primary.sql(f"ALTER FUNCTION {ROLE}.put OWNER TO {ROLE}")
    fresh_table(primary, "deferred", "id int UNIQUE DEFERRABLE INITIALLY DEFERRED")
    replicas.caught_up()
    return replicas


@pytest.fixture(scope="module")
def cluster(module_replicas: Replicas) -> Replicas:
    return furnish(module_replicas)


def configured(cluster: Replicas, **each: dict[str, Any]) -> dict[str, Any]:
    """Groups: ``web``, ``plain`` without autocommit, ``reports`` that prefers standbys, ``strict`` that has no others."""
    config = cluster.config({"connection_count": 6}, each=each)
    config["groups"]["plain"] = {"connection_count": 4, "autocommit": False}
    config["groups"]["reports"] = {"connection_count": 4, "target": "prefer-standby"}
    config["groups"]["strict"] = {"connection_count": 4, "target": "standby"}
    return config


def ready(pool: Any) -> Any:
    """It knows what all servers are, and what the texts of this file stand for: they run on both standbys."""
    assert eventually(lambda: is_known(pool))
    for group in ("web", "reports"):
        assert eventually(
            lambda group=group: {pool.query(READ, group=group).one()[1] for _ in range(8)} == STANDBYS, 15.0
        )
    return pool


@pytest.fixture(scope="module")
def pool(cluster: Replicas) -> Iterator[Any]:
    with pgdbpool.Pool(configured(cluster)) as made:
        yield ready(made)


@pytest.fixture
def owned(pool: Any, cluster: Replicas) -> Any:
    """The pool in a test whose thread has written nothing that the standbys do not show."""
    by_transaction(pool, next(numbers))  # whose place is known at once
    cluster.caught_up()
    assert eventually(lambda: thread_reads_on_standbys(pool), 15.0)
    return pool


def thread_reads_on_standbys(pool: Any) -> bool:
    return {pool.query(READ).one()[1] for _ in range(4)} <= STANDBYS


@contextmanager
def paused(cluster: Replicas) -> Iterator[None]:
    """Neither standby replays anything until the block ends."""
    try:
        for server in cluster.standbys:
            server.sql("SELECT pg_wal_replay_pause()")
        for server in cluster.standbys:
            assert eventually(
                lambda server=server: server.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)]
            )
        yield
    finally:
        for server in cluster.standbys:
            server.sql("SELECT pg_wal_replay_resume()")
        cluster.caught_up()


@contextmanager
def delayed(cluster: Replicas, by: str = "200ms") -> Iterator[None]:
    """Both standbys replay each commit so late."""
    try:
        _set_delay(cluster, f"= '{by}'")
        yield
    finally:
        _set_delay(cluster, "TO DEFAULT")
        cluster.caught_up()


def _set_delay(cluster: Replicas, value: str) -> None:
    for server in cluster.standbys:
        server.sql(f"ALTER SYSTEM SET recovery_min_apply_delay {value}")
        server.sql("SELECT pg_reload_conf()")
        wanted = value.strip("= '") if "=" in value else "0"
        assert eventually(
            lambda server=server, wanted=wanted: server.sql("SHOW recovery_min_apply_delay") == [(wanted,)]
        )


# -- the ways to write and to read ------------------------------------------------------------------------------------


def by_handler(pool: Any, number: int) -> None:
    with pool.handler() as db:
        db.query(INSERT, (number,))


def by_handler_commit(pool: Any, number: int) -> None:
    with pool.handler("plain") as db:
        db.query(INSERT, (number,))
        db.commit()


def by_handler_exit(pool: Any, number: int) -> None:
    with pool.handler("plain") as db:
        db.query(INSERT, (number,))


def by_handler_text(pool: Any, number: int) -> None:
    with pool.handler("plain") as db:
        db.query(INSERT, (number,))
        db.query("COMMIT")


def by_executemany(pool: Any, number: int) -> None:
    with pool.handler() as db:
        db.executemany(INSERT, [(number,)])


def by_block(pool: Any, number: int) -> None:
    with pool.handler() as db, db.transaction():
        db.query(INSERT, (number,))


def by_transaction(pool: Any, number: int) -> None:
    with pool.transaction() as db:
        db.query(INSERT, (number,))


def by_savepoint(pool: Any, number: int) -> None:
    with pool.transaction():
        with pool.transaction() as db:
            db.query(INSERT, (number,))
        pool.query("SELECT 1")


def by_connection(pool: Any, number: int, group: str | None = None) -> None:
    with pool.connection(group) as raw:
        raw.cursor().execute(INSERT, (number,))


def by_handler_connection(pool: Any, number: int) -> None:
    with pool.handler() as db:
        db.connection.cursor().execute(INSERT, (number,))


def by_handler_connection_text(pool: Any, number: int) -> None:
    with pool.handler("plain") as db:
        db.connection.cursor().execute(INSERT, (number,))
        db.connection.cursor().execute("COMMIT")


def by_getconn(pool: Any, number: int, key: str | None = None) -> None:
    raw = pool.getconn(key)
    raw.cursor().execute(INSERT, (number,))
    raw.commit()
    pool.putconn(raw, key)


def by_with(pool: Any, number: int) -> None:
    pool.query(f"WITH new AS (INSERT INTO {ROLE}.{TABLE} VALUES (%s) RETURNING id) SELECT id FROM new", (number,))


def by_composable(pool: Any, number: int) -> None:
    """What has to be written out by a connection before anybody knows what it is."""
    pool.query(sql.SQL("SELECT {}.put({})").format(sql.Identifier(ROLE), sql.Literal(number)))


def by_parameter(pool: Any, number: int) -> None:
    """A parameter that is SQL itself."""
    pool.query("SELECT %s", (AsIs(f"{ROLE}.put({number})"),))


def by_parameter_in_transaction(pool: Any, number: int) -> None:
    with pool.transaction() as db:
        db.query("SELECT %s", (AsIs(f"{ROLE}.put({number})"),))


def by_parameters_of_many(pool: Any, number: int) -> None:
    with pool.handler() as db:
        db.executemany("SELECT %s", [(AsIs(f"{ROLE}.put({number})"),)])


def by_copy(pool: Any, number: int) -> None:
    with pool.connection() as raw:
        raw.cursor().copy_expert(f"COPY {ROLE}.{TABLE} FROM STDIN", io.StringIO(f"{number}\n"))


WRITES: dict[str, Callable[[Any, int], Any]] = {
    "query": lambda pool, number: pool.query(INSERT, (number,)),
    "query of bytes": lambda pool, number: pool.query(INSERT.encode(), (number,)),
    "query of two statements": lambda pool, number: pool.query(f"SELECT 1; {INSERT}", (number,)),
    "query of WITH": by_with,
    "query of a function": lambda pool, number: pool.query(f"SELECT {ROLE}.put(%s)", (number,)),
    "query of a Composable": by_composable,
    "query of a parameter": by_parameter,
    "transaction of a parameter": by_parameter_in_transaction,
    "executemany of parameters": by_parameters_of_many,
    "COPY": by_copy,
    "handler": by_handler,
    "handler, commit()": by_handler_commit,
    "handler, end of block": by_handler_exit,
    "handler, COMMIT": by_handler_text,
    "executemany": by_executemany,
    "handler.transaction": by_block,
    "transaction": by_transaction,
    "savepoint": by_savepoint,
    "run": lambda pool, number: pool.run(lambda db: db.query(INSERT, (number,))),
    "connection": by_connection,
    "connection without autocommit": lambda pool, number: by_connection(pool, number, "plain"),
    "handler.connection": by_handler_connection,
    "handler.connection, COMMIT": by_handler_connection_text,
    "getconn": by_getconn,
    "getconn by key": lambda pool, number: by_getconn(pool, number, f"of {threading.get_ident()}"),
}


def read_handler(pool: Any, text: str, group: str | None = None, **options: Any) -> Any:
    with pool.handler(group, **options) as db:
        return db.query(text).one()


def read_transaction(pool: Any, text: str, group: str | None = None, **options: Any) -> Any:
    with pool.transaction(group, **options) as db:
        return db.query(text).one()


def read_connection(pool: Any, text: str, group: str | None = None, **options: Any) -> Any:
    with pool.connection(group, **options) as raw, raw.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchone()


def read_getconn(pool: Any, text: str, group: str) -> Any:
    raw = pool.getconn(group=group)
    try:
        with raw.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()
    finally:
        pool.putconn(raw)


READS: dict[str, Callable[[Any, str], Any]] = {
    "query": lambda pool, text: pool.query(text).one(),
    "promised query": lambda pool, text: pool.query(text, read_only=True).one(),
    "transaction": lambda pool, text: read_transaction(pool, text, read_only=True),
    "run": lambda pool, text: pool.run(lambda db: db.query(text).one(), read_only=True),
    "handler": lambda pool, text: read_handler(pool, text, read_only=True),
    "connection": lambda pool, text: read_connection(pool, text, read_only=True),
    "query in reports": lambda pool, text: pool.query(text, group="reports").one(),
    "handler in reports": lambda pool, text: read_handler(pool, text, "reports"),
    "transaction in reports": lambda pool, text: read_transaction(pool, text, "reports"),
    "connection in reports": lambda pool, text: read_connection(pool, text, "reports"),
    "getconn in reports": lambda pool, text: read_getconn(pool, text, "reports"),
}


def stale(pool: Any, number: int) -> dict[str, Any]:
    """The ways of reading that do not see that number, and what they saw."""
    seen = {way: tuple(read(pool, READ)) for way, read in READS.items()}
    return {way: found for way, found in seen.items() if found[0] != number}


# -- never stale ------------------------------------------------------------------------------------------------------


@pytest.mark.contract("5.read-your-own.1")
@pytest.mark.parametrize("way", list(WRITES))
def test_a_write_is_seen_while_the_standbys_stand_still(owned: Any, cluster: Replicas, way: str) -> None:
    """Each way of reading shows what was written in each way, although no standby replays it."""
    number = next(numbers)
    with paused(cluster):
        assert thread_reads_on_standbys(owned)
        WRITES[way](owned, number)
        assert stale(owned, number) == {}


def test_others_see_it_later(owned: Any, cluster: Replicas) -> None:
    """Another thread's reads stay on the standbys, and show what these have: so what is tested here can fail."""
    before, number = owned.query(READ).one()[0], next(numbers)
    with paused(cluster):
        by_transaction(owned, number)
        seen = [tuple(each) for each in thread_of(lambda: [owned.query(READ).one() for _ in range(8)]).result().value]
        assert {each[0] for each in seen} == {before}
        assert {each[1] for each in seen} == STANDBYS


@pytest.mark.contract("5.read-your-own.1")
def test_standbys_200_ms_behind(owned: Any, cluster: Replicas) -> None:
    """Six threads that write in all ways, and read at once in all ways, never see an old state."""
    first = [next(numbers) for _ in range(10 * len(WRITES) + 20)][10] // 10 * 10

    def work(thread: int) -> list[str]:
        missed, text = [], f"{READ} WHERE id % 10 = {thread}"
        for step, (name, write) in enumerate(WRITES.items()):
            write(owned, number := first + 10 * step + thread)
            way = list(READS)[(step + thread) % len(READS)]
            missed += [] if READS[way](owned, text)[0] == number else [f"{name}: {way}"]
        return missed

    with delayed(cluster):
        done = outcomes(6, work, 40.0)
    assert [(each.value, each.error) for each in done] == [([], None)] * 6


HOLDS: dict[str, Callable[[Any], Any]] = {
    "connection": lambda pool: pool.connection(),
    "handler.connection": lambda pool: pool.handler(),
    "getconn": lambda pool: lent(pool),
}


@contextmanager
def lent(pool: Any) -> Iterator[Any]:
    raw = pool.getconn()
    try:
        yield raw
    finally:
        pool.putconn(raw)


@pytest.mark.contract("5.read-your-own.1")
@pytest.mark.parametrize(
    ("how", "between"),
    [
        *itertools.product(HOLDS, ["nothing", "query"]),
        *itertools.product(["getconn"], ["transaction", "connection", "token"]),
    ],
)
def test_what_is_written_on_a_connection_still_held(owned: Any, cluster: Replicas, how: str, between: str) -> None:
    """The real connection may write at any time: reads beside it see that too, whatever was done in between."""
    number, later = next(numbers), next(numbers)
    with HOLDS[how](owned) as held:
        raw = held.connection if how == "handler.connection" else held
        if between == "token":
            owned.causal_token()
        elif between != "nothing":
            WRITES[between](owned, number)
        cluster.caught_up()
        with paused(cluster):
            raw.cursor().execute(INSERT, (later,))
            raw.autocommit or raw.commit()
            assert stale(owned, later) == {}
        with paused(cluster):  # and once more, after reads
            raw.cursor().execute(INSERT, (last := next(numbers),))
            raw.autocommit or raw.commit()
            assert stale(owned, last) == {}


@pytest.mark.contract("5.read-your-own.1")
def test_a_connection_that_another_thread_took(owned: Any, cluster: Replicas) -> None:
    """``getconn`` with a key: whoever has it at the moment sees what he wrote on it, while he has it and afterwards."""
    number, later = next(numbers), next(numbers)
    owned.getconn("shared")

    def elsewhere() -> list[Any]:
        raw = owned.getconn("shared")
        raw.cursor().execute(INSERT, (number,))
        raw.commit()
        found = [stale(owned, number)]
        raw.cursor().execute(INSERT, (later,))
        raw.commit()
        owned.putconn(raw, "shared")
        return [*found, stale(owned, later)]

    with paused(cluster):
        done = thread_of(elsewhere).result()
        assert (done.value, done.error) == ([{}, {}], None)


def test_between_two_transactions_of_one_handler(owned: Any, cluster: Replicas) -> None:
    """COMMIT AND CHAIN has committed although a transaction is open: reads beside the handler see that."""
    number = next(numbers)
    with paused(cluster), owned.handler("plain") as db:
        db.query(INSERT, (number,))
        db.query("COMMIT AND CHAIN")
        assert stale(owned, number) == {}


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize(
    "way", ["query", "handler", "transaction", "handler, commit()", "connection without autocommit"]
)
def test_a_write_in_doubt_is_seen_if_it_was_done(cluster: Replicas, make_pool: Callable[..., Any], way: str) -> None:
    """The answer is lost, the write was done: this thread's reads show it."""
    number = next(numbers)
    with wire_to(cluster.primary) as wire:
        pool = ready(make_pool(configured(cluster, primary=through(wire))))
        with paused(cluster):
            wire.lose_answer("INSERT" if way in ("query", "handler") else "COMMIT")
            with pytest.raises(pgdbpool.InDoubt):
                WRITES[way](pool, number)
            assert rows_of(cluster.primary, TABLE)[-1] == number
            assert stale(pool, number) == {}


def through(wire: Wire) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": wire.port, "ssl": "disable"}


@pytest.mark.contract("5.read-your-own.1")
def test_groups_that_read_from_standbys_alone_wait(owned: Any, cluster: Replicas) -> None:
    """``target: standby`` has no primary to go to: it waits for a standby that shows the write, within its timeout."""
    number, later = next(numbers), next(numbers)
    for write, value in ((by_transaction, number), (WRITES["query"], later)):
        with paused(cluster):
            write(owned, value)
            with pytest.raises(
                pgdbpool.DBOfflineError, match=r"no standby that shows what this thread has written, within 0\.4 s"
            ):
                owned.query(READ, group="strict", timeout=0.4)
            done = thread_of(lambda: None)  # others do not wait
            assert done.result().error is None
        assert owned.query(READ, group="strict", timeout=10).one()[0] == value


@pytest.mark.parametrize("how", list(HOLDS))
def test_they_can_be_read_while_a_connection_is_held(owned: Any, cluster: Replicas, how: str) -> None:
    """What was committed on it until now is what they have to show: they do as soon as a standby has replayed that."""
    number = next(numbers)
    with HOLDS[how](owned) as held:
        raw = held.connection if how == "handler.connection" else held
        raw.cursor().execute(INSERT, (number,))
        raw.autocommit or raw.commit()
        assert owned.query(READ, group="strict", timeout=10).one()[0] == number


def test_a_connection_that_was_dropped(owned: Any, cluster: Replicas) -> None:
    """One that its thread has lost, and the pool has taken back, does not keep that thread's reads on the primary."""

    def drop() -> None:
        owned.connection().__enter__().cursor().execute(INSERT, (next(numbers),))

    drop()
    gc.collect()
    assert eventually(lambda: owned.stats()["groups"]["web"]["in_use"] == 0, 10.0)
    cluster.caught_up()
    assert eventually(lambda: thread_reads_on_standbys(owned), 5.0)


def test_they_wait_in_place(owned: Any, cluster: Replicas) -> None:
    """A read of ``target: standby`` under way is served as soon as a standby goes on."""
    number = next(numbers)

    def work() -> Any:
        by_transaction(owned, number)
        written.append(number)
        return owned.query(READ, group="strict", timeout=20).one()[0]

    written: list[int] = []
    with paused(cluster):
        reader = thread_of(work)
        assert eventually(lambda: written)
    assert reader.result().value == number


# -- back to the standbys ---------------------------------------------------------------------------------------------


@pytest.mark.contract("5.read-your-own.1")
@pytest.mark.parametrize("way", list(READS))
def test_reads_are_on_standbys_that_have_caught_up(owned: Any, cluster: Replicas, way: str) -> None:
    """After each of some transactions, once it is replayed, reads show it, and go to standbys at once or very soon."""

    def reads_on_a_standby() -> bool:
        found, server = READS[way](owned, READ)
        assert found == number
        return server in STANDBYS

    for _ in range(4):
        by_transaction(owned, number := next(numbers))
        cluster.caught_up()
        assert eventually(reads_on_a_standby, 3.0)


@pytest.mark.parametrize("way", ["query", "handler", "connection", "getconn"])
def test_back_after_a_write_in_autocommit(owned: Any, cluster: Replicas, way: str) -> None:
    """Where the write's position is not known at once the primary's next probe tells it: reads are back within two."""
    WRITES[way](owned, next(numbers))
    cluster.caught_up()
    assert eventually(lambda: thread_reads_on_standbys(owned), 4.0)


def test_reads_cost_no_question(cluster: Replicas, make_pool: Callable[..., Any]) -> None:
    """Reads on standbys that show the write are one round trip each, and nothing else is asked for them."""
    with wire_to(cluster.standbys[0]) as wire:
        config = configured(cluster, standby1=through(wire))
        config["db"].pop()
        pool = make_pool(config)
        assert eventually(lambda: is_known(pool))
        assert eventually(lambda: pool.query(READ).one()[1] == "standby1", 15.0)
        by_transaction(pool, next(numbers))
        cluster.caught_up()
        assert eventually(lambda: pool.query(READ).one()[1] == "standby1")
        wire.queries()
        assert {pool.query(READ).one()[1] for _ in range(50)} == {"standby1"}
        assert wire.queries() == [READ] * 50


# -- what is said for it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", [False, True])
def test_round_trips_of_a_transaction(cluster: Replicas, make_pool: Callable[..., Any], track: bool) -> None:
    """A transaction of one write is two round trips: BEGIN goes with the write, the question for the position with COMMIT."""
    with wire_to(cluster.primary) as wire:
        pool = ready(make_pool(configured(cluster, primary=through(wire))))
        for _ in range(3):
            wire.queries()
            with pool.transaction(track=track) as db:
                db.query(INSERT, (next(numbers),))
            said = [text for text in wire.queries() if "pg_proc" not in text]
            assert len(said) == 2, said
            assert said[0].startswith("BEGIN")
            assert said[1].startswith("COMMIT")
        wire.queries()
        with pool.transaction(track=track) as db:  # nothing written: nothing is asked, not even an id
            db.query(f"SELECT id FROM {ROLE}.{TABLE} LIMIT 1")
        assert [text for text in wire.queries() if "pg_proc" not in text][1:] == ["COMMIT"]


def pieces(pool: Any, group: str) -> dict[str, Callable[[Callable[[Any], Any]], Any]]:
    """The ways to commit, each around a function that is given something with ``query``."""

    def in_transaction(work: Callable[[Any], Any]) -> None:
        with pool.transaction(group) as db:
            work(db)

    def in_handler(work: Callable[[Any], Any]) -> None:
        with pool.handler(group) as db:
            work(db)
            db.commit()

    def in_block(work: Callable[[Any], Any]) -> None:
        with pool.handler() as db, db.transaction():
            work(db)

    return {"transaction": in_transaction, "commit": in_handler, "block": in_block}


WAYS = ["transaction", "commit", "block"]


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("way", WAYS)
def test_a_commit_that_fails_is_not_hidden(owned: Any, cluster: Replicas, way: str) -> None:
    """A deferred constraint fails at COMMIT: its error is raised, nothing is kept, and the position is no news."""

    def twice(db: Any) -> None:
        db.query(f"INSERT INTO {ROLE}.deferred VALUES (7), (7)")

    with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
        pieces(owned, "plain")[way](twice)
    assert isinstance(caught.value, pgdbpool.DBQueryError)
    assert rows_of(cluster.primary, "deferred") == []
    assert thread_reads_on_standbys(owned)


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("code", ["42501", "55000", "0A000", "57014", "P0001"])
def test_a_commit_that_a_trigger_refuses(owned: Any, cluster: Replicas, code: str) -> None:
    """Whatever its code: the trigger's error is raised, and no other, or it is in doubt and the server says "aborted"."""
    cluster.primary.sql(
        f"""
        CREATE OR REPLACE FUNCTION {ROLE}.refuse() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE EXCEPTION 'by the trigger' USING ERRCODE = '{code}'; END $$;
        DROP TRIGGER IF EXISTS refuses ON {ROLE}.deferred;
        CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON {ROLE}.deferred DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION {ROLE}.refuse()"""
    )
    try:
        with pytest.raises(psycopg2.Error) as caught:
            owned.run(lambda db: db.query(f"INSERT INTO {ROLE}.deferred VALUES (9)"))
    finally:
        cluster.primary.sql(f"DROP TRIGGER refuses ON {ROLE}.deferred")
    error = caught.value
    assert error.pgcode == code or (code == "57014" and getattr(error, "outcome", None) == "aborted"), repr(error)
    assert rows_of(cluster.primary, "deferred") == []


@pytest.mark.contract("4.commit-of-a.1")
@pytest.mark.parametrize("way", WAYS)
def test_a_transaction_that_had_failed_is_not_hidden(owned: Any, cluster: Replicas, way: str) -> None:
    """COMMIT of what has failed raises, with the first error as its cause."""

    def fails(db: Any) -> None:
        db.query(f"INSERT INTO {ROLE}.deferred VALUES (8)")
        with pytest.raises(pgdbpool.DBQueryError):
            db.query("SELECT 1/0")

    with pytest.raises(psycopg2.errors.InFailedSqlTransaction) as caught:
        pieces(owned, "plain")[way](fails)
    assert isinstance(caught.value.__cause__, psycopg2.errors.DivisionByZero)
    assert rows_of(cluster.primary, "deferred") == []


@pytest.mark.contract("2.call.run.1")
def test_a_serialization_failure_at_commit_is_not_hidden(owned: Any, cluster: Replicas) -> None:
    """Of two serializable transactions that each read what the other writes the second one's COMMIT raises."""
    count = f"SELECT count(*) FROM {ROLE}.deferred"

    def second(other: Any) -> None:
        with owned.transaction(isolation="serializable") as db:
            db.query(count)
            db.query(f"INSERT INTO {ROLE}.deferred VALUES (1)")
            other.query(f"INSERT INTO {ROLE}.deferred VALUES (2)")
            commit_now(other)

    with owned.transaction("plain", isolation="serializable") as other:
        other.query(count)
        with pytest.raises(psycopg2.errors.SerializationFailure, match="commit"):
            second(other)
    assert rows_of(cluster.primary, "deferred") == [2]
    cluster.primary.sql(f"TRUNCATE {ROLE}.deferred")


def commit_now(db: Any) -> None:
    """Behind the back of ``transaction()``, which would let nobody do it before its block ends."""
    db.dialogue.session.execute("COMMIT", None, 5.0)


def test_a_server_that_does_not_tell_positions(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Where nobody may ask for positions a transaction commits as ever, and reads go to the primary."""
    for function in ("pg_walfile_name(pg_lsn)", "pg_current_wal_insert_lsn()"):
        own_replicas.primary.sql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC")
    furnish(own_replicas)
    pool = make_pool(configured(own_replicas))
    roles = lambda: [each["role"] for each in pool.stats()["endpoints"].values()]  # noqa: E731
    assert eventually(lambda: roles() == ["primary", "standby", "standby"])
    with paused(own_replicas):
        for number, way in enumerate(WRITES, 1):
            WRITES[way](pool, number)
            assert stale(pool, number) == {}, way
        assert rows_of(own_replicas.primary, TABLE) == list(range(1, len(WRITES) + 1))
        token = pool.causal_token()
        with_token = thread_of(lambda: seen_with(pool, token)).result()
        assert (with_token.value, with_token.error) == (len(WRITES), None)


@pytest.mark.contract("5.read-your-own.1")
def test_without_threads(cluster: Replicas, make_pool: Callable[..., Any]) -> None:
    """``type: non-threaded`` has nobody to probe: reads show what was written, and are back on the standbys soon."""
    pool = make_pool({**configured(cluster), "type": "non-threaded"})
    assert eventually(lambda: thread_reads_on_standbys(pool), 10.0)
    with paused(cluster):
        for name in ("query", "transaction", "connection", "getconn"):
            WRITES[name](pool, number := next(numbers))
            assert stale(pool, number) == {}, name
    assert eventually(lambda: thread_reads_on_standbys(pool), 10.0)


@pytest.mark.contract("5.read-your-own.1")
def test_without_threads_on_standbys_alone(cluster: Replicas, make_pool: Callable[..., Any]) -> None:
    """``non-threaded``, where only standbys may serve: a read right after a write looks until one has replayed that."""
    pool = make_pool({**configured(cluster), "type": "non-threaded"})
    for name in ("query", "transaction") * 5:
        WRITES[name](pool, number := next(numbers))
        assert pool.query(READ, group="strict", timeout=5).one()[0] == number, name
    with paused(cluster):
        WRITES["query"](pool, number := next(numbers))
        with pytest.raises(pgdbpool.DBOfflineError, match="no standby that shows what this thread has written"):
            pool.query(READ, group="strict", timeout=0.5)
    assert pool.query(READ, group="strict", timeout=5).one()[0] == number


# -- tokens -----------------------------------------------------------------------------------------------------------


def seen_with(pool: Any, token: str | None) -> Any:
    with pool.causal(token):
        return pool.query(READ).one()[0]


def stale_with(pool: Any, token: str | None, number: int) -> dict[str, Any]:
    with pool.causal(token):
        return stale(pool, number)


@pytest.mark.contract("5.read-your-own.4")
@pytest.mark.parametrize("way", ["query", "transaction", "connection", "getconn"])
def test_a_token_takes_it_to_another_thread(owned: Any, cluster: Replicas, way: str) -> None:
    """What was written is seen in ``causal(token)`` elsewhere, also in another pool, and only there."""
    before, number = owned.query(READ).one()[0], next(numbers)
    with paused(cluster):
        WRITES[way](owned, number)
        token = owned.causal_token()

        assert thread_of(lambda: [seen_with(owned, token), owned.query(READ).one()[0]]).result().value == [
            number,
            before,
        ]
        assert thread_of(stale_with, owned, token, number).result().value == {}
        with pgdbpool.Pool(configured(cluster)) as other:
            assert thread_of(seen_with, ready(other), token).result().value == number
    assert thread_of(lambda: [owned.causal_token(), seen_with(owned, token)]).result().value == [None, number]


@pytest.mark.contract("5.read-your-own.4")
def test_the_first_token_of_a_pool(server: Server, make_pool: Callable[..., Any]) -> None:
    """Also of a pool that reads from no standby itself: whoever is given the token may."""
    fresh_table(server, TABLE)
    pool = make_pool(server.config({"connection_count": 2}))
    with pool.transaction() as db:
        db.query(INSERT, (1,))
    assert pool.causal_token() is not None


@pytest.mark.contract("5.read-your-own.4")
def test_tokens_add_up(owned: Any, cluster: Replicas) -> None:
    """In nested blocks the later one counts, whichever is inside; what is written inside counts afterwards too."""
    first, second, third = (next(numbers) for _ in range(3))

    def token_of(number: int) -> str:
        by_transaction(owned, number)
        token = owned.causal_token()
        assert token is not None
        return token

    with paused(cluster):
        early, late = token_of(first), token_of(second)

        def elsewhere() -> list[Any]:
            seen = []
            for outer, inner in ((early, late), (late, early)):
                with owned.causal(outer), owned.causal(inner):
                    seen.append(owned.query(READ).one()[0])
            with owned.causal(early):
                by_transaction(owned, third)
            return [*seen, owned.query(READ).one()[0]]

        done = thread_of(elsewhere).result()
        assert (done.value, done.error) == ([second, second, third], None)


@pytest.mark.contract("5.read-your-own.4")
@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "1-", "2-1-1-1-1", "1-1-1-1", "1-1-1-1-", "1-1-1-1-1-1", "1-a-1-1-1", "1-1-1-G-1", "1-1-1-1-1 ", "-" * 9,
     "1-1-1-1-1\n", "1-1-1-10000000000000000-1", "1-١-1-1-1", "1-1-1-1-٣", 7, b"1-1-1-1-1"],
)  # fmt: skip
def test_what_is_no_token(owned: Any, text: Any) -> None:
    """Anything else is a ValueError; nothing and an empty text ask for nothing."""
    if text == "":
        with owned.causal(text), owned.causal(None):
            assert thread_reads_on_standbys(owned)
        return
    with pytest.raises(ValueError, match="is no token of causal_token"):
        owned.causal(text)


@pytest.mark.contract("5.read-your-own.4")
def test_tokens_that_no_standby_can_show(owned: Any, cluster: Replicas) -> None:
    """Of another cluster, a newer timeline, a place that nobody has reached: reads go to the primary. Expired: they do not."""
    by_transaction(owned, next(numbers))
    form, system, timeline, position, end = str(owned.causal_token()).split("-")
    cluster.caught_up()
    tokens = {
        "as it is": ([form, system, timeline, position, end], STANDBYS),
        "of an earlier timeline": ([form, system, "0", position, end], STANDBYS),
        "of another cluster": ([form, str(int(system) + 1), timeline, position, end], {"primary"}),
        "of a newer timeline": ([form, system, str(int(timeline) + 1), position, end], {"primary"}),
        "not reached": ([form, system, timeline, "ffffffffffffffff", end], {"primary"}),
        "expired": ([form, system, timeline, "ffffffffffffffff", "1"], STANDBYS),
        "of another cluster, expired": ([form, "1", timeline, position, "1"], STANDBYS),
    }
    found = {
        name: thread_of(servers_with, owned, "-".join(parts)).result().value for name, (parts, _) in tokens.items()
    }
    assert {name: servers <= tokens[name][1] for name, servers in found.items()} == dict.fromkeys(tokens, True), found


def servers_with(pool: Any, token: str) -> set[str]:
    with pool.causal(token):
        return answering_of(pool)


def answering_of(pool: Any) -> set[str]:
    return {pool.query(READ).one()[1] for _ in range(8)}


@pytest.mark.contract("5.read-your-own.4")
def test_a_token_without_a_position(owned: Any, cluster: Replicas) -> None:
    """It stands for all that is there when it is read: first the primary is read, then standbys that show that."""
    _, _, _, _, end = str(owned.causal_token() or "1-0-0--99999999999").split("-")
    number = next(numbers)

    def elsewhere() -> Any:
        with owned.causal(f"1-0-0--{end}"):
            seen.append(owned.query(READ).one()[0])
            started.set()
            return eventually(lambda: answering_of(owned) <= STANDBYS, 8.0)

    started, seen = threading.Event(), []
    with paused(cluster):
        by_transaction(owned, number)
        reader = thread_of(elsewhere)
        assert started.wait(10)
    assert seen == [number]
    assert reader.result().value is True


# -- what is said of it -----------------------------------------------------------------------------------------------


@pytest.mark.contract("5.read-your-own.3")
def test_it_is_said_once_that_others_may_see_older_rows(
    cluster: Replicas, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The first read on a standby logs that requests may see older rows; later ones do not, nor does one on the primary."""
    caplog.set_level(logging.INFO, "pgdbpool")
    pool = make_pool(configured(cluster))
    assert eventually(lambda: is_known(pool))
    said = lambda: [each.getMessage() for each in caplog.records if "Middleware" in each.getMessage()]  # noqa: E731
    pool.query(READ, read_only=False)
    assert said() == []
    assert eventually(lambda: answering(pool, read_only=True) <= STANDBYS)
    assert answering(pool, read_only=True) <= STANDBYS
    assert len(said()) == 1
    assert "causal_token" in said()[0]
