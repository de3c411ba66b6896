"""How far a standby is behind: from what the primary had written when, and what the standby had replayed when."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

_KEPT = 4096  # samples
_OVERLAP = 0.05  # seconds
_INFINITE = float("inf")


class Lag(NamedTuple):
    """``seconds``: its data is what the primary had so long ago. None: unknown."""

    seconds: float | None
    octets: int | None


UNKNOWN = UNLIMITED = Lag(None, None)
NO_LAG = Lag(0.0, 0)


class History:
    """Positions in the primary's WAL, as asked of it: when, and where it was.

    Two servers' clocks are never compared where that can be avoided: a standby that has replayed what the primary had
    written at its last sample is no second behind, however long ago the last transaction was (a quiet primary is no lag).
    Of one that has not, the samples say between which two moments its data is; within these bounds the age of the last
    transaction that it replayed (``pg_last_xact_replay_timestamp()``) says it better.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[int, float]] = []  # only ever appended to, or exchanged as a whole

    def note(self, written: int, at: float) -> None:
        """The primary was there at that moment. By one thread at a time; anybody may ask for a lag meanwhile."""
        samples = self._samples
        if samples and (at < samples[-1][1] or (written < samples[-1][0] and at < samples[-1][1] + _OVERLAP)):
            return  # it came late, or was asked for while the last one was not answered yet
        if samples and written < samples[-1][0]:
            self._samples = samples = []  # it has crashed, and what it had not flushed is no more
        if len(samples) >= _KEPT:
            self._samples = samples = samples[_KEPT // 2 :]
        if len(samples) > 1 and samples[-1][0] == samples[-2][0] == written:
            samples[-1] = written, at  # quiet: the first and the last moment at one position are all that matters
        else:
            samples.append((written, at))

    def clear(self) -> None:
        """Another timeline: its positions are not comparable."""
        self._samples = []

    def lag(self, replayed: int, complete: bool | None, age: float | None, at: float, now: float) -> Lag:
        """``now``, of a standby that had replayed so much ``at`` that moment.

        ``complete``: that was all it had received (None: it receives nothing); ``age``: of the last transaction in it then.
        """
        samples = self._samples
        if not samples:  # no primary was ever asked
            return Lag(0.0 if complete else age, None)
        age = None if age is None else age + now - at
        after = bisect_right(samples, (replayed, _INFINITE))
        if after == len(samples):  # the primary may not have been asked for a while
            idle = now - samples[-1][1]
            return Lag(idle if age is None else min(idle, age), 0) if complete is False else NO_LAG
        missing = samples[-1][0] - replayed
        least = now - samples[after][1]
        if age is None and not after:
            return Lag(None, missing)
        most = now - samples[after - 1][1] if after else _INFINITE
        return Lag(max(least, min(most, _INFINITE if age is None else age)), missing)
