"""Roles are followed: promotion, an old primary that comes back as a standby, standbys that go and return (contract §5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from pgdbpool import DBOfflineError
from tests.life import Crowd, outcomes, thread_of, ticking
from tests.servers import ROLE, Server, eventually
from tests.several import WHO, Replicas, answering, is_known, state, who, writer, writers
from tests.usage import Wire, fresh_table, rows_of, wire_to

pytestmark = pytest.mark.contract("5.failover.1")


def role_of(pool: Any, label: str) -> Any:
    return state(pool, label, "role")


def promoted(replicas: Replicas, pool: Any) -> float:
    """Kill the primary and promote the first standby; the moment at which it took writes."""
    assert eventually(lambda: is_known(pool))
    replicas.caught_up()
    replicas.primary.kill9()
    replicas.standbys[0].promote()
    return time.monotonic()


@pytest.mark.contract("5.p1.2")
@pytest.mark.every_version
def test_a_promotion_is_noticed_without_traffic(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Within a second of the promotion ``stats()`` says primary, although nobody asks anything."""
    pool = make_pool(own_replicas.config())
    assert eventually(lambda: is_known(pool))
    own_replicas.standbys[0].promote()
    since = time.monotonic()
    assert eventually(lambda: role_of(pool, "standby1") == "primary", 3.0)
    assert time.monotonic() - since < 1.3
    assert role_of(pool, "standby2") == "standby"


WAYS: dict[str, Callable[[Any], Any]] = {
    "query": lambda pool: pool.query("SELECT 1"),
    "handler": lambda pool: _in_block(pool.handler()),
    "transaction": lambda pool: _in_block(pool.transaction()),
    "connection": lambda pool: _in_connection(pool),
}


def _in_block(block: Any) -> None:
    with block as db:
        db.query("SELECT 1")


def _in_connection(pool: Any) -> None:
    with pool.connection() as raw, raw.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.contract("5.p1.2")
def test_a_promotion_is_noticed_with_the_next_answer(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """One answer of a session that was open before is enough, on whichever way it comes; no probe is waited for."""
    pools = {}
    for name, way in WAYS.items():
        config = own_replicas.config({"target": "prefer-standby", "connection_count": 1})
        del config["db"][2]
        pools[name] = make_pool(config)
        assert eventually(lambda pool=pools[name]: is_known(pool))
        assert eventually(lambda pool=pools[name]: answering(pool) == {"standby1"})
        way(pools[name])
    replicated = eventually(lambda: own_replicas.standbys[0].sql("SELECT pg_promote(false)"))
    assert replicated == [(True,)]
    seen = {name: _asks_before_noticed(pools[name], way) for name, way in WAYS.items()}
    assert all(seen.values()), seen


def _asks_before_noticed(pool: Any, way: Callable[[Any], Any]) -> bool:
    """Whether the answer after which the session itself knows has told the pool."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        way(pool)
        with pool.handler() as db:
            is_standby = db.query("SELECT pg_is_in_recovery()").scalar()
        if not is_standby:
            return bool(role_of(pool, "standby1") == "primary")
    return False


@pytest.mark.every_version
def test_writes_follow_the_promotion(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A write that waits since the primary's death is served by the new primary, well within a second of its promotion."""
    fresh_table(own_replicas.primary, "followed")
    pool = make_pool(own_replicas.config({"timeout": 20}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    own_replicas.primary.kill9()
    waiting = [thread_of(pool.query, f"INSERT INTO {ROLE}.followed VALUES (%s)", (n,)) for n in range(8)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["waiting"] == 8)
    own_replicas.standbys[0].promote()
    since = time.monotonic()
    done = [each.result(5.0) for each in waiting]
    assert [each.error for each in done] == [None] * 8
    assert max(each.at for each in done) - since < 1.5
    assert rows_of(own_replicas.standbys[0], "followed") == list(range(8))
    assert writers(pool) == {"standby1"}


def test_writes_wait_for_a_primary_within_their_timeout(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """With no primary a write waits for as long as it may, then DBOfflineError says which servers are there and which not."""
    pool = make_pool(own_replicas.config({"timeout": 0.7}))
    assert eventually(lambda: is_known(pool))
    own_replicas.primary.stop("immediate")
    assert eventually(lambda: state(pool, "primary") == "down")
    since = time.monotonic()
    words = r"as primary.*primary down for \d+\.\d s \(primary\):.*refused.*standby1 up \(standby\).*standby2 up \(standby\)"
    with pytest.raises(DBOfflineError, match=words) as caught:
        writer(pool)
    assert 0.7 <= time.monotonic() - since < 1.2
    assert str(own_replicas.primary.port) in str(caught.value.__cause__)
    assert answering(pool, read_only=True) <= {"standby1", "standby2"}
    own_replicas.primary.start()
    assert eventually(lambda: _succeeds(pool), 2.0)


def _succeeds(pool: Any) -> bool:
    try:
        return bool(writer(pool))
    except pgdbpool.PoolError:
        return False


def test_the_old_primary_returns_as_a_standby(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """It comes back on its address, follows the new one, serves reads, and gets no write."""
    pool = make_pool(own_replicas.config({"timeout": 10}))
    promoted(own_replicas, pool)
    new = own_replicas.standbys[0]
    assert writer(pool) == "standby1"
    own_replicas.standbys[1].follow(new)
    own_replicas.primary.follow(new)
    assert eventually(lambda: role_of(pool, "primary") == "standby" and state(pool, "primary") == "up")
    assert eventually(lambda: answering(pool, read_only=True) == {"primary", "standby2"}, 8.0)
    assert writers(pool, 100) == {"standby1"}


def test_a_switchover_to_and_fro(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Two promotions one after the other are followed, under load: no write is answered by a standby."""
    fresh_table(own_replicas.primary, "to_and_fro", "id bigserial")
    pool = make_pool(own_replicas.config({"timeout": 10}))
    promoted_to = [own_replicas.standbys[0], own_replicas.primary]
    for server in own_replicas.servers:
        server.sql("ALTER SYSTEM SET wal_keep_size = '1GB'")
        server.sql("SELECT pg_reload_conf()")
    with Crowd(lambda: pool.query(f"INSERT INTO {ROLE}.to_and_fro DEFAULT VALUES"), 8) as crowd:
        crowd.goes_on()
        old = own_replicas.primary
        for new in promoted_to:
            own_replicas.caught_up(old)
            old.stop("fast")
            new.promote()
            crowd.goes_on(8.0)
            own_replicas.standbys[1].follow(new)
            old.follow(new)
            own_replicas.caught_up(new)
            crowd.goes_on(8.0)
            old = new
    refused = [error for error in crowd.errors if getattr(error, "pgcode", None) == "25006"]
    assert refused == []
    unexpected = [e for e in crowd.errors if not isinstance(e, pgdbpool.InDoubt | pgdbpool.DBConnectionError)]
    assert [error for error in unexpected if getattr(error, "pgcode", None) != "57P01"] == []
    assert len(crowd.errors) <= 16  # one for each request in flight, at each of the two
    assert writers(pool) == {"primary"}


@pytest.mark.contract("5.eligible.2")
def test_reads_without_a_standby(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """With no standby left reads go to the primary at once, and back when one returns; those of ``standby`` wait."""
    config = own_replicas.config({"timeout": 0.5})
    config["db"] = config["db"][:2]
    config["groups"]["strict"] = {"connection_count": 2, "target": "standby", "timeout": 0.5}
    config["groups"]["mild"] = {"connection_count": 2, "target": "prefer-standby", "timeout": 0.5}
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    calls = [{"read_only": True}, {"group": "mild"}]
    assert all(eventually(lambda call=call: answering(pool, **call) == {"standby1"}) for call in calls)
    own_replicas.standbys[0].stop()
    assert eventually(lambda: all(_answers(pool, "primary", call) for call in calls), 1.5)
    assert [answering(pool, **call) for call in calls] == [{"primary"}, {"primary"}]
    since = time.monotonic()
    with pytest.raises(
        DBOfflineError, match=r"as standby.*primary up \(primary\).*standby1 down for .*\(standby\):.*refused"
    ):
        pool.query("SELECT 1", group="strict")
    assert 0.5 <= time.monotonic() - since < 1.0
    waiting = thread_of(lambda: who(pool, group="strict", timeout=20))
    own_replicas.standbys[0].start()
    assert waiting.result().value == "standby1"
    assert all(eventually(lambda call=call: answering(pool, 30, **call) == {"standby1"}) for call in calls)


def _answers(pool: Any, label: str, call: dict[str, Any]) -> bool:
    try:
        return who(pool, **call) == label
    except pgdbpool.PoolError:
        return False


@pytest.mark.contract("5.eligible.1", "4.waiting.1")
def test_one_that_waits_for_a_standby_gets_the_returning_one(
    own_replicas: Replicas, make_pool: Callable[..., Any]
) -> None:
    """A promotion takes a standby away from ``target: standby``; whoever waits then is served by the next one to come."""
    pool = make_pool(own_replicas.config({"target": "standby", "timeout": 20}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    own_replicas.standbys[1].stop()
    own_replicas.primary.kill9()
    own_replicas.standbys[0].promote()
    assert eventually(lambda: role_of(pool, "standby1") == "primary")
    waiting = [thread_of(who, pool) for _ in range(4)]
    time.sleep(0.3)
    assert pool.stats()["groups"]["web"]["waiting"] == 4
    own_replicas.primary.follow(own_replicas.standbys[0])
    assert {each.result().value for each in waiting} == {"primary"}


def test_a_transaction_open_on_a_standby_survives_its_promotion(
    own_replicas: Replicas, make_pool: Callable[..., Any]
) -> None:
    """A read-only block stays on its connection; given back, that connection takes writes."""
    pool = make_pool(own_replicas.config({"connection_count": 1, "target": "prefer-standby"}))
    assert eventually(lambda: answering(pool) == {"standby1", "standby2"})
    with pool.transaction() as db:
        label = db.query("SELECT current_setting('cluster_name')").scalar()
        own_replicas.by_label[label].promote()
        assert db.query("SELECT pg_is_in_recovery()").scalar() is False
    assert eventually(lambda: role_of(pool, label) == "primary", 1.5)


@pytest.mark.contract("5.failover.1")
def test_non_threaded_follows_too(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``type: non-threaded`` has nobody to probe; a process that only writes finds the new primary all the same."""
    pool = make_pool({**own_replicas.config({"timeout": 10}), "type": "non-threaded"})
    assert who(pool, read_only=False) == "primary"
    own_replicas.caught_up()
    own_replicas.primary.kill9()
    own_replicas.standbys[0].promote()
    assert eventually(lambda: _answers(pool, "standby1", {"read_only": False}), 15.0)
    assert answering(pool, read_only=False) == {"standby1"}


def test_two_groups_and_many_threads_learn_it_together(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """All groups' writers that wait are served after the promotion, whoever noticed it."""
    config = own_replicas.config({"timeout": 20})
    config["groups"]["admin"] = {"connection_count": 1, "timeout": 20, "target": "read-write", "min_connections": 0}
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    own_replicas.primary.kill9()

    def write(number: int) -> str:
        return writer(pool, group=["web", "admin"][number % 2])

    waiting = thread_of(outcomes, 12, write, 20.0)
    assert eventually(lambda: sum(each["waiting"] for each in pool.stats()["groups"].values()) == 12)
    own_replicas.standbys[0].promote()
    assert [each.value for each in waiting.result(8.0).value] == ["standby1"] * 12


@pytest.mark.contract("2.call.run.1")
def test_run_goes_on_with_the_new_primary(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """The primary dies in the middle of the function: the whole of it runs again on the one that was promoted, once."""
    fresh_table(own_replicas.primary, "of_run")
    pool = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    servers: list[str] = []

    def work(db: Any, number: int) -> str:
        servers.append(db.query(WHO).scalar())
        db.query(f"INSERT INTO {ROLE}.of_run VALUES (%s)", (number,))
        if len(servers) == 1:
            own_replicas.primary.kill9()
            own_replicas.standbys[0].promote()
        db.query("SELECT 1")
        return servers[-1]

    assert pool.run(work, 7) == "standby1"
    assert servers == ["primary", "standby1"]
    assert rows_of(own_replicas.standbys[0], "of_run") == [7]


@pytest.mark.contract("4.a-write-that.1", "4.a-write-that.3", "4.a-write-that.5")
def test_what_was_under_way_when_the_primary_died(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A write is in doubt and not sent again; a block's statement is lost with its transaction; a promised read runs again."""
    pool = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()

    def in_transaction() -> None:
        with pool.transaction() as db:
            db.query("SELECT 1")
            db.query("SELECT pg_sleep(5)")

    write = thread_of(pool.query, "SELECT pg_sleep(5), txid_current()")
    block = thread_of(in_transaction)
    time.sleep(0.5)
    own_replicas.primary.kill9()
    own_replicas.standbys[0].promote()
    assert isinstance(write.result().error, pgdbpool.InDoubt)
    assert isinstance(block.result().error, pgdbpool.DBConnectionError)
    assert writers(pool) == {"standby1"}
    assert pool.stats()["groups"]["web"]["in_use"] == 0


@pytest.mark.contract("4.a-write-that.2")
def test_a_read_under_way_on_a_dying_standby(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``read_only=True``: whoever was being answered by the standby that died gets the answer of another server."""
    pool = make_pool(own_replicas.config())
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    reads = [thread_of(lambda: pool.query(f"{WHO} FROM pg_sleep(1)", read_only=True).scalar()) for _ in range(6)]
    time.sleep(0.5)
    own_replicas.standbys[0].kill9()
    assert {each.result().value for each in reads} in ({"standby2"}, {"standby2", "primary"})  # whose probe may be late
    own_replicas.standbys[1].kill9()
    assert eventually(lambda: answering(pool, read_only=True) == {"primary"})


@pytest.mark.contract("4.waiting.1", "5.eligible.2")
def test_readers_that_wait_turn_to_the_primary(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Readers in the line for busy standbys are served by the primary as soon as no standby is left."""
    pool = make_pool(own_replicas.config({"connection_count": 1, "timeout": 10}))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    holds = [thread_of(lambda: pool.query("SELECT pg_sleep(4)", read_only=True, query_timeout=9000)) for _ in range(2)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 2)
    waiting = [thread_of(lambda: who(pool, read_only=True)) for _ in range(3)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["waiting"] == 3)
    for server in own_replicas.standbys:
        server.kill9()
    assert {each.result(3.0).value for each in waiting} == {"primary"}
    for each in holds:
        each.result(9.0)


@pytest.mark.contract("4.no-thread-waits.1", "4.no-thread-waits.2")
def test_a_frozen_primary(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Reads go on, what was under way there is cut after three silent probes, writes wait; nobody holds the GIL."""
    pool = make_pool(own_replicas.config({"timeout": 1, "query_timeout": 30000}))
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: own_replicas.primary.sessions("pgdbpool:monitor"))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    with ticking() as longest, Crowd(lambda: who(pool, read_only=True), 4) as readers:
        readers.goes_on()
        own_replicas.primary.freeze()
        under_way = thread_of(writer, pool)
        assert eventually(lambda: state(pool, "primary") == "silent", 2.5)
        since = time.monotonic()
        with pytest.raises(DBOfflineError, match="primary silent"):
            writer(pool)
        assert 1.0 <= time.monotonic() - since < 1.5
        cut = under_way.result(6.0)
        assert isinstance(cut.error, pgdbpool.PoolError)
        assert cut.seconds < 5.5
        own_replicas.primary.thaw()
        assert eventually(lambda: _succeeds(pool), 3.0)
    assert readers.errors == []
    assert max(each.seconds for each in readers.all) < 0.7
    assert longest() < 0.5


@pytest.mark.contract("3.group.min_connections.1", "3.group.max_idle.1")
def test_connections_are_kept_where_the_role_is(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """``min_connections`` follow the role: what was opened elsewhere goes after ``max_idle``, the new primary gets its own."""
    pool = make_pool(own_replicas.config({"target": "primary", "min_connections": 3, "max_idle": 1}))

    def kept() -> list[int]:
        return [len(server.sessions("pgdbpool:web")) if server.running else 0 for server in own_replicas.servers]

    assert eventually(lambda: kept() == [3, 0, 0], 6.0), kept()
    own_replicas.caught_up()
    own_replicas.primary.kill9()
    own_replicas.standbys[0].promote()
    assert eventually(lambda: kept() == [0, 3, 0], 6.0), kept()
    assert answering(pool) == {"standby1"}


@pytest.mark.contract("5.p1.2")
def test_one_light_probe_a_second(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """About one probe a second and endpoint, also while 8 threads are at work; each is one statement of a moment."""
    with wire_to(replicas.primary) as wire:
        config = replicas.config(each={"primary": {"port": wire.port, "ssl": "disable"}})
        pool = make_pool(config)
        assert eventually(lambda: is_known(pool))
        assert eventually(lambda: probes_of(wire))

        def probes() -> int:
            wire.sent.clear()
            time.sleep(3.0)
            return len(probes_of(wire))

        assert 2 <= probes() <= 5
        with Crowd(lambda: pool.query("SELECT pg_sleep(0.6)", read_only=False), 8):
            assert 2 <= probes() <= 10
        assert min(cost(replicas.primary, text) for text in probes_of(wire)) < 3.0


def cost(server: Server, text: str) -> float:
    """The server's milliseconds for one statement."""
    [([plan],)] = server.sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}")
    return float(plan["Planning Time"] + plan["Execution Time"])


def probes_of(wire: Wire) -> list[str]:
    return [text for kind, text in list(wire.sent) if kind == "Q" and "pg_is_in_recovery" in text]
