"""One borrowed connection in the hands of a user, and the transactions on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.access.desk import Desk
from pgdbpool.access.results import Result
from pgdbpool.access.rows import Row, row_class
from pgdbpool.access.statements import aborted, judged, limit_of, lost, plain, rejected, text_of
from pgdbpool.driver.guarded import lend, take_back
from pgdbpool.driver.session import Session
from pgdbpool.engine.owners import place_of_caller, present_owner
from pgdbpool.errors import DBQueryError, PoolError
from pgdbpool.text import Verdict
from pgdbpool.waiting import Slot

__all__ = ["Lease", "begin"]

_IDLE = extensions.TRANSACTION_STATUS_IDLE
_FAILED = extensions.TRANSACTION_STATUS_INERROR
_PAGE = 100  # rows of executemany in one message
_ISOLATION = {
    "read committed": "READ COMMITTED",
    "repeatable read": "REPEATABLE READ",
    "serializable": "SERIALIZABLE",
    "read uncommitted": "READ UNCOMMITTED",
}


def begin(isolation: str | None = None, read_only: bool = False) -> str:
    """The BEGIN for a transaction; ``isolation`` in PostgreSQL's words, any case, ``_`` for a space."""
    if isolation is None:
        return "BEGIN READ ONLY" if read_only else "BEGIN"
    level = _ISOLATION.get(str(isolation).lower().replace("_", " "))
    if level is None:
        raise ValueError(f"isolation is {isolation!r}; it must be one of: {', '.join(sorted(_ISOLATION))}")
    return f"BEGIN ISOLATION LEVEL {level}{' READ ONLY' if read_only else ''}"


class Lease:
    """What a ``Handler`` and a ``transaction()`` give to their block. Not for two threads at once."""

    __slots__ = (
        "__weakref__",
        "_autocommit",
        "_begin",
        "_blocks",
        "_desk",
        "_first_error",
        "_grip",
        "_owner",
        "_query_timeout",
        "_read_only",
        "_server_timeout",
        "_session",
        "_slot",
        "_soiled",
        "_streams",
        "_timeout",
        "_turn",
        "_wrote",
    )

    def __init__(
        self, desk: Desk, autocommit: bool, read_only: bool, timeout: float | None, query_timeout: int | None
    ) -> None:
        self._slot: Slot | None = None
        self._desk = desk
        self._autocommit = autocommit
        self._read_only = read_only
        self._timeout = desk.timeout if timeout is None else timeout
        self._query_timeout = desk.query_timeout if query_timeout is None else query_timeout

    # -- taking and giving back -------------------------------------------------------------------------------------

    def _take(self) -> None:
        if self._slot is not None:
            raise PoolError("this handler is in use already: its block was entered twice")
        self._owner = present_owner()
        slot = self._desk.group.checkout(self._owner, self._timeout)
        slot.place = place_of_caller()
        self._session: Session = slot.resource
        self._turn = slot.turn
        self._slot = slot
        self._grip = slot.grip
        self._server_timeout = self._desk.query_timeout
        self._begin = begin(None, self._read_only)
        self._blocks = 0
        self._streams = 0
        self._wrote = False
        self._soiled = False
        self._first_error: BaseException | None = None

    def _give_back(self) -> None:
        slot = self._held()
        self._slot = None
        slot.place = None
        take_back(self._session.raw)
        self._desk.give_back(slot, self._owner, self._soiled or self._status() != _IDLE)

    def _held(self) -> Slot:
        slot = self._slot
        if slot is None:
            raise PoolError("this handler has given its connection back: it can be used inside its `with` block only")
        if slot.owner is not self._owner or slot.turn != self._turn:
            raise PoolError("this handler's connection was taken back: after a fork, or after its thread had ended")
        return slot

    def __del__(self) -> None:
        slot = getattr(self, "_slot", None)
        if slot is not None and slot.owner is not None and slot.turn == self._turn:
            self._desk.orphans.append((slot, self._turn))  # no lock here: the Watch takes it back

    # -- statements -------------------------------------------------------------------------------------------------

    def query(self, sql: Any, params: Any = None, *, query_timeout: int | None = None) -> Result:
        """One statement on this connection; in its transaction if there is one, else in autocommit.

        Raises ``DBQueryError`` for what the server rejects, ``InDoubt`` or ``DBConnectionError`` for a lost connection.
        """
        with self._grip:
            return Result(self._execute(sql, params, query_timeout))

    def executemany(self, sql: Any, rows: Iterable[Any]) -> None:
        """The statement once for each row of parameters, many to a message; all of them or none."""
        with self._block(None):
            rest = iter(rows)
            while page := [row for row, _ in zip(rest, range(_PAGE))]:  # noqa: B905 the shorter one ends it
                with self._grip:
                    self._execute_page(sql, page)

    def stream(self, sql: Any, params: Any = None, *, size: int = 2000) -> Iterator[Row]:
        """The rows of a query that does not fit into memory, fetched ``size`` at a time by a cursor on the server.

        Outside a transaction it opens one of its own, which ends with the last row or with the iterator; until then
        this handler takes no other statement.
        """
        if size < 1:
            raise ValueError(f"size is {size}; it must be at least 1")
        with self._grip:
            self._held()
            own = self._autocommit and not self._blocks and self._status() == _IDLE
            name = f"pgdbpool_{self._streams + 1}"
            front = f"{self._begin};\n" if own else ""
            try:
                self._execute(sql, params, None, front=f"{front}DECLARE {name} NO SCROLL CURSOR FOR\n")
            except DBQueryError:
                if own:
                    self._end(commit=False)
                raise
            self._streams += 1
        return self._fetched(name, size, own)

    def _fetched(self, name: str, size: int, own: bool) -> Iterator[Row]:
        turn = self._turn
        try:
            while True:
                with self._grip:
                    self._held()
                    cursor = self._send(f"FETCH FORWARD {size:d} FROM {name}", None, "a FETCH")
                    rows = cursor.fetchall()
                yield from map(row_class(tuple(column.name for column in cursor.description)), rows)
                if len(rows) < size:
                    return
        finally:
            if self._slot is not None and self._turn == turn and not self._session.lost:
                with self._grip:
                    self._streams -= 1
                    if self._status() != _FAILED:
                        self._send(f"CLOSE {name}", None, "a CLOSE")
                    if own:
                        self._end(commit=self._status() != _FAILED)

    # -- transactions -----------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit what was done since the last commit; nothing where autocommit has done so already.

        Raises ``DBQueryError`` (InFailedSqlTransaction) if the transaction had failed, ``InDoubt`` if the answer was
        lost.
        """
        with self._grip:
            self._held()
            self._refuse_in_block("commit()")
            self._end(commit=True)

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        with self._grip:
            self._held()
            self._refuse_in_block("rollback()")
            self._end(commit=False)

    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> Block:
        """A ``with`` block in one transaction; inside another one it is a savepoint."""
        return self._block(begin(isolation, read_only or self._read_only))

    def _block(self, opening: str | None) -> Block:
        return Block(self, opening)

    @property
    def connection(self) -> Any:
        """The real psycopg2 connection, for this thread and this block; it is reset afterwards.

        It is in psycopg2's autocommit; transactions on it are this handler's own, by its ``commit()`` and
        ``rollback()``.
        """
        self._held()
        self._soiled = self._wrote = True
        if self._status() == _IDLE and (self._blocks or not self._autocommit):
            self._send(self._begin, None, "a BEGIN", "BEGIN")
        raw = self._session.raw
        if raw._tenant is None:
            lend(raw, self._session, limit_of(self._query_timeout))
        return raw

    # -- inside -----------------------------------------------------------------------------------------------------

    def _status(self) -> int:
        return int(self._session.raw.get_transaction_status())

    def _execute(self, sql: Any, params: Any, query_timeout: int | None, front: str = "") -> Any:
        """Send a user's statement, with what has to travel in front of it; returns the cursor."""
        self._held()
        text = text_of(sql, self._session)
        verdict = judged(text)
        self._refuse_text(verdict)
        limit = self._query_timeout if query_timeout is None else query_timeout
        prefix = self._prefix(verdict, limit) + front
        self._soiled = self._soiled or not verdict.clean or not plain(params)
        self._wrote = self._wrote or not verdict.reads
        autocommit = self._status() == _IDLE and "BEGIN" not in prefix
        in_doubt = not verdict.reads and (autocommit or verdict.controls_transaction)
        cursor = self._send(prefix + text, params, "a statement", prefix, in_doubt, limit)
        self._server_timeout = limit
        return cursor

    def _execute_page(self, sql: Any, page: list[Any]) -> None:
        """The statement for each row of parameters, in one message."""
        self._held()
        text = text_of(sql, self._session)
        verdict = judged(text)
        self._refuse_text(verdict)
        prefix = self._prefix(verdict, self._query_timeout)
        self._soiled = self._soiled or not verdict.clean or not all(map(plain, page))
        self._wrote = self._wrote or not verdict.reads
        cursor = extensions.cursor(self._session.raw)
        try:
            statements = b";\n".join(cursor.mogrify(text, row) for row in page)
        except Exception as error:
            raise rejected(error) from error
        self._send(prefix.encode() + statements, None, "an executemany()", prefix)

    def _prefix(self, verdict: Verdict, limit: int) -> str:
        """BEGIN, where it is due, and the server's side of a limit that differs from the present one."""
        in_transaction = self._status() != _IDLE
        parts = []
        if not in_transaction and (self._blocks or not self._autocommit):
            in_transaction = True
            parts.append(self._begin)
        elif not in_transaction and self._read_only:
            self._make_read_only()
        if limit != self._server_timeout and self._session.pooled_by is None:
            setting = f"SET {'LOCAL ' if in_transaction else ''}statement_timeout = {limit:d}"
            if in_transaction or verdict.joinable:
                parts.append(setting)
            else:
                self._send(setting, None, "a SET")
            self._soiled = self._soiled or not in_transaction
        return "; ".join(parts) + ";\n" if parts else ""

    def _make_read_only(self) -> None:
        """A read-only handler in autocommit: every transaction of its session is READ ONLY."""
        if self._session.pooled_by is not None:
            raise PoolError(
                "behind a transaction pooler read_only needs a transaction: use transaction(read_only=True)"
            )
        self._soiled = True
        self._send("SET default_transaction_read_only = on", None, "a SET")
        self._read_only = False  # done, for as long as the connection is held

    def _send(
        self,
        text: str | bytes,
        params: Any,
        doing: str,
        prefix: str = "",
        in_doubt: bool = False,
        limit: int | None = None,
    ) -> Any:
        session = self._session
        in_transaction = self._status() != _IDLE or "BEGIN" in prefix
        try:
            return session.execute(text, params, limit_of(self._query_timeout if limit is None else limit))
        except Exception as error:
            if session.lost:
                raise lost(session, error, wrote=in_doubt, doing=doing) from error
            failure = rejected(error, prefix)
            if in_transaction and self._first_error is None and failure.pgcode is not None:
                self._first_error = failure
            self._server_timeout = -1  # a SET in front may have gone with the statement
            raise failure from error

    def _end(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK; a commit of what has failed rolls back and raises."""
        status, first = self._status(), self._first_error
        failed = status == _FAILED or first is not None
        wrote, self._wrote, self._first_error = self._wrote, False, None
        self._server_timeout = self._desk.query_timeout if not self._soiled else -1
        if commit and not failed:
            if status != _IDLE:
                self._commit(wrote)
            return
        if status != _IDLE:
            self._send("ROLLBACK", None, "a ROLLBACK")
        if commit:
            raise aborted(first)

    def _commit(self, wrote: bool) -> None:
        session = self._session
        try:
            answer = session.execute("COMMIT", None, limit_of(self._query_timeout)).statusmessage
        except Exception as error:
            if session.lost:
                raise lost(session, error, wrote=wrote, doing="a COMMIT") from error
            raise rejected(error) from error
        if answer == "ROLLBACK":
            raise aborted(None)

    def _refuse_in_block(self, what: str) -> None:
        if self._blocks:
            raise PoolError(
                f"{what} inside transaction(): the block commits when it ends, and rolls back on an exception"
            )

    def _refuse_text(self, verdict: Verdict) -> None:
        if self._blocks and verdict.controls_transaction:
            error = psycopg2.ProgrammingError(
                f"{verdict.keyword} inside transaction(): the block commits when it ends, and rolls back on an exception"
            )
            raise DBQueryError.like(error) from error
        if self._first_error is not None and self._status() == _IDLE and (self._blocks or not self._autocommit):
            raise aborted(
                self._first_error
            )  # a syntax error took the BEGIN with it; the transaction has failed all the same
        if self._streams and self._autocommit and not self._blocks:
            raise PoolError("a stream() is open on this handler: read it to its end first, or use transaction()")
        if self._session.pooled_by is not None and verdict.session is not None and not verdict.controls_transaction:
            raise PoolError(f"behind a transaction pooler there is no session to keep it: {verdict.session}")

    def _leave_block(self, savepoint: str, failed: bool) -> None:
        """The inner end of a block: release or undo a savepoint, or end the transaction."""
        if not savepoint:
            self._end(commit=not failed)
        elif self._session.lost:
            return
        elif failed or self._status() == _FAILED:
            first, self._first_error = self._first_error, None
            self._server_timeout = -1
            self._send(f"ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}", None, "a ROLLBACK")
            if not failed:
                raise aborted(first)
        else:
            self._send(f"RELEASE SAVEPOINT {savepoint}", None, "a RELEASE")


class Block:
    """``with`` block in one transaction of a lease, or in a savepoint of the one that is open."""

    __slots__ = ("_before", "_lease", "_opening", "_savepoint")

    def __init__(self, lease: Lease, opening: str | None) -> None:
        self._lease = lease
        self._opening = opening

    def __enter__(self) -> Lease:
        lease = self._lease
        with lease._grip:
            lease._held()
            self._before = lease._begin
            self._savepoint = ""
            nested = (
                lease._blocks or lease._status() != _IDLE or (not lease._autocommit and lease._first_error is not None)
            )
            if nested and self._opening not in (None, "BEGIN", lease._begin):
                raise PoolError(
                    f"{self._opening} inside a transaction: isolation and read_only belong to the outermost one"
                )
            if nested:
                self._savepoint = f"pgdbpool_{lease._blocks + 1}"
                front = f"{lease._begin};\n" if lease._status() == _IDLE else ""
                lease._send(f"{front}SAVEPOINT {self._savepoint}", None, "a SAVEPOINT", front)
            elif self._opening is not None:
                lease._begin = self._opening
            lease._blocks += 1
        return lease

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        lease = self._lease
        with lease._grip:
            lease._held()
            lease._blocks -= 1
            lease._begin = self._before
            if error is None:
                lease._leave_block(self._savepoint, failed=False)
            else:
                with suppress(
                    psycopg2.Error
                ):  # the error on its way is the news; a lost connection is found at release
                    lease._leave_block(self._savepoint, failed=True)
