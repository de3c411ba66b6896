"""What somebody has borrowed: the thing itself, and the model of what must be so of it."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import extensions

import pgdbpool
from pgdbpool import DBConnectionError, DBQueryError, InDoubt, PoolError
from tests.fuzz.actors import Actor
from tests.life import Outcome
from tests.servers import ROLE

__all__ = ["LOOK", "SOILING", "TABLE", "WAYS", "Holding", "expect", "furnish", "unsoiled"]

TABLE = f"{ROLE}.of_fuzz"
WAYS = ["handler", "transaction", "connection", "getconn"]

# The backend, its server, what `on_connect` left there, and what somebody else may have left.
LOOK = """
SELECT pg_backend_pid(), current_setting('fuzz.server'), current_setting('fuzz.base', true),
       current_setting('fuzz.mark', true), current_setting('statement_timeout'),
       (SELECT count(*) FROM pg_prepared_statements) AS prepared,
       (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors,
       (SELECT count(*) FROM pg_listening_channels()) AS channels,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
       (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS tables
"""
SOILING = {
    "set": "SET fuzz.mark = 'x{}'",
    "set base": "SET fuzz.base = 'x{}'",
    "set_config": "SELECT set_config('fuzz.mark', 'x{}', false)",
    "prepare": "PREPARE fuzz_{} AS SELECT 1",
    "cursor": "DECLARE fuzz_{} CURSOR WITH HOLD FOR SELECT 1",
    "listen": "LISTEN fuzz_{}",
    "lock": "SELECT pg_advisory_lock({})",
    "temp": "CREATE TEMPORARY TABLE fuzz_{} (a int)",
    "notice": "DO $$ BEGIN RAISE NOTICE 'x{}'; END $$",
}


def expect(outcome: Outcome, *errors: type[BaseException]) -> None:
    """One of these errors; without any, none."""
    if not errors:
        if outcome.error is not None:
            raise outcome.error
        return
    assert outcome.error is not None, f"{outcome.value!r} in place of {errors}"
    if not isinstance(outcome.error, errors):
        raise outcome.error


def furnish(connection: Any) -> None:
    """As ``on_connect``."""
    connection.cursor().execute("SET fuzz.base = 'furnished'")


def unsoiled(row: Any, base: str) -> tuple[int, str]:
    """Backend and server of a row of LOOK in which nobody has left anything; ``base`` is from ``on_connect``."""
    pid, server, *found = row
    found[:2] = [each or "" for each in found[:2]]  # once it was set, a setting is empty and no longer NULL
    assert found == [base, "", "5s", 0, 0, 0, 0, 0], f"left over in {pid}"
    return pid, server


class Holding:
    """A connection that an actor borrowed by one of the WAYS.

    ``owner`` took it, ``user`` may use it (of ``getconn``: whoever asked last for its ``key``). ``open``: a transaction
    is; ``failed``: and it has failed. ``rows``: what was inserted in it. ``gone``: the server ended it, or the user.
    """

    def __init__(self, api: Any, way: str, group: str, owner: Actor, key: str | None = None) -> None:
        self.api, self.way, self.group, self.key = api, way, group, key
        self.owner = self.user = owner
        self.block = self.db = self.raw = self.cursor = None
        self.pid, self.server = 0, ""
        self.transactional = way == "transaction"
        self.open = self.failed = self.gone = self.closed = False
        self.rows: set[int] = set()

    def __repr__(self) -> str:
        return f"<{self.way} of {self.group} by {self.owner}, backend {self.pid}>"

    # -- in the actor's thread ----------------------------------------------------------------------------------------

    def take(self, timeout: float) -> Any:
        """Borrow; returns the row of LOOK."""
        if self.way == "getconn":
            self.raw = self.api.getconn(self.key, group=self.group, timeout=timeout)
        else:
            make = getattr(self.api, self.way, None) or pgdbpool.Handler
            self.block = make(self.group, timeout=timeout)
            entered = self.block.__enter__()
            self.db, self.raw = (None, entered) if self.way == "connection" else (entered, None)
        if self.raw is not None:
            self.cursor = self.raw.cursor()
            self.transactional = not self.raw.autocommit
        elif self.way == "handler":
            self.transactional = not self.db.dialogue.autocommit
        (row,) = self.say(LOOK)
        return row

    def say(self, sql: str) -> Any:
        if self.db is not None:
            result = self.db.query(sql)
            return result.fetchall() if result.columns else None
        self.cursor.execute(sql)
        return self.cursor.fetchall() if self.cursor.description else None

    def end(self, commit: bool) -> None:
        getattr(self.db or self.raw, "commit" if commit else "rollback")()

    def leave(self, clean: bool, close: bool = False) -> None:
        if self.way == "getconn":
            self.api.putconn(self.raw, self.key if clean else None, close=close)
        elif clean:
            self.block.__exit__(None, None, None)
        else:
            error = ZeroDivisionError()
            self.block.__exit__(ZeroDivisionError, error, None)

    def close(self) -> None:
        """The connection itself, whatever the pool thinks of it."""
        if self.raw is not None:
            self.raw.close()
        else:
            extensions.connection.close(self.db.dialogue.session.raw)

    # -- what must come of it -----------------------------------------------------------------------------------------

    def is_as_new(self) -> None:
        """psycopg2's side of what the one before may have changed."""
        if self.raw is not None:
            found = (self.raw.isolation_level, self.raw.readonly, self.raw.deferrable, self.raw.cursor_factory)
            assert found == (None, None, None, None)
            assert (self.raw.encoding, self.raw.notices, self.raw.notifies) == ("UTF8", [], [])

    def said(
        self, outcome: Outcome, *, error: type[Exception] | None = None, begins: bool = False, row: int | None = None
    ) -> bool:
        """Take up what came of a statement that must end by that ``error``, or inserts a ``row``; whether it succeeded."""
        if self.gone:
            self._refused(outcome)
        elif self.failed:
            expect(outcome, psycopg2.errors.InFailedSqlTransaction)
        else:
            self.open = self.open or self.transactional or begins
            expect(outcome, *([error] if error else []))
            self.failed = error is not None and self.open
            if row is not None and self.open:
                self.rows.add(row)
            return error is None
        return False

    def _refused(self, outcome: Outcome) -> None:
        if self.raw is not None:
            expect(outcome, psycopg2.OperationalError, psycopg2.InterfaceError)
        else:
            expect(outcome, DBConnectionError, *([] if self.open else [InDoubt]))

    def ended(self, outcome: Outcome, commit: bool) -> set[int]:
        """Take up what came of ``end``; the rows that are committed now."""
        if self.way == "transaction":
            expect(outcome, PoolError)
            return set()
        if self.gone:
            return self._lost(outcome, commit)
        if self.raw is not None and not self.transactional:
            expect(outcome)  # psycopg2 knows nothing of a BEGIN of the user's own
            return set()
        failed = commit and self.failed and self.raw is None
        expect(outcome, *([psycopg2.errors.InFailedSqlTransaction] if failed else []))
        return self._closed(commit)

    def left(self, outcome: Outcome, clean: bool) -> set[int]:
        """The same of ``leave``."""
        if self.gone:
            return self._lost(outcome, clean and self.transactional and self.way != "getconn")
        commits = clean and self.transactional and self.way != "getconn"
        expect(outcome, *([DBQueryError] if commits and self.failed else []))
        return self._closed(commits)

    def _lost(self, outcome: Outcome, commit: bool) -> set[int]:
        """A COMMIT that could not be sent must not pass for success, nor for one that is in doubt."""
        if outcome.error is not None:
            expect(outcome, psycopg2.OperationalError, psycopg2.InterfaceError)
            assert not isinstance(outcome.error, InDoubt)
        else:
            assert self.closed or not (commit and self.rows)
        self._closed(False)
        return set()

    def _closed(self, commit: bool) -> set[int]:
        kept = self.rows if commit and not self.failed else set()
        self.rows, self.open, self.failed = set(), False, False
        return kept
