"""A storm of random actions on a group of integers, and the invariants that must hold all the while."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from pgdbpool.engine.group import Group, Hooks
from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from pgdbpool.waiting import GONE, IDLE, Shelf, Slot
from tests.stress.instruments import Broken, Hands, Interrupted, Line, StormyWaiter, WatchedLock
from tests.unit.groups import explained

CAPACITY = 3
MAX_WAITING = 6
ACTORS = 10
KEEPERS = 2
LULL = 0.1  # seconds; every third one is quiet
TIMEOUTS = (0.0, 0.0002, 0.001, 0.005, 0.05, 2.0)


class Storm:
    """Threads that do to a group whatever its users, its keeper and its watch may do; ``run`` raises ``Broken``."""

    def __init__(self, kind: type[Group], seed: int) -> None:
        self.seed = seed
        self.events: Counter[str] = Counter()
        self._dice = random.Random(f"{seed}-hooks")
        self.hands = Hands()
        self.shelf = Shelf("server", CAPACITY, 1)
        self._soiled: deque[Slot] = deque()
        self._dead: set[int] = set()
        hooks = Hooks(lambda _: None, self._prove, self._soiled.append, self._close, explained)
        self.group = kind("storm", [self.shelf], hooks, ping_after=0.005, max_waiting=MAX_WAITING)
        self.line = self.group.writing.line = Line()
        self.group._lock = WatchedLock(self._dice, self._inspect)
        self.broken: list[BaseException] = []
        self._calm = False
        self._actors_stop = threading.Event()
        self._keepers_stop = threading.Event()

    def run(self, seconds: float) -> None:
        """Storm for so long; then all must be there; then once more, with the end of the pool in the midst of it."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        keepers = [self._start(self._keep, f"keeper-{n}") for n in range(KEEPERS)]
        try:
            self._act_for(seconds)
            self._take_all()
            self._act_for(seconds / 8, end=self._end)
            self._until(lambda: not self.group.members() and not self.shelf.opening, "the pool's end left something")
            self._check(not self.hands.open_ones(), f"{self.hands.open_ones()} were never closed")
        finally:
            sys.setswitchinterval(interval)
            self._actors_stop.set()
            self._keepers_stop.set()
            for thread in keepers:
                thread.join(10)
        self._raise()

    def _start(self, work: Callable[[random.Random], None], name: str) -> threading.Thread:
        def run() -> None:
            try:
                work(random.Random(f"{self.seed}-{name}"))
            except BaseException as error:  # an unexpected one breaks the storm as well
                self.broken.append(error)

        thread = threading.Thread(target=run, name=f"storm-{name}", daemon=True)
        thread.start()
        return thread

    def _raise(self) -> None:
        if self.broken:
            error = self.broken[0]
            raise error if isinstance(error, Broken) else Broken(f"unexpected {error!r}") from error

    def _check(self, holds: object, what: str) -> None:
        if not holds:
            raise Broken(what)

    def _until(self, condition: Callable[[], object], what: str) -> None:
        limit = monotonic() + 5.0
        while not condition():
            self._raise()
            self._check(monotonic() < limit, what)
            sleep(0.001)

    # -- the users ------------------------------------------------------------------------------------------------

    def _act_for(self, seconds: float, end: Callable[[], None] = lambda: None) -> None:
        """Keep all actors alive for a while, a new one for each that died; inspect everything all the time."""
        self._calm = False
        self._actors_stop.clear()
        actors = [self._start(self._act, f"actor-{n}") for n in range(ACTORS)]
        try:
            self._see_to(actors, monotonic() + seconds)
            end()
        except Broken as error:
            self.broken.append(error)
        self._actors_stop.set()
        self._calm = True
        if self.broken:
            self.group.close()  # nobody has to wait any more
        for actor in actors:
            actor.join(10)
            self._check(not actor.is_alive(), f"{actor.name} waits for ever")
        self._raise()

    def _see_to(self, actors: list[threading.Thread], until: float) -> None:
        while monotonic() < until and not self.broken:
            for n, actor in enumerate(actors):
                if not actor.is_alive():
                    actors[n] = self._start(self._act, f"actor-{n}-{self.events.total()}")
            sleep(0.002)

    def _act(self, dice: random.Random) -> None:
        owner = present_owner()
        owner.waiter = StormyWaiter(self.line, dice)
        while not self._actors_stop.is_set() and not self.broken:
            try:
                if self._borrow(owner, dice, []) == "die":
                    return
            except (PoolTimeout, NestedCheckout, TooManyRequests, DBOfflineError, Interrupted) as error:
                self.events[type(error).__name__] += 1
            except PoolClosed:
                return
            self._check_books(owner, [])
            if int(monotonic() / LULL) % 3 == 0:
                sleep(dice.random() * LULL)

    def _borrow(self, owner: Owner, dice: random.Random, held: list[Slot]) -> str:
        slot = self.group.checkout(owner, dice.choice(TIMEOUTS))
        self.hands.move(slot.resource, None, owner)
        held = [*held, slot]
        self._check_books(owner, held)
        sleep(dice.random() / 1000) if dice.random() < 0.5 else None
        try:
            if dice.random() < (0.15, 0.5)[len(held) > 1] and self._borrow(owner, dice, held) == "die":
                return "die"
            how = dice.choices(("clean", "soiled", "twice", "break", "die"), (55, 20, 10, 12, 3))[0]
        except BaseException:
            self._give_back(slot, owner, "clean")
            raise
        self.events[how] += 1
        self._give_back(slot, owner, how)
        return how

    def _give_back(self, slot: Slot, owner: Owner, how: str) -> None:
        if how == "die":
            return
        self.hands.move(slot.resource, owner, None)
        if how == "break":
            self.group.broken(slot, owner)
            return
        self.group.release(slot, owner, how == "soiled")
        if how == "twice":
            try:
                self.group.release(slot, owner)
            except PoolError:
                return
            raise Broken("it could be given back twice")

    def _check_books(self, owner: Owner, held: list[Slot]) -> None:
        with self.group._lock:
            mine = [slot for slot in self.shelf.members if slot.owner is owner]
        self._check(set(mine) == set(held), f"lost: the books say that a thread has {mine}, but it has {held}")

    # -- keeper, cleaner and watch --------------------------------------------------------------------------------

    def _keep(self, dice: random.Random) -> None:
        while not self._keepers_stop.is_set() and not self.broken:
            while self.group.reserve(self.shelf):
                self._open(dice)
            while self._soiled:
                self._clean(dice)
            self._watch(dice)
            sleep(dice.random() / 2000)

    def _open(self, dice: random.Random) -> None:
        roll = 1.0 if self._calm else dice.random()
        sleep(dice.random() / 2000)
        if roll < 0.1:
            self.group.give_up(self.shelf, OSError("password"), until=monotonic() + 0.005)
        elif roll < 0.2:
            self.group.give_up(self.shelf)
        else:
            number, now = self.hands.open(), monotonic()
            lives = 1000.0 if self._calm else dice.choice((0.002, 0.1, 1000.0))
            self.group.add(
                Slot(self.shelf, number, lambda _: number in self._dead or self._rolls(0.05), now, now + lives)
            )

    def _rolls(self, chance: float) -> bool:
        return not self._calm and self._dice.random() < chance

    def _prove(self, slot: Slot, limit: float) -> bool:
        self.hands.move(slot.resource, None, "proof")
        sleep(0.0001)
        self.hands.move(slot.resource, "proof", None)
        if self._rolls(0.05):
            raise Interrupted
        return slot.resource not in self._dead and not self._rolls(0.05)

    def _clean(self, dice: random.Random) -> None:
        try:
            slot = self._soiled.popleft()
        except IndexError:
            return
        self.hands.inherit(slot.resource, "cleaner")
        sleep(dice.random() / 2000)
        self.hands.move(slot.resource, "cleaner", None)
        if not self._calm and dice.random() < 0.2:
            self.group.discard(slot, condemn=True)
        else:
            self.group.restore(slot)

    def _watch(self, dice: random.Random) -> None:
        for slot in self.group.members():
            turn, owner = slot.turn, slot.owner
            if owner is not None and not owner.alive:
                self.events["taken back"] += self.group.take_back(slot, turn)
        self.group.mend(self.shelf)
        if self._calm:
            return
        for slot in self.group.retire(self.shelf, monotonic(), 0.02):
            self.events["retired"] += 1
            self.group.discard(slot)
        roll = dice.random()
        if roll < 0.02:
            self._dead.update(self.hands.open_ones()[:2])
        elif roll < 0.03:
            for slot in self.group.members()[-1:]:
                self.group.purge(slot)

    def _close(self, slot: Slot) -> None:
        self.hands.close(slot.resource)

    # -- what must hold -------------------------------------------------------------------------------------------

    def _inspect(self) -> None:
        """Under the lock, at each release of it: note the first thing that is not as it must be."""
        try:
            self._inspect_line()
            self._inspect_shelf(self.shelf.members, self.shelf.idle)
        except Broken as error:
            self.broken.append(error)

    def _inspect_line(self) -> None:
        self._check(not self.line.jumped, "; ".join(self.line.jumped))
        self._check(list(self.line) == self.line.order, "the line is not in the order of joining")
        self._check(not (self.line and self.shelf.idle), f"{len(self.line)} wait while {self.shelf.idle} are idle")

    def _inspect_shelf(self, members: list[Slot], idle: list[Slot]) -> None:
        opening = self.shelf.opening
        self._check(0 <= opening <= KEEPERS, f"lost: {opening} are said to be on their way")
        self._check(len(members) + opening <= CAPACITY, f"more than the capacity: {members}, {opening} on their way")
        self._check(len(set(members)) == len(members), f"twice a member: {members}")
        self._check(len(set(idle)) == len(idle), f"idle twice: {idle}")
        self._check(set(idle) <= set(members), f"idle, but no member: {idle}, {members}")
        for slot in members:
            self._check(slot.rest is not GONE, f"{slot} is gone, but a member")
            self._check((slot.state is IDLE) == (slot in idle), f"{slot} is not where it should be; idle are {idle}")
            self._check(slot.rest is IDLE or slot.owner is None, f"{slot} is being cleaned, but borrowed")

    def _take_all(self) -> None:
        """Nothing was lost: one thread gets the whole capacity, and no more."""
        owner = Owner()
        owner.waiter = StormyWaiter(self.line, None)
        taken: list[Any] = []
        try:
            for _ in range(CAPACITY):
                taken.append(self.group.checkout(owner, 3.0))
        except PoolError as error:
            raise Broken(f"lost: only {len(taken)} of {CAPACITY} are left: {self.shelf.members}") from error
        try:
            self.group.checkout(owner, 3.0)
        except NestedCheckout:
            pass
        else:
            raise Broken("more than the capacity was handed out")
        for slot in taken:
            self.group.release(slot, owner)
        self._raise()

    def _end(self) -> None:
        for slot in self.group.close():
            self.group.discard(slot)
