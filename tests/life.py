"""What the tests of a connection's life share: threads that ask, a tick that feels the GIL, children of a fork."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

from tests.servers import eventually

__all__ = [
    "Crowd",
    "Outcome",
    "elsewhere",
    "frozen",
    "full",
    "in_child",
    "outcomes",
    "pids_of",
    "python",
    "stopped",
    "thread_of",
    "ticking",
    "warm",
]


class Outcome(NamedTuple):
    """What one call came to: ``value`` or ``error``, after so many ``seconds``; ``at`` is its end (monotonic)."""

    value: Any
    error: BaseException | None
    seconds: float
    at: float


def outcome(work: Callable[..., Any], *args: Any) -> Outcome:
    value, error, since = None, None, time.monotonic()
    try:
        value = work(*args)
    except BaseException as raised:  # an asynchronous one too
        error = raised
    now = time.monotonic()
    return Outcome(value, error, now - since, now)


class thread_of:
    """``work`` in a daemon thread; ``result(limit)`` is its outcome, and fails if it still runs after the limit."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self.outcome: Outcome | None = None
        self._call = (work, *args)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.outcome = outcome(*self._call)

    def result(self, limit: float = 10.0) -> Outcome:
        self.thread.join(limit)
        assert self.outcome is not None, f"{self._call[0]} still runs after {limit} s"
        return self.outcome


@contextmanager
def elsewhere(take: Callable[[], AbstractContextManager[Any]], count: int) -> Iterator[None]:
    """So many of what ``take()`` makes are entered, and held by another thread during the block."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(take())
            ready.set()
            over.wait(20)

    holder = thread_of(hold)
    assert ready.wait(10)
    try:
        yield
    finally:
        over.set()
        assert holder.result().error is None


def outcomes(count: int, work: Callable[[int], Any], limit: float = 10.0) -> list[Outcome]:
    """``work(0)`` to ``work(count - 1)``, each in a thread of its own, all at once."""
    end, threads = time.monotonic() + limit, [thread_of(work, number) for number in range(count)]
    return [thread.result(max(0.0, end - time.monotonic())) for thread in threads]


class Crowd:
    """``with`` block during which so many threads call ``work()`` again and again; every outcome is kept."""

    def __init__(self, work: Callable[[], Any], threads: int = 16) -> None:
        self.all: list[Outcome] = []
        self._work = work
        self._going = True
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        while self._going:
            self.all.append(outcome(self._work))

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        for thread in self._threads:
            thread.join(15.0)
        assert not any(thread.is_alive() for thread in self._threads), "a thread hangs"

    def goes_on(self, seconds: float = 5.0) -> None:
        """Return when as many calls as there are threads have succeeded from now on."""
        since = time.monotonic()
        more = lambda: sum(each.error is None and each.at > since for each in list(self.all)) >= len(self._threads)  # noqa: E731
        assert eventually(more, seconds), f"no more successes; the last: {self.all[-3:]}"

    @property
    def errors(self) -> list[BaseException]:
        return [each.error for each in list(self.all) if each.error is not None]

    def first_success_after(self, moment: float) -> float:
        """Seconds from ``moment`` to the end of the first call that succeeded."""
        return min(each.at for each in list(self.all) if each.error is None and each.at > moment) - moment


@contextmanager
def ticking() -> Iterator[Callable[[], float]]:
    """A thread that wakes every 5 ms; gives a function that tells the longest gap so far: who holds the GIL makes one."""
    gaps, going = [0.0], [True]

    def tick() -> None:
        last = time.monotonic()
        while going:
            time.sleep(0.005)
            now = time.monotonic()
            gaps[0] = max(gaps[0], now - last)
            last = now

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield lambda: gaps[0]
    finally:
        going.clear()
        thread.join(5.0)


@contextmanager
def frozen(server: Any) -> Iterator[None]:
    """A server all of whose processes stand still until the block ends."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still (SIGSTOP) until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def warm(pool: Any, count: int, group: str | None = None) -> list[int]:
    """Have ``count`` connections open and idle; their backends' process ids."""
    with ExitStack() as stack:
        handlers = [stack.enter_context(pool.handler(group)) for _ in range(count)]
        return [db.query("SELECT pg_backend_pid()").scalar() for db in handlers]


def pids_of(server: Any, name: str = "pgdbpool:%") -> list[int]:
    """The backends that serve a pool's groups."""
    return [each.pid for each in server.sessions(name) if each.application_name != "pgdbpool:monitor"]


def full(pool: Any, count: int, group: str | None = None) -> bool:
    """Whether the group hands out all its connections again, each another backend, and then has them idle."""
    name = group or next(iter(pool.stats()["groups"]))
    pids = warm(pool, count, group)
    figures = pool.stats()["groups"][name]
    return bool(len(set(pids)) == figures["idle"] == count and figures["in_use"] == figures["waiting"] == 0)


def in_child(work: Callable[[], Any], limit: float = 15.0) -> Any:
    """Fork, run ``work`` in the child, and return or raise here what it returned or raised there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, writer)
    os.close(writer)
    watchdog = threading.Timer(limit, os.kill, (child, 9))
    watchdog.start()
    try:
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
    finally:
        watchdog.cancel()
    assert data, "the child ended without an answer"
    value, error = pickle.loads(data)
    if error is not None:
        raise error
    return value


def _child(work: Callable[[], Any], writer: int) -> None:
    try:
        result = outcome(work)
        os.write(writer, pickle.dumps((result.value, result.error)))
    finally:
        os._exit(0)


def python(script: str, *args: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process of its own that runs ``script``, with pipes as its standard input and output."""
    command = [sys.executable, "-c", script, *args]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=os.getcwd(), **{**pipes, **options})
