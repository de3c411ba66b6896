"""What names in a text stand for is learned from the catalog, off the request path, and learned again (contract §5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import pgdbpool
from pgdbpool.engine import catalog
from tests.routing.corpus import Case
from tests.routing.judge import session
from tests.routing.where import Wired
from tests.servers import eventually
from tests.several import Replicas

STANDBYS = [("standby1",), ("standby2",)]
CHANGING = Case("SELECT changing()")


@pytest.fixture
def wired(home: Replicas) -> Iterator[Wired]:
    """A pool that knows no name yet, and a function that changes from test to test."""
    define(home, "STABLE")
    home.caught_up()
    with Wired(home) as made:
        yield made


def defined(volatility: str) -> str:
    return f"CREATE OR REPLACE FUNCTION web.changing() RETURNS int {volatility} LANGUAGE plpgsql AS 'BEGIN RETURN touch(); END'"


def define(home: Replicas, volatility: str) -> None:
    """As somebody else than the pool."""
    with closing(session(home.primary)) as other, other.cursor() as cursor:
        cursor.execute(defined(volatility))


def test_names_are_learned_off_the_request_path(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with unknown names goes to the primary, and to standbys as soon as a monitor has asked what they mean."""
    asked, meanings = [], catalog.meanings

    def spied(*args: Any) -> Any:
        asked.append(threading.current_thread().name)
        return meanings(*args)

    monkeypatch.setattr(catalog, "meanings", spied)
    case = Case("SELECT name, price_of(id) FROM cheaper")
    assert wired.send(case).servers == ("primary",)
    assert eventually(lambda: wired.send(case).servers in STANDBYS)
    assert set(asked) == {"pgdbpool-monitor-primary"}


def by_query(pool: Any, text: str) -> None:
    pool.query(text)


def by_text_of_several(pool: Any, text: str) -> None:
    pool.query("SELECT 1; " + text)


def by_transaction(pool: Any, text: str) -> None:
    with pool.transaction() as db:
        db.query(text)


def by_handler(pool: Any, text: str) -> None:
    with pool.handler() as db:
        db.query(text)


@pytest.mark.parametrize("way", [by_query, by_text_of_several, by_transaction, by_handler])
def test_what_the_pool_itself_changes(wired: Wired, way: Any) -> None:
    """The first statement after a DDL statement, whichever way that came, knows no name of before."""
    wired.learn([CHANGING])
    assert wired.send(CHANGING).servers in STANDBYS
    way(wired.pool, defined("VOLATILE"))
    assert wired.send(CHANGING).servers == ("primary",)
    wired.learn([CHANGING])
    assert wired.send(CHANGING).servers == ("primary",)


def test_a_change_that_is_not_committed_yet(wired: Wired) -> None:
    """What is learned while a DDL statement's transaction is open is learned again when it is over."""
    wired.learn([CHANGING])
    with wired.pool.transaction() as db:
        db.query(defined("VOLATILE"))
        wired.learn([CHANGING])
        assert wired.send(CHANGING).servers in STANDBYS
    assert wired.send(CHANGING).servers == ("primary",)


def test_what_somebody_else_changes(home: Replicas, wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is learned again within a minute, without a statement that asks for it."""
    assert catalog._FRESH <= 60
    monkeypatch.setattr(catalog, "_FRESH", 0.2)
    wired.learn([CHANGING])
    assert wired.send(CHANGING).servers in STANDBYS
    define(home, "VOLATILE")
    assert eventually(lambda: wired.send(CHANGING).servers == ("primary",))
    define(home, "IMMUTABLE")
    assert eventually(lambda: wired.send(CHANGING).servers in STANDBYS)


def test_one_name_in_two_schemas(home: Replicas) -> None:
    """A stable and a volatile function of one name: only who says which may have it run on a standby."""
    with Wired(home, {"settings": {"search_path": "a, web"}}) as wired:
        cases = [
            Case(text)
            for text in ("SELECT a.report()", 'SELECT "a"."report"()', "SELECT b.report()", "SELECT report()")
        ]
        wired.learn(cases)
        where = [wired.send(case).servers in STANDBYS for case in cases]
    assert where == [True, True, False, False]


@pytest.mark.contract("3.group.standby_functions.1")
def test_functions_that_the_user_vouches_for(home: Replicas) -> None:
    """A volatile function that is named in ``standby_functions`` runs on a standby, and no other does."""
    expected = {
        "SELECT touch()": True,
        "SELECT web.touch()": True,
        "SELECT touch(), b.report()": True,
        "SELECT touch_rows(1)": False,
        "SELECT report()": False,
        "SELECT pg_advisory_lock(1)": False,
    }
    with Wired(home, {"standby_functions": ("touch", "b.report")}) as wired:
        cases = [Case(text) for text in expected]
        wired.learn(cases)
        where = {case.text: wired.send(case).servers in STANDBYS for case in cases}
    assert where == expected


@pytest.mark.contract("5.target-auto.5")
def test_the_callers_promise_comes_first(wired: Wired) -> None:
    """``read_only=True`` sends a volatile function to a standby, ``False`` keeps a plain read from it."""
    read = Case("SELECT 1 AS promised")
    wired.learn([read])
    assert wired.send(read).servers in STANDBYS
    assert wired.send(read, read_only=False).servers == ("primary",)
    assert wired.send(CHANGING, read_only=True).servers in STANDBYS


def test_who_has_no_standby_learns_nothing(home: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool with one server asks no catalog."""
    asked: list[Any] = []
    monkeypatch.setattr(catalog, "meanings", lambda *args: asked.append(args) or {})
    with closing(pgdbpool.Pool(home.primary.config())) as pool:
        for _ in range(3):
            pool.query("SELECT price_of(1)")
    assert asked == []
