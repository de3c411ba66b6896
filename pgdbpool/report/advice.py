"""How big a pool should be, from what was measured; one line each, with its reasoning.

Little's law says how many connections are busy on average: arrivals per second × seconds held (J. D. C. Little, "A Proof for
the Queuing Formula L = λW", Operations Research 9, 1961). Erlang's C formula says how many of those who come then have to
wait, where arrivals and holds are random (A. K. Erlang, 1917; L. Kleinrock, Queueing Systems I, 1975, M/M/m).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from math import ceil, floor
from typing import Any, NamedTuple

_WAITING = 0.01  # the share that may wait
_FELT = 0.001  # seconds; nobody notices shorter waits
_ENOUGH = 100 / 60  # checkouts a second: of fewer in the last minute one cannot tell what one in a hundred does
_RARE = (
    20  # times as long as half of them: a few long holds, not the usual spread (of exponential holds p99 is 6.6 × p50)
)
_UTMOST = 10_000  # connections
_FULL = 0.95  # busy beyond this, arrivals are as many as there is room for
_SPARE = 3  # fewer connections than these are not worth a line
_LEAST = 2  # with one, a thread that asks for a second waits for itself


class Load(NamedTuple):
    """What the busiest server of a group bears from each worker, each of which has connections of its own."""

    label: str
    size: int
    rate: float
    mean: float
    busy: float
    hold: Mapping[str, Any]


def size_advice(name: str, group: Mapping[str, Any], workers: int, in_use_peak: int | None = None) -> str | None:
    """What ``connection_count`` would do; None where nothing was measured, or it is right.

    ``group`` as presented, of so many workers; ``in_use_peak``: the most that all of them were seen to have in use at a time,
    None where that was not watched for long.
    """
    load = _busiest(group["servers"], workers)
    if load is None or load.rate * workers < _ENOUGH or load.busy > _UTMOST:
        return None
    needed = max(_LEAST, connections_for(load.busy))
    if (group["wait"]["p99"] or 0.0) >= _FELT:
        why: str | None = _waiting(load, needed, group["wait"])
    else:
        why = _idle(load, needed, workers, in_use_peak)
    return why and f"group {name!r}: {_said(load, workers, len(group['servers']))}{why}"


def _busiest(servers: Mapping[str, Any], workers: int) -> Load | None:
    loads = [_load(label, each, workers) for label, each in servers.items() if each["connection_count"]]
    return max((each for each in loads if each is not None), key=lambda each: each.busy, default=None)


def _load(label: str, server: Mapping[str, Any], workers: int) -> Load | None:
    hold = server["hold"]
    if not hold["rate"] or not hold["count"] or not workers:
        return None
    rate, mean = hold["rate"] / workers, hold["mean"]
    return Load(label, ceil(server["connection_count"] / workers), rate, mean, rate * mean, hold)


def _said(load: Load, workers: int, servers: int) -> str:
    where = f" at {load.label}" if servers > 1 else ""
    each = " in each worker" if workers > 1 else ""
    rate, busy = _short(load.rate * workers), _short(load.busy)
    connections = f"{busy} connection{'' if busy == '1' else 's'}"
    return f"{rate} checkouts a second{where}, held {_time(load.mean)} on average, keep {connections} busy{each}"


def _waiting(load: Load, needed: int, wait: Mapping[str, Any]) -> str:
    many = "5 %" if wait["p95"] else "1 %"
    waits = f"; more than {many} of them wait, one in a hundred {_time(wait['p99'])} or longer"
    usual, long = load.hold["p50"], load.hold["p99"]
    if long >= _RARE * usual:
        few = f"half of them are held for less than {_time(usual)}, one in a hundred for {_time(long)} or longer"
        return f"{waits}: {few}; find what holds these (hold_warning): more connections would be held as long"
    if needed <= load.size:
        bursts = "they come in bursts, or no server was there"
        return f"{waits}: connection_count {load.size} would do if they came evenly; {bursts}"
    at_least = " at least" if load.busy > _FULL * load.size else ""
    return f"{waits}: connection_count {needed}{at_least} in place of {load.size} would leave 1 % waiting (Erlang C)"


def _idle(load: Load, needed: int, workers: int, peak: int | None) -> str | None:
    """Nothing where far more was in use at another time, or may have been."""
    enough = max(needed, ceil(peak / workers)) if peak is not None else load.size
    if enough * 2 > load.size or load.size - enough < _SPARE:
        return None
    seen = f"at most {peak} were seen in use at a time"
    return f", {seen}; nobody waits: connection_count {enough} in place of {load.size} would do"


def connections_for(busy: float) -> int:
    """The smallest number with which at most one in a hundred waits."""
    blocked = 1.0  # Erlang B, by its recursion over the number of connections: no factorials, no overflow
    for number in count(1):
        blocked = busy * blocked / (number + busy * blocked)
        if number > floor(busy) and _erlang_c(blocked, number, busy) <= _WAITING:
            break
    return number


def _erlang_c(blocked: float, connections: int, busy: float) -> float:
    """The share that waits, from the share that Erlang B would turn away."""
    return blocked / (1 - busy / connections * (1 - blocked))


def fits(workers: int, per_worker: int, capacity: int) -> str | None:
    """The warning where one server cannot take the connections of all workers; None where it can."""
    wanted = workers * per_worker
    if wanted <= capacity:
        return None
    each = "" if workers == 1 else f"{workers} workers × {per_worker} = "
    limit = "max_connections less the reserved ones, or the limit of the role or the database"
    most = f"at most {capacity // workers} per worker would"
    return f"{each}{wanted} connections do not fit into the {capacity} that this server gives to our role ({limit}): {most}"


def _time(seconds: float) -> str:
    return f"{_short(seconds)} s" if seconds >= 0.1 else f"{_short(seconds * 1000)} ms"


def _short(number: float) -> str:
    """Two digits that count, three of what is larger."""
    return f"{float(f'{number:.2g}' if number < 100 else f'{number:.3g}'):g}"
