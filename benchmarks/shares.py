"""Whether each server gets its share of the work, counted by the servers' own answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product

import pgdbpool
from benchmarks.crowd import Crowd
from benchmarks.report import Figure, Goal, Row
from benchmarks.rounds import in_turns
from benchmarks.server import Server
from benchmarks.several import Node, balanced, three_servers

__all__ = ["measure"]

ROUNDS = 5
_SECONDS = 1.0
_LOADS = (1, 4, 16)  # threads
_WEIGHTS = {"3 : 1": (3, 1), "1 : 1 : 1": (1, 1, 1)}
_WHO = "SELECT current_setting('cluster_name')"
_READS = {"reads of 2 ms": f"{_WHO} FROM pg_sleep(0.002)", "short reads": _WHO}


def measure(_: Server, rounds: int | None) -> Row:
    contestants: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        nodes = stack.enter_context(three_servers())
        for name, weights in _WEIGHTS.items():
            used = nodes[: len(weights)]
            pool = stack.enter_context(balanced(used, max(_LOADS), weights=weights))
            for reads, threads in product(_READS, _LOADS):
                call = partial(_deviation, pool, _READS[reads], threads, used, weights)
                contestants[f"{name}, threads: {threads}, {reads}"] = call
        results = in_turns(contestants, rounds or ROUNDS)
    return Row(
        title="shares against weights",
        how=f"{rounds or ROUNDS} rounds of {_SECONDS:g} s each, {max(_LOADS)} connections to each server",
        figures=[Figure(name, values, "% off") for name, values in results.items()],
        goals=[Goal(f"% off, {name}", values, 5) for name, values in results.items()],
        notes=[
            "off is the worst server's count against what its weight asks for, in % of that. Servers on one machine take "
            "its cores from each other: who is slower for a while gets less by intention, which short reads show most"
        ],
    )


def _deviation(pool: pgdbpool.Pool, sql: str, threads: int, nodes: Sequence[Node], weights: Sequence[int]) -> float:
    """By how much the worst server is off its share, in percent of that share."""
    answers = [Counter[str]() for _ in range(threads)]

    def work(number: int) -> None:
        answers[number][pool.query(sql).scalar()] += 1

    with Crowd(lambda number: partial(work, number), threads):
        time.sleep(_SECONDS)
    found = sum(answers, Counter[str]())
    shares = {node.label: weight / sum(weights) for node, weight in zip(nodes, weights, strict=True)}
    return 100 * max(abs(found[label] / found.total() / share - 1) for label, share in shares.items())
