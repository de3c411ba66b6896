"""One borrowed connection in the hands of a user."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from itertools import islice
from typing import Any, TypeVar

import psycopg2

from pgdbpool.access.block import Block
from pgdbpool.access.desk import Desk
from pgdbpool.access.dialogue import BLOCK_ENDS, Dialogue, begin
from pgdbpool.access.hold import Hold
from pgdbpool.access.outcome import Tracked, place_of, tracked
from pgdbpool.access.request import bounded
from pgdbpool.access.results import Result, answer
from pgdbpool.access.scribe import scribe
from pgdbpool.access.statements import milliseconds, plain
from pgdbpool.access.streams import Stream
from pgdbpool.driver.guarded import lend, take_back
from pgdbpool.driver.position import Position
from pgdbpool.driver.session import limit_of
from pgdbpool.engine.guard import Grip
from pgdbpool.errors import DBQueryError, PoolError
from pgdbpool.text import doubtful

_PAGE = 100  # rows of executemany in one message
_BETWEEN = "\n;\n"  # on lines of their own: a statement may end in a comment

L = TypeVar("L", bound="Lease")


class Lease(Hold):
    """What a ``Handler`` and a ``transaction()`` give to their block. Not for two threads at once."""

    __slots__ = ("_grip", "_place", "_query_timeout", "_terms", "_track", "dialogue")

    def __init__(self, desk: Desk, read_only: bool, timeout: float | None, query_timeout: int | None) -> None:
        super().__init__(desk, read_only, timeout)
        self._query_timeout = milliseconds(query_timeout)
        self._track = False
        self._place: Position | None = None
        # Is it in autocommit, the BEGIN of its transactions, and 1 if all of it is one block of transaction().
        self._terms = desk.autocommit, begin(None, read_only), 0

    def __enter__(self: L) -> L:
        slot = self._check_out()
        session = slot.resource
        if self._track:
            self._place = place_of(slot)
        scribe_ = scribe(self._desk, self._owner, slot, read_only=self._read_only)
        self.dialogue = Dialogue(session, self._query_timeout, self._read_only, self._terms, scribe_, self._track)
        self._grip = Grip(self._desk.group.make_lock(), self.dialogue)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is not None:
                with suppress(psycopg2.Error):  # the error on its way is the news; a loss is found at release
                    self._end(commit=False, blocks=self._terms[2])
            elif not self.dialogue.autocommit:
                self._end(commit=True, blocks=self._terms[2])
        finally:
            if error is None or self.lasts():
                self._give_back()

    def tracked(self) -> Tracked | None:
        """Internal: the id of the transaction that this was, if it was to be tracked and wrote something."""
        return tracked(self.dialogue.tracked, self._place)

    def _give_back(self) -> None:
        slot = self._held()
        try:
            self._grip.__enter__()  # and never left: whoever comes to use it from now on finds it taken
        except PoolError:
            slot.resource.shut_down("its block was left while another thread was using it")
        take_back(slot.resource.raw)
        if self.dialogue.scribe is not None:
            self.dialogue.scribe.close()
        self._release(slot, self.dialogue.soiled or not slot.resource.idle)

    def at_work(self) -> Grip[Dialogue]:
        """Internal: ``with`` it around every use; raises for a second thread and after release."""
        self._held()
        return self._grip

    # -- statements -------------------------------------------------------------------------------------------------

    def query(self, sql: Any, params: Any = None, *, query_timeout: int | None = None) -> Result:
        """One statement on this connection; in its transaction if there is one, else in autocommit.

        Raises ``DBQueryError`` for what the server rejects, ``InDoubt`` or ``DBConnectionError`` for a lost connection.
        """
        with self.at_work() as dialogue:
            text, verdict = dialogue.admit(sql)
            return answer(dialogue.say(verdict, text, params=params, limit=milliseconds(query_timeout)))

    def executemany(self, sql: Any, rows: Iterable[Any]) -> None:
        """The statement once for each row of parameters, many to a message; all of them or none."""
        self._held()
        rest = iter(rows)
        page, following = list(islice(rest, _PAGE)), list(islice(rest, _PAGE))
        with self.at_work() as dialogue:
            dialogue.settle_stream()
            alone = not (following or dialogue.autocommit)  # one message is all or nothing by itself
            if following and not dialogue.autocommit:
                dialogue.open_transaction()  # so that the block is a savepoint in it
        with nullcontext() if alone else Block(self, dialogue.opening):
            while page:
                self._execute_page(sql, page)
                page, following = following, list(islice(rest, _PAGE))

    def _execute_page(self, sql: Any, page: list[Any]) -> None:
        with self.at_work() as dialogue:
            text, verdict = dialogue.admit(sql)
            cursor = psycopg2.extensions.cursor(dialogue.session.raw)
            try:
                statements = [cursor.mogrify(text, row).decode() + _BETWEEN for row in page]
            except Exception as error:
                raise DBQueryError.like(error) from error
            dialogue.say(verdict if all(map(plain, page)) else doubtful(verdict), *statements)

    def stream(self, sql: Any, params: Any = None, *, size: int = 2000) -> Stream:
        """The rows of a query that does not fit into memory, fetched ``size`` at a time by a cursor on the server.

        Outside a transaction it opens one of its own, which ends with the last row, with ``close()`` or when the iterator
        is dropped; until then this handler takes no other statement.
        """
        if size < 1:
            raise ValueError(f"size is {size}; it must be at least 1")
        with self.at_work() as dialogue:
            text, verdict = dialogue.admit(sql)
            if not verdict.single and ";" in text.rstrip("; \n"):
                raise DBQueryError.like(psycopg2.ProgrammingError("stream() takes one statement"))
            own = dialogue.autocommit and dialogue.session.idle
            dialogue.streams += 1
            name = f"pgdbpool_{dialogue.streams}"
            if own:
                dialogue.autocommit = False  # until the end of its transaction
            try:
                dialogue.say(verdict, text, params=params, front=f"DECLARE {name} NO SCROLL CURSOR FOR\n")
            except BaseException:
                if own:
                    with suppress(psycopg2.Error):
                        dialogue.end(commit=False)
                raise
            stream = Stream(self, name, size)
            if own:
                dialogue.own_stream = weakref.ref(stream)
            return stream

    # -- transactions -----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit what was done since the last commit; nothing where autocommit has done so already.

        Raises ``DBQueryError`` (InFailedSqlTransaction) if the transaction had failed, ``InDoubt`` if the answer was lost.
        """
        self._end(commit=True)

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        self._end(commit=False)

    def _end(self, *, commit: bool, blocks: int = 0) -> None:
        with self.at_work() as dialogue:
            if dialogue.blocks != blocks:
                said = "commit()" if commit else "rollback()"
                raise PoolError(f"{said} inside transaction(), which was not left yet: {BLOCK_ENDS}")
            dialogue.end(commit=commit)

    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> Block:
        """A ``with`` block in one transaction; inside another one it is a savepoint."""
        return Block(self, begin(isolation, read_only or self._read_only))

    @property
    def connection(self) -> Any:
        """The real psycopg2 connection, for this thread and this block; it is reset afterwards.

        Inside a transaction of this handler, psycopg2's own ``commit()`` and ``rollback()`` raise and say so.
        """
        with self.at_work() as dialogue:
            dialogue.settle_stream()
            dialogue.soiled = dialogue.wrote = True
            dialogue.prepare()
            if dialogue.scribe is not None:
                dialogue.scribe.hand_out(self._owner)
            session, managed = dialogue.session, bool(dialogue.blocks) or not dialogue.autocommit
            if not session.raw.is_lent:
                lend(session, limit_of(dialogue.query_timeout), managed=managed, bounded=bounded)
            return session.raw
