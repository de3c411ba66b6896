"""What psycopg2 sees of each fault that a network namespace makes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg2
import pytest

from pgdbpool.demo.cluster import Cluster
from tests.faults.namespace import Namespace, why_not
from tests.life import in_child, outcome, thread_of
from tests.servers import PASSWORD, ROLE, at_hand, chosen

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

RULES = "host all all 10.203.0.0/16 scram-sha-256\n"


class Place:
    """A server in a namespace, and the connections to it."""

    def __init__(self, net: Namespace, cluster: Cluster) -> None:
        self.net, self.cluster = net, cluster
        self.made: list[Any] = []

    def connect(self, **options: Any) -> Any:
        place = {"host": self.net.address, "port": self.cluster.port, "dbname": "postgres", "connect_timeout": 5}
        self.made.append(psycopg2.connect(**{**place, "user": ROLE, "password": PASSWORD, **options}))
        self.made[-1].autocommit = True
        return self.made[-1]

    def refusal(self, **options: Any) -> str:
        error = outcome(lambda: self.connect(**options)).error
        assert isinstance(error, psycopg2.OperationalError)
        return str(error)


@pytest.fixture(scope="module")
def born(nothing_is_left: None) -> Iterator[Place]:
    """A server that was born in a namespace."""
    with Namespace() as net:
        cluster = Cluster(at_hand()[chosen()[0][0]], settings={"listen_addresses": net.address}, hba=RULES)
        try:
            net.run(cluster.start)
            cluster.create_role(ROLE, PASSWORD)
            yield Place(net, cluster)
        finally:
            cluster.close()


@pytest.fixture
def place(born: Place) -> Iterator[Place]:
    """The same, whole again after each test."""
    yield born
    born.net.heal()
    while born.made:
        born.made.pop().close()


def ask(connection: Any, text: str = "SELECT 42") -> Any:
    cursor = connection.cursor()
    cursor.execute(text)
    return cursor.fetchall()


def hangs(connection: Any) -> thread_of:
    """A query that has no answer after a while."""
    asking = thread_of(ask, connection)
    asking.thread.join(0.3)
    assert asking.outcome is None
    return asking


def test_a_server_is_born_in_it(place: Place) -> None:
    """It is reached at the namespace's address and by its socket, and nowhere else."""
    assert ask(place.connect(), "SELECT host(inet_server_addr())") == [(place.net.address,)]
    assert place.cluster.sql("SELECT 42") == [(42,)]
    assert "Connection refused" in place.refusal(host="127.0.0.1")


def test_what_is_done_to_the_server(place: Place) -> None:
    """It is restarted and killed from within and is where it was."""
    for harm in (place.cluster.restart, place.cluster.kill9, place.cluster.start):
        place.net.run(harm)
    assert ask(place.connect()) == [(42,)]


def test_run_returns_and_raises(place: Place) -> None:
    """What the function returns or raises in the namespace comes out of it, and this thread stays outside."""
    name = "/proc/thread-self/ns/net"
    assert os.readlink(name) != place.net.run(os.readlink, name) == place.net.run(os.readlink, name)
    with pytest.raises(ZeroDivisionError):
        place.net.run(divmod, 1, 0)


def test_drop(place: Place) -> None:
    """A query hangs and a connect ends at its timeout; afterwards the answer arrives."""
    connection = place.connect()
    place.net.drop(place.cluster.port)
    assert "timeout expired" in place.refusal(connect_timeout=1)
    asking = hangs(connection)
    place.net.heal()
    assert asking.result().value == [(42,)]


def test_drop_is_what_tcp_user_timeout_is_for(place: Place) -> None:
    """A request that nobody acknowledges fails after tcp_user_timeout."""
    connection = place.connect(tcp_user_timeout=500)
    place.net.drop()
    asking = hangs(connection)
    error = asking.result().error
    assert isinstance(error, psycopg2.OperationalError)
    assert ("timed out" in str(error), connection.closed) == (True, 2)


def test_another_port_is_not_dropped(place: Place) -> None:
    """A fault of one port is none of the others'."""
    place.net.drop(place.cluster.port + 1)
    assert ask(place.connect()) == [(42,)]


def test_reject_by_reset(place: Place) -> None:
    """A connection is lost at its next query, and a new one is refused at once."""
    connection = place.connect()
    place.net.reject("reset", place.cluster.port)
    error = thread_of(ask, connection).result(1.0).error
    assert (type(error), connection.closed) == (psycopg2.OperationalError, 2)
    assert "Connection refused" in place.refusal()


def test_reject_by_icmp(place: Place) -> None:
    """A query hangs, for ICMP is soft to an open socket, while a new connection is refused at once."""
    connection = place.connect()
    place.net.reject("icmp", place.cluster.port)
    asking = hangs(connection)
    assert "Connection refused" in place.refusal()
    place.net.heal()
    assert asking.result().value == [(42,)]


def test_lose(place: Place) -> None:
    """Every answer arrives, but sooner or later one that TCP had to send again."""
    connection = place.connect()
    place.net.lose(20, place.cluster.port)
    seconds = 0.0
    limit = time.monotonic() + 10.0
    while seconds < 0.1 and time.monotonic() < limit:
        asking = outcome(ask, connection)
        assert asking.value == [(42,)]
        seconds = asking.seconds
    assert seconds >= 0.1


def test_link_down(place: Place) -> None:
    """A query hangs and nobody connects; when the link is up again, the answer arrives and all is as it was."""
    connection = place.connect()
    place.net.link_down()
    assert "No route to host" in place.refusal()
    asking = hangs(connection)
    place.net.link_up()
    assert asking.result().value == [(42,)]
    assert ask(place.connect()) == [(42,)]


def test_nothing_remains(place: Place) -> None:
    """A namespace that is closed, even by an error in it, leaves neither itself nor an interface."""

    def seen(net: Namespace) -> list[bool]:
        lists = (subprocess.check_output(["ip", *what], text=True) for what in (["netns"], ["link"], ["route"]))
        return [net.name.removeprefix("pgdbpool") in text for text in lists]

    with suppress(ZeroDivisionError), Namespace() as net:
        assert seen(net) == [True, True, True]
        assert net.address != place.net.address
        net.run(divmod, 1, 0)
    assert seen(net) == [False, False, False]


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no root or no program for it, it says so, and how to get it."""

    def without_root() -> str:
        os.seteuid(65534)
        return why_not.__wrapped__()

    assert "run the tests as root" in in_child(without_root)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no ip and no nft; apt-get install iproute2 nftables" in why_not.__wrapped__()
