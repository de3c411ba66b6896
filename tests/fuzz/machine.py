"""Whatever is done to a pool, in whatever order: the rules.

None has a precondition: what cannot be done now is left out, so that an example means the same whenever it is repeated.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import psycopg2
from hypothesis import strategies as st
from hypothesis.stateful import rule
from psycopg2 import extensions

from pgdbpool import DBOfflineError, DBQueryError, PoolClosed, PoolError, PoolTimeout
from tests.fuzz.actors import LIMIT, Actor
from tests.fuzz.holdings import LOOK, SOILING, TABLE, WAYS, Holding, expect, unsoiled
from tests.fuzz.inspection import soon
from tests.fuzz.model import GROUPS, SERVERS, Model, Waiting
from tests.life import Outcome, in_child, outcome, thread_of

__all__ = ["Machine", "SingleMachine"]

some = st.integers(0, 11)  # picks one of what there is
groups = st.sampled_from(GROUPS)
_TEXTS = {
    **dict.fromkeys(["look", "run"], LOOK),
    "write": f"INSERT INTO {TABLE} VALUES ({{}})",
    "fail": "SELECT 1/0",
    "slow": "SELECT pg_sleep(10)",
    "refused": "SET fuzz.mark = 'x'",
    "begin": "BEGIN",
}
_ERRORS = {"fail": psycopg2.errors.DivisionByZero, "slow": psycopg2.errors.QueryCanceled}
ASKED = ["look", "run", "write", "fail", "slow", "refused", "set_config", "lock"]
rarely = some.map(lambda number: number < 4)


class Machine(Model):
    """``type: threaded``, with three actors."""

    def idle_actor(self, number: int) -> Actor | None:
        idle = [actor for actor in self.actors if not actor.busy]
        return idle[number % len(idle)] if idle else None

    def pick(self, number: int) -> Holding | None:
        """One that is held by somebody who does not wait for anything else; where there is none, it is borrowed first."""
        if not (self.at_hand() or self.closed):
            self.check_out(number, GROUPS[number % 2], WAYS[number % 4], None)
        those = self.at_hand()
        return those[number % len(those)] if those else None

    def transaction_of(self, actor: Actor, group: str) -> Holding | None:
        return next((each for each in self.of(group) if each.way == "transaction" and each.owner is actor), None)

    # -- rules: borrowing ---------------------------------------------------------------------------------------------

    @rule(who=some, group=groups, way=st.sampled_from(WAYS), key=st.sampled_from([None, None, "a", "b"]))
    def check_out(self, who: int, group: str, way: str, key: str | None) -> None:
        if self.closed and who % 2:
            self.succeed(None)
        actor = self.idle_actor(who)
        if actor is None or (way == "transaction" and self.transaction_of(actor, group)):
            return
        key = f"{group} {key}" if key and way == "getconn" else None
        if key and (known := next((each for each in self.of(group) if each.key == key), None)):
            if not known.user.busy and not known.owner.busy:
                self.ask_again(known, actor)
            return
        holding = Holding(self.api, way, group, actor, key)
        refusal = self.refusal(actor, group)
        if refusal is PoolTimeout and who % 3:
            self.stand_in_line(holding, actor)
            return
        found = actor.call(holding.take, 0.02 if refusal else LIMIT)
        self.note(group, refusal)
        expect(found, *([refusal] if refusal else []))
        if refusal is None:
            self.lend(holding, found.value)
        self.settle()

    def ask_again(self, known: Holding, actor: Actor) -> None:
        """The same key: the same connection, for whoever asked last."""
        found = actor.call(lambda: self.api.getconn(known.key, group=known.group))
        expect(found)
        assert found.value is known.raw
        known.user = actor
        self.settle()

    def stand_in_line(self, holding: Holding, actor: Actor) -> None:
        line = self.lines[holding.group]
        actor.begin(holding.take, LIMIT)
        line.append(Waiting(holding, actor))
        assert soon(lambda: self.pool.stats()["groups"][holding.group]["waiting"] == len(line))
        self.settle()

    @rule(who=some, group=groups, kind=st.sampled_from(ASKED))
    def ask(self, who: int, group: str, kind: str) -> None:
        """One statement, on any free connection or in the actor's transaction."""
        actor, number = self.idle_actor(who), next(self.numbers)
        if actor is None:
            return
        within, refusal = self.transaction_of(actor, group), self.refusal(actor, group)
        how: dict[str, Any] = {"group": group, "timeout": 0.02 if refusal else LIMIT}
        sql = {**_TEXTS, **SOILING}[kind].format(number)
        if kind == "run":
            found = actor.call(lambda: self.api.run(lambda db: list(db.query(sql)), **how))
        else:
            how |= {"query_timeout": 20} if kind == "slow" else {}
            found = actor.call(lambda: self.api.query(sql, **how))
        if within is None:
            self._asked(found, group, kind, refusal, number)
        elif kind == "run":
            expect(found, PoolError)
        else:
            within.said(found, error=_ERRORS.get(kind), row=number if kind == "write" else None)
        self.settle()

    def _asked(self, found: Outcome, group: str, kind: str, refusal: type[PoolError] | None, number: int) -> None:
        if kind == "refused":
            expect(found, DBQueryError)
            return
        self.note(group, refusal)
        error = refusal or _ERRORS.get(kind)
        expect(found, *([error] if error else []))
        if refusal is None and kind in ("look", "run"):
            pid, _ = unsoiled(next(iter(found.value)), self.base(group))
            assert pid not in {each.pid for each in self.held}
        if refusal is None and kind == "write":
            self.committed.add(number)

    # -- rules: using what is borrowed --------------------------------------------------------------------------------

    @rule(
        which=some, kind=st.sampled_from(["look", "fail", "write", "begin", "stream", "commit", "rollback", *SOILING])
    )
    def say(self, which: int, kind: str) -> None:
        held, number = self.pick(which), next(self.numbers)
        if held is None or (kind == "begin" and held.way == "transaction"):
            return
        if kind in ("commit", "rollback"):
            self.committed |= held.ended(held.user.call(held.end, kind == "commit"), kind == "commit")
        elif kind == "stream" and held.db is not None:
            held.said(held.user.call(lambda: list(held.db.stream("SELECT generate_series(1, 3)", size=2))))
        else:
            found = held.user.call(held.say, {**SOILING, **_TEXTS}.get(kind, LOOK).format(number))
            row = number if kind == "write" else None
            if held.said(found, error=_ERRORS.get(kind), begins=kind == "begin", row=row):
                if kind == "look":
                    assert found.value[0][:2] == (held.pid, held.server)
                if row and not held.open:
                    self.committed.add(number)
        self.settle()

    @rule(which=some, clean=st.booleans(), close=st.booleans())
    def leave(self, which: int, clean: bool, close: bool) -> None:
        held = self.pick(which)
        if held is not None:
            self.give_back(held, clean, close)
            self.settle()

    @rule(which=some, clean=st.booleans())
    def nest(self, which: int, clean: bool) -> None:
        """A transaction inside the actor's own is a savepoint of it."""
        held, number = self.pick(which), next(self.numbers)
        if held is None or held.way != "transaction" or held.gone:
            return

        def work() -> None:
            with suppress(ZeroDivisionError), self.api.transaction(held.group) as db:
                db.query(f"INSERT INTO {TABLE} VALUES ({number})")
                if not clean:
                    raise ZeroDivisionError

        held.said(held.owner.call(work), row=number if clean else None)
        self.settle()

    # -- rules: misuse ------------------------------------------------------------------------------------------------

    @rule(which=some, who=some, what=st.sampled_from(["use", "leave"]))
    def use_after_release(self, which: int, who: int, what: str) -> None:
        actor = self.idle_actor(who)
        if actor is None or not self.released:
            return
        gone = self.released[which % len(self.released)]
        if what == "leave" and gone.way == "getconn" and any(each.raw is gone.raw for each in self.held):
            return  # it is lent again, and this would be its right way back
        expect(actor.call(gone.leave, True) if what == "leave" else actor.call(gone.say, LOOK), PoolError)
        self.settle()

    @rule(which=some, who=some)
    def meddle(self, which: int, who: int) -> None:
        """A real connection is for the thread that took it; and only what ``getconn`` has lent can be put back."""
        held, actor = self.pick(which), self.idle_actor(who)
        if actor is None:
            return
        strangers: list[tuple[Any, ...]] = [(None,), ("x",), (self.observer.connection,)]
        if held is not None and held.raw is not None and actor is not held.user:
            expect(actor.call(held.say, LOOK), PoolError)
        if held is not None and held.way == "getconn":
            strangers.append((held.raw, "no such key"))
        elif held is not None:
            strangers.append((held.raw or held.db.dialogue.session.raw,))
        for stranger in strangers:
            expect(actor.call(self.pool.putconn, *stranger), PoolError)
        self.settle()

    @rule(which=some, by=st.sampled_from(["thread", "garbage"]), really=rarely)
    def abandon(self, which: int, by: str, really: bool) -> None:
        """What a thread held that has ended, or what was dropped without being left, is taken back."""
        held = self.pick(which) if self.threaded and really and not self.closed else None
        if held is None:
            return
        if by == "thread" and not any(each.user is held.owner is not each.owner for each in self.held):
            lost = [each for each in self.held if each.owner is held.owner]
            held.owner.die()
            self.actors[self.actors.index(held.owner)] = Actor(held.owner.name)
            self.held = [each for each in self.held if each not in lost]
            self.released += lost
        elif by == "garbage" and held.way != "getconn":
            held.block = held.db = held.raw = held.cursor = None
            gc.collect()
            self.held.remove(held)
        self.settle()

    # -- rules: faults ------------------------------------------------------------------------------------------------

    @rule(which=some, whose=st.sampled_from(["somebody's", "idle", "all idle", "monitor"]))
    def terminate(self, which: int, whose: str) -> None:
        held = self.pick(which)
        if whose == "somebody's":
            pids = {held.pid} if held is not None and not held.gone else set()
        elif whose == "monitor":
            pids = self.observer.pids("pgdbpool:monitor")
        else:
            pids = self.observer.pids(f"{self.name}:%") - {each.pid for each in self.held}
        for pid in sorted(pids)[: None if whose == "all idle" else 1]:
            self.observer.terminate(pid)
            self.killed.add(pid)
        if held is not None and held.pid in pids:
            held.gone = True
        self.settle()

    @rule(which=some, idle=st.booleans())
    def close_under_the_pool(self, which: int, idle: bool) -> None:
        """psycopg2's own connection, by who has it, or by nobody."""
        held = self.pick(which)
        if idle:
            slots = [slot for shelf in self.pool._engine.groups["web"].shelves for slot in shelf.idle]
            for slot in slots[:1]:
                self.killed.add(slot.resource.backend_pid)
                extensions.connection.close(slot.resource.raw)
                assert soon(lambda slot=slot: slot.resource.poll(0))
        elif held is not None:
            expect(held.user.call(held.close))
            held.gone = held.closed = True
            self.killed.add(held.pid)
        self.settle()

    @rule(who=some, really=rarely)
    def fork(self, who: int, really: bool) -> None:
        """The child has an empty pool that works, and nothing of its parent's; the parent goes on as if nothing was."""
        actor = self.idle_actor(who)
        if actor is None or not really:
            return
        mine = [each for each in self.held if each.user is actor]
        found = actor.call(in_child, lambda: self._as_child(mine))
        expect(found)
        assert not found.value & {each.pid for each in self.held}
        self.settle()

    def _as_child(self, borrowed: list[Holding]) -> set[int]:
        """Returns the backends that it was served by."""
        for each in borrowed:
            expect(outcome(each.say, "SELECT 1"), psycopg2.Error)
            expect(outcome(each.leave, True), PoolError)
        for figures in self.pool.stats()["groups"].values():
            assert not any(figures[each] for each in ("in_use", "idle", "opening", "waiting")), figures
        pids = set()
        for group in GROUPS:  # in a thread that is in no transaction
            found = thread_of(lambda group=group: self.pool.query(LOOK, group=group).one()).result()
            expect(found, *([PoolClosed] if self.closed else [] if any(self.is_open.values()) else [DBOfflineError]))
            pids |= {unsoiled(found.value, self.base(group))[0]} if found.value else set()
        self.pool.close(0)
        return pids

    # -- rules: changes -----------------------------------------------------------------------------------------------

    @rule(group=groups, count=st.integers(1, 4))
    def resize(self, group: str, count: int) -> None:
        if not self.closed:
            self.pool.resize(group, count)
            self.count[group] = count
            self.settle()

    @rule(server=st.sampled_from(SERVERS), is_open=st.sampled_from([True, True, False]))
    def drain_or_resume(self, server: str, is_open: bool) -> None:
        if server in self.is_open and not self.closed:
            (self.pool.resume if is_open else self.pool.drain)(server)
            self.is_open[server] = is_open
            self.settle()

    @rule(timeout=st.sampled_from([0, 0.05]), really=rarely)
    def close(self, timeout: float, really: bool) -> None:
        """Who waits is told, and what is still borrowed is cut."""
        if really and not self.closed:
            self.pool.close(timeout)
            self.cut()
            self.settle()

    @rule(wait=st.sampled_from([None, LIMIT]), really=rarely)
    def init_again(self, wait: float | None, really: bool) -> None:
        if really or self.closed:
            self.succeed(wait)

    def succeed(self, wait: float | None) -> None:
        """The new pool takes over, and the old one closes when it has served those who wait and got back what it lent."""
        name = self.name
        successor = self.new_pool(wait)
        self.name, name = name, self.name
        self.fading = True
        for held in self.at_hand():
            held.said(held.user.call(held.say, LOOK))
        self.give_all_back()
        self.name = name
        self.adopt_pool(successor)
        self.settle()


class SingleMachine(Machine):
    """``type: non-threaded``, with one."""

    threaded = False
