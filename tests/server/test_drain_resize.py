"""Changes of a running pool: ``drain``, ``resume`` and ``resize`` (contract §2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import pgdbpool
from pgdbpool import ConfigError, DBOfflineError, PoolTimeout, UnconfiguredGroupError
from tests.life import Crowd, full, pids_of, thread_of, warm
from tests.servers import ROLE, Server, eventually
from tests.several import WHO, Replicas, Several, answering, is_known, state, who, writer, writers
from tests.usage import fresh_table

pytestmark = pytest.mark.contract("2.call.resize.1")

LABELS = {"one", "two", "three"}


def sizes(pool: Any, *names: str) -> dict[str, int]:
    figures = pool.stats()["groups"]["web"]
    return {name: figures[name] for name in names}


# -- drain and resume


def test_drain_empties_a_server(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Under load and without an error: nothing is sent there any more, and no session of ours stays, the probe's included."""
    pool = make_pool(three_servers.config({"target": "any", "min_connections": 3}))
    assert eventually(lambda: is_known(pool))
    server = three_servers.by_label["two"]
    with Crowd(lambda: who(pool), 8) as crowd:
        crowd.goes_on()
        pool.drain("two")
        since = time.monotonic()
        assert eventually(lambda: server.sessions("pgdbpool:%") == [], 3.0)
        crowd.goes_on()
        figures = pool.stats()["endpoints"]["two"]
        assert (figures["state"], figures["connections"]) == ("drained", 0)
        time.sleep(1.5)
        assert server.sessions("pgdbpool:%") == []
        pool.resume("two")
        back = time.monotonic()
        assert eventually(lambda: any(each.value == "two" and each.at > back for each in list(crowd.all)), 2.0)
    assert crowd.errors == []
    between = {each.value for each in crowd.all if since + 0.2 < each.at < back}
    assert between == LABELS - {"two"}
    assert eventually(lambda: state(pool, "two") == "up" and state(pool, "two", "connections") >= 3)


def test_what_is_borrowed_goes_when_it_comes_back(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``drain`` returns at once; a block that is under way there ends as it would have, and its session closes then."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    server = three_servers.by_label["two"]
    fresh_table(server, "drained")
    with ExitStack() as stack:
        blocks = [stack.enter_context(pool.handler()) for _ in range(3)]
        [mine] = [db for db in blocks if db.query(WHO).scalar() == "two"]
        since = time.monotonic()
        pool.drain("two")
        assert time.monotonic() - since < 0.2
        assert eventually(lambda: len(server.sessions("pgdbpool:%")) == 1, 3.0)
        assert pool.stats()["endpoints"]["two"]["connections"] == 1
        mine.query(f"INSERT INTO {ROLE}.drained VALUES (1)")
        with mine.transaction():
            mine.query(f"INSERT INTO {ROLE}.drained VALUES (2)")
    assert eventually(lambda: server.sessions("pgdbpool:%") == [], 3.0)
    assert server.sql(f"SELECT count(*) FROM {ROLE}.drained") == [(2,)]
    assert pool.stats()["groups"]["web"]["in_use"] == 0


def test_soiled_and_loaned_connections_of_a_drained_server(
    three_servers: Several, make_pool: Callable[..., Any]
) -> None:
    """Also what has to be cleaned first, and what ``getconn`` has lent, is closed and not kept."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 1}))
    assert eventually(lambda: is_known(pool))
    loans = [pool.getconn() for _ in range(3)]
    for raw in loans:
        raw.cursor().execute("SELECT pg_advisory_lock(1)")
    pool.drain("one")
    pool.drain("three")
    for raw in loans:
        pool.putconn(raw)
    for label in ("one", "three"):
        assert eventually(lambda label=label: three_servers.by_label[label].sessions("pgdbpool:%") == [], 3.0)
    assert answering(pool) == {"two"}


def test_drain_of_the_last_one(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """With every endpoint drained, requests fail at once, also those that wait already; ``resume`` of one mends it."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 1, "timeout": 20}))
    assert eventually(lambda: is_known(pool))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(pool.handler())
        waiting = [thread_of(who, pool) for _ in range(3)]
        assert eventually(lambda: sizes(pool, "waiting") == {"waiting": 3})
        for label in sorted(LABELS):
            pool.drain(label)
        told = [each.result(2.0) for each in waiting]
    assert {type(each.error) for each in told} == {DBOfflineError}
    for _ in range(2):
        since = time.monotonic()
        with pytest.raises(DBOfflineError, match=r"one drained.*two drained.*three drained"):
            pool.query("SELECT 1")
        assert time.monotonic() - since < 0.5
    for way in (pool.handler, pool.transaction, pool.connection):
        with pytest.raises(DBOfflineError):
            way().__enter__()
    pool.resume("two")
    assert answering(pool) == {"two"}


@pytest.mark.contract("4.waiting.2")
def test_drain_of_the_only_server(server: Server, make_pool: Callable[..., Any]) -> None:
    """One server, drained: at once; resumed: served."""
    pool = make_pool(server.config(label="only"))
    assert full(pool, 4)
    pool.drain("only")
    with pytest.raises(DBOfflineError, match="only drained"):
        pool.query("SELECT 1")
    assert eventually(lambda: server.sessions("pgdbpool:%") == [], 3.0)
    pool.resume("only")
    assert full(pool, 4)


def test_drain_by_role(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A drained standby leaves its reads to the other, the last one to the primary; writes never notice."""
    pool = make_pool(replicas.config({"timeout": 2}))
    assert eventually(lambda: is_known(pool))
    pool.drain("standby1")
    assert answering(pool, read_only=True) == {"standby2"}
    pool.drain("standby2")
    assert answering(pool, read_only=True) == {"primary"}
    pool.resume("standby1")
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1"})
    assert writers(pool) == {"primary"}


def test_a_planned_switchover_by_drain(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Drain the primary, promote a standby: writes wait for it and none fails; the old one returns as a standby."""
    fresh_table(own_replicas.primary, "planned", "id bigserial")
    pool = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(pool))
    old, new = own_replicas.primary, own_replicas.standbys[0]
    with Crowd(lambda: pool.query(f"INSERT INTO {ROLE}.planned DEFAULT VALUES"), 8) as crowd:
        crowd.goes_on()
        pool.drain("primary")
        assert eventually(lambda: old.sessions("pgdbpool:%") == [])
        own_replicas.caught_up()
        old.stop("fast")
        new.promote()
        crowd.goes_on(8.0)
        own_replicas.standbys[1].follow(new)
        old.follow(new)
        pool.resume("primary")
        crowd.goes_on()
    assert crowd.errors == []
    assert new.sql(f"SELECT count(*) FROM {ROLE}.planned") == [(len(crowd.all),)]
    assert eventually(lambda: "primary" in answering(pool, read_only=True), 8.0)
    assert writers(pool) == {"standby1"}


@pytest.mark.contract("5.failover.1")
def test_what_is_resumed_is_looked_at_anew(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A primary that was drained and replaced, and does not answer when it is resumed, holds up no write."""
    pool = make_pool(own_replicas.config())
    assert eventually(lambda: is_known(pool))
    pool.drain("primary")
    own_replicas.standbys[0].promote()
    assert eventually(lambda: writer(pool) == "standby1")
    own_replicas.primary.freeze()
    pool.resume("primary")
    assert state(pool, "primary") != "up"
    with Crowd(lambda: who(pool, read_only=False), 4) as crowd:
        crowd.goes_on()
        time.sleep(1.0)
    assert {each.value for each in crowd.all} == {"standby1"}
    assert max(each.seconds for each in crowd.all) < 0.5


def test_unknown_labels(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``drain`` and ``resume`` of what is no endpoint say what was found and what there is; nothing has changed."""
    pool = make_pool(three_servers.config({"target": "any"}))
    assert eventually(lambda: is_known(pool))
    address = f"127.0.0.1:{three_servers.by_label['one'].port}"
    for call in (pool.drain, pool.resume):
        for label in ("four", "", address, None, 1, ["one"]):
            with pytest.raises(ConfigError, match=r"one.*two.*three") as caught:
                call(label)
            assert repr(label) in str(caught.value)
    assert answering(pool) == LABELS


def test_twice_is_once(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """To drain what is drained and to resume what is not does nothing."""
    pool = make_pool(three_servers.config({"target": "any"}))
    assert eventually(lambda: is_known(pool))
    pool.resume("one")
    for _ in range(2):
        pool.drain("one")
    assert eventually(lambda: answering(pool) == {"two", "three"})
    for _ in range(2):
        pool.resume("one")
    assert eventually(lambda: answering(pool) == LABELS)


def test_drained_and_resumed_again_and_again(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Twenty changes a second under load: no error, and all is as before at the end."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 3, "timeout": 10}))
    assert eventually(lambda: is_known(pool))
    with Crowd(lambda: who(pool), 8) as crowd:
        crowd.goes_on()
        for count in range(30):
            label = ("one", "two", "three")[count % 3]
            pool.drain(label)
            time.sleep(0.05)
            pool.resume(label)
        crowd.goes_on()
    assert crowd.errors == []
    assert eventually(lambda: full(pool, 9))
    assert max(len(server.sessions("pgdbpool:web")) for server in three_servers.servers) <= 3


def test_a_server_drained_before_anybody_came(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Drained at once after the start and resumed later, it comes to serve, although nothing is kept open there."""
    pool = make_pool(three_servers.config({"target": "any", "min_connections": 0}))
    pool.drain("two")
    assert answering(pool) <= LABELS - {"two"}
    pool.resume("two")
    assert eventually(lambda: "two" in answering(pool))


# -- resize


def sessions(several: Several) -> list[int]:
    return [len(pids_of(server)) for server in several.servers]


def test_resize_up_and_down(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """The new number counts at each endpoint at once: more may be held, or what is idle beyond it goes."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 2, "timeout": 3}))
    assert eventually(lambda: is_known(pool))
    assert full(pool, 6)
    pool.resize("web", 5)
    assert full(pool, 15)
    assert sessions(three_servers) == [5, 5, 5]
    pool.resize("web", 1)
    assert eventually(lambda: sessions(three_servers) == [1, 1, 1])
    assert sizes(pool, "connection_count", "idle") == {"connection_count": 3, "idle": 3}
    assert full(pool, 3)


def test_resize_below_what_is_in_use(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """What is borrowed stays until it comes back and goes then; meanwhile nobody gets one beyond the new number."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 3, "timeout": 0.2}))
    assert eventually(lambda: is_known(pool))
    assert full(pool, 9)
    with ExitStack() as stack:
        blocks = [stack.enter_context(pool.handler()) for _ in range(9)]
        pool.resize("web", 1)
        assert [db.query("SELECT 1").scalar() for db in blocks] == [1] * 9
        assert sizes(pool, "in_use") == {"in_use": 9}
        stranger = thread_of(who, pool)
        assert isinstance(stranger.result().error, PoolTimeout)
    assert eventually(lambda: sessions(three_servers) == [1, 1, 1])
    assert full(pool, 3)


def test_resize_serves_who_waits(server: Server, make_pool: Callable[..., Any]) -> None:
    """A bigger number is at once there for those who wait."""
    pool = make_pool(connection_count=1, timeout=10)
    with pool.handler():
        waiting = [thread_of(pool.query, "SELECT pg_sleep(0.3)") for _ in range(3)]
        assert eventually(lambda: sizes(pool, "waiting") == {"waiting": 3})
        pool.resize("web", 4)
        assert [each.result(3.0).error for each in waiting] == [None] * 3


def test_resize_below_min_connections_and_back(server: Server, make_pool: Callable[..., Any]) -> None:
    """``min_connections`` counts as far as the number allows, and wholly again when it does."""
    pool = make_pool(connection_count=4, min_connections=3)
    assert eventually(lambda: len(pids_of(server)) == 3)
    pool.resize("web", 1)
    assert eventually(lambda: len(pids_of(server)) == 1)
    pool.resize("web", 4)
    assert eventually(lambda: len(pids_of(server)) == 3)


WRONG: tuple[Any, ...] = (0, -1, 1.5, "4", None, True, 10**9, float("nan"))


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_resize_to_what_is_no_number_of_connections(server: Server, make_pool: Callable[..., Any], value: Any) -> None:
    """ConfigError names the key, what was found and what is allowed; nothing has changed."""
    pool = make_pool(connection_count=2)
    with pytest.raises(ConfigError, match=r"connection_count.*allowed") as caught:
        pool.resize("web", value)
    assert repr(value) in str(caught.value)
    assert full(pool, 2)


def test_resize_of_an_unknown_group(make_pool: Callable[..., Any]) -> None:
    """UnconfiguredGroupError, as everywhere, and it names those that there are."""
    pool = make_pool(connection_count=2)
    for name in ("wbe", "", 1, ["web"]):
        with pytest.raises(UnconfiguredGroupError, match="'web'"):
            pool.resize(name, 3)


def test_resize_under_load(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Up and down while 12 threads ask: no error, never more sessions than allowed for longer than it takes to close one."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 4, "timeout": 10}))
    with Crowd(lambda: pool.query(f"{WHO} FROM pg_sleep(0.002)"), 12) as crowd:
        crowd.goes_on()
        for count in (1, 6, 2, 8, 1, 3):
            pool.resize("web", count)
            crowd.goes_on()
            assert eventually(lambda count=count: max(sessions(three_servers)) <= count)
    assert crowd.errors == []
    assert full(pool, 9)


def test_the_module_functions(server: Server) -> None:
    """``resize``, ``drain`` and ``resume`` of the module work on the default pool."""
    pool = pgdbpool.init(server.config({"connection_count": 1}, label="only"))
    try:
        pgdbpool.resize("web", 2)
        assert full(pool, 2)
        pgdbpool.drain("only")
        with pytest.raises(DBOfflineError):
            pgdbpool.query("SELECT 1")
        pgdbpool.resume("only")
        assert pgdbpool.query("SELECT 1").scalar() == 1
    finally:
        pgdbpool.close()


def test_closing_a_pool_with_drained_servers(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``close`` returns soon and leaves no session, with one endpoint drained and connections out."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    assert full(pool, 6)
    done = threading.Event()

    def hold() -> None:
        with pool.handler() as db:
            db.query("SELECT 1")
            done.wait(10)

    holders = [thread_of(hold) for _ in range(6)]
    assert eventually(lambda: sizes(pool, "in_use") == {"in_use": 6})
    pool.drain("one")
    since = time.monotonic()
    pool.close(timeout=0.3)
    assert time.monotonic() - since < 1.5
    done.set()
    for each in holders:
        each.result()
    assert eventually(lambda: [len(server.sessions("pgdbpool:%")) for server in three_servers.servers] == [0, 0, 0])


def test_warm_backends_stay_when_others_change(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """To drain one server, or to resize another group, touches no session that has nothing to do with it."""
    config = three_servers.config({"target": "any", "connection_count": 2, "min_connections": 2})
    config["groups"]["other"] = {"connection_count": 2, "target": "any"}
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    assert len(warm(pool, 6)) == 6
    before = {label: set(pids_of(three_servers.by_label[label], "pgdbpool:web")) for label in ("one", "three")}
    pool.drain("two")
    pool.resize("other", 1)
    pool.resume("two")
    pool.resize("other", 5)
    assert eventually(lambda: is_known(pool))
    assert full(pool, 6)
    after = {label: set(pids_of(three_servers.by_label[label], "pgdbpool:web")) for label in ("one", "three")}
    assert after == before
