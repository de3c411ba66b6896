"""Read your own writes over two gunicorn workers: never stale, and on standbys as soon as these have caught up."""

from __future__ import annotations

import json
import threading
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import pgdbpool
from benchmarks import visited
from benchmarks.pairs import Client, Pair, pairs
from benchmarks.replicas import LABELS, Replicas, replicas, until
from benchmarks.report import Figure, Goal, Row
from benchmarks.rounds import in_turns, microseconds
from benchmarks.server import Server
from benchmarks.web import gunicorn
from pgdbpool.access.statements import one_shot
from pgdbpool.driver.position import position

__all__ = ["MEASURES"]

_PAIRS = 2000
_BEHIND = 200  # milliseconds
_ROUNDS = 3
_CONNECTIONS = 8
_GROUP, _MONITOR = "pgdbpool:web", "pgdbpool:monitor"
_TEXTS = 20_000


def _configured(servers: Replicas) -> dict[str, Any]:
    return {"db": servers.endpoints(), "groups": {"web": {"connection_count": _CONNECTIONS}}}


@contextmanager
def _served() -> Iterator[tuple[Replicas, int]]:
    """The servers, and the port of two workers that know what the application's texts stand for."""
    with replicas() as servers:
        endpoints = servers.endpoints()
        owner = pgdbpool.Pool({"db": endpoints[0], "groups": {"web": {"connection_count": 1}}})
        with closing(owner):
            owner.query(f"CREATE TABLE {visited.TABLE} (id int PRIMARY KEY)")
        servers.caught_up()
        environment = {visited.CONFIG: json.dumps(_configured(servers))}
        with gunicorn("benchmarks.visited:make()", environment, workers=2, threads=16) as port:
            read: set[tuple[int, str]] = set()
            until(partial(_both_read_from_standbys, port, read))
            yield servers, port


def _both_read_from_standbys(port: int, read: set[tuple[int, str]]) -> bool:
    """Ask once more; ``read`` are the workers and the servers so far."""
    worker, _, server = Client(port).get("/0")
    if server != LABELS[0]:
        read.add((worker, server))
    return len(read) == 4


def behind(_: Server, rounds: int | None) -> Row:
    """2,000 pairs with standbys that are late."""
    with _served() as (servers, port):
        servers.delay(_BEHIND)
        found = [pairs(port, _PAIRS) for _ in range(rounds or _ROUNDS)]
    stale = [float(sum(not pair.seen for pair in each)) for each in found]
    return Row(
        title=f"read your own writes through the middleware, standbys {_BEHIND} ms behind",
        how=_how(found),
        figures=[Figure("stale reads", stale, ""), Figure("reads on standbys", _shares(found), "%")],
        goals=[Goal("stale reads (the most of any round)", [max(stale)], 0)],
        notes=[f"pairs served by two different workers: {_apart(found)} in all"],
    )


def caught_up(_: Server, rounds: int | None) -> Row:
    """2,000 pairs, each read as soon as both standbys have replayed its write."""
    with _served() as (servers, port), ExitStack() as stack:
        wait = _replayed_by(servers, stack)
        found, more, asked = [], [], []
        for _ in range(rounds or _ROUNDS):
            before = servers.said()
            found.append(pairs(port, _PAIRS, wait))
            said = servers.said()
            said.subtract(before)
            more.append(float(said[_GROUP] - 3 * _PAIRS))  # BEGIN with the write, COMMIT, and the read
            asked.append(said[_MONITOR] / _PAIRS)
    stale = [float(sum(not pair.seen for pair in each)) for each in found]
    shares = _shares(found)
    return Row(
        title="read your own writes through the middleware, standbys caught up",
        how=_how(found),
        figures=[
            Figure("reads on standbys", shares, "%"),
            Figure("stale reads", stale, ""),
            Figure("the monitors' probes and looks, per pair", asked, ""),
        ],
        goals=[
            Goal("% of the reads on standbys (the least of any round)", [min(shares)], 95, at_least=True),
            Goal("queries for 2,000 pairs besides their own (the most of any round)", [max(more)], 0),
        ],
        notes=[
            "own: one message with BEGIN and the write, one with COMMIT and the question for the position, the read"
        ],
    )


def _how(found: list[list[Pair]]) -> str:
    return (
        f"{len(found)} rounds of {len(found[0]):,} writes in transactions, each read in the next request of the same client;"
        " 2 workers × 16 threads, 8 clients"
    )


def _shares(found: list[list[Pair]]) -> list[float]:
    return [100 * sum(pair.server != LABELS[0] for pair in each) / len(each) for each in found]


def _apart(found: list[list[Pair]]) -> int:
    return sum(pair.writer != pair.reader for each in found for pair in each)


def _replayed_by(servers: Replicas, stack: ExitStack) -> Callable[[str], None]:
    """Waits until both standbys have replayed what a cookie says; asks them in a database that the pool does not use."""
    cursors = [stack.enter_context(closing(standby.admin())).cursor() for standby in servers.standbys]
    lock = threading.Lock()

    def replayed(cursor: Any) -> int:
        with lock:
            cursor.execute("SELECT pg_last_wal_replay_lsn()::text")
            return position(cursor.fetchone()[0])

    def wait(cookie: str) -> None:
        due = int(cookie.split("-")[3], 16)
        for cursor in cursors:
            until(lambda cursor=cursor: replayed(cursor) >= due)

    return wait


def routing(_: Server, rounds: int | None) -> Row:
    """What it costs to know where a text goes that was seen before."""
    with replicas() as servers, pgdbpool.Pool(_configured(servers), wait=30) as pool:
        pool.query(f"CREATE TABLE {visited.TABLE} (id int PRIMARY KEY)")
        desk, names = pool.desk(None), {"desk": pool.desk(None), "one_shot": one_shot, "sql": visited.READ}
        until(lambda: desk._reads(*one_shot(visited.READ, None), None, True))
        texts = {
            "a text's verdict, and where it goes": "desk._reads(*one_shot(sql, None), None, True)",
            "where it goes": "desk._reads(sql, verdict, None, True)",
        }
        names["verdict"] = one_shot(visited.READ, None)[1]
        timers = {name: timeit.Timer(text, "import gc; gc.enable()", globals=names) for name, text in texts.items()}
        contestants = {name: partial(microseconds, timer, _TEXTS) for name, timer in timers.items()}
        results = in_turns(contestants, rounds or 100)
    whole = next(iter(results.values()))
    return Row(
        title="routing a text that was seen before",
        how=f"{len(whole)} rounds of {_TEXTS:,} times, one thread",
        figures=[Figure(name, values, "µs") for name, values in results.items()],
        goals=[Goal("µs for verdict and route", whole, 1)],
    )


MEASURES: dict[str, Callable[[Server, int | None], Row]] = {
    "causal-behind": behind,
    "causal-caught-up": caught_up,
    "routing": routing,
}
