"""One borrowed connection in the hands of a user."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from typing import Any

import psycopg2

from pgdbpool.access.block import Block
from pgdbpool.access.desk import Desk
from pgdbpool.access.dialogue import IDLE, Dialogue, begin
from pgdbpool.access.hold import Hold
from pgdbpool.access.results import Result, answer
from pgdbpool.access.statements import milliseconds, prepared, rejected
from pgdbpool.access.streams import Stream
from pgdbpool.driver.guarded import lend, take_back
from pgdbpool.driver.session import limit_of
from pgdbpool.engine.guard import Grip
from pgdbpool.errors import DBQueryError, PoolError
from pgdbpool.text import Verdict

__all__ = ["Lease"]

_BLOCK = "the block commits when it ends, and rolls back on an exception"
_PAGE = 100  # rows of executemany in one message


class Lease(Hold):
    """What a ``Handler`` and a ``transaction()`` give to their block. Not for two threads at once."""

    __slots__ = ("_autocommit", "_grip", "_own_stream", "_query_timeout", "_streams", "blocks", "dialogue")

    def __init__(
        self, desk: Desk, autocommit: bool, read_only: bool, timeout: float | None, query_timeout: int | None
    ) -> None:
        super().__init__(desk, read_only, timeout)
        self._autocommit = autocommit
        self._query_timeout = milliseconds(query_timeout)

    def _take(self) -> None:
        slot = self._check_out()
        self._grip = Grip(self._desk.group.make_lock())
        self.blocks = self._streams = 0
        self._own_stream: weakref.ref[Stream] | None = None
        self.dialogue = Dialogue(self._desk, slot.resource, self._query_timeout, self._read_only)

    def _leave(self, error: BaseException | None) -> None:
        """The end of the block; an error on its way is not hidden by one about the connection."""
        with nullcontext() if error is None else suppress(PoolError):
            self._give_back()

    def _give_back(self) -> None:
        slot = self._held()
        session = slot.resource
        try:
            with self._grip:  # whoever comes to use it from now on finds that it has ended
                self._slot = None
        except PoolError:
            self._slot = None
            session.shut_down("its block was left while another thread was using it")
        take_back(session.raw)
        self._release(slot, self.dialogue.soiled or self.dialogue.status != IDLE)

    @contextmanager
    def at_work(self, turn: int | None = None) -> Iterator[Dialogue]:
        """Internal: around every use; raises for a second thread, after release, and for what is left of an old turn."""
        self._held()
        if turn is not None and turn != self.turn:
            raise PoolError("this belongs to an earlier use of its handler, which has ended")
        with self._grip:
            self._held()  # it may have ended between the two looks
            yield self.dialogue

    # -- statements -------------------------------------------------------------------------------------------------

    def query(self, sql: Any, params: Any = None, *, query_timeout: int | None = None) -> Result:
        """One statement on this connection; in its transaction if there is one, else in autocommit.

        Raises ``DBQueryError`` for what the server rejects, ``InDoubt`` or ``DBConnectionError`` for a lost connection.
        """
        self._held()
        with self._grip:
            self._held()  # as at_work, without its cost
            text, verdict = self._admit(sql)
            return answer(self.dialogue.say(text, verdict, params, query_timeout, self._transactional))

    @property
    def _transactional(self) -> bool:
        return bool(self.blocks) or not self._autocommit

    def _admit(self, sql: Any) -> tuple[str, Verdict]:
        """Refuse what must not be said now."""
        text, verdict = prepared(sql, self.dialogue.session)
        if self.blocks and verdict.controls_transaction:
            error = psycopg2.ProgrammingError(f"{verdict.keyword} inside transaction(): {_BLOCK}")
            raise DBQueryError.like(error) from error
        if self.dialogue.session.pooled_by is not None and verdict.session and not verdict.controls_transaction:
            raise PoolError(f"behind a transaction pooler there is no session to keep it: {verdict.session}")
        self._settle_stream()
        return text, verdict

    def _settle_stream(self) -> None:
        """A stream that has a transaction of its own leaves no room for anything else, until it is dropped."""
        if self._own_stream is None:
            return
        stream = self._own_stream()
        if stream is not None and stream.is_open:
            raise PoolError("a stream() is open on this handler: read it to its end first, or use transaction()")
        self._own_stream = None
        if stream is None and self.dialogue.status != IDLE:
            self.dialogue.end(commit=not self.dialogue.failed)

    def executemany(self, sql: Any, rows: Iterable[Any]) -> None:
        """The statement once for each row of parameters, many to a message; all of them or none."""
        self._held()
        rest = iter(rows)
        page, following = _page(rest), _page(rest)
        if not following and self._transactional:  # one message is all or nothing by itself
            self._execute_page(sql, page)
            return
        if not self._autocommit:
            with self.at_work() as dialogue:
                dialogue.open_transaction()  # so that the block is a savepoint in it
        with Block(self, self.dialogue.opening):
            while page:
                self._execute_page(sql, page)
                page, following = following, _page(rest)

    def _execute_page(self, sql: Any, page: list[Any]) -> None:
        with self.at_work() as dialogue:
            text, verdict = self._admit(sql)
            prefix = dialogue.prefix(verdict, dialogue.query_timeout, True)
            statements = self._written_out(text, page)
            dialogue.note(verdict, *page)
            if statements:
                dialogue.send_all(prefix, statements)

    def _written_out(self, text: str, page: list[Any]) -> list[str]:
        cursor = psycopg2.extensions.cursor(self.dialogue.session.raw)
        try:
            return [cursor.mogrify(text, row).decode() for row in page]
        except Exception as error:
            raise rejected(error) from error

    def stream(self, sql: Any, params: Any = None, *, size: int = 2000) -> Stream:
        """The rows of a query that does not fit into memory, fetched ``size`` at a time by a cursor on the server.

        Outside a transaction it opens one of its own, which ends with the last row, with ``close()`` or when the iterator
        is dropped; until then this handler takes no other statement.
        """
        if size < 1:
            raise ValueError(f"size is {size}; it must be at least 1")
        with self.at_work() as dialogue:
            text, verdict = self._admit(sql)
            if not verdict.single and ";" in text.rstrip("; \n"):
                raise DBQueryError.like(psycopg2.ProgrammingError("stream() takes one statement"))
            own = not self._transactional and dialogue.status == IDLE
            self._streams += 1
            name = f"pgdbpool_{self._streams}"
            try:
                front = f"DECLARE {name} NO SCROLL CURSOR FOR\n"
                dialogue.say(text, verdict, params, None, self._transactional or own, front)
            except DBQueryError:
                if own:
                    dialogue.end(commit=False)
                raise
            stream = Stream(self, name, size, own)
            if own:
                self._own_stream = weakref.ref(stream)
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

    def _end(self, *, commit: bool) -> None:
        with self.at_work() as dialogue:
            if self.blocks:
                raise PoolError(f"{'commit' if commit else 'rollback'}() inside transaction(): {_BLOCK}")
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
            self._settle_stream()
            if self._transactional:
                dialogue.open_transaction()
            else:
                dialogue.ensure_read_only()
            dialogue.soiled = dialogue.wrote = True
            session = dialogue.session
            if not session.raw.is_lent:
                lend(session.raw, session, limit_of(dialogue.query_timeout), managed=self._transactional)
            return session.raw


def _page(rows: Iterator[Any]) -> list[Any]:
    return list(islice(rows, _PAGE))
