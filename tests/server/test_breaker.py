"""One of several servers is ill: what ``stats()`` says, that the others go on, and how it comes back (contract §4 and §5)."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import DBOfflineError
from tests.life import Crowd, outcomes, thread_of
from tests.servers import PASSWORD, ROLE, Server, eventually
from tests.several import WHO, Replicas, Several, answering, is_known, state, who, writer, writers

LABELS = {"one", "two", "three"}
OTHERS = {"one", "three"}


class Impostor:
    """A port that takes connections as a server would, and never lets one in.

    ``manner``: ``silent`` says nothing, ``hangs up`` closes, ``resets`` closes with RST. ``attempts`` are the times of
    connections on which something was said, ``most`` the greatest number of them at one time.
    """

    def __init__(self, manner: str) -> None:
        self._manner = manner
        self.attempts: list[float] = []
        self.most = self._now = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._going = True
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def _listen(self) -> None:
        while self._going:
            with suppress(TimeoutError):
                caller, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._meet, args=(caller,), daemon=True))
                self._threads[-1].start()

    def _meet(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            caller.settimeout(0.1)
            if not self._heard(caller):
                return
            with self._lock:
                self.attempts.append(time.monotonic())
                self._now += 1
                self.most = max(self.most, self._now)
            while self._manner == "silent" and self._heard(caller):
                pass
            with self._lock:
                self._now -= 1
            if self._manner == "resets":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _heard(self, caller: socket.socket) -> bool:
        """Wait until something is said; false when the caller has gone."""
        while self._going:
            with suppress(TimeoutError):
                return bool(caller.recv(1024))
        return False

    def close(self) -> None:
        self._going = False
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


@contextmanager
def impostor(manner: str) -> Iterator[Impostor]:
    made = Impostor(manner)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def unused_port() -> Iterator[int]:
    with socket.socket() as bound:  # bound and not listening: whoever calls is refused
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


ILL: dict[str, tuple[dict[str, Any], str, str]] = {
    "password": ({"pass": "quite wrong"}, "failed", "password authentication failed"),
    "database": ({"name": "nowhere"}, "failed", 'database "nowhere" does not exist'),
    "role": ({"user": "nobody_at_all"}, "failed", "nobody_at_all"),
    "TLS": ({"ssl": "require"}, "failed", "does not support SSL"),
    "refused": ({}, "down", "refused"),
    "silent": ({}, "down", "timeout expired"),
    "hangs up": ({}, "down", "closed the connection unexpectedly"),
    "resets": ({}, "down", "reset by peer|closed the connection"),
}


@contextmanager
def ill(how: str) -> Iterator[dict[str, Any]]:
    """What an endpoint has to be told to be ill in this way."""
    if how == "refused":
        with unused_port() as port:
            yield {"port": port}
    elif how in ("silent", "hangs up", "resets"):
        with impostor(how) as server:
            yield {"port": server.port, "connect_timeout": 2}
    else:
        yield ILL[how][0]


@pytest.mark.contract("4.waiting.1", "4.lost.1", "2.call.stats.1")
@pytest.mark.parametrize("how", list(ILL))
def test_one_of_three_was_never_there(three_servers: Several, make_pool: Callable[..., Any], how: str) -> None:
    """Requests of a new pool are served by the others at once, none is slow or fails, and ``stats()`` says what is wrong."""
    with ill(how) as endpoint:
        pool = make_pool(three_servers.config({"target": "any"}, each={"two": {"ssl": "disable", **endpoint}}))
        with Crowd(lambda: who(pool), 6) as crowd:
            crowd.goes_on()
            assert eventually(lambda: state(pool, "two") == ILL[how][1])
            time.sleep(1.5)
        assert crowd.errors == []
        assert {each.value for each in crowd.all} == OTHERS
        assert max(each.seconds for each in crowd.all) < 0.7
        figures = pool.stats()["endpoints"]["two"]
        assert (figures["state"], figures["connections"], figures["connects"]) == (ILL[how][1], 0, 0)
        assert any(words in figures["last_error"] for words in ILL[how][2].split("|"))
        assert PASSWORD not in str(pool.stats())
        assert {label: answer["ok"] for label, answer in pool.check().items()} == {
            "one": True,
            "two": False,
            "three": True,
        }
        pool.close()


@pytest.mark.contract("4.lost.1")
@pytest.mark.parametrize("manner", ["silent", "hangs up"])
def test_one_attempt_at_a_time(three_servers: Several, make_pool: Callable[..., Any], manner: str) -> None:
    """However many groups and threads would like a connection there, one attempt is made at a time, ever less often."""
    with impostor(manner) as server:
        endpoint = {"port": server.port, "ssl": "disable", "connect_timeout": 2}
        config = three_servers.config({"target": "any"}, each={"two": endpoint})
        config["groups"] |= {name: {"connection_count": 4, "target": "any"} for name in ("more", "still_more")}
        pool = make_pool(config)
        with Crowd(lambda: [who(pool, group=name) for name in config["groups"]], 6) as crowd:
            crowd.goes_on()
            time.sleep(5.0)
        assert crowd.errors == []
        assert server.most == 1
        assert 2 <= len(server.attempts) <= 11
        pool.close()


@pytest.mark.contract("4.lost.1", "4.alive.2")
@pytest.mark.parametrize("how", ["stop", "kill9", "immediate"])
def test_a_server_goes_and_comes_back(three_servers: Several, make_pool: Callable[..., Any], how: str) -> None:
    """At most one error for each request in flight on it, none for what only reads; back within a second, with all it had."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 3, "min_connections": 2}))
    assert eventually(lambda: is_known(pool))
    ill = three_servers.by_label["two"]
    with Crowd(lambda: who(pool), 4) as writers, Crowd(lambda: who(pool, read_only=True), 4) as readers:
        writers.goes_on()
        {"stop": ill.stop, "kill9": ill.kill9, "immediate": lambda: ill.stop("immediate")}[how]()
        gone = time.monotonic()
        assert eventually(lambda: state(pool, "two") == "down")
        time.sleep(1.0)
        until = time.monotonic()
        ill.start()
        back = time.monotonic()
        assert eventually(lambda: any(each.value == "two" and each.at > back for each in list(readers.all)))
        first = min(each.at for each in readers.all if each.value == "two" and each.at > back) - back
        writers.goes_on()
    assert first < 1.0
    assert readers.errors == []
    assert len(writers.errors) <= 3
    assert {type(error) for error in writers.errors} <= {pgdbpool.DBConnectionError, pgdbpool.InDoubt}
    during = [each for each in readers.all + writers.all if gone < each.at - each.seconds and each.at < until]
    assert {each.value for each in during} == OTHERS
    assert max(each.seconds for each in during) < 0.7
    assert eventually(lambda: pool.stats()["endpoints"]["two"]["connections"] >= 2)
    assert pool.stats()["groups"]["web"]["in_use"] == 0


@pytest.mark.contract("4.no-thread-waits.1", "5.balance.1")
def test_a_frozen_server(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``silent`` within a second and a half, its borrowed connections are cut after three; it serves again soon after."""
    pool = make_pool(three_servers.config({"target": "any", "query_timeout": 30000}))
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: all(server.sessions("pgdbpool:monitor") for server in three_servers.servers))
    ill = three_servers.by_label["two"]
    with Crowd(lambda: who(pool), 6) as crowd:
        crowd.goes_on()
        ill.freeze()
        since = time.monotonic()
        assert eventually(lambda: state(pool, "two") in ("silent", "down"), 2.0)
        noticed = time.monotonic() - since
        time.sleep(max(0.0, since + 4.5 - time.monotonic()))
        in_use = pool.stats()["groups"]["web"]["in_use"]
        ill.thaw()
        back = time.monotonic()
        assert eventually(lambda: any(each.value == "two" and each.at > back for each in list(crowd.all)))
        assert time.monotonic() - back < 1.5
    assert noticed < 1.6
    assert in_use <= 6
    assert len(crowd.errors) <= 4
    assert all("silent" in str(error) for error in crowd.errors), crowd.errors
    assert eventually(lambda: pool.stats()["groups"]["web"]["in_use"] == 0)


@contextmanager
def connection_limit(server: Server, count: int) -> Iterator[None]:
    """The tests' role may have so many sessions there (53300)."""
    server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT {count}")
    try:
        yield
    finally:
        server.thaw()
        server.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@pytest.mark.contract("4.waiting.1", "2.call.stats.1")
def test_a_server_that_takes_no_further_session(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """53300 from one of three: ``full``; what is open there goes on serving, nobody waits or fails, and it grows later."""
    ill = three_servers.by_label["two"]
    with connection_limit(ill, 2):
        pool = make_pool(three_servers.config({"target": "any", "min_connections": 4}))
        assert eventually(lambda: state(pool, "two") == "full", 3.0)
        assert "too many connections" in state(pool, "two", "last_error")
        with Crowd(lambda: who(pool), 8) as crowd:
            crowd.goes_on()
            time.sleep(1.0)
        assert crowd.errors == []
        assert {each.value for each in crowd.all} == LABELS
        assert max(each.seconds for each in crowd.all) < 0.7
        assert state(pool, "two", "connections") in (1, 2)
    assert eventually(lambda: state(pool, "two", "connections") == 4 and state(pool, "two") == "up", 4.0)


@pytest.mark.contract("5.eligible.1", "5.eligible.2")
def test_a_full_standby_with_none_of_ours(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """The only standby takes no session and we have none there: reads go to the primary, and back when there is room."""
    standby = own_replicas.standbys[0]
    config = own_replicas.config({"timeout": 2, "connection_count": 2})
    del config["db"][2]
    pool = make_pool(config)
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1"})
    own_replicas.primary.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT 4")
    own_replicas.caught_up()
    taken: list[Any] = []

    def take_all() -> bool:
        with suppress(psycopg2.OperationalError):
            taken.append(psycopg2.connect(**standby.dsn()))
            return len(taken) == 4
        standby.terminate("pgdbpool:%")
        return False

    assert eventually(take_all)
    assert eventually(lambda: state(pool, "standby1") not in ("up", "silent"), 3.0)
    told = outcomes(4, lambda _: who(pool, read_only=True))
    assert {each.value for each in told} == {"primary"}
    assert max(each.seconds for each in told) < 0.5
    for each in taken:
        each.close()
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1"}, 8.0)


@pytest.mark.contract("4.waiting.2")
def test_all_are_away(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """DBOfflineError at ``timeout``: it names each server with its state, and its cause is the last connect error."""
    pool = make_pool(three_servers.config({"target": "any", "timeout": 0.8}))
    assert eventually(lambda: is_known(pool))
    three_servers.by_label["one"].stop()
    assert eventually(lambda: state(pool, "one") == "down")
    three_servers.by_label["two"].stop()
    three_servers.by_label["three"].freeze()
    assert eventually(lambda: state(pool, "three") == "down", 8.0)
    since = time.monotonic()
    words = r"one down for .*refused.*two down for .*refused.*three down for .*timeout expired"
    with pytest.raises(DBOfflineError, match=words) as caught:
        pool.query("SELECT 1")
    assert 0.8 <= time.monotonic() - since < 1.3
    assert isinstance(caught.value.__cause__, psycopg2.OperationalError)
    assert PASSWORD not in str(caught.value)
    with pytest.raises(DBOfflineError):
        pool.query("SELECT 1", timeout=0)
    waiting = [thread_of(lambda: who(pool, timeout=20)) for _ in range(3)]
    assert eventually(lambda: pool.stats()["groups"]["web"]["waiting"] == 3)
    three_servers.by_label["two"].start()
    assert {each.result().value for each in waiting} == {"two"}
    assert answering(pool) == {"two"}


@pytest.mark.contract("4.waiting.2")
def test_the_cause_is_the_last_connect_error(own_replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A server that was away long ago and is back since has nothing to do with the present trouble."""
    config = own_replicas.config({"timeout": 0.5})
    config["db"].reverse()
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    own_replicas.standbys[1].stop()
    assert eventually(lambda: state(pool, "standby2") == "down")
    own_replicas.standbys[1].start()
    assert eventually(lambda: state(pool, "standby2") == "up")
    own_replicas.primary.stop("immediate")
    assert eventually(lambda: state(pool, "primary") == "down")
    with pytest.raises(DBOfflineError) as caught:
        writer(pool)
    assert f"port {own_replicas.primary.port} failed" in str(caught.value.__cause__)


@pytest.mark.contract("4.waiting.2")
def test_all_have_failed_for_good(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """Three permanent reasons: told at once; one of three only away: told at ``timeout``, because that may pass."""
    each = {"one": {"pass": "quite wrong"}, "two": {"name": "nowhere"}, "three": {"user": "nobody_at_all"}}
    pool = make_pool(three_servers.config({"target": "any", "timeout": 20}, each=each))
    told = outcomes(4, lambda _: pool.query("SELECT 1"))
    assert {type(each.error) for each in told} == {DBOfflineError}
    assert max(each.seconds for each in told) < 3.0
    message = str(told[0].error)
    assert all(words in message for words in ("one failed", "two failed", "three failed", "nowhere", "nobody_at_all"))
    assert told[0].error is not None
    assert isinstance(told[0].error.__cause__, psycopg2.OperationalError)
    assert "quite wrong" not in message
    with unused_port() as port:
        each["two"] = {"port": port}
        pool = make_pool(three_servers.config({"target": "any", "timeout": 1.2}, each=each))
        [told_late] = outcomes(1, lambda _: pool.query("SELECT 1"))
        assert isinstance(told_late.error, DBOfflineError)
        assert 1.2 <= told_late.seconds < 1.7


HOSTS = ["127.0.0.1", "localhost"]


@pytest.mark.contract("5.failover.3", "5.target-any.1")
def test_one_server_under_two_addresses(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """It is one server where roles count, whichever address is reached, and two for ``any``."""
    pair = {"standby": replicas.standbys[0], "primary": replicas.primary}
    twice = [each.endpoint(label=f"{name} at {host}", host=host) for name, each in pair.items() for host in HOSTS]
    groups = {"web": {"connection_count": 2}, "all": {"connection_count": 2, "target": "any"}}
    pool = make_pool({"db": twice, "groups": groups})
    assert eventually(lambda: is_known(pool))
    assert eventually(
        lambda: reached(pool, group="all") == {(host, each.port) for host in HOSTS for each in pair.values()}
    )

    def reads_by(hosts: list[str]) -> bool:
        return any(reached(pool, read_only=True) == {(host, pair["standby"].port)} for host in hosts)

    assert eventually(lambda: reads_by(HOSTS), 4.0)
    [(host, _)] = reached(pool, read_only=True)
    pool.drain(f"standby at {host}")
    assert reads_by([each for each in HOSTS if each != host])
    assert answering(pool, read_only=True) == {"standby1"}
    assert (len(reached(pool)), writers(pool)) == (1, {"primary"})


def reached(pool: Any, **options: Any) -> set[tuple[str, int]]:
    """The addresses by which these requests reach a server."""
    found = set()
    for _ in range(12):
        with pool.connection(**options) as raw:
            found.add((raw.info.host, raw.info.port))
    return found


@pytest.mark.contract("4.lost.1", "4.no-thread-waits.3")
def test_non_threaded_with_one_server_away(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``type: non-threaded``: the others serve, and the one that was away serves again when it is back."""
    pool = make_pool({**three_servers.config({"target": "any", "connection_count": 2}), "type": "non-threaded"})
    assert answering(pool) == LABELS
    three_servers.by_label["two"].stop()
    told = [outcomes_of(pool) for _ in range(20)]
    assert sum(isinstance(each, BaseException) for each in told) <= 2
    assert {each for each in told if isinstance(each, str)} >= OTHERS
    assert answering(pool) == OTHERS
    three_servers.by_label["two"].start()
    assert eventually(lambda: answering(pool) == LABELS, 5.0)


def outcomes_of(pool: Any) -> Any:
    try:
        return pool.query(WHO).scalar()
    except pgdbpool.PoolError as error:
        return error
