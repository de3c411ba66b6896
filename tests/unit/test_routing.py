"""Which servers may serve whom: tables written down from libpq's words (``target_session_attrs``) and contract §5."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from pgdbpool.waiting import Lag, Need, Role, View, lags, needs
from pgdbpool.waiting.routing import Aim, aim

NEEDED = ("prefer-standby", 3)  # has a last resort
NEEDS: tuple[Need, ...] = ("any", "primary", "read-write", "standby", "read-only", "prefer-standby")
WRITING: tuple[Need, ...] = ("primary", "read-write")

# A server in the tables below: P primary, R primary that refuses writes by default, S standby, ? not known yet;
# + there, - away, neither: not reached yet; ! drained; 0 weight 0; f configured role; a or b: the machine behind it;
# ~ lagging; x fenced; * foreign.
ROLES: dict[str, tuple[Role, bool]] = {
    "P": ("primary", False),
    "R": ("primary", True),
    "S": ("standby", False),
    "?": ("unknown", False),
}


@cache
def view(word: str) -> View:
    role, read_only = ROLES[word[0]]
    marks = set(word[1:])
    assert marks <= set("+-!0fab~x*")
    return View(
        role=role,
        read_only=read_only,
        there="+" in marks,
        away="-" in marks,
        drained="!" in marks,
        weight=0.0 if "0" in marks else 1.0,
        identity=next(iter(marks & {"a", "b"}), None),
        fixed="f" in marks,
        lagging="~" in marks,
        fenced="x" in marks,
        foreign="*" in marks,
    )


def aimed(need: Need, servers: str) -> Aim:
    return aim(need, [view(word) for word in servers.split()])


def numbers(word: str) -> tuple[int, ...]:
    """``02``: the first and the third; ``-``: none."""
    return tuple(int(digit) for digit in word if digit != "-")


def rows(table: str) -> list[tuple[str, Need, tuple[int, ...]]]:
    """Servers, need and answer for each cell of a table."""
    lines = [line.split("|") for line in table.strip().splitlines()]
    return [
        (" ".join(servers.split()), need, numbers(cell))
        for servers, cells in lines
        for need, cell in zip(NEEDS, cells.split(), strict=True)
    ]


# -- one server -------------------------------------------------------------------------------------------------------

#         any primary read-write standby read-only prefer-standby
ALONE = """
    ?  |  0     0         0         0        0          0
    P  |  0     0         0         -        -          0
    R  |  0     0         -         -        0          0
    S  |  0     -         -         0        0          0
"""


@pytest.mark.contract("3.group.target.1", "3.endpoint.weight.1")
@pytest.mark.parametrize(("role", "need", "answer"), rows(ALONE), ids=str)
def test_whom_a_single_server_serves(role: str, need: Need, answer: tuple[int, ...]) -> None:
    """Alone, a server serves what libpq would take it for, there or not, whatever its weight, unless it is drained."""
    for health, weight, fixed, drained in product(("", "+", "-"), ("", "0"), ("", "f"), ("", "!")):
        found = aimed(need, role + health + weight + fixed + drained)
        assert (found.serve, found.keep) == (((), ()) if drained else (answer, answer)), (health, weight, fixed)


# -- several: who serves ----------------------------------------------------------------------------------------------

#                      any  primary read-write standby read-only prefer-standby
SERVE = """
    ?  ?  ?         |  012    012      012       012      012        012
    P+ S+ S+        |  012     0        0        12       12         12
    S+ P+ S+        |  012     1        1        02       02         02
    P+ S- S+        |  02      0        0         2        2          2
    P+ S  S+        |  02      0        0         2        2          2
    P+ S- S-        |   0      0        0        12       12          0
    P- S+ S+        |  12      0        0        12       12         12
    P- S- S-        |  012     0        0        12       12         012
    P  S  S         |  012     0        0        12       12         012
    P+ ?  S+        |  02      0        0         2        2          2
    P- ?  S+        |   2     01       01         2        2          2
    ?- ?  P+        |   2      2        2        01       01          2
    ?+ S+           |  01      0        0        01       01         01
    ?+ P+           |  01      0        0         0        0          0
    S+ S+           |  01      -        -        01       01         01
    P+ P+           |  01      0        0         -        -         01
    P- P+           |   1      1        1         -        -          1
    P- P-           |  01     01       01         -        -         01
    R+ S+           |  01      0        -         1       01          1
    R+ P+           |  01      0        1         -        0         01
    R- P+           |   1      1        1         -        0          1
    P+! S+          |   1      -        -         1        1          1
    P+ S+!          |   0      0        0         -        -          0
    P+ S+! S-       |   0      0        0         2        2          0
    P- S+!          |   0      0        0         -        -          0
    P+! S+!         |   -      -        -         -        -          -
    ?! ?            |   1      1        1         1        1          1
    P+f S+f         |  01      0        0         1        1          1
    P-f S+f         |   1      0        0         1        1          1
"""


@pytest.mark.contract("3.group.target.1", "5.eligible.1", "5.eligible.2", "5.target-any.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(SERVE), ids=str)
def test_who_serves(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """Of those that suit, the ones that are there; where none is, whoever comes first; one primary is written to."""
    assert aimed(need, servers).serve == answer


#                      any  primary read-write standby read-only prefer-standby
WEIGHTLESS = """
    P+0 S+          |   1      0        0         1        1          1
    P+0 S-          |   0      0        0         1        1          0
    P+  S+0         |   0      0        0         1        1          0
    P+  S+0 S+      |  02      0        0         2        2          2
    P+  S+0 S-      |   0      0        0         1        1          0
    P-  S+0         |   1      0        0         1        1          1
    P-  S+0 S+0     |  12      0        0        12       12         12
    P+0 S+0         |  01      0        0         1        1          1
    P+0 S+0 S-      |  01      0        0         1        1          1
    P+0f S+f        |   1      0        0         1        1          1
"""


@pytest.mark.contract("3.endpoint.weight.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(WEIGHTLESS), ids=str)
def test_weight_0_serves_when_nothing_else_is_left(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """A server of weight 0 serves only where no other that is there may; then the role decides again."""
    assert aimed(need, servers).serve == answer


#                      any  primary read-write standby read-only prefer-standby
TWINS = """
    P+a P+a         |  01      0        0         -        -          0
    S+a S+a P+b     |  012     2        2         0        0          0
    S-a S+a P+b     |  12      2        2         1        1          1
    S+!a S+a P+b    |  12      2        2         1        1          1
    P+a S+b S+b     |  012     0        0         1        1          1
    P+a P+b         |  01      0        0         -        -         01
    S+a P+a         |  01      1        1         0        0          0
    S+fa P+fa       |  01      1        1         0        0          0
    P+fa S+fa       |  01      0        0         1        1          0
"""


@pytest.mark.contract("5.failover.3", "5.target-any.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(TWINS), ids=str)
def test_two_addresses_of_one_server(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """Of two addresses of one server, where both would do, the first that is there serves; ``any`` does not look."""
    assert aimed(need, servers).serve == answer


#                      any  primary read-write standby read-only prefer-standby
LATE = """
    P+  S+~ S+      |  012     0        0         2        2          2
    P+  S+~ S+~     |  012     0        0         -        -          0
    P+~ S+  S+      |  012     0        0        12       12         12
    P-  S+~ S+~     |  12      0        0         -        -          0
    P-  S+~ S+      |  12      0        0         2        2          2
    P+  S+~ S-      |  01      0        0         2        2          0
    P+  S-~ S-~     |   0      0        0         -        -          0
    P+  S~  S~      |   0      0        0         -        -          0
    R+  S+~         |  01      0        -         -        0          0
    R+  S+~ P+      |  012     0        2         -        0         02
    P+0 S+~         |   1      0        0         -        -          0
    P+  S+~0 S+     |  02      0        0         2        2          2
    P+! S+~         |   1      -        -         -        -          -
    S+~ S+~         |  01      -        -         -        -          -
    P+f S+f~        |  01      0        0         -        -          0
    P+a S+a~ S+b    |  012     0        0         2        2          2
    ?+~ S+          |  01      0        0        01       01         01
"""


@pytest.mark.contract("5.eligible.1", "5.eligible.2")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(LATE), ids=str)
def test_who_lags_serves_no_reads(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """A standby further behind than the group allows serves no read; where none is left it is the primary, if it may."""
    assert aimed(need, servers).serve == answer


#                      any  primary read-write standby read-only prefer-standby
OUT = """
    P+x P+          |  01      1        1         -        -          1
    P+  P+x         |  01      0        0         -        -          0
    P+x S+ S+       |  012     -        -        12       12         12
    P+x P- S+       |  02      1        1         2        2          2
    P-x P+ S+       |  12      1        1         2        2          2
    R+x R+          |  01      1        -         -        1          1
    P+  S+* S+      |  012     0        0         2        2          2
    P+  S+* S+*     |  012     0        0         -        -          0
    P+* S+ S+       |  012     -        -        12       12         12
    P+* P+ S+       |  012     1        1         2        2          2
    P+* S+* S+*     |  012     -        -         -        -          -
    ?+* P+          |  01      1        1         -        -          1
    P+  S+*~ S+~    |  012     0        0         -        -          0
    P+  S+*0 S+     |  02      0        0         2        2          2
    P+a S+*a S+     |  012     0        0         2        2          2
    P+xa P+b        |  01      1        1         -        -          1
    P+  ?*          |   0      0        0         -        -          0
"""


@pytest.mark.contract("5.failover.2", "5.failover.4", "5.target-any.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(OUT), ids=str)
def test_who_is_out_serves_nobody(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """A server of another cluster and a primary whose time is over serve nobody but ``any``, whatever else may be away."""
    assert aimed(need, servers).serve == answer


# -- several: where connections are kept, and who may yet serve -------------------------------------------------------

#                      any  primary read-write standby read-only prefer-standby
KEEP = """
    ?  ?            |  01     01       01        01       01         01
    P+ S+ S-        |  012     0        0        12       12         12
    P- S- S-        |  012     0        0        12       12         12
    P+ ?  S+        |  012    01       01        12       12         12
    P+ S+!          |   0      0        0         -        -          0
    P+ S- S+0       |  01      0        0         1        1          1
    R- P+           |  01     01        1         -        0         01
    S+a S+a P+b     |  012     2        2         0        0          0
    S-a S+a P+b     |  012     2        2        01       01         01
"""


@pytest.mark.contract("3.group.min_connections.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(KEEP), ids=str)
def test_where_connections_are_kept(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """Connections are kept to the servers that the target prefers by role, reached or not."""
    assert aimed(need, servers).keep == answer


#                      any  primary read-write standby read-only prefer-standby
HOPE = """
    ?  ?            |  01     01       01        01       01         01
    P  S  S         |  012   012      012        12       12         012
    P  Sf           |  01      0        0         1        1         01
    S  S            |  01      -        -        01       01         01
    ?  S            |  01      0        0        01       01         01
    P! S            |  01     01       01         1        1         01
    P! S!           |  01     01       01         1        1         01
    P  P            |  01     01       01         -        -         01
    R  S            |  01     01        1         1       01         01
    R  Sf           |  01      0        -         1       01         01
    P0 S0           |  01     01       01         1        1         01
"""


@pytest.mark.contract("4.waiting.2", "5.failover.1")
@pytest.mark.parametrize(("servers", "need", "answer"), rows(HOPE), ids=str)
def test_who_may_yet_serve(servers: str, need: Need, answer: tuple[int, ...]) -> None:
    """Hope is in all of the right role, and for writes, where there was a primary, in each standby that may be promoted."""
    for health in ("", "+", "-"):
        with_health = " ".join(word + health for word in servers.split())
        assert aimed(need, with_health).hope == answer, with_health


# -- what holds for all of them ---------------------------------------------------------------------------------------

MARKS = ("", "!", "0", "f", "!f", "0f", "~", "x", "*")
EACH = [role + health + marks for role, health, marks in product("?PRS", ("", "+", "-"), MARKS)]
PAIRS = [(first, second) for first, second in product(EACH, EACH)]
SUITS = {(role, need): bool(answer) for role, need, answer in rows(ALONE)}


def may_serve(word: str, need: Need) -> bool:
    """By itself: of the right role, not drained, neither foreign nor fenced, and not too late for a read."""
    out = "!" in word or (need != "any" and bool(set(word) & set("x*")))
    late = word[0] == "S" and "~" in word and need not in ("any", *WRITING)
    return SUITS[word[0], need] and not (out or late)


@pytest.mark.parametrize("need", NEEDS)
def test_nobody_serves_whom_it_must_not(need: Need) -> None:
    """Of any two servers none serves that must not, and one does if any may; connections are kept to who lags, too."""
    for pair in PAIRS:
        may = {i for i, word in enumerate(pair) if may_serve(word, need)}
        kept = {i for i, word in enumerate(pair) if may_serve(word.replace("~", ""), need)}
        found = aimed(need, " ".join(pair))
        assert set(found.serve) <= may, pair
        assert set(found.keep) <= kept, pair
        assert (bool(found.serve), bool(found.keep)) == (bool(may), bool(kept)), pair


@pytest.mark.parametrize("need", NEEDS)
def test_who_is_there_serves(need: Need) -> None:
    """Of any two servers only those serve that are there, if any that may is; and of these but one is written to."""
    for pair in PAIRS:
        found = aimed(need, " ".join(pair))
        if any("+" in word and may_serve(word, need) for word in pair):
            assert all("+" in pair[i] for i in found.serve), pair
            assert len(found.serve) == 1 or need not in WRITING, pair


@pytest.mark.contract("5.target-any.1")
def test_any_never_looks_at_roles() -> None:
    """For ``any`` the answer is the same whatever role, lag, cluster and timeline are."""
    for pair in PAIRS:
        plain = " ".join("?" + "".join(mark for mark in word[1:] if mark not in "f~x*") for word in pair)
        assert aimed("any", " ".join(pair)) == aimed("any", plain), pair


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize("need", NEEDS)
def test_who_serves_may_be_hoped_for(need: Need) -> None:
    """Whoever serves or is kept is among those that may yet serve; health and weight do not change that."""
    for pair in PAIRS:
        found = aimed(need, " ".join(pair))
        assert {*found.serve, *found.keep} <= set(found.hope), pair
        bare = " ".join(word[0] + word[1:].replace("+", "").replace("-", "").replace("0", "") for word in pair)
        assert found.hope == aimed(need, bare).hope, pair


@pytest.mark.contract("5.target-auto.4", "3.group.target.1")
@pytest.mark.parametrize(
    ("target", "servers", "answer"),
    [
        ("auto", 1, ("any", "any")),
        ("auto", 2, ("primary", "prefer-standby")),
        ("auto", 3, ("primary", "prefer-standby")),
        ("prefer-standby", 3, ("prefer-standby", "primary")),
        *[(need, servers, (need, need)) for need, servers in product(NEEDS, (1, 3)) if (need, servers) != NEEDED],
    ],
)
def test_what_a_target_needs(target: str, servers: int, answer: tuple[Need, Need]) -> None:
    """``auto`` writes to the primary and reads from a standby, or takes the only server as it is; libpq's words mean both."""
    assert needs(target, servers) == answer


# -- lag --------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("5.eligible.1", "3.group.max_lag.1")
@pytest.mark.parametrize(
    ("lag", "seconds", "octets", "fresh", "already"),
    [
        (Lag(0.0, 0), 5.0, None, False, False),
        (Lag(5.0, 0), 5.0, None, False, True),
        (Lag(5.1, 0), 5.0, None, True, True),
        (Lag(2.5, 0), 5.0, None, False, False),
        (Lag(2.6, 0), 5.0, None, False, True),
        (Lag(99.0, 10**9), None, None, False, False),
        (Lag(None, None), None, None, False, False),
        (Lag(None, 0), 5.0, None, True, True),  # unknown is too much where a limit is asked
        (Lag(0.0, None), 5.0, None, False, False),
        (Lag(0.0, None), 5.0, 100, True, True),
        (Lag(0.0, 100), 5.0, 100, False, True),
        (Lag(0.0, 101), None, 100, True, True),
        (Lag(0.0, 50), None, 100, False, False),
        (Lag(9.0, 10), 5.0, 100, True, True),
        (Lag(1.0, 1000), 5.0, 100, True, True),
    ],
)
def test_what_is_too_much(lag: Lag, seconds: float | None, octets: int | None, fresh: bool, already: bool) -> None:
    """More than a limit is; an unknown lag where there is one; and who was too late comes back at half of each."""
    assert lags(lag, seconds, octets, already=False) is fresh
    assert lags(lag, seconds, octets, already=True) is already
