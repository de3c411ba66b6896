"""The default pool: the one that ``pgdbpool.init`` made."""

from __future__ import annotations

from typing import Any

from pgdbpool.errors import PoolClosed

__all__ = ["default_pool", "set_default_pool"]

_pool: Any = None


def default_pool() -> Any:
    """Raises ``PoolClosed`` before ``init``."""
    if _pool is None:
        raise PoolClosed("there is no pool yet: call pgdbpool.init(config) first, for instance at the top of wsgi.py")
    return _pool


def set_default_pool(pool: Any) -> Any:
    """Make it the default; returns the one before."""
    global _pool
    before, _pool = _pool, pool
    return before
