"""``run``: a function in a transaction, and the whole of it again where that is known to be safe."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import sleep
from typing import Any

import psycopg2

from pgdbpool.access.desk import Desk
from pgdbpool.access.handler import Transaction
from pgdbpool.engine.owners import open_transaction, present_owner
from pgdbpool.errors import DBConnectionError, DBOfflineError, DBQueryError, PoolError

_AGAIN = ("40001", "40P01")  # serialization_failure, deadlock_detected (PostgreSQL manual, 13.5)


def run(desk: Desk, transaction: Transaction, retries: int, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``fn(db, *args, **kwargs)`` in a transaction; at most ``retries`` times more after an error that left nothing behind."""
    if open_transaction(present_owner(), desk) is not None:
        raise PoolError("run() inside a transaction: it could not run the whole of it again; call the function itself")
    if retries < 0:
        raise ValueError(f"retries is {retries}; it must be 0 or more")
    for attempt in range(retries + 1):
        db = None
        try:
            with transaction as db:
                return fn(db, *args, **kwargs)
        except (DBQueryError, psycopg2.Error) as error:
            if attempt == retries or not _left_nothing(error, db is not None and db.dialogue.session.lost):
                raise
        sleep(random.uniform(0.5, 1.0) * min(0.01 * 2**attempt, 0.5))  # two that collided must not meet again in step
    raise AssertionError("unreachable")  # pragma: no cover (the last attempt returns or raises; mypy wants an end)


def _left_nothing(error: BaseException, lost: bool) -> bool:
    if isinstance(error, PoolError):
        return isinstance(error, DBConnectionError) and not isinstance(error, DBOfflineError)  # that one has waited
    return lost or getattr(error, "pgcode", None) in _AGAIN
