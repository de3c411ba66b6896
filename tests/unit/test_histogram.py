"""Percentiles from buckets, against the exact ones of the same durations."""

from __future__ import annotations

import math
import random

import pytest

from pgdbpool.engine.timing import Timing
from pgdbpool.waiting import EDGES, Histogram

COUNT = 20_000
SHAPES = {
    "even": lambda dice: dice.uniform(0.0001, 0.2),
    "log-normal": lambda dice: dice.lognormvariate(-6, 2),
    "exponential": lambda dice: dice.expovariate(200),
    "two peaks": lambda dice: dice.gauss(0.001, 0.0001) if dice.random() < 0.9 else dice.gauss(1.5, 0.2),
    "long": lambda dice: dice.uniform(0.5, 900.0),
}


@pytest.mark.parametrize("at_once", [1, 100, 3_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_percentiles_are_right_within_five_percent(shape: str, at_once: int) -> None:
    """Whatever the durations look like, p1 to p99.9 differ from the exact ones by 5 % at most."""
    dice = random.Random(6)
    durations = [max(2e-6, SHAPES[shape](dice)) for _ in range(COUNT)]
    counted, exact = Histogram(), sorted(durations)
    for first in range(0, COUNT, at_once):
        counted.add(durations[first : first + at_once])
    assert (counted.count, counted.longest) == (COUNT, exact[-1])
    assert counted.seconds == pytest.approx(sum(exact))
    for fraction in (0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999):
        assert counted.quantile(fraction) == pytest.approx(exact[math.ceil(fraction * COUNT) - 1], rel=0.05)


@pytest.mark.parametrize("count", [4_000, 10_000, 99_991])
def test_many_at_once(count: int) -> None:
    """Of many at once not each is looked at: number, sum and longest are exact all the same, and percentiles close."""
    dice = random.Random(count)
    durations = [dice.lognormvariate(-6, 1) for _ in range(count)]
    counted = Histogram()
    counted.add(durations)
    assert (counted.count, counted.longest) == (count, max(durations))
    assert counted.seconds == pytest.approx(sum(durations))
    for fraction in (0.25, 0.5, 0.9):
        assert counted.quantile(fraction) == pytest.approx(sorted(durations)[int(fraction * count)], rel=0.1)


def test_the_ends_of_the_scale() -> None:
    """Nothing has no percentile; below a microsecond and above a thousand seconds the scale ends."""
    assert Histogram().quantile(0.5) is None
    short, long = Histogram(), Histogram()
    short.add([0.0, 1e-9])
    long.add([5000.0])
    assert short.quantile(0.99) <= EDGES[0]
    assert long.quantile(0.5) >= 0.96 * EDGES[-1]


def test_those_who_did_not_wait_count() -> None:
    """Of a hundred checkouts of which one waited, the median is nothing, and the longest is that one."""
    waited = Histogram()
    waited.add([0.5])
    assert waited.quantile(0.99, zeros=99) == 0.0
    assert waited.quantile(1.0, zeros=99) == pytest.approx(0.5, rel=0.05)
    assert Histogram().quantile(0.5, zeros=3) == 0.0


@pytest.mark.parametrize("bound", [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0])
def test_the_bounds_of_dashboards_are_exact(bound: float) -> None:
    """What took exactly as long as a bound counts below it, what took a little longer does not."""
    counted = Histogram()
    counted.add([bound, bound * 1.0001, bound / 2])
    assert sum(count for number, count in counted.buckets.items() if EDGES[number] <= bound) == 2


def test_merging_is_adding() -> None:
    """Two halves taken together are the whole."""
    dice = random.Random(7)
    durations = [dice.expovariate(10) for _ in range(1000)]
    whole, left, right = Histogram(), Histogram(), Histogram()
    whole.add(durations)
    left.add(durations[:300])
    right.add(durations[300:])
    left.merge(right)
    assert (left.buckets, left.longest) == (whole.buckets, whole.longest)
    assert left.seconds == pytest.approx(whole.seconds)


def test_what_was_measured_lately() -> None:
    """A minute later the counters stay and the percentiles are of what came since."""
    timing = Timing()
    start = timing._began
    began = timing.read(start)
    assert (began.whole.count, began.recent.count, began.over) == (0, 0, 0.0)
    timing.note(1.0)
    timing.settle(start + 1.0)
    timing.settle(start + 61.0)  # as the Watch does at every tick
    timing.note(0.001)
    whole, recent, over = timing.read(start + 62.0)
    assert (whole.count, recent.count) == (2, 1)
    assert over == pytest.approx(50.0)  # it was calm before, and that counts
    assert recent.quantile(0.5) == pytest.approx(0.001, rel=0.05)
