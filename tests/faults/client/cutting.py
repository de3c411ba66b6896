"""Long answers that end in the middle, or come in drips."""

from __future__ import annotations

import random
from typing import Any

from tests.faults.client.behind import behind_proxy, hung_after
from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting
from tests.faults.client.trying import HUNG, Outcome, at_once, said

__all__ = ["cutting"]

_ROWS = 3000
_EARLIEST, _LATEST = 20, 40_000  # bytes of an answer of about 60,000


def cutting(peer: Peer, setting: Setting, link: Link, *, seed: int, ease: float, **_: Any) -> list[list[Any]]:
    """As many answers at once as there are connections: in drips they are whole, and cut short they are errors."""
    dice, patience, cases = random.Random(seed), hung_after(setting, ease), []
    with behind_proxy(peer, setting) as (mine, proxy):

        def asked() -> list[Outcome]:
            return _asked(mine, [dice.randrange(1, 1000) for _ in range(setting.connections)], patience)

        proxy.drip(997, 0.005)
        cases.append(["in drips", *_all_whole(asked())])
        proxy.heal()
        for how in ("rst", "fin", "hang"):
            before = proxy.seen()["struck"]
            for _ in range(setting.connections):
                proxy.cut(dice.randrange(_EARLIEST, _LATEST), how)
            found = asked()
            proxy.heal()
            cases.append([f"cut ({how})", *_one_error_each(found, proxy.seen()["struck"] - before)])
            cases.append([f"after the cut ({how})", *_all_whole(asked())])
    return cases


def _one_error_each(found: list[Outcome], struck: int) -> tuple[bool, str]:
    failed = sum(each.error is not None for each in found)
    hung, wrong = found.count(HUNG), sum(each.value is False for each in found)
    seen = f"{struck} cut, {failed} failed, {hung} of them hang, {wrong} were short or another's"
    return 0 < failed <= struck and not hung and not wrong, seen


def _asked(peer: Peer, factors: list[int], patience: float) -> list[Outcome]:
    """One answer of known length and sum for each factor, all at once: whether it is whole, and its own."""

    def ask(number: int) -> bool:
        factor = factors[number]
        found = peer.query(f"SELECT n, n * {factor} FROM generate_series(1, {_ROWS}) AS n")
        return len(found) == _ROWS and sum(row[1] for row in found) == factor * _ROWS * (_ROWS + 1) // 2

    return at_once(len(factors), ask, patience)


def _all_whole(found: list[Outcome]) -> tuple[bool, str]:
    whole = sum(each.value is True for each in found)
    errors = [said(each.error) for each in found if each.error]
    return whole == len(found), ", ".join([f"{whole} of {len(found)} whole", *errors[:1]])
