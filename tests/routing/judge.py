"""What the servers themselves say of a statement; nothing is taken from what the pool knows of functions.

It is run in a transaction on the primary, which is looked at from inside and rolled back; on a standby; once more on the
primary where the two answers differ; and in autocommit on the primary. No run finds anything in its session
that another one has left there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE as IDLE

from tests.routing.corpus import Case
from tests.servers import DATABASE, ROLE, Server
from tests.several import Replicas

# What of a session may be otherwise after a statement. (plpgsql's settings come with its first function.)
_PARTS = ("settings", "the mark of touch()", "role", "prepared", "cursors", "channels", "temporary", "locks")
_SESSION = """
SELECT (SELECT md5(string_agg(name || '=' || setting, ' ' ORDER BY name)) FROM pg_settings
    WHERE name NOT IN ('transaction_read_only', 'in_hot_standby') AND name NOT LIKE 'plpgsql.%'),
  current_setting('corpus.touched', true),
  current_user || ' ' || session_user,
  (SELECT string_agg(name, ' ') FROM pg_prepared_statements),
  (SELECT string_agg(name, ' ') FROM pg_cursors),
  (SELECT string_agg(c, ' ') FROM pg_listening_channels() AS c),
  (SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
  (SELECT string_agg(concat_ws(' ', mode, classid, objid), ', ') FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'advisory')
"""
# What a transaction that only reads has not: an id, and locks that anybody would have to wait for.
_TRANSACTION = """
SELECT pg_current_xact_id_if_assigned() IS NOT NULL, ARRAY(SELECT DISTINCT concat_ws(' ', locktype, mode) FROM pg_locks
  WHERE pid = pg_backend_pid() AND mode <> 'AccessShareLock' AND locktype <> 'virtualxid' ORDER BY 1)
"""
_READS_ONLY = [(False, [])]

# Of the whole database: the next transaction id, each sequence, and what is in each table. Superusers' affair.
_CONTENTS = """
CREATE OR REPLACE FUNCTION public.contents() RETURNS TABLE (name text, content text) LANGUAGE plpgsql AS $$
BEGIN
  FOR name IN SELECT c.oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'm', 'S') AND relispopulated
      AND relpersistence <> 't' AND relnamespace::regnamespace::text IN ('web', 'a', 'b', 'public') ORDER BY 1 LOOP
    EXECUTE format('SELECT md5(string_agg(t::text, '','' ORDER BY t::text)) FROM (SELECT * FROM %s) AS t', name) INTO content;
    RETURN NEXT;
  END LOOP;
END$$
"""
_WORLD = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, ARRAY(SELECT c::text FROM contents() AS c),
  (SELECT count(*) FROM pg_largeobject_metadata)
"""

Answer = tuple[Any, ...]


@dataclass(slots=True)
class Seen:
    """One statement: an answer is ``("error", SQLSTATE)``, or columns and rows, or only the command's tag."""

    here: Answer = ()  # on the primary, in a transaction
    again: Answer = ()
    there: Answer = ()  # on the standby
    alone: Answer = ()  # on the primary, in autocommit
    inside: str = ""  # what the transaction had done
    after: str = ""  # what was otherwise afterwards

    def against(self) -> str:
        """Why it may not go to a standby, by what the servers have shown; ``""``: nothing speaks against it."""
        if self.refused:
            return "refused"
        if self.inside or self.after:
            return "changes: " + (self.inside or self.after)
        if self.alone[0] == "error" or self.there[0] == "error":
            return "" if self.alone == self.there else f"fails otherwise: {self.alone} and {self.there}"
        return differs(self.here, self.again, self.there)

    @property
    def refused(self) -> bool:
        return self.there[0] == "error" and self.alone[0] != "error"


def differs(one: Answer, again: Answer, other: Answer) -> str:
    """How ``other`` is not what the two have in common, cell by cell."""
    if one[0] == "error" or again[0] == "error":
        return ""
    if one[0] != other[0]:
        return f"differs: {one[0]} and {other[0]}"
    if len(one[1]) == len(again[1]) != len(other[1]):
        return f"differs: {len(one[1])} rows and {len(other[1])}"
    for rows in zip(one[1], again[1], other[1], strict=False):
        for cell, same, elsewhere in zip(*rows, strict=True):
            if cell == same != elsewhere:
                return f"differs: {cell} and {elsewhere}"[:200]
    return ""


def compare(replicas: Replicas, cases: Sequence[Case]) -> list[Seen]:
    """What both servers answer; nothing is kept."""
    replicas.caught_up()
    with closing(_Seat(replicas.primary)) as primary, closing(_Seat(replicas.standbys[0])) as standby:
        return [_compared(primary, standby, case) for case in cases]


def keep(replicas: Replicas, cases: Sequence[Case], seen: Sequence[Seen]) -> None:
    """Run each as a user would, and note what it leaves behind."""
    replicas.primary.sql(_CONTENTS)
    with closing(replicas.primary.admin(dbname=DATABASE)) as observer, closing(_Seat(replicas.primary)) as seat:
        before = _asked(observer, _WORLD)
        for case, each in zip(cases, seen, strict=True):
            each.alone = run(seat.connection, case)
            each.after = "a transaction" if seat.connection.info.transaction_status != IDLE else seat.traces()
            seat.renew(if_=bool(each.after))
            world, before = before, _asked(observer, _WORLD)
            each.after = each.after or ("the database" if world != before else "")


def session(server: Server) -> Any:
    """A new one of the tests' role, in autocommit."""
    return server.admin(user=ROLE, dbname=DATABASE, options="-c statement_timeout=10s")


def run(connection: Any, case: Case) -> Answer:
    """The answer as plain text, so that any two can be compared."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(case.text, case.params)
            if cursor.description is None:
                return cursor.statusmessage, ()
            columns = ", ".join(f"{column.name} {column.type_code}" for column in cursor.description)
            return columns, plain_rows(cursor)
        except psycopg2.Error as error:
            return "error", error.pgcode


def plain_rows(rows: Iterable[Any]) -> tuple[tuple[str, ...], ...]:
    """The rows as texts."""
    return tuple(tuple(str(bytes(cell) if isinstance(cell, memoryview) else cell) for cell in row) for row in rows)


class _Seat:
    """A session, which is exchanged for a new one when something was left in it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.connection = session(server)
        self._fresh = _asked(self.connection, _SESSION)

    def close(self) -> None:
        self.connection.close()

    def renew(self, *, if_: bool = True) -> None:
        if if_:
            self.connection.close()
            self.connection = session(self._server)

    def traces(self) -> str:
        """What is otherwise in it than in a new one."""
        [now], [before] = _asked(self.connection, _SESSION), self._fresh
        return ", ".join(name for name, old, new in zip(_PARTS, before, now, strict=True) if old != new)


def _compared(primary: _Seat, standby: _Seat, case: Case) -> Seen:
    seen = Seen()
    seen.here, seen.inside, chance = _within(primary, case)
    seen.there = run(standby.connection, case)
    if _asked(standby.connection, "ROLLBACK; SELECT random()") == chance:
        seen.inside = "the seed of random()"
    if seen.here != seen.there:
        primary.renew()
        seen.again, _, _ = _within(primary, case)
    else:
        seen.again = seen.here
    for seat in (primary, standby):
        seat.renew(if_=bool(seen.inside) or seen.there[0] == "error")
    return seen


def _within(seat: _Seat, case: Case) -> tuple[Answer, str, Any]:
    """In a transaction that is rolled back: the answer, what a mere reader's transaction has not, and a random number."""
    _asked(seat.connection, "BEGIN")
    answer, inside = run(seat.connection, case), ""
    if answer[0] != "error":
        done = _asked(seat.connection, _TRANSACTION)
        inside = seat.traces() if done == _READS_ONLY else f"{done}"
    return answer, inside, _asked(seat.connection, "ROLLBACK; SELECT random()")


def _asked(connection: Any, text: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else []
