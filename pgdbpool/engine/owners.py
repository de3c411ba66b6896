"""Who borrows: one object per thread, which knows when its thread has ended."""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType
from typing import Any

from pgdbpool.waiting import Waiter

_DEEPEST = 20  # frames
_PACKAGE = __name__.partition(".")[0]
# Not the whole package: the demo's shop is a user like any other.
_ROOMS = tuple(
    f"{_PACKAGE}.{room}" for room in ("access.", "facade", "engine.", "driver.", "waiting.", "report.", "pool")
)


Place = tuple[CodeType, int]  # code, and the instruction in it


class Owner:
    """A thread that borrows. ``transactions`` holds what `transaction()` opened in it, by group, innermost last.

    ``marks``: what its reads must show, by the ``Causal`` of each pool. ``request``: what it does for a client just now.
    """

    __slots__ = ("alive", "ident", "marks", "name", "request", "taken", "transactions", "waiter")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.name = threading.current_thread().name
        self.alive = True
        self.transactions: dict[Any, Any] = {}
        self.marks: dict[Any, Any] = {}
        self.request: Any = None
        self.waiter = Waiter()
        self.taken: Any = None  # the slot that it took last; a one-shot query has no other


class _LastWill:
    """Dies with its thread's locals: idents are reused at once, so asking whether one is alive proves nothing."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def __del__(self) -> None:
        self._owner.alive = False


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.owner = Owner()
        self.last_will = _LastWill(self.owner)


_per_thread = _PerThread()


def present_owner() -> Owner:
    """The calling thread's owner (the calling greenlet's, where gevent has patched ``threading``)."""
    return _per_thread.owner


def place_of_caller() -> Place | None:
    """The nearest code outside this package, as (code, instruction): the line number is worked out only if asked for."""
    return _outside(sys._getframe(2))


def _outside(frame: FrameType | None) -> Place | None:
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lasti)


def _is_ours(module: str) -> bool:
    return module.startswith(_ROOMS) or module == _PACKAGE or module in ("threading", "contextlib")


def open_transaction(owner: Owner, desk: Any) -> Any:
    """The `transaction()` of that group which this thread is inside of, or None.

    Kept by weak reference: its ``with`` statement keeps it alive, and one whose end was struck by an exception is gone.
    """
    reference = owner.transactions.get(desk)
    return None if reference is None else reference()


def describe(place: Place | None) -> str:
    """``file:line (function)`` of a place."""
    if place is None:
        return "unknown place"
    code, instruction = place
    return f"{code.co_filename}:{_line(code, instruction)} ({code.co_name})"


def _line(code: CodeType, instruction: int) -> int:
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end and line is not None)
    return next(lines, code.co_firstlineno)


def is_at_work(owner: Owner) -> bool:
    """Whether code of this package is on that thread's stack; true too where the stack cannot be seen (a greenlet's)."""
    frame = sys._current_frames().get(owner.ident)
    if frame is None:
        return True
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_ROOMS):
            return True
        frame = frame.f_back
    return False


def stack_now(owner: Owner) -> list[Place]:
    """Where that thread stands now, outside this package, and who called that, innermost first; empty when it has ended."""
    frame = sys._current_frames().get(owner.ident) if owner.alive else None
    stack: list[Place] = []
    while frame is not None and len(stack) < _DEEPEST:
        if not _is_ours(frame.f_globals.get("__name__", "")):
            stack.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return stack


def where_now(owner: Owner, frames: dict[int, FrameType] | None = None) -> Place | None:
    """Where that thread stands, outside this package: now, or in these ``frames`` of all threads; None when it has ended."""
    frames = sys._current_frames() if frames is None else frames
    return _outside(frames.get(owner.ident) if owner.alive else None)
