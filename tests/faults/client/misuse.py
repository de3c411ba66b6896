"""Connections released twice, released to the wrong pool, and used after release; and whether one is ever in two hands."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting, rows
from tests.faults.client.trying import Outcome, at_once, driver_of, in_thread, said, tried, use

__all__ = ["misuse"]

_PID = "SELECT pg_backend_pid()"
_NO_SUCH_CALL = (
    "SQLAlchemy",
    "SQLAlchemyPinged",
    "Old",
)  # theirs are methods of what was taken: none can be given what is not its own
_MISUSES, _QUERIES = 0.0005, 0.005  # shares of the storm's rounds

Tried = list[Any]  # a Case


def misuse(peer: Peer, setting: Setting, link: Link, *, seed: int, rounds: int, **_: Any) -> list[Tried]:
    """Each misuse has to raise, alone and while others have the connection; then ``rounds`` checkouts (others: a 20th)."""
    rounds = rounds if type(peer).__name__ == "Ours" else rounds // 20
    return [
        ["released twice", *_refused(lambda: _twice(peer))],
        ["released twice, lent again", *_while_lent_again(peer, setting, peer.give)],
        *_foreign(peer, setting),
        ["used after release", *_refused(lambda: use(_released(peer), _PID))],
        ["used after release, lent again", *_while_lent_again(peer, setting, lambda taken: use(taken, _PID))],
        ["in two hands", *_Storm(peer, rounds, seed).outcome()],
    ]


def _released(peer: Peer) -> Any:
    taken = peer.take()
    peer.give(taken)
    return taken


def _twice(peer: Peer) -> None:
    peer.give(_released(peer))


def _refused(work: Callable[[], Any]) -> tuple[bool, str]:
    error = tried(work).error
    return error is not None, said(error)


def _foreign(peer: Peer, setting: Setting) -> list[Tried]:
    if type(peer).__name__ in _NO_SUCH_CALL:
        return []
    other: Peer = type(peer)(replace(setting, connections=1, minimum=1))
    taken = other.take()
    found = _refused(lambda: peer.give(taken))
    with suppress(Exception):  # it may believe by now that it was not its own
        other.give(taken)
    other.close()
    return [["another pool's released", *found]]


# -- while others have it


def _while_lent_again(peer: Peer, setting: Setting, misuse: Callable[[Any], Any]) -> tuple[bool, str]:
    """Every connection is in the hands of a thread when one that had it before misuses it: it is told, they go on."""
    before = _released(peer)
    with _all_lent(peer, setting.connections) as (pids, users):
        error = tried(misuse, before).error
        extra = None if error else in_thread(_held, peer).outcome(1.0).value
        told = users()
    harmed = [each.error for each in told if each.error]
    wrong = [
        *(["silent"] if error is None else []),
        *([f"it harmed another: {said(harmed[0])}"] if harmed else []),
        *(["a connection was given to two"] if extra in pids else []),
    ]
    return not wrong, ", ".join(wrong) or said(error)


def _held(peer: Peer) -> int:
    taken = peer.take()
    try:
        return int(use(taken, _PID)[0][0])
    finally:
        peer.give(taken)


@contextmanager
def _all_lent(peer: Peer, count: int) -> Iterator[tuple[list[int], Callable[[], list[Outcome]]]]:
    """Threads that hold all of them: their backends, and what ends it and tells what became of each."""
    pids: list[int] = []
    all_have, over = threading.Barrier(count + 1), threading.Event()

    def hold() -> None:
        taken = peer.take()
        mine = use(taken, _PID)
        pids.append(mine[0][0])
        all_have.wait(10)
        over.wait(20)
        if use(taken, _PID) != mine:
            raise AssertionError("it is another's by now")
        peer.give(taken)

    threads = [in_thread(hold) for _ in range(count)]
    all_have.wait(10)

    def users() -> list[Outcome]:
        over.set()
        return [each.outcome(5.0) for each in threads]

    try:
        yield pids, users
    finally:
        over.set()


# -- in two hands?


class _Storm:
    """Random checkouts by 16 threads; ``users`` has whose each backend is, by their own word."""

    threads, patience = 16, 240.0

    def __init__(self, peer: Peer, rounds: int, seed: int) -> None:
        self._peer, self._rounds, self._seed = peer, rounds, seed
        self._left = iter(range(rounds))
        self._users: dict[int, Any] = {}
        self._clashes, self._silent = itertools.count(), itertools.count()  # each step counts one
        self._errors: Counter[str] = Counter()
        self._over = False

    def outcome(self) -> tuple[bool, str]:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # for a change of hands in the middle of things
        began = time.monotonic()
        told = at_once(self.threads, self._run, self.patience)
        self._over = True
        took = time.monotonic() - began
        sys.setswitchinterval(usual)
        done = self._rounds - sum(1 for _ in self._left)
        for each in told:
            if each.error:
                self._errors[said(each.error)] += 1
        clashes, silent = next(self._clashes), next(self._silent)
        wrong = {"in two hands": clashes, "misuses were silent": silent, "errors": sum(self._errors.values())}
        seen = "".join(f", {number} {name}" for name, number in wrong.items() if number)
        first = "".join(f" ({error})" for error, _ in self._errors.most_common(1))
        return not seen and done == self._rounds, f"{done:,} checkouts in {took:.1f} s{seen}{first}"

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self._seed} {number}")
        for _ in self._left:
            if self._over:
                return
            try:
                self._misuse(dice) if (lot := dice.random()) < _MISUSES else self._check(lot > 1 - _QUERIES, dice)
            except Exception as error:
                self._errors[said(error)] += 1

    def _check(self, by_query: bool, mine: Any) -> None:
        """Check one out; ``mine`` is an object of this thread's own."""
        users = self._users
        with self._peer.checkout() as connection:
            pid = driver_of(connection).info.backend_pid
            if users.setdefault(pid, mine) is not mine:
                next(self._clashes)
            if by_query and rows(connection, _PID)[0][0] != pid:
                raise AssertionError("an answer of another's session")
            if users.pop(pid, None) is not mine:
                next(self._clashes)

    def _misuse(self, dice: random.Random) -> None:
        """Release one twice, or use it after release, whoever has it by then."""
        taken = _released(self._peer)
        if tried(*dice.choice([(self._peer.give, taken), (use, taken, _PID)])).error is None:
            next(self._silent)
