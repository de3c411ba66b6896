"""Attempts to reach a server that is away: libpq's, and the pool's bare handshakes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import psycopg2

from pgdbpool.driver import place

__all__ = ["Attempts", "attempts"]


@dataclass
class Attempts:
    """Monotonic times. ``failed``: by port, each ``psycopg2.connect`` that raised; ``knocked``: by label, each handshake."""

    failed: dict[int, list[float]] = field(default_factory=dict)
    knocked: dict[str, list[float]] = field(default_factory=dict)


@contextmanager
def attempts() -> Iterator[Attempts]:
    """Those of this whole process while the block lasts; all of them are made."""
    seen, connect = Attempts(), psycopg2.connect

    def noted_connect(*args: Any, **words: Any) -> Any:
        began = time.monotonic()
        try:
            return connect(*args, **words)
        except psycopg2.OperationalError:
            seen.failed.setdefault(int(words["port"]), []).append(began)
            raise

    def noted_knock(options: Any) -> bool:
        seen.knocked.setdefault(options.label, []).append(time.monotonic())
        return place.listens(options)

    with patch.object(psycopg2, "connect", noted_connect), patch("pgdbpool.engine.endpoint.listens", noted_knock):
        yield seen
