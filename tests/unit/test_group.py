"""Checkout, release and the line of waiters, with integers for connections (contract §4)."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import pytest

from pgdbpool.engine.owners import Owner
from pgdbpool.errors import PoolClosed, PoolError, PoolTimeout
from pgdbpool.waiting import View
from tests.unit.groups import LONG, Client, Numbers, full, waiting_owner

# -- taking and giving back -------------------------------------------------------------------------------------------


@pytest.mark.contract("4.p1.1")
def test_a_free_connection_is_taken_and_given_back() -> None:
    """A borrowed connection has its owner, is not idle, and is so again afterwards; its turns and their time count."""
    numbers = Numbers()
    (slot,) = numbers.stock(1)
    owner, held = Owner(), []
    slot.note = held.append
    assert numbers.take(owner=owner) is slot
    assert (slot.owner, slot.state, numbers.idle(), slot.turn) == (owner, "borrowed", [], 1)
    numbers.group.release(slot, owner)
    assert (slot.state, numbers.idle(), numbers.proven) == ("idle", [1], [])
    numbers.group.release(numbers.take(owner=owner), owner)
    assert (slot.turn, len(held), min(held) > 0.0) == (2, 2, True)


def test_the_last_one_given_back_is_taken_first() -> None:
    """Idle connections are a stack: few stay warm, the others can retire."""
    numbers, slots = full(3)
    for number in (2, 1, 3):
        numbers.group.release(slots[3 - number], slots[3 - number].owner)
    given = numbers.idle()
    assert [numbers.take().resource for _ in range(3)] == given[::-1]


def test_what_was_soiled_is_cleaned_first() -> None:
    """A soiled connection goes to be cleaned, and is neither idle nor anybody's until that is done."""
    numbers, (slot,) = full()
    numbers.group.release(slot, slot.owner, soiled=True)
    assert (numbers.soiled, slot.state, numbers.idle()) == ([slot], "cleaning", [])
    with pytest.raises(PoolTimeout):
        numbers.take()
    numbers.group.restore(slot)
    assert numbers.take() is slot


@pytest.mark.contract("4.protected.2")
@pytest.mark.parametrize("soiled", [False, True])
def test_releasing_twice_raises(soiled: bool) -> None:
    """The second release raises and changes nothing: the connection is idle once."""
    numbers, (slot,) = full()
    owner = slot.owner
    numbers.group.release(slot, owner)
    with pytest.raises(PoolError, match="not borrowed"):
        numbers.group.release(slot, owner, soiled)
    assert (numbers.idle(), numbers.soiled) == ([1], [])
    assert numbers.intact()


@pytest.mark.contract("4.protected.2")
@pytest.mark.parametrize("way", ["release", "broken"])
def test_what_another_borrowed_cannot_be_given_back(way: str) -> None:
    """A foreign owner's release raises, and the one who has it keeps it."""
    numbers, (slot,) = full()
    owner = slot.owner
    with pytest.raises(PoolError, match="not borrowed"):
        getattr(numbers.group, way)(slot, Owner())
    assert (slot.owner, numbers.closed, numbers.idle()) == (owner, [], [])
    numbers.group.release(slot, owner)
    assert numbers.intact()


@pytest.mark.contract("4.protected.2")
def test_what_was_taken_back_cannot_be_given_back() -> None:
    """Who comes back with a connection that was taken from him gets an error, also when another has it by then."""
    numbers, (slot,) = full()
    late = slot.owner
    assert numbers.group.take_back(slot, slot.turn)
    with pytest.raises(PoolError, match="taken back"):
        numbers.group.release(slot, late)
    numbers.group.restore(slot)
    now = Owner()
    numbers.take(owner=now)
    with pytest.raises(PoolError, match="taken back"):
        numbers.group.release(slot, late)
    assert slot.owner is now


# -- first come, first served -----------------------------------------------------------------------------------------


@pytest.mark.contract("4.waiting.1")
def test_first_come_first_served() -> None:
    """Who waits longest is served next, whoever gives back, and nobody else is."""
    numbers, (slot,) = full()
    clients = [Client.in_line(numbers) for _ in range(4)]
    for served, client in enumerate(clients):
        numbers.group.release(slot, slot.owner)
        assert client.done().got is slot
        assert slot.owner is client.owner
        assert [other.waits for other in clients] == [False] * (served + 1) + [True] * (3 - served)
    numbers.group.release(slot, slot.owner)
    assert numbers.intact()


@pytest.mark.contract("4.waiting.1")
@pytest.mark.parametrize("way", ["release", "restore", "add"])
def test_nobody_overtakes_the_line(way: str) -> None:
    """However a connection becomes free, it is the first waiter's before anybody else can ask for it."""
    numbers, (slot,) = full()
    first, second = Client.in_line(numbers), Client.in_line(numbers)
    if way == "add":
        numbers.shelf.capacity = 2
        slot = numbers.put(2)
    else:
        numbers.group.release(slot, slot.owner, soiled=way == "restore")
    if way == "restore":
        numbers.group.restore(slot)
    assert slot.owner is first.owner
    with pytest.raises(PoolTimeout):
        numbers.take()
    assert (first.done().got, second.waits) == (slot, True)
    numbers.group.close()


def test_the_served_one_comes_too_late_to_its_time_but_has_it() -> None:
    """A hand-over in the very moment when the time runs out counts: the waiter has the connection."""
    numbers, (slot,) = full()

    def times_out_just_before_the_hand_over() -> bool:
        numbers.group.release(slot, slot.owner)
        return False

    owner = waiting_owner(times_out_just_before_the_hand_over)
    assert numbers.take(LONG, owner) is slot
    assert slot.owner is owner
    with pytest.raises(PoolTimeout):  # and the wake-up that came too late wakes no later wait
        numbers.take(0.01, waiting_owner(lambda: False))
    other = Client.in_line(numbers)
    numbers.group.release(slot, owner)
    assert other.done().got is slot
    with pytest.raises(PoolTimeout):
        numbers.take(0.01, owner)
    assert numbers.group.waiting() == 0
    assert numbers.group.tally.timeouts == 2


@pytest.mark.contract("4.waiting.1")
def test_who_timed_out_is_never_served() -> None:
    """A waiter whose time ran out is out of the line: the connection goes to the next, or is idle."""
    numbers, (slot,) = full()
    hurried = Client.in_line(numbers, 0.05)
    patient = Client.in_line(numbers)
    assert isinstance(hurried.done().error, PoolTimeout)
    numbers.group.release(slot, slot.owner)
    assert patient.done().got is slot
    with pytest.raises(PoolTimeout):
        numbers.take(0.01)
    numbers.group.release(slot, patient.owner)
    assert numbers.intact()


def test_time_that_runs_out_while_the_lock_is_held() -> None:
    """Who wakes up from its timeout while another hands over to it takes what it was given."""
    numbers, (slot,) = full()
    group = numbers.group
    client = Client.in_line(numbers, 0.05)
    with group._lock:
        threading.Event().wait(0.15)  # its time is over, and it stands before the lock
        assert client.waits
        slot.owner = None
        group._hand_over(slot, 0.0)
    assert client.done().got is slot
    group.release(slot, client.owner)
    assert numbers.intact()


@pytest.mark.parametrize("servers", [1, 2])
def test_one_came_back_between_the_two_looks(monkeypatch: pytest.MonkeyPatch, servers: int) -> None:
    """What becomes idle after the first look and before joining the line is found there."""
    numbers, (slot,) = full(views=[View()] * servers)
    group, owner, mine = numbers.group, slot.owner, Owner()
    second_look = group._take_idle

    def released_meanwhile(*asked: Any) -> Any:  # under the lock, as the real one
        slot.owner = None
        numbers.shelf.idle.append(slot)
        return second_look(*asked)

    monkeypatch.setattr(group, "_take_idle", released_meanwhile)
    assert owner is not mine
    assert numbers.take(0.0, mine) is slot
    assert (slot.owner, numbers.asked_to_grow, numbers.proven) == (mine, [], [])


@pytest.mark.contract("2.call.stats.1")
def test_waits_are_counted() -> None:
    """Waits that were served, timed out and failed are told apart, and served ones' time adds up."""
    numbers, (slot,) = full()
    tally = numbers.group.tally
    client = Client.in_line(numbers)
    numbers.group.release(slot, slot.owner)
    client.done()
    waited, _, _ = numbers.group.wait.read(monotonic())
    assert (waited.count, tally.timeouts, tally.errors) == (1, 0, 0)
    assert 0.0 < waited.longest == waited.seconds < LONG
    with pytest.raises(PoolTimeout) as ended:
        numbers.take(0.01)
    assert 0.01 <= float(str(ended.value)) < LONG  # how long it waited
    numbers.group.close()
    with pytest.raises(PoolClosed):
        numbers.take()
    assert (tally.waits, tally.timeouts, tally.errors) == (1, 1, 1)
    assert numbers.group.wait.read(monotonic()).whole.count == 2  # the one in vain, too
