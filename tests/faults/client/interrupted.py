"""Threads that are interrupted anywhere, that end with a connection in their hands, or hold on to it."""

from __future__ import annotations

import ctypes
import logging
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.faults.client.holding import held_at_once
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting, rows
from tests.faults.client.trying import at_once, in_thread

__all__ = ["interrupted", "left_behind"]


_RECOVERY = 3.0  # seconds until all that is left behind has to be back


class Interrupted(Exception):
    """What is thrown into threads."""


def interrupted(
    peer: Peer, setting: Setting, link: Link, *, schema: str, seed: int, times: int, ease: float, **_: Any
) -> list[Any]:
    """``times`` exceptions at random points of requests."""
    storm, count = _Storm(peer, schema, seed), setting.connections
    storm.strike(times, times * 0.01 * ease)
    kept = held_at_once(peer, count, _RECOVERY * ease)
    return [
        ["slots lost", kept == count, f"{kept}/{count} can be had, {storm.landed} of {times} exceptions have struck"],
        ["exceptions that struck", storm.landed >= times, f"{storm.landed} of {times}"],
        ["answers", not storm.wrong, f"{storm.wrong} wrong of {storm.answers}"],
    ]


class _Storm:
    """Threads that ask, and one that throws into them."""

    threads = 16

    def __init__(self, peer: Peer, schema: str, seed: int) -> None:
        self._peer, self._schema, self._seed = peer, schema, seed
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._struck = [0] * self.threads  # how often each was
        self.answers = self.wrong = 0

    @property
    def landed(self) -> int:
        return sum(self._struck)

    def strike(self, times: int, patience: float) -> None:
        """Throw until so many have landed; who waits for a lock that nobody will leave cannot be struck."""
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)  # so that they are struck in the middle of things, and not only where they wait
        threads = [self._start(number) for number in range(self.threads)]
        limit = time.monotonic() + patience
        while self.landed < times and time.monotonic() < limit:
            time.sleep(self._dice.random() * 0.004)
            number = self._dice.randrange(self.threads)
            if not threads[number].is_alive():  # struck where it noted that it was struck
                threads[number] = self._start(number)
            _throw(threads[number])
        self._over.set()
        limit = time.monotonic() + 1.0
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        sys.setswitchinterval(usual)

    def _start(self, number: int) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(number,), daemon=True)
        thread.start()
        return thread

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self._seed} {number}")
        while not self._over.is_set():
            try:
                while not self._over.is_set():
                    self._ask(dice)
            except Interrupted:
                self._struck[number] += 1
            except Exception:  # as a request fails that cannot have a connection
                time.sleep(0.001)

    def _ask(self, dice: random.Random) -> None:
        way, key = dice.randrange(6), str(dice.random())
        if way == 0:
            found = self._peer.query("SELECT %s", (key,))
        elif way == 1:
            with self._peer.transaction() as run:
                run(f"INSERT INTO {self._schema}.entry VALUES (%s)", (key,))
                found = run("SELECT %s", (key,))
        elif way == 2:
            with self._peer.checkout() as connection:
                found = rows(connection, "SELECT %s", (key,))
        else:  # the pool's own work, and nothing else
            with self._peer.checkout():
                found = [(key,)]
        self.answers += 1
        self.wrong += [tuple(row) for row in found] != [(key,)]


class _Log(logging.Handler):
    """What is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage() + (self.format(record) if record.exc_info else ""))

    def naming(self, *functions: str) -> int:
        """How many tell of one of these as a place."""
        return sum(any(f"in {name}" in text or f"({name})" in text for name in functions) for text in self.texts)


def left_behind(peer: Peer, setting: Setting, link: Link, *, ease: float, **_: Any) -> list[Any]:
    """All but one are held by threads that end, in all ways; the last by one that lives on."""
    count, recovery = setting.connections, _RECOVERY * ease
    log, kept, over = _Log(), list[Any](), threading.Event()

    def ends_with_it(number: int) -> None:
        if number % 2:
            peer.take()
        else:  # as the traceback of an error does that somebody keeps
            kept.append(block := peer.checkout())
            block.__enter__()

    def holds_on() -> None:
        with peer.checkout():
            over.wait(10)

    holder = in_thread(holds_on)
    at_once(count - 1, ends_with_it, 5.0)
    told, places = _within(recovery, lambda: log.naming("holds_on")), log.naming("ends_with_it", "take")
    over.set()
    holder.outcome(5.0)
    return [
        ["their places are in the log", places == count - 1, f"{places} of {count - 1}"],
        ["who holds on is in the log", told == 1, f"{told} times"],
        ["slots lost", (again := held_at_once(peer, count, recovery)) == count, f"{again}/{count} can be had"],
    ]


def _within(seconds: float, condition: Callable[[], int]) -> int:
    limit = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < limit:
        time.sleep(0.05)
    return answer


def _throw(thread: threading.Thread) -> None:
    """Raise ``Interrupted`` in that thread at its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))
