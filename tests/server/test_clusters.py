"""Servers of another cluster, and primaries whose time is over: nobody reads there, and nobody writes (contract §5)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from pgdbpool import DBConnectionError, DBOfflineError
from pgdbpool.demo.cluster import Cluster
from tests.life import thread_of
from tests.servers import ROLE, SETTINGS, EmbeddedServer, Fleet, Server, at_hand, eventually
from tests.several import Replicas, answering, is_known, state, writer, writers
from tests.usage import fresh_table, rows_of


@pytest.mark.contract("5.failover.4")
def test_a_standby_of_another_cluster_is_refused(
    replicas: Replicas, module_replicas: Replicas, make_pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is ``foreign``, which is said once, and serves no read, not even where there is no other standby; ``any`` asks it."""
    stranger = module_replicas.standbys[1].endpoint(label="stranger")
    config = replicas.config()
    config["db"] = [stranger, *config["db"][:2]]
    config["groups"] |= {
        "strict": {"connection_count": 2, "target": "standby"},
        "everywhere": {"connection_count": 2, "target": "any"},
    }
    with caplog.at_level(logging.WARNING):
        pool = make_pool(config)
        assert eventually(lambda: is_known(pool) and state(pool, "stranger") == "foreign")
        assert eventually(lambda: answering(pool) == {"standby1"})
        assert answering(pool, read_only=True) == answering(pool, group="strict") == {"standby1"}
        assert eventually(lambda: answering(pool, group="everywhere") == {"primary", "standby1", "standby2"})
        pool.drain("standby1")
        assert answering(pool, read_only=True) == {"primary"}
        since = time.monotonic()
        with pytest.raises(DBOfflineError, match=r"stranger foreign \(standby\)"):
            pool.query("SELECT 1", group="strict")
        assert time.monotonic() - since < 1.0  # not at the timeout: there is nothing to wait for
    assert caplog.text.count("stranger: belongs to another cluster") == 1


def newcomer(key: str, port: int) -> Server:
    """A server of a new cluster, at an address that another one has left."""
    cluster = Cluster(at_hand()[key], settings={**SETTINGS, "cluster_name": "newcomer"})
    cluster.port = port
    server = EmbeddedServer(cluster)
    server.furnish()
    return server


@pytest.mark.contract("5.failover.4")
def test_a_cluster_that_was_replaced_is_adopted(
    own_replicas: Replicas,
    fleet: Fleet,
    server_key: str,
    make_pool: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not as long as a server of the old one answers; when none has for some seconds, with one warning."""
    config = own_replicas.config({"timeout": 0.5})
    config["db"] = config["db"][:2]
    own_replicas.standbys[1].close()
    pool = make_pool(config)
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1"})
    own_replicas.primary.stop()
    with fleet.own(lambda key: newcomer(key, own_replicas.primary.port), server_key), caplog.at_level(logging.WARNING):
        assert eventually(lambda: state(pool, "primary") == "foreign")
        with pytest.raises(DBOfflineError, match=r"primary foreign \(primary\)"):
            writer(pool)
        assert answering(pool, read_only=True) == {"standby1"}
        assert "was replaced" not in caplog.text
        own_replicas.standbys[0].stop()
        waiting = thread_of(lambda: writer(pool, timeout=20))
        assert waiting.result(15.0).value == "newcomer"
        assert answering(pool, read_only=True) == {"newcomer"}
        pool.close()
    assert caplog.text.count("the cluster was replaced") == 1


@pytest.mark.contract("5.failover.2")
def test_a_primary_whose_time_is_over(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A standby is promoted while its primary lives: within a second nobody writes to the old one, also who has begun to."""
    fresh_table(own_replicas.primary, "split", "id int")
    pool = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(pool))
    own_replicas.caught_up()
    with pool.handler() as db:
        assert db.query(f"INSERT INTO {ROLE}.split VALUES (1)").rowcount == 1
        own_replicas.standbys[0].promote()
        assert eventually(lambda: state(pool, "primary") == "fenced", 2.0)
        assert writers(pool) == {"standby1"}
        assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] and refused(db))
    pool.query(f"INSERT INTO {ROLE}.split VALUES (2)")
    assert answering(pool, read_only=True) <= {"standby1", "standby2"}
    assert rows_of(own_replicas.standbys[0], "split")[-1:] == [2]
    anew = make_pool(own_replicas.config({"timeout": 10}))
    assert eventually(lambda: is_known(anew))
    assert state(anew, "primary") == "fenced"
    assert writers(anew) == {"standby1"}
    own_replicas.primary.follow(own_replicas.standbys[0])
    assert eventually(lambda: state(pool, "primary") == "up" and state(pool, "primary", "role") == "standby", 8.0)
    assert writers(pool) == {"standby1"}


def refused(db: Any) -> bool:
    """Whether what is written on this connection fails, as one that was cut."""
    try:
        db.query(f"INSERT INTO {ROLE}.split VALUES (3)")
    except DBConnectionError:
        return True
    return False
