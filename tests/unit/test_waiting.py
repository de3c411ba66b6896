"""Waiters, slots and shelves: plain data, and one primitive that wakes one thread once."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from pgdbpool.waiting import BORROWED, CLEANING, GONE, IDLE, Shelf, Slot, Waiter
from tests.unit.groups import LONG


def a_slot(shelf: Shelf | None = None, number: int = 1) -> Slot:
    return Slot(shelf or Shelf("server", 2, 1), number, bool, 100.0, 200.0)


def test_a_waiter_is_settled_by_a_slot() -> None:
    """A waiter that was settled by a slot before it began to block does not block, and has the slot."""
    waiter, slot = Waiter(), a_slot()
    waiter.settle(slot)
    assert waiter.wait(LONG) is True
    assert (waiter.slot, waiter.error) == (slot, None)


def test_a_waiter_is_settled_by_an_error() -> None:
    """A waiter that was settled by an error has it and no slot."""
    waiter, error = Waiter(), ValueError()
    waiter.settle(error=error)
    assert waiter.wait(0) is True
    assert (waiter.slot, waiter.error) == (None, error)


def test_settling_wakes_the_thread_that_blocks() -> None:
    """A thread that blocks for long comes back when it is settled by another."""
    waiter, answers = Waiter(), list[bool]()
    thread = threading.Thread(target=lambda: answers.append(waiter.wait(LONG)), daemon=True)
    thread.start()
    waiter.settle(a_slot())
    thread.join(10)
    assert answers == [True]


@pytest.mark.parametrize("timeout", [0.05, 0.0, -1.0])
def test_a_wait_ends_by_itself(timeout: float) -> None:
    """A wait that nobody settles lasts its timeout, and none at all when that has passed already."""
    waiter, begun = Waiter(), monotonic()
    assert waiter.wait(timeout) is False
    assert timeout - 0.01 <= monotonic() - begun < 5.0


def test_a_waiter_serves_many_waits() -> None:
    """What settled one wait neither settles the next one nor is left in it."""
    waiter = Waiter()
    waiter.settle(a_slot())
    assert waiter.wait(0)
    waiter.begin("owner", 12.0)
    assert (waiter.owner, waiter.since, waiter.slot, waiter.error) == ("owner", 12.0, None, None)
    assert waiter.wait(0) is False


def test_a_slot_with_an_owner_is_borrowed() -> None:
    """A slot's state is what it rests in, unless somebody owns it."""
    slot = a_slot()
    assert slot.state is CLEANING
    for rest in (IDLE, GONE):
        slot.rest = rest
        assert slot.state is rest
    slot.owner = "somebody"
    assert slot.state is BORROWED


def test_a_slot_says_what_it_is() -> None:
    """A slot's repr names its resource, its state and its turn."""
    assert repr(a_slot(number=7)) == "<Slot 7 cleaning turn=0>"


def test_a_slot_is_of_its_shelfs_generation() -> None:
    """A connection that is opened after another was found dead is not suspect."""
    shelf = Shelf("server", 2, 1)
    elder = a_slot(shelf)
    shelf.generation += 1
    assert (elder.generation == shelf.generation, a_slot(shelf).generation == shelf.generation) == (False, True)


def test_a_shelf_counts_its_members_by_state() -> None:
    """A shelf says how many of its connections are in a state."""
    shelf = Shelf("server", 3, 1)
    shelf.members = [a_slot(shelf, number) for number in (1, 2, 3)]
    shelf.members[0].owner = "somebody"
    assert [shelf.count(state) for state in (BORROWED, CLEANING, IDLE, GONE)] == [1, 2, 0, 0]
