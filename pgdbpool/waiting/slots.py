"""What a group holds: a shelf for each server, a slot for each open connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

__all__ = ["BORROWED", "CLEANING", "GONE", "IDLE", "Shelf", "Slot", "State"]

State = Literal["idle", "borrowed", "cleaning", "gone"]

IDLE: State = "idle"  # on its shelf's stack, free to take
BORROWED: State = "borrowed"  # in the hands of exactly one owner
CLEANING: State = "cleaning"  # with the keeper: being proven, reset or closed
GONE: State = "gone"  # closed, and in no list


class Slot:
    """The book entry of one open connection.

    ``resource`` is the connection (an integer in the tests of this room). ``poll(0)`` is false while its socket is
    quiet. A slot with an ``owner`` is borrowed; without one it is what ``rest`` says. ``since`` is when that began;
    ``turn`` counts the checkouts, so that a stale reference can be told from the present one, and ``held`` adds up
    their seconds. ``holder()`` is what answers for a longer use (None once that is dropped), ``place`` the code that took
    it, as (code object, instruction), or None; ``warned`` is the turn that a long hold was last reported for; ``grip``
    guards it against two threads while borrowed.
    """

    __slots__ = (
        "expires_at",
        "generation",
        "grip",
        "held",
        "holder",
        "opened_at",
        "owner",
        "place",
        "poll",
        "resource",
        "rest",
        "shelf",
        "since",
        "turn",
        "warned",
    )

    def __init__(self, shelf: Shelf, resource: Any, poll: Callable[[int], Any], now: float, expires_at: float) -> None:
        self.shelf = shelf
        self.resource = resource
        self.poll = poll
        self.rest: State = CLEANING
        self.owner: Any = None
        self.place: tuple[Any, int] | None = None
        self.holder: Callable[[], Any] | None = None
        self.since = self.opened_at = now
        self.expires_at = expires_at
        self.generation = shelf.generation
        self.turn = 0
        self.held = 0.0
        self.warned = -1
        self.grip: Any = None

    @property
    def state(self) -> State:
        return self.rest if self.owner is None else BORROWED

    def __repr__(self) -> str:
        return f"<Slot {self.resource!r} {self.state} turn={self.turn}>"


class Shelf:
    """What one group holds to one server: ``idle`` is a stack, so that few sockets stay warm and the rest can retire.

    ``generation`` grows when a connection of that server is found dead: slots of an older one are suspect until proven.
    ``hopeless`` is the error for which the server cannot be used at all (wrong password, …), or None; it is not asked
    again before ``hopeless_until``.
    """

    __slots__ = (
        "capacity",
        "generation",
        "hopeless",
        "hopeless_until",
        "idle",
        "members",
        "minimum",
        "opening",
        "past_held",
        "past_turns",
        "source",
    )

    def __init__(self, source: Any, capacity: int, minimum: int) -> None:
        self.source = source
        self.capacity = capacity
        self.minimum = minimum
        self.idle: list[Slot] = []
        self.members: list[Slot] = []
        self.opening = 0
        self.past_turns = 0  # checkouts and seconds held of slots that are gone
        self.past_held = 0.0
        self.generation = 0
        self.hopeless: BaseException | None = None
        self.hopeless_until = 0.0

    def count(self, state: State) -> int:
        return sum(slot.state is state for slot in self.members)
