"""A storm of random actions on a group of integers, and the invariants that must hold all the while."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from pgdbpool.engine.books import Hooks
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from pgdbpool.waiting import GONE, IDLE, Route, Shelf, Slot
from tests.stress.instruments import Broken, Hands, Interrupted, Line, Lines, StormyWaiter, WatchedLock
from tests.stress.weather import Weather
from tests.unit.groups import explained

MAX_WAITING = 6
ACTORS = 10
KEEPERS = 2
LULL = 0.1  # seconds; every third one is quiet
TIMEOUTS = (0.0, 0.0002, 0.001, 0.005, 0.05, 2.0)


class Storm:
    """Threads that do to a group what its users, its keepers, its watch and its servers may do; ``run`` raises ``Broken``."""

    def __init__(self, kind: type[Group], seed: int, servers: int) -> None:
        self.seed = seed
        self.events: Counter[str] = Counter()
        self._dice = random.Random(f"{seed}-hooks")
        self.hands = Hands()
        self._weather = Weather(servers)
        self.shelves = self._weather.shelves
        self._soiled: deque[Slot] = deque()
        self._dead: set[int] = set()
        hooks = Hooks(lambda _: None, self._prove, self._soiled.append, self._close, explained)
        self.group = kind(
            "storm",
            self.shelves,
            hooks,
            ping_after=0.005,
            max_waiting=MAX_WAITING,
            needs=self._weather.needs,
            size=self._weather.size,
        )
        self.lines = Lines(self.group.routes)
        self._wanted: dict[Any, Route] = {}  # what each owner asked for last
        self._turns: dict[Slot, int] = {}
        self._held_before = dict.fromkeys(self.shelves, 0)
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
        keepers.append(self._start(self._change, "weather"))
        try:
            self._act_for(seconds)
            self._take_all()
            self._act_for(seconds / 8, end=self._end)
            self._until(self._is_empty, "the pool's end left something")
            self._until(lambda: not self.hands.open_ones(), "some were never closed")
        finally:
            sys.setswitchinterval(interval)
            self._actors_stop.set()
            self._keepers_stop.set()
            for thread in keepers:
                thread.join(10)
        self._raise()

    def _is_empty(self) -> bool:
        return not self.group.members() and not any(shelf.opening for shelf in self.shelves)

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
        owner.waiter = StormyWaiter(self.lines, dice)
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

    def _checkout(self, owner: Owner, timeout: float, route: Route) -> Slot:
        self._wanted[owner] = route
        return self.group.checkout(owner, timeout, route)

    def _borrow(self, owner: Owner, dice: random.Random, held: list[Slot]) -> str:
        slot = self._checkout(owner, dice.choice(TIMEOUTS), dice.choice(self.group.routes))
        self.hands.move(slot.resource, None, owner)
        held = [*held, slot]
        self._check_books(owner, held)
        sleep(dice.random() / 1000) if dice.random() < 0.5 else None
        try:
            if dice.random() < (0.2, 0.5)[len(held) > 1] and self._borrow(owner, dice, held) == "die":
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
            mine = [slot for shelf in self.shelves for slot in shelf.members if slot.owner is owner]
        self._check(set(mine) == set(held), f"lost: the books say that a thread has {mine}, but it has {held}")

    # -- servers, keeper, cleaner and watch ---------------------------------------------------------------------------

    def _change(self, dice: random.Random) -> None:
        while not self._keepers_stop.is_set() and not self.broken:
            if self._calm:
                self._weather.clear(self.group)
            else:
                self.events[self._weather.change(dice, self.group)] += 1
            sleep(dice.random() / 200)

    def _keep(self, dice: random.Random) -> None:
        while not self._keepers_stop.is_set() and not self.broken:
            for shelf in self.shelves:
                while self.group.reserve(shelf):
                    self._open(shelf, dice)
                self._watch(shelf, dice)
            while self._soiled:
                self._clean(dice)
            sleep(dice.random() / 2000)

    def _open(self, shelf: Shelf, dice: random.Random) -> None:
        sleep(dice.random() / 2000)
        roll = 1.0 if self._calm else dice.random()
        if roll < 0.1:
            self.group.give_up(shelf, OSError("password"), until=monotonic() + 0.005)
        elif roll < 0.2:
            self.group.give_up(shelf)
        else:
            number, now = self.hands.open(), monotonic()
            lives = 1000.0 if self._calm else dice.choice((0.002, 0.1, 1000.0))
            self.group.add(Slot(shelf, number, lambda _: number in self._dead or self._rolls(0.05), now, now + lives))

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

    def _watch(self, shelf: Shelf, dice: random.Random) -> None:
        for slot in self.group.members(shelf):
            turn, owner = slot.turn, slot.owner
            if owner is not None and not owner.alive:
                self.events["taken back"] += self.group.take_back(slot, turn)
        self.group.mend(shelf)
        if self._calm:
            return
        for slot in self.group.retire(shelf, monotonic(), 0.02):
            self.events["retired"] += 1
            self.group.discard(slot)
        roll = dice.random()
        if roll < 0.02:
            self._dead.update(self.hands.open_ones()[:2])
        elif roll < 0.03:
            for slot in self.group.members(shelf)[-1:]:
                self.group.purge(slot)

    def _close(self, slot: Slot) -> None:
        self.hands.close(slot.resource)

    # -- what must hold -------------------------------------------------------------------------------------------

    def _inspect(self) -> None:
        """Under the lock, at each release of it: note the first thing that is not as it must be."""
        try:
            for line in self.lines.each:
                self._inspect_line(line)
            for shelf in self.shelves:
                self._inspect_shelf(shelf, shelf.members, shelf.idle)
            self._inspect_routes([slot for shelf in self.shelves for slot in shelf.members])
        except Broken as error:
            self.broken.append(error)

    def _inspect_line(self, line: Line) -> None:
        self._check(not self.lines.jumped, "; ".join(self.lines.jumped))
        self._check(list(line) == line.order, "the line is not in the order of joining")
        idle = [slot for shelf in line.route.shelves for slot in shelf.idle]
        self._check(not (line and idle), f"{len(line)} wait while {idle} are idle")

    def _inspect_shelf(self, shelf: Shelf, members: list[Slot], idle: list[Slot]) -> None:
        opening, capacity = shelf.opening, shelf.capacity
        self._check(0 <= opening <= KEEPERS, f"lost: {opening} are said to be on their way")
        held, before = len(members) + opening, self._held_before[shelf]
        self._held_before[shelf] = held
        self._check(held <= max(capacity, before), f"more than the capacity: {members}, {opening} on their way")
        self._check(len(set(members)) == len(members), f"twice a member: {members}")
        self._check(len(set(idle)) == len(idle), f"idle twice: {idle}")
        self._check(set(idle) <= set(members), f"idle, but no member: {idle}, {members}")
        for slot in members:
            self._check(slot.rest is not GONE, f"{slot} is gone, but a member")
            self._check((slot.state is IDLE) == (slot in idle), f"{slot} is not where it should be; idle are {idle}")
            self._check(slot.rest is IDLE or slot.owner is None, f"{slot} is being cleaned, but borrowed")

    def _inspect_routes(self, members: list[Slot]) -> None:
        """Whatever was handed out just now is of a server that may serve who has it."""
        for slot in members:
            if slot.turn != self._turns.get(slot, 0) and slot.owner is not None:
                route = self._wanted[slot.owner]
                self._check(slot.shelf in route.shelves, f"{slot} serves {route.need}, which is outside the route")
        self._turns = {slot: slot.turn for slot in members}

    def _take_all(self) -> None:
        """Nothing was lost: one thread gets the whole capacity of every server, and no more."""
        owner = Owner()
        owner.waiter = StormyWaiter(self.lines, None)
        self._until(self._is_clear, "the weather does not clear up")
        taken: list[Slot] = []
        for route in self.group.routes:
            taken += self._take_all_of(route, owner)
        for slot in taken:
            self.group.release(slot, owner)
        self._raise()

    def _is_clear(self) -> bool:
        """Every server serves, and none is still known to be beyond hope."""
        return self._weather.cleared and all(shelf.hopeless_until < monotonic() for shelf in self.shelves)

    def _take_all_of(self, route: Route, owner: Owner) -> list[Slot]:
        taken: list[Slot] = []
        whole = sum(shelf.capacity for shelf in route.shelves)
        try:
            for _ in range(whole):
                taken.append(self._checkout(owner, 3.0, route))
        except PoolError as error:
            members = [shelf.members for shelf in route.shelves]
            raise Broken(f"lost: only {len(taken)} of {whole} are left: {members}") from error
        try:
            self._checkout(owner, 3.0, route)
        except NestedCheckout:
            return taken
        raise Broken("more than the capacity was handed out")

    def _end(self) -> None:
        for slot in self.group.close():
            self.group.discard(slot)
