"""One server connection: psycopg2's connection and what the pool must know about it."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import extensions

__all__ = ["TCP_USER_TIMEOUT", "ClientSide", "ServerSide", "Session", "abandon_nameless"]

TCP_USER_TIMEOUT = 15_000  # milliseconds

IN_TRANSACTION = (extensions.TRANSACTION_STATUS_INTRANS, extensions.TRANSACTION_STATUS_INERROR)


class ClientSide(NamedTuple):
    """psycopg2's half of a session's state, as it was when the connection was new."""

    encoding: str
    cursor_factory: Any
    isolation_level: int | None
    readonly: bool | None
    deferrable: bool | None
    string_types: dict[int, Any]
    binary_types: dict[int, Any]


@dataclass(frozen=True)
class ServerSide:
    """What ``on_connect`` left on the server: ``restore`` is appended to a reset; not ``restorable``: close instead."""

    restore: str = ""
    restorable: bool = True


class Session:
    """A psycopg2 connection, a duplicate of its socket, its baseline and its deadline.

    The socket is duplicated because a descriptor's number is reused once psycopg2 closes its own: the poll object and
    ``shutdown`` need one that only the pool closes. ``shutdown`` on it is the only thing that frees a thread from a
    server that does not answer: ``cancel()`` holds the GIL meanwhile, ``close()`` from another thread blocks.

    ``deadline`` is the monotonic time at which the statement under way must have ended, 0.0 when there is none.
    ``cut`` says why the pool itself shut the socket down, if it did.
    """

    __slots__ = (
        "_duplicate",
        "backend_pid",
        "client_side",
        "cut",
        "deadline",
        "poll",
        "pooled_by",
        "query_timeout",
        "raw",
        "server_side",
    )

    def __init__(self, raw: Any, query_timeout: int, pooled_by: str | None) -> None:
        self.raw = raw
        self._duplicate = socket.socket(fileno=os.dup(raw.fileno()))
        poller = select.poll()
        poller.register(self._duplicate.fileno(), select.POLLIN)
        self.poll: Callable[[int], Any] = poller.poll
        self.deadline = 0.0
        self.cut = ""
        self.query_timeout = query_timeout
        self.pooled_by = pooled_by
        self.backend_pid = raw.info.backend_pid
        self.client_side: ClientSide | None = None
        self.server_side = ServerSide()

    def __repr__(self) -> str:
        return f"<Session backend {self.backend_pid}>"

    @property
    def lost(self) -> bool:
        return bool(self.raw.closed) or bool(self.cut)

    @property
    def closed_by_user(self) -> bool:
        return self.raw.closed == 1 and not self.cut  # psycopg2 says 2 where the connection broke

    @property
    def in_transaction(self) -> bool:
        return self.raw.get_transaction_status() in IN_TRANSACTION

    def execute(self, text: Any, params: Any, limit: float) -> Any:
        """Send one message and wait at most ``limit`` seconds (0: without limit) for the whole answer; returns the cursor.

        Raises what psycopg2 raises.
        """
        cursor = extensions.cursor(self.raw)
        if limit:
            self.deadline = monotonic() + limit
        try:
            cursor.execute(text, params)
        finally:
            self.deadline = 0.0
        return cursor

    def within(self, limit: float) -> Within:
        """The same limit around calls of psycopg2 that are not ``execute``."""
        return Within(self, limit)

    def hung_up(self) -> bool:
        """Whether the server has hung up, asked when the socket is readable: a NOTIFY is no hang-up.

        psycopg2 reads what is there (also under TLS, where the bytes mean nothing to us) and raises at the end of the
        stream. A FATAL that arrives before the end shows up as a notice.
        """
        notices = len(self.raw.notices)
        try:
            for _ in range(1000):
                if not self.poll(0):
                    break
                extensions.connection.poll(self.raw)
        except psycopg2.Error:
            return True
        return len(self.raw.notices) > notices and not self.answers(1.0)

    def answers(self, limit: float) -> bool:
        """Ask the server for a sign of life, for at most ``limit`` seconds."""
        try:
            self.execute("SELECT 1", None, limit)
        except psycopg2.Error:
            return False
        return True

    def shut_down(self, why: str) -> None:
        """Free whoever waits for this server; called from another thread, never blocks."""
        self.cut = why
        with suppress(OSError):  # the other end was faster
            self._duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye and close; never raises. Only the thread that has the session to itself may call it."""
        with suppress(psycopg2.Error):
            extensions.connection.close(self.raw)

    def let_go(self) -> None:
        """Close the duplicate too: only where no other thread can be about to ``shut_down``."""
        self._duplicate.close()

    def end(self) -> None:
        """Close it whole, where nobody watches it."""
        self.close()
        self.let_go()

    def __del__(self) -> None:
        with suppress(AttributeError):  # never whole
            self._duplicate.close()

    def abandon(self) -> None:
        """In the child of a fork: put /dev/null over the parent's socket, so that nothing can ever be sent on it."""
        with suppress(OSError):
            theirs = self._duplicate.fileno()
            # a number that psycopg2 closed already may belong to a file of the application by now
            same = [number for number in (_number(self.raw), theirs) if _is_same_socket(number, theirs)]
            _cover(same)


class Within:
    """``with session.within(limit)``."""

    __slots__ = ("_limit", "_session")

    def __init__(self, session: Session, limit: float) -> None:
        self._session = session
        self._limit = limit

    def __enter__(self) -> None:
        if self._limit:
            self._session.deadline = monotonic() + self._limit

    def __exit__(self, *error: Any) -> None:
        self._session.deadline = 0.0


def abandon_nameless() -> None:
    """In the child of a fork: the same for sockets that psycopg2 was just connecting, which no session knows yet.

    They are told by the ``tcp_user_timeout`` of the pool's own, which is set before a socket connects.
    """
    if not os.path.isdir("/proc/self/fd") or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            if copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == TCP_USER_TIMEOUT:
                _cover([number])


def _is_same_socket(number: int, other: int) -> bool:
    if number < 0:
        return False
    seen = os.fstat(number)
    return stat.S_ISSOCK(seen.st_mode) and seen.st_ino == os.fstat(other).st_ino


def _cover(numbers: list[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)


def _number(raw: Any) -> int:
    try:
        return int(extensions.connection.fileno(raw))
    except psycopg2.Error:
        return -1
