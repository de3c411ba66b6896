"""Marks: who shows a write, and which of two marks asks for more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import pytest

from pgdbpool.waiting import Mark, later

pytestmark = pytest.mark.contract("5.read-your-own.1")


@dataclass(frozen=True)
class Place:
    cluster: str
    timeline: int
    lsn: int


def known(timeline: int, lsn: int, at: float = 0.0, cluster: str = "ours") -> Mark:
    return Mark(at, at + 300.0, cluster, timeline, lsn)


def unknown(at: float) -> Mark:
    return Mark(at, at + 300.0)


@pytest.mark.parametrize(
    ("cluster", "timeline", "lsn", "shown"),
    [
        ("ours", 3, 1000, True),
        ("ours", 3, 1001, True),
        ("ours", 3, 999, False),
        ("ours", 3, 0, False),
        ("ours", 4, 1000, True),
        ("ours", 4, 999, False),
        ("ours", 2, 1000, False),  # it may have gone on beyond the promotion
        ("ours", 2, 10**9, False),
        ("theirs", 3, 1000, False),
        ("", 3, 1000, False),
    ],
)
def test_a_standby_shows_what_it_has_replayed(cluster: str, timeline: int, lsn: int, shown: bool) -> None:
    """At or behind the position, on this timeline or one that followed from it, and in the same cluster."""
    assert known(3, 1000).is_in(Place(cluster, timeline, lsn)) is shown


def test_no_standby_shows_what_nobody_knows() -> None:
    """A mark whose position is not known is behind every position that there can be."""
    mark = unknown(5.0)
    assert not mark.known
    assert not any(mark.is_in(Place(cluster, 2**32 - 1, 2**64 - 1)) for cluster in ("", "ours"))
    assert known(1, 2**64 - 1).known
    assert known(1, 2**64 - 1).is_in(Place("ours", 1, 2**64 - 1))


def test_the_later_of_two() -> None:
    """Of two known ones the one further in the WAL, first by timeline; whichever comes first."""
    ascending = [known(1, 5), known(1, 9), known(2, 3), known(3, 3)]
    for (i, one), (j, other) in product(enumerate(ascending), repeat=2):
        assert later(one, other) is ascending[max(i, j)] or one == other


def test_what_is_not_known_asks_for_more() -> None:
    """With one that is unknown, what counts is what the primary says after both."""
    for one, other in permutations([known(9, 9, at=100.0), unknown(1.0)]):
        assert later(one, other) == unknown(100.0)
    for one, other in permutations([unknown(1.0), unknown(2.0)]):
        assert later(one, other) == unknown(2.0)


def test_nothing_asks_for_nothing() -> None:
    """None is no mark."""
    assert later(None, None) is None
    assert later(known(1, 1), None) == later(None, known(1, 1)) == known(1, 1)


def test_of_two_clusters_the_later_mark_counts() -> None:
    """Positions of two clusters cannot be compared: what was noted last is what the thread means now."""
    old, new = known(7, 999, at=1.0, cluster="old"), known(1, 5, at=2.0, cluster="new")
    assert later(old, new) is later(new, old) is new
