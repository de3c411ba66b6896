"""When to open, when to try again, when to let go."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from pgdbpool.waiting import Backoff, Shelf, Size, Slot, lifetime, outdated, superfluous, wanted


@pytest.fixture(autouse=True)
def _same_dice() -> None:
    random.seed(4711)


def shelf(members: int = 0, *, opening: int = 0, capacity: int = 4, minimum: int = 0) -> Shelf:
    made = Shelf("server", capacity, minimum)
    made.members = [Slot(made, number, bool, 0.0, 1000.0) for number in range(members)]
    made.opening = opening
    return made


@pytest.mark.parametrize(
    ("members", "opening", "minimum", "waiting", "answer"),
    [
        (0, 0, 0, 0, False),  # nobody asks
        (0, 0, 0, 1, True),
        (0, 1, 0, 1, False),  # the one on its way will serve him
        (0, 1, 0, 2, True),
        (3, 0, 0, 1, True),
        (4, 0, 0, 9, False),  # full
        (3, 1, 0, 9, False),  # full with what is on its way
        (5, 0, 0, 9, False),  # more than full, after a resize
        (0, 0, 2, 0, True),  # the minimum
        (1, 0, 2, 0, True),
        (1, 1, 2, 0, False),
        (2, 0, 2, 0, False),
    ],
)
def test_one_more_is_wanted(members: int, opening: int, minimum: int, waiting: int, answer: bool) -> None:
    """One more is wanted for a waiter whom none on its way will serve, or below the minimum; never beyond the capacity."""
    assert wanted(shelf(members, opening=opening, minimum=minimum), waiting) is answer


@pytest.mark.contract("3.group.max_idle.1")
def test_lifetimes_spread() -> None:
    """Connections opened together end one by one, evenly over the last fifth of their limit."""
    ends = [lifetime(1000.0, nth, 10) for nth in range(10)]
    assert all(800.0 <= end <= 1000.0 for end in ends)
    assert all(1000.0 - 20.0 * (nth + 1) <= end <= 1000.0 - 20.0 * nth for nth, end in enumerate(ends))


@pytest.mark.contract("3.group.max_idle.1")
def test_lifetimes_differ_between_processes() -> None:
    """The same connection of two processes does not end at the same time."""
    assert len({lifetime(1000.0, 0, 10) for _ in range(20)}) > 10


def test_no_lifetime_exceeds_its_limit() -> None:
    """However many connections were opened before, a lifetime is within the last fifth of the limit."""
    assert all(80.0 <= lifetime(100.0, nth, 3) <= 100.0 for nth in range(1000))


def idle(made: Shelf, *numbers_and_times: tuple[int, float, float]) -> Shelf:
    """Put members on the stack, each by its number, the time since when it is idle, and its end."""
    for number, since, end in numbers_and_times:
        slot = made.members[number]
        slot.since, slot.expires_at = since, end
        made.idle.append(slot)
    return made


def numbers(slots: Iterable[Slot]) -> list[int]:
    return [slot.resource for slot in slots]


def test_what_is_idle_too_long_retires_oldest_first() -> None:
    """Of the idle ones beyond the minimum those go that were idle too long, the longest idle first."""
    made = idle(shelf(4, minimum=1), (0, 0.0, 999.0), (1, 10.0, 999.0), (2, 50.0, 999.0), (3, 95.0, 999.0))
    assert numbers(superfluous(made, 100.0, 60.0)) == [0, 1]
    assert numbers(superfluous(made, 100.0, 50.0)) == [0, 1, 2]


@pytest.mark.contract("3.group.min_connections.1")
def test_the_minimum_is_kept() -> None:
    """However long they were idle, as many stay as the minimum says, borrowed ones counted."""
    rows = [(number, 0.0, 999.0) for number in range(4)]
    assert numbers(superfluous(idle(shelf(4, minimum=3), *rows), 100.0, 1.0)) == [0]
    assert numbers(superfluous(idle(shelf(4, minimum=4), *rows), 100.0, 1.0)) == []
    assert numbers(superfluous(idle(shelf(4, minimum=3), *rows[:2]), 100.0, 1.0)) == [0]


@pytest.mark.contract("2.call.resize.1")
def test_what_is_more_than_the_capacity_goes_whatever_its_age() -> None:
    """As many idle ones go as there are members beyond the capacity, oldest first; borrowed ones count and stay."""
    rows = [(number, 99.0, 999.0) for number in range(4)]
    assert numbers(superfluous(idle(shelf(4, capacity=2, minimum=2), *rows), 100.0, 60.0)) == [0, 1]
    assert numbers(superfluous(idle(shelf(4, capacity=0), *rows), 100.0, 0.0)) == [0, 1, 2, 3]
    assert numbers(superfluous(idle(shelf(4, capacity=1), *rows[2:]), 100.0, 0.0)) == [2, 3]


@pytest.mark.contract("3.group.max_idle.1")
def test_what_is_past_its_lifetime() -> None:
    """Past its lifetime is what is idle and has come to its end, whatever the minimum, oldest first."""
    made = idle(shelf(4, minimum=4), (2, 99.0, 100.0), (0, 99.0, 50.0), (1, 0.0, 100.5))
    made.members[3].expires_at = 0.0  # not idle
    assert numbers(outdated(made, 100.0)) == [2, 0]
    assert numbers(superfluous(made, 100.0, 60.0)) == []


def test_no_limit_of_idleness() -> None:
    """``max_idle`` 0 retires nobody for being idle."""
    assert numbers(superfluous(idle(shelf(2), (0, 0.0, 1e9), (1, 0.0, 1e9)), 1e6, 0.0)) == []


def pauses(backoff: Backoff, count: int, longest: float = 1.0) -> list[float]:
    found = []
    for _ in range(count):
        backoff.failed(50.0, longest)
        found.append(backoff.delay(50.0))
    return found


@pytest.mark.contract("4.lost.1")
@pytest.mark.parametrize(("longest", "bounds"), [(1.0, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]), (0.3, [0.1, 0.2, 0.3, 0.3])])
def test_pauses_double_up_to_the_cap(longest: float, bounds: list[float]) -> None:
    """Each pause is twice the last one up to the cap, less a jitter of at most a fifth, and never more than the cap."""
    for _ in range(50):
        found = pauses(Backoff(), len(bounds), longest)
        assert all(0.8 * most - 1e-9 <= pause <= most + 1e-9 for pause, most in zip(found, bounds, strict=True))


@pytest.mark.contract("4.lost.1")
def test_a_longer_cap_takes_effect_from_where_the_pauses_are() -> None:
    """A failure of another kind, with a cap of its own, doubles on from the pause before, and a lower one ends that."""
    backoff = Backoff()
    pauses(backoff, 5)
    assert 1.6 <= pauses(backoff, 1, 2.0)[0] <= 2.0
    assert pauses(backoff, 1, 1.0)[0] <= 1.0


@pytest.mark.contract("4.lost.1")
def test_pauses_have_jitter() -> None:
    """Two processes do not pause for the same time."""
    assert len({pauses(Backoff(), 1)[0] for _ in range(20)}) > 10


def test_a_pause_runs_out() -> None:
    """The delay is what remains of the pause, and none when it is over."""
    backoff = Backoff()
    assert backoff.delay(50.0) == 0.0
    backoff.failed(50.0, 1.0, at_least=2.0)
    assert [backoff.delay(now) for now in (50.0, 51.5, 52.0, 60.0)] == [2.0, 0.5, 0.0, 0.0]


def test_success_forgets_the_failures() -> None:
    """After a success the next failure pauses as shortly as the first."""
    backoff = Backoff()
    pauses(backoff, 5)
    backoff.succeeded()
    assert backoff.delay(50.0) == 0.0
    assert pauses(backoff, 1)[0] <= 0.1 + 1e-9


def flags(marked: str, mark: str) -> list[bool]:
    return [each == mark for each in marked]


@pytest.mark.contract("3.group.connection_count.1", "2.call.resize.1")
@pytest.mark.parametrize(
    ("servers", "shares"), [("...", [4, 4, 4]), (".d.", [4, 0, 4]), ("a.a", [4, 4, 4]), ("d", [0])]
)
def test_each_server_has_the_whole_count(servers: str, shares: list[int]) -> None:
    """A group may hold its count to each server, away or not, but for one that is drained."""
    assert Size(4, 1).shares([not drained for drained in flags(servers, "d")], flags(servers, "a")) == shares


@pytest.mark.contract("1.p3.1")
@pytest.mark.parametrize(
    ("count", "dealt_from", "servers", "shares"),
    [
        (5, 0, "...", [2, 2, 1]),
        (5, 1, "...", [1, 2, 2]),
        (5, 2, "...", [2, 1, 2]),
        (1, 2, "...", [0, 0, 1]),
        (6, 1, "...", [2, 2, 2]),
        (5, 0, ".", [5]),
        (5, 1, ".d.", [2, 0, 3]),  # the drained one is passed over
        (5, 1, "..a", [2, 3, 0]),  # so is who is away
        (5, 1, "d.a", [0, 5, 0]),
        (5, 1, "aaa", [1, 2, 2]),  # unless all are
        (5, 1, "daa", [0, 3, 2]),
        (5, 1, "ddd", [0, 0, 0]),
        (1, 0, "a.", [0, 1]),
    ],
)
def test_a_total_is_dealt_in_turn(count: int, dealt_from: int, servers: str, shares: list[int]) -> None:
    """As 1.0 does, a total is dealt one by one, beginning where the group before ended, to those that can be reached."""
    drained, away = flags(servers, "d"), flags(servers, "a")
    assert Size(count, 1, dealt_from).shares([not each for each in drained], away) == shares
