"""The default pool: the one that ``pgdbpool.init`` made."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from pgdbpool.engine.owners import present_owner
from pgdbpool.errors import PoolClosed

# Guards _pool while it is exchanged, so that of two `init` at once each closes the one that it replaced, and _former.
# Forbidden under it: making or closing a pool.
_lock = threading.Lock()
_pool: Any = None
_former: weakref.WeakSet[Any] = weakref.WeakSet()  # pools that were the default


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # whoever held it is not here


os.register_at_fork(after_in_child=_after_fork_in_child)


def default_pool() -> Any:
    """The pool that ``init`` made last, or the one before where this thread is inside a transaction of it.

    Raises ``PoolClosed`` before ``init``.
    """
    for desk, transaction in present_owner().transactions.items():
        if desk.pool.was_default and transaction() is not None:
            return desk.pool
    if _pool is None:
        raise PoolClosed("there is no pool yet: call pgdbpool.init(config) first, for instance at the top of wsgi.py")
    return _pool


def make_default(pool: Any) -> None:
    """The one before closes, beside the requests, when those that have it are done."""
    global _pool
    pool.was_default = True
    with _lock:
        before, _pool = _pool, pool
        if before is not None:
            _former.add(before)
    if before is not None:
        before.close_in_background()


def lender_of(raw: Any) -> Any:
    """The pool to put it back into: one that was the default when it was lent, else the default."""
    with _lock:
        former = list(_former)
    return next((pool for pool in former if pool.has_lent(raw)), None) or default_pool()
