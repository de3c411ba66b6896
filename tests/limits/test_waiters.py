"""Ten thousand threads want a connection of a pool that has four."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from pgdbpool import PoolClosed, PoolTimeout, TooManyRequests
from tests.life import Outcome, full, outcome, warm
from tests.servers import eventually

COUNT, LEAST = 10_000, 2_000
BATCH = 100
STACK = 128 * 1024
PATIENCE = 30.0  # seconds; a machine that others use may take long to start so many threads

pytestmark = [pytest.mark.contract("4.waiting.1"), pytest.mark.timeout(120)]


class Throng:
    """Threads that each call ``work(number)`` once: as many as asked for, or as the machine allows.

    They are started in batches; ``gathered(n)`` is asked until it says that the n started so far are where they should be.
    """

    def __init__(self, count: int, work: Callable[[int], Any], gathered: Callable[[int], bool] = bool) -> None:
        self._told: list[Outcome | None] = [None] * count
        self._work = work
        self._threads: list[threading.Thread] = []
        before = threading.stack_size(STACK)
        try:
            while len(self) < count and self._start(min(BATCH, count - len(self))):
                assert eventually(lambda: gathered(len(self)), PATIENCE)
        finally:
            threading.stack_size(before)

    def __len__(self) -> int:
        return len(self._threads)

    def _start(self, count: int) -> bool:
        for _ in range(count):
            thread = threading.Thread(target=self._run, args=(len(self),), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # can't start new thread
                return False
            self._threads.append(thread)
        return True

    def _run(self, number: int) -> None:
        self._told[number] = outcome(self._work, number)

    def outcomes(self) -> list[Outcome]:
        """Of all threads, which must end within the patience."""
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        told = [each for each in self._told[: len(self)] if each is not None]
        assert len(told) == len(self), f"{len(self) - len(told)} of {len(self)} threads hang"
        return told


def enough(*throngs: Throng, wanted: int = COUNT) -> None:
    """To be called when all has held: says so if it was held by fewer threads than it should have been."""
    count = sum(map(len, throngs))
    assert count >= min(LEAST, wanted), (
        f"this machine allows {count} threads, {LEAST} are the least (ulimit -u, pids.max)"
    )
    if count < wanted:
        pytest.skip(
            f"it held with {count} threads; this machine allows no more (ulimit -u, pids.max), {wanted} are asked"
        )


@contextmanager
def unhurried() -> Iterator[None]:
    """Threads that are ready to run ask the interpreter for their turn twice a second, and not every 5 ms.

    Thousands of them would do nothing else: 10,000 that wake at once, with no pool at all, take CPython a minute.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def waiting(pool: Any) -> int:
    return int(pool.stats()["groups"]["web"]["waiting"])


def holding(stack: ExitStack, pool: Any, count: int) -> None:
    for _ in range(count):
        stack.enter_context(pool.handler())


@pytest.mark.contract("3.group.connection_count.1", "2.call.stats.1")
def test_all_are_served_in_the_order_of_their_arrival(make_pool: Callable[..., Any]) -> None:
    """10,000 wait at once: each takes up little memory, ``stats()`` answers, nobody is overtaken, forgotten or timed out."""
    pool = make_pool(timeout=120)
    warm(pool, 4)
    served: list[int] = []

    def ask(number: int) -> None:
        with pool.handler():
            served.append(number // BATCH)

    memory = psutil.Process().memory_info().rss
    with ExitStack() as one, ExitStack() as others:
        holding(one, pool, 1)
        holding(others, pool, 3)
        throng = Throng(COUNT, ask, lambda count: waiting(pool) == count)
        each = (psutil.Process().memory_info().rss - memory) / len(throng)
        asked = outcome(waiting, pool)
        one.close()
        assert eventually(lambda: len(served) >= len(throng) * 3 // 4, PATIENCE)
        strict = len(throng) * 3 // 4  # one connection serves one at a time: no two threads can note themselves at once
        others.close()
        told = throng.outcomes()
    assert (asked.value, asked.seconds < 1.0) == (len(throng), True)
    assert each < 64 * 1024, "bytes for each waiter and its thread"
    assert {type(each.error) for each in told} == {type(None)}
    assert served[:strict] == sorted(served)[:strict]
    assert full(pool, 4)
    figures = pool.stats()["groups"]["web"]
    assert (figures["timeouts"], figures["errors"], figures["wait"]["count"] >= len(throng)) == (0, 0, True)
    enough(throng)


@pytest.mark.contract("4.waiting.2", "3.group.timeout.1", "2.call.close.1")
def test_a_wait_ends_at_its_timeout_or_by_the_end_of_the_pool(make_pool: Callable[..., Any]) -> None:
    """Of 10,000 who wait 1,000 are told at their timeout, and all the others at once when the pool closes."""
    pool = make_pool(timeout=120)

    def ask(timeout: float) -> None:
        with pool.handler(timeout=timeout):
            pass

    with ExitStack() as stack:
        holding(stack, pool, 4)
        patient = Throng(COUNT - 1000, lambda _: ask(120), lambda count: waiting(pool) == count)
        with unhurried():
            impatient = Throng(1000, lambda number: ask(2 + number / 1000))
            told = impatient.outcomes()
            assert eventually(lambda: waiting(pool) == len(patient), PATIENCE)
            since = time.monotonic()
            pool.close(timeout=0)
            freed = patient.outcomes()
    late = [each.seconds - (2 + number / 1000) for number, each in enumerate(told)]
    assert {type(each.error) for each in told} == {PoolTimeout}
    assert min(late) >= 0.0
    assert max(late) < 1.0
    assert {type(each.error) for each in freed} == {PoolClosed}
    assert max(each.at for each in freed) - since < 5.0
    enough(patient, impatient)


@pytest.mark.contract("4.waiting.2", "3.group.max_waiting.1")
def test_max_waiting_turns_thousands_away_at_once(make_pool: Callable[..., Any]) -> None:
    """While 100 wait, each of 10,000 further calls is refused without waiting, and the 100 are served."""
    pool = make_pool(timeout=60, max_waiting=100)

    def ask(_: int) -> int:
        with pool.handler() as db:
            return int(db.query("SELECT 1").scalar())

    with ExitStack() as stack:
        holding(stack, pool, 4)
        first = Throng(100, ask, lambda count: waiting(pool) == count)
        told = Throng(100, lambda _: [outcome(ask, _) for _ in range(COUNT // 100)]).outcomes()
        assert waiting(pool) == 100
    refused = [each for caller in told for each in caller.value]
    assert {each.value for each in first.outcomes()} == {1}
    assert {type(each.error) for each in refused} == {TooManyRequests}
    assert max(each.seconds for each in refused) < 1.0
    assert pool.stats()["groups"]["web"]["errors"] == COUNT
    assert full(pool, 4)
