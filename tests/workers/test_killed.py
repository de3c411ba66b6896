"""SIGKILL, wherever it strikes: no counter ever goes down for it, and none is counted twice."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.workers.folder import Folder
from pgdbpool.workers.records import LOCK

from .crew import KEY, Member, begun, dead, ended, exit_codes, files, interrupted

WORKERS, GENERATIONS = 3, 60


class Numbers:
    """What several processes write and all read, also of those that were killed."""

    def __init__(self, count: int) -> None:
        self._numbers = (ctypes.c_long * count).from_buffer(mmap.mmap(-1, 8 * count))

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def __setitem__(self, index: int, number: int) -> None:
        self._numbers[index] = number


def killed_at(step: int, work: Callable[[], Any]) -> bool:
    """Do this in a child that is killed at its so many-th step; whether it got that far."""
    child = begun(lambda: interrupted(step, work, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    return exit_codes([child]) == [-signal.SIGKILL]


def test_killed_while_writing(tmp_path: Path) -> None:
    """A worker that is killed at any step of its second write is counted as it wrote first, or second, and stays so."""
    observer = Member(tmp_path, "observer")
    observer.tick()
    seen = []

    def twice() -> None:
        member.tick()
        member.count = 2
        member.tick()

    for step in itertools.count():
        member = Member(tmp_path, f"w{step}")
        got_there = not killed_at(step, twice)
        seen.append(observer.sees().get(member.name, 0))
        observer.fold()
        assert observer.sees().get(member.name, 0) == seen[-1]
        if got_there:
            break
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}
    assert len(files(tmp_path)) == 3  # its own, the past, the lock


def test_killed_while_folding(tmp_path: Path) -> None:
    """Whoever takes the dead's counters into the past, and then its own, may be killed at any step: all are there, once."""
    observer = Member(tmp_path, "observer")
    observer.tick()

    def fold() -> None:
        observer.exchange.after_fork_in_child()
        member.fold()
        member.exchange.close()

    for step in itertools.count():
        dead(tmp_path, "dead", 100)
        before = observer.sees()
        member = Member(tmp_path, f"w{step}")
        got_there = not killed_at(step, fold)
        after = observer.sees()
        assert before["dead"] == 100 * (step + 1)
        assert after.pop(member.name, 1) == 1
        assert after == before
        observer.fold()
        assert before.items() <= observer.sees().items()
        if got_there:
            break
    assert step > 50, step
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("times", [1, 2])
def test_folded_while_somebody_reads(times: int, tmp_path: Path) -> None:
    """Whoever reads while another takes the dead into the past, at whatever step, misses none and counts none twice."""
    reader, other = Member(tmp_path, "reader"), Member(tmp_path, "other")
    reader.tick()
    other.tick()
    seen: dict[str, int] = {}

    def fold() -> None:
        for number in range(times):
            other.fold()
            dead(tmp_path, f"late {step} {number}", 1)

    for step in itertools.count():
        dead(tmp_path, "dead", 100)
        dead(tmp_path, "dead", 100)
        got_there = not interrupted(step, lambda: seen.update(reader.sees()), fold)
        assert seen["dead"] == 200 * (step + 1)
        assert seen["other"] == 1
        if got_there:
            break
    assert step > 20


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Of workers killed at random while they write and look after each other, each is counted as it wrote last."""
    dice = random.Random(4711)
    observer = Member(tmp_path, "observer")
    observer.tick()
    tried, written = Numbers(WORKERS * GENERATIONS), Numbers(WORKERS * GENERATIONS)
    seen: dict[str, int] = {}

    def work(number: int) -> None:
        observer.exchange.after_fork_in_child()
        member = Member(tmp_path, str(number), 0)
        while True:
            tried[number] = member.count = member.count + 1
            member.tick(7.0 * (number + 1))
            written[number] = member.count

    def look() -> None:
        now = observer.sees()
        assert all(now.get(name, 0) >= count for name, count in seen.items())
        seen.update(now)

    running = [begun(partial(work, number)) for number in range(WORKERS)]
    try:
        for number in range(WORKERS, WORKERS * GENERATIONS):
            time.sleep(dice.uniform(0.0, 0.01))
            look()
            ended(running.pop(dice.randrange(WORKERS)))
            look()
            running.append(begun(partial(work, number)))
    finally:
        for child in running:
            ended(child)
    look()
    observer.fold()
    look()
    assert len(files(tmp_path)) == 3
    assert sum(seen.values()) > WORKERS * GENERATIONS
    for number in range(WORKERS * GENERATIONS):
        assert seen.get(str(number), 0) in (written[number], tried[number])


def test_two_fold_at_once(tmp_path: Path) -> None:
    """Of several that find the same dead at the same moment, one takes them into the past; nobody waits for the other."""
    for _ in range(20):
        dead(tmp_path, "dead", 10)
    go, ready = os.pipe()

    def fold(member: Member) -> None:
        os.close(ready)
        os.read(go, 1)
        before = time.monotonic()
        member.fold()
        assert member.exchange.alone is None
        assert time.monotonic() < before + 20.0

    children = [begun(partial(fold, Member(tmp_path, str(number), 0))) for number in range(4)]
    os.close(ready)
    os.close(go)
    assert exit_codes(children) == [0] * 4
    last = Member(tmp_path, "last")
    last.fold()
    assert last.sees()["dead"] == 200
    assert not any(name.endswith(".new") for name in files(tmp_path))
    assert (tmp_path / KEY / "past").read_bytes().count(b'"dead":200') == 1


def test_a_lock_that_is_removed(tmp_path: Path) -> None:
    """Whoever opens the lock's file before the last one out removes it, and locks it after that, has not got the lock."""
    held: list[int] = []

    def locked() -> int:
        descriptor = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return descriptor

    def replace() -> None:
        """Of two that leave, one removes it, and another has a new one."""
        with suppress(BlockingIOError):
            removed = locked()
            (tmp_path / LOCK).unlink()
            os.close(removed)
            held.append(locked())

    def lock() -> None:
        with Folder(str(tmp_path)) as folder, folder.locked(LOCK) as ours:
            assert ours is not bool(held)

    for step in itertools.count():
        got_there = not interrupted(step, lock, replace)
        while held:
            os.close(held.pop())
        if got_there:
            break
    assert step > 5
