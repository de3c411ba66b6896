"""fork: the child starts with nothing of its parent's, and can do its parent no harm."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pgdbpool.driver.session import abandon_nameless

_PATIENCE = 1.0  # seconds that a fork waits for connects under way


class Forkable(Protocol):
    def after_fork_in_child(self) -> None: ...


class _Gate:
    """Lets connects pass, except while a fork is under way.

    A socket that psycopg2 is just connecting has no name yet, so the child could not find it to put /dev/null over it. A
    fork waits for connects under way, but not for ever.
    """

    def __init__(self) -> None:
        # Guards connecting, forking and pools. Forbidden under it: I/O.
        self.changed = threading.Condition(threading.Lock())
        self.connecting = 0
        self.forking = 0
        self.pools: weakref.WeakSet[Forkable] = weakref.WeakSet()


_gate = _Gate()


def register(pool: Forkable) -> None:
    """From now on ``pool.after_fork_in_child()`` is called in the child of every fork."""
    with _gate.changed:
        _gate.pools.add(pool)


@contextmanager
def connecting() -> Iterator[None]:
    """Around every connect."""
    gate = _gate
    with gate.changed:
        gate.changed.wait_for(lambda: not gate.forking, _PATIENCE)
        gate.connecting += 1
    try:
        yield
    finally:
        with gate.changed:
            gate.connecting -= 1
            gate.changed.notify_all()


def _before() -> None:
    with _gate.changed:
        _gate.forking += 1
        _gate.changed.wait_for(lambda: not _gate.connecting, _PATIENCE)


def _after_in_parent() -> None:
    with _gate.changed:
        _gate.forking -= 1
        _gate.changed.notify_all()


def _after_in_child() -> None:
    global _gate
    pools, connects = list(_gate.pools), _gate.connecting
    _gate = _Gate()
    if connects:  # they took longer than the patience: a server that does not answer
        abandon_nameless()
    for pool in pools:
        _gate.pools.add(pool)
        pool.after_fork_in_child()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
