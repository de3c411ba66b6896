"""A read that recovery takes away from a standby is run once more, elsewhere (contract §4, a write that was sent …)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

import pgdbpool
from tests.life import thread_of
from tests.routing.corpus import Case
from tests.routing.judge import session
from tests.routing.where import Wired
from tests.servers import Server, eventually
from tests.several import Replicas

# Long on a standby, and over at once on a primary.
READ = "SELECT count(*) FROM victim WHERE (SELECT CASE WHEN pg_is_in_recovery() THEN pg_sleep(20) END IS NOT NULL) IS NOT NULL"


@pytest.fixture
def wired(home: Replicas) -> Iterator[Wired]:
    """A pool over replicas whose standbys do not wait for their readers, and a table of theirs."""
    _each(home, "ALTER SYSTEM SET max_standby_streaming_delay = '100ms'")
    with closing(session(home.primary)) as own, own.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS victim; CREATE TABLE victim AS SELECT generate_series(1, 1000) AS id")
    home.caught_up()
    with Wired(home, {"query_timeout": 20_000}) as made:
        made.learn([Case(READ)])
        yield made
    _each(home, "ALTER SYSTEM RESET max_standby_streaming_delay")


def _each(home: Replicas, text: str) -> None:
    for standby in home.standbys:
        standby.sql(text)
        standby.sql("SELECT pg_reload_conf()")


def _reader(home: Replicas) -> Server:
    """The standby that is reading."""
    found: list[Server] = eventually(lambda: [each for each in home.standbys if _reads(each)], 10.0)
    assert len(found) == 1
    return found[0]


def _reads(server: Server) -> bool:
    return any(each.state == "active" and "victim" in each.query for each in server.sessions("pgdbpool:web"))


def _vacuum(home: Replicas) -> None:
    """What a reader on a standby sees is removed there, too."""
    with closing(session(home.primary)) as own, own.cursor() as cursor:
        cursor.execute("DELETE FROM victim WHERE id > 10")
        cursor.execute("VACUUM victim")


def conflicts(server: Server) -> int:
    """How many reads recovery has cancelled there."""
    return server.cluster.log.read_text().count("due to conflict with recovery")  # type: ignore[attr-defined]


@pytest.mark.contract("4.a-write-that.2")
@pytest.mark.parametrize("promise", [None, True])
def test_a_cancelled_read_runs_again(home: Replicas, wired: Wired, promise: bool | None) -> None:
    """A standby cancels the statement (40001): ``query`` answers all the same, with what the primary has."""
    reading = thread_of(lambda: wired.pool.query(READ, read_only=promise).scalar())
    standby = _reader(home)
    before = conflicts(standby)
    _vacuum(home)
    done = reading.result(20.0)
    assert (done.value, done.error) == (10, None)
    assert conflicts(standby) == before + 1
    assert said(wired) == [home.label(standby), "primary"]


@pytest.mark.contract("4.a-write-that.2")
def test_a_killed_read_runs_again(home: Replicas, wired: Wired) -> None:
    """A standby ends the whole session: ``query`` answers all the same."""
    home.primary.sql("DELETE FROM web.victim WHERE id > 20")
    home.caught_up()
    reading = thread_of(lambda: wired.pool.query(READ.replace("20", "2")).scalar())
    standby = _reader(home)
    standby.terminate("pgdbpool:web")
    assert (reading.result(20.0).value, reading.outcome.error) == (20, None)  # type: ignore[union-attr]
    assert len(said(wired)) == 2


@pytest.mark.contract("4.a-write-that.5")
def test_a_transaction_that_recovery_ends(home: Replicas, wired: Wired) -> None:
    """In a transaction it cannot be run again: the error says that the connection is lost, and the next one works."""
    with pytest.raises(pgdbpool.DBConnectionError):
        _outlived(home, wired)
    assert wired.pool.query("SELECT count(*) FROM victim").scalar() == 10


def _outlived(home: Replicas, wired: Wired) -> None:
    with wired.pool.transaction(read_only=True, isolation="repeatable read") as db:
        db.query("SELECT count(*) FROM victim")
        _vacuum(home)
        assert eventually(lambda: _idle_ones(home) == 0, 10.0)
        db.query("SELECT 1")


def _idle_ones(home: Replicas) -> int:
    """Sessions idle in a transaction."""
    sessions = [each for standby in home.standbys for each in standby.sessions("pgdbpool:web")]
    return sum(each.state == "idle in transaction" for each in sessions)


def said(wired: Wired) -> list[str]:
    """The servers that were given the read, the standbys first."""
    return [label for label in ("standby1", "standby2", "primary") for _ in range(_times(wired, label))]


def _times(wired: Wired, label: str) -> int:
    return sum("FROM victim WHERE" in text for _, text in list(wired.wires[label].sent))
