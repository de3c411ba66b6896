"""Whether a soak was as it should be: pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from tests.faults.measured import Book, Request, ledger
from tests.faults.words import in_short

__all__ = ["BOUNDS", "Bounds", "Found", "Sample", "Struck", "judged"]

Span = tuple[float, float]  # monotonic seconds


class Struck(NamedTuple):
    """One fault."""

    name: str
    what: str
    began: float
    ended: float


class Sample(NamedTuple):
    """What the program held; ``memory`` is its resident set in MB."""

    at: float
    memory: float
    descriptors: int
    threads: int
    sessions: int


@dataclass(frozen=True)
class Bounds:
    """``answer``: seconds for a request of one statement; a transaction may in addition lose the rest of another fault.

    ``back``: the longest time without a success that no fault explains. ``calm``: what begins so long after the last fault
    does not fail. ``growth``: MB that the line through all samples may rise from the end of the first quarter to the end.
    ``objects``: how many more may live in the program's interpreter. ``spare``: descriptors that come and go.
    """

    answer: float = 5.2
    transaction: float = 1.5
    back: float = 2.0
    calm: float = 2.0
    gap: float = 0.1
    growth: float = 4.0
    objects: int = 300
    spare: int = 3


BOUNDS = Bounds()


@dataclass
class Found:
    """``requests`` may be gone through once. ``stopped``: when the program itself stood still.

    ``objects``: those in its interpreter at first and at last. ``gaps``: when something held the GIL, and how long.
    """

    requests: Iterable[Request]
    book: Book
    struck: Sequence[Struck]
    stopped: Sequence[Span]
    samples: Sequence[Sample]
    first: Sample
    last: Sample
    capacity: tuple[int, int]
    objects: tuple[int, int]
    gaps: Sequence[Span] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def judged(found: Found, bounds: Bounds = BOUNDS) -> list[str]:
    """Everything that is not as it should be; ``facts`` has the figures afterwards."""
    tally = _Tally(found, bounds)
    for request in found.requests:
        tally.add(request)
    stopped = _Spans(found.stopped)
    held, at = max(((stopped.beside(at, at + seconds), at) for at, seconds in found.gaps), default=(0.0, 0.0))
    facts = found.facts = {
        "requests": tally.counts.total(),
        "counts": dict(tally.counts),
        "errors": tally.errors.most_common(12),
        "longest request": tally.worst,
        "longest without success": tally.silent,
        "GIL": held,
        "growth": _growth(found.samples),
        "ledger": ledger(tally.wrote, found.book),
    }
    hung = tally.counts["hung"]
    return [
        *([f"ledger: {facts['ledger']}"] if facts["ledger"] != "exact" else []),
        *([f"{hung} requests hang"] if hung else []),
        *([f"{tally.slow} requests took longer than their limit, up to {tally.worst:.2f} s"] if tally.slow else []),
        *([f"{tally.silent:.1f} s without a success, beside all faults"] if tally.silent > bounds.back else []),
        *([f"{tally.late} requests failed when all was well again"] if tally.late else []),
        *(
            [f"the GIL was held for {held:.2f} s, {at - found.first.at:.1f} s after the beginning"]
            if held > bounds.gap
            else []
        ),
        *([f"memory rises by {facts['growth']:.1f} MB"] if facts["growth"] > bounds.growth else []),
        *_left(found, bounds),
    ]


class _Tally:
    """What is counted of the requests, each of them once; ``wrote``: those that the ledger asks about."""

    def __init__(self, found: Found, bounds: Bounds) -> None:
        self.counts, self.errors = Counter[str](), Counter[str]()
        self.worst, self.silent = 0.0, 0.0
        self.slow, self.late = 0, 0
        self.wrote: list[Request] = []
        self._bounds, self._stopped = bounds, _Spans(found.stopped)
        self._faults = _Spans([(each.began, each.ended) for each in found.struck])
        self._success = found.first.at
        self._calm = max((each.ended for each in found.struck), default=found.first.at) + bounds.calm

    def add(self, request: Request) -> None:
        self.counts[request.outcome] += 1
        seconds = self._stopped.beside(request.began, request.ended)
        self.worst = max(self.worst, seconds)
        self.slow += seconds > self._bounds.answer + self._bounds.transaction * (request.kind == "transfer")
        if request.outcome == "ok":
            self.silent = max(self.silent, self._faults.beside(self._success, request.ended))
            self._success = max(self._success, request.ended)
        else:
            self.errors[in_short(request.error)] += 1
            self.late += request.began > self._calm
        if request.kind != "read" or request.outcome == "wrong":
            self.wrote.append(request)


def _left(found: Found, bounds: Bounds) -> list[str]:
    first, last = found.first, found.last
    (able, wanted), (few, many) = found.capacity, found.objects
    return [
        *([f"{many} objects, {few} at first"] if many > few + bounds.objects else []),
        *([f"capacity {able}/{wanted}"] if able != wanted else []),
        *(
            [f"{last.descriptors} descriptors, {first.descriptors} at first"]
            if last.descriptors > first.descriptors + bounds.spare
            else []
        ),
        *([f"{last.threads} threads, {first.threads} at first"] if last.threads > first.threads else []),
        *([f"{last.sessions} sessions, {first.sessions} at first"] if last.sessions != first.sessions else []),
    ]


class _Spans:
    """Stretches of time, in order, that do not overlap."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._begins = [began for began, _ in spans]
        self._sums = [0.0, *accumulate(ended - began for began, ended in spans)]

    def beside(self, began: float, ended: float) -> float:
        """Seconds from ``began`` to ``ended`` that are in none of them."""
        return ended - began - (self._until(ended) - self._until(began))

    def _until(self, at: float) -> float:
        """Seconds before ``at`` that are in one of them."""
        if not (count := bisect_right(self._begins, at)):
            return 0.0
        return self._sums[count] - max(0.0, self._spans[count - 1][1] - at)


def _growth(samples: Sequence[Sample]) -> float:
    """By how much the line through the samples after the first quarter rises (least squares)."""
    if not samples:
        return 0.0
    start = samples[0].at + (samples[-1].at - samples[0].at) / 4
    later = [each for each in samples if each.at >= start]
    middle = sum(each.at for each in later) / len(later)
    mean = sum(each.memory for each in later) / len(later)
    spread = sum((each.at - middle) ** 2 for each in later)
    rise = sum((each.at - middle) * (each.memory - mean) for each in later)
    return rise / spread * (later[-1].at - later[0].at) if spread else 0.0
