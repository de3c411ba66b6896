"""Which cluster is ours, who belongs to another one, and which of two primaries is over."""

from __future__ import annotations

import itertools

import pytest

from pgdbpool.waiting import Ours, Role, Standing, is_fenced, is_foreign, ours


def server(word: str) -> Standing:
    """``Pa3``: a primary of cluster a on timeline 3; ``Sa3-`` away for a moment, ``Sa3--`` for long; ``?``: nothing known."""
    roles: dict[str, Role] = {"P": "primary", "S": "standby", "?": "unknown"}
    bare = word.rstrip("-")
    away = (0.0, 1.0, 60.0)[len(word) - len(bare)]
    cluster = bare[1:2] or None
    return Standing(roles[word[0]], cluster, int(bare[2:] or 0), away)


def judged(known: Ours, servers: str) -> Ours:
    return ours(known, [server(word) for word in servers.split()])


NONE, FOUND, SURE = Ours(), Ours("a", 0, False), Ours("a", 3, True)


@pytest.mark.contract("5.failover.4")
@pytest.mark.parametrize(
    ("known", "servers", "found"),
    [
        # The first to be there counts, a primary above all.
        (NONE, "? ? ?", NONE),
        (NONE, "? Sa3 ?", Ours("a", 0, False)),
        (NONE, "Pa3 Sa3 ?", Ours("a", 3, True)),
        (NONE, "Sb1 Pa3 Sa3", Ours("a", 3, True)),
        (NONE, "Sa3- ? ?", NONE),
        (NONE, "Pa3- Sb1 ?", Ours("b", 0, False)),
        # Until a primary is seen a standby's word is provisional.
        (FOUND, "Sa3 Pb1 ?", Ours("b", 1, True)),
        (FOUND, "Sa3 Sb1 ?", FOUND),
        (FOUND, "Sa3 Pa3 Pb1", Ours("a", 3, True)),
        # A cluster whose primary was seen is kept while any of its servers is there, or was a moment ago.
        (SURE, "Pa3 Sa3 Pb9", SURE),
        (SURE, "Sa3 Pb9 Pb9", SURE),
        (SURE, "Sa3- Pb9 Pb9", SURE),
        (SURE, "? ? ?", SURE),
        (SURE, "Pa3-- Sa3-- Sa3--", SURE),
        (SURE, "Pa3-- Sa3 ?", SURE),
        # Another one's primary takes over when none of ours has answered for long, or all addresses are its own.
        (SURE, "Pb1 Sa3-- Sa3--", Ours("b", 1, True)),
        (SURE, "Pb1 Sb1 Sb1", Ours("b", 1, True)),
        (SURE, "Sb1 Sa3-- Sa3--", SURE),
        (SURE, "Sb1 Sb1 Sb1", Ours("b", 0, False)),
        (SURE, "Sb1- Sb1- ?", SURE),
        # Timelines only grow while the cluster is the same.
        (SURE, "Pa4 Sa3 Sa3", Ours("a", 4, True)),
        (SURE, "Pa2 Sa2 Sa2", SURE),
        (SURE, "Pa3 Pa5 Sa3", Ours("a", 5, True)),
        (SURE, "Sa9 Sa3 ?", SURE),
        (SURE, "Pb9 Pa4 ?", Ours("a", 4, True)),
    ],
)
def test_which_cluster_is_ours(known: Ours, servers: str, found: Ours) -> None:
    """As written in the table, in whatever order the servers are configured where that is no tie."""
    assert judged(known, servers) == found
    if known != NONE:
        for order in itertools.permutations(servers.split()):
            assert judged(known, " ".join(order)) == found


@pytest.mark.parametrize("known", [NONE, FOUND, SURE])
@pytest.mark.parametrize("servers", ["? ? ?", "Pa3 Sa3 Sb1", "Pb1 Pb1 Sb1", "Sa3-- Sa3-- Pb2", "Pa2 Pa5 Sa1"])
def test_judging_twice_changes_nothing(known: Ours, servers: str) -> None:
    """The same servers again: the same cluster, on the same timeline."""
    once = judged(known, servers)
    assert judged(once, servers) == once


@pytest.mark.contract("5.failover.2", "5.failover.4")
@pytest.mark.parametrize(
    ("word", "foreign", "fenced"),
    [
        ("Pa3", False, False),
        ("Pa2", False, True),
        ("Pa4", False, False),
        ("Sa2", False, False),
        ("Pa0", False, False),  # it has not told its timeline
        ("?", False, False),
        ("P", False, False),
        ("Pb1", True, False),
        ("Sb1", True, False),
        ("?b1", True, False),
        ("Pa2-", False, True),
        ("Pb9--", True, False),
    ],
)
def test_who_is_out(word: str, foreign: bool, fenced: bool) -> None:
    """Foreign: of another cluster. Fenced: a primary of ours on an earlier timeline; standbys may lag behind in that."""
    assert (is_foreign(SURE, server(word)), is_fenced(SURE, server(word))) == (foreign, fenced)
    assert not is_foreign(NONE, server(word))
    assert not is_fenced(NONE, server(word))


@pytest.mark.contract("5.failover.2")
def test_the_one_of_two_primaries() -> None:
    """Of all primaries of ours that have told their timeline, the ones on the highest are not fenced, and all others are."""
    for timelines in itertools.product((1, 2, 3), repeat=3):
        servers = [Standing("primary", "a", timeline) for timeline in timelines]
        known = ours(NONE, servers)
        assert [is_fenced(known, each) for each in servers] == [each < max(timelines) for each in timelines]
