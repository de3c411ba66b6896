"""A server that is down for long under load: how often it is tried, and how soon it serves when it is back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from psycopg2.extensions import parse_dsn

import pgdbpool
from benchmarks.attempts import Attempts, attempts
from benchmarks.crowd import Crowd
from benchmarks.faults import Fault, prepared, unreported
from benchmarks.report import Figure, Goal, Row
from benchmarks.server import Server
from benchmarks.several import Node, balanced, three_servers
from benchmarks.story import Request, ask, of_pool

__all__ = ["measure"]

ROUNDS = 1
_AWAY = 20.0  # seconds
_AFTERWARDS = 3.0  # seconds in which it has to serve again
_THREADS, _CONNECTIONS = 2, 8
_GROUPS = ("reports", "web")
_SETTLED = 6  # attempts after which the pauses have reached their length
_SQL = "SELECT pg_sleep(0.01)"


class Absence(NamedTuple):
    """What was done about one server. ``pauses``: seconds between later attempts; ``served``: from its return to a success."""

    failed: int
    knocked: int
    pauses: list[float]
    served: float


class Case(NamedTuple):
    """A server that goes, how it goes, and the pool that misses it."""

    node: Node
    fault: Fault
    pool: pgdbpool.Pool


def measure(_: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        stack.enter_context(unreported())
        one, two, three = stack.enter_context(three_servers())
        seen = stack.enter_context(attempts())
        cases = {
            "one of two endpoints": _case(stack, "refused", one, two),
            "the only endpoint": _case(stack, "refused", three),
            "one that resets every connection": _case(stack, "reset", two),
        }
        stories = [_round(cases, seen) for _ in range(rounds or ROUNDS)]
    return _row({name: [story[name] for story in stories] for name in cases})


def _case(stack: ExitStack, fault: str, first: Node, *others: Node) -> Case:
    node, prepared_fault = stack.enter_context(prepared(fault, first))
    return Case(node, prepared_fault, stack.enter_context(balanced([node, *others], _CONNECTIONS, groups=_GROUPS)))


def _round(cases: dict[str, Case], seen: Attempts) -> dict[str, Absence]:
    logs: dict[str, list[Request]] = {name: [] for name in cases}
    back: dict[str, tuple[float, float]] = {}
    with ExitStack() as stack:
        for name, case in cases.items():
            for group in _GROUPS:
                stack.enter_context(_load(case.pool, group, logs[name]))
        time.sleep(1.0)
        going = time.monotonic()
        for case in cases.values():
            case.fault.strike()
        time.sleep(_AWAY)
        for name, case in cases.items():
            coming = time.monotonic()
            case.fault.mend()
            back[name] = (coming, time.monotonic())
        time.sleep(_AFTERWARDS)
    return {name: _absence(case.node, going, *back[name], seen, logs[name]) for name, case in cases.items()}


def _load(pool: pgdbpool.Pool, group: str, log: list[Request]) -> Crowd:
    return Crowd(lambda number: partial(ask, of_pool(pool, _SQL, group), log), _THREADS)


def _absence(node: Node, going: float, coming: float, back: float, seen: Attempts, log: Sequence[Request]) -> Absence:
    failed = [at for at in seen.failed[int(parse_dsn(node.dsn)["port"])] if at > going]
    knocked = [at for at in seen.knocked.get(node.label, []) if at > going]
    served = [each.ended for each in log if each.label == node.label and each.taken > coming and not each.failed]
    return Absence(
        failed=len(failed),
        knocked=len(knocked),
        pauses=[later - earlier for earlier, later in pairwise(failed[_SETTLED - 1 :])],
        served=max(0.0, min(served, default=back + _AFTERWARDS) - back),
    )


def _row(stories: dict[str, list[Absence]]) -> Row:
    figures, goals = [], []
    for name, found in stories.items():
        pauses = [pause for each in found for pause in each.pauses]
        figures += [
            Figure(f"{name}: failed attempts to connect", [float(each.failed) for each in found], ""),
            Figure(f"{name}: bare TCP handshakes", [float(each.knocked) for each in found], ""),
            Figure(f"{name}: pauses between attempts, from the {_SETTLED}th on", pauses, "s"),
            Figure(f"{name}: first success after its return", [each.served for each in found], "s"),
        ]
        goals += [
            Goal(f"attempts to connect to {name}, of all groups", [max(float(each.failed) for each in found)], 20),
            Goal(f"s from its return to the first success, {name}", [max(each.served for each in found)], 1),
        ]
    return Row(
        title=f"a server that is down for {_AWAY:g} s",
        how=f"{len(_GROUPS)} groups of {_CONNECTIONS} connections to each server, {_THREADS} threads each",
        figures=figures,
        goals=goals,
        notes=["an attempt is a call of psycopg2.connect; a bare handshake says nothing, and PostgreSQL logs none"],
    )
