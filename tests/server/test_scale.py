"""Several servers under load: each gets its share, and one that is lost costs no more than what was on it (contract §5).

The short form of what ``make bench`` measures, by the same means.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from benchmarks.attempts import attempts
from benchmarks.faults import Fault
from benchmarks.proxy import Proxy
from benchmarks.story import PATIENCE, observe, of_pool
from tests.life import Crowd, outcomes
from tests.servers import Server, eventually
from tests.several import WHO, Several

REQUESTS = 384  # a multiple of all numbers of threads and of all sums of weights


def told(pool: Any, threads: int) -> dict[str, int]:
    """How many of all requests each server answered."""

    def ask(_: int) -> list[str]:
        return [pool.query(f"{WHO} FROM pg_sleep(0.002)").scalar() for _ in range(REQUESTS // threads)]

    return Counter(label for each in outcomes(threads, ask) for label in each.value)


@pytest.mark.contract("3.endpoint.weight.1", "5.balance.1")
@pytest.mark.parametrize("weights", [(1, 1, 1), (3, 1)], ids=str)
def test_each_server_gets_its_share(
    three_servers: Several, make_pool: Callable[..., Any], weights: tuple[int, ...]
) -> None:
    """The servers' own answers are shared out by weight, with one request at a time, with few and with many."""
    chosen = dict(zip(three_servers.by_label, weights, strict=False))
    each = {label: {"weight": weight} for label, weight in chosen.items()}
    config = three_servers.config({"connection_count": 16, "min_connections": 16, "target": "any"}, each=each)
    config["db"] = [endpoint for endpoint in config["db"] if endpoint["label"] in chosen]
    pool = make_pool(config)
    assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == 16 * len(chosen), 15)
    shares = {label: REQUESTS * weight / sum(weights) for label, weight in chosen.items()}
    for threads in (1, 4, 16):
        assert told(pool, threads) == pytest.approx(shares, rel=0.1), f"{threads} threads"


@contextmanager
def fault_of(name: str, server: Server) -> Iterator[tuple[int, Fault]]:
    """The port where clients meet the fault, and the fault."""
    if name == "refused":
        yield server.port, Fault(partial(server.stop, "immediate"), server.start)
    elif name == "frozen":
        yield server.port, Fault(server.freeze, server.thaw)
    else:
        with Proxy(server.port) as proxy:
            yield proxy.port, Fault(proxy.reset if name == "reset" else proxy.silence, proxy.heal)


@pytest.mark.slow
@pytest.mark.contract("4.alive.2", "4.no-thread-waits.1", "5.balance.1")
@pytest.mark.parametrize(("name", "lasts"), [("refused", 0.8), ("reset", 0.8), ("frozen", 3.8), ("silent", 3.8)])
def test_one_of_three_lost_costs_what_was_on_it(
    three_servers: Several, make_pool: Callable[..., Any], name: str, lasts: float
) -> None:
    """The others go on at once, each request on the lost one ends by one error at most, and its share returns."""
    with fault_of(name, three_servers.by_label["one"]) as (port, fault):
        group = {"connection_count": 8, "min_connections": 8, "target": "any"}
        pool = make_pool(three_servers.config(group, each={"one": {"port": port}}))
        assert eventually(lambda: pool.stats()["groups"]["web"]["idle"] == 24, 15)
        story = observe(of_pool(pool, "SELECT pg_sleep(0.01)"), 12, fault, "one", lasts=lasts, whole=0.4)
    assert story.last < 1.0, story
    assert story.wait < 500, story
    assert story.lull < 500, story
    assert story.errors <= story.in_flight <= 8, story
    assert 1.0 < story.back < PATIENCE, story  # eased in


@pytest.mark.slow
@pytest.mark.contract("4.lost.1")
def test_a_server_that_is_down_for_long_is_tried_seldom_and_serves_soon(
    three_servers: Several, make_pool: Callable[..., Any]
) -> None:
    """Down for 6 s under load it is dialled a few times, others serving meanwhile, and it serves soon after its return."""
    lost = three_servers.by_label["one"]
    pool = make_pool(three_servers.config({"target": "any"}))
    with attempts() as seen, Crowd(lambda: pool.query(f"{WHO} FROM pg_sleep(0.01)").scalar(), 8) as crowd:
        lost.stop("immediate")
        time.sleep(6.0)
        crowd.goes_on(1.0)
        failed = len(seen.failed[lost.port])
        lost.start()
        back = time.monotonic()
        assert eventually(lambda: any(each.value == "one" and each.at > back for each in list(crowd.all)), 1.5)
    assert 3 <= failed <= 12
