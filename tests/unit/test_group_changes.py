"""What a running group does when it is resized, when servers are drained, and when none can serve any more."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import inf
from time import monotonic
from typing import Any

import pytest

from pgdbpool.engine.owners import Owner
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolTimeout
from pgdbpool.waiting import Route, Size, Slot
from tests.unit.groups import LONG, Client, Numbers
from tests.unit.test_group_servers import AWAY, PRIMARY, STANDBY, give_back, lent, several, waiting

FIXED = replace(STANDBY, fixed=True)


def refuse(numbers: Numbers, at: int, why: str = "password", until: float = inf) -> None:
    """The server's last attempt failed for a reason that lasts."""
    numbers.shelves[at].opening += 1
    numbers.group.give_up(numbers.shelves[at], OSError(why), until)


def told(clients: list[Client]) -> list[tuple[type[Any], str]]:
    return [(type(client.done().error), str(client.error)) for client in clients]


def resized(numbers: Numbers, count: int) -> None:
    assert numbers.group.size is not None
    numbers.group.reroute(replace(numbers.group.size, count=count))


# -- resize -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.resize.1")
@pytest.mark.parametrize("order", [*permutations(range(3))], ids=str)
def test_a_smaller_group_shrinks_as_its_connections_come_back(order: tuple[int, ...]) -> None:
    """What is borrowed beyond the new size stays with who has it, and in whatever order they return, the rest is closed."""
    numbers = several(PRIMARY, PRIMARY, count=3, needs=("any",))
    slots = lent(numbers, 3)[0]
    resized(numbers, 1)
    assert (numbers.closed, [slot.state for slot in slots]) == ([], ["borrowed"] * 3)
    for at in order:
        give_back(numbers, slots[at])
    assert len(numbers.closed) == 2
    assert len(numbers.shelf.idle) == len(numbers.shelf.members) == 1
    assert not numbers.group.wants(numbers.shelf)


@pytest.mark.contract("2.call.resize.1")
def test_a_smaller_group_shrinks_though_its_connections_are_always_in_use() -> None:
    """Under load that never lets one become idle, what is beyond the new size goes as well, and the rest serves."""
    numbers = several(PRIMARY, PRIMARY, count=3, needs=("primary",))
    busy = lent(numbers, 3)[0]
    clients = [waiting(numbers, numbers.group.writing) for _ in range(4)]
    resized(numbers, 1)
    for slot in busy:
        give_back(numbers, slot)
    assert clients[0].done().got in busy
    assert [client.waits for client in clients] == [False, True, True, True]
    for before, client in zip(clients, clients[1:], strict=False):
        give_back(numbers, before.done().got)
        assert client.done().got is before.got
    assert (len(numbers.closed), len(numbers.shelf.members)) == (2, 1)


@pytest.mark.contract("2.call.resize.1")
def test_what_is_idle_beyond_the_size_is_closed_at_once() -> None:
    """Of the idle ones those that were idle for longest go when the group is made smaller; what is in use counts first."""
    numbers = several(PRIMARY, PRIMARY, count=4, needs=("any",))
    numbers.stock(1, 2, 3, 4)
    slot = numbers.take()
    resized(numbers, 2)
    assert (numbers.closed, numbers.idle(), slot.state) == ([1, 2], [3], "borrowed")
    give_back(numbers, slot)
    assert numbers.idle() == [3, 4]


@pytest.mark.contract("2.call.resize.1")
def test_what_is_on_its_way_when_the_group_shrinks() -> None:
    """A connection that arrives when there is no room for it any more is closed, also where somebody waits."""
    numbers = several(PRIMARY, STANDBY, count=2)
    client = waiting(numbers, numbers.group.writing)
    numbers.stock(1)
    assert client.done().got is not None
    other = waiting(numbers, numbers.group.writing)
    assert numbers.group.reserve(numbers.shelf)
    resized(numbers, 1)
    numbers.arrive(2)
    assert (numbers.closed, numbers.members(), other.waits) == ([2], [1], True)
    give_back(numbers, client.got)
    assert other.done().got is client.got


@pytest.mark.contract("2.call.resize.1", "4.a-thread.1")
def test_a_larger_group_grows_for_who_waits() -> None:
    """When the group is made larger another connection is asked for at once where somebody waits, and nowhere else."""
    numbers = several(PRIMARY, STANDBY, count=1)
    (slot,) = lent(numbers, 1)[0]
    with pytest.raises(NestedCheckout):
        numbers.take(LONG, slot.owner)
    client = waiting(numbers, numbers.group.writing)
    assert numbers.asked_to_grow == []
    resized(numbers, 2)
    assert numbers.asked_to_grow == [numbers.shelf]
    nested = Client.in_line(numbers, owner=slot.owner)
    assert numbers.put(2) is client.done().got
    give_back(numbers, client.got)
    assert nested.done().got is client.got


@pytest.mark.contract("2.call.resize.1")
def test_resized_there_and_back() -> None:
    """A group that was made smaller and larger again while all was in use ends with what it may have, all of it usable."""
    numbers = several(PRIMARY, PRIMARY, count=3, needs=("any",))
    slots = lent(numbers, 3)[0]
    resized(numbers, 1)
    resized(numbers, 3)
    for slot in slots:
        give_back(numbers, slot)
    while numbers.group.reserve(numbers.shelf):
        numbers.arrive(100 + len(numbers.closed))
        assert len(numbers.members()) <= 6  # three to the other server
    assert len(numbers.shelf.idle) == len(numbers.shelf.members) > 0


# -- drain and resume -------------------------------------------------------------------------------------------------


@pytest.mark.contract("2.call.resize.1", "5.eligible.2")
def test_a_drained_server_serves_nobody_and_finishes_what_it_has() -> None:
    """A drained server's idle connections are closed at once, its borrowed ones when they come back, in whatever state."""
    numbers = several(PRIMARY, STANDBY, count=3, minimum=1)
    numbers.stock(1)
    numbers.stock(11, 12, 13, at=1)
    reading = numbers.group.reading
    borrowed, soiled = numbers.take(route=reading), numbers.take(route=reading)
    numbers.see(1, drained=True)
    assert (numbers.closed, numbers.shelves[1].capacity, borrowed.state) == ([11], 0, "borrowed")
    assert numbers.take(route=reading).resource == 1
    give_back(numbers, borrowed)
    numbers.group.release(soiled, soiled.owner, soiled=True)
    numbers.group.restore(soiled)
    assert (sorted(numbers.closed), numbers.shelves[1].members) == ([11, 12, 13], [])
    assert not numbers.group.wants(numbers.shelves[1])


@pytest.mark.contract("2.call.resize.1")
def test_nothing_is_added_to_a_drained_server() -> None:
    """A connection that was on its way when its server was drained is closed, though somebody waits for one."""
    numbers = several(PRIMARY, STANDBY)
    reader = waiting(numbers, numbers.group.reading)
    assert numbers.group.reserve(numbers.shelves[1])
    numbers.see(1, drained=True)
    numbers.arrive(11, at=1)
    assert (numbers.closed, numbers.members()) == ([11], [])
    assert numbers.put(1) is reader.done().got


@pytest.mark.contract("2.call.resize.1")
def test_a_resumed_server_is_asked_at_once() -> None:
    """A server that is resumed has its minimum, and what is waited for, asked for at once; it serves as before."""
    numbers = several(PRIMARY, STANDBY, minimum=1)
    numbers.stock(1)
    numbers.see(1, drained=True)
    assert numbers.asked_to_grow == []
    numbers.see(1, drained=False)
    assert numbers.asked_to_grow == [numbers.shelves[1]]
    slot = numbers.put(11, at=1)
    assert numbers.take(route=numbers.group.reading) is slot


@pytest.mark.contract("2.call.resize.1")
def test_drained_and_resumed_while_in_use() -> None:
    """What was borrowed through a drain and a resume is replaced when it comes back, and its server lacks nothing."""
    numbers = several(PRIMARY, STANDBY, count=1)
    (slot,) = lent(numbers, 1)[1]
    numbers.see(1, drained=True)
    numbers.see(1, drained=False)
    give_back(numbers, slot)
    assert (numbers.closed, set(numbers.asked_to_grow)) == ([11], {numbers.shelves[1]})
    assert numbers.group.reserve(numbers.shelves[1])
    fresh = numbers.arrive(12, at=1)
    assert numbers.take(route=numbers.group.reading) is fresh


# -- nothing to wait for ----------------------------------------------------------------------------------------------


@pytest.mark.contract("4.waiting.2")
def test_who_waits_is_told_when_all_are_drained() -> None:
    """When the last server that may serve is drained all who wait for it are told at once, and so is who comes later."""
    numbers = several(STANDBY, STANDBY, needs=("any",))
    clients = [waiting(numbers, numbers.group.writing) for _ in range(3)]
    numbers.see(0, drained=True)
    assert all(client.waits for client in clients)
    numbers.see(1, drained=True)
    assert {(error, "drained" in words) for error, words in told(clients)} == {(DBOfflineError, True)}
    with pytest.raises(DBOfflineError, match="drained"):
        numbers.take(LONG)
    numbers.see(0, drained=False)
    assert numbers.put(1) is numbers.take()


@pytest.mark.contract("4.waiting.2")
def test_who_waits_is_told_when_all_have_failed() -> None:
    """When the last of the servers that may serve has failed for good all who wait for them are told why, and nobody else."""
    numbers = several(PRIMARY, STANDBY, STANDBY, needs=("primary", "standby"))
    readers = [waiting(numbers, numbers.group.reading) for _ in range(2)]
    writer = waiting(numbers, numbers.group.writing)
    refuse(numbers, 1, "password")
    assert all(client.waits for client in (*readers, writer))
    refuse(numbers, 2, "database")
    assert told(readers) == [(DBOfflineError, "password")] * 2
    assert writer.waits
    with pytest.raises(DBOfflineError, match="password"):
        numbers.take(LONG, route=numbers.group.reading)
    assert numbers.put(1) is writer.done().got


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize("last", ["drained", "failed"])
def test_drained_and_failed_together(last: str) -> None:
    """Where one server is drained and the other has failed for good, there is nothing to wait for; the failure is told."""
    numbers = several(STANDBY, STANDBY, needs=("any",))
    clients = [waiting(numbers, numbers.group.writing)]
    steps = [lambda: refuse(numbers, 0), lambda: numbers.see(1, drained=True)]
    for step in steps if last == "drained" else steps[::-1]:
        assert clients[0].waits
        step()
    assert told(clients) == [(DBOfflineError, "password")]


@pytest.mark.contract("4.waiting.2", "5.failover.1")
@pytest.mark.parametrize("fixed", [False, True])
def test_a_standby_that_may_be_promoted_is_hope(fixed: bool) -> None:
    """A writer waits on when the primary has failed for good, unless no standby can take its place."""
    numbers = several(PRIMARY, FIXED if fixed else STANDBY)
    writers = [waiting(numbers, numbers.group.writing)]
    numbers.see(0, **AWAY)
    refuse(numbers, 0)
    if fixed:
        assert told(writers) == [(DBOfflineError, "password")]
    else:
        numbers.stock(11, at=1)
        assert writers[0].waits
        numbers.see(1, role="primary")
        assert writers[0].done().got.resource == 11


@pytest.mark.contract("4.waiting.2")
@pytest.mark.parametrize("how", ["later", "away", "in use"])
def test_hope(how: str) -> None:
    """A failure is for good only for its time; a server that is merely away, or has a connection in use, is hope."""
    numbers = several(STANDBY, STANDBY, needs=("any",), count=1)
    if how == "in use":
        numbers.stock(11, at=1)
        numbers.take()
    client = waiting(numbers, numbers.group.writing)
    refuse(numbers, 0)
    if how == "away":
        numbers.see(1, **AWAY)
        numbers.shelves[1].opening += 1
        numbers.group.give_up(numbers.shelves[1])
    else:
        refuse(numbers, 1, until=monotonic() if how == "later" else inf)
    with pytest.raises(PoolTimeout):
        numbers.take(0.01)
    assert client.waits
    numbers.group.close()


@pytest.mark.contract("4.waiting.2", "1.p3.1")
def test_a_dealt_group_hopes_for_whom_nothing_was_dealt() -> None:
    """Where the only server with a share has failed for good, one without that is merely away is still hope."""
    numbers = Numbers(views=[replace(PRIMARY, **AWAY)] * 2, size=Size(1, 1, dealt_from=0))
    refuse(numbers, 0)
    with pytest.raises(PoolTimeout):
        numbers.take(0.01)


@pytest.mark.contract("4.waiting.2")
def test_a_failed_server_is_asked_again_in_its_time() -> None:
    """A server that failed for good is not asked for more until its time, and then it is, and may serve."""
    numbers = several(STANDBY, STANDBY, needs=("any",))
    client = waiting(numbers, numbers.group.writing)
    refuse(numbers, 0)
    assert not numbers.group.reserve(numbers.shelf)
    numbers.shelf.hopeless_until = monotonic()
    assert numbers.group.reserve(numbers.shelf)
    slot = numbers.arrive(1)
    assert client.done().got is slot
    assert numbers.shelf.hopeless is None


# -- make before break ------------------------------------------------------------------------------------------------


def expired(numbers: Numbers) -> Slot:
    (slot,) = numbers.stock(1)
    slot.expires_at = 0.0
    assert numbers.group.retire(numbers.shelf, monotonic(), 0.0) == []
    assert numbers.group.reserve(numbers.shelf)
    return slot


@pytest.mark.contract("3.group.max_idle.1", "4.p1.1")
def test_what_expired_is_idle_while_its_replacement_is_on_its_way() -> None:
    """However long its replacement takes, and though that fails, the only connection stays usable."""
    numbers = Numbers(2)
    slot = expired(numbers)
    assert numbers.group.retire(numbers.shelf, monotonic(), 0.0) == []
    numbers.group.give_up(numbers.shelf)
    assert (numbers.take(), numbers.closed) == (slot, [])


@pytest.mark.contract("3.group.max_idle.1", "4.p1.1")
def test_what_expired_is_used_while_its_replacement_is_on_its_way() -> None:
    """A connection past its lifetime that is borrowed and given back while its replacement is opened stays till then."""
    numbers = Numbers(2)
    slot = expired(numbers)
    owner = Owner()
    assert numbers.take(owner=owner) is slot
    numbers.group.release(slot, owner)
    assert (numbers.idle(), numbers.closed) == ([1], [])
    numbers.arrive(2)
    assert (numbers.idle(), numbers.closed) == ([2], [1])
    assert not numbers.group.wants(numbers.shelf)


def test_routes_of_one_need_are_one() -> None:
    """A group that needs the same for writes and reads has one line for both."""
    both = several(PRIMARY, STANDBY, needs=("any", "any")).group
    assert both.routes == [both.writing] == [both.reading]
    auto = several(PRIMARY, STANDBY).group
    assert [route.need for route in auto.routes] == ["primary", "prefer-standby"]
    assert all(isinstance(route, Route) for route in auto.routes)
