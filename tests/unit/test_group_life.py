"""What becomes of a group's connections: replaced, cleaned, taken back, retired, closed (contract §4)."""

from __future__ import annotations

from time import monotonic

import pytest

from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.errors import PoolClosed, PoolError
from pgdbpool.waiting import Slot
from tests.unit.groups import LONG, Client, Numbers, age
from tests.unit.test_owners import ended, in_thread

# -- replaced, cleaned, taken back ------------------------------------------------------------------------------------


@pytest.mark.contract("4.lost.1")
def test_what_is_lost_is_replaced() -> None:
    """A lost connection's place is free at once, and another is asked for where somebody waits or too few are open."""
    for minimum, waits in ((0, False), (1, False), (0, True)):
        numbers = Numbers(1, minimum)
        numbers.stock(1)
        slot = numbers.take()
        client = Client.in_line(numbers) if waits else None
        numbers.group.broken(slot, slot.owner)
        assert (numbers.members(), numbers.closed) == ([], [1])
        assert bool(numbers.asked_to_grow) is numbers.group.wants(numbers.shelf) is bool(minimum or waits)
        if client is not None:
            assert numbers.put(2) is client.done().got


def test_no_more_are_reserved_than_wanted() -> None:
    """Openers that ask at once open as many as are wanted, and never more than the capacity."""
    numbers = Numbers(3, 1)
    group, shelf = numbers.group, numbers.shelf
    assert [group.reserve(shelf) for _ in range(2)] == [True, False]
    assert [group.reserve(shelf, asked=True) for _ in range(2)] == [False, False]  # the one on its way will do
    clients = [Client.in_line(numbers) for _ in range(5)]
    assert [group.reserve(shelf) for _ in range(3)] == [True, True, False]
    group.give_up(shelf)
    assert group.reserve(shelf)
    group.close()
    assert all(isinstance(client.done().error, PoolClosed) for client in clients)


def test_who_opens_for_itself() -> None:
    """A thread that opens for itself counts as one who waits."""
    numbers = Numbers(1)
    assert not numbers.group.reserve(numbers.shelf)
    assert numbers.group.reserve(numbers.shelf, asked=True)
    assert not numbers.group.reserve(numbers.shelf, asked=True)


@pytest.mark.parametrize("waits", [False, True])
def test_what_went_astray_is_found_again(waits: bool) -> None:
    """A free connection that an exception left in no list goes to whoever waits, or back on its shelf; others stay."""
    numbers = Numbers(3)
    numbers.stock(1, 2, 3)
    numbers.take()
    soiled = numbers.take()
    numbers.group.release(soiled, soiled.owner, soiled=True)
    astray = numbers.shelf.idle.pop()
    client = Client.in_line(numbers) if waits else None
    numbers.group.mend(numbers.shelf)
    numbers.group.mend(numbers.shelf)
    if client is None:
        assert numbers.idle() == [astray.resource]
    else:
        assert client.done().got is astray
    assert [slot.state for slot in numbers.shelf.members] == ["borrowed" if waits else "idle", "cleaning", "borrowed"]


def test_what_was_discarded_does_not_come_back() -> None:
    """A connection that was struck out of the books while it was cleaned is not put on its shelf when that is done."""
    numbers = Numbers(1)
    numbers.stock(1)
    slot = numbers.take()
    numbers.group.release(slot, slot.owner, soiled=True)
    numbers.group.discard(slot)
    numbers.group.restore(slot)
    assert (numbers.idle(), numbers.members(), slot.state, numbers.closed) == ([], [], "gone", [1])


def test_discarding_twice_closes_once() -> None:
    """A connection leaves the books once, and its turns stay counted."""
    numbers = Numbers(1)
    numbers.stock(1)
    slot = numbers.take()
    numbers.group.release(slot, slot.owner, soiled=True)
    numbers.group.discard(slot)
    numbers.group.discard(slot)
    assert (numbers.closed, numbers.shelf.past_turns, slot.state) == ([1], 1, "gone")


@pytest.mark.contract("2.call.stats.1")
@pytest.mark.parametrize("way", ["release", "broken", "take_back"])
def test_the_time_held_is_noted_however_it_ends(way: str) -> None:
    """The seconds for which a connection was borrowed are noted once, also where it was lost or taken back."""
    numbers = Numbers(1)
    numbers.stock(1)
    slot = numbers.take()
    held: list[float] = []
    slot.note, slot.since = held.append, slot.since - 7.0
    if way == "take_back":
        numbers.group.take_back(slot, slot.turn)
    else:
        getattr(numbers.group, way)(slot, slot.owner)
    assert len(held) == 1
    assert 7.0 <= held[0] < 7.0 + LONG


def test_a_dead_threads_connection_is_taken_back() -> None:
    """What a thread that ended still holds is taken from it and cleaned, and then goes to whoever waits."""
    numbers = Numbers(1)
    numbers.stock(1)

    def take_and_die() -> Slot:
        return numbers.group.checkout(present_owner(), 0.0)

    slot = in_thread(take_and_die)
    assert ended(slot.owner)
    client = Client.in_line(numbers)
    assert numbers.group.take_back(slot, slot.turn)
    assert (numbers.soiled, slot.owner, client.waits) == ([slot], None, True)
    numbers.group.restore(slot)
    assert client.done().got is slot


def test_what_has_moved_on_is_not_taken_back() -> None:
    """A connection that was given back meanwhile, and perhaps borrowed again, is left alone."""
    numbers = Numbers(1)
    numbers.stock(1)
    slot = numbers.take()
    turn = slot.turn
    numbers.group.release(slot, slot.owner)
    assert not numbers.group.take_back(slot, turn)
    again = numbers.take()
    assert not numbers.group.take_back(slot, turn)
    assert (again.state, numbers.soiled) == ("borrowed", [])


# -- old --------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("3.group.max_idle.1", "4.p1.1")
@pytest.mark.parametrize("soiled", [False, True])
def test_what_expired_is_closed_where_there_is_no_room_for_two(soiled: bool) -> None:
    """A connection past its lifetime, in a full group, is closed when it is given back; who waits gets a new one."""
    numbers = Numbers(1)
    slot = numbers.put(1)
    numbers.take()
    slot.expires_at = monotonic() - 1.0
    client = Client.in_line(numbers)
    numbers.group.release(slot, slot.owner, soiled)
    if soiled:
        assert (numbers.soiled, numbers.closed) == ([slot], [])
        numbers.group.restore(slot)
    assert (numbers.closed, client.waits) == ([1], True)
    assert numbers.asked_to_grow == [numbers.shelf]
    assert numbers.put(2) is client.done().got


@pytest.mark.contract("3.group.max_idle.1", "4.p1.1")
@pytest.mark.parametrize("way", ["given back", "cleaned", "opened"])
def test_what_expired_serves_until_its_replacement_is_open(way: str) -> None:
    """Where there is room, a connection past its lifetime stays in use, another is wanted, and it goes when that is open."""
    numbers = Numbers(2)
    if way == "opened":
        slot = numbers.put(1, lives=-1.0)
    else:
        (slot,) = numbers.stock(1)
        numbers.take()
        slot.expires_at = 0.0
        numbers.group.release(slot, slot.owner, soiled=way == "cleaned")
        if way == "cleaned":
            numbers.group.restore(slot)
    assert (numbers.idle(), numbers.closed) == ([1], [])
    assert (numbers.take(), numbers.closed) == (slot, [])
    numbers.group.release(slot, slot.owner)
    assert [numbers.group.reserve(numbers.shelf) for _ in range(2)] == [True, False]  # one replaces one
    numbers.arrive(2)
    assert (numbers.idle(), numbers.closed, slot.state) == ([2], [1], "gone")
    assert not numbers.group.wants(numbers.shelf)


@pytest.mark.contract("3.group.max_idle.1")
def test_one_replacement_replaces_one() -> None:
    """Of several that expired each stays until a replacement of its own is open, the oldest goes first."""
    numbers = Numbers(4)
    numbers.stock(1, 2, 3)
    for slot in numbers.shelf.idle:
        slot.expires_at = 0.0
    gone = []
    for number in (4, 5, 6):
        assert numbers.group.retire(numbers.shelf, monotonic(), 0.0) == []
        assert numbers.group.reserve(numbers.shelf)
        numbers.arrive(number)
        gone.append(list(numbers.closed))
    assert gone == [[1], [1, 2], [1, 2, 3]]
    assert not numbers.group.wants(numbers.shelf)


@pytest.mark.contract("3.group.max_idle.1")
def test_what_expired_in_a_full_group_goes_one_by_one() -> None:
    """Where there is no room for a replacement the idle ones past their lifetime go first, one at a look."""
    numbers = Numbers(3)
    numbers.stock(1, 2, 3)
    for slot in numbers.shelf.idle:
        slot.expires_at = 0.0
    (leaving,) = numbers.group.retire(numbers.shelf, monotonic(), 0.0)
    numbers.group.discard(leaving)
    assert (numbers.closed, numbers.idle(), numbers.asked_to_grow) == ([1], [2, 3], [numbers.shelf])
    assert numbers.group.retire(numbers.shelf, monotonic(), 0.0) == []
    numbers.put(4)
    assert (numbers.closed, numbers.idle()) == ([1, 2], [3, 4])
    assert numbers.group.wants(numbers.shelf)


@pytest.mark.contract("3.group.max_idle.1", "3.group.min_connections.1")
def test_the_idle_retire() -> None:
    """What is idle too long goes, oldest first, down to the minimum, without replacement; nobody can take it."""
    numbers = Numbers(4, 2)
    numbers.stock(1, 2, 3, 4)
    age(numbers, 100.0)
    leaving = numbers.group.retire(numbers.shelf, monotonic(), 60.0)
    assert [slot.resource for slot in leaving] == [1, 2]
    assert ({slot.state for slot in leaving}, numbers.idle()) == ({"cleaning"}, [3, 4])
    for slot in leaving:
        numbers.group.discard(slot)
    assert (numbers.closed, numbers.asked_to_grow) == ([1, 2], [])


def test_a_new_address_ends_lifetimes() -> None:
    """A connection whose server has another address now is past its lifetime; that is news once."""
    numbers = Numbers(2)
    (slot,) = numbers.stock(1)
    assert [numbers.group.outdate(slot) for _ in range(2)] == [True, False]
    assert numbers.group.retire(numbers.shelf, monotonic(), 0.0) == []
    numbers.put(2)
    assert (numbers.idle(), numbers.closed) == ([2], [1])


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.close.1", "4.waiting.2")
def test_close_wakes_all_who_wait() -> None:
    """All who wait, and all who come later, get ``PoolClosed`` at once."""
    numbers = Numbers(1)
    numbers.stock(1)
    slot = numbers.take()
    clients = [Client.in_line(numbers) for _ in range(5)]
    assert numbers.group.close() == []
    assert [type(client.done().error) for client in clients] == [PoolClosed] * 5
    with pytest.raises(PoolClosed):
        numbers.take(LONG)
    assert slot.state == "borrowed"


@pytest.mark.contract("2.call.close.1")
def test_after_close_everything_goes() -> None:
    """After close what is idle is the caller's to close, and what comes back is closed, however it comes; none is opened."""
    numbers = Numbers(6, 6)
    numbers.stock(1, 2, 3, 4, 5)
    released, soiled, cleaned = numbers.take(), numbers.take(), numbers.take()
    numbers.group.release(cleaned, cleaned.owner, soiled=True)
    assert numbers.group.reserve(numbers.shelf)
    idle = numbers.group.close()
    assert ([slot.resource for slot in idle], numbers.idle()) == ([1, 2], [])
    for slot in idle:
        numbers.group.discard(slot)
    numbers.group.release(released, released.owner)
    numbers.group.release(soiled, soiled.owner, soiled=True)
    numbers.group.restore(cleaned)
    slot = Slot(numbers.shelf, 6, bool, monotonic(), monotonic() + 1000)
    numbers.group.add(slot)
    assert (sorted(numbers.closed), numbers.members(), numbers.shelf.opening) == ([1, 2, 3, 4, 5, 6], [], 0)
    assert (numbers.group.reserve(numbers.shelf), numbers.group.wants(numbers.shelf)) == (False, False)
    assert numbers.asked_to_grow == []


@pytest.mark.contract("4.fork.1")
def test_a_forks_child_starts_empty() -> None:
    """The child of a fork has nothing and nobody, though its parent was inside the lock; what was borrowed raises there."""
    numbers = Numbers(3)
    numbers.stock(1, 2)
    slot = numbers.take()
    owner = slot.owner
    numbers.shelf.opening = 1
    group = numbers.group
    group.writing.line.append(Owner().waiter)
    group._lock.acquire()
    assert sorted(group.after_fork_in_child()) == [1, 2]
    assert (numbers.members(), numbers.idle(), group.waiting(), numbers.shelf.opening) == ([], [], 0, 0)
    with pytest.raises(PoolError, match="not borrowed"):
        group.release(slot, owner)
    assert numbers.closed == []
    mine = numbers.put(3)
    assert numbers.take() is mine
    group.release(mine, mine.owner)
    assert numbers.intact()


@pytest.mark.contract("4.fork.1")
def test_a_forks_child_may_hope() -> None:
    """What the parent was refused for, and its pool's end, do not hold in the child."""
    numbers = Numbers(1)
    numbers.group.reserve(numbers.shelf, asked=True)
    numbers.group.give_up(numbers.shelf, OSError("password"), until=float("inf"))
    numbers.group.after_fork_in_child()
    client = Client.in_line(numbers)
    assert numbers.put(1) is client.done().got
    with numbers.group.frozen() as (shelves, waiting, tally):
        assert (len(shelves[0].members), waiting, tally.timeouts) == (1, [], 0)
