"""What is said over one borrowed session: statements, and the transaction they are in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.access.desk import Desk
from pgdbpool.access.statements import aborted, lost, milliseconds, plain, refuse_lost_commit, rejected
from pgdbpool.driver.session import Session, limit_of
from pgdbpool.errors import DBConnectionError, DBQueryError, PoolError
from pgdbpool.text import Verdict

__all__ = ["FAILED", "IDLE", "Dialogue", "begin"]

IDLE = extensions.TRANSACTION_STATUS_IDLE
FAILED = extensions.TRANSACTION_STATUS_INERROR

_UNDO = ("ROLLBACK", "ABORT")
_BETWEEN = "\n;\n"  # on lines of their own: a statement may end in a comment
_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


def begin(isolation: str | None = None, read_only: bool = False) -> str:
    """The BEGIN for a transaction; ``isolation`` in PostgreSQL's words, any case, ``_`` for a space."""
    level = None if isolation is None else str(isolation).lower().replace("_", " ")
    if level is not None and level not in _LEVELS:
        raise ValueError(f"isolation is {isolation!r}; it must be one of: {', '.join(_LEVELS)}")
    return "BEGIN" + (f" ISOLATION LEVEL {level.upper()}" if level else "") + (" READ ONLY" if read_only else "")


class Dialogue:
    """One session's conversation while it is borrowed. Not for two threads at once: the lease sees to that.

    The transaction's state is the server's own word, which libpq keeps, and nothing beside it.

    ``opening`` is the BEGIN that the next statement takes along where a transaction is due, ``first_error`` what made the
    present one fail, ``pending`` whether something was said since the last end, ``wrote`` whether that may have written,
    ``soiled`` whether the session must be reset.
    ``epoch`` counts ended transactions and undone savepoints: cursors of an earlier one are gone.
    """

    def __init__(self, desk: Desk, session: Session, query_timeout: int | None, read_only: bool) -> None:
        self.desk = desk
        self.session = session
        self.query_timeout = session.query_timeout if query_timeout is None else query_timeout
        self.opening = begin(None, read_only)
        self.first_error: BaseException | None = None
        self.wrote = False
        self.pending = False
        self.soiled = False
        self.epoch = 0
        self._read_only_due = read_only
        self._varied = self.query_timeout != session.query_timeout

    @property
    def status(self) -> int:
        return int(self.session.raw.get_transaction_status())

    @property
    def failed(self) -> bool:
        return self.status == FAILED

    # -- statements -------------------------------------------------------------------------------------------------

    def say(
        self,
        text: str,
        verdict: Verdict,
        params: Any,
        query_timeout: int | None,
        transactional: bool,
        front: str = "",
    ) -> Any:
        """Send a user's statement, with what has to travel in front of it; returns the cursor.

        ``transactional``: it belongs into a transaction, which it opens if there is none. ``front``: whole lines.
        """
        answer_in = milliseconds(query_timeout)
        limit = self.query_timeout if answer_in is None else answer_in
        self.note(verdict, params)
        prefix = self.prefix(verdict, limit, transactional) + front
        in_transaction = self.status != IDLE or "BEGIN" in prefix
        in_doubt = not verdict.reads and (verdict.controls_transaction or not in_transaction)
        failed = self.failed
        cursor = self.send(prefix + text, params, prefix=prefix, in_doubt=in_doubt, limit=limit)
        if verdict.controls_transaction:
            self.epoch += 1
            first, self.first_error = self.first_error, None
            if failed and verdict.keyword not in _UNDO:
                raise aborted(first)
        elif not self.failed:
            self.first_error = None  # the user went back to a savepoint of his own
        return cursor

    def prefix(self, verdict: Verdict, limit: int, transactional: bool) -> str:
        """BEGIN, where it is due, and the server's side of a limit of its own; whole lines."""
        if not verdict.keyword:
            return ""  # nothing, or no SQL: the answer must be its own
        idle = self.status == IDLE
        parts = [self.opening] if idle and transactional and not verdict.controls_transaction else []
        if idle and not parts:
            self.ensure_read_only()
        self._varied = self._varied or limit != self.session.query_timeout
        if self._varied and self.session.pooled_by is None and not self.failed and not verdict.controls_transaction:
            local = parts or not idle
            self.soiled = self.soiled or not local
            setting = f"SET {'LOCAL ' if local else ''}statement_timeout = {limit:d}"
            if local or verdict.joinable:
                parts.append(setting)
            else:
                self.send(setting)
        return "; ".join(parts) + ";\n" if parts else ""

    def send(
        self, text: str, params: Any = None, *, prefix: str = "", in_doubt: bool = False, limit: int | None = None
    ) -> Any:
        """Send one message; returns the cursor, or raises what its failure means."""
        session = self.session
        if session.lost:
            raise DBConnectionError("the connection was lost before this statement; nothing was sent")
        self.pending = True
        try:
            cursor = session.execute(text, params, limit_of(self.query_timeout if limit is None else limit))
        except Exception as error:
            if session.lost:
                doing = "a COMMIT" if text == "COMMIT" else "a statement"
                raise lost(session, error, wrote=in_doubt, doing=doing) from error
            failure = rejected(error, prefix)
            if "BEGIN" in prefix and failure.pgcode is not None and self.status == IDLE:
                self._begin_failed()
            if self.failed:
                self.first_error = self.first_error or failure
            raise failure from error
        return cursor

    def send_all(self, prefix: str, statements: list[str]) -> None:
        """Send several statements in one message; positions in an error refer to the one that failed."""
        try:
            self.send(prefix + _BETWEEN.join(statements), prefix=prefix)
        except DBQueryError as failure:
            error = failure.__cause__
            place = int(getattr(getattr(error, "diag", None), "statement_position", None) or 0)
            before = prefix
            for statement in statements:
                if len(before) + len(statement) >= place:
                    break
                before += statement + _BETWEEN
            raise (rejected(error, before) if place and isinstance(error, Exception) else failure) from error

    def _begin_failed(self) -> None:
        """A text that could not even be parsed took the BEGIN in front of it along; the transaction shall fail with it."""
        with suppress(psycopg2.Error):
            self.session.execute("BEGIN; ROLLBACK TO SAVEPOINT pgdbpool_failed", None, limit_of(self.query_timeout))

    def note(self, verdict: Verdict, *params: Any) -> None:
        """What is said may write, and leave something behind."""
        self.soiled = self.soiled or not verdict.clean or not all(map(plain, params))
        self.wrote = self.wrote or not verdict.reads

    def open_transaction(self) -> None:
        """Send the BEGIN that is due, for those who do not speak through this dialogue."""
        if self.status == IDLE:
            self.send(self.opening)

    def ensure_read_only(self) -> None:
        """In autocommit, READ ONLY is the session's default, set before the first statement."""
        if not self._read_only_due:
            return
        if self.session.pooled_by is not None:
            raise PoolError(
                "behind a transaction pooler read_only needs a transaction: use transaction(read_only=True)"
            )
        self.send("SET default_transaction_read_only = on")
        self.soiled = True
        self._read_only_due = False

    # -- the transaction's end --------------------------------------------------------------------------------------

    def end(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK; a commit of what has failed rolls back and raises."""
        first, self.first_error = self.first_error, None
        in_doubt, self.wrote = commit and self.wrote and not self.failed, False
        self.epoch += 1
        pending, self.pending = self.pending, False
        if self.status == IDLE or (self.session.lost and not pending):
            return
        if commit:
            refuse_lost_commit(self.session)
        try:
            answer = self.send("COMMIT" if commit else "ROLLBACK", in_doubt=in_doubt).statusmessage
        finally:
            self.pending = False
        if commit and answer == "ROLLBACK":
            raise aborted(first)

    def undo_to(self, savepoint: str) -> BaseException | None:
        """Go back to a savepoint and forget it; returns what had failed since."""
        first, self.first_error = self.first_error, None
        self.epoch += 1
        self.send(f"ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}")
        return first
