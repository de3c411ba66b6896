"""A place in a cluster's WAL that somebody's reads must not fall behind: their own last write, or what a token says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_UNKNOWN = 1 << 64  # behind every position


class Place(Protocol):
    """Where a server is."""

    @property
    def cluster(self) -> str: ...
    @property
    def timeline(self) -> int: ...
    @property
    def lsn(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """``at``: when it was known that the write is done, by the monotonic clock; until ``expires`` it counts.

    Of a write in autocommit only ``at`` is known at first: then no standby shows it until the primary was asked for a
    position after that moment.
    """

    at: float
    expires: float
    cluster: str = ""
    timeline: int = 0
    lsn: int = _UNKNOWN

    @property
    def known(self) -> bool:
        return self.lsn != _UNKNOWN

    def is_in(self, place: Place) -> bool:
        """Whether a standby at that place has replayed it.

        One on an earlier timeline may have gone on beyond the promotion, into what is not the cluster's history any more;
        so it must be known to be on this one.
        """
        return place.lsn >= self.lsn and place.timeline >= self.timeline and place.cluster == self.cluster


def later(one: Mark | None, other: Mark | None) -> Mark | None:
    """What shows both."""
    if one is None or other is None:
        return one or other
    if not (one.known and other.known):  # a position of the primary that is asked for after both is behind both
        return Mark(max(one.at, other.at), max(one.expires, other.expires))
    if one.cluster != other.cluster:
        return max(one, other, key=lambda mark: mark.at)
    return max(one, other, key=lambda mark: (mark.timeline, mark.lsn))
