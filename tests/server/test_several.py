"""A pool of several servers as a whole: its figures and words, fork, ``non-threaded`` (contract §2 and §4)."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from tests.life import Crowd, full, in_child, outcomes, pids_of, thread_of, warm
from tests.servers import PASSWORD, eventually
from tests.several import WHO, Replicas, Several, answering, is_known, state, who, writer

LABELS = {"one", "two", "three"}

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


# -- figures and words


@pytest.mark.contract("2.call.stats.1")
def test_stats_over_several_servers(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """By label and as JSON; the figures of a group are of one moment and agree with those of its servers."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 3}))
    assert eventually(lambda: is_known(pool))
    with Crowd(lambda: who(pool), 12) as crowd:
        crowd.goes_on()
        for _ in range(200):
            figures = pool.stats()["groups"]["web"]
            assert 0 <= figures["in_use"] + figures["idle"] <= figures["connection_count"] == 9
            assert figures["hold"]["count"] == figures["checkouts"] - figures["in_use"]
    assert crowd.errors == []
    assert eventually(lambda: full(pool, 9))
    figures = json.loads(json.dumps(pool.stats()))
    assert list(figures["endpoints"]) == ["one", "two", "three"]
    assert {each["connections"] for each in figures["endpoints"].values()} == {3}
    assert figures["groups"]["web"]["checkouts"] >= len(crowd.all)
    keys = {"role", "state", "lag_seconds", "lag_bytes", "connections", "connects", "last_error"}
    assert all(set(each) >= keys for each in figures["endpoints"].values())


@pytest.mark.contract("2.call.stats.1", "3.endpoint.label.1")
def test_labels_by_default(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Without ``label`` an endpoint is called host:port, everywhere."""
    config = three_servers.config({"target": "any"})
    config["db"] = [{key: value for key, value in each.items() if key != "label"} for each in config["db"]]
    pool = make_pool(config)
    labels = [f"127.0.0.1:{server.port}" for server in three_servers.servers]
    assert list(pool.stats()["endpoints"]) == list(pool.check()) == labels
    assert all(label in pool.explain() for label in labels)
    pool.drain(labels[0])
    assert state(pool, labels[0]) == "drained"


@pytest.mark.contract("2.call.check.1")
def test_check_over_several_servers(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Each endpoint is asked now, ill and drained ones too; it raises nothing, and several dead ones do not add up."""
    pool = make_pool(own_replicas.config())
    answers = pool.check()
    assert {label: (each["ok"], each["role"]) for label, each in answers.items()} == {
        "primary": (True, "primary"),
        "standby1": (True, "standby"),
        "standby2": (True, "standby"),
    }
    assert all(0 < each["round_trip"] < 2 and each["server_version"] for each in answers.values())
    pool.drain("standby1")
    for server in own_replicas.standbys:
        server.freeze()
    own_replicas.primary.stop("immediate")
    since = time.monotonic()
    answers = pool.check()
    assert time.monotonic() - since < 8.0
    assert {label: each["ok"] for label, each in answers.items()} == {
        "primary": False,
        "standby1": False,
        "standby2": False,
    }
    assert "refused" in answers["primary"]["error"]
    assert "timeout" in answers["standby2"]["error"]
    assert PASSWORD not in json.dumps(answers)


@pytest.mark.contract("2.call.explain.1", "2.call.explain.2")
def test_explain_of_several_servers(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """It says, for each server and group, how many connections there may be and who serves what."""
    config = replicas.config({"connection_count": 7})
    config["groups"]["reports"] = {"connection_count": 2, "target": "prefer-standby"}
    config["groups"]["strict"] = {"connection_count": 1, "target": "standby", "min_connections": 0}
    pool = make_pool(config)
    text = pool.explain(3)
    for label in ("primary", "standby1", "standby2"):
        assert (
            f"{label}: at most 3 workers × (7 'web' + 2 'reports' + 1 'strict' + 1 monitor = 11) = 33 connections"
            in text
        )
    lines = {
        name: [line for line in text.splitlines() if line.startswith(f"group '{name}'")] for name in config["groups"]
    }
    assert any("auto" in line and "primary" in line and "only reads" in line for line in lines["web"]), text
    assert any("prefer-standby" in line and "primary" in line for line in lines["reports"]), text
    assert any("target standby" in line and "wait" in line for line in lines["strict"]), text
    assert "per process" in pool.explain()
    assert PASSWORD not in text


@pytest.mark.contract("2.call.explain.1", "3.endpoint.weight.1")
def test_explain_names_weights_and_configured_roles(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Where weights or roles are configured it says what comes of them."""
    each = {"one": {"weight": 3}, "two": {"role": "standby"}, "three": {"weight": 0}}
    text = make_pool(three_servers.config({"target": "any"}, each=each)).explain()
    assert "one: weight 3" in text
    assert "two: counts as a standby" in text
    assert "three: weight 0" in text


@pytest.mark.contract("2.call.explain.1", "3.endpoint.query_timeout.1")
def test_explain_tells_servers_apart(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """What is true of all servers is said once; a limit that only one has is said of that one."""
    text = make_pool(three_servers.config({"target": "any"}, each={"two": {"query_timeout": 60000}})).explain()
    assert "group 'web': one, three: an answer may take 5 s" in text
    assert "group 'web': two: an answer may take 60 s" in text
    assert text.count("a silent server is noticed") == 1
    assert "one, two, three: a silent server is noticed" in text


# -- fork


@forks
@pytest.mark.contract("4.fork.1", "4.fork.2")
def test_a_child_has_all_servers_for_itself(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """It opens sessions of its own on each, sends reads and writes where they belong, and leaves the parent's alone."""
    pool = make_pool(replicas.config({"connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    ours = {label: set(pids_of(server)) for label, server in replicas.by_label.items()}

    def child() -> Any:
        first = writer(pool), who(pool, read_only=True)
        known = eventually(lambda: is_known(pool))
        reads = eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
        theirs = {label: set(pids_of(server)) for label, server in replicas.by_label.items()}
        pool.close()
        return first, known, reads, theirs

    first, known, reads, theirs = in_child(child)
    assert first[0] == "primary"
    assert first[1] in {"standby1", "standby2", "primary"}
    assert known
    assert reads
    assert all(ours[label] < theirs[label] for label in ours)
    assert {label: set(pids_of(server)) for label, server in replicas.by_label.items()} == ours
    assert writer(pool) == "primary"


@forks
@pytest.mark.contract("4.fork.1")
@pytest.mark.parametrize("minimum", [0, 1])
def test_a_fork_while_a_server_is_away(three_servers: Several, make_pool: Callable[..., Any], minimum: int) -> None:
    """What was away at the fork is found by the child when it is back; what was drained stays drained there."""
    pool = make_pool(three_servers.config({"target": "any", "min_connections": minimum}))
    assert eventually(lambda: answering(pool) == LABELS)
    three_servers.by_label["two"].stop()
    assert eventually(lambda: state(pool, "two") == "down")
    pool.drain("three")

    def child() -> Any:
        before = answering(pool)
        three_servers.by_label["two"].start()
        after = eventually(lambda: answering(pool) == {"one", "two"}, 6.0)
        drained = state(pool, "three")
        pool.resume("three")
        resumed = eventually(lambda: answering(pool) == LABELS)
        pool.close()
        three_servers.by_label["two"].stop()
        return before, after, drained, resumed

    assert in_child(child, 30.0) == ({"one"}, True, "drained", True)
    assert answering(pool) == {"one"}
    assert state(pool, "three") == "drained"


@forks
@pytest.mark.contract("4.fork.1", "5.failover.1")
def test_a_promotion_between_fork_and_first_use(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A worker forked before a failover, that is first asked after it, writes to the new primary."""
    pool = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    reader, signal = os.pipe()

    def child() -> str:
        os.read(reader, 1)
        return writer(pool)

    def fail_over(_: int) -> str:
        time.sleep(0.3)
        own_replicas.primary.kill9()
        own_replicas.standbys[0].promote()
        os.write(signal, b"x")
        return writer(pool)

    failing = thread_of(fail_over, 0)
    assert in_child(child, 30.0) == "standby1"
    assert failing.result().value == "standby1"
    os.close(reader)
    os.close(signal)


# -- non-threaded


@pytest.mark.contract("4.no-thread-waits.3", "5.target-auto.4")
def test_non_threaded_over_several_servers(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """No thread, and the same ways: writes to the primary, reads in turn to the standbys, blocks and joins as usual."""
    before = set(threading.enumerate())
    pool = make_pool({**replicas.config({"connection_count": 2}), "type": "non-threaded"})
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    assert eventually(lambda: answering(pool) == {"standby1", "standby2"})
    with pool.transaction() as db:
        assert pool.query(WHO, read_only=True).scalar() == db.query(WHO).scalar() == "primary"
        with pool.handler(read_only=True) as other:
            assert other.query(WHO).scalar() in {"standby1", "standby2"}
    assert answering(pool, read_only=False) == {"primary"}
    assert {label: each["role"] for label, each in pool.stats()["endpoints"].items()} == {
        "primary": "primary",
        "standby1": "standby",
        "standby2": "standby",
    }
    assert set(threading.enumerate()) == before
    assert sum(len(server.sessions("pgdbpool:monitor")) for server in replicas.servers) == 0


@pytest.mark.contract("2.call.resize.1")
def test_non_threaded_drain_and_resize(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``drain``, ``resume`` and ``resize`` do the same without threads, at the latest with the next request."""
    pool = make_pool({**three_servers.config({"target": "any", "connection_count": 1}), "type": "non-threaded"})
    assert answering(pool) == LABELS
    pool.drain("two")
    assert answering(pool) == {"one", "three"}
    assert three_servers.by_label["two"].sessions("pgdbpool:%") == []
    pool.drain("one")
    pool.drain("three")
    since = time.monotonic()
    with pytest.raises(pgdbpool.DBOfflineError):
        pool.query("SELECT 1")
    assert time.monotonic() - since < 0.5
    for label in LABELS:
        pool.resume(label)
    assert eventually(lambda: answering(pool) == LABELS)
    pool.resize("web", 3)
    assert len(set(warm(pool, 9))) == 9
    pool.resize("web", 1)
    assert eventually(lambda: who(pool) and [len(pids_of(each)) for each in three_servers.servers] == [1, 1, 1])


@pytest.mark.contract("2.p1.2")
def test_pools_side_by_side_on_the_same_servers(three_primaries: Several, make_pool: Callable[..., Any]) -> None:
    """Two pools over the same servers with other targets, roles and states know nothing of each other."""
    one = make_pool(three_primaries.config({"target": "any", "application_name": "pgdbpool:first"}))
    two = make_pool(three_primaries.config({"target": "primary", "application_name": "pgdbpool:second"}))
    assert eventually(lambda: is_known(one) and is_known(two))
    one.drain("one")
    told = outcomes(8, lambda number: who([one, two][number % 2]))
    assert {each.value for each in told[::2]} <= {"two", "three"}
    assert {each.value for each in told[1::2]} == {"one"}
    assert state(two, "one") == "up"
