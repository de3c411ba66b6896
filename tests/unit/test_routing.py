"""Which servers may serve whom: tables written down from libpq's words (``target_session_attrs``) and contract §5."""

from __future__ import annotations

from itertools import product

import pytest

from pgdbpool.waiting import Need, Role, View, needs
from pgdbpool.waiting.routing import Aim, aim

NEEDED = ("prefer-standby", 3)  # has a last resort
NEEDS: tuple[Need, ...] = ("any", "primary", "read-write", "standby", "read-only", "prefer-standby")
WRITING: tuple[Need, ...] = ("primary", "read-write")

# A server in the tables below: P primary, R primary that refuses writes by default, S standby, ? not known yet;
# + there, - away, neither: not reached yet; ! drained; 0 weight 0; f configured role; a or b: the machine behind it.
ROLES: dict[str, tuple[Role, bool]] = {
    "P": ("primary", False),
    "R": ("primary", True),
    "S": ("standby", False),
    "?": ("unknown", False),
}


def view(word: str) -> View:
    role, read_only = ROLES[word[0]]
    marks = set(word[1:])
    assert marks <= set("+-!0fab")
    return View(
        role=role,
        read_only=read_only,
        there="+" in marks,
        away="-" in marks,
        drained="!" in marks,
        weight=0.0 if "0" in marks else 1.0,
        identity=next(iter(marks & {"a", "b"}), None),
        fixed="f" in marks,
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

MARKS = ("", "!", "0", "f", "!f", "0f")
EACH = [role + health + marks for role, health, marks in product("?PRS", ("", "+", "-"), MARKS)]
PAIRS = [(first, second) for first, second in product(EACH, EACH)]
SUITS = {(role, need): bool(answer) for role, need, answer in rows(ALONE)}


@pytest.mark.parametrize("need", NEEDS)
def test_nobody_serves_whom_it_must_not(need: Need) -> None:
    """Of any two servers none serves that is drained or of the wrong role, and one does if any may."""
    for pair in PAIRS:
        may = [i for i, word in enumerate(pair) if SUITS[word[0], need] and "!" not in word]
        found = aimed(need, " ".join(pair))
        assert set(found.serve) <= set(may) >= set(found.keep), pair
        assert bool(found.serve) is bool(may) is bool(found.keep), pair


@pytest.mark.parametrize("need", NEEDS)
def test_who_is_there_serves(need: Need) -> None:
    """Of any two servers only those serve that are there, if any that may is; and of these but one is written to."""
    for pair in PAIRS:
        may = [word for word in pair if SUITS[word[0], need] and "!" not in word]
        found = aimed(need, " ".join(pair))
        if any("+" in word for word in may):
            assert all("+" in pair[i] for i in found.serve), pair
            assert len(found.serve) == 1 or need not in WRITING, pair


@pytest.mark.contract("5.target-any.1")
def test_any_never_looks_at_roles() -> None:
    """For ``any`` the answer is the same whatever the roles are, and whether they are configured."""
    for pair in PAIRS:
        plain = " ".join("?" + word[1:].replace("f", "") for word in pair)
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
