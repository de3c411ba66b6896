"""How long things took, counted in buckets whose width grows with what they hold: percentiles are right within 4 %."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil, sqrt

_MOST = 4000  # durations that are counted one by one
_DECADES = range(-6, 3)  # from a microsecond to a thousand seconds


def _edges() -> list[float]:
    """Each bucket's upper bound, in seconds. The bounds of a dashboard's buckets (1, 5, 10 … ms) are among them."""
    to_five = [5 ** (step / 24) for step in range(24)]
    to_ten = [5 * 2 ** (step / 10) for step in range(10)]
    return [float(f"{10.0**decade * each:.6g}") for decade in _DECADES for each in to_five + to_ten] + [1000.0]


EDGES = _edges()


class Histogram:
    """Counts of durations in seconds; ``buckets`` by the number of the bucket, 0 for a microsecond and less."""

    __slots__ = ("buckets", "longest", "seconds")

    def __init__(self, buckets: Iterable[tuple[int, int]] = (), seconds: float = 0.0, longest: float = 0.0) -> None:
        self.buckets: Counter[int] = Counter(dict(buckets))
        self.seconds = seconds
        self.longest = longest

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def add(self, durations: Sequence[float]) -> None:
        """Of many at once, each n-th stands for its neighbours too: counting must not cost what is counted."""
        if not durations:
            return
        step = 1 + len(durations) // _MOST
        chosen = [bisect_left(EDGES, each) for each in durations[::step]]
        for number, count in Counter(chosen).items():
            self.buckets[number] += count * step
        self.buckets[chosen[-1]] -= len(chosen) * step - len(durations)  # it has fewer neighbours
        self.seconds += sum(durations)
        self.longest = max(self.longest, max(durations))

    def merge(self, other: Histogram) -> None:
        self.buckets.update(other.buckets)
        self.seconds += other.seconds
        self.longest = max(self.longest, other.longest)

    @property
    def mean(self) -> float | None:
        """As exact as percentiles are; None of nothing."""
        count = self.count
        return sum(_middle(number) * each for number, each in self.buckets.items()) / count if count else None

    def quantile(self, fraction: float, zeros: int = 0) -> float | None:
        """The duration that so many did not exceed; None of nothing. ``zeros``: so many more that took no time at all."""
        rank = ceil(fraction * (self.count + zeros)) - zeros
        if not self.buckets and not zeros:
            return None
        if rank <= 0:
            return 0.0
        numbers = sorted(self.buckets)
        below = list(accumulate(self.buckets[number] for number in numbers))
        return min(_middle(numbers[bisect_left(below, rank)]), self.longest or EDGES[-1])


def _middle(number: int) -> float:
    """What stands for a bucket: by ratio as far from its lower as from its upper bound."""
    if number == 0:
        return EDGES[0]
    return sqrt(EDGES[number - 1] * EDGES[min(number, len(EDGES) - 1)])
