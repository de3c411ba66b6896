"""The requests of the load: what each writes can be found again, and what each reads is known."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.faults.client.peers import Peer

__all__ = ["ACCOUNTS", "KINDS", "Wrong", "ask"]

ACCOUNTS = 16
KINDS = ("read", "insert", "transfer")
_SHARES = (60, 25, 15)  # percent


class Wrong(AssertionError):
    """An answer that no server gave: a row is missing, or half of a transfer is seen."""


def draw(dice: random.Random) -> str:
    return dice.choices(KINDS, _SHARES)[0]


def ask(peer: Peer, kind: str, key: str, schema: str, dice: random.Random, slow: float = 0.0) -> None:
    """One request. ``key`` is what it writes into ``entry``; transfers leave the sum of all accounts as it is.

    ``slow``: seconds that the server takes for each read.
    """
    if kind == "read":
        wait = f", pg_sleep({slow})" if slow else ""
        found = peer.query(f"SELECT sum(balance), %s{wait} FROM {schema}.account", (key,))
        if [tuple(row)[:2] for row in found] != [(0, key)]:
            raise Wrong(f"the sum of all transfers, and {key}: {found}")
    elif kind == "insert":
        peer.query(f"INSERT INTO {schema}.entry VALUES (%s)", (key,))
    else:
        _transfer(peer, key, schema, dice)


def noted(peer: Peer, kind: str, key: str, schema: str, dice: random.Random, slow: float = 0.0) -> list[Any]:
    """Ask, and what became of it: [kind, key, began, ended, outcome, error], times monotonic."""
    began, error = time.monotonic(), None
    try:
        ask(peer, kind, key, schema, dice, slow)
    except BaseException as raised:  # whatever it is, the request failed
        error = raised
    told = "" if error is None else f"{type(error).__name__}: {error}"[:300]
    return [kind, key, began, time.monotonic(), outcome_of(error), told]


def _transfer(peer: Peer, key: str, schema: str, dice: random.Random) -> None:
    giver, taker = sorted(dice.sample(range(ACCOUNTS), 2))  # in order: no deadlocks
    amount = dice.randint(-100, 100)
    move = f"UPDATE {schema}.account SET balance = balance + %s WHERE id = %s"
    with peer.transaction() as run:
        run(f"INSERT INTO {schema}.entry VALUES (%s)", (key,))
        run(move, (-amount, giver))
        run(move, (amount, taker))


def outcome_of(error: BaseException | None) -> str:
    """``ok``, ``failed``, ``doubt`` (the pool says that it cannot know) or ``wrong``."""
    if error is None:
        return "ok"
    names: Any = {each.__name__ for each in type(error).__mro__}
    return "wrong" if isinstance(error, Wrong) else "doubt" if "InDoubt" in names else "failed"
