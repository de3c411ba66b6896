"""What is advised, against queues that were really run."""

from __future__ import annotations

import heapq
import random
import re
from math import factorial
from typing import Any

import pytest

from pgdbpool.report.advice import connections_for, fits, size_advice

ARRIVALS = 40_000


def percentiles(values: list[float], rate: float | None) -> dict[str, Any]:
    ordered = sorted(values)
    parts = {name: ordered[int(part * len(ordered))] for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {
        "count": len(values),
        "seconds": sum(values),
        "longest": ordered[-1],
        "rate": rate,
        "mean": sum(values) / len(values),
        **parts,
    }


def queue(rate: float, holds: list[float], connections: int, seed: int = 4711) -> tuple[list[float], int]:
    """What each that comes waits, at random times and first come, first served, and the most in use at a time."""
    dice, now, waits = random.Random(seed), 0.0, []
    free_at = [0.0] * connections
    busy: list[float] = []
    peak = 0
    for hold in holds:
        now += dice.expovariate(rate)
        begun = max(now, heapq.heappop(free_at))
        waits.append(begun - now)
        heapq.heappush(free_at, begun + hold)
        while busy and busy[0] <= begun:
            heapq.heappop(busy)
        heapq.heappush(busy, begun + hold)
        peak = max(peak, len(busy))
    return waits, peak


def exponential(mean: float, seed: int = 1) -> list[float]:
    dice = random.Random(seed)
    return [dice.expovariate(1 / mean) for _ in range(ARRIVALS)]


def presented(
    rate: float, holds: list[float], connections: int, workers: int = 1, others: int = 0
) -> tuple[dict[str, Any], int]:
    """A group of so many workers, each of which had this; with further servers that had next to nothing to do."""
    waits, peak = queue(rate, holds, connections)
    server = {"connection_count": connections * workers, "hold": percentiles(holds, rate * workers)}
    calm = {"connection_count": connections * workers, "hold": percentiles([0.001] * 100, 0.1)}
    servers = {"db1:5432": server, **{f"db{number + 2}:5432": calm for number in range(others)}}
    return {"servers": servers, "wait": percentiles(waits, None)}, peak * workers


def waiting(waits: list[float]) -> float:
    return sum(wait > 0 for wait in waits) / len(waits)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("rate", "mean", "count"), [(260, 0.008, 3), (1000, 0.02, 22), (5, 0.9, 6), (100, 0.009, 1)])
def test_more_connections(rate: float, mean: float, count: int, workers: int) -> None:
    """Where requests wait, the number advised leaves one in a hundred waiting in a queue that is run, one less does not."""
    holds = exponential(mean)
    group, peak = presented(rate, holds, count, workers)
    advice = size_advice("web", group, workers, peak)
    assert advice is not None
    found = re.search(rf"connection_count (\d+)( at least)? in place of {count} would leave 1 % waiting", advice)
    assert found is not None, advice
    advised = int(found[1])
    assert waiting(queue(rate, holds, advised, seed=5)[0]) <= 0.012
    assert waiting(queue(rate, holds, advised - 1, seed=5)[0]) > 0.009
    better, peak = presented(rate, holds, advised, workers)
    assert size_advice("web", better, workers, peak) is None


def test_the_line() -> None:
    """One line tells what was measured, what follows from it, and by which law."""
    group, peak = presented(260, exponential(0.008), 3, workers=2, others=1)
    group["wait"]["p99"] = 0.4
    assert size_advice("web", group, 2, peak) == (
        "group 'web': 520 checkouts a second at db1:5432, held 8 ms on average, keep 2.1 connections busy in each worker; "
        "more than 5 % of them wait, one in a hundred 0.4 s or longer: connection_count 7 in place of 3 would leave 1 % "
        "waiting (Erlang C)"
    )


def test_overloaded() -> None:
    """Where all are busy all the time nobody knows how many more would come: the number is the least that is needed."""
    holds = exponential(0.01)
    group, peak = presented(99, holds, 1)
    assert "connection_count 5 at least in place of 1" in (size_advice("web", group, 1, peak) or "")


def test_few_long_holds() -> None:
    """Where waits come from a few that hold long, these are named and no number."""
    holds = [2.0 if number % 50 == 0 else 0.004 for number in range(ARRIVALS)]
    group, peak = presented(60, holds, 3)
    group["wait"]["p99"] = 1.9
    assert size_advice("web", group, 1, peak) == (
        "group 'web': 60 checkouts a second, held 44 ms on average, keep 2.6 connections busy; more than 5 % of them wait, "
        "one in a hundred 1.9 s or longer: half of them are held for less than 4 ms, one in a hundred for 2 s or longer; find "
        "what holds these (hold_warning): more connections would be held as long"
    )


def test_bursts() -> None:
    """Where the number is right on average and requests wait nevertheless, that is said."""
    group, peak = presented(100, exponential(0.01), 8)
    group["wait"]["p99"] = 0.4
    assert size_advice("web", group, 1, peak) == (
        "group 'web': 100 checkouts a second, held 10 ms on average, keep 1 connection busy; more than 1 % of them wait, one "
        "in a hundred 0.4 s or longer: connection_count 8 would do if they came evenly; they come in bursts, or no "
        "server was there"
    )


def test_fewer_connections() -> None:
    """Where far fewer would do, and never more were in use, that is said; not where it is not known what was in use."""
    holds = exponential(0.01)
    group, peak = presented(100, holds, 40, workers=2)
    assert peak < 40
    assert size_advice("web", group, 2, peak) == (
        f"group 'web': 200 checkouts a second, held 10 ms on average, keep 1 connection busy in each worker, at most {peak} "
        f"were seen in use at a time; nobody waits: connection_count {peak // 2} in place of 40 would do"
    )
    assert size_advice("web", group, 2) is None
    assert size_advice("web", group, 2, 60) is None
    fewer, peak = presented(100, holds, peak // 2, workers=2)
    assert waiting(queue(100, holds, peak // 2, seed=5)[0]) < 0.01
    assert size_advice("web", fewer, 2, peak) is None


@pytest.mark.parametrize(("size", "line"), [(4, None), (5, "connection_count 2 in place of 5 would do")])
def test_as_few_as_make_sense(size: int, line: str | None) -> None:
    """Never fewer than two, of which a thread may need the second, and nothing is said where hardly any would be saved."""
    group, peak = presented(2, [0.001] * ARRIVALS, size)
    advice = size_advice("web", group, 1, min(peak, 1))
    assert advice is line if line is None else line in (advice or "")


def test_nothing_measured() -> None:
    """Of a group that nobody, or hardly anybody, used, nothing is said."""
    unused = {"count": 0, "seconds": 0.0, "longest": 0.0, "p50": None, "p95": None, "p99": None, "rate": None}
    server = {"connection_count": 40, "hold": unused}
    assert size_advice("web", {"servers": {"db1": server}, "wait": unused}, 4, 0) is None
    assert size_advice("web", {"servers": {}, "wait": unused}, 0, 0) is None
    used, peak = presented(1, exponential(0.01), 40)
    assert size_advice("web", used, 1, peak) is None


@pytest.mark.parametrize("busy", [0.01, 0.5, 2.08, 7.0, 20.0, 99.5])
def test_erlang(busy: float) -> None:
    """The number is the smallest for which the formula of the textbooks gives one in a hundred or less."""

    def waits(number: int) -> float:
        top = busy**number / factorial(number) * number / (number - busy)
        return top / (sum(busy**k / factorial(k) for k in range(number)) + top)

    number = connections_for(busy)
    assert waits(number) <= 0.01
    assert number - 1 <= busy or waits(number - 1) > 0.01


def test_a_very_large_one() -> None:
    """Thousands of connections are no trouble: about √n more than are busy."""
    assert 10_000 < connections_for(10_000.0) < 10_000 + 4 * 100
    assert connections_for(0.0) == 1


@pytest.mark.parametrize(
    ("workers", "per_worker", "line"),
    [
        (4, 24, None),
        (
            4,
            25,
            "4 workers × 25 = 100 connections do not fit into the 97 that this server gives to our role (max_connections less "
            "the reserved ones, or the limit of the role or the database): at most 24 per worker would",
        ),
        (
            1,
            98,
            "98 connections do not fit into the 97 that this server gives to our role (max_connections less "
            "the reserved ones, or the limit of the role or the database): at most 97 per worker would",
        ),
        (1, 97, None),
    ],
)
def test_fits(workers: int, per_worker: int, line: str | None) -> None:
    """It is said where the connections of all workers are more than the server leaves to ordinary roles."""
    assert fits(workers, per_worker, 97) == line
