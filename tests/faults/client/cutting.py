"""Long answers that end in the middle, or come in drips."""

from __future__ import annotations

import random
from typing import Any

from tests.faults.client.behind import behind_proxy
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, Outcome, at_once, said
from tests.faults.proxy import Proxy

__all__ = ["cutting"]

_ROWS = 3000
_EARLIEST, _LATEST = 20, 40_000  # bytes of an answer of about 60,000
_GRACE = 1.0  # seconds beyond the limit for an answer, after which it hangs


def cutting(peer: Peer, setting: Setting, link: Link, *, seed: int, **_: Any) -> list[list[Any]]:
    """As many answers as there are connections, in drips and then cut: whole, or one error each; never short or another's."""
    dice, cases = random.Random(seed), []
    with behind_proxy(peer, setting) as (mine, proxy):
        proxy.drip(997, 0.005)
        cases.append(["in drips", *_all_whole(_asked(mine, setting, dice))])
        proxy.heal()
        for how in ("rst", "fin", "hang"):
            cases += _cut(mine, setting, proxy, how, dice)
    return cases


def _cut(peer: Peer, setting: Setting, proxy: Proxy, how: Any, dice: random.Random) -> list[list[Any]]:
    before = proxy.seen()["struck"]
    for _ in range(setting.connections):
        proxy.cut(dice.randrange(_EARLIEST, _LATEST), how)
    found = _asked(peer, setting, dice)
    proxy.heal()
    struck = proxy.seen()["struck"] - before
    failed = [each for each in found if each.error]
    hung, wrong = found.count(HUNG), len(found) - len(failed) - sum(each.value is True for each in found)
    seen = f"{len(failed)} failed, {hung} of them hang, {wrong} were short or another's"
    ok = 0 < len(failed) <= struck and not hung and not wrong
    return [
        [f"cut ({how})", ok, f"{struck} cut: {seen}"],
        [f"after the cut ({how})", *_all_whole(_asked(peer, setting, dice))],
    ]


def _asked(peer: Peer, setting: Setting, dice: random.Random) -> list[Outcome]:
    """One answer of known length and sum for each connection, all at once: whether it is whole, and its own."""
    factors = [dice.randrange(1, 1000) for _ in range(setting.connections)]

    def ask(number: int) -> bool:
        factor = factors[number]
        found = peer.query(f"SELECT n, n * {factor} FROM generate_series(1, {_ROWS}) AS n")
        return len(found) == _ROWS and sum(row[1] for row in found) == factor * _ROWS * (_ROWS + 1) // 2

    return at_once(len(factors), ask, setting.query + _GRACE)


def _all_whole(found: list[Outcome]) -> tuple[bool, str]:
    whole = sum(each.value is True for each in found)
    errors = [said(each.error) for each in found if each.error]
    return whole == len(found), ", ".join([f"{whole} of {len(found)} whole", *errors[:1]])
