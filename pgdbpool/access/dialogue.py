"""What is said over one borrowed session: statements, and the transaction they are in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from time import monotonic
from typing import Any

import psycopg2

from pgdbpool.access.outcome import TRACK
from pgdbpool.access.request import noted, present_request, refuse_late_commit
from pgdbpool.access.scribe import Scribe
from pgdbpool.access.statements import aborted, lost, plain, prepared, refuse_lost_commit, rejected
from pgdbpool.driver.position import WRITTEN
from pgdbpool.driver.session import Session, limit_of
from pgdbpool.errors import DBConnectionError, DBQueryError, InDoubt, PoolError
from pgdbpool.text import Verdict, doubtful

BLOCK_ENDS = "the block commits when it ends, and rolls back on an exception"

_UNDO = ("ROLLBACK", "ABORT")
_CANCELED = "57014"
_NOT_COMMIT = (_CANCELED, "42501", "0A000", "55000")  # may be the answer to what was asked behind it
_FOREVER = float("inf")
_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


@lru_cache(maxsize=64)
def begin(isolation: str | None = None, read_only: bool = False) -> str:
    """The BEGIN for a transaction; ``isolation`` in PostgreSQL's words, any case, ``_`` for a space."""
    level = None if isolation is None else str(isolation).lower().replace("_", " ")
    if level is not None and level not in _LEVELS:
        raise ValueError(f"isolation is {isolation!r}; it must be one of: {', '.join(_LEVELS)}")
    return "BEGIN" + (f" ISOLATION LEVEL {level.upper()}" if level else "") + (" READ ONLY" if read_only else "")


class Dialogue:
    """One session's conversation while it is borrowed. Not for two threads at once: the lease sees to that.

    Unless it is in ``autocommit``, a statement takes the BEGIN that is ``opening`` along where there is no transaction
    yet, and ``blocks`` is the number of transaction blocks that it is in: ``terms`` are these three at first and after
    each transaction. ``streams`` counts the streams there were; ``own_stream()`` is one with a transaction of its own.

    ``scribe`` takes down each write that is done, with what the server says of its place in the WAL where that can be asked.

    With ``track`` the transaction's id is brought back by its first writing statement, into ``tracked``.

    ``first_error`` is what made the present transaction fail, ``pending`` whether something was said in it, ``wrote``
    whether that may have written, ``soiled`` whether the session must be reset.
    ``epoch`` counts ended transactions and undone savepoints: cursors of an earlier one are gone.
    """

    streams = epoch = 0
    pending = wrote = soiled = False
    first_error: BaseException | None = None
    tracked: str | None = None
    own_stream: Callable[[], Any] | None = None

    def __init__(
        self,
        session: Session,
        query_timeout: int | None,
        read_only: bool,
        terms: tuple[bool, str, int],
        scribe: Scribe | None = None,
        track: bool = False,
    ) -> None:
        self.session = session
        self.scribe = scribe
        self._track = track
        self.query_timeout = session.query_timeout if query_timeout is None else query_timeout
        self.autocommit, self.opening, self.blocks = self._terms = terms
        self._read_only_due = read_only
        self._varied = self.query_timeout != session.query_timeout

    # -- statements -------------------------------------------------------------------------------------------------

    def admit(self, sql: Any) -> tuple[str, Verdict]:
        """The text of a statement and what is known of it; refuses what must not be said now."""
        text, verdict = prepared(sql, self.session)
        if self.blocks and verdict.controls_transaction:
            error = psycopg2.ProgrammingError(f"{verdict.keyword} inside transaction(): {BLOCK_ENDS}")
            raise DBQueryError.like(error) from error
        if self.session.pooled_by is not None and verdict.session and not verdict.controls_transaction:
            raise PoolError(f"behind a transaction pooler there is no session to keep it: {verdict.session}")
        self.settle_stream()
        return text, verdict

    def settle_stream(self) -> None:
        """A stream that has a transaction of its own leaves no room for anything else, until it is dropped."""
        if self.own_stream is not None:
            if self.own_stream() is not None:
                raise PoolError("a stream() is open on this handler: read it to its end first, or use transaction()")
            self.end(commit=not self.session.failed)

    def say(self, verdict: Verdict, *texts: str, params: Any = None, limit: int | None = None, front: str = "") -> Any:
        """Send what was admitted, with what has to travel in front of it; returns the cursor.

        ``limit``: its ``query_timeout``, None for that of the lease. ``front``: whole lines.
        """
        limit = self._limit_of(verdict, limit)
        verdict = verdict if plain(params) else doubtful(verdict)
        self.soiled = self.soiled or not verdict.clean
        self.wrote = self.wrote or not verdict.reads
        front = self._prefix(verdict, limit) + front
        in_transaction = front.startswith("BEGIN") or not self.session.idle
        in_doubt = not verdict.reads and (verdict.controls_transaction or not in_transaction)
        failed, first = self.session.failed, self.first_error
        if self.scribe is not None:
            self.scribe.hear(verdict)
        try:
            cursor = self.send(front, *texts, params=params, in_doubt=in_doubt, limit=limit)
        except (InDoubt, DBQueryError) as error:
            kept = self.session.idle and not verdict.joinable  # it was rejected, but a CALL may have committed before
            if self.scribe is not None and not verdict.reads and (kept or isinstance(error, InDoubt)):
                self.scribe.note()
            raise
        if TRACK in front:
            self.tracked = self.tracked or self.session.raw.get_parameter_status("application_name")
        if self.scribe is not None and not verdict.reads and (self.session.idle or verdict.controls_transaction):
            self.scribe.note()
        if verdict.controls_transaction:
            self.epoch += 1
            if failed and verdict.keyword not in _UNDO:
                raise aborted(first)
        return cursor

    def _limit_of(self, verdict: Verdict, limit: int | None) -> int:
        """In milliseconds. What ends a transaction has its whole limit, as ``end`` says."""
        whole = self.query_timeout if limit is None else limit
        if verdict.keyword in _UNDO:
            return whole
        left = self.limited(whole)
        return whole if verdict.controls_transaction else left

    def fetch(self, cursor: str, count: int) -> Any:
        """The next rows of a cursor that was declared in this transaction."""
        limit = self.limited()
        front = f"SET LOCAL statement_timeout = {limit:d};\n" if self._varies(limit) else ""
        return self.send(front, f"FETCH FORWARD {count:d} FROM {cursor}", limit=limit)

    def _prefix(self, verdict: Verdict, limit: int) -> str:
        """BEGIN, where it is due, and the server's side of a limit of its own; whole lines."""
        if not verdict.keyword:
            return ""  # nothing, or no SQL: the answer must be its own
        session, idle = self.session, self.session.idle
        parts = [self.opening] if idle and not (self.autocommit or verdict.controls_transaction) else []
        if idle and not parts:
            self.ensure_read_only()
        if self._varies(limit) and not verdict.controls_transaction:
            if parts or not idle or verdict.joinable:
                parts.append(f"SET LOCAL statement_timeout = {limit:d}")  # without a transaction, of this message
            else:
                self.soiled = True
                self.send(f"SET statement_timeout = {limit:d}")
        if self._is_to_track(verdict) and session.pooled_by is None:
            parts.append(TRACK)
        return "; ".join(parts) + ";\n" if parts else ""

    def _varies(self, limit: int) -> bool:
        """Whether the server has to be told of this limit: it is another one than the session's, or there was one."""
        self._varied = self._varied or limit != self.session.query_timeout
        return self._varied and self.session.pooled_by is None and not self.session.failed

    def _is_to_track(self, verdict: Verdict) -> bool:
        """Whether it is the first writing query; what is none may have to come first, or to lock before any snapshot."""
        due = self._track and self.tracked is None and verdict.joinable and not verdict.reads
        return due and not self.session.reports_recovery()

    def send(self, *parts: str, params: Any = None, in_doubt: bool = False, limit: int | None = None) -> Any:
        """Send one message, whose parts are whole lines; returns the cursor, or raises what its failure means.

        ``limit``: in milliseconds, None for what ``limited()`` says.
        """
        session = self.session
        if session.lost:
            raise noted(DBConnectionError("the connection was lost before this statement; nothing was sent"))
        limit = self.limited() if limit is None else limit
        self.pending = True
        try:
            cursor = session.run("".join(parts), params, limit_of(limit))
        except Exception as error:
            if session.lost:
                doing = "a COMMIT" if parts[0].startswith("COMMIT") else "a statement"
                raise lost(session, error, wrote=in_doubt, doing=doing) from error
            failure = rejected(error, *parts[:-1])
            if parts[0].startswith("BEGIN") and failure.pgcode is not None and session.idle:
                self._begin_failed()
            if session.failed:
                self.first_error = self.first_error or failure
            raise failure from error
        if self.first_error is not None and not session.failed:
            self.first_error = None  # it ended, or the user went back to a savepoint
        return cursor

    def limited(self, limit: int | None = None) -> int:
        """The lease's limit, or this one; what is left of the thread's request where that is less.

        Raises ``PoolTimeout`` when the request's deadline is over.
        """
        limit, request = self.query_timeout if limit is None else limit, present_request()
        if request is None:
            return limit
        request.check()
        return request.answer_in(limit)

    def _begin_failed(self) -> None:
        """A text that could not even be parsed took the BEGIN in front of it along; the transaction shall fail with it."""
        with suppress(psycopg2.Error):
            self.session.execute("BEGIN; ROLLBACK TO SAVEPOINT pgdbpool_failed", None, limit_of(self.query_timeout))

    def prepare(self) -> None:
        """Send what is due before a statement, for those who do not speak through this dialogue."""
        if self.autocommit:
            self.ensure_read_only()
        else:
            self.open_transaction()
        if self._varies(limit := self.limited()):
            self.send(f"SET {'' if self.session.idle else 'LOCAL '}statement_timeout = {limit:d}")

    def open_transaction(self) -> None:
        """Send the BEGIN that is due."""
        if self.session.idle:
            self.send(self.opening)

    def ensure_read_only(self) -> None:
        """In autocommit, READ ONLY is the session's default, set before the first statement."""
        if not self._read_only_due:
            return
        if self.session.pooled_by is not None:
            needed = "needs a transaction: use transaction(read_only=True)"
            raise PoolError(f"behind a transaction pooler read_only {needed}")
        self.send("SET default_transaction_read_only = on")
        self.soiled = True
        self._read_only_due = False

    # -- the transaction's end --------------------------------------------------------------------------------------

    def end(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK; a commit of what has failed, or comes too late for its request, rolls back and raises.

        They have the lease's whole limit: cut short, a COMMIT would be in doubt.
        """
        session, first = self.session, self.first_error
        in_doubt = commit and self.wrote and not session.failed
        try:
            if session.idle or (session.lost and not self.pending):
                return
            if commit:
                refuse_lost_commit(session)
            if in_doubt:
                refuse_late_commit(lambda: self._send_end("ROLLBACK"))
            if in_doubt and self.scribe is not None:
                answer = self._commit_for(self.scribe)
            else:
                answer = self._send_end("COMMIT" if commit else "ROLLBACK", in_doubt=in_doubt).statusmessage
        finally:
            self.epoch += 1
            self.pending = self.wrote = False
            self.first_error = self.own_stream = None
            self.autocommit, self.opening, self.blocks = self._terms
        if commit and answer == "ROLLBACK":
            raise aborted(first)

    def _send_end(self, *parts: str, in_doubt: bool = False) -> Any:
        return self.send(*parts, in_doubt=in_doubt, limit=self.query_timeout)

    def _commit_for(self, scribe: Scribe) -> str:
        """COMMIT of what has not failed, and in the same message how far the WAL is behind it; returns the answer.

        That hides COMMIT's own answer, which is ROLLBACK where the transaction had failed: so only where it had not.
        """
        began = monotonic()
        try:
            if not scribe.tells:
                answer = self._send_end("COMMIT", in_doubt=True).statusmessage
                scribe.note()
                return str(answer)
            scribe.note(said=self._send_end("COMMIT;\n", WRITTEN, in_doubt=True).fetchone()[0])
            return "COMMIT"
        except InDoubt:
            scribe.note()
            raise
        except DBQueryError as error:
            timed_out = monotonic() - began > (self.query_timeout or _FOREVER) / 1000 * 0.9
            is_of_trigger = error.diag.context is not None
            if error.pgcode in _NOT_COMMIT and not (is_of_trigger or (error.pgcode == _CANCELED and timed_out)):
                scribe.note()
                raise noted(InDoubt("either COMMIT failed, or what was asked behind it")) from error
            raise

    def undo_to(self, savepoint: str) -> BaseException | None:
        """Go back to a savepoint and forget it; returns what had failed since."""
        first = self.first_error
        self.epoch += 1
        self._send_end(f"ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}")
        return first
