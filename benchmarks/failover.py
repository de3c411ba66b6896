"""A primary that changes under load: planned, and by a crash with synchronous replication."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from psycopg2.extensions import make_dsn, parse_dsn

from benchmarks import orders
from benchmarks.report import Figure, Goal, Row
from benchmarks.server import Server, embedded
from benchmarks.web import gunicorn
from pgdbpool.demo.cluster import Cluster

__all__ = ["MEASURES"]

ROUNDS = 3
_CLIENTS = 16  # half of them write
_PAUSE = 0.02  # seconds between a client's requests
_SETTINGS = {"wal_keep_size": "256MB"}
_SYNCHRONOUS = {"synchronous_standby_names": "ANY 1 (*)"}


class Asked(NamedTuple):
    """One request: ``error`` is the class and the words of what it failed with."""

    writes: bool
    key: str
    began: float
    ended: float
    error: tuple[str, str] | None


@dataclass
class Story:
    """What one round showed: when the primary was hit, when it had ended, and when the new one took writes."""

    struck: float = 0.0
    gone: float = 0.0
    accepted: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    kept: frozenset[str] = frozenset()

    def failed(self, *, writes: bool) -> list[Asked]:
        return [each for each in self.asked if each.error and each.writes is writes]

    @property
    def in_flight(self) -> int:
        return sum(each.writes and each.began <= self.gone and each.ended >= self.struck for each in self.asked)

    @property
    def resumed(self) -> float:
        """Milliseconds from the new primary's first moment to the answer of the first write that it has done."""
        done = [each.ended for each in self.asked if each.writes and not each.error and each.ended > self.accepted]
        return (min(done) - self.accepted) * 1000

    @property
    def wrong(self) -> int:
        """Acknowledged and not there, or failed beyond doubt and there."""
        lost = sum(each.writes and not each.error and each.key not in self.kept for each in self.asked)
        ghosts = sum(bool(each.error) and each.error[0] != "InDoubt" and each.key in self.kept for each in self.asked)  # type: ignore[index]
        return lost + ghosts


def _planned(primary: Cluster) -> None:
    primary.stop()


def _crash(primary: Cluster) -> None:
    primary.kill9()


def _measure(story: Callable[[], Story], title: str, limit: float, rounds: int | None) -> Row:
    return _row([story() for _ in range(rounds or ROUNDS)], title, limit)


def _story(strike: Callable[[Cluster], None], pause: float, settings: dict[str, str]) -> Story:
    story = Story()
    with ExitStack() as stack:
        primary, dsn = stack.enter_context(embedded(**_SETTINGS))
        heir, other = (stack.enter_context(Cluster(primary=primary)) for _ in range(2))
        for name, value in settings.items():
            primary.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        primary.sql("SELECT pg_reload_conf()")
        dsns = [make_dsn(dsn, port=cluster.port) for cluster in (primary, heir, other)]
        database = parse_dsn(dsn)["dbname"]
        primary.sql(f"{orders.TABLE}; ALTER TABLE placed OWNER TO {database}", dbname=database)
        environment = {orders.DSNS: "|".join(dsns)}
        port = stack.enter_context(gunicorn("benchmarks.orders:make()", environment, workers=2, threads=8))
        with _load(port, story):
            time.sleep(2.0)
            other.follow(primary, heir)
            story.struck = time.monotonic()
            strike(primary)
            story.gone = time.monotonic()
            time.sleep(pause)
            story.accepted = _promoted(heir)
            time.sleep(0.5)
            primary.follow(heir, other)
            time.sleep(2.0)
        keys = heir.sql("SELECT key FROM placed", dbname=database)
        story.kept = frozenset(key for (key,) in keys)
    return story


def _promoted(heir: Cluster) -> float:
    """Promote it; when it took writes, to some milliseconds."""
    connection = heir.admin()
    threading.Thread(target=heir.promote).start()
    cursor = connection.cursor()
    while True:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone() == (False,):
            connection.close()
            return time.monotonic()
        time.sleep(0.001)


@contextmanager
def _load(port: int, story: Story) -> Iterator[None]:
    """Clients that read or write, each over a connection of its own, as long as the block lasts."""
    over, keys = threading.Event(), itertools.count()

    def client(writes: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not over.wait(_PAUSE):
            key, began = f"key{next(keys)}", time.monotonic()
            connection.request("POST" if writes else "GET", f"/{key}")
            answer = connection.getresponse()
            found = json.loads(answer.read())
            story.asked.append(
                Asked(writes, key, began, time.monotonic(), None if answer.status == 200 else tuple(found))
            )
        connection.close()

    threads = [threading.Thread(target=client, args=(n % 2 == 0,)) for n in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _row(stories: list[Story], title: str, limit: float) -> Row:
    writes = [story.failed(writes=True) for story in stories]
    late = [sum(each.began > story.gone for each in failed) for story, failed in zip(stories, writes, strict=True)]
    worst = "(the most of any round)"
    figures = [
        Figure("requests", [float(len(story.asked)) for story in stories], ""),
        Figure("reads that failed", [float(len(story.failed(writes=False))) for story in stories], ""),
        Figure("writes under way while the primary went", [float(story.in_flight) for story in stories], ""),
        Figure("writes that failed", [float(len(failed)) for failed in writes], ""),
        Figure(
            "of these in doubt",
            [float(sum(e.error[0] == "InDoubt" for e in failed if e.error)) for failed in writes],
            "",
        ),
        Figure("the new primary accepts after", [(story.accepted - story.struck) * 1000 for story in stories], "ms"),
        Figure("first write done after that", [story.resumed for story in stories], "ms"),
        Figure(
            "longest answer", [max(each.ended - each.began for each in story.asked) * 1000 for story in stories], "ms"
        ),
    ]
    refused = sum("25006" in e.error[1] or "read-only" in e.error[1] for failed in writes for e in failed if e.error)
    notes = sorted({f"{each.error[0]}: {each.error[1][:150]}" for failed in writes for each in failed if each.error})
    return Row(
        title=title,
        how=f"{len(stories)} rounds; gunicorn, 2 workers × 8 threads, {_CLIENTS} clients in this process, half of them write; "
        f"a primary and two standbys, {orders.CONNECTIONS} connections to each from each worker",
        figures=figures,
        goals=[
            Goal(f"reads that failed {worst}", [max(len(story.failed(writes=False)) for story in stories)], 0),
            Goal(f"writes that failed and began after the primary had gone {worst}", [max(late)], 0),
            Goal(f"writes that a standby refused and a user saw {worst}", [refused], 0),
            Goal(f"ms until the first write is done {worst}", [max(story.resumed for story in stories)], limit),
            Goal(
                f"writes acknowledged and lost, or failed and there {worst}", [max(story.wrong for story in stories)], 0
            ),
        ],
        notes=notes,
    )


def measure_planned(_: Server, rounds: int | None) -> Row:
    title = "planned switchover: stop, promote, the old primary comes back as a standby"
    return _measure(partial(_story, _planned, 0.0, {}), title, 200, rounds)


def measure_crash(_: Server, rounds: int | None) -> Row:
    title = "kill -9 of the primary, promotion 1 s later, synchronous replication"
    return _measure(partial(_story, _crash, 1.0, _SYNCHRONOUS), title, 300, rounds)


MEASURES = {"switchover": measure_planned, "crash": measure_crash}
