"""One server connection: psycopg2's connection and what the pool must know about it."""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.config import EndpointOptions
from pgdbpool.driver.place import peer

TCP_USER_TIMEOUT = 15_000  # milliseconds
_MOMENT = 3.0  # seconds for a question of the pool's own

_IDLE = extensions.TRANSACTION_STATUS_IDLE
_OPEN = extensions.TRANSACTION_STATUS_INTRANS
_FAILED = extensions.TRANSACTION_STATUS_INERROR


# The server's statement_timeout goes first; the pool's own limit is for a server that does not answer at all. Together
# with the Watch's tick it stays below the one second that is promised on top of query_timeout.
_GRACE = 0.6


def limit_of(query_timeout: int) -> float:
    """Seconds that a whole answer may take, for a ``query_timeout`` in milliseconds; 0 for no limit."""
    return query_timeout / 1000 + _GRACE if query_timeout else 0.0


class Refused(Exception):
    """The server has rejected what the pool itself asked, for the reason ``pgcode``; the session goes on."""

    def __init__(self, error: psycopg2.Error) -> None:
        super().__init__(str(error).partition("\n")[0])
        self.pgcode = error.pgcode


class Session:
    """A psycopg2 connection, a duplicate of its socket, its baseline and its deadline.

    The socket is duplicated because a descriptor's number is reused once psycopg2 closes its own: the poll object and
    ``shutdown`` need one that only the pool closes. ``shutdown`` on it is the only thing that frees a thread from a
    server that does not answer: ``cancel()`` holds the GIL meanwhile, ``close()`` from another thread blocks.

    ``deadline`` is the monotonic time at which the statement under way must have ended, 0.0 when there is none.
    ``cut`` says why the pool itself shut the socket down, if it did. ``client_side`` is psycopg2's half of the state, as
    it was when the connection was new; ``restore`` is appended to a reset, to bring back what ``on_connect`` left on the
    server, and None where no statement can.
    """

    def __init__(self, raw: Any, endpoint: EndpointOptions, query_timeout: int) -> None:
        self.raw = raw
        self.label = endpoint.label
        self.query_timeout = query_timeout
        self.limit = limit_of(query_timeout)
        self._duplicate = socket.socket(fileno=os.dup(raw.fileno()))
        self.peer = peer(self._duplicate)
        poller = select.poll()
        poller.register(self._duplicate.fileno(), select.POLLIN)
        self.poll: Callable[[int], Any] = poller.poll
        self.deadline = 0.0
        self.takes_time = False  # what is asked is no probe, and says nothing of the server when it takes long
        self.cut, self.cut_at = "", 0.0
        self.pooled_by = endpoint.pooler
        self.backend_pid = raw.info.backend_pid
        self.in_recovery = False  # as far as the server has reported
        self.read_only = False  # whether its transactions are so unless they say otherwise; before on_connect
        self.client_side: dict[str, Any] = {}
        self.took: Callable[[float], Any] = float  # told of each statement's seconds; which does nothing
        self.restore: str | None = ""

    def __repr__(self) -> str:
        return f"<Session backend {self.backend_pid}>"

    @property
    def lost(self) -> bool:
        return bool(self.raw.closed) or bool(self.cut)

    @property
    def closed_by_user(self) -> bool:
        return self.raw.closed == 1 and not self.cut  # psycopg2 says 2 where the connection broke

    # The transaction's state is the server's own word, which libpq keeps; each is false when the connection is gone.

    @property
    def idle(self) -> bool:
        return bool(self.raw.get_transaction_status() == _IDLE)

    @property
    def in_transaction(self) -> bool:
        return self.raw.get_transaction_status() in (_OPEN, _FAILED)

    @property
    def failed(self) -> bool:
        return bool(self.raw.get_transaction_status() == _FAILED)

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

    def run(self, text: Any, params: Any, limit: float) -> Any:
        """``execute`` of what a user says, which is timed."""
        began = monotonic()
        try:
            return self.execute(text, params, limit)
        finally:
            self.took(monotonic() - began)

    def ask(self, text: str, params: Any, limit: float) -> list[tuple[Any, ...]]:
        """The rows of a question of the pool's own. Raises ``Refused``, or psycopg2's error where the session is lost."""
        try:
            return self.execute(text, params, limit).fetchall()  # type: ignore[no-any-return]
        except psycopg2.Error as error:
            if self.lost:
                raise
            raise Refused(error) from error

    def within(self, limit: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The same limit around a call of psycopg2 that is not ``execute``."""
        if limit:
            self.deadline = monotonic() + limit
        try:
            return call(*args, **kwargs)
        finally:
            self.deadline = 0.0

    def ask_role(self, limit: float) -> None:
        """Whether its server is a standby, and whether its sessions are read-only by default."""
        (self.in_recovery,) = self.execute("SELECT pg_catalog.pg_is_in_recovery()", None, limit).fetchone()
        self.note_read_only()

    def note_role(self) -> None:
        """The same as the server reports it of itself (since PostgreSQL 14); a pooler may keep that to itself."""
        reported = self._reported()
        if reported is None:
            self.ask_role(_MOMENT)
        self.in_recovery = self.in_recovery or reported == "on"
        self.note_read_only()

    def _reported(self) -> str | None:
        """A pooler reports what its first connection was told, and goes on with that after a promotion."""
        reported = self.raw.get_parameter_status("in_hot_standby") if self.pooled_by is None else None
        return None if reported is None else str(reported)

    def note_read_only(self) -> None:
        """Whether its transactions are read-only by default, as the server reports it."""
        self.read_only = self.raw.get_parameter_status("default_transaction_read_only") == "on"

    def changed_role(self) -> bool:
        """Whether the last answer brought the news of a promotion, which ``in_recovery`` then tells."""
        reported = self._reported()
        if reported is None or (reported == "on") is self.in_recovery:
            return False
        self.in_recovery = not self.in_recovery
        return True

    def reports_recovery(self) -> bool:
        """Whether its server was a standby at its last answer."""
        reported = None if self.raw.closed else self._reported()
        return self.in_recovery if reported is None else bool(reported == "on")

    def has_news(self) -> bool:
        """Whether there is something to read; from any thread (``poll`` is for the one that has the session)."""
        poller = select.poll()
        with suppress(OSError, ValueError):  # it was closed
            poller.register(self._duplicate.fileno(), select.POLLIN)
            return bool(poller.poll(0))
        return True

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
        self.cut, self.cut_at = why, monotonic()
        with suppress(OSError):  # the other end was faster
            self._duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye and close; never raises. Only the thread that has the session to itself may call it."""
        if self.raw.get_transaction_status() == extensions.TRANSACTION_STATUS_ACTIVE:
            self.shut_down("it was closed")  # a thread is inside still; psycopg2's close() would wait for it
        with suppress(psycopg2.Error):
            extensions.connection.close(self.raw)

    def let_go(self, *, reset: bool = False) -> None:
        """Close the duplicate too: only where no other thread can be about to ``shut_down``.

        ``reset``: by RST, which is sent once, so only where the server can hear it. One that heard of nothing while the
        network was silent would keep the session and its locks until the kernel sends its FIN again: as much later as the
        silence was long.
        """
        if reset:
            with suppress(OSError):  # macOS: the socket was shut down
                self._duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
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
        ours = self._duplicate.fileno()
        with suppress(OSError, psycopg2.Error):  # a number that psycopg2 closed may belong to a file of the application
            number = extensions.connection.fileno(self.raw)
            if os.path.sameopenfile(number, ours) and stat.S_ISSOCK(os.fstat(number).st_mode):
                _cover(number)
        with suppress(OSError):
            _cover(ours)


def abandon_nameless() -> None:
    """In the child of a fork: the same for sockets that psycopg2 was just connecting, which no session knows yet.

    They are told by the ``tcp_user_timeout`` of the pool's own, which is set before a socket connects.
    """
    if not os.path.isdir("/proc/self/fd") or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            if copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == TCP_USER_TIMEOUT:
                _cover(number)


def _cover(number: int) -> None:
    with open(os.devnull, "r+b", buffering=0) as null:
        os.dup2(null.fileno(), number)
