"""Which connections a checkout has to prove, and what a dead one means for the others (contract §4)."""

from __future__ import annotations

from time import monotonic

import pytest

from pgdbpool.engine.owners import Owner
from pgdbpool.errors import PoolTimeout
from pgdbpool.waiting import Slot
from tests.servers import eventually
from tests.unit.groups import LONG, Client, Numbers, age


@pytest.mark.contract("4.alive.1")
def test_a_quiet_connection_is_not_asked() -> None:
    """A connection whose socket is quiet and that was used lately is handed out without any question."""
    numbers = Numbers(ping_after=30.0)
    numbers.stock(1)
    age(numbers, 29.0)
    assert (numbers.take().resource, numbers.proven) == (1, [])


@pytest.mark.contract("4.alive.1", "3.group.validate.1")
def test_who_was_idle_for_long_is_asked() -> None:
    """A connection that was idle longer than ``ping_after`` has to answer, within a second and the time left."""
    numbers = Numbers(3, ping_after=30.0)
    for timeout, limit in ((LONG, 1.0), (0.5, 0.5), (0.0, 0.1)):
        numbers.proven.clear()
        slot = numbers.put(1)
        age(numbers, 31.0)
        assert numbers.take(timeout) is slot
        ((number, given),) = numbers.proven
        assert number == 1
        assert limit - 0.05 <= given <= limit


@pytest.mark.contract("3.group.validate.1")
@pytest.mark.parametrize(("ping_after", "asked"), [(-1.0, 1), (float("inf"), 0)], ids=["always", "never"])
def test_validate_always_and_never(ping_after: float, asked: int) -> None:
    """``validate: always`` asks at every checkout, ``never`` not even after long."""
    numbers = Numbers(ping_after=ping_after)
    numbers.stock(1)
    age(numbers, 0.0 if asked else 1e6)
    numbers.take()
    assert len(numbers.proven) == asked


@pytest.mark.contract("3.group.validate.1")
def test_validate_always_asks_also_what_was_handed_over() -> None:
    """With ``validate: always`` a connection that came from hand to hand is asked too."""
    numbers = Numbers(1, ping_after=-1.0)
    numbers.stock(1)
    slot = numbers.take()
    client = Client.in_line(numbers)
    numbers.group.release(slot, slot.owner)
    assert client.done().got is slot
    assert len(numbers.proven) == 2


@pytest.mark.contract("4.alive.1")
def test_a_socket_with_something_to_read_is_looked_at_without_a_ping() -> None:
    """Where the socket has something to read it is looked at, without a round trip; a notice is no reason to close."""
    numbers = Numbers()
    numbers.stock(1)
    numbers.suspicious.add(1)
    assert (numbers.take().resource, numbers.proven) == (1, [(1, 0.0)])


@pytest.mark.contract("4.alive.1", "4.p1.1")
def test_a_dead_one_is_replaced_by_the_next() -> None:
    """A connection that is found dead is closed, and the checkout goes on to the next one."""
    numbers = Numbers(3)
    numbers.stock(1, 2)
    numbers.suspicious.add(2)
    numbers.dead.add(2)
    assert numbers.take().resource == 1
    assert (numbers.closed, numbers.members()) == ([2], [1])


@pytest.mark.contract("4.alive.1", "4.waiting.1")
def test_who_found_a_dead_one_keeps_its_place() -> None:
    """Who took an idle one before others came, and found it dead, is served before them, within its own time."""
    numbers = Numbers(1, max_waiting=1)
    numbers.stock(1)
    numbers.suspicious.add(1)
    later: list[Client] = []

    def dies_while_another_comes(slot: Slot) -> bool:
        later.append(Client.in_line(numbers))
        return False

    numbers.proof = dies_while_another_comes
    first = Client(numbers)
    assert eventually(lambda: numbers.group.waiting() == 2)
    slot = numbers.put(2)
    assert first.done().got is slot
    assert later[0].waits
    numbers.group.release(slot, first.owner)
    assert later[0].done().got is slot


@pytest.mark.contract("4.waiting.2")
def test_dead_ones_do_not_lengthen_the_wait() -> None:
    """The time for a checkout is one, however many dead connections it meets on its way."""
    numbers = Numbers(3)
    numbers.stock(1, 2, 3)
    numbers.suspicious |= {1, 2, 3}
    numbers.dead |= {1, 2, 3}
    begun = monotonic()
    with pytest.raises(PoolTimeout):
        numbers.take(0.2)
    assert 0.19 < monotonic() - begun < 2.0
    assert numbers.closed == [3, 2, 1]


def test_an_exception_while_proving_loses_nothing() -> None:
    """A connection whose proof an exception ends is nobody's afterwards: closed or idle, and its place is free."""
    numbers = Numbers(1)
    (slot,) = numbers.stock(1)

    def interrupted(_: Slot) -> bool:
        raise KeyboardInterrupt

    numbers.suspicious.add(1)
    numbers.proof = interrupted
    with pytest.raises(KeyboardInterrupt):
        numbers.take(LONG)
    assert slot.owner is None
    assert numbers.intact()


# -- one dead condemns its elders -------------------------------------------------------------------------------------


@pytest.mark.contract("4.alive.2")
def test_one_dead_condemns_its_elders() -> None:
    """When one is dead each elder must answer before it is used, once; one opened later need not."""
    numbers = Numbers(4)
    numbers.stock(1, 2, 3)
    numbers.suspicious.add(3)
    numbers.dead.add(3)
    owner = Owner()
    taken = [numbers.take(LONG, owner)]
    assert [number for number, _ in numbers.proven] == [3, 2]
    young = numbers.put(4)
    assert numbers.take(LONG, owner) is young
    taken.append(numbers.take(LONG, owner))
    assert [number for number, _ in numbers.proven] == [3, 2, 1]
    assert all(limit == 1.0 for _, limit in numbers.proven[1:])
    for slot in taken:
        numbers.group.release(slot, owner)
        numbers.take(LONG, owner)
    assert [number for number, _ in numbers.proven] == [3, 2, 1]


@pytest.mark.contract("4.alive.2")
def test_what_is_borrowed_is_condemned_too() -> None:
    """An elder that was in use when another died must answer before its next user has it, also from hand to hand."""
    numbers = Numbers(2)
    numbers.stock(1, 2)
    holder, other = numbers.take(), numbers.take()
    numbers.group.broken(other, other.owner)
    client = Client.in_line(numbers)
    numbers.group.release(holder, holder.owner)
    assert client.done().got is holder
    assert [number for number, _ in numbers.proven] == [holder.resource]


@pytest.mark.contract("4.alive.2")
def test_a_dead_elder_condemns_nobody_again() -> None:
    """Of connections that died together each is found by its own proof, and what was opened since stays above suspicion."""
    numbers = Numbers(3)
    numbers.stock(1, 2)
    first, second = numbers.take(), numbers.take()
    numbers.group.broken(first, first.owner)
    young = numbers.put(3)
    numbers.group.broken(second, second.owner)
    assert (numbers.take(), numbers.proven) == (young, [])


def test_what_its_user_closed_says_nothing_of_others() -> None:
    """A connection that was closed on purpose makes no other suspect."""
    numbers = Numbers(2)
    numbers.stock(1, 2)
    slot = numbers.take()
    numbers.group.broken(slot, slot.owner, condemn=False)
    numbers.take()
    assert (numbers.proven, numbers.closed) == ([], [2])


def test_a_silent_servers_idle_ones_go_unasked() -> None:
    """Purging closes the suspects that are idle, and neither what is borrowed nor what was opened since."""
    numbers = Numbers(4)
    numbers.stock(1, 2, 3)
    held = numbers.take()
    numbers.shelf.generation += 1  # one was found dead
    numbers.put(4)
    numbers.group.purge(held)
    assert (sorted(numbers.closed), numbers.proven, numbers.idle()) == ([1, 2], [], [4])
    numbers.group.release(held, held.owner)
    assert numbers.intact()


def test_a_silent_server_condemns_what_is_as_old_as_its_witness() -> None:
    """Where the one that was not answered is the first to tell, all of its age go, and what is in use must be proven."""
    numbers = Numbers(4)
    numbers.stock(1, 2, 3)
    silent, held = numbers.take(), numbers.take()
    numbers.group.purge(silent)
    assert (numbers.closed, numbers.idle()) == ([1], [])
    numbers.group.release(held, held.owner)
    assert numbers.take() is held
    assert [number for number, _ in numbers.proven] == [held.resource]
