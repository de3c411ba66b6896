"""Interleaving: what is compared takes turns, so that no contestant has the machine's good minutes to itself."""

from __future__ import annotations

import gc
import random
import timeit
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["in_turns", "microseconds"]

T = TypeVar("T")


def in_turns(contestants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each contestant returned in each round; their order is drawn anew for every round.

    One round goes before that is not counted: it fills caches and plans.
    """
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name in random.sample(list(contestants), len(contestants)):
            gc.collect()
            result = contestants[name]()
            if number:
                results[name].append(result)
    return results


def microseconds(timer: timeit.Timer, times: int) -> float:
    """What the timer's text took on the average of so many times."""
    return timer.timeit(times) / times * 1e6
