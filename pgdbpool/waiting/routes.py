"""A group's way to the servers of one need: the line of those who wait for any of them, and the balance between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pgdbpool.waiting.line import Waiter
from pgdbpool.waiting.marks import Mark
from pgdbpool.waiting.routing import Need, View, aim
from pgdbpool.waiting.slots import Shelf, Slot

_LEAST_WEIGHT = 0.001  # of one with weight 0, where nothing else is left


@dataclass(slots=True, eq=False)
class Lane:
    """One server on a route: its ``share`` of the work, and the virtual time at which its next turn begins."""

    shelf: Shelf
    members: list[Slot]  # the shelf's
    idle: list[Slot]
    share: float
    next_turn: float


class Route:
    """Where requests of one need are served. Guarded by the group's lock.

    ``only`` is the stack of the server's idle slots where there is but one, so that nothing has to be chosen.
    """

    __slots__ = ("_lanes", "_now", "hope", "keep", "line", "need", "only", "shelves")

    def __init__(self, need: Need) -> None:
        self.need = need
        self.line: deque[Waiter] = deque()
        self._lanes: list[Lane] = []
        self._now = 0.0
        self.aim([], [])

    def aim(self, shelves: Sequence[Shelf], views: Sequence[View]) -> None:
        """Take up what is known of the servers now."""
        serve, keep, hope = aim(self.need, views)
        self.shelves = tuple(shelves[i] for i in serve)
        self.keep = tuple(shelves[i] for i in keep)
        self.hope = tuple(shelves[i] for i in hope)
        weights = [views[i].weight or _LEAST_WEIGHT for i in serve]
        turns = {lane.shelf: lane.next_turn for lane in self._lanes}
        self._lanes = [
            Lane(shelf, shelf.members, shelf.idle, weight / sum(weights), turns.get(shelf, self._now))
            for shelf, weight in zip(self.shelves, weights, strict=True)
        ]
        self.only: list[Slot] | None = self.shelves[0].idle if len(serve) == 1 else None

    def choose(self, mark: Mark | None = None) -> list[Slot] | None:
        """The stack to pop a slot from; none where no server (that shows the ``mark``) has one idle.

        Of the servers that have less than their share of the work under way (least outstanding per weight) it is the turn
        of the one that was passed over for longest: weighted turns, as start-time fair queueing hands them out (Goyal,
        Vin, Cheng 1996). So the shares hold with one request at a time as they do with many, and a server that has become
        slow gets fewer. Where more is under way than there are servers, one request more than its share is no matter: else
        short requests would all go where a long one has just ended.
        """
        lanes = self._lanes if mark is None else [lane for lane in self._lanes if lane.shelf.shows(mark)]
        under_way = 1
        for lane in lanes:
            under_way += len(lane.members) - len(lane.idle)
        slack = under_way > len(lanes)
        due = None
        for lane in lanes:
            has_its_share = len(lane.members) - len(lane.idle) >= under_way * lane.share + slack
            if not has_its_share and (due is None or lane.next_turn < due.next_turn):
                due = lane
        if due is None:  # there are no lanes
            return None
        if not due.idle:
            spare = min((lane for lane in lanes if lane.idle), key=_next_turn, default=None)
            if spare is None:
                return None
            due.shelf.short |= len(due.members) < due.shelf.capacity  # another is opened there, beside the requests
            due = spare
        turn = 1 / due.share
        begins = due.next_turn
        if begins < self._now - turn:
            begins = self._now - turn  # what was missed long ago is not made up for
        elif begins > self._now:
            self._now = begins
        due.next_turn = begins + turn
        return due.idle


def _next_turn(lane: Lane) -> float:
    return lane.next_turn
