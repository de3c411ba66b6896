"""What is read from standbys while one of them stands still: how old it may be, and whether one's own writes are in it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from tests.faults.client.link import Link
from tests.faults.client.peers import PEERS, Old, Ours, Peer, Setting

__all__ = ["lagging"]

_READERS = _WRITERS = 4  # threads
_PACE = 0.01
_AGE, _BACK = 2.0, 2.0  # seconds: max_lag, which is 1 s, and a probe's period; until the standby has reads again
_REPLICATED = 0.3  # seconds, after which every standby has the table
_ON_TOP = 0.3  # seconds that a busy machine may add to an age


class Read(NamedTuple):
    began: float
    value: int
    server: int


class Beat:
    """Row 0 counts up; a reader that still sees n when n + 1 has long been committed is so old."""

    def __init__(self, peer: Peer, reader: Peer, schema: str) -> None:
        self.reads: list[Read] = []
        self.errors: list[str] = []
        self.own: list[bool] = []  # of each write that its thread read: whether it was not there
        self._done = [time.monotonic()]  # when each value was known to be committed
        self._peer, self._reader, self._table = peer, reader, f"{schema}.beat"
        peer.query(f"CREATE TABLE {self._table} (id int PRIMARY KEY, n int)")
        peer.query(f"INSERT INTO {self._table} SELECT id, 0 FROM generate_series(0, {_WRITERS}) AS id")
        time.sleep(_REPLICATED)

    def beat(self) -> None:
        self._write(0, len(self._done))
        self._done.append(time.monotonic())

    def read(self) -> Read:
        found = self._read(0)
        self.reads.append(found)
        return found

    def write_and_read(self, number: int, values: Iterator[int]) -> None:
        self._write(number, value := next(values))
        self.own.append(self._read(number).value < value)

    def age(self, read: Read) -> float:
        """Of what it saw, when it began."""
        return read.began - self._done[read.value + 1] if read.value + 1 < len(self._done) else 0.0

    def _write(self, number: int, value: int) -> None:
        self._peer.query(f"UPDATE {self._table} SET n = %s WHERE id = %s", (value, number))

    def _read(self, number: int) -> Read:
        began = time.monotonic()
        [row] = self._reader.query(f"SELECT n, inet_server_port() FROM {self._table} WHERE id = %s", (number,))
        return Read(began, *tuple(row)[:2])


def lagging(
    peer: Peer, setting: Setting, link: Link, *, schema: str, ease: float, readers: dict[str, str], **_: Any
) -> list[Any]:
    """``readers``: what the others are told where they read from standbys. ``stand`` says which, ``go`` when it is over."""
    place = {**setting.place, **readers}
    kind = next(name for name, each in PEERS.items() if each is type(peer))
    has_one_pool = isinstance(peer, Ours | Old)  # ours needs no other, 1.0.2 cannot have one
    reader = peer if has_one_pool else PEERS[kind](replace(setting, place=place))
    beat, over = Beat(peer, reader, schema), threading.Event()
    work: list[Callable[[], Any]] = [beat.beat, *[beat.read] * _READERS]
    work += [partial(beat.write_and_read, number + 1, itertools.count(1)) for number in range(_WRITERS)]
    threads = [threading.Thread(target=_repeat, args=(each, over, beat.errors), daemon=True) for each in work]
    for each in threads:
        each.start()
    link.tell("reading")
    orders = link.orders()
    stands, victim = _at(next(orders))
    goes, _ = _at(next(orders))
    next(orders)
    over.set()
    for each in threads:
        each.join(10.0)
    return _judged(beat, stands, goes, victim, ease)


def _at(order: str) -> tuple[float, int]:
    return time.monotonic(), int(order.split()[-1])


def _repeat(work: Callable[[], Any], over: threading.Event, errors: list[str]) -> None:
    while not over.is_set():
        try:
            work()
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        time.sleep(_PACE)


def _judged(beat: Beat, stands: float, goes: float, victim: int, ease: float) -> list[Any]:
    before = [each.server for each in beat.reads if stands - 0.2 < each.began < stands]
    oldest = max((beat.age(each) for each in beat.reads if each.began > stands), default=0.0)
    back = min((each.began - goes for each in beat.reads if each.began > goes and each.server == victim), default=None)
    share = before.count(victim) / max(1, len(before))
    limit = _AGE + _ON_TOP * (ease - 1)
    return [
        ["one of two standbys has its share of the reads", share > 0, f"{share:.0%} of {len(before)}"],
        ["what is read is not older than max_lag and a second", oldest <= limit, f"{oldest:.2f} s"],
        ["own writes are read", bool(beat.own) and not any(beat.own), f"{sum(beat.own)} of {len(beat.own)} were not"],
        ["no request fails", not beat.errors, f"{len(beat.errors)}: {beat.errors[:1]}"],
        ["it has reads again", back is not None and back <= _BACK * ease, f"after {back} s"],
    ]
