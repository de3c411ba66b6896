"""Workers that have nothing to show but one counter each, so that what is lost or counted twice is seen by its name."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pgdbpool.workers import Exchange

__all__ = [
    "KEY",
    "Member",
    "begun",
    "dead",
    "ended",
    "exit_codes",
    "files",
    "forked",
    "interrupted",
    "killed",
    "retired",
    "seen_by",
]

KEY = "0123abcd"


def retired(several: list[dict[str, Any]]) -> dict[str, Any]:
    counters: Counter[str] = Counter()
    for each in several:
        counters.update(each["counters"])
    return {"counters": dict(counters), "busy": 0}


class Member:
    """One worker, that is, its exchange. Its clock goes as fast as it is told to."""

    def __init__(self, stats_dir: str | Path | None, name: str, count: int = 1) -> None:
        self.name, self.count, self.now = name, count, time.time()
        self.exchange = Exchange(None if stats_dir is None else str(stats_dir), KEY, self.figures, retired)

    def figures(self) -> dict[str, Any]:
        return {"at": self.now, "workers": [{"at": self.now}], "counters": {self.name: self.count}, "busy": 1}

    def tick(self, later: float = 5.0) -> float:
        """So many seconds after the last one; after 5 it writes if anything changed."""
        self.now += later
        return self.exchange.tick(self.now)

    def fold(self) -> None:
        """A tick at a time when nobody can have looked after the dead just now."""
        self.tick(random.uniform(1e4, 1e8))

    def sees(self) -> dict[str, int]:
        return seen_by(self.exchange)

    def living(self) -> set[str]:
        return {name for each in self.exchange.others() if each["busy"] for name in each["counters"]}


def dead(stats_dir: Path, name: str, count: int) -> None:
    """What a killed worker leaves, without the price of a process."""
    member = Member(stats_dir, name, count)
    member.tick()
    member.exchange.after_fork_in_child()  # it drops what is its parent's


def interrupted(step: int, work: Callable[[], Any], act: Callable[[], Any]) -> bool:
    """Do this work, and, at its so many-th step, the other thing first; whether it got that far.

    A step is the moment before a call of the system: nobody else sees what happens between two of them.
    """
    left = step

    def count(_frame: FrameType, event: str, called: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(called, "__module__", "") in ("posix", "fcntl"):
            left -= 1
            if left == -1:
                sys.setprofile(None)
                act()

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return left < 0


def seen_by(exchange: Exchange) -> dict[str, int]:
    """The counters of all others, living or dead; what is counted twice is twice as much."""
    return dict(sum((Counter(each["counters"]) for each in exchange.others()), Counter()))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / KEY).iterdir())


def begun(work: Callable[[], Any]) -> int:
    """A child that does this and ends; its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


@contextmanager
def forked(work: Callable[[], Any]) -> Iterator[int]:
    """A child that does this and then waits to be killed, which the end of the block does at the latest."""
    reader, writer = os.pipe()

    def and_wait() -> None:
        os.close(reader)
        work()
        os.write(writer, b"x")
        while True:
            signal.pause()

    child = begun(and_wait)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"x", "the child failed"
        yield child
    finally:
        os.close(reader)
        ended(child)


def ended(child: int) -> None:
    """Kill a child, which may have gone, and wait until it has."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def killed(work: Callable[[], Any]) -> None:
    """Do this in a child that is killed then."""
    with forked(work):
        pass


def exit_codes(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
