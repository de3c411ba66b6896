"""What ``query`` and its kin are given that cannot be, and answers that Python has no value for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pgdbpool
from tests.servers import Server
from tests.usage import TABLE, each_call, fresh_table, rows_of


@pytest.mark.parametrize("timeout", [-1, -0.5, "5", float("nan")], ids=repr)
def test_a_timeout_is_a_number_of_seconds(make_pool: Callable[..., Any], timeout: Any) -> None:
    """A wait that is no number, or less than none, is refused before a connection is taken."""
    pool = make_pool()
    for ask in (lambda: pool.query("SELECT 1", timeout=timeout), lambda: pool.handler(timeout=timeout).__enter__()):
        with pytest.raises(ValueError, match=r"timeout is .*number of seconds"):
            ask()
    assert pool.stats()["groups"]["web"]["checkouts"] == 0


@pytest.mark.parametrize("limit", [-1, 1.5, "1000"], ids=repr)
def test_a_query_timeout_is_a_whole_number_of_milliseconds(make_pool: Callable[..., Any], limit: Any) -> None:
    """A limit of an answer that is none is refused, by the pool as by a handler; the connection works on."""
    pool = make_pool(connection_count=1)
    for ask in (
        lambda: pool.query("SELECT 1", query_timeout=limit),
        lambda: pool.handler(query_timeout=limit),
        lambda: pool.transaction(query_timeout=limit).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"query_timeout is .*whole number of milliseconds"):
            ask()
    assert pool.query("SELECT 1").scalar() == 1


@pytest.mark.contract("7.p1.5")
@pytest.mark.parametrize("way", ["query", "handler", "transaction"])
def test_an_answer_that_cannot_be_read(make_pool: Callable[..., Any], way: str) -> None:
    """A date that Python cannot hold is a ``DBQueryError`` that says that the statement was executed."""
    ask = each_call(make_pool(connection_count=1))[way]
    with pytest.raises(pgdbpool.DBQueryError, match=r"was executed, but its answer cannot be read.*year") as caught:
        ask("SELECT '0044-03-15 BC'::date")
    assert isinstance(caught.value, ValueError)
    assert ask("SELECT 1").scalar() == 1


def test_a_write_whose_answer_cannot_be_read_stays(make_pool: Callable[..., Any], server: Server) -> None:
    """Nothing of it is undone or done again."""
    fresh_table(server, TABLE, "id serial, at date")
    with pytest.raises(pgdbpool.DBQueryError, match="was executed"):
        make_pool().query(f"INSERT INTO {TABLE} (at) VALUES ('0044-03-15 BC') RETURNING at")
    assert rows_of(server, TABLE) == [1]
