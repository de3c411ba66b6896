"""What scripts try things with: calls whose errors are kept, several at once, within a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.faults.client.peers import rows

__all__ = ["HUNG", "Outcome", "at_once", "by_admin", "driver_of", "in_thread", "said", "tried", "use"]


class Outcome(NamedTuple):
    """What one call came to."""

    value: Any
    error: BaseException | None
    seconds: float = 0.0


HUNG = Outcome(None, TimeoutError("it hangs"))


def tried(work: Callable[..., Any], *args: Any) -> Outcome:
    began, value, error = time.monotonic(), None, None
    try:
        value = work(*args)
    except Exception as raised:
        error = raised
    return Outcome(value, error, time.monotonic() - began)


class in_thread:
    """``work`` in a thread of its own."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self._outcome = HUNG
        self._thread = threading.Thread(target=self._run, args=(work, *args), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[..., Any], *args: Any) -> None:
        self._outcome = tried(work, *args)

    def outcome(self, seconds: float) -> Outcome:
        """``HUNG`` if it still runs after so long."""
        self._thread.join(max(0.0, seconds))
        return self._outcome


def at_once(count: int, work: Callable[[int], Any], seconds: float) -> list[Outcome]:
    """``work(0)`` to ``work(count - 1)``, each in a thread of its own."""
    limit, threads = time.monotonic() + seconds, [in_thread(work, number) for number in range(count)]
    return [each.outcome(limit - time.monotonic()) for each in threads]


def said(error: BaseException | None, silent: str = "silent") -> str:
    """An error in a few words."""
    return silent if error is None else f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"


def driver_of(connection: Any) -> Any:
    """The driver's connection: of SQLAlchemy's wrapper, of a handler of 1.0.2, or what it is."""
    inner = getattr(connection, "driver_connection", None) or getattr(connection, "conn_ref", None)
    return connection if inner is None else inner


def use(taken: Any, text: str) -> list[Any]:
    """One statement on what ``Peer.take`` gave."""
    return rows(getattr(taken, "conn_ref", taken), text)


def by_admin(admin: dict[str, Any], text: str, params: Any = None) -> list[Any]:
    """One statement as the superuser, on a connection of its own."""
    import psycopg2

    connection = psycopg2.connect(**admin)
    try:
        connection.autocommit = True
        return rows(connection, text, params)
    finally:
        connection.close()
