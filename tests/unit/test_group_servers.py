"""A group over several servers, with integers for connections: who is served by which of them (contract §4, §5)."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbpool.engine.owners import Owner
from pgdbpool.errors import NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from pgdbpool.waiting import Need, Route, Size, Slot, View
from tests.unit.groups import LONG, Client, Numbers

PRIMARY = View(role="primary", there=True)
STANDBY = View(role="standby", there=True)
AUTO: tuple[Need, Need] = ("primary", "prefer-standby")
AWAY: dict[str, Any] = {"there": False, "away": True}
BACK: dict[str, Any] = {"there": True, "away": False}


def several(*views: View, count: int = 2, minimum: int = 0, needs: tuple[Need, ...] = AUTO, **options: Any) -> Numbers:
    """A group of that size over these servers; connection 21 is the first of the third server."""
    return Numbers(views=views, size=Size(count, minimum), needs=needs, **options)


def lent(numbers: Numbers, each: int) -> list[list[Slot]]:
    """So many connections to each server, all of them borrowed, each by another owner."""
    slots = []
    for at, shelf in enumerate(numbers.shelves):
        numbers.stock(*range(10 * at + 1, 10 * at + 1 + each), at=at)
        slots.append(list(shelf.idle))
    for slot in [slot for shelf in numbers.shelves for slot in shelf.idle]:
        slot.shelf.idle.remove(slot)
        numbers.group._lend(slot, Owner(), slot.since)
    return slots


def give_back(numbers: Numbers, slot: Slot) -> None:
    numbers.group.release(slot, slot.owner)


def waiting(numbers: Numbers, route: Route) -> Client:
    return Client.in_line(numbers, route=route)


# -- served by whom ---------------------------------------------------------------------------------------------------


@pytest.mark.contract("4.waiting.1")
@pytest.mark.parametrize("way", ["release", "restore", "add"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_waiter_gets_the_first_connection_of_any_server_that_may_serve_it(at: int, way: str) -> None:
    """Whichever standby's connection is the first to become free, and however, it is his who waits to read."""
    numbers = several(PRIMARY, STANDBY, STANDBY)
    slot = lent(numbers, 1)[at][0]
    reader = waiting(numbers, numbers.group.reading)
    if way == "add":
        slot = numbers.put(29, at=at)
    else:
        numbers.group.release(slot, slot.owner, soiled=way == "restore")
    if way == "restore":
        numbers.group.restore(slot)
    assert reader.done().got is slot
    assert numbers.idle() == []


@pytest.mark.contract("4.waiting.1", "5.target-auto.4")
def test_nobody_is_served_by_whom_he_must_not_be() -> None:
    """A primary's connection is not for him who waits to read while there is a standby, nor a standby's for a writer."""
    numbers = several(PRIMARY, STANDBY, count=1)
    ((at_primary,), (at_standby,)) = lent(numbers, 1)
    reader = waiting(numbers, numbers.group.reading)
    give_back(numbers, at_primary)
    assert (numbers.idle(), reader.waits) == ([1], True)
    assert numbers.take() is at_primary
    writer = waiting(numbers, numbers.group.writing)
    give_back(numbers, at_standby)
    assert (reader.done().got, writer.waits) == (at_standby, True)
    give_back(numbers, at_standby)
    assert (numbers.idle(), writer.waits) == ([11], True)
    give_back(numbers, at_primary)
    assert writer.done().got is at_primary


@pytest.mark.contract("4.waiting.1")
def test_first_come_first_served_across_routes() -> None:
    """Where one server serves writes and reads, whoever waits longest is served next, whatever he wants it for."""
    numbers = several(PRIMARY, View(role="standby", away=True), count=1)
    (slot,) = numbers.stock(1)
    numbers.take()
    group = numbers.group
    routes = [group.writing, group.reading, group.reading, group.writing, group.reading, group.writing]
    clients = [waiting(numbers, route) for route in routes]
    for served, client in enumerate(clients):
        give_back(numbers, slot)
        assert client.done().got is slot
        assert [other.waits for other in clients] == [False] * (served + 1) + [True] * (5 - served)


@pytest.mark.contract("4.waiting.1")
def test_who_came_later_is_served_first_by_what_is_for_him_alone() -> None:
    """A connection that the first in the line may not have goes to the first who may."""
    numbers = several(PRIMARY, STANDBY, count=1)
    ((at_primary,), (at_standby,)) = lent(numbers, 1)
    writer = waiting(numbers, numbers.group.writing)
    readers = [waiting(numbers, numbers.group.reading) for _ in range(2)]
    give_back(numbers, at_standby)
    assert readers[0].done().got is at_standby
    assert (writer.waits, readers[1].waits) == (True, True)
    give_back(numbers, at_primary)
    assert writer.done().got is at_primary
    numbers.group.close()


@pytest.mark.contract("4.waiting.1", "5.failover.1")
def test_who_waits_asks_for_growth_where_it_may_be_served() -> None:
    """Another connection is asked for at each server that may serve who waits, and no longer when he has one."""
    numbers = several(PRIMARY, STANDBY, STANDBY)
    first, second, third = numbers.shelves
    reader = waiting(numbers, numbers.group.reading)
    assert numbers.asked_to_grow == [second, third]
    assert [numbers.group.reserve(shelf) for shelf in numbers.shelves] == [False, True, True]
    numbers.arrive(21, at=2)
    assert reader.done().got is not None
    assert not numbers.group.wants(second)
    numbers.asked_to_grow.clear()
    writer = waiting(numbers, numbers.group.writing)
    assert numbers.asked_to_grow == [first]
    assert numbers.put(1) is writer.done().got


@pytest.mark.contract("5.balance.1")
def test_reads_are_spread_and_writes_are_not() -> None:
    """With one at a time the standbys serve in turn, and with many at once they have equally many; writes have one server."""
    numbers = several(PRIMARY, STANDBY, STANDBY, count=3)
    for at in range(3):
        numbers.stock(*range(10 * at, 10 * at + 3), at=at)
    served = []
    for _ in range(6):
        slot = numbers.take(route=numbers.group.reading)
        served.append(slot.shelf)
        give_back(numbers, slot)
    assert served == [numbers.shelves[1], numbers.shelves[2]] * 3
    busy = [numbers.take(route=numbers.group.reading).shelf for _ in range(4)]
    assert [busy.count(shelf) for shelf in numbers.shelves] == [0, 2, 2]
    assert [numbers.take().shelf for _ in range(3)] == [numbers.shelf] * 3


@pytest.mark.contract("3.group.target.1")
def test_an_unknown_role_may_be_the_right_one() -> None:
    """Before a server was reached its first connection is for whoever waits; when more is known, for whom it suits."""
    numbers = several(View(), View())
    writer = waiting(numbers, numbers.group.writing)
    assert numbers.asked_to_grow == numbers.shelves
    numbers.see(0, role="standby", there=True)
    slot = numbers.put(1)
    assert (numbers.idle(), writer.waits) == ([1], True)
    assert numbers.take(route=numbers.group.reading) is slot
    numbers.see(1, role="primary", there=True)
    assert numbers.put(11, at=1) is writer.done().got


# -- when something changes -------------------------------------------------------------------------------------------


@pytest.mark.contract("5.failover.1")
def test_a_promotion_hands_idle_connections_to_who_waits_to_write() -> None:
    """When a standby becomes the primary, those who wait to write get its idle connections at once, in their order."""
    numbers = several(View(role="primary", away=True), STANDBY, count=3)
    numbers.stock(11, 12, at=1)
    writers = [waiting(numbers, numbers.group.writing) for _ in range(3)]
    numbers.asked_to_grow.clear()
    numbers.see(1, role="primary")
    assert [writer.done().got.shelf for writer in writers[:2]] == [numbers.shelves[1]] * 2
    assert (numbers.idle(), writers[2].waits) == ([], True)
    assert numbers.asked_to_grow == [numbers.shelves[1]]
    assert numbers.put(13, at=1) is writers[2].done().got


@pytest.mark.contract("5.eligible.2", "4.waiting.1")
def test_reads_go_to_the_primary_when_the_standbys_go() -> None:
    """Who waits for a standby gets the primary's idle connection in the moment when the last standby is known to be away."""
    numbers = several(PRIMARY, STANDBY, STANDBY, count=1)
    slots = lent(numbers, 1)
    give_back(numbers, slots[0][0])
    reader = waiting(numbers, numbers.group.reading)
    numbers.see(1, **AWAY)
    assert (numbers.idle(), reader.waits) == ([1], True)
    numbers.see(2, **AWAY)
    assert reader.done().got is slots[0][0]
    assert numbers.idle() == []


@pytest.mark.contract("5.eligible.2", "3.group.target.1")
def test_a_read_that_must_have_a_standby_waits_for_one() -> None:
    """With target ``standby`` the primary serves no read, though no standby is there."""
    numbers = several(PRIMARY, STANDBY, needs=("standby",))
    numbers.stock(1)
    numbers.see(1, **AWAY)
    reader = waiting(numbers, numbers.group.reading)
    with pytest.raises(PoolTimeout):
        numbers.take(0.01)
    assert numbers.idle() == [1]
    numbers.see(1, **BACK)
    assert numbers.put(11, at=1) is reader.done().got


@pytest.mark.contract("4.waiting.1")
def test_longest_waiting_first_also_when_routes_change() -> None:
    """Of those whose route has just changed, of whatever kind, the ones who waited longest get what is idle."""
    numbers = several(View(role="primary", away=True), STANDBY, needs=("primary", "standby"), count=2)
    numbers.stock(11, 12, at=1)
    group = numbers.group
    numbers.see(1, drained=False, there=False)  # not there, but nobody else is: it still serves reads
    taken = [numbers.take(route=group.reading) for _ in range(2)]
    clients = [waiting(numbers, route) for route in (group.writing, group.reading, group.writing)]
    numbers.see(1, role="primary", there=True)
    assert all(client.waits for client in clients)
    for slot, client in zip(taken, (clients[0], clients[2]), strict=True):
        give_back(numbers, slot)
        assert client.done().got is slot
    numbers.see(1, role="standby")
    give_back(numbers, taken[0])
    assert clients[1].done().got is taken[0]


@pytest.mark.contract("5.failover.1")
def test_what_comes_back_to_a_server_of_another_role_is_for_others() -> None:
    """A connection that was borrowed to write, at a server that has become a standby, is handed to a reader, not a writer."""
    numbers = several(PRIMARY, STANDBY, count=1)
    ((elder,), (younger,)) = lent(numbers, 1)
    writer, reader = waiting(numbers, numbers.group.writing), waiting(numbers, numbers.group.reading)
    numbers.see(0, role="standby")
    numbers.see(1, role="primary")
    give_back(numbers, elder)
    assert (reader.done().got, writer.waits) == (elder, True)
    give_back(numbers, younger)
    assert writer.done().got is younger


def test_news_that_change_nothing_leave_all_as_it_is() -> None:
    """Idle connections stay idle, and who waits goes on waiting, when a server is reported as it was."""
    numbers = several(PRIMARY, STANDBY)
    numbers.stock(1, 2)
    reader = waiting(numbers, numbers.group.reading)
    numbers.see(0)
    assert (numbers.idle(), numbers.closed, reader.waits) == ([1, 2], [], True)
    numbers.group.close()


@pytest.mark.contract("5.eligible.1", "5.eligible.2")
def test_a_full_server_serves_with_what_it_has() -> None:
    """A server that takes no further session serves a group that has some there; without any, reads go elsewhere at once."""
    numbers = several(PRIMARY, STANDBY)
    numbers.stock(1)
    (last,) = numbers.stock(11, at=1)
    reading = numbers.group.reading
    numbers.see(1, full=True)
    assert numbers.take(route=reading) is last
    reader = waiting(numbers, reading)
    assert numbers.idle() == [1]
    numbers.group.broken(last, last.owner)
    assert reader.done().got.resource == 1
    assert numbers.idle() == []


# -- minimum, size ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("3.group.min_connections.1")
@pytest.mark.parametrize(
    ("needs", "minima"),
    [(AUTO, [2, 2, 2]), (("primary",), [2, 0, 0]), (("prefer-standby",), [0, 2, 2]), (("any",), [2, 2, 2])],
    ids=str,
)
def test_the_minimum_is_of_the_servers_that_the_target_prefers(needs: tuple[Need, ...], minima: list[int]) -> None:
    """Connections are kept open to each server that the target prefers, and to no other."""
    numbers = several(PRIMARY, STANDBY, STANDBY, count=5, minimum=2, needs=needs)
    assert [shelf.minimum for shelf in numbers.shelves] == minima
    assert [numbers.group.wants(shelf) for shelf in numbers.shelves] == [bool(each) for each in minima]


@pytest.mark.contract("3.group.min_connections.1", "5.failover.1")
def test_the_minimum_moves_with_the_role() -> None:
    """After a switchover the connections that are kept are opened to the new primary, and the old one's may retire."""
    numbers = several(PRIMARY, STANDBY, minimum=1, needs=("read-write",))
    numbers.stock(1)
    numbers.see(0, role="standby")
    numbers.see(1, role="primary")
    assert [shelf.minimum for shelf in numbers.shelves] == [0, 1]
    assert numbers.asked_to_grow == [numbers.shelves[1]]


@pytest.mark.contract("3.group.min_connections.1")
def test_no_minimum_beyond_the_capacity() -> None:
    """The minimum is at most what the group may hold there."""
    numbers = several(PRIMARY, STANDBY, count=1, minimum=3)
    assert [(shelf.capacity, shelf.minimum) for shelf in numbers.shelves] == [(1, 1), (1, 1)]


@pytest.mark.contract("1.p3.1")
def test_a_dealt_group_moves_to_where_it_can() -> None:
    """A group whose count is its total has all of it at the servers that are not away, and deals it anew when all are back."""
    numbers = Numbers(views=[PRIMARY, PRIMARY], size=Size(3, 3, dealt_from=0))
    numbers.stock(1, 2)
    numbers.stock(11, at=1)
    (busy,) = (numbers.take() for _ in range(1))
    assert busy.shelf is numbers.shelf
    numbers.see(0, **AWAY)
    assert [(shelf.capacity, shelf.minimum) for shelf in numbers.shelves] == [(0, 0), (3, 3)]
    assert (len(numbers.closed), numbers.asked_to_grow) == (1, [numbers.shelves[1]])
    numbers.stock(12, 13, at=1)
    give_back(numbers, busy)
    assert sorted(numbers.closed) == [1, 2]
    numbers.see(0, **BACK)
    assert [len(shelf.members) for shelf in numbers.shelves] == [0, 1]
    assert numbers.group.wants(numbers.shelf)


# -- nested, max_waiting ----------------------------------------------------------------------------------------------


@pytest.mark.contract("4.a-thread.1")
def test_who_holds_all_that_may_serve_gets_no_more() -> None:
    """A thread that holds all of both standbys is told so at once when it asks to read again, and may write."""
    numbers = several(PRIMARY, STANDBY, STANDBY, count=2)
    owner, reading = Owner(), numbers.group.reading
    for at in range(3):
        numbers.stock(10 * at, 10 * at + 1, at=at)
    for _ in range(4):
        numbers.take(owner=owner, route=reading)
    with pytest.raises(NestedCheckout):
        numbers.take(LONG, owner, route=reading)
    assert numbers.take(LONG, owner).shelf is numbers.shelf


@pytest.mark.contract("4.a-thread.1")
@pytest.mark.parametrize("hope", ["borrowed", "not open", "not reached", "away", "drained"])
def test_who_holds_all_of_one_server_may_wait_for_another(hope: str) -> None:
    """A thread that holds all of one server waits for another's, unless that one is known to be away, or drained."""
    numbers = several(STANDBY, STANDBY, count=1, needs=("any",))
    owner = Owner()
    numbers.stock(1)
    assert numbers.take(owner=owner).resource == 1
    if hope == "borrowed":
        numbers.stock(11, at=1)
        numbers.take()
    elif hope == "not reached":
        numbers.see(1, there=False)
    elif hope in ("away", "drained"):
        numbers.see(1, there=False, **{hope: True})
    with pytest.raises(NestedCheckout if hope in ("away", "drained") else PoolTimeout):
        numbers.take(0.01, owner)


@pytest.mark.contract("4.a-thread.1", "1.p3.1")
def test_who_holds_all_of_a_dealt_group_gets_no_more() -> None:
    """A server to which nothing was dealt is nothing to wait for."""
    numbers = Numbers(views=[PRIMARY, PRIMARY], size=Size(1, 1, dealt_from=0))
    numbers.stock(1)
    owner = Owner()
    numbers.take(owner=owner)
    with pytest.raises(NestedCheckout):
        numbers.take(0.01, owner)


@pytest.mark.contract("3.group.max_waiting.1", "4.waiting.2")
def test_max_waiting_is_of_the_group() -> None:
    """All who wait in a group count, whatever they wait for."""
    numbers = several(PRIMARY, STANDBY, max_waiting=2)
    routes = (numbers.group.writing, numbers.group.reading)
    clients = [waiting(numbers, route) for route in routes]
    for route in routes:
        with pytest.raises(TooManyRequests):
            numbers.take(LONG, route=route)
    assert numbers.put(11, at=1) is clients[1].done().got
    clients.append(waiting(numbers, numbers.group.reading))
    numbers.group.close()


# -- alive, old, the end ----------------------------------------------------------------------------------------------


@pytest.mark.contract("4.alive.2")
def test_a_dead_one_condemns_its_own_servers_elders() -> None:
    """When one is found dead the others of its server must be proven, and those of another server need not."""
    numbers = several(STANDBY, STANDBY, needs=("any",))
    numbers.stock(1, 2)
    numbers.stock(11, 12, at=1)
    condemned: list[object] = []
    numbers.group.hooks.condemned = condemned.append
    dead = next(slot for slot in (numbers.take(), numbers.take()) if slot.shelf is numbers.shelf)
    numbers.group.broken(dead, dead.owner)
    assert condemned == [numbers.shelf]
    asked = [numbers.take() for _ in range(2)]
    assert {slot.shelf.source for slot in asked} == {"server 0", "server 1"}
    (proven,) = numbers.proven
    assert proven[0] in (1, 2)


@pytest.mark.contract("4.alive.2")
def test_what_another_group_found_dead_makes_suspect_too() -> None:
    """Connections to a server that another group found dead must be proven before their next use."""
    numbers = several(STANDBY, STANDBY, needs=("any",))
    numbers.stock(1)
    numbers.stock(11, at=1)
    numbers.group.suspect(numbers.shelves[1])
    assert {numbers.take().resource for _ in range(2)} == {1, 11}
    assert [number for number, _ in numbers.proven] == [11]


@pytest.mark.contract("3.group.max_idle.1")
def test_a_replacement_is_of_the_same_server() -> None:
    """A connection past its lifetime stays until another to its own server is open."""
    numbers = several(STANDBY, STANDBY, needs=("any",), count=3)
    (old,) = numbers.stock(1)
    old.expires_at = 0.0
    assert numbers.group.retire(numbers.shelf, old.since, 0.0) == []
    assert [numbers.group.wants(shelf) for shelf in numbers.shelves] == [True, False]
    numbers.put(11, at=1)
    assert numbers.closed == []
    assert numbers.group.reserve(numbers.shelf)
    numbers.arrive(2)
    assert (numbers.closed, sorted(numbers.idle())) == ([1], [2, 11])


@pytest.mark.contract("2.call.close.1", "4.waiting.2")
def test_close_wakes_all_lines() -> None:
    """All who wait, whatever for, get ``PoolClosed``, and what is idle anywhere is the caller's to close."""
    numbers = several(PRIMARY, STANDBY)
    numbers.stock(1)
    clients = [waiting(numbers, numbers.group.reading) for _ in range(2)]
    numbers.take()
    clients += [waiting(numbers, numbers.group.writing)]
    numbers.see(1, **AWAY)
    assert [slot.resource for slot in numbers.group.close()] == []
    assert [type(client.done().error) for client in clients] == [PoolClosed] * 3
    numbers.see(1, **BACK)
    with pytest.raises(PoolClosed):
        numbers.take(LONG, route=numbers.group.reading)


@pytest.mark.contract("4.fork.1")
def test_a_forks_child_has_no_lines() -> None:
    """The child of a fork has empty lines and shelves of all servers, and its parent's waiters are not its own."""
    numbers = several(PRIMARY, STANDBY)
    numbers.stock(1)
    numbers.stock(11, at=1)
    for route in numbers.group.routes:
        route.line.append(Owner().waiter)
    assert sorted(numbers.group.after_fork_in_child()) == [1, 11]
    assert (numbers.members(), numbers.idle(), numbers.group.waiting()) == ([], [], 0)
    mine = numbers.put(12, at=1)
    assert numbers.take(route=numbers.group.reading) is mine
    with pytest.raises(PoolError):
        numbers.take()
