"""The requests of the load: what each writes can be found again, and what each reads is known."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from tests.faults.client.peers import Peer

__all__ = ["ACCOUNTS", "KINDS", "SHARES", "Wrong", "ask"]

ACCOUNTS = 16
KINDS = ("read", "insert", "transfer")
SHARES = {"read": 60, "insert": 25, "transfer": 15}  # percent


class Wrong(AssertionError):
    """An answer that no server gave, or the wrong one: a row is missing, half of a transfer is seen, a standby spoke."""


def draw(dice: random.Random, shares: Mapping[str, int] = SHARES) -> str:
    return dice.choices(list(shares), list(shares.values()))[0]


def ask(peer: Peer, kind: str, key: str, schema: str, dice: random.Random, slow: float = 0.0) -> int:
    """One request. ``key`` is what it writes into ``entry``; transfers leave the sum of all accounts as it is.

    ``slow``: seconds that the server takes for each read. ``primary`` is a read in a transaction, which a standby must not
    answer. Returns the port of the server that answered a read, of others 0.
    """
    if kind == "read":
        wait = f", pg_sleep({slow})" if slow else ""
        found = peer.query(f"SELECT sum(balance), %s, inet_server_port(){wait} FROM {schema}.account", (key,))
        if [tuple(row)[:2] for row in found] != [(0, key)]:
            raise Wrong(f"the sum of all transfers, and {key}: {found}")
        return int(tuple(found[0])[2])
    if kind == "insert":
        peer.query(f"INSERT INTO {schema}.entry VALUES (%s)", (key,))
    elif kind == "primary":
        _look(peer)
    else:
        _transfer(peer, key, schema, dice)
    return 0


def noted(peer: Peer, kind: str, key: str, schema: str, dice: random.Random, slow: float = 0.0) -> list[Any]:
    """Ask, and what became of it: [kind, key, began, ended, outcome, error, server], times monotonic."""
    began, error, server = time.monotonic(), None, 0
    try:
        server = ask(peer, kind, key, schema, dice, slow)
    except BaseException as raised:  # whatever it is, the request failed
        error = raised
    told = "" if error is None else f"{type(error).__name__}: {error}"[:300]
    return [kind, key, began, time.monotonic(), outcome_of(error), told, server]


def _look(peer: Peer) -> None:
    with peer.transaction() as run:
        [row] = run("SELECT pg_is_in_recovery()")
    if row[0]:
        raise Wrong("a standby has answered a transaction that was meant for the primary")


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
