"""The embedded server's standbys."""

from __future__ import annotations

import psutil
import psycopg2
import pytest

from pgdbpool.demo.cluster import Cluster, ClusterError
from tests.servers import Server, eventually
from tests.several import WHO, Replicas, Several

IN_RECOVERY = "SELECT pg_is_in_recovery()"


def write(server: Server, name: str) -> None:
    server.sql(f"CREATE TABLE {name} AS SELECT 1 AS n")


def has(server: Server, name: str) -> bool:
    return server.sql("SELECT to_regclass(%s) IS NOT NULL", (name,)) == [(True,)]


@pytest.mark.every_version
def test_the_old_primary_follows_a_promoted_standby(own_replicas: Replicas) -> None:
    """After a crash of the primary a standby takes its place, the other one goes on with its sessions, the old one joins."""
    old, (new, other) = own_replicas.primary, own_replicas.standbys
    write(old, "before")
    own_replicas.caught_up()
    old.kill9()
    session = other.admin()
    new.promote()
    write(new, "after")
    other.follow(new)
    own_replicas.caught_up(new)
    seen = [[has(server, table) for table in ("before", "after")] for server in (new, other)]
    old.follow(new)
    own_replicas.caught_up(new)
    session.cursor().execute("SELECT 1")
    session.close()

    assert seen == [[True, True], [True, True]]
    assert [has(old, table) for table in ("before", "after")] == [True, True]
    assert [server.sql(IN_RECOVERY) for server in own_replicas.servers] == [[(True,)], [(False,)], [(True,)]]


def test_what_the_old_primary_wrote_alone_is_lost(own_replicas: Replicas) -> None:
    """A primary that was written to after its standby had been promoted follows that one all the same, on its old port."""
    old, (new, _) = own_replicas.primary, own_replicas.standbys
    new.promote()
    write(old, "alone")
    port = old.port
    old.stop()
    old.follow(new)

    assert (old.port, old.sql("SHOW port")) == (port, [(str(port),)])
    assert (old.sql(IN_RECOVERY), has(old, "alone"), old.sql(WHO)) == ([(True,)], False, [("primary",)])


@pytest.mark.every_version
def test_a_standby_may_find_the_next_primary_by_itself(own_replicas: Replicas) -> None:
    """A standby that knows another one follows it when the primary is gone and that one is promoted."""
    old, (new, other) = own_replicas.primary, own_replicas.standbys
    other.follow(old, new)
    write(old, "before")
    own_replicas.caught_up()
    old.kill9()
    new.promote()
    write(new, "after")
    own_replicas.caught_up(new)

    assert [has(other, table) for table in ("before", "after")] == [True, True]


@pytest.mark.every_version
def test_standbys_replay_what_the_primary_holds(replicas: Replicas) -> None:
    """What is written on the primary shows on the standbys, which refuse to write; each says which one it is."""
    write(replicas.primary, "shown")
    replicas.caught_up()

    assert [has(server, "shown") for server in replicas.servers] == [True, True, True]
    assert [server.sql(WHO) for server in replicas.servers] == [[("primary",)], [("standby1",)], [("standby2",)]]
    for standby in replicas.standbys:
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            write(standby, "refused")


@pytest.mark.parametrize("end", ["restart", "kill9"])
def test_a_standby_comes_back(module_replicas: Replicas, end: str) -> None:
    """After a restart or a crash a standby is on its port again and catches up with what it missed; so does a frozen one."""
    restarted, frozen = module_replicas.standbys
    port = restarted.port
    getattr(restarted, end)()
    frozen.freeze()
    write(module_replicas.primary, f"missed_{end}")
    frozen.thaw()
    if not restarted.running:
        restarted.start()
    module_replicas.caught_up()

    assert (restarted.port, has(restarted, f"missed_{end}")) == (port, True)


def test_standbys_find_a_primary_that_is_back(module_replicas: Replicas) -> None:
    """After a restart of the primary its standbys stream again by themselves."""
    module_replicas.primary.restart()
    write(module_replicas.primary, "of_the_new_life")
    module_replicas.caught_up()

    assert [has(standby, "of_the_new_life") for standby in module_replicas.standbys] == [True, True]


def test_a_standby_needs_a_primary_that_runs() -> None:
    """Where there is nobody to copy from, the error says so in the program's words, and nothing is left."""
    before = set(psutil.Process().children(recursive=True))
    with Cluster() as primary:
        primary.stop()
        standby = Cluster(primary=primary)
        with pytest.raises(ClusterError, match=r"pg_basebackup failed:\n(.|\n)*connection to server on socket"):
            standby.start()

    assert not standby.folder.exists()
    assert eventually(lambda: set(psutil.Process().children(recursive=True)) <= before)


@pytest.mark.parametrize("lost", [0, 1])
def test_independent_servers_run_for_each_test(three_servers: Several, lost: int) -> None:
    """Each test finds all three, which hold nothing in common, whatever another has done to them."""
    write(three_servers.servers[0], f"alone_{lost}")

    assert [has(server, f"alone_{lost}") for server in three_servers.servers] == [True, False, False]
    assert [server.sql(WHO) for server in three_servers.servers] == [[("one",)], [("two",)], [("three",)]]
    three_servers.servers[lost].kill9()
    three_servers.servers[2].freeze()
