"""Every attempt to connect that failed in this process, whoever made it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["FAILED", "note_attempts"]

FAILED: list[float] = []  # monotonic times


def note_attempts() -> None:
    """From now on; before anybody imports the drivers' connect by name. psycopg 3 is noted where it is installed."""
    import psycopg2

    psycopg2.connect = _noting(psycopg2.connect)
    try:
        import psycopg
    except ImportError:
        return
    psycopg.Connection.connect = _noting(psycopg.Connection.connect)  # type: ignore[method-assign]


def _noting(connect: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*args: Any, **words: Any) -> Any:
        began = time.monotonic()
        try:
            return connect(*args, **words)
        except Exception:
            FAILED.append(began)
            raise

    return noted
