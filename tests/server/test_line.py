"""One line over several servers: who is served by which, and that nobody waits on a server that is away (contract §4)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from pgdbpool import NestedCheckout, PoolTimeout, TooManyRequests
from tests.life import Crowd, outcomes, thread_of
from tests.servers import eventually
from tests.several import WHO, Replicas, Several, answering, is_known, who, writer, writers

pytestmark = pytest.mark.contract("4.waiting.1")


@contextmanager
def holding(pool: Any, count: int, **options: Any) -> Iterator[dict[str, list[threading.Event]]]:
    """So many connections, each in the hands of a thread of its own: the events that end the holds, by server."""
    by_server: dict[str, list[threading.Event]] = {}
    taken = threading.Semaphore(0)

    def hold(done: threading.Event) -> None:
        with pool.handler(**options) as db:
            by_server.setdefault(db.query(WHO).scalar(), []).append(done)
            taken.release()
            done.wait(30)

    ends = [threading.Event() for _ in range(count)]
    holders = [thread_of(hold, end) for end in ends]
    try:
        assert all(taken.acquire(timeout=5) for _ in range(count)), by_server
        yield by_server
    finally:
        for end in ends:
            end.set()
        assert [each.result().error for each in holders] == [None] * count


def waits(pool: Any, count: int) -> bool:
    return bool(pool.stats()["groups"]["web"]["waiting"] == count)


@pytest.mark.contract("3.group.connection_count.1")
def test_a_waiter_is_served_by_whichever_server_is_free_first(
    three_servers: Several, make_pool: Callable[..., Any]
) -> None:
    """All connections of all servers are busy; each that comes free goes to whoever waited longest, in order."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 2}))
    assert eventually(lambda: is_known(pool))
    served: list[tuple[int, str]] = []

    def ask(number: int) -> None:
        with pool.handler() as db:
            served.append((number, db.query(WHO).scalar()))
            go_on.wait(10)

    go_on = threading.Event()
    with holding(pool, 6) as held:
        assert {label: len(events) for label, events in held.items()} == {"one": 2, "two": 2, "three": 2}
        waiting = []
        for number in range(6):
            waiting.append(thread_of(ask, number))
            assert eventually(partial(waits, pool, number + 1))
        order = ["three", "one", "two", "two", "one", "three"]
        for count, label in enumerate(order, 1):
            held[label].pop().set()
            assert eventually(lambda count=count: len(served) == count)
    go_on.set()
    assert [each.result().error for each in waiting] == [None] * 6
    assert served == list(enumerate(order))


def test_writers_and_readers_wait_in_one_order(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Where both may have the connection that comes free, it goes to whoever waited longest of them."""
    config = replicas.config({"connection_count": 1})
    config["db"] = [config["db"][0], {**config["db"][1], "weight": 1}]
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1"})
    order: list[str] = []

    def ask(name: str, read_only: bool) -> None:
        with pool.handler(read_only=read_only) as db:
            order.append(f"{name} {db.query(WHO).scalar()}")

    with holding(pool, 1) as primaries, holding(pool, 1, read_only=True) as standbys:
        threads = []
        for count, (name, read_only) in enumerate([("r1", True), ("w1", False), ("r2", True), ("w2", False)], 1):
            threads.append(thread_of(ask, name, read_only))
            assert eventually(partial(waits, pool, count))
        standbys["standby1"].pop().set()
        assert eventually(lambda: order == ["r1 standby1", "r2 standby1"])
        primaries["primary"].pop().set()
        assert eventually(lambda: len(order) == 4)
    assert [each.result().error for each in threads] == [None] * 4
    assert order[2:] == ["w1 primary", "w2 primary"]


def test_writers_at_the_limit_leave_the_readers_alone(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """The primary's connections are all held: writers wait, readers do not, and PoolTimeout tells who holds."""
    pool = make_pool(replicas.config({"connection_count": 2, "timeout": 0.4}))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    with holding(pool, 2):
        with pytest.raises(PoolTimeout, match=r"2 of 2 are held.*test_line\.py:\d+ \(hold\)"):
            pool.query("SELECT 1", read_only=False)
        assert answering(pool, read_only=True, timeout=0.1) == {"standby1", "standby2"}
    assert writer(pool) == "primary"


def test_one_server_exhausted_is_no_reason_to_wait(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """As long as any server has a connection free, nobody waits, whatever is due."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 2, "min_connections": 2, "timeout": 0}))
    assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == 6)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(pool.handler())
        assert len({who(pool) for _ in range(10)}) == 1
        stack.enter_context(pool.handler())
        with pytest.raises(NestedCheckout, match="6 connections"):
            pool.query("SELECT 1")
    assert pool.stats()["groups"]["web"]["idle"] == 6


@pytest.mark.contract("4.a-thread.1")
def test_nested_checkout_of_a_target(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """Who holds all of the primary's connections cannot wait for another; a standby's he may still have."""
    pool = make_pool(replicas.config({"connection_count": 1}))
    assert eventually(lambda: answering(pool, read_only=True) == {"standby1", "standby2"})
    with pool.handler():
        with pytest.raises(NestedCheckout):
            pool.query("SELECT 1", read_only=False, timeout=5)
        with pool.handler(read_only=True) as first, pool.handler(read_only=True) as second:
            assert {db.query(WHO).scalar() for db in (first, second)} == {"standby1", "standby2"}
            with pytest.raises(NestedCheckout):
                pool.query("SELECT 1", read_only=True, timeout=5)


@pytest.mark.contract("3.group.max_waiting.1")
def test_max_waiting_counts_the_whole_group(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """``max_waiting`` is the group's, not each server's."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 1, "max_waiting": 2, "timeout": 10}))
    assert eventually(lambda: is_known(pool))
    with holding(pool, 3):
        waiting = [thread_of(who, pool) for _ in range(2)]
        assert eventually(lambda: waits(pool, 2))
        with pytest.raises(TooManyRequests):
            pool.query("SELECT 1")
    assert [each.result().error for each in waiting] == [None] * 2


@pytest.mark.contract("5.balance.1", "3.endpoint.weight.1")
@pytest.mark.parametrize("threads", [1, 6])
def test_shares_follow_the_weights(three_servers: Several, make_pool: Callable[..., Any], threads: int) -> None:
    """Reads of 5 ms are shared 3 : 2 : 1 with one at a time as with several; with equal weights, evenly."""
    for weights in ((3, 2, 1), (1, 1, 1)):
        each = {label: {"weight": weight} for label, weight in zip(three_servers.by_label, weights, strict=True)}
        config = three_servers.config({"target": "any", "connection_count": 8, "min_connections": 8}, each=each)
        pool = make_pool(config)
        assert eventually(lambda pool=pool: pool.stats()["groups"]["web"]["idle"] == 24, 10.0)
        end = time.monotonic() + 1.5

        def ask(_: int, pool: Any = pool, end: float = end) -> list[str]:
            answers = []
            while time.monotonic() < end:
                answers.append(pool.query(f"{WHO} FROM pg_sleep(0.005)").scalar())
            return answers

        counts = Counter(label for each in outcomes(threads, ask) for label in each.value)
        for label, weight in zip(three_servers.by_label, weights, strict=True):
            assert abs(counts[label] / counts.total() - weight / sum(weights)) < 0.05, counts
        pool.close()


@pytest.mark.contract("3.endpoint.weight.1")
def test_weight_0_is_the_last_resort(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """A server of weight 0 gets nothing while another is there, then everything; with all weights 0 they share."""
    each = {"one": {"weight": 0}, "two": {"weight": 1}, "three": {"weight": 0.5}}
    pool = make_pool(three_servers.config({"target": "any", "timeout": 10}, each=each))
    assert eventually(lambda: is_known(pool))
    with Crowd(lambda: who(pool), 8) as crowd:
        crowd.goes_on()
    assert {each.value for each in crowd.all} == {"two", "three"}
    for label in ("two", "three"):
        three_servers.by_label[label].stop()
    assert eventually(lambda: all(pool.stats()["endpoints"][label]["state"] == "down" for label in ("two", "three")))
    assert answering(pool) == {"one"}
    three_servers.by_label["three"].start()
    assert eventually(lambda: answering(pool, 6) == {"three"})
    pool.close()
    three_servers.repair()
    nobody = make_pool(three_servers.config({"target": "any"}, weight=0))
    assert eventually(lambda: answering(nobody) == {"one", "two", "three"})


@pytest.mark.contract("3.endpoint.weight.1")
def test_weights_are_for_reads(replicas: Replicas, make_pool: Callable[..., Any]) -> None:
    """A primary of weight 0 takes all writes and no reads; a standby of weight 0 only what no other server may read."""
    pool = make_pool(replicas.config(each={"primary": {"weight": 0}, "standby1": {"weight": 0}}))
    assert eventually(lambda: is_known(pool))
    assert writers(pool) == {"primary"}
    assert eventually(lambda: answering(pool, 30, read_only=True) == {"standby2"})


@pytest.mark.contract("4.waiting.1", "5.balance.1")
def test_nobody_is_slow_because_one_server_is_frozen(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """One of three stands still: only the requests on it then are slow; from a second on none is, and none goes there."""
    config = three_servers.config({"target": "any", "connection_count": 4, "query_timeout": 20000})
    pool = make_pool(config)
    assert eventually(lambda: is_known(pool))
    assert eventually(lambda: all(server.sessions("pgdbpool:monitor") for server in three_servers.servers))
    with Crowd(lambda: who(pool), 8) as crowd:
        crowd.goes_on()
        three_servers.by_label["two"].freeze()
        since = time.monotonic()
        time.sleep(5.0)
        three_servers.by_label["two"].thaw()
        crowd.goes_on()
    slow = [each for each in crowd.all if each.seconds > 0.5]
    assert len(slow) <= 8
    assert all(each.at - each.seconds < since + 1.3 for each in slow), [each.at - each.seconds - since for each in slow]
    assert max(each.seconds for each in slow) < 4.5
    later = [each for each in crowd.all if since + 1.5 < each.at - each.seconds < since + 4.9]
    assert len(later) > 100
    assert {each.value for each in later} == {"one", "three"}
    assert len(crowd.errors) <= 4  # those that were in flight on it, and cut


@pytest.mark.contract("5.balance.1")
def test_a_returning_server_is_eased_in(three_servers: Several, make_pool: Callable[..., Any]) -> None:
    """After an absence its share begins small and grows within some seconds to the whole."""
    pool = make_pool(three_servers.config({"target": "any", "connection_count": 6, "min_connections": 6}))
    assert eventually(lambda: is_known(pool))
    server = three_servers.by_label["two"]
    with Crowd(lambda: pool.query(f"{WHO} FROM pg_sleep(0.005)", read_only=True).scalar(), 6) as crowd:
        crowd.goes_on()
        server.stop()
        assert eventually(lambda: pool.stats()["endpoints"]["two"]["state"] == "down")
        server.start()
        assert eventually(lambda: pool.stats()["endpoints"]["two"]["state"] == "up")
        back = time.monotonic()
        time.sleep(6.5)
    assert crowd.errors == []

    def share(start: float, end: float) -> float:
        values = [each.value for each in crowd.all if back + start < each.at < back + end]
        return values.count("two") / len(values)

    assert share(0.0, 1.0) < 0.2
    assert share(5.2, 6.5) > 0.28
