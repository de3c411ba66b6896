"""Waits that end by something else than a connection, with integers for connections (contract §4)."""

from __future__ import annotations

import ctypes
import sys
import threading
from time import sleep

import pytest

from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolTimeout, TooManyRequests
from pgdbpool.waiting import Waiter
from tests.servers import eventually
from tests.unit.groups import LONG, Client, Numbers, full, waiting_owner


@pytest.mark.contract("4.a-thread.1")
def test_who_holds_all_gets_no_more() -> None:
    """A thread that holds the whole group is told so at once, though it would wait for long."""
    numbers = Numbers(2)
    numbers.stock(1, 2)
    owner = Owner()
    numbers.take(owner=owner)
    last = numbers.take(LONG, owner)
    with pytest.raises(NestedCheckout):
        numbers.take(LONG, owner)
    numbers.group.release(last, owner)
    assert numbers.take(LONG, owner) is last


@pytest.mark.contract("4.a-thread.1")
def test_who_holds_all_but_one_waits() -> None:
    """A thread that holds all but what another has, or what is being cleaned, or may yet be opened, waits for that."""
    for one in ("borrowed", "cleaned", "not open"):
        numbers = Numbers(3 if one == "not open" else 2)
        numbers.stock(1, 2)
        owner = Owner()
        numbers.take(owner=owner)
        other = numbers.take(owner=owner if one == "not open" else None)
        if one == "cleaned":
            numbers.group.release(other, other.owner, soiled=True)
        with pytest.raises(PoolTimeout):
            numbers.take(0.0, owner)


@pytest.mark.contract("4.a-thread.1", "2.call.resize.1")
def test_a_larger_capacity_is_something_to_wait_for() -> None:
    """When the capacity grows, a thread that holds all there was asks for another and gets it."""
    numbers, (slot,) = full()
    numbers.shelf.capacity = 2
    client = Client.in_line(numbers, owner=slot.owner)
    assert numbers.asked_to_grow == [numbers.shelf]
    assert numbers.put(2) is client.done().got


@pytest.mark.contract("3.group.max_waiting.1", "4.waiting.2")
def test_max_waiting() -> None:
    """As many as ``max_waiting`` may wait; the next is turned away at once, unless something is free."""
    numbers, (slot,) = full(max_waiting=2)
    clients = [Client.in_line(numbers) for _ in range(2)]
    with pytest.raises(TooManyRequests):
        numbers.take(LONG)
    assert numbers.group.tally.errors == 1
    numbers.group.release(slot, slot.owner)
    assert clients[0].done().got is slot
    last = Client.in_line(numbers)
    assert (clients[1].waits, last.waits) == (True, True)
    numbers.group.close()


@pytest.mark.contract("3.group.max_waiting.1")
def test_max_waiting_is_no_limit_of_borrowing() -> None:
    """With ``max_waiting`` 1 a free connection is had as ever, and 0 is no limit."""
    numbers = Numbers(1, max_waiting=1)
    numbers.stock(1)
    assert numbers.take().resource == 1
    numbers, _ = full()
    clients = [Client.in_line(numbers) for _ in range(20)]
    assert all(client.waits for client in clients)
    numbers.group.close()


@pytest.mark.contract("4.waiting.2")
def test_a_permanent_failure_ends_all_waits() -> None:
    """When the only server turns out to be unusable, all who wait are told at once, and so is who asks until then."""
    numbers = Numbers(2)
    clients = [Client.in_line(numbers) for _ in range(3)]
    assert numbers.group.reserve(numbers.shelf)
    numbers.group.give_up(numbers.shelf, OSError("password"), until=float("inf"))
    errors = [client.done().error for client in clients]
    assert [(type(error), str(error)) for error in errors] == [(DBOfflineError, "password")] * 3
    with pytest.raises(DBOfflineError, match="password"):
        numbers.take(LONG)
    assert (numbers.group.tally.errors, numbers.shelf.opening) == (4, 0)


@pytest.mark.contract("4.waiting.2")
def test_a_permanent_failure_is_not_for_ever() -> None:
    """After ``hopeless_until`` a thread waits again, and has another opened."""
    numbers = Numbers(1)
    numbers.group.reserve(numbers.shelf)
    numbers.group.give_up(numbers.shelf, OSError("password"), until=0.0)
    client = Client.in_line(numbers)
    assert numbers.asked_to_grow == [numbers.shelf]
    assert numbers.put(1) is client.done().got
    assert numbers.shelf.hopeless is None


def test_what_is_open_is_hope() -> None:
    """A server that lets nobody in any more fails no wait while one of its connections is in use: it will come back."""
    numbers, (slot,) = full()
    numbers.shelf.capacity = 2
    client = Client.in_line(numbers)
    numbers.group.reserve(numbers.shelf)
    numbers.group.give_up(numbers.shelf, OSError("password"), until=float("inf"))
    other = Client.in_line(numbers)
    numbers.group.release(slot, slot.owner)
    assert client.done().got is slot
    assert other.waits
    numbers.group.close()


@pytest.mark.contract("4.waiting.2")
def test_a_passing_failure_ends_no_wait() -> None:
    """Who waits goes on waiting when an attempt failed for a reason that may pass."""
    numbers = Numbers(1)
    client = Client.in_line(numbers)
    numbers.group.reserve(numbers.shelf)
    numbers.group.give_up(numbers.shelf)
    assert (numbers.group.waiting(), numbers.group.reserve(numbers.shelf)) == (1, True)
    numbers.group.give_up(numbers.shelf)
    assert numbers.put(1) is client.done().got


# -- exceptions on their way ------------------------------------------------------------------------------------------


def interrupted() -> bool:
    raise KeyboardInterrupt


def test_an_exception_while_waiting_leaves_the_line() -> None:
    """A wait that an exception ends leaves no ghost: the connection goes to the next."""
    numbers, (slot,) = full()
    with pytest.raises(KeyboardInterrupt):
        numbers.take(LONG, waiting_owner(interrupted))
    assert numbers.group.waiting() == 0
    client = Client.in_line(numbers)
    numbers.group.release(slot, slot.owner)
    assert client.done().got is slot


def test_an_exception_in_the_moment_of_the_hand_over_loses_nothing() -> None:
    """What was handed to a thread that an exception reaches before it wakes goes to the next in the line."""
    numbers, (slot,) = full()
    clients: list[Client] = []

    def served_and_interrupted() -> bool:
        clients.append(Client.in_line(numbers))
        numbers.group.release(slot, slot.owner)
        raise KeyboardInterrupt

    owner = waiting_owner(served_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        numbers.take(LONG, owner)
    assert clients[0].done().got is slot
    with pytest.raises(PoolTimeout):  # the wake-up that it did not take wakes no later wait
        numbers.take(0.01, owner)
    assert numbers.group.waiting() == 0


def test_an_exception_in_asking_for_growth_leaves_the_line() -> None:
    """Where no opener can be asked, who asked is not left in the line."""
    numbers = Numbers(1)
    numbers.group.hooks.grow = lambda shelf: interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        numbers.take(LONG)
    assert numbers.group.waiting() == 0


def test_who_still_stands_in_the_line_waits_by_another_place() -> None:
    """A thread whose last wait was struck between two instructions, and never left the line, can wait again."""
    numbers, (slot,) = full()
    owner, line = Owner(), numbers.group.writing.line
    ghost = owner.waiter
    ghost.begin(owner, 0.0)
    ghost.queued = True
    line.append(ghost)
    client = Client.in_line(numbers, owner=owner)
    assert owner.waiter is not ghost
    line.remove(ghost)
    numbers.group.release(slot, slot.owner)
    assert client.done().got is slot


def blocks(ident: int | None) -> bool:
    """Whether that thread stands in ``Waiter.wait``, and still does a moment later: then it waits for the lock."""
    for _ in range(3):
        frame = sys._current_frames().get(ident or 0)
        if frame is None or frame.f_code is not Waiter.wait.__code__:
            return False
        sleep(0.01)
    return True


def test_an_exception_from_another_thread_loses_nothing() -> None:
    """An exception set in a waiting thread from outside arrives when it wakes, and the connection is free afterwards."""
    numbers, (slot,) = full()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            numbers.group.checkout(
                present_owner(), 2.0
            )  # CPython 3.11 stalls traced threads till the exception arrives
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert thread.ident is not None
    assert eventually(lambda: blocks(thread.ident))
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
    numbers.group.release(slot, slot.owner)
    thread.join(10)
    assert [type(error) for error in caught] == [KeyboardInterrupt]
    assert numbers.intact()
