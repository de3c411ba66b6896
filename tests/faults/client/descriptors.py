"""A process that has no descriptor left to give to a connection."""

from __future__ import annotations

import itertools
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting, rows
from tests.faults.client.trying import by_admin, in_thread, said, tried

__all__ = ["exhausted"]

_PAUSE = 0.6  # seconds: more than pass between a pool's attempts to connect


def exhausted(peer: Peer, setting: Setting, link: Link, *, admin: Any, ease: float, **_: Any) -> list[Any]:
    """All that are open are held, and one more is asked for, with no descriptor left and with one."""
    name, found = setting.place["application_name"], list[Any]()
    count = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'"
    for spare in (0, 1):
        with _held(peer, setting.minimum):
            before, [(sessions,)] = _settled(), by_admin(admin, count)
            with _no_more_than(spare):
                asked = tried(peer.query, "SELECT 1")
                time.sleep(_PAUSE)
            after, [(left,)] = _settled(), by_admin(admin, count)
        if asked.error is None:  # whoever needs one for a connection had it
            continue
        what = f"{spare} left: "
        in_time = setting.acquire - 0.1 < asked.seconds < setting.acquire + 0.3 * ease
        found += [
            [f"{what}told at the deadline", in_time, f"after {asked.seconds:.2f} s"],
            [f"{what}told why", "Too many open files" in str(asked.error), said(asked.error)],
            [f"{what}descriptors", after == before, f"{before}, then {after}"],
            [f"{what}sessions", left == sessions, f"{sessions}, then {left}"],
        ]
    return [*found, *_existing(peer), *_grows(peer, setting, 0.5 * ease)]


def _existing(peer: Peer) -> Iterator[Any]:
    with _no_more_than(0):
        asked = tried(peer.query, "SELECT 1")
    yield ["an open connection goes on", asked.error is None, said(asked.error, "goes on")]


def _grows(peer: Peer, setting: Setting, allowed: float) -> Iterator[Any]:
    """One waits for a connection when there are descriptors again."""
    with _held(peer, setting.minimum):
        with _no_more_than(0):
            waiting = in_thread(peer.query, "SELECT 1")
            time.sleep(setting.acquire / 2)
        again = time.monotonic()
        error, seconds = waiting.outcome(10.0).error, time.monotonic() - again
    yield ["grows again", error is None and seconds < allowed, said(error, f"after {seconds:.2f} s")]


@contextmanager
def _held(peer: Peer, count: int) -> Iterator[None]:
    """So many connections are in the hands of threads."""
    taken, over = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with peer.checkout() as connection:
            rows(connection, "SELECT 1")
            taken.release()
            over.wait(30)

    holders = [in_thread(hold) for _ in range(count)]
    try:
        for _ in holders:
            taken.acquire(timeout=10)
        yield
    finally:
        over.set()
        for holder in holders:
            holder.outcome(5)
        time.sleep(_PAUSE)  # what is given back may have to be cleaned


@contextmanager
def _no_more_than(spare: int) -> Iterator[None]:
    """This process has so many descriptors beyond those that it uses."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (number for number in itertools.count() if number not in _used())
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, spare, None)), before[1]))
        yield


def _settled() -> int:
    """How many are in use, when that has not changed for a while: nobody is connecting."""
    seen, since, limit = len(_used()), time.monotonic(), time.monotonic() + 10.0
    while (now := time.monotonic()) < min(since + _PAUSE, limit):
        if (used := len(_used())) != seen:
            seen, since = used, now
        time.sleep(0.01)
    return seen


def _used() -> set[int]:
    """But for the one by which they are listed."""
    found = set(map(int, os.listdir("/proc/self/fd")))
    return {each for each in found if os.path.exists(f"/proc/self/fd/{each}")}
