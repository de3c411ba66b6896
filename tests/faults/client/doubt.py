"""Statements whose request or answer is lost: what the pool says of them, and whether it sends them again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.faults.client.behind import behind_proxy, hung_after
from tests.faults.client.ledger import outcome_of
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, Outcome, at_once, by_admin, in_thread, said
from tests.faults.proxy import Proxy

__all__ = ["commits", "statements"]

_WAYS = ("rst", "fin", "hang")
_LOST = {"before": "request lost", "after": "answer lost"}
_OFTEN = 99


def commits(
    peer: Peer, setting: Setting, link: Link, *, admin: Any, schema: str, ease: float, **_: Any
) -> list[list[Any]]:
    """COMMIT is lost, in six ways: each is in doubt, what has arrived is there once, and nothing is sent again."""
    ways = [(when, how) for when in _LOST for how in _WAYS]
    with behind_proxy(peer, setting) as (mine, proxy):
        running = [_losing_commit(proxy, mine, schema, when, how) for when, how in ways]
        proxy.on("commit", "before", "rst", _OFTEN)
        limit = time.monotonic() + hung_after(setting, ease)
        outcomes = [each.outcome(limit - time.monotonic()) for each in running]
        again = proxy.seen()["struck"] - len(ways)
    kept = _kept(admin, schema)
    cases = []
    for (when, how), outcome in zip(ways, outcomes, strict=True):
        there = kept.get(f"{when} {how}", 0)
        ok = outcome_of(outcome.error) == "doubt" and there == (when == "after")
        cases.append([f"COMMIT, {_LOST[when]} ({how})", ok, f"{_told(outcome)}, there {there} times"])
    return [*cases, ["statements sent again", not again, str(again)]]


def _losing_commit(proxy: Proxy, peer: Peer, schema: str, when: Any, how: Any) -> in_thread:
    """A transaction that has just lost its connection by its COMMIT."""
    text = f"INSERT INTO {schema}.entry VALUES ('{when} {how}')"

    def transaction() -> None:
        with peer.transaction() as run:
            run(text)

    struck, limit = proxy.seen()["struck"], time.monotonic() + 10.0
    proxy.on("commit", when, how)
    running = in_thread(transaction)
    while proxy.seen()["struck"] == struck:
        if time.monotonic() > limit:
            raise TimeoutError(f"no COMMIT comes by: {_told(running.outcome(0.0))}")
        time.sleep(0.005)
    proxy.on(text, "before", "rst", _OFTEN)
    return running


class _Statement(NamedTuple):
    """An autocommit statement, of whose answers so many are lost. ``outcome``: as in the ledger."""

    kind: str
    how: Any
    ask: Callable[[Peer, str, str], Any]
    losses: int
    outcome: str

    @property
    def name(self) -> str:
        return f"{self.kind} ({self.how})"

    @property
    def literal(self) -> str:
        """It stands in this statement, and in no other."""
        return f"'{self.name}'"


def statements(
    peer: Peer, setting: Setting, link: Link, *, admin: Any, schema: str, ease: float, **_: Any
) -> list[list[Any]]:
    """All at once: a write is in doubt, a read fails, and one that is promised to be a read is run once more."""
    asked = [
        *(_Statement("INSERT", how, _insert, 1, "doubt") for how in _WAYS),
        *(_Statement("read", how, _read, 1, "failed") for how in _WAYS),
        *(_Statement("read only", how, _read_only, 1, "ok") for how in ("rst", "fin")),
        *(_Statement("read only, lost twice", how, _read_only, 2, "failed") for how in ("rst", "fin")),
    ]
    with behind_proxy(peer, setting) as (mine, proxy):
        for each in asked:
            proxy.on(each.literal, "after", each.how, each.losses)
            if each.outcome != "ok":
                proxy.on(each.literal, "before", "rst", _OFTEN)

        def ask(number: int) -> Any:
            return asked[number].ask(mine, schema, asked[number].literal)

        outcomes = at_once(len(asked), ask, hung_after(setting, ease))
        again = max(0, proxy.seen()["struck"] - sum(each.losses for each in asked))
    kept = _kept(admin, schema)
    cases = [_judged(each, outcome, kept.get(each.name, 0)) for each, outcome in zip(asked, outcomes, strict=True)]
    return [*cases, ["statements sent again", not again, str(again)]]


def _judged(statement: _Statement, outcome: Outcome, there: int) -> list[Any]:
    written = statement.ask is _insert
    ok = outcome_of(outcome.error) == statement.outcome and outcome is not HUNG and there == written
    right = outcome.error is not None or [tuple(row) for row in outcome.value] == [(statement.name,)]
    return [statement.name, ok and right, f"{_told(outcome)}{f', there {there} times' if written else ''}"]


def _insert(peer: Peer, schema: str, literal: str) -> Any:
    return peer.query(f"INSERT INTO {schema}.entry VALUES ({literal})")


def _read(peer: Peer, schema: str, literal: str) -> Any:
    return peer.query(f"SELECT {literal}")


def _read_only(peer: Peer, schema: str, literal: str) -> Any:
    """The promise, in our words or in the server's."""
    if hasattr(peer, "pool"):
        return peer.pool.query(f"SELECT {literal}", read_only=True).fetchall()
    with peer.transaction() as run:
        run("SET TRANSACTION READ ONLY")
        return run(f"SELECT {literal}")


def _told(outcome: Outcome) -> str:
    took = "" if outcome is HUNG else f" after {outcome.seconds:.1f} s"
    return f"{said(outcome.error, 'answered')}{took}"


def _kept(admin: Any, schema: str) -> dict[str, int]:
    """How often each key is there."""
    return dict(by_admin(admin, f"SELECT key, count(*) FROM {schema}.entry GROUP BY key"))
