"""Statements whose request or answer is lost: what the pool says of them, and whether it sends them again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.faults.client.behind import behind_proxy
from tests.faults.client.ledger import outcome_of
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, Outcome, at_once, by_admin, in_thread, said
from tests.faults.proxy import Proxy

__all__ = ["commits", "statements"]

_WAYS = ("rst", "fin", "hang")
_LOST = {"before": "request lost", "after": "answer lost"}
_GRACE = 1.0  # seconds beyond the limit for an answer, after which it hangs
_OFTEN = 99


def commits(peer: Peer, setting: Setting, link: Link, *, admin: Any, schema: str, **_: Any) -> list[list[Any]]:
    """COMMIT is lost, in six ways: each is in doubt, what has arrived is there once, and nothing is sent again."""
    ways = [(when, how) for when in _LOST for how in _WAYS]
    with behind_proxy(peer, setting) as (mine, proxy):
        running = [_losing_commit(proxy, mine, schema, when, how) for when, how in ways]
        proxy.on("commit", "before", "rst", _OFTEN)
        limit = time.monotonic() + setting.query + _GRACE
        outcomes = [each.outcome(limit - time.monotonic()) for each in running]
        again = proxy.seen()["struck"] - len(ways)
    kept = _kept(admin, schema)
    cases = []
    for (when, how), outcome in zip(ways, outcomes, strict=True):
        rows, right = kept.get(f"{when} {how}", 0), int(when == "after")
        ok = outcome_of(outcome.error) == "doubt" and rows == right
        cases.append([f"COMMIT, {_LOST[when]} ({how})", ok, f"{_told(outcome)}; {rows} rows"])
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
    """An autocommit statement: so many of its answers are lost. ``outcome``: as in the ledger."""

    kind: str
    how: Any
    ask: Callable[[Peer, str], Any]
    losses: int
    outcome: str

    @property
    def name(self) -> str:
        return f"{self.kind} ({self.how})"

    @property
    def text(self) -> str:
        """As it is found in the statement, and in no other."""
        return f"'{self.name}'"


def statements(peer: Peer, setting: Setting, link: Link, *, admin: Any, schema: str, **_: Any) -> list[list[Any]]:
    """All at once: an autocommit write is in doubt, a read fails, and one that is promised to be a read is run once more."""

    def insert(peer: Peer, text: str) -> Any:
        return peer.query(f"INSERT INTO {schema}.entry VALUES ({text})")

    asked = [_Statement("INSERT", how, insert, 1, "doubt") for how in _WAYS]
    asked += [_Statement("read", how, _read, 1, "failed") for how in _WAYS]
    asked += [_Statement("read only", how, _read_only, 1, "ok") for how in _WAYS[:2]]
    asked += [_Statement("read only, lost twice", how, _read_only, 2, "failed") for how in _WAYS[:2]]
    with behind_proxy(peer, setting) as (mine, proxy):
        for each in asked:
            proxy.on(each.text, "after", each.how, each.losses)
            if each.outcome != "ok":
                proxy.on(each.text, "before", "rst", _OFTEN)
        limit = setting.query + _GRACE
        outcomes = at_once(len(asked), lambda number: asked[number].ask(mine, asked[number].text), limit)
        again = max(0, proxy.seen()["struck"] - sum(each.losses for each in asked))
    kept = _kept(admin, schema)
    cases = []
    for each, outcome in zip(asked, outcomes, strict=True):
        rows, right = kept.get(each.name, 0), int(each.ask is insert)
        ok = outcome_of(outcome.error) == each.outcome and outcome is not HUNG and rows == right
        ok = ok and (outcome.error is not None or [tuple(row) for row in outcome.value] == [(each.name,)])
        cases.append([each.name, ok, f"{_told(outcome)}{f'; {rows} rows' if right else ''}"])
    return [*cases, ["statements sent again", not again, str(again)]]


def _read(peer: Peer, text: str) -> Any:
    return peer.query(f"SELECT {text}")


def _read_only(peer: Peer, text: str) -> Any:
    """The promise, in our words or in the server's."""
    if hasattr(peer, "pool"):
        return peer.pool.query(f"SELECT {text}", read_only=True).fetchall()
    with peer.transaction() as run:
        run("SET TRANSACTION READ ONLY")
        return run(f"SELECT {text}")


def _told(outcome: Outcome) -> str:
    return f"{said(outcome.error, 'answered')}, {outcome.seconds:.1f} s"


def _kept(admin: Any, schema: str) -> dict[str, int]:
    """How often each key is there."""
    return dict(by_admin(admin, f"SELECT key, count(*) FROM {schema}.entry GROUP BY key"))
