"""The default pool: the one that ``pgdbpool.init`` made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbpool.errors import PoolClosed

__all__ = ["default_pool", "set_default_pool"]

if TYPE_CHECKING:
    from pgdbpool.facade import Pool

_pool: Pool | None = None


def default_pool() -> Pool:
    """Raises ``PoolClosed`` before ``init``."""
    if _pool is None:
        raise PoolClosed("there is no pool yet: call pgdbpool.init(config) first, for instance at the top of wsgi.py")
    return _pool


def set_default_pool(pool: Pool | None) -> Pool | None:
    """Make it the default; returns the one before."""
    global _pool
    before, _pool = _pool, pool
    return before
