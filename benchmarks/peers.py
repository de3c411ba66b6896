"""The contestants, each set up as its documentation says, all in autocommit and with the same number of connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg_pool
from psycopg2 import extensions
from psycopg2.pool import ThreadedConnectionPool
from sqlalchemy.pool import QueuePool

import pgdbpool

__all__ = ["dedicated", "our_pool", "psycopg2_pool", "psycopg3_pool", "sqlalchemy_pool"]

_READY = 30.0  # seconds


class _Autocommit(extensions.connection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.autocommit = True


@contextmanager
def our_pool(dsn: str, connections: int) -> Iterator[pgdbpool.Pool]:
    """pgdbpool with its defaults, and all of its connections open."""
    group = {"connection_count": connections, "min_connections": connections}
    with pgdbpool.Pool({"db": {"dsn": dsn}, "groups": {"bench": group}}, wait=_READY) as pool:
        yield pool


@contextmanager
def psycopg2_pool(dsn: str, connections: int) -> Iterator[tuple[ThreadedConnectionPool, threading.Semaphore]]:
    """psycopg2's own pool raises where it should wait, hence the semaphore. It checks no connection."""
    pool = ThreadedConnectionPool(connections, connections, dsn, connection_factory=_Autocommit)
    try:
        yield pool, threading.Semaphore(connections)
    finally:
        pool.closeall()


@contextmanager
def psycopg3_pool(dsn: str, connections: int, *, check: bool = False) -> Iterator[psycopg_pool.ConnectionPool]:
    """psycopg_pool, over psycopg 3's C implementation. It checks no connection unless asked to."""
    sizes, options = {"min_size": connections, "max_size": connections}, {"autocommit": True}
    checks = psycopg_pool.ConnectionPool.check_connection if check else None
    with psycopg_pool.ConnectionPool(dsn, **sizes, kwargs=options, check=checks, open=True) as pool:
        pool.wait(_READY)
        yield pool


@contextmanager
def sqlalchemy_pool(dsn: str, connections: int) -> Iterator[QueuePool]:
    """SQLAlchemy's pool without the rest of it, over psycopg2. It checks no connection unless asked to."""
    pool = QueuePool(lambda: _connect(dsn), pool_size=connections, max_overflow=0)
    try:
        for each in [pool.connect() for _ in range(connections)]:
            each.close()
        yield pool
    finally:
        pool.dispose()


@contextmanager
def dedicated(dsn: str, connections: int) -> Iterator[list[Any]]:
    """No pool: psycopg2 connections, one for each thread."""
    found = [_connect(dsn) for _ in range(connections)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


def _connect(dsn: str) -> Any:
    return psycopg2.connect(dsn, connection_factory=_Autocommit)
