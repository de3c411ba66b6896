"""What was seen of one pool in one row, and whether that is within the row's limits: pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tests.faults.words import in_short

__all__ = [
    "ALL",
    "CONNECTIONS",
    "IN_FLIGHT",
    "LATE",
    "NONE",
    "Book",
    "Case",
    "Limits",
    "Measured",
    "Request",
    "Window",
    "ledger",
    "of_cases",
    "of_load",
]

CONNECTIONS = 8
NONE = "0"  # may fail
ALL = "all"  # may fail during the fault
IN_FLIGHT = "in flight"  # may fail: what was under way when the fault struck, at most one for each connection
LATE = "in flight, late"  # may fail besides: what waited until its limit


class Request(NamedTuple):
    """``outcome``: ok, failed, doubt, wrong or hung; times are monotonic. ``server``: the port of who answered a read."""

    kind: str
    key: str
    began: float
    ended: float
    outcome: str
    error: str
    server: int = 0

    @property
    def writes(self) -> bool:
        return self.kind in ("insert", "transfer")

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Window(NamedTuple):
    """A fault: when it began to strike, when it had struck, and when it was over."""

    began: float
    struck: float
    ended: float


class Case(NamedTuple):
    """One thing that a script tried: ``seen`` is what came of it."""

    name: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class Limits:
    """What a row allows, in seconds. ``failed``: ``NONE``, ``IN_FLIGHT``, ``LATE``, ``ALL``, or so many whenever they began.

    ``told``: the longest request. ``back``: from the end of the fault to the first success. ``clean``: of the requests that
    began later than this after the end, none fails. ``gap``: the longest that the GIL may be held; None where the
    process itself is stopped. ``late``: what failed after so long has waited until its limit. ``attempts``: the most that
    fail to connect during the fault; ``rate``: the most a second, after a first one. ``says``: what every error has in it (a
    pattern), but those of requests that were under way. ``never``: what no error says. ``written``: only what writes counts as
    the first success. ``slower``: how many times as long as before the 99th percentile of
    the requests may take during the fault.
    """

    failed: str | int = NONE
    told: float = 5.2
    back: float = 1.0
    clean: float = 1.0
    gap: float | None = 0.1
    late: float = 1.0
    attempts: int | None = None
    rate: float | None = None
    says: str = ""
    never: str = ""
    written: bool = False
    slower: float | None = None

    def eased(self, factor: float) -> Limits:
        """For a machine that is busy with other things: what takes time may take longer, counts stay.

        The longest request consists of what the pool was told to wait, and of a little more: only that grows.
        """
        times = {name: getattr(self, name) for name in ("back", "clean", "gap", "slower")}
        eased = {name: value * factor for name, value in times.items() if value is not None}
        return replace(self, told=self.told + _ON_TOP * (factor - 1), **eased)


_ON_TOP = 0.3  # seconds


@dataclass
class Measured:
    """``problems``: every limit that was not kept, in words; none means that the row is passed."""

    requests: int = 0
    failed: int = 0
    worst: float = 0.0
    back: float | None = None
    gap: float = 0.0
    capacity: str = ""
    leaks: str = ""
    ledger: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Book(NamedTuple):
    """What the server holds afterwards: how often each key, and the sum of the accounts."""

    keys: Mapping[str, int]
    total: int


class Left(NamedTuple):
    """What is left behind: the pool's sessions, those idle in a transaction, advisory locks; the client's descriptors."""

    sessions: int
    in_transaction: int
    locks: int
    descriptors: tuple[int, int]


def of_cases(cases: Sequence[Case]) -> Measured:
    """Each case has to be as it should."""
    wrong = [each for each in cases if not each.ok]
    return Measured(
        requests=len(cases),
        failed=len(wrong),
        facts={"cases": [tuple(each) for each in cases]},
        problems=[f"{each.name}: {each.seen}" for each in wrong] or ([] if cases else ["nothing was tried"]),
    )


def of_load(
    requests: Sequence[Request],
    windows: Sequence[Window],
    limits: Limits,
    *,
    gaps: Iterable[tuple[float, float]],
    capacity: int,
    connections: int,
    book: Book,
    left: Left,
    attempts: Sequence[float] = (),
) -> Measured:
    """All of one load. ``attempts``: when each attempt to connect failed."""
    bad = [each for each in requests if each.outcome not in ("ok", "wrong")]
    awaited = [each for each in requests if each.writes] if limits.written else requests
    backs = [_back(awaited, window) for window in windows]
    found = Measured(
        requests=len(requests),
        failed=len(bad),
        worst=max((each.seconds for each in requests), default=0.0),
        back=None if None in backs else max((each for each in backs if each is not None), default=0.0),
        gap=0.0 if limits.gap is None else _longest(gaps, windows),
        capacity=f"{capacity}/{connections}",
        leaks=_leaks(left, connections),
        ledger=ledger(requests, book),
        facts={
            "errors": Counter(in_short(each.error) for each in bad).most_common(6),
            "attempts": sum(any(window.began <= at <= window.ended for window in windows) for at in attempts),
        },
    )
    found.problems = [
        *_too_many(bad, windows, limits),
        *_unclean(bad, windows, limits),
        *([f"a request took {found.worst:.2f} s, allowed are {limits.told:g}"] if found.worst > limits.told else []),
        *(["no success afterwards"] if found.back is None else []),
        *(["no fault struck"] if not windows else []),
        *([f"back after {found.back:.2f} s, allowed are {limits.back:g}"] if (found.back or 0) > limits.back else []),
        *([f"the GIL was held for {found.gap:.2f} s"] if found.gap > (limits.gap or 0) else []),
        *([f"capacity {found.capacity}"] if capacity != connections else []),
        *([f"left behind: {found.leaks}"] if found.leaks else []),
        *([f"ledger: {found.ledger}"] if found.ledger != "exact" else []),
        *_stormed(found.facts["attempts"], windows, limits),
        *_without_reason(bad, windows, limits),
        *_forbidden(bad, limits),
        *_slowed(requests, windows, limits),
    ]
    return found


def _longest(gaps: Iterable[tuple[float, float]], windows: Sequence[Window]) -> float:
    return max((gap for at, gap in gaps if any(_touches(at, at + gap, window) for window in windows)), default=0.0)


def _touches(began: float, ended: float, window: Window) -> bool:
    return began < window.ended + 1.0 and ended > window.began


def _back(requests: Sequence[Request], window: Window) -> float | None:
    """Seconds from the end of the fault to the first success."""
    ends = [each.ended for each in requests if each.outcome == "ok" and each.ended > window.ended]
    return min(ends) - window.ended if ends else None


def _too_many(bad: Sequence[Request], windows: Sequence[Window], limits: Limits) -> list[str]:
    hung = sum(each.outcome == "hung" for each in bad)
    doubts = sum(each.outcome == "doubt" for each in bad)
    counted = [each for each in bad if _counts(each, windows, limits)]
    struck = [[each for each in counted if _was_under_way(each, window)] for window in windows]
    most, allowed = max(map(len, struck), default=0), 0 if limits.failed == NONE else CONNECTIONS
    others = len(counted) - sum(map(len, struck))
    if isinstance(limits.failed, int):
        most, allowed, others = len(bad), limits.failed, 0
    return [
        *([f"{most} that were under way failed, allowed are {allowed}"] if most > allowed else []),
        *([f"{others} failed that were not under way when the fault struck"] if others > 0 else []),
        *([f"{doubts} are in doubt, more than connections"] if doubts > CONNECTIONS * len(windows) else []),
        *([f"{hung} threads hang"] if hung else []),
    ]


def _counts(request: Request, windows: Sequence[Window], limits: Limits) -> bool:
    """Whether this failure is one that the row limits."""
    if limits.failed == LATE:
        return request.seconds < limits.late
    if limits.failed == ALL:
        return not any(
            window.began <= request.ended and request.began <= window.ended + limits.clean for window in windows
        )
    return True


def _was_under_way(request: Request, window: Window) -> bool:
    return request.began <= window.struck and request.ended >= window.began


def _unclean(bad: Sequence[Request], windows: Sequence[Window], limits: Limits) -> list[str]:
    """Requests that failed though they began when everything should have been well."""
    last = max((each.ended for each in windows), default=0.0)
    after = [each for each in bad if each.began > last + limits.clean]
    outside = [each for each in bad if all(each.ended < window.began for window in windows)]
    return [
        *([f"{len(after)} failed that began later than {limits.clean:g} s after the end"] if after else []),
        *([f"{len(outside)} failed before the fault"] if outside else []),
    ]


def _stormed(attempts: int, windows: Sequence[Window], limits: Limits) -> list[str]:
    allowed = limits.attempts
    if limits.rate is not None:
        allowed = round(sum(1 + limits.rate * (window.ended - window.began) for window in windows))
    if allowed is None or attempts <= allowed:
        return []
    return [f"{attempts} attempts to connect, allowed are {allowed}"]


def _without_reason(bad: Sequence[Request], windows: Sequence[Window], limits: Limits) -> list[str]:
    later = [each for each in bad if not any(_was_under_way(each, window) for window in windows)]
    silent = [each.error for each in later if not re.search(limits.says, each.error)]
    return [f"{len(silent)} errors do not say {limits.says!r}: {in_short(silent[0])}"] if silent else []


def _forbidden(bad: Sequence[Request], limits: Limits) -> list[str]:
    found = [each.error for each in bad if limits.never and re.search(limits.never, each.error)]
    return [f"{len(found)} errors say {limits.never!r}: {in_short(found[0])}"] if found else []


_NOISE = 0.05  # seconds that the machine itself may add to a request


def _slowed(requests: Sequence[Request], windows: Sequence[Window], limits: Limits) -> list[str]:
    if limits.slower is None:
        return []
    before = _p99([each for each in requests if each.ended < windows[0].began])
    during = _p99([each for each in requests if any(window.began < each.began < window.ended for window in windows)])
    if during <= limits.slower * before + _NOISE:
        return []
    return [f"the 99th percentile was {1000 * before:.0f} ms and became {1000 * during:.0f}"]


def _p99(requests: Sequence[Request]) -> float:
    return sorted(each.seconds for each in requests)[int(0.99 * len(requests))] if requests else 0.0


def _leaks(left: Left, connections: int) -> str:
    before, after = left.descriptors
    found = {
        "sessions": left.sessions if left.sessions > connections else 0,
        "idle in transaction": left.in_transaction,
        "advisory locks": left.locks,
        "descriptors": max(0, after - before - _SPARE),
    }
    return ", ".join(f"{number} {name}" for name, number in found.items() if number)


_SPARE = 3  # descriptors that come and go: a resolver's, a probe's


def ledger(requests: Iterable[Request], book: Book) -> str:
    """``exact``, or what is wrong.

    What was acknowledged is there once, what failed is not there, and no transfer is there by half.
    """
    wrote = [each for each in requests if each.writes]
    there = book.keys
    found = {
        "acknowledged and lost": sum(each.outcome == "ok" and not there.get(each.key) for each in wrote),
        "there twice": sum(number > 1 for number in there.values()),
        "failed but there": sum(each.outcome == "failed" and bool(there.get(each.key)) for each in wrote),
        "wrong answers": sum(each.outcome == "wrong" for each in requests),
        "half a transfer": int(book.total != 0),
    }
    return ", ".join(f"{number} {name}" for name, number in found.items() if number) or "exact"
