"""What a group holds: a shelf for each server, a slot for each open connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pgdbpool.waiting.lag import UNLIMITED, Lag
from pgdbpool.waiting.marks import Mark
from pgdbpool.waiting.routing import View

State = Literal["idle", "borrowed", "cleaning", "gone"]

IDLE: State = "idle"  # on its shelf's stack, free to take
BORROWED: State = "borrowed"  # in the hands of exactly one owner
CLEANING: State = "cleaning"  # with the keeper: being proven, reset or closed
GONE: State = "gone"  # closed, and in no list


@dataclass(slots=True, eq=False, repr=False)
class Slot:
    """The book entry of one open connection.

    ``resource`` is the connection (an integer in the tests of this room). ``poll(0)`` is false while its socket is
    quiet. A slot with an ``owner`` is borrowed; without one it is what ``rest`` says. ``since`` is when that began;
    ``turn`` counts the checkouts, so that a stale reference can be told from the present one, ``reads`` those for reading
    where roles matter, and ``note(seconds)`` takes down how long each lasted. ``holder()`` is what answers for a longer
    use (None once that is dropped), ``place`` the code that took it, as (code object, instruction), or None; ``warned``
    is the turn that a long hold was last reported for, ``astray`` the one in which the Watch saw nobody hold it.
    """

    shelf: Shelf
    resource: Any
    poll: Callable[[int], Any]
    since: float
    expires_at: float
    rest: State = CLEANING
    owner: Any = None
    place: tuple[Any, int] | None = None
    holder: Callable[[], Any] | None = None
    note: Callable[[float], Any] = float  # which does nothing
    turn: int = 0
    reads: int = 0
    warned: int = -1
    astray: int = -1
    generation: int = field(init=False)

    def __post_init__(self) -> None:
        self.generation = self.shelf.generation

    @property
    def state(self) -> State:
        return self.rest if self.owner is None else BORROWED

    def __repr__(self) -> str:
        return f"<Slot {self.resource!r} {self.state} turn={self.turn}>"


@dataclass(slots=True, eq=False, repr=False)
class Shelf:
    """What one group holds to one server: ``idle`` is a stack, so that few sockets stay warm and the rest can retire.

    ``generation`` grows when a connection of that server is found dead: slots of an older one are suspect until proven.
    ``hopeless`` is the error for which the server cannot be used at all (wrong password, …), or None; it is not asked
    again before ``hopeless_until``. ``short``: one more connection is wanted although nobody waits for it. ``view()`` is
    what routing has to know of the server, ``seen`` what it was when the routes were last aimed; ``shows(mark)`` whether
    it has replayed that. ``most_lag`` is the group's limits for it, in seconds and bytes.
    """

    source: Any
    capacity: int
    minimum: int
    view: Callable[[], View] = View
    seen: View = field(default_factory=View)
    shows: Callable[[Mark], bool] = lambda mark: True
    most_lag: Lag = UNLIMITED
    idle: list[Slot] = field(default_factory=list)
    members: list[Slot] = field(default_factory=list)
    opening: int = 0
    short: bool = False
    past_turns: int = 0  # of slots that are gone
    past_reads: int = 0
    generation: int = 0
    hopeless: BaseException | None = None
    hopeless_until: float = 0.0

    def count(self, state: State) -> int:
        return sum(slot.state is state for slot in self.members)
