"""A standby that is too far behind serves no reads, and one that is not does (contract §5, Eligible)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgdbpool import DBOfflineError
from tests.servers import DATABASE, ROLE, Server, eventually
from tests.several import Replicas, answering, is_known, state, who, writers
from tests.usage import fresh_table

pytestmark = pytest.mark.contract("5.eligible.1", "3.group.max_lag.1")

STANDBYS = {"standby1", "standby2"}


@contextmanager
def paused(*standbys: Server) -> Iterator[None]:
    """They go on receiving and answering, and replay nothing."""
    for standby in standbys:
        standby.sql("SELECT pg_wal_replay_pause()")
    try:
        asked = "SELECT pg_get_wal_replay_pause_state()"
        assert eventually(lambda: all(standby.sql(asked) == [("paused",)] for standby in standbys))
        yield
    finally:
        for standby in standbys:
            standby.sql("SELECT pg_wal_replay_resume()")


def ready(make_pool: Callable[..., Any], replicas: Replicas, **group: Any) -> Any:
    """A pool that reads from both standbys, and a table to write to."""
    fresh_table(replicas.primary, "of_lag", "note text")
    pool = make_pool(replicas.config(group))
    assert eventually(lambda: is_known(pool) and answering(pool, read_only=True) == STANDBYS, 10.0)
    return pool


def write(replicas: Replicas, characters: int = 10) -> None:
    """Past the pool: its own thread's reads need not see it."""
    replicas.primary.sql(f"INSERT INTO {ROLE}.of_lag VALUES (repeat('x', %s))", (characters,))


def test_a_standby_behind_max_lag(module_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """It serves no reads of a group within a second of being so far behind, those of others still, and soon when it is back."""
    first = module_replicas.standbys[0]
    pool = ready(make_pool, module_replicas, max_lag=1)
    patient = ready(make_pool, module_replicas, max_lag=None)
    anyone = make_pool(module_replicas.config({"target": "any"}))
    with paused(first):
        write(module_replicas)
        since = time.monotonic()
        assert eventually(lambda: answering(pool, read_only=True) == {"standby2"}, 4.0)
        time.sleep(max(0.0, since + 2.0 - time.monotonic()))
        assert {who(pool, read_only=True) for _ in range(30)} == {"standby2"}
        assert eventually(lambda: 2.0 < state(pool, "standby1", "lag_seconds") < time.monotonic() - since + 0.5, 2.0)
        assert state(pool, "standby1", "lag_bytes") > 0
        assert state(pool, "standby1") == "up"
        assert answering(patient, read_only=True) == STANDBYS
        assert eventually(lambda: answering(anyone) == {"primary", *STANDBYS})
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS, 2.5)
    assert eventually(lambda: state(pool, "standby1", "lag_seconds") == 0.0)


def test_a_standby_behind_max_lag_bytes(module_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """However short the time: more bytes than allowed are too many, fewer are not."""
    pool = ready(make_pool, module_replicas, max_lag=None, max_lag_bytes=100_000)
    with paused(module_replicas.standbys[0]):
        write(module_replicas)
        assert eventually(lambda: (state(pool, "standby1", "lag_bytes") or 0) > 0, 3.0)
        assert answering(pool, read_only=True) == STANDBYS
        for _ in range(20):
            write(module_replicas, 1_000_000)  # as it is compressed, some 12 kB
        assert eventually(lambda: answering(pool, read_only=True) == {"standby2"}, 3.0)
        assert state(pool, "standby1", "lag_bytes") > 100_000
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS, 3.0)


@pytest.mark.contract("5.eligible.2")
def test_all_standbys_lag(module_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Reads go to the primary; those of ``standby`` wait, until one has caught up or their time is over."""
    pool = ready(make_pool, module_replicas, max_lag=0.5)
    strict = ready(make_pool, module_replicas, max_lag=0.5, target="standby", timeout=0.4)
    with paused(*module_replicas.standbys):
        write(module_replicas)
        assert eventually(lambda: answering(pool, read_only=True) == {"primary"}, 3.0)
        assert eventually(lambda: not serves(strict), 3.0)
        with pytest.raises(DBOfflineError, match="as standby"):
            who(strict)
    assert eventually(lambda: answering(pool, read_only=True) == STANDBYS, 3.0)
    assert eventually(lambda: answering(strict, timeout=5) == STANDBYS, 3.0)


def serves(pool: Any) -> bool:
    try:
        return bool(who(pool))
    except DBOfflineError:
        return False


def test_a_quiet_primary_is_no_lag(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """However long nothing was written, also just behind a switch of its WAL file, both standbys serve."""
    fresh_table(own_replicas.primary, "of_lag", "note text")
    own_replicas.primary.sql("SELECT pg_switch_wal()")
    own_replicas.caught_up()
    pool = make_pool(own_replicas.config({"max_lag": 0.5, "max_lag_bytes": 1000}))
    assert eventually(lambda: is_known(pool) and answering(pool, read_only=True) == STANDBYS)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        assert answering(pool, read_only=True) == STANDBYS
        assert max(state(pool, label, "lag_seconds") for label in STANDBYS) < 0.5


@pytest.mark.contract("5.eligible.2")
def test_a_standby_that_is_cut_off(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """One that receives nothing any more cannot know how far it is behind; the primary's progress tells."""
    first = own_replicas.standbys[0]
    pool = ready(make_pool, own_replicas, max_lag=1)
    first.sql("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'")
    first.sql("SELECT pg_reload_conf()")
    assert eventually(lambda: first.sql("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)])
    assert first.sql("SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()") == [(True,)]
    write(own_replicas)
    assert eventually(lambda: answering(pool, read_only=True) == {"standby2"}, 4.0)
    assert {who(pool, read_only=True) for _ in range(30)} == {"standby2"}
    assert writers(pool) == {"primary"}


def test_while_the_primary_is_away(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Standbys that have all that the primary was known to have written serve reads for as long as it is gone."""
    pool = ready(make_pool, own_replicas, max_lag=1)
    write(own_replicas)
    own_replicas.caught_up()
    own_replicas.primary.stop("fast")
    assert eventually(lambda: state(pool, "primary") == "down")
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        assert who(pool, read_only=True) in STANDBYS
        time.sleep(0.05)
    assert [state(pool, label, "lag_seconds") for label in sorted(STANDBYS)] == [0.0, 0.0]


def test_a_transaction_that_is_open_is_no_lag(module_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """What it has written is not flushed on a quiet primary, and nobody can read it there either: standbys are not behind."""
    pool = ready(make_pool, module_replicas, max_lag=1)
    module_replicas.caught_up()
    other = module_replicas.primary.admin(dbname=DATABASE)
    try:
        other.autocommit = False
        other.cursor().execute(f"INSERT INTO {ROLE}.of_lag VALUES ('x')")
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            assert who(pool, read_only=True) in STANDBYS
            time.sleep(0.05)
        assert max(state(pool, label, "lag_seconds") for label in STANDBYS) < 1.0
    finally:
        other.close()
