"""What a server's word about a transaction id is worth, case by case."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from pgdbpool.access.outcome import Tracked, judged, tracked
from pgdbpool.driver.position import Position

XID = 1000
BEFORE = Position(1.0, 1.1, False, "ours", 3, 5000, next_xid=990, unbroken="monday")
SYNCHRONOUS = replace(BEFORE, synchronous=True)
SAME = replace(BEFORE, asked=9.0, heard=9.1, lsn=6000, next_xid=1010)
IDLE = replace(SAME, next_xid=990)
CRASHED = replace(SAME, unbroken="tuesday", recovered_xid=1001)
PROMOTED = replace(SAME, timeline=4, unbroken="other")
SAID = ("committed", "aborted", None, "in progress", "nonsense")


def answers(before: Position | None, now: Position, kept_xid: int) -> list[str]:
    """For "committed" and for "aborted"."""
    return [judged(status, Tracked(XID, before), now, kept_xid) for status in ("committed", "aborted")]


TOLD, UNKNOWN = ["committed", "aborted"], ["unknown", "unknown"]


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize("before", [BEFORE, SYNCHRONOUS])
@pytest.mark.parametrize("kept_xid", [0, XID, XID + 1])
@pytest.mark.parametrize("now", [SAME, IDLE])
def test_a_server_that_went_on(before: Position, kept_xid: int, now: Position) -> None:
    """Its word counts, whatever else is known."""
    assert answers(before, now, kept_xid) == TOLD


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize(("kept_xid", "found"), [(0, "unknown"), (XID, "unknown"), (XID + 1, "committed")])
def test_a_server_that_crashed(kept_xid: int, found: str) -> None:
    """The number is surely ours where it was in its WAL when it came back; else it may have been given out again.

    "aborted" is right in any case: had ours been committed, the number would be in its WAL, and be committed.
    """
    assert answers(BEFORE, CRASHED, kept_xid) == [found, "aborted"]


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize(("kept_xid", "found"), [(0, "unknown"), (XID, "unknown"), (XID + 1, "committed")])
def test_a_synchronous_standby_that_was_promoted(kept_xid: int, found: str) -> None:
    """What it had replayed before its promotion is ours; what it does not know was not committed."""
    assert answers(SYNCHRONOUS, PROMOTED, kept_xid) == [found, "aborted"]


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize("kept_xid", [0, XID, XID + 1])
def test_an_asynchronous_standby_that_was_promoted(kept_xid: int) -> None:
    """Nobody can know."""
    assert answers(BEFORE, PROMOTED, kept_xid) == UNKNOWN


@pytest.mark.contract("4.a-write-that.3")
@pytest.mark.parametrize("before", [BEFORE, SYNCHRONOUS])
@pytest.mark.parametrize("kept_xid", [0, XID, XID + 1])
@pytest.mark.parametrize(
    "now",
    [
        replace(SAME, timeline=5),  # of the primary in between nothing is known
        replace(SAME, timeline=2),
        replace(SAME, cluster="theirs"),
        replace(SAME, standby=True),
        replace(PROMOTED, standby=True),
    ],
)
def test_whoever_cannot_know(before: Position, kept_xid: int, now: Position) -> None:
    """Two promotions later, on an older timeline, in another cluster, on a standby: unknown, whatever is said."""
    assert answers(before, now, kept_xid) == UNKNOWN


@pytest.mark.parametrize("kept_xid", [0, XID + 1])
@pytest.mark.parametrize("now", [SAME, CRASHED, PROMOTED])
def test_nobody_knows_where_it_began(kept_xid: int, now: Position) -> None:
    """Where the server's position at the beginning is not known: unknown."""
    assert answers(None, now, kept_xid) == UNKNOWN


@pytest.mark.parametrize("status", [None, "in progress", "nonsense"])
def test_no_answer(status: str | None) -> None:
    """An id too old, or whatever is not an end: unknown."""
    for before, now, kept_xid in product((BEFORE, SYNCHRONOUS), (SAME, CRASHED, PROMOTED), (0, XID + 1)):
        assert judged(status, Tracked(XID, before), now, kept_xid) == "unknown"


@pytest.mark.parametrize(
    ("name", "xid"),
    [
        ("pgdbpool:web xid 761", 761),
        (" xid 1", 1),
        ("a xid 5 xid 18446744073709551615", 2**64 - 1),
        ("pgdbpool:web", None),
        ("", None),
        (None, None),
        ("a xid ", None),
        ("a xid 7 ", None),
        ("a xid -7", None),
        ("a xid 7x", None),
        ("axid 7", None),
    ],
)
def test_what_the_server_has_brought_back(name: str | None, xid: int | None) -> None:
    """The number behind the session's name; a name without one is of no transaction that wrote."""
    found = tracked(name, BEFORE)
    assert (None if found is None else found.xid) == xid
    assert found is None or found.position is BEFORE
