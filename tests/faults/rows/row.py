"""One row: a fault, as a sentence, and what is allowed to be seen of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.faults.measured import Limits, Measured
from tests.faults.scene import Scene

__all__ = ["ROWS", "Row", "row"]


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Row:
    """``strike`` has its sentence as docstring. ``needs`` says what is missing on this machine, or nothing."""

    number: str
    strike: Callable[[Scene], Any]
    limits: Limits
    needs: Callable[[], str]

    @property
    def name(self) -> str:
        return self.strike.__name__.replace("_", " ")

    @property
    def sentence(self) -> str:
        return " ".join((self.strike.__doc__ or "").split())

    @property
    def order(self) -> tuple[int, str]:
        found = re.fullmatch(r"(\d+)(.*)", self.number)
        assert found is not None, self.number
        return int(found[1]), found[2]

    def run(
        self, peers: list[str], seed: int, *, short: bool = False, ease: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, Measured]:
        """What became of each peer."""
        with Scene(peers, seed, short=short, limits=self.limits, ease=ease) as scene:
            self.strike(scene)
            return scene.results


ROWS: dict[str, Row] = {}


def row(
    number: str, *, needs: Callable[[], str] = _nothing, **limits: Any
) -> Callable[[Callable[[Scene], Any]], Callable[[Scene], Any]]:
    """Make a row of a function that takes a ``Scene``; ``limits`` are the fields of ``Limits``."""

    def register(strike: Callable[[Scene], Any]) -> Callable[[Scene], Any]:
        assert number not in ROWS, number
        ROWS[number] = Row(number, strike, Limits(**limits), needs)
        return strike

    return register
