"""Which texts may run on a standby: what the text says, and what the server's catalog says of the names in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from time import monotonic

from pgdbpool.driver.objects import Meaning, meanings, unnamed
from pgdbpool.driver.session import Refused, Session
from pgdbpool.text import READING, Verdict, look

log = logging.getLogger("pgdbpool.catalog")

_FRESH = 60.0  # seconds after which what was learned is learned again: somebody else may have created something
_AT_ONCE = 500  # names in one question
_MOST = 20_000  # names known, and texts refused: beyond that all of them are forgotten
_SOON = 5.0  # seconds after which it is, where somebody here may have
_PAUSE = 1.0  # seconds after a question that was not answered


class Catalog:
    """What is known of names, asked for in texts and learned off the request path by whoever probes the primary.

    A text whose names are not known yet goes to the primary, and ``wished`` is called. What is known is exchanged as a whole,
    so no lock is needed. ``generation`` grows whenever an answer may have changed.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.wished: Callable[[], None] = lambda: None
        self._known: dict[str, Meaning] = {}
        self._wished: set[str] = set()
        self._refused: frozenset[str] = frozenset()
        self._unnamed: frozenset[str] = frozenset()
        self._learned_at = self._due = self._paused_until = 0.0

    # -- asking -------------------------------------------------------------------------------------------------------

    def allows(self, sql: str, verdict: Verdict, permitted: Collection[str]) -> bool:
        """Whether the text may run on a standby; ``permitted``: functions that the user vouches for."""
        if not verdict.on_standby or sql in self._refused or any(symbol in sql for symbol in self._unnamed):
            return False
        known, seen, texts = self._known, {sql}, [verdict]
        while texts:
            verdict = texts.pop()
            if unknown := verdict.names - known.keys():
                self._wished |= unknown
                if monotonic() > self._paused_until:
                    self.wished()
                return False
            if not verdict.on_standby or any(_doubts(verdict, known, permitted)):
                return False
            for text in {text for name in verdict.names for text in known[name].texts} - seen:
                seen.add(text)
                if any(symbol in text for symbol in self._unnamed):
                    return False
                texts.append(look(text))
        return True

    # -- learning -----------------------------------------------------------------------------------------------------

    def refuse(self, sql: str) -> None:
        """A standby has refused it."""
        refused = self._refused if len(self._refused) < _MOST else frozenset()
        self._refused = refused | {sql}
        self.generation += 1

    def outdate(self) -> None:
        """Somebody here has changed what names stand for: nothing is known until it is learned again."""
        self._due = 0.0
        self._wished |= self._known.keys()
        self._known = {}
        self.generation += 1
        self.wished()

    def refresh(self) -> None:
        """Somebody here may have changed what names stand for: what is known counts until it is learned again, soon."""
        self._due = min(self._due, self._learned_at + _SOON)

    def learn(self, session: Session, limit: float) -> None:
        """Ask a server for what was wished, and again for all that is old; each question for at most ``limit`` seconds."""
        now = monotonic()
        if now < self._paused_until:
            return
        session.takes_time = True
        try:
            if (self._wished or self._known) and now > self._due:
                self._learn_all(session, limit)
            while names := list(self._wished)[:_AT_ONCE]:
                self._learn_some(session, names, limit)
        except BaseException as error:  # a lock of somebody who changes a table, for one
            self._paused_until = now + _PAUSE
            log.info("cannot learn what names stand for: %s", error)
            if not isinstance(error, Refused):
                raise
        finally:
            session.takes_time = False

    def _learn_all(self, session: Session, limit: float) -> None:
        self._learned_at = monotonic()
        self._due = self._learned_at + _FRESH
        before, self._unnamed = self._unnamed, unnamed(session, limit)
        if "" in self._unnamed - before:
            log.warning(
                "no text tells what only reads: an operator, cast or domain calls a volatile function; declare it STABLE"
            )
        if self._unnamed != before:
            self.generation += 1
        if len(self._known) > _MOST:
            self._known = {}
        self._wished |= self._known.keys()

    def _learn_some(self, session: Session, names: list[str], limit: float) -> None:
        self._wished.difference_update(names)
        try:
            found = meanings(session, names, limit)
        except BaseException:
            self._wished.update(names)
            raise
        if any(self._known.get(name) != found[name] for name in names):
            self._known = {**self._known, **found}
            self.generation += 1


def _doubts(verdict: Verdict, known: dict[str, Meaning], permitted: Collection[str]) -> Iterator[bool]:
    """For each name whether it may stand for more than reading."""
    for called in verdict.functions:
        schema, _, name = called.rpartition(".")
        functions = known[name].functions if name in known else {}
        concerned = [doubtful for where, doubtful in functions.items() if schema in ("", where)]
        yield called not in permitted and name not in permitted and (not concerned or any(concerned))
    for name in verdict.names:
        meaning = known[name]
        own = any(doubtful for schema, doubtful in meaning.functions.items() if schema != "pg_catalog")
        yield meaning.sequence or (name not in permitted and (meaning.attribute or (own and name in READING)))
