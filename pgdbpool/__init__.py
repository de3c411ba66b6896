"""An in-process PostgreSQL connection de-multiplexer for threaded Python web servers.

``init(config)`` makes the default pool; the functions here work on it. Each exists as a method of ``Pool`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from pgdbpool.access.handler import Handler
from pgdbpool.access.results import Result
from pgdbpool.access.rows import Row
from pgdbpool.engine.current import default_pool, lender_of, make_default
from pgdbpool.errors import (
    ConfigError,
    DBConnectionError,
    DBOfflineError,
    DBQueryError,
    InDoubt,
    NestedCheckout,
    NoRow,
    PoolClosed,
    PoolError,
    PoolTimeout,
    TooManyRequests,
    TooManyRows,
    UnconfiguredGroupError,
)
from pgdbpool.facade import Pool

if TYPE_CHECKING:
    from pgdbpool.access.foreign import Borrowed
    from pgdbpool.access.handler import Transaction
    from pgdbpool.access.tokens import Seeing

__all__ = [
    "ConfigError",
    "Connection",
    "DBConnectionError",
    "DBOfflineError",
    "DBQueryError",
    "Handler",
    "InDoubt",
    "NestedCheckout",
    "NoRow",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolTimeout",
    "Result",
    "Row",
    "TooManyRequests",
    "TooManyRows",
    "UnconfiguredGroupError",
    "causal",
    "causal_token",
    "check",
    "close",
    "closeall",
    "connection",
    "drain",
    "explain",
    "getconn",
    "init",
    "putconn",
    "query",
    "resize",
    "resume",
    "run",
    "stats",
    "transaction",
]


def _pool() -> Pool:
    pool: Pool = default_pool()
    return pool


def init(config: Any, *, wait: float | None = None) -> Pool:
    """Make the default pool, which the functions of this module and ``Handler`` work on.

    Called again, the new pool takes over and the old one closes gracefully in the background. ``wait=seconds``: return
    when every group has its minimum, and at least one connection, or raise ``PoolTimeout``. Raises ``ConfigError`` with
    every problem of the dict; the pool that was there then stays.
    """
    pool = Pool(config, wait=wait)
    make_default(pool)
    return pool


def query(
    sql: Any,
    params: Any = None,
    *,
    group: str | None = None,
    read_only: bool | None = None,
    timeout: float | None = None,
    query_timeout: int | None = None,
) -> Result:
    """``Pool.query`` of the default pool."""
    return _pool().query(sql, params, group=group, read_only=read_only, timeout=timeout, query_timeout=query_timeout)


def transaction(
    group: str | None = None,
    *,
    read_only: bool = False,
    isolation: str | None = None,
    timeout: float | None = None,
    query_timeout: int | None = None,
    track: bool = False,
) -> Transaction:
    """``Pool.transaction`` of the default pool."""
    return _pool().transaction(
        group, read_only=read_only, isolation=isolation, timeout=timeout, query_timeout=query_timeout, track=track
    )


def run(
    fn: Callable[..., Any],
    *args: Any,
    group: str | None = None,
    read_only: bool = False,
    isolation: str | None = None,
    retries: int = 3,
    timeout: float | None = None,
    track: bool = True,
    **kwargs: Any,
) -> Any:
    """``Pool.run`` of the default pool."""
    return _pool().run(
        fn,
        *args,
        group=group,
        read_only=read_only,
        isolation=isolation,
        retries=retries,
        timeout=timeout,
        track=track,
        **kwargs,
    )


def causal_token() -> str | None:
    """``Pool.causal_token`` of the default pool."""
    return _pool().causal_token()


def causal(token: str | None) -> Seeing:
    """``Pool.causal`` of the default pool."""
    return _pool().causal(token)


def connection(group: str | None = None, *, read_only: bool = False, timeout: float | None = None) -> Borrowed:
    """``Pool.connection`` of the default pool."""
    return _pool().connection(group, read_only=read_only, timeout=timeout)


def getconn(key: Hashable = None, *, group: str | None = None, timeout: float | None = None) -> Any:
    """``Pool.getconn`` of the default pool."""
    return _pool().getconn(key, group=group, timeout=timeout)


def putconn(conn: Any, key: Hashable = None, close: bool = False) -> None:
    """``Pool.putconn`` of the default pool, or of the one before that lent it."""
    lender_of(conn).putconn(conn, key, close)


def stats() -> dict[str, Any]:
    """``Pool.stats`` of the default pool."""
    return _pool().stats()


def explain(workers: int | None = None) -> str:
    """``Pool.explain`` of the default pool."""
    return _pool().explain(workers)


def check() -> dict[str, dict[str, Any]]:
    """``Pool.check`` of the default pool."""
    return _pool().check()


def resize(group: str, connection_count: int) -> None:
    """``Pool.resize`` of the default pool."""
    _pool().resize(group, connection_count)


def drain(label: str) -> None:
    """``Pool.drain`` of the default pool."""
    _pool().drain(label)


def resume(label: str) -> None:
    """``Pool.resume`` of the default pool."""
    _pool().resume(label)


def close(timeout: float = 5) -> None:
    """``Pool.close`` of the default pool."""
    _pool().close(timeout)


def closeall() -> None:
    """``Pool.closeall`` of the default pool."""
    _pool().closeall()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pgdbpool")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


from pgdbpool.pool import Connection  # noqa: E402  (it needs init)
