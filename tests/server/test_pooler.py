"""``pooler: "transaction"``: nothing is said that a pooler in transaction mode would break.

The server itself stands behind the wire; what a session is told here would reach somebody else's there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from tests.usage import Wire

pytestmark = pytest.mark.contract("7.p2.1")


@pytest.fixture
def pool(make_pool: Callable[..., Any], wire: Wire) -> Any:
    """Behind the wire, which has been asked nothing yet."""
    pool = make_pool(wire.config({"connection_count": 1, "settings": {}}, pooler="transaction"))
    pool.query("SELECT 1")
    wire.queries()
    return pool


def test_nothing_is_set_and_nothing_reset(pool: Any, wire: Wire) -> None:
    """Neither a limit of its own nor what a statement left behind costs a message of the pool's."""
    assert pool.query("SELECT 1", query_timeout=1000).scalar() == 1
    pool.query("SELECT set_config('work_mem', '1MB', true)")
    assert pool.query("SELECT 2").scalar() == 2
    assert wire.queries() == ["SELECT 1", "SELECT set_config('work_mem', '1MB', true)", "SELECT 2"]


def test_a_statement_of_a_session_is_refused(pool: Any) -> None:
    """SET, PREPARE, LISTEN and their like raise in a handler too and say why; a transaction's own SET LOCAL runs."""
    with pool.handler() as db:
        for text in ("SET work_mem = '1MB'", "PREPARE p AS SELECT 1", "LISTEN channel"):
            with pytest.raises(pgdbpool.PoolError, match="behind a transaction pooler there is no session"):
                db.query(text)
    with pool.transaction() as db:
        assert db.query("SELECT 1").scalar() == 1


def test_read_only_takes_a_transaction(pool: Any, wire: Wire) -> None:
    """A read-only handler in autocommit would need the session's default: it raises; a transaction is READ ONLY."""
    with pool.handler(read_only=True) as db, pytest.raises(pgdbpool.PoolError, match=r"transaction\(read_only=True\)"):
        db.query("SELECT 1")
    with pool.transaction(read_only=True) as db:
        assert db.query("SHOW transaction_read_only").scalar() == "on"
    assert wire.queries() == ["BEGIN READ ONLY;\nSHOW transaction_read_only", "COMMIT"]
