"""The balance between the servers of a route (contract §5), simulated: no clock, no threads, the same dice every time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from pgdbpool.waiting import Route, Shelf, Slot, View
from pgdbpool.waiting.pacing import wanted

THERE = View(role="standby", there=True)
REQUESTS = 4000

Duration = Callable[[int, random.Random], float]


def mixed(server: int, dice: random.Random) -> float:
    return dice.expovariate(1.0)


class Servers:
    """A route to servers with these weights, each with ``each`` connections that are idle at first."""

    def __init__(self, *weights: float, each: int = 32, capacity: int = 32) -> None:
        self.shelves = [Shelf(server, capacity, 0) for server in range(len(weights))]
        for shelf in self.shelves:
            shelf.members = [Slot(shelf, number, bool, 0.0, 1000.0) for number in range(each)]
            shelf.idle = list(shelf.members)
        self.route = Route("standby")
        self.views = [replace(THERE, weight=weight) for weight in weights]
        self.aim()

    def aim(self, **news: Sequence[Any]) -> None:
        """Take up what is new of each server."""
        for name, values in news.items():
            new: list[dict[str, Any]] = [{name: value} for value in values]
            self.views = [replace(view, **each) for view, each in zip(self.views, new, strict=True)]
        self.route.aim(self.shelves, self.views)

    def close_all(self, at: int) -> None:
        self.shelves[at].members.clear()
        self.shelves[at].idle.clear()

    def take(self) -> Slot:
        stack = self.route.only or self.route.choose()
        assert stack
        return stack.pop()

    def turns(self, requests: int) -> list[int]:
        """Who serves so many requests, one after the other."""
        served = []
        for _ in range(requests):
            slot = self.take()
            slot.shelf.idle.append(slot)
            served.append(slot.shelf.source)
        return served

    def shares(self, under_way: int, lasts: Duration = mixed, requests: int = REQUESTS) -> list[float]:
        """Which part of the requests each server gets while so many are always under way."""
        dice, order, now = random.Random(4711), count(), 0.0
        busy: list[tuple[float, int, Slot]] = []
        served: Counter[int] = Counter()
        for _ in range(requests):
            if len(busy) == under_way:
                now, _, slot = heapq.heappop(busy)
                slot.shelf.idle.append(slot)
            slot = self.take()
            served[slot.shelf.source] += 1
            heapq.heappush(busy, (now + lasts(slot.shelf.source, dice), next(order), slot))
        for _, _, slot in busy:
            slot.shelf.idle.append(slot)
        return [served[shelf.source] / requests for shelf in self.shelves]


@pytest.mark.contract("5.balance.1", "3.endpoint.weight.1")
@pytest.mark.parametrize(
    ("weights", "within"),
    [
        *[(weights, 0.05) for weights in ((1, 1), (1, 2), (3, 1), (1, 1, 1), (2, 2, 1), (1, 2, 5), (0.1, 1, 1))],
        ((1000000, 250000), 0.05),
        ((1, 1, 2), 0.1),  # who is due one of two takes no second beside it, so others get some of its turns
        ((1, 1, 1, 3), 0.1),
    ],
    ids=str,
)
def test_shares_are_by_weight(weights: tuple[float, ...], within: float) -> None:
    """Whether one request is under way or sixteen, and however long each takes, the servers' shares are their weights'."""
    for under_way in range(1, 17):
        found = Servers(*weights).shares(under_way)
        expected = [weight / sum(weights) for weight in weights]
        assert found == pytest.approx(expected, abs=within), under_way


@pytest.mark.contract("5.balance.1")
def test_least_outstanding() -> None:
    """Of what is under way at one time each server has its share by weight, to within one request."""
    servers = Servers(1, 3)
    found = []
    for under_way in range(1, 17):
        servers.take()
        has = [len(shelf.members) - len(shelf.idle) for shelf in servers.shelves]
        assert has == pytest.approx([under_way / 4, under_way * 3 / 4], abs=1.0)
        found.append(has)
    assert found[3::4] == [[1, 3], [2, 6], [3, 9], [4, 12]]


@pytest.mark.contract("5.balance.1")
@pytest.mark.parametrize(("under_way", "at_most"), [(2, 0.2), (3, 0.2), (4, 0.34), (8, 0.2), (16, 0.2)])
def test_a_slow_server_gets_fewer(under_way: int, at_most: float) -> None:
    """A server that takes five times as long gets less than its share where several wait for it, and the others the rest."""
    slow = Servers(1, 1, 1).shares(
        under_way, lambda server, dice: dice.expovariate(1.0) * (5.0 if server == 0 else 1.0)
    )
    assert slow[0] < at_most
    assert slow[1] == pytest.approx(slow[2], abs=0.05)


@pytest.mark.contract("5.balance.1")
def test_a_frozen_server_gets_its_share_of_the_connections_and_no_more() -> None:
    """A server whose requests do not end is given none beyond its share of what is under way, give or take one."""
    servers = Servers(1, 1)
    shares = servers.shares(8, lambda server, dice: 1e9 if server == 0 else dice.expovariate(1.0))
    assert shares[0] * REQUESTS <= 5


@pytest.mark.contract("5.balance.1")
@pytest.mark.parametrize("servers", [2, 3])
def test_who_has_one_gets_none_while_others_have_none(servers: int) -> None:
    """While one server is busy with a request, others that come one by one go to those that are not, in turn."""
    group = Servers(*[1] * servers)
    busy = group.take().shelf.source
    assert sorted(set(group.turns(20))) == [at for at in range(servers) if at != busy]


@pytest.mark.contract("5.balance.1")
def test_ties_rotate() -> None:
    """With one request at a time, servers of equal weight serve in turn."""
    assert Servers(1, 1, 1).turns(12) == [0, 1, 2] * 4
    assert Servers(5, 5).turns(4) == [0, 1, 0, 1]


@pytest.mark.contract("5.balance.1")
def test_weighted_turns_are_spread() -> None:
    """With one request at a time, a server of weight 3 beside one of weight 1 serves three of any four."""
    turns = Servers(3, 1).turns(40)
    assert [turns[at : at + 4].count(0) for at in range(37)] == [3] * 37


@pytest.mark.contract("5.balance.1")
def test_a_changed_weight_counts_from_now_on() -> None:
    """A server that is eased in gets its smaller share at first, and the whole one later, without a burst in between."""
    servers = Servers(0.1, 1.0)
    assert servers.turns(110).count(0) == pytest.approx(10, abs=1)
    servers.aim(weight=[0.5, 1.0])
    assert servers.turns(90).count(0) == pytest.approx(30, abs=2)
    servers.aim(weight=[1.0, 1.0])
    assert servers.turns(10).count(0) == pytest.approx(5, abs=1)


@pytest.mark.contract("5.balance.1")
@pytest.mark.parametrize("how", ["there", "drained"])
def test_who_returns_makes_up_for_nothing(how: str) -> None:
    """A server that was away gets its share when it is back, not what it missed; the others' share is not starved."""
    servers = Servers(1, 1)
    servers.turns(3)
    servers.aim(**{how: [how != "there", how == "there"]})
    assert set(servers.turns(100)) == {1}
    servers.aim(**{how: [how == "there"] * 2})
    assert servers.turns(10).count(0) == pytest.approx(5, abs=1)


@pytest.mark.contract("5.balance.1")
def test_who_had_nothing_idle_for_long_makes_up_for_nothing() -> None:
    """A server without a free connection is passed over, and gets no burst when it has some again."""
    servers = Servers(1, 1)
    shelf = servers.shelves[0]
    closed = list(shelf.idle)
    servers.close_all(0)
    assert set(servers.turns(100)) == {1}
    shelf.members.extend(closed)
    shelf.idle.extend(closed)
    assert servers.turns(10).count(0) == pytest.approx(5, abs=1)


@pytest.mark.contract("5.balance.1", "4.lost.1")
def test_whose_turn_it_is_but_has_none_is_marked_short() -> None:
    """A server whose turn it is and that has none free has another opened, and the request goes to another at once."""
    servers = Servers(1, 1, capacity=1)
    first, second = servers.shelves
    servers.close_all(0)
    assert servers.take().shelf is second
    assert (first.short, second.short) == (True, False)
    assert wanted(first, 0)


@pytest.mark.contract("5.balance.1")
def test_who_is_full_is_not_asked_for_more() -> None:
    """A server that has all its connections in use is passed over, and none is opened beyond its capacity."""
    servers = Servers(3, 1, each=2, capacity=2)
    assert Counter(servers.take().shelf.source for _ in range(4)) == {0: 2, 1: 2}
    assert [wanted(shelf, 9) for shelf in servers.shelves] == [False, False]
    assert not servers.route.choose()


def test_nothing_is_chosen_where_nothing_is_idle() -> None:
    """Without an idle connection, or without any server, there is nothing to choose, and nothing is opened for it."""
    servers = Servers(1, 1, each=0)
    assert servers.route.choose() is None
    assert [shelf.short for shelf in servers.shelves] == [False, False]
    servers.aim(drained=[True, True])
    assert (servers.route.choose(), servers.route.only, servers.route.shelves) == (None, None, ())


@pytest.mark.contract("3.endpoint.weight.1")
def test_weight_0_shares_where_nothing_else_is_left() -> None:
    """Where only servers of weight 0 are left they share the requests evenly."""
    servers = Servers(1, 0, 0)
    assert set(servers.turns(10)) == {0}
    servers.aim(there=[False, True, True], away=[True, False, False])
    assert Counter(servers.turns(10)) == {1: 5, 2: 5}


@pytest.mark.contract("3.endpoint.weight.1")
def test_weight_0_beside_others_that_are_all_away() -> None:
    """Where nobody is known to be there, what is idle is taken, also from a server of weight 0."""
    servers = Servers(1, 0, each=1)
    servers.aim(there=[False, False], away=[True, True])
    assert {servers.take().shelf.source for _ in range(2)} == {0, 1}


def test_one_server_has_nothing_to_choose() -> None:
    """With one server on the route its stack is taken as it is, and with two again it is their turns."""
    servers = Servers(1, 1)
    servers.aim(there=[True, False])
    assert servers.route.only is servers.shelves[0].idle
    servers.aim(there=[True, True])
    assert servers.route.only is None
    assert Counter(servers.turns(10)) == {0: 5, 1: 5}
